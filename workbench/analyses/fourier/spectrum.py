"""Fourier spectrum: along which frequencies a model lays out the values of a variable, and how round that is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.fourier.spectrum_result import FourierSpectrum
from workbench.errors import BadInput
from workbench.functional.spectra import DEAD
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Seed, VariableName, Within, analysis
from workbench.variables import Variable, embedding_rows, states, unembedding_rows, variable as variable_of
from workbench.variables.texts import Read, placed

Part = Literal["embed", "unembed", "resid_post", "attn_out", "mlp_out"]
PARTS: tuple[Part, ...] = ("embed", "unembed", "resid_post", "attn_out", "mlp_out")
TOKENS = ("embed", "unembed")
"""Parts that are tables with a row for each token."""
FIRST = (
    "Values stand at the very first position, where one direction outgrows all others in many models: a template with"
    " words before {} shows more."
)


@analysis("fourier-spectrum", needs={"text", "resid"})
@torch.no_grad()
def fourier_spectrum(
    model: LensModel,
    variable: Annotated[VariableName, "What is ordered"],
    *,
    template: Annotated[str, "Text in which each value stands, at {}, as in 'The day after {} is'"] = "{}",
    read: Annotated[
        Read, "Where states are read: the value's last token, or the last token (or mask) of all"
    ] = "value",
    parts: Annotated[tuple[Part, ...], "What is looked at"] = PARTS,
    detrend: Annotated[bool, "Take off the straight line along the values first"] = False,
    kept: Annotated[int, Within(1, 12), "Strongest frequencies of each place whose planes are kept"] = 3,
    draws: Annotated[int, Within(20, 10000), "Random orders of the values, for the null"] = 200,
    seed: Annotated[Seed, "Seed of the random orders, and of the tokens at which positions are read"] = 0,
) -> FourierSpectrum:
    """Along which frequencies a model lays out the values of a variable, place by place, and how round the circles are.

    Each place gives a table (value, width): rows of the token embedding and unembedding, and states of each layer, one
    forward pass a value. Its mean is taken off, and frequency k is k whole cycles over all values. A share is power
    over all power of the place. The null is the same table with its values in random order: the 95th percentile of the
    largest share. A few values reach large shares by chance, so look at the null before a circle. A straight line along
    the values, and any other smooth growth, also shows as power at 1, 2, ... cycles, most at 1: `trend` says how much
    of the table it is, and `detrend` takes it off. Roundness is the smaller over the larger length of cos and sin.
    Encoder-decoders are read in their encoder. Of positions, rows of position embeddings and means over random tokens
    are looked at. Zhou et al. (2024), "Pre-trained Large Language Models Use Fourier Features to Compute Addition".
    """
    if not parts:
        raise BadInput(f"parts is empty: name one or more of {', '.join(PARTS)}.")
    found = variable_of(variable, model)
    notes = [found.said]
    tables = dict(_tables(model, found, parts, template, read, seed, notes))
    if not tables:
        raise BadInput(f"Nothing is left to look at. {' '.join(notes)}")
    kept = min(kept, len(found) // 2)
    measured = [_measured(table, kept, detrend, draws, seed) for table in track(list(tables.values()), label="places")]
    kinds, layers = zip(*(_named(place) for place in tables), strict=True)
    return FourierSpectrum(
        power=torch.stack([one.power for one in measured]),
        null=torch.stack([one.null for one in measured]),
        trend=torch.stack([one.trend for one in measured]),
        strongest=torch.tensor([one.strongest for one in measured]),
        coordinates=torch.stack([torch.stack([plane.coordinates for plane in one.planes]) for one in measured]),
        held=torch.tensor([[plane.held for plane in one.planes] for one in measured], dtype=torch.float64),
        roundness=torch.tensor([[plane.roundness for plane in one.planes] for one in measured], dtype=torch.float64),
        places=tuple(tables),
        parts=kinds,
        layers=layers,
        values=found.labels,
        variable=found.name,
        unit=found.unit,
        spacing=float(found.spacing),
        cyclic=found.cyclic,
        detrended=detrend,
        draws=draws,
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """What one table has."""

    power: Float[Tensor, "frequency"]
    null: Float[Tensor, ""]
    trend: Float[Tensor, ""]
    strongest: list[int]
    planes: list[functional.FrequencyPlane]


def _measured(table: Float[Tensor, "value width"], kept: int, detrend: bool, draws: int, seed: int) -> _Measured:
    raw = table.double().cpu()
    straight = functional.detrended(raw)
    whole = (raw - raw.mean(0)).square().sum()
    used = straight if detrend else raw
    power = functional.power_spectrum(used, dim=0).sum(-1)
    power = power if float(power.sum()) > DEAD**2 else power * 0
    strongest = (1 + power[1:].argsort(descending=True, stable=True)[:kept]).tolist()
    return _Measured(
        power=power,
        null=functional.shuffled_shares(raw, draws, seed=seed, detrend=detrend).quantile(0.95),
        trend=1 - straight.square().sum() / whole.masked_fill(whole < DEAD**2, torch.nan),
        strongest=strongest,
        planes=[functional.frequency_plane(used, k) for k in strongest],
    )


def _tables(
    model: LensModel, variable: Variable, parts: tuple[str, ...], template: str, read: Read, seed: int, notes: list[str]
) -> Iterator[tuple[str, Float[Tensor, "value width"]]]:
    """(place, a row for each value), with a note on each part that is left out."""
    stack = next(stack for stack in model.stacks if stack.side == "input")
    yield from _of_tokens(model, variable, parts, f"{stack.row.lead}pos_embed", notes).items()
    sites = [f"{stack.prefix}.{i}.{part}" for i in range(stack.n_blocks) for part in PARTS if part in parts]
    there = [site for site in sites if site in model.sites]
    for part in (part for part in parts if part not in TOKENS):
        if not any(site.endswith(f".{part}") for site in there):
            notes.append(f"{model.name} has no {part}: it is left out.")
    if positions := variable.of_positions and f"{stack.row.lead}pos_embed":
        there = [positions, *there] if positions in model.sites and "embed" in parts else there
    if (
        there
        and not variable.of_positions
        and all(one.position == 0 for one in placed(model, variable, template, read))
    ):
        notes.append(FIRST)
    if there:
        yield from states(model, variable, there, template=template, read=read, seed=seed).items()


def _of_tokens(
    model: LensModel, variable: Variable, parts: tuple[str, ...], pos_embed: str, notes: list[str]
) -> Mapping[str, Tensor]:
    """The rows of the values' tokens in the embedding and the unembedding."""
    asked = [part for part in TOKENS if part in parts]
    if variable.of_positions:
        if "embed" in asked and pos_embed not in model.sites:
            notes.append(f"{model.name} has no embedding of positions: it is left out.")
        return {}
    if variable.ids is None and asked:
        if len(asked) == len(parts):
            variable.tokens()  # raises, and names the values
        notes.append(f"Rows of {' and '.join(asked)} are left out: these need values of one token each.")
        return {}
    if not asked:
        return {}
    ids = variable.tokens()
    rows = {"embed": embedding_rows, "unembed": unembedding_rows}
    found = {part: rows[part](model, ids) for part in asked}
    if "unembed" in found and found["unembed"] is None:
        notes.append(f"{model.name} has no unembedding: it is left out.")
    return {part: table for part, table in found.items() if table is not None}


def _named(place: str) -> tuple[str, str]:
    """(part, layer) of a place."""
    if place in TOKENS:
        return place, place
    if place.endswith("pos_embed"):
        return "embed", "embed"
    _, layer, part = place.rsplit(".", 2)
    return part, layer
