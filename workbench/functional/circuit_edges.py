"""Which edges make a circuit: the best scores, the best reachable from the answer, and what is left when dead ends go.

Scores and kept edges are (source, slot), as a circuit graph has them, or (pos, source, slot). `exists` is where there
are edges, and `feeds` (slot, node) into which nodes a slot's reading goes; the first nodes are the sources in their
order, and nodes after them (the logits) only read. A score of NaN is no score: such edges are never chosen, and as
edges that exist they still count as edges.

A head is one node: it is part of a circuit as soon as one of its queries, keys and values is fed, and once it is, all
three may be fed. What a head writes depends on each of them: with clean queries alone it looks elsewhere, and so
writes something else. So an edge from a head of which no slot is fed carries what the other prompt has written
whether it is kept or not, and taking it away changes nothing; an edge from a head of which any slot is fed may.

With positions a slot's edges lie at the position that reads. Queries, MLPs and logits read for their own position;
`carried` names the slots, keys and values, whose reading goes to later positions too (to all if not `causal`).
"""

import torch
from jaxtyping import Bool, Int, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole

NEVER = torch.iinfo(torch.int64).max


def top_order(
    scores: Real[Tensor, "*pos source slot"], exists: Bool[Tensor, "source slot"], *, absolute: bool = True
) -> Int[Tensor, "edge"]:
    """The edges from the highest score to the lowest, as places in the flattened scores; equal ones in their order.

    `absolute` goes by size whatever the sign: an edge that hurts is part of how the answer comes about.
    """
    flat = _merit(scores, exists, absolute).flatten()
    order = flat.argsort(descending=True, stable=True)
    return order[: int((flat > -torch.inf).sum())]


def greedy_order(
    scores: Real[Tensor, "*pos source slot"],
    exists: Bool[Tensor, "source slot"],
    feeds: Bool[Tensor, "slot node"],
    *,
    absolute: bool = True,
    carried: Bool[Tensor, "slot"] | None = None,
    causal: bool = True,
) -> Int[Tensor, "edge"]:
    """The edges in the order in which a circuit grows back from the answer: always the best one that reaches it.

    It begins with the slots that feed no source. The edge taken is the one with the highest score among those into a
    slot of a node in the circuit, which then has that edge's source too. Every beginning of the order is a circuit
    all of whose edges have a way to the answer. Edges that never reach it, or have no score, are not in the order.
    Cost: one sort of the scores, and for each node that joins, a look at one number for each source.
    """
    merit = _merit(scores, exists, absolute)
    rank = _ranks(merit if merit.ndim == 3 else merit[None])  # (pos, source, slot)
    n_pos, n_sources, n_slots = rank.shape
    into = feeds[:, :n_sources].to(rank.device)
    reach = _Reach(n_pos, None if carried is None else carried.to(rank.device), causal)
    opened = rank.new_full((n_pos, n_slots), NEVER)  # how many nodes had joined when the slot opened
    best = rank.new_full((n_pos, n_sources), NEVER)  # the best open edge of each source
    closed = torch.stack([reach.slots_before(into, pos) for pos in range(n_pos)])  # (pos, source): slots still shut
    ends: list[int] = []  # the edges with which nodes join, which lets further slots open

    def open_slots(at: Tensor) -> None:
        for pos, slot in at.tolist():
            opened[pos, slot] = len(ends)
            torch.minimum(best[pos], rank[pos, :, slot], out=best[pos])
            closed[reach.after(pos, slot)] -= into[slot].long()

    open_slots((~into.any(-1)).expand(n_pos, -1).nonzero())
    while True:
        joining = best.where(closed > 0, NEVER).flatten()
        source = int(joining.argmin())
        if joining[source] == NEVER:
            break
        ends.append(int(joining[source]))
        pos, number = divmod(source, n_sources)
        open_slots((reach.before(pos, into[:, number]) & (opened == NEVER)).nonzero())
        closed[pos, number] = 0
    return _taken_in_turn(rank, opened, ends)


