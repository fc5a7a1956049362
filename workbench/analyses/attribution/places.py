"""Places: where the nodes of a prompt stand in the batch, and which attentions pass information between them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.analyses.attribution.evidence import Evidence, input_sites, stacks
from workbench.analyses.one_prompt import real
from workbench.models.lens_model import Blocks


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """Where the nodes of one stack stand, and where they enter it."""

    stack: Blocks
    nodes: slice
    """Among all nodes."""
    index: Tensor
    """(node of this side): its place in the batch as the model gets it, padding counted."""
    length: int
    """Places in the batch."""
    ids: str | None
    """The argument that holds the token ids; None where there are none (patches, frames)."""
    entry: str
    """The site where the nodes enter as vectors."""

    def spread(self, table: Tensor) -> Tensor:
        """(variant, all nodes) -> (variant, place on this side); False or 0 where there is padding."""
        wide = table.new_zeros((len(table), self.length))
        return wide.index_copy(1, self.index.to(table.device), table[:, self.nodes])


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention:
    """One attention of one layer."""

    layer: int
    """Counted within its stack."""
    path: str
    """What its sites begin with: `blocks.3.attn`."""
    queries: Side
    keys: Side

    @property
    def cross(self) -> bool:
        """Whether the decoder reads the encoder here."""
        return self.queries is not self.keys


def sides(evidence: Evidence) -> tuple[Side, ...]:
    """Where the nodes stand in the batch, a side for each stack, in the order of the nodes."""
    found, start, model, batch = [], 0, evidence.model, evidence.batch
    arguments = {"input": model.architecture.input_name, "target": "decoder_input_ids"}
    for stack, entry in zip(stacks(model), input_sites(model), strict=True):
        count = evidence.sides.count(stack.side)
        name = arguments.get(stack.side)
        ids = name if name in batch else None
        length = batch[ids].shape[1] if ids else count
        index = real(torch.arange(length, device=model.device), batch, stack.side, dim=0)
        nodes = slice(start, start + count)
        found.append(Side(stack=stack, nodes=nodes, index=index, length=length, ids=ids, entry=entry))
        start += count
    return tuple(found)


def attentions(evidence: Evidence) -> tuple[Attention, ...]:
    """Every attention on the way to the answer, in the order in which they run."""
    every = sides(evidence)
    return tuple(
        Attention(
            layer=layer,
            path=f"{side.stack.prefix}.{layer}.{name}",
            queries=side,
            keys=every[0] if name == "cross_attn" else side,
        )
        for side in every
        for layer in range(side.stack.n_blocks)
        for name in side.stack.attentions
    )
