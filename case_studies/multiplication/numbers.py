"""The numbers that claims are about, out of the tables of the study."""

import math
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from case_studies.multiplication.problems import PLACES

Table = Any


def answer_numbers(accuracy: Table, reached: Table, kinds: Table) -> dict[str, float]:
    """Whole answers, digits by reach and by subtask, and what using a carry costs against multiplying alone."""
    found = {"accuracy": float(accuracy.set_index("place")["right"]["all"])}
    found |= {f"reach_{row['group']}": row["right"] for row in reached.to_dict("records")}
    found |= {row["group"].replace(" ", "_"): row["right"] for row in kinds.to_dict("records")}
    return found | {"carry_costs": found["base_multiply"] - found["use_carry"]}


def fall(right: Bool[Tensor, "problem place"], far: Int[Tensor, "problem place"]) -> float:
    """How far the share of right digits lies lower at a reach of 3 and more than at one of 1."""
    return (right[far == 1].double().mean() - right[far >= 3].double().mean()).item()


def fall_numbers(
    right: Bool[Tensor, "problem place"], far: Int[Tensor, "problem place"], shuffles: int
) -> dict[str, float]:
    """The fall with reach, and the same with the reaches of other problems: its mean, and how often it is as large.

    The actual one is counted in, so that the share is never 0.
    """
    orders = [torch.randperm(len(far), generator=torch.Generator().manual_seed(seed)) for seed in range(shuffles)]
    actual, null = fall(right, far), [fall(right, far[order]) for order in orders]
    return {
        "fall_with_reach": actual,
        "fall_with_reach.shuffled": abs(sum(null) / len(null)),
        "fall_with_reach.p": (1 + sum(each >= actual for each in null)) / (1 + len(null)),
    }


def learning_numbers(learnt: Table) -> dict[str, float]:
    """When the digits of one model came: steps, and how far apart."""
    step = learnt.set_index("place")["step"]
    middle = [float(step[place]) for place in range(2, PLACES)]
    inner = [float(step[place]) for place in range(1, PLACES)]
    return {
        **{f"learnt_{place}": float(step[place]) for place in range(PLACES + 1)},
        "units_to_inner": min(inner) / float(step[0]),
        "inner_to_top": min(inner) / float(step[PLACES]),
        "middle_after_1": min(middle) - float(step[1]),
        "middle_apart": _smallest_gap(middle),
        **{f"learnt_reach_{far}": float(step[f"reach {far}"]) for far in range(PLACES)},
        "one_after_none": float(step["reach 1"] - step["reach 0"]),
        "two_after_one": float(step["reach 2"] - step["reach 1"]),
    }


def _smallest_gap(steps: list[float]) -> float:
    ordered = sorted(steps)
    return min((after - before for before, after in zip(ordered, ordered[1:], strict=False)), default=math.nan)


def operand_numbers(table: Table) -> dict[str, float]:
    """Whether what a digit of the answer reads is what arithmetic says that it needs."""
    digits = table[table["operand"] != "b"]
    at = {below: digits[digits["below"] == below] for below in (0, 1, 2)}
    return {
        "attention_with_need": float(digits["attention"].corr(digits["needed"])),
        "fall_with_need": float(table["fall"].corr(table["needed"])),
        "fall.own": float(at[0]["fall"].min()),
        "fall.next": float(at[1]["fall"].min()),
        "fall.two_below": float(at[2]["fall"].mean()),
        "fall.b": float(table.loc[table["operand"] == "b", "fall"].min()),
        "fall.unneeded": float(table.loc[table["needed"] == 0, "fall"].abs().max()),
        "fall.largest": float(table["fall"].abs().max()),
    }


def interchange_numbers(table: Table) -> dict[str, float]:
    """Whether digits of the answer go along with their own digit's values, and leave those above them alone."""
    own = table[(table["below"] == 0)]
    above = table[table["below"] < 0]
    return {"follows.own": float(own["follows"].min()), "stays.unneeded": float(above["stays"].min())}


def misled_numbers(before: Table, after: Table) -> dict[str, float]:
    """How much worse digits become when the one written before them is wrong, by reach: up to 1, and 2 and more."""
    both = pd.DataFrame({"far": before["group"].astype(int) > 1, "digits": before["digits"]})
    both["lost"] = (before["right"] - after["right"]) * before["digits"]
    sums: Any = both.groupby("far")[["lost", "digits"]].sum()
    lost = sums["lost"] / sums["digits"]
    return {"misled.near": float(lost[False]), "misled.far": float(lost[True])}
