"""Activation patching: one place of one run put into another run, for every place, and how far the answer follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import plots, progress
from workbench.analyses.circuits.patch_measured import Measured, measured
from workbench.analyses.circuits.patch_pair import (
    Corrupted,
    Direction,
    PairAnswer,
    PairFoil,
    PairReadAt,
    PromptPair,
    prompt_pair,
    real_places,
)
from workbench.analyses.circuits.patch_runs import base_of, changed_answers
from workbench.analyses.circuits.patch_sweeps import Cells, SweepName, axes_of, changing, chosen, replaced, sites_of
from workbench.analyses.one_prompt import checked_position
from workbench.models.lens_model import LensModel
from workbench.registry import AttentionName, Layer, Position, Prompt, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_MOST_ROWS = 40  # heads drawn where each has a row of positions
_BRIEF = 10  # patches that a terminal shows


@dataclass(frozen=True, eq=False, kw_only=True)
class ActivationPatching(Measured, Result, kind="activation-patching"):
    """What each place of one run does to the answer of another."""

    sweep: str
    sites: tuple[str, ...]
    """Of each layer that was swept."""
    layers: Int[Tensor, "layer"]
    heads: Int[Tensor, "head"]
    """-1: no heads, or all of them."""
    positions: Int[Tensor, "pos"]
    """-1: all positions at once."""
    value: Float[Tensor, "layer head pos"]
    """Logit of the answer less that of the foil, with that place patched."""
    probability: Float[Tensor, "layer head pos"]
    """Probability of the answer, with that place patched."""
    effect: Float[Tensor, "layer head pos"]
    """0: as in the run that is patched into. 1: as in the run that the patch comes from. NaN where they do not differ.
    """
    clean: float
    """Logit of the answer less that of the foil in the clean run."""
    corrupted: float
    n_pairs: int
    """Pairs of prompts whose runs differ: 1, or 0 where the effect is undefined."""
    n_run: int
    """Patches that were run; the others replace a value by itself."""

    def intervention(self, layer: int, head: int, pos: int) -> str:
        """One cell (places in the tables, not numbers) as a text that `workbench.interventions.parse` reads."""
        heads = f":{int(self.heads[head])}" if self.heads[head] >= 0 else ""
        positions = f"@{int(self.positions[pos])}" if self.positions[pos] >= 0 else ""
        return f"{self.sites[layer]}{heads}{positions}=patch"

    def to_frame(self) -> "pd.DataFrame":
        """One row for each patch."""
        import pandas as pd

        grid = torch.meshgrid(self.layers, self.heads, self.positions, indexing="ij")
        layer, head, pos = (i.flatten().tolist() for i in grid)
        columns: dict[str, list] = {"layer": layer}
        if self.heads[0] >= 0:
            columns["head"] = head
        if self.positions[0] >= 0:
            columns["pos"] = pos
            columns["token"] = [self.tokens[p] for p in pos]
            columns["corrupted_token"] = [self.corrupted_tokens[p] for p in pos]
        for name in ("effect", "value", "probability"):
            columns[name] = getattr(self, name).flatten().tolist()
        return pd.DataFrame({**columns, "pairs": [self.n_pairs] * len(layer)})

    def figure(self) -> "go.Figure":
        """The effects: layer by position, layer by head, or position by head for the heads that matter most."""
        most = max(1.0, self.effect.nan_to_num().abs().max().item())
        look = {"value": "effect", "center": 0.0, "limits": (-most, most), "hover": ("value", "probability")}
        title = f"{self.sweep}, {self.direction}: {self.target}"
        if self.heads[0] < 0 or self.positions[0] < 0:
            x, labels = ("pos", "tokens") if self.positions[0] >= 0 else ("head", None)
            return plots.heatmap(self._labelled(), x=x, y="layer", x_labels=labels, title=title, **look)
        return plots.heatmap(
            self._labelled(most=_MOST_ROWS), x="pos", y="of", x_labels="tokens", y_down=True, title=title, **look
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The two runs in a sentence, and the patches of largest effect."""
        order = self.effect.flatten().nan_to_num().abs().argsort(descending=True, stable=True)[:_BRIEF]
        text = f"{self.target}: {self.clean:.3f} in the clean run, {self.corrupted:.3f} in the corrupted one."
        text += "" if self.n_pairs else " They do not differ, so no effect is defined."
        return text, self.to_frame().iloc[order.tolist()].reset_index(drop=True)

    def _labelled(self, *, most: int | None = None) -> "pd.DataFrame":
        """The frame with both prompts' tokens in one label, of the `most` heads whose effects reach furthest."""
        import pandas as pd

        frame = self.to_frame()
        columns = {name: frame[name].tolist() for name in frame}
        if "pos" in columns:
            pairs = zip(columns["token"], columns["corrupted_token"], strict=True)
            columns["tokens"] = [a if a == b else f"{a}/{b}" for a, b in pairs]
        if most is not None:
            reach = self.effect.nan_to_num().abs().amax(-1).flatten()  # (layer head)
            far = reach.argsort(descending=True, stable=True)[:most]
            n = len(self.positions)
            kept = [row for of in far.sort().values.tolist() for row in range(of * n, (of + 1) * n)]
            columns = {name: [values[i] for i in kept] for name, values in columns.items()}
            columns["of"] = [f"{a}.{b}" for a, b in zip(columns["layer"], columns["head"], strict=True)]
        return pd.DataFrame(columns)


