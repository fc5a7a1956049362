"""How near each part of a sum comes to the whole: contributions of heads, MLPs and neurons to a residual stream.

A part p of a sum w counts by how much of w's length is lost without it: prox = max(|w| - |w - p|, eps), and its
contribution is its share of all parts' prox. Contributions are positive and sum to one over all parts, so all parts
must be there: what the stream held before, and biases too, as parts of their own. A part of zeros is none and gets 0.
Parts along one line with the whole get exactly their coefficients, in every norm.

What it does not see: (1) It is not causal: a part that points along the sum scores, although a later layer may cancel
it or never read it. (2) Overshooting: a part longer than twice the sum, along it, scores as little as one against it;
one neuron may flip the sign of a coordinate and score 0. (3) A few huge coordinates decide both norms; `drop` leaves
out the largest of each whole, so that both can be shown. (4) Only directions count, not what reads them.

Half precision is computed in float32. Reference: Ferrando & Voita (2024), "Information Flow Routes: Automatically
Interpreting Language Models at Scale"; proximity as in Ferrando et al. (2022), see `alti_map`.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.functional.query_key import repeat_kv

Norm = Literal["l1", "l2"]
EPS = 1e-5
"""Least proximity of a part that is not zero, in units of the stream: the paper's, which keeps 0/0 away."""
BLOCK_BYTES = 2**22
"""Most memory that parts take at a time where they have to be made."""


def part_proximity(
    parts: Float[Tensor, "*batch part d"],
    whole: Float[Tensor, "*batch d"],
    *,
    norm: Norm = "l1",
    drop: int = 0,
    eps: float = EPS,
) -> Float[Tensor, "*batch part"]:
    """How much of the whole's length is lost without each part, at least `eps`; 0 for a part of zeros.

    `drop` leaves out that many coordinates, those in which the whole is largest.
    """
    parts, whole = precise(parts), precise(whole)
    keep = _kept(whole, drop)
    near = _near(parts, whole[..., None, :], None if keep is None else keep[..., None, :], norm)
    return _at_least(near, eps, parts.ne(0).any(-1))


def part_contributions(
    parts: Float[Tensor, "*batch part d"],
    whole: Float[Tensor, "*batch d"],
    *,
    norm: Norm = "l1",
    drop: int = 0,
    eps: float = EPS,
) -> Float[Tensor, "*batch part"]:
    """Share of each part in the whole that they add up to: they sum to one (to zero if every part is zero)."""
    near = part_proximity(parts, whole, norm=norm, drop=drop, eps=eps)
    return near / _total(near.sum(-1))[..., None]


