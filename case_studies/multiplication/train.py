"""Trains the small decoders of this study; seeded, and resumed where it stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.multiplication.arithmetic import reach
from case_studies.multiplication.problems import (
    FIRST,
    LENGTH,
    PLACES,
    WORDS,
    Order,
    Problems,
    chained,
    drawn,
    held_out,
    permuted,
    tokens,
)
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer
from workbench.training import Training

MEASURED = (*range(0, 400, 20), *range(400, 1001, 50))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    order: Order = "ordinary"
    n_layers: int = 1
    simple: float = 0.0
    """Share of the problems that are made simple: a digit's own product, or nothing to carry."""
    permuted: bool = False
    """Whether each problem has the answer of another."""
    seed: int = 0
    steps: int = 1000
    batch: int = 128
    d_model: int = 64
    n_heads: int = 4
    d_mlp: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 100
    measured: int = 1000
    """Held-out problems that the history is measured on."""
    measure_at: tuple[int, ...] = MEASURED
    keep: tuple[int, ...] = (50, 100, 200, 400)
    """Steps whose weights are written down, beside the last."""


SETTINGS = {
    "ordinary": TrainConfig(),
    "reversed": TrainConfig(order="reversed"),
    "deeper": TrainConfig(n_layers=2),
    "simple": TrainConfig(simple=0.5),
    "permuted": TrainConfig(order="reversed", permuted=True),
}
"""Each differs from the first, the vanilla one, in one thing; the last is a control."""


def initial_model(config: TrainConfig) -> SmallTransformer:
    """Give the untrained model."""
    sizes = SmallConfig(
        vocab_size=len(WORDS) + 1,  # the tokenizer's unknown word
        n_ctx=LENGTH + 1,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_head=config.d_model // config.n_heads,
        d_mlp=config.d_mlp,
        norm="layer",
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return SmallTransformer(sizes)


def answer_logits(module: Any, problems: Problems, config: TrainConfig) -> Float[Tensor, "problem place token"]:
    """What the model says of each digit of the answer, highest place first, those written before it being right."""
    ids = tokens(problems, problems.answers(), config.order)
    logits = module(ids[:, :-1]).logits[:, FIRST:]
    return logits.flip(1) if config.order == "reversed" else logits


def loss_of(module: Any, config: TrainConfig, step: int) -> Tensor:
    """Cross-entropy (nats) on the answers' digits of one step's problems."""
    problems = drawn(config.batch, seed=config.seed * 1_000_003 + step, simple=config.simple)
    answers = permuted(problems) if config.permuted else problems.answers()
    ids = tokens(problems, answers, config.order)
    return F.cross_entropy(module(ids[:, :-1]).logits[:, FIRST:].flatten(0, 1), ids[:, FIRST + 1 :].flatten())


def measured(module: Any, config: TrainConfig) -> dict[str, float]:
    """Share of right answers: whole, by place (0: units) with its loss, and by reach, on problems that are held out.

    By place on a random part; by reach on problems in which long chains of carries are not rare.
    """
    problems = held_out()[: config.measured]
    logits, answers = answer_logits(module, problems, config), problems.answers()
    right = logits.argmax(-1) == answers
    losses = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view_as(right)
    found = {"accuracy": right.all(-1).double().mean().item()}
    for column in range(PLACES + 1):
        place = PLACES - column
        found[f"accuracy.{place}"] = right[:, column].double().mean().item()
        found[f"loss.{place}"] = losses[:, column].mean().item()
    chains = chained()
    right = answer_logits(module, chains, config).argmax(-1) == chains.answers()
    reached = reach(chains.a, chains.b, PLACES)
    return found | {f"reach.{far}": right[reached == far].double().mean().item() for far in range(PLACES)}


def train(config: TrainConfig, folder: str | Path) -> Training:
    """Train in `folder` (a killed run goes on from its state there); checkpoints are written to it as they come.

    One to two minutes on one free core for one layer.
    """
    folder = Path(folder)
    module = initial_model(config)
    return workbench.training.train(
        module,
        lambda module, step: loss_of(module, config, step),
        steps=config.steps,
        optimizer=lambda each: torch.optim.AdamW(
            each, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        ),
        schedule=lambda step: min(1.0, (step + 1) / config.warmup, 2 * (config.steps - step) / config.steps),
        clip=1.0,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: measured(module, config),
        measure_at=config.measure_at,
        keep={*config.keep, config.steps},
        save=lambda module, step: write(module, config, step, folder),
        label=f"training {config.order}, seed {config.seed}",
    )


def write(module: SmallTransformer, config: TrainConfig, step: int, folder: Path) -> None:
    """Write the weights of a step in half precision: the last into `folder`, others into folders inside it."""
    provenance = {"script": "case_studies/multiplication/train.py", "step": step, "settings": asdict(config)}
    into = folder if step == config.steps else folder / f"checkpoint-{step}"
    save_small(module, word_tokenizer(WORDS), into, provenance=provenance, dtype=torch.float16)
