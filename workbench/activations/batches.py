"""Inputs to padded batches: which inputs go together, and what each is when it is taken out again.

Every input is encoded alone and batches are padded on the right, so that an input means the same in any batch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench import progress
from workbench.errors import BadInput
from workbench.inputs import pad_id
from workbench.models.lens_model import LensModel
from workbench.store.rows import Rows

MASKS = {"input": "attention_mask", "target": "decoder_attention_mask"}
Batch = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """Raw inputs, with what is needed to encode any of them again."""

    model: LensModel
    raw: Sequence[Any]

    def __post_init__(self) -> None:
        if isinstance(self.raw, str | bytes | Tensor) or not isinstance(self.raw, Sequence):
            raise BadInput("Give a list of inputs, one element each; for a single one write [input].")
        if not self.raw:
            raise BadInput("There are no inputs to capture: the list is empty.")

    @property
    def ids(self) -> dict[str, str]:
        """Side -> the argument that holds its token ids."""
        return {"input": self.model.architecture.input_name, "target": "decoder_input_ids"}

    @property
    def padded(self) -> set[str]:
        """The arguments that hold one number a token."""
        return {*self.ids.values(), *MASKS.values(), "token_type_ids", "position_ids"}

    def __len__(self) -> int:
        return len(self.raw)

    def encode(self, number: int) -> Batch:
        """One input alone, as a batch of one."""
        try:
            batch = self.model.encode(self.raw[number])
        except BadInput as error:
            raise BadInput(f"Input {number} cannot be used: {error}") from error
        sizes = {len(value) for value in batch.values()}
        if sizes != {1}:
            raise BadInput(f"Input {number} is a batch of {max(sizes)}; give each input as an element of its own.")
        return batch


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which inputs run together, and the fingerprint of them all."""

    batches: tuple[tuple[int, ...], ...]
    groups: Mapping[int, str]
    """Input -> what its tensors look like apart from their padded axis: one forward shape for each kind."""
    tokens: Mapping[str, tuple[int, ...]]
    """Side -> the number of tokens of each input, where it has tokens."""
    fingerprint: str


def plan(inputs: Inputs, batch_size: int, by_length: bool) -> Plan:
    """Encode every input once and put neighbours (in length, when `by_length`) into batches."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise BadInput(f"batch_size must be a whole number of at least 1, not {batch_size!r}.")
    digest, groups = hashlib.sha256(), {}
    tokens: dict[str, list[int]] = {}
    for number in progress.track(range(len(inputs)), label="encoding"):
        encoded = inputs.encode(number)
        groups[number] = _kind(encoded, inputs.padded)
        for name, value in sorted(encoded.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        for side, name in inputs.ids.items():
            if (length := _length(encoded, name, MASKS[side])) is not None:
                tokens.setdefault(side, []).append(length)
    order = list(range(len(inputs)))
    if by_length:
        order.sort(key=lambda number: [-tokens[side][number] for side in tokens])
    batches: list[list[int]] = []
    for number in order:
        if not batches or len(batches[-1]) == batch_size or groups[batches[-1][0]] != groups[number]:
            batches.append([])
        batches[-1].append(number)
    return Plan(
        batches=tuple(map(tuple, batches)),
        groups=groups,
        tokens={side: tuple(counts) for side, counts in tokens.items()},
        fingerprint=digest.hexdigest(),
    )


def _length(encoded: Batch, ids: str, mask: str) -> int | None:
    if ids not in encoded:
        return None
    return int(encoded[mask].sum()) if mask in encoded else encoded[ids].shape[1]


def _kind(encoded: Batch, padded: set[str]) -> str:
    return repr(sorted((n, str(v.dtype), v.shape[2 if n in padded else 1 :]) for n, v in encoded.items()))


def collate(inputs: Inputs, encoded: Sequence[Batch]) -> dict[str, Tensor]:
    """Encodings of single inputs as one batch, padded on the right where lengths differ, with masks for it."""
    fills = dict.fromkeys(inputs.ids.values(), pad_id(inputs.model))
    for side, name in inputs.ids.items():
        if len({one[name].shape[1] for one in encoded if name in one}) > 1:
            encoded = [{MASKS[side]: torch.ones_like(one[name]), **one} for one in encoded]
    batch: dict[str, Tensor] = {}
    for name in encoded[0]:
        values = [one[name] for one in encoded]
        if name in inputs.padded:
            longest = max(value.shape[1] for value in values)
            fill = fills.get(name, 0)
            values = [torch.nn.functional.pad(v, (0, longest - v.shape[1]), value=fill) for v in values]
        batch[name] = torch.cat(values)
    return batch


def valid(batch: Batch, side: str, positions: int) -> Tensor | None:
    """(batch, pos) True where a token is real; None where all are, as for images and audio."""
    mask = batch.get(MASKS.get(side, ""))
    return mask.bool() if mask is not None and mask.shape[1:] == (positions,) and not mask.all() else None


def rows_of(inputs: Inputs, encoded: Batch, number: int, side: str, length: int) -> Rows:
    """The row table of one input that has `length` valid positions on a side."""
    ids, mask = encoded.get(inputs.ids.get(side, "")), encoded.get(MASKS.get(side, ""))
    label = inputs.model.labels(encoded, row=0, side=side)
    token = torch.full((length,), -1)
    if ids is not None:
        real = ids[0] if mask is None else ids[0][mask[0].bool()]
        label = (
            [text for text, kept in zip(label, mask[0].tolist(), strict=True) if kept]
            if (mask is not None and len(label) == mask.shape[1])
            else label
        )
        token = real.cpu() if len(real) == length else token
    return Rows(input=torch.full((length,), number), position=torch.arange(length), token=token, label=tuple(label))
