"""What is measured of each head: how well distance tells dot products, what lays its cloud out, where it looks."""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

import workbench
from case_studies.attention_viz.read import Layer, Reading, pixels
from workbench import functional

PAIRS = 6_000
"""Pairs of a query and a key for each correlation: a rank correlation is then good to about .01."""
SIDES = ("query", "key")
FEW = 40
"""Inputs on which it is seen where the heads of a control look."""


def measure(reading: Reading, *, orders: int, seed: int, control: bool = False) -> pd.DataFrame:
    """One row a head. `orders` is how many times labels are put in another order, for what chance gives.

    Of a control (random weights) correlations are taken over pairs that can attend alone.
    """
    known = Known(reading, orders, seed)
    rows: list[dict[str, float]] = []
    name, total = reading.model.name, reading.model.n_blocks
    for layer in workbench.track(reading.layers(), label=f"layers of {name}", total=total):
        columns = correlations(reading, layer, seed, control) | lengths(reading, layer)
        columns |= looks(reading, layer, FEW if control else None) | known.others(layer)
        for head in range(len(layer.queries)):
            values = {name: float(column[head]) for name, column in columns.items()}
            rows.append({"layer": layer.number, "head": head, **values})
    return pd.DataFrame(rows)


# ---- distance and dot product ----------------------------------------------------------------------------------------


def correlations(reading: Reading, layer: Layer, seed: int, control: bool) -> dict[str, Tensor]:
    """Spearman's correlation of distance with q.k, over several kinds of pairs."""
    pairs = functional.attention_pairs(
        reading.input, reading.position, reading.input, reading.position, causal=reading.causal, most=PAIRS, seed=seed
    )
    q, k = layer.queries, layer.keys
    raw = (q[:, pairs[:, 0]] * k[:, pairs[:, 1]]).sum(-1)
    joint = functional.joint_qk(q, k, pairs, scores=raw)
    assert joint.of_scores is not None
    found = {
        "before": joint.correlation("before"),
        "translated": joint.correlation("translated"),
        "aligned": joint.correlation(),
        "euclidean before": joint.correlation("before", "euclidean"),
        "euclidean translated": joint.correlation("translated", "euclidean"),
        "euclidean aligned": joint.correlation("aligned", "euclidean"),
        "aligned, raw q.k": joint.of_scores[:, 2, 0, 0],
        "dropped": joint.dropped,
    }
    if control:
        return found
    weighted = functional.joint_qk(q, k, pairs, weights=attention_of(layer, reading, pairs)).weighted
    everywhere = functional.joint_qk(q, k, max_pairs=PAIRS, seed=seed)
    assert weighted is not None
    return found | {
        "aligned, weighted": weighted[:, 2, 0, 0],
        "before, weighted": weighted[:, 0, 0, 0],
        "aligned, all pairs": everywhere.correlation(),
        "before, all pairs": everywhere.correlation("before"),
    }


def attention_of(layer: Layer, reading: Reading, pairs: Tensor) -> Tensor:
    """How much each pair's query attends to its key, (head, pair)."""
    sizes = torch.tensor([pattern.shape[-1] for pattern in layer.patterns])
    starts = torch.nn.functional.pad(sizes.square().cumsum(0), (1, 0))  # inputs one after the other, queries by rows
    flat = torch.cat([pattern.flatten(1) for pattern in layer.patterns], 1)
    query, key = pairs.unbind(-1)
    text = reading.input[query]
    return flat[:, starts[text] + reading.position[query] * sizes[text] + reading.position[key]].float()


def curve(reading: Reading, layer: int, head: int, side: int, most: int = 40) -> pd.DataFrame:
    """The mean query (or key) of each position of one head in the plane of their two main directions."""
    vectors = reading.layer(layer).sides[side][head]
    rows = [(reading.position == place).nonzero().squeeze(-1) for place in range(1, most)]
    means = torch.stack([vectors[mine].mean(0) for mine in rows if len(mine) > 4])
    flat = functional.project(means[None]).coordinates[0]
    return pd.DataFrame({"position": range(1, len(flat) + 1), "across": flat[:, 0].tolist(), "up": flat[:, 1].tolist()})


# ---- lengths and where heads look ------------------------------------------------------------------------------------


def lengths(reading: Reading, layer: Layer) -> dict[str, Tensor]:
    """Mean lengths of raw queries and keys, their gap, and of the keys at the first position alone."""
    first = reading.position == 0
    found = {f"{side} norm": x.norm(dim=-1).mean(-1) for side, x in zip(SIDES, layer.sides, strict=True)}
    found["norm gap"] = functional.norm_gap(layer.queries, layer.keys)
    return found | {"first key norm": layer.keys[:, first].norm(dim=-1).mean(-1)}


