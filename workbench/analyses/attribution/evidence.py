"""Evidence: one forward pass, and one backward pass if a method asks for it, that all methods of attribution share.

Nodes are the tokens whose share is asked for: the prompt's, and in encoder-decoders the prompt's followed by the
decoder's. A step is what moves information between them: a layer; in encoder-decoders an encoder layer, or the self- or
the cross-attention of a decoder layer. Methods see (step, node, node) maps whatever the model is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.attribution.target import Target, answers_of, choose_target
from workbench.analyses.one_prompt import one_prompt, real
from workbench.errors import MissingCapability
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import Blocks, LensModel


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of a model's run a method looks at."""

    patterns: bool = False
    pattern_gradients: bool = False
    inputs: bool = False
    """The states that stand for the tokens where they enter (embeddings), and the target's gradient there."""
    sites: tuple[str, ...] = ()
    """Any other values, by the names of their sites."""

    def __or__(self, other: "Wanted") -> "Wanted":
        return Wanted(
            patterns=self.patterns or other.patterns,
            pattern_gradients=self.pattern_gradients or other.pattern_gradients,
            inputs=self.inputs or other.inputs,
            sites=tuple(dict.fromkeys((*self.sites, *other.sites))),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What one prompt made the model do; padding is cut away everywhere but in `batch`."""

    model: LensModel
    batch: Mapping[str, Tensor]
    target: Target
    score: float | None
    """The target's value on the unaltered prompt: a logit, or the difference of two."""
    logits: Float[Tensor, "vocab"] | None
    """All answers at the explained position."""
    patterns: Mapping[str, Float[Tensor, "layer head query key"]] = field(default_factory=dict)
    """Attention (`blocks.attn`, `decoder_blocks.cross_attn` ...) -> its patterns."""
    pattern_gradients: Mapping[str, Float[Tensor, "layer head query key"]] = field(default_factory=dict)
    """The same for the gradient of the target."""
    inputs: Float[Tensor, "node d_embed"] | None = None
    input_gradients: Float[Tensor, "node d_embed"] | None = None
    values: Mapping[str, Tensor] = field(default_factory=dict)
    """Site -> value without the batch axis, for the sites that were asked for."""

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """One label a node."""
        return tuple(label for _, label in self._nodes)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """Where each node is read: input or target."""
        return tuple(side for side, _ in self._nodes)

    @cached_property
    def _nodes(self) -> list[tuple[str, str]]:
        return [(s.side, label) for s in stacks(self.model) for label in self.model.labels(self.batch, side=s.side)]

    @property
    def row(self) -> int:
        """The node whose answer (or state) is explained."""
        return len(self.tokens) - self.sides.count(self.model.main.side) + self.target.position

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps, in order."""
        *encoders, main = stacks(self.model)
        if not encoders:
            return tuple(map(str, range(main.n_blocks)))
        before = (f"encoder {i}" for i in range(encoders[0].n_blocks))
        return (*before, *(f"decoder {i} {kind}" for i in range(main.n_blocks) for kind in ("self", "cross")))

    def mixed(self, residual: float = 0.5) -> Float[Tensor, "step node node"]:
        """Who passes how much to whom in each step: mean over heads, with a share `residual` of each node's own."""
        *_, main = stacks(self.model)
        maps = {name: functional.head_mean(pattern) for name, pattern in self.patterns.items()}
        if len(maps) == 1:
            return functional.with_residual(maps[f"{main.prefix}.{main.attentions[0]}"], residual)
        encoder, decoder, cross = (maps[name] for name in two_sided(self.model))
        return functional.joint_maps(
            functional.with_residual(encoder, residual),
            functional.with_residual(decoder, residual),
            (1 - residual) * cross,
            torch.full_like(cross[..., 0], residual),
        )


def stacks(model: LensModel) -> tuple[Blocks, ...]:
    """The stacks that information passes through on its way to the answer: the main one, and the encoder it reads."""
    return model.stacks if "cross_attn" in model.main.attentions else (model.main,)


def two_sided(model: LensModel) -> tuple[str, str, str]:
    """Names of the encoder's, the decoder's own, and the cross-attention."""
    encoder, decoder = stacks(model)
    return f"{encoder.prefix}.{encoder.attentions[0]}", f"{decoder.prefix}.self_attn", f"{decoder.prefix}.cross_attn"


def input_sites(model: LensModel) -> tuple[str, ...]:
    """Where tokens enter as vectors, a site a stack: the token embedding of a text model, else the first state."""
    if model.reads == "text" and len(stacks(model)) == 1 and f"{model.main.row.lead}embed" in model.sites:
        return (f"{model.main.row.lead}embed",)
    return tuple(f"{stack.prefix}.0.resid_pre" for stack in stacks(model))


def gather(
    model: LensModel,
    prompt: Any,
    wanted: Wanted,
    *,
    token: str | None = None,
    foil: str | None = None,
    position: int | None = None,
) -> Evidence:
    """Run one prompt and keep what is wanted. One forward pass, and one backward pass if gradients are."""
    batch = one_prompt(model, prompt)
    attentions = [f"{s.prefix}.{name}" for s in stacks(model) for name in s.attentions]
    groups: dict[str, tuple[str, ...]] = {}
    if wanted.patterns or wanted.pattern_gradients:
        groups = {name: model.attention_sites(name, "pattern") for name in attentions}
    entries = input_sites(model) if wanted.inputs else ()
    gradients = wanted.pattern_gradients or wanted.inputs
    if gradients and "logits" not in model.capabilities:
        raise MissingCapability(f"{model.name} has no trained head, so no answer whose gradient could be taken.")
    sites = list(dict.fromkeys((*(site for group in groups.values() for site in group), *entries, *wanted.sites)))
    asked = [*(s for group in groups.values() for s in group if wanted.pattern_gradients), *entries]
    with torch.set_grad_enabled(gradients), reading(model, sites, gradients=gradients) as values:
        output = model.module(**batch)
        logits = answers_of(output) if "logits" in model.capabilities else None
        target = choose_target(model, batch, logits, token=token, foil=foil, position=position)
        score = None if logits is None else target.of(logits)
        found: dict[str, Tensor] = {}
        if gradients and score is not None:
            at = [values[site] for site in asked]
            slopes = torch.autograd.grad(score.sum(), at, allow_unused=True)
            found = {s: torch.zeros_like(v) if g is None else g for s, v, g in zip(asked, at, slopes, strict=True)}

    def layers(name: str, of: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([_cut(model, batch, site, precise(of[site].detach())) for site in groups[name]])

    def nodes(of: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([_cut(model, batch, site, precise(of[site].detach())) for site in entries])

    with torch.no_grad():
        return Evidence(
            model=model,
            batch=batch,
            target=target,
            score=None if score is None else score.item(),
            logits=None if logits is None else target.row(logits.detach())[0],
            patterns={name: layers(name, values) for name in groups},
            pattern_gradients={name: layers(name, found) for name in groups if wanted.pattern_gradients},
            inputs=nodes(values) if entries else None,
            input_gradients=nodes(found) if entries else None,
            values={site: _cut(model, batch, site, values[site].detach()) for site in wanted.sites},
        )


def _cut(model: LensModel, batch: Mapping[str, Tensor], site: str, value: Tensor) -> Tensor:
    """A site's value without the batch axis and without padding."""
    value, names = value[0], model.site(site).shape[1:]
    stack = model.stack_of(site)
    other = stacks(model)[0].side if "cross_attn" in site else stack.side
    sides = {"pos": stack.side, "query": stack.side, "key": other}
    if names[0] == "pos" and site.endswith(("cross_attn.k", "cross_attn.v")):
        sides["pos"] = other
    for dim, name in enumerate(names):
        if name in sides:
            value = real(value, batch, sides[name], dim=dim)
    return value


def merged(wishes: Iterable[Wanted]) -> Wanted:
    """All that several methods want, read once."""
    total = Wanted()
    for wish in wishes:
        total = total | wish
    return total
