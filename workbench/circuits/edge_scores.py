"""Scores of all edges from gradients: EAP, EAP-IG over inputs or activations, clean-corrupted.

The score of an edge u -> v estimates by how much the metric drops when v reads the other prompt's write of u instead of
the clean one: (z_u - z'_u) . dm/dv, summed over positions and d_model, mean over examples. Where dm/dv is taken is
what the methods differ in:

    eap                   in the clean run (Syed et al. 2023)
    clean-corrupted       the mean of the clean and the corrupted run
    eap-ig                the mean over runs on inputs between the two (Hanna et al. 2024)
    eap-ig-activations    for the edges of each source, the mean over runs in which the writes of its layer lie between
                          the two: 2 n_blocks + 1 times as many passes

With `rule` right the inputs are at 1/m ... 1 of the way to the clean one, as in the paper; left has 0 ... (m-1)/m;
midpoint the middles, whose error falls with 1/m^2.

Syed et al. (2023), "Attribution Patching Outperforms Automated Circuit Discovery"; Hanna et al. (2024), "Have Faith in
Faithfulness: Going Beyond Circuit Overlap When Finding Model Mechanisms".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.circuits.slot_gradients import Measure, Slopes, slot_gradients, through_norm
from workbench.circuits.split import Layer, Record, Wiring, recorded_writes
from workbench.errors import BadInput, UnknownName
from workbench.progress import track

Method = Literal["eap-ig", "eap", "eap-ig-activations", "clean-corrupted"]
Rule = Literal["midpoint", "right", "left"]
Replace = Literal["corrupted", "mean", "zero"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Runs:
    """A pair of batches, run and taken apart, with what replaces the writes of edges that are not kept."""

    pair: Any
    """A `workbench.tasks.Pair`."""
    clean: Record
    corrupted: Record
    other: Float[Tensor, "source batch pos d_model"]
    """What edges carry that are left out: the corrupted run's writes, their mean, or zeros."""

    @property
    def delta(self) -> Float[Tensor, "source batch pos d_model"]:
        """Clean writes less the others."""
        return self.clean.writes - self.other

    def measure(self, metric: str, copies: int = 1) -> Measure:
        """The metric of rows of logits: `copies` of the batch, one after the other."""
        targets, foils = self.pair.targets.repeat(copies, 1), self.pair.foils.repeat(copies, 1)
        reference = self.clean.logits.repeat(copies, 1) if metric == "kl" else None

        def measured(logits: Tensor) -> Tensor:
            return functional.answer_metric(logits, targets, foils, metric, reference=reference)

        return measured


def runs(wiring: Wiring, pairs: Iterable[Any], replace: Replace = "corrupted") -> Iterator[Runs]:
    """Both prompts of each pair run and taken apart, one batch at a time. Two forward passes a batch.

    `replace="mean"` takes each source's mean over all positions of the corrupted prompts, and runs those once more.
    """
    if replace not in get_args(Replace):
        raise UnknownName("replacement", replace, get_args(Replace))
    pairs = list(pairs)
    mean = _mean_writes(wiring, pairs) if replace == "mean" else None
    for pair in pairs:
        clean, corrupted = (recorded_writes(wiring, batch, pair.position) for batch in (pair.clean, pair.corrupted))
        other = corrupted.writes
        if replace == "zero":
            other = torch.zeros_like(clean.writes)
        elif mean is not None:
            other = mean[:, None, None].expand_as(clean.writes)
        yield Runs(pair=pair, clean=clean, corrupted=corrupted, other=other)


def _mean_writes(wiring: Wiring, pairs: list[Any]) -> Float[Tensor, "source d_model"]:
    total, count = None, 0
    for pair in pairs:
        writes = recorded_writes(wiring, pair.corrupted, pair.position).writes
        added = writes.sum((1, 2))
        total, count = added if total is None else total + added, count + writes.shape[1] * writes.shape[2]
    if total is None:
        raise BadInput("There is no example, so there is no mean over examples.")
    return total / count


def edge_scores(
    wiring: Wiring,
    pairs: Iterable[Any],
    metric: str,
    *,
    method: Method = "eap-ig",
    steps: int = 5,
    rule: Rule = "midpoint",
    replace: Replace = "corrupted",
    positions: bool = False,
) -> Float[Tensor, "*pos source slot"]:
    """By how much the metric drops without each edge, estimated from gradients; NaN where there is no edge.

    With `positions` one score for each position, before the others; examples are then of one length. Costs two forward
    passes a batch and `steps` forward and backward passes (`eap` one, `clean-corrupted` two).
    """
    if method not in get_args(Method):
        raise UnknownName("method", method, get_args(Method))
    if steps < 1:
        raise BadInput(f"A path needs at least 1 step, not {steps}.")
    total, count = None, 0
    for one in runs(wiring, track(list(pairs), label="batches scored"), replace):
        scores = _batch_scores(wiring, one, one.measure(metric), method, steps, rule, positions)
        if total is not None and scores.shape != total.shape:
            raise BadInput("Scores by position need examples of one length; these have several. Choose one length.")
        total, count = scores if total is None else total + scores, count + len(one.clean.position)
    if total is None:
        raise BadInput("There is no example to score edges on.")
    return (total / count).masked_fill(~wiring.graph.exists.to(total.device), torch.nan)


