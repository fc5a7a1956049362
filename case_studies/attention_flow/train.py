"""Trains the small BERT classifiers of this study; seeded, and resumed where it stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from case_studies.attention_flow.data import MAKERS, UNK, ids_of
from workbench.training import Training, train as trained


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    task: Literal["agreement", "evidence"] = "agreement"
    norms: Literal["pre", "post"] = "pre"
    """pre: norms read the stream, as in GPT-2; post: they follow each sum, as in BERT."""
    seed: int = 0
    n_layers: int = 6
    d_model: int = 64
    d_mlp: int = 64
    n_heads: int = 4
    steps: int = 2000
    batch: int = 64
    lengths: tuple[int, ...] = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
    unknown: float = 0.1
    """Share of words replaced by [UNK], so that a blanked word is nothing new to the model."""
    lr: float = 1e-3
    warmup: int = 200
    measure_every: int = 100


def initial_model(config: TrainConfig) -> Any:
    """Give the untrained model."""
    import transformers

    family = {"post": "Bert", "pre": "RobertaPreLayerNorm"}[config.norms]
    sizes = getattr(transformers, f"{family}Config")(
        vocab_size=len(MAKERS[config.task][1]),
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        intermediate_size=config.d_mlp,
        max_position_embeddings=32,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return getattr(transformers, f"{family}ForSequenceClassification")(sizes)


def sentences(config: TrainConfig, step: int) -> tuple[Tensor, Tensor]:
    """Give the ids (batch, pos) and labels (batch,) of one step; every step has one length."""
    make, vocabulary = MAKERS[config.task]
    number = config.seed * 1_000_003 + step
    length = Random(number).choice(config.lengths)
    texts = make(config.batch, length, 1_000_000 + number)
    ids = ids_of(texts, vocabulary)
    generator = torch.Generator().manual_seed(number)
    unknown = torch.rand(ids.shape, generator=generator) < config.unknown
    unknown[:, [0, -1]] = False
    return ids.masked_fill(unknown, UNK), texts.labels


@torch.no_grad()
def tested(module: Any, config: TrainConfig, *, count: int = 50) -> dict[str, float]:
    """Loss (nats) and share of right answers on texts of its own, `count` of each length, nothing blanked."""
    make, vocabulary = MAKERS[config.task]
    losses, right = [], []
    for length in config.lengths:
        texts = make(count, length, 77_000 + length)
        logits = module(ids_of(texts, vocabulary)).logits
        losses.append(F.cross_entropy(logits, texts.labels))
        right.append((logits.argmax(-1) == texts.labels).double().mean())
    return {"loss": torch.stack(losses).mean().item(), "accuracy": torch.stack(right).mean().item()}


def train(config: TrainConfig, folder: str | Path) -> Training:
    """Train in `folder`, where a killed run goes on. Some minutes on one core."""

    def loss(module: Any, step: int) -> Tensor:
        ids, labels = sentences(config, step)
        return F.cross_entropy(module(ids).logits, labels)

    return trained(
        initial_model(config),
        loss,
        steps=config.steps,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.01),
        schedule=lambda step: min(1.0, (step + 1) / config.warmup, 2 * (config.steps - step) / config.steps),
        clip=1.0,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: tested(module, config),
        measure_at=range(0, config.steps, config.measure_every),
        label=f"training {config.task}, seed {config.seed}",
    )
