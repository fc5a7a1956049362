"""Search in directed graphs: how far one has to look ahead, and what reachable sets grow to by merging."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from workbench.errors import BadInput


def look_ahead(edges: Iterable[Sequence[int]], start: int, goal: int) -> int:
    """How many steps of a breadth-first search tell which way out of `start` leads to `goal`.

    All ways out are followed side by side, a step at a time, until the goal is met or only one of them (or only ways
    that lead there) goes on. 0 where there is one way out; L for arms of one length L with the goal at the end of one.
    Raises `BadInput` where no path leads there, or start and goal are the same.
    Saparov et al. (2024), Transformers Struggle to Learn to Search.
    """
    children: dict[int, set[int]] = {}
    for parent, child in edges:
        if child != start:  # a way that comes back is no way out
            children.setdefault(parent, set()).add(child)
    ways = {way: _within(children, way) for way in children.get(start, ())}
    right = {way for way, reached in ways.items() if goal in reached}
    if start == goal or not right:
        raise BadInput(f"No path leads from {start} to {goal}: give a graph that joins two different vertices.")
    if right == set(ways):
        return 0
    met: dict[int, set[int]] = {way: {way} for way in ways}
    fronts = {way: {way} for way in ways}
    steps = 1
    while not any(goal in front for front in fronts.values()):
        for way, front in fronts.items():
            fronts[way] = {child for vertex in front for child in children.get(vertex, ())} - met[way]
            met[way] |= fronts[way]
        steps += 1
        if all(way in right for way, front in fronts.items() if front):
            break
    return steps


def reach_by_merging(
    adjacent: Bool[Tensor, "*batch vertex vertex"], layers: int
) -> Bool[Tensor, "layer *batch vertex vertex"]:
    """Which vertices each vertex knows it can reach after 0, 1 ... `layers` layers of ideal path merging.

    adjacent[u, v] says that an edge leads from u to v. Before the first layer each vertex knows itself and where its
    edges lead. Each layer joins to its set the sets of all that are in it, so that after l layers it holds what is
    within 2^l edges. Entry 0 of the result is what is known before any layer. Cost: layers * vertex^3.
    Saparov et al. (2024), Transformers Struggle to Learn to Search.
    """
    if layers < 0:
        raise BadInput(f"Sets are merged in 0 or more layers, not {layers}.")
    known = adjacent | torch.eye(adjacent.shape[-1], dtype=torch.bool, device=adjacent.device)
    sets = [known]
    for _ in range(layers):
        known = (known.to(torch.float32) @ known.to(torch.float32)) > 0
        sets.append(known)
    return torch.stack(sets)


def merged_sets(
    sets: Bool[Tensor, "pos item"],
    operations: Int[Tensor, "operation 3"],
    layers: int,
    *,
    by: Bool[Tensor, "operation item"] | None = None,
) -> tuple[Bool[Tensor, "state pos item"], Bool[Tensor, "operation"]]:
    """What each position holds if every operation (layer, to, from) joins two sets that share an item.

    `sets` is what each position holds before the first layer; state l + 1 is what is held after layer l, and operations
    of one layer happen at once. With `by`, an operation counts only items that are True in its row as shared. Gives
    the states, and which operations found something to share: path merging explains those, and no other has an effect.
    """
    states, explained = [sets], torch.zeros(len(operations), dtype=torch.bool, device=sets.device)
    for layer in range(layers):
        now, then = states[-1], states[-1].clone()
        for number in (operations[:, 0] == layer).nonzero().flatten().tolist():
            to, source = operations[number, 1:].tolist()
            shared = now[to] & now[source]
            shared = shared if by is None else shared & by[number]
            if bool(shared.any()):
                explained[number] = True
                then[to] |= now[source]
        states.append(then)
    return torch.stack(states), explained


def _within(children: dict[int, set[int]], start: int) -> set[int]:
    """The vertex and all that can be reached from it."""
    found, left = {start}, [start]
    while left:
        new = children.get(left.pop(), set()) - found
        found |= new
        left += new
    return found
