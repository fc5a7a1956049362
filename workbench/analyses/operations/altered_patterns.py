"""Step 1: single entries of attention patterns, set to zero or to their row's largest, and how far the answer falls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import progress
from workbench.analyses.attribution.target import answers_of
from workbench.analyses.circuits.patch_runs import Base, changed_answers
from workbench.hooks import Edit, editing, reading


@dataclass(frozen=True, eq=False, kw_only=True)
class Entries:
    """Entries of patterns, a row each: layer, head, query, key; all counted as the model has them, with padding."""

    places: Int[Tensor, "entry 4"]
    weight: Float[Tensor, "entry"]
    """The attention itself."""
    largest: Float[Tensor, "entry"]
    """The largest of its row."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: Tensor) -> "Entries":
        return Entries(places=self.places[chosen], weight=self.weight[chosen], largest=self.largest[chosen])


def entries_that_count(
    base: Base, patterns: Float[Tensor, "layer head query key"], marks: Int[Tensor, "real"]
) -> Entries:
    """All entries that could change the answer, between the real positions `marks`.

    Not those that the mask hides, nor those of queries that the answer cannot come by: after it, where attention is
    causal, and in the last layer all but the one that is read out.
    """
    n_layers, _, n_queries, n_keys = patterns.shape
    queries, keys = (torch.arange(n, device=patterns.device) for n in (n_queries, n_keys))
    inside = torch.isin(queries, marks)
    open_ = (_visible(base) & inside[:, None] & inside)[:, None].expand_as(patterns).clone()
    if base.model.main.causal:
        open_ &= (keys <= queries[:, None]) & (queries[:, None] <= base.index)
    if base.calls is not None:
        open_[n_layers - 1] &= (queries == base.index)[:, None]
    places = open_.nonzero()
    at = tuple(places.T)
    return Entries(places=places, weight=patterns[at], largest=patterns.amax(-1)[at[:-1]])


def most_promising(base: Base, entries: Entries, most: int, *, raised: bool) -> Entries:
    """The entries whose gradients promise the largest falls, and those of the largest weights, in turn.

    Gradients say nothing of what hangs on a softmax that is all but decided. With `raised`, also what the row's largest
    in an entry's place promises. One backward pass.
    """
    if len(entries) <= most:
        return entries
    sites = base.model.attention_sites(None, "pattern")
    with torch.enable_grad(), reading(base.model, sites, gradients=True) as values:
        logits = answers_of(base.model.module(**base.batch))
        slopes = torch.autograd.grad(base.target.of(logits).sum(), [values[site] for site in sites], allow_unused=True)
    shape = values[sites[0]]
    each = [torch.zeros_like(shape) if slope is None else slope for slope in slopes]
    slope = torch.cat(each)[tuple(entries.places.T)].to(entries.weight)
    promised = slope * entries.weight
    if raised:
        promised = torch.maximum(promised, -slope * (entries.largest - entries.weight))
    place = torch.minimum(_rank(promised), _rank(entries.weight))
    return entries[place.argsort(stable=True)[:most].sort().values]


def _rank(values: Float[Tensor, "entry"]) -> Int[Tensor, "entry"]:
    """0 for the largest."""
    return values.argsort(descending=True, stable=True).argsort()


def falls(base: Base, entries: Entries, unaltered: float, *, raised: bool) -> Float[Tensor, "entry"]:
    """How far the target falls with each entry at zero, or raised to its row's largest; a run an entry, in batches.

    Runs begin at the entry's own layer. Rows are not made to sum to one again.
    """
    found = entries.weight.new_zeros(len(entries), dtype=torch.float32)
    jobs: list[tuple[int, Tensor]] = []
    for layer in torch.unique(entries.places[:, 0]).tolist():
        rows = (entries.places[:, 0] == layer).nonzero().flatten()
        jobs += [(layer, part) for part in rows.split(base.rows_at_once)]
    sites = base.model.attention_sites(None, "pattern")
    for layer, rows in progress.track(jobs, label="operations"):
        here = entries[rows]
        values = here.largest if raised else torch.zeros_like(here.largest)
        answers = changed_answers(base, layer, len(rows), {sites[layer]: _one_each(here.places[:, 1:], values)})
        found[rows] = unaltered - base.target.of(answers).to(found)
    return found


def without_others(base: Base, patterns: Float[Tensor, "layer head query key"], kept: Int[Tensor, "entry 4"]) -> Tensor:
    """The answers (vocab,) when every entry but the kept ones is zero; the kept ones are what they were."""
    left = torch.zeros_like(patterns)
    at = tuple(kept.T)
    left[at] = patterns[at]
    sites = base.model.attention_sites(None, "pattern")
    edits = {site: _always(left[layer][None]) for layer, site in enumerate(sites)}
    return changed_answers(base, 0, 1, edits)[0]


def _one_each(at: Int[Tensor, "row 3"], values: Float[Tensor, "row"]) -> Edit:
    rows = torch.arange(len(at), device=at.device)

    def edit(pattern: Tensor) -> Tensor:
        return pattern.index_put((rows, *at.T), values.to(pattern))

    return edit


def _always(value: Tensor) -> Edit:
    return lambda now: value.expand_as(now)


def _visible(base: Base) -> Bool[Tensor, "layer query key"]:
    """What the mask lets through, in each layer."""
    sites: Sequence[str] = base.model.attention_sites(None, "attn_scores")
    seen: dict[str, Tensor] = {}

    def noting(site: str) -> Edit:
        def look(scores: Tensor) -> Tensor:
            seen[site] = (scores[0] > torch.finfo(scores.dtype).min / 2).any(0)
            return scores

        return look

    with torch.no_grad(), editing(base.model, {site: noting(site) for site in sites}):
        base.model.module(**base.batch)
    return torch.stack([seen[site] for site in sites])
