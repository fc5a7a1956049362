"""Edges patched one by one, layer after layer: what each changes is followed through the blocks behind it.

Several edges and all examples of a batch go at a time. An edge whose source writes the same in both prompts changes
nothing, and is not run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.circuits.blocks import run_blocks
from workbench.circuits.edge_scores import Runs
from workbench.circuits.patched_layer import PatchedLayer, answer_position
from workbench.circuits.split import PARTS, Layer, Wiring, constants
from workbench.progress import report

NUMBERS = 2**22
"""Numbers in the largest tensor of what is run at once: 16 MB in single precision."""


@dataclass(eq=False, kw_only=True)
class Patching:
    """The edges of one batch of pairs, from the first layer to the logits. `drops` goes through them once."""

    wiring: Wiring
    one: Runs
    metric: str
    asked: Bool[Tensor, "source slot"]
    positions: bool
    """Whether edges are exchanged at one position alone."""
    numbers: int
    """Most numbers in a tensor, unless one copy of the batch has more."""
    batch: tuple[int, int]
    """Which batch it is, of how many."""

    def __post_init__(self) -> None:
        """Begin at the stream that enters the first block."""
        self.stream, self.delta = self.one.clean.streams[0], self.one.delta
        self.carried = self.one.other[:1]
        self.changes = (self.delta != 0).any(-1).any(1).cpu()  # (source, pos)
        _, self.size, self.n_pos, self.d_model = self.delta.shape
        places = self.n_pos if self.positions else 1
        self.sums = torch.zeros(places, *self.asked.shape, dtype=torch.float64)
        self.before = self._measured(self.one.clean.logits)
        self.done = self.batch[0] * self._n_asked

    def drops(self) -> Float[Tensor, "*pos source slot"]:
        """By how much the metric drops for each edge, summed over the batch; 0 where nothing was asked."""
        for layer in self.wiring.layers:
            self._layer(layer)
        for places, sources in self._variants(self.asked[:, -1], self._copies(1)):
            values = self._answered(self._at_answer(self._exchanged(places, sources)))
            self._note(places, sources, torch.full_like(sources, self.wiring.n_slots - 1), values)
        self.done = (self.batch[0] + 1) * self._n_asked
        report("edges", self.done, self.batch[1] * self._n_asked)
        return self.sums if self.positions else self.sums[0]

    # ---- one layer ---------------------------------------------------------------------------------------------------

    def _layer(self, layer: Layer) -> None:
        writes, (b_o, b_mlp) = self.one.clean.writes, constants(layer)
        here = PatchedLayer(self.wiring, self.one, self.stream, layer)
        for part in PARTS:
            self._attention(here, part)
        heads, writers = (writes[which].sum(0) for which in (layer.heads, layer.writers))
        if self.wiring.order == "parallel":
            self._mlp(here)
            self._move_on(heads, layer.heads, b_o, layer.norm1)
        else:
            self._move_on(heads, layer.heads, b_o, layer.norm1)
            self._mlp(here)
        if layer.mlp is not None:
            self._move_on(writers, layer.writers, b_mlp, layer.norm2)

    def _attention(self, here: PatchedLayer, part: str) -> None:
        """Edges into the queries, keys or values of a layer."""
        layer, n_slots = here.layer, here.layer.reads[part][0].shape[1]
        first = layer.slots[part].start
        asked = self.asked[:, first : first + n_slots]
        w_o = layer.w_o.to(self.stream).unflatten(0, (n_slots, -1)).flatten(1, 2)  # (slot, share * d_head, d_model)
        size = self._copies(1 if here.last else self.n_pos)
        for places, sources in self._variants(asked.any(1), self._copies(self.n_pos)):
            moved = here.moved(part, self._exchanged(places, sources))  # (variant, batch, ..., head, d_head)
            moved = moved.unflatten(-2, (n_slots, -1)).flatten(-2).movedim(-2, 1)
            for chosen in _some(asked[sources.cpu()].nonzero(), size):
                i, slot = chosen.to(moved.device).unbind(1)
                z = moved[i, slot]  # (edge, batch, ..., share * d_head)
                change = torch.bmm(z.flatten(1, -2), w_o[slot]).view(*z.shape[:-1], -1)
                values = self._followed(layer, here.behind_attention(change))
                self._note(places[i], sources[i], first + slot, values)

    def _mlp(self, here: PatchedLayer) -> None:
        """Edges into the MLP of a layer."""
        if here.layer.mlp is None:
            return
        slot = here.layer.slots["mlp"].start
        for places, sources in self._variants(self.asked[:, slot], self._copies(self.n_pos)):
            left = here.behind_mlp(here.at(self._exchanged(places, sources)))
            self._note(places, sources, torch.full_like(sources, slot), self._followed(here.layer, left))

    # ---- what slots read when one edge is exchanged ------------------------------------------------------------------

    def _variants(self, sources: Tensor, size: int) -> Iterator[tuple[Int[Tensor, "edge"], Int[Tensor, "edge"]]]:
        """(places, sources) to exchange, some at a time; those that are the same in both prompts have a drop of 0."""
        live = self.changes & sources[:, None]  # (source, pos)
        if not self.positions:
            live = live.any(1, keepdim=True)
        for chosen in _some(live.nonzero(), size):
            source, place = chosen.to(self.stream.device).unbind(1)
            yield place, source

    def _exchanged(self, places: Tensor, sources: Tensor) -> Float[Tensor, "edge batch pos d_model"]:
        """The stream with what one source wrote exchanged, everywhere or at one place."""
        changed = self.carried[sources] if self.wiring.post else self.stream - self.delta[sources]
        if not self.positions:
            return changed
        here = torch.arange(self.n_pos, device=places.device) == places[:, None]  # (edge, pos)
        return torch.where(here[:, None, :, None], changed, self.stream)

    def _move_on(self, added: Tensor, sources: slice, bias: Tensor | None, norm: Callable[[Tensor], Tensor]) -> None:
        """Go to where some sources have written; a norm that follows the sum carries all exchanges through."""
        stream = self.stream + (added if bias is None else added + bias.to(added))
        if self.wiring.post:
            carried = self.carried + (stream - self.stream)
            self.carried, stream = norm(torch.cat([carried, stream - self.delta[sources]])), norm(stream)
        self.stream = stream

    # ---- to the end --------------------------------------------------------------------------------------------------

    def _followed(self, layer: Layer, left: Tensor) -> Float[Tensor, "edge"]:
        """The metric, summed over the batch, when a layer leaves this behind; the last layer at the answer alone."""
        if layer.number + 1 == len(self.wiring.layers):
            return self._answered(left)
        last = run_blocks(self.one.clean.calls, layer.number + 1, left.flatten(0, 1))
        return self._answered(self._at_answer(last.unflatten(0, (-1, self.size))))

    def _answered(self, states: Float[Tensor, "edge batch d_model"]) -> Float[Tensor, "edge"]:
        rows = states.flatten(0, 1)[:, None]  # of one position each, the answer's
        return self._measured(self.wiring.answers(rows, torch.zeros(len(rows), dtype=torch.long)))

    def _at_answer(self, x: Tensor) -> Tensor:
        return answer_position(x, self.one.clean.position)

    def _measured(self, logits: Tensor) -> Float[Tensor, "edge"]:
        copies = len(logits) // self.size
        values = self.one.measure(self.metric, copies)(logits)
        return values.double().view(copies, self.size).sum(1).cpu()

    def _note(self, places: Tensor, sources: Tensor, slots: Tensor, values: Tensor) -> None:
        self.sums[places.cpu(), sources.cpu(), slots.cpu()] = self.before - values
        self.done += len(values)
        report("edges", self.done, self.batch[1] * self._n_asked)

    def _copies(self, n_pos: int) -> int:
        """How many copies of the batch go at once, when `n_pos` positions of each are followed."""
        one = max(n_pos * self.d_model, n_pos * n_pos * self.wiring.graph.n_heads, self.one.clean.logits.shape[-1])
        return max(1, self.numbers // (self.size * one))

    @property
    def _n_asked(self) -> int:
        return int(self.asked.sum()) * len(self.sums)


def _some(rows: Tensor, size: int) -> Sequence[Tensor]:
    """`size` rows at a time; of no rows nothing, where torch would give a part without rows."""
    return rows.split(size) if len(rows) else ()
