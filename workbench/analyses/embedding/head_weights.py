"""The weights of one layer's heads, a row a query head, and what has to be said about products of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import Norm

PARTS = {"queries": "q", "keys": "k", "values": "v", "outputs": "o"}
"""What a head's weights make or write, and the name of the matrix."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadWeights:
    """W_Q, W_K, W_V and W_O of every query head of a layer; those of a shared kv head stand under each of its heads."""

    q: Float[Tensor, "head d_model d_head"]
    k: Float[Tensor, "head d_model d_head"]
    v: Float[Tensor, "head d_model d_head"]
    o: Float[Tensor, "head d_head d_model"]
    biased: bool
    """Whether queries or keys have a bias as well, which no product shows."""

    def product(self, of: str) -> tuple[Tensor, Tensor]:
        """The two factors of W_Q W_K^T ("qk") or of W_V W_O ("vo")."""
        return (self.q, self.k.mT) if of == "qk" else (self.v, self.o)


@torch.no_grad()
def head_weights(model: LensModel, attention: str | None, layer: int, *, fold_norm: bool = False) -> HeadWeights:
    """A layer's weights in float32 or better; `fold_norm` multiplies in the norm before the attention."""
    (q, b_q), (k, b_k) = model.query_map(attention, layer), model.key_map(attention, layer)
    (v, _), (o, _) = model.value_map(attention, layer), model.output_map(attention, layer)
    q, k, v = (precise(w.transpose(0, 1)) for w in (q, k, v))
    if fold_norm:
        asks, reads = _norms(model, attention, layer)
        q, k, v = _folded(q, asks), _folded(k, reads), _folded(v, reads)
    n_heads = len(q)
    k, v = (functional.repeat_kv(w, n_heads, dim=0) for w in (k, v))
    return HeadWeights(q=q, k=k, v=v, o=precise(o), biased=bool(b_q.any() or b_k.any()))


def foldable(model: LensModel, attention: str | None) -> bool:
    """Whether there is a norm between the stream and the attention: not in post-norm families."""
    return model.attention(attention)[0].row.order != "post"


def _norms(model: LensModel, attention: str | None, layer: int) -> tuple[Norm | None, Norm | None]:
    """The norms before what asks and before what is read, which differ in cross-attention."""
    stack, short = model.attention(attention)
    if not foldable(model, attention):
        raise BadInput(
            f"{model.name} has its norms after each sum: its heads read the stream as it is, and there is no norm to "
            "fold. Run it without fold_norm."
        )
    norms = model.norms(layer, stack.prefix)
    if short != "cross_attn":
        return norms["norm1"], norms["norm1"]
    memory = model.stacks[model.stacks.index(stack) - 1]
    return norms["norm_cross"], model.last_norm(memory.prefix)


def _folded(weight: Tensor, norm: Norm | None) -> Tensor:
    return weight if norm is None else functional.fold_norm(weight, norm.weight, centred=norm.centred)


def caveats(model: LensModel, attention: str | None, *, biased: bool) -> tuple[str, ...]:
    """What products of this model's weights do not say."""
    stack, short = model.attention(attention)
    sizes, longest = stack.sizes, model.n_ctx
    said = []
    if longest is None or sizes.d_head < longest:
        places = "as many positions as it is given" if longest is None else f"up to {longest} positions"
        said.append(
            f"Scores of a head have rank {sizes.d_head} at most (d_head) and the model reads {places}: over more than "
            f"{sizes.d_head} a head cannot have every pattern (Bhojanapalli et al. 2020)."
        )
    if stack.row.attention[short].rotary:
        said.append(
            "Rotary embedding turns queries and keys by their positions: the product is what two tokens at the same "
            "position have, distance 0."
        )
    if model.normed_queries(attention):
        said.append("Queries and keys go through norms of their own: scores follow the product's directions only.")
    if biased:
        said.append("Queries or keys also have a bias, which the product leaves out.")
    if sizes.n_kv_heads < sizes.n_heads:
        shared = sizes.n_heads // sizes.n_kv_heads
        said.append(f"Each {shared} heads share keys and values.")
    if "attn_out" not in model.capabilities and stack.row.order != "post":
        said.append("What the heads write may go through a norm before it joins the stream; W_O is taken without it.")
    return tuple(said)
