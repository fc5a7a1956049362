"""What tracing a route found: shares of all parts of the sums on it, and the route at every threshold."""

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import plots
from workbench.analyses.circuits import route_export, route_frames
from workbench.analyses.circuits.route_links import BIAS, KINDS, MLP, PASSING, RESIDUAL, Links, links_of
from workbench.errors import BadInput
from workbench.results import Result

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go

THRESHOLDS = tuple(i / 100 for i in range(1, 11))
"""The thresholds for which kept edges are counted; any other above the lowest can be asked for too."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Routes(Result, kind="routes"):
    """Shares of all parts of the sums that a prediction came from, and the route that they make above a threshold.

    Shares are over all parts of a sum, neither cut nor divided again. A part that overshoots its sum or points against
    it has 0 and not the tiny least share, where any other part counts. `route` gives the route of any threshold from
    `floor` on, and `edges_frame` what it draws.
    """

    tokens: tuple[str, ...]
    position: int
    """Whose last state is traced."""
    answer: str | None
    """What the model answers there; None where it has no answers or gives one for another position."""
    probability: float | None
    threshold: float
    renormalise: bool
    """Whether kept shares of a sum are divided so that they are one again."""
    norm: str
    """l1 or l2: how lengths are measured."""
    drop: int
    """Coordinates left out, those in which each whole is largest."""
    full: bool
    """Whether every position was computed, so that routes of other positions are known too."""
    floor: float
    """Looks of heads at or below this share are not kept one by one; what they add up to is `below_floor`."""
    n_heads: int
    parallel: bool
    """Whether attention and MLP of a block are parts of one sum: residual, bias, heads and MLP are one together."""
    reached: Bool[Tensor, "state pos"]
    """States on the route at `floor`. State 0 enters the first block, state l + 1 leaves block l."""
    reached_mid: Bool[Tensor, "layer pos"]
    """The stream after attention; where a block has one sum, the state after it."""
    residual: Float[Tensor, "layer pos"]
    """Share of what came into the block in the stream after attention; 0 where nothing was computed, as all below."""
    bias_attn: Float[Tensor, "layer pos"]
    """Share of the bias of W_O. Value biases are part of the values."""
    mlp: Float[Tensor, "layer pos"] | None
    """Share of what the MLP adds in the stream after it; None where there are no MLPs."""
    residual_mlp: Float[Tensor, "layer pos"] | None
    """Share of the stream beside the MLP; None where there are no MLPs, or they are parallel to attention."""
    head_edge_layer: Int[Tensor, "edge"]
    """One entry for each head's look of one position at another (or itself) with a share above `floor`."""
    head_edge_query: Int[Tensor, "edge"]
    head_edge_key: Int[Tensor, "edge"]
    head_edge_head: Int[Tensor, "edge"]
    head_edge_weight: Float[Tensor, "edge"]

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return len(self.residual)

    @cached_property
    def n_kept(self) -> Int[Tensor, "threshold"]:
        """Edges on the route at each of `THRESHOLDS`, heads summed; biases are no edges."""
        return torch.tensor(route_frames.counts(self.links, self._own_held[0], THRESHOLDS))

    @cached_property
    def below_floor(self) -> Float[Tensor, "layer pos"]:
        """Share of all looks of heads that are not kept one by one; 0 where nothing was computed."""
        kept = torch.zeros_like(self.residual).index_put(
            (self.head_edge_layer, self.head_edge_query), self.head_edge_weight, accumulate=True
        )
        others = self.residual + self.bias_attn + (self.mlp if self.parallel and self.mlp is not None else 0)
        return (1 - kept - others).clamp(min=0).where(others + kept > 0, 0.0)

    @cached_property
    def links(self) -> Links:
        """All parts as columns."""
        singles = {RESIDUAL: self.residual, BIAS: self.bias_attn, MLP: self.mlp, PASSING: self.residual_mlp}
        return links_of(self._head_columns, self.head_edge_weight, singles)

    @property
    def _head_columns(self) -> tuple[Tensor, ...]:
        return self.head_edge_layer, self.head_edge_query, self.head_edge_key, self.head_edge_head

    def route(
        self, threshold: float | None = None, *, renormalise: bool | None = None, position: int | None = None
    ) -> "pd.DataFrame":
        """The parts on the route, a row each: kind, layer, query, key, head (-1: none), contribution, share.

        `contribution` is divided again if `renormalise` says so, `share` is not. None stands for what the analysis was
        asked for. Positions other than its own need `full`. Empty where nothing is above the threshold.
        """
        import pandas as pd

        threshold = self.threshold if threshold is None else threshold
        renormalise = self.renormalise if renormalise is None else renormalise
        held, _ = self._held(threshold, position)
        links, kept = self.links, held > threshold
        shares = links.divided(links.share > threshold) if renormalise else links.share
        return pd.DataFrame(
            {
                "kind": [KINDS[kind] for kind in links.kind[kept].tolist()],
                **{name: getattr(links, name)[kept] for name in ("layer", "query", "key", "head")},
                "contribution": shares[kept],
                "share": links.share[kept],
            }
        )

    def states(self, threshold: float | None = None, *, position: int | None = None) -> Bool[Tensor, "state pos"]:
        """Which states are on the route."""
        threshold = self.threshold if threshold is None else threshold
        return torch.from_numpy(self._held(threshold, position)[1] > threshold)

    def edges_frame(self, threshold: float | None = None, *, position: int | None = None) -> "pd.DataFrame":
        """What is drawn: a row for each kept edge, heads summed, with how many heads and which is the largest.

        A position's look at itself is an edge of its own beside that of the residual stream. Biases are no edges.
        """
        return route_frames.edges(self.route(threshold, position=position))

    def edge_heads(self, layer: int, query: int, key: int) -> "pd.DataFrame":
        """The heads of one attention edge, the largest share first; those at or below `floor` are not among them."""
        import pandas as pd

        here = (self.head_edge_layer == layer) & (self.head_edge_query == query) & (self.head_edge_key == key)
        shares = self.head_edge_weight[here]
        order = shares.argsort(descending=True, stable=True)
        return pd.DataFrame({"head": self.head_edge_head[here][order].tolist(), "share": shares[order].tolist()})

    @property
    def edge_layer(self) -> Int[Tensor, "edge"]:
        """Layers of the attention edges on the route at `threshold`, heads summed."""
        return self._attention_column("layer")

    @property
    def edge_query(self) -> Int[Tensor, "edge"]:
        """The positions they lead to."""
        return self._attention_column("query")

    @property
    def edge_key(self) -> Int[Tensor, "edge"]:
        """The positions they come from."""
        return self._attention_column("key")

    @property
    def edge_weight(self) -> Float[Tensor, "edge"]:
        """Their contributions."""
        return self._attention_column("contribution")

    def _attention_column(self, name: str) -> Tensor:
        edges = self.edges_frame()
        return torch.tensor(edges.loc[edges["kind"] == "attention", name].to_numpy())

    def _held(self, threshold: float, position: int | None) -> tuple[Any, Any]:
        if threshold < self.floor - 1e-12:
            raise BadInput(
                f"Parts at or below a share of {self.floor:g} were not kept, so there is no route at {threshold:g};"
                f" run it again with threshold={threshold:g}."
            )
        position = self.position if position is None else position
        if position == self.position:
            return self._own_held
        if not self.full:
            raise BadInput(f"Only the route of position {self.position} was computed; run it again with full=True.")
        if not -len(self.tokens) <= position < len(self.tokens):
            raise BadInput(f"There is no position {position}: there are {len(self.tokens)}, counted from 0.")
        return self.links.held(position)

    @property
    def held(self) -> "np.ndarray":
        """Each of `links` is on the route for every threshold below this, and for no other."""
        return self._own_held[0]

    @cached_property
    def _own_held(self) -> tuple[Any, Any]:
        return self.links.held(self.position)

    def thresholds_frame(self) -> "pd.DataFrame":
        """One row for each threshold: edges, of which by attention, looks of single heads, MLPs, positions reached."""
        return route_frames.thresholds(self, [t for t in THRESHOLDS if t >= self.floor])

    def to_frame(self) -> "pd.DataFrame":
        """One row for each part on the route, single heads apart, with the tokens it leads to and comes from."""
        rows = self.route()
        rows.insert(4, "query_token", [self.tokens[i] for i in rows["query"]])
        rows.insert(5, "key_token", [self.tokens[i] for i in rows["key"]])
        return rows

    def figure(self, threshold: float | None = None) -> "go.Figure":
        """The route: tokens along x, layers up, edges as wide as their contributions."""
        threshold = self.threshold if threshold is None else threshold
        lines, marks = route_export.drawn(self, threshold)
        answer = "" if self.answer is None else f" to {self.answer!r}"
        count = len(self.edges_frame(threshold))
        title = f"route{answer} at position {self.position}: {route_frames.plural(count, 'edge')} above {threshold:g}"
        return plots.route_graph(lines, marks, tokens=self.tokens, title=title)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many edges are on the route, and those of attention, the strongest first, 20 at most."""
        edges = self.edges_frame()
        tokens = int(self.states()[0].sum())
        what = "" if self.answer is None else f" ({self.answer!r} with probability {self.probability:.2f})"
        said = (
            f"Position {self.position}{what}: {route_frames.plural(len(edges), 'edge')} above {self.threshold:g}"
            f" {'leads' if len(edges) == 1 else 'lead'} down to {tokens if tokens else 'none'} of"
            f" {route_frames.plural(len(self.tokens), 'token')}. Shares are proximities ({self.norm}), not causes."
        )
        attention = edges.query("kind == 'attention'").copy()
        attention.insert(3, "query_token", [self.tokens[i] for i in attention["query"]])
        attention.insert(5, "key_token", [self.tokens[i] for i in attention["key"]])
        ordered = attention.sort_values("contribution", ascending=False, kind="stable", ignore_index=True)
        return said, ordered.drop(columns="kind").head(20)

    def to_networkx(self, threshold: float | None = None) -> "nx.MultiDiGraph":
        """The route as a graph: nodes X0_t (tokens), A l_t (after attention), M l_t (MLPs), I l_t (after the block)."""
        return route_export.to_networkx(self, threshold)

    def to_json(self, threshold: float | None = None) -> str:
        """The route as JSON text of its own: tokens, nodes, links, and what it is of."""
        return route_export.to_json(self, threshold)

    def to_node_link(self, threshold: float | None = None) -> dict[str, Any]:
        """The route as `networkx.node_link_graph` reads it."""
        return route_export.to_node_link(self, threshold)

    def to_graphml(self, path: str | PathLike[str], threshold: float | None = None) -> Path:
        """Write the route as GraphML, which Gephi, Cytoscape and yEd read; gives the path."""
        return route_export.to_graphml(self, path, threshold)
