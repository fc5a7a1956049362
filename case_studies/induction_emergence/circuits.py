"""The circuit over the same checkpoints, and on the trained model by gradients and by patching every edge."""

from typing import Any

import pandas as pd

import workbench
from case_studies.induction_emergence import models
from workbench import functional

TASKS = {"value": "induction", "match": "induction-match"}
"""What is corrupted: the token to copy, or the place where it is found."""
METHODS = ("eap", "eap-ig")


def methods_table(model: workbench.LensModel, examples: int, draws: int) -> pd.DataFrame:
    """How far each method agrees with patching every edge, and how faithful its circuits are; a row each."""
    rows = []
    for corrupted, task in TASKS.items():
        exact = workbench.circuit(model, task, method="exact", select="top", examples=examples, draws=draws)
        for method in METHODS:
            one = workbench.circuit(model, task, method=method, select="top", examples=examples, draws=0)
            both = functional.score_agreement(one.scores.flatten(), exact.scores.flatten())
            row = {"corrupted": corrupted, "method": method}
            row |= {"spearman": both.spearman.item(), "pearson": both.pearson.item()}
            rows.append({**row, "cpr": one.cpr, "cmd": one.cmd})
        rows.append({"corrupted": corrupted, "method": "exact", "cpr": exact.cpr, "cmd": exact.cmd})
        rows.append({"corrupted": corrupted, "method": "random", "cpr": exact.cpr_random, "cmd": exact.cmd_random})
    return pd.DataFrame(rows)


def method_numbers(table: pd.DataFrame) -> dict[str, float]:
    """As "circuit.value.eap.pearson"."""
    numbers: dict[str, float] = {}
    for row in table.to_dict("records"):
        lead = f"circuit.{row['corrupted']}.{row['method']}"
        numbers |= {f"{lead}.{name}": float(row[name]) for name in ("spearman", "pearson", "cpr", "cmd")}
    return {name: value for name, value in numbers.items() if value == value}


def history(seed: int, examples: int) -> Any:
    """The circuit that finds the place to copy from, at each committed step of a training."""
    return workbench.circuit_history(
        models.kept_steps("two-layers"),
        lambda step: models.committed("two-layers", seed, step),
        TASKS["match"],
        examples=examples,
        shares=(0.1,),
    )


def history_numbers(found: Any, half: float) -> dict[str, float]:
    """When the task and its circuit come, how small it gets, and what of it stays; `half`: where the loss is."""
    frame = found.to_frame()
    done = frame[frame["found"] == 1]
    first = {row["node"]: row["first"] for row in found.appearances().to_dict("records")}
    comes = float(done["step"].min()) if len(done) else float("nan")
    return {
        "history.first_done": comes,
        "history.apart": abs(comes - half),
        "history.first_kept": float(done["kept"].iloc[0]),
        "history.last_kept": float(done["kept"].iloc[-1]),
        "history.last_jaccard": float(frame["smoothed_jaccard"].iloc[-1]),
        "history.last_circuit_at_first": float(done["last_circuit"].iloc[0]),
        "history.induction_head_comes": float(min(first.get(f"a1.h{head}", 10**6) for head in range(4))),
        "history.untrained_done": float(frame["does"].iloc[0]),
    }
