"""Filters of what is written into the logits of ordered values: the nearest vector that says nothing of some waves.

A vector x of the stream adds W x to the logits of n values, W being their rows of the unembedding. What it adds of some
waves, the rows B of a basis, is B W x; the nearest y to x with B W y = 0 is x less its projection on the row space of
B W. A filter holds orthonormal rows V of that space: y = x - (x V') V.
Zhou et al. (2024), "Pre-trained Large Language Models Use Fourier Features to Compute Addition", who count components
from 1 (sin 1, cos 1, sin 2 ...) and cut at tau = 50: components 1 to 2 tau - 1 of the 520 over their numbers are low,
which are frequencies 1 to 49 and the sin of 50. Here bands are of whole frequencies, 1 to `cut` low, all above it high.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_finite, need_whole
from workbench.functional.fourier_bases import FourierBasis
from workbench.functional.precision import precise
from workbench.functional.subspaces import orthonormal


@dataclass(frozen=True, eq=False, kw_only=True)
class SubspaceFilter:
    """A subspace that is taken out of vectors, as orthonormal rows."""

    rows: Float[Tensor, "rank d_model"]
    """What is taken out. None: nothing is; as many as d_model: everything."""
    constraints: int
    """Equations that it was asked to meet; as many as rows unless they depend on each other."""

    @property
    def rank(self) -> int:
        """Dimensions that are taken out."""
        return len(self.rows)

    @property
    def left(self) -> int:
        """Dimensions that are left."""
        return self.rows.shape[-1] - self.rank

    def kept(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The nearest vectors without the subspace: exactly `x` at rank 0, exactly 0 where nothing is left."""
        if x.shape[-1] != self.rows.shape[-1]:
            raise BadInput(f"The filter is of {self.rows.shape[-1]} dimensions; these have the shape {tuple(x.shape)}.")
        if not self.rank:
            return x
        if not self.left:
            return torch.zeros_like(x)
        here = precise(x)
        rows = self.rows.to(here)
        return (here - (here @ rows.mT) @ rows).to(x)

    def removed(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What `kept` takes away: the two are the whole."""
        return x - self.kept(x)


def subspace_filter(vectors: Float[Tensor, "vector d_model"], tolerance: float | None = None) -> SubspaceFilter:
    """The filter that takes out all that some vectors span: what is kept is at right angles to each of them.

    By a singular value decomposition. Directions whose singular value is at most `tolerance` times the largest are
    rounding and are kept; None is the longer side of the matrix times the epsilon of its type, as numpy has it.
    """
    need_axes("Vectors to filter out", vectors, "vector d_model", batched=False)
    need_finite("vectors to filter out", vectors)
    exact = precise(vectors)
    if not len(exact):
        return SubspaceFilter(rows=exact, constraints=0)
    least = max(exact.shape) * torch.finfo(exact.dtype).eps if tolerance is None else tolerance
    _, sizes, rows = torch.linalg.svd(exact, full_matrices=False)
    return SubspaceFilter(rows=rows[sizes > sizes[0] * least], constraints=len(exact))


def component_stop(
    unembedding: Float[Tensor, "n d_model"],
    basis: FourierBasis,
    components: Sequence[int],
    tolerance: float | None = None,
) -> SubspaceFilter:
    """The filter after which single components, rows of the basis, are absent from what is added to the logits."""
    need_axes("Rows of the unembedding", unembedding, "n d_model", batched=False)
    n = basis.matrix.shape[-1]
    if len(unembedding) != n:
        raise BadInput(f"The basis is over {n} values and the unembedding has rows for {len(unembedding)}.")
    if wrong := [i for i in components if not 0 <= i < len(basis.matrix)]:
        raise BadInput(f"There is no component {wrong[0]}: the basis has {len(basis.matrix)}, counted from 0.")
    logits = precise(unembedding)
    chosen = basis.matrix[sorted(set(components))].to(logits)
    return subspace_filter(chosen @ logits, tolerance)


def band_stop(
    unembedding: Float[Tensor, "n d_model"],
    basis: FourierBasis,
    frequencies: Sequence[int],
    tolerance: float | None = None,
) -> SubspaceFilter:
    """The filter after which some frequencies are absent from what is added to the logits of n values.

    `unembedding` has the rows of the values in their order. It takes out as many dimensions as there are components of
    these frequencies, fewer where the unembedding has not that many; where it has d_model or more, nothing is left and
    what is kept is 0.
    """
    known = basis.frequencies.tolist()
    if missing := sorted(set(frequencies) - set(known)):
        raise BadInput(f"There is no frequency {missing[0]} over {basis.matrix.shape[-1]} values: 0 to {max(known)}.")
    return component_stop(unembedding, basis, [i for i, k in enumerate(known) if k in set(frequencies)], tolerance)


def low_pass(
    unembedding: Float[Tensor, "n d_model"], basis: FourierBasis, cut: int, tolerance: float | None = None
) -> SubspaceFilter:
    """The filter that leaves the constant and frequencies 1 to `cut`."""
    return band_stop(unembedding, basis, [k for k in _frequencies(basis, cut) if k > cut], tolerance)


def high_pass(
    unembedding: Float[Tensor, "n d_model"], basis: FourierBasis, cut: int, tolerance: float | None = None
) -> SubspaceFilter:
    """The filter that leaves the constant and the frequencies above `cut`."""
    return band_stop(unembedding, basis, [k for k in _frequencies(basis, cut) if 0 < k <= cut], tolerance)


def band_pass(
    unembedding: Float[Tensor, "n d_model"],
    basis: FourierBasis,
    frequencies: Sequence[int],
    tolerance: float | None = None,
) -> SubspaceFilter:
    """The filter that leaves the constant and these frequencies alone; with one, the single-pass of Zhou et al."""
    band_stop(unembedding, basis, frequencies, tolerance)  # refuses frequencies that do not exist
    rest = set(basis.frequencies.tolist()) - {0, *frequencies}
    return band_stop(unembedding, basis, sorted(rest), tolerance)


def random_band(basis: FourierBasis, count: int, generator: torch.Generator) -> tuple[int, ...]:
    """As many components as a band has, of frequencies drawn at random: what a filter should do more than.

    Components of whole frequencies, never of the constant, all of them equally likely; of an odd number, one is the
    component that stands alone (n / 2 of an even n), or else a cos without its sin.
    """
    need_whole("count", count)
    places: dict[int, list[int]] = {}
    for i, k in enumerate(basis.frequencies.tolist()):
        if k:
            places.setdefault(k, []).append(i)
    if not 0 <= count <= (most := sum(map(len, places.values()))):
        raise BadInput(f"A band of this basis has 0 to {most} components, not {count}.")
    alone = [k for k, some in places.items() if len(some) == 1]
    pairs = [k for k in places if k not in alone]
    order = [pairs[i] for i in torch.randperm(len(pairs), generator=generator).tolist()]
    order = [*alone, *order] if count % 2 else order
    return tuple(sorted([i for k in order for i in places[k]][:count]))


def random_subspace(
    rank: int,
    d_model: int,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> SubspaceFilter:
    """A filter of a subspace drawn evenly among all of its rank (Haar): what another of that rank should do more than.

    Drawn in float64 on the processor, so that a seed gives the same subspace everywhere.
    """
    for name, number in (("rank", rank), ("d_model", d_model)):
        need_whole(name, number)
    if not 0 <= rank <= d_model:
        raise BadInput(f"A subspace of {d_model} dimensions has a rank from 0 to {d_model}, not {rank}.")
    drawn = torch.randn(d_model, rank, generator=generator, dtype=torch.float64)
    rows = orthonormal(drawn).mT if rank else drawn.mT
    return SubspaceFilter(rows=rows.to(device=device, dtype=dtype), constraints=rank)


def _frequencies(basis: FourierBasis, cut: int) -> list[int]:
    need_whole("cut", cut)
    known = basis.frequencies.tolist()
    if not 0 <= cut <= max(known):
        n = basis.matrix.shape[-1]
        raise BadInput(f"Frequencies over {n} values are 0 to {max(known)}; they cannot be cut at {cut}.")
    return known
