"""Attention of deep layers says little of what matters; attention followed down to the words still does.

In each layer a position looks at other positions, which by then hold what they took from others. Rollout multiplies
the layers, flow sends what can flow through them; both start from half attention and half the position itself. Each is
held against what happens when a word is blanked out, and against gradients. Norms do better than weights: maps that
know values, the residual stream and the norms, from bare weights (W) to whole blocks (N_ENC).

Abnar & Zuidema (2020), Quantifying Attention Flow in Transformers; Modarressi et al. (2022), GlobEnc: Quantifying
Global Token Attribution by Incorporating the Whole Encoder Layer in Transformers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

import workbench
from case_studies.attention_flow import data, models
from case_studies.attention_flow.measure import (
    MEASURES,
    METHODS,
    Measured,
    ladder,
    largest_norm_weight,
    measure,
    planted_first,
)
from case_studies.attention_flow.real import real_models
from workbench import functional, plots, studies, training

LADDER = (*functional.MIXING_MAPS, "ALTI")
Correlations = Mapping[tuple[str, str], Tensor]
"""(method, measure) -> one correlation for each (text, layer); NaN where it is undefined."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 of both tasks again, and look at packaged models
    long: bool = False  # train five seeds of both
    seeds: tuple[int, ...] = models.SEEDS
    untrained_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    per_length: int = 20  # 200 texts: ten lengths
    texts_seed: int = 5  # texts that no training saw
    deep: int = 2  # the last layers that count as deep


def run(config: Config) -> studies.Findings:
    """Correlate what attention says with what matters, in trained models and in those that should show nothing."""
    measured: dict[str, dict[int, dict[str, float]]] = {}
    layers, ladders = [], []
    for seed in config.seeds:
        for task in models.SETTINGS:
            found, by_layer, rungs = look_at(models.committed(task, seed), task, config)
            measured.setdefault(task, {})[seed] = found
            layers.append(by_layer.assign(task=task, seed=seed))
            ladders.append(rungs.assign(seed=seed))
    for seed in config.untrained_seeds:
        for task in models.SETTINGS:
            found, by_layer, _ = look_at(models.untrained(task, seed), task, config)
            measured.setdefault(f"untrained_{task}", {})[seed] = found
            layers.append(by_layer.assign(task=f"untrained_{task}", seed=seed))
    if config.train:
        measured |= retrained(config)
    table, ladder_table = pd.concat(layers, ignore_index=True), pd.concat(ladders, ignore_index=True)
    numbers: dict[str, float | Mapping[int, float]] = {}
    for group, seeds in measured.items():
        each = by_seed(seeds)
        numbers |= {f"{group}.{name}": values for name, values in each.items()}
        numbers |= {f"{group}.mean.{name}": sum(v.values()) / len(v) for name, v in each.items()}
    return studies.Findings(
        numbers=numbers | (real_models() if config.train else {}),
        tables={"Correlations by layer": table, "Ladder": ladder_table},
        figures={
            "Agreement, blanking words out": layer_figure(table, "blank-out"),
            "Agreement, gradient x input": layer_figure(table, "gradient x input"),
            "Ladder": ladder_figure(ladder_table),
        },
    )


def look_at(
    model: workbench.LensModel, task: str, config: Config
) -> tuple[dict[str, float], pd.DataFrame, pd.DataFrame]:
    """The numbers that claims are about, the correlations by layer, and the ladder (empty for pre-norm blocks)."""
    make, lengths = data.MAKERS[task][0], models.SETTINGS[task].lengths
    texts = [make(config.per_length, length, config.texts_seed * 1000 + length) for length in lengths]
    seen = [measure(model, each) for each in texts]
    found = correlations(seen)
    numbers = {"accuracy": torch.cat([each.right for each in seen]).double().mean().item(), **summary(found, config)}
    if model.main.row.order != "post":
        return numbers, layer_table(found), pd.DataFrame()
    rungs = rung_table([ladder(model, each) for each in texts], texts, seen)
    numbers["attention_on_ends"] = torch.cat([each.on_ends for each in seen]).mean().item()
    numbers["largest_norm_weight"] = largest_norm_weight(model)
    return numbers | rung_summary(rungs), layer_table(found), rungs


