"""Exact signed shares of every input token in what a model computes: the pieces of DecompX.

The state at each position is carried as a sum of parts, one for each source token, through every step of the model:
(source, pos, d_model), which summed over sources is the state itself at all times. What a step multiplies by is held
at the value it had: attention patterns, norms' divisors (`frozen_norm`), and each activation's slope
theta = act(x) / x, the same for all parts of x. What remains is linear, and goes to each part alone. A bias has no
source; it is split by how much each part points along it (`absdot`), or kept apart as one more source.

Gated MLPs multiply act(a) * b, both of which have parts. Each product of parts is counted half through a and half
through b, which are the Shapley shares of a product; `gate_share` 1 gives all to the gate, 0 all to the other factor.
Reference: Modarressi et al. (2023), "DecompX: Explaining Transformers Decisions by Propagating Token Decomposition".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.functional.query_key import repeat_kv

CHUNK_BYTES = 2**24
"""Most memory that one tensor of a chunk of sources takes, unless one source alone needs more."""


def absdot(
    dots: Float[Tensor, "*batch source pos"], reach: Bool[Tensor, "source pos"] | None = None
) -> Float[Tensor, "*batch source pos"]:
    """Shares of a bias b in which parts x_k count by |b . x_k| (given as `dots`): never negative, together 1.

    Where all are 0 the sources that can reach the position count alike; `reach` says which, None is all.
    """
    sizes = dots.abs()
    total = sizes.sum(-2, keepdim=True)
    alike = torch.ones_like(dots) if reach is None else reach.to(dots).expand_as(dots)
    alike = alike / alike.sum(-2, keepdim=True).clamp(min=1)
    return torch.where(total > 0, sizes / total.where(total > 0, 1.0), alike)


def apart(
    dots: Float[Tensor, "*batch source pos"], _reach: Bool[Tensor, "source pos"] | None = None
) -> Float[Tensor, "*batch source pos"]:
    """Shares of a bias that is kept apart: all of it goes to the last source, which stands for no token."""
    shares = torch.zeros_like(dots)
    shares[..., -1, :] = 1
    return shares


Split = Callable[[Tensor, Tensor | None], Tensor]
BIAS_SPLITS: dict[str, Split] = {"absdot": absdot, "apart": apart}
"""How a bias can be split over the sources, by name: (dots, reach) -> shares."""


def with_bias(
    parts: Float[Tensor, "*batch source pos d_out"],
    bias: Float[Tensor, "*#pos d_out"],
    split: Split = absdot,
    reach: Bool[Tensor, "source pos"] | None = None,
) -> Float[Tensor, "*batch source pos d_out"]:
    """Parts with a bias split over them, so that their sum is the old sum plus the bias. A bias of zeros is skipped."""
    if not bias.any():
        return parts
    return parts + split((parts * bias).sum(-1), reach)[..., None] * bias


def attention_parts(
    parts: Float[Tensor, "*batch source key d_model"],
    pattern: Float[Tensor, "*batch head query key"],
    w_v: Float[Tensor, "d_model kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_out"],
) -> Float[Tensor, "*batch source query d_out"]:
    """What each source brings each query through one attention whose pattern is fixed, without any bias.

    Costs an attention's values and outputs for each source; a few sources at a time.
    """
    size = (*parts.shape[:-2], pattern.shape[-2], w_o.shape[-1])
    written = parts.new_zeros(size)
    width = pattern.shape[-3] * w_v.shape[-1] * max(parts.shape[-2], pattern.shape[-2])
    for some, start in _chunks(parts, width):
        values = torch.einsum("...skm,mhd->...hksd", parts[..., some, start:, :], w_v)
        values = repeat_kv(values, w_o.shape[0], dim=-4).flatten(-2)  # (..., head, key, some * d_head)
        seen = pattern[..., start:]
        first = _first(seen.movedim(-2, 0))  # queries before see none of these keys
        mixed = (seen[..., first:, :] @ values).unflatten(
            -1, (-1, w_v.shape[-1])
        )  # (*batch, head, query, some, d_head)
        mixed = mixed.movedim((-2, -3, -4), (-4, -3, -2)).flatten(-2)  # (..., some, query, head * d_head)
        written[..., some, first:, :] = mixed @ w_o.flatten(0, 1)
    return written


def activation_slope(
    before: Float[Tensor, "*any"], after: Float[Tensor, "*any"], at_zero: float
) -> Float[Tensor, "*any"]:
    """What every part of x is multiplied by: act(x) / x, and act'(0) where x is 0."""
    zero = before == 0
    return torch.where(zero, at_zero, after / before.where(~zero, 1.0))


