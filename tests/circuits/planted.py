"""Models whose circuit is known, because their weights were written by hand; and pairs of prompts that show it.

    planted = induction()
    planted.model, planted.pair         # a float64 model and prompts, clean and corrupted
    planted.true                        # {"input->a0.h0<v>", "a0.h0->a1.h1<k>", ...}

The stream holds named features. A feature is a pair of coordinates of opposite sign, so the mean of the stream is zero,
and norms have an epsilon so large (with weights that undo it) that they pass everything on as it is: what a head reads
and writes is what is said here. Heads that are not named are random and weak (`noise`), the last of each layer is dead:
it attends, and writes nothing. An edge is true when it carries something different in the two prompts of some pair and
the answer depends on that; what is the same in both prompts (such as positions) cannot be seen by corrupting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from workbench.models.adapters import adapt
from workbench.models.lens_model import LensModel
from workbench.models.micro.attention_only import AttentionOnly, AttentionOnlyConfig
from workbench.models.micro.characters import CharacterTokenizer
from workbench.tasks.form import Pair

HUGE = 1e12  # norms divide by its root, and their weights multiply by it: x -> x (1 - var(x) / 2e12)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A model, prompts, and what is true of them."""

    model: LensModel
    clean: Tensor
    """(batch, pos) token ids."""
    corrupted: Tensor
    targets: Tensor
    """(batch, 1) ids."""
    foils: Tensor
    true: frozenset[str]
    """Names of the edges of the circuit."""
    dead: tuple[str, ...] = ()
    """Nodes that write nothing."""
    kinds: tuple[str, ...] = field(default=())
    """What was corrupted in each pair."""

    @property
    def pair(self) -> Pair:
        """The prompts as a batch; answers are read at the last position."""
        last = torch.full((len(self.clean),), self.clean.shape[1] - 1)
        encode = self.model.encode
        return Pair(clean=encode(self.clean), corrupted=encode(self.corrupted), targets=self.targets, foils=self.foils,
                    position=last)  # fmt: skip

    @property
    def swapped(self) -> Pair:
        """The other prompt of each pair as the clean one, with the same answers."""
        pair = self.pair
        return Pair(clean=pair.corrupted, corrupted=pair.clean, targets=pair.targets, foils=pair.foils,
                    position=pair.position)  # fmt: skip

    def difference(self, logits: Tensor) -> Tensor:
        """Mean logit difference of (batch, pos, vocab) logits, target over foil at the last position."""
        last = logits[:, -1]
        return (last.gather(1, self.targets) - last.gather(1, self.foils)).mean()


@dataclass(frozen=True)
class Space:
    """Named features and where they are in the stream."""

    sizes: Mapping[str, int]

    @property
    def size(self) -> int:
        """How many features there are."""
        return sum(self.sizes.values())

    def __getitem__(self, name: str) -> Tensor:
        """(size of `name`, all features): picks the features called `name`."""
        ends = [0, *accumulate(self.sizes.values())]
        spans = dict(zip(self.sizes, pairwise(ends), strict=True))
        start, end = spans[name]
        return torch.eye(self.size, dtype=torch.float64)[start:end]

    def read(self, picks: Tensor) -> Tensor:
        """(n, d_model): weights that read the features that `picks` (n, all features) weighs."""
        return picks.repeat_interleave(2, 1) * torch.tensor([0.5, -0.5], dtype=torch.float64).repeat(self.size)

    def write(self, picks: Tensor) -> Tensor:
        """(n, d_model): what is added to the stream for features (n, all features)."""
        return picks.repeat_interleave(2, 1) * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(self.size)


@dataclass(frozen=True)
class Head:
    """What one head does: rows of features (n, all features)."""

    q: Tensor
    k: Tensor
    v: Tensor
    writes: Tensor
    sharp: float = 6.0
    """Score of a perfect match; the pattern is a softmax of it."""


