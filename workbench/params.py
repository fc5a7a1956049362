"""One parameter of an analysis: read off its annotation, checked with a clear sentence, offered by every front door.

`Annotated[int, Within(1, 20), "Answers kept per cell"]` is the whole declaration.
"""

import inspect
import math
import operator
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


@dataclass(frozen=True)
class Within:
    """Limits of a number, inclusive: `Annotated[int, Within(1, 20), "help"]`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low} to {self.high}"


@dataclass(frozen=True)
class Kind:
    """What a parameter stands for, so that a form can offer more than a text field."""

    name: str


Prompt = Annotated[Any, Kind("prompt")]
"""What the model reads: text, token ids, or (for models that see or hear) a path, picture or waveform."""
Texts = Annotated[Any, Kind("corpus")]
"""Many inputs: anything that `workbench.corpus` takes, such as "example", the path of a text file, or a list."""
TaskName = Annotated[str, Kind("task")]
"""The name of a task, such as "ioi", or the path of a table of the user's own; `workbench tasks` lists the names."""
VariableName = Annotated[str, Kind("variable")]
"""A variable: a name such as "days", a range "0-99", a list "red,green,blue", the path of a list, or "ids:0-58"."""
Token = Annotated[str | None, Kind("token")]
"""The text of one token of the model's vocabulary; None where the analysis chooses."""
Sites = Annotated[tuple[str, ...], Kind("sites")]
"""Names of sites, such as "blocks.3.attn.pattern"."""
AttentionName = Annotated[str | None, Kind("attention")]
"""One of `model.attentions`; None means the first."""
Layer = Annotated[int, Kind("layer")]
"""A layer, counted from 0; negative counts from the last."""
Head = Annotated[int, Kind("head")]
"""A query head, counted from 0; negative counts from the last."""
Position = Annotated[int, Kind("position")]
"""A position in the prompt, counted from 0; negative counts from the last."""
Seed = Annotated[int, Kind("seed"), Within(0, 2**32 - 1)]
"""Seed of everything random; the same seed gives the same result."""

_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list"}


Type = type  # inside Param, `type` is the name of a field


@dataclass(frozen=True)
class Param:
    """One parameter as a user interface needs it."""

    name: str
    type: "Type"
    """int, float, bool, str, tuple (of `item`), or object for anything."""
    default: Any
    help: str
    kind: str
    """"prompt", "corpus", "task", "variable", "token", "sites", "attention", "layer", "head", "position", "seed",
    "choice", or the type's."""
    choices: tuple[Any, ...] = ()
    within: Within | None = None
    optional: bool = False
    """Whether None is allowed."""
    item: "Type | None" = None
    keyword: bool = True
    """Whether it may only be given by name."""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty

    def check(self, value: Any) -> Any:
        """`value` in its proper type, or a `BadInput` that says what is allowed."""
        if self.optional and (value is None or (value == "" and self.kind == "corpus")):
            return None
        if value is None and self.kind == "prompt":
            raise BadInput(f"{self.name} is missing: say what the model should read.")
        if self.kind == "corpus" and (value is None or value == "" or isinstance(value, int | float | bytes)):
            raise self._wrong(value)
        if self.kind in ("task", "variable") and hasattr(value, "__fspath__"):
            value = str(value)
        if self.kind in ("task", "variable") and isinstance(value, str) and not value.strip():
            raise self._wrong(value)
        if self.type is tuple:
            if isinstance(value, str) and self.item is str:
                value = (value,)
            if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
                raise self._wrong(value)
            return tuple(self._one(item, self.item or object) for item in value)
        return self._one(value, self.type)

    def _one(self, value: Any, wanted: "Type") -> Any:
        cast = _cast(value, wanted)
        bad_choice = self.choices and cast not in self.choices
        if cast is _WRONG or bad_choice or (self.within and not self.within.low <= cast <= self.within.high):
            if self.type is tuple:
                raise BadInput(f"{self.name} must be {self.allowed}; one of its values is {_short(value)}.")
            raise self._wrong(value)
        return cast

    def _wrong(self, value: Any) -> BadInput:
        hint = _as_text(value) if self.kind == "variable" else ""
        return BadInput(f"{self.name} must be {self.allowed}, not {_short(value)}.{hint}")

    @property
    def allowed(self) -> str:
        """What may be given, in words: "a whole number from 1 to 20"."""
        if self.kind == "corpus":
            what = "the name of a corpus ('example'), the path of a text file or a folder, or a list"
        elif self.kind == "task":
            what = "the name of a task ('ioi'; `workbench tasks` lists them) or the path of a table of your own"
        elif self.kind == "variable":
            what = (
                "a variable: 'days' (`workbench variables` lists the names), a range '0-99', a list 'red,green,blue',"
                " or the path of a text file with one value a line"
            )
        elif self.choices:
            what = f"one of {', '.join(map(repr, self.choices))}"
        else:
            what = _TYPES.get(self.item if self.type is tuple and self.item else self.type, "anything")
        if self.within:
            what += f" {self.within}"
        if self.type is tuple:
            what = f"a list, each {what}"
        return f"{what}, or nothing" if self.optional else what

    def check_for(self, value: Any, model: "LensModel", *, attention: str | None = None) -> Any:
        """`value`, which passed `check`, made to fit this model: layers, heads, sites and attentions it has."""
        if value is None:
            return None
        if self.kind in ("layer", "head"):
            sizes = (model.attention(attention)[0] if model.attentions else model.main).sizes
            count = sizes.n_blocks if self.kind == "layer" else sizes.n_heads
            return self._each(value, lambda v: _within_count(self.name, v, count, model))
        if self.kind == "attention":
            model.attention(value)  # raises with the names there are
        if self.kind == "sites":
            for site in value:
                model.site(site)  # raises with the nearest names
        return value

    def _each(self, value: Any, function: Any) -> Any:
        return tuple(map(function, value)) if self.type is tuple else function(value)


