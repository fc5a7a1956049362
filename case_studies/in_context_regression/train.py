"""Trains the models of this study: one linear attention layer, and softmax transformers by depth and noise."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import workbench
from case_studies.in_context_regression.transformers import LinearRegressor, Sizes, SoftmaxRegressor
from workbench import functional
from workbench.training import Training


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and on what; the same values give the same weights on the same machine."""

    attention: Literal["linear", "softmax"] = "softmax"
    n_layers: int = 1
    d: int = 4
    n: int = 8
    inputs: Literal["normal", "uniform"] = "normal"
    noise: float = 0.0
    permuted: bool = False
    """Whether each problem has the labels of another: a control, from which nothing can be learned."""
    queries: int = 8
    """Queries answered for each problem."""
    batch: int = 128
    steps: int = 1500
    lr: float = 4e-3
    warmup: int = 100
    clip: float = 1.0
    seed: int = 0
    every: int = 150
    """Steps between two measurements of the loss."""


LINEAR = TrainConfig(
    attention="linear", d=10, n=10, inputs="uniform", queries=1, batch=1024, steps=4000, lr=3e-3, clip=10.0, every=200
)
DEPTHS, NOISES = (1, 2, 4), (0.0, 0.5, 1.0)
MAP = {f"softmax-{depth}-{noise}": TrainConfig(n_layers=depth, noise=noise) for depth in DEPTHS for noise in NOISES}
SETTINGS = {"linear": LINEAR, **MAP, "permuted": TrainConfig(n_layers=2, permuted=True)}
"""The first is for one step of gradient descent, the last a control; the others make the map of depth and noise."""


def initial_model(config: TrainConfig) -> Any:
    """Give the untrained model."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        if config.attention == "linear":
            return LinearRegressor(config.d)
        return SoftmaxRegressor(Sizes(d=config.d, n_layers=config.n_layers))


def drawn(config: TrainConfig, problems: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Examples x and y, queries and answers: what a model is trained on, several queries for each problem."""
    found = functional.regression_problems(
        problems, config.n + config.queries - 1, config.d, inputs=config.inputs, noise=config.noise, seed=seed
    )
    x, y = found.x[:, : config.n], found.y[:, : config.n]
    queries = torch.cat([found.x[:, config.n :], found.query[:, None]], 1)
    answers = torch.einsum("pqd,pd->pq", queries, found.weights)
    return x, y.roll(1, 0) if config.permuted else y, queries, answers


def loss_of(module: Any, config: TrainConfig, problems: int, seed: int) -> Tensor:
    """Mean squared error of the answers."""
    x, y, queries, answers = drawn(config, problems, seed)
    return (module(x, y, queries) - answers).square().mean()


def train(config: TrainConfig, folder: str | Path) -> Training:
    """Train in `folder` (a killed run goes on from its state there): 10 to 60 seconds on a free core."""
    return workbench.training.train(
        initial_model(config),
        lambda module, step: loss_of(module, config, config.batch, config.seed * 1_000_003 + step),
        steps=config.steps,
        optimizer=lambda each: torch.optim.AdamW(each, lr=config.lr, weight_decay=0.0, betas=(0.9, 0.98)),
        schedule=lambda step: min(1.0, (step + 1) / config.warmup, 1.5 * (config.steps - step) / config.steps),
        clip=config.clip,
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: {"loss": loss_of(module, config, 2000, 2**40)},
        measure_at=range(0, config.steps + 1, config.every),
        label=f"training {config.attention}, {config.n_layers} layers, seed {config.seed}",
    )


def write(module: nn.Module, config: TrainConfig, path: Path) -> Path:
    """Keep the weights with their settings: the linear layer's whole, others in half precision."""
    kind = torch.float32 if config.attention == "linear" else torch.float16
    tensors = {name: value.detach().to(kind).contiguous() for name, value in module.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"settings": json.dumps(asdict(config))})
    return path


def read(config: TrainConfig, path: Path) -> Any:
    """A model from the file that `write` made."""
    module = initial_model(config)
    module.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return module.eval()
