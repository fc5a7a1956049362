"""What the models get right, and how much of it path merging explains."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pandas as pd
import torch

import workbench
from case_studies.graph_search import explain, models
from case_studies.graph_search.problems import LOOK_AHEADS, VERTICES, Distribution, Problems, drawn
from case_studies.graph_search.train import HELD_OUT

KINDS: tuple[Distribution, ...] = ("balanced", "naive", "star")


def held_out(count: int, kind: Distribution = "balanced", look_ahead: int | None = None, *, seed: int = 0) -> Problems:
    """Problems drawn with seeds that no training uses."""
    return drawn(count, seed=HELD_OUT + 1000 + 10 * seed + (look_ahead or 0), kind=kind, look_ahead=look_ahead)


@torch.no_grad()
def answers(model: workbench.LensModel, problems: Problems) -> torch.Tensor:
    """The token that the model answers to each problem."""
    return torch.cat([model.module(part).logits[:, -1].argmax(-1) for part in problems.tokens().split(250)])


def right(model: workbench.LensModel, problems: Problems) -> float:
    """Share of answers that are next on any shortest path."""
    found = answers(model, problems)
    known = found < len(VERTICES)
    accepted = problems.accepted()[torch.arange(len(found)), found.clamp(max=len(VERTICES) - 1)]
    return (known & accepted).double().mean().item()


def accuracy_table(model: workbench.LensModel, count: int) -> pd.DataFrame:
    """Share right by distribution and look-ahead; of naive problems, by the length of the shortest path."""
    rows = []
    for far in LOOK_AHEADS:
        problems = held_out(count, look_ahead=far)
        strict = (answers(model, problems) == problems.label).double().mean().item()
        rows.append(("balanced", far, right(model, problems), strict, count))
    for kind in KINDS[1:]:
        problems = held_out(count, kind)
        strict = (answers(model, problems) == problems.label).double().mean().item()
        rows.append((kind, 0, right(model, problems), strict, count))
    return pd.DataFrame(rows, columns=["problems", "look-ahead", "right", "as labelled", "count"])


def explanation_table(
    model: workbench.LensModel, each: int, *, most: int = 200, seed: int = 0, shuffled: bool = False
) -> pd.DataFrame:
    """Operations and what path merging explains of them, a row for each problem: `each` of each look-ahead.

    `whole`: the path has come to the position that answers. `fetched`: the operation that the answer hangs on most is a
    merge that brings it. `other`: so it seems if the same operations are held to the graph of the next problem. With
    `shuffled`, the model's attention goes elsewhere.
    """
    rows = []
    for far in LOOK_AHEADS:
        problems = held_out(each + 1, look_ahead=far, seed=seed + 1)
        for number in range(each):
            one, other = problems[number : number + 1], problems[number + 1 : number + 2]
            with models.shuffled(model, seed=seed) if shuffled else nullcontext():
                right_ = answers(model, one) == one.label
                found = operations(model, one, most=most)
            merged, elsewhere = explain.explained(found, one), explain.explained(found, other)
            rows.append(
                {
                    "look-ahead": far,
                    "prompt": one.prompts()[0],
                    "right": bool(right_),
                    "operations": len(found),
                    "by position": found.labels.count("position match"),
                    "explained": int(merged.explained.sum()),
                    "whole": merged.whole,
                    "other": elsewhere.whole,
                    "fetched": explain.fetched(found, one),
                    "fetched other": explain.fetched(found, other),
                    "sufficient": found.sufficient,
                }
            )
    return pd.DataFrame(rows)


def operations(model: workbench.LensModel, problem: Problems, *, most: int = 200) -> Any:
    """The operations that the right answer hangs on, of a batch of one problem."""
    present = set(problem.tokens()[0].tolist())
    unused = next(name for number, name in enumerate(VERTICES) if number not in present)
    answer = VERTICES[int(problem.label[0])]
    return workbench.attention_operations(model, problem.prompts()[0], token=answer, most=most, replacement=unused)


def shares(
    table: Any, columns: Sequence[str] = ("whole", "other", "fetched", "fetched other", "sufficient", "right")
) -> dict[str, float]:
    """Shares of problems, those of path merging also by look-ahead, and the share of operations that it explains."""
    found = {name.replace(" ", "_"): float(table[name].mean()) for name in columns}
    found |= {f"whole_{far}": float(rows["whole"].mean()) for far, rows in table.groupby("look-ahead")}
    operations_ = float(table["operations"].sum())
    found["operations"] = operations_ / len(table)
    answered = table[table["right"]]
    if len(answered):
        found["sufficient_if_right"] = float(answered["sufficient"].mean())
    return found | {
        "explained": float(table["explained"].sum()) / max(1.0, operations_),
        "by_position": float(table["by position"].sum()) / max(1.0, operations_),
    }
