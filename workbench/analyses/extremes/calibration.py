"""What usually stands in a layer's coordinates: means over calibration texts, at the first token and at later ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.activations.batches import Inputs, collate, valid
from workbench.analyses.extremes.given import drawn
from workbench.analyses.one_prompt import precise
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.interventions import neutral_sentences
from workbench.models.lens_model import LensModel
from workbench.progress import track

Rule = Callable[[Float[Tensor, "pos d"]], Bool[Tensor, "pos d"]]
"""Which coordinates of a state are taken."""
AT_ONCE = 16
"""Texts that are run together."""
MOST = 100
"""Calibration texts that are read; Sun et al. (2024) take as many."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """Means of one layer's state over calibration texts, a number for each dimension."""

    first: Float[Tensor, "d"]
    """At the first token."""
    later: Float[Tensor, "d"]
    """At all later ones; NaN where the texts have none."""
    taken: Float[Tensor, "d"]
    """At those later ones where the dimension is taken (massive); NaN where it never is."""
    texts: int

    def at(self, places: Int[Tensor, "found 2"], *, taken: bool) -> Float[Tensor, "found"]:
        """What to put at coordinates: for the first token the mean there, for later ones the mean of their like."""
        dims = places[:, 1]
        later = self.later[dims]
        if taken:
            later = torch.where(self.taken[dims].isnan(), later, self.taken[dims])
        found = torch.where(places[:, 0] == 0, self.first[dims], later)
        if found.isnan().any():
            raise BadInput("The calibration texts have one token each: give `reference` texts with more.")
        return found


def calibrated(model: LensModel, site: str, rule: Rule, reference: Any, seed: int) -> Calibration:
    """Run the calibration texts (neutral sentences, or the example corpus where there are no texts to read)."""
    source = reference
    if source is None:
        source = list(neutral_sentences()) if model.reads == "text" else "example"
    texts = drawn(model, source, MOST, seed)
    first, later, taken = [], [], []
    for state in _states(model, site, texts.inputs):
        first.append(state[0])
        later.append(state[1:])
        taken.append(rule(state)[1:])
    rows, masks = torch.cat(later), torch.cat(taken)
    nothing = torch.full_like(first[0], torch.nan)
    return Calibration(
        first=torch.stack(first).mean(0),
        later=rows.mean(0) if len(rows) else nothing,
        taken=rows.where(masks, 0.0).sum(0) / masks.sum(0) if len(rows) else nothing,
        texts=len(texts.inputs),
    )


def _states(model: LensModel, site: str, inputs: Sequence[Any]) -> Iterator[Float[Tensor, "pos d"]]:
    """The state of each input in turn, without padding; several are run together."""
    given = Inputs(model=model, raw=inputs)
    encoded = [given.encode(number) for number in range(len(inputs))]
    for at in track(range(0, len(encoded), AT_ONCE), label="calibration"):
        batch = collate(given, encoded[at : at + AT_ONCE])
        with reading(model, [site]) as values:
            model.module(**batch)
        states = precise(values[site])
        mask = valid(batch, model.main.side, states.shape[1])
        yield from states if mask is None else (state[kept] for state, kept in zip(states, mask, strict=True))
