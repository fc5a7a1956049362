"""Two kinds of neurons in one network: waves that know the rule, and the rest, which know the wrong labels by heart.

A network of 500 neurons learns the sum modulo 97 of half of all pairs, and 35 percent of those pairs have a label drawn
at random. It learns both: the rule for pairs that it never saw, and the wrong labels. The inverse participation ratio
of a neuron's weights (IPR: 1 for a single wave around the circle of numbers, .04 for noise) tells which neuron does
which, so that each can be taken out without the other. Weight decay takes out first what is known by heart, then all.

Doshi, Das, He & Gromov (2024), To Grok or not to Grok: Disentangling Generalization and Memorization on Corrupted
Algorithmic Datasets, ICLR.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

import workbench
from case_studies.corrupted_labels import pictures, small
from case_studies.corrupted_labels.data import Sums
from case_studies.corrupted_labels.network import QuadraticNetwork, load_network, network_of
from case_studies.corrupted_labels.neurons import Neurons, curves, of_network
from case_studies.corrupted_labels.train import TrainConfig, finished, networks, start
from workbench import studies, training

FOLDER = studies.study("corrupted_labels").folder
Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
PHASES = ["coexistence", "partial inversion", "full inversion", "forgetting"]
NOISE, WAVE = 0.15, 0.5
"""An IPR below the first is that of noise (.04, hardly ever .1); above the second more than half is one wave."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured."""

    train: bool = False  # train seed 0 again
    long: bool = False  # train three seeds
    draws: int = 5  # orders of neurons at random
    analytic: tuple[int, ...] = (100, 200, 500, 2000)  # neurons of the network that is written down
    analytic_seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Config) -> studies.Findings:
    """Measure the committed networks, take neurons out of them, and do the same to what should show nothing."""
    ended, alive, pruning = [], [], []
    numbers: dict[str, float | Mapping[int, float]] = {}
    for name in networks(0):
        settings, sums, network = committed(name)
        neurons = of_network(network, sums)
        found = {**sums.accuracies(network(sums.pairs)), **spread(neurons)}
        if name in PHASES:
            found["ends_as_named"] = float(phase(found["train"], found["test"], settings.corrupted) == name)
        ended.append({"network": name, "weight decay": settings.weight_decay, **found})
        alive.append(pd.DataFrame({"network": name, "IPR": neurons.alive.tolist()}))
        if name in ("coexistence", "partial inversion"):
            rows = curves(neurons, sums, draws=config.draws)
            pruning.append(rows.assign(network=name))
            found |= pruning_numbers(rows)
        numbers |= {f"{key(name)}.{quantity}": value for quantity, value in found.items()}
    analytic, analytic_numbers = written_down(config)
    transformer_numbers, transformers = small.measured(FOLDER / "checkpoints", config.draws)
    ends, iprs, curve = pd.DataFrame(ended), pd.concat(alive), pd.concat(pruning, ignore_index=True)
    numbers |= untrained() | analytic_numbers | transformer_numbers
    return studies.Findings(
        numbers=numbers | (retrained(config) if config.train else {}),
        tables={"Networks": ends, "Pruning": curve, "Written down": analytic, "Pruning of transformers": transformers},
        figures={
            "Pruning": pictures.pruning_figure(curve[curve["network"] == "coexistence"]),
            "Pruning, weight decay 5": pictures.pruning_figure(curve[curve["network"] == "partial inversion"]),
            "IPR by weight decay": pictures.ipr_figure(iprs[iprs["network"].isin(PHASES)]),
            "Accuracies by weight decay": pictures.ends_figure(ends[ends["network"].isin(PHASES)]),
        },
    )


# ---- what a network ended in -----------------------------------------------------------------------------------------


def committed(name: str) -> tuple[TrainConfig, Sums, QuadraticNetwork]:
    """The settings, the sums and the trained network of that name, seed 0."""
    network, provenance = load_network(FOLDER / "checkpoints" / f"{key(name)}.safetensors")
    settings = TrainConfig(**provenance["settings"])
    return settings, start(settings)[0], network


def phase(train: float, test: float, corrupted: float) -> str:
    """The paper's names of what accuracies on training and test pairs mean, for a share of wrong labels.

    Who gives only right answers gets 1 - corrupted of the training labels, and a few wrong ones by chance.
    """
    if test < 0.9:
        return "memorisation" if train >= 0.9 else "forgetting"
    if train >= 0.9:
        return "coexistence"
    return "partial inversion" if train >= 1.05 - corrupted else "full inversion"


