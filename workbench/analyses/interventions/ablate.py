"""Ablate: what the model answers without some of its parts, against what it answers with them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.one_prompt import answer_texts, checked_position, chosen_answer, one_prompt, real
from workbench.functional.precision import precise
from workbench.hooks import editing, reading
from workbench.interventions import edits, parse
from workbench.models.lens_model import LensModel
from workbench.params import Kind
from workbench.registry import Position, Prompt, Seed, Token, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class Ablation(Result, kind="ablate"):
    """Answers and final states before and after a change."""

    interventions: tuple[str, ...]
    """What was done, each in full: `workbench.interventions.parse` reads them, `editing(edits(...))` replays them."""
    tokens: tuple[str, ...]
    position: int
    """Where the answers below are read."""
    answers: tuple[str, ...]
    """The top answers before, then those that came into the top only after. Empty for models without readout."""
    log_probs: Float[Tensor, "2 answer"] | None
    """Natural logarithm of their probabilities, before and after."""
    ranks: Int[Tensor, "2 answer"] | None
    """Zero-based ranks of their logits, before and after."""
    kl: Float[Tensor, "pos"] | None
    """KL(before || after) of the answers at each position, in nats."""
    token: str | None
    loss: Float[Tensor, "2"] | None
    """Negative log probability of `token` in nats, before and after."""
    state_change: Float[Tensor, "pos"]
    """Length of the change of the final state, relative to its length before."""
    state_cosine: Float[Tensor, "pos"]
    """Cosine of the final state before and after."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each answer before and after; for models without readout, one for each position's state."""
        import pandas as pd

        if self.log_probs is None or self.ranks is None:
            return self.positions_frame()
        (before, after), (rank_before, rank_after) = self.log_probs.exp().tolist(), self.ranks.tolist()
        return pd.DataFrame(
            {
                "answer": list(self.answers),
                "before": before,
                "after": after,
                "change": [b - a for a, b in zip(before, after, strict=True)],
                "rank_before": rank_before,
                "rank_after": rank_after,
            }
        )

    def positions_frame(self) -> "pd.DataFrame":
        """One row for each position: how far the final state moved, and the answers' KL where there are any."""
        import pandas as pd

        numbers = {"state_change": self.state_change, "state_cosine": self.state_cosine, "kl": self.kl}
        return pd.DataFrame(
            {
                "pos": range(len(self.tokens)),
                "token": self.tokens,
                **{name: values.numpy() for name, values in numbers.items() if values is not None},
            }
        )

    def figure(self) -> "go.Figure":
        """Probabilities before and after; for models without readout, how far each position's state moved."""
        if self.log_probs is None:
            return plots.bars(self.positions_frame(), x="pos", y="state_change", x_labels="token")
        tidy = self.to_frame().melt("answer", ["before", "after"], var_name="when", value_name="probability")
        tidy["place"] = list(range(len(self.answers))) * 2  # two answers may read the same
        return plots.bars(tidy, x="place", y="probability", color="when", x_labels="answer", horizontal=True)


@analysis("ablate", needs={"resid"})
@torch.no_grad()
def ablate(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    sites: Annotated[
        tuple[str, ...],
        Kind("interventions"),
        "What to change: sites such as blocks.2.mlp_out, with heads blocks.5.attn.z:3 and positions @4,7",
    ] = (),
    operation: Annotated[
        Literal["zero", "mean", "resample"], "What to put there, unless a site names its own"
    ] = "zero",
    token: Annotated[Token, "Answer whose loss is compared; none: the model's own top answer before"] = None,
    position: Annotated[Position | None, "Where answers are read; none: the model's last (or masked) position"] = None,
    reference: Annotated[tuple[str, ...], "Texts that mean and resample refer to; none: neutral sentences"] = (),
    top_k: Annotated[int, Within(1, 50), "Top answers kept, before and after"] = 10,
    seed: Annotated[Seed, "Seed of resample"] = 0,
) -> Ablation:
    """How the answer changes when parts of the model are set to zero, to their mean, or to other texts' values.

    A site may name its own operation: "blocks.5.attn.z:3=mean", "blocks.2.mlp_out=scale:0.5". Mean and resample
    refer to the positions of the reference texts, the first of each left out; models that do not read text refer to
    the prompt's own positions. Models without readout show how far the final state moved. Two forward passes.
    """
    batch = one_prompt(model, prompt)
    wanted = tuple(parse(site, operation=operation, seed=seed) for site in sites)
    changes = edits(model, wanted, reference=reference or (None if model.reads == "text" else (prompt,)))
    final_site, side = model.stream("resid_post")[-1], model.main.side
    finals, logits = [], []
    for changed in ({}, changes):
        with editing(model, changed), reading(model, [final_site]) as values:
            output = model.module(**batch)
            finals.append(values[final_site][0])
            if "readout" in model.capabilities:  # read while the edits stand: some are of the final norm
                own = getattr(output, "logits", output)
                per_position = isinstance(own, Tensor) and own.ndim == 3
                logits.append((own if per_position else model.readout(values[final_site]))[0])
    labels = model.labels(batch, side=side)
    if position is None:
        marks = torch.arange(len(finals[0]), device=finals[0].device)
        position = int((real(marks, batch, side, dim=0) < model.answer_position(batch)).sum())
    position = checked_position(position, labels)
    before, after = (real(final, batch, side, dim=0) for final in finals)
    compared = _NOTHING
    if logits:
        plain, changed = (precise(real(rows, batch, side, dim=0)) for rows in logits)
        compared = _answers(model, plain, changed, position, token, top_k)
    before, after = precise(before), precise(after)
    return Ablation(
        interventions=tuple(map(str, wanted)),
        tokens=labels,
        position=position,
        state_change=((after - before).norm(dim=-1) / before.norm(dim=-1)).cpu(),
        state_cosine=torch.cosine_similarity(before, after, dim=-1).cpu(),
        **compared,
    )


_NOTHING = {"answers": (), "log_probs": None, "ranks": None, "kl": None, "token": None, "loss": None}


def _answers(
    model: LensModel,
    before: Float[Tensor, "pos vocab"],
    after: Float[Tensor, "pos vocab"],
    position: int,
    token: str | None,
    top_k: int,
) -> dict:
    """The logits before and after, compared; 64 positions at a time."""
    kl = [functional.kl_divergence(a, b) for a, b in zip(before.split(64), after.split(64), strict=True)]
    logits = torch.stack([before[position], after[position]])  # (2, vocab)
    log_probs = logits.log_softmax(-1)
    tops = logits.topk(min(top_k, logits.shape[-1])).indices
    answers = torch.tensor(list(dict.fromkeys(tops.flatten().tolist())), device=logits.device)
    chosen = chosen_answer(model, token, logits[0])
    ranks = functional.token_ranks(logits[:, None].expand(-1, len(answers), -1), answers.expand(2, -1))
    return {
        "answers": answer_texts(model, answers),
        "log_probs": log_probs[:, answers].cpu(),
        "ranks": ranks.cpu(),
        "kl": torch.cat(kl).cpu(),
        "token": model.token_text(chosen),
        "loss": -log_probs[:, chosen].cpu(),
    }
