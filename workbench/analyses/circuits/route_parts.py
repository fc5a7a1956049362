"""The parts that every block's sums are made of, read off one forward pass, and the share of each in its sum.

A sequential block has two sums: the stream after attention (what came in, each head's look at each position, the bias
of W_O), and the stream after the MLP (the stream before it, and what the MLP adds). A parallel block has one of all. In
post-norm blocks the whole is the sum before its norm: the norm follows it, and divides all parts alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.target import explained_position
from workbench.analyses.one_prompt import one_prompt, real
from workbench.capabilities import lacking
from workbench.errors import BadInput, MissingCapability, UnsupportedModel
from workbench.functional.contributions import mixed_vectors
from workbench.functional.precision import precise
from workbench.functional.proximity import EPS, Norm
from workbench.hooks import reading
from workbench.models.lens_model import LensModel

NEEDS = frozenset({"pattern", "resid", "norms", "one-stack"})
OFF = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far parts may be from the stream they add up to, of its length, where the model computes in half precision."""
OFF_SINGLE = 1e-4
"""The same for all else."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a part is held against its whole."""

    norm: Norm = "l1"
    drop: int = 0
    """Coordinates left out, those in which the whole is largest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recorded:
    """One prompt's forward pass; padding is cut away."""

    model: LensModel
    batch: Mapping[str, Tensor]
    tokens: tuple[str, ...]
    values: Mapping[str, Tensor]
    """Site -> value as the hook gave it, with the batch axis and padding."""
    logits: Float[Tensor, "pos vocab"] | None
    """The model's own answers; a classifier has them at one position."""

    @property
    def name(self) -> str:
        """The attention of the main stack."""
        return f"{self.model.main.prefix}.{self.model.main.attentions[0]}"

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP both read what enters the block."""
        return self.model.main.row.order == "parallel"

    @property
    def has_mlp(self) -> bool:
        """Whether blocks have MLPs."""
        return "mlp_out" in self.model.capabilities

    def at(self, layer: int, part: str) -> Tensor:
        """A site's value in at least single precision, without the batch axis and padding."""
        site = f"{self.model.main.prefix}.{layer}.{part}"
        value, side = self.values[site][0], self.model.main.side
        dims = (-2, -1) if part.endswith("pattern") else (0,)
        for dim in dims:
            value = real(value, self.batch, side, dim=dim)
        return precise(value)


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionShares:
    """Shares of the parts of the stream after attention at some positions (after the block, in parallel ones)."""

    heads: Float[Tensor, "head query key"]
    """Keys after the last of the positions are left out where none of them can see one."""
    residual: Float[Tensor, "query"]
    bias: Float[Tensor, "query"]
    mlp: Float[Tensor, "query"] | None
    """In parallel blocks only."""


@torch.no_grad()
def recorded(model: LensModel, prompt: Any, more: tuple[str, ...] = ()) -> Recorded:
    """One forward pass with what routes are made of; `more` are other parts of blocks to be read, as "mlp.post"."""
    if missing := NEEDS - model.capabilities:
        raise MissingCapability(lacking("Tracing routes", model.name, missing))
    batch, stack = one_prompt(model, prompt), model.main
    short = stack.attentions[0]
    parts = ["resid_pre", "resid_mid", "resid_post", "mlp_out", f"{short}.pattern", f"{short}.v", *more]
    if stack.row.order == "post":
        parts.append("attn_out")
    sites = [f"{stack.prefix}.{i}.{part}" for i in range(stack.n_blocks) for part in parts]
    with reading(model, [site for site in sites if site in model.sites]) as values:
        output = model.module(**batch)
    logits = None
    if "logits" in model.capabilities:
        logits = output if isinstance(output, Tensor) else output.logits
        logits = logits if logits.ndim == 3 else logits[:, None]
        logits = real(logits[0], batch, stack.side, dim=0)
    tokens = model.labels(batch, side=stack.side)
    return Recorded(model=model, batch=batch, tokens=tokens, values=values, logits=logits)


def asked_position(run: Recorded, position: int | None) -> int:
    """The position whose state is traced; none: where the model answers."""
    return explained_position(run.model, run.batch, position)[0]


