"""How a block mixes positions: the ladder of maps from bare attention weights to whole blocks, and the mixing ratio.

Each rung takes more of the block into account:

    W            attention weights, mean over heads
    W_FIXEDRES   the same, half and half with the position itself
    W_RES        the same, with the share of the position itself that N_RES finds
    N            length of what each source brings through attention
    N_FIXEDRES   rows of N as shares, half and half with the position itself
    N_RES        length of that and of what the position has itself, added as vectors
    N_RESLN      the same after the norm that follows attention
    N_ENC        the same after the norm that follows the whole block (GlobEnc)

What a position has itself is the stream that attention adds to: in post-norm blocks what attention reads, in pre-norm
blocks the raw stream, while the values come from its normed copy. The norms are frozen at their true scales and say
what follows: post-norm blocks norm the sum (N_RESLN) and then norm again after the MLP (N_ENC: both in turn). In
pre-norm blocks nothing follows: N_RES is the block's output map, N_RESLN sees it through the norm before the MLP and
N_ENC through the norm that reads the block's output next, whose scale includes the MLP. The MLP's own vector, the bias
of W_O and those of the norms belong to no source and are left out. Maps multiply from layer to layer as they are;
norms of pre-norm streams grow, so that rows are better divided by their sums first (`row_normalized`).

References: Kobayashi et al. (2020), "Attention is Not Only a Weight"; Kobayashi et al. (2021), "Incorporating Residual
and Normalization Layers into Analysis of Masked Language Models"; Modarressi et al. (2022), "GlobEnc".
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import UnknownName
from workbench.functional.contributions import FrozenNorm, contribution_norms, linear_part, mixed_vectors
from workbench.functional.precision import precise
from workbench.functional.rollout import head_mean, with_residual

MIXING_MAPS = ("W", "W_FIXEDRES", "W_RES", "N", "N_FIXEDRES", "N_RES", "N_RESLN", "N_ENC")
"""Names of the maps, from weights alone to whole blocks."""


def mixing_maps(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"],
    *,
    after_attention: Sequence[FrozenNorm] = (),
    after_block: Sequence[FrozenNorm] = (),
    names: Iterable[str] = MIXING_MAPS,
) -> dict[str, Float[Tensor, "*batch query key"]]:
    """The named maps of one self-attention block; entry (i, j) is how much position i takes from position j.

    `own` is the stream that attention adds to. `after_attention` are the norms of N_RESLN, `after_block` those of
    N_ENC, in turn. Costs query * key * head^2 for each N; nothing of size (query, key, d_model) is made.
    """

    def lengths(*rest: Any) -> Tensor:
        return contribution_norms(pattern, values, w_o, *rest)

    rungs: dict[str, Callable[[], Tensor]] = {
        "W": lambda: head_mean(pattern),
        "W_FIXEDRES": lambda: with_residual(head_mean(pattern)),
        "W_RES": lambda: _with_ratio(head_mean(pattern), mixing_ratio(pattern, values, w_o, own)),
        "N": lengths,
        "N_FIXEDRES": lambda: with_residual(row_normalized(lengths()), normalize=True),
        "N_RES": lambda: lengths(own),
        "N_RESLN": lambda: lengths(own, after_attention),
        "N_ENC": lambda: lengths(own, after_block),
    }
    return {name: rungs[name]() for name in _known(names)}


def cross_mixing_maps(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"],
    *,
    after_attention: Sequence[FrozenNorm] = (),
    after_block: Sequence[FrozenNorm] = (),
    names: Iterable[str] = MIXING_MAPS,
) -> dict[str, tuple[Float[Tensor, "*batch query key"], Float[Tensor, "*batch query"]]]:
    """The named maps of one cross-attention: what each query takes from each source, and what it keeps of itself.

    The same ladder as `mixing_maps`, with the position itself as a column of its own, 0 where a map knows none.
    """

    def lengths(norms: Sequence[FrozenNorm] = ()) -> tuple[Tensor, Tensor]:
        kept = torch.linalg.vector_norm(linear_part(precise(own), norms), dim=-1)
        for norm in norms:
            kept = kept / norm.scale[..., 0].to(kept)
        return contribution_norms(pattern, values, w_o, norms=norms), kept

    def halves(shares: Tensor) -> tuple[Tensor, Tensor]:
        return shares / 2, 1 - shares.sum(-1) / 2

    def weighed() -> tuple[Tensor, Tensor]:
        ratio = mixing_ratio(pattern, values, w_o, own, cross=True)
        return ratio[..., None] * row_normalized(head_mean(pattern)), 1 - ratio

    def bare(shares: Tensor) -> tuple[Tensor, Tensor]:
        return shares, torch.zeros_like(shares[..., 0])

    rungs: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "W": lambda: bare(head_mean(pattern)),
        "W_FIXEDRES": lambda: halves(head_mean(pattern)),
        "W_RES": weighed,
        "N": lambda: bare(lengths()[0]),
        "N_FIXEDRES": lambda: halves(row_normalized(lengths()[0])),
        "N_RES": lengths,
        "N_RESLN": lambda: lengths(after_attention),
        "N_ENC": lambda: lengths(after_block),
    }
    return {name: rungs[name]() for name in _known(names)}


def mixing_ratio(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    own: Float[Tensor, "*batch query d_model"],
    norms: Sequence[FrozenNorm] = (),
    *,
    cross: bool = False,
) -> Float[Tensor, "*batch query"]:
    """How much of each position comes from others: 0 nothing, 1 all of it (Kobayashi et al. 2021).

    Length of what all other positions bring together, over that plus the length of what the position has itself: its
    own stream and what it attends to of itself. With `cross` every source is another. 0 where nothing is written.
    """
    pattern, own = precise(pattern), precise(own)
    if cross:
        mine, others = torch.zeros_like(pattern), pattern
    else:
        mine = torch.diag_embed(pattern.diagonal(0, -2, -1))
        others = pattern - mine  # exactly 0 on the diagonal
    brought = linear_part(mixed_vectors(others, values, w_o), norms)
    kept = linear_part(own + mixed_vectors(mine, values, w_o), norms)
    far, near = (torch.linalg.vector_norm(x, dim=-1) for x in (brought, kept))
    return far / (far + near).where(far > 0, 1.0)


def row_normalized(maps: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query key"]:
    """Each row divided by its sum; a row of zeros stays zero."""
    sums = maps.sum(-1, keepdim=True)
    return maps / sums.where(sums > 0, 1.0)


def _with_ratio(
    weights: Float[Tensor, "*batch query key"], ratio: Float[Tensor, "*batch query"]
) -> Float[Tensor, "*batch query key"]:
    """Weights to others as shares that together are the mixing ratio, and the rest on the diagonal."""
    others = weights - torch.diag_embed(weights.diagonal(0, -2, -1))
    return ratio[..., None] * row_normalized(others) + torch.diag_embed(1 - ratio)


def _known(names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    for name in names:
        if name not in MIXING_MAPS:
            raise UnknownName("mixing map", name, MIXING_MAPS)
    return names
