"""Results: frozen dataclasses of named tensors and plain values that can be shown, saved and loaded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from workbench import resultfile
from workbench.errors import BadFile, BadInput
from workbench.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class Result(ABC):
    """What an analysis found. Subclasses are final: declare `kind`, fields, and the two methods.

    A field holds a tensor, or plain data: str, int, float, bool, None, and tuples and dicts of them.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    """Analysis, parameters, model, numeric regime, versions, seed and time; filled in by the registry."""

    kinds: ClassVar[dict[str, type["Result"]]] = {}
    """Every result class that has been imported, by its kind."""
    kind: ClassVar[str]

    def __init_subclass__(cls, *, kind: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        taken = Result.kinds.get(kind)
        if taken and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"The result kind {kind!r} is taken by {taken.__module__}.{taken.__qualname__}.")
        cls.kind = kind
        cls.__repr__ = Result.__repr__  # or @dataclass would write one that prints every number
        Result.kinds[kind] = cls

    @abstractmethod
    def to_frame(self) -> "pd.DataFrame":
        """One tidy row per number, with named columns."""

    @abstractmethod
    def figure(self) -> "go.Figure":
        """The default picture of this result."""

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What a terminal shows: some sentences, and a table that may be smaller than `to_frame()`."""
        return "", self.to_frame()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write everything to one safetensors file with a JSON header; whole or not at all, never pickle."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return write_atomically(path, resultfile.to_bytes(self.kind, values))

    def __repr__(self) -> str:
        """One line: what this is, of which model, and the shape of each tensor."""
        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "meta":
                continue
            text = f"{tuple(value.shape)}" if hasattr(value, "shape") else repr(value)
            shown.append(f"{f.name}={text if len(text) <= 60 else text[:57] + '...'}")
        model = self.meta.get("model")
        return f"<{type(self).__name__}{f' of {model}' if model else ''}: {', '.join(shown)}>"

    def _repr_html_(self) -> str:
        from workbench.plots.notebook import notebook_html

        title = " of ".join(str(self.meta[k]) for k in ("analysis", "model") if self.meta.get(k)) or self.kind
        return notebook_html(title, self.figure(), self.to_frame())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def load_result(path: str | PathLike[str]) -> Result:
    """Read back what `Result.save` wrote. Anything else, or a single altered byte, raises `BadFile`."""
    if not isinstance(path, str | PathLike):
        raise BadInput(f"load_result takes the path of a saved result, not {type(path).__name__}.")
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}. Results are written with result.save(path) or --out.") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error
    kind, values = resultfile.from_bytes(data, name=str(path))
    cls = _class_of(kind, path)
    if set(values) != (names := {f.name for f in fields(cls)}):
        odd = ", ".join(sorted(set(values) ^ names))
        raise BadFile(f"{path} holds a {kind!r} result of another version of the workbench (it differs in {odd}).")
    try:
        return cls(**values)
    except Exception as error:
        raise BadFile(f"{path} does not hold a usable {kind!r} result: {error}") from error


def _class_of(kind: str, path: Path) -> type[Result]:
    if kind not in Result.kinds:
        import importlib

        from workbench.index import index

        if module := index().kinds.get(kind):
            try:
                importlib.import_module(module)
            except Exception as error:
                raise BadFile(f"{path} holds a {kind!r} result, but its module {module} fails: {error}") from error
    if kind not in Result.kinds:
        raise BadFile(
            f"{path} holds a {kind!r} result, which no installed analysis makes; install the plugin it is of."
        )
    return Result.kinds[kind]
