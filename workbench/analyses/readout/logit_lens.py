"""Logit lens: what the model would answer if it stopped at each layer.

Reference: nostalgebraist (2020), "interpreting GPT: the logit lens".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.one_prompt import answer_texts, chosen_answer, one_prompt, real
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Prompt, Token, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class LogitLens(Result, kind="logit-lens"):
    """What each layer would answer at each position."""

    log_probs: Float[Tensor, "state pos k"]
    """Natural logarithm of the probability of each kept answer, most likely first."""
    answers: tuple[tuple[tuple[str, ...], ...], ...]
    """Their texts, nested (state, pos, k)."""
    entropy: Float[Tensor, "state pos"]
    """Of the whole distribution, in nats."""
    rank: Int[Tensor, "state pos"]
    """Zero-based rank of `token`: how many answers are more likely."""
    token_log_prob: Float[Tensor, "state pos"]
    """Natural logarithm of the probability of `token`."""
    token: str
    """The chosen answer."""
    states: tuple[str, ...]
    """The sites read: the stream before the first block, then after each. The last one is the model's own answer."""
    layers: tuple[str, ...]
    """What stands before each state: "embed", then the layer's number."""
    tokens: tuple[str, ...]
    """Label of each position. What is read at a position is the answer that follows it, in a causal model."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each kept answer of each layer and position."""
        import numpy as np
        import pandas as pd

        state, pos, rank = (index.reshape(-1) for index in np.indices(self.log_probs.shape))
        return pd.DataFrame(
            {
                "layer": np.array(self.layers, dtype=object)[state],
                "pos": pos,
                "token": np.array(self.tokens, dtype=object)[pos],
                "rank": rank,
                "answer": np.array(self.answers, dtype=object).reshape(-1),
                "probability": self.log_probs.exp().flatten().numpy(),
                "log_prob": self.log_probs.flatten().numpy(),
            }
        )

    def cells_frame(self) -> "pd.DataFrame":
        """One row for each layer and position: top answer, entropy, rank and probability of the chosen token."""
        frame = self.to_frame().query("rank == 0").drop(columns=["rank", "log_prob"]).reset_index(drop=True)
        return frame.assign(
            entropy=self.entropy.flatten().numpy(),
            token_rank=self.rank.flatten().numpy(),
            token_probability=self.token_log_prob.exp().flatten().numpy(),
        )

    def figure(self) -> "go.Figure":
        """Top answers, coloured by their probability."""
        return plots.heatmap(
            self.cells_frame(),
            x="pos",
            y="layer",
            value="probability",
            text="answer",
            x_labels="token",
            hover=["entropy", "token_rank", "token_probability"],
            limits=(0.0, 1.0),
        )


@analysis("logit-lens", needs={"resid", "readout"})
@torch.no_grad()
def logit_lens(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Annotated[Token, "Answer whose rank and probability are followed; none: the model's own top answer"] = None,
    top_k: Annotated[int, Within(1, 20), "Answers kept for each layer and position"] = 5,
) -> LogitLens:
    """What the model would answer at every position if it stopped after each layer.

    Every state of the residual stream is read through the model's own final norm (or prediction head, in masked
    language models) and unembedding. The last state gives the model's output. Logits exist for 64 states at a time.
    """
    batch = one_prompt(model, prompt)
    states = (model.stream("resid_pre")[0], *model.stream("resid_post"))
    with reading(model, states) as values:
        model.module(**batch)
    side = model.main.side
    final = precise(model.readout(values[states[-1]][0, model.answer_position(batch)]))
    chosen = chosen_answer(model, token, final)
    found = [
        functional.lens_statistics(
            real(values[state][0], batch, side, dim=0), lambda x: precise(model.readout(x)), top_k=top_k, tokens=chosen
        )
        for state in track(states, label="layers read out")
    ]
    return LogitLens(
        log_probs=torch.stack([f.top_log_probs for f in found]).cpu(),
        answers=answer_texts(model, torch.stack([f.top_ids for f in found])),
        entropy=torch.stack([f.entropy for f in found]).cpu(),
        rank=torch.stack([f.rank for f in found if f.rank is not None]).cpu(),
        token_log_prob=torch.stack([f.log_prob for f in found if f.log_prob is not None]).cpu(),
        token=model.token_text(chosen),
        states=states,
        layers=("embed", *map(str, range(model.n_blocks))),
        tokens=model.labels(batch, side=side),
    )
