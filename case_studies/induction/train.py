"""Trains the two-layer attention-only model that copies what repeats; seeded, and resumed where it stopped."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import workbench
from workbench import functional
from workbench.models.micro import AttentionOnly, AttentionOnlyConfig, CharacterTokenizer, save_micro
from workbench.training import Training, train as trained

CHARACTERS = torch.arange(2, 98)  # every character with an id of its own: no start mark, no unknown


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    seed: int = 0
    steps: int = 1500
    n_ctx: int = 512
    n_layers: int = 2
    lengths: tuple[int, ...] = (64, 64, 64, 128, 64, 64, 64, 512)  # positions in a sequence, in turn
    tokens_per_step: int = 4096
    longest_period: int = 96
    with_duplicates: float = 0.25  # share of blocks in which characters come back, as they do in typed text
    weight_of_first_copy: float = 0.1  # the unpredictable part, kept in the loss so that its predictions stay calm
    lr: float = 3e-3
    warmup: int = 100
    decay_from: float = 0.6
    measure_every: int = 50
    keep: tuple[int, ...] = (350, 400, 500)  # steps whose weights are written down: before, amid and after the turn


def initial_model(config: TrainConfig) -> AttentionOnly:
    """Give the untrained model: random weights, positions that start as waves of all lengths."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = AttentionOnly(AttentionOnlyConfig(n_layers=config.n_layers, n_ctx=config.n_ctx))
    half = model.config.d_model // 2
    speed = torch.exp(-math.log(config.n_ctx / 2) * torch.arange(half) / (half - 1))
    angle = torch.arange(config.n_ctx)[:, None] * speed
    with torch.no_grad():
        model.pos_embed.weight.copy_(torch.cat([angle.sin(), angle.cos()], dim=-1) * model.config.d_model**-0.5)
    return model


def sequences(config: TrainConfig, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give the ids, the positions and the repeated places (all batch, pos) of one step.

    A block of different characters, of random length, is repeated to the end. Short sequences start at a random
    position, so that all positions are trained at the price of the short ones. A place counts as repeated when the
    token before it has been seen, so that what follows can be known.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    length = config.lengths[step % len(config.lengths)]
    batch = max(1, config.tokens_per_step // length)
    order = CHARACTERS[torch.rand(batch, len(CHARACTERS), generator=generator).argsort(-1)]
    periods = torch.randint(3, min(config.longest_period, length // 2) + 1, (batch,), generator=generator)
    alphabet = torch.randint(6, 41, (batch, 1), generator=generator)  # few characters, the first ones oftener
    uneven = (torch.rand(order.shape, generator=generator) ** 1.5 * alphabet).long()
    duplicated = torch.rand(batch, 1, generator=generator) < config.with_duplicates
    blocks = torch.where(duplicated, order.gather(1, uneven), order)
    place = torch.arange(length - 1)
    ids = F.pad(blocks.gather(1, place % periods[:, None]), (1, 0), value=0)
    repeated = torch.arange(length) > periods[:, None] + 1
    offset = torch.randint(0, config.n_ctx - length + 1, (batch, 1), generator=generator)
    positions = torch.cat([torch.zeros(batch, 1, dtype=torch.long), offset + 1 + place], dim=1)
    return ids, positions, repeated


def loss_of(model: AttentionOnly, config: TrainConfig, step: int) -> Tensor:
    """Cross-entropy in nats on one step's sequences, the first copy counting little."""
    ids, positions, repeated = sequences(config, step)
    logits = model(ids, position_ids=positions).logits[:, :-1]
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(ids[:, 1:])
    repeated = repeated[:, 1:]
    return loss[repeated].mean() + config.weight_of_first_copy * loss[~repeated].mean()


@torch.no_grad()
def measure(module: AttentionOnly, *, period: int = 25, repeats: int = 4, batch: int = 32, seed: int = 1) -> dict:
    """Cross-entropy (nats) on the first copy and on the repeats, and the best head of each kind."""
    model = workbench.adapt(module, CharacterTokenizer(), "attention_only")
    ids = functional.repeated_tokens(period, repeats, batch=batch, vocab=CHARACTERS, seed=seed, bos=0)
    sites = model.attention_sites(None, "pattern")
    with workbench.reading(model, sites) as values:
        logits = module(ids).logits[:, :-1]
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(ids[:, 1:])
    first, last = values[sites[0]], values[sites[-1]]
    return {
        "ce_first": loss[:, :period].mean().item(),
        "ce_repeat": loss[:, period + 1 :].mean().item(),
        "prefix_matching": functional.prefix_matching(last, period).mean(0).max().item(),
        "prefix_matching_all": functional.prefix_matching(last, period, copies="all").mean(0).max().item(),
        "previous_token": functional.previous_token(first).mean(0).max().item(),
    }


def train(config: TrainConfig, folder: str | Path) -> Training:
    """Train in `folder`, where a killed run goes on; the steps in `config.keep` are written to `step-N.safetensors`.

    About four minutes on two cores.
    """
    folder = Path(folder)
    return trained(
        initial_model(config),
        lambda module, step: loss_of(module, config, step),
        steps=config.steps,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.01),
        schedule=lambda step: _schedule(step, config),
        clip=1.0,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: measure(module),
        measure_at=range(0, config.steps, config.measure_every),
        keep=config.keep,
        save=lambda module, step: save_micro(
            module, folder / f"step-{step}.safetensors", provenance(config, step, measure(module))
        ),
        label=f"training, seed {config.seed}",
    )


def provenance(config: TrainConfig, step: int, measured: Mapping[str, float]) -> dict:
    """Say where some weights come from, for the header of their file."""
    settings = {name: value for name, value in asdict(config).items() if name != "keep"}
    script = "case_studies/induction/train.py"
    return {"script": script, "step": step, "settings": settings, "measured": dict(measured)}


def _schedule(step: int, config: TrainConfig) -> float:
    left = (config.steps - step) / (config.steps * (1 - config.decay_from))
    return min(1.0, (step + 1) / config.warmup, max(0.02, left))
