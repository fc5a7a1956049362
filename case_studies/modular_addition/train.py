"""Trains the one-layer transformer that adds modulo a prime: full batch, seeded, gone on with where it was cut off."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import functional
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer
from workbench.training import Training, train as trained

FOLDER = Path(__file__).parent
MEASURED = 50
"""Steps between two measurements."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    seed: int = 0
    prime: int = 59
    share: float = 0.4
    """Of the pairs, those trained on."""
    weight_decay: float = 1.0
    steps: int = 6000
    permuted: bool = False
    """Whether the answers are dealt out to the pairs at random: nothing but memory helps then."""
    lr: float = 1e-3


SETTINGS = {
    "p59-wd1": TrainConfig(),
    "p59-wd3": TrainConfig(weight_decay=3.0, steps=2000),
    "p59-permuted": TrainConfig(weight_decay=3.0, steps=1200, permuted=True),
}
"""Folder under checkpoints/ -> how its models were trained."""
LARGE = TrainConfig(prime=113, share=0.3, weight_decay=3.0, steps=3000)
"""The size of Nanda et al. (2023), who train 40000 steps with weight decay 1; with 3 it takes a tenth of them."""
KEPT = {
    "p59-wd1": (250, 1000, 1500, 2000, 2500, 3250, 6000),
    "p59-wd3": (400, 800, 2000),
    "p59-permuted": (1200,),
}
"""The checkpoints that come with the study."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """All pairs (pair): operands, what is to be answered, and which pairs are trained on."""

    a: Tensor
    b: Tensor
    answers: Tensor
    train: Tensor


def data(config: TrainConfig) -> Data:
    """All pairs of 0 ... prime - 1, their sums (or sums of other pairs), and the pairs trained on."""
    a, b = (x.flatten() for x in torch.meshgrid(*[torch.arange(config.prime)] * 2, indexing="ij"))
    answers = (a + b) % config.prime
    if config.permuted:
        dealt = torch.randperm(len(answers), generator=torch.Generator().manual_seed(config.seed + 1000))
        answers = answers[dealt]
    return Data(
        a=a, b=b, answers=answers, train=functional.train_pairs(config.prime, config.share, config.seed).flatten()
    )


def words(prime: int) -> tuple[str, ...]:
    """The vocabulary: the numbers, each with its own id, and the equals sign."""
    return (*map(str, range(prime)), "=")


def initial_model(config: TrainConfig) -> SmallTransformer:
    """Give the untrained model: one layer, 4 heads, 512 ReLU neurons, no norms, untied, learned positions."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return SmallTransformer(SmallConfig(vocab_size=config.prime + 2, n_ctx=3, d_model=128, d_head=32, d_mlp=512))


def sum_logits(module: Any, a: Tensor, b: Tensor) -> Tensor:
    """The logits (pair, vocab) that `module` gives at the equals sign of "a b =".

    What `module(ids).logits[:, -1]` is, at a quarter of the price: in one layer the key and the value of a token depend
    on it alone, so they are made once for each number and not for each pair, and nothing is computed at a and b.
    """
    block, prime = module.blocks[0], module.config.vocab_size - 2
    attention, table, places = block.attn, module.embed.weight, module.pos_embed.weight
    at_a, at_b, at_equals = table[:prime] + places[0], table[:prime] + places[1], table[prime : prime + 1] + places[2]

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (attention.n_heads, attention.d_head))

    query = heads(attention.W_Q(at_equals))
    scores, values = [], []
    for stream, chosen in ((at_a, a), (at_b, b), (at_equals, None)):
        score = (heads(attention.W_K(stream)) * query).sum(-1) / attention.d_head**0.5
        value = heads(attention.W_V(stream))
        scores.append(score.expand(len(a), -1) if chosen is None else score[chosen])
        values.append(value if chosen is None else value[chosen])
    pattern = torch.stack(scores).softmax(0)[..., None]  # (position, pair, head, 1)
    z = sum(weight * value for weight, value in zip(pattern, values, strict=True))
    assert isinstance(z, Tensor)
    stream = at_equals + attention.W_O(z.flatten(-2))
    return module.unembed(stream + block.mlp(stream))


def loss_of(module: Any, given: Data, mask: Tensor) -> Tensor:
    """Cross-entropy in nats over all tokens, in double precision: below 1e-7 single precision sees no slope."""
    logits = sum_logits(module, given.a[mask], given.b[mask])
    return F.cross_entropy(logits.double(), given.answers[mask])


def measure(module: Any, given: Data) -> dict[str, float]:
    """Losses and accuracy on the pairs trained on and on the others."""
    logits = sum_logits(module, given.a, given.b).double()
    each = F.cross_entropy(logits, given.answers, reduction="none")
    right = (logits.argmax(-1) == given.answers).double()
    found = {}
    for name, mask in (("train", given.train), ("test", ~given.train)):
        found |= {f"{name}_loss": each[mask].mean().item(), f"{name}_accuracy": right[mask].mean().item()}
    return found


def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    keep: tuple[int, ...] = (),
    save: Callable[[Any, int], None] | None = None,
) -> Training:
    """Train in `folder`, where a killed run goes on; `save(module, step)` at the steps in `keep`.

    About .05 s a step on one free core at prime 59.
    """
    given = data(config)
    return trained(
        initial_model(config),
        lambda module, step: loss_of(module, given, given.train),
        steps=config.steps,
        optimizer=lambda parameters: torch.optim.AdamW(
            parameters, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        ),
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: measure(module, given),
        measure_at=range(0, config.steps + 1, MEASURED),
        keep=keep,
        save=save,
        label=f"training, weight decay {config.weight_decay:g}, seed {config.seed}",
    )


def write(module: Any, config: TrainConfig, step: int, folder: Path) -> None:
    """Write a checkpoint of half precision that `workbench.load(folder, checkpoint=...)` opens."""
    settings = {"script": "case_studies/modular_addition/train.py", "settings": asdict(config), "step": step}
    tokenizer = word_tokenizer(words(config.prime))
    save_small(module, tokenizer, folder / f"checkpoint-{step}", provenance=settings, dtype=torch.float16)


def histories() -> dict[str, list[dict[str, float]]]:
    """What was measured while the models were trained: "wd1-seed0" -> a row every 50 steps."""
    return json.loads((FOLDER / "training.json").read_text())


def generalised_at(rows: list[dict[str, float]], accuracy: float = 0.95) -> float:
    """The first step from which on the test accuracy stays at `accuracy` or above; infinity if it never does."""
    found = float("inf")
    for row in reversed(rows):
        if row["test_accuracy"] < accuracy:
            break
        found = row["step"]
    return found