def plant(
    space: Space,
    tokens: Tensor,
    places: Tensor,
    heads: Mapping[tuple[int, int], Head],
    answers: Tensor,
    *,
    n_layers: int,
    n_heads: int = 3,
    noise: float = 0.02,
    seed: int = 0,
) -> LensModel:
    """An attention-only model in float64 with these heads; tokens, places and answers are rows of features."""
    d_head = max(row.shape[0] for head in heads.values() for row in (head.q, head.k, head.v))
    config = AttentionOnlyConfig(
        n_layers=n_layers, n_heads=n_heads, d_model=2 * space.size, d_head=d_head, n_ctx=len(places),
        d_vocab=len(tokens),
    )  # fmt: skip
    module, random = AttentionOnly(config).double().eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        module.embed.weight.copy_(space.write(tokens))
        module.pos_embed.weight.copy_(space.write(places))
        module.unembed.weight.copy_(space.read(answers))
        for layer, block in enumerate(module.blocks):
            attention: Any = block.attn
            harmless(block.ln1)
            for h in range(n_heads):
                here = slice(h * d_head, (h + 1) * d_head)
                dead = h == n_heads - 1
                for weight in (attention.W_Q, attention.W_K, attention.W_V, attention.W_O):
                    rows = weight.weight.T if weight is attention.W_O else weight.weight
                    rows[here] = torch.randn(rows[here].shape, generator=random, dtype=torch.float64) * (
                        0.0 if dead and weight is attention.W_O else 1.0 if dead else noise
                    )
                if (head := heads.get((layer, h))) is not None:
                    root = (head.sharp * d_head**0.5) ** 0.5
                    reads = ((attention.W_Q, head.q * root), (attention.W_K, head.k * root), (attention.W_V, head.v))
                    for weight, picks in reads:
                        weight.weight[here] = 0.0
                        weight.weight[here][: len(picks)] = space.read(picks)
                    attention.W_O.weight.T[here] = 0.0
                    attention.W_O.weight.T[here][: len(head.writes)] = space.write(head.writes)
        harmless(module.ln_final)
    return adapt(module, CharacterTokenizer(), "attention_only", name="planted")


def harmless(norm: Any) -> None:
    """Make a norm pass on what comes in, but for its mean."""
    norm.eps = HUGE
    torch.nn.init.constant_(norm.weight, HUGE**0.5)
    torch.nn.init.zeros_(norm.bias)


def _all_dead(n_layers: int, n_heads: int = 3) -> tuple[str, ...]:
    return tuple(f"a{layer}.h{n_heads - 1}" for layer in range(n_layers))


def made(model: LensModel, rows: Sequence[tuple[str, list[int], list[int], int, int]], **known: Any) -> Planted:
    kinds, clean, corrupted, targets, foils = zip(*rows, strict=True)
    column = [torch.tensor(numbers)[:, None] for numbers in (targets, foils)]
    return Planted(model=model, clean=torch.tensor(clean), corrupted=torch.tensor(corrupted), targets=column[0],
                   foils=column[1], kinds=kinds, **known)  # fmt: skip


def copy_head(sharp: float = 4.0, *, noise: float = 0.02) -> Planted:
    """One head says which of three things is marked. Corrupted are the thing, the place of the mark, or the question.

    Tokens 2i and 2i + 1 are thing i, plain and marked; 8 asks, 9 does not.
    """
    things = 4
    space = Space({"thing": things, "mark": 1, "ask": 1, "answer": things})
    thing, mark, ask, answer = (space[name] for name in space.sizes)
    rows = [thing[i] + marked * mark[0] for i in range(things) for marked in (0, 1)]
    tokens = torch.stack([*rows, ask[0], 0 * ask[0]])
    answers = torch.cat([answer.repeat_interleave(2, 0), torch.zeros(2, space.size, dtype=torch.float64)])
    head = Head(ask, mark, thing, answer, sharp)
    model = plant(space, tokens, torch.zeros(8, space.size, dtype=torch.float64), {(0, 0): head}, answers, n_layers=1,
                  noise=noise)  # fmt: skip
    examples = []
    for at in range(3):
        others = [i for i in range(things) if i != 3]
        clean = [2 * i for i in others]
        clean[at] += 1
        target, near = 2 * others[at], 2 * others[(at + 1) % 3]
        value, key = [*clean], [*clean]
        value[at] = 2 * 3 + 1
        key[at], key[(at + 1) % 3] = target, near + 1
        examples += [
            ("value", [*clean, 8], [*value, 8], target, 2 * 3),
            ("key", [*clean, 8], [*key, 8], target, near),
            ("query", [*clean, 8], [*clean, 9], target, near),
        ]
    true = {"input->a0.h0<q>", "input->a0.h0<k>", "input->a0.h0<v>", "a0.h0->logits"}
    return made(model, examples, true=frozenset(true), dead=_all_dead(1))


def induction(sharp: float = 6.0, *, noise: float = 0.02) -> Planted:
    """A head that notes the token before, and one that finds the note and says what stands there: A B ... A -> B.

    Corrupted are B, the first A, or the last A.
    """
    letters, length = 9, 7
    space = Space({"token": letters, "place": length, "before": letters, "answer": letters})
    token, place, before, answer = (space[name] for name in space.sizes)
    heads = {
        (0, 0): Head(place[1:], place[:-1], token, before, 12.0),
        (1, 1): Head(token, before, token, answer, sharp),
    }
    model = plant(space, token, place, heads, answer, n_layers=2, noise=noise)
    examples, random = [], torch.Generator().manual_seed(0)
    for _ in range(4):
        order = torch.randperm(letters, generator=random).tolist()
        (a, b, *rest), unused = order[:5], order[5]
        clean = [rest[0], a, b, rest[1], rest[2], rest[0], a]
        value, key, query = [*clean], [*clean], [*clean]
        value[2], key[1], query[6] = unused, unused, rest[1]
        examples += [
            ("value", clean, value, b, unused),
            ("key", clean, key, b, rest[1]),
            ("query", clean, query, b, rest[2]),
        ]
    true = {"input->a0.h0<v>", "a0.h0->a1.h1<k>", "input->a1.h1<q>", "input->a1.h1<v>", "a1.h1->logits"}
    return made(model, examples, true=frozenset(true), dead=_all_dead(2))


