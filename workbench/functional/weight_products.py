"""What a head's two weight matrices do together: the spectrum of W_Q W_K^T or W_V W_O, and how near to identity it is.

A product of (d_model, d_head) with (d_head, d_model) has rank d_head at most, so its numbers come from matrices of that
size; the (d_model, d_model) product is never made. All of them but `entry_correlation` stay as they are when W_Q is
replaced by W_Q A and W_K by W_K A^-T, which changes no score. Half precision is computed in float32.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_whole
from workbench.functional.precision import precise


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightProduct:
    """The product of two weight matrices as numbers; NaN where the product is zero, and `rank` is 0 there."""

    singular_values: Float[Tensor, "*heads core"]
    """Largest first; those beyond `core` are zero. In units of the product."""
    eigenvalues: Complex[Tensor, "*heads core"]
    """Largest first by size; those beyond `core` are zero."""
    trace: Float[Tensor, "*heads"]
    d_model: int

    @cached_property
    def rank(self) -> Int[Tensor, "*heads"]:
        """How many singular values are more than rounding: above the largest times d_model times epsilon."""
        values = self.singular_values
        return (values > values[..., :1] * self.d_model * torch.finfo(values.dtype).eps).sum(-1)

    @property
    def effective_rank(self) -> Float[Tensor, "*heads"]:
        """How many directions the product really uses, from 1 to `core`; see `effective_rank`."""
        return effective_rank(self.singular_values)

    @property
    def effective_share(self) -> Float[Tensor, "*heads"]:
        """The effective rank as a share of the most it could be, 0 to 1."""
        return self.effective_rank / self.singular_values.shape[-1]

    @property
    def identity(self) -> Float[Tensor, "*heads"]:
        """Trace over the sum of singular values, -1 to 1: 1 for a projector or any symmetric product without signs.

        1 only where the product is symmetric with no negative eigenvalue, -1 where its negative is: each direction is
        then mapped to itself (or against itself). About 0 for matrices that have nothing to do with each other.
        """
        return (self.trace / self.singular_values.sum(-1)).clamp(-1, 1)

    @property
    def cosine(self) -> Float[Tensor, "*heads"]:
        """Cosine of the product with the identity matrix, entry by entry: -bound to bound, see `cosine_bound`.

        The bound is met by projectors only, so this asks for directions of equal weight where `identity` does not.
        """
        size = self.singular_values.norm(dim=-1) * math.sqrt(self.d_model)
        return (self.trace / size).clamp(-self.cosine_bound, self.cosine_bound)

    @property
    def cosine_bound(self) -> float:
        """The largest cosine with the identity that a product of this rank can have: sqrt(core / d_model)."""
        return math.sqrt(self.singular_values.shape[-1] / self.d_model)

    @property
    def positive(self) -> Float[Tensor, "*heads"]:
        """Share of the eigenvalues that are not zero whose real part is above zero; 0.5 for unrelated matrices."""
        size = self.eigenvalues.abs()
        there = size > size.amax(-1, keepdim=True) * self.d_model * torch.finfo(size.dtype).eps
        return ((self.eigenvalues.real > 0) & there).sum(-1).to(size.dtype) / there.sum(-1)

    @property
    def eigenvalue_sign(self) -> Float[Tensor, "*heads"]:
        """The sum of the eigenvalues over the sum of their sizes, -1 to 1 (Elhage et al. 2021)."""
        return (self.eigenvalues.real.sum(-1) / self.eigenvalues.abs().sum(-1)).clamp(-1, 1)


def weight_product(
    left: Float[Tensor, "*heads d_model d_head"], right: Float[Tensor, "*heads d_head d_model"]
) -> WeightProduct:
    """What `left @ right` does, from matrices no larger than d_head: W_Q with W_K transposed, or W_V with W_O.

    Singular values are those of R_left R_right^T after a QR of each side; eigenvalues and trace are those of
    `right @ left`. O(d_model d_head^2) a head. `identity` and `cosine` are how Trockman & Kolter (2023), Mimetic
    Initialization of Self-Attention Layers, saw W_Q W_K^T near the identity and W_V W_O near its negative.
    """
    _check_factors(left, right)
    left, right = precise(left), precise(right)
    if not (left.isfinite().all() and right.isfinite().all()):
        raise BadInput("A product of weights needs finite numbers: there is NaN or infinity in these.")
    small = left @ right if left.shape[-1] > left.shape[-2] else right @ left  # (*heads, core, core)
    one, two = (torch.linalg.qr(side, mode="r").R for side in (left, right.mT))
    values = torch.linalg.eigvals(small)
    order = values.abs().argsort(dim=-1, descending=True, stable=True)
    return WeightProduct(
        singular_values=torch.linalg.svdvals(one @ two.mT),
        eigenvalues=values.gather(-1, order),
        trace=small.diagonal(dim1=-2, dim2=-1).sum(-1),
        d_model=left.shape[-2],
    )


def effective_rank(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """How many directions a matrix really uses: exp of the entropy of its singular values, made to sum to one.

    The rank itself where all that are not zero are equal, and 1 where one outweighs all; NaN for a matrix of zeros.
    Roy & Vetterli (2007), The Effective Rank: a Measure of Effective Dimensionality.
    """
    values = precise(singular_values)
    return torch.special.entr(values / values.sum(-1, keepdim=True)).sum(-1).exp()


def identity_cosine(
    left: Float[Tensor, "*layers d_model inner"], right: Float[Tensor, "*layers inner d_model"]
) -> Float[Tensor, "*layers"]:
    """Cosine of `left @ right` with the identity, of all heads of a layer at once: -1 to 1, no spectrum needed.

    Put the heads side by side in `inner`: W_V and W_O of a whole layer, as Trockman & Kolter (2023) plot them. NaN
    where the product is zero. O(d_model inner^2).
    """
    _check_factors(left, right)
    left, right = precise(left), precise(right)
    trace = (left * right.mT).sum((-2, -1))
    square = ((left.mT @ left) * (right @ right.mT)).sum((-2, -1))  # ||left @ right||^2
    return (trace / (square.clamp(min=0) * left.shape[-2]).sqrt()).clamp(-1, 1)


def entry_correlation(a: Float[Tensor, "*heads row column"], b: Float[Tensor, "*heads row column"]) -> Tensor:
    """How alike two matrices are entry by entry: Pearson's correlation (*heads), -1 to 1; NaN where one is constant.

    Near 1 for W_Q and W_K, a head gives each token a query like its own key and looks at itself: Yeh et al. (2023),
    AttentionViz, found about 0.94 in such heads of ViT-B/32. It depends on the basis inside the head.
    """
    for one in (a, b):
        need_axes("Matrices", one, "row column")
    if a.shape != b.shape:
        raise BadInput(f"Entries are compared one by one: {tuple(a.shape)} and {tuple(b.shape)} differ.")
    x, y = ((one - one.mean((-2, -1), keepdim=True)) for one in (precise(a), precise(b)))
    size = (x.square().sum((-2, -1)) * y.square().sum((-2, -1))).sqrt()
    constant = (a == a[..., :1, :1]).all(-1).all(-1) | (b == b[..., :1, :1]).all(-1).all(-1)
    return ((x * y).sum((-2, -1)) / size).clamp(-1, 1).masked_fill(constant, torch.nan)


def fold_norm(
    weight: Float[Tensor, "*heads d_model d_head"], scale: Float[Tensor, "d_model"], *, centred: bool
) -> Float[Tensor, "*heads d_model d_head"]:
    """A map with the norm before it in it: rows times the norm's weight, and nothing read from the mean if `centred`.

    What is left of the norm, the division by a token's own size, is no linear map. A norm's bias adds a constant
    query or key, which no product of weights shows.
    """
    need_axes("Weights of heads", weight, "d_model d_head")
    if scale.shape != weight.shape[-2:-1]:
        raise BadInput(f"A norm scales each of {weight.shape[-2]} numbers of the stream, not {tuple(scale.shape)}.")
    folded = precise(weight) * precise(scale)[:, None]
    return folded - folded.mean(-2, keepdim=True) if centred else folded


def product_picture(
    left: Float[Tensor, "*heads d_model d_head"], right: Float[Tensor, "*heads d_head d_model"], size: int
) -> Float[Tensor, "*heads row column"]:
    """`left @ right` on at most size by size pixels, each the mean of its block; exact, and never made in full.

    The mean of a block of a product is the product of the means of its rows and columns, so those are taken first.
    """
    _check_factors(left, right)
    need_whole("size", size)
    if size < 1:
        raise BadInput(f"A picture needs at least one pixel, not {size}.")
    size = min(size, left.shape[-2])
    edges = [left.shape[-2] * i // size for i in range(size + 1)]
    counts = [high - low for low, high in zip(edges, edges[1:], strict=False)]
    return _means(precise(left), counts) @ _means(precise(right).mT, counts).mT


def _check_factors(left: Tensor, right: Tensor) -> None:
    for factor in (left, right):
        need_axes("Factors of a product", factor, "row column")
    if left.shape[-2] != right.shape[-1] or left.shape[-1] != right.shape[-2]:
        raise BadInput(
            "A product needs (d_model, d_head) and (d_head, d_model): "
            f"{tuple(left.shape[-2:])} and {tuple(right.shape[-2:])} do not fit. Is a transpose missing?"
        )
    if left.shape[:-2] != right.shape[:-2]:
        raise BadInput(
            f"Both factors are of the same heads: {tuple(left.shape)} and {tuple(right.shape)} are not. Repeat the "
            "weights of grouped heads with `repeat_kv`."
        )


def _means(rows: Tensor, counts: list[int]) -> Tensor:
    return torch.stack([block.mean(-2) for block in rows.split(counts, dim=-2)], -2)
