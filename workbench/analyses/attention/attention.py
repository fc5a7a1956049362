"""Attention: the patterns of all heads, and five numbers a head that say what it looks at."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.one_prompt import one_prompt, real
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import AttentionName, Prompt, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention(Result, kind="attention"):
    """Patterns of all heads of one attention, and their scores."""

    patterns: Float16[Tensor, "layer head query key"]
    """Rows sum to one. Half precision: 2 bytes a cell, within 0.05 percent of what the model used."""
    scores: Float[Tensor, "layer head score"]
    """Means over queries, taken in full precision; NaN where undefined."""
    counts: Int[Tensor, "layer head score"]
    """Over how many queries each score was taken."""
    score_names: tuple[str, ...]
    """entropy (nats), distance (positions), first, previous, self (mass, 0 to 1)."""
    attention: str
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    n_kv_heads: int
    """Grouped queries: head h reads kv head h // (heads / n_kv_heads)."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer, head and score."""
        import pandas as pd

        layers, heads, names = self.scores.shape
        index = pd.MultiIndex.from_product([range(layers), range(heads), self.score_names])
        frame = index.to_frame(index=False, name=["layer", "head", "score"])
        frame.insert(2, "kv_head", frame["head"] // (heads // self.n_kv_heads))
        return frame.assign(value=self.scores.flatten().numpy(), queries=self.counts.flatten().numpy())

    def head_frame(self, layer: int, head: int) -> "pd.DataFrame":
        """One row for each query and key of one head."""
        return pattern_frame(self.patterns[layer, head].float(), self.queries, self.keys)

    def thumbnails(self, size: int = 48) -> "torch.Tensor":
        """Small pictures of all heads, uint8 (layer, head, height, width); the largest cell in each block is shown."""
        return functional.thumbnails(self.patterns, size)

    def figure(self) -> "go.Figure":
        """All layers by all heads."""
        return plots.head_grid(self.thumbnails().numpy(), title=self.attention)


def pattern_frame(
    attention: Float[Tensor, "query key"], queries: tuple[str, ...], keys: tuple[str, ...], **more: Tensor
) -> "pd.DataFrame":
    """One row for each query and key: both positions and labels, the attention, and `more` of the same shape."""
    import numpy as np
    import pandas as pd

    query, key = (index.reshape(-1) for index in np.indices(attention.shape))
    return pd.DataFrame(
        {
            "query": query,
            "key": key,
            "query_token": np.array(queries, dtype=object)[query],
            "key_token": np.array(keys, dtype=object)[key],
            "attention": attention.flatten().numpy(),
            **{name: values.flatten().numpy() for name, values in more.items()},
        }
    )


def sides(model: LensModel, attention: str | None) -> tuple[str, str, str]:
    """(full name, side of the queries, side of the keys) of an attention."""
    stack, short = model.attention(attention)
    return f"{stack.prefix}.{short}", stack.side, "input" if short == "cross_attn" else stack.side


@analysis("attention", needs={"pattern"})
@torch.no_grad()
def attention(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    attention: Annotated[AttentionName, "Which attention, where there are several"] = None,
    skip_first: Annotated[bool, "Leave the first position out of the scores: it can often only see itself"] = False,
) -> Attention:
    """Every head's attention pattern, with its entropy, distance, and mass on the first, previous and own token.

    Scores are means over all queries of the prompt, special tokens and BOS included; `skip_first` leaves out the
    first. The first query has no previous token and never counts there. Cross-attention has no distance, previous or
    own token (NaN). Memory: 2 bytes for each layer, head, query and key. Attention is not by itself an explanation
    (Jain and Wallace 2019, "Attention is not Explanation"); see value-weighted patterns and ablations.
    """
    batch = one_prompt(model, prompt)
    name, query_side, key_side = sides(model, attention)
    sites = model.attention_sites(attention, "pattern")
    with reading(model, sites) as values:
        model.module(**batch)
    patterns, scores = [], []
    for site in track(sites, label="scores"):
        pattern = values.pop(site)[0]  # (head, query, key)
        pattern = real(real(pattern, batch, query_side, dim=-2), batch, key_side, dim=-1)
        patterns.append(pattern.half().cpu())
        scores.append(
            functional.attention_scores(precise(pattern), skip_first=skip_first, same_sequence=query_side == key_side)
        )
    return Attention(
        patterns=torch.stack(patterns),
        scores=torch.stack([s.values for s in scores]).cpu(),
        counts=torch.stack([s.counts for s in scores]).cpu(),
        score_names=scores[0].names,
        attention=name,
        queries=model.labels(batch, side=query_side),
        keys=model.labels(batch, side=key_side),
        n_kv_heads=model.attention(attention)[0].sizes.n_kv_heads,
    )
