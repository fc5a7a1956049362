"""Gradients: how much the answer moves with each token's vector, alone, times the vector, and smoothed by noise."""

from typing import Annotated, Literal

import torch

from workbench import functional
from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence, Wanted
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.scores import TokenScores, explain
from workbench.analyses.attribution.slopes import entering, inputs_of, slopes
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, Seed, Within, analysis

Measure = Literal["l2", "l1", "input-x-gradient"]
NEEDS = frozenset({"logits", "gradients", "resid"})
SATURATED = (
    "Where a softmax inside is saturated no gradient passes, so a token that decides the answer can score near 0"
)


def _saliency(evidence: Evidence, norm: Literal["l2", "l1"] = "l2") -> Scores:
    assert evidence.input_gradients is not None
    values = functional.saliency(evidence.input_gradients, 1 if norm == "l1" else 2)
    return Scores(values=values[None], note=_note(evidence, values))


def _input_x_gradient(evidence: Evidence, norm: bool = False) -> Scores:
    assert evidence.inputs is not None and evidence.input_gradients is not None
    values = functional.input_x_gradient(evidence.inputs, evidence.input_gradients, norm=norm)
    return Scores(values=values[None], note=_note(evidence, values))


def _smooth_grad(
    evidence: Evidence, samples: int = 32, noise: float = 0.1, measure: Measure = "l2", seed: int = 0
) -> Scores:
    values = inputs_of(evidence)
    _, found = slopes(evidence, functional.with_noise(values, samples, noise, seed))
    mean = found.mean(0)
    if measure == "input-x-gradient":
        scores = functional.input_x_gradient(values, mean)
    else:
        scores = functional.saliency(mean, 1 if measure == "l1" else 2)
    return Scores(values=scores[None], note=_note(evidence, scores))


def _note(evidence: Evidence, values: torch.Tensor) -> str:
    """What half precision does to gradients, and that all of them may be gone."""
    notes = []
    if evidence.model.dtype.itemsize < 4:
        kind = str(evidence.model.dtype).removeprefix("torch.")
        notes.append(f"These gradients are {kind}: small ones are rounded or lost; load the model in float32 to check.")
    if not bool((values != 0).any()):
        notes.append("Every gradient is 0: the answer is saturated, or depends on none of the tokens.")
    return " ".join(notes)


METHODS = (
    Method(
        name="saliency",
        title="Saliency",
        function=_saliency,
        wants=lambda _: Wanted(inputs=True),
        needs=NEEDS,
        cost="one forward and one backward",
        note=f"{SATURATED}, and it has no sign: what moves the answer may speak for or against it.",
        analysis="saliency",
    ),
    Method(
        name="input-x-gradient",
        title="Input x gradient",
        function=_input_x_gradient,
        wants=lambda _: Wanted(inputs=True),
        needs=NEEDS,
        signed=True,
        cost="one forward and one backward",
        note=f"{SATURATED}, and it takes the model to be a straight line from the zero vector to the token's own.",
        analysis="input-x-gradient",
    ),
    Method(
        name="smooth-grad",
        title="SmoothGrad",
        function=_smooth_grad,
        wants=entering,
        needs=NEEDS,
        cost="several passes",
        note="It explains the mean of many noisy prompts that are like no text, more so the stronger the noise.",
        analysis="smooth-grad",
    ),
)


@analysis("saliency", needs=NEEDS, title="Saliency")
@torch.no_grad()
def saliency(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    norm: Annotated[Literal["l2", "l1"], "Length of a gradient: Euclidean, or the sum of absolute values"] = "l2",
) -> TokenScores:
    """How much the answer's logit moves with each token's vector: the length of its gradient.

    The gradient is taken where tokens enter the model as vectors: at the token embedding of text models, else (images,
    audio, encoder-decoders) at the state before the first block. One forward and one backward pass.
    Simonyan, Vedaldi & Zisserman (2014), "Deep Inside Convolutional Networks".
    """
    return explain(METHODS[0], model, prompt, token=token, foil=foil, position=position, norm=norm)


@analysis("input-x-gradient", needs=NEEDS, title="Input x gradient")
@torch.no_grad()
def input_x_gradient(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    norm: Annotated[bool, "Length of the product instead of its signed sum, as GlobEnc's comparison takes it"] = False,
) -> TokenScores:
    """How much of the answer's logit each token's vector makes, to first order: vector times gradient, with sign.

    Taken where saliency takes its gradient. One forward and one backward pass.
    Denil et al. (2014), "Extraction of Salient Sentences from Labelled Documents"; with `norm` the Euclidean length of
    the entrywise product, as in Modarressi et al. (2022), "GlobEnc".
    """
    return explain(METHODS[1], model, prompt, token=token, foil=foil, position=position, norm=norm)


@analysis("smooth-grad", needs=NEEDS, title="SmoothGrad")
@torch.no_grad()
def smooth_grad(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    samples: Annotated[int, Within(1, 1024), "Noisy copies of the prompt"] = 32,
    noise: Annotated[
        float, Within(0, 10), "Standard deviation of the noise, in that of the prompt's own vectors"
    ] = 0.1,
    measure: Annotated[Measure, "What is made of the mean gradient: its length, or its product with the vector"] = "l2",
    seed: Annotated[Seed, "Seed of the noise"] = 0,
) -> TokenScores:
    """How much the answer's logit moves with each token's vector, averaged over noisy copies of the prompt.

    Gaussian noise is added to all token vectors at once where they enter the model, and the gradients there are
    averaged before their length is taken. One forward and one backward pass a copy.
    Smilkov et al. (2017), "SmoothGrad: removing noise by adding noise".
    """
    return explain(
        METHODS[2],
        model,
        prompt,
        token=token,
        foil=foil,
        position=position,
        samples=samples,
        noise=noise,
        measure=measure,
        seed=seed,
    )
