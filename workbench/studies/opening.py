"""Links of a study into the app: a page with the model, the prompt and the options filled in."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

HERE = "./"
"""How an option begins that names a file in the study's folder."""
ANALYSIS = "analysis-"
"""How the name of a page begins that any registered analysis has."""
COMMON = ("model", "prompt")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One view of the app that shows what the study is about."""

    says: str
    """What is seen there."""
    page: str
    """Its name in the app's address; "analysis-NAME" is the page of a registered analysis."""
    model: str
    """As the app takes it: an absolute folder, or a name of the catalogue."""
    prompt: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    """The page's own, as its address has them."""

    @property
    def query(self) -> dict[str, str]:
        """What the address says after the page. The prompt is always said: another study's would not fit the model."""
        return {"model": self.model, "prompt": self.prompt, **self.options}

    @property
    def address(self) -> str:
        """Path and query, to follow `http://127.0.0.1:8501/`."""
        return f"{self.page}?{urlencode(self.query)}"


def opening(written: Any, folder: Path) -> Opening:
    """One link as `expected.json` has it, its paths made absolute. Raises `ValueError` with what is wrong."""
    if not isinstance(written, dict):
        raise ValueError(f"a link of opens is an object, not {written!r}")
    which = f"the link {written.get('says')!r}"
    names = {f.name for f in fields(Opening)}
    needed = {f.name for f in fields(Opening) if f.default is MISSING and f.default_factory is MISSING}
    if wrong := (set(written) - names) | (needed - set(written)):
        raise ValueError(f"{which}: missing or unknown {', '.join(sorted(wrong))}")
    options = written.get("options", {})
    if not isinstance(options, dict):
        raise ValueError(f"{which}: options are an object of texts, not {options!r}")
    texts = {**{key: value for key, value in written.items() if key != "options"}, **options}
    for key, text in texts.items():
        if not isinstance(text, str) or (key in needed and not text.strip()):
            raise ValueError(f"{which}: {key} is a text, not {text!r}")
    if clash := set(options) & set(COMMON):
        raise ValueError(f"{which}: {', '.join(sorted(clash))} stands beside options, not among them")
    _check_page(written["page"], which)
    return Opening(
        says=written["says"],
        page=written["page"],
        model=_model(written["model"], folder, which),
        prompt=written.get("prompt", ""),
        options={key: _file(text, folder, which) for key, text in options.items()},
    )


def _check_page(page: str, which: str) -> None:
    """That its analysis exists. The app alone knows its other pages; it says so where one does not exist."""
    from workbench.index import index

    known = index().analyses
    if page.startswith(ANALYSIS) and (name := page.removeprefix(ANALYSIS)) not in known:
        raise ValueError(f"{which}: there is no page {page!r}, as no analysis is called {name!r}{_near(name, known)}")


def _model(name: str, folder: Path, which: str) -> str:
    from workbench.models.catalogue import CATALOGUE

    if name in CATALOGUE:
        return name
    path = (folder / name).resolve()
    if path.is_dir() and path.is_relative_to(folder.resolve()):
        return str(path)
    inside = sorted(str(one.relative_to(folder)) for one in folder.glob("checkpoints/*") if one.is_dir())
    own, others = ", ".join(inside) or "it has no checkpoints", ", ".join(CATALOGUE)
    raise ValueError(
        f"{which}: the model {name!r} is neither a folder of the study ({own}) nor a name of the catalogue ({others})"
    )


def _file(text: str, folder: Path, which: str) -> str:
    """An option as it is, or the absolute path of a file of the study; what follows a colon is a name in the file."""
    if not text.startswith(HERE):
        return text
    path, colon, name = text.partition(":")
    if not (whole := (folder / path).resolve()).exists():
        inside = ", ".join(sorted(one.name for one in folder.iterdir() if not one.name.startswith((".", "_"))))
        raise ValueError(f"{which}: the study has no {path.removeprefix(HERE)}; it has {inside}")
    return f"{whole}{colon}{name}"


def _near(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=3)
    return f"; near it: {', '.join(close)}" if close else ""
