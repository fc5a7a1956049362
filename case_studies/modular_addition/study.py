"""A one-layer transformer learns to add modulo 59 by a few frequencies, long before its test loss shows it.

It first learns its pairs by heart. Meanwhile a circuit forms: waves cos and sin of w (a + b) for a few frequencies w.
The loss of these frequencies alone falls while the test loss is still high; then the memory is cleaned away.

Nanda et al. (2023), Progress Measures for Grokking via Mechanistic Interpretability.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

import workbench
from case_studies.modular_addition import train
from workbench import plots, studies
from workbench.models.small import word_tokenizer

FOLDER = studies.study("modular_addition").folder
MAIN = ("p59-wd1", "p59-wd3")
FEW = (0.0, 0.25, 0.5)
"""Shares of the neurons that are removed."""
Numbers = dict[str, float | Mapping[int, float]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 again, weight decay 3
    long: bool = False  # three seeds of weight decay 3 and two of 1, and the prime of the paper
    draws: int = 5  # draws of as many other frequencies


def run(config: Config) -> studies.Findings:
    """Follow the circuit over training, and do the same to models that should show nothing."""
    histories = {name: followed(name, config) for name in MAIN}
    numbers: Numbers = {}
    for name, history in histories.items():
        numbers |= history_numbers(short(name), history)
    numbers |= cheaper(config)
    neurons = {
        **{short(name): opened(name, last(name)) for name in MAIN},
        "untrained": opened("p59-wd1", 0),
    }
    spectra = {name: workbench.neuron_spectrum(model, "0-58") for name, model in neurons.items()}
    for name, spectrum in spectra.items():
        above, others, _ = spectrum.counts
        numbers[f"{name}.neurons"] = above / (above + others)
        shuffled = spectrum.shuffled[~spectrum.dead] > spectrum.threshold
        numbers[f"{name}.neurons_shuffled"] = shuffled.double().mean().item()
    pruned = workbench.neuron_pruning(neurons["wd3"], variable="0-58", score="share", shares=FEW, draws=2)
    numbers |= pruning_numbers(pruned)
    numbers |= speeds()
    if config.train or config.long:
        numbers |= retrained(config)
    if config.long:
        numbers |= at_paper_size(config)
    return studies.Findings(
        numbers=numbers,
        tables={
            **{f"Checkpoints, {short(name)}": history.steps_frame() for name, history in histories.items()},
            "Neurons": neuron_table(spectra),
            "Pruning": pruned.mean_frame(),
        },
        figures={
            "Progress, weight decay 1": progress_figure(histories["p59-wd1"]),
            "Gini coefficients": histories["p59-wd1"].figure(of="gini"),
            "Test accuracy by weight decay": accuracy_figure(),
            "Frequencies of the answers": sums_figure(histories["p59-wd1"]),
            "Neurons by their frequency": spectra["wd1"].figure(),
        },
    )


# ---- models ----------------------------------------------------------------------------------------------------------


def short(name: str) -> str:
    return name.removeprefix("p59-")


def last(name: str) -> int:
    return train.KEPT[name][-1]


def opened(name: str, step: int) -> workbench.LensModel:
    """A committed checkpoint, or with step 0 the model that its training began with."""
    if step:
        return workbench.load(FOLDER / "checkpoints" / name, checkpoint=str(step))
    return adapted(train.initial_model(train.SETTINGS[name]).eval(), f"{name}, untrained")


def adapted(module: Any, name: str) -> workbench.LensModel:
    return workbench.adapt(module, word_tokenizer(train.words(module.config.vocab_size - 2)), name=name)


# ---- over training ---------------------------------------------------------------------------------------------------


def followed(name: str, config: Config) -> Any:
    """The progress measures of the committed checkpoints, with the key frequencies of the last."""
    settings = train.SETTINGS[name]
    return workbench.progress_history(
        [0, *train.KEPT[name]],
        lambda step: opened(name, step),
        f"0-{settings.prime - 1}",
        train_share=settings.share,
        train_seed=settings.seed,
        draws=config.draws,
    )


def history_numbers(name: str, history: Any) -> Numbers:
    """What is claimed of one training: its end, and what leads and what follows on the way."""
    steps = history.steps_frame().to_dict("records")
    end = steps[-1]
    found: Numbers = {f"{name}.end.{measure}": end[measure] for measure in history.names}
    found[f"{name}.keys"] = len(history.key)
    found[f"{name}.restricted_over_test"] = end["restricted_test_loss"] / end["test_loss"]
    below = {
        measure: next((row["step"] for row in steps if row[measure] < 1), math.inf)
        for measure in ("restricted_loss", "test_loss")
    }
    lead = below["test_loss"] - below["restricted_loss"]
    found |= {f"{name}.lead": lead, f"{name}.lead_share": lead / below["test_loss"]}
    during = [row for row in steps if 0 < row["step"] <= below["test_loss"]]
    found[f"{name}.excluded_rise"] = during[-1]["excluded_loss"] - during[0]["excluded_loss"]
    found[f"{name}.excluded_random"] = during[-1]["random_excluded_loss"]
    for measure in ("embedding_gini", "neuron_logit_gini"):
        values = [row[measure] for row in steps]
        found[f"{name}.{measure}_rise"] = values[-1] - values[1]
    found[f"{name}.embedding_gini_least_rise"] = min(
        after["embedding_gini"] - row["embedding_gini"] for row, after in zip(steps, steps[1:], strict=False)
    )
    found[f"{name}.weights_left"] = end["squared_weights"] / max(row["squared_weights"] for row in steps)
    found[f"{name}.random_restricted_lowest"] = min(row["random_restricted_loss"] for row in steps)
    return found


def cheaper(config: Config) -> Numbers:
    """What should show nothing: an untrained model, answers dealt out at random, and the waves of a - b."""
    found: Numbers = {}
    models = {"untrained": opened("p59-wd1", 0), "permuted": opened("p59-permuted", last("p59-permuted"))}
    models["subtract"] = opened("p59-wd1", last("p59-wd1"))
    for name, model in models.items():
        operation = "subtract" if name == "subtract" else "add"
        result = workbench.progress_measures(
            model, "0-58", operation=operation, train_share=0.4, train_seed=0, draws=config.draws
        )
        names = ("test_accuracy", "train_accuracy", "sum_explained", "embedding_gini")
        found |= {f"{name}.{measure}": result.value(measure) for measure in names}
        found[f"{name}.keys"] = len(result.key)
    return found


def speeds() -> Numbers:
    """The steps at which the committed trainings came to 95 % on pairs they never saw."""
    found: dict[str, dict[int, float]] = {}
    histories = train.histories()
    for name, rows in histories.items():
        setting, _, seed = name.partition("-seed")
        if setting != "permuted":
            found.setdefault(f"{setting}.generalised_at", {})[int(seed)] = train.generalised_at(rows)
    slow, fast = found["wd1.generalised_at"], found["wd3.generalised_at"]
    ratio = {seed: fast[seed] / step for seed, step in slow.items() if seed in fast}
    by_heart = histories["permuted-seed0"][-1]["train_loss"]
    return {**found, "speed.wd3_over_wd1": ratio, "permuted.train_loss": by_heart}


def pruning_numbers(pruned: Any) -> Numbers:
    """Accuracy without a quarter of the neurons: those that one frequency explains least, best, or any."""
    rows = pruned.mean_frame().to_dict("records")
    at = {row["order"]: row["accuracy"] for row in rows if row["share"] == FEW[1]}
    return {f"pruned.{order}": at[order] for order in ("lowest", "highest", "random")}


# ---- trained again ---------------------------------------------------------------------------------------------------


def retrained(config: Config) -> Numbers:
    """Models trained here and now, from scratch: what was claimed of the committed ones, for each seed."""
    jobs = [("wd3", seed) for seed in ((0, 1, 2) if config.long else (0,))]
    jobs += [("wd1", seed) for seed in (0, 1)] if config.long else []
    found: dict[str, dict[int, float]] = {}
    for name, seed in jobs:
        settings = replace(train.SETTINGS[f"p59-{name}"], seed=seed)
        for quantity, value in trained_numbers(settings, f"{name}-seed{seed}", config).items():
            found.setdefault(f"retrained_{name}.{quantity}", {})[seed] = value
    return dict(found)


def trained_numbers(settings: train.TrainConfig, folder: str, config: Config) -> dict[str, float]:
    """Train one model and measure it as the committed ones; its training takes minutes."""
    path = studies.work_folder("modular_addition") / folder
    keep = tuple(range(settings.steps // 10, settings.steps + 1, settings.steps // 10))
    done = train.train(settings, path, keep=keep, save=lambda module, step: train.write(module, settings, step, path))
    history = workbench.progress_history(
        [0, *keep],
        lambda step: (
            workbench.load(path, checkpoint=str(step)) if step else adapted(train.initial_model(settings), "untrained")
        ),
        f"0-{settings.prime - 1}",
        train_share=settings.share,
        train_seed=settings.seed,
        draws=config.draws,
    )
    numbers: dict[str, Any] = {
        key.removeprefix("now."): value for key, value in history_numbers("now", history).items()
    }
    numbers["generalised_at"] = train.generalised_at([dict(row) for row in done.history])
    for state in path.glob("*.safetensors"):
        state.unlink()  # all is done: the next time starts from scratch
    return numbers


def at_paper_size(config: Config) -> Numbers:
    """P = 113, 30 % of the pairs, as the paper, with weight decay 3."""
    return {f"p113.{name}": value for name, value in trained_numbers(train.LARGE, "p113-wd3", config).items()}


# ---- pictures --------------------------------------------------------------------------------------------------------


def progress_figure(history: Any) -> go.Figure:
    """The losses over training, on a scale of factors."""
    return history.figure().update_layout(title=None)


def accuracy_figure() -> go.Figure:
    """Accuracy on pairs never seen, as it was measured while the models were trained."""
    rows = [
        {"step": row["step"], "test accuracy": row["test_accuracy"], "training": name.replace("-", ", ")}
        for name, history in train.histories().items()
        for row in history
    ]
    return plots.lines(pd.DataFrame(rows), x="step", y="test accuracy", color="training", markers=False)


def sums_figure(history: Any) -> go.Figure:
    """The share of each frequency of the sum in the logits, over training."""
    frame = history.spectrum_frame()
    kept = [k in history.key for k in frame["frequency"]]
    return plots.lines(frame[kept].assign(frequency=frame["frequency"].map(str)), x="step", y="sums", color="frequency")


def neuron_table(spectra: Mapping[str, Any]) -> pd.DataFrame:
    """How many neurons one frequency explains, in each model."""
    rows = []
    for name, spectrum in spectra.items():
        above, others, dead = spectrum.counts
        ipr = spectrum.ipr[~spectrum.dead].nanmedian().item()
        rows.append({"model": name, "above_85": above, "others": others, "dead": dead, "median_ipr": ipr})
    return pd.DataFrame(rows)
