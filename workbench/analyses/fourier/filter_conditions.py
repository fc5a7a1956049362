"""Which waves are taken out: the bands that were asked for, and random ones that take out as much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.errors import BadInput
from workbench.functional import FourierBasis, SubspaceFilter

NONE, FILTER, RANDOM_BAND, RANDOM_SUBSPACE = "none", "filter", "random band", "random subspace"
KINDS = (NONE, FILTER, RANDOM_BAND, RANDOM_SUBSPACE)
_NAMED = 6  # frequencies that a name lists


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """One filter, or none."""

    band: str
    """What is removed, in words; a control bears the name of the band that it is held against."""
    kind: str
    """none, filter, random band or random subspace."""
    draw: int
    """Which random one it is, counted from 0; -1 for what is not random."""
    frequencies: tuple[int, ...]
    """Those that are removed; none of a random subspace."""
    filter: SubspaceFilter | None


def named_bands(n: int, remove: Sequence[str], cut: int | None, frequencies: Sequence[int]) -> dict[str, list[int]]:
    """Name -> the frequencies to remove over n values, for each of low, high, band and all-but.

    1 to `cut` are low, by default n // 4 of them: half of all; all above are high.
    """
    last = n // 2
    cut = max(1, n // 4) if cut is None else cut
    chosen = sorted(set(frequencies))
    if "band" in remove or "all-but" in remove:
        if not chosen:
            raise BadInput(f"Say which frequencies: of {n} values, 1 to {last}.")
    elif chosen:
        raise BadInput("frequencies are those of a band: remove 'band' takes them out, 'all-but' leaves them alone.")
    _exist(chosen, n)
    if {"low", "high"} & set(remove) and cut >= last:
        raise BadInput(
            f"{n} values have the frequencies 1 to {last}: cut at {cut} there are none that are high. Choose a lower"
            " cut, or more values."
        )
    listed = ", ".join(map(str, chosen[:_NAMED])) + (" ..." if len(chosen) > _NAMED else "")
    sets = {
        "low": ("low removed", range(1, cut + 1)),
        "high": ("high removed", range(cut + 1, last + 1)),
        "band": (f"{listed} removed", chosen),
        "all-but": (f"all but {listed} removed", [k for k in range(1, last + 1) if k not in chosen]),
    }
    return {sets[name][0]: list(sets[name][1]) for name in dict.fromkeys(remove)}


def conditions_of(
    rows: Float[Tensor, "value d_model"],
    bands: Mapping[str, Sequence[int]],
    *,
    readable: int,
    draws: int,
    seed: int,
    rounding: float,
) -> tuple[Condition, ...]:
    """No filter, then each band's, then its random controls of equal rank; filters are orthonormal rows of float64.

    `readable` dimensions of what is written reach the logits at all; `rounding` is the epsilon of the type that the
    rows were stored in. Refuses bands that leave everything, or nothing that tells the values apart.
    """
    n, d_model = rows.shape
    if not bands:
        raise BadInput("Say what to remove: low, high, a band, or all but some frequencies.")
    basis = functional.fourier_basis(n, dtype=torch.float64)
    tolerance = max(n, d_model) * rounding
    draw = torch.Generator().manual_seed(seed)
    found = [Condition(band=NONE, kind=NONE, draw=-1, frequencies=(), filter=None)]
    for name, frequencies in bands.items():
        _exist(frequencies, n)
        one = functional.band_stop(rows.cpu(), basis, frequencies, tolerance)
        if not one.rank:
            why = "there is no such frequency" if not len(frequencies) else "the unembedding says nothing of it"
            raise BadInput(f"{name!r} removes nothing from {n} values: {why}. Choose other frequencies.")
        if one.rank >= min(n - 1, readable):
            raise BadInput(
                f"{name!r} removes everything: without {one.rank} of {readable} dimensions nothing tells the {n} values"
                " apart. Choose fewer frequencies or fewer values; the analysis 'ablate' sets whole parts to zero."
            )
        given = Condition(band=name, kind=FILTER, draw=-1, frequencies=tuple(sorted(set(frequencies))), filter=one)
        found.append(given)
        for i in range(draws):
            components = _another(basis, given.frequencies, one.constraints, draw)
            found.append(
                replace(
                    given,
                    kind=RANDOM_BAND,
                    draw=i,
                    frequencies=_frequencies(basis, components),
                    filter=functional.component_stop(rows.cpu(), basis, components, tolerance),
                )
            )
        for i in range(draws):
            subspace = functional.random_subspace(one.rank, d_model, draw, dtype=torch.float64)
            found.append(replace(given, kind=RANDOM_SUBSPACE, draw=i, frequencies=(), filter=subspace))
    return tuple(found)


def _another(basis: FourierBasis, own: tuple[int, ...], count: int, draw: torch.Generator) -> tuple[int, ...]:
    """A random band that is not the band it is held against, unless there is no other of as many components."""
    pairs = (basis.matrix.shape[0] - 1) // 2
    while True:
        components = functional.random_band(basis, count, draw)
        if comb(pairs, count // 2) == 1 or _frequencies(basis, components) != own:
            return components


def _frequencies(basis: FourierBasis, components: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(set(basis.frequencies[list(components)].tolist())))


def _exist(frequencies: Sequence[int], n: int) -> None:
    last = n // 2
    if wrong := [k for k in frequencies if not 1 <= k <= last]:
        raise BadInput(
            f"There is no frequency {wrong[0]}: {n} values have the frequencies 1 to {last}, whole cycles over all of"
            f" them, with periods from {n} values down to {n / last:g}."
        )
