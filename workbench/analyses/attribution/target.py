"""What is explained: the answer at one position, an answer against a foil, a class, or the state itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.analyses.one_prompt import checked_position, real
from workbench.errors import BadInput, MissingCapability
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel


@dataclass(frozen=True, kw_only=True)
class Target:
    """The number that a prediction is reduced to: a logit, a difference of two, or the state's cosine with itself."""

    position: int
    """Real position on the side that answers, padding not counted."""
    index: int
    """The same position in the batch as the model gets it, padding counted."""
    answer: int | None
    """Id of the token or class; None where the model has no trained head, and its state is explained."""
    foil: int | None
    text: str
    """In words: "logit of ' Paris' at position 4"."""
    alone: bool = False
    """Whether each answer is judged by itself: a head of one output, or of many labels that do not exclude another."""

    def of(self, logits: Float[Tensor, "batch *pos vocab"]) -> Float[Tensor, "batch"]:
        """The logit of the answer, less that of the foil. Classifiers give (batch, vocab)."""
        rows = self.row(logits)
        found = rows[:, self.answer]
        return found if self.foil is None else found - rows[:, self.foil]

    def probability(self, logits: Float[Tensor, "batch *pos vocab"]) -> Float[Tensor, "batch"]:
        """The probability of the answer; with a foil, of the answer between the two; by itself where it is `alone`."""
        return self.log_probability(logits).exp()

    def log_probability(self, logits: Float[Tensor, "batch *pos vocab"]) -> Float[Tensor, "batch"]:
        """Natural logarithm of the probability, exact also where that is almost 0."""
        if self.foil is not None or self.alone:
            return torch.nn.functional.logsigmoid(self.of(logits))
        return self.row(logits).log_softmax(-1)[:, self.answer]

    def row(self, logits: Float[Tensor, "batch *pos vocab"]) -> Float[Tensor, "batch vocab"]:
        """All answers at the position, in at least single precision."""
        return precise(logits if logits.ndim == 2 else logits[:, self.index])


def answers_of(output: Any) -> Tensor:
    """The logits in what the module gives."""
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if logits is None:
        raise MissingCapability("This model gives no logits, so there is no answer to explain; only its states.")
    return logits


def explained_position(model: LensModel, batch: Mapping[str, Tensor], position: int | None) -> tuple[int, int]:
    """(real position, index in the batch) on the side that answers; None is where the model answers."""
    side = model.main.side
    labels = model.labels(batch, side=side)
    mask = batch.get("attention_mask" if side == "input" else "decoder_attention_mask")
    length = len(labels) if mask is None or mask.ndim != 2 else mask.shape[1]
    marks = real(torch.arange(length), {k: v.cpu() for k, v in batch.items()}, side, dim=0)
    if position is None:
        position = int((marks < model.answer_position(batch)).sum())
    position = checked_position(position, labels)
    return position, int(marks[position])


def choose_target(
    model: LensModel,
    batch: Mapping[str, Tensor],
    logits: Tensor | None,
    *,
    token: str | None,
    foil: str | None,
    position: int | None,
) -> Target:
    """The target named by the user, or the model's own top answer; `logits` are those of the unaltered prompt."""
    position, index = explained_position(model, batch, position)
    if logits is None or "logits" not in model.capabilities:
        if token is not None or foil is not None:
            raise MissingCapability(
                f"{model.name} has no trained head, so it has no answer {token or foil!r} to explain."
            )
        return Target(position=position, index=index, answer=None, foil=None, text=f"state at position {position}")
    row = logits[0] if logits.ndim == 2 else logits[0, index]
    answer = int(row.argmax()) if token is None else model.token_id(token)
    against = None if foil is None else model.token_id(foil)
    if answer == against:
        raise BadInput(f"Answer and foil are the same ({foil!r}): their difference is 0. Choose another foil.")
    text = f"logit of {model.token_text(answer)!r}"
    text += "" if against is None else f" less that of {model.token_text(against)!r}"
    where = "" if logits.ndim == 2 else f" at position {position}"
    kind = getattr(getattr(model.module, "config", None), "problem_type", None)
    alone = len(row) == 1 or (model.classes is not None and kind == "multi_label_classification")
    return Target(position=position, index=index, answer=answer, foil=against, text=text + where, alone=alone)
