"""What is said beside the route: of an edge its heads, of a state what it would predict, of an MLP its neurons."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import streamlit as st

from apps import state
from apps.running import progress, sentences
from apps.subject import Subject
from apps.text import plain, short, visible
from apps.views import routes_tables

if TYPE_CHECKING:
    from apps.views.routes_parts import Drawn
    from workbench.analyses.circuits.route_node import RouteNode
    from workbench.analyses.circuits.route_result import Routes

STATE, MIDDLE, MLP, EDGE = "s", "a", "m", "e"
_STRONGEST = 12
_WORDS = 8
_looked_at: "WeakKeyDictionary[Routes, dict[tuple, RouteNode]]" = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is explained: a state of the stream, the stream after attention, an MLP, or an attention edge."""

    kind: str
    layer: int
    """Of a state, how many layers are below it."""
    query: int
    key: int
    """`query` itself but for edges."""

    @property
    def name(self) -> str:
        """As it stands in the address."""
        return f"{self.kind}{self.layer}.{self.query}" + (f".{self.key}" if self.kind == EDGE else "")


def chosen(found: "Routes") -> Part | None:
    """The part that the address names; one that this model or prompt does not have leaves it."""
    return state.fitting("selected", None, lambda text: part_of(text, found))


def part_of(text: str, found: "Routes") -> Part:
    """Read a part's name. Raises `ValueError` for one that is not there."""
    kind, numbers = text[:1], [int(number) for number in text[1:].split(".")]
    there = {STATE: True, EDGE: True, MIDDLE: found.residual_mlp is not None, MLP: found.mlp is not None}
    if not there.get(kind, False) or len(numbers) != 2 + (kind == EDGE):
        raise ValueError(text)
    part = Part(kind=kind, layer=numbers[0], query=numbers[1], key=numbers[-1])
    n = len(found.tokens)
    if not (0 <= part.layer < found.n_layers + (kind == STATE) and 0 <= part.query < n and 0 <= part.key < n):
        raise ValueError(text)
    return part


@sentences
def beside(seen: Subject, found: "Routes", route: "Drawn", part: Part | None, threshold: float) -> None:
    """The panel beside the picture."""
    if part is None:
        _strongest(found, route, threshold)
        return
    st.button("Close", icon=":material/close:", on_click=_choose, args=(None,))
    draw = {EDGE: _edge, MLP: _mlp}.get(part.kind, _state)
    draw(seen, found, part)


def _choose(name: str | None) -> None:
    state.put(selected=name)


def _strongest(found: "Routes", route: "Drawn", threshold: float) -> None:
    """The attention edges that contribute most; a click chooses one."""
    st.caption(
        "Click a circle for what the model would predict there, an edge for its heads, a square for its neurons, "
        "a triangle to trace another prediction."
    )
    edges = attention_edges(route, threshold)
    if not edges:
        return
    st.markdown("**Strongest attention edges**")
    for layer, query, key, share in edges[:_STRONGEST]:
        name = Part(kind=EDGE, layer=layer, query=query, key=key).name
        said = f"{plain(_word(found, query))} ← {plain(_word(found, key))}, layer {layer}: {share:.3f}"
        where = f"position {query} from {f'position {key}' if key != query else 'itself'}"
        st.button(said, key=f"routes strongest {name}", type="tertiary", help=where, on_click=_choose, args=(name,))


def attention_edges(route: "Drawn", threshold: float) -> list[tuple[int, int, int, float]]:
    """(layer, query, key, share) of the attention edges on the route, heads together, the largest first."""
    from workbench.analyses.circuits.route_links import ATTENTION

    looks = (route.kind == ATTENTION) & (route.held > threshold)
    places = zip(*(column[looks].tolist() for column in (route.layer, route.query, route.key)), strict=True)
    edges = [(*place, sum(share for _, share in route.heads[place] if share > threshold)) for place in places]
    return sorted(edges, key=lambda edge: -edge[3])


def edge_heads(found: "Routes", part: Part) -> list[tuple[int, float]]:
    """(head, share) of every head whose look was kept one by one, the largest first."""
    links = found.links
    here = (links.head >= 0) & (links.layer == part.layer) & (links.query == part.query) & (links.key == part.key)
    pairs = zip(links.head[here].tolist(), links.share[here].tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])


