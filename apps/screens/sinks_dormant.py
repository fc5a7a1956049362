"""Dormant heads: which heads park their attention on one kind of text and act on another, and what they do for it."""

from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import results, state
from apps.generic import offer
from apps.locking import head_table, lock_clicked, locked_head
from apps.running import sentences
from apps.screens.circuit_asked import fingerprint
from apps.screens.fourier_asked import run_button
from apps.subject import Subject
from apps.text import plain
from apps.theme import is_dark
from apps.views.grid import in_place
from apps.views.sinks_grid import colour_grid, legend
from apps.views.sinks_words import dormant_said, head_said
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.extremes.dormant_heads import DormantHeads

ANALYSIS = "dormant-heads"
CODE = """def area(width, height): return width * height
for i in range(10): print(i, i ** 2)
if (x == null) { return -1; }
import os; path = os.path.join("a", "b.txt")
SELECT name, price FROM items WHERE price > 10;
<div class="row"><span>total</span></div>
let total = items.map(item => item.price).reduce((a, b) => a + b, 0);
while (left < right) { left += 1; right -= 1; }"""
_GRID = "dormant grid"
_clicked = partial(lock_clicked, _GRID)
_DEEP = 1.6  # layers per head from which layers go across
_HELP = "One text a line; or the name of a corpus such as example or brown, a file, a folder, or hf:OWNER/NAME."


def dormant_tab(seen: Subject) -> None:
    """Ask for two kinds of text, run, and draw the heads by the difference of their sinks."""
    if sentence := registry.get(ANALYSIS).why_not(seen.model):
        st.info(plain(sentence))
        return
    left, right = st.columns(2, gap="medium")
    with left:
        texts = _texts("First kind of text", "texts", "example")
    with right:
        other = _texts("Second kind of text", "other", CODE if seen.model.reads == "text" else "")
    if not texts or not other:
        st.info("Give two kinds of input, such as two folders.")
        return
    params: dict[str, Any] = {"texts": texts, "other": other}
    if also := state.fitting("also", "", str):
        params["heads"] = tuple(also.split())
    with st.container(horizontal=True, vertical_alignment="center"):
        ran = run_button("ran", seen.loaded, params)
        st.caption("Eight inputs of each kind, one forward pass each; then the heads that differ most are ablated.")
    if ran:
        _view(seen, results.result_of(seen.loaded, ANALYSIS, **params), params)


def _texts(label: str, name: str, first: str) -> str:
    typed = state.linked(st.text_area, label, name, first, read=str, height=140, help=_HELP)
    return typed if "\n" in typed.strip() else typed.strip()


@st.fragment
@sentences
def _view(seen: Subject, found: "DormantHeads", params: dict[str, Any]) -> None:
    st.markdown(f"#### {plain(dormant_said(found))}")
    st.caption(plain(found.brief()[0]))
    layers, heads = found.score.shape
    locked, dark = locked_head(layers, heads), is_dark()
    first = int(found.score.abs().nan_to_num(-1.0).argmax())
    layer, head = map(int, (locked or f"{first // heads}.{first % heads}").split("."))
    most = max(found.score.abs().nan_to_num(0.0).max().item(), 1e-3)
    with st.container(key="overview-sides"):
        wide, narrow = st.columns([1.5, 1], gap="large")
    with wide:
        numbers = {
            "sink on the first less the second": found.score.numpy(),
            "sink on the first": found.sink[0].numpy(),
            "sink on the second": found.sink[1].numpy(),
        }
        layout = in_place(layers, heads, across=layers > _DEEP * heads)
        colour_grid(numbers, layout, (-most, most), key=_GRID, locked=locked, dark=dark, on_click=_clicked)
        note = "Blue: dormant on the first kind and active on the second; red: the other way round."
        legend("sink on the first less the second", (-most, most), note, key="dormant legend", dark=dark)
    with narrow:
        st.markdown(f"**Layer {layer}, head {head}**" + ("" if locked else ", which differs most"))
        for line in head_said(found, layer, head):
            st.markdown(plain(line))
        with st.container(horizontal=True):
            if st.button("Open head", type="primary", icon=":material/center_focus_strong:", key="dormant:head"):
                state.go("head", layer=str(layer), head=str(head))
            if [layer, head] not in found.heads.tolist():
                more = tuple(dict.fromkeys([*params.get("heads", ()), f"{layer}.{head}"]))
                mark = fingerprint(seen.loaded.name, {**params, "heads": more})
                st.button(
                    "Ablate it, too",
                    icon=":material/content_cut:",
                    key="dormant:also",
                    on_click=lambda: state.put(also=" ".join(more), ran=mark),
                )
    offer(registry.get(ANALYSIS), seen, found, params)
    _table(found, locked)


def _table(found: "DormantHeads", locked: str) -> None:
    frame = found.to_frame()
    heads = [f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)]
    frame = frame.assign(head=heads, difference=frame["score"].abs())
    names = {
        "score": "sink: first less second",
        "sink": "sink, first",
        "sink_other": "sink, second",
        "norm": "output, first",
        "norm_other": "output, second",
        "zero": f"{_WORDS[found.measure]} without it, first",
        "zero_other": f"{_WORDS[found.measure]} without it, second",
    }
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(label, format="%.3f") for name, label in names.items()
    }
    frame = frame.loc[:, ["head", *names]]
    head_table(frame, columns, by=None, lowest=False, locked=locked, grid=_GRID)


_WORDS = {"loss": "loss", "kl": "KL"}
