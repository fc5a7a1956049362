"""From the result of a token attribution to the columns of the token table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.views.token_table import Column, Control
from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.analyses.attribution.side_by_side import TokenAttribution

CHECKS = {
    "auto": ("by a mask token, or else attention", ""),
    "replace": ("each token replaced", "How far the answer falls when another token stands in its place."),
    "mask-attention": ("attention to each cut", "How far the answer falls when no position can attend to the token."),
    "zero-values": ("values of each zeroed", "How far the answer falls when attention to the token brings nothing."),
    "none": ("none", ""),
}
"""Name -> how tokens are taken away, and what the last column then says."""
_SAME = {"replace": "occlusion", "mask-attention": "knockout"}
"""Methods that do what a check does."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the token table shows of a result."""

    columns: tuple[Column, ...]
    check: Column | None
    control: Control | None
    steps: tuple[str, ...]
    """What the slider goes through; one where no method is cumulative."""


def table_of(found: "TokenAttribution") -> Table:
    """The columns of a result; every cumulative method has a row for each of the slider's steps."""
    own: dict[str, list[int]] = {name: [] for name in found.methods}
    for line, name in enumerate(found.line_methods):
        own[name].append(line)
    steps = tuple(found.line_steps[line] for line in max(own.values(), key=len))
    columns = []
    for i, name in enumerate(found.methods):
        lines = own[name]
        if len(lines) > 1:
            at = {found.line_steps[line]: line for line in lines}
            lines = [at.get(step, lines[-1]) for step in steps]
        columns.append(
            Column(
                name=name,
                title=found.titles[i],
                values=found.scores[lines].numpy(),
                signed=found.signed[i],
                cost=found.costs[i],
                note=found.notes[i],
                same=_SAME.get(found.check) == name,
                agreement={} if found.agreement is None else _agreement(found, lines, signed=found.signed[i]),
            )
        )
    return Table(columns=tuple(columns), check=_check(found), control=_control(found), steps=tuple(map(named, steps)))


def named(step: str) -> str:
    """A step in words: the number of a layer, or a name of its own."""
    return f"layer {step}" if step.isdigit() else step


def layer_of(step: str) -> int | None:
    """The layer of the main stack that a step, as `named` gives it, is the end of; None for what is none."""
    for before, after in (("layer ", ""), ("decoder ", " cross")):
        if step.startswith(before) and step.endswith(after):
            number = step.removeprefix(before).removesuffix(after)
            return int(number) if number.isdigit() else None
    return None


def names_in(text: str, allowed: tuple[str, ...]) -> list[str]:
    """The methods that a text of the address names, each once; raises if one is not `allowed`."""
    names = list(dict.fromkeys(text.split()))
    if not names or not set(names) <= set(allowed):
        raise BadInput(f"{text!r} names methods that are not offered.")
    return names


def _agreement(found: "TokenAttribution", lines: list[int], *, signed: bool) -> dict[str, tuple[float, ...]]:
    assert found.agreement is not None
    measures = [m for m in found.measures if signed or not m.startswith("signed")]
    return {m: tuple(found.agreement[lines, found.measures.index(m)].tolist()) for m in measures}


def _check(found: "TokenAttribution") -> Column | None:
    if found.effects is None:
        return None
    how, said = CHECKS[found.check]
    return Column(
        name="check",
        title="Causal check",
        values=found.effects[None].numpy(),
        signed=True,
        cost=how,
        note=" ".join(filter(None, (said, found.check_note))),
    )


def _control(found: "TokenAttribution") -> Control | None:
    if found.random_agreement is None:
        return None
    mean, low, high = found.random_agreement[found.measures.index("spearman")].tolist()
    return None if mean != mean else Control(mean=mean, low=low, high=high)
