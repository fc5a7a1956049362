"""What a transformer that learns a linear function from the examples in its prompt does: which algorithm it runs.

One layer of linear self-attention can be one step of gradient descent: is a trained one? Deeper models with softmax
attention and MLPs could run any algorithm: which is theirs, by depth and by the noise that they were trained with?

Von Oswald et al. (2023), Transformers Learn In-Context by Gradient Descent; Akyürek et al. (2023), What Learning
Algorithm Is In-Context Learning? Investigations with Linear Models; Zhang et al. (2024), Trained Transformers Learn
Linear Models In-Context.
"""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from case_studies.in_context_regression import models, one_step, pictures, which
from case_studies.in_context_regression.train import MAP, SETTINGS, train
from workbench import studies

Found = dict[str, float]
PROBED = "softmax-4-0.0"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train the linear layer and the deepest model without noise again, seed 0
    long: bool = False  # train all settings again, three seeds
    untrained_seeds: tuple[int, ...] = (0, 1, 2)
    problems: int = 400  # each model of the map is asked


def run(config: Config) -> studies.Findings:
    """Measure the linear layer and the map of depth and noise; the same for models that should show nothing."""
    found: dict[str, dict[int, Found]] = {}
    kept: dict[str, list[pd.DataFrame]] = {}
    for seed in models.seeds_of("linear"):
        numbers, tables, _ = one_step.numbers(models.committed("linear", seed), seed)
        found.setdefault("linear", {})[seed] = numbers
        for title, table in tables.items():
            kept.setdefault(title, []).append(table.assign(seed=seed))
    cells: list[dict[str, Any]] = []
    for setting in (*MAP, "permuted"):
        for seed in models.seeds_of(setting):
            numbers, cell = which.numbers(
                models.committed(setting, seed), SETTINGS[setting], seed, count=config.problems
            )
            found.setdefault(setting, {})[seed] = numbers
            cells.append({"setting": setting, "seed": seed, **cell})
    for seed in config.untrained_seeds:
        found.setdefault("untrained_linear", {})[seed] = one_step.numbers(models.untrained("linear", seed), seed)[0]
        bare = models.untrained(PROBED, seed)
        found.setdefault("untrained", {})[seed], _ = which.numbers(bare, SETTINGS[PROBED], seed, count=config.problems)
    probes, numbers = probed()
    for seed, each in numbers.items():
        found[PROBED][seed] |= each
    if config.train:
        found |= retrained(config)
    history, together = models.history(), {title: pd.concat(each, ignore_index=True) for title, each in kept.items()}
    table = pd.DataFrame(cells)
    once = one_step.loss_in_training(found["linear"][0]["step_size"])
    return studies.Findings(
        numbers=by_quantity(found),
        tables={"Distances": table, **together, "Probes": probes},
        figures={
            "Which algorithm": pictures.map_figure(table[table["setting"] != "permuted"]),
            "One step": pictures.step_figure(history, together["Shifts"], once),
        },
    )


def probed() -> tuple[pd.DataFrame, dict[int, Found]]:
    """What linear readers find in the deepest model, trained and untrained."""
    tables, numbers = [], {}
    for seed in models.seeds_of(PROBED):
        trained, bare = (
            which.probe_table(module, SETTINGS[PROBED], seed)
            for module in (models.committed(PROBED, seed), models.untrained(PROBED, seed))
        )
        tables += [trained.assign(model="trained", seed=seed), bare.assign(model="untrained", seed=seed)]
        best, least = (table.groupby("target")["r2"].max() for table in (trained, bare))
        numbers[seed] = {
            "probe_moment_gain": best["X'y / n"] - least["X'y / n"],
            "probe_weights_gain": best["least-squares weights"] - least["least-squares weights"],
            "probe_control": best["X'y / n of another problem"],
        }
    return pd.concat(tables, ignore_index=True), numbers


def by_quantity(found: dict[str, dict[int, Found]]) -> dict[str, Any]:
    """Each quantity with its value for each seed."""
    return {
        f"{group}.{name}": {seed: float(each[name]) for seed, each in seeds.items()}
        for group, seeds in found.items()
        for name in next(iter(seeds.values()))
    }


def retrained(config: Config) -> dict[str, dict[int, Found]]:
    """Models trained here and now, from scratch: what was claimed of the committed ones."""
    found: dict[str, dict[int, Found]] = {}
    work = studies.work_folder("in_context_regression")
    for setting in SETTINGS if config.long else ("linear", PROBED):
        for seed in models.SEEDS if config.long else (0,):
            settings = replace(SETTINGS[setting], seed=seed)
            module = train(settings, work / f"{setting}-{seed}").module.eval()
            if setting == "linear":
                numbers = one_step.numbers(module, seed)[0]
            else:
                numbers, _ = which.numbers(module, settings, seed, count=config.problems)
            found.setdefault(f"retrained_{setting}", {})[seed] = numbers
    for state in work.glob("*/training.safetensors"):
        state.unlink()  # all is done: the next time starts from scratch
    return found
