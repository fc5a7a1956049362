"""The clicked point of one head's scatter: its input with what the head attends to, and what is nearest to it."""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import streamlit as st

from apps import state
from apps.running import sentences
from apps.subject import Subject
from apps.text import plain, short, visible
from apps.views.qk_head_attention import OneInput, one_input, overlaid
from apps.views.qk_head_cloud import titles
from apps.views.strip import token_strip

if TYPE_CHECKING:
    from workbench.analyses.embedding.joint_head import JointHead

_NEAREST = 8
_STRIP = 384  # tokens of the strip
_read: "WeakKeyDictionary[JointHead, dict[int, OneInput]]" = WeakKeyDictionary()


def the_point(seen: Subject, found: "JointHead", asked: dict[str, Any], point: int, *, noun: str) -> None:
    """Everything below the scatter that is about one point."""
    of_key = bool(found.is_key[point])
    position, number = int(found.position[point]), int(found.input[point])
    kind = "key" if of_key else "query"
    st.subheader(
        f"{plain(visible(found.labels[point]))} as a {kind}, position {position} of {noun} {number}", anchor=False
    )
    with st.container(key="qk-head-point"):
        left, right = st.columns([1.6, 1], gap="large")
    with left:
        _input(seen, found, asked, point, number, position, of_key)
    with right:
        _nearest(found, point, of_key)


@sentences
def _input(
    seen: Subject, found: "JointHead", asked: dict[str, Any], point: int, number: int, position: int, of_key: bool
) -> None:
    kept = _read.setdefault(found, {})
    if number not in kept:
        kept[number] = one_input(seen.model, found, number, asked)
    one = kept[number]
    if one.picture is not None:
        _picture(one, position, of_key)
        return
    labels, weights = (one.queries, one.pattern.T) if of_key else (one.keys, one.pattern)
    square = len(one.queries) == len(one.keys)
    what = "how much each attends to it" if of_key else "how much it attends to each"
    st.caption(
        f"Tokens are shaded by {what}, on a square-root scale."
        + (" Hover another token for its own; click one to choose its point." if square else "")
    )
    at = position if square else int(weights[position].argmax())
    first = max(0, min(at - _STRIP // 2, len(labels) - _STRIP))
    window = slice(first, first + _STRIP)
    shown = labels[window]
    token_strip(
        shown,
        key="qk head strip",
        first=first,
        weights=weights[window, window] if square else weights[position, window][None].repeat(len(shown), 0),
        locked=position if square else first,
        outlined=square,
        on_click=(lambda: _chosen(found, point)) if square else None,
    )
    order = weights[position].argsort()[::-1][:5]
    said = " · ".join(f"{visible(labels[i])} {weights[position][i]:.3f}" for i in order)
    st.caption(f"{'Most by' if of_key else 'Most to'}: {plain(said)}")


def _picture(one: OneInput, position: int, of_key: bool) -> None:
    image, largest, rest = overlaid(one, position, of_key=of_key)
    st.image(image)
    what = "how much each patch attends to the framed one" if of_key else "how much the framed one attends to each"
    st.caption(f"Blue: {what}, at most {largest:.3f}; on what is no patch: {rest:.3f}.")


def _chosen(found: "JointHead", point: int) -> None:
    """Take the point of the clicked token: of the same input, and a query or a key as before."""
    position = st.session_state["qk head strip"].click
    if position is None:
        return
    same = (found.input == found.input[point]) & (found.is_key == found.is_key[point]) & (found.position == position)
    hits = same.nonzero().flatten().tolist()
    if hits:
        state.put(point=str(hits[0]))


def _nearest(found: "JointHead", point: int, of_key: bool) -> None:
    """The nearest of the other kind in the full space, over all inputs."""
    from workbench import functional

    count = int((~found.is_key).sum())
    queries, keys = found.vectors[:count], found.vectors[count:]
    if of_key:
        near = functional.nearest_queries(queries, keys[point - count][None], _NEAREST, by="cosine")
    else:
        near = functional.nearest_keys(queries[point][None], keys, _NEAREST, by="cosine")
    offset = 0 if of_key else count
    points = [i + offset for i in near.indices[0].tolist() if i >= 0]
    st.caption(
        f"Nearest {'queries' if of_key else 'keys'} in the full space, in any input, by the cosine after alignment."
    )
    key, names = f"qk nearest:{point}", titles(found)

    def taken() -> None:
        rows = st.session_state[key].selection.rows
        if rows:
            state.put(point=str(points[rows[0]]))

    st.dataframe(
        {
            "token": [visible(found.labels[i]) for i in points],
            "cosine": near.values[0, : len(points)].tolist(),
            "position": [int(found.position[i]) for i in points],
            "in": [short(names[int(found.input[i])], 120) for i in points],
        },
        hide_index=True,
        row_height=28,
        key=key,
        on_select=taken,
        selection_mode="single-row",
        column_config={"cosine": st.column_config.NumberColumn(format="%.3f")},
    )
