"""The circuit as a drawing: marks in columns, layers upward, edges coloured by what they are read into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.text import short
from apps.views.circuit_marks import Mark, mark_of, slot_kind
from apps.views.component import component

if TYPE_CHECKING:
    from workbench.circuits.graph_data import CircuitGraph

MOST = 1500
"""Edges a browser draws at once."""
KINDS = ("query", "key", "value", "MLP", "logits", "head")
"""What edges are read into; the last where the slots of a head are one."""
_PARTS = 8  # edges that the browser can name of those that are drawn as one


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a circuit is drawn."""

    apart: bool = False
    """Whether edges into query, key and value of a head are drawn one by one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Names given to nodes."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Nodes that are drawn as one, by the name of the group."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What the browser is sent, and what it was not sent."""

    data: dict[str, Any]
    edges: int
    """Edges of the circuit, before any are drawn as one."""
    left_out: int
    """Edges that are not drawn: the weakest."""
    inside: int
    """Edges between nodes of one group."""


def circuit_graph(drawing: Drawing, *, pinned: Sequence[str], key: str, on_pin: Callable[[], None]) -> Any:
    """Draw the circuit; a click leaves {"node", "more"} in `st.session_state[key].pin`, "more" when others stay."""
    mount = component("circuit_graph", "places", "picture")
    return mount(key=key, data={**drawing.data, "pinned": list(pinned)}, on_pin_change=on_pin)


def drawn(
    graph: "CircuitGraph",
    look: Look,
    *,
    name: str,
    unit: str,
    sides: "Mapping[tuple[int, int], int] | None" = None,
    called: Sequence[str] = (),
) -> Drawing:
    """The kept edges of `graph`. Where two circuits are drawn, `sides` says for each (source, slot) whose it is.

    0 is both, 1 the first, 2 the second; `called` names the three.
    """
    edges = strongest(graph)
    whose = {member: group for group, members in look.groups.items() for member in members}
    marks: dict[str, Mark] = {}
    joined: dict[tuple[str, str, int, int], list[tuple[str, float]]] = {}
    inside = 0
    for source, slot, score in edges[:MOST]:
        start, end = graph.sources[source], graph.slot_names[slot]
        kind = slot_kind(end)
        one, other = (mark_of(node, graph) for node in (start, end.partition("<")[0]))
        ends = []
        for mark in (one, other):
            at = whose.get(mark.name, mark.name)
            marks.setdefault(at, mark if at == mark.name else _grouped(at, look.groups[at], graph))
            ends.append(at)
        if ends[0] == ends[1]:
            inside += 1
            continue
        if kind < 3 and not look.apart:
            kind = KINDS.index("head")
        side = 0 if sides is None else sides[source, slot]
        joined.setdefault((*ends, kind, side), []).append((f"{start}->{end}", score))
    return Drawing(
        data={
            "name": name,
            "unit": unit,
            "layers": graph.n_layers,
            "columns": graph.n_heads,
            "mlps": graph.mlps,
            "kinds": list(KINDS),
            "apart": look.apart,
            "sides": None if sides is None else list(called),
            **_content(marks, joined, look.labels),
        },
        edges=len(edges),
        left_out=max(0, len(edges) - MOST),
        inside=inside,
    )


def strongest(graph: "CircuitGraph") -> list[tuple[int, int, float]]:
    """(source, slot, score) of the kept edges, those of the largest scores first; 0 where scores are not known."""
    import numpy as np

    kept: np.ndarray = (graph.exists if graph.kept is None else graph.kept).cpu().numpy()
    scores = np.zeros(kept.shape) if graph.scores is None else np.nan_to_num(graph.scores.double().cpu().numpy())
    if kept.ndim == 3:  # positions of an edge are one
        scores, kept = (scores * kept).sum(0), np.asarray(kept.any(0))
    source, slot = kept.nonzero()
    score = scores[source, slot]
    order = np.lexsort((slot, source, -np.abs(score)))
    return list(zip(source[order].tolist(), slot[order].tolist(), score[order].tolist(), strict=True))


def _grouped(name: str, members: tuple[str, ...], graph: "CircuitGraph") -> Mark:
    """One mark for several, in the middle of them."""
    marks = [mark_of(member, graph) for member in members]
    return Mark(
        name=name,
        kind="group",
        layer=round(sum(mark.layer for mark in marks) / len(marks)),
        column=sum(mark.column for mark in marks) / len(marks),
        text=name,
    )


def _content(
    marks: Mapping[str, Mark],
    joined: Mapping[tuple[str, str, int, int], list[tuple[str, float]]],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Marks and edges as the browser reads them: edges as rows of numbers, parts only of those that have several."""
    at = {name: i for i, name in enumerate(marks)}
    edges, parts = [], {}
    for (start, end, kind, side), members in joined.items():
        if len(members) > 1:
            ranked = sorted(members, key=lambda part: -abs(part[1]))
            parts[len(edges)] = [[name, _brief(score)] for name, score in ranked[:_PARTS]] + (
                [[f"and {len(members) - _PARTS} more", None]] if len(members) > _PARTS else []
            )
        edges.append([at[start], at[end], kind, _brief(sum(score for _, score in members)), side])
    return {
        "marks": [
            {
                "name": mark.name,
                "kind": mark.kind,
                "layer": mark.layer,
                "column": mark.column,
                "span": mark.span,
                "text": short(mark.text, 18),
                "label": short(labels.get(mark.name, ""), 40),
            }
            for mark in marks.values()
        ],
        "edges": edges,
        "parts": parts,
    }


def _brief(value: float) -> float:
    return float(f"{value:.4g}")
