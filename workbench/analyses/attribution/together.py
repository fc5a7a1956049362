"""Together: several methods on one evidence, beside what really happens to the answer without each token or word.

The one-prompt analysis and the one over many prompts are both made of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence, gather, merged, stacks
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.methods import method, methods
from workbench.analyses.attribution.perturb import effects_of
from workbench.analyses.attribution.removal import removed
from workbench.analyses.attribution.words import Words, special_nodes, words
from workbench.capabilities import lacking
from workbench.errors import BadInput, MissingCapability
from workbench.inputs import tokenizer_of
from workbench.models.lens_model import LensModel

FAST = ("raw", "rollout", "flow", "relevance", "n-res", "alti", "saliency", "input-x-gradient")
"""Methods that need one forward and at most one backward pass: those run when none is named."""
Check = Literal["auto", "replace", "mask-attention", "zero-values", "none"]
"""How tokens are taken away in the causal check; see `removal.Way`, and for auto `chosen_check`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Together:
    """What several methods say of the tokens (or words) of one prompt."""

    evidence: Evidence
    words: Words
    """What the scores are of: words, or where they were not asked for single tokens."""
    methods: tuple[Method, ...]
    scores: tuple[Scores, ...]
    """A method each; without maps, which are of tokens."""
    left_out: tuple[tuple[str, str], ...]
    """Methods that were asked for and did not run, each with the reason."""

    @property
    def lines(self) -> tuple[tuple[int, int], ...]:
        """(method, step) of each row when all scores stand below each other."""
        return tuple((m, step) for m, found in enumerate(self.scores) for step in range(len(found.steps)))

    @property
    def values(self) -> Float[Tensor, "line word"]:
        """All scores below each other, in double precision."""
        return torch.cat([found.values.double() for found in self.scores])


def together(
    model: LensModel,
    prompt: Any,
    names: Sequence[str] = (),
    *,
    token: str | None = None,
    foil: str | None = None,
    position: int | None = None,
    by_word: bool = False,
) -> Together:
    """Run methods on one prompt: one forward pass for all, one backward pass if one of them needs it.

    Methods that the model, or this prompt, does not allow are left out with the reason; if none is left, that is an
    error. Scores of the pieces of a word are added up.
    """
    able, left_out = allowed(model, names)
    wanted = merged(one.wants(model) for one in able)
    evidence = gather(model, prompt, wanted, token=token, foil=foil, position=position)
    ran, found = [], []
    for one in able:
        scores = _run(one, evidence)
        if isinstance(scores, str):
            left_out[one.name] = scores
        else:
            ran.append(one)
            found.append(scores)
    if not ran:
        raise BadInput(f"No method could be run: {_reasons(left_out)}")
    units = words(evidence) if by_word else _single(evidence)
    if by_word:
        found = [replace(s, values=functional.merge_positions(s.values, units.numbers), maps=None) for s in found]
    return Together(
        evidence=evidence,
        words=units,
        methods=tuple(ran),
        scores=tuple(replace(one, maps=None) for one in found),
        left_out=tuple(left_out.items()),
    )


def allowed(model: LensModel, names: Sequence[str]) -> tuple[list[Method], dict[str, str]]:
    """(the methods of these names that the model can do, the others with the reason); without names the fast ones."""
    given = [name.strip() for text in names for name in text.split(",")]  # as one types it on the command line
    asked = [method(name) for name in dict.fromkeys(given or (name for name in FAST if name in methods()))]
    able = [one for one in asked if not one.missing(model)]
    left_out = {one.name: lacking(one.title, model.name, one.missing(model)) for one in asked if one.missing(model)}
    if not able:
        raise MissingCapability(f"None of the methods can be run with {model.name}: {_reasons(left_out)}")
    return able, left_out


def chosen_check(model: LensModel, check: str, replacement: str | None) -> Any:
    """The way that "auto" stands for; any other as it is.

    The mask token is what a model that was trained with one reads as nothing. Where there is none every other token
    says something (put before an answer it can move it more than what it stands for), so nobody attends to the token.
    """
    if check != "auto":
        return check
    masks = getattr(tokenizer_of(model), "mask_token_id", None) is not None
    return "replace" if masks or replacement is not None or "pattern" not in model.capabilities else "mask-attention"


def effects(found: Together, check: Any, replacement: str | None = None) -> Float[Tensor, "word"] | None:
    """How far the answer falls when each word in turn is taken away; one forward pass a word. None without a check."""
    if check == "none":
        return None
    each = torch.eye(len(found.words.texts), dtype=torch.bool)
    outcome = removed(found.evidence, spread(found, each), check, replacement=replacement)
    return effects_of(found.evidence, outcome).double().cpu()


def spread(found: Together, table: Bool[Tensor, "variant word"]) -> Bool[Tensor, "variant node"]:
    """A table of words as one of tokens: the pieces of a word go together."""
    return table[:, list(found.words.numbers)]


def counted(found: Together, *, skip_special: bool, skip_first: bool) -> Bool[Tensor, "word"]:
    """Which words are compared: not those that come after the explained position where it cannot see them.

    A word is left out with any of its tokens. The first is the first token of the input that is read.
    """
    evidence = found.evidence
    n, row = len(evidence.tokens), evidence.row
    keep = torch.ones(n, dtype=torch.bool)
    if stacks(evidence.model)[-1].causal:
        keep[row + 1 :] = False
    if skip_special:
        keep &= ~torch.tensor(special_nodes(evidence))
    if skip_first:
        keep[0] = False
    gone = functional.merge_positions((~keep).float(), found.words.numbers, "max")
    return gone == 0


def step_of(found: Together, which: int, layer: int | None) -> int:
    """The row of one method's scores after a layer of the main stack; its last (or only) row for None."""
    steps = found.scores[which].steps
    two_sided = len(stacks(found.evidence.model)) > 1
    name = f"decoder {layer} cross" if two_sided else str(layer)
    return steps.index(name) if layer is not None and name in steps else len(steps) - 1


def _run(one: Method, evidence: Evidence) -> Scores | str:
    try:
        scores = one.function(evidence)
    except (MissingCapability, BadInput) as error:
        return str(error)
    if not bool(torch.isfinite(scores.values).all()):
        return f"It is not a finite number for every token of this prompt. {one.note}".strip()
    return replace(scores, values=scores.values.detach().cpu())


def _single(evidence: Evidence) -> Words:
    return Words(numbers=tuple(range(len(evidence.tokens))), texts=evidence.tokens, sides=evidence.sides)


def _reasons(left_out: dict[str, str]) -> str:
    return " ".join(left_out.values())
