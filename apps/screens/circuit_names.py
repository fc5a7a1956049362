"""What the reader makes of a circuit: pins, names and groups of nodes, kept in the address and in saved files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state
from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.circuits.graph_data import CircuitGraph

OPTIONS = frozenset({"pinned", "names", "groups"})
LONGEST = 40  # characters of a name
_MOST = 60  # names that an address holds


@dataclass(frozen=True, kw_only=True)
class Names:
    """Pinned nodes, names of nodes, nodes that are drawn as one."""

    pinned: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def members(self, mark: str) -> tuple[str, ...]:
        """The nodes that a mark of the drawing stands for."""
        return self.groups.get(mark, (mark,))


def names_of(graph: "CircuitGraph") -> Names:
    """What the address says; what does not fit the graph leaves it."""
    nodes = frozenset(graph.nodes)
    groups = state.fitting("groups", {}, lambda text: checked_groups(json.loads(text), nodes))
    marks = nodes | set(groups) | {slot.partition("<")[0] for slot in graph.slot_names}
    return Names(
        pinned=state.fitting("pinned", (), lambda text: _checked_pins(tuple(text.split(",")), marks)),
        labels=state.fitting("names", {}, lambda text: checked_labels(json.loads(text), nodes)),
        groups=groups,
    )


def checked_labels(value: Any, nodes: frozenset[str]) -> dict[str, str]:
    """Names of nodes, as they stand in an address or a file. Anything else raises `ValueError`."""
    if not isinstance(value, Mapping) or len(value) > _MOST:
        raise ValueError("names are a table of nodes and texts")
    for node, text in value.items():
        if node not in nodes or not isinstance(text, str) or not 0 < len(text) <= LONGEST:
            raise ValueError(f"{node!r} has no name that can be shown")
    return dict(value)


def checked_groups(value: Any, nodes: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Groups of nodes, each node in one at most. Anything else raises `ValueError`."""
    if not isinstance(value, Mapping) or len(value) > _MOST:
        raise ValueError("groups are a table of names and nodes")
    taken: list[str] = []
    for name, members in value.items():
        if not isinstance(members, list | tuple) or len(members) < 2 or not set(members) <= nodes - {"input", "logits"}:
            raise ValueError(f"{name!r} is no group of this graph")
        if not isinstance(name, str) or name != _tidy(name) or not name or name in nodes:
            raise ValueError(f"{name!r} is no name of a group")
        taken += members
    if len(taken) != len(set(taken)):
        raise ValueError("a node is in two groups")
    return {name: tuple(members) for name, members in value.items()}


def _checked_pins(pins: tuple[str, ...], marks: frozenset[str] | set[str]) -> tuple[str, ...]:
    if not set(pins) <= marks:
        raise ValueError("not in this graph")
    return tuple(dict.fromkeys(pins))


def take(names: Names) -> None:
    """Put names, groups and pins into the address."""
    state.put(
        pinned=",".join(names.pinned) or None,
        names=_text(names.labels),
        groups=_text({name: list(members) for name, members in names.groups.items()}),
    )


def _text(value: Mapping[str, Any]) -> str | None:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else None


def pin(names: Names, mark: str, *, more: bool) -> Names:
    """Pin a mark, beside the others if `more`; a pinned one is let go. "" lets all go."""
    if not mark:
        pinned: tuple[str, ...] = ()
    elif more:
        pinned = tuple(p for p in names.pinned if p != mark) if mark in names.pinned else (*names.pinned, mark)
    else:
        pinned = () if names.pinned == (mark,) else (mark,)
    return Names(pinned=pinned, labels=names.labels, groups=names.groups)


def rename(names: Names, mark: str, text: str) -> Names:
    """Give a node or a group another name; the empty one takes the name of a node away."""
    text = _tidy(text)
    if mark in names.groups:
        if not text or text == mark:
            return names
        if text in names.groups:
            raise BadInput(f"There already is a group called {text}.")
        groups = {text if name == mark else name: members for name, members in names.groups.items()}
        return Names(pinned=tuple(text if p == mark else p for p in names.pinned), labels=names.labels, groups=groups)
    labels = {node: label for node, label in names.labels.items() if node != mark} | ({mark: text} if text else {})
    if len(labels) > _MOST:
        raise BadInput(f"At most {_MOST} nodes can have names of their own.")
    return Names(pinned=names.pinned, labels=labels, groups=names.groups)


def _tidy(text: str) -> str:
    """A name on one line; a comma parts the pins of an address."""
    return " ".join(text.replace(",", " ").split())[:LONGEST]


def group(names: Names, text: str, graph: "CircuitGraph") -> Names:
    """Draw the pinned nodes as one. Groups among them are taken in."""
    text = _tidy(text)
    members = tuple(dict.fromkeys(node for mark in names.pinned for node in names.members(mark)))
    if not set(members) <= set(graph.nodes) - {"input", "logits"}:
        raise BadInput("Heads, MLPs and neurons can be grouped; the input, the logits and shared keys cannot.")
    if len(members) < 2:
        raise BadInput("Pin at least two nodes (Shift and click) to make a group of them.")
    others = {name: nodes for name, nodes in names.groups.items() if name not in names.pinned}
    if not text or text in others or text in graph.nodes:
        raise BadInput(f"A group needs a name that nothing else has{f'; {text} is taken' if text else ''}.")
    return Names(pinned=(text,), labels=names.labels, groups={**others, text: members})


def ungroup(names: Names, mark: str) -> Names:
    """Draw the nodes of a group by themselves again."""
    groups = {name: members for name, members in names.groups.items() if name != mark}
    rest = tuple(p for p in names.pinned if p != mark)
    return Names(pinned=(*rest, *names.groups[mark]), labels=names.labels, groups=groups)


def clicked(key: str, names: Names) -> None:
    """What a click in the drawing of that key does."""
    if told := st.session_state[key].pin:
        take(pin(names, str(told.get("node", "")), more=bool(told.get("more"))))
