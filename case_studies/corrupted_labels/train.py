"""Trains the networks of the paper: every pair at every step, seeded, and gone on with where it was cut off."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from case_studies.corrupted_labels.data import Sums, corrupted_sums
from case_studies.corrupted_labels.network import QuadraticNetwork
from case_studies.corrupted_labels.neurons import of_network
from workbench.training import Training, train


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    seed: int = 0
    weight_decay: float = 0.0
    corrupted: float = 0.35  # share of the training pairs with a random label
    train_share: float = 0.5
    p: int = 97
    neurons: int = 500
    steps: int = 2000
    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    measure_every: int = 50


def networks(seed: int) -> dict[str, TrainConfig]:
    """The four weight decays of the paper, by what they end in, and two trainings with other labels as controls."""
    base = TrainConfig(seed=seed)
    decays = {"coexistence": 0.0, "partial inversion": 5.0, "full inversion": 15.0, "forgetting": 20.0}
    return {
        **{name: replace(base, weight_decay=decay) for name, decay in decays.items()},
        "right labels": replace(base, corrupted=0.0, steps=1000),
        "random labels": replace(base, corrupted=1.0, steps=1000),
    }


def start(config: TrainConfig) -> tuple[Sums, QuadraticNetwork]:
    """Give the sums and the untrained network, drawn one after the other from the seed."""
    generator = torch.Generator().manual_seed(config.seed)
    sums = corrupted_sums(config.p, corrupted=config.corrupted, train_share=config.train_share, generator=generator)
    return sums, QuadraticNetwork(config.p, config.neurons, generator)


def measure(network: QuadraticNetwork, sums: Sums) -> dict[str, float]:
    """Accuracies of the groups of pairs, the median IPR of the neurons, and how many are dead."""
    neurons = of_network(network, sums)
    return {**sums.accuracies(network(sums.pairs)), "ipr": neurons.alive.median().item(), "dead": neurons.dead}


def trained(
    config: TrainConfig,
    folder: Path | None = None,
    *,
    keep: tuple[int, ...] = (),
    save: Callable[[Any, int], None] | None = None,
) -> Training:
    """Train in `folder`, which keeps the state of a training that was cut off. About one and a half minutes a core."""
    sums, network = start(config)
    pairs, labels = sums.pairs[sums.train], sums.labels[sums.train]
    return train(
        network,
        lambda module, step: module.loss(pairs, labels),
        steps=config.steps,
        optimizer=lambda parameters: torch.optim.AdamW(
            parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        ),
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: measure(module, sums),
        measure_at=range(0, config.steps + 1, config.measure_every),
        keep=keep,
        save=save,
        label=f"training, weight decay {config.weight_decay:g}, seed {config.seed}",
    )


def finished(config: TrainConfig, folder: Path | None = None) -> QuadraticNetwork:
    """The network after its training."""
    network = trained(config, folder).module
    assert isinstance(network, QuadraticNetwork)
    return network.requires_grad_(False)


def provenance(config: TrainConfig, step: int, measured: Mapping[str, float]) -> dict[str, Any]:
    """Say where some weights come from, for the header of their file."""
    script = "case_studies/corrupted_labels/train.py"
    return {"script": script, "step": step, "settings": asdict(config), "measured": dict(measured)}
