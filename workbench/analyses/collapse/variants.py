"""A model's stack run without its skip connections, without its MLPs, or without both, by editing its sites.

Without the skip connections a sublayer's output stands where its sum with the stream stood: `attn_out` is given as
attn_out - resid_pre, so that adding resid_pre leaves attn_out; likewise `mlp_out`. In parallel blocks both are added to
one stream, which is taken off once. Without MLPs `mlp_out` is 0, and the stream goes past them. Norms stay where they
are: before each sublayer, or after each sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.collapse.double import resolution
from workbench.analyses.one_prompt import precise, real
from workbench.analyses.sound import need_finite_values
from workbench.functional.rank_residuals import Minimiser, Norm
from workbench.hooks import Edit, editing, reading
from workbench.models.lens_model import Blocks, LensModel

VARIANTS = ("full", "no skip", "no MLP", "attention alone")
ATTENTIONS = ("recomputed", "frozen")
RUNS = (("full", "recomputed"), *((v, a) for v in VARIANTS[1:] for a in ATTENTIONS))
"""(what is left of the network, whether attention is that of the states that there are then or of the full network)."""
MEASURES = ("relative residual", "residual", "effective rank", "mean cosine", "attention entropy")


@dataclass(frozen=True, eq=False, kw_only=True)
class Curves:
    """What states are like at each depth of each run."""

    values: Float[Tensor, "run measure depth"]
    """NaN where undefined: no entropy before the first block, no direction of states that are 0."""
    floor: Float[Tensor, "run depth"]
    """About the relative residual that rounding alone gives."""


def stack_read(model: LensModel) -> Blocks:
    """The stack that reads the prompt: of encoder-decoders the encoder, of models of text and pictures the text's."""
    return next((stack for stack in model.stacks if stack.side == "input"), model.stacks[0])


def curves(model: LensModel, batch: Mapping[str, Tensor], *, norm: Norm, minimiser: Minimiser, skip: int) -> Curves:
    """Every run of one prompt, measured at each depth; the first `skip` positions do not count."""
    stack = stack_read(model)
    patterns = model.attention_sites(f"{stack.prefix}.{stack.attentions[0]}", "pattern")
    stream = (model.stream("resid_pre", stack.prefix)[0], *model.stream("resid_post", stack.prefix))
    own: dict[str, Tensor] = {}
    found = []
    for variant, attention in RUNS:
        frozen = {site: _given(own[site]) for site in patterns} if attention == "frozen" else {}
        values, ratios = _run(model, stack, batch, variant, patterns, frozen)
        if variant == "full":
            own = {site: values[site] for site in patterns}
        states = [real(values[site][0], batch, stack.side, dim=0)[skip:].cpu().double() for site in stream]
        looks = [_real(values[site][0], batch, stack.side)[:, skip:] for site in patterns]
        for site, seen in zip((*stream, *patterns), (*states, *looks), strict=True):
            need_finite_values(model, site if variant == "full" else f"{site} ({variant}, {attention})", seen)
        rows = torch.stack(states)
        found.append((_measured(rows, looks, norm, minimiser), ratios))
    least = resolution(model)
    return Curves(
        values=torch.stack([one for one, _ in found]),
        floor=torch.tensor([[least, *(least * max(1.0, r) for r in ratios)] for _, ratios in found]),
    )


def _run(
    model: LensModel,
    stack: Blocks,
    batch: Mapping[str, Tensor],
    variant: str,
    patterns: tuple[str, ...],
    frozen: Mapping[str, Edit],
) -> tuple[Mapping[str, Tensor], list[float]]:
    """What the sites hold in one run, and how much larger the stream that is taken off is than what is left, a layer.

    That many times larger is the rounding of what is left.
    """
    bare = variant in ("no skip", "attention alone")
    parts = ("resid_pre", "resid_mid", "resid_post") if bare else ("resid_pre", "resid_post")
    streams = [site for part in parts for site in model.stream(part, stack.prefix) if site in model.sites]
    lost = [1.0] * stack.n_blocks
    edits: dict[str, Edit] = dict(frozen)
    with reading(model, [*patterns, *streams]) as values:

        def without(layer: int, stream: str) -> Edit:
            def edit(added: Tensor) -> Tensor:
                lost[layer] = max(lost[layer], float(values[stream].norm() / added.norm().clamp(min=1e-300)))
                return added - values[stream]

            return edit

        for layer in range(stack.n_blocks):
            at = f"{stack.prefix}.{layer}"
            if bare:
                edits[f"{at}.attn_out"] = without(layer, f"{at}.resid_pre")
            if f"{at}.mlp_out" not in model.sites:
                continue
            if variant in ("no MLP", "attention alone"):
                edits[f"{at}.mlp_out"] = torch.zeros_like
            elif bare and stack.row.order != "parallel":
                edits[f"{at}.mlp_out"] = without(layer, f"{at}.resid_mid")
        with editing(model, edits):
            model.module(**batch)
    return values, lost


def _measured(
    rows: Float[Tensor, "depth pos d"], patterns: list[Tensor], norm: Norm, minimiser: Minimiser
) -> Float[Tensor, "measure depth"]:
    residual = functional.rank_residual(rows, norm, minimiser)
    entropy = [functional.attention_entropy(precise(pattern)).mean().to(rows) for pattern in patterns]
    return torch.stack(
        [
            residual.relative,
            residual.absolute,
            functional.state_rank(rows),
            functional.mean_cosine(rows),
            torch.stack([rows.new_tensor(torch.nan), *entropy]),
        ]
    )


def _real(pattern: Tensor, batch: Mapping[str, Tensor], side: str) -> Float[Tensor, "head query key"]:
    return real(real(pattern, batch, side, dim=1), batch, side, dim=2)


def _given(value: Tensor) -> Edit:
    return lambda _: value
