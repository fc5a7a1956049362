"""A small decoder learns to multiply five digits by one, digit by digit, and stumbles over chains of carries.

Each digit of the answer is a task of its own: a product of two digits, to which a carry is added. To know the carry
one may have to look further down, as far as carries chain. Written from the highest digit, each digit must know its
carry by itself; written from the units, the digit before tells it.

Qiu et al. (2024), Dissecting Multiplication in Transformers: Insights into LLMs; Shen et al. (2023), Positional
Description Matters for Transformers Arithmetic, for answers written from the units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

import workbench
from case_studies.multiplication import circles, measure, models, numbers, pictures, tables
from case_studies.multiplication.arithmetic import reach
from case_studies.multiplication.problems import PLACES, Order, chained, held_out
from case_studies.multiplication.train import SETTINGS, train
from workbench import studies, training

Found = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 again, in both orders
    long: bool = False  # train all settings again, with five seeds
    seeds: tuple[int, ...] = models.SEEDS
    untrained_seeds: tuple[int, ...] = (0, 1, 2)
    problems: int = 1000  # drawn at random, of those that no training saw
    chains: int = 100  # of each length of the longest chain, of the same
    shuffles: int = 100  # of the reach of digits, for the null
    looked_into: int = 500  # problems for attention and what is done to it
    seed: int = 0


def run(config: Config) -> studies.Findings:
    """Measure trained models by place, reach and operand; the same for models that should show nothing."""
    found: dict[str, dict[int, Found]] = {}
    kept: dict[str, list[pd.DataFrame]] = {}
    for setting in models.TRAINED:
        for seed in config.seeds:
            model = models.committed(setting, seed)
            inside = setting in models.STEPPED
            numbers_, tables_ = look_at(model, models.order_of(setting), config, inside=inside)
            found.setdefault(setting, {})[seed] = numbers_
            for title, table in tables_.items():
                kept.setdefault(title, []).append(table.assign(setting=setting, seed=seed))
    for seed in config.untrained_seeds:
        found.setdefault("untrained", {})[seed], _ = look_at(models.untrained("ordinary", seed), "ordinary", config)
    found["permuted"] = {0: look_at(models.committed("permuted", 0), models.order_of("permuted"), config)[0]}
    history = models.history()
    learnt = tables.learning_table(history[history["setting"].isin(models.TRAINED)])
    for (setting, seed), rows in learnt.groupby(["setting", "seed"]):
        found[setting][seed] |= numbers.learning_numbers(rows)
    for better in models.TRAINED[1:]:
        for seed in config.seeds:
            found[better][seed] |= gains(found[better][seed], found["ordinary"][seed])
    if config.train:
        found |= retrained(config)
    together = {title: pd.concat(each, ignore_index=True) for title, each in kept.items()}
    return studies.Findings(
        numbers=by_quantity(found),
        tables={**together, "Learning": learnt},
        figures={
            "Learning": pictures.learning_figure(history),
            "Chains of carries": pictures.reach_figure(together["Reach"]),
            "Operands": pictures.operand_figure(together["Operands"]),
        },
    )


def look_at(
    model: workbench.LensModel, order: Order, config: Config, *, inside: bool = True
) -> tuple[Found, dict[str, pd.DataFrame]]:
    """The numbers that claims are about, and the tables that they are from; what is right alone, or what it is by."""
    usual, chains = held_out()[: config.problems], chained(config.chains)
    right, right_chains = (measure.right(model, problems, order) for problems in (usual, chains))
    far = reach(chains.a, chains.b, PLACES)
    accuracy, reached = tables.accuracy_table(right), tables.reach_table(right_chains, far)
    kinds = tables.subtask_table(right_chains, chains)
    found = {
        **numbers.answer_numbers(accuracy, reached, kinds),
        **numbers.fall_numbers(right_chains, far, config.shuffles),
        "wrong_by_one": circles.neighbours(measure.predicted(model, chains, order), chains.answers(), ~right_chains),
    }
    named = {"Accuracy": accuracy, "Reach": reached, "Subtasks": kinds}
    if not inside:
        return found, named
    few = usual[: config.looked_into]
    misled = tables.reach_table(measure.misled(model, chains, order, seed=config.seed), far)
    operands, exchanged = tables.operand_table(model, few, order), tables.interchange_table(model, few, order)
    spectrum = circles.spectrum_table(model, seed=config.seed)
    found |= numbers.misled_numbers(reached, misled)
    found |= numbers.operand_numbers(operands)
    found |= numbers.interchange_numbers(exchanged)
    found |= circles.spectrum_numbers(spectrum)
    found |= circles.frequency_numbers(model, few, order, seed=config.seed)
    named["Reach"] = reached.assign(misled=misled["right"])
    return found, named | {"Operands": operands, "Interchange": exchanged, "Spectrum": spectrum}


def gains(better: Mapping[str, float], plain: Mapping[str, float]) -> Found:
    """How much more of the answers, and of the digits at the end of long chains, is right than in the vanilla model."""
    return {
        "gain": better["accuracy"] - plain["accuracy"],
        "gain_at_reach_3": better["reach_3"] - plain["reach_3"],
    }


def by_quantity(found: Mapping[str, Mapping[int, Found]]) -> dict[str, Any]:
    """Each quantity with its value for each seed."""
    return {
        f"{group}.{name}": {seed: each[name] for seed, each in seeds.items()}
        for group, seeds in found.items()
        for name in next(iter(seeds.values()))
    }


def retrained(config: Config) -> dict[str, dict[int, Found]]:
    """Models trained here and now, from scratch: what was claimed of the committed ones."""
    found: dict[str, dict[int, Found]] = {}
    work = studies.work_folder("multiplication")
    for seed in (0, 1, 2, 3, 4) if config.long else (0,):
        for setting in models.TRAINED if config.long else ("ordinary", "reversed"):
            settings = replace(SETTINGS[setting], seed=seed, keep=())
            done: Any = train(settings, work / f"{setting}-{seed}")
            model = models.adapted(done.module, f"{setting}, trained again, seed {seed}")
            numbers_, _ = look_at(model, settings.order, config)
            rows = pd.DataFrame(done.history).assign(setting=setting, seed=seed)
            numbers_ |= numbers.learning_numbers(tables.learning_table(rows))
            found.setdefault(f"retrained_{setting}", {})[seed] = numbers_
    for group in list(found):
        if group != "retrained_ordinary":
            for seed, each in found[group].items():
                each |= gains(each, found["retrained_ordinary"][seed])
    training.forget(work)  # all is done: the next time starts from scratch
    return found
