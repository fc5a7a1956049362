"""Attention flow graph: tokens layer over layer, and what reaches a clicked node, as widths of the edges below it."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import streamlit as st

from apps import exports, results, state
from apps.running import progress, sentences
from apps.subject import Subject, subject
from apps.text import plain, visible
from apps.views.flow_edges import Edges, largest
from apps.views.flow_followed import WAYS, Followed, followed, frame_of
from apps.views.flow_graph import THIN, Window, flow_graph
from apps.views.flow_graph_figure import graph_figure
from apps.views.token_table_data import layer_of, named
from apps.views.window import window
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.attribution.scores import TokenScores

CAVEAT = (
    "Where attention could carry information, half of every step being the token's own. "
    "The graph knows neither values nor signs, and nothing of the MLPs."
)
_WIDTH = 28  # positions a screen holds
_MOST = 1500  # edges a browser draws at once
_THIN = 0.01
_ANALYSES = {"flow": "attention-flow", "rollout": "attention-rollout", "raw": "raw-attention"}
_last: "WeakKeyDictionary[TokenScores, tuple[tuple, Followed]]" = WeakKeyDictionary()


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Attention flow graph",
        "How much of each token can reach a position through the layers, and along which edges.",
        warning=CAVEAT,
        analysis="attention-flow",
    )
    if seen is None:
        return
    found = results.result_of(seen.loaded, "raw-attention", prompt=seen.prompt)
    _view(seen, found)


@st.fragment
@sentences
def _view(seen: Subject, found: "TokenScores") -> None:
    way, level, node, source = _asked(found)
    first, last = window(len(found.tokens), _WIDTH, at_end=node >= _WIDTH)
    one = _followed(seen, found, (way, level, node, source, (first, last)))
    steps = tuple(map(named, found.steps))
    shown = Window(tokens=found.tokens, sides=found.sides, steps=steps, first=first, last=last)
    edges = largest(one.carried, first, last, _MOST)
    thin = state.fitting("thin", _THIN, _thin)
    flow_graph(
        shown,
        edges,
        one.numbers,
        shares=way == "flow",
        target=(level, node),
        source=one.source,
        thin=thin,
        what=one.what,
        key="flow graph",
        on_click=_clicked,
        on_thin=_pruned,
    )
    st.caption(plain(one.said))
    _beside(edges, first, last, len(found.tokens))
    exports.exports(
        f"{WAYS[way]}-{seen.model.name}",
        figure=lambda: graph_figure(
            shown,
            edges,
            one.numbers,
            target=(level, node),
            source=one.source,
            thin=thin,
            title=f"{one.what}: {visible(found.tokens[node])} after {steps[level - 1]}",
        ),
        frame=lambda: frame_of(one, found.tokens, steps, level, node),
        key="attention flow graph",
        **_same(seen, found, way, level, node),
    )


def _same(seen: Subject, found: "TokenScores", way: str, level: int, node: int) -> dict[str, str]:
    """The lines that give the same numbers, where an analysis does: of nodes of the stack that answers."""
    position = node - (len(found.tokens) - len(seen.answered))
    layer = layer_of(named(found.steps[level - 1]))
    if position < 0 or layer is None:
        return {}
    params = {"prompt": seen.prompt, "position": position} | ({"layers": (layer,)} if way == "flow" else {})
    analysis = registry.get(_ANALYSES[way])
    name = seen.loaded.name
    return {"python": analysis.as_python(name, params), "command": analysis.as_command(name, params)}


def _followed(seen: Subject, found: "TokenScores", asked: tuple) -> Followed:
    """What is drawn; the last of each prompt is kept, for a change of the picture alone."""
    kept = _last.get(found)
    if kept is None or kept[0] != asked:
        assert found.maps is not None
        with progress("Maximum flows", f"flow {seen.loaded.serial} {seen.prompt} {asked}"):
            kept = _last[found] = (asked, followed(found.maps.numpy(), *asked))
    return kept[1]


def _asked(found: "TokenScores") -> tuple[str, int, int, int | None]:
    """What is drawn, the level and the node that are explained, and the source, if one is chosen."""
    levels = len(found.steps)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = state.linked(
            st.segmented_control,
            "Draw",
            "show",
            "flow",
            read=state.one_of(WAYS),
            options=list(WAYS),
            format_func=lambda name: WAYS[name],
            required=True,
            help="flow: the most that can pass to one token. rollout: what comes along all paths. "
            "raw attention: the weights themselves.",
        )
        level = state.linked(
            st.selectbox,
            "Explain, after",
            "level",
            levels,
            read=state.whole(1, levels),
            options=range(1, levels + 1),
            format_func=lambda level: named(found.steps[level - 1]),
        )
        node = _token(found, "The token", "node", found.row, least=0)
        source = _token(found, "Source", "source", -1, least=-1)
    return way, level, node, None if source < 0 else source


def _token(found: "TokenScores", label: str, name: str, default: int, *, least: int) -> int:
    last = len(found.tokens) - 1
    return state.linked(
        st.selectbox,
        label,
        name,
        default,
        read=state.whole(least, last),
        options=range(least, last + 1),
        format_func=lambda i: "none chosen" if i < 0 else f"{i}  {visible(found.tokens[i])}",
    )


def _clicked() -> None:
    level, node = (st.session_state["flow graph"].click or "").split(".")
    if level == "0":
        state.put(source=None if node == state.get("source") else node)
    else:
        state.put(level=level, node=node)


def _thin(text: str) -> float:
    value = float(text)
    if value not in THIN:
        raise ValueError(text)
    return value


def _pruned() -> None:
    thin = st.session_state["flow graph"].thin
    state.put(thin=None if thin == _THIN else f"{thin:g}")


def _beside(edges: Edges, first: int, last: int, count: int) -> None:
    """What the picture leaves out."""
    if edges.left_out:
        st.caption(f"The {_MOST:,} widest edges are drawn, {edges.left_out:,} thinner ones are not.")
    if last - first < count and edges.elsewhere > 0.005:
        st.caption(f"{edges.elsewhere:.0%} of all that is carried is on edges from or to positions that are not shown.")
