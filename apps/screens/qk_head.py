"""QK head: one head's queries and keys over many inputs, in one space; a point opens its input and what it reads."""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import streamlit as st

from apps import results, state
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
    seen, asked = top
    layer, head, dims, modulo = _which(seen, asked.params["attention"])
    params = {**asked.params, "layer": layer, "head": head, "dims": dims}
    found: JointHead = results.result_of(seen.loaded, "joint-qk", **params)
    _view(seen, found, params, asked.noun, modulo)


def _which(seen: Subject, attention: str | None) -> tuple[int, int, int, int]:
    """Layer, head, dimensions of the picture, and what positions are counted modulo."""
    sizes = seen.model.attention(attention)[0].sizes
    columns = st.columns([1, 1, 1, 1, 2.2], vertical_alignment="bottom")
    limits = (("layer", 0, sizes.n_blocks - 1, 0), ("head", 0, sizes.n_heads - 1, 0), ("modulo", 2, 100, 5))
    chosen = []
    for column, (name, low, high, default) in zip((*columns[:2], columns[3]), limits, strict=True):
        with column:
            label = f"Position mod ({low} to {high})" if name == "modulo" else f"{name.capitalize()} ({low} to {high})"
            chosen.append(
                state.linked(
                    st.number_input,
                    label,
                    name,
                    default,
                    read=state.whole(low, high),
                    min_value=low,
                    max_value=high,
                )
            )
    with columns[2]:
        dims = state.linked(
            st.segmented_control,
            "Picture in",
            "dims",
            2,
            read=state.whole(2, 3),
            options=[2, 3],
            format_func=lambda n: f"{n}-D",
            required=True,
        )
    with columns[4], st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("All heads", icon=":material/grid_view:"):
            state.go("qk_matrix", locked=f"{chosen[0]}.{chosen[1]}")
    return chosen[0], chosen[1], dims, chosen[2]


@st.fragment
@sentences
def _view(seen: Subject, found: "JointHead", params: dict[str, Any], noun: str, modulo: int) -> None:
    cloud, content, version = _cloud(seen, found, params, noun, modulo)
    view = _asked(cloud)
    with st.container(key="qk-head-sides"):
        wide, narrow = st.columns([3.5, 1.15], gap="medium")
    with wide:
        qk_scatter(content, version, view, turn=st.session_state.get("qk head:turn", 0), key=_KEY, on_view=_changed)
        offer(
            registry.get("joint-qk"),
            seen,
            found,
            {name: value for name, value in params.items() if value is not None},
            figure=lambda: found.figure(colour=view.colour or cloud.colours[0].name, modulo=modulo),
        )
    with narrow:
        quality(found)
        similar(seen, found, params)
    if view.point is not None:
        the_point(seen, found, params, view.point, noun=noun.removesuffix("s"))
    regions = [*view.isolated, *([view.selected] if view.selected else []), *_searched(view.find)]
    if regions:
        chosen = inside(regions[0], cloud)
        for region in regions[1:]:
            chosen &= inside(region, cloud)
        selection(seen, found, chosen)


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


def _asked(cloud: Cloud) -> View:
    """What the address says of the picture; texts that do not fit this cloud leave it."""
    names = [one.name for one in cloud.colours]
    return View(
        colour=state.fitting("colour", names[0], state.one_of(names)),
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
        colour=str(told["colour"]) or None,
        show=None if told["show"] == "both" else str(told["show"]),
        size=state.yes_no(True) if told["size"] else None,
        find=str(told["find"]).strip() or None,
        exact=state.yes_no(True) if told["exact"] else None,
        point=None if told["point"] is None else str(int(told["point"])),
        selected=str(told["selected"]) or None,
        isolated=_APART.join(map(str, told["isolated"])) or None,
    )


def _searched(text: str) -> list[str]:
    from urllib.parse import quote

    return [f"T{quote(text.strip(), safe='')}"] if text.strip() else []