def spread(neurons: Neurons) -> dict[str, float]:
    """How the IPR of the neurons is spread: its median, the shares like noise, like waves and between, the dead."""
    ipr, count = neurons.alive, len(neurons.ipr)
    return {
        "ipr.median": ipr.median().item(),
        "ipr.highest": max(ipr.tolist(), default=float("nan")),
        "ipr.noise": (ipr < NOISE).sum().item() / count,
        "ipr.waves": (ipr > WAVE).sum().item() / count,
        "ipr.between": ((ipr >= NOISE) & (ipr <= WAVE)).sum().item() / count,
        "dead": neurons.dead / count,
    }


def pruning_numbers(rows: Table) -> dict[str, float]:
    """The accuracies that claims are about: at .6 of the neurons low IPR first, at .3 high IPR first, and at random."""
    at = rows.round({"pruned": 4}).set_index(["order", "pruned"])
    numbers = {}
    for order, short, share in (("low IPR first", "low_first", 0.6), ("high IPR first", "high_first", 0.3)):
        for group in ("corrupted", "test"):
            numbers[f"{short}.{group}"] = at.loc[(order, share), group]
            numbers[f"{short}.random.{group}"] = at.loc[("at random", share), group]
    return numbers


def untrained() -> dict[str, float]:
    """The weights from which coexistence was trained."""
    sums, network = start(committed("coexistence")[0])
    neurons = of_network(network.requires_grad_(False), sums)
    found = {**sums.accuracies(network(sums.pairs)), **spread(neurons)}
    return {f"untrained.{name}": found[name] for name in ("test", "ipr.highest", "ipr.waves")}


def key(name: str) -> str:
    """A name as files and quantities have it."""
    return name.replace(" ", "_")


# ---- the network that is written down --------------------------------------------------------------------------------


def written_down(config: Config) -> tuple[Table, dict[str, Any]]:
    """Accuracy and IPR of the analytic solution by its number of neurons, and half of them taken out at random."""
    sums, _ = start(TrainConfig())
    right = sums.pairs.sum(-1) % sums.p
    rows = []
    for neurons in config.analytic:
        for seed in config.analytic_seeds:
            weights = workbench.functional.quadratic_modular_weights(sums.p, neurons, seed=seed)
            network = network_of(weights.left.T, weights.right.T, weights.out)
            kept = torch.randperm(neurons, generator=torch.Generator().manual_seed(seed))[neurons // 2 :]
            half = network_of(*(table[:, kept] for table in (network.left, network.right, network.out)))
            found = of_network(network, sums)
            row = {"neurons": neurons, "seed": seed, "IPR, lowest": found.ipr.min().item()}
            for name, each in (("accuracy", network), ("accuracy of half", half)):
                row[name] = (each(sums.pairs).argmax(-1) == right).double().mean().item()
            rows.append(row)
    table = pd.DataFrame(rows)
    numbers: dict[str, Any] = {"analytic.ipr.lowest": table["IPR, lowest"].min()}
    for neurons, some in table.groupby("neurons"):
        by_seed = some.set_index("seed")
        numbers[f"analytic.{neurons}.accuracy"] = by_seed["accuracy"].to_dict()
        numbers[f"analytic.{neurons}.half"] = by_seed["accuracy of half"].to_dict()
    return table, numbers


# ---- training again --------------------------------------------------------------------------------------------------


def retrained(config: Config) -> dict[str, dict[int, float]]:
    """The same numbers of networks trained now, by seed."""
    found: dict[str, dict[int, float]] = {}
    work = studies.work_folder("corrupted_labels")
    for seed in (0, 1, 2) if config.long else (0,):
        for name, settings in networks(seed).items():
            sums, network = start(settings)[0], finished(settings, work / f"{key(name)}-{seed}")
            neurons = of_network(network, sums)
            numbers = {**sums.accuracies(network(sums.pairs)), **spread(neurons)}
            if name in PHASES:
                numbers["ends_as_named"] = float(phase(numbers["train"], numbers["test"], settings.corrupted) == name)
            if name == "coexistence":
                numbers |= pruning_numbers(curves(neurons, sums, draws=config.draws))
            for quantity, value in numbers.items():
                found.setdefault(f"retrained.{key(name)}.{quantity}", {})[seed] = value
    training.forget(work)  # all is done: the next time starts from scratch
    return found
