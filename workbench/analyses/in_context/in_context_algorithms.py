"""In-context algorithms: how near a text model's predictions are to counting n-grams in its own context."""

from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.in_context.exchanged import exchanged
from workbench.analyses.in_context.in_context_result import InContextAlgorithms
from workbench.analyses.in_context.random_chain import chain_says, chain_text, random_chain
from workbench.analyses.one_prompt import checked_position, one_prompt, real
from workbench.analyses.sound import need_finite_values, need_sound_logits
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.registry import AttentionName, Position, Prompt, Seed, Within, analysis

NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


@analysis("in-context-algorithms", needs={"text", "pattern", "readout", "causal", "one-stack"})
@torch.no_grad()
def in_context_algorithms(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    order: Annotated[int, Within(2, 6), "The longest n-grams that are counted"] = 3,
    chain: Annotated[
        int, Within(0, 64), "So many words in random order, by a chain of its own, instead of the prompt; 0: the prompt"
    ] = 0,
    length: Annotated[int, Within(8, 1024), "Tokens of a random chain"] = 96,
    position: Annotated[Position, "Where answers are read when an earlier token is exchanged"] = -1,
    exchanges: Annotated[int, Within(0, 512), "Tokens exchanged, the last before the position, one at a time"] = 24,
    attention: Annotated[AttentionName, "Attention whose heads are scored"] = None,
    seed: Annotated[Seed, "Seed of the chain and of the tokens put in"] = 0,
) -> InContextAlgorithms:
    """Whether the model predicts by counting what followed the last words before: n-grams in context, and their heads.

    The next-token distribution at each position against in-context predictors: uniform, the share of each token so far
    (unigram), what followed the last token (bigram), the last two (trigram) ..., each backing off where its context is
    new. Then earlier tokens are exchanged, one at a time, for one that does not stand in the prompt: does the answer
    move where the predictor's does? Each head's n-gram score is its attention to tokens that follow the same n - 1
    tokens; n = 2 is induction. A random chain (next word by a random table, from the vocabulary without special tokens)
    has statistics that no training text tells, and its own probabilities are one more predictor. Costs `exchanges` + 1
    passes. Akyürek et al. (2024), In-Context Language Learning: Architectures and Algorithms.
    """
    batch = one_prompt(model, prompt)
    words, table = torch.zeros(0, dtype=torch.long), torch.zeros(0, 0)
    if chain:
        words, table = random_chain(model, chain, seed)
        batch = model.encode(chain_text(model, batch, words, table, length, seed))
    labels = model.labels(batch)
    at = checked_position(position, labels)
    stack, short = model.attention(attention)
    sites = model.attention_sites(attention, "pattern")
    with reading(model, sites) as values:
        logits = real(model.logits(batch)[0], batch, "input", dim=0)
    squares = [_square(values[site][0], batch) for site in sites]
    for site, pattern in zip(sites, squares, strict=True):
        need_finite_values(model, site, pattern)
    need_sound_logits(model, precise(logits))
    patterns = torch.stack(squares)  # (layer, head, query, key)
    ids = real(batch["input_ids"][0], batch, "input", dim=0).cpu()
    if patterns.shape[-1] != len(ids) or len(logits) != len(ids):
        raise BadInput(f"{model.name} reads more positions than the prompt has tokens: give a prompt of text alone.")
    kinds = torch.cat([ids, words]).unique()
    tokens = torch.searchsorted(kinds, ids)
    numbers = range(1, order + 1)
    predicted = [functional.ngram_predictions(tokens, n, values=len(kinds)) for n in numbers]
    counted = [functional.ngram_matches(tokens, n).sum(-1) for n in numbers]
    if chain:
        predicted.append(chain_says(ids, kinds, words, table))
        counted.append(torch.zeros(len(ids), dtype=torch.long))
    distance, divergence = zip(*[_apart(logits, kinds, q) for q in [None, *predicted]], strict=True)
    found = exchanged(model, batch, ids, at, logits[at], order=order, most=exchanges, seed=seed)
    moved = [found["uniform"], *found["ngrams"], *([found["uniform"]] if chain else [])]
    even = functional.even_attention(len(ids), causal=True)
    orders = range(2, order + 1)
    return InContextAlgorithms(
        tokens=labels,
        predictors=("uniform", *(NAMES.get(n, f"{n}-gram") for n in numbers), *(("the chain",) if chain else ())),
        distance=torch.stack(distance).cpu(),
        divergence=torch.stack(divergence).cpu(),
        matches=torch.stack([torch.zeros_like(counted[0]), *counted]),
        attention=f"{stack.prefix}.{short}",
        orders=tuple(orders),
        scores=torch.stack([functional.ngram_attention(patterns, ids, n) for n in orders]),
        chance=torch.stack([functional.ngram_attention(even.to(patterns), ids, n) for n in orders]),
        queries=torch.stack([functional.ngram_matches(ids, n).any(-1).sum() for n in orders]),
        position=at,
        exchanged=found["places"],
        instead=found["instead"],
        model_change=found["model"],
        predictor_change=torch.stack(moved),
    )


def _square(pattern: Float[Tensor, "head query key"], batch: dict[str, Tensor]) -> Float[Tensor, "head query key"]:
    return precise(real(real(pattern, batch, "input", dim=1), batch, "input", dim=2)).cpu()


def _apart(
    logits: Float[Tensor, "pos vocab"], kinds: Int[Tensor, "value"], predicted: Float[Tensor, "pos value"] | None
) -> tuple[Float[Tensor, "pos"], Float[Tensor, "pos"]]:
    """Total variation distance and KL from a prediction over `kinds` (None: uniform over all) to the model."""
    logs = precise(logits).log_softmax(-1)
    if predicted is None:
        q = torch.full_like(logs, 1 / logs.shape[-1])
        return functional.total_variation(logs.exp(), q), _finite(q.log().mean(-1) - logs.mean(-1))
    q = predicted.to(logs)
    some = logs[:, kinds.to(logs.device)]
    rest = (1 - some.exp().sum(-1)).clamp(min=0)
    terms = torch.where(q > 0, q * (q.clamp(min=1e-30).log() - some), 0.0)
    return functional.total_variation(some.exp(), q) + rest / 2, _finite(terms.sum(-1))


def _finite(values: Tensor) -> Tensor:
    return values.where(values.isfinite(), torch.nan)
