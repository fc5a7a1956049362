"""Two layers of attention learn to continue what repeats, all at once: when, by which heads, and in which circuit.

For hundreds of steps the loss on repeats falls slowly: the model learns which tokens have been there at all. Then,
within a hundred steps, most of what is left goes, and at these steps heads of the second layer begin to look at what
followed the current token, and to copy it.

Olsson et al. (2022), In-context Learning and Induction Heads; Tigges et al. (2024), LLM Circuit Analyses Are Consistent
Across Training and Scale, for the circuit over training.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

import workbench
from case_studies.induction_emergence import circuits, measure, models, numbers, pictures
from case_studies.induction_emergence.data import WORDS
from case_studies.induction_emergence.train import SETTINGS, train
from workbench import studies

Found = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 again
    long: bool = False  # train three seeds and both controls again
    seeds: tuple[int, ...] = models.SEEDS
    examples: int = 24  # prompts for circuits
    draws: int = 5  # random orders of edges
    before: int = 440  # steps before and after the change, for losses token by token
    after: int = 600


def run(config: Config) -> studies.Findings:
    """Time what was measured in training, look at the checkpoints, and do the same to what should show nothing."""
    history: Any = numbers.with_sums(models.history())
    found: dict[str, dict[int, Found]] = {"two_layers": {}, "one_layer": {}, "no_repeats": {}, "untrained": {}}
    tables: dict[str, list[pd.DataFrame]] = {"Heads": [], "Methods": [], "The circuit over training": []}
    for seed in config.seeds:
        rows = history[(history["setting"] == "two-layers") & (history["seed"] == seed)]
        timed = numbers.timing_numbers(rows)
        model = models.committed("two-layers", seed)
        looked, heads = look_at(model)
        followed = circuits.history(seed, config.examples)
        methods = circuits.methods_table(model, config.examples, config.draws)
        found["two_layers"][seed] = {
            **timed,
            **looked,
            **fall_numbers(seed, config),
            **circuits.history_numbers(followed, timed["halfway.loss"]),
            **circuits.method_numbers(methods),
        }
        each = {"Heads": heads, "Methods": methods, "The circuit over training": followed.to_frame()}
        for title, table in each.items():
            tables[title].append(table.assign(seed=seed))
        found["untrained"][seed], _ = look_at(models.committed("two-layers", seed, 0))
    for setting in ("one-layer", "no-repeats"):
        rows = history[history["setting"] == setting]
        looked, _ = look_at(models.committed(setting, 0))
        found[setting.replace("-", "_")][0] = {**numbers.timing_numbers(rows), **looked}
    if config.train or config.long:
        found |= retrained(config)
    together = {title: pd.concat(each, ignore_index=True) for title, each in tables.items()}
    steps = (480, 520, config.after)
    falls = pd.concat([token_falls(config.seeds[0], config.before, step) for step in steps], ignore_index=True)
    first: Any = together["The circuit over training"]
    return studies.Findings(
        numbers=numbers.by_quantity(found),
        tables={**together, "Loss by token": falls},
        figures={
            "What rises with the fall of the loss": pictures.emergence_figure(history, math.log(len(WORDS))),
            "Loss on repeats": pictures.loss_figure(history),
            "Loss by token": pictures.token_figure(falls),
            "The circuit over training": pictures.circuit_figure(first[first["seed"] == config.seeds[0]]),
        },
    )


def look_at(model: workbench.LensModel) -> tuple[Found, pd.DataFrame]:
    """What a model does, the best heads of its layers, and what is lost without the heads of a class."""
    scores = measure.head_scores(model)
    members = {name: [(int(a), int(b)) for a, b in kind.nonzero()] for name, kind in scores.members().items()}
    followed = measure.head_numbers(scores)
    found = {
        **measure.loss_numbers(model),
        "prefix_matching": max(followed[f"prefix_matching_all.{layer}"] for layer in range(model.n_blocks)),
        "prefix_matching.first_layer": followed["prefix_matching_all.0"],
        "copying": followed[f"eigenvalues.{model.n_blocks - 1}"],
        "previous_token.best": followed["previous_token.0"],
        "previous_token.together": float(scores.score("previous_token")[0].sum()),
        "induction_heads": float(len(members["induction"])),
        "copying_of_induction_heads": min(
            (float(scores.score("eigenvalues")[head]) for head in members["induction"]), default=math.nan
        ),
        "loss_without_induction_heads": measure.loss_without(model, members["induction"]),
        "loss_without_first_layer": measure.loss_without(model, [(0, head) for head in range(model.n_heads)]),
    }
    return found, scores.heads_frame()


def token_falls(seed: int, before: int, after: int) -> pd.DataFrame:
    """By how much the loss on the token at each position falls between two steps, on blocks of sixteen tokens."""
    two = [
        measure.head_scores(models.committed("two-layers", seed, step)).losses_frame().set_index("pos")
        for step in (before, after)
    ]
    fall = two[0]["loss"] - two[1]["loss"]
    return pd.DataFrame({"pos": fall.index, "copy": two[0]["copy"], "fall": fall, "step": str(after)}).dropna()


def fall_numbers(seed: int, config: Config) -> Found:
    """The fall on tokens that have been there and that follow one that has, and on those of the first copy."""
    falls = token_falls(seed, config.before, config.after)
    parts = {"fall.repeated": falls["pos"] > 16, "fall.new": falls["copy"] == 0}
    return {name: float(falls.loc[part, "fall"].to_numpy().mean()) for name, part in parts.items()}


def retrained(config: Config) -> dict[str, dict[int, Found]]:
    """Models trained here and now, from scratch: what was claimed of the committed ones."""
    found: dict[str, dict[int, Found]] = {}
    work = studies.work_folder("induction_emergence")
    runs = [("two-layers", seed) for seed in (models.SEEDS if config.long else (0,))]
    runs += [("one-layer", 0), ("no-repeats", 0)] if config.long else []
    for setting, seed in runs:
        training: Any = train(replace(SETTINGS[setting], seed=seed), work / f"{setting}-{seed}")
        model = models.adapted(training.module, f"{setting}, trained again, seed {seed}")
        rows = numbers.with_sums(pd.DataFrame(training.history))
        name = f"retrained_{setting.replace('-', '_')}"
        found.setdefault(name, {})[seed] = {**numbers.timing_numbers(rows), **look_at(model)[0]}
    for state in work.glob("*/training.safetensors"):
        state.unlink()  # all is done: the next time starts from scratch
    return found
