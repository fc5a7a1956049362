"""Trains a small transformer to add, with number embeddings of its own or with ones that are given and stay."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from case_studies.addition_pretrained.numbers import SLOW, exchanged, wave_table
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer
from workbench.training import Training, train as trained_by

ARMS = ("scratch", "waves", "exchanged", "slow waves", "random")
"""Whose number embeddings: trained; frozen value and waves; frozen, the same for other numbers; frozen, without the
periods up to 20; frozen, without any order."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    arm: str = "scratch"
    seed: int = 0
    operands: int = 50  # 0 ... 49: sums are 0 ... 98
    share: float = 0.3  # of all pairs, trained on; the others are held out
    steps: int = 1000
    batch: int = 256
    d_model: int = 128
    d_mlp: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.01
    measure_every: int = 100

    @property
    def numbers(self) -> int:
        """How many numbers have a token: 0 ... 99, so that the periods 2, 2.5, 5, 10 are whole frequencies."""
        return 2 * self.operands


def initial_model(config: TrainConfig) -> SmallTransformer:
    """Give the untrained model; in all arms but the first, numbers have the vectors of their arm and keep them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sizes = SmallConfig(
            vocab_size=config.numbers + 3,  # plus, equals, and what is no word
            n_ctx=4,
            n_layers=1,
            n_heads=4,
            d_model=config.d_model,
            d_head=config.d_model // 4,
            d_mlp=config.d_mlp,
            act="gelu",
            norm="layer",
            tied=True,
        )
        module = SmallTransformer(sizes)
    table = given_table(config)
    if table is not None:
        own = module.embed.weight.data[: config.numbers]
        own.copy_(table * own.norm(dim=1).mean())
    return module


def given_table(config: TrainConfig) -> Tensor | None:
    """(number, d_model) of mean length 1; None where they are trained."""
    n, width, seed = config.numbers, config.d_model, 100 + config.seed
    makers: dict[str, Callable[[], Tensor | None]] = {
        "scratch": lambda: None,
        "waves": lambda: wave_table(n, width, seed=seed),
        "exchanged": lambda: exchanged(wave_table(n, width, seed=seed), config.seed),
        "slow waves": lambda: wave_table(n, width, periods=SLOW, seed=seed),
        "random": lambda: F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1),
    }
    return makers[config.arm]()


def pairs(config: TrainConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids (pair, 4) of "a + b =", the sums (pair), and which pairs are trained on and which held out."""
    n = config.operands
    a, b = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    a, b, plus = a.flatten(), b.flatten(), torch.full((n * n,), config.numbers)
    order = torch.randperm(n * n, generator=torch.Generator().manual_seed(config.seed))
    cut = round(config.share * n * n)
    return torch.stack([a, plus, b, plus + 1], dim=1), a + b, order[:cut], order[cut:]


def tokenizer(config: TrainConfig):
    """Numbers, plus and equals, one token each."""
    return word_tokenizer([*map(str, range(config.numbers)), "+", "="])


def train(config: TrainConfig, folder: Path, *, checkpoint: Path | None = None) -> Training:
    """Train in `folder` (it goes on where it was cut off); write the weights to `checkpoint`. Half a minute."""
    module = initial_model(config)
    ids, sums, trained, held_out = pairs(config)

    def loss(net: SmallTransformer, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        batch = trained[torch.randint(len(trained), (config.batch,), generator=generator)]
        return F.cross_entropy(net(ids[batch]).logits[:, -1, : config.numbers], sums[batch])

    def measure(net: SmallTransformer, _step: int) -> dict[str, float]:
        right = (net(ids).logits[:, -1, : config.numbers].argmax(-1) == sums).float()
        return {"train": right[trained].mean().item(), "test": right[held_out].mean().item()}

    if config.arm != "scratch":
        free = torch.ones(len(module.embed.weight), 1)
        free[: config.numbers] = 0
        module.embed.weight.register_hook(lambda gradient: gradient * free)

    def optimizer(parameters) -> torch.optim.Optimizer:
        rest = [p for p in parameters if p is not module.embed.weight]
        decay = config.weight_decay if config.arm == "scratch" else 0.0  # decay would move frozen vectors
        groups = [{"params": rest}, {"params": [module.embed.weight], "weight_decay": decay}]
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)

    done = trained_by(
        module,
        loss,
        steps=config.steps,
        optimizer=optimizer,
        seed=config.seed,
        folder=folder,
        settings={name: value for name, value in asdict(config).items() if name != "steps"},
        schedule=lambda step: min(1.0, (step + 1) / 50),
        measure=measure,
        measure_at=range(0, config.steps, config.measure_every),
        label=f"training {config.arm}, seed {config.seed}",
    )
    if checkpoint is not None:
        save_small(
            module,
            tokenizer(config),
            checkpoint,
            dtype=torch.float16,
            provenance={"script": "case_studies/addition_pretrained/train.py", "settings": asdict(config)},
        )
    return done
