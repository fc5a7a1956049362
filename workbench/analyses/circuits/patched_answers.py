"""Patched answers: what a model answers with any list of patches from another prompt, beside both prompts' answers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.attribution.target import answers_of
from workbench.analyses.circuits.patch_measured import Measured, measured
from workbench.analyses.circuits.patch_pair import (
    Corrupted,
    Direction,
    PairAnswer,
    PairFoil,
    PairReadAt,
    prompt_pair,
)
from workbench.analyses.one_prompt import answer_texts
from workbench.functional.precision import precise
from workbench.hooks import editing
from workbench.interventions import edits, parse
from workbench.models.lens_model import LensModel
from workbench.params import Kind
from workbench.registry import Prompt, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

RUNS = ("clean", "patched", "corrupted")


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchedAnswers(Measured, Result, kind="patched-answers"):
    """The answers of the clean run, of the patched one, and of the corrupted one."""

    interventions: tuple[str, ...]
    """What was done, each in full: `editing(edits(model, interventions, source=...))` replays them."""
    answers: tuple[str, ...]
    """The top answers of any of the three runs, the patched run's first."""
    log_probs: Float[Tensor, "3 answer"]
    """Natural logarithm of their probabilities: clean, patched, corrupted."""
    ranks: Int[Tensor, "3 answer"]
    """Zero-based."""
    values: Float[Tensor, "3"]
    """Logit of the answer less that of the foil: clean, patched, corrupted."""
    probabilities: Float[Tensor, "3 2"]
    """Of the answer and of the foil; the foil's is NaN where there is one answer only."""
    effect: float | None
    """0: as in the run that was patched. 1: as in the other. None where the two do not differ."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each answer."""
        import pandas as pd

        columns: dict[str, list] = {"answer": list(self.answers)}
        for name, row in zip(RUNS, self.log_probs.exp().tolist(), strict=True):
            columns[name] = row
        into = RUNS.index("corrupted" if self.direction == "denoise" else "clean")
        columns["change"] = (self.log_probs[1].exp() - self.log_probs[into].exp()).tolist()
        for name, row in zip(RUNS, self.ranks.tolist(), strict=True):
            columns[f"rank_{name}"] = row
        return pd.DataFrame(columns)

    def figure(self) -> "go.Figure":
        """Probabilities of the top answers in the three runs."""
        tidy = self.to_frame().melt("answer", list(RUNS), var_name="run", value_name="probability")
        tidy["place"] = list(range(len(self.answers))) * len(RUNS)  # two answers may read the same
        return plots.bars(tidy, x="place", y="probability", color="run", x_labels="answer", horizontal=True)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The metric of the three runs in a sentence, and the answers."""
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in zip(RUNS, self.values.tolist(), strict=True))
        effect = "undefined, the runs do not differ" if self.effect is None else f"{self.effect:.3f}"
        return f"{self.target}: {numbers}. Effect: {effect}.", self.to_frame()


@analysis("patched-answers", needs={"resid", "logits"})
@torch.no_grad()
def patched_answers(
    model: LensModel,
    prompt: Annotated[Prompt, "The clean prompt"],
    corrupted: Corrupted,
    *,
    patches: Annotated[
        tuple[str, ...],
        Kind("interventions"),
        "What to take from the other prompt: sites such as blocks.2.resid_pre@4, with heads blocks.5.attn.z:3@-1",
    ] = (),
    direction: Annotated[Direction, "denoise: clean values in the corrupted run; noise: the other way round"] = (
        "denoise"
    ),
    token: PairAnswer = None,
    foil: PairFoil = None,
    position: PairReadAt = None,
    top_k: Annotated[int, Within(1, 50), "Top answers kept of each run"] = 8,
) -> PatchedAnswers:
    """What the model answers with any list of patches taken from another prompt, beside both prompts' own answers.

    A patch is a site, with heads and positions if not all are meant. An intervention of another operation may stand
    among them ("blocks.3.mlp_out=zero"); they are done in order. The metric and its effect are those of
    activation-patching. Four forward passes.
    """
    wanted = tuple(parse(text, operation="patch") for text in patches)
    pair = prompt_pair(model, prompt, corrupted, token=token, foil=foil, position=position)
    into, _ = pair.into(direction)
    changes = edits(model, wanted, source=prompt if direction == "denoise" else corrupted)
    with editing(model, changes):
        patched = pair.target.row(answers_of(model.module(**into.batch)))[0]
    logits = torch.stack([pair.clean.logits, patched, pair.corrupted.logits])  # (3, vocab)
    log_probs, count = precise(logits).log_softmax(-1), min(top_k, logits.shape[-1])
    tops = torch.stack([logits[1], logits[0], logits[2]]).topk(count).indices
    shown = torch.tensor(list(dict.fromkeys(tops.flatten().tolist())), device=logits.device)
    values = pair.of(logits)
    named = [pair.target.answer, pair.target.foil]
    effect = pair.effects(values[1:2], direction).item()
    return PatchedAnswers(
        **vars(measured(pair, direction, model.main)),
        interventions=tuple(map(str, wanted)),
        answers=answer_texts(model, shown),
        log_probs=log_probs[:, shown].cpu(),
        ranks=functional.token_ranks(logits[:, None].expand(-1, len(shown), -1), shown.expand(3, -1)).cpu(),
        values=values.cpu(),
        probabilities=torch.stack(
            [torch.full_like(values, torch.nan) if i is None else log_probs[:, i].exp() for i in named], 1
        ).cpu(),
        effect=effect if pair.differs else None,
    )
