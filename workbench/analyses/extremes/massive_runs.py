"""One input run again and again, each time with other numbers at some coordinates of one layer's state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.target import answers_of
from workbench.analyses.extremes.calibration import Calibration
from workbench.analyses.extremes.losses import next_token_losses
from workbench.analyses.extremes.starts import raw_positions
from workbench.analyses.one_prompt import precise, real
from workbench.analyses.sound import need_sound_logits
from workbench.hooks import Edit, editing, reading
from workbench.models.lens_model import LensModel

Change = tuple[Int[Tensor, "_ 2"], Float[Tensor, "_"]]
"""Coordinates (position, dimension), and what is put there."""
UNALTERED = "unaltered"


@dataclass(frozen=True, eq=False, kw_only=True)
class Runs:
    """What one input gives under each change in turn."""

    losses: Float[Tensor, "change"]
    """Sum over next tokens; 0 where none is predicted."""
    n_tokens: int
    kl: Float[Tensor, "change"]
    """From the first change's answers, mean over positions."""
    sinks: Float[Tensor, "change"]
    """NaN without attention in a later layer, or without a later query."""


def changes(
    state: Float[Tensor, "pos d"], mask: Bool[Tensor, "pos d"], means: Calibration, draws: int, seed: int
) -> dict[str, tuple[Change, ...]]:
    """What is put where: the masked coordinates and their controls, by the name of the condition."""
    places = mask.nonzero()
    count, zeros = len(places), torch.zeros(len(places), device=state.device)
    others = functional.next_largest(state, mask, count)
    random = [functional.random_coordinates(mask, count, seed=seed + 1000 * draw) for draw in range(draws)]
    return {
        UNALTERED: ((places[:0], zeros[:0]),),
        "massive: zero": ((places, zeros),),
        "massive: mean": ((places, means.at(places, taken=True)),),
        "random: zero": tuple((drawn, zeros) for drawn in random),
        "next largest: zero": ((others, zeros),),
        "next largest: mean": ((others, means.at(others, taken=False)),),
    }


def no_change(batch: Mapping[str, Tensor]) -> Change:
    """Nothing at all, on the device of a batch."""
    device = next(iter(batch.values())).device
    return torch.zeros(0, 2, dtype=torch.long, device=device), torch.zeros(0, device=device)


def runs(
    model: LensModel, batch: Mapping[str, Tensor], layer: int, wanted: Sequence[Change], position: int | None
) -> Runs:
    """Run one input under each change of the state after a layer; `position` is the key whose sink is measured."""
    side, site = model.main.side, model.stream("resid_post")[layer]
    patterns: tuple[str, ...] = ()
    if "pattern" in model.capabilities and position is not None:
        patterns = model.attention_sites(f"{model.main.prefix}.{model.main.attentions[0]}", "pattern")[layer + 1 :]
    found: list[tuple[float, int, float, float]] = []
    plain: Tensor | None = None
    for places, values in wanted:
        with editing(model, {site: _edit(batch, side, places, values)}), reading(model, patterns) as seen:
            logits = answers_of(model.module(**batch))
        loss, n_tokens = next_token_losses(model, logits, batch)
        answers = precise(logits if logits.ndim == 3 else logits[:, None])[0]
        answers = real(answers, batch, side, dim=0)
        if plain is None:
            need_sound_logits(model, answers)
            plain = answers
        kl = [functional.kl_divergence(a, b) for a, b in zip(plain.split(64), answers.split(64), strict=True)]
        masses = [_sink(model, batch, seen[one], position) for one in patterns if position is not None]
        sink = torch.stack(masses).mean().item() if masses else torch.nan
        found.append((loss.item(), int(n_tokens), torch.cat(kl).mean().item(), sink))
    losses, n_tokens, kls, sinks = zip(*found, strict=True)
    return Runs(
        losses=torch.tensor(losses, dtype=torch.float64),
        n_tokens=n_tokens[0],
        kl=torch.tensor(kls, dtype=torch.float64),
        sinks=torch.tensor(sinks, dtype=torch.float64),
    )


def _edit(batch: Mapping[str, Tensor], side: str, places: Tensor, values: Tensor) -> Edit:
    def edit(state: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        raw = raw_positions(batch, side, state.shape[1])[places[:, 0]]
        return functional.set_coordinates(state, torch.stack([raw, places[:, 1]], -1), values)

    return edit


def _sink(model: LensModel, batch: Mapping[str, Tensor], pattern: Tensor, position: int) -> Float[Tensor, "head"]:
    side = model.main.side
    cells = real(real(pattern[0], batch, side, dim=-2), batch, side, dim=-1)
    return functional.sink_mass(cells, both_ways=not model.main.causal)[:, position]
