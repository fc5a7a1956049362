"""Similar heads: which heads look alike, or read and write alike, and a map of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.attention.attention import sides
from workbench.analyses.embedding.asked import CorpusOf
from workbench.analyses.embedding.gathered import cut_note, fitted
from workbench.analyses.embedding.head_weights import PARTS, head_weights
from workbench.analyses.one_prompt import one_prompt, real
from workbench.corpora import corpus
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import AttentionName, Layer, Seed, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

UNITS = {"patterns": "mean Jensen-Shannon divergence, nats"} | dict.fromkeys(PARTS, "subspace distance, 0 to 1")


@dataclass(frozen=True, eq=False, kw_only=True)
class SimilarHeads(Result, kind="similar-heads"):
    """How far each two heads are from each other; heads count through the layers that were asked for."""

    attention: str
    by: str
    """patterns, queries, keys, values or outputs."""
    layers: tuple[int, ...]
    n_heads: int
    n_kv_heads: int
    distances: Float[Tensor, "head other"]
    """patterns: mean Jensen-Shannon divergence of rows, in nats; else the root mean square sine of principal angles."""
    coordinates: Float[Tensor, "head dim"]
    """Classical scaling of `distances` (of their square root for patterns), which is Euclidean."""
    kept: float
    """Share of the squared distances that the map shows, 0 to 1."""
    stress: float
    """How wrong distances on the map are: Kruskal's stress-1, 0 is exact."""
    nearest: Int[Tensor, "head rank"]
    """The heads nearest to each, nearest first."""
    n_inputs: int
    """0 where weights alone are compared."""
    n_rows: int
    """Rows of attention that were compared."""
    notes: tuple[str, ...]

    def label(self, number: int) -> str:
        """LAYER.HEAD of a head counted through."""
        return f"{self.layers[number // self.n_heads]}.{number % self.n_heads}"

    def number(self, layer: int, head: int) -> int:
        """Where a head stands in `distances`."""
        if not 0 <= head < self.n_heads:
            raise BadInput(f"There is no head {head} in a layer: there are {self.n_heads}, 0 to {self.n_heads - 1}.")
        if layer not in self.layers:
            raise BadInput(f"Layer {layer} was not compared; layers {', '.join(map(str, self.layers))} were.")
        return self.layers.index(layer) * self.n_heads + head

    def to_frame(self) -> "pd.DataFrame":
        """One row for each head: its place on the map, the head nearest to it, and how far that and all others are."""
        import pandas as pd

        n = len(self.distances)
        first = self.nearest[:, 0].tolist()
        layer = [self.layers[i // self.n_heads] for i in range(n)]
        head = [i % self.n_heads for i in range(n)]
        return pd.DataFrame(
            {
                "layer": layer,
                "head": head,
                "kv_head": [h // (self.n_heads // self.n_kv_heads) for h in head],
                "x": self.coordinates[:, 0].numpy(),
                "y": self.coordinates[:, 1].numpy(),
                "nearest": [self.label(i) for i in first],
                "nearest_distance": self.distances[range(n), first].numpy(),
                "mean_distance": (self.distances.sum(1) / (n - 1)).numpy(),
            }
        )

    def pairs_frame(self) -> "pd.DataFrame":
        """One row for each two heads and their distance."""
        import pandas as pd

        a, b = torch.triu_indices(len(self.distances), len(self.distances), 1)
        names = [self.label(i) for i in range(len(self.distances))]
        return pd.DataFrame(
            {
                "head": [names[i] for i in a.tolist()],
                "other": [names[i] for i in b.tolist()],
                "distance": self.distances[a, b].numpy(),
            }
        )

    def figure(self) -> "go.Figure":
        """The map: heads that are alike lie near each other, coloured by layer."""
        frame = self.to_frame()
        frame["name"] = [self.label(i) for i in range(len(frame))]
        kept = f"{self.kept:.0%} of the squared distances, stress {self.stress:.2f}"
        return plots.scatter(
            frame,
            x="x",
            y="y",
            color="layer",
            label="name" if len(frame) <= 64 else None,
            hover=(*(() if len(frame) <= 64 else ("name",)), "nearest", "nearest_distance"),
            title=f"{self.attention}: heads by {self.by} ({kept})",
            same_scale=True,
        )

    def matrix_figure(self) -> "go.Figure":
        """All distances, heads in their order."""
        import pandas as pd

        n = len(self.distances)
        names = [self.label(i) for i in range(n)]
        frame = pd.MultiIndex.from_product([range(n), range(n)]).to_frame(index=False, name=["head", "other"])
        frame["distance"] = self.distances.flatten().numpy()
        frame["head_name"], frame["other_name"] = ([names[i] for i in frame[column]] for column in ("head", "other"))
        title = f"{self.attention}: {UNITS[self.by]}, by {self.by}"
        return plots.heatmap(
            frame, x="other", y="head", value="distance", x_labels="other_name", y_labels="head_name", title=title,
            y_down=True, square=True,
        )  # fmt: skip

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How much the map shows, and a row a head, those most like another first."""
        rows = f"{self.n_rows} rows of {self.n_inputs} inputs" if self.n_inputs else "weights alone"
        kept = f"The map keeps {self.kept:.0%} of the squared distances, stress {self.stress:.2f}."
        said = f"{UNITS[self.by]}; {rows}. {kept}"
        frame = self.to_frame().sort_values("nearest_distance", kind="stable", ignore_index=True)
        return "  \n".join((said, *self.notes)), frame


@analysis("similar-heads", needs={"pattern"}, title="Similar heads")
@torch.no_grad()
def similar_heads(
    model: LensModel,
    texts: CorpusOf = "example",
    *,
    by: Annotated[
        Literal["patterns", "queries", "keys", "values", "outputs"],
        "What is compared: where heads look, or the spaces that their weights read (W_Q, W_K, W_V) or write (W_O)",
    ] = "patterns",
    attention: Annotated[AttentionName, "Which attention; none: the encoder's where there are two stacks"] = None,
    layers: Annotated[tuple[Layer, ...], "Layers whose heads are compared; none: all"] = (),
    inputs: Annotated[int, Within(1, 10_000), "Inputs drawn from the corpus, for patterns"] = 16,
    rows: Annotated[int, Within(1, 4096), "Rows of attention compared in an input, drawn where it has more"] = 64,
    neighbours: Annotated[int, Within(1, 50), "Heads named as nearest to each"] = 5,
    seed: Annotated[Seed, "Seed of the draws"] = 0,
) -> SimilarHeads:
    """Which heads look at the same tokens, or read or write the same directions, and a map of them.

    By patterns: Jensen-Shannon divergence between two heads' rows of attention, mean over rows of all inputs (Clark et
    al. 2019, What Does BERT Look At?); the first row of causal attention, where there is no choice, is left out. Else:
    principal angles between the spaces of the weights, no input needed; heads that share keys or values are at 0.
    The map is classical scaling. One forward pass an input; then heads^2 times the entries of the rows.
    """
    if attention is None and model.main.side == "target":  # a corpus has no targets for a decoder to read
        attention = model.attentions[0]
    name, query_side, key_side = sides(model, attention)
    stack, _ = model.attention(name)
    chosen = tuple(sorted(set(layers))) or tuple(range(stack.n_blocks))
    if len(chosen) * stack.sizes.n_heads < 2:
        raise BadInput(f"{name} has one head in the layers asked for: it takes at least two to compare.")
    counted, notes = [0, 0], ()
    if by == "patterns":
        drawn = corpus(texts, reads=model.reads, limit=inputs, seed=seed)
        sites = [model.attention_sites(name, "pattern")[i] for i in chosen]
        read = fitted(model, drawn.inputs)
        found = _patterns(model, read, sites, (query_side, key_side), rows, seed, counted)
        names = [f"layer {layer}, head {head} of {name}" for layer in chosen for head in range(stack.sizes.n_heads)]
        distances = functional.pattern_divergence(found, precision=model.dtype, names=names)
        notes = tuple(filter(None, [drawn.note, cut_note(model, read, drawn.inputs)]))
    else:
        each = (getattr(head_weights(model, name, i), PARTS[by]) for i in track(chosen, label="layers"))
        weights = torch.cat([one.mT if by == "outputs" else one for one in each])
        distances = functional.subspace_distance(weights)
    distances = distances.float().cpu()
    placed = functional.mds(distances.sqrt() if by == "patterns" else distances)
    return SimilarHeads(
        attention=name,
        by=by,
        layers=chosen,
        n_heads=stack.sizes.n_heads,
        n_kv_heads=stack.sizes.n_kv_heads,
        distances=distances,
        coordinates=placed.coordinates,
        kept=placed.kept,
        stress=placed.stress,
        nearest=_nearest(distances, neighbours),
        n_inputs=counted[0],
        n_rows=counted[1],
        notes=notes,
    )


def _patterns(
    model: LensModel,
    texts: Sequence[Any],
    sites: Sequence[str],
    of_sides: tuple[str, str],
    most: int,
    seed: int,
    counted: list[int],
) -> Iterator[Float[Tensor, "head query key"]]:
    """All heads' rows on one input after another; counts inputs and rows as it goes."""
    generator = torch.Generator().manual_seed(seed)
    causal = model.stack_of(sites[0]).causal and of_sides[0] == of_sides[1]
    for text in track(texts, label="inputs"):
        batch = one_prompt(model, text)
        with reading(model, sites) as values:
            model.module(**batch)
        whole = torch.cat([precise(values[site][0]) for site in sites])  # (head, query, key)
        whole = real(real(whole, batch, of_sides[0], dim=-2), batch, of_sides[1], dim=-1)
        taken = whole[:, 1:] if causal else whole
        if taken.shape[1] > most:
            taken = taken[:, torch.randperm(taken.shape[1], generator=generator)[:most].sort().values.to(taken.device)]
        counted[0] += 1
        counted[1] += taken.shape[1]
        yield taken
    if not counted[1]:
        more = " Give the decoder something to read: 'text => target'." if of_sides[0] == "target" else ""
        raise BadInput(f"Every input is one position long, where heads have no choice where to look.{more}")


def _nearest(distances: Float[Tensor, "head other"], k: int) -> Int[Tensor, "head rank"]:
    """The heads nearest to each; among equals those that come first."""
    others = distances.clone().fill_diagonal_(torch.inf)
    return others.argsort(dim=1, stable=True)[:, : min(k, len(distances) - 1)]
