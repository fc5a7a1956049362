"""Blocks of random tokens that are repeated: what heads are scored on, drawn for one model and read by it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.sound import need_finite_values, need_sound_logits
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.inputs import tokenizer_of
from workbench.models.lens_model import LensModel
from workbench.progress import track

Start = Literal["as the tokenizer does", "yes", "no"]
"""Whether a start token (BOS) comes before the blocks."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RepeatedBlocks:
    """Sequences of one block each, over and over, as one model reads them."""

    ids: Int[Tensor, "sequence pos"]
    """Without the token with which a decoder opens by itself; the last copy may go on after `length`."""
    period: int
    before: int
    """Positions before the first block: a start token, and the one a decoder opens with."""
    length: int
    """Positions that the model reads; the last copy is cut where its context ends."""
    bos: int | None

    @property
    def queries(self) -> int:
        """Positions from the second copy on."""
        return self.length - self.before - self.period

    def places(self) -> Int[Tensor, "pos"]:
        """A number for each position: the same where the same token of the block stands, else one of its own."""
        at = torch.arange(self.length) - self.before
        return torch.where(at < 0, at, at % self.period)


def drawn(
    model: LensModel, *, period: int, repeats: int, sequences: int, start: Start, leave_out: float, seed: int
) -> RepeatedBlocks:
    """Blocks of different random tokens of a model's vocabulary, as many copies of each as its context has room for.

    Special tokens never occur, nor does the share `leave_out` at either end of the vocabulary.
    """
    bos = _start(model, start)
    before = int(bos is not None) + int(model.main.side == "target")  # a decoder opens with a token of its own
    length = min(before + period * repeats, model.n_ctx or before + period * repeats)
    if length < before + period + 1:
        raise BadInput(f"{model.name} reads at most {model.n_ctx} positions: a second copy of {period} does not fit.")
    ids = functional.repeated_tokens(
        period, repeats, batch=sequences, vocab=_vocab(model, leave_out, period), seed=seed, bos=bos
    )
    return RepeatedBlocks(ids=ids, period=period, before=before, length=length, bos=bos)


def read(
    model: LensModel, blocks: RepeatedBlocks, sites: tuple[str, ...]
) -> Iterator[tuple[Float[Tensor, "layer head query key"], Float[Tensor, "pos vocab"] | None]]:
    """The patterns of all heads, and the logits where the model gives any, one sequence at a time."""
    for row in track(blocks.ids.split(1), label="sequences"):
        with reading(model, sites) as values:
            output = model.module(**batch(model, row, blocks.length))
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        for site in sites:
            need_finite_values(model, site, values[site])
        if logits is not None:
            need_sound_logits(model, precise(logits))
        yield torch.stack([values[site][0] for site in sites]), None if logits is None else logits[0]


def batch(model: LensModel, ids: Int[Tensor, "sequence pos"], length: int) -> dict[str, Any]:
    """Sequences as a batch; where the model also wants a picture it gets a grey one."""
    if model.reads == "text+image":
        from PIL import Image

        return model.encode((ids[:, :length], Image.new("RGB", (64, 64), "grey")))
    if model.main.side != "target":
        return model.encode(ids[:, :length])
    batch = model.encode(ids[:, : length - 1])
    opening = batch["decoder_input_ids"][:, :1]
    return batch | {"decoder_input_ids": torch.cat([opening, ids.to(opening)[:, : length - 1]], dim=1)}


def even(model: LensModel, length: int) -> Float[Tensor, "query key"]:
    """What a head of the main stack has that looks at all it can see alike."""
    return functional.even_attention(length, causal=model.main.causal).double()


def _start(model: LensModel, start: str) -> int | None:
    """The id put first, by the policy asked for."""
    tokenizer = _tokenizer(model)
    own = next((n for n in (tokenizer.bos_token_id, tokenizer.cls_token_id) if n is not None), None)
    if start == "no":
        return None
    if start == "yes":
        if own is None:
            raise BadInput(f"{model.name}'s tokenizer has no start token; choose another policy for `start`.")
        return own
    first = tokenizer("a")["input_ids"][0]
    return first if first in tokenizer.all_special_ids else None


def plain_tokens(model: LensModel) -> list[int]:
    """The ids of all tokens that are not special."""
    tokenizer = _tokenizer(model)
    special = set(tokenizer.all_special_ids)
    return [number for number in range(min(len(tokenizer), model.vocab_size)) if number not in special]


def _vocab(model: LensModel, leave_out: float, period: int) -> Tensor:
    """The ids that blocks are drawn from: no special ones, neither end of the rest."""
    ids = plain_tokens(model)
    cut = int(len(ids) * leave_out)
    ids = ids[cut : len(ids) - cut]
    if len(ids) < period:
        raise BadInput(f"{len(ids)} tokens are left of {model.name}'s vocabulary, too few for blocks of {period}.")
    return torch.tensor(ids)


def _tokenizer(model: LensModel) -> Any:
    if model.processor is None:
        raise BadInput(f"{model.name} was adapted without a tokenizer: give adapt(module, tokenizer).")
    return tokenizer_of(model)
