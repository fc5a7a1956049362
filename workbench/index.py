"""What analyses and result kinds exist, read from the source with `ast`: nothing is imported to answer.

So `workbench list` needs no torch, and a plugin that cannot be imported is named instead of ending the program.
"""

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

GROUP = "workbench.analyses"
"""The entry point group under which a plugin names the module, or package, that holds its analyses."""


@dataclass(frozen=True)
class Entry:
    """One analysis, as far as its source tells without being run."""

    name: str
    function: str
    module: str
    summary: str
    title: str
    group: str
    """The folder under `workbench/analyses`, or the plugin's name."""


@dataclass(frozen=True)
class Broken:
    """A plugin, or one file of it, that could not be read."""

    plugin: str
    module: str
    reason: str

    def __str__(self) -> str:
        return f"The plugin {self.plugin!r} ({self.module}) is left out: {self.reason}"


@dataclass(frozen=True)
class Index:
    """Every analysis by name, the module of every result kind, and what could not be read."""

    analyses: Mapping[str, Entry]
    kinds: Mapping[str, str]
    broken: tuple[Broken, ...]

    def by_function(self, function: str) -> Entry | None:
        """The entry whose function is called `function`, as in `workbench.logit_lens`."""
        return next((entry for entry in self.analyses.values() if entry.function == function), None)


@lru_cache(maxsize=1)
def index() -> Index:
    """Read the source of the shipped analyses and of every plugin, once; `index.cache_clear()` reads it again."""
    return build(Path(__file__).parent / "analyses", entry_points(group=GROUP))


def build(shipped: Path, plugins: Iterable[EntryPoint]) -> Index:
    """The index of the analyses below the folder `shipped` and of the modules that `plugins` name."""
    analyses: dict[str, Entry] = {}
    kinds: dict[str, str] = {}
    broken: list[Broken] = []
    sources = [("workbench", "workbench.analyses", shipped)]
    for plugin in plugins:
        try:
            sources.append((plugin.name, plugin.module, locate(plugin.module)))
        except Exception as error:  # a plugin's finder may raise anything; it must not take the others down
            broken.append(Broken(plugin.name, plugin.value, str(error) or type(error).__name__))
    for plugin, root, path in sources:
        for module, file in _modules(root, path):
            try:
                found, module_kinds = _read(plugin, module, file)
            except (OSError, SyntaxError, ValueError, RecursionError) as error:
                broken.append(Broken(plugin, module, f"it cannot be read ({error})."))
                continue
            for entry in found:
                taken = analyses.setdefault(entry.name, entry)
                if taken != entry:
                    reason = f"the name {entry.name!r} is already taken by {taken.module}."
                    broken.append(Broken(plugin, module, reason))
            for kind in module_kinds:
                kinds.setdefault(kind, module)
    return Index(dict(sorted(analyses.items())), kinds, tuple(broken))


def locate(module: str) -> Path:
    """The file or folder of `module`, found without importing it or the packages it is in."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise LookupError(f"no module called {top!r} is installed.")
    folders = [Path(folder) for folder in dict.fromkeys(spec.submodule_search_locations or ())]
    if not rest:
        if folders:
            return folders[0]
        if spec.origin is None or not Path(spec.origin).is_file():
            raise LookupError(f"the module {top!r} has no source file.")
        return Path(spec.origin)
    for folder in folders:
        path = folder.joinpath(*rest)
        if path.is_dir():
            return path
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
    raise LookupError(f"there is no module {module!r} in {', '.join(map(str, folders)) or top}.")


def _modules(root: str, path: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of `path` itself, or of every module below it in a fixed order."""
    if path.is_file():
        yield root, path
        return
    for file in sorted(path.rglob("*.py")):
        parts = file.relative_to(path).with_suffix("").parts
        yield ".".join((root, *(parts[:-1] if parts[-1] == "__init__" else parts))), file


def _read(plugin: str, module: str, file: Path) -> tuple[list[Entry], list[str]]:
    tree = ast.parse(file.read_bytes(), filename=str(file))
    found = [
        _entry(plugin, module, node, call)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and _last_name(call.func) == "analysis"
    ]
    kinds = [
        keyword.value.value
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for keyword in node.keywords
        if keyword.arg == "kind" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    ]
    return found, kinds


def _entry(plugin: str, module: str, node: ast.FunctionDef, call: ast.Call) -> Entry:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    name = _text(call.args[0] if call.args else named.get("name"))
    if name is None:
        raise ValueError(f"line {node.lineno}: the name given to @analysis must be a plain string")
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    shipped = plugin == "workbench"
    group = module.split(".")[2] if shipped and module.count(".") > 2 else "general" if shipped else plugin
    title = _text(named.get("title")) or title_of(name)
    return Entry(name, node.name, module, summary, title, group)


def title_of(name: str) -> str:
    """The heading of an analysis that declares none: "logit-lens" is "Logit lens"."""
    return name.replace("-", " ").replace("_", " ").capitalize()


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