def by_seed(found: Mapping[int, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    """Each quantity with its value for each seed."""
    names = next(iter(found.values()))
    return {name: {seed: numbers[name] for seed, numbers in found.items()} for name in names}


# ---- raw attention, rollout and flow ---------------------------------------------------------------------------------


def correlations(seen: Iterable[Measured]) -> Correlations:
    """Rank correlation, text by text, of each method in each layer with each measure of importance.

    Beside them: random relevance; the rollout of the next text of the same length, which knows where words stand but
    not which; and one measure of importance against another.
    """
    found: dict[tuple[str, str], list[Tensor]] = {}
    for number, each in enumerate(seen):
        scores = dict(each.relevance)
        scores["rollout of another text"] = each.relevance["rollout"].roll(1, 0)
        scores["random"] = functional.random_scores(each.relevance["raw"], seed=number)
        scores |= {name: each.importance[name][:, None] for name in MEASURES}
        for method, relevance in scores.items():
            for name in MEASURES:
                rho = functional.spearman(relevance, each.importance[name][:, None].expand_as(relevance))
                found.setdefault((method, name), []).append(rho)  # (text, layer)
    return {key: torch.cat(rows) for key, rows in found.items()}


def summary(found: Correlations, config: Config) -> dict[str, float]:
    """The numbers that claims are about: means over texts in the first, the deep and the last layer."""
    numbers = {
        "gradient_x_input.blank_out": found["gradient x input", "blank-out"].nanmean().item(),
        "undefined": float(sum(int(found[method, name].isnan().sum()) for method in METHODS for name in MEASURES)),
    }
    for name in MEASURES:
        deep = {method: found[method, name][:, -config.deep :].nanmean(-1) for method in (*METHODS, "random")}
        key = name.replace(" ", "_").replace("-", "_")
        for method in METHODS:
            means = found[method, name].nanmean(0).tolist()
            numbers[f"{method}.{key}.first"] = means[0]
            numbers[f"{method}.{key}.deep"] = deep[method].nanmean().item()
            numbers[f"{method}.{key}.last"] = means[-1]
            numbers[f"{method}.{key}.rise"] = means[-1] - means[0]
        for method in METHODS[1:]:
            lead = functional.bootstrap_difference(deep[method], deep["raw"])
            numbers[f"{method}_over_raw.{key}.deep"] = lead.value.item()
            numbers[f"{method}_over_raw.{key}.deep_low"] = lead.low.item()
        numbers[f"random.{key}.deep"] = deep["random"].nanmean().abs().item()
        another = found["rollout of another text", name][:, -1].nanmean().item()
        numbers[f"rollout_over_another_text.{key}.last"] = numbers[f"rollout.{key}.last"] - another
        numbers[f"flow_over_rollout.{key}.last"] = numbers[f"flow.{key}.last"] - numbers[f"rollout.{key}.last"]
        flow = found["flow", name].nanmean(0)
        numbers[f"flow.{key}.last_step"] = (flow[-1] - flow[-2]).abs().item()
    gradients = numbers["gradient_x_input.blank_out"]
    numbers["rollout_over_gradient_x_input.blank_out.last"] = numbers["rollout.blank_out.last"] - gradients
    return numbers


def layer_table(found: Correlations) -> pd.DataFrame:
    """One row for each method, measure and layer: mean, spread, interval, and how many are undefined."""
    rows = []
    for method in (*METHODS, "rollout of another text", "random"):
        for name in MEASURES:
            interval = functional.bootstrap_interval(found[method, name].T)
            spread = [_spread(layer) for layer in found[method, name].T]
            for layer, sd in enumerate(spread):
                rows.append(
                    {
                        "method": method,
                        "measure": name,
                        "layer": layer,
                        "mean": interval.value[layer].item(),
                        "low": interval.low[layer].item(),
                        "high": interval.high[layer].item(),
                        "sd": sd,
                        "texts": int(interval.count[layer]),
                        "undefined": int(interval.undefined[layer]),
                    }
                )
    return pd.DataFrame(rows)


def _spread(values: Tensor) -> float:
    return values[~values.isnan()].std().item()


# ---- the ladder ------------------------------------------------------------------------------------------------------


def rung_table(maps: list[dict[str, Tensor]], texts: list[data.Texts], seen: list[Measured]) -> pd.DataFrame:
    """One row for each map and layer: correlation with each measure, and how planted words rank (half is chance)."""
    found: dict[str, list[dict[str, Tensor]]] = {}
    for number, (scores, each, text) in enumerate(zip(maps, seen, texts, strict=True)):
        controls = {"random": functional.random_scores(scores["W"], seed=number)}
        controls["saliency itself"] = each.importance["saliency"][:, None].expand_as(scores["W"])
        for name, rows in (scores | controls).items():
            rho = {m: functional.spearman(rows, each.importance[m][:, None].expand_as(rows)) for m in MEASURES}
            found.setdefault(name, []).append(rho | {"planted": planted_first(rows, text.planted)})
    rows = []
    for name, parts in found.items():
        together = {quantity: torch.cat([part[quantity] for part in parts]) for quantity in parts[0]}  # (text, layer)
        means = {quantity: values.nanmean(0).tolist() for quantity, values in together.items()}
        undefined = together["saliency"].isnan().sum(0).tolist()
        rows += [
            {"map": name, "layer": layer, **{q: values[layer] for q, values in means.items()}, "undefined": count}
            for layer, count in enumerate(undefined)
        ]
    return pd.DataFrame(rows)


def rung_summary(table: pd.DataFrame) -> dict[str, float]:
    """What the maps of all layers multiplied say, and the steps of the ladder."""
    last: Any = table[table["layer"] == table["layer"].max()].set_index("map")
    rho = {str(name): float(value) for name, value in last["saliency"].items()}
    numbers = {f"{name}.saliency": rho[name] for name in (*LADDER, "random")}
    numbers |= {f"{name}.planted": float(value) for name, value in last["planted"].items()}
    steps = (("N", "W"), ("N_RES", "N"), ("N_ENC", "N_RES"), ("N_ENC", "W"), ("W", "W_FIXEDRES"), ("N_RES", "N_RESLN"))
    return numbers | {f"{above}_over_{below}": rho[above] - rho[below] for above, below in steps}


# ---- training again --------------------------------------------------------------------------------------------------


def retrained(config: Config) -> dict[str, dict[int, dict[str, float]]]:
    """Models trained here and now, from scratch: what was claimed of the committed ones, for each task and seed."""
    from case_studies.attention_flow.train import train

    found: dict[str, dict[int, dict[str, float]]] = {}
    work = studies.work_folder("attention_flow")
    for seed in (0, 1, 2, 3, 4) if config.long else (0,):
        for task, settings in models.SETTINGS.items():
            module = train(replace(settings, seed=seed), work / f"{task}-{seed}").module
            numbers, _, _ = look_at(models.adapted(module, task, f"{task}, trained again, seed {seed}"), task, config)
            found.setdefault(f"retrained_{task}", {})[seed] = numbers
    training.forget(work)  # all is done: the next time starts from scratch
    return found


# ---- pictures --------------------------------------------------------------------------------------------------------


def layer_figure(layers: pd.DataFrame, name: str) -> go.Figure:
    """The correlation of each method by layer with one measure, mean over the seeds; controls beside."""
    table: Any = layers[layers["measure"] == name]
    trained = table[table["task"] == "agreement"]
    fresh = table[(table["task"] == "untrained_agreement") & (table["method"] == "rollout")]
    shown: Any = pd.concat([trained, fresh.assign(method="rollout, untrained")])
    shown = shown.groupby(["method", "layer"], sort=False, as_index=False)["mean"].mean()
    shown = shown.rename(columns={"mean": "rank correlation"})
    figure = plots.lines(shown, x="layer", y="rank correlation", color="method")
    return figure.update_layout(height=380, margin={"t": 10, "b": 60})


def ladder_figure(ladders: pd.DataFrame) -> go.Figure:
    """Each map, all layers multiplied, by seed: correlation with the saliency of words."""
    shown: Any = ladders[(ladders["layer"] == ladders["layer"].max()) & ladders["map"].isin((*LADDER, "random"))]
    shown = shown.assign(written=shown["saliency"].map("{:.2f}".format))
    shown = shown.rename(columns={"saliency": "rank correlation"})
    options: Any = {"value": "rank correlation", "text": "written", "center": 0.0, "limits": (-1, 1)}
    figure = plots.heatmap(shown, x="map", y="seed", **options)
    return figure.update_layout(height=260, margin={"t": 10, "b": 60})