class _Wrong:
    """Marks a value of the wrong type; compares false with everything."""


_WRONG = _Wrong()


def _cast(value: Any, wanted: type) -> Any:
    if wanted is object:
        return value
    if wanted is bool or isinstance(value, bool):
        return value if isinstance(value, bool) and wanted is bool else _WRONG
    if wanted is int:
        try:
            return operator.index(value)
        except TypeError:
            return _WRONG
    if wanted is float:
        try:
            number = float(value) if not isinstance(value, str | bytes) else math.nan
        except (TypeError, ValueError, OverflowError):
            return _WRONG
        return number if math.isfinite(number) else _WRONG
    return value if isinstance(value, wanted) else _WRONG


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _as_text(value: Any) -> str:
    """How a variable that is a list, or made already, is given as text."""
    if isinstance(value, Sequence) and value and all(isinstance(item, str) for item in value):
        return f" Write the list as one text: {_short(','.join(value))}."
    name = getattr(value, "name", None)
    return f" Give what it was made from, such as its name: {name!r}." if isinstance(name, str) else ""


def _within_count(name: str, value: int, count: int, model: "LensModel") -> int:
    if not -count <= value < count:
        raise BadInput(f"{name} must be from 0 to {count - 1} for {model.name}, not {value}.")
    return value % count


RESERVED = frozenset({"model", "revision", "checkpoint", "dtype", "device", "out", "figure", "json", "csv", "help"})
"""Options of the command line itself; no parameter may be called so."""


def params_of(function: Any, hints: dict[str, Any]) -> tuple[Param, ...]:
    """The parameters of an analysis after its first, the model; `hints` with their `Annotated` extras."""
    _model, *rest = inspect.signature(function).parameters.values()
    for p in rest:
        if p.name in RESERVED:
            raise TypeError(f"{function.__name__}: the name {p.name!r} is taken by the command line; choose another.")
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise TypeError(f"{function.__name__}: *{p.name} has no declaration; name each parameter.")
    return tuple(param_of(p, hints.get(p.name, object)) for p in rest)


def param_of(parameter: inspect.Parameter, hint: Any) -> Param:
    """The declaration of one parameter."""
    base, notes = _flatten(hint)
    kind = next((n.name for n in notes if isinstance(n, Kind)), None)
    within = next((n for n in reversed(notes) if isinstance(n, Within)), None)
    text = next((n for n in reversed(notes) if isinstance(n, str)), "")
    optional = any(n is None for n in notes)
    choices: tuple[Any, ...] = ()
    item = None
    if get_origin(base) is tuple:
        item, inner = _flatten(get_args(base)[0])
        kind = kind or next((n.name for n in inner if isinstance(n, Kind)), None)
        within = within or next((n for n in inner if isinstance(n, Within)), None)
        if get_origin(item) is Literal:
            choices, item = get_args(item), type(get_args(item)[0])
        base = tuple
    elif get_origin(base) is Literal:
        choices, base = get_args(base), type(get_args(base)[0])
    elif base is Any or not isinstance(base, type):
        base = object
    known = kind or ("choice" if choices else "any" if base is object else base.__name__)
    return Param(
        name=parameter.name,
        type=base,
        default=parameter.default,
        help=text,
        kind=known,
        choices=choices,
        within=within,
        optional=optional or parameter.default is None,
        item=item,
        keyword=parameter.kind is parameter.KEYWORD_ONLY,
    )


def _flatten(hint: Any) -> tuple[Any, list[Any]]:
    """(bare type, notes) of nested `Annotated`; a None among the notes means that None is allowed."""
    if get_origin(hint) is Annotated:
        base, *outer = get_args(hint)
        bare, inner = _flatten(base)
        return bare, [*inner, *outer]
    if get_origin(hint) in (Union, types.UnionType):
        parts = [a for a in get_args(hint) if a is not type(None)]
        notes: list[Any] = [None] if len(parts) < len(get_args(hint)) else []
        if len(parts) == 1:
            bare, inner = _flatten(parts[0])
            return bare, [*inner, *notes]
        return Any, notes
    return hint, []
