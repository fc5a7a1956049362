"""A small transformer learns to search in graphs, if it is trained on graphs that make it look ahead.

It reads the edges of a graph, a start and a goal, and answers the next vertex of the path. What it learns depends on
what it is trained on: problems in which all look-aheads are as frequent teach a search, random graphs hardly. How it
finds the path can be read from single looks of its heads: each position gathers the vertices that can be reached from
it, and each layer joins the sets of two positions that have a vertex in common.

Saparov et al. (2024), Transformers Struggle to Learn to Search.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

import workbench
from case_studies.graph_search import heuristics, measure, models, pictures
from case_studies.graph_search.problems import LOOK_AHEADS, VERTICES
from case_studies.graph_search.train import SETTINGS, train
from workbench import studies

Found = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 of each setting again
    long: bool = False  # train all settings again, with three seeds
    seeds: tuple[int, ...] = models.SEEDS
    problems: int = 400  # of each look-ahead and distribution, for accuracy
    explained: int = 6  # problems of each look-ahead whose operations are looked for, of seed 0
    controls: int = 2  # of each look-ahead, for other seeds and models that should show nothing
    rules: int = 300  # problems that shortcuts are tried on
    seed: int = 0


def run(config: Config) -> studies.Findings:
    """Measure trained models by look-ahead, explain what they do, and do the same where nothing should show."""
    found: dict[str, dict[int, Found]] = {}
    accuracy, explained = [], []
    for setting in SETTINGS:
        for seed in config.seeds if setting == "balanced" else (0,):
            model = models.committed(setting, seed)
            table = measure.accuracy_table(model, config.problems)
            accuracy.append(table.assign(setting=setting, seed=seed))
            found.setdefault(setting, {})[seed] = accuracy_numbers(table)
    for seed in config.seeds:
        each = config.explained if seed == 0 else config.controls
        table = measure.explanation_table(models.committed("balanced", seed), each)
        explained.append(table.assign(model="trained", seed=seed))
        found["balanced"][seed] |= measure.shares(table)
    nothing = {"untrained": models.untrained("balanced", 0), "shuffled": models.committed("balanced", 0)}
    for name, model in nothing.items():
        table = measure.explanation_table(model, config.controls, shuffled=name == "shuffled")
        explained.append(table.assign(model=name, seed=0))
        found[name] = {0: measure.shares(table)}
    rules = rule_table(config)
    history = models.history()
    for setting, seeds in found.items():
        for seed in seeds:
            rows: Any = history[(history["setting"] == setting) & (history["seed"] == seed)]
            if len(rows):
                found[setting][seed] |= learning_numbers(rows)
    if config.train:
        found |= retrained(config)
    together = pd.concat(accuracy, ignore_index=True)
    merged = pd.concat(explained, ignore_index=True)
    return studies.Findings(
        numbers={**by_quantity(found), **rule_numbers(rules), **data_numbers(config)},
        tables={"Accuracy": together, "Explained": merged, "Shortcuts": rules},
        figures={
            "Learning": pictures.staircase_figure(history),
            "Accuracy": pictures.accuracy_figure(together),
            "Path merging": pictures.explained_figure(merged),
        },
    )


def accuracy_numbers(table: Any) -> Found:
    """Share right by look-ahead, and on the other distributions."""
    balanced = table[table["problems"] == "balanced"].set_index("look-ahead")["right"]
    others = table[table["problems"] != "balanced"].set_index("problems")["right"]
    found = {f"accuracy_{far}": float(balanced[far]) for far in LOOK_AHEADS}
    return found | {f"accuracy_{kind}": float(others[kind]) for kind in measure.KINDS[1:]}


def learning_numbers(rows: Any, level: float = 0.8) -> Found:
    """The first measured step at which a share of `level` is right, by look-ahead (NaN: never), and how far apart."""
    steps = {}
    for far in LOOK_AHEADS:
        reached = rows.loc[rows[f"accuracy.{far}"] >= level, "step"]
        steps[far] = float(reached.min()) if len(reached) else float("nan")
    return {
        **{f"learnt_{far}": step for far, step in steps.items()},
        "one_to_two": steps[2] - steps[1],
        "two_to_three": steps[3] - steps[2],
    }


def rule_table(config: Config) -> pd.DataFrame:
    """How often each shortcut is right on balanced problems, by look-ahead; `guess` draws a child of the start."""
    rows = []
    for far in LOOK_AHEADS:
        problems = measure.held_out(config.rules, look_ahead=far)
        rows.append(("guess", far, heuristics.guessing(problems)))
        rows += [(name, far, heuristics.accuracy(rule, problems)) for name, rule in heuristics.RULES.items()]
    return pd.DataFrame(rows, columns=["rule", "look-ahead", "right"])


def rule_numbers(table: Any) -> dict[str, float]:
    """Each shortcut at the longest look-ahead, and all but the search of one step over all."""
    last = table[table["look-ahead"] == max(LOOK_AHEADS)].set_index("rule")["right"]
    mean = table.groupby("rule")["right"].mean()
    return {f"shortcuts.{name}_3": float(last[name]) for name in last.index} | {
        f"shortcuts.{name}": float(mean[name]) for name in mean.index
    }


def data_numbers(config: Config) -> dict[str, float]:
    """How far one must look ahead in naive problems, and whether balanced ones are what they say."""
    found = {}
    for kind in ("naive", "balanced"):
        problems = measure.held_out(config.rules, kind)
        far = [
            workbench.functional.look_ahead([edge for edge in edges if edge[0] >= 0], start, goal)
            for edges, start, goal in zip(
                problems.edges.tolist(), problems.start.tolist(), problems.goal.tolist(), strict=True
            )
        ]
        found[f"{kind}_problems.no_look_ahead"] = sum(each == 0 for each in far) / len(far)
        found[f"{kind}_problems.look_ahead_3"] = sum(each >= 3 for each in far) / len(far)
    labels = measure.held_out(config.rules).label.bincount(minlength=len(VERTICES))
    found["balanced_problems.commonest_label"] = labels.max().item() / config.rules
    return found


def by_quantity(found: Mapping[str, Mapping[int, Found]]) -> dict[str, Any]:
    """Each quantity with its value for each seed."""
    return {
        f"{group}.{name}": {seed: each[name] for seed, each in seeds.items() if name in each}
        for group, seeds in found.items()
        for name in next(iter(seeds.values()))
    }


def retrained(config: Config) -> dict[str, dict[int, Found]]:
    """Models trained here and now, from scratch: what was claimed of the committed ones."""
    found: dict[str, dict[int, Found]] = {}
    work = studies.work_folder("graph_search")
    for setting in SETTINGS if config.long else ("balanced",):
        for seed in (0, 1, 2) if config.long else (0,):
            training = train(
                replace(SETTINGS[setting], seed=seed), work / f"{setting}-{seed}", f"{setting}, seed {seed}"
            )
            model = models.adapted(training.module, f"{setting}, trained again, seed {seed}")  # pyright: ignore[reportArgumentType]
            numbers = accuracy_numbers(measure.accuracy_table(model, config.problems))
            numbers |= learning_numbers(pd.DataFrame(training.history))
            if setting == "balanced":
                numbers |= measure.shares(measure.explanation_table(model, config.controls))
            found.setdefault(f"retrained_{setting}", {})[seed] = numbers
    for state in work.glob("*/training.safetensors"):
        state.unlink()  # all is done: the next time starts from scratch
    return found
