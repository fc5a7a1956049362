"""Token attribution: many methods side by side on one prompt, ranked by what happens when the tokens are taken away."""

from typing import Annotated

import torch

from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.evidence import Evidence
from workbench.analyses.attribution.judged import CURVES, MEASURES, chance, correlations, curves
from workbench.analyses.attribution.perturb import rounding_note, unit_of
from workbench.analyses.attribution.removal import stand_in, stand_in_text
from workbench.analyses.attribution.side_by_side import TokenAttribution as TokenAttribution
from workbench.analyses.attribution.together import Check, chosen_check, counted, effects, step_of, together
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Prompt, Seed, analysis


@analysis("token-attribution", needs={"resid"}, title="Token attribution")
@torch.no_grad()
def token_attribution(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    methods: Annotated[tuple[str, ...], "Methods by name; none: the fast ones that the model allows"] = (),
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    check: Annotated[Check, "How tokens are taken away; auto: by a mask token, or else attention"] = "auto",
    replacement: Annotated[
        str | None, "Token put in the place of each; none: the mask token, else the unknown token, else a mean state"
    ] = None,
    layer: Annotated[Layer | None, "Layer after which cumulative methods are ranked; none: the last"] = None,
    words: Annotated[bool, "Merge the pieces of each word: scores are added, words are taken away whole"] = False,
    skip_special: Annotated[bool, "Leave start, class and separator tokens out of the ranking"] = False,
    skip_first: Annotated[bool, "Leave the first position out of the ranking"] = False,
    faithfulness: Annotated[bool, "Also remove and keep the highest scores in tenths: many forward passes"] = False,
    seed: Annotated[Seed, "Seed of the random orders"] = 0,
) -> TokenAttribution:
    """Which tokens the answer uses by many methods at once, ranked by what happens when each token is taken away.

    All methods share one forward pass and, where one needs it, one backward pass; the check takes one forward pass a
    token, and measures how far the answer falls: its log-probability, or with a foil the difference of their logits.
    A method is judged by the rank correlation of its sizes with the sizes of the effects (Spearman, and
    Kendall's tau-b, ties sharing their ranks), signed methods also with their signs, beside 500 random orders. Tokens
    that come after the explained position, where it cannot see them, are not compared. The faithfulness numbers
    remove, or keep alone, a tenth, two tenths ... of the tokens: comprehensiveness and sufficiency (DeYoung et al.
    2020, "ERASER") are the mean loss of probability, the AUCs the mean height of the curve when the highest, or the
    lowest, go first (Chefer, Gur & Wolf 2021).
    """
    how = chosen_check(model, check, replacement)
    found = together(model, prompt, methods, token=token, foil=foil, position=position, by_word=words)
    evidence, compared = found.evidence, counted(found, skip_special=skip_special, skip_first=skip_first)
    ranked = tuple(step_of(found, m, layer) for m in range(len(found.methods)))
    true = effects(found, how, replacement)
    passes = [] if true is None else [("causal check", len(true))]
    agreement = control = numbers = None
    if true is not None:
        signed = [found.methods[m].signed for m, _ in found.lines]
        agreement = correlations(found.values, true, compared, signed)
        control = chance(true, compared, seed)
    if faithfulness:
        if how == "none":
            raise BadInput("Faithfulness needs to know how tokens are taken away: choose a check other than 'none'.")
        numbers, count = curves(found, how, counted=compared, layer=layer, seed=seed, replacement=replacement)
        passes.append(("faithfulness", count))
    return TokenAttribution(
        explained=evidence.target.text,
        score=evidence.score,
        tokens=found.words.texts,
        sides=found.words.sides,
        row=found.words.numbers[evidence.row],
        counted=compared,
        methods=tuple(one.name for one in found.methods),
        titles=tuple(one.title for one in found.methods),
        signed=tuple(one.signed for one in found.methods),
        costs=tuple(one.cost for one in found.methods),
        notes=tuple(
            " ".join(filter(None, (one.note, scores.note)))
            for one, scores in zip(found.methods, found.scores, strict=True)
        ),
        left_out=found.left_out,
        scores=found.values.float(),
        line_methods=tuple(found.methods[m].name for m, _ in found.lines),
        line_steps=tuple(found.scores[m].steps[step] for m, step in found.lines),
        ranked_lines=tuple(found.lines.index((m, step)) for m, step in enumerate(ranked)),
        check=how,
        check_note=_check_note(evidence, how, replacement, int(compared.sum())),
        effects=None if true is None else true.float(),
        agreement=agreement,
        random_agreement=control,
        measures=MEASURES,
        faithfulness=numbers,
        curves=CURVES,
        passes=tuple(passes),
    )


def _check_note(evidence: Evidence, check: str, replacement: str | None, n_compared: int) -> str:
    if check == "none":
        return ""
    unit = f"Effects are falls in {unit_of(evidence)}. {rounding_note(evidence)}".strip()
    if check in ("mask-attention", "zero-values"):
        unit += " A token's own stream goes on: what the explained position holds itself is not taken away."
    if n_compared < 3:
        unit += f" Only {n_compared} of the tokens can be compared: too few for a correlation that means something."
    return f"{stand_in_text(evidence, stand_in(evidence.model, replacement))} {unit}" if check == "replace" else unit
