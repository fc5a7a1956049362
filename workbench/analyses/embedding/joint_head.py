"""Joint QK: one head's queries and keys over many inputs, placed in one space so that nearness is attention."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.embedding.asked import (
    CorpusOf,
    Inputs,
    Method,
    Neighbours,
    Perplexity,
    PointCount,
    SampleSeed,
    Store,
    Translate,
)
from workbench.analyses.embedding.gathered import Gathered, gathered
from workbench.analyses.embedding.own_scores import score_correlations
from workbench.analyses.embedding.points import Points, points_of
from workbench.errors import BadInput, MissingCapability
from workbench.functional.joint_embedding import DISTANCES, STAGES, STATISTICS
from workbench.models.lens_model import LensModel
from workbench.registry import AttentionName, Head, Layer, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go

MOST_PAIRS = 20_000
N_STRONGEST = 3
"""Most attended keys kept for each query."""


@dataclass(frozen=True, eq=False, kw_only=True)
class JointHead(Points, Result, kind="joint-qk"):
    """One head's queries and keys, aligned and placed; a point for each query, then one for each key."""

    layer: int
    head: int
    kv_head: int
    """Whose keys these are: several query heads share one under grouped queries."""
    method: str
    coordinates: Float[Tensor, "point dim"]
    vectors: Float[Tensor, "point d_head"]
    """Aligned queries and keys, in which distances are measured."""
    norms: Float[Tensor, "point"]
    """Lengths as the model has them, before alignment."""
    value_norms: Float[Tensor, "point"]
    """How much the head adds to the stream for attending to this row, ||v W_O||; NaN where that is not known."""
    translation: Float[Tensor, "d_head"]
    """Added to every key; no softmax sees it."""
    scale: float
    """Queries are multiplied by it, keys divided."""
    correlations: Float[Tensor, "stage distance statistic"]
    """Of distance with dot product over `n_pairs` pairs; -1 would be perfect, NaN undefined. Stages: before,
    translated, aligned; distances: cosine, euclidean; statistics: spearman, pearson."""
    score_correlations: Float[Tensor, "stage distance statistic"] | None
    """The same with the model's own scores, where these are more than a multiple of the dot product (ALiBi, relative
    positions)."""
    score_pairs: int
    """Pairs in these, of the first inputs alone; 0 where there are none."""
    n_pairs: int
    dropped: int
    """Pairs left out because a query or a key has no length, and so no direction."""
    trustworthiness: float
    """How far neighbours in the picture are neighbours in the full space: 1 all, 0.5 by chance."""
    preservation: float
    """Share of the nearest neighbours in the full space that are neighbours in the picture."""
    explained: float
    """Share of the variance that the picture holds; NaN where the method is not PCA."""
    strongest: Int[Tensor, "query k"]
    """Points of the keys that each query attends to most, strongest first; -1 where there are fewer."""
    strongest_weights: Float[Tensor, "query k"]
    """How much: attention, 0 to 1."""
    notes: tuple[str, ...]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each point."""
        import pandas as pd

        names, traits = ("x", "y", "z")[: self.coordinates.shape[1]], {}
        for name, values in zip(self.trait_names, self.traits.T, strict=True):
            traits |= counted(name, values)
        return pd.DataFrame(
            {
                "point": range(len(self.is_key)),
                "kind": ["key" if key else "query" for key in self.is_key.tolist()],
                "input": self.input.numpy(),
                "position": self.position.numpy(),
                "token": self.labels,
                "tag": self.tags,
                "group": [self.groups[i] for i in self.input.tolist()],
                **{name: self.coordinates[:, i].numpy() for i, name in enumerate(names)},
                "norm": self.norms.numpy(),
                **counted("value_norm", self.value_norms),
                **{
                    k: v for i, name in enumerate(self.trait_names) for k, v in counted(name, self.traits[:, i]).items()
                },
            }
        )

    def correlation_frame(self) -> "pd.DataFrame":
        """One row for each stage, distance and statistic."""
        tables = {"dot product": (self.correlations, self.n_pairs - self.dropped)}
        if self.score_correlations is not None:
            tables["score"] = (self.score_correlations, self.score_pairs)
        return correlation_table(tables)

    def figure(self, *, colour: str = "query or key", modulo: int = 5) -> "go.Figure":
        """The scatter, coloured by anything that is known of the points."""
        from workbench.analyses.embedding.colourings import chosen

        one = chosen(self, colour, modulo)
        values = self.norms.double().numpy() if one.values is None else one.values
        frame = self.to_frame().assign(colour=values)
        return plots.joint_scatter(
            frame,
            colour="colour",
            kind=one.kind,
            categories=one.categories,
            name=one.name,
            title=f"{self.attention}, layer {self.layer}, head {self.head}: queries and keys, {self.method}",
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How good the embedding is, in a sentence, and the table of correlations."""
        before, _, aligned = self.correlations[:, 0, 0].tolist()
        said = (
            f"Layer {self.layer}, head {self.head}: {len(self.is_key)} points of {len(self.texts)} inputs. Spearman of "
            f"cosine distance with q.k: {before:.2f} before, {aligned:.2f} aligned (-1 is perfect; {self.n_pairs} "
            f"pairs). The {self.method} picture: trustworthiness {self.trustworthiness:.2f}, "
            f"{self.preservation:.0%} of neighbours kept."
        )
        return "  \n".join((said, *self.notes)), self.correlation_frame()


