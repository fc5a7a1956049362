"""A stack of attention as a sum over paths: each goes through one head, or past all of them, in every layer.

With patterns P held as they are and W = W_V W_O of each head, attention without MLPs and norms is linear:
X -> sum over paths of P^L ... P^1 X W^1 ... W^L, the last layer leftmost. Past the heads (the skip connection) P and W
are the identity. The length of a path is how many heads it goes through: C(L, k) H^k paths have length k.
Reference: Dong, Cordonnier & Loukas (2021), "Attention is not all you need"; Veit et al. (2016), "Residual Networks
Behave Like Ensembles of Relatively Shallow Networks".
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise

MOST_PATHS = 5000
"""Paths that are all taken; of more, some of each length are drawn."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PathOutputs:
    """What single paths write."""

    outputs: Float[Tensor, "path pos d"]
    paths: Int[Tensor, "path layer"]
    """What a path goes through in each layer: 0 past the heads, h + 1 head h."""
    lengths: Int[Tensor, "path"]
    """How many heads it goes through."""
    counts: tuple[int, ...]
    """How many paths there are of each length, from 0 on; 0 where paths of a length were not asked for."""
    exact: bool
    """Whether these are all paths of the lengths that were asked for."""


def path_counts(n_layers: int, n_heads: int, skip: bool = True) -> tuple[int, ...]:
    """How many paths go through 0, 1, ... n_layers heads: C(L, k) H^k; without skips all go through L."""
    if n_layers < 1 or n_heads < 1:
        raise BadInput(f"Paths go through at least one layer with at least one head, not {n_layers} and {n_heads}.")
    return tuple(math.comb(n_layers, k) * n_heads**k if skip or k == n_layers else 0 for k in range(n_layers + 1))


def path_outputs(
    states: Float[Tensor, "pos d"],
    patterns: Float[Tensor, "layer head pos pos"],
    maps: Float[Tensor, "layer head d d"],
    *,
    lengths: Sequence[int] | None = None,
    n_samples: int = 100,
    seed: int = 0,
    skip: bool = True,
    most: int = MOST_PATHS,
) -> PathOutputs:
    """What single paths through a stack of attention write, in the order of the layers: P^L ... P^1 X W^1 ... W^L.

    All paths of the lengths asked for (None: every length) where no more than `most` are there; else `n_samples` of
    each length, drawn uniformly with the seed, with replacement: their mean times `counts` is then an estimate of what
    all paths of that length write. Rows of X times `maps` (x @ W). `skip` says whether a path may go past the heads.
    Memory for path * pos * d numbers, and time for as many d x d products a layer.
    """
    states, patterns, maps = _checked(states, patterns, maps)
    n_layers, n_heads = patterns.shape[:2]
    counts = path_counts(n_layers, n_heads, skip)
    there = [k for k, count in enumerate(counts) if count]
    wanted = there if lengths is None else sorted(set(lengths))
    if wrong := [k for k in wanted if k not in there]:
        raise BadInput(f"No path has length {wrong[0]}: there are {there}.")
    exact = sum(counts[k] for k in wanted) <= most
    if not exact and n_samples < 1:
        raise BadInput(f"At least one path of each length is drawn, not {n_samples}.")
    paths = all_paths(n_layers, n_heads, wanted) if exact else sample_paths(n_layers, n_heads, wanted, n_samples, seed)
    paths = paths.to(states.device)
    outputs = states.expand(len(paths), *states.shape)
    for layer in range(n_layers):
        through = paths[:, layer]
        for head in through.unique().tolist():
            if head:
                mine = through == head
                outputs = outputs.index_put((mine,), patterns[layer, head - 1] @ outputs[mine] @ maps[layer, head - 1])
    return PathOutputs(
        outputs=outputs,
        paths=paths,
        lengths=(paths > 0).sum(-1),
        counts=tuple(count if k in wanted else 0 for k, count in enumerate(counts)),
        exact=exact,
    )


def sample_paths(
    n_layers: int, n_heads: int, lengths: Sequence[int], n_samples: int, seed: int
) -> Int[Tensor, "path layer"]:
    """Draw `n_samples` paths of each length, uniformly and with replacement: layers without, each with any head.

    0 is past the heads of a layer, h + 1 through head h. The same on any device.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for length in lengths:
        order = torch.rand(n_samples, n_layers, generator=generator).argsort(-1)
        heads = torch.randint(1, n_heads + 1, (n_samples, n_layers), generator=generator)
        drawn.append(heads * (order < length))
    return torch.cat(drawn)


def path_length_sums(
    states: Float[Tensor, "pos d"],
    patterns: Float[Tensor, "layer head pos pos"],
    maps: Float[Tensor, "layer head d d"],
    *,
    skip: bool = True,
) -> Float[Tensor, "length pos d"]:
    """What all paths of each length write together, exactly, however many they are; all lengths sum to the output.

    Lengths are 0 to the number of layers. Nothing is enumerated: a layer turns the sum S_k over paths of length k into
    S_k + A(S_{k-1}), with A(X) the sum over heads of P X W. Costs about layers^2 / 2 layers.
    """
    states, patterns, maps = _checked(states, patterns, maps)
    n_layers = len(patterns)
    sums = states.new_zeros(n_layers + 1, *states.shape)
    sums[0] = states
    for layer in range(n_layers):
        read = sums[: layer + 1]
        added = torch.einsum("hqk,skd,hde->sqe", patterns[layer], read, maps[layer])
        sums = sums.clone() if skip else torch.zeros_like(sums)
        sums[1 : layer + 2] += added
    return sums


def all_paths(n_layers: int, n_heads: int, lengths: Sequence[int]) -> Int[Tensor, "path layer"]:
    """Every path of the lengths asked for, length by length: 0 is past the heads of a layer, h + 1 through head h."""
    found = [
        [dict(zip(layers, heads, strict=True)).get(layer, 0) for layer in range(n_layers)]
        for length in lengths
        for layers in itertools.combinations(range(n_layers), length)
        for heads in itertools.product(range(1, n_heads + 1), repeat=length)
    ]
    return torch.tensor(found)


def _checked(states: Tensor, patterns: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    pos, d = states.shape
    if patterns.ndim != 4 or maps.ndim != 4 or 0 in patterns.shape:
        raise BadInput(
            "Patterns are (layer, head, pos, pos) and maps (layer, head, d, d), with at least one layer and head;"
            f" these are {tuple(patterns.shape)} and {tuple(maps.shape)}."
        )
    if patterns.shape[2:] != (pos, pos) or maps.shape != (*patterns.shape[:2], d, d):
        raise BadInput(
            f"States of {pos} positions and width {d} need patterns (layer, head, {pos}, {pos}) and maps (layer, head,"
            f" {d}, {d}) of as many layers and heads; these are {tuple(patterns.shape)} and {tuple(maps.shape)}."
        )
    return precise(states), precise(patterns), precise(maps)
