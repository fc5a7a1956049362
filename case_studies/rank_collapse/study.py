"""Attention alone makes all positions alike, doubly exponentially in depth; skip connections and trained MLPs do not.

Networks of our own with random weights, in double precision, show the rate and what changes it. Trained models are
taken apart: without skip connections, without MLPs, with attention as it is then or as it was. With attention held, a
network is a sum over paths; how much comes along short ones is measured, not assumed.

Dong, Cordonnier & Loukas (2021), Attention is not all you need: pure attention loses rank doubly exponentially with
depth; Veit, Wilber & Belongie (2016), Residual Networks Behave Like Ensembles of Relatively Shallow Networks.
"""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

import workbench
from case_studies.rank_collapse import measure, numbers, pictures
from case_studies.rank_collapse.nets import Kind, run as random_net
from workbench import studies

DIGITS = studies.study("multiplication").folder / "checkpoints" / "deeper-0"
"""Two layers with norms and MLPs, trained to multiply."""
REPEATING = ("The cat sat. The cat s", "one two three; one two thr", "Mary had a little lamb. Mary had a lit")
PROBLEMS = ("1 2 3 4 5 x 7 =", "9 8 7 6 5 x 9 =", "3 0 8 1 6 x 4 =", "7 7 2 0 9 x 3 =")
SENTENCES = (
    "When Mary and John went to the store, John gave a drink to",
    "The capital of France is",
    "Researchers have found that attention without skip connections loses rank with depth, and",
    "The keys to the old wooden cabinet",
)
REAL = "real"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # nothing is trained here: the same as the fast form
    long: bool = False  # more seeds, more sentences, and the real model with random weights
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    layers: int = 6  # of the random networks whose paths are summed
    model: str = "smollm2-135m"
    sentences: int = 1


def run(config: Config) -> studies.Findings:
    """Random networks, two small trained models, and the default model where it can be had."""
    if config.long:
        config = replace(config, seeds=tuple(range(20)), sentences=len(SENTENCES))
    kinds, sharper = measure.kinds_table(config.seeds), measure.sharpness_table(config.seeds)
    paths = measure.paths_table(config.seeds, config.layers)
    found: dict[str, Any] = {
        **numbers.kind_numbers(kinds),
        **numbers.sharpness_numbers(sharper),
        **numbers.path_numbers(paths, config.layers),
        "paths.enumerated_lacks": {s: measure.enumerated_gap(random_net(Kind(skip=True), s, 4)) for s in config.seeds},
        "paths.reversed_lacks": {s: measure.reversed_gap(random_net(Kind(skip=True), s, 4)) for s in config.seeds},
    }
    curves, lengths = [], []
    for name, load, texts in (("micro", "micro", REPEATING), ("digits", str(DIGITS), PROBLEMS)):
        model = workbench.load(load)
        frame, rows = look_at(model, texts, name)
        curves.append(frame)
        lengths.append(rows)
        fresh = measure.collapse_table(measure.untrained(model), texts, f"{name}, untrained")
        curves.append(fresh)
        found |= numbers.trained_numbers(name, frame, fresh) | numbers.length_numbers(name, rows)
    skipped = {}
    try:
        model = workbench.load(config.model)
    except workbench.WorkbenchError as error:
        skipped[REAL] = f"{config.model} cannot be had here: {error}"
    else:
        frame, rows = look_at(model, SENTENCES[: config.sentences], REAL)
        curves.append(frame)
        lengths.append(rows)
        found |= numbers.real_numbers(frame) | numbers.length_numbers(REAL, rows)
        found["real.paths_counted_short"] = numbers.counted_share(model.n_blocks, model.n_heads, 3)
        if config.long:
            fresh = measure.untrained(model)
            found["real.untrained_mlp_slows"] = numbers.slower(measure.collapse_table(fresh, SENTENCES[:1], "fresh"))
    trained, by_length = pd.concat(curves, ignore_index=True), pd.concat(lengths, ignore_index=True)
    return studies.Findings(
        numbers=found,
        tables={
            "Random networks": kinds,
            "Sharpness of attention": sharper,
            "Paths of random networks": paths,
            "Trained models": trained,
            "Paths of trained models": by_length,
        },
        figures={
            "Random networks": pictures.kinds_figure(kinds),
            "Sharpness of attention": pictures.sharpness_figure(sharper),
            "Paths of random networks": pictures.paths_figure(paths),
            **pictures.trained_figures(trained, by_length),
        },
        skipped=skipped,
    )


def look_at(model: workbench.LensModel, texts: tuple[str, ...], name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Residuals by depth, and what paths of each length add to the answer."""
    return measure.collapse_table(model, texts, name), pd.DataFrame(measure.lengths_of(model, texts, name))
