"""A run of a model held as it was, walked backwards: which directions at each depth give one number at the end.

With patterns and the divisors of norms held, a block is linear in the stream that enters it, and what its MLP wrote is
added as a source of its own. So one number at the end (a logit, or the length of the last state along itself) is linear
in the first states, in each MLP's output and in the biases. A cotangent is carried from the end to the front; through
each attention it splits in what goes past the heads and what goes through one of them, and so is counted by length.
All is computed in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import Activation, LinearMap, Norm


@dataclass(frozen=True, eq=False, kw_only=True)
class Heads:
    """One layer's attention as numbers."""

    pattern: Float[Tensor, "head query key"]
    w_v: Float[Tensor, "d_model head d_head"]
    b_v: Float[Tensor, "head d_head"]
    w_o: Float[Tensor, "head d_head d_model"]
    b_o: Float[Tensor, "d_model"]


@dataclass(frozen=True, eq=False, kw_only=True)
class FrozenBlock:
    """One block with its run."""

    heads: Heads
    before: tuple[tuple[Norm, Tensor], ...]
    """The norm between the stream and the heads, with what it read; none in post-norm blocks."""
    middle: tuple[tuple[Norm, Tensor], ...]
    """The norm of the sum after attention, in post-norm blocks, with what it read."""
    end: tuple[tuple[Norm, Tensor], ...]
    """The norm of the sum after the MLP, in post-norm blocks, with what it read."""
    mlp_out: Float[Tensor, "pos d_model"] | None


def wanted_sites(model: LensModel) -> tuple[str, ...]:
    """What of a run is needed beside the patterns."""
    parts = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
    return tuple(site for part in parts for site in model.stream(part) if site in model.sites)


def frozen_block(evidence: Evidence, layer: int) -> FrozenBlock:
    """One block of the main stack with what it did."""
    model, stack = evidence.model, evidence.model.main
    at, name = f"{stack.prefix}.{layer}", f"{stack.prefix}.{stack.attentions[0]}"
    norms = model.norms(layer, stack.prefix)
    stream, added, mid, mlp = (
        None if (value := evidence.values.get(f"{at}.{part}")) is None else value.double()
        for part in ("resid_pre", "attn_out", "resid_mid", "mlp_out")
    )
    assert stream is not None and added is not None
    post = stack.row.order == "post"
    middle = mid if mid is not None else stream
    return FrozenBlock(
        heads=_heads(evidence, name, layer),
        before=() if post or "norm1" not in norms else ((norms["norm1"], stream),),
        middle=((norms["norm1"], stream + added),) if post else (),
        end=((norms["norm2"], middle + mlp),) if post and mlp is not None else (),
        mlp_out=mlp,
    )


def _heads(evidence: Evidence, name: str, layer: int) -> Heads:
    (w_v, b_v), (w_o, b_o) = evidence.model.value_map(name, layer), evidence.model.output_map(name, layer)
    n_heads = len(w_o)
    return Heads(
        pattern=evidence.patterns[name][layer].double(),
        w_v=functional.repeat_kv(w_v.double(), n_heads, dim=1),
        b_v=functional.repeat_kv(b_v.double(), n_heads, dim=0),
        w_o=w_o.double(),
        b_o=b_o.double(),
    )


def norms_back(
    norms: Sequence[tuple[Norm, Tensor]], after: Float[Tensor, "*batch pos d_model"]
) -> tuple[Float[Tensor, "*batch pos d_model"], Float[Tensor, "*batch"]]:
    """A cotangent before frozen norms, and what the norms' biases add to the number."""
    bias = after.new_zeros(after.shape[:-2])
    for norm, read in reversed(norms):
        scale = functional.norm_scale(read.double(), centred=norm.centred, eps=norm.eps)
        if norm.bias is not None:
            bias = bias + (after * norm.bias.double()).sum((-2, -1))
        after = after * norm.weight.double() / scale
        after = after - after.mean(-1, keepdim=True) if norm.centred else after
    return after, bias


def heads_back(
    heads: Heads, after: Float[Tensor, "*batch query d_model"], only: int | None = None
) -> tuple[Float[Tensor, "*batch key d_model"], Float[Tensor, "*batch"]]:
    """A cotangent of what the heads read, all together or one, and what the biases of their values add."""
    some = slice(None) if only is None else slice(only, only + 1)
    mixed = heads.pattern[some].mT @ torch.einsum("...qm,hdm->...hqd", after, heads.w_o[some])  # (..., head, key, d)
    bias = torch.einsum("...hkd,hd->...", mixed, heads.b_v[some])
    return torch.einsum("...hkd,mhd->...km", mixed, heads.w_v[:, some]), bias


def answer_back(
    model: LensModel, state: Float[Tensor, "d_model"], answer: int, foil: int | None
) -> tuple[Float[Tensor, "d_model"], float]:
    """The direction at the last state that gives a logit (less that of the foil), and what the head's biases add.

    Slopes of activations in the head are held at what they were, as norms' divisors are.
    """
    *steps, last = model.head_maps((answer,) if foil is None else (answer, foil))
    assert isinstance(last, LinearMap)
    reads = [state.double()[None]]  # (1, d)
    for step in steps:
        reads.append(_done(step, reads[-1]))
    sign = torch.tensor([1.0] if foil is None else [1.0, -1.0], dtype=torch.float64, device=state.device)
    direction = (last.weight.double() @ sign)[None]
    total = 0.0 if last.bias is None else float(last.bias.double() @ sign)
    for step, read in zip(reversed(steps), reversed(reads[:-1]), strict=True):
        if isinstance(step, Norm):
            direction, bias = norms_back([(step, read)], direction)
            total += float(bias)
        elif isinstance(step, LinearMap):
            total += 0.0 if step.bias is None else float((direction * step.bias.double()).sum())
            direction = direction @ step.weight.double().T
        else:
            slope = functional.activation_slope(read, step(read), functional.slope_at_zero(step, read))
            direction = direction * slope
    return direction[0], total


def _done(step: Norm | LinearMap | Activation, x: Tensor) -> Tensor:
    if isinstance(step, Norm):
        weight, bias = step.weight.double(), None if step.bias is None else step.bias.double()
        return functional.final_norm(x, centred=step.centred, eps=step.eps, weight=weight, bias=bias)
    if isinstance(step, LinearMap):
        return x @ step.weight.double() + (0.0 if step.bias is None else step.bias.double())
    return step(x)
