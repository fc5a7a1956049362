"""Circuits as files: a result or a graph is opened in place of a run, and saved with its names and groups."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state
from apps.exports import file_name
from apps.running import sentences
from apps.screens.circuit_names import Names, take
from apps.screens.circuit_shown import Shown
from apps.subject import Subject
from apps.text import plain
from workbench.errors import BadFile, BadInput

if TYPE_CHECKING:
    from workbench.circuits.graph_data import CircuitGraph

RESULTS = ("circuit", "circuit-history", "circuit-comparison")
"""Kinds of results that the page shows."""
_LARGEST = 200_000_000  # bytes of a file


def open_button(slot: str, label: str, help: str) -> None:
    """A button whose menu takes a file; what it holds is kept in the session under `slot`."""
    turn = st.session_state.get(f"{slot}:turn", 0)  # another key is another menu: the one that was used closes
    with st.popover(label, icon=":material/folder_open:", help=help, key=f"{slot}:menu:{turn}"):
        _open(slot, turn)


@sentences
def _open(slot: str, turn: int) -> None:
    file = st.file_uploader("A saved result (.safetensors) or a graph (.json)", key=f"{slot}:file:{turn}")
    if file is None:
        return
    opened = read(file.getvalue(), file.name)
    st.session_state[slot] = (file.name, opened)
    st.session_state[f"{slot}:turn"] = turn + 1
    if slot == "circuit:opened":
        state.put(size=None, step=None)
        _take_names(opened)
    st.rerun()


def read(data: bytes, name: str) -> Any:
    """What a file holds: a result of these pages, or a `CircuitGraph`. Anything else raises `BadFile`."""
    if len(data) > _LARGEST:
        raise BadFile(f"{name} is larger than {_LARGEST // 1_000_000} MB: no circuit is.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"opened{Path(name).suffix[:16]}"
        path.write_bytes(data)
        try:
            return _read(path, is_graph=data.lstrip()[:1] in (b"{", b"["))
        except (BadFile, BadInput) as error:
            raise BadFile(str(error).replace(str(path), name)) from error


def _read(path: Path, *, is_graph: bool) -> Any:
    from workbench.circuits.graph_data import CircuitGraph
    from workbench.results import load_result

    if is_graph:
        return CircuitGraph.load(path)
    found = load_result(path)
    if found.kind not in RESULTS:
        raise BadFile(f"{path} holds a {found.kind!r} result; this page shows {', '.join(RESULTS)}.")
    return found


def opened_of(slot: str) -> tuple[str, Any] | None:
    """The name of the file and what it holds, if one is open."""
    return st.session_state.get(slot)


def close(slot: str) -> None:
    """Leave the file."""
    st.session_state.pop(slot, None)
    if slot == "circuit:opened":
        state.put(size=None, step=None)


def said_of(opened: Any, model: str) -> str:
    """What to know of an opened file beside the page's address, and where it was made for another model than this."""
    made_for = str(getattr(opened, "model", "") or getattr(opened, "meta", {}).get("model", ""))
    other = f"Made for {made_for}, shown on {model}. " if made_for not in ("", model) else ""
    return f"{other}A link to this page does not carry the file."


def _take_names(opened: Any) -> None:
    """Names and groups that a file holds become those of the page."""
    labels, groups, pinned = _named(opened)
    if labels or groups or pinned:
        take(Names(labels=labels, groups=groups, pinned=pinned))


def _named(opened: Any) -> tuple[dict[str, str], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """What a file says of names, groups and pins; a result keeps them beside what made it."""
    if hasattr(opened, "labels"):
        return dict(opened.labels), dict(opened.groups), tuple(opened.pinned)
    said = opened.meta.get("page", {})
    if not isinstance(said, dict):
        return {}, {}, ()
    parts = [said.get(key) for key in ("labels", "groups")]
    labels, groups = (part if isinstance(part, dict) else {} for part in parts)
    pins = said.get("pinned")
    return labels, groups, tuple(pins) if isinstance(pins, list | tuple) else ()


def named(graph: "CircuitGraph", names: Names) -> "CircuitGraph":
    """The graph with what the reader has called its nodes."""
    nodes = set(graph.nodes)
    pinned = tuple(node for node in names.pinned if node in nodes)
    return graph.with_(labels=dict(names.labels), groups=dict(names.groups), pinned=pinned)


def save(seen: Subject, one: Shown, graph: "CircuitGraph", names: Names) -> None:
    """Everything the circuit can be saved as; files are made when asked for."""
    whole = named(graph, names)
    stem = file_name(f"circuit-{seen.model.name}-{one.title}")
    if one.found is not None:
        said = {"labels": dict(names.labels), "groups": dict(names.groups), "pinned": names.pinned}
        found = one.found
        _file(
            "Result: all scores, the curve, your names",
            lambda: _bytes(lambda path: replace(found, meta={**found.meta, "page": said}).save(path)),
            f"{stem}.safetensors",
            "application/octet-stream",
            "Opens here again, and with workbench.load_result.",
        )
    forms: list[tuple[str, str, str, Callable[[], str | bytes], str]] = [
        ("This circuit as a graph", "json", "application/json", lambda: _json(whole.to_json()), "Opens here again."),
        (
            "Node-link form of networkx",
            "node-link.json",
            "application/json",
            lambda: _json(whole.to_node_link()),
            "networkx.node_link_graph reads it.",
        ),
        ("GraphML", "graphml", "application/xml", lambda: _graphml(whole), "Gephi, yEd and networkx read it."),
        (
            "EAP-IG form",
            "eap.json",
            "application/json",
            lambda: _json(whole.to_eap()),
            "As EAP-IG writes.",
        ),
        (
            "Attribution graph form",
            "attribution.json",
            "application/json",
            lambda: _json(whole.to_attribution_graph()),
            "circuit-tracer and Neuronpedia read it.",
        ),
    ]
    with st.container(horizontal=True):
        for label, ending, mime, data, help in forms:
            _file(label, data, f"{stem}.{ending}", mime, help)


def _file(label: str, data: Callable[[], Any], name: str, mime: str, help: str) -> None:
    st.download_button(
        label,
        data,
        name,
        mime,
        key=f"circuit file {label}",
        on_click="ignore",
        icon=":material/file_save:",
        help=plain(help),
    )


def _json(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)


def _graphml(graph: "CircuitGraph") -> bytes:
    return _bytes(lambda path: graph.to_graphml(path))


def _bytes(write: Callable[[Path], Any]) -> bytes:
    """What `write` leaves in a file."""
    with tempfile.TemporaryDirectory() as folder:
        write(path := Path(folder) / "file")
        return path.read_bytes()