def looks(reading: Reading, layer: Layer, most: int | None = None) -> dict[str, Tensor]:
    """Mean attention on the first, previous and own token and, in texts, on repeats and what followed them."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}

    def add(name: str, mean: Tensor, count: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(len(mean))) + mean.where(count > 0, 0.0) * count
        counts[name] = counts.get(name, torch.zeros(())) + count

    for number, pattern in enumerate(layer.patterns[:most]):
        scores = functional.attention_scores(pattern, skip_first=True)
        for place, name in enumerate(scores.names):
            add(name, scores.values[:, place], scores.counts[:, place])
        add("last", pattern[:, 1:, -1].mean(-1), torch.tensor(pattern.shape[-2] - 1))
        if reading.model.reads == "text":
            tokens = reading.token[reading.input == number]
            for name, score in (("induction", functional.induction_mass), ("same token", functional.same_token_mass)):
                found = score(pattern, tokens)
                add(name, found.values, found.counts)
    return {name: total / counts[name] for name, total in sums.items()}


# ---- what lays the cloud out -----------------------------------------------------------------------------------------


def spirals(layer: Layer, known: "Known") -> dict[str, Tensor]:
    """The higher of the spirals of queries and of keys; the same for positions in another order, and unturned."""
    each = [functional.position_spiral(side, known.positions) for side in layer.sides]
    better = torch.stack([one.score for one in each]).argmax(0)
    found = {
        name: torch.stack([getattr(one, name) for one in each]).gather(0, better[None])[0]
        for name in ("score", "explained", "planar", "round", "turns", "steady")
    }
    found = {"spiral" if name == "score" else f"spiral {name}": value for name, value in found.items()}
    found["spiral of keys"] = better
    shuffled = [
        functional.position_spiral(side, order).score for side in layer.sides for order in known.other_positions
    ]
    found["spiral, permuted"] = torch.stack(shuffled).amax(0)
    if layer.unturned is not None:
        before = [functional.position_spiral(side, known.positions).score for side in layer.unturned]
        found["spiral before rotary"] = torch.stack(before).amax(0)
    return found


class Known:
    """What is known of the rows and inputs of a corpus, and the same in other orders."""

    def __init__(self, reading: Reading, orders: int, seed: int) -> None:
        self.reading, self.orders = reading, orders
        self.generator = torch.Generator().manual_seed(seed)
        self.positions = torch.where(reading.position > 0, reading.position, -1)  # the first is like no other
        self.other_positions = [self._within_inputs() for _ in range(2)]
        self.sizes = reading.input[reading.position > 0].bincount(minlength=len(reading.corpus))
        names = sorted(set(reading.corpus.groups))
        groups = torch.tensor([names.index(name) for name in reading.corpus.groups])
        self.groups = groups.where(self.sizes > 0, -1)  # a text of one token has no others
        self.other_groups = [self._between_inputs() for _ in range(orders)]
        self.traits = self._traits() if reading.model.reads == "image" else {}

    def others(self, layer: Layer) -> dict[str, Tensor]:
        """Spirals and topics of texts, or traits of patches: the higher of queries and keys, beside other orders."""
        if self.traits:
            return self._trait_scores(layer)
        sides = [self._means(side) for side in layer.sides]

        def of(groups: Tensor) -> Tensor:
            return torch.stack([functional.cluster_score(side, groups).values for side in sides]).amax(0)

        found = {"topic": of(self.groups)} | spirals(layer, self)
        return found | {f"topic, permuted {i}": of(groups) for i, groups in enumerate(self.other_groups, 1)}

    def _trait_scores(self, layer: Layer) -> dict[str, Tensor]:
        patches = self.reading.position > 0  # the class token shows nothing
        sides = [side[:, patches] for side in layer.sides]
        found = {}
        for name, (pictures, circular) in self.traits.items():
            for shift in range(1 if name in ("row", "column") else 1 + min(self.orders, len(pictures) - 1)):
                values = pictures.roll(shift, 0).flatten()  # those of another picture, at the same places
                scores = [functional.trait_score(side, values, circular=circular).values for side in sides]
                found[f"{name}, permuted {shift}" if shift else name] = torch.stack(scores).amax(0)
        return found

    def _traits(self) -> Mapping[str, tuple[Tensor, bool]]:
        """Name -> (values (picture, patch), whether it is circular)."""
        reading = self.reading
        side = round((int(reading.position.max())) ** 0.5)
        found = [
            functional.patch_traits(pixels(reading.model, picture), side, side) for picture in reading.corpus.inputs
        ]
        values = torch.stack([each.values for each in found])
        return {name: (values[..., i], name in found[0].circular) for i, name in enumerate(found[0].names)}

    def _means(self, vectors: Tensor) -> Tensor:
        """The mean of each input's vectors, without its first: (head, input, d_head)."""
        rows = (self.reading.position > 0).nonzero().squeeze(-1)
        number = self.reading.input[rows]
        sums = vectors.new_zeros(len(vectors), len(self.groups), vectors.shape[-1])
        return sums.index_add_(1, number, vectors[:, rows]) / self.sizes.clamp_min(1)[:, None]

    def _between_inputs(self) -> Tensor:
        """Groups in another order; inputs without one stay without."""
        mixed, there = self.groups.clone(), (self.groups >= 0).nonzero().squeeze(-1)
        mixed[there] = self.groups[there[self._order(len(there))]]
        return mixed

    def _within_inputs(self) -> Tensor:
        """Positions in another order within each input; the first stays."""
        mixed = self.positions.clone()
        for number in range(len(self.reading.corpus)):
            rows = ((self.reading.input == number) & (self.positions > 0)).nonzero().squeeze(-1)
            mixed[rows] = self.positions[rows[self._order(len(rows))]]
        return mixed

    def _order(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)
