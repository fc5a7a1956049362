"""What can be said of a head's cloud of queries and keys in one number each: what the page sorts heads by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from workbench import functional
from workbench.analyses.embedding.colourings import colourings
from workbench.analyses.embedding.points import Points
from workbench.functional import JointQK

Scores = dict[str, tuple[Tensor, Tensor]]
"""Name -> (number, a head; over how many pairs, rows or points it was taken)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Known:
    """What is known of each point, as groups and as numbers."""

    groups: Mapping[str, Int[Tensor, "point"]]
    """Group of each point; -1 where it has none."""
    numbers: Mapping[str, tuple[Real[Tensor, "point"], bool]]
    """Number of each point (NaN where it has none), and whether it is circular."""
    positions: Int[Tensor, "point"]
    """-1 at the first position, which is like no other."""
    is_key: Tensor


def known_of(points: Points, modulo: int) -> Known:
    """Every colouring that heads can be scored by; tokens each a group of their own, not the frequent ones alone."""
    groups: dict[str, Tensor] = {}
    numbers: dict[str, tuple[Tensor, bool]] = {}
    for name, one in colourings(points, modulo).items():
        if one.values is None or name == "query or key":
            continue
        values = torch.from_numpy(one.values)
        if name == "token":
            groups[name] = points.token
        elif one.kind == "category" or name in ("position", "row", "column"):
            groups[name] = values.nan_to_num(-1).long()
        else:
            numbers[name] = (values, one.kind == "circular")
    return Known(
        groups=groups,
        numbers=numbers,
        positions=torch.where(points.position > 0, points.position, -1),
        is_key=points.is_key,
    )


def head_scores(
    q: Float[Tensor, "head query d_head"], k: Float[Tensor, "head key d_head"], joined: JointQK, known: Known
) -> Scores:
    """Correlations, lengths, spirals, and how much of the aligned cloud's spread goes with what is known."""
    cloud = torch.cat([joined.queries, joined.keys], 1)  # (head, point, d_head)
    pairs = joined.n_pairs - joined.dropped
    rows = torch.tensor(q.shape[1])
    scores: Scores = {
        "correlation": (joined.correlation(), pairs),
        "translated": (joined.correlation("translated"), pairs),
        "before": (joined.correlation("before"), pairs),
        "euclidean": (joined.correlation(distance="euclidean"), pairs),
        "norm gap": (functional.norm_gap(q, k), rows),
    }
    spirals = [
        functional.position_spiral(x, known.positions[known.is_key == key])
        for x, key in ((joined.queries, False), (joined.keys, True))
    ]
    both = torch.stack([one.score for one in spirals])
    scores["spiral"] = (both.amax(0), torch.tensor(sum(one.points for one in spirals)))
    for name, labels in known.groups.items():
        found = functional.cluster_score(cloud, labels)
        scores[f"cluster:{name}"] = (found.values, torch.tensor(found.points))
    for name, (values, circular) in known.numbers.items():
        found = functional.trait_score(cloud, values, circular=circular)
        scores[f"cluster:{name}"] = (found.values, torch.tensor(found.points))
    return {name: (value, torch.where(value.isnan(), 0, count)) for name, (value, count) in scores.items()}


def columns(scores: Mapping[str, Any]) -> tuple[Float[Tensor, "head score"], Int[Tensor, "head score"]]:
    """The numbers and the counts of all scores side by side."""
    values = torch.stack([value.float() for value, _ in scores.values()], -1)
    counts = torch.stack([count.expand(len(values)).long() for _, count in scores.values()], -1)
    return values, counts