def first_edges(order: Int[Tensor, "edge"], n: int, shape: tuple[int, ...]) -> Bool[Tensor, "*pos source slot"]:
    """The first `n` edges of an order as kept edges of that shape; all of it where there are fewer."""
    need_whole("n", n)
    if n < 0:
        raise BadInput(f"A circuit has 0 or more edges, not {n}.")
    kept = torch.zeros(shape, dtype=torch.bool, device=order.device)
    kept.view(-1)[order[:n]] = True
    return kept


def top_edges(
    scores: Real[Tensor, "*pos source slot"], exists: Bool[Tensor, "source slot"], n: int, *, absolute: bool = True
) -> Bool[Tensor, "*pos source slot"]:
    """The `n` edges with the highest scores, wherever they are; `prune_edges` takes away those that lead nowhere."""
    return first_edges(top_order(scores, exists, absolute=absolute), n, tuple(scores.shape))


def greedy_edges(
    scores: Real[Tensor, "*pos source slot"],
    exists: Bool[Tensor, "source slot"],
    feeds: Bool[Tensor, "slot node"],
    n: int,
    *,
    absolute: bool = True,
    carried: Bool[Tensor, "slot"] | None = None,
    causal: bool = True,
) -> Bool[Tensor, "*pos source slot"]:
    """The first `n` edges of a circuit that grows back from the answer (`greedy_order`)."""
    order = greedy_order(scores, exists, feeds, absolute=absolute, carried=carried, causal=causal)
    return first_edges(order, n, tuple(scores.shape))


def prune_edges(
    kept: Bool[Tensor, "*pos source slot"],
    feeds: Bool[Tensor, "slot node"],
    *,
    carried: Bool[Tensor, "slot"] | None = None,
    causal: bool = True,
) -> Bool[Tensor, "*pos source slot"]:
    """The kept edges that lie on a way from the input to the answer; the others change nothing and go.

    A source without slots, the input, is where ways begin, and a slot that feeds no source, the logits, is where they
    end. Repeated until nothing more goes, once for each layer at most.
    """
    edges = kept if kept.ndim == 3 else kept[None]
    into = feeds[:, : edges.shape[1]].to(kept.device)  # (slot, source)
    begins, ends = ~into.any(0), ~into.any(-1)
    live, useful = begins.expand(edges.shape[:2]), ends.expand(edges[:, 0].shape)
    while True:
        fed = (edges & live[..., None]).any(1)  # (pos, slot)
        alive = begins | _any_of(_spread(fed, carried, causal, forward=True), into)
        wanted = _any_of((edges & useful[:, None]).any(-1), into.T)  # (pos, slot): some source it feeds is of use
        used = ends | _spread(wanted, carried, causal, forward=False)
        if torch.equal(alive, live) and torch.equal(used, useful):
            break
        live, useful = alive, used
    return (edges & live[..., None] & useful[:, None]).reshape(kept.shape)


def kept_nodes(
    kept: Bool[Tensor, "*circuit source slot"], feeds: Bool[Tensor, "slot node"]
) -> Bool[Tensor, "*circuit node"]:
    """The nodes of a circuit: those with a kept edge from them or into one of their slots.

    A kv head or a split MLP that is fed is not all of its nodes: of these, the ones count from which an edge leads on.
    """
    writes, feeds = kept.any(-1), feeds.to(kept.device)  # (*circuit, source)
    n_sources = kept.shape[-2]
    alone = feeds & (feeds.sum(-1, keepdim=True) == 1)
    reads = _any_of(kept.any(-2), alone)
    return torch.cat([reads[..., :n_sources] | writes, reads[..., n_sources:]], -1)


def _any_of(rows: Bool[Tensor, "*rows a"], joined: Bool[Tensor, "a b"]) -> Bool[Tensor, "*rows b"]:
    """True where some `a` of the row is joined to `b`."""
    return rows.float() @ joined.float() > 0


