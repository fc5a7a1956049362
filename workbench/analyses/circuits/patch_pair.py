"""Two prompts made ready for patching: both run once, of one length, with the answer and the foil that are compared."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.analyses.attribution.target import Target, answers_of, choose_target
from workbench.analyses.one_prompt import one_prompt, real
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import Blocks, LensModel
from workbench.registry import Position, Prompt, Token

Corrupted = Annotated[Prompt, "The other prompt, of as many tokens, in which the answer is another"]
PairAnswer = Annotated[Token, "Answer of the prompt; none: the model's own top answer to it"]
PairFoil = Annotated[Token, "Answer of the other prompt; none: the model's own top answer to that"]
PairReadAt = Annotated[Position | None, "Where both answers are read; none: the model's last (or masked) position"]
Direction = Literal["denoise", "noise"]
"""denoise: parts of the prompt's run in the other's. noise: parts of the other's run in the prompt's."""
RUNS = ("clean", "corrupted")
_AMONG = 10  # answers of the other run among which a foil is looked for when both runs give the same answer
_ROUNDING = 16  # steps of the model's numbers below which a difference of metrics is rounding
_SHOWN = 300  # letters of a prompt that a message shows


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """One prompt as the model reads it, and what it did."""

    batch: Mapping[str, Tensor]
    logits: Float[Tensor, "vocab"]
    """All answers at the position that is looked at."""
    values: Mapping[str, Tensor]
    """Site -> value, batch axis and padding and all."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptPair:
    """A clean and a corrupted prompt of the same length."""

    model: LensModel
    clean: Run
    corrupted: Run
    target: Target
    """What is measured: the logit of the clean prompt's answer less that of the corrupted prompt's."""

    @property
    def metrics(self) -> tuple[float, float]:
        """The difference of logits in the clean and in the corrupted run."""
        clean, corrupted = (self.of(run.logits[None]).item() for run in (self.clean, self.corrupted))
        return clean, corrupted

    def of(self, logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows"]:
        """The difference of logits in any runs."""
        return self.target.of(logits)

    def probability(self, logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows"]:
        """The probability of the clean prompt's answer among all, in any runs; by itself where labels are."""
        if self.target.alone:
            return logits[:, self.target.answer].sigmoid()
        return precise(logits).softmax(-1)[:, self.target.answer]

    @property
    def differs(self) -> bool:
        """Whether the two runs tell the answers apart by more than rounding."""
        clean, corrupted = self.metrics
        largest = max(float(run.logits.abs().max()) for run in (self.clean, self.corrupted))
        return abs(clean - corrupted) > _ROUNDING * torch.finfo(self.model.dtype).eps * max(largest, 1.0)

    def effects(self, values: Tensor, direction: Direction) -> Tensor:
        """Metrics as effects: 0 in the run that is changed, 1 in the other; NaN where the two do not differ."""
        clean, corrupted = self.metrics
        base, end = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
        return (values - base) / (end - base) if self.differs else torch.full_like(values, torch.nan)

    @property
    def answer(self) -> str:
        """The clean prompt's answer."""
        return self.model.token_text(_known(self.target.answer))

    @property
    def foil(self) -> str:
        """The corrupted prompt's answer; empty where there is one answer only."""
        return "" if self.target.foil is None else self.model.token_text(self.target.foil)

    def into(self, direction: Direction) -> tuple[Run, Run]:
        """The run that is changed, and the run that its new values come from."""
        return (self.corrupted, self.clean) if direction == "denoise" else (self.clean, self.corrupted)

    def tokens(self, stack: Blocks) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """One label a position of a stack, of both prompts."""
        clean, corrupted = (self.model.labels(run.batch, side=stack.side) for run in (self.clean, self.corrupted))
        return clean, corrupted

    def same(self, stack: Blocks) -> Bool[Tensor, "pos"]:
        """Where both prompts have the same token; for what is not text, nowhere."""
        clean, corrupted = self.tokens(stack)
        name = {"input": self.model.architecture.input_name, "target": "decoder_input_ids"}.get(stack.side)
        if name is None or name not in self.clean.batch:
            return torch.zeros(len(clean), dtype=torch.bool)  # patches and frames have no names to compare
        return torch.tensor([a == b for a, b in zip(clean, corrupted, strict=True)])


@torch.no_grad()
def prompt_pair(
    model: LensModel,
    prompt: Any,
    corrupted: Any,
    *,
    token: str | None = None,
    foil: str | None = None,
    position: int | None = None,
    sites: Collection[str] = (),
) -> PromptPair:
    """Run both prompts and keep `sites`. Prompts of different lengths, or read at different places, are refused.

    Where both runs give the same answer and no foil is named, the foil is, among the ten likeliest answers to the
    corrupted prompt, the one that gains most on the answer from the clean run to the corrupted one.
    """
    batches = [one_prompt(model, prompt), one_prompt(model, corrupted)]
    _one_length(model, *batches)
    found = []
    for batch in batches:
        with reading(model, sites) as values:
            logits = answers_of(model.module(**batch))
        found.append((logits, dict(values)))
    (clean, clean_values), (other, other_values) = found
    target = choose_target(model, batches[0], clean, token=token, foil=None, position=position)
    there = choose_target(model, batches[1], other, token=foil, foil=None, position=position)
    if there.index != target.index:
        raise BadInput(
            f"The answer to the first prompt is read at position {target.position} and that to the second at"
            f" {there.position}: move what is asked for to the same place, or name a position."
        )
    rows = [target.row(clean)[0], target.row(other)[0]]
    return PromptPair(
        model=model,
        clean=Run(batch=batches[0], logits=rows[0], values=clean_values),
        corrupted=Run(batch=batches[1], logits=rows[1], values=other_values),
        target=_against(model, target, there.answer, rows, named=foil is not None),
    )


def real_places(run: Run, stack: Blocks, length: int) -> Tensor:
    """Where the positions of a stack stand along an axis of that length, padding left out."""
    marks = torch.arange(length, device=next(iter(run.batch.values())).device)
    return real(marks, run.batch, stack.side, dim=0)


def _against(model: LensModel, target: Target, foil: int | None, rows: list[Tensor], *, named: bool) -> Target:
    """The target with its foil; a head of one output has none."""
    assert target.answer is not None and foil is not None, "analyses of pairs need logits"
    if len(rows[0]) == 1:
        return target
    if foil == target.answer:
        if named:
            raise BadInput(
                f"Answer and foil are both {model.token_text(foil)!r}: their difference is 0. Choose another."
            )
        foil = _gaining(rows[0], rows[1], target.answer)
    less = f"{model.token_text(target.answer)!r} less that of {model.token_text(foil)!r}"
    return replace(target, foil=foil, text=target.text.replace(repr(model.token_text(target.answer)), less, 1))


def _gaining(clean: Float[Tensor, "vocab"], corrupted: Float[Tensor, "vocab"], answer: int) -> int:
    """Of the likeliest other answers to the corrupted prompt, the one whose lead on `answer` grows most."""
    likely = corrupted.topk(min(_AMONG + 1, len(corrupted))).indices
    likely = likely[likely != answer]
    lead = [row[likely] - row[answer] for row in (clean, corrupted)]
    return int(likely[(lead[1] - lead[0]).argmax()])


def _one_length(model: LensModel, clean: Mapping[str, Tensor], corrupted: Mapping[str, Tensor]) -> None:
    """Refuse prompts that differ in how many positions they have, with both shown token by token."""
    for side in dict.fromkeys(stack.side for stack in model.stacks):
        here, there = model.labels(clean, side=side), model.labels(corrupted, side=side)
        if len(here) != len(there):
            raise BadInput(
                f"The prompts have {len(here)} and {len(there)} tokens; a patch puts the value at a position in the"
                " place of the value at the same position, so they need as many. Change words for words of as many"
                f" tokens. The first is {_cut(here)}, the second {_cut(there)}."
            )
    for name, value in clean.items():
        if value.shape != corrupted[name].shape:
            raise BadInput(
                f"The prompts differ in the shape of {name}: {tuple(value.shape)} and"
                f" {tuple(corrupted[name].shape)}. Give two of the same size."
            )


def _cut(labels: tuple[str, ...]) -> str:
    text = "|".join(labels)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _known(answer: int | None) -> int:
    assert answer is not None, "analyses of pairs need logits"
    return answer
