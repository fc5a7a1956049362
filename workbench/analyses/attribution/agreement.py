"""Attribution agreement: over many prompts, how well each method, after each layer, agrees with the causal check."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.agreement_table import AttributionAgreement as AttributionAgreement
from workbench.analyses.attribution.judged import MEASURES, correlations
from workbench.analyses.attribution.together import Together, allowed, chosen_check, counted, effects, together
from workbench.errors import BadInput
from workbench.interventions import neutral_sentences
from workbench.media import EXAMPLE
from workbench.models.lens_model import LensModel
from workbench.models.untrained import untrained_copy
from workbench.progress import track
from workbench.registry import Seed, Within, analysis

Line = tuple[str, str]
"""(method, step)"""
RANDOM: Line = ("random", "all")
N_SENTENCES = 8
"""Neutral sentences taken when no prompt is given."""


@analysis("attribution-agreement", needs={"resid"}, title="Agreement of attributions")
@torch.no_grad()
def attribution_agreement(
    model: LensModel,
    prompts: Annotated[tuple[str, ...], "What the model reads, one after the other; none: neutral sentences"] = (),
    *,
    methods: Annotated[tuple[str, ...], "Methods by name; none: the fast ones that the model allows"] = (),
    answers: Annotated[
        tuple[str, ...], "Answers explained: one for all prompts or one for each; none: the model's own"
    ] = (),
    foils: Annotated[tuple[str, ...], "Answers against which they are: one for all prompts or one for each"] = (),
    check: Annotated[
        Literal["auto", "replace", "mask-attention", "zero-values"],
        "How tokens are taken away; auto: by a mask token, or else attention",
    ] = "auto",
    replacement: Annotated[
        str | None, "Token put in the place of each; none: the mask token, else the unknown token, else a mean state"
    ] = None,
    words: Annotated[bool, "Merge the pieces of each word: scores are added, words are taken away whole"] = False,
    skip_special: Annotated[bool, "Leave start, class and separator tokens out of the comparison"] = False,
    skip_first: Annotated[bool, "Leave the first position out of the comparison"] = False,
    untrained: Annotated[bool, "Also on a copy with untrained weights, which needs their memory a second time"] = False,
    level: Annotated[float, Within(0.5, 0.999), "Share of resamples that an interval holds"] = 0.95,
    seed: Annotated[Seed, "Seed of the random orders, of the resamples and of the untrained weights"] = 0,
) -> AttributionAgreement:
    """How well methods of attribution agree with taking tokens away, over many prompts, after each layer.

    For each prompt the rank correlation of sizes (Spearman, and Kendall's tau-b; for signed methods also of the
    numbers) between the scores after each layer and the effects of taking each token away; then the mean over prompts
    with a bootstrap interval. Where a correlation is undefined (a constant score, too few tokens) it is left out and
    counted, never 0. One random order a prompt is the control; untrained weights are another, with its own answers
    where none are named. Costs a forward, a backward and one forward pass a token for each prompt.
    Abnar & Zuidema (2020), "Quantifying Attention Flow in Transformers".
    """
    allowed(model, methods)  # says at once what is not there
    how = chosen_check(model, check, replacement)
    texts = prompts or _own_prompts(model)
    answered, against = _each(answers, texts, "answers"), _each(foils, texts, "foils")
    arms = {"trained": model}
    note = ""
    if untrained:
        arms["untrained"] = untrained_copy(model, seed)
        note = f"The untrained copy took {model.n_bytes / 1e6:.0f} MB beside the model's own weights."
    tables: list[list[dict[Line, Tensor]]] = []
    left_out: dict[str, str] = {}
    titles: dict[str, str] = {}
    explained: list[str] = []
    compared: list[int] = []
    for arm in arms.values():
        tables.append([])
        for number, text in enumerate(track(texts, label="prompts")):
            found = _run(arm, text, number, methods, answered[number], against[number], words)
            keep = counted(found, skip_special=skip_special, skip_first=skip_first)
            true = effects(found, how, replacement)
            assert true is not None
            tables[-1].append(_correlations(found, true, keep, seed + number))
            titles |= {one.name: one.title for one in found.methods}
            left_out |= dict(found.left_out)
            if arm is model:
                explained.append(found.evidence.target.text)
                compared.append(int(keep.sum()))
    lines = [line for line in dict.fromkeys(line for rows in tables for row in rows for line in row) if line != RANDOM]
    lines.append(RANDOM)
    undefined = torch.full((len(MEASURES),), torch.nan, dtype=torch.float64)
    table = torch.stack(
        [
            torch.stack([torch.stack([row.get(line, undefined) for row in rows], -1) for line in lines])
            for rows in tables
        ]
    )  # (model, line, measure, prompt)
    interval = functional.bootstrap_interval(table, level=level, seed=seed)
    return AttributionAgreement(
        models=tuple(arms),
        prompts=texts,
        explained=tuple(explained),
        compared=tuple(compared),
        methods=(*titles, RANDOM[0]),
        titles=(*titles.values(), "Random order"),
        left_out=tuple(left_out.items()),
        line_methods=tuple(name for name, _ in lines),
        line_steps=tuple(step for _, step in lines),
        measures=MEASURES,
        check=how,
        correlations=table,
        mean=interval.value,
        low=interval.low,
        high=interval.high,
        count=interval.count,
        undefined=interval.undefined,
        level=level,
        seed=seed,
        note=note,
    )


def _run(
    model: LensModel,
    text: str,
    number: int,
    methods: Sequence[str],
    token: str | None,
    foil: str | None,
    words: bool,
) -> Together:
    try:
        return together(model, text, methods, token=token, foil=foil, by_word=words)
    except BadInput as error:
        raise BadInput(f"Prompt {number}: {error}") from None


def _correlations(
    found: Together, true: Float[Tensor, "word"], keep: Tensor, seed: int
) -> dict[Line, Float[Tensor, "measure"]]:
    signed = [found.methods[m].signed for m, _ in found.lines]
    random = functional.random_scores(true, seed % 2**32)[None]
    table = correlations(torch.cat([found.values, random]), true, keep, [*signed, True])
    names = [(found.methods[m].name, found.scores[m].steps[step]) for m, step in found.lines]
    return dict(zip([*names, RANDOM], table, strict=True))


def _own_prompts(model: LensModel) -> tuple[str, ...]:
    if "text" not in model.capabilities:
        return (EXAMPLE,)
    texts = []
    for sentence in neutral_sentences():
        text = f"{sentence} @ {EXAMPLE}" if model.reads == "text+image" else sentence
        try:
            model.encode(text)
        except BadInput:  # a short context: the sentences that fit are enough
            continue
        texts.append(text)
    if not texts:
        raise BadInput(f"None of the neutral sentences fits into {model.name}: give prompts of your own.")
    return tuple(texts[:N_SENTENCES])


def _each(given: tuple[str, ...], prompts: Sequence[str], what: str) -> Sequence[str | None]:
    if len(given) not in (0, 1, len(prompts)):
        raise BadInput(f"There are {len(given)} {what} for {len(prompts)} prompts: give one for all, or one for each.")
    if len(given) == len(prompts):
        return given
    return [given[0] if given else None] * len(prompts)