def slope_at_zero(activation: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """act'(0) of an activation function: 0.5 for GELU and SiLU, 0 for ReLU, 1 for tanh."""
    with torch.enable_grad():
        x = torch.zeros(1, dtype=like.dtype, device=like.device, requires_grad=True)
        return torch.autograd.grad(activation(x).sum(), x)[0].item()


@dataclass(frozen=True, eq=False, kw_only=True)
class MlpBranch:
    """One linear map into the hidden layer, and what its output is multiplied by there."""

    weight: Float[Tensor, "d_model d_mlp"]
    bias: Float[Tensor, "d_mlp"] | None
    slope: Float[Tensor, "*batch pos d_mlp"]
    """`activation_slope`; in gated MLPs the `gated_slopes` of the gate and of the other factor."""


def mlp_parts(
    parts: Float[Tensor, "*batch source pos d_model"],
    branches: Sequence[MlpBranch],
    w_out: Float[Tensor, "d_mlp d_out"],
    split: Split = absdot,
    reach: Bool[Tensor, "source pos"] | None = None,
) -> Float[Tensor, "*batch source pos d_out"]:
    """What each source writes through an MLP whose slopes are fixed, without the bias of its output.

    One branch, or two in gated MLPs. The hidden layer's parts (source, pos, d_mlp) exist for a few sources at a time.
    """
    written = parts.new_zeros(*parts.shape[:-1], w_out.shape[-1])
    shares = [
        None if one.bias is None or not one.bias.any() else split(parts @ (one.weight @ one.bias), reach)
        for one in branches
    ]
    for some, start in _chunks(parts, w_out.shape[0] * parts.shape[-2]):
        starts = [_first(share[..., some, :].movedim(-1, 0)) for share in shares if share is not None]
        start = min([start, *starts])
        hidden = [
            _through(one, parts[..., some, start:, :], None if share is None else share[..., some, start:], start)
            for one, share in zip(branches, shares, strict=True)
        ]
        written[..., some, start:, :] = reduce(torch.Tensor.add_, hidden) @ w_out
    return written


def _through(one: MlpBranch, parts: Tensor, share: Tensor | None, start: int) -> Tensor:
    """Some sources' parts of one factor of the hidden layer, from position `start` on."""
    here = parts @ one.weight
    if share is not None and one.bias is not None:
        here.addcmul_(share[..., None], one.bias)
    return here.mul_(one.slope[..., None, start:, :])


def gated_slopes(
    gate: Float[Tensor, "*any"],
    activated: Float[Tensor, "*any"],
    linear: Float[Tensor, "*any"],
    at_zero: float,
    gate_share: float = 0.5,
) -> tuple[Float[Tensor, "*any"], Float[Tensor, "*any"]]:
    """Slopes for the parts of the gate a and of the other factor b of act(a) * b.

    The parts times their slopes sum to act(a) * b: `gate_share` of it through a, the rest through b.
    """
    theta = activation_slope(gate, activated, at_zero)
    return gate_share * theta * linear, (1 - gate_share) * activated


def decomposition_bytes(sources: int, positions: int, d_model: int, d_mlp: int, heads_width: int, itemsize: int) -> int:
    """Most memory that carrying all parts through one block takes.

    The stream before and after attention, its normed copy with what it is made of, what is written and its sum with the
    stream; and a chunk of sources inside attention (`heads_width` is head * d_head) or the MLP, five times over.
    """
    carried = 6 * sources * positions * d_model * itemsize
    one_source = positions * max(d_mlp, heads_width) * itemsize
    return carried + 5 * max(one_source, min(CHUNK_BYTES, sources * one_source))


def _chunks(parts: Tensor, width: int) -> Iterator[tuple[slice, int]]:
    """Chunks of sources, each with the first position at which any of its parts is not zero."""
    batch = parts[..., 0, 0, 0].numel()
    size = max(1, CHUNK_BYTES // max(1, batch * width * parts.element_size()))
    for start in range(0, parts.shape[-3], size):
        some = slice(start, start + size)
        yield some, _first(parts[..., some, :, :].movedim(-2, 0))


def _first(x: Tensor) -> int:
    """The first index of the first axis at which not all is zero; 0 where all is."""
    return int(x.flatten(1).ne(0).any(-1).int().argmax())
