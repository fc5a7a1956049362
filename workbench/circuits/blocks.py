"""A model run from one of its blocks on: what comes before is the same in every run, and is done once.

    calls = recorded(model, batch)                       # one forward pass
    last = run_blocks(calls, 12, changed)                # blocks 12 to the last, on another stream
    logits = answers(calls.model, last[:, -1])

`run_blocks` takes several copies of the batch at once, one after the other along the batch axis, and gradients flow
through it. Sites can be read and edited meanwhile as in a whole forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import MissingCapability
from workbench.hooks import calls_of_blocks, counted_from, our_attention, reading
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import LinearMap
from workbench.models.sites import first_tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Calls:
    """What each block of the main stack was called with, and the streams between them."""

    model: LensModel
    others: tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]
    """Positional and named arguments of each block without the stream: masks, rotary angles."""
    streams: tuple[Float[Tensor, "batch pos d_model"], ...]
    """What entered each block, and what left the last: one more than there are blocks."""

    @property
    def size(self) -> int:
        """Rows of the batch that was recorded."""
        return self.streams[0].shape[0]


@torch.no_grad()
def recorded(model: LensModel, batch: Mapping[str, Tensor]) -> Calls:
    """One forward pass, kept so that its end can be done again from any block on; holds n_blocks + 1 streams."""
    if len(model.stacks) > 1:
        raise MissingCapability(
            f"{model.name} has {len(model.stacks)} stacks of blocks ({', '.join(s.prefix for s in model.stacks)});"
            " running it from a block on is for models with one: decoders or encoders."
        )
    end = model.stream("resid_post")[-1]
    with calls_of_blocks(model) as calls, reading(model, end) as values:
        model.module(**batch)
    streams, others = zip(*(_apart(args, kwargs) for args, kwargs in calls), strict=True)
    return Calls(model=model, others=others, streams=(*streams, values[end]))


def run_blocks(
    calls: Calls, layer: int, stream: Float[Tensor, "rows pos d_model"], *, until: int | None = None
) -> Float[Tensor, "rows pos d_model"]:
    """The stream after block `until` (None: the last), when `stream` enters block `layer`.

    `rows` is a multiple of the batch that was recorded: copies of it, one after the other.
    """
    model, copies = calls.model, stream.shape[0] // calls.size
    stop = model.n_blocks if until is None else until + 1
    with model.lock, our_attention(model):
        for i in range(layer, stop):
            args, kwargs = calls.others[i]
            counted_from(model, i)
            block = model.module.get_submodule(model.main.paths[i])
            args = tuple(_copied(value, calls.size, copies) for value in args)
            kwargs = {name: _copied(value, calls.size, copies) for name, value in kwargs.items()}
            stream = first_tensor(block(stream, *args, **kwargs))
    return stream


def answers(model: LensModel, state: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
    """Logits of last states at the answer position, by the readout, or by a classifier's head step by step."""
    if "readout" in model.capabilities:
        return model.readout(state)
    if "decomposition" in model.capabilities and model.classes is not None:
        for step in model.head_maps(range(len(model.classes))):
            state = step(state.to(step.weight.dtype)) if isinstance(step, LinearMap) else step(state)
        return state
    raise MissingCapability(f"{model.name} has no trained head that answers, so no answer can be followed back.")


def _apart(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, tuple[tuple[Any, ...], dict[str, Any]]]:
    """(stream, all other arguments) of a call, without caches of earlier tokens: a second run must not fill them."""
    others = tuple(map(_without_cache, args[1:]))
    named = {name: _without_cache(value) for name, value in kwargs.items()}
    if "use_cache" in named:
        named["use_cache"] = False
    if args:
        return args[0], (others, named)
    stream = next(name for name, value in named.items() if isinstance(value, Tensor))
    return named.pop(stream), ((), named)


def _without_cache(value: Any) -> Any:
    return None if type(value).__name__.endswith("Cache") else value


def _copied(value: Any, size: int, copies: int) -> Any:
    """An argument for several copies of the batch: what has a row for each input is repeated."""
    if isinstance(value, tuple | list):
        return type(value)(_copied(one, size, copies) for one in value)
    if isinstance(value, Tensor) and copies > 1 and size > 1 and value.ndim and value.shape[0] == size:
        return value.repeat(copies, *[1] * (value.ndim - 1))
    return value
