"""Joint QK of all heads: every head's queries and keys in a small picture, with the numbers heads are sorted by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float, Float16, Int
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
from workbench.analyses.embedding.attention_habits import habits
from workbench.analyses.embedding.gathered import gathered
from workbench.analyses.embedding.head_scores import columns, head_scores, known_of
from workbench.analyses.embedding.joint_head import MOST_PAIRS, alike
from workbench.analyses.embedding.pictures import Pictures
from workbench.analyses.embedding.points import Points, points_of
from workbench.errors import UnknownName
from workbench.functional import JointQK
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import AttentionName, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class JointMatrix(Points, Result, kind="joint-qk-matrix"):
    """All heads' queries and keys, each head aligned and placed on its own."""

    n_kv_heads: int
    method: str
    coordinates: Float16[Tensor, "layer head point dim"]
    """Half precision: for pictures. NaN in heads that are skipped."""
    norms: Float[Tensor, "layer head point"]
    """Lengths as the model has them, before alignment."""
    scale: Float[Tensor, "layer head"]
    correlations: Float[Tensor, "layer head stage distance statistic"]
    """Of distance with dot product; see `JointHead`."""
    n_pairs: int
    scores: Float[Tensor, "layer head score"]
    counts: Int[Tensor, "layer head score"]
    """Over how many rows, pairs or points each score was taken."""
    score_names: tuple[str, ...]
    quality: Float[Tensor, "layer head 2"]
    """Trustworthiness, and share of neighbours kept, of each picture."""
    skipped: tuple[tuple[int, int, str], ...]
    """(layer, head, why) of heads that have nothing to place."""
    modulo: int
    notes: tuple[str, ...]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer, head and score."""
        import pandas as pd

        layers, heads, _ = self.scores.shape
        index = pd.MultiIndex.from_product([range(layers), range(heads), self.score_names])
        frame = index.to_frame(index=False, name=["layer", "head", "score"])
        frame.insert(2, "kv_head", frame["head"] // (heads // self.n_kv_heads))
        return frame.assign(value=self.scores.flatten().numpy(), count=self.counts.flatten().numpy())

    def score(self, name: str) -> Float[Tensor, "layer head"]:
        """One number a head; an unknown name is an error that says which there are."""
        if name not in self.score_names:
            raise UnknownName("score", name, self.score_names)
        return self.scores[..., self.score_names.index(name)]

    def figure(self, *, of: str = "correlation") -> "go.Figure":
        """One number of every head, layers down and heads across."""
        self.score(of)
        frame = self.to_frame()
        shown: Any = frame[frame["score"] == of]
        signed = of in ("correlation", "before", "translated", "norm gap")
        return plots.heatmap(
            shown,
            x="head",
            y="layer",
            value="value",
            center=0.0 if signed else None,
            title=f"{self.attention}: {of}, {len(self.is_key)} points of {len(self.texts)} inputs",
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The mean correlation over heads, which are skipped, and a row a head."""
        stages = self.correlations[..., 0, 0].flatten(0, 1).nanmean(0).tolist()
        said = (
            f"Spearman of cosine distance with q.k, mean over heads: {stages[0]:.3f} before, {stages[1]:.3f} "
            f"translated, {stages[2]:.3f} aligned; {self.n_pairs} pairs of {len(self.texts)} inputs."
        )
        why = [f"Layer {layer}, head {head} is skipped: {why}" for layer, head, why in self.skipped]
        wide = self.to_frame().pivot(index=["layer", "head"], columns="score", values="value")
        return "  \n".join((said, *why, *self.notes)), wide[list(self.score_names)].reset_index()