def _spread(slots: Tensor, carried: Tensor | None, causal: bool, *, forward: bool) -> Tensor:
    """(pos, slot) with carried slots true at every position that they reach, or that reaches them."""
    if carried is None or len(slots) == 1:
        return slots
    if not causal:
        wide = slots.any(0).expand(slots.shape)
    elif forward:
        wide = slots.int().cummax(0).values.bool()
    else:
        wide = slots.flip(0).int().cummax(0).values.bool().flip(0)
    return torch.where(carried.to(slots.device), wide, slots)


class _Reach:
    """At which positions what a slot reads is of use."""

    def __init__(self, n_pos: int, carried: Tensor | None, causal: bool) -> None:
        self.n_pos, self.carried, self.causal = n_pos, carried, causal

    def after(self, pos: int, slot: int) -> slice:
        """The positions of the sources that a slot feeds."""
        if self.carried is None or not self.carried[slot]:
            return slice(pos, pos + 1)
        return slice(pos, None) if self.causal else slice(None)

    def before(self, pos: int, slots: Bool[Tensor, "slot"]) -> Bool[Tensor, "pos slot"]:
        """Where the slots stand that feed a source at `pos`, of which these are the slots."""
        place = torch.arange(self.n_pos, device=slots.device)[:, None]
        own = (place == pos) & slots
        if self.carried is None:
            return own
        return own | (slots & self.carried & ((place <= pos) if self.causal else (place == place)))

    def slots_before(self, into: Bool[Tensor, "slot source"], pos: int) -> Int[Tensor, "source"]:
        """How many slots feed each source at `pos`."""
        counts = self.before(pos, torch.ones_like(into[:, 0])).sum(0)  # (slot)
        return (counts[:, None] * into).sum(0)


def _ranks(merit: Tensor) -> Int[Tensor, "pos source slot"]:
    """The place of each edge from the best on; `NEVER` where there is none."""
    order = merit.flatten().argsort(descending=True, stable=True)
    order = order[: int((merit > -torch.inf).sum())]
    rank = torch.full((merit.numel(),), NEVER, device=merit.device)
    rank[order] = torch.arange(len(order), device=merit.device)
    return rank.view(merit.shape)


def _taken_in_turn(rank: Tensor, opened: Tensor, ends: list[int]) -> Int[Tensor, "edge"]:
    """The order in which edges are taken, when turn k ends with the edge of rank `ends[k]` and the last with the last.

    In a turn all open edges go that are better than the one that ends it, the best first. So an edge goes in the first
    turn since its slot opened that ends with it or a worse one.
    """
    limits = torch.tensor([*ends, NEVER], device=rank.device)
    turn = torch.full_like(rank, NEVER)
    for since in opened[opened < NEVER].unique().tolist():
        worst = limits[since:].cummax(0).values
        pos, slot = (opened == since).nonzero().unbind(-1)
        turn[pos, :, slot] = since + torch.searchsorted(worst, rank[pos, :, slot])
    edges = ((turn < NEVER) & (rank < NEVER)).flatten().nonzero()[:, 0]
    edges = edges[rank.flatten()[edges].argsort()]
    return edges[turn.flatten()[edges].argsort(stable=True)]


def _merit(scores: Tensor, exists: Tensor, absolute: bool) -> Tensor:
    """What edges are ordered by; minus infinity where there is no edge or no score."""
    if tuple(scores.shape[-2:]) != tuple(exists.shape) or scores.ndim not in (2, 3):
        raise BadInput(f"Scores are of edges {tuple(exists.shape)} (source, slot), not {tuple(scores.shape)}.")
    merit = scores.double()
    merit = merit.abs() if absolute else merit
    return merit.masked_fill(merit.isnan() | ~exists.to(merit.device), -torch.inf)