def path_shares(steps: int, rule: Rule) -> list[float]:
    """Where on the way from the other input (0) to the clean one (1) gradients are taken, each of weight 1/steps."""
    if rule not in get_args(Rule):
        raise UnknownName("rule", rule, get_args(Rule))
    return [(k + {"left": 0.0, "midpoint": 0.5, "right": 1.0}[rule]) / steps for k in range(steps)]


def _batch_scores(
    wiring: Wiring, one: Runs, measure: Measure, method: Method, steps: int, rule: Rule, positions: bool
) -> Tensor:
    """Sums over one batch."""
    if method == "eap-ig-activations":
        return _along_activations(wiring, one, measure, path_shares(steps, rule), positions)
    shares = {"eap": [1.0], "clean-corrupted": [0.0, 1.0], "eap-ig": path_shares(steps, rule)}[method]
    start, way = one.other[0], one.clean.writes[0] - one.other[0]
    scores, gradients = None, None
    for share in track(shares, label="gradients"):
        slopes = slot_gradients(
            wiring, one.clean.calls, start + share * way, one.clean.position, measure, into=gradients
        )
        if wiring.post:  # each run has norms of its own between writes and slots
            found = contracted(wiring, one.delta, slopes, positions)
            scores = found if scores is None else scores + found
        else:
            gradients = slopes.gradients
    if gradients is not None:
        slopes = Slopes(gradients=gradients, values=one.clean.logits[:, 0], sums={})
        scores = contracted(wiring, one.delta, slopes, positions)
    assert scores is not None
    return scores / len(shares)


def contracted(
    wiring: Wiring,
    delta: Float[Tensor, "source batch pos d_model"],
    slopes: Slopes,
    positions: bool = False,
    *,
    start: int = 0,
) -> Float[Tensor, "*pos source slot"]:
    """Inner products of what each source would change with the gradient at each slot, summed over the batch.

    Sources of blocks before `start` are left out, and the input unless it is 0.

    From the last block to the first: the slots that lie behind a group of sources are one range, and in post-norm
    models their gradients are carried before each norm on the way.
    """
    carried = slopes.gradients.clone() if wiring.post else slopes.gradients
    shape = (delta.shape[2],) if positions else ()
    scores = delta.new_zeros(*shape, wiring.n_sources, wiring.n_slots)

    def meet(sources: slice, first: int) -> None:
        if sources.start == sources.stop:
            return
        left, right = delta[sources], carried[first:]
        if positions:
            by_position = (x.permute(2, 0, 1, 3).flatten(2) for x in (left, right))  # (pos, ., batch * d_model)
            mine, theirs = by_position
            scores[:, sources, first:] = mine @ theirs.mT
        else:
            scores[sources, first:] = left.flatten(1) @ right.flatten(1).T

    def carry(layer: Layer, name: str, first: int) -> None:
        if wiring.post:
            norm = layer.norm1 if name == "norm1" else layer.norm2
            carried[first:] = through_norm(norm, slopes.sums[layer.number, name], carried[first:])

    for layer in reversed(wiring.layers[start:]):
        behind = layer.slots["mlp"].stop
        if layer.mlp is not None:
            carry(layer, "norm2", behind)
            meet(layer.writers, behind)
        first = behind if wiring.order == "parallel" else layer.slots["mlp"].start
        carry(layer, "norm1", first)
        meet(layer.heads, first)
    if start == 0:
        meet(slice(0, 1), 0)
    return scores


def _along_activations(wiring: Wiring, one: Runs, measure: Measure, shares: list[float], positions: bool) -> Tensor:
    """The writes of one layer's heads, of one MLP, or of the input lie between; all else follows from them."""
    start, way = one.other[0], one.clean.writes[0] - one.other[0]
    shape = (way.shape[1],) if positions else ()
    scores = way.new_zeros(*shape, wiring.n_sources, wiring.n_slots)
    groups: list[tuple[slice, Layer | None]] = [(slice(0, 1), None)]
    for layer in wiring.layers:
        groups += [(layer.heads, layer)] + ([] if layer.mlp is None else [(layer.writers, layer)])
    for sources, layer in track(groups, label="groups of sources"):
        for share in shares:
            if layer is None:
                stream, at, edits = start + share * way, 0, {}
            else:
                stream, at = one.clean.streams[layer.number], layer.number
                # The sum of the group's writes moves; the sites of single heads are not where they write.
                moved = ((share - 1) * one.delta[sources]).sum(0)
                site = f"{layer.block}.{'attn_out' if sources == layer.heads else 'mlp_out'}"
                edits = {site: lambda value, moved=moved: value + moved}
            slopes = slot_gradients(wiring, one.clean.calls, stream, one.clean.position, measure, start=at, edits=edits)
            found = contracted(wiring, one.delta, slopes, positions, start=at)
            scores[..., sources, :] += found[..., sources, :]
    return scores / len(shares)