def _edge(seen: Subject, found: "Routes", part: Part) -> None:
    query, key = (plain(_word(found, position)) for position in (part.query, part.key))
    st.markdown(f"**{query} ← {key}**, attention of layer {part.layer}")
    heads = edge_heads(found, part)
    if not heads:
        st.caption(f"No head contributes more than {found.floor:g} here.")
        return
    source = "itself" if part.query == part.key else f"position {part.key}"
    st.caption(
        f"What each head adds to position {part.query} from {source}, as a share of the sum. Click one to open it."
    )
    for head, value in heads:
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(f"Head {head}", key=f"routes head {part.name} {head}", icon=":material/center_focus_strong:"):
                state.go("head", layer=str(part.layer), head=str(head), query=str(part.query), key=str(part.key))
            st.progress(min(1.0, value / heads[0][1]), f"{value:.3f}", width="stretch")
    stack, numbers = seen.model.main, ",".join(str(head) for head, _ in sorted(heads))
    if st.button(
        "Ablate these heads here",
        icon=":material/content_cut:",
        key=f"routes ablate {part.name}",
        help=f"All that they write at position {part.query}, not this edge alone.",
    ):
        state.go("ablate", sites=f"{stack.prefix}.{part.layer}.{stack.attentions[0]}.z:{numbers}@{part.query}")
    names = [head for head, _ in heads]
    head = state.linked(
        st.selectbox,
        "What it brings along this edge",
        "head",
        names[0],
        read=lambda text: names[names.index(int(text))],
        options=names,
        format_func=lambda head: f"head {head}",
    )
    _pushed(_node(seen, found, part.layer, part.query, f"h{head}", key=part.key))


def _state(seen: Subject, found: "Routes", part: Part) -> None:
    """What the state would predict, and what the last part that was added to it promotes."""
    of = "attention" if part.kind == MIDDLE or found.residual_mlp is None else "MLP"
    layer = part.layer - (part.kind == STATE)
    where = "input" if layer < 0 else f"after {'the attention of ' if part.kind == MIDDLE else ''}layer {layer}"
    st.markdown(f"**{plain(_word(found, part.query))}**, position {part.query}, {where}")
    node = _node(seen, found, part.layer, part.query, "middle" if part.kind == MIDDLE else "state")
    if node.predicted is not None:
        st.html(routes_tables.predicted(node.predicted))
        if "rise" in node.predicted:
            since = "block" if found.residual_mlp is None else of
            st.caption(f"Rank: places that a token came up or fell since the state before the {since}.")
    _notes(node)
    if layer < 0:
        return
    st.markdown(f"**Added by the {of} of layer {layer}**")
    _pushed(_node(seen, found, layer, part.query, of.lower()))


def _mlp(seen: Subject, found: "Routes", part: Part) -> None:
    """Its neurons, and what all of them together promote."""
    assert found.mlp is not None, "a part of a route that has MLPs"
    share = float(found.mlp[part.layer, part.query])
    st.markdown(f"**{plain(_word(found, part.query))}**, position {part.query}, MLP of layer {part.layer}: {share:.3f}")
    node = _node(seen, found, part.layer, part.query, "mlp")
    if node.neurons is not None:
        st.html(routes_tables.neurons(node.neurons))
        st.caption(
            "The neurons with the largest shares in the stream after the MLP. One that overshoots counts nothing."
        )
    _pushed(node)
    site = f"{seen.model.main.prefix}.{part.layer}.mlp_out@{part.query}"
    if st.button("Ablate this MLP here", icon=":material/content_cut:", key=f"routes ablate {part.name}"):
        state.go("ablate", sites=site)


def _pushed(node: "RouteNode") -> None:
    if node.promoted is not None:
        st.html(routes_tables.promoted(node.promoted))
    _notes(node)


def _notes(node: "RouteNode") -> None:
    for note in node.notes:
        st.caption(plain(note))


def _node(seen: Subject, found: "Routes", layer: int, position: int, part: str, key: int | None = None) -> "RouteNode":
    """One mark, looked at once."""
    from workbench.analyses.circuits.route_node import route_node
    from workbench.analyses.circuits.route_parts import Measure

    kept, which = _looked_at.setdefault(found, {}), (layer, position, part, key)
    if which not in kept:
        how = Measure(norm="l2" if found.norm == "l2" else "l1", drop=found.drop)
        with progress("Looking at it", f"route node {seen.loaded.serial} {seen.prompt} {which}"):
            kept[which] = route_node(seen.model, seen.prompt, layer, position, part, key=key, top_k=_WORDS, how=how)
    return kept[which]


def _word(found: "Routes", position: int) -> str:
    return short(visible(found.tokens[position]), 14)
