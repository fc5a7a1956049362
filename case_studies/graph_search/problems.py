"""Problems such as `. . . > c a > a f > c d ? c f = c`: edges, a start, a goal; the answer is the next vertex, `a`.

Edges stand in any order, vertices have any names, and what is free on the left is filled up. All is drawn in batches.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

VERTICES = tuple("abcdefghij")
"""Names; a vertex's number is its token. A problem has at most nine, so that one is always unused."""
FILL, EDGE, QUERY, PATH = range(len(VERTICES), len(VERTICES) + 4)
WORDS = (*VERTICES, ".", ">", "?", "=")
MOST_EDGES = 8
LENGTH = 3 * MOST_EDGES + 5
"""Eight edges of three tokens, then `? start goal = start`."""
GOAL = LENGTH - 3
"""Position of the goal; the start stands before it and at the end."""
LOOK_AHEADS = (1, 2, 3)
Distribution = Literal["balanced", "naive", "star"]
_PLACES = 9
"""Vertices before they are named: 0 the start, 1 to 3 one arm, 4 to 6 the other, 7 and 8 distractors."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Problems:
    """Graphs with a start, a goal, and a right next vertex; edges that are not there are -1 and come first."""

    edges: Int[Tensor, "problem edge 2"]
    start: Int[Tensor, "problem"]
    goal: Int[Tensor, "problem"]
    label: Int[Tensor, "problem"]

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, chosen: slice | Tensor) -> "Problems":
        return Problems(
            edges=self.edges[chosen], start=self.start[chosen], goal=self.goal[chosen], label=self.label[chosen]
        )

    def tokens(self) -> Int[Tensor, "problem pos"]:
        """What the model reads: always `LENGTH` tokens."""
        there = self.edges[..., :1] >= 0
        marks = torch.where(there, EDGE, FILL)
        listed = torch.cat([marks, torch.where(there, self.edges, FILL)], -1).flatten(1)
        signs = [torch.full_like(self.start, sign) for sign in (QUERY, PATH)]
        return torch.cat([listed, torch.stack([signs[0], self.start, self.goal, signs[1], self.start], -1)], -1)

    def adjacent(self) -> Bool[Tensor, "problem parent child"]:
        """Whether an edge leads from one vertex to another, by names."""
        size = len(VERTICES)
        at = torch.where(self.edges[..., 0] >= 0, self.edges[..., 0] * size + self.edges[..., 1], size * size)
        flat = torch.zeros(len(self), size * size + 1, dtype=torch.bool).scatter(1, at, True)
        return flat[:, :-1].view(-1, size, size)

    def accepted(self) -> Bool[Tensor, "problem vertex"]:
        """Which vertices are right: those next on any shortest path."""
        adjacent, rows = self.adjacent(), torch.arange(len(self))
        far = distances(adjacent)
        return adjacent[rows, self.start] & (far[rows, :, self.goal] == far[rows, self.start, self.goal][:, None] - 1)

    def prompts(self) -> list[str]:
        """The problems as they are typed."""
        return [" ".join(WORDS[token] for token in row) for row in self.tokens().tolist()]


def drawn(count: int, *, seed: int, kind: Distribution = "balanced", look_ahead: int | None = None) -> Problems:
    """Problems of a distribution; the same for the same seed.

    balanced: two arms of equal length from the start, the goal at the end of one, their length uniform in 1 to 3 (or
    `look_ahead`), and up to two edges to vertices of their own that lead nowhere. naive: a random graph without
    cycles and a random pair that a path joins. star: two to four arms of equal length and nothing else.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "naive":
        return _naive(count, generator)
    edges, goal = (_two_arms if kind == "balanced" else _star)(count, generator, look_ahead)
    return _named(edges, torch.zeros_like(goal), goal, torch.ones_like(goal), generator)


def _two_arms(count: int, generator: torch.Generator, look_ahead: int | None) -> tuple[Tensor, Tensor]:
    length = torch.randint(1, 4, (count,), generator=generator)
    length = length if look_ahead is None else torch.full_like(length, look_ahead)
    arms = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 4], [4, 5], [5, 6]]).expand(count, -1, -1)
    there = torch.tensor([1, 2, 3, 1, 2, 3]) <= length[:, None]
    extra = torch.randint(0, 3, (count,), generator=generator)
    distractors = []
    for new, order in ((7, 0), (8, 1)):
        at = torch.randint(0, 10_000, (count,), generator=generator) % (2 * length + 1)  # 0 or a vertex of an arm
        at = torch.where(at > length, at - length + 3, at)
        outward = (torch.rand(count, generator=generator) < 0.5) & (at > 0)  # the start gets no third way out
        ends = torch.stack([at, torch.full_like(at, new)], -1)
        distractors.append(torch.where(outward[:, None], ends, ends.flip(-1)))
        there = torch.cat([there, (extra > order)[:, None]], -1)
    edges = torch.cat([arms, torch.stack(distractors, 1)], 1)
    return edges.masked_fill(~there[..., None], -1), length


