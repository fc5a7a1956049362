"""The operations that an answer hangs on, what each depends on, and the graph that they make."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import plots
from workbench.analyses.operations.labels import depends, label, shared_tokens
from workbench.results import Result

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    import plotly.graph_objects as go


_PLACES = ("layer", "query", "key", "head")
_NUMBERS = ("weight", "fall", "fall_at_zero", "fall_at_largest")
_COLUMNS = ["layer", "head", "query", "query_token", "key", "key_token", *_NUMBERS, "label", "shared"]
_TEXTS = ("query_token", "key_token", "label", "shared")


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionOperations(Result, kind="attention-operations"):
    """Important entries of attention patterns, a row each: layer, head, query and key position."""

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    """Of the tokens."""
    position: int
    """Where the answer is read."""
    target: str
    """What falls, in words."""
    answer: str
    base: float
    """The target before anything is changed."""
    kappa: float
    """An entry is important if the target falls by more than this."""
    threshold: float
    """Scores depend on what changes them by more than this."""
    stand_in: str
    """The token put in the place of others."""
    n_layers: int
    possible: int
    """Entries that could change the answer."""
    tried: int
    """Of these, how many were changed."""
    layer: Int[Tensor, "operation"]
    head: Int[Tensor, "operation"]
    query: Int[Tensor, "operation"]
    key: Int[Tensor, "operation"]
    weight: Float[Tensor, "operation"]
    """The attention."""
    falls: Float[Tensor, "operation 2"]
    """Of the target, with the entry at zero, and at the largest of its row; negative where it rises."""
    raised: bool
    """Whether entries are listed, too, that only the second is large for."""
    token_changes: Float[Tensor, "2 operation pos"]
    """Of the score (scaled, before the softmax) through the query and through the key, when the token is replaced."""
    everywhere_changes: Float[Tensor, "operation pos"]
    """Through both, when the token of this position is replaced wherever it stands."""
    position_changes: Float[Tensor, "2 operation pos"] | None
    """As `token_changes`, when what the learned position adds is zero; None where positions are not learned."""
    sufficient: bool
    """Whether the top answer stays when all other entries are zero."""
    answer_alone: str
    """The top answer then ..."""
    base_alone: float
    """... and the target."""

    def __len__(self) -> int:
        return len(self.layer)

    @property
    def fall(self) -> Float[Tensor, "operation"]:
        """That at zero; with `raised` the larger of the two."""
        return self.falls.amax(-1) if self.raised else self.falls[:, 0]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What each operation is made by: see `LABELS` in `workbench.analyses.operations.labels`."""
        return tuple(
            label(
                self.token_changes[:, i],
                None if self.position_changes is None else self.position_changes[:, i],
                self.ids,
                int(self.query[i]),
                int(self.key[i]),
                self.threshold,
            )
            for i in range(len(self))
        )

    @property
    def token_depends(self) -> Bool[Tensor, "2 operation pos"]:
        """Which tokens each side of each operation depends on."""
        return depends(self.token_changes, self.threshold)

    @property
    def position_depends(self) -> Bool[Tensor, "2 operation pos"] | None:
        """Which positions; None where positions are not learned."""
        return None if self.position_changes is None else depends(self.position_changes, self.threshold)

    def shared(self, operation: int) -> tuple[int, ...]:
        """Ids of the tokens that both sides of an operation depend on, the strongest first."""
        return shared_tokens(self.token_changes[:, operation], self.ids, self.threshold)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each important operation; if there is none, one of -1 with a fall that is undefined."""
        import pandas as pd

        texts = {number: token for number, token in zip(self.ids, self.tokens, strict=True)}
        rows = [self._row(i, texts) for i in range(len(self))]
        if not rows:
            rows = [
                {**dict.fromkeys(_PLACES, -1), **dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_NUMBERS, float("nan"))}
            ]
        frame = pd.DataFrame(rows, columns=_COLUMNS)
        return frame.assign(operations=len(self)).sort_values(list(_PLACES), ignore_index=True)

    def _row(self, i: int, texts: dict[int, str]) -> dict[str, Any]:
        return {
            "layer": int(self.layer[i]),
            "head": int(self.head[i]),
            "query": int(self.query[i]),
            "query_token": self.tokens[int(self.query[i])],
            "key": int(self.key[i]),
            "key_token": self.tokens[int(self.key[i])],
            "weight": self.weight[i].item(),
            "fall": self.fall[i].item(),
            "fall_at_zero": self.falls[i, 0].item(),
            "fall_at_largest": self.falls[i, 1].item(),
            "label": self.labels[i],
            "shared": " ".join(texts[number] for number in self.shared(i)),
        }

    def figure(self) -> "go.Figure":
        """The graph: tokens along x, layers up, operations as wide as the fall without them, streams in grey."""
        lines, marks = self._drawn()
        kept = "keep" if self.sufficient else "do not keep"
        title = f"{len(self)} operations for {self.answer!r} at position {self.position}; alone they {kept} the answer"
        return plots.route_graph(lines, marks, tokens=self.tokens, title=title)

    def to_networkx(self) -> "nx.MultiDiGraph":
        """Nodes are (layer, position): what stands at a position before a layer; edges carry what the table says."""
        import networkx as nx

        graph = nx.MultiDiGraph(target=self.target, answer=self.answer, position=self.position)
        for row in self.to_frame().to_dict("records") if len(self) else ():
            source, to = (row["layer"], row["key"]), (row["layer"] + 1, row["query"])
            told = {name: row[name] for name in ("head", "weight", "fall", "label", "shared")}
            graph.add_edge(source, to, key=f"a{row['layer']}.h{row['head']}", kind="attention", **told)
        for position in {at for _, at in graph.nodes} | {self.position}:
            used = [layer for layer, at in graph.nodes if at == position]
            last = self.n_layers if position == self.position else max(used)
            for layer in range(min(used, default=0), last):
                graph.add_edge((layer, position), (layer + 1, position), key="residual", kind="residual")
        for node in graph.nodes:
            graph.nodes[node]["token"] = self.tokens[node[1]]
        return graph

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many operations matter, whether they are enough, and the 20 that matter most: no rows if none does."""
        tried = "" if self.tried == self.possible else f", of which the {self.tried} most promising were tried"
        alone = f"With all others at zero the top answer is {self.answer_alone!r} and the target {self.base_alone:.3f}."
        text = (
            f"{self.target}: {self.base:.3f}. It falls by more than {self.kappa:g} without {len(self)} of"
            f" {self.possible} entries{tried}. {alone} Tokens were replaced by {self.stand_in!r}."
        )
        if not len(self):
            return f"{text} There is no operation to show.", self.to_frame().head(0)
        return text, self.to_frame().sort_values("fall", ascending=False, ignore_index=True).head(20)

    def _drawn(self) -> "tuple[pd.DataFrame, pd.DataFrame]":
        import pandas as pd

        graph = self.to_networkx()
        most = max(1e-9, self.fall.max().item()) if len(self) else 1.0
        lines = [
            {
                "x0": start[1],
                "y0": start[0],
                "x1": end[1],
                "y1": end[0],
                "kind": told["kind"],
                "contribution": max(0.0, told["fall"]) / most if told["kind"] == "attention" else 0.05,
                "label": self._said(name, told),
            }
            for start, end, name, told in graph.edges(keys=True, data=True)
        ]
        marks = [
            {"x": at, "y": layer, "kind": "state" if layer else "token", "label": f"{self.tokens[at]!r}, position {at}"}
            for layer, at in graph.nodes
        ]
        columns = ["x0", "y0", "x1", "y1", "kind", "contribution", "label"]
        return pd.DataFrame(lines, columns=columns), pd.DataFrame(marks, columns=["x", "y", "kind", "label"])

    @staticmethod
    def _said(name: str, told: dict) -> str:
        if told["kind"] != "attention":
            return "the stream"
        shared = f" ({told['shared']})" if told["shared"] else ""
        return f"{name}: {told['label']}{shared}, weight {told['weight']:.2f}, fall {told['fall']:.2f}"
