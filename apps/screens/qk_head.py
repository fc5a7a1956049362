"""QK head: one head's queries and keys over many inputs, in one space; a point opens its input and what it reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import streamlit as st

from apps import results, state, views
from apps.generic import offer
from apps.running import sentences
from apps.screens import qk_asked
from apps.screens.qk_head_beside import quality, selection, similar
from apps.screens.qk_head_point import the_point
from apps.subject import Subject, of_many
from apps.views.qk_head_cloud import cloud_of
from apps.views.qk_head_regions import checked, inside
from apps.views.qk_scatter import Cloud, View, cloud_data, qk_scatter
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.embedding.joint_head import JointHead

CAVEAT = (
    "Near means attended to only as far as the correlation says, and the picture shows only part of the space. "
    "Positions, not only meanings, draw points together."
)
_SHOWN = ("both", "queries", "keys")
_GONE = ":material/lasso_select:"
_FIRST = "query or key"  # every result can be coloured so
_KEY = "qk scatter"
_APART = "|"
"""Between the regions of the address; none holds it."""
_clouds: "WeakKeyDictionary[JointHead, dict[tuple, tuple[Cloud, dict[str, Any], str]]]" = WeakKeyDictionary()


def page() -> None:
    """Draw the page."""
    top = of_many(
        "QK head",
        "One head's queries and keys over many inputs in one space: what is near is attended to.",
        qk_asked.asked,
        warning=CAVEAT,
        analysis="joint-qk",
    )
    if top is None:
        return
    st.html(Path(views.__file__).with_name("qk_head.css"))
    seen, asked = top
    params = {**asked.params, **_which(seen, asked.params["attention"])}
    found: JointHead = results.result_of(seen.loaded, "joint-qk", **params)
    _view(seen, found, params, asked.noun)


def _which(seen: Subject, attention: str | None) -> dict[str, int]:
    """Layer, head, and dimensions of the picture."""
    sizes = seen.model.attention(attention)[0].sizes
    chosen = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, count in (("layer", sizes.n_blocks), ("head", sizes.n_heads)):
            chosen[name] = state.linked(
                st.number_input,
                f"{name.capitalize()} (0 to {count - 1})",
                name,
                0,
                read=state.whole(0, count - 1),
                min_value=0,
                max_value=count - 1,
                width=150,
            )
        chosen["dims"] = state.linked(
            st.segmented_control,
            "Picture in",
            "dims",
            2,
            read=state.whole(2, 3),
            options=[2, 3],
            format_func=lambda n: f"{n}-D",
            required=True,
        )
        at = f"{chosen['layer']}.{chosen['head']}"
        if st.button("All heads", icon=":material/apps:"):
            state.go("qk_matrix", locked=at)
        if st.button("On one prompt", icon=":material/center_focus_strong:", disabled=seen.model.reads != "text"):
            which = {"attention": attention} if attention else {}
            state.go("head", layer=str(chosen["layer"]), head=str(chosen["head"]), **which)
    return chosen


@st.fragment
@sentences
def _view(seen: Subject, found: "JointHead", params: dict[str, Any], noun: str) -> None:
    modulo = state.fitting("modulo", 5, state.whole(2, 100))
    cloud, content, version = _cloud(seen, found, params, noun, modulo)
    drawn = state.get("selected"), state.get("isolated")
    view = _asked(cloud, modulo)
    with st.container(key="qk-head-sides"):
        wide, narrow = st.columns([3.5, 1.15], gap="medium")
    with wide:
        if drawn != (state.get("selected"), state.get("isolated")):
            st.info("The lasso was drawn on another picture, and is gone: its corners mean nothing here.", icon=_GONE)
        qk_scatter(content, version, view, turn=st.session_state.get("qk head:turn", 0), key=_KEY, on_view=_changed)
        offer(
            registry.get("joint-qk"),
            seen,
            found,
            {name: value for name, value in params.items() if value is not None},
            figure=lambda: found.figure(colour=view.colour, modulo=modulo),
        )
    with narrow:
        quality(found)
        beside = st.container()
    if view.point is not None:
        the_point(seen, found, params, view.point, noun=noun.removesuffix("s"))
    regions = [*view.isolated, *([view.selected] if view.selected else []), *_searched(view)]
    if regions:
        chosen = inside(regions[0], cloud)
        for region in regions[1:]:
            chosen &= inside(region, cloud)
        selection(seen, found, chosen)
    with beside:
        similar(seen, found, params)


def _cloud(
    seen: Subject, found: "JointHead", params: dict[str, Any], noun: str, modulo: int
) -> tuple[Cloud, dict[str, Any], str]:
    """The cloud, and what the browser is sent of it, made once."""
    kept = _clouds.setdefault(found, {})
    key = (seen.loaded.name, noun, modulo)
    if key not in kept:
        kept.clear()
        asked = repr((seen.loaded.name, sorted(params.items())))
        cloud = cloud_of(found, noun=noun.removesuffix("s"), asked=asked, modulo=modulo)
        kept[key] = (cloud, *cloud_data(cloud))
    return kept[key]


def _asked(cloud: Cloud, modulo: int) -> View:
    """What the address says of the picture; texts that do not fit this cloud leave it."""
    names = [one.name for one in cloud.colours]
    return View(
        colour=state.fitting("colour", _FIRST, state.one_of(names)),
        modulo=modulo,
        show=state.fitting("show", "both", state.one_of(_SHOWN)),
        size=state.fitting("size", False, state.switch),
        find=state.get("find"),
        exact=state.fitting("exact", False, state.switch),
        point=state.fitting("point", None, state.whole(0, len(cloud.labels) - 1)),
        selected=state.fitting("selected", "", lambda text: checked(text, cloud)),
        isolated=state.fitting("isolated", (), lambda text: tuple(checked(part, cloud) for part in text.split(_APART))),
    )


def _changed() -> None:
    told = st.session_state[_KEY].view
    if not told:
        return
    st.session_state["qk head:turn"] = int(told["turn"])
    state.put(
        colour=None if told["colour"] == _FIRST else str(told["colour"]),
        modulo=None if told["modulo"] == 5 else str(int(told["modulo"])),
        show=None if told["show"] == "both" else str(told["show"]),
        size=state.yes_no(True) if told["size"] else None,
        find=str(told["find"]).strip() or None,
        exact=state.yes_no(True) if told["exact"] else None,
        point=None if told["point"] is None else str(int(told["point"])),
        selected=str(told["selected"]) or None,
        isolated=_APART.join(map(str, told["isolated"])) or None,
    )


def _searched(view: View) -> list[str]:
    text = view.find.strip()
    return [("T" if view.exact else "H") + quote(text, safe="")] if text else []
