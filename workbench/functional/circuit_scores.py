"""How good circuits are, and how alike: faithfulness and its areas, overlap, agreement, and what grows over time.

References: Mueller et al. (2025), "MIB: A Mechanistic Interpretability Benchmark" (areas, edge AUROC); Tigges et al.
(2024), "LLM Circuit Analyses Are Consistent Across Training and Scale" (overlap over checkpoints, smoothing).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.comparison import average_ranks, spearman
from workbench.functional.correlation import pearson

LEAST_GAP = 1e-6
"""A gap this small beside the larger of the two metrics is rounding of single precision."""
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""MIB's circuit sizes, as shares of all edges."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FaithfulnessAreas:
    """What a curve of faithfulness against size comes to, with the share of edges linear or logarithmic."""

    cpr: Float[Tensor, "*batch"]
    """Area under f, MIB's: higher is better. A curve that is 1 everywhere has the last share less the first."""
    cmd: Float[Tensor, "*batch"]
    """Area under |1 - f|, MIB's: lower is better, 0 for a curve that is 1 everywhere."""
    cpr_log: Float[Tensor, "*batch"]
    """Mean of f with each factor of size counting alike; 1 for a curve that is 1 everywhere."""
    cmd_log: Float[Tensor, "*batch"]
    """Mean of |1 - f| with each factor of size counting alike."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreAgreement:
    """Whether two methods see the same edges as important, by the sizes of their scores."""

    spearman: Float[Tensor, "*batch"]
    """Of |scores|: the same order. NaN where one of them is constant."""
    pearson: Float[Tensor, "*batch"]
    """Of |scores|: the same proportions."""
    edges: Int[Tensor, "*batch"]
    """Edges that both have a score for."""


def normalised_faithfulness(
    value: Real[Tensor, "*batch"], clean: Real[Tensor, "*#batch"], corrupted: Real[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    """How much of the model's answer a circuit gives: (m(circuit) - m(corrupted)) / (m(clean) - m(corrupted)).

    0 is the corrupted run, 1 the clean one; it may exceed 1 or be negative. NaN where clean and corrupted run do not
    differ by more than rounding: there it is undefined, and `isnan().sum()` says how often.
    """
    value, clean, corrupted = (x.double() if not _is_single(x) else x.float() for x in (value, clean, corrupted))
    gap = clean - corrupted
    undefined = gap.abs() <= LEAST_GAP * torch.maximum(clean.abs(), corrupted.abs())
    return (value - corrupted) / gap.masked_fill(undefined, torch.nan)


def circuit_sizes(shares: Sequence[float], n_edges: int) -> Int[Tensor, "size"]:
    """How many edges these shares of all edges are, rounded down; small graphs have shares that are no edge at all."""
    if not all(0 <= share <= 1 for share in shares):
        raise BadInput(f"Shares of the edges are from 0 to 1, not {tuple(shares)}.")
    return torch.tensor([int(share * n_edges + 1e-9) for share in shares], dtype=torch.long)


def faithfulness_areas(shares: Sequence[float], f: Real[Tensor, "*batch size"]) -> FaithfulnessAreas:
    """CPR and CMD of curves of faithfulness: areas by the trapezoid rule between the first and the last share.

    Most of the linear area lies at shares of a tenth and more; the logarithmic one counts small circuits as much.
    NaN in a curve gives NaN.
    """
    at = torch.tensor(list(shares), dtype=torch.float64, device=f.device)
    if len(at) != f.shape[-1] or len(at) < 2 or not bool((at.diff() > 0).all()) or at[0] <= 0 or at[-1] > 1:
        raise BadInput(
            f"An area needs two or more growing shares above 0 up to 1, one for each of {f.shape[-1]} values: got"
            f" {tuple(shares)}."
        )
    curves = (f.double(), (1 - f.double()).abs())
    linear = [torch.trapezoid(curve, at) for curve in curves]
    ratio = at.log()
    log = [torch.trapezoid(curve, ratio) / (ratio[-1] - ratio[0]) for curve in curves]
    cpr, cmd, cpr_log, cmd_log = (x if f.dtype == torch.float64 else x.float() for x in (*linear, *log))
    return FaithfulnessAreas(cpr=cpr, cmd=cmd, cpr_log=cpr_log, cmd_log=cmd_log)


def least_areas(shares: Sequence[float], n_edges: int) -> FaithfulnessAreas:
    """The areas of the best curve that a graph of so many edges can have: 0 while a share is no edge, then 1.

    Where it matters (fewer than 1 / smallest share edges), a CMD is to be read against this one and not against 0.
    """
    return faithfulness_areas(shares, (circuit_sizes(shares, n_edges) > 0).double())


def weighted_edges(
    kept: Bool[Tensor, "*circuit source slot"], weights: Real[Tensor, "source"]
) -> Float[Tensor, "*circuit"]:
    """How many edges a circuit has when the edge of a part of a node counts as that part: MIB's weighted count.

    `weights` is the share that each source is of a whole node: 1, or 1 / n for one of n neurons.
    """
    return (kept.sum(-1) * weights.double().to(kept.device)).sum(-1)


def edge_auroc(
    scores: Real[Tensor, "*batch edge"],
    truth: Bool[Tensor, "*batch edge"],
    mask: Bool[Tensor, "*batch edge"] | None = None,
) -> Float[Tensor, "*batch"]:
    """How well scores tell the edges of a known circuit from the others: 1 all before all others, 0.5 by chance.

    The chance that an edge of the circuit scores higher than one outside it; equal scores count half. NaN where there
    is none of either. Edges without a score, or where `mask` is false, are left out. Give |scores| to ask by size.
    """
    valid = ~scores.isnan() if mask is None else mask & ~scores.isnan()
    ranks = average_ranks(scores.double(), valid).nan_to_num(0.0)
    inside, outside = ((valid & which).sum(-1).double() for which in (truth, ~truth))
    above = (ranks * (valid & truth)).sum(-1) - inside * (inside + 1) / 2
    return above / (inside * outside)


def jaccard(a: Bool[Tensor, "*batch item"], b: Bool[Tensor, "*batch item"]) -> Float[Tensor, "*batch"]:
    """How much two sets have in common: items in both, of those in any. NaN of two empty sets."""
    return (a & b).sum(-1).double() / (a | b).sum(-1)


def chance_jaccard(n_a: int, n_b: int, total: int) -> float:
    """About what two random sets of these sizes have in common: the expected overlap over the rest of their sum."""
    if not (0 <= n_a <= total and 0 <= n_b <= total):
        raise BadInput(f"Sets of {n_a} and {n_b} items do not fit into {total}.")
    if n_a + n_b == 0:
        return float("nan")
    both = n_a * n_b / total
    return both / (n_a + n_b - both)


def score_agreement(
    a: Real[Tensor, "*batch edge"], b: Real[Tensor, "*batch edge"], mask: Bool[Tensor, "*batch edge"] | None = None
) -> ScoreAgreement:
    """Whether two methods give the same edges large scores, whatever their sign. Rank and linear correlation."""
    there = ~(a.isnan() | b.isnan()) if mask is None else mask & ~(a.isnan() | b.isnan())
    sizes = a.double().abs(), b.double().abs()
    return ScoreAgreement(spearman=spearman(*sizes, there), pearson=pearson(*sizes, there), edges=there.sum(-1))


def smoothed(values: Real[Tensor, "time *rest"], keep: float = 0.5) -> Float[Tensor, "time *rest"]:
    """Values over time with less of their jumps: each is `keep` times the one before, smoothed, and the rest its own.

    An exponentially weighted mean that begins with the first value. What is NaN changes nothing: the last value stays.
    """
    if not 0 <= keep < 1:
        raise BadInput(f"keep is from 0 to below 1, not {keep}.")
    values = values.double() if not _is_single(values) else values.float()
    rows, last = [], torch.full_like(values[:1], torch.nan).squeeze(0) if len(values) else values
    for row in values:
        mixed = torch.where(last.isnan(), row, keep * last + (1 - keep) * row)
        last = torch.where(row.isnan(), last, mixed)
        rows.append(last)
    return torch.stack(rows) if rows else values


def first_appearance(present: Bool[Tensor, "time *rest"], lasting: int = 1) -> Int[Tensor, "*rest"]:
    """The time at which something appears to stay for `lasting` times in a row; -1 where it never does."""
    if lasting < 1:
        raise BadInput(f"What appears lasts one time at least, not {lasting}.")
    stays = present.clone()
    for later in range(1, lasting):
        stays[: len(present) - later] &= present[later:]
        stays[max(len(present) - later, 0) :] = False
    first = stays.to(torch.uint8).argmax(0) if len(stays) else stays.sum(0)
    return first.where(stays.any(0), -1)


def smallest_size(
    faithfulness: Callable[[list[int]], Sequence[float]],
    most: int,
    target: float = 0.8,
    *,
    least: int = 1,
    at_once: int = 3,
    known: Mapping[int, float] | None = None,
) -> tuple[int | None, dict[int, float]]:
    """The size at which circuits come to `target`, by narrowing the interval; None where `most` edges are too few.

    `faithfulness` gives the values of some sizes, `at_once` of them at a time; `known` has those that need not be
    asked for. Also gives every size with its value. Of the sizes tried, the one found is the smallest that comes to
    the target and all below it stay short; where faithfulness does not grow with size, smaller ones between may too.
    """
    if not 1 <= least <= most or at_once < 1:
        raise BadInput(f"Sizes are from 1 on, the least not above the most, some at a time: not {least} to {most}.")
    tried = dict(known or {})

    def try_out(sizes: list[int]) -> None:
        asked = [size for size in sizes if size not in tried]
        tried.update(zip(asked, map(float, faithfulness(asked)), strict=True) if asked else ())

    try_out([most])
    if not tried[most] >= target:  # NaN too
        return None, tried
    while True:
        high = min(size for size, value in tried.items() if value >= target and least <= size <= most)
        low = max((size + 1 for size in tried if least <= size < high), default=least)
        if low >= high:
            return high, tried
        step = (high - low) / (at_once + 1)
        try_out(sorted({min(low + int(step * i), high - 1) for i in range(1, at_once + 1)}))


def _is_single(x: Tensor) -> bool:
    return x.is_floating_point() and x.dtype != torch.float64
