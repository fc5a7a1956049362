"""Removal: what it means that tokens are not there, and what the target becomes without any set of them."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.perturb import Batch, Outcomes, Vary, outcomes
from workbench.analyses.attribution.places import Side, attentions, sides
from workbench.capabilities import lacking
from workbench.errors import BadInput, MissingCapability
from workbench.functional.precision import precise
from workbench.hooks import Edit, editing, reading
from workbench.inputs import tokenizer_of
from workbench.models.lens_model import LensModel

Way = Literal["replace", "mask-attention", "zero-values"]
"""replace: another token stands there. mask-attention: nobody can attend to it. zero-values: it has nothing to say."""


def removed(
    evidence: Evidence,
    table: Bool[Tensor, "variant node"],
    how: Way = "replace",
    *,
    replacement: str | None = None,
    batch_size: int | None = None,
) -> Outcomes:
    """What the target is without the nodes that are True, a variant for each row; see `Way` for what "without" means.

    An empty row gives the unaltered prompt. `replacement` is for "replace" only: see `stand_in`. One forward pass a
    row, in batches.
    """
    if table.shape[-1] != len(evidence.tokens):
        raise BadInput(f"The table has {table.shape[-1]} columns; the prompt has {len(evidence.tokens)} tokens.")
    if replacement is not None and how != "replace":
        raise BadInput(f"A replacement ({replacement!r}) is of use only where tokens are replaced, not for {how!r}.")
    if how != "replace" and "pattern" not in evidence.model.capabilities:
        raise MissingCapability(lacking(f"Removal of tokens by {how!r}", evidence.model.name, {"pattern"}))
    makers: dict[str, Callable[[Tensor], Vary]] = {
        "replace": lambda gone: _replacing(evidence, gone, stand_in(evidence.model, replacement)),
        "mask-attention": lambda gone: hiding(evidence, gone),
        "zero-values": lambda gone: _silencing(evidence, gone),
    }
    vary = makers[how](table.to(evidence.model.device))
    return outcomes(evidence, len(table), vary, batch_size=batch_size)


def stand_in(model: LensModel, replacement: str | None = None) -> int | None:
    """The id put in a token's place: the one named, else the mask token, else the unknown token; None if there is none.

    Many tokenizers name another token as their unknown one (the end of texts, say): only one that is spelled so is
    taken.
    """
    tokenizer = tokenizer_of(model)
    if replacement is not None:
        return _input_id(model, tokenizer, replacement)
    if (mask := getattr(tokenizer, "mask_token_id", None)) is not None:
        return mask
    spelled = getattr(tokenizer, "unk_token", None) or ""
    named_so = "unk" in spelled.lower() or "\ufffd" in spelled
    return getattr(tokenizer, "unk_token_id", None) if named_so else None


def stand_in_text(evidence: Evidence, number: int | None) -> str:
    """What stood in for the tokens, in a sentence."""
    average = "by the mean over the prompt's positions of the vectors that enter the model"
    if len(evidence.tokens) == 1:
        average += ", which for a single position is its own: it scores 0"
    with_ids = [side.ids is not None for side in sides(evidence)]
    if number is None or not any(with_ids):
        return f"Tokens were replaced {average}."
    text = tokenizer_of(evidence.model).convert_ids_to_tokens([number])[0]
    return f"Tokens were replaced by {text!r}{'' if all(with_ids) else f', and what is not text {average}'}."


def _input_id(model: LensModel, tokenizer: Any, text: str) -> int:
    if not text:
        raise BadInput("The replacement is empty. Type one token, or leave it out.")
    if not hasattr(tokenizer, "convert_tokens_to_ids"):
        raise BadInput(f"{model.name} has no tokenizer, so {text!r} cannot be put in a token's place; leave it out.")
    if text in (tokenizer.all_special_tokens or ()):
        ids = [tokenizer.convert_tokens_to_ids(text)]
    else:
        tried = [list(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in (text, f" {text}")]
        ids = next((one for one in tried if len(one) == 1), tried[0])
    if len(ids) != 1:
        raise BadInput(
            f"The replacement {text!r} is {len(ids)} tokens of {model.name}, not one. Choose a single token."
        )
    if ids[0] == getattr(tokenizer, "pad_token_id", None):
        raise BadInput(f"{text!r} is padding, which {model.name} may skip. Choose another replacement.")
    return ids[0]


def _replacing(evidence: Evidence, table: Bool[Tensor, "variant node"], number: int | None) -> Vary:
    def vary(rows: Tensor, batch: Batch) -> tuple[Batch, Mapping[str, Edit]]:
        changed, edits = dict(batch), {}
        for side in sides(evidence):
            gone = side.spread(table[rows])
            if side.ids and number is not None:
                changed[side.ids] = changed[side.ids].masked_fill(gone, number)
            else:
                edits[side.entry] = _averaging(side, gone)
        return changed, edits

    return vary


@torch.no_grad()
def replaced_inputs(evidence: Evidence) -> Float[Tensor, "node d_embed"]:
    """The vectors that would enter the model if every token were replaced by the one that stands in for it."""
    every = torch.ones(1, len(evidence.tokens), dtype=torch.bool, device=evidence.model.device)
    vary = _replacing(evidence, every, stand_in(evidence.model))
    batch, edits = vary(torch.zeros(1, dtype=torch.long, device=every.device), evidence.batch)
    entries = sides(evidence)
    with editing(evidence.model, edits), reading(evidence.model, [side.entry for side in entries]) as values:
        evidence.model.module(**batch)
    return torch.cat([precise(values[side.entry][0, side.index]) for side in entries])


def _averaging(side: Side, gone: Bool[Tensor, "batch pos"]) -> Edit:
    def edit(value: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        return torch.where(gone[..., None], value[:, side.index].mean(1, keepdim=True), value)

    return edit


def _silencing(evidence: Evidence, table: Bool[Tensor, "variant node"]) -> Vary:
    def vary(rows: Tensor, batch: Batch) -> tuple[Batch, Mapping[str, Edit]]:
        edits: dict[str, Edit] = {}
        for one in attentions(evidence):
            gone = one.keys.spread(table[rows])[:, :, None, None]  # (batch, pos, kv_head, d_head)
            edits[f"{one.path}.v"] = lambda value, gone=gone: value.masked_fill(gone, 0)
        return batch, edits

    return vary


def hiding(
    evidence: Evidence,
    table: Bool[Tensor, "variant node"],
    *,
    queries: Bool[Tensor, "node"] | None = None,
    layers: Collection[int] = (),
) -> Vary:
    """Variants in which nodes cannot be attended to: by `queries`, in `layers` of every stack; none of them is all."""

    def vary(rows: Tensor, batch: Batch) -> tuple[Batch, Mapping[str, Edit]]:
        edits: dict[str, Edit] = {}
        for one in attentions(evidence):
            if layers and one.layer not in layers:
                continue
            gone = one.keys.spread(table[rows])[:, None]  # (batch, 1, key)
            if queries is not None:
                gone = gone & one.queries.spread(queries[None])[:, :, None]  # (batch, query, key)
            edits |= cut_edges(one.path, gone, own=not one.cross)
        return batch, edits

    return vary


def cut_edges(path: str, gone: Bool[Tensor, "batch query_or_1 key"], *, own: bool) -> dict[str, Edit]:
    """Edits that take keys away from queries before the softmax of one attention, so that the other keys share the row.

    A query left without any key keeps itself (`own`, self-attention) or reads nothing at all (cross-attention).
    """
    gone = gone[:, None]  # (batch, head, query or 1, key)

    def scores(value: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query key"]:
        lowest = torch.finfo(value.dtype).min
        left = (value > lowest / 2) & ~gone
        cut = value.masked_fill(gone, lowest)
        if not own:
            return cut
        itself = torch.eye(*value.shape[-2:], dtype=torch.bool, device=value.device)
        return torch.where(itself & ~left.any(-1, keepdim=True), value, cut)

    def pattern(value: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query key"]:
        return value.masked_fill(gone, 0)

    return {f"{path}.attn_scores": scores} if own else {f"{path}.attn_scores": scores, f"{path}.pattern": pattern}