def attention_contributions(
    pattern: Float[Tensor, "*batch head query key"],
    values: Float[Tensor, "*batch key kv_head d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
    others: Float[Tensor, "*batch query other d_model"],
    whole: Float[Tensor, "*batch query d_model"],
    *,
    norm: Norm = "l1",
    drop: int = 0,
    eps: float = EPS,
) -> tuple[Float[Tensor, "*batch head query key"], Float[Tensor, "*batch query other"]]:
    """Share of every head's look at every key in each query's stream after attention, and of the other parts.

    A head's part is alpha_qk v_k W_O; `others` are what else adds up to `whole`: the stream before, the bias of W_O,
    and in parallel blocks what the MLP adds. All of a query sum to one. Head by head: the largest tensor besides the
    result is (key, d_model). On a processor the elementwise work of "l1" is compiled, and done in as many threads as
    torch uses; elsewhere, and where gradients are wanted, parts are made a few megabytes at a time.
    """
    pattern, values, w_o = precise(pattern), precise(values), precise(w_o)
    others, whole = precise(others), precise(whole)
    keep = _kept(whole, drop)
    values = repeat_kv(values, w_o.shape[0], dim=-2)
    near = [
        _at_least(_scaled(weights, values[..., head, :] @ w_o[head], whole, keep, norm), eps, weights != 0)
        for head, weights in enumerate(pattern.unbind(-3))
    ]
    heads = torch.stack(near, -3) if near else torch.zeros_like(pattern)
    rest = part_proximity(others, whole, norm=norm, drop=drop, eps=eps)
    total = _total(heads.sum((-3, -1)) + rest.sum(-1))
    return heads / total[..., None, :, None], rest / total[..., None]


def neuron_contributions(
    activations: Float[Tensor, "*batch query neuron"],
    w_out: Float[Tensor, "neuron d_model"],
    others: Float[Tensor, "*batch query other d_model"],
    whole: Float[Tensor, "*batch query d_model"],
    *,
    norm: Norm = "l1",
    drop: int = 0,
    eps: float = EPS,
) -> tuple[Float[Tensor, "*batch query neuron"], Float[Tensor, "*batch query other"]]:
    """Share of every neuron of an MLP in each stream that it writes to, and of the other parts.

    A neuron's part is its activation times its row of `w_out`; `others` are the stream before and the bias of the
    output map. All of a query sum to one.
    """
    activations, w_out, others, whole = precise(activations), precise(w_out), precise(others), precise(whole)
    vectors = w_out.expand(*activations.shape[:-2], *w_out.shape)
    near = _scaled(activations, vectors, whole, _kept(whole, drop), norm)
    neurons = _at_least(near, eps, activations != 0)
    rest = part_proximity(others, whole, norm=norm, drop=drop, eps=eps)
    total = _total(neurons.sum(-1) + rest.sum(-1))[..., None]
    return neurons / total, rest / total


def threshold_contributions(
    contributions: Float[Tensor, "*batch part"], threshold: float, *, renormalise: bool = True
) -> Float[Tensor, "*batch part"]:
    """Contributions with those up to `threshold` set to 0; the rest divided to sum to one again, if asked.

    Where nothing is left all are 0. Without dividing, what a higher threshold keeps, a lower one keeps too.
    """
    kept = contributions.where(contributions > threshold, 0.0)
    return kept / _total(kept.sum(-1))[..., None] if renormalise else kept


def _near(parts: Tensor, whole: Tensor, keep: Tensor | None, norm: Norm) -> Tensor:
    """|whole| - |whole - part| over the last axis, without subtracting two long lengths."""
    if norm == "l1":
        lost = whole.abs() - (whole - parts).abs()
        return (lost if keep is None else lost * keep).sum(-1)
    if keep is not None:
        parts, whole = parts * keep, whole * keep
    return _lost_l2((parts * whole).sum(-1), parts.square().sum(-1), whole.square().sum(-1))


def _lost_l2(inner: Tensor, part: Tensor, whole: Tensor) -> Tensor:
    """The same from inner products: (|w|^2 - |w - p|^2) / (|w| + |w - p|)."""
    gain = 2 * inner - part
    return gain / _total(whole.sqrt() + (whole - gain).clamp(min=0).sqrt())


def _scaled(
    weights: Float[Tensor, "*batch query part"],
    vectors: Float[Tensor, "*batch part d"],
    whole: Float[Tensor, "*batch query d"],
    keep: Float[Tensor, "*batch query d"] | None,
    norm: Norm,
) -> Float[Tensor, "*batch query part"]:
    """`_near` of weights_qk vectors_k in whole_q, for every query and part."""
    if norm == "l2":
        state = whole if keep is None else whole * keep
        squares = vectors.square()
        lengths = squares.sum(-1)[..., None, :] if keep is None else keep @ squares.mT
        inner = weights * (state @ vectors.mT)
        return _lost_l2(inner, weights.square() * lengths, state.square().sum(-1)[..., None])
    graph = torch.is_grad_enabled() and any(x.requires_grad for x in (weights, vectors, whole))
    if weights.device.type == "cpu" and not graph:
        return _compiled(weights, vectors, whole, keep)
    return _in_chunks(weights, vectors, whole, keep)


def _in_chunks(weights: Tensor, vectors: Tensor, whole: Tensor, keep: Tensor | None) -> Tensor:
    one_part = whole.numel() * whole.element_size()
    chunk = max(1, BLOCK_BYTES // max(one_part, 1))
    state, kept = whole[..., None, :], None if keep is None else keep[..., None, :]
    found = [
        _near(some[..., None] * those[..., None, :, :], state, kept, "l1")
        for some, those in zip(weights.split(chunk, -1), vectors.split(chunk, -2), strict=True)
    ]
    return torch.cat(found, -1)


def _compiled(weights: Tensor, vectors: Tensor, whole: Tensor, keep: Tensor | None) -> Tensor:
    from workbench.functional import proximity_kernel

    found = weights.new_zeros(weights.shape)

    def flat(x: Tensor) -> list[Tensor]:
        return list(x.detach().to(whole.dtype).contiguous().reshape(-1, *x.shape[-2:]))

    masks = [None] * weights.shape[:-2].numel() if keep is None else flat(keep)
    each = zip(flat(weights), flat(vectors), flat(whole), masks, flat(found), strict=True)
    for some, those, state, kept, answer in each:
        proximity_kernel.lost_lengths(
            some.numpy(), those.numpy(), state.numpy(), None if kept is None else kept.numpy(), answer.numpy()
        )
    return found


def _kept(whole: Tensor, drop: int) -> Tensor | None:
    """1 for coordinates that count, 0 for the `drop` in which the whole is largest; None where all count."""
    if not 0 <= drop < whole.shape[-1]:
        raise BadInput(f"Of {whole.shape[-1]} coordinates 0 to {whole.shape[-1] - 1} can be left out, not {drop}.")
    if not drop:
        return None
    return torch.ones_like(whole).scatter(-1, whole.abs().topk(drop, -1).indices, 0.0)


def _at_least(near: Tensor, eps: float, there: Tensor) -> Tensor:
    return near.clamp(min=eps).where(there, 0.0)


def _total(x: Tensor) -> Tensor:
    return x.where(x != 0, 1.0)