def attention_shares(run: Recorded, layer: int, at: Int[Tensor, "query"], how: Measure) -> AttentionShares:
    """Shares in the stream after attention at the positions `at`."""
    pattern, values, w_o, bias = attention_maps(run, layer, at)
    pre = run.at(layer, "resid_pre")[at]
    others = [pre, bias.expand_as(pre)]
    if run.parallel and run.has_mlp:
        others.append(run.at(layer, "mlp_out")[at])
    stacked = torch.stack(others, 1)  # (query, other, d_model)
    whole = _whole(run, layer, at)
    _check_sum(run, layer, mixed_vectors(pattern, values, w_o) + stacked.sum(1), whole)
    heads, rest = functional.attention_contributions(pattern, values, w_o, stacked, whole, norm=how.norm, drop=how.drop)
    near = functional.part_proximity(stacked[:, :1], whole, norm=how.norm, drop=how.drop)
    heads, rest = _without_least(heads, rest, near)
    return AttentionShares(
        heads=heads, residual=rest[:, 0], bias=rest[:, 1], mlp=rest[:, 2] if len(others) > 2 else None
    )


def mlp_shares(run: Recorded, layer: int, at: Int[Tensor, "query"], how: Measure) -> Float[Tensor, "query part"]:
    """Shares of the MLP and of the stream before it, in sequential blocks, at the positions `at`."""
    parts = torch.stack([run.at(layer, "mlp_out")[at], run.at(layer, "resid_mid")[at]], 1)
    whole = parts.sum(1)
    if run.model.main.row.order != "post":
        _check_sum(run, layer, whole, run.at(layer, "resid_post")[at])
    near = functional.part_proximity(parts, whole, norm=how.norm, drop=how.drop)
    shares = near / near.sum(-1, keepdim=True).clamp(min=1e-30)
    return _without_least(shares.new_zeros(0, len(at), 0), shares, near)[1]


def _without_least(
    heads: Float[Tensor, "head query key"], rest: Float[Tensor, "query part"], near: Float[Tensor, "query known"]
) -> tuple[Float[Tensor, "head query key"], Float[Tensor, "query part"]]:
    """Shares with those of parts that count nothing set to 0: they have them only because proximity is at least `EPS`.

    `near` are proximities of the first of `rest`. Where no part of a sum counts, shares stay: all of them count alike.
    """
    unit = rest[:, : near.shape[-1]].sum(-1) / near.sum(-1).clamp(min=EPS)  # share of a part with a proximity of 1
    least = unit * EPS * (1 + 1e-3)
    some = (heads > least[:, None]).any(-1).any(0) | (rest > least[:, None]).any(-1)
    least = least.where(some, 0.0)[:, None]
    return heads.where(heads > least, 0.0), rest.where(rest > least, 0.0)


def attention_maps(
    run: Recorded, layer: int, at: Int[Tensor, "query"]
) -> tuple[Tensor, Tensor, Float[Tensor, "head d_head d_model"], Float[Tensor, "d_model"]]:
    """(pattern (head, query, key), values (key, kv_head, d_head), W_O, its bias); only keys that can be seen."""
    short = run.model.main.attentions[0]
    seen = int(at.max()) + 1 if run.model.main.causal else len(run.tokens)
    pattern = run.at(layer, f"{short}.pattern")[:, at, :seen]
    w_o, bias = run.model.output_map(run.name, layer)
    return pattern, run.at(layer, f"{short}.v")[:seen], w_o.to(pattern), bias.to(pattern)


def _whole(run: Recorded, layer: int, at: Int[Tensor, "query"]) -> Float[Tensor, "query d_model"]:
    """What the parts of the attention's sum add up to."""
    if run.model.main.row.order == "post":
        return run.at(layer, "resid_pre")[at] + run.at(layer, "attn_out")[at]
    return run.at(layer, "resid_mid" if run.has_mlp and not run.parallel else "resid_post")[at]


def _check_sum(run: Recorded, layer: int, total: Tensor, whole: Tensor) -> None:
    if not bool(whole.isfinite().all()):
        raise BadInput(f"The stream of {run.model.name} holds NaN or infinity in layer {layer}: it has no parts.")
    off = ((total - whole).norm(dim=-1) / whole.norm(dim=-1).clamp(min=1e-30)).max().item()
    if not off <= OFF.get(run.model.dtype, OFF_SINGLE):
        raise UnsupportedModel(
            f"The parts of layer {layer} of {run.model.name} miss the stream that they should add up to by {off:.2g} of"
            f" its length: something else writes there ({run.model.family}). Take interventions off, or see"
            " `workbench check` for what is known of this model."
        )
