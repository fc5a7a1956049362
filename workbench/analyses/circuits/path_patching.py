"""Path patching: what each node tells some receivers directly, with every other road closed."""

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
    Run,
    prompt_pair,
)
from workbench.analyses.circuits.patch_paths import path_answers, receiving, senders_of
from workbench.analyses.circuits.patch_runs import rows_at_once
from workbench.analyses.one_prompt import checked_position
from workbench.circuits.split import NEEDS, Record, Wiring, recorded_writes, split
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_BRIEF = 10  # senders that a terminal shows


@dataclass(frozen=True, eq=False, kw_only=True)
class PathPatching(Measured, Result, kind="path-patching"):
    """What each sender does to the answer through some receivers alone."""

    positions: Int[Tensor, "pos"]
    """Where senders' writes are exchanged; empty is everywhere."""
    receivers: tuple[str, ...]
    """Slots that read the exchanged writes."""
    senders: tuple[str, ...]
    """input, a0.h0 ..., m0 ..."""
    layers: Int[Tensor, "sender"]
    """-1 for the input."""
    heads: Int[Tensor, "sender"]
    """-1 for what is no head."""
    n_paths: Int[Tensor, "sender"]
    """Receivers that a sender comes before."""
    value: Float[Tensor, "sender"]
    """Logit of the answer less that of the foil."""
    probability: Float[Tensor, "sender"]
    effect: Float[Tensor, "sender"]
    """0: as in the run that is patched into. 1: as in the other. NaN where a sender has no path, or runs do not differ.
    """
    clean: float
    corrupted: float
    n_pairs: int
    """Pairs of prompts whose runs differ: 1, or 0 where no effect is defined."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each sender; `paths` is 0 where it has none into the receivers, or the runs do not differ."""
        import pandas as pd

        return pd.DataFrame(
            {
                "sender": list(self.senders),
                "layer": self.layers.tolist(),
                "head": self.heads.tolist(),
                "effect": self.effect.tolist(),
                "value": self.value.tolist(),
                "probability": self.probability.tolist(),
                "paths": (self.n_paths * self.n_pairs).tolist(),
            }
        )

    def figure(self) -> "go.Figure":
        """Effects of heads and MLPs by layer; the input is a row of its own, below them."""
        frame = self.to_frame()
        heads, names = self.heads.tolist(), ["input" if layer < 0 else str(layer) for layer in self.layers.tolist()]
        frame["column"] = [
            0 if name == "input" else max(heads) + 1 if h < 0 else h for h, name in zip(heads, names, strict=True)
        ]
        frame["part"] = [
            "MLP" if h < 0 <= layer else str(max(h, 0)) for h, layer in zip(heads, self.layers.tolist(), strict=True)
        ]
        frame["row"] = names
        most = max(1e-9, self.effect.nan_to_num().abs().max().item())
        more = f" and {len(self.receivers) - 3} more" if len(self.receivers) > 3 else ""
        return plots.heatmap(
            frame.rename(columns={"column": "head_or_mlp"}).drop(columns="head"),
            x="head_or_mlp",
            y="layer",
            value="effect",
            x_labels="part",
            y_labels="row",
            hover=("sender", "value", "probability"),
            center=0.0,
            limits=(-most, most),
            title=f"Direct paths into {', '.join(self.receivers[:3])}{more}",
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The two runs in a sentence, and the senders of largest effect."""
        order = self.effect.nan_to_num().abs().argsort(descending=True, stable=True)[:_BRIEF]
        text = f"{self.target}: {self.clean:.3f} in the clean run, {self.corrupted:.3f} in the corrupted one."
        text += "" if self.n_pairs else " They do not differ, so no effect is defined."
        return text, self.to_frame().iloc[order.tolist()].reset_index(drop=True)


@analysis("path-patching", needs=NEEDS)
@torch.no_grad()
def path_patching(
    model: LensModel,
    prompt: Annotated[Prompt, "The clean prompt"],
    corrupted: Corrupted,
    *,
    receivers: Annotated[
        tuple[str, ...], "What reads the exchanged writes: logits, a head (a5.h3), its slot (a5.h3<q>), an MLP (m5)"
    ] = ("logits",),
    senders: Annotated[tuple[str, ...], "What writes them: input, heads (a0.h1), MLPs (m0); none: every one"] = (),
    direction: Annotated[Direction, "denoise: clean writes in the corrupted run; noise: the other way round"] = (
        "denoise"
    ),
    through_mlps: Annotated[bool, "Let the MLPs on the way answer to the sender, as Wang et al. do"] = False,
    token: PairAnswer = None,
    foil: PairFoil = None,
    position: PairReadAt = None,
    positions: Annotated[tuple[Position, ...], "Positions at which writes are exchanged; none: all"] = (),
) -> PathPatching:
    """How much of what tells two prompts apart each head or MLP hands to some receivers directly.

    For each sender by itself: (1) every head and MLP writes what it wrote in the base run (denoise: the corrupted
    one), but the sender's write is that of the other run; (2) of the stream so made each receiver makes its queries,
    keys, values or MLP output anew, through its norm; (3) the base run is done again with these in place of the
    receivers' own, and all else computed freely behind them. The logits as a receiver read the stream of (1) through
    the final norm; beside other receivers they read the run of (3) with the sender's write exchanged. So the sender
    reaches the receivers along the direct edge only, and the answer through the receivers only. With `through_mlps`
    the MLPs between sender and receivers are computed anew in (1). Keys and values of grouped heads are one slot a
    group, a5.kv1<k>; a head as a receiver is its queries and its group's keys and values. Effects are normalised: 0
    is the base run, 1 the other; NaN where a sender comes after all receivers, or both runs give the same metric
    (`paths` is 0). In post-norm models (BERT) a change goes through every norm on the way. Cost: one run a sender from
    the first receiver's block on, many in a batch; into the logits alone, no more than the final norm and the head.
    Wang et al. (2022), "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small";
    Goldowsky-Dill et al. (2023), "Localizing Model Behavior with Path Patching".
    """
    wiring = split(model)
    graph = wiring.graph
    slots = receiving(graph, receivers)
    end = len(graph.slot_names) - 1
    if wiring.post and end in slots and len(slots) > 1:
        raise BadInput(
            f"{model.name} has norms after each sum, through which a change of the logits' own reading and one of"
            " other receivers do not add up: ask for 'logits' and for the others one after the other."
        )
    chosen = [*dict.fromkeys(graph.source_index(name) for name in senders)] or list(range(len(graph.sources)))
    pair = prompt_pair(model, prompt, corrupted, token=token, foil=foil, position=position)
    asked = measured(pair, direction, model.main)
    places = [checked_position(p, asked.tokens) for p in positions]
    base, other = _recorded(wiring, pair, direction)
    unchanged = pair.into(direction)[0].logits[None]
    value, probability, n_paths = _sent(
        wiring, pair, unchanged, base, other, chosen, slots, places, through_mlps=through_mlps
    )
    reached = n_paths > 0
    clean, corrupted_metric = pair.metrics
    names = tuple(graph.sources[i] for i in chosen)
    return PathPatching(
        **vars(asked),
        positions=torch.tensor(places, dtype=torch.long),
        receivers=tuple(graph.slot_names[i] for i in slots),
        senders=names,
        layers=graph.source_layer.cpu()[chosen],
        heads=torch.tensor([int(name.partition(".h")[2]) if ".h" in name else -1 for name in names]),
        n_paths=n_paths,
        value=value,
        probability=probability,
        effect=pair.effects(value, direction).masked_fill(~reached, torch.nan),
        clean=clean,
        corrupted=corrupted_metric,
        n_pairs=int(pair.differs),
    )


def _recorded(wiring: Wiring, pair: PromptPair, direction: Direction) -> tuple[Record, Record]:
    """The base run and the other, taken apart by who wrote what."""
    model = wiring.model

    def record(run: Run) -> Record:
        place = pair.target.index if model.classes is None else model.answer_position(run.batch)
        return recorded_writes(wiring, run.batch, torch.tensor([place]))

    into, source = pair.into(direction)
    return record(into), record(source)


def _sent(
    wiring: Wiring,
    pair: PromptPair,
    unchanged: Tensor,
    base: Record,
    other: Record,
    chosen: Sequence[int],
    slots: Sequence[int],
    places: Sequence[int],
    *,
    through_mlps: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(metric, probability of the answer, number of paths) of each chosen sender."""
    length = base.writes.shape[2]
    here = torch.zeros(length, 1, dtype=torch.bool, device=base.writes.device)
    here[list(places) if places else slice(None)] = True
    value = pair.of(unchanged).repeat(len(chosen))
    probability = pair.probability(unchanged).repeat(len(chosen))
    n_paths = wiring.graph.exists.cpu()[list(chosen)][:, list(slots)].sum(1)
    delta = (other.writes[list(chosen), 0] - base.writes[list(chosen), 0]) * here
    rows = ((n_paths > 0) & (delta != 0).flatten(1).any(1).cpu()).nonzero().flatten()
    for part in progress.track(rows.split(rows_at_once(wiring.model, length)), label="senders"):
        if len(part):
            one = senders_of(wiring.graph, [chosen[i] for i in part.tolist()], slots, delta[part])
            logits = path_answers(wiring, base, one, slots, through_mlps=through_mlps)
            value[part], probability[part] = pair.of(logits), pair.probability(logits)
    return value.cpu(), probability.cpu(), n_paths
