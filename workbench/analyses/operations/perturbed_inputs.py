"""Step 2: a token or a position taken out of the input, and how the scores of chosen operations change.

Everything in between stays as it was: all patterns, and which neurons are on (for smooth activations, act(x) / x), so
that the scores change only by what the streams still carry of the thing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import progress
from workbench.analyses.attribution.perturb import repeated
from workbench.analyses.circuits.patch_runs import rows_at_once
from workbench.functional.decompx import activation_slope, slope_at_zero
from workbench.hooks import Edit, editing, reading
from workbench.models.lens_model import LensModel

SIDES = ("query", "key", "both")
"""Through the query alone (the key is what it was), through the key alone, through both."""

Inputs = Callable[[Tensor], tuple[Mapping[str, Tensor], Mapping[str, Edit]]]
"""(number of the perturbation of each row) -> (what the model reads, edits of its sites)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Unperturbed:
    """A prompt, operations of a model on it, and everything that is kept as it was while the input changes."""

    model: LensModel
    batch: Mapping[str, Tensor]
    operations: Int[Tensor, "operation 4"]
    """Layer, head, query, key."""
    scores: Float[Tensor, "operation"]
    """Before the softmax, scaled."""
    values: Mapping[str, Tensor]
    """Queries, keys, patterns, and slopes of the neurons, by site."""

    @property
    def rows_at_once(self) -> int:
        """How many perturbations go into one batch, three rows each."""
        length = max(value.shape[-1] for value in self.batch.values())
        return max(1, rows_at_once(self.model, length, whole=True) // len(SIDES))


@torch.no_grad()
def unperturbed(model: LensModel, batch: Mapping[str, Tensor], operations: Int[Tensor, "operation 4"]) -> Unperturbed:
    """One forward pass, kept."""
    sites = {part: model.attention_sites(None, part) for part in ("q", "k", "pattern", "attn_scores")}
    inner = {f"{lead}.mlp.pre": (lead, layer) for layer, lead in enumerate(_leads(model)) if _has_mlp(model, layer)}
    with reading(model, [*sum(sites.values(), ()), *inner]) as values:
        model.module(**batch)
    kept = {site: values[site] for part in ("q", "k", "pattern") for site in sites[part]}
    for site, (lead, layer) in inner.items():
        mlp, before = model.mlp_map(layer), values[site]
        assert mlp is not None
        kept[f"{lead}.mlp.post"] = activation_slope(
            before, mlp.activation(before), slope_at_zero(mlp.activation, before)
        )
    scores = torch.cat([values[site] for site in sites["attn_scores"]])[tuple(operations.T)]
    return Unperturbed(model=model, batch=batch, operations=operations, scores=scores, values=kept)


@torch.no_grad()
def score_changes(
    base: Unperturbed, n: int, inputs: Inputs, *, together: bool = True
) -> Float[Tensor, "side operation perturbation"]:
    """How far each operation's score changes under each of `n` perturbations, by side: see `SIDES`.

    Three rows a perturbation, in batches; without `together` each has a batch of its own.
    """
    found = base.scores.new_zeros(len(SIDES), len(base.operations), n)
    parts = torch.arange(n, device=base.scores.device).split(base.rows_at_once if together else 1)
    for part in progress.track(parts, label="perturbations"):
        rows, edits = inputs(part.repeat(len(SIDES)))
        noted = base.scores.new_zeros(len(SIDES) * len(part), len(base.operations))
        with editing(base.model, {**_kept(base, len(part), noted), **edits}):
            base.model.module(**rows)
        found[..., part] = (noted - base.scores).view(len(SIDES), len(part), -1).transpose(1, 2)
    return found


def replacing_tokens(base: Unperturbed, name: str, gone: Bool[Tensor, "perturbation pos"], stand_in: int) -> Inputs:
    """Perturbations that put `stand_in` where a row of `gone` is True."""

    def inputs(rows: Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Edit]]:
        batch = {key: repeated(value, len(rows)) for key, value in base.batch.items()}
        return {**batch, name: batch[name].masked_fill(gone[rows], stand_in)}, {}

    return inputs


def emptying_positions(base: Unperturbed, site: str, positions: Int[Tensor, "perturbation"]) -> Inputs:
    """Perturbations that set to zero what one learned position adds.

    Where a model has one table for all rows of a batch, they have to be run one by one.
    """

    def inputs(rows: Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Edit]]:
        at = positions[rows]

        def empty(value: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
            at_rows = at[: len(value)]
            return value.index_put((torch.arange(len(value), device=value.device), at_rows), value.new_zeros(()))

        return {key: repeated(value, len(rows)) for key, value in base.batch.items()}, {site: empty}

    return inputs


def _kept(base: Unperturbed, n: int, noted: Float[Tensor, "row operation"]) -> dict[str, Edit]:
    """Edits that keep patterns and slopes, give n rows their keys back and n their queries, and note the scores."""
    model, edits = base.model, dict[str, Edit]()
    for layer, lead in enumerate(_leads(model)):
        short = model.main.attentions[0]
        edits[f"{lead}.{short}.k"] = _given_back(base.values[f"{lead}.{short}.k"], slice(0, n))
        edits[f"{lead}.{short}.q"] = _given_back(base.values[f"{lead}.{short}.q"], slice(n, 2 * n))
        edits[f"{lead}.{short}.pattern"] = _given_back(base.values[f"{lead}.{short}.pattern"], slice(None))
        edits[f"{lead}.{short}.attn_scores"] = _noting(base.operations, layer, noted)
        if (post := f"{lead}.mlp.post") in base.values:
            edits |= _sloped(model, lead, base.values[post])
    return edits


def _given_back(before: Tensor, rows: slice) -> Edit:
    def edit(value: Tensor) -> Tensor:
        value = value.clone()
        value[rows] = before.to(value)
        return value

    return edit


def _noting(operations: Int[Tensor, "operation 4"], layer: int, noted: Float[Tensor, "row operation"]) -> Edit:
    mine = (operations[:, 0] == layer).nonzero().flatten()

    def look(scores: Tensor) -> Tensor:
        head, query, key = operations[mine, 1:].T
        noted[:, mine] = scores[:, head, query, key].to(noted)
        return scores

    return look


def _sloped(model: LensModel, lead: str, slope: Tensor) -> dict[str, Edit]:
    """Edits after which neurons give their inputs times the slopes that they had."""
    linear, seen = f"{lead}.mlp.pre_linear", dict[str, Tensor]()

    def noting(part: str) -> Edit:
        def look(value: Tensor) -> Tensor:
            seen[part] = value
            return value

        return look

    def post(value: Tensor) -> Tensor:
        new = seen["pre"] * slope
        return (new * seen["linear"] if "linear" in seen else new).to(value)

    edits = {f"{lead}.mlp.pre": noting("pre"), f"{lead}.mlp.post": post}
    return edits | ({linear: noting("linear")} if linear in model.sites else {})


def _leads(model: LensModel) -> list[str]:
    return [f"{model.main.prefix}.{layer}" for layer in range(model.n_blocks)]


def _has_mlp(model: LensModel, layer: int) -> bool:
    return f"{model.main.prefix}.{layer}.mlp.pre" in model.sites
