"""`@analysis` declares an analysis once; the Python API, CLI and app pages all read the declaration.

The function's own signature is the declaration: names, types, defaults, and `Annotated` help and
limits. The decorated name stays callable exactly as written.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_type_hints

from workbench import provenance, spelling
from workbench.capabilities import CAPABILITIES, lacking
from workbench.errors import BadInput, BrokenPlugin, MissingCapability, UnknownName
from workbench.index import index, title_of
from workbench.params import (
    AttentionName as AttentionName,
    Head as Head,
    Kind as Kind,
    Layer as Layer,
    Param as Param,
    Position as Position,
    Prompt as Prompt,
    Seed as Seed,
    Sites as Sites,
    TaskName as TaskName,
    Texts as Texts,
    Token as Token,
    VariableName as VariableName,
    Within as Within,
    params_of,
)
from workbench.results import Result

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


@dataclass(frozen=True, eq=False)
class Analysis:
    """A registered analysis. Calling it checks, runs the function and stamps the result."""

    name: str
    function: Callable[..., Result]
    needs: frozenset[str]
    params: tuple[Param, ...]
    title: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.function.__doc__)

    @property
    def __wrapped__(self) -> Callable[..., Result]:
        return self.function  # so that help() and inspect.signature() show the function's own

    @property
    def summary(self) -> str:
        """What it answers, in one line: the first of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def prompt(self) -> Param | None:
        """The parameter that says what the model reads, if there is one."""
        return next((p for p in self.params if p.kind == "prompt"), None)

    def missing(self, model: "LensModel") -> frozenset[str]:
        """What this analysis needs that `model` lacks; empty if it can run."""
        return self.needs - model.capabilities

    def why_not(self, model: "LensModel") -> str:
        """A sentence saying what `model` lacks and which models have it; empty if it can run."""
        missing = self.missing(model)
        return lacking(f"{self.title} ({self.name})", model.name, missing) if missing else ""

    def check(self, model: "LensModel", values: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in their proper types and fitting `model`; raises `BadInput` naming the first that is not."""
        given = {p.name: p.check(values[p.name]) for p in self.params}
        attention = next((given[p.name] for p in self.params if p.kind == "attention"), None)
        for p in self.params:  # the attention first: layers are counted within it
            if p.kind == "attention":
                p.check_for(attention, model)
        return {p.name: p.check_for(given[p.name], model, attention=attention) for p in self.params}

    def __call__(self, model: "LensModel", *args: Any, **kwargs: Any) -> Result:
        """Check, run, stamp."""
        from workbench.models.evaluating import evaluating
        from workbench.models.lens_model import LensModel

        if not isinstance(model, LensModel):
            raise BadInput(f"{self.name} takes a model: load or adapt it first, as in workbench.load('micro').")
        if sentence := self.why_not(model):
            raise MissingCapability(sentence)
        try:
            bound = inspect.signature(self.function).bind(model, *args, **kwargs)
        except TypeError as error:
            names = ", ".join(p.name for p in self.params)
            raise BadInput(f"{self.name}: {error}. It takes {names or 'no parameters'}.") from None
        bound.apply_defaults()
        values = self.check(model, bound.arguments)
        bound.arguments.update(values)
        with evaluating(model.module):
            result = self.function(*bound.args, **bound.kwargs)
        return replace(result, meta={**result.meta, **provenance.stamp(self.name, model, values)})

    def as_python(self, model: str, params: Mapping[str, Any], **load: Any) -> str:
        """Source that makes the same result: the model as `workbench.load` names it, `load` its other options."""
        entry = index().by_function(self.function.__name__)
        public = entry is not None and entry.name == self.name
        callee = f"workbench.{self.function.__name__}" if public else f"workbench.get({self.name!r})"
        return spelling.as_python(callee, self.params, model, params, load)

    def as_command(self, model: str, params: Mapping[str, Any], **load: Any) -> str:
        """The shell command that makes the same result."""
        return spelling.as_command(self.name, self.params, model, params, load)


ANALYSES: dict[str, Analysis] = {}
"""Every analysis whose module has been imported, by name; `get(name)` imports the one it needs, `load_all()` all."""


def analysis(
    name: str, *, needs: set[str] | frozenset[str], title: str = ""
) -> Callable[[Callable[..., Any]], Analysis]:
    """Register a function `(model, ...) -> Result` under `name`.

    `needs` are capabilities of a model (`workbench.registry.CAPABILITIES`), never classes of models.
    """
    if unknown := set(needs) - set(CAPABILITIES):
        raise UnknownName("capability", sorted(unknown)[0], CAPABILITIES)

    def register(function: Callable[..., Any]) -> Analysis:
        old = ANALYSES.get(name)
        if old and (old.function.__module__, old.function.__qualname__) != (function.__module__, function.__qualname__):
            raise ValueError(f"There already is an analysis called {name!r}, in {old.function.__module__}.")
        params = params_of(function, get_type_hints(function, include_extras=True))
        ANALYSES[name] = Analysis(name, function, frozenset(needs), params, title or title_of(name))
        return ANALYSES[name]

    return register


def get(name: str) -> Analysis:
    """The analysis called `name`; only its own module is imported."""
    if name not in ANALYSES:
        entry = index().analyses.get(name)
        if entry is None:
            notes = "".join(f" {broken}" for broken in index().broken)
            error = UnknownName("analysis", name, {*index().analyses, *ANALYSES})
            error.args = (f"{error.args[0]}{notes}",)
            raise error
        _import(entry.module, entry.name)
    return ANALYSES[name]


def load_all() -> tuple[str, ...]:
    """Import every analysis there is; returns a sentence for each that could not be, plugins included."""
    broken = [str(b) for b in index().broken]
    for entry in index().analyses.values():
        try:
            get(entry.name)
        except BrokenPlugin as error:
            broken.append(str(error))
    return tuple(broken)


def _import(module: str, name: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # a stranger's module may fail in any way
        raise BrokenPlugin(f"The analysis {name!r} cannot be used: {module} fails with {error!r}.") from error
    if name not in ANALYSES:
        raise BrokenPlugin(f"The analysis {name!r} cannot be used: {module} was imported and did not register it.")
