"""The tables of the study, and the numbers in them that claims are about."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

import workbench
from case_studies.extreme_tokens import intervene, measure
from case_studies.extreme_tokens.chain import best_losses, surprise
from case_studies.extreme_tokens.growth import growth_numbers
from case_studies.extreme_tokens.measure import Ids

Table = Any
Found = dict[str, float]
LOOKS = ("sink", "sink_trigger", "previous", "previous_other", "gap", "value", "peak", "output")
"""What is measured of each layer."""


def look_table(model: workbench.LensModel, ids: Ids) -> Table:
    """Each layer's sink, values, states and output, a row for each layer."""
    looks = measure.looks(model, ids)
    layers = sorted({int(name.split(".")[1]) for name in looks})
    return pd.DataFrame([{"layer": layer, **{name: looks[f"{name}.{layer}"] for name in LOOKS}} for layer in layers])


def loss_table(model: workbench.LensModel, ids: Ids, *, rule: bool = True) -> Table:
    """Loss by kind of token, that of one who knows the task, and what each intervention adds to the former, in nats."""
    found, known = measure.losses(model.module, ids), surprise(ids, rule=rule)
    rows = [
        {"kind": kind, "loss": found[f"loss.{kind}"], "known": known[at].mean().item()}
        for kind, at in measure.kinds(ids[:, :-1]).items()
    ]
    changes = intervene.loss_changes(model, ids)
    return pd.DataFrame([row | {name: by[row["kind"]] for name, by in changes.items()} for row in rows])


def look_numbers(looks: Table, ids: Ids) -> Found:
    """Of one layer each measure; of several their largest (for what the start lacks, the least).

    `sink_beside_even`: how many times the attention to the start is that of a head which looks at all it sees alike.
    """
    found = {name: float(looks[name].max()) for name in LOOKS if name not in ("value", "output")}
    found |= {name: float(looks[name].min()) for name in ("value", "output")}
    even = intervene.row_to("evenly", torch.zeros(ids.shape[1] - 1, ids.shape[1] - 1))[:, 0].expand(len(ids), -1)
    return found | {"sink_beside_even": found["sink"] / float(even[measure.kinds(ids[:, :-1])["other"]].mean())}


def loss_numbers(losses: Table) -> Found:
    """How much more than need be is lost at triggers and at others, and what each intervention adds to it.

    `silenced.above_blind`: how far the loss after triggers is then above that of one who knows the trigger alone.
    """
    rows = losses.set_index("kind")
    found = {f"excess.{kind}": float(rows["loss"][kind] - rows["known"][kind]) for kind in ("trigger", "other")}
    for done in rows.columns.drop(["loss", "known"]):
        found |= {f"{done}.{kind}": float(rows[done][kind]) for kind in ("trigger", "other")}
    found["silenced.above_blind"] = float(rows["loss"]["trigger"]) + found["silenced.trigger"] - best_losses().blind
    return found


def history_numbers(history: Table) -> Found:
    """Growth of the start's score over training, in the layer that ends with the strongest sink."""
    rows = history.sort_values("step")
    sinks = rows.filter(regex=r"^sink\.").iloc[-1].dropna()
    return growth_numbers(rows["step"].tolist(), rows[f"gap.{str(sinks.idxmax())[-1]}"].tolist())


def by_quantity(found: Mapping[str, Mapping[int, Found]]) -> dict[str, Any]:
    """Each quantity with its value for each seed."""
    return {
        f"{group}.{name}": {seed: each[name] for seed, each in seeds.items() if name in each}
        for group, seeds in found.items()
        for name in dict.fromkeys(name for each in seeds.values() for name in each)
    }
