"""Edges of a circuit as tables: all of them, and those of a pinned node."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from apps.views.circuit_graph import KINDS, strongest
from apps.views.circuit_marks import slot_kind

if TYPE_CHECKING:
    import pandas as pd

    from workbench.circuits.graph_data import CircuitGraph


def edge_frame(graph: "CircuitGraph", labels: Mapping[str, str], search: str = "") -> "pd.DataFrame":
    """One row for each kept edge, the strongest first; `search` leaves those whose nodes or names hold it."""
    import pandas as pd

    rows = []
    for rank, (source, slot, score) in enumerate(strongest(graph), start=1):
        start, end = graph.sources[source], graph.slot_names[slot]
        node = end.partition("<")[0]
        rows.append((rank, start, end, KINDS[slot_kind(end)], score, labels.get(start, ""), labels.get(node, "")))
    word = search.strip().casefold()
    rows = [row for row in rows if any(word in str(text).casefold() for text in (*row[1:4], *row[5:]))]
    columns = ["rank", "from", "into", "read as", "score", "from is called", "into is called"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame if labels else frame.drop(columns=columns[-2:])


def beside_frames(
    graph: "CircuitGraph", members: Sequence[str], labels: Mapping[str, str]
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Edges into and out of some nodes, or of keys and values that heads share; those between them in neither."""
    import pandas as pd

    into: list[tuple[str, str, str, float]] = []
    out: list[tuple[str, str, str, float]] = []
    own = set(members)
    places = [graph.node_index(name) for name in members if name in set(graph.nodes)]
    read = {slot for slot in range(len(graph.slot_names)) if graph.slot_names[slot].partition("<")[0] in own}
    if places:
        read |= set(graph.feeds[:, places].any(-1).nonzero().flatten().tolist())

    def called(name: str) -> str:
        return f"{name}  {labels[name]}" if name in labels else name

    for source, slot, score in strongest(graph):
        start, end = graph.sources[source], graph.slot_names[slot]
        comes, goes = slot in read, start in own
        if comes and not goes:
            into.append((called(start), end.partition("<")[0], KINDS[slot_kind(end)], score))
        if goes and not comes:
            node = end.partition("<")[0]
            out.append((start, called(node), KINDS[slot_kind(end)], score))
    columns = ["from", "into", "read as", "score"]
    frames = pd.DataFrame(into, columns=columns), pd.DataFrame(out, columns=columns)
    if len(members) > 1:
        return frames
    return frames[0].drop(columns="into"), frames[1].drop(columns="from")
