"""What every step of a model mixes, in numbers: patterns, values, output maps, and the norms frozen where they stood.

In post-norm blocks each sum is normed: the norm of the sum follows attention, and after the block comes the norm of the
MLP's sum too. In pre-norm blocks the stream goes on as it is; the norm before the next part reads it, and at the end
of the block the first norm of the next one, or the final norm. Parallel blocks have no norm between their parts: the
one that reads the block's output stands for it. Where no norm reads the last state, none is applied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.evidence import Evidence, Wanted, stacks
from workbench.functional import FrozenNorm
from workbench.models.lens_model import Blocks, LensModel
from workbench.models.linear_maps import Norm


@dataclass(frozen=True, eq=False, kw_only=True)
class MixingStep:
    """One attention of one layer, as `functional.mixing_maps` and `functional.alti_map` take it."""

    evidence: Evidence
    stack: Blocks
    layer: int
    name: str
    """Of the attention: attn, self_attn or cross_attn."""

    @property
    def cross(self) -> bool:
        """Whether the keys are another stack's positions."""
        return self.name == "cross_attn"

    @property
    def mixed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pattern (head, query, key), values (key, kv_head, d_head), W_O, and the stream that attention adds to."""
        full = f"{self.stack.prefix}.{self.name}"
        w_o, _ = self.evidence.model.output_map(full, self.layer)
        own = self._at("resid_mid" if self.cross else "resid_pre")
        return self.evidence.patterns[full][self.layer], self._at(f"{self.name}.v"), w_o, own

    @cached_property
    def after_attention(self) -> tuple[FrozenNorm, ...]:
        """The norm after attention."""
        norms = self.evidence.model.norms(self.layer, self.stack.prefix)
        if self.stack.row.order == "post":
            if self.cross:
                return (_frozen(norms["norm_cross"], self._at("resid_mid") + self._at("cross_attn_out")),)
            return (_frozen(norms["norm1"], self._at("resid_pre") + self._at("attn_out")),)
        if self._cross_follows:
            return (_frozen(norms["norm_cross"], self._at("resid_mid")),)
        if self.stack.row.order == "parallel" or "norm2" not in norms:
            return self.after_block
        return (_frozen(norms["norm2"], self._at(self._middle)),)

    @cached_property
    def after_block(self) -> tuple[FrozenNorm, ...]:
        """The norms after all that follows up to the next attention, in turn."""
        model, prefix = self.evidence.model, self.stack.prefix
        if self._cross_follows:
            return self.after_attention
        if self.stack.row.order == "post":
            norms = model.norms(self.layer, prefix)
            second = (
                (_frozen(norms["norm2"], self._at(self._middle) + self._at("mlp_out")),) if "norm2" in norms else ()
            )
            return (*self.after_attention, *second)
        last = self.layer + 1 == self.stack.n_blocks
        norm = model.last_norm(prefix) if last else model.norms(self.layer + 1, prefix)["norm1"]
        return () if norm is None else (_frozen(norm, self._at("resid_post")),)

    @property
    def of_the_sum(self) -> tuple[FrozenNorm, ...]:
        """The norm of the sum itself, in post-norm blocks."""
        return self.after_attention if self.stack.row.order == "post" else ()

    @property
    def _cross_follows(self) -> bool:
        return "cross_attn" in self.stack.attentions and not self.cross

    @property
    def _middle(self) -> str:
        return "resid_mid_cross" if self.cross else "resid_mid"

    def _at(self, part: str) -> Tensor:
        return self.evidence.values[f"{self.stack.prefix}.{self.layer}.{part}"]


def wanted(model: LensModel, *parts: str) -> Wanted:
    """What the steps are made of, and those of `parts` (sites of a block) from which norms follow."""
    sites = [
        f"{stack.prefix}.{layer}.{part}"
        for stack in stacks(model)
        for layer in range(stack.n_blocks)
        for part in ("resid_pre", "resid_mid", *(f"{name}.v" for name in stack.attentions), *parts)
        if part != "resid_mid" or part in parts or "cross_attn" in stack.attentions
    ]
    return Wanted(patterns=True, sites=tuple(site for site in dict.fromkeys(sites) if site in model.sites))


def wanted_sums(model: LensModel) -> Wanted:
    """What the norm of each sum follows from, in post-norm blocks."""
    post = model.main.row.order == "post"
    return wanted(model, "attn_out", "cross_attn_out") if post else wanted(model)


def wanted_norms(model: LensModel) -> Wanted:
    """What all norms of the blocks follow from."""
    if model.main.row.order == "post":
        return wanted(model, "attn_out", "resid_mid", "cross_attn_out", "resid_mid_cross", "mlp_out")
    return wanted(model, "resid_mid", "resid_mid_cross", "resid_post")


@torch.no_grad()
def mixing_steps(evidence: Evidence) -> Iterator[MixingStep]:
    """Every step of the model, in the order of `evidence.steps`."""
    for stack in stacks(evidence.model):
        for layer in range(stack.n_blocks):
            for name in stack.attentions:
                yield MixingStep(evidence=evidence, stack=stack, layer=layer, name=name)


def joined_maps(
    evidence: Evidence,
    self_map: Callable[[MixingStep], Tensor],
    cross_map: Callable[[MixingStep], tuple[Tensor, Tensor]],
    *,
    normalize: bool,
) -> Float[Tensor, "step node node"]:
    """One map a step over all nodes, from a function for self- and one for cross-attention; rows may be normalised."""
    maps: dict[tuple[str, bool], list[Tensor]] = {}
    kept: list[Tensor] = []
    for step in mixing_steps(evidence):
        if step.cross:
            sources, own = cross_map(step)
            both = torch.cat([sources, own[..., None]], -1)
            both = functional.row_normalized(both) if normalize else both
            sources, own = both[..., :-1], both[..., -1]
            kept.append(own)
        else:
            sources = self_map(step)
            sources = functional.row_normalized(sources) if normalize else sources
        maps.setdefault((step.stack.prefix, step.cross), []).append(sources)
    found = [torch.stack(each) for each in maps.values()]
    return found[0] if len(found) == 1 else functional.joint_maps(*found, torch.stack(kept))


def _frozen(norm: Norm, stream: Float[Tensor, "query d_model"]) -> FrozenNorm:
    stream = stream.float() if stream.dtype.itemsize < 4 else stream
    scale = functional.norm_scale(stream, centred=norm.centred, eps=norm.eps)
    return FrozenNorm(scale=scale, centred=norm.centred, weight=norm.weight.to(stream))
