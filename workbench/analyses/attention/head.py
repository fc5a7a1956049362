"""Head: one attention head in detail - where it looks, what it moves, what it promotes, and why it looks there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.attention.attention import pattern_frame, sides
from workbench.analyses.one_prompt import answer_texts, checked_position, one_prompt, real
from workbench.errors import MissingCapability
from workbench.functional.precision import precise
from workbench.hooks import editing, reading
from workbench.models.lens_model import LensModel
from workbench.registry import AttentionName, Head as HeadNumber, Layer, Position, Prompt, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class Head(Result, kind="head"):
    """One head: where it looks, what it moves, what it promotes, and one score by dimension."""

    attention: str
    layer: int
    head: int
    kv_head: int
    """The key and value head it reads: several query heads share one under grouped queries."""
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    pattern: Float[Tensor, "query key"]
    """Rows sum to one."""
    weighted: Float[Tensor, "query key"] | None
    """Length of what each source adds to the stream: alpha * ||v W_O||, in units of the stream."""
    promoted: Float[Tensor, "query k"] | None
    """What the head's output at each position adds directly to the logits it raises most."""
    promoted_tokens: tuple[tuple[str, ...], ...] | None
    suppressed: Float[Tensor, "query k"] | None
    """The same for the logits it lowers most, lowest first."""
    suppressed_tokens: tuple[tuple[str, ...], ...] | None
    query: int
    """The position whose score with `key` is broken down."""
    key: int
    q: Float[Tensor, "d_head"]
    """As the score sees it: after rotary embedding where there is one."""
    k: Float[Tensor, "d_head"]
    terms: Float[Tensor, "d_head"]
    """What each dimension adds to the score: scale * q * k."""
    bias: float
    """The rest of the score: relative position bias, ALiBi; 0 up to rounding where there is none."""
    score: float | None
    """Before the softmax; terms and bias add up to it. None where the mask hides the key."""
    notes: tuple[str, ...]
    """What is absent for this model, and why."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each query and key."""
        more = {} if self.weighted is None else {"weighted": self.weighted}
        return pattern_frame(self.pattern, self.queries, self.keys, **more)

    def tokens_frame(self) -> "pd.DataFrame":
        """One row for each position and token that the head promotes or suppresses there; empty if not known."""
        import pandas as pd

        kept = [
            ("promoted", self.promoted, self.promoted_tokens),
            ("suppressed", self.suppressed, self.suppressed_tokens),
        ]
        rows = [
            {"query": q, "query_token": self.queries[q], "effect": effect, "rank": r, "token": token, "logit": value}
            for effect, logits, tokens in kept
            if logits is not None and tokens is not None
            for q, (texts, values) in enumerate(zip(tokens, logits.tolist(), strict=True))
            for r, (token, value) in enumerate(zip(texts, values, strict=True))
        ]
        return pd.DataFrame(rows, columns=["query", "query_token", "effect", "rank", "token", "logit"])

    def qk_frame(self) -> "pd.DataFrame":
        """One row for each dimension of the head: q, k, their term of the score, and the sum up to here."""
        import pandas as pd

        numbers = {"q": self.q, "k": self.k, "term": self.terms, "sum": self.terms.cumsum(0)}
        return pd.DataFrame({"dimension": range(len(self.q)), **{name: x.numpy() for name, x in numbers.items()}})

    def figure(self, *, of: Literal["attention", "weighted"] = "attention") -> "go.Figure":
        """The pattern, or the value-weighted pattern where there is one."""
        return plots.heatmap(
            self.to_frame(),
            x="key",
            y="query",
            value=of,
            x_labels="key_token",
            y_labels="query_token",
            limits=(0.0, 1.0) if of == "attention" else None,
            title=f"{self.attention}, layer {self.layer}, head {self.head}",
            y_down=True,
            square=True,
        )


