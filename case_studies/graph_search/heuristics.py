"""Rules that answer without a search: what a model could get right by shortcuts. Each names a child of the start."""

from collections.abc import Callable

from case_studies.graph_search.problems import Problems

Rule = Callable[[list[list[int]], int, int], list[int]]
"""(edges, start, goal) -> the children of the start that the rule names."""


def children(edges: list[list[int]], start: int) -> list[int]:
    """Where the edges out of the start lead, in the order in which they stand."""
    return [child for parent, child in edges if parent == start]


def first(edges: list[list[int]], start: int, goal: int) -> list[int]:
    """The child in the edge that stands first."""
    return children(edges, start)[:1]


def last(edges: list[list[int]], start: int, goal: int) -> list[int]:
    """The child in the edge that stands last."""
    return children(edges, start)[-1:]


def busiest(edges: list[list[int]], start: int, goal: int) -> list[int]:
    """The child with the most edges."""
    counts = {child: sum(child in edge for edge in edges) for child in children(edges, start)}
    return [child for child, count in counts.items() if count == max(counts.values())]


def near(edges: list[list[int]], start: int, goal: int) -> list[int]:
    """The goal itself or its parent, where the start has an edge there: a search of one step back."""
    close = {goal, *(parent for parent, child in edges if child == goal)}
    named = [child for child in children(edges, start) if child in close]
    return named or children(edges, start)


RULES: dict[str, Rule] = {"first": first, "last": last, "busiest": busiest, "near": near}


def accuracy(rule: Rule, problems: Problems) -> float:
    """How often a rule is right; where it names several, the chance of a draw among them."""
    edges, starts, goals = problems.edges.tolist(), problems.start.tolist(), problems.goal.tolist()
    right = problems.accepted().tolist()
    total = 0.0
    for row, (listed, start, goal) in enumerate(zip(edges, starts, goals, strict=True)):
        named = rule([edge for edge in listed if edge[0] >= 0], start, goal)
        total += sum(right[row][child] for child in named) / max(1, len(named))
    return total / len(problems)


def guessing(problems: Problems) -> float:
    """How often a child of the start is right that is drawn at random."""
    return accuracy(lambda edges, start, goal: children(edges, start), problems)