def _star(count: int, generator: torch.Generator, look_ahead: int | None) -> tuple[Tensor, Tensor]:
    """Arms of one length: 2 of up to 4, 3 of up to 2, or 4 of up to 2; vertex `length` is the goal, 1 the answer."""
    shapes = [(arms, length) for arms, most in ((2, 4), (3, 2), (4, 2)) for length in range(1, most + 1)]
    shapes = [shape for shape in shapes if look_ahead in (None, shape[1])]
    listed, goals = [], []
    for arms, length in shapes:
        edges = torch.full((MOST_EDGES, 2), -1)
        for arm in range(arms):
            vertices = [0, *range(1 + arm * length, 1 + (arm + 1) * length)]
            rows = [[u, v] for u, v in zip(vertices, vertices[1:], strict=False)]
            edges[arm * length : (arm + 1) * length] = torch.tensor(rows)
        listed.append(edges)
        goals.append(length)
    which = torch.randint(0, len(shapes), (count,), generator=generator)
    return torch.stack(listed)[which], torch.tensor(goals)[which]


def _naive(count: int, generator: torch.Generator) -> Problems:
    """Each vertex gets one parent with probability 1/2, else up to three; a start, a goal, a shortest path."""
    size = torch.randint(3, _PLACES + 1, (count,), generator=generator)
    wanted = torch.where(
        torch.rand(count, _PLACES, generator=generator) < 0.5,
        1,
        torch.randint(1, 4, (count, _PLACES), generator=generator),
    )
    earlier = torch.ones(_PLACES, _PLACES, dtype=torch.bool).tril(-1)  # (child, parent)
    inside = torch.arange(_PLACES)[None, :, None] < size[:, None, None]
    scores = torch.rand(count, _PLACES, _PLACES, generator=generator).masked_fill(~(earlier & inside), -1.0)
    parents = (scores >= 0) & (scores.argsort(-1, descending=True).argsort(-1) < wanted[..., None])
    flat = parents.flatten(1)
    flat = flat & (flat.cumsum(-1) <= MOST_EDGES)
    child_of = flat.view_as(parents).transpose(1, 2)  # (problem, parent, child)
    far = distances(child_of)
    joined = ((far > 0) & (far < _PLACES)).double().flatten(1)
    pair = torch.multinomial(joined, 1, generator=generator)[:, 0]
    start, goal = pair // _PLACES, pair % _PLACES
    rows = torch.arange(count)
    toward = child_of[rows, start] & (far[rows, :, goal] == far[rows, start, goal][:, None] - 1)
    label = torch.multinomial(toward.double(), 1, generator=generator)[:, 0]
    number = torch.where(flat, flat.cumsum(-1) - 1, MOST_EDGES)
    at = torch.arange(_PLACES * _PLACES)
    ends = torch.stack([at % _PLACES, at // _PLACES], -1).expand(count, -1, -1)  # rows are (child, parent)
    edges = torch.full((count, MOST_EDGES + 1, 2), -1).scatter(1, number[..., None].expand(-1, -1, 2), ends)
    return _named(edges[:, :MOST_EDGES], start, goal, label, generator)


def distances(child_of: Bool[Tensor, "problem parent child"]) -> Int[Tensor, "problem parent child"]:
    """Edges on the shortest path between each two vertices; as many as there are vertices where there is none."""
    size = child_of.shape[-1]
    far = torch.where(torch.eye(size, dtype=torch.bool), 0, torch.where(child_of, 1, size))
    for _ in range(size.bit_length()):
        far = torch.minimum(far, (far[..., :, :, None] + far[..., None, :, :]).amin(-2))
    return far


def _named(edges: Tensor, start: Tensor, goal: Tensor, label: Tensor, generator: torch.Generator) -> Problems:
    """Give the vertices names and the edges an order, both at random."""
    count = len(edges)
    names = torch.rand(count, len(VERTICES), generator=generator).argsort(-1)
    there = edges[..., 0] >= 0
    order = torch.where(there, torch.rand(there.shape, generator=generator), -1.0).argsort(-1)
    rows = torch.arange(count)[:, None]
    named = torch.where(there[..., None], names[rows[..., None], edges.clamp(min=0)], -1)[rows, order]
    one = torch.arange(count)
    return Problems(edges=named, start=names[one, start], goal=names[one, goal], label=names[one, label])
