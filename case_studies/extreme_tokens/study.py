"""One head that is needed at some tokens and not at others: where it looks when it has nothing to do.

After a trigger the symbol before it comes again; after any other symbol a Markov chain says what follows, and the token
before does not matter. Attention must go somewhere: it goes to the first token, whose value becomes small. The same
measures are then taken of the default model, with its massive activations.

Guo et al. (2024), Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs; Sun et
al. (2024), Massive Activations in Large Language Models.
"""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

import workbench
from case_studies.extreme_tokens import models, pictures, real, tables
from case_studies.extreme_tokens.chain import sequences
from case_studies.extreme_tokens.tables import Found
from case_studies.extreme_tokens.train import SETTINGS, held_out, train
from workbench import studies


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 of the main setting again
    long: bool = False  # train all settings again, with three seeds
    sequences: int = 128  # that losses and attention are measured on
    untrained_seeds: tuple[int, ...] = (0, 1, 2)
    model: str = "smollm2-135m"
    texts: int = 8  # that it reads
    changed: int = 3  # of them, in which massive activations are set to something else


def run(config: Config) -> studies.Findings:
    """Measure trained models, models that should show nothing, and a real one."""
    found: dict[str, dict[int, Found]] = {}
    kept: dict[str, list[pd.DataFrame]] = {"Looks": [], "Losses": []}
    history = models.history()
    for setting, seeds in models.COMMITTED.items():
        for seed in seeds:
            numbers, looks, losses = look_at(models.committed(setting, seed), config, rule=SETTINGS[setting].rule)
            rows: Any = history[(history["setting"] == setting) & (history["seed"] == seed)]
            found.setdefault(setting, {})[seed] = numbers | tables.history_numbers(rows)
            kept["Looks"].append(looks.assign(setting=setting, seed=seed))
            kept["Losses"].append(losses.assign(setting=setting, seed=seed))
    for seed in config.untrained_seeds:
        found.setdefault("untrained", {})[seed], looks, losses = look_at(models.untrained("adam", seed), config)
        kept["Looks"].append(looks.assign(setting="untrained", seed=seed))
        kept["Losses"].append(losses.assign(setting="untrained", seed=seed))
    if config.train:
        found |= retrained(config)
    together = {title: pd.concat(each, ignore_index=True) for title, each in kept.items()}
    example = sequences(1, seed=3)[:, :25]
    figures = {
        "Attention": pictures.attention_figure(example),
        "Training": pictures.training_figure(history),
        "Interventions": pictures.loss_figure(together["Losses"]),
    }
    try:
        massive = real.look_at(workbench.load(config.model), count=config.texts, changed=config.changed)
    except workbench.Unavailable as error:
        lack = {"real.": f"{config.model} cannot be had: {error}"}
        return studies.Findings(numbers=tables.by_quantity(found), tables=together, figures=figures, skipped=lack)
    return studies.Findings(
        numbers={**tables.by_quantity(found), **massive.numbers},
        tables={**together, **massive.tables},
        figures={**figures, **massive.figures},
    )


def look_at(
    model: workbench.LensModel, config: Config, *, rule: bool = True
) -> tuple[Found, pd.DataFrame, pd.DataFrame]:
    """The numbers that claims are about, and the tables that they are from: by layer, and by kind of token."""
    ids = held_out(replace(SETTINGS["adam"], rule=rule), config.sequences)
    looks, losses = tables.look_table(model, ids), tables.loss_table(model, ids, rule=rule)
    return tables.look_numbers(looks, ids) | tables.loss_numbers(losses), looks, losses


def retrained(config: Config) -> dict[str, dict[int, Found]]:
    """Models trained here and now, from scratch: what was claimed of the committed ones."""
    found: dict[str, dict[int, Found]] = {}
    work = studies.work_folder("extreme_tokens")
    for seed in (0, 1, 2) if config.long else (0,):
        for setting in SETTINGS if config.long else ("adam",):
            settings = replace(SETTINGS[setting], seed=seed, keep=())
            training: Any = train(settings, work / f"{setting}-{seed}")
            model = models.adapted(training.module, f"{setting}, trained again, seed {seed}")
            numbers, _, _ = look_at(model, config, rule=settings.rule)
            numbers |= tables.history_numbers(pd.DataFrame(training.history))
            found.setdefault(f"retrained_{setting}", {})[seed] = numbers
    for state in work.glob("*/training.safetensors"):
        state.unlink()  # all is done: the next time starts from scratch
    return found
