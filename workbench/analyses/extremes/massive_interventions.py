"""What massive activations are for: the loss and the sink without them, with their mean, and with others changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.extremes.calibration import calibrated
from workbench.analyses.extremes.given import InputsOf, MassiveRatio, MassiveSize, drawn
from workbench.analyses.extremes.massive_runs import UNALTERED, changes, no_change, runs
from workbench.analyses.extremes.starts import first_sentence, special_positions
from workbench.analyses.one_prompt import one_prompt, precise, real
from workbench.analyses.sound import need_finite_values
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Layer, Prompt, Seed, Texts, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class MassiveInterventions(Result, kind="massive-interventions"):
    """Loss, answers and sink with a layer's massive activations set to something else, and with controls."""

    conditions: tuple[str, ...]
    """unaltered; massive: zero; massive: mean; then controls: random: zero (a row a draw), next largest: zero and mean.
    Only the first where nothing was found."""
    losses: Float[Tensor, "condition input"]
    """Sum over the input's next tokens, in nats."""
    n_tokens: Int[Tensor, "input"]
    """Tokens predicted; 0 for models that predict no next token."""
    kl: Float[Tensor, "condition input"]
    """KL(unaltered || altered) of the answers, mean over positions, in nats."""
    sinks: Float[Tensor, "condition input"]
    """Mean attention to the token of the largest coordinate, over all heads of the layers after; NaN without any."""
    n_heads: int
    """Heads in that mean."""
    counts: Int[Tensor, "input"]
    """Coordinates changed in each input."""
    layer: int | None
    """After which layer they are changed; None where none was found."""
    places: Int[Tensor, "found 2"]
    """(position, dimension) in the prompt."""
    values: Float[Tensor, "found"]
    """What stands there."""
    means: Float[Tensor, "found"]
    """What calibration puts there."""
    calibration_texts: int
    tokens: tuple[str, ...]
    special: tuple[int, ...]

    @property
    def first(self) -> str:
        """Which token of the prompt stands first, and whether it is a special one."""
        return first_sentence(self.tokens, self.special)

    @property
    def loss(self) -> Float[Tensor, "condition"]:
        """Mean over all next tokens of all inputs, in nats; NaN where no token is predicted."""
        return self.losses.sum(1) / self.n_tokens.sum()

    def to_frame(self) -> "pd.DataFrame":
        """One row for each condition; `predicted` tokens and `heads` are 0 where there is no loss, no sink."""
        import pandas as pd

        loss, predicted = self.loss, int(self.n_tokens.sum())
        sink = functional.counted_mean(self.sinks, 1)
        return pd.DataFrame(
            {
                "condition": self.conditions,
                "loss": loss.tolist(),
                "rise": (loss - loss[0]).tolist(),
                "perplexity": loss.clamp(max=700).exp().tolist(),
                "kl": self.kl.mean(1).tolist(),
                "sink": sink.mean.tolist(),
                "changed": [0, *[int(self.counts.sum())] * (len(self.conditions) - 1)],
                "predicted": [predicted] * len(self.conditions),
                "heads": [self.n_heads * int(n > 0) for n in sink.count],
            }
        )

    def places_frame(self) -> "pd.DataFrame":
        """One row for each coordinate that is changed in the prompt; no rows where there is none."""
        import pandas as pd

        rows = [
            {"layer": self.layer, "pos": pos, "token": self.tokens[pos], "dimension": d, "value": value, "mean": mean}
            for (pos, d), value, mean in zip(
                self.places.tolist(), self.values.tolist(), self.means.tolist(), strict=True
            )
        ]
        return pd.DataFrame(rows, columns=["layer", "pos", "token", "dimension", "value", "mean"])

    def figure(self) -> "go.Figure":
        """The rise of the loss under each condition (of models that predict nothing, how far answers move)."""
        frame = self.to_frame()
        measure = "rise" if self.n_tokens.any() else "kl"
        says = "rise of the loss (nats a token)" if measure == "rise" else "KL of the answers (nats)"
        frame = frame.assign(**{"place": range(len(frame)), says: frame[measure]})
        where = "nothing is massive" if self.layer is None else f"changed after layer {self.layer}"
        return plots.bars(
            frame, x="place", y=says, x_labels="condition", horizontal=True, title=f"Massive activations, {where}"
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What was changed, in a sentence, and the table."""
        if self.layer is None:
            return f"No activation of the prompt is massive, so nothing was changed. {self.first}", self.to_frame()
        changed = f"{len(self.places)} coordinates of the prompt were changed after layer {self.layer}."
        return f"{changed} {self.first}", self.to_frame()


@analysis("massive-interventions", needs={"resid", "logits"})
@torch.no_grad()
def massive_interventions(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    layer: Annotated[Layer | None, "After which layer; none: the first with a massive activation"] = None,
    texts: Annotated[Texts | None, "More inputs, to take the loss over; none: the prompt alone"] = None,
    inputs: InputsOf = 10,
    reference: Annotated[
        Texts | None, "Calibration texts, whose mean is put in; none: neutral sentences (or the example corpus)"
    ] = None,
    top: Annotated[
        int, Within(0, 1000), "Take this many of the layer's largest numbers, massive or not; 0: the massive ones"
    ] = 0,
    draws: Annotated[int, Within(1, 50), "Random controls"] = 3,
    absolute: MassiveSize = functional.MASSIVE_SIZE,
    ratio: MassiveRatio = functional.MASSIVE_RATIO,
    seed: Annotated[Seed, "Seed of random controls, and of which texts are drawn"] = 0,
) -> MassiveInterventions:
    """What becomes of loss and sinks when massive activations are set to zero or to their mean, beside other numbers.

    At one layer, the massive coordinates of each input are set to 0 ("zero"), or to their mean over calibration texts
    ("mean": for the first token the mean there, for later ones the mean of what is massive in that dimension at later
    tokens). Controls: as many random coordinates of the layer set to 0 (a row a draw), and the next largest that are
    not massive set to 0 and to their mean. Measured: next-token loss and perplexity (of causal language models), KL
    of the answers, and the mean attention of all later heads to the token of the largest coordinate. Nothing massive
    is an answer: then nothing is changed, unless `top` takes the largest anyway. One forward pass for each calibration
    text, and 6 + draws for each input.
    Sun et al. (2024), "Massive Activations in Large Language Models".
    """

    def rule(state: Float[Tensor, "pos d"]) -> Bool[Tensor, "pos d"]:
        if not top:
            return functional.is_massive(state, absolute=absolute, ratio=ratio)
        entries = functional.largest_entries(state, min(top, state.numel()))
        mask = torch.zeros_like(state, dtype=torch.bool)
        mask[entries.position, entries.dimension] = True
        return mask

    batch, side = one_prompt(model, prompt), model.main.side
    given = () if texts is None else drawn(model, texts, inputs, seed).inputs
    batches = [batch, *(one_prompt(model, one) for one in given)]
    sites = model.stream("resid_post")
    if layer is None:
        layer = _first_layer(_states(model, batch, sites), absolute, ratio, anyway=top > 0)
    states = [] if layer is None else [_states(model, one, sites[layer : layer + 1])[0] for one in batches]
    masks = [rule(state) for state in states]
    if layer is None or not any(bool(mask.any()) for mask in masks):
        layer, plans = None, [{UNALTERED: (no_change(batch),)}] * len(batches)
        at, means = [None] * len(batches), None
    else:
        means = calibrated(model, sites[layer], rule, reference, seed)
        each = enumerate(zip(states, masks, strict=True))
        plans = [changes(state, mask, means, draws, seed + number) for number, (state, mask) in each]
        at = [int(functional.largest_entries(state, 1).position) for state in states]
    found = [
        runs(model, one, layer or 0, [change for group in plan.values() for change in group], position)
        for one, plan, position in track(list(zip(batches, plans, at, strict=True)), label="inputs")
    ]
    places = masks[0].nonzero() if means is not None else torch.zeros(0, 2, dtype=torch.long)
    return MassiveInterventions(
        conditions=tuple(name for name, group in plans[0].items() for _ in group),
        losses=torch.stack([one.losses for one in found], 1),
        n_tokens=torch.tensor([one.n_tokens for one in found]),
        kl=torch.stack([one.kl for one in found], 1),
        sinks=torch.stack([one.sinks for one in found], 1),
        n_heads=0 if layer is None else (model.n_blocks - 1 - layer) * model.n_heads,
        counts=torch.tensor([int(mask.sum()) for mask in masks] if means is not None else [0] * len(batches)),
        layer=layer,
        places=places.cpu(),
        values=states[0][places[:, 0], places[:, 1]].cpu() if means is not None else torch.zeros(0),
        means=means.at(places, taken=True).cpu() if means is not None else torch.zeros(0),
        calibration_texts=0 if means is None else means.texts,
        tokens=model.labels(batch, side=side),
        special=special_positions(model, batch, side),
    )


def _states(model: LensModel, batch: Mapping[str, Tensor], sites: Sequence[str]) -> Float[Tensor, "layer pos d_model"]:
    with reading(model, sites) as values:
        model.module(**batch)
    found = [precise(real(values[site][0], batch, model.main.side, dim=0)) for site in sites]
    for site, state in zip(sites, found, strict=True):
        need_finite_values(model, site, state)
    return torch.stack(found)


def _first_layer(
    states: Float[Tensor, "layer pos d_model"], absolute: float, ratio: float, *, anyway: bool
) -> int | None:
    """The first layer with a massive activation; without any, the one whose largest number is furthest above."""
    massive = functional.is_massive(states, absolute=absolute, ratio=ratio).flatten(1).any(1)
    if massive.any():
        return int(massive.int().argmax())
    return int(functional.largest_entries(states, 1).ratio.nan_to_num(0.0).flatten().argmax()) if anyway else None
