"""Head scores: what each attention head does, by all scores that are known for it, and the classes it falls in."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.heads import copying as weights
from workbench.analyses.heads.head_removal import loss_without, next_losses
from workbench.analyses.heads.head_scores_result import CLASSES, HeadScores
from workbench.analyses.heads.repeated_blocks import RepeatedBlocks, Start, drawn, even, read
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel
from workbench.registry import Seed, Within, analysis

PATTERNS = (
    "prefix_matching",
    "prefix_matching_all",
    "previous_token",
    "duplicate_token",
    "self_token",
    "first_token",
    "entropy",
)
"""Scores that attention patterns give, in their order."""
Share = Within(0, 1)


@analysis("head-scores", needs={"text", "pattern"})
@torch.no_grad()
def head_scores(
    model: LensModel,
    *,
    period: Annotated[int, Within(2, 512), "Random tokens in the block that is repeated"] = 25,
    repeats: Annotated[int, Within(2, 32), "How often the block stands there"] = 4,
    sequences: Annotated[int, Within(1, 256), "Sequences averaged, each with a block of its own"] = 8,
    start: Annotated[Start, "Whether a start token (BOS) comes before the blocks"] = "as the tokenizer does",
    leave_out: Annotated[
        float, Within(0, 0.45), "Share of the vocabulary left out at each end: the commonest and the rarest tokens"
    ] = 0.05,
    tokens: Annotated[int, Within(2, 8192), "Tokens sampled for copying; a smaller vocabulary is taken whole"] = 1024,
    remove: Annotated[bool, "Whether each head is also removed: the loss on the repeats without it"] = False,
    induction: Annotated[float, Share, "Induction heads match prefixes, over all copies, by more than this"] = 0.4,
    previous: Annotated[float, Share, "Previous-token heads look back by one by more than this"] = 0.4,
    duplicate: Annotated[float, Share, "Duplicate-token heads look at earlier copies by more than this"] = 0.4,
    own: Annotated[float, Share, "Self heads look at the current token by more than this"] = 0.4,
    sink: Annotated[float, Share, "Sink heads look at the first position by more than this"] = 0.5,
    copies: Annotated[float, Within(-1, 1), "Copying heads have an eigenvalue ratio of more than this"] = 0.5,
    seed: Annotated[Seed, "Seed of the blocks and of the sampled tokens"] = 0,
) -> HeadScores:
    """What every head does on random tokens that repeat, and whether it copies what it attends to, beside chance.

    Blocks of random tokens, all different within a block, are repeated, as `induction_scores` does; prefix matching and
    duplicate tokens are means over the queries from the second copy on, the others over all queries but the first.
    Copying is from the weights: embedding, value and output map, unembedding, with the norms' weights in them; the
    ratio of eigenvalues over the whole vocabulary, the rest on sampled tokens, among themselves. Models that have other
    maps in between, or norms after their heads, have no copying scores, and a note says why. With `remove` each head's
    output is replaced by its mean over all positions and sequences: a forward pass a head and sequence, instead of one
    a sequence. Olsson et al. (2022), In-context Learning and Induction Heads; Elhage et al. (2021), A Mathematical
    Framework for Transformer Circuits; Wang et al. (2022), Interpretability in the Wild, for duplicate tokens.
    """
    name = f"{model.main.prefix}.{model.main.attentions[0]}"
    blocks = drawn(
        model, period=period, repeats=repeats, sequences=sequences, start=start, leave_out=leave_out, seed=seed
    )
    each, losses = [], []
    for row, (patterns, logits) in zip(
        blocks.ids, read(model, blocks, model.attention_sites(name, "pattern")), strict=True
    ):
        each.append(pattern_scores(patterns, blocks))
        losses.append(next_losses(model, logits, row, blocks))
    found = torch.stack(each)  # (sequence, layer, head, score)
    values, spread = [found.mean(0).cpu()], [_spread(found).cpu()]
    chance = pattern_scores(even(model, blocks.length)[None], blocks)[0].tolist()
    counts = [blocks.queries if "prefix" in one or "duplicate" in one else blocks.length - 1 for one in PATTERNS]
    names: list[str] = [*PATTERNS, *weights.SCORES]
    notes: list[str] = []
    nothing = torch.full((*found.shape[1:3], len(weights.SCORES)), torch.nan)
    spread.append(nothing)
    if why_not := weights.why_none(model):
        notes.append(f"No copying scores: {why_not}")
        values.append(nothing)
        chance += [torch.nan] * len(weights.SCORES)
        counts += [0] * len(weights.SCORES)
    else:
        copied = weights.copying(model, tokens=tokens, seed=seed)
        values.append(copied.values.float())
        chance += copied.chance
        counts += [copied.tokens, copied.tokens, copied.vocabulary]
        if copied.tokens < copied.vocabulary:
            notes.append(
                f"copying and most_copied are those of {copied.tokens:,} of {copied.vocabulary:,} tokens among "
                "themselves; chance is too. The eigenvalues are of all."
            )
    if remove:
        without = loss_without(model, blocks, torch.stack(losses))
        names.append("loss_without")
        values.append(without.mean(0)[..., None].cpu())
        spread.append(_spread(without)[..., None].cpu())
        chance.append(0.0)
        counts.append(blocks.queries - 1)
    thresholds = (induction, previous, duplicate, own, sink, copies)
    return HeadScores(
        attention=name,
        score_names=tuple(names),
        scores=torch.cat(values, -1),
        spread=torch.cat(spread, -1),
        chance=torch.tensor(chance),
        counts=torch.tensor(counts),
        thresholds=dict(zip(CLASSES, thresholds, strict=True)),
        losses=torch.stack(losses).mean(0).cpu(),
        n_kv_heads=model.n_kv_heads,
        start=None if blocks.bos is None else model.token_text(blocks.bos),
        before=blocks.before,
        period=period,
        sequences=sequences,
        notes=tuple(notes),
    )


def pattern_scores(
    patterns: Float[Tensor, "*layer head query key"], blocks: RepeatedBlocks
) -> Float[Tensor, "*layer head score"]:
    """The scores `PATTERNS` of the patterns of one sequence."""
    patterns, period, before = precise(patterns), blocks.period, blocks.before
    places = blocks.places().to(patterns.device).expand(*patterns.shape[:-3], -1)
    usual = functional.attention_scores(patterns, skip_first=True)
    known = dict(zip(usual.names, usual.values.unbind(-1), strict=True))
    found = {
        "prefix_matching": functional.prefix_matching(patterns, period, start=before),
        "prefix_matching_all": functional.prefix_matching(patterns, period, start=before, copies="all"),
        "previous_token": functional.previous_token(patterns),
        "duplicate_token": functional.same_token_mass(patterns, places).values,
        "self_token": known["self"],
        "first_token": known["first"],
        "entropy": known["entropy"],
    }
    return torch.stack([found[name] for name in PATTERNS], -1)


def _spread(found: Float[Tensor, "sequence *head"]) -> Float[Tensor, "*head"]:
    return found.std(0) if len(found) > 1 else torch.full_like(found[0], torch.nan)
