"""Induction scores: which heads continue what repeats, measured on random tokens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
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
    start: Annotated[
        Literal["as the tokenizer does", "yes", "no"], "Whether a start token (BOS) comes before the blocks"
    ] = "as the tokenizer does",
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
    bos = _start(model, start)
    before = int(bos is not None) + int(model.main.side == "target")  # a decoder opens with a token of its own
    length = min(before + period * repeats, model.n_ctx or before + period * repeats)
    if length < before + period + 1:
        raise BadInput(f"{model.name} reads at most {model.n_ctx} positions: a second copy of {period} does not fit.")
    ids = functional.repeated_tokens(
        period, repeats, batch=sequences, vocab=_vocab(model, leave_out, period), seed=seed, bos=bos
    )
    sites = model.attention_sites(name, "pattern")
    rows = []
    for row in track(ids.split(1), label="sequences"):
        with reading(model, sites) as values:
            model.module(**_batch(model, row, length))
        rows.append(torch.stack([_scores(values[site][0], period, before) for site in sites]))
    each = torch.stack(rows)  # (sequence, layer, head, score)
    seen = torch.ones(length, length, dtype=torch.float64)
    seen = seen.tril() if model.main.causal else seen
    return InductionScores(
        scores=each.mean(0).cpu(),
        spread=(each.std(0) if sequences > 1 else torch.full_like(each[0], torch.nan)).cpu(),
        chance=tuple(_scores(seen / seen.sum(-1, keepdim=True), period, before).tolist()),
        score_names=SCORES,
        attention=name,
        n_kv_heads=model.n_kv_heads,
        start=None if bos is None else model.token_text(bos),
        period=period,
        positions=length,
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


def _tokenizer(model: LensModel) -> Any:
    if model.processor is None:
        raise BadInput(f"{model.name} was adapted without a tokenizer: give adapt(module, tokenizer).")
    return getattr(model.processor, "tokenizer", model.processor)


def _start(model: LensModel, start: str) -> int | None:
    """The id put first, by the policy asked for."""
    tokenizer = _tokenizer(model)
    own = next((n for n in (tokenizer.bos_token_id, tokenizer.cls_token_id) if n is not None), None)
    if start == "no":
        return None
    if start == "yes":
        if own is None:
            raise BadInput(f"{model.name}'s tokenizer has no start token; choose another policy for `start`.")
        return own
    first = tokenizer("a")["input_ids"][0]
    return first if first in tokenizer.all_special_ids else None


def _vocab(model: LensModel, leave_out: float, period: int) -> Tensor:
    """The ids that blocks are drawn from: no special ones, neither end of the rest."""
    tokenizer = _tokenizer(model)
    special = set(tokenizer.all_special_ids)
    ids = [number for number in range(min(len(tokenizer), model.vocab_size)) if number not in special]
    cut = int(len(ids) * leave_out)
    ids = ids[cut : len(ids) - cut]
    if len(ids) < period:
        raise BadInput(f"{len(ids)} tokens are left of {model.name}'s vocabulary, too few for blocks of {period}.")
    return torch.tensor(ids)


def _batch(model: LensModel, ids: Tensor, length: int) -> dict[str, Any]:
    """The sequence as a batch; where the model also wants a picture it gets a grey one."""
    if model.reads == "text+image":
        from PIL import Image

        return model.encode((ids[:, :length], Image.new("RGB", (64, 64), "grey")))
    if model.main.side != "target":
        return model.encode(ids[:, :length])
    batch = model.encode(ids[:, : length - 1])
    opening = batch["decoder_input_ids"][:, :1]
    return batch | {"decoder_input_ids": torch.cat([opening, ids.to(opening)[:, : length - 1]], dim=1)}
