"""How far a model has come in adding on a circle: what of its logits is a function of a + b, and of few frequencies.

Tables of logits are (a, b, c): for each pair of operands 0 ... n - 1, the logits of the answers c. Sum directions are
the waves cos and sin of w_k (a + b), w_k = 2 pi k / n, over the table of pairs; difference directions those of a - b.
Reference: Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability".
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor
from torch.nn.functional import cross_entropy

from workbench.errors import BadInput
from workbench.functional.checks import (
    need_axes,
    need_frequencies,
    need_mask,
    need_real,
    need_whole,
    need_whole_numbers,
)
from workbench.functional.spectra import power_spectrum, real_values

Operation = Literal["add", "subtract"]


def sum_directions(
    n: int,
    frequencies: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "direction a b"]:
    """The waves over pairs that are functions of a + b: cos, then sin, of each frequency; orthonormal.

    (c x c - s x s) / sqrt(2) and (c x s + s x c) / sqrt(2) of the unit waves c and s: sqrt(2) / n cos w_k (a + b), and
    the sin. They are orthogonal to those of a - b. Only for k = n / 2 (even n) there is a cos alone, and it is a
    function of a - b as well.
    """
    return _directions(n, frequencies, 1).to(device=device, dtype=dtype)


def difference_directions(
    n: int,
    frequencies: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "direction a b"]:
    """The waves over pairs that are functions of a - b: cos, then sin, of each frequency; orthonormal.

    What a model that subtracts is made of, and the control of one that adds.
    """
    return _directions(n, frequencies, -1).to(device=device, dtype=dtype)


def keep_sums(
    logits: Real[Tensor, "n n c"],
    frequencies: Sequence[int],
    operation: Operation = "add",
    *,
    constant: bool = False,
) -> Float[Tensor, "n n c"]:
    """What of the logits lies in the sum directions of these frequencies; with `constant`, and the mean over pairs.

    With "subtract", in the difference directions. As much time as a few passes over the table.
    """
    n, chosen = _table(logits, frequencies)
    profile = _profile(logits, operation)  # (value, c)
    waves = torch.fft.rfft(profile, dim=0)
    kept = torch.zeros_like(waves)
    index = [0, *chosen] if constant else chosen
    kept[index] = waves[index]
    return torch.fft.irfft(kept, n=n, dim=0)[_values(n, operation, logits.device)]


def remove_sums(
    logits: Real[Tensor, "n n c"], frequencies: Sequence[int], operation: Operation = "add"
) -> Float[Tensor, "n n c"]:
    """The logits without what lies in the sum directions of these frequencies: with `keep_sums`, the whole."""
    return real_values(logits) - keep_sums(logits, frequencies, operation)


def pair_loss(
    logits: Real[Tensor, "n n c"],
    targets: Int[Tensor, "n n"] | None = None,
    mask: Bool[Tensor, "n n"] | None = None,
    operation: Operation = "add",
) -> Float[Tensor, ""]:
    """Mean cross-entropy over pairs, in nats and double precision: a loss of 1e-8 is one.

    Targets are (a + b) mod n (or a - b), unless others are given; `mask` says which pairs count.
    """
    n, _ = _table(logits, ())
    for what, given in (("Targets", targets), ("A mask", mask)):
        if given is not None and given.shape != (n, n):
            raise BadInput(f"{what} for {n} x {n} pairs must be of that shape, not {tuple(given.shape)}.")
    if targets is not None:
        need_whole_numbers("Targets", targets)
    if mask is not None:
        need_mask(mask)
    right = _values(n, operation, logits.device) if targets is None else targets.long()
    counted = torch.ones_like(right, dtype=torch.bool) if mask is None else mask
    if not counted.any():
        raise BadInput("A loss is a mean over pairs, and the mask leaves none.")
    if not 0 <= int(right[counted].min()) <= int(right[counted].max()) < logits.shape[-1]:
        raise BadInput(f"Some targets have no logit: there are {logits.shape[-1]} answers.")
    return cross_entropy(logits.double()[counted], right[counted])


def restricted_loss(
    logits: Real[Tensor, "n n c"],
    frequencies: Sequence[int],
    targets: Int[Tensor, "n n"] | None = None,
    mask: Bool[Tensor, "n n"] | None = None,
    operation: Operation = "add",
) -> Float[Tensor, ""]:
    """The loss of the key frequencies alone: of the mean logits and what lies in their sum directions.

    It falls before the loss on pairs never trained on does, where a circuit of these frequencies forms. Over all pairs,
    or those of `mask`.
    """
    _table(logits, frequencies)
    return pair_loss(keep_sums(logits.double(), frequencies, operation, constant=True), targets, mask, operation)


def excluded_loss(
    logits: Real[Tensor, "n n c"],
    frequencies: Sequence[int],
    targets: Int[Tensor, "n n"] | None = None,
    mask: Bool[Tensor, "n n"] | None = None,
    operation: Operation = "add",
) -> Float[Tensor, ""]:
    """The loss without the key frequencies: of the logits less what lies in their sum directions.

    On the pairs trained on (`mask`), it rises as what was learned by heart gives way to the circuit; ln n where nothing
    else is left.
    """
    _table(logits, frequencies)
    return pair_loss(remove_sums(logits.double(), frequencies, operation), targets, mask, operation)


def sum_power(logits: Real[Tensor, "n n c"], operation: Operation = "add") -> Float[Tensor, "frequency"]:
    """How much of the squares of the logits lies in the sum directions of each frequency, over all answers.

    Entry k of n // 2 + 1; entry 0 is 0. As a share of the centred logits, divide by `centred_power`.
    """
    n, _ = _table(logits, ())
    return power_spectrum(_profile(logits, operation), dim=0).sum(-1) * n  # each value is that of n pairs


def centred_power(logits: Real[Tensor, "n n c"]) -> Float[Tensor, ""]:
    """The squares of the logits less their means over pairs, summed: what shares of the sum directions are of."""
    _table(logits, ())
    given = real_values(logits)
    return (given - given.mean((0, 1))).square().sum()


def _directions(n: int, frequencies: Sequence[int], sign: int) -> Tensor:
    need_whole("n", n)
    values = torch.arange(n)
    turns = (values[:, None] + sign * values) % n
    rows = []
    for k in _chosen(n, frequencies):
        angle = (k * turns % n).double() * (2 * math.pi / n)
        alone = 2 * k == n
        rows += [angle.cos() / n] if alone else [angle.cos() * math.sqrt(2) / n, angle.sin() * math.sqrt(2) / n]
    return torch.stack(rows) if rows else torch.zeros(0, n, n)


def _profile(logits: Tensor, operation: str) -> Float[Tensor, "value c"]:
    """The mean of the logits over the pairs of each value of a + b (or a - b)."""
    n = len(logits)
    at = torch.arange(n, device=logits.device)
    partner = _sign(operation) * (at[:, None] - at) % n  # (value, a): the b of each a
    return real_values(logits)[at, partner].mean(1)


def _values(n: int, operation: str, device: torch.device) -> Int[Tensor, "n n"]:
    at = torch.arange(n, device=device)
    return (at[:, None] + _sign(operation) * at) % n


def _sign(operation: str) -> int:
    if operation not in ("add", "subtract"):
        raise BadInput(f"What is done to the operands is 'add' or 'subtract', not {operation!r}.")
    return 1 if operation == "add" else -1


def _table(logits: Tensor, frequencies: Sequence[int]) -> tuple[int, list[int]]:
    need_axes("Tables of logits", logits, "a b c", batched=False)
    need_real("Logits", logits)
    n = len(logits)
    if logits.shape[1] != n or n < 2:
        raise BadInput(f"A table over pairs has as many b as a, two or more; this is of shape {tuple(logits.shape)}.")
    return n, _chosen(n, frequencies)


def _chosen(n: int, frequencies: Sequence[int]) -> list[int]:
    chosen = need_frequencies(frequencies)
    if chosen and not 1 <= chosen[0] <= chosen[-1] <= n // 2:
        raise BadInput(f"Frequencies over {n} values are 1 to {n // 2}, not {tuple(frequencies)}.")
    return chosen
