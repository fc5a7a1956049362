"""Whether path merging explains how a model answered: its important operations, run on sets of vertices.

Each position holds a set: at first the vertex that stands there, and the edge (or question) it belongs to. An operation
is explained if query and key hold something in common by which it was found to work: a vertex that both sides of its
score depend on, or the edge that both belong to, where both sides depend on positions. It then joins the two sets. An
answer is explained if in the end the position that answers holds every vertex of the path to the goal.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from case_studies.graph_search.problems import FILL, LENGTH, MOST_EDGES, VERTICES, Problems
from workbench.functional import merged_sets

QUESTION = MOST_EDGES
"""The question is one more edge: goal and both starts belong to it."""
N_ITEMS = len(VERTICES) + MOST_EDGES + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """What path merging makes of the operations of one answer."""

    states: Bool[Tensor, "state pos item"]
    """What each position holds after each layer: vertices, then edges."""
    explained: Bool[Tensor, "operation"]
    path: tuple[int, ...]
    """Vertices from the start to the goal."""

    @property
    def whole(self) -> bool:
        """Whether all of the path has come to the position that answers."""
        return bool(self.states[-1, -1, list(self.path)].all())


def explained(found: Any, problem: Problems) -> Explanation:
    """Run the operations that `attention_operations` found for a problem (a batch of one) on sets."""
    tokens = problem.tokens()[0]
    operations = torch.stack([found.layer, found.query, found.key], -1)
    states, merges = merged_sets(first_sets(tokens), operations, found.n_layers, by=shared_items(found, tokens))
    return Explanation(states=states, explained=merges, path=path_of(problem))


def first_sets(tokens: Int[Tensor, "pos"]) -> Bool[Tensor, "pos item"]:
    """The vertex at each position, and the edge or question it is of; nothing where all is filled up."""
    sets = torch.zeros(LENGTH, N_ITEMS, dtype=torch.bool)
    vertices, filled = (tokens < len(VERTICES)).nonzero().flatten(), (tokens != FILL).nonzero().flatten()
    sets[vertices, tokens[vertices]] = True
    sets[filled, len(VERTICES) + edges_of_positions()[filled]] = True
    return sets


def edges_of_positions() -> Int[Tensor, "pos"]:
    """Which edge each position belongs to; the question is the last."""
    return (torch.arange(LENGTH) // 3).clamp(max=QUESTION)


def shared_items(found: Any, tokens: Int[Tensor, "pos"]) -> Bool[Tensor, "operation item"]:
    """By which vertices and edges each operation works, from what its score depends on."""
    by = torch.zeros(len(found.layer), N_ITEMS, dtype=torch.bool)
    vertex = tokens < len(VERTICES)
    names = torch.nn.functional.one_hot(tokens.clamp(max=len(VERTICES) - 1), len(VERTICES)) * vertex[:, None]
    sides = (found.token_depends.double() @ names.double()) > 0  # (side, operation, vertex)
    by[:, : len(VERTICES)] = sides[0] & sides[1]
    if found.position_depends is not None:
        edge, numbers = edges_of_positions(), torch.arange(len(found.layer))
        placed = found.position_depends.any(-1).all(0)  # both sides depend on some position
        own = found.position_depends[0][numbers, found.query] & found.position_depends[1][numbers, found.key]
        same = edge[found.query] == edge[found.key]
        by[numbers, len(VERTICES) + edge[found.query]] = same & own & placed
    return by


def fetched(found: Any, problem: Problems) -> bool:
    """Whether the operation that the answer hangs on most is a merge that brings the answer.

    It leads to the position that answers, both of its sides depend on a vertex in common, and its key on the answer.
    """
    tokens, label = problem.tokens()[0], int(problem.label[0])
    last = (found.query == LENGTH - 1).nonzero().flatten()
    if not len(last):
        return False
    most = int(last[found.fall[last].argmax()])
    by_vertex = shared_items(found, tokens)[most, : len(VERTICES)].any()
    return bool(by_vertex & (found.token_depends[1, most] & (tokens == label)).any())


def path_of(problem: Problems) -> tuple[int, ...]:
    """Vertices of a shortest path from the start over the answer to the goal, of a batch of one."""
    children: dict[int, list[int]] = {}
    for parent, child in problem.edges[0].tolist():
        children.setdefault(parent, []).append(child)
    start, goal, label = int(problem.start[0]), int(problem.goal[0]), int(problem.label[0])
    paths = [(start, label)]
    while paths[0][-1] != goal:
        paths = [(*path, child) for path in paths for child in children.get(path[-1], ()) if child not in path]
        paths.sort(key=lambda path: path[-1] != goal)
    return paths[0]
