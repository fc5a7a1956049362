"""Circuit graphs as text: our own JSON, written and read.

    {"format": "workbench-circuit", "version": 1, "model": "smollm2-135m",
     "shape": {"n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "mlps": true, "parallel": false, "slots": "kv-head",
               "neurons": [], "n_neurons": 0, "d_model": 576, "order": "pre",
               "positions": []},
     "precision": "single",
     "edges": {"source": ["input", ...], "slot": ["a0.h0<q>", ...], "score": [0.25, null, ...], "kept": [true, ...]},
     "labels": {"a5.h1": "previous token"}, "groups": {"movers": ["a9.h9", "a9.h6"]}, "pinned": ["a5.h1"],
     "about": {"task": "ioi"}}

Edges stand in columns, as long as each other, and only those with a score or kept are listed. `score` and `kept` are
left out where the graph has none; `pos` is there where it has positions. A score of null is an edge without one.
"""

import json
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.circuits.graph_data import CircuitGraph
from workbench.errors import BadFile, BadInput, UnknownName

FORMAT, VERSION = "workbench-circuit", 1
SHAPE = (
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "mlps",
    "parallel",
    "slots",
    "neurons",
    "n_neurons",
    "d_model",
    "order",
    "positions",
)
PRECISIONS = {"single": torch.float32, "double": torch.float64}
WORDS = ("labels", "groups", "pinned", "about")


def to_json(graph: CircuitGraph) -> str:
    """All of a graph as text."""
    words = {name: getattr(graph, name) for name in WORDS}
    try:
        return json.dumps({**_head(graph), "edges": _columns(graph), **words}, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"What the graph says about itself cannot be written down: {error}.") from error


def to_head(graph: CircuitGraph) -> str:
    """All of a graph but its edges as text, in ASCII: what a form of nodes and edges cannot say."""
    return json.dumps({**_head(graph), **{name: getattr(graph, name) for name in WORDS}}, allow_nan=False)


def _head(graph: CircuitGraph) -> dict[str, Any]:
    double = graph.scores is not None and graph.scores.dtype == torch.float64
    shape = {name: getattr(graph, name) for name in SHAPE}
    head = {"format": FORMAT, "version": VERSION, "model": graph.model, "shape": shape}
    return {**head, "precision": "double" if double else "single"}


def _columns(graph: CircuitGraph) -> dict[str, list[Any]]:
    listed = graph.exists.expand(graph.shape)
    said = [x for x in (None if graph.scores is None else ~graph.scores.isnan().cpu(), graph.kept) if x is not None]
    listed = listed & (torch.stack([x.cpu() for x in said]).any(0) if said else torch.zeros_like(listed))
    *pos, source, slot = listed.nonzero().unbind(-1)
    columns: dict[str, list[Any]] = {
        "source": [graph.sources[i] for i in source.tolist()],
        "slot": [graph.slot_names[i] for i in slot.tolist()],
    }
    if pos:
        columns["pos"] = pos[0].tolist()
    if graph.scores is not None:
        columns["score"] = plain_numbers(graph.scores.detach().cpu()[listed])
    if graph.kept is not None:
        columns["kept"] = graph.kept.cpu()[listed].tolist()
    return columns


def plain_numbers(values: Tensor) -> list[float | None]:
    """Numbers that are read back as the same ones, in as few digits as their precision needs; None for NaN."""
    if values.dtype == torch.float64:
        return [None if math.isnan(x) else x for x in values.tolist()]
    return [None if x == "nan" else float(x) for x in values.float().numpy().astype(str).tolist()]


def load(path: str | PathLike[str]) -> CircuitGraph:
    """The graph in a file, of our own form, EAP-IG's or node-link. Raises `BadFile` where there is none."""
    path = Path(path)
    try:
        return from_json(path.read_bytes(), name=str(path))
    except FileNotFoundError:
        raise BadFile(f"There is no file {path}. Circuit graphs are written with graph.save(path).") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error


