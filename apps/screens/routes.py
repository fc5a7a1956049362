"""Information flow routes: through which tokens, heads and MLPs one prediction came about, as a graph to be clicked."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import streamlit as st

from apps import exports, results, state, views
from apps.generic import remarks
from apps.running import sentences
from apps.screens.routes_beside import beside, chosen
from apps.subject import Subject, subject
from apps.text import visible
from apps.views.routes_figure import route_figure
from apps.views.routes_graph import View, routes_graph
from apps.views.routes_parts import Drawn, drawn
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.circuits.route_result import Routes

CAVEAT = (
    "Near is not causal: a part that points along the sum it is added to counts, even if no later layer reads it. "
    "What the route leaves out may still matter; take parts away to know."
)
_KEY = "routes graph"
_ANEW = "routes:anew"
"""Whether another prediction is to be traced, which is more than drawing anew."""
_USUAL = 0.04
_LOWEST = 0.01
_MANY = 40
"""Tokens from which on only those on the route get a column, unless asked for."""
_FURTHER = {
    "ablate": "Ablate",
    "patching": "Patching lab",
    "analysis-knockout-windows": "Attention knockout",
    "analysis-routes-corpus": "Routes of a whole corpus",
}
_drawn: "WeakKeyDictionary[Routes, dict[bool, Drawn]]" = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the page was asked for, beside the prompt."""

    params: dict[str, Any]
    renormalise: bool
    few: bool


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Information flow routes",
        "Through which tokens, heads and MLPs one prediction came about.",
        warning=CAVEAT,
        analysis="routes",
    )
    if seen is None:
        return
    st.html(Path(views.__file__).with_name("routes_page.css"))
    asked = _asked(seen)
    st.session_state.pop(_ANEW, None)
    found = results.result_of(seen.loaded, "routes", prompt=seen.prompt, threshold=_LOWEST, **asked.params)
    _view(seen, found, asked)


def _asked(seen: Subject) -> Asked:
    n, most = len(seen.answered), min(64, seen.model.d_model - 1)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        position = state.linked(
            st.selectbox,
            "Trace the prediction at",
            "position",
            -1,
            read=state.whole(-1, n - 1),
            options=[-1, *range(n)],
            format_func=lambda i: "where the model answers" if i < 0 else f"{i}  {visible(seen.answered[i])}",
            width=240,
        )
        norm = state.linked(
            st.segmented_control,
            "Lengths",
            "norm",
            "l1",
            read=state.one_of(("l1", "l2")),
            options=["l1", "l2"],
            format_func=str.upper,
            required=True,
            help="How the length of a vector is measured: the sum of its coordinates' sizes, or the Euclidean length.",
        )
        drop = state.linked(
            st.number_input,
            "Largest coordinates left out",
            "drop",
            0,
            read=state.whole(0, most),
            min_value=0,
            max_value=most,
            width=200,
            help="A few coordinates are huge in many models and decide every length; see what is left without them.",
        )
        renormalise = state.linked(
            st.checkbox,
            "Renormalise",
            "renormalise",
            True,
            read=state.switch,
            write=state.yes_no,
            help="Divide what is kept of each sum, so that its contributions are one again. Which edges are kept does "
            "not depend on it.",
        )
        few = state.linked(
            st.checkbox,
            "Only tokens on the route",
            "few",
            n > _MANY,
            read=state.switch,
            write=state.yes_no,
            help="Tokens without an edge get no column.",
        )
    params: dict[str, Any] = {"norm": norm, "drop": drop, "position": None if position < 0 else position}
    return Asked(params=params, renormalise=renormalise, few=few)


