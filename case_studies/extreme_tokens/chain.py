"""Bigram-Backcopy: sequences of a Markov chain in which some symbols make the one before them come again.

Guo et al. (2024), Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs. After a
trigger comes the symbol before it; after any other symbol what the chain says. A sequence starts with `<s>`, which says
nothing.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

START, TRIGGERS, SYMBOLS = 0, 3, 32
WORDS = ("<s>", "@", "#", "&", *"abcdefghijklmnopqrstuvwxyzABC")
"""The tokens: the start, the triggers, and the other symbols, the most frequent ones first."""
LENGTH = 64
"""Tokens that are read; the one after the last is only predicted."""
CONCENTRATION = 0.3
"""Of the Dirichlet distribution that each symbol's successors are drawn from: few of them are likely."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Losses:
    """What the best predictor loses, mean over positions, in nats."""

    start: float
    """On the first symbol: nothing is known."""
    trigger: float
    """After triggers: nothing is lost where they copy."""
    other: float
    """After the other symbols: sum of pi(x) H(P(.|x))."""
    blind: float
    """After triggers, by who knows the rule and the trigger but not the symbol before it."""


@cache
def transitions() -> Float[Tensor, "symbol next"]:
    """The chain, one for all: P(next | symbol), symbols by how frequent they are, so that triggers are the first."""
    rows = np.random.default_rng(0).dirichlet(np.full(SYMBOLS, CONCENTRATION), size=SYMBOLS)
    chain = torch.from_numpy(rows)
    order = stationary(chain).argsort(descending=True)
    return chain[order][:, order]


def stationary(chain: Float[Tensor, "symbol next"]) -> Float[Tensor, "symbol"]:
    """How frequent each symbol is in the long run."""
    equations = torch.cat([chain.T - torch.eye(len(chain)).to(chain), torch.ones(1, len(chain)).to(chain)])
    right = torch.zeros(len(chain) + 1, 1).to(chain)
    right[-1] = 1
    return torch.linalg.lstsq(equations, right, driver="gelsd").solution[:, 0]


def first_symbol() -> Float[Tensor, "symbol"]:
    """What a sequence begins with: the frequencies of the chain without the triggers, which would have none to copy."""
    found = stationary(transitions()).clone()
    found[:TRIGGERS] = 0
    return found / found.sum()


def sequences(count: int, *, seed: int, rule: bool = True, length: int = LENGTH + 1) -> Int[Tensor, "sequence pos"]:
    """Tokens of `count` sequences, the start among the `length`. Without the rule a trigger is a symbol like any."""
    drawn = torch.rand(count, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sums, begin = transitions().cumsum(-1), first_symbol().cumsum(-1)
    ids = torch.full((count, length), START)
    for pos in range(1, length):
        now, level = ids[:, pos - 1], drawn[:, pos, None]
        chances = begin if pos == 1 else sums[now - 1]
        following = 1 + (chances[..., :-1] < level).sum(-1)
        ids[:, pos] = torch.where(is_trigger(now), ids[:, pos - 2], following) if rule and pos > 1 else following
    return ids


def is_trigger(ids: Int[Tensor, "*any"]) -> Bool[Tensor, "*any"]:
    """Whether each token is a trigger."""
    return (ids > START) & (ids <= TRIGGERS)


def is_other(ids: Int[Tensor, "*any"]) -> Bool[Tensor, "*any"]:
    """Whether each token is a symbol that is no trigger."""
    return ids > TRIGGERS


def best_losses(length: int = LENGTH) -> Losses:
    """What cannot be done better, exactly, for sequences of this length.

    Carries on the chance that a position holds each other symbol, and that it holds a trigger which comes after each.
    """
    chain = transitions()
    unsure = entropy(chain)
    here, copying = first_symbol(), torch.zeros(SYMBOLS, dtype=chain.dtype)
    visits, before = torch.zeros_like(here), torch.zeros(TRIGGERS, SYMBOLS, dtype=chain.dtype)
    for pos in range(1, length):
        visits += here
        going = here @ chain
        if pos + 1 < length:
            before += (here[:, None] * chain[:, :TRIGGERS]).T
        coming = here * chain[:, :TRIGGERS].sum(-1)
        going[:TRIGGERS] = 0
        here, copying = going + copying, coming
    blind = (before.sum(-1) * entropy(before / before.sum(-1, keepdim=True))).sum() / before.sum()
    return Losses(
        start=entropy(first_symbol()).item(),
        trigger=0.0,
        other=((visits * unsure).sum() / visits.sum()).item(),
        blind=blind.item(),
    )


def surprise(ids: Int[Tensor, "sequence pos"], *, rule: bool = True) -> Float[Tensor, "sequence query"]:
    """What one who knows the chain and the rule loses on each next token (nats): the best there is, on this sample."""
    chances = torch.cat([first_symbol()[None], transitions()])[ids[:, :-1]]  # (sequence, query, symbol)
    lost = -chances.gather(-1, ids[:, 1:, None] - 1)[..., 0].log()
    return lost.masked_fill(is_trigger(ids[:, :-1]), 0.0) if rule else lost


def entropy(chances: Float[Tensor, "*any symbol"]) -> Float[Tensor, "*any"]:
    """Nats."""
    return torch.special.entr(chances).sum(-1)