def from_json(text: str | bytes, *, name: str = "This text") -> CircuitGraph:
    """The graph in a text, of our own form, EAP-IG's or node-link; `name` is what error messages call it."""
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} is not JSON, or is damaged: {str(error)[:200]}.") from None
    keys = set(data) if isinstance(data, dict) else set()
    if {"cfg", "nodes", "edges"} <= keys:
        from workbench.circuits.graph_eap import from_eap

        read = from_eap
    elif "format" in keys and data["format"] == FORMAT:
        read = _ours
    elif "nodes" in keys and keys & {"edges", "links"}:
        from workbench.circuits.graph_networks import from_node_link

        read = from_node_link
    else:
        raise BadFile(
            f"{name} is no circuit graph: it is neither in the form of this workbench nor in EAP-IG's, nor node-link."
        )
    try:
        return read(data)
    except (BadInput, UnknownName) as error:
        raise BadFile(f"{name} is no usable circuit graph: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, MemoryError) as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadFile(f"{name} is no usable circuit graph: a part is missing or of another kind ({what}).") from error


def _no_constant(word: str) -> float:
    raise ValueError(f"it holds {word}, which is no number")


def from_head(data: Mapping[str, Any]) -> CircuitGraph:
    """A graph without scores and kept edges, from what `to_head` wrote."""
    if data.get("version") != VERSION:
        raise BadInput(f"it has version {str(data.get('version'))[:40]}, and this workbench reads {VERSION}.")
    shape = {"order": "", **data["shape"]}  # files of before have none
    if set(shape) != set(SHAPE):
        raise BadInput(f"its shape has other parts than expected: {', '.join(sorted(set(shape) ^ set(SHAPE)))[:200]}.")
    for key in ("mlps", "parallel"):
        if not isinstance(shape[key], bool):
            raise BadInput(f"{key} is true or false, not {shape[key]!r}.")
    for key in ("neurons", "positions"):
        if not isinstance(shape[key], list):
            raise BadInput(f"{key} is a list, not {shape[key]!r}.")
    if not all(isinstance(label, str) for label in shape["positions"]):
        raise BadInput("positions are told apart by texts.")
    return CircuitGraph(
        **{**shape, "neurons": tuple(shape["neurons"]), "positions": tuple(shape["positions"])},
        model=data["model"],
        labels=data["labels"],
        groups={name: tuple(nodes) for name, nodes in data["groups"].items()},
        pinned=tuple(data["pinned"]),
        about=data["about"],
    )


def _ours(data: Mapping[str, Any]) -> CircuitGraph:
    graph = from_head(data)
    columns = data["edges"]
    expected = {"source", "slot", *(["pos"] if graph.positions else [])}
    if not expected <= set(columns) <= expected | {"score", "kept"}:
        raise BadInput(f"its edges have the columns {', '.join(map(str, columns))[:200]}.")
    if len({len(column) for column in columns.values()}) > 1:
        raise BadInput("the columns of its edges are not as long as each other.")
    pos = columns.get("pos", [])
    if not all(type(p) is int and 0 <= p < len(graph.positions) for p in pos):
        raise BadInput(f"positions of edges are whole numbers from 0 to {len(graph.positions) - 1}.")
    pairs = zip(map(graph.source_index, columns["source"]), map(graph.slot_index, columns["slot"]), strict=True)
    at = [(p, *pair) for p, pair in zip(pos, pairs, strict=True)] if graph.positions else list(pairs)
    return filled(graph, at, columns.get("score"), columns.get("kept"), PRECISIONS[data["precision"]])


def filled(
    graph: CircuitGraph,
    at: list[tuple[int, ...]],
    scores: list[Any] | None,
    kept: list[Any] | None,
    dtype: torch.dtype = torch.float32,
) -> CircuitGraph:
    """The graph with scores and kept edges put where `at` says; each place once, and only where there is an edge."""
    index = torch.tensor(at, dtype=torch.long).reshape(-1, len(graph.shape)).unbind(-1)
    there = graph.exists[index[-2], index[-1]]
    if not bool(there.all()):
        raise BadInput(graph.no_edge(*at[int((~there).nonzero()[0])][-2:]))
    if len(set(at)) < len(at):
        raise BadInput("it names an edge twice.")
    found: dict[str, Any] = {}
    if scores is not None:
        wrong = [x for x in scores if x is not None and (isinstance(x, bool) or not isinstance(x, int | float))]
        if wrong or not all(math.isfinite(x) for x in scores if x is not None):
            raise BadInput(f"its scores are not all finite numbers{f' ({wrong[0]!r} is none)' if wrong else ''}.")
        found["scores"] = torch.full(graph.shape, math.nan, dtype=dtype)
        found["scores"][index] = torch.tensor([math.nan if x is None else float(x) for x in scores], dtype=dtype)
    if kept is not None:
        if not all(isinstance(x, bool) for x in kept):
            raise BadInput("kept edges are true or false.")
        found["kept"] = torch.zeros(graph.shape, dtype=torch.bool)
        found["kept"][index] = torch.tensor(kept, dtype=torch.bool)
    return graph.with_(**found)
