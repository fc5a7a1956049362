"""Trains the small transformers of this study; seeded, and resumed where it stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.graph_search.problems import LENGTH, LOOK_AHEADS, WORDS, Distribution, drawn
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer
from workbench.training import Training

FREE = 16
"""Dimensions beside those of tokens and positions, empty at the start."""
HELD_OUT = 2**40
"""Seeds from here on are for measuring: no batch of a training is drawn with them."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    kind: Distribution = "balanced"
    n_layers: int = 3
    seed: int = 0
    steps: int = 10000
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.1
    warmup: int = 100
    quiet: float = 0.2
    """What maps that write into the stream are multiplied by at first, so that tokens and positions stay legible."""
    measured: int = 300
    """Problems of each look-ahead that the history is measured on."""
    measure_every: int = 200


SETTINGS = {
    "balanced": TrainConfig(),
    "naive": TrainConfig(kind="naive"),
    "two_layers": TrainConfig(n_layers=2),
    "one_layer": TrainConfig(n_layers=1),
}
"""Each differs from the first in one thing."""


def initial_model(config: TrainConfig) -> SmallTransformer:
    """Give the untrained model: each token and each position has a dimension of its own, and these stay."""
    vocab = len(WORDS) + 1  # the tokenizer's unknown word
    width = vocab + LENGTH + FREE
    sizes = SmallConfig(
        vocab_size=vocab,
        n_ctx=LENGTH,
        n_layers=config.n_layers,
        n_heads=1,
        d_model=width,
        d_head=width,
        d_mlp=width,
        norm="layer",
        causal=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        module = SmallTransformer(sizes)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith(("W_O.weight", "W_out.weight", "unembed.weight")):
                weight.mul_(config.quiet)
        module.embed.weight.copy_(torch.eye(vocab, width))
        module.pos_embed.weight.copy_(torch.eye(LENGTH, width).roll(vocab, -1))
    module.embed.requires_grad_(False)
    module.pos_embed.requires_grad_(False)
    return module


def loss_of(module: Any, config: TrainConfig, step: int) -> Tensor:
    """Cross-entropy (nats) of the next vertex on one step's problems."""
    problems = drawn(config.batch, seed=config.seed * 1_000_003 + step, kind=config.kind)
    return F.cross_entropy(module(problems.tokens()).logits[:, -1], problems.label)


def measured(module: Any, config: TrainConfig) -> dict[str, float]:
    """Loss and share of right next vertices by look-ahead, on balanced problems that no training sees."""
    found, losses = {}, []
    for far in LOOK_AHEADS:
        problems = drawn(config.measured, seed=HELD_OUT + far, look_ahead=far)
        logits = module(problems.tokens()).logits[:, -1]
        losses.append(F.cross_entropy(logits, problems.label).item())
        found[f"accuracy.{far}"] = (logits.argmax(-1) == problems.label).double().mean().item()
    return {"loss": sum(losses) / len(losses), **found}


def train(config: TrainConfig, folder: str | Path, label: str = "training") -> Training:
    """Train in `folder` (a killed run goes on from its state there) and write the weights there at the end.

    Three to five minutes on one free core for three layers.
    """
    folder = Path(folder)
    return workbench.training.train(
        initial_model(config),
        lambda module, step: loss_of(module, config, step),
        steps=config.steps,
        optimizer=lambda each: torch.optim.AdamW(each, lr=config.lr, weight_decay=config.weight_decay),
        schedule=lambda step: min(1.0, (step + 1) / config.warmup, 5 * (config.steps - step) / config.steps),
        clip=1.0,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: measured(module, config),
        measure_at=range(0, config.steps + 1, config.measure_every),
        keep={config.steps},
        save=lambda module, step: write(module, config, step, folder),
        label=label,
    )


def write(module: SmallTransformer, config: TrainConfig, step: int, folder: Path) -> None:
    """Write the weights in half precision."""
    provenance = {"script": "case_studies/graph_search/train.py", "step": step, "settings": asdict(config)}
    save_small(module, word_tokenizer(WORDS), folder, provenance=provenance, dtype=torch.float16)
