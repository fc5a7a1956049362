"""One layer, and what it leaves behind when a slot of it reads something else: no more than that is computed.

The heads of a layer do not see each other, so one run of its attention serves one edge into every head at once; values
need no run, since patterns stay. Behind the last attention only the answer position is of interest.
"""

from collections.abc import Mapping
from contextlib import suppress

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.circuits.blocks import run_blocks
from workbench.circuits.edge_scores import Runs
from workbench.circuits.split import Layer, Wiring, constants
from workbench.hooks import Edit, editing, reading


class _Enough(Exception):
    """Ends a block once its attention is done."""


class PatchedLayer:
    """What the parts of one layer give in the clean run, and what when one of them is changed.

    `stream` is what enters it; tensors of the last layer have no position but the answer's.
    """

    def __init__(self, wiring: Wiring, one: Runs, stream: Float[Tensor, "batch pos d_model"], layer: Layer) -> None:
        self.model, self.clean, self.stream, self.layer = wiring.model, one.clean, stream, layer
        writes = one.clean.writes
        self.order, self.last = wiring.order, layer.number + 1 == len(wiring.layers)
        self.left = self.at(one.clean.streams[layer.number + 1][None])[0]
        site = layer.site("pattern")
        with reading(wiring.model, site) as values:
            self.z = self.at(self._attended({}, 1)[None])[0]
        self.pattern = values[site]
        if self.last:
            rows = torch.arange(len(self.pattern), device=self.pattern.device)
            self.pattern = self.pattern[rows, :, one.clean.position.to(rows.device)][:, :, None]
        attended = self.stream + writes[layer.heads].sum(0) + constants(layer)[0].to(self.stream)
        self.attended = self.at(attended[None])[0]
        read = self.at(self.stream[None])[0] if self.order == "parallel" else self.attended
        self.middle = layer.norm1(self.attended) if wiring.post else read
        self.mlp_wrote = self._mlp(self.middle)

    def at(self, x: Float[Tensor, "edge batch pos *rest"]) -> Tensor:
        """Behind the last attention only the answer position is of interest."""
        return answer_position(x, self.clean.position) if self.last else x

    def moved(self, part: str, exchanged: Tensor) -> Float[Tensor, "edge batch *pos head d_head"]:
        """How z changes when all queries, keys or values are made of other streams."""
        layer, copies = self.layer, len(exchanged)
        norm = (lambda x: x) if self.order == "post" else layer.norm1
        weight, bias = (x.to(exchanged) for x in layer.reads[part])
        if part == "v":
            v = torch.einsum("ebpm,mhd->ebphd", norm(exchanged) - norm(self.stream), weight)
            v = v.repeat_interleave(len(layer.w_o) // v.shape[-2], -2)
            return self._single(torch.einsum("bhqk,ebkhd->ebqhd", self.pattern.to(v), v))
        read = torch.einsum("ebpm,mhd->ebphd", norm(exchanged), weight) + bias
        z = self._attended({layer.site(part): read.flatten(0, 1)}, copies)
        return self.at(z.unflatten(0, (copies, -1))) - self.z

    def _single(self, z: Tensor) -> Tensor:
        """Without the axis of the single query behind the last attention."""
        return z[:, :, 0] if self.last else z

    def behind_attention(self, change: Tensor) -> Tensor:
        """What leaves the layer when its attention writes `change` more."""
        if self.order == "post":
            middle = self.layer.norm1(self.attended + change)
            return middle if self.layer.mlp is None else self.layer.norm2(middle + self._mlp(middle))
        if self.order == "parallel" or self.layer.mlp is None:
            return self.left + change
        return self.left + change + (self._mlp(self.middle + change) - self.mlp_wrote)

    def behind_mlp(self, exchanged: Tensor) -> Tensor:
        """What leaves the layer when its MLP reads something else."""
        if self.order == "post":
            return self.layer.norm2(self.middle + self._mlp(exchanged))
        return self.left + (self._mlp(exchanged) - self.mlp_wrote)

    def _mlp(self, x: Tensor) -> Tensor:
        if self.layer.mlp is None:
            return torch.zeros_like(x)
        return self.layer.mlp(x if self.order == "post" else self.layer.norm2(x))

    def _attended(self, parts: Mapping[str, Tensor], copies: int) -> Float[Tensor, "rows pos head d_head"]:
        """What heads gather when queries or keys are these, for copies of the batch; the block's rest is not run."""
        found: list[Tensor] = []

        def stop(z: Tensor) -> Tensor:
            found.append(z)
            raise _Enough

        edits: dict[str, Edit] = {site: lambda _, value=value: value for site, value in parts.items()}
        calls, number = self.clean.calls, self.layer.number
        with suppress(_Enough), editing(self.model, edits | {self.layer.site("z"): stop}):
            run_blocks(calls, number, self.stream.repeat(copies, 1, 1), until=number)
        return found[0]


def answer_position(x: Float[Tensor, "edge batch pos *rest"], position: Int[Tensor, "batch"]) -> Tensor:
    """Each example at the position where its answer is read: (edge, batch, *rest)."""
    return x[:, torch.arange(len(position), device=x.device), position.to(x.device)]
