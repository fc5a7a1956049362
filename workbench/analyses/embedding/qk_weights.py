"""QK weights: what W_Q W_K^T and W_V W_O of every head do, from the weights alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.embedding.head_weights import caveats, head_weights
from workbench.errors import BadInput, UnknownName
from workbench.functional import WeightProduct
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import AttentionName, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

PRODUCTS = {"qk": "W_Q W_K^T", "vo": "W_V W_O"}
SCORES = {
    "identity": "closeness to the identity: trace over the sum of singular values, -1 (its negative) to 1",
    "cosine": "cosine with the identity matrix, at most sqrt(d_head / d_model) in size",
    "effective_rank": "directions really used: exp of the entropy of the singular values",
    "effective_share": "effective rank as a share of d_head",
    "positive": "share of the eigenvalues above zero",
    "eigenvalue_sign": "sum of the eigenvalues over the sum of their sizes, -1 to 1",
    "size": "length of the product: root of the sum of its squared entries",
    "correlation": "correlation of the entries of the two matrices: W_Q with W_K, W_V with W_O transposed",
}
"""What is known of each product of each head."""
SIGNED = frozenset({"identity", "cosine", "eigenvalue_sign", "correlation"})
_CONTROLS = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class QKWeights(Result, kind="qk-weights"):
    """The two products of each head as numbers; NaN where a product is zero, whose rank is 0."""

    attention: str
    scores: Float[Tensor, "layer head score"]
    score_names: tuple[str, ...]
    """`SCORES` of each product: "qk_identity", "vo_effective_rank" ..."""
    ranks: Int[Tensor, "layer head product"]
    """Singular values above rounding, of `PRODUCTS` in their order."""
    singular_values: Float[Tensor, "layer head product rank"]
    """Largest first, in units of the product."""
    eigenvalues: Float[Tensor, "layer head product rank part"]
    """Real and imaginary parts of those that can be other than zero, largest first."""
    layer_cosine: Float[Tensor, "layer"]
    """Cosine with the identity of W_V W_O of a whole layer, all heads added up (Trockman & Kolter 2023)."""
    cosine_bound: float
    """The largest size that a head's cosine can have: sqrt(d_head / d_model)."""
    random_effective_rank: float
    """What weights of this shape that are drawn at random have: the mean of 16 heads."""
    random_spread: float
    """Standard deviation of `identity` over 16 such heads: how far from 0 chance goes."""
    n_kv_heads: int
    d_model: int
    d_head: int
    folded: bool
    """Whether the norm before the attention is in the weights."""
    notes: tuple[str, ...]

    def score(self, name: str) -> Float[Tensor, "layer head"]:
        """One number a head."""
        if name not in self.score_names:
            raise UnknownName("number of a head", name, self.score_names)
        return self.scores[..., self.score_names.index(name)]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each head."""
        import pandas as pd

        layers, heads, _ = self.scores.shape
        frame = pd.MultiIndex.from_product([range(layers), range(heads)]).to_frame(index=False, name=["layer", "head"])
        frame["kv_head"] = frame["head"] // (heads // self.n_kv_heads)
        for i, product in enumerate(PRODUCTS):
            frame[f"{product}_rank"] = self.ranks[..., i].flatten().numpy()
        return frame.assign(**{name: self.score(name).flatten().numpy() for name in self.score_names})

    def spectrum_frame(self, layer: int, head: int) -> "pd.DataFrame":
        """One row for each product and singular value of one head, beside the median over all heads.

        `value` is a share of the product's largest, so that products of different size lie in one picture.
        """
        import pandas as pd

        for what, number, count in zip(("layer", "head"), (layer, head), self.scores.shape, strict=False):
            if not 0 <= number < count:
                raise BadInput(f"There is no {what} {number}: there are {count}, 0 to {count - 1}.")
        largest = self.singular_values[..., :1]
        shares = (self.singular_values / largest).where(largest > 0, 0.0)  # (layer, head, product, rank)
        median = shares.flatten(0, 1).median(0).values
        rows = [
            {"product": name, "of": of, "line": f"{name}{note}", "number": n, "value": value}
            for i, name in enumerate(PRODUCTS.values())
            for of, note, values in (("head", "", shares[layer, head, i]), ("median", ", median head", median[i]))
            for n, value in enumerate(values.tolist())
        ]
        return pd.DataFrame(rows)

    def spectrum_figure(self, layer: int, head: int) -> "go.Figure":
        """The singular values of one head's products, as shares of the largest."""
        frame = self.spectrum_frame(layer, head)
        title = f"layer {layer}, head {head}: singular values, as shares of the largest"
        return plots.lines(frame, x="number", y="value", color="line", title=title, markers=False)

    def figure(self, *, of: str = "qk_identity") -> "go.Figure":
        """One number of every head, layers up and heads across."""
        numbers = (*self.score_names, *(f"{product}_rank" for product in PRODUCTS))
        if of not in numbers:
            raise UnknownName("number of a head", of, numbers)
        signed = of.partition("_")[2] in SIGNED
        return plots.heatmap(
            self.to_frame(),
            x="head",
            y="layer",
            value=of,
            center=0.0 if signed else None,
            hover=("kv_head", f"{of.partition('_')[0]}_rank"),
            title=f"{self.attention}: {of.replace('_', ' ')}",
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """Means over heads, what to keep in mind, and a row a head."""
        frame = self.to_frame()
        said = [
            f"{name}: closeness to the identity {frame[f'{p}_identity'].mean():+.3f}, effective rank "
            f"{frame[f'{p}_effective_rank'].mean():.1f} of {self.singular_values.shape[-1]} (random weights: "
            f"{self.random_effective_rank:.1f}), mean over heads."
            for p, name in PRODUCTS.items()
        ]
        columns = [
            f"{p}_{name}" for p in PRODUCTS for name in ("identity", "effective_rank", "positive", "correlation")
        ]
        return "  \n".join((*said, *self.notes)), frame.filter(["layer", "head", *columns])


@analysis("qk-weights", needs={"qk-maps"}, title="QK weights")
@torch.no_grad()
def qk_weights(
    model: LensModel,
    *,
    attention: Annotated[AttentionName, "Which attention, where there are several"] = None,
    fold_norm: Annotated[
        bool, "Multiply in the weights of the norm before the attention, and leave out the mean"
    ] = False,
) -> QKWeights:
    """What each head's W_Q W_K^T and W_V W_O do, from the weights alone: spectrum, rank, closeness to the identity.

    A head whose W_Q W_K^T is near the identity looks for tokens like its own; near its negative, for unlike ones. A
    head whose W_V W_O is near the identity copies, near its negative erases: trained vision transformers have the
    first and the last (Trockman & Kolter 2023, Mimetic Initialization). Correlated entries of W_Q and W_K mark heads
    that look at themselves (Yeh et al. 2023, AttentionViz). Effective rank by Roy & Vetterli (2007). No forward pass;
    products are taken at the size of d_head. About 10 ms a head of 64.
    """
    stack, short = model.attention(attention)
    name, sizes = f"{stack.prefix}.{short}", stack.sizes
    found: list[tuple[WeightProduct, WeightProduct]] = []
    correlations, cosines, biased = [], [], False
    for layer in track(range(sizes.n_blocks), label="layers"):
        weights = head_weights(model, name, layer, fold_norm=fold_norm)
        found.append(
            (functional.weight_product(*weights.product("qk")), functional.weight_product(*weights.product("vo")))
        )
        pairs = ((weights.q, weights.k), (weights.v, weights.o.mT))
        correlations.append(torch.stack([functional.entry_correlation(*pair) for pair in pairs], -1))
        cosines.append(functional.identity_cosine(weights.v.transpose(0, 1).flatten(1), weights.o.flatten(0, 1)))
        biased = biased or weights.biased
    scores = torch.stack([_scores(pair, correlation) for pair, correlation in zip(found, correlations, strict=True)])
    random = _random(sizes.d_model, sizes.d_head)
    names = tuple(f"{product}_{score}" for product in PRODUCTS for score in SCORES)
    notes = caveats(model, name, biased=biased)
    undefined = int(scores.isnan().any(-1).sum())
    if undefined:
        notes += (
            f"{undefined} heads have a product of zero, or constant weights: what is not defined for them is NaN.",
        )
    return QKWeights(
        attention=name,
        scores=scores.cpu(),
        score_names=names,
        ranks=torch.stack([torch.stack([one.rank for one in pair], -1) for pair in found]).cpu(),
        singular_values=torch.stack([torch.stack([one.singular_values for one in pair], 1) for pair in found]).cpu(),
        eigenvalues=torch.stack(
            [torch.stack([torch.view_as_real(one.eigenvalues) for one in pair], 1) for pair in found]
        ).cpu(),
        layer_cosine=torch.stack(cosines).cpu(),
        cosine_bound=found[0][0].cosine_bound,
        random_effective_rank=random.effective_rank.mean().item(),
        random_spread=random.identity.std().item(),
        n_kv_heads=sizes.n_kv_heads,
        d_model=sizes.d_model,
        d_head=sizes.d_head,
        folded=fold_norm,
        notes=notes,
    )


def _scores(pair: tuple[WeightProduct, WeightProduct], correlation: Tensor) -> Float[Tensor, "head score"]:
    columns = []
    for product, entries in zip(pair, correlation.unbind(-1), strict=True):
        known = {"size": product.singular_values.norm(dim=-1), "correlation": entries}
        columns += [known[name] if name in known else getattr(product, name) for name in SCORES]
    return torch.stack(columns, -1)


def _random(d_model: int, d_head: int) -> WeightProduct:
    """Products of Gaussian weights of the same shape: what structure is compared with."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(_CONTROLS, d_model, d_head, generator=generator)
    return functional.weight_product(left, torch.randn(_CONTROLS, d_head, d_model, generator=generator))


def product_picture(
    model: LensModel,
    attention: str | None,
    layer: int,
    head: int,
    *,
    of: Literal["qk", "vo"] = "qk",
    fold_norm: bool = False,
    size: int = 128,
) -> Float[Tensor, "row column"]:
    """One head's product on at most size by size pixels, each the mean of its block of entries."""
    left, right = head_weights(model, attention, layer, fold_norm=fold_norm).product(of)
    if not 0 <= head < len(left):
        raise BadInput(f"There is no head {head}: there are {len(left)}, 0 to {len(left) - 1}.")
    return functional.product_picture(left[head], right[head], size).cpu()


def product_pictures(
    model: LensModel, attention: str | None, *, of: Literal["qk", "vo"] = "qk", fold_norm: bool = False, size: int = 24
) -> Float[Tensor, "layer head row column"]:
    """Every head's product on at most size by size pixels, for small pictures; see `product_picture`."""
    layers = track(range(model.attention(attention)[0].n_blocks), label="layers")
    each = (head_weights(model, attention, layer, fold_norm=fold_norm).product(of) for layer in layers)
    return torch.stack([functional.product_picture(*factors, size) for factors in each]).cpu()
