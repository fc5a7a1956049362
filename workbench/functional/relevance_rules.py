"""How much each token counts for one answer: attention weighted by the answer's gradient, added up over layers.

Attention on what does not change the answer, or speaks against it, counts nothing: of attention times gradient only
the positive part is kept, before heads are averaged. Gradients are those of a logit (or a difference of logits): those
of a probability vanish where the softmax is saturated. They say how the answer would change if one entry of the
attention did, and know nothing of rows that sum to one. Half precision is computed in float32, which brings back no
gradient that was rounded to zero before.
Reference: Chefer, Gur & Wolf (2021), "Generic Attention-model Explainability for Interpreting Bi-Modal and
Encoder-Decoder Transformers".
"""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.functional.rollout import check_axes


def gradient_weighted(
    patterns: Real[Tensor, "*batch head query key"], gradients: Float[Tensor, "*batch head query key"]
) -> Float[Tensor, "*batch query key"]:
    """Attention that raises the answer: mean over heads of the positive part of attention times gradient.

    A head twice over, each copy with half its output, has half the gradient: the mean, and with it the scale of the
    relevance, is then halved.
    """
    _check_same(patterns, gradients)
    weighted = precise(gradients).mul(precise(patterns)).clamp(min=0).mean(-3)
    if not weighted.isfinite().all():
        raise BadInput("Attention or its gradient is not finite: relevance cannot be told from it.")
    return weighted


def relevance(
    patterns: Real[Tensor, "*batch layer head query key"],
    gradients: Float[Tensor, "*batch layer head query key"],
    *,
    identity: bool = True,
) -> Float[Tensor, "*batch layer query key"]:
    """How much each token counts for the answer, through self-attention alone: entry l is after layers 0 to l.

    `gradients` is the answer's gradient with respect to `patterns`. R starts as the identity, and each layer adds its
    weighted attention times R. Never negative, at least 1 on the diagonal, and growing from layer to layer; the row
    that counts is that of the position whose answer it is. `identity=False` gives R - I, what attention added, with
    all its digits: beside a one, small gradients would lose theirs. One matrix product a layer.
    """
    check_axes(patterns)
    _check_same(patterns, gradients)
    if patterns.shape[-1] != patterns.shape[-2]:
        raise BadInput(f"Queries and keys are the same tokens here, not {patterns.shape[-2]} and {patterns.shape[-1]}.")
    added = []
    for attention, slope in zip(patterns.unbind(-4), gradients.unbind(-4), strict=True):
        weighted = gradient_weighted(attention, slope)
        added.append(_more(added[-1], weighted) if added else weighted)
    states = torch.stack(added, -3)
    return states + _eye(states) if identity else states


def self_relevance(
    state: Float[Tensor, "*batch own source"], weighted: Float[Tensor, "*batch own own"]
) -> Float[Tensor, "*batch own source"]:
    """After self-attention: R + A R. The same for what tokens have of their own side and of the other."""
    return state + weighted @ state


def cross_relevance(
    weighted: Float[Tensor, "*batch own other"],
    own: Float[Tensor, "*batch own own"],
    other: Float[Tensor, "*batch other other"],
    between: Float[Tensor, "*batch own other"],
    back: Float[Tensor, "*batch other own"] | None = None,
) -> tuple[Float[Tensor, "*batch own other"], Float[Tensor, "*batch own own"]]:
    """After cross-attention of one side to the other: what it has of the other side, and what of its own.

    between + normalised(own)^T A normalised(other), and own + A back. `back` is what the other side has of this one;
    without it (the encoder of an encoder-decoder has nothing of the decoder) `own` stays. Where both sides look at
    each other in one block, give both calls the states from before it.
    """
    found = between + normalized_relevance(own).mT @ weighted @ normalized_relevance(other)
    return found, own if back is None else own + weighted @ back


def normalized_relevance(state: Float[Tensor, "*batch own own"]) -> Float[Tensor, "*batch own own"]:
    """As much from all tokens together as from a token itself: what was added to the identity, rows summing to one.

    Rows of the result sum to two; a row to which nothing has been added yet stays that of the identity.
    """
    return _normalized(state - _eye(state))


def encoder_decoder_relevance(
    encoder: Float[Tensor, "*batch encoder_layer source source"],
    decoder: Float[Tensor, "*batch decoder_layer target target"],
    cross: Float[Tensor, "*batch decoder_layer target source"],
    *,
    identity: bool = True,
) -> Float[Tensor, "*batch step node node"]:
    """How much each token of the prompt and of what is written counts: weighted attention of all three kinds.

    Each is `gradient_weighted` of its patterns. Nodes and steps are those of `joint_maps`: encoder tokens, then
    decoder tokens; a step for each encoder layer, two for each decoder layer (self-attention, then cross-attention).
    `identity=False` gives what attention added, as in `relevance`.
    """
    n_source, n_target = encoder.shape[-1], decoder.shape[-1]
    batch = encoder.shape[:-3]
    read, own = encoder.new_zeros(*batch, n_source, n_source), decoder.new_zeros(*batch, n_target, n_target)
    between, nothing = cross.new_zeros(*batch, n_target, n_source), cross.new_zeros(*batch, n_source, n_target)
    steps = []

    def keep() -> None:
        steps.append(torch.cat([torch.cat([read, nothing], -1), torch.cat([between, own], -1)], -2))

    for weighted in encoder.unbind(-3):
        read = _more(read, weighted)
        keep()
    for at_own, at_other in zip(decoder.unbind(-3), cross.unbind(-3), strict=True):
        own, between = _more(own, at_own), self_relevance(between, at_own)
        keep()
        between = between + _normalized(own).mT @ at_other @ _normalized(read)
        keep()
    states = torch.stack(steps, -3)
    return states + _eye(states) if identity else states


def _check_same(patterns: Tensor, gradients: Tensor) -> None:
    if patterns.shape != gradients.shape:
        raise BadInput(
            f"Each entry of the patterns needs its gradient: patterns are of shape {tuple(patterns.shape)}, gradients "
            f"of shape {tuple(gradients.shape)}. Take both of the same layers, heads and tokens."
        )


def _more(added: Tensor, weighted: Tensor) -> Tensor:
    """R + A R - I for R = I + added."""
    return added + weighted + weighted @ added


def _normalized(added: Tensor) -> Tensor:
    sums = added.sum(-1, keepdim=True)
    return added / sums.where(sums > 0, 1.0) + _eye(added)


def _eye(maps: Tensor) -> Tensor:
    return torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
