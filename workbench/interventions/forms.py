"""Interventions as data: what to do to which site, written as text or JSON, saved, replayed.

blocks.5.attn.z:3                 zero head 3's output in block 5
blocks.5.attn.z:0,3@4,7=mean      heads 0 and 3, at positions 4 and 7 only, by their mean over reference text
blocks.2.mlp_out@-1=scale:0.5     half of what the MLP adds at the last position
blocks.2.resid_post=resample:7    the stream at positions of other sentences, drawn with seed 7
blocks.2.resid_pre@4=patch        the stream at position 4 of another prompt of the same length
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from workbench.errors import BadInput

Operation = Literal["zero", "mean", "resample", "scale", "add", "patch"]
OPERATIONS: tuple[str, ...] = get_args(Operation)

_FORM = re.compile(
    r"(?P<site>[^\s:@=]+)(:(?P<heads>\d+(,\d+)*))?(@(?P<positions>-?\d+(,-?\d+)*))?"
    r"(=(?P<operation>[a-z]+)(:(?P<amount>[^\s:]+))?)?"
)


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """One thing done to one site.

    zero: 0. mean: the mean of the site over the positions of the reference. resample: at each position the value of
    a random reference position, the same one for every site with the same seed, so that sites replaced together stay
    consistent. scale: times `amount`. add: plus `amount` in every entry. patch: the value at the same place of another
    prompt, the source, which has as many positions.
    """

    site: str
    operation: Operation = "zero"
    heads: tuple[int, ...] = ()
    """Heads it is done to (kv heads for k and v); none means all of them."""
    positions: tuple[int, ...] = ()
    """Positions (queries, for patterns) it is done at, negative from the end; none means all of them."""
    amount: float = 1.0
    """Of scale and add."""
    seed: int = 0
    """Of resample."""

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise BadInput(f"An intervention is one of {', '.join(OPERATIONS)}, not {self.operation!r}.")
        if not math.isfinite(self.amount):
            raise BadInput(f"The amount of an intervention must be a finite number, not {self.amount!r}.")
        if self.seed < 0 or any(head < 0 for head in self.heads):
            raise BadInput(f"Heads and seeds count from 0: {self} has a negative one.")

    def __str__(self) -> str:
        heads = f":{','.join(map(str, self.heads))}" if self.heads else ""
        positions = f"@{','.join(map(str, self.positions))}" if self.positions else ""
        number = {"scale": f":{self.amount!r}", "add": f":{self.amount!r}", "resample": f":{self.seed}"}
        return f"{self.site}{heads}{positions}={self.operation}{number.get(self.operation, '')}"


def parse(text: str, *, operation: Operation = "zero", seed: int = 0) -> Intervention:
    """Read the short text form; `operation` and `seed` are used where the text names none. `str()` writes it."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise BadInput(
            f"{text!r} is not an intervention. Write SITE, SITE:HEADS, SITE@POSITIONS or SITE:HEADS@POSITIONS,"
            " with =OPERATION after it if you like: 'blocks.5.attn.z:3@4,7=mean'."
        )
    given: str = match["operation"] or operation
    if given not in OPERATIONS:
        raise BadInput(f"{text!r} names the operation {given!r}; known are {', '.join(OPERATIONS)}.")
    numbers: dict[str, Any] = {"seed": seed} if given == "resample" else {}
    if (amount := match["amount"]) is not None:
        numbers = _number(text, given, amount)
    elif given in ("scale", "add"):
        raise BadInput(f"{text!r} needs an amount: '{text.strip()}:0.5'.")
    return Intervention(
        site=match["site"],
        operation=given,  # pyright: ignore[reportArgumentType]
        heads=_integers(match["heads"]),
        positions=_integers(match["positions"]),
        **numbers,
    )


def to_json(interventions: Iterable[Intervention]) -> str:
    """Interventions as JSON text."""
    return json.dumps([asdict(i) for i in interventions], indent=1, allow_nan=False)


def from_json(text: str) -> tuple[Intervention, ...]:
    """Read what `to_json` wrote; anything else is a `BadInput`."""
    try:
        items = json.loads(text)
        return tuple(_from_dict(item) for item in items)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"This is not a list of interventions: {error}") from None


def _number(text: str, operation: str, amount: str) -> dict[str, Any]:
    try:
        if operation == "resample":
            return {"seed": int(amount)}
        if operation in ("scale", "add"):
            return {"amount": float(amount)}
    except ValueError:
        pass
    raise BadInput(f"{text!r}: {amount!r} is not a number that {operation!r} takes.")


def _integers(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",")) if text else ()


def _from_dict(item: Mapping[str, Any]) -> Intervention:
    names = {f.name for f in fields(Intervention)}
    if not isinstance(item, Mapping) or "site" not in item or set(item) - names:
        raise ValueError(f"{item!r} does not have the fields of an intervention ({', '.join(sorted(names))})")
    for name, kinds in (("site", str), ("operation", str), ("amount", int | float), ("seed", int)):
        if name in item and (not isinstance(item[name], kinds) or isinstance(item[name], bool)):
            raise ValueError(f"{name} cannot be {item[name]!r}")
    for name in ("heads", "positions"):
        if any(not isinstance(i, int) or isinstance(i, bool) for i in item.get(name, ())):
            raise ValueError(f"{name} must be whole numbers, not {item[name]!r}")
    return Intervention(
        **{**item, "heads": tuple(item.get("heads", ())), "positions": tuple(item.get("positions", ()))}
    )
