"""`train`: a plain training loop that can be cut off at any moment and gives the same weights all the same."""

import json
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench import progress
from workbench.errors import BadInput, Stopped
from workbench.training.state import Standing, described, resume, suspend
from workbench.training.watch import Losses, check_weights, going_back

SUSPEND_EVERY = 30.0
"""Seconds between two states written to the folder: what a killed run loses at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Training:
    """A module after its last update, and what was measured on the way."""

    module: nn.Module
    steps: int
    history: tuple[Mapping[str, float], ...]
    """What `measure` gave, each with its "step": how many updates were behind it."""


def train(
    module: nn.Module,
    loss: Callable[[Any, int], Tensor],
    *,
    steps: int,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    seed: int = 0,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    schedule: Callable[[int], float] | None = None,
    clip: float | None = None,
    measure: Callable[[Any, int], Mapping[str, float]] | None = None,
    measure_at: Container[int] = (),
    keep: Container[int] = (),
    save: Callable[[Any, int], object] | None = None,
    label: str = "training",
) -> Training:
    """Train `module` where it is, and give it back with what was measured; cut off and called again, it goes on.

    `loss(module, step)` makes the batch of a step, on the module's device, and gives its loss: a function of the step
    alone (draw with a generator of its own; dropout is seeded by `seed` and the step), so that a resumed training ends
    with the same weights. `optimizer(parameters)` makes the optimizer; `schedule(step)` multiplies its learning rates;
    `clip` bounds the norm of the gradient. In `folder` the state is kept every half minute, when it is stopped or
    interrupted, and at the end, with the optimizer's numbers and `settings`, which must be the same when it is resumed;
    the device may be another, whose rounding is then its own. `measure(module, step)` is recorded at the steps in
    `measure_at` (a `range` or a set) and at the last; `save(module, step)` is called at those in `keep`. Step s means
    after s updates: 0 is untrained. Raises `BadWeights` before anything is measured or written of losses or weights
    that are no longer finite, with the step (on a GPU losses are looked at 50 together, so as not to wait for each);
    `BadInput` for a folder of another training, and for a loss that is no tensor of one number with a gradient.
    """
    if steps < 0:
        raise BadInput(f"steps must be 0 or more, not {steps}.")
    if keep and save is None:
        raise BadInput("keep says at which steps weights are kept; save(module, step), which writes them, is missing.")
    made = optimizer(module.parameters())
    rates = [group["lr"] for group in made.param_groups]
    settings = _plain({"seed": seed, **described(made, clip), **(settings or {})})
    folder = None if folder is None else Path(folder)
    standing = Standing()
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder} cannot be a training's folder ({error.strerror}). Give another path.") from error
        standing = resume(folder, module, made, settings)
    if standing.step > steps:
        raise BadInput(f"{folder} holds a training of {standing.step} steps, more than {steps}. Give another folder.")
    standing.history = [
        row for row in standing.history if int(row["step"]) in measure_at
    ]  # no end of a shorter training
    losses = Losses()

    def check(step: int) -> None:
        losses.look()
        check_weights(module, step)

    def observe(step: int) -> None:
        measured = measure is not None and (step in measure_at or step == steps)
        if measured or (save is not None and step in keep):
            check(step)
        if measure is not None and measured and not any(row["step"] == step for row in standing.history):
            module.eval()
            with torch.no_grad():
                standing.history.append({"step": step, **_numbers(measure(module, step))})
            module.train()
        if save is not None and step in keep:
            save(module, step)

    def write() -> None:
        check(standing.step)
        if folder is not None:
            suspend(folder, module, made, standing, settings)

    # Where there is no accelerator, torch.manual_seed notes at each call what to do once there is one: 0.1 ms.
    sow = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    written, whole = time.monotonic(), True
    module.train()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            observe(standing.step)
            progress.report(label, standing.step, steps)
            for step in range(standing.step, steps):
                sow((seed * 1_000_003 + step) % 2**63)
                for group, rate in zip(made.param_groups, rates, strict=True):
                    group["lr"] = rate if schedule is None else rate * schedule(step)
                made.zero_grad(set_to_none=True)
                value = going_back(loss(module, step), step)
                losses.add(value, step)
                value.backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), clip)
                whole = False
                made.step()
                standing.step, whole = step + 1, True
                observe(step + 1)
                progress.report(label, step + 1, steps)
                if time.monotonic() - written > SUSPEND_EVERY:
                    write()
                    written = time.monotonic()
    except (KeyboardInterrupt, Stopped):
        if whole:  # between two updates; amid one, the state that was last written is the one to go on from
            write()
        raise
    write()
    return Training(module=module.eval(), steps=steps, history=tuple(standing.history))


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(settings), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadInput(f"settings are kept as JSON, which these are not: {error}.") from error


def _numbers(measured: Mapping[str, Any]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in measured.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"measure gives a dict of numbers, and these are not: {error}.") from error
