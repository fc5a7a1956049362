"""Questions asked of a model whose parts are filtered: what it answers among the values of a variable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.errors import BadInput, MissingCapability
from workbench.functional import SubspaceFilter
from workbench.functional.precision import precise
from workbench.hooks import editing
from workbench.models.lens_model import LensModel
from workbench.variables import unembedding_rows

GROUPS: Mapping[str, tuple[str, ...]] = {
    "attn_out": ("attn_out", "cross_attn_out"),
    "mlp_out": ("mlp_out",),
    "both": ("attn_out", "cross_attn_out", "mlp_out"),
}
"""What may be filtered together, by the parts of a block that it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """A batch of prompts of one length, each with one right answer among the values."""

    batch: Mapping[str, Tensor]
    """What the module takes."""
    position: Int[Tensor, "batch"]
    """Where the answer is read."""
    right: Int[Tensor, "batch"]
    """Which value is right, counted from 0."""

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answered:
    """What a model answers to all questions, in their order."""

    logits: Float[Tensor, "example value"]
    """Of the values' tokens, in at least float32."""
    all_logits: Float[Tensor, "example"]
    """Logarithm of the sum of exponentials over the whole vocabulary."""
    top: Int[Tensor, "example"]
    """The token of the whole vocabulary that comes first."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Sites that are filtered together."""

    part: str
    layer: int
    """-1: all layers that were chosen."""
    sites: tuple[str, ...]


@torch.no_grad()
def answered(
    model: LensModel,
    asked: Sequence[Asked],
    ids: Int[Tensor, "value"],
    sites: Sequence[str] = (),
    filtered: SubspaceFilter | None = None,
    *,
    everywhere: bool = False,
) -> Answered:
    """What the model answers with what `sites` write filtered, where the answer is read or `everywhere`.

    One forward pass a batch.
    """
    parts = []
    for one in asked:
        where = torch.arange(len(one), device=one.position.device), one.position
        edit = None if filtered is None else _edit(filtered, None if everywhere else where)
        with editing(model, {} if edit is None else dict.fromkeys(sites, edit)):
            logits = precise(model.logits(one.batch)[where])
        parts.append((logits[:, ids.to(logits.device)], logits.logsumexp(-1), logits.argmax(-1)))
    chosen, whole, top = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return Answered(logits=chosen, all_logits=whole, top=top)


def _edit(filtered: SubspaceFilter, where: tuple[Tensor, Tensor] | None) -> Callable[[Tensor], Tensor]:
    def edit(value: Tensor) -> Tensor:
        if where is None:
            return filtered.kept(value)
        new = value.clone()
        new[where] = filtered.kept(value[where])
        return new

    return edit


def answer_rows(model: LensModel, ids: Int[Tensor, "value"]) -> Float[Tensor, "value d_model"]:
    """What a vector of the last state is multiplied by to give the values' logits, the final norm's gain in it.

    What is left of the norm is its divisor, a number above 0 for each position, which moves no subspace; a LayerNorm's
    mean is taken off the rows, as off what they meet. In float64.
    """
    direct = "direct-logits" in model.capabilities
    bare = len(model.architecture.readout) == 1 and model.main.row.ln_final is None and model.main.row.order != "post"
    rows = unembedding_rows(model, ids) if direct or (bare and model.architecture.linear_end) else None
    if rows is None:
        raise MissingCapability(
            f"What {model.name} reads out is not one norm and one linear map of a sum of parts ({model.family}): what a"
            " part adds to a logit is not known. Choose a decoder, such as smollm2-135m or gpt2."
        )
    if not direct:
        return rows.double()
    norm = model.final_norm
    return functional.fold_norm(rows.double().mT, norm.weight.double(), centred=norm.centred).mT


def readable(model: LensModel) -> int:
    """Dimensions of what is written that can reach a logit: all but the mean, where the final norm takes that off."""
    return model.d_model - int("direct-logits" in model.capabilities and model.final_norm.centred)


def places(model: LensModel, parts: Sequence[str], layers: Sequence[int], *, each_layer: bool) -> tuple[Place, ...]:
    """What is filtered, group by group: all chosen layers together, or each by itself."""
    stack = model.main
    chosen = sorted(set(layers)) or list(range(stack.n_blocks))
    if wrong := [layer for layer in chosen if not 0 <= layer < stack.n_blocks]:
        raise BadInput(f"{model.name} has the layers 0 to {stack.n_blocks - 1}, not {wrong[0]}.")

    def sites(part: str, at: Sequence[int]) -> tuple[str, ...]:
        names = (f"{stack.prefix}.{layer}.{short}" for layer in at for short in GROUPS[part])
        return tuple(name for name in names if name in model.sites)

    if strange := [part for part in parts if part not in GROUPS]:
        raise BadInput(f"There is no part {strange[0]!r} to filter; parts are {', '.join(GROUPS)}.")
    there = [part for part in ("attn_out", "mlp_out") if sites(part, chosen)]
    if len(there) == 2:
        there.append("both")
    wanted = list(dict.fromkeys(parts)) or there
    if missing := [part for part in wanted if part not in there]:
        has = ", ".join(there) or "neither attn_out nor mlp_out"
        raise MissingCapability(f"{model.name} has no {missing[0]} to filter in these layers; it has {has}.")
    sets = [(-1, chosen)] if not each_layer else [(layer, [layer]) for layer in chosen]
    return tuple(Place(part=part, layer=at, sites=sites(part, some)) for part in wanted for at, some in sets)
