"""Attention PageRank: which tokens each layer's attention gathers at, whatever the answer is."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence, Wanted, two_sided
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, Within, analysis

Heads = Literal["mean", "rms", "graph"]


def _scores(evidence: Evidence, damping: float = 0.85, heads: Heads = "mean", normalize: bool = False) -> Scores:
    dtype = evidence.model.dtype
    found = []
    for links in _graphs(evidence):
        if not normalize:
            functional.check_rows(links, precision=dtype)
        found.append(functional.attention_pagerank(links[None], damping, heads, normalize=True)[0])
    return Scores(values=torch.stack(found), steps=evidence.steps)


def _graphs(evidence: Evidence) -> Iterator[Float[Tensor, "head node node"]]:
    """The attention of all heads in each step; in encoder-decoders, tokens it does not concern look at themselves."""
    if len(evidence.patterns) == 1:
        (patterns,) = evidence.patterns.values()
        yield from patterns
        return
    encoder, decoder, cross = (evidence.patterns[name] for name in two_sided(evidence.model))
    n_source, n = encoder.shape[-1], len(evidence.tokens)
    source, target = slice(0, n_source), slice(n_source, n)

    def graph(pattern: Tensor, queries: slice, keys: slice) -> Tensor:
        links = torch.eye(n, dtype=pattern.dtype, device=pattern.device).repeat(len(pattern), 1, 1)
        links[:, queries] = 0
        links[:, queries, keys] = pattern
        return links

    for pattern in encoder:
        yield graph(pattern, source, source)
    for own, other in zip(decoder, cross, strict=True):
        yield graph(own, target, target)
        yield graph(other, target, source)


METHODS = (
    Method(
        name="pagerank",
        title="Attention PageRank",
        function=_scores,
        wants=lambda _: Wanted(patterns=True),
        note="It ranks tokens in each layer as a whole: neither the answer nor the position that gives it matters, nor "
        "what was read below. In causal models early tokens are looked at by more others.",
        analysis="attention-pagerank",
    ),
)


@analysis("attention-pagerank", needs={"pattern"}, title="Attention PageRank")
@torch.no_grad()
def attention_pagerank(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    damping: Annotated[
        float, Within(0, 1), "How often a walker follows attention instead of starting anew; 1 is without damping"
    ] = 0.85,
    heads: Annotated[
        Heads, "Mean of the heads' ranks, root of their mean square, or ranks in the graph of their mean attention"
    ] = "mean",
    normalize: Annotated[bool, "Divide rows of attention that do not sum to one by their sum"] = False,
) -> TokenScores:
    """Which tokens the attention of each layer gathers at: the time a walker spends there who follows attention.

    PageRank of the graph in which looking at a token is a link to it; ranks sum to one. Without damping a causal layer
    gives all to the first token. In encoder-decoders, tokens that a step does not concern keep what they have. One
    forward pass, and a linear system for each head and layer.
    Wang, Dedhia & Jha (2024), "Zero-TPrune", which prunes by it.
    """
    return explain(METHODS[0], model, prompt, damping=damping, heads=heads, normalize=normalize)
