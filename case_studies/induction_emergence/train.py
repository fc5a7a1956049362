"""Trains the small attention-only models of this study; seeded, and resumed where it stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.induction_emergence import measure
from case_studies.induction_emergence.data import LENGTH, SPREAD, WORDS, repeating, unrelated
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer
from workbench.training import Training


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    n_layers: int = 2
    repeats: bool = True
    """Whether anything repeats in the data."""
    seed: int = 0
    steps: int = 1500
    batch: int = 64
    d_model: int = 64
    n_heads: int = 4
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 50
    measure_at: tuple[int, ...] = (*range(0, 1000, 20), *range(1000, 1501, 100))
    keep: tuple[int, ...] = (0, 200, 400, 440, 480, 500, 520, 560, 600, 800)
    """Steps whose weights are written down, beside the last."""


SETTINGS = {
    "two-layers": TrainConfig(),
    "one-layer": TrainConfig(n_layers=1),
    "no-repeats": TrainConfig(repeats=False),
}
"""The model, and two controls: one that has no layer to look up what another wrote, one that has nothing to copy."""


def initial_model(config: TrainConfig) -> SmallTransformer:
    """Give the untrained model."""
    sizes = SmallConfig(
        vocab_size=len(WORDS) + 1,  # the tokenizer's unknown word
        n_ctx=LENGTH,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_head=config.d_model // config.n_heads,
        d_mlp=0,
        norm="layer",
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return SmallTransformer(sizes)


def loss_of(module: Any, config: TrainConfig, step: int) -> Tensor:
    """Cross-entropy (nats) on all next tokens of one step's sequences, those that cannot be known among them."""
    seed = config.seed * SPREAD + step + 1000  # the first thousand are for measuring
    ids = repeating(config.batch, seed)[0] if config.repeats else unrelated(config.batch, seed)
    return F.cross_entropy(module(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())


def measured(module: Any, config: TrainConfig) -> dict[str, float]:
    """What is followed over training."""
    model = workbench.adapt(module, word_tokenizer(WORDS), name=f"seed {config.seed}")
    return measure.measured(model)


def train(config: TrainConfig, folder: str | Path) -> Training:
    """Train in `folder` (a killed run goes on from its state there); checkpoints are written to it as they come."""
    folder = Path(folder)
    return workbench.training.train(
        initial_model(config),
        lambda module, step: loss_of(module, config, step),
        steps=config.steps,
        optimizer=lambda each: torch.optim.AdamW(each, lr=config.lr, weight_decay=config.weight_decay),
        schedule=lambda step: min(1.0, (step + 1) / config.warmup),
        clip=1.0,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: measured(module, config),
        measure_at=config.measure_at,
        keep={*config.keep, config.steps},
        save=lambda module, step: write(module, config, step, folder),
        label=f"training, seed {config.seed}",
    )


def write(module: SmallTransformer, config: TrainConfig, step: int, folder: Path) -> None:
    """Write the weights of a step in half precision: the last into `folder`, others into folders inside it."""
    provenance = {"script": "case_studies/induction_emergence/train.py", "step": step, "settings": asdict(config)}
    into = folder if step == config.steps else folder / f"checkpoint-{step}"
    save_small(module, word_tokenizer(WORDS), into, provenance=provenance, dtype=torch.float16)