@st.fragment
@sentences
def _view(seen: Subject, found: "Routes", asked: Asked) -> None:
    if st.session_state.pop(_ANEW, False):
        st.rerun()
    kept = _drawn.setdefault(found, {})
    route = kept.get(asked.renormalise) or kept.setdefault(
        asked.renormalise, drawn(found, renormalise=asked.renormalise)
    )
    threshold = state.fitting("threshold", _USUAL, lambda text: _one_of_the(route, text))
    part = chosen(found)
    look = View(
        threshold=threshold,
        divided=asked.renormalise,
        few=asked.few,
        selected="" if part is None else part.name,
        answer=_answer(found),
    )
    with st.container(key="routes-sides"):
        wide, narrow = st.columns([3.3, 1.3], gap="medium")
    with wide:
        routes_graph(
            route,
            found.tokens,
            found.n_layers,
            look,
            of=f"{seen.loaded.serial} {seen.prompt} {found.position}",
            key=_KEY,
            on_click=_clicked,
            on_threshold=_moved,
        )
        _said(found, route, asked)
        _offer(seen, found, route, look, asked)
    with narrow:
        beside(seen, found, route, part, threshold)
    _further()


def _answer(found: "Routes") -> str:
    if found.answer is None or found.probability is None:
        return ""
    return f"{visible(found.answer)} {found.probability:.2f}"


def _one_of_the(route: Drawn, text: str) -> float:
    value = float(text)
    if value not in route.thresholds:
        raise ValueError(text)
    return value


def _clicked() -> None:
    told = st.session_state[_KEY].click
    if told is None:
        return
    if told.startswith("t"):
        state.put(position=told[1:])
        st.session_state[_ANEW] = True
    else:
        state.put(selected=told or None)


def _moved() -> None:
    told = st.session_state[_KEY].threshold
    if told is not None:
        state.put(threshold=None if told == _USUAL else f"{told:g}")


def _said(found: "Routes", route: Drawn, asked: Asked) -> None:
    """How widths are read."""
    sums = "all parts of a block" if found.residual_mlp is None else "the attention of a block, or of its MLP"
    said = f"An edge's width is its share in a sum, {sums}: how much shorter the sum is without it, 0 to 1."
    if asked.renormalise:
        said += " The shares that are kept are divided to sum to one again."
    biases = float(found.bias_attn.max())
    if biases > route.thresholds[0]:
        said += f" Biases are parts too, and not drawn: {biases:.2f} at most."
    st.caption(said)


def _offer(seen: Subject, found: "Routes", route: Drawn, look: View, asked: Asked) -> None:
    shown = replace(found, threshold=look.threshold, renormalise=asked.renormalise)
    analysis = registry.get("routes")
    params = {"prompt": seen.prompt, **asked.params, "threshold": look.threshold, "renormalise": asked.renormalise}
    given = {name: value for name, value in params.items() if value is not None}
    at = f"{visible(found.tokens[found.position])}, position {found.position}"
    name = f"routes-{seen.model.name}"
    with st.container(horizontal=True):
        exports.exports(
            name,
            figure=lambda: route_figure(
                route,
                found.tokens,
                found.n_layers,
                look.threshold,
                few=look.few,
                title=f"Route of the prediction at {at}",
            ),
            frame=shown.to_frame,
            key="routes",
            python=analysis.as_python(seen.loaded.name, given),
            command=analysis.as_command(seen.loaded.name, given),
        )
        st.download_button(
            "GraphML",
            lambda: _graphml(shown),
            f"{exports.file_name(name)}.graphml",
            "application/xml",
            key="file:routes:GraphML",
            on_click="ignore",
            icon=":material/hub:",
            help="The route as a graph, for Gephi, Cytoscape, yEd or networkx.",
        )


def _graphml(shown: "Routes") -> str:
    from workbench.analyses.circuits.route_export import graphml

    return graphml(shown)


def _further() -> None:
    """Pages that take parts away, and the routes of many prompts."""
    menu = st.session_state["state:menu"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Does it matter? Take it away:", width="content")
        for name, label in _FURTHER.items():
            if name in menu and st.button(label, key=f"routes:to:{name}", type="tertiary"):
                state.go(name)
    with st.expander("What this shows, and what it does not", icon=":material/menu_book:"):
        st.text(remarks(registry.get("routes")))