def chain(sharp: float = 6.0, *, noise: float = 0.02) -> Planted:
    """Two hops by the query: one head reads where to look, the next looks there and says what it sees.

    Tokens: 0 to 2 say "look at place 0, 1, 2"; 3 + 3p + i is thing i at place p; 12 asks. Corrupted are where to
    look, or the thing there.
    """
    n = 3
    space = Space({"points": n, "pointer": 1, "name": n, "thing": n, "ask": 1, "look": n, "answer": n})
    points, pointer, name, thing, ask, look, answer = (space[one] for one in space.sizes)
    things = [name[p] + thing[i] for p in range(n) for i in range(n)]
    tokens = torch.stack([*(row + pointer[0] for row in points), *things, ask[0]])
    answers = torch.zeros(len(tokens), space.size, dtype=torch.float64)
    answers[3 : 3 + n] = answer
    heads = {(0, 1): Head(ask, pointer, points, look, sharp), (1, 0): Head(look, name, thing, answer, sharp)}
    places = torch.zeros(6, space.size, dtype=torch.float64)
    model = plant(space, tokens, places, heads, answers, n_layers=2, noise=noise)
    examples = []
    for p in range(n):
        shown = [(i + p) % n for i in range(n)]  # the thing at each place
        clean = [p, *(3 + n * at + shown[at] for at in range(n)), 12]
        where, what = [*clean], [*clean]
        where[0] = (p + 1) % n
        other = (shown[p] + 1) % n
        what[1 + p] = 3 + n * p + other
        examples += [
            ("where", clean, where, 3 + shown[p], 3 + shown[(p + 1) % n]),
            ("what", clean, what, 3 + shown[p], 3 + other),
        ]
    true = {"input->a0.h1<v>", "a0.h1->a1.h0<q>", "input->a1.h0<v>", "a1.h0->logits"}
    return made(model, examples, true=frozenset(true), dead=_all_dead(2))


def relay(sharp: float = 6.0, *, noise: float = 0.02) -> Planted:
    """Two hops by the value: one head takes a thing to a stop on the way, the next takes it on from there.

    Tokens 0 to 3 are things, 4 is the stop, 5 asks. Corrupted is the thing.
    """
    n = 4
    space = Space({"thing": n, "is thing": 1, "stop": 1, "ask": 1, "held": n, "answer": n})
    thing, is_thing, stop, ask, held, answer = (space[one] for one in space.sizes)
    tokens = torch.stack([*(row + is_thing[0] for row in thing), stop[0], ask[0]])
    answers = torch.cat([answer, torch.zeros(2, space.size, dtype=torch.float64)])
    heads = {(0, 0): Head(stop, is_thing, thing, held, sharp), (1, 0): Head(ask, stop, held, answer, sharp)}
    places = torch.zeros(4, space.size, dtype=torch.float64)
    model = plant(space, tokens, places, heads, answers, n_layers=2, noise=noise)
    examples = [("what", [i, 4, 5], [(i + 1) % n, 4, 5], i, (i + 1) % n) for i in range(n)]
    true = {"input->a0.h0<v>", "a0.h0->a1.h0<v>", "a1.h0->logits"}
    return made(model, examples, true=frozenset(true), dead=_all_dead(2))


PLANTED = {"copy_head": copy_head, "induction": induction, "chain": chain, "relay": relay}


def linear(*, n_layers: int = 2, n_heads: int = 3, seed: int = 0) -> Planted:
    """A model that is linear in its embeddings: queries are 0, so every pattern is even, and norms are harmless."""
    torch.manual_seed(seed)
    config = AttentionOnlyConfig(n_layers=n_layers, n_heads=n_heads, d_model=12, d_head=4, n_ctx=8, d_vocab=11)
    module = AttentionOnly(config).double().eval()
    for block in module.blocks:
        attention: Any = block.attn
        harmless(block.ln1)
        torch.nn.init.zeros_(attention.W_Q.weight)
    harmless(module.ln_final)
    ids = torch.randint(0, 11, (2, 4, 6))
    model = adapt(module, CharacterTokenizer(), "attention_only", name="linear")
    answers = torch.tensor([[1], [2], [3], [4]])
    return Planted(model=model, clean=ids[0], corrupted=ids[1], targets=answers, foils=answers + 5, true=frozenset())
