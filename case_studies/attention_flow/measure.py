"""What is measured of a classifier on texts: what its attention says of each word, and how much the word matters."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import workbench
from case_studies.attention_flow.data import UNK, Texts
from workbench import functional

CLS = 0
METHODS = ("raw", "rollout", "flow")
MEASURES = ("blank-out", "gradient x input", "saliency")
WORDS = slice(1, -1)
"""Between [CLS] and [SEP], which cannot be blanked."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """Texts of one length, read by one model."""

    right: Tensor
    """(text,), bool: whether the model's answer is the label."""
    relevance: Mapping[str, Tensor]
    """Method -> (text, layer, word): the row of [CLS]."""
    importance: Mapping[str, Tensor]
    """Measure -> (text, word)."""
    on_ends: Tensor
    """(text,): the share of all attention that goes to [CLS] and [SEP]."""


def measure(model: workbench.LensModel, texts: Texts) -> Measured:
    """Raw attention, rollout and flow of [CLS] in each layer, and three measures of what matters to the answer.

    blank-out: |change of p(right) - p(wrong)| when the word becomes [UNK]. gradient x input: |sum of d(p(right) -
    p(wrong))/de * e| over the entries of its embedding e. saliency: the length of d(logit of the answer)/de * e.
    """
    ids = encoded(model, texts)
    sites = model.attention_sites(None, "pattern")
    with workbench.reading(model, sites) as values, workbench.reading(model, "embed", gradients=True) as entry:
        logits = model.module(input_ids=ids).logits
    margin = margins(logits, texts.labels)
    top = logits.max(-1).values
    embedding = entry["embed"]
    slope, slope_of_logit = (
        torch.autograd.grad(score.sum(), embedding, retain_graph=True)[0] for score in (margin, top)
    )
    embedding = embedding.detach()
    patterns = torch.stack([values[site].detach() for site in sites], 1)  # (text, layer, head, query, key)
    return Measured(
        right=logits.argmax(-1) == texts.labels,
        relevance={name: row[..., WORDS] for name, row in attention_rows(patterns, CLS).items()},
        importance={
            "blank-out": (blanked(model, ids, texts.labels) - margin.detach()[:, None]).abs(),
            "gradient x input": (slope * embedding).sum(-1).abs()[:, WORDS],
            "saliency": (slope_of_logit * embedding).norm(dim=-1)[:, WORDS],
        },
        on_ends=on_ends(patterns),
    )


def attention_rows(patterns: Tensor, row: int) -> dict[str, Tensor]:
    """(text, layer, head, query, key) -> (text, layer, key): what three readings of attention say of one position."""
    return {
        "raw": functional.head_mean(patterns)[..., row, :],
        "rollout": functional.attention_rollout(patterns)[..., row, :],
        "flow": functional.attention_flow(patterns, targets=[row])[..., 0, :],
    }


def on_ends(patterns: Tensor) -> Tensor:
    """(text, layer, head, query, key) -> (text,): the share of all attention that goes to [CLS] and [SEP]."""
    return patterns[..., [0, -1]].sum(-1).mean((1, 2, 3))


def encoded(model: workbench.LensModel, texts: Texts) -> Tensor:
    """Token ids (text, pos)."""
    return model.encode([" ".join(words) for words in texts.words])["input_ids"]


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """p(right) - p(wrong) for each text; two classes."""
    chances = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
    return 2 * chances - 1


@torch.no_grad()
def blanked(model: workbench.LensModel, ids: Tensor, labels: Tensor) -> Tensor:
    """(text, word): p(right) - p(wrong) with one word unknown."""
    n, length = ids.shape
    blank = torch.eye(length, dtype=torch.bool)[WORDS]  # (word, pos)
    variants = ids[:, None].masked_fill(blank, UNK).flatten(0, 1)
    logits = model.module(input_ids=variants).logits
    return margins(logits, labels.repeat_interleave(length - 2)).view(n, length - 2)


# ---- the ladder of maps ----------------------------------------------------------------------------------------------


def ladder(model: workbench.LensModel, texts: Texts) -> dict[str, Tensor]:
    """Map -> (text, layer, word): the row of [CLS]."""
    return {name: maps[:, :, CLS, WORDS] for name, maps in rolled_maps(model, encoded(model, texts)).items()}


@torch.no_grad()
def rolled_maps(model: workbench.LensModel, ids: Tensor) -> dict[str, Tensor]:
    """Map -> (text, layer, query, key): the maps of post-norm blocks, multiplied up to each layer.

    The maps of GlobEnc, and ALTI; nothing is mixed in or divided beyond what the maps themselves do.
    """
    parts = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "attn.v", "attn.pattern")
    names = [f"blocks.{layer}.{part}" for layer in range(model.n_blocks) for part in parts]
    with workbench.reading(model, names) as values:
        model.module(input_ids=ids)
    found: dict[str, list[Tensor]] = {}
    for layer in range(model.n_blocks):
        own, added, middle, mlp, v, pattern = (values[f"blocks.{layer}.{part}"] for part in parts)
        block = model.module.get_submodule(model.main.paths[layer])
        first = frozen(block.get_submodule(str(model.main.row.norm1)), own + added)
        second = frozen(block.get_submodule(str(model.main.row.norm2)), middle + mlp)
        w_o, _ = model.output_map(None, layer)
        maps = functional.mixing_maps(pattern, v, w_o, own, after_attention=[first], after_block=[first, second])
        maps["ALTI"] = functional.alti_map(pattern, v, w_o, own, [first])
        for name, each in maps.items():
            found.setdefault(name, []).append(each)
    return {name: functional.cumulative_product(torch.stack(maps, 1)) for name, maps in found.items()}


def frozen(norm: torch.nn.Module, read: Tensor) -> functional.FrozenNorm:
    """A LayerNorm held at the scale it has on what it reads."""
    scale = functional.norm_scale(read, centred=True, eps=norm.eps)  # pyright: ignore[reportArgumentType]
    return functional.FrozenNorm(scale=scale, centred=True, weight=norm.weight.detach())  # pyright: ignore


def largest_norm_weight(model: workbench.LensModel) -> float:
    """How many times the median the largest weight of a norm after attention is, over all layers."""
    norms = [model.module.get_submodule(f"{path}.{model.main.row.norm1}") for path in model.main.paths]
    weights = torch.stack([norm.get_parameter("weight").detach().abs() for norm in norms])  # (layer, d_model)
    return (weights.max(-1).values / weights.median(-1).values).max().item()


# ---- ranks -----------------------------------------------------------------------------------------------------------


def planted_first(scores: Tensor, planted: Tensor) -> Tensor:
    """(text, *, word) -> (text, *): the chance that a planted word scores above another one; ties count half."""
    shape = (len(scores), *(1,) * (scores.ndim - 2), planted.shape[-1])
    pairs = (planted[:, :, None] & ~planted[:, None, :]).view(*shape, planted.shape[-1])
    higher = (scores[..., :, None] > scores[..., None, :]).to(scores)
    higher += 0.5 * (scores[..., :, None] == scores[..., None, :]).to(scores)
    return (higher * pairs).sum((-1, -2)) / pairs.sum((-1, -2))
