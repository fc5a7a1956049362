"""Trains the small transformers of this study; seeded, and resumed where it stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.extreme_tokens import measure
from case_studies.extreme_tokens.chain import LENGTH, WORDS, sequences
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer
from workbench.training import Training

MEASURED = (0, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 450, 650, 900, 1300, 1800, 2400)
"""Close to even steps of the logarithm, for what grows with it."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    n_layers: int = 1
    attention: Literal["softmax", "relu"] = "softmax"
    optimizer: Literal["adam", "sgd"] = "adam"
    rule: bool = True
    """Whether triggers copy; without it nothing in the data asks for looking back."""
    seed: int = 0
    steps: int = 2400
    batch: int = 32
    d_model: int = 64
    d_mlp: int = 256
    table_std: float = 1.0
    """Of the numbers in the tables of tokens and positions before training."""
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    """Of SGD."""
    measured: int = 128
    """Sequences that the history is measured on."""
    measure_at: tuple[int, ...] = MEASURED
    keep: tuple[int, ...] = ()
    """Steps whose weights are written down, beside the last."""


STEPPED = (0, 50, 100, 200, 450, 900, 1800)
SETTINGS = {
    "adam": TrainConfig(keep=STEPPED),
    "relu": TrainConfig(attention="relu"),
    "sgd": TrainConfig(optimizer="sgd", lr=0.1),
    "ruleless": TrainConfig(rule=False),
    "small_tables": TrainConfig(table_std=0.125, steps=4000),
    "deep": TrainConfig(n_layers=3, steps=1000, keep=(0, 200, 450)),
    "deep_relu": TrainConfig(n_layers=3, attention="relu", steps=1000),
    "deep_sgd": TrainConfig(n_layers=3, optimizer="sgd", lr=0.1, steps=1000),
}
"""Each of one layer differs from the first in one thing, each of three from `deep`."""


def initial_model(config: TrainConfig) -> SmallTransformer:
    """Give the untrained model: one head a layer, as wide as the stream."""
    sizes: dict[str, Any] = {} if config.attention == "softmax" else {"attention": config.attention}
    made = SmallConfig(
        vocab_size=len(WORDS) + 1,  # the tokenizer's unknown word
        n_ctx=LENGTH,
        n_layers=config.n_layers,
        n_heads=1,
        d_model=config.d_model,
        d_head=config.d_model,
        d_mlp=config.d_mlp,
        norm="layer",
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        module = SmallTransformer(made)
    with torch.no_grad():
        for table in (module.embed, module.pos_embed):
            table.weight.mul_(config.table_std * config.d_model**0.5)
    return module


def loss_of(module: Any, config: TrainConfig, step: int) -> Tensor:
    """Cross-entropy (nats) on the sequences of one step."""
    ids = sequences(config.batch, seed=config.seed * 1_000_003 + step, rule=config.rule)
    return F.cross_entropy(module(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())


def held_out(config: TrainConfig, count: int) -> Tensor:
    """Sequences of the task that no training drew."""
    return sequences(count, seed=2**40, rule=config.rule)


def optimizer_of(config: TrainConfig, parameters: Any) -> torch.optim.Optimizer:
    """Make AdamW, or SGD with momentum."""
    if config.optimizer == "adam":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def train(config: TrainConfig, folder: str | Path) -> Training:
    """Train in `folder` (a killed run goes on from its state there); checkpoints are written to it as they come.

    One to two minutes on one free core for one layer, at a learning rate that stays as it is: what grows with the
    logarithm of time is not to be stopped by a schedule.
    """
    folder = Path(folder)
    module = initial_model(config)
    seen = held_out(config, config.measured)
    model = workbench.adapt(module, word_tokenizer(WORDS), name="in training")
    return workbench.training.train(
        module,
        lambda module, step: loss_of(module, config, step),
        steps=config.steps,
        optimizer=lambda parameters: optimizer_of(config, parameters),
        clip=1.0,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: {**measure.losses(module, seen), **measure.looks(model, seen)},
        measure_at=config.measure_at,
        keep={*config.keep, config.steps},
        save=lambda module, step: write(module, config, step, folder),
        label=f"training {config.n_layers} layers, {config.attention}, {config.optimizer}, seed {config.seed}",
    )


def write(module: SmallTransformer, config: TrainConfig, step: int, folder: Path) -> None:
    """Write the weights of a step in half precision: the last into `folder`, others into folders inside it."""
    provenance = {"script": "case_studies/extreme_tokens/train.py", "step": step, "settings": asdict(config)}
    into = folder if step == config.steps else folder / f"checkpoint-{step}"
    save_small(module, word_tokenizer(WORDS), into, provenance=provenance, dtype=torch.float16)