@analysis("head", needs={"pattern", "qk"})
@torch.no_grad()
def head(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    layer: Annotated[Layer, "Layer of the head"] = 0,
    head: Annotated[HeadNumber, "Which head of the layer"] = 0,
    attention: Annotated[AttentionName, "Which attention, where there are several"] = None,
    query: Annotated[Position, "Position that attends, whose score is broken down by dimension"] = -1,
    key: Annotated[Position, "Position attended to, in that breakdown"] = 0,
    top_k: Annotated[int, Within(1, 50), "Promoted and suppressed tokens kept for each position"] = 10,
) -> Head:
    """One head in detail: its pattern, what each source moves, the tokens it promotes, and its score by dimension.

    Value-weighted pattern: Kobayashi et al. (2020), "Attention is Not Only a Weight". Promoted and suppressed tokens
    are the head's output read through the unembedding with the final norm frozen at its scale at that position:
    direct effects only, nothing that later layers make of them. Three forward passes, two of them over the first
    positions of a text only: they tell scale and position bias of the scores apart.
    """
    batch = one_prompt(model, prompt)
    name, query_side, key_side = sides(model, attention)
    stack, short = model.attention(attention)
    at = f"{stack.prefix}.{layer}.{short}"
    queries, keys = model.labels(batch, side=query_side), model.labels(batch, side=key_side)
    query, key = checked_position(query, queries), checked_position(key, keys)
    rotary = "rot_" if f"{at}.rot_q" in model.sites else ""
    q_site, k_site = f"{at}.{rotary}q", f"{at}.{rotary}k"
    final_site = model.stream("resid_post")[-1]
    with reading(model, [f"{at}.pattern", f"{at}.attn_scores", f"{at}.v", q_site, k_site, final_site]) as values:
        model.module(**batch)

    kv_head = head // (stack.sizes.n_heads // stack.sizes.n_kv_heads)
    q = precise(real(values[q_site][0, :, head], batch, query_side, dim=0))
    k = precise(real(values[k_site][0, :, kv_head], batch, key_side, dim=0))

    def cells(every_head: Tensor) -> Float[Tensor, "query key"]:
        return precise(real(real(every_head[0, head], batch, query_side, dim=0), batch, key_side, dim=1))

    pattern, scores = cells(values[f"{at}.pattern"]), cells(values[f"{at}.attn_scores"])
    visible = scores > torch.finfo(values[f"{at}.attn_scores"].dtype).min / 2
    terms = functional.query_key_terms(q[query], k[key], scale=score_scale(model, batch, at, head))
    score = scores[query, key].item() if visible[query, key] else None

    notes: list[str] = []
    weighted, written = None, None
    try:
        w_o, _ = model.output_map(attention, layer)
    except MissingCapability as error:
        notes.append(f"No value-weighted pattern: {error}")
    else:
        moved = precise(real(values[f"{at}.v"][0, :, kv_head], batch, key_side, dim=0)) @ precise(w_o[head])
        weighted = functional.value_weighted_pattern(pattern[None], moved.norm(dim=-1)[None])[0]  # (query, key)
        written = pattern @ moved  # (query, d_model)
    tokens: dict[str, Any] = dict.fromkeys(("promoted", "promoted_tokens", "suppressed", "suppressed_tokens"))
    if why_not := _no_direct_logits(model, name):
        notes.append(f"No promoted tokens: {why_not}")
    elif written is not None:
        tokens = _tokens(model, written, real(values[final_site][0], batch, query_side, dim=0), top_k)
    return Head(
        attention=name,
        layer=layer,
        head=head,
        kv_head=kv_head,
        queries=queries,
        keys=keys,
        pattern=pattern.cpu(),
        weighted=None if weighted is None else weighted.cpu(),
        query=query,
        key=key,
        q=q[query].cpu(),
        k=k[key].cpu(),
        terms=terms.cpu(),
        bias=0.0 if score is None else score - terms.sum().item(),
        score=score,
        notes=tuple(notes),
        **tokens,
    )


def score_scale(model: LensModel, batch: Mapping[str, Tensor], at: str, head: int) -> float | None:
    """What q.k is multiplied by in one head's scores: least squares over all visible cells, with the bias removed.

    Scores with q at zero are the bias alone. A text's first eight positions are enough, for it is one number. None
    (meaning 1 / sqrt(d_head)) where q cannot be edited.
    """
    rotary = "rot_" if f"{at}.rot_q" in model.sites else ""
    q_site, k_site, site = f"{at}.{rotary}q", f"{at}.{rotary}k", f"{at}.attn_scores"
    if not model.site(q_site).editable:
        return None
    if len({tuple(x.shape) for x in batch.values()}) == 1 and all(x.ndim == 2 for x in batch.values()):
        batch = {name: x[:, :8] for name, x in batch.items()}
    with reading(model, [q_site, k_site, site]) as values:
        model.module(**batch)
    with editing(model, {q_site: torch.zeros_like}), reading(model, [site]) as bias:
        model.module(**batch)
    sizes = model.stack_of(at).sizes
    q = values[q_site][0, :, head].double()
    k = values[k_site][0, :, head // (sizes.n_heads // sizes.n_kv_heads)].double()
    scores = values[site][0, head]
    visible = scores > torch.finfo(scores.dtype).min / 2
    raw = (q @ k.T)[visible]
    norm = raw.square().sum()
    return float(((scores - bias[site][0, head]).double()[visible] * raw).sum() / norm) if norm else None


def _no_direct_logits(model: LensModel, attention: str) -> str:
    if "direct-logits" not in model.capabilities:
        return f"{model.name} has no trained readout that is one norm and one linear map."
    stack, _ = model.attention(attention)
    if stack is not model.main:
        return f"{attention} does not write into the stream that is read out."
    if stack.row.order == "post":
        return "norms between the head and the readout mix what it wrote with the rest."
    return ""


def _tokens(
    model: LensModel, written: Float[Tensor, "query d_model"], final: Float[Tensor, "query d_model"], top_k: int
) -> dict[str, Any]:
    """Logits that the head raises and lowers most at each position, and their tokens; 64 positions at a time."""
    norm = model.final_norm
    scale = functional.norm_scale(precise(final), centred=norm.centred, eps=norm.eps)
    direct = functional.frozen_norm(written, scale, centred=norm.centred, weight=precise(norm.weight))
    nothing = precise(model.unembedding(torch.zeros_like(direct[:1]).to(model.dtype)))
    kept: dict[str, list[Tensor]] = {"promoted": [], "suppressed": [], "up": [], "down": []}
    for rows in direct.split(64):
        logits = precise(model.unembedding(rows.to(model.dtype))) - nothing  # (chunk, vocab), without the bias
        up, down = (logits.topk(min(top_k, logits.shape[-1]), largest=largest) for largest in (True, False))
        for name, value in (("promoted", up[0]), ("up", up[1]), ("suppressed", down[0]), ("down", down[1])):
            kept[name].append(value.cpu())
    whole = {name: torch.cat(values) for name, values in kept.items()}
    return {
        "promoted": whole["promoted"],
        "promoted_tokens": answer_texts(model, whole["up"]),
        "suppressed": whole["suppressed"],
        "suppressed_tokens": answer_texts(model, whole["down"]),
    }
