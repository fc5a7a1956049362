"""Trains the small BERT classifiers of this study; seeded, and resumed where it stopped."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import workbench
from case_studies.attention_flow.data import MAKERS, UNK, ids_of


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


def train(
    config: TrainConfig, folder: str | Path, *, on_measure: Callable[[dict], None] | None = None
) -> tuple[Any, list[dict]]:
    """Train in `folder` (its state is kept there, so that a killed run goes on) and give the model and its history."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module = initial_model(config)
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.lr, weight_decay=0.01)
    first, history = _resume(module, optimizer, folder, config)
    for step in workbench.track(range(first, config.steps + 1), label=f"training {config.task}, seed {config.seed}"):
        if step % config.measure_every == 0 or step == config.steps:
            _suspend(module, optimizer, folder, config, step, history)
            history.append({"step": step, **tested(module, config)})
            if on_measure is not None:
                on_measure(history[-1])
        if step == config.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / config.warmup, 2 * (config.steps - step) / config.steps)
        ids, labels = sentences(config, step)
        optimizer.zero_grad()
        F.cross_entropy(module(ids).logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return module.eval(), history


def _suspend(module, optimizer, folder: Path, config: TrainConfig, step: int, history: list[dict]) -> None:
    """Write everything the next run needs to go on as if nothing had happened."""
    tensors = {f"model.{name}": value for name, value in module.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adamw.{number}.{name}": value for name, value in moments.items()}
    header = {"step": str(step), "config": json.dumps(asdict(config)), "history": json.dumps(history)}
    unfinished = folder / "state.unfinished"
    save_file(tensors, unfinished, metadata=header)
    unfinished.replace(folder / "state.safetensors")


def _resume(module, optimizer, folder: Path, config: TrainConfig) -> tuple[int, list[dict]]:
    path = folder / "state.safetensors"
    if not path.exists():
        return 0, []
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    if json.loads(header["config"]) != json.loads(json.dumps(asdict(config))):
        raise workbench.BadInput(
            f"{folder} holds a training with other settings: {header['config']}. Give another folder."
        )
    tensors = load_file(path)
    module.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adamw."):
            _, number, part = name.split(".")
            moments.setdefault(int(number), {})[part] = value
    state = optimizer.state_dict()
    optimizer.load_state_dict({**state, "state": moments})
    return int(header["step"]), json.loads(header["history"])
