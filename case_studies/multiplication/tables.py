"""The tables of the study: what models get right by place, reach and subtask, and what their digits read."""

from typing import Any

import pandas as pd
from jaxtyping import Bool, Int
from torch import Tensor

import workbench
from case_studies.multiplication import measure
from case_studies.multiplication.arithmetic import SUBTASKS, subtasks
from case_studies.multiplication.problems import PLACES, Order, Problems

Table = Any
ANSWER_PLACES = tuple(range(PLACES, -1, -1))
"""The places of an answer in the order of its columns: the highest first, 0 for the units."""


def accuracy_table(right: Bool[Tensor, "problem place"]) -> Table:
    """Share of right digits by place, and of answers that are right as a whole (place "all")."""
    shares = right.double().mean(0).tolist()
    rows: list[dict] = [
        {"place": str(place), "right": share} for place, share in zip(ANSWER_PLACES, shares, strict=True)
    ]
    return pd.DataFrame([*rows, {"place": "all", "right": right.all(-1).double().mean().item()}])


def grouped(right: Bool[Tensor, "problem place"], groups: Int[Tensor, "problem place"], names: dict[int, str]) -> Table:
    """Share of right digits and their number by group; NaN, with a count of 0, where there are none."""
    rows = []
    for group, name in names.items():
        inside = right[groups == group].double()
        rows.append({"group": name, "right": inside.mean().item(), "digits": len(inside)})
    return pd.DataFrame(rows)


def reach_table(right: Bool[Tensor, "problem place"], far: Int[Tensor, "problem place"]) -> Table:
    """Share of right digits by reach."""
    return grouped(right, far, {depth: str(depth) for depth in range(PLACES)})


def subtask_table(right: Bool[Tensor, "problem place"], problems: Problems) -> Table:
    """Share of right digits by subtask."""
    return grouped(right, subtasks(problems.a, problems.b, PLACES), dict(enumerate(SUBTASKS)))


def operand_table(model: workbench.LensModel, problems: Problems, order: Order) -> Table:
    """For each digit of the answer and each operand: need by arithmetic, attention, and the fall without it.

    Attention is summed over heads, mean over layers. `below` says how many places the operand's digit stands below the
    answer's (NaN for the second number).
    """
    needs = measure.needs(problems)
    attention = measure.attended(model, problems, order).sum(1).mean(0)[:, list(measure.OPERANDS)]
    falls = measure.knocked_out(model, problems, order)
    rows = []
    for row, place in enumerate(ANSWER_PLACES):
        for column, operand in enumerate(measure.operand_names()):
            rows.append(
                {
                    "place": place,
                    "operand": operand,
                    "below": place - int(operand[1]) if operand != "b" else float("nan"),
                    "needed": needs[row, column].item(),
                    "attention": attention[row, column].item(),
                    "fall": falls[row, column].item(),
                }
            )
    return pd.DataFrame(rows)


def interchange_table(model: workbench.LensModel, problems: Problems, order: Order) -> Table:
    """For each digit of the answer and of `a`: whether the answer goes along when that digit's values are another's."""
    found = measure.interchanged(model, problems, order)
    rows = []
    for row, place in enumerate(ANSWER_PLACES):
        for column in range(PLACES):
            own = PLACES - 1 - column
            values = {name: each[row, column].item() for name, each in found.items()}
            rows.append({"place": place, "operand": f"a{own}", "below": place - own, **values})
    return pd.DataFrame(rows)


def learning_table(history: Table, level: float = 0.8) -> Table:
    """The first measured step at which a share of `level` is right, by place and by reach ("reach 0" ...); NaN: never.

    By place in problems drawn at random, by reach in those with long chains of carries.
    """
    wanted = {place: f"accuracy.{place}" for place in ANSWER_PLACES}
    wanted |= {f"reach {far}": f"reach.{far}" for far in range(PLACES)}
    rows = []
    for keys, steps in history.groupby(["setting", "seed"], sort=False):
        for place, column in wanted.items():
            reached = steps.loc[steps[column] >= level, "step"]
            step = float(reached.min()) if len(reached) else float("nan")
            rows.append({"setting": keys[0], "seed": keys[1], "place": place, "step": step})
    return pd.DataFrame(rows)
