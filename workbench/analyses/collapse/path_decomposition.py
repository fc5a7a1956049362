"""Path decomposition: a logit, or a state, as a sum over paths through the heads, by how many heads they pass."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence, Wanted, gather
from workbench.analyses.collapse.frozen_run import (
    FrozenBlock,
    answer_back,
    frozen_block,
    heads_back,
    norms_back,
    wanted_sites,
)
from workbench.analyses.collapse.path_result import BIASES, EMBEDDING, PathDecomposition, path_text
from workbench.analyses.sound import need_finite_values, need_sound_logits
from workbench.errors import BadInput, MissingCapability
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Prompt, Seed, Within, analysis

CLOSE = {torch.float16: 5e-2, torch.bfloat16: 3e-1}
"""How far the sum may be from the number, as a share of the largest logit; 1e-4 in single and double precision."""
MOST_PATHS = 1000
"""Paths that are all walked; of more, some of each length are drawn."""


@analysis("path-decomposition", needs={"pattern", "resid", "attn_out", "decomposition", "one-stack"})
@torch.no_grad()
def path_decomposition(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    of: Annotated[
        Literal["logit", "state"], "Split up a logit, or the length of the last state (along itself)"
    ] = "logit",
    path: Annotated[tuple[str, ...], "Heads of a path to follow by itself, such as 0.3,1.2; none: none"] = (),
    draws: Annotated[int, Within(0, 1000), "Paths of each length that are followed, where there are over 1000"] = 10,
    seed: Annotated[Seed, "Seed of the draw"] = 0,
) -> PathDecomposition:
    """What reaches the answer through no head, one head, two heads in turn and so on: all lengths add up to the logit.

    Patterns, norms' divisors and slopes in the head are held as they were in this run, and what each MLP wrote is a
    source of its own (what it read is not followed further). A path begins in the embedding, an MLP or a bias, and goes
    in each later layer past the heads or through one of them; C(L, k) H^k paths from the embedding pass k heads. Sums
    over all paths of a length are exact and need no enumeration; single paths from the embedding are drawn. The sum
    differs from the model's own number by rounding only (checked: 1e-4 of the largest logit in single precision).
    Costs about layers^2 / 2 attentions. Dong, Cordonnier & Loukas (2021), "Attention is not all you need"; Elhage et
    al. (2021), "A Mathematical Framework for Transformer Circuits".
    """
    wanted = Wanted(patterns=True, sites=wanted_sites(model))
    evidence = gather(model, prompt, wanted, token=token, foil=foil, position=position)
    for site, value in evidence.values.items():
        need_finite_values(model, site, value)
    if evidence.logits is not None:
        need_sound_logits(model, evidence.logits)
    stack, at = model.main, evidence.target.position
    first, last = (evidence.values[site].double() for site in (wanted.sites[0], model.stream("resid_post")[-1]))
    blocks = [frozen_block(evidence, layer) for layer in range(stack.n_blocks)]
    start, constant, score, explained, note = _target(evidence, last[at], of)
    end = torch.zeros_like(last)
    end[at] = start

    contributions = _by_length(blocks, first, end)
    contributions[-1, 0] += constant
    rounding = score - float(contributions.sum())
    _check(evidence, rounding, score)
    paths, exact = _chosen(stack.n_blocks, stack.sizes.n_heads, path, draws, seed)
    return PathDecomposition(
        explained=explained,
        score=score,
        contributions=contributions.cpu(),
        sources=(EMBEDDING, *(site for site in model.stream("mlp_out") if site in model.sites), BIASES),
        rounding=rounding,
        values=_of_paths(blocks, first, end, paths.to(end.device)).cpu(),
        paths=paths,
        exact=exact,
        asked=path_text(paths[0].tolist()) if path else "",
        n_heads=stack.sizes.n_heads,
        tokens=evidence.tokens,
        position=at,
        note=note,
    )


def _target(
    evidence: Evidence, state: Float[Tensor, "d_model"], of: str
) -> tuple[Float[Tensor, "d_model"], float, float, str, str]:
    """(direction at the last state, what biases of the head add, the number, what it is, a note)."""
    target, length = evidence.target, float(state.norm())
    if of == "state" or target.answer is None or evidence.score is None:
        explained = f"length of the last state at position {target.position}"
        note = f"{evidence.model.name} has no trained head: its state is split up." if of == "logit" else ""
        return state / max(length, 1e-300), 0.0, length, explained, note
    direction, constant = answer_back(evidence.model, state, target.answer, target.foil)
    return direction, constant, evidence.score, target.text, ""


def _by_length(
    blocks: Sequence[FrozenBlock], first: Float[Tensor, "pos d_model"], end: Float[Tensor, "pos d_model"]
) -> Float[Tensor, "source length"]:
    """What paths of each length add: from the first states, from each MLP in turn, from biases."""
    n_layers = len(blocks)
    after = end.new_zeros(n_layers + 1, *end.shape)  # (length, pos, d)
    after[0] = end
    mlps, biases = [], end.new_zeros(n_layers + 1)
    for done, block in enumerate(track(tuple(reversed(blocks)), label="layers walked back"), start=1):
        after, bias = norms_back(block.end, after)
        biases += bias
        if block.mlp_out is not None:
            mlps.append((after * block.mlp_out).sum((-2, -1)))
        after, bias = norms_back(block.middle, after)
        biases += bias + (after * block.heads.b_o).sum((-2, -1))
        through, bias = heads_back(block.heads, after[:done])
        biases[1 : done + 1] += bias
        through, bias = norms_back(block.before, through)
        biases[1 : done + 1] += bias
        after[1 : done + 1] += through
    return torch.stack([(after * first).sum((-2, -1)), *reversed(mlps), biases])


def _of_paths(
    blocks: Sequence[FrozenBlock],
    first: Float[Tensor, "pos d_model"],
    end: Float[Tensor, "pos d_model"],
    paths: Int[Tensor, "path layer"],
) -> Float[Tensor, "path"]:
    """What single paths from the first states add. Paths that end alike are walked back once."""
    found = end.new_zeros(len(paths))

    def walk(layer: int, after: Tensor, mine: Tensor) -> None:
        if layer < 0:
            found[mine] = (after * first).sum()
            return
        block = blocks[layer]
        after = norms_back((*block.middle, *block.end), after)[0]
        for through in paths[mine, layer].unique().tolist():
            went = after
            if through:
                went = norms_back(block.before, heads_back(block.heads, after, through - 1)[0])[0]
            walk(layer - 1, went, mine[paths[mine, layer] == through])

    walk(len(blocks) - 1, end, torch.arange(len(paths), device=end.device))
    return found


def _chosen(
    n_layers: int, n_heads: int, path: tuple[str, ...], draws: int, seed: int
) -> tuple[Int[Tensor, "path layer"], bool]:
    """The path asked for, then all there are, or some drawn of each length."""
    counts = functional.path_counts(n_layers, n_heads)
    lengths = range(n_layers + 1)
    if exact := sum(counts) <= MOST_PATHS:
        paths = functional.all_paths(n_layers, n_heads, lengths)
    else:
        several = functional.sample_paths(n_layers, n_heads, lengths[1:], draws, seed)
        paths = torch.cat([several.new_zeros(1, n_layers), several])
    if not path:
        return paths, exact
    mine = paths.new_zeros(n_layers)
    heads = [head for one in path for head in one.split(",")]
    for head in heads:
        layer, number = _head(head.strip(), n_layers, n_heads)
        if mine[layer]:
            raise BadInput(f"A path goes through one head of a layer; {', '.join(heads)} names two of layer {layer}.")
        mine[layer] = number + 1
    return torch.cat([mine[None], paths]), exact


def _head(text: str, n_layers: int, n_heads: int) -> tuple[int, int]:
    layer, _, head = text.partition(".")
    if not (layer.isdecimal() and head.isdecimal() and int(layer) < n_layers and int(head) < n_heads):
        raise BadInput(
            f"A head of a path is LAYER.HEAD, from 0.0 to {n_layers - 1}.{n_heads - 1}, such as 0.0; not {text!r}."
        )
    return int(layer), int(head)


def _check(evidence: Evidence, rounding: float, score: float) -> None:
    model = evidence.model
    size = abs(score) if evidence.logits is None else max(abs(score), evidence.logits.abs().max().item())
    if not abs(rounding) <= CLOSE.get(model.dtype, 1e-4) * max(size, 1e-6):
        raise MissingCapability(
            f"The paths of {model.name} sum to {score - rounding:.4g}, but the {evidence.target.text} is {score:.4g}:"
            f" its blocks or its head do more than is known of them ({model.family})."
        )