@analysis("joint-qk-matrix", needs={"qk", "pattern"}, title="Joint QK of all heads")
@torch.no_grad()
def joint_qk_matrix(
    model: LensModel,
    texts: CorpusOf = "example",
    *,
    attention: Annotated[AttentionName, "Which attention, where there are several"] = None,
    method: Annotated[Method, "How pictures are made: pca, tsne or umap (both slow: a head at a time)"] = "pca",
    shared: Annotated[bool, "One projection for all heads, instead of one each"] = False,
    modulo: Annotated[int, Within(2, 100), "Positions are also grouped modulo this number"] = 5,
    translate: Translate = True,
    inputs: Inputs = 200,
    points: PointCount = 2000,
    neighbours: Neighbours = 15,
    perplexity: Perplexity = 30.0,
    seed: SampleSeed = 0,
    store: Store = None,
) -> JointMatrix:
    """Every head's queries and keys in a small picture, aligned head by head, with scores to sort heads by.

    Alignment and `correlation` as in joint-qk (AttentionViz, Yeh et al. 2023, arXiv 2305.03210). Scores: norm gap (mean
    query length minus mean key length), attention on the first, previous and own token, on earlier copies of the same
    token and on what followed them (induction), how far position curls through a plane (spiral), and how much of the
    spread lies between groups of points (cluster: token, position and whatever else is known), 0 by chance.
    Cost: one forward pass over the inputs, and about 30 ms a head; memory for one layer at a time.
    """
    found = gathered(model, texts, attention=attention, inputs=inputs, points=points, seed=seed, store=store)
    stack, _ = model.attention(found.attention)
    points_known = points_of(found)
    pairs = found.pairs(most=MOST_PAIRS, seed=seed)
    known = known_of(points_known, modulo)
    pictures = Pictures(method=method, shared=shared, seed=seed, perplexity=perplexity, neighbours=neighbours)
    layers: list[tuple[Tensor, Tensor, Tensor, JointQK]] = []
    skipped: list[tuple[int, int, str]] = []
    names: tuple[str, ...] = ()
    for number in track(range(stack.n_blocks), label="layers placed"):
        q = found.queries(number).transpose(0, 1)  # (head, query, d_head)
        k = functional.repeat_kv(found.keys(number).transpose(0, 1), len(q), dim=0)
        unusable = dict(_unusable(q, k))
        skipped += [(number, head, why) for head, why in unusable.items()]
        q, k = (x.where(x.isfinite().flatten(1).all(1)[:, None, None], 0.0) for x in (q, k))
        joined = functional.joint_qk(q, k, pairs, translate=translate, seed=seed)
        pictures.add(torch.cat([joined.queries, joined.keys], 1), [h for h in range(len(q)) if h not in unusable])
        scores = head_scores(q, k, joined, known) | habits(found, number)
        names = tuple(scores)
        values, counts = columns(scores)
        broken = [head for head, why in unusable.items() if "finite" in why]
        values[broken], counts[broken] = torch.nan, 0
        layers.append((values, counts, torch.cat([q.norm(dim=-1), k.norm(dim=-1)], 1), joined))
    coordinates, quality = pictures.done(stack.sizes.n_heads)
    return JointMatrix(
        **vars(points_known),
        scores=torch.stack([values for values, *_ in layers]).cpu(),
        counts=torch.stack([counts for _, counts, *_ in layers]).cpu(),
        norms=torch.stack([norms for *_, norms, _ in layers]).cpu(),
        scale=torch.stack([joined.scale for *_, joined in layers]).cpu(),
        correlations=torch.stack([joined.correlations for *_, joined in layers]).float().cpu(),
        n_kv_heads=stack.sizes.n_kv_heads,
        method=method,
        coordinates=coordinates,
        quality=quality,
        n_pairs=layers[0][-1].n_pairs,
        score_names=names,
        skipped=tuple(skipped),
        modulo=modulo,
        notes=tuple(filter(None, [found.note])),
    )


def _unusable(q: Float[Tensor, "head query d_head"], k: Float[Tensor, "head key d_head"]) -> Iterator[tuple[int, str]]:
    """Heads with nothing to place, and why."""
    for head in range(len(q)):
        for name, x in (("queries", q[head]), ("keys", k[head])):
            if not bool(x.isfinite().all()):
                yield head, f"its {name} are not finite"
                break
            if alike(x):
                yield head, f"all its {name} are the same vector"
                break
