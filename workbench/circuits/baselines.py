"""Scores of edges that have seen no task: what a method must beat. Random numbers, and the sizes of weights.

random_scores(graph, seed)                # draw several, with seeds of their own
weight_scores(split(model))
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.circuits.graph import CircuitGraph
from workbench.circuits.split import PARTS, Layer, Wiring
from workbench.models.linear_maps import LinearMap, Norm, linear_map

NUMBERS = 2**26
"""Numbers of the sources' products of weights held at once: 256 MB in single precision."""


def random_scores(graph: CircuitGraph, seed: int) -> Float[Tensor, "source slot"]:
    """An even draw from 0 to 1 for each edge: every order of the edges is as likely. NaN where there is no edge."""
    drawn = torch.rand(graph.exists.shape, generator=torch.Generator().manual_seed(seed))
    return drawn.masked_fill(~graph.exists, torch.nan)


@torch.no_grad()
def weight_scores(wiring: Wiring, *, numbers: int = NUMBERS) -> Float[Tensor, "source slot"]:
    """How strongly weights join a source to a slot: the Frobenius norm of their product; NaN where there is no edge.

    ||W_write diag(g) W_read||, where g is the weight of the norm before the slot (and LayerNorms centre), W_write is
    W_O of a head, the outer weights of an MLP or one row of them, and the token embeddings over the square root of
    their number; W_read is W_Q, W_K or W_V of the slot, the inner weights of an MLP (both maps where it is gated), or
    the first linear map of the head. It is the root mean square of what the slot gets, were all inner activations
    independent with mean square 1, the next token any, and the stream of variance 1. In post-norm models g is that of
    the norm that follows the source's sum. Inputs that are no tokens count as independent coordinates.

    A composition score as in Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits", without its
    division by the norms of both. Costs sources * slots * d_model^2 operations and no forward pass.
    """
    exists = wiring.graph.exists
    scores = torch.zeros(exists.shape)
    sources = list(_writes(wiring))
    size = max(1, numbers // wiring.model.d_model**2)
    for at in range(0, len(sources), size):
        products = torch.stack([weight.T @ weight for _, weight in sources[at : at + size]]).flatten(1)
        rows = [place for place, _ in sources[at : at + size]]
        for slot, weight in _reads(wiring):
            scores[rows, slot] = (products @ (weight @ weight.T).flatten()).clamp(min=0).sqrt().cpu()
    for layer in wiring.layers:
        if layer.split:
            rows = _neurons(wiring, layer)
            for slot, weight in _reads(wiring):
                scores[layer.writers, slot] = ((rows @ (weight @ weight.T)) * rows).sum(1).clamp(min=0).sqrt().cpu()
    return scores.masked_fill(~exists, torch.nan)


def _writes(wiring: Wiring) -> Iterator[tuple[int, Float[Tensor, "row d_model"]]]:
    """Every source but neurons, and its weights."""
    yield 0, _embeddings(wiring)
    for layer in wiring.layers:
        for h, weight in enumerate(layer.w_o):
            yield layer.heads.start + h, _after(wiring, layer.norm1, weight.float())
        if layer.mlp is not None and not layer.split:
            yield layer.writers.start, _after(wiring, layer.norm2, layer.mlp.outer.weight.float())


def _neurons(wiring: Wiring, layer: Layer) -> Float[Tensor, "neuron d_model"]:
    assert layer.mlp is not None
    return _after(wiring, layer.norm2, layer.mlp.outer.weight.float())


def _after(wiring: Wiring, norm: Norm, weight: Tensor) -> Tensor:
    """Weights of what is written, behind the norm that follows in post-norm models."""
    if not wiring.post:
        return weight
    weight = weight - weight.mean(1, keepdim=True) if norm.centred else weight
    return weight * norm.weight.to(weight)


def _reads(wiring: Wiring) -> Iterator[tuple[int, Float[Tensor, "d_model column"]]]:
    """Every slot and its weights, with the norm before them."""
    for layer in wiring.layers:
        for part in PARTS:
            weight, _ = layer.reads[part]
            for i, one in enumerate(weight.unbind(1)):
                yield layer.slots[part].start + i, _before(wiring, layer.norm1, one.float())
        if layer.mlp is not None:
            maps = [layer.mlp.inner, *([] if layer.mlp.linear is None else [layer.mlp.linear])]
            yield layer.slots["mlp"].start, _before(wiring, layer.norm2, torch.cat([m.weight.float() for m in maps], 1))
    yield wiring.n_slots - 1, _head(wiring)


def _before(wiring: Wiring, norm: Norm, weight: Tensor) -> Tensor:
    return weight if wiring.post else _normed(norm, weight)


def _normed(norm: Norm, weight: Float[Tensor, "d_model column"]) -> Tensor:
    """diag(g) W, of what is left when a LayerNorm takes the mean away."""
    weight = norm.weight.to(weight)[:, None] * weight
    return weight - weight.mean(0) if norm.centred else weight


def _head(wiring: Wiring) -> Float[Tensor, "d_model column"]:
    """The norms and the first linear map on the way from the last stream to the answers."""
    model = wiring.model
    steps = model.head_maps([0])
    first = next(i for i, step in enumerate(steps) if isinstance(step, LinearMap))
    linear = steps[first]
    assert isinstance(linear, LinearMap), "it was found as one"
    weight = linear.weight
    if first + 1 == len(steps):
        if model.unembed is not None:
            weight = linear_map(model.unembed, model.d_model, weight).weight
        else:
            last = model.head_maps(range(model.vocab_size))[-1]
            assert isinstance(last, LinearMap), "heads end in one"
            weight = last.weight
    weight = weight.float()
    for step in reversed(steps[:first]):
        weight = _normed(step, weight) if isinstance(step, Norm) else weight
    return weight


def _embeddings(wiring: Wiring) -> Float[Tensor, "row d_model"]:
    model, path = wiring.model, wiring.model.main.row.embed
    table = None if path is None else getattr(model.module.get_submodule(model.base + path), "weight", None)
    if not isinstance(table, Tensor) or table.ndim != 2 or table.shape[1] != model.d_model:
        return torch.eye(model.d_model, device=model.device)
    return table.detach().float() / len(table) ** 0.5