@analysis("activation-patching", needs={"resid", "logits"})
@torch.no_grad()
def activation_patching(
    model: LensModel,
    prompt: Annotated[Prompt, "The clean prompt"],
    corrupted: Corrupted,
    *,
    sweep: Annotated[SweepName, "What is patched: the stream or what is added to it by position, or a head's parts"] = (
        "resid_pre"
    ),
    direction: Annotated[Direction, "denoise: clean values in the corrupted run; noise: the other way round"] = (
        "denoise"
    ),
    token: PairAnswer = None,
    foil: PairFoil = None,
    position: PairReadAt = None,
    attention: Annotated[AttentionName, "Attention, and stack, that is swept"] = None,
    each_position: Annotated[bool, "Heads: one patch a position instead of one at all positions"] = False,
    layers: Annotated[tuple[Layer, ...], "Layers that are swept; none: all"] = (),
    positions: Annotated[tuple[Position, ...], "Positions that are swept; none: all"] = (),
) -> ActivationPatching:
    """Which places of the model carry what tells two prompts apart: each is patched, and the answer watched.

    Both prompts are run; then the base run (denoise: the corrupted one) is done again once for each place, with that
    place's value from the other run. The metric is the logit of the answer less that of the foil; its effect is
    normalised: 0 is the base run, 1 the other run, and values beyond 0 and 1 are possible. Where both runs give the
    same metric there is no effect: NaN, and `pairs` is 0. Denoising finds places that suffice to bring the answer
    back, noising places that are needed: they disagree where two places do the same (OR) or both are needed (AND).
    Without `token` and `foil` these are the top answers of the two runs; where they are the same, the foil is that of
    the ten likeliest answers to the corrupted prompt that gains most on it. Sweeps of heads patch all positions at
    once, or those in `positions` one by one with `each_position`; patterns are patched by query. Cost: one run a
    place, many in a batch, each from the patched block on (about half of the whole); places where both runs agree,
    such as those before the first difference of a decoder's prompts, are not run.
    Meng et al. (2022), "Locating and Editing Factual Associations in GPT"; Heimersheim & Nanda (2024), "How to use and
    interpret activation patching".
    """
    sites = sites_of(model, sweep, attention)
    layers = tuple(sorted(set(layers))) or tuple(range(len(sites)))
    wanted = tuple(sites[layer] for layer in layers)
    pair = prompt_pair(model, prompt, corrupted, token=token, foil=foil, position=position, sites=wanted)
    into, _ = pair.into(direction)
    stack = model.stack_of(wanted[0])
    head_axis, pos_axis = axes_of(model, wanted[0])
    asked = measured(pair, direction, stack)
    places = real_places(into, stack, into.values[wanted[0]].shape[pos_axis])
    if head_axis is not None and not each_position and not positions:
        at: list[int | None] = [None]
    else:
        at = list(dict.fromkeys(checked_position(p, asked.tokens) for p in positions) or range(len(asked.tokens)))
    heads: list[int | None] = [None] if head_axis is None else list(range(into.values[wanted[0]].shape[head_axis]))
    table = [(head, p) for head in heads for p in at]
    logits, n_run = _swept(
        pair,
        direction,
        wanted,
        layers if stack is model.main else [0] * len(layers),
        heads=[head for head, _ in table],
        positions=[None if p is None else int(places[p]) for _, p in table],
    )
    shape = (len(layers), len(heads), len(at))
    value, probability = (part.view(shape).cpu() for part in logits)
    clean, other = pair.metrics
    return ActivationPatching(
        **vars(asked),
        sweep=sweep,
        sites=wanted,
        layers=torch.tensor(layers),
        heads=torch.tensor([-1 if head is None else head for head in heads]),
        positions=torch.tensor([-1 if p is None else p for p in at]),
        value=value,
        probability=probability,
        effect=pair.effects(value, direction),
        clean=clean,
        corrupted=other,
        n_pairs=int(pair.differs),
        n_run=n_run,
    )


def _swept(
    pair: PromptPair,
    direction: Direction,
    sites: Sequence[str],
    layers: Sequence[int],
    *,
    heads: Sequence[int | None],
    positions: Sequence[int | None],
) -> tuple[tuple[Tensor, Tensor], int]:
    """(metric, probability of the answer), each (layer, place), and how many patches were run."""
    model, (into, source) = pair.model, pair.into(direction)
    base = base_of(model, into.batch, pair.target)
    same = into.logits[None]
    value = pair.of(same).repeat(len(sites), len(heads))
    probability = pair.probability(same).repeat(len(sites), len(heads))
    batches = []
    for i, site in enumerate(sites):
        cells = Cells(site=site, heads=tuple(heads), positions=tuple(positions))
        rows = changing(model, cells, into.values[site], source.values[site]).nonzero().flatten()
        batches += [(i, cells, part) for part in rows.split(base.rows_at_once) if len(part)]
    for i, cells, rows in progress.track(batches, label="patches"):
        edit = replaced(model, chosen(cells, rows.tolist()), source.values[cells.site])
        logits = changed_answers(base, layers[i], len(rows), {cells.site: edit})
        value[i, rows], probability[i, rows] = pair.of(logits), pair.probability(logits)
    return (value, probability), sum(len(rows) for _, _, rows in batches)