def counted(name: str, values: Float[Tensor, "point"]) -> "dict[str, np.ndarray]":
    """A column, and where some of it is undefined a second one that says which is known, 1 or 0."""
    known = ~values.isnan()
    column = {name: values.numpy()}
    return column if known.all() else column | {f"{name}_known": known.long().numpy()}


def correlation_table(tables: "Mapping[str, tuple[Tensor, int]]") -> "pd.DataFrame":
    """Correlations with one thing and another, and over how many pairs, as a tidy frame."""
    import pandas as pd

    rows = [
        {
            "stage": stage,
            "distance": distance,
            "statistic": statistic,
            "with": what,
            "correlation": table[s, d, t].item(),
            "pairs": 0 if table[s, d, t].isnan() else n_pairs,
        }
        for what, (table, n_pairs) in tables.items()
        for s, stage in enumerate(STAGES)
        for d, distance in enumerate(DISTANCES)
        for t, statistic in enumerate(STATISTICS)
    ]
    return pd.DataFrame(rows)


@analysis("joint-qk", needs={"qk", "pattern"}, title="Joint QK")
@torch.no_grad()
def joint_qk(
    model: LensModel,
    texts: CorpusOf = "example",
    *,
    layer: Annotated[Layer, "Layer of the head"] = 0,
    head: Annotated[Head, "Which head of the layer"] = 0,
    attention: Annotated[AttentionName, "Which attention, where there are several"] = None,
    method: Annotated[Method, "How the picture is made: pca, tsne (slow) or umap"] = "pca",
    dims: Annotated[int, Within(2, 3), "Dimensions of the picture"] = 2,
    distance: Annotated[Literal["cosine", "euclidean"], "Distance that tsne and umap keep"] = "cosine",
    translate: Translate = True,
    inputs: Inputs = 200,
    points: PointCount = 2000,
    neighbours: Neighbours = 15,
    perplexity: Perplexity = 30.0,
    seed: SampleSeed = 0,
    store: Store = None,
) -> JointHead:
    """One head's queries and keys of many inputs in one picture, in which near means attended to.

    Queries and keys mostly lie apart. Two moves that attention does not see bring them together: a vector added to all
    keys, and queries multiplied by a number that keys are divided by (AttentionViz, Yeh et al. 2023, arXiv 2305.03210).
    `correlations` say how well distance then stands for the dot product over pairs that can attend to each other, and
    trustworthiness and preservation how well the picture keeps distances: trust neither picture nor distance without
    them. Queries and keys are those that meet: after rotary embedding where there is one. PCA takes milliseconds, UMAP
    and t-SNE seconds to minutes; a forward pass over the inputs comes first, unless `store` holds it.
    """
    found = gathered(
        model, texts, attention=attention, layers=[layer], inputs=inputs, points=points, seed=seed, store=store
    )
    sizes = model.attention(found.attention)[0].sizes
    if layer >= sizes.n_blocks or head >= sizes.n_heads:
        raise BadInput(f"{found.attention} has {sizes.n_blocks} layers of {sizes.n_heads} heads: no {layer}, {head}.")
    kv_head = head // (sizes.n_heads // sizes.n_kv_heads)
    q, k = found.queries(layer)[:, head], found.keys(layer)[:, kv_head]
    if not bool(q.isfinite().all() and k.isfinite().all()):
        raise BadInput(f"Layer {layer}, head {head} has queries or keys that are not finite; nothing can be placed.")
    pairs = found.pairs(most=MOST_PAIRS, seed=seed)
    joined = functional.joint_qk(q, k, pairs, translate=translate, seed=seed)
    vectors = torch.cat([joined.queries, joined.keys])
    placed = functional.project(
        vectors, method, dims=dims, seed=seed, metric=distance, perplexity=perplexity, n_neighbors=neighbours
    )
    near = min(neighbours, (len(vectors) - 1) // 2)
    quality = functional.picture_quality(vectors, placed.coordinates, near, seed=seed, metric=distance)
    strongest, weights = _strongest(found, layer, head)
    scores = score_correlations(found, layer, head, q, k, joined, seed=seed)
    placeable = not alike(vectors)  # or there are no neighbours that a picture could keep
    notes = (*_notes(q, k), *filter(None, [found.note]))
    return JointHead(
        **vars(points_of(found)),
        layer=layer,
        head=head,
        kv_head=kv_head,
        method=method,
        coordinates=placed.coordinates.cpu(),
        vectors=vectors.cpu(),
        norms=torch.cat([q.norm(dim=-1), k.norm(dim=-1)]).cpu(),
        value_norms=_value_norms(found, found.values(layer)[:, kv_head], layer, head),
        translation=joined.translation.cpu(),
        scale=float(joined.scale),
        correlations=joined.correlations.float().cpu(),
        score_correlations=None if scores is None else scores[0],
        score_pairs=0 if scores is None else scores[1],
        n_pairs=joined.n_pairs,
        dropped=int(joined.dropped),
        trustworthiness=float(quality.trustworthiness) if placeable else float("nan"),
        preservation=float(quality.preservation) if placeable else float("nan"),
        explained=float("nan") if placed.explained is None else float(placed.explained),
        strongest=strongest,
        strongest_weights=weights,
        notes=notes,
    )


def _strongest(found: Gathered, layer: int, head: int) -> tuple[Int[Tensor, "query k"], Float[Tensor, "query k"]]:
    """The most attended keys of each query, as points, and how much they are attended to."""
    n_queries = len(found.rows)
    points = torch.full((n_queries, N_STRONGEST), -1)
    weights = torch.zeros(n_queries, N_STRONGEST)
    at = at_key = 0
    for _, pattern in found.patterns(layer):
        own = pattern[head].float().cpu()
        top = own.topk(min(N_STRONGEST, own.shape[1]), dim=-1)
        rows = slice(at, at + len(own))
        points[rows, : top.indices.shape[1]] = torch.where(top.values > 0, top.indices + at_key + n_queries, -1)
        weights[rows, : top.values.shape[1]] = top.values
        at, at_key = at + own.shape[0], at_key + own.shape[1]
    return points, weights


def _value_norms(found: Gathered, values: Float[Tensor, "key d_head"], layer: int, head: int) -> Float[Tensor, "point"]:
    unknown = torch.full((len(found.rows),), torch.nan)
    try:
        w_o, _ = found.model.output_map(found.attention, layer)
    except MissingCapability:
        return torch.cat([unknown, torch.full((len(found.key_rows),), torch.nan)])
    norms = (values @ w_o[head].to(values)).norm(dim=-1).cpu()
    return torch.cat([unknown if found.crossed else norms, norms])


def _notes(q: Float[Tensor, "query d_head"], k: Float[Tensor, "key d_head"]) -> tuple[str, ...]:
    notes = []
    for name, x in (("queries", q), ("keys", k)):
        if alike(x):
            notes.append(f"All {name} of this head are the same vector: its correlations say nothing.")
    return tuple(notes)


def alike(x: Float[Tensor, "row d_head"]) -> bool:
    """Whether all vectors are one, up to rounding."""
    return float((x - x[:1]).abs().max()) <= 1e-6 * float(x.abs().max())
