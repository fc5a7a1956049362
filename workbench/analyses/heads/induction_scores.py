"""Induction scores: which heads continue what repeats, measured on random tokens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.heads.repeated_blocks import Start, drawn, even, read
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Seed, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SCORES = ("prefix_matching", "prefix_matching_all", "previous_token")


@dataclass(frozen=True, eq=False, kw_only=True)
class InductionScores(Result, kind="induction-scores"):
    """What each head does on random blocks of tokens that are repeated."""

    scores: Float[Tensor, "layer head score"]
    """Means over sequences and queries, 0 to 1."""
    spread: Float[Tensor, "layer head score"]
    """Standard deviation over sequences of a sequence's mean; NaN with one sequence."""
    chance: tuple[float, ...]
    """What a head that looks at all visible positions alike would score."""
    score_names: tuple[str, ...]
    """prefix_matching (after the last earlier copy), prefix_matching_all (after any), previous_token."""
    attention: str
    n_kv_heads: int
    start: str | None
    """The token put before the blocks; None for nothing."""
    period: int
    positions: int
    """Length of a sequence; the last copy is cut where the model's context ends."""
    sequences: int

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer, head and score."""
        import pandas as pd

        layers, heads, names = self.scores.shape
        index = pd.MultiIndex.from_product([range(layers), range(heads), self.score_names])
        frame = index.to_frame(index=False, name=["layer", "head", "score"])
        frame.insert(2, "kv_head", frame["head"] // (heads // self.n_kv_heads))
        return frame.assign(
            value=self.scores.flatten().numpy(),
            spread=self.spread.flatten().numpy(),
            chance=self.chance * (layers * heads),
        )

    def heads_frame(self) -> "pd.DataFrame":
        """One row for each head, one column for each score; the best induction heads first."""
        wide = self.to_frame().pivot(index=["layer", "head"], columns="score", values="value").reset_index()
        wide.columns.name = None
        return wide.sort_values("prefix_matching_all", ascending=False, ignore_index=True)

    def figure(self, score: str = "prefix_matching") -> "go.Figure":
        """All heads by one score."""
        if score not in self.score_names:
            raise BadInput(f"There is no score {score!r}; there are {', '.join(self.score_names)}.")
        frame = self.to_frame()
        frame = frame.loc[frame["score"] == score]
        title = f"{score.replace('_', ' ')} on {self.period} random tokens, repeated"
        return plots.heatmap(
            frame, x="head", y="layer", value="value", hover=("kv_head", "spread"), limits=(0, 1), title=title
        )


@analysis("induction-scores", needs={"text", "pattern"})
@torch.no_grad()
def induction_scores(
    model: LensModel,
    *,
    period: Annotated[int, Within(2, 512), "Random tokens in the block that is repeated"] = 25,
    repeats: Annotated[int, Within(2, 32), "How often the block stands there"] = 4,
    sequences: Annotated[int, Within(1, 256), "Sequences averaged, each with a block of its own"] = 8,
    start: Annotated[Start, "Whether a start token (BOS) comes before the blocks"] = "as the tokenizer does",
    leave_out: Annotated[
        float, Within(0, 0.45), "Share of the vocabulary left out at each end: the commonest and the rarest tokens"
    ] = 0.05,
    seed: Annotated[Seed, "Seed of the blocks"] = 0,
) -> InductionScores:
    """Which heads look at what came after the current token last time, and which at the token just before.

    Blocks of random tokens, all different within a block, are repeated; scores are means over the queries from the
    second copy on (prefix matching) or over all (previous token). Special tokens never occur in a block. The main
    stack's self-attention is scored; encoder-decoders read the sequence on both sides. In models that see both ways
    only earlier copies count. A context too short for all copies cuts the last ones. One forward pass a sequence.
    Olsson et al. (2022), In-context Learning and Induction Heads, who use 25 tokens, 4 copies and a start token.
    """
    name = f"{model.main.prefix}.{model.main.attentions[0]}"
    blocks = drawn(
        model, period=period, repeats=repeats, sequences=sequences, start=start, leave_out=leave_out, seed=seed
    )
    before = blocks.before
    patterns = (pattern for pattern, _ in read(model, blocks, model.attention_sites(name, "pattern")))
    each = torch.stack([_scores(pattern, period, before) for pattern in patterns])  # (sequence, layer, head, score)
    return InductionScores(
        scores=each.mean(0).cpu(),
        spread=(each.std(0) if sequences > 1 else torch.full_like(each[0], torch.nan)).cpu(),
        chance=tuple(_scores(even(model, blocks.length), period, before).tolist()),
        score_names=SCORES,
        attention=name,
        n_kv_heads=model.n_kv_heads,
        start=None if blocks.bos is None else model.token_text(blocks.bos),
        period=period,
        positions=blocks.length,
        sequences=sequences,
    )


def _scores(patterns: Float[Tensor, "*heads query key"], period: int, before: int) -> Float[Tensor, "*heads score"]:
    patterns = patterns if patterns.dtype == torch.float64 else patterns.float()
    return torch.stack(
        [
            functional.prefix_matching(patterns, period, start=before),
            functional.prefix_matching(patterns, period, start=before, copies="all"),
            functional.previous_token(patterns),
        ],
        dim=-1,
    )
