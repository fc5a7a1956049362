"""Token scores: the result of one method of attribution on one prompt, and how such a method is run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import plots
from workbench.analyses.attribution.evidence import gather
from workbench.analyses.attribution.method import Method
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenScores(Result, kind="token-scores"):
    """How much each token counts for one answer, by one method."""

    method: str
    title: str
    explained: str
    """What the scores are of: "logit of ' Paris' at position 4"."""
    score: float | None
    """The explained logit (or difference of logits) itself."""
    scores: Float[Tensor, "step node"]
    steps: tuple[str, ...]
    """What each row is after; one row for methods without steps."""
    maps: Float[Tensor, "step node node"] | None
    """(step, explained position, source) for every position, where the method gives it."""
    tokens: tuple[str, ...]
    sides: tuple[str, ...]
    """Where each token is read: input, or target (what an encoder-decoder has written)."""
    row: int
    """Which of the tokens' positions is explained."""
    signed: bool
    note: str
    """Where the method misleads, and what this run has to say for itself."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each step and token."""
        import numpy as np
        import pandas as pd

        step, node = (index.reshape(-1) for index in np.indices(self.scores.shape))
        return pd.DataFrame(
            {
                "method": self.method,
                "step": np.array(self.steps, dtype=object)[step],
                "pos": node,
                "token": np.array(self.tokens, dtype=object)[node],
                "side": np.array(self.sides, dtype=object)[node],
                "score": self.scores.flatten().numpy(),
            }
        )

    def map_frame(self, step: int = -1) -> "pd.DataFrame":
        """One row for each pair of positions after one step; empty where the method gives the explained one only."""
        import numpy as np
        import pandas as pd

        if self.maps is None:
            return pd.DataFrame(columns=["query", "key", "query_token", "key_token", "score"])
        query, key = (index.reshape(-1) for index in np.indices(self.maps.shape[1:]))
        tokens = np.array(self.tokens, dtype=object)
        numbers = {"query": query, "key": key, "query_token": tokens[query], "key_token": tokens[key]}
        return pd.DataFrame({**numbers, "score": self.maps[step].flatten().numpy()})

    def figure(self) -> "go.Figure":
        """Bars, or steps by tokens for cumulative methods."""
        title = f"{self.title}: {self.explained}"
        if len(self.steps) == 1:
            return plots.bars(self.to_frame(), x="pos", y="score", x_labels="token", title=title)
        center = 0.0 if self.signed else None
        return plots.heatmap(
            self.to_frame(), x="pos", y="step", value="score", x_labels="token", title=title, center=center
        )


def explain(
    method: Method,
    model: LensModel,
    prompt: Any,
    *,
    token: str | None = None,
    foil: str | None = None,
    position: int | None = None,
    **options: Any,
) -> TokenScores:
    """Run one method on one prompt."""
    evidence = gather(model, prompt, method.wants(model), token=token, foil=foil, position=position)
    found = method.function(evidence, **options)
    if not bool(torch.isfinite(found.values).all()):
        raise BadInput(f"{method.title} is not a finite number for every token of this prompt: {method.note}")
    return TokenScores(
        method=method.name,
        title=method.title,
        explained=found.explained or evidence.target.text,
        score=evidence.score,
        scores=found.values.cpu(),
        steps=found.steps,
        maps=None if found.maps is None else found.maps.cpu(),
        tokens=evidence.tokens,
        sides=evidence.sides,
        row=evidence.row,
        signed=method.signed,
        note=" ".join(filter(None, (method.note, found.note))),
    )
