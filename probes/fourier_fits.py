"""Circles and lines in states: held-out fits in both directions, for values in order and in random orders.

Reading predicts the columns (cos, sin, the value itself) from states, by ridge regression on features of unit variance;
fitting predicts states from the columns, by least squares. What is held out are values, in every template at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from workbench import BadInput

WAYS = ("read", "fit")
"""Columns from states, and states from columns."""
LEVEL = 1e-5
"""A spread this small beside the size of states is rounding of single precision: the states are all the same."""
AT_ONCE = 2**22
"""Numbers held for a search at a time."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOut:
    """How well each group of columns goes with states; the first order is the values' own."""

    r2: Float[np.ndarray, "way group order"]
    """1 less the squared error on held-out values over that of the mean of the others; can be below 0."""
    chosen: Int[np.ndarray, "part drawn"]
    """The candidate that was chosen without each part; no orders where there are no candidates."""


def waves(
    values: Real[np.ndarray, "value"], periods: Sequence[float | int] | Real[np.ndarray, "period"]
) -> Float[np.ndarray, "value period 2"]:
    """Cos and sin of the angle of each value, a full turn a period."""
    angles = 2 * np.pi * (np.asarray(values)[:, None] / np.asarray(periods, dtype=float) % 1)
    columns = np.stack([np.cos(angles), np.sin(angles)], -1)
    return np.where(np.abs(columns) < 1e-9, 0.0, columns)  # a sin that is 0 at every value says nothing


def checked_periods(periods: Sequence[float | int], n: int, spacing: float, unit: str) -> tuple[float, ...]:
    """The periods, each once; refuses those that n values cannot show."""
    for period in periods:
        if not period <= n * spacing * (1 + 1e-9):
            raise BadInput(
                f"A period of {period:g} is above the range of {n * spacing:g} {unit}: values do not go around once."
            )
        if period < 2 * spacing * (1 - 1e-9):
            raise BadInput(
                f"A period of {period:g} is below two steps of {spacing:g}: over these values it cannot be told from a"
                " longer one."
            )
    return tuple(dict.fromkeys(float(period) for period in periods))


def are_level(states: Float[np.ndarray, "template value d"]) -> bool:
    """Whether the states of all values are the same but for rounding."""
    return bool(np.linalg.norm(states - states.mean(1, keepdims=True)) <= LEVEL * np.linalg.norm(states))


def held_out(
    states: Float[np.ndarray, "template value d"],
    columns: Float[np.ndarray, "value column"],
    groups: Sequence[Sequence[int]],
    parts: Int[np.ndarray, "value"],
    orders: Int[np.ndarray, "order value"],
    penalty: float,
    candidates: Float[np.ndarray, "value candidate 2"] | None = None,
) -> HeldOut:
    """How well groups of columns go with the states of values that were held out, in both directions.

    A group lists numbers of columns; with `candidates`, the last two columns are those of the candidate that is read
    best inside the training values, leaving one of them out at a time, in every order anew. Parts are held out in turn.
    Columns count alike in reading, directions of states by their variance in fitting. Cost of an order:
    value^2 x (columns + candidates), for each part.
    """
    n_templates, n, width = states.shape
    x = states.transpose(1, 0, 2).reshape(n * n_templates, width)
    value_of = np.repeat(np.arange(n), n_templates)
    spread = columns.std(0)
    labels = ((columns - columns.mean(0)) / np.where(spread > 0, spread, 1.0))[orders]  # (order, value, column)
    n_columns = columns.shape[1] + (0 if candidates is None else 2)
    errors, totals = np.zeros((2, 2, len(groups), len(orders)))
    read_error, read_total = np.zeros((2, len(orders), n_columns))
    chosen = np.zeros((len(np.unique(parts)), len(orders) if candidates is not None else 0), dtype=int)
    short = _shortened(x)
    for number, part in enumerate(np.unique(parts)):
        test = (parts == part)[value_of]
        train = ~test
        reader, own = _readers(x[train], x[test], penalty)
        y = labels[:, value_of]
        if candidates is not None:
            best = _chosen(own, candidates, orders, value_of[train], n_templates)
            chosen[number] = best
            taken = candidates[orders, best[:, None]] * np.sqrt(2)  # (order, value, 2), about unit variance
            y = np.concatenate([y, taken[:, value_of]], -1)
        mean = y[:, train].mean(1, keepdims=True)
        read_error += np.square(y[:, test] - reader @ y[:, train]).sum(1)
        read_total += np.square(y[:, test] - mean).sum(1)
        offset = short[train].mean(0)
        away = np.square(short[test] - offset).sum()
        for at, group in enumerate(groups):
            given, asked = ((y[:, rows] - mean)[..., list(group)] for rows in (train, test))
            errors[1, at] += _fit_errors(given, asked, short[train] - offset, short[test] - offset)
            totals[1, at] += away
    for at, group in enumerate(groups):
        errors[0, at], totals[0, at] = (sums[:, list(group)].sum(-1) for sums in (read_error, read_total))
    return HeldOut(r2=1 - errors / totals, chosen=chosen)


def p_values(r2: Float[np.ndarray, "*rest order"], null: Float[np.ndarray, "*rest draw"] | None = None) -> np.ndarray:
    """The share of orders that go with the states at least as well: (1 + as good) / (1 + random orders).

    Among `null`, or the orders after the first.
    """
    drawn = r2[..., 1:] if null is None else null
    return (1 + (drawn >= r2[..., :1]).sum(-1)) / (1 + drawn.shape[-1])


def _shortened(x: np.ndarray) -> np.ndarray:
    """The same rows in as few numbers: distances between them stay what they are."""
    if x.shape[1] <= len(x):
        return x
    turned, sizes, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return turned * sizes


def _readers(train: np.ndarray, test: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The maps from labels of training rows to what ridge regression reads in the test rows and the training rows."""
    mean, spread = train.mean(0), train.std(0)
    level = spread <= LEVEL * np.abs(mean)
    z, new = ((rows - mean) / np.where(level, 1.0, spread) * ~level for rows in (train, test))
    centred = np.eye(len(z)) - 1 / len(z)
    if z.shape[1] < len(z):
        weights = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ centred)
        return new @ weights + 1 / len(z), z @ weights + 1 / len(z)
    kernel = z @ z.T
    weights = np.linalg.solve(kernel + penalty * np.eye(len(z)), centred)
    return (new @ z.T) @ weights + 1 / len(z), kernel @ weights + 1 / len(z)


def _chosen(
    own: np.ndarray, candidates: np.ndarray, orders: np.ndarray, value_of: np.ndarray, n_templates: int
) -> Int[np.ndarray, "order"]:
    """The candidate with the smallest error on training values that are left out one at a time, for each order."""
    n_train = len(value_of) // n_templates
    flat = candidates.reshape(len(candidates), -1)
    by_value = own.reshape(n_train, n_templates, n_train, n_templates)
    blocks = np.eye(n_templates) - by_value[np.arange(n_train), :, np.arange(n_train)]
    without = np.linalg.inv(blocks)
    at_once = max(1, AT_ONCE // (len(value_of) * flat.shape[1]))
    best = []
    for some in np.split(orders, range(at_once, len(orders), at_once)):
        y = flat[some][:, value_of]
        errors = (y - own @ y).reshape(len(some), n_train, n_templates, -1)
        errors = np.square(without @ errors).sum((1, 2)).reshape(len(some), -1, 2).sum(-1)
        totals = np.square(y - y.mean(1, keepdims=True)).sum(1).reshape(len(some), -1, 2).sum(-1)
        best.append((errors / totals).argmin(1))
    return np.concatenate(best)


def _fit_errors(
    train: np.ndarray, test: np.ndarray, states: np.ndarray, held: np.ndarray
) -> Float[np.ndarray, "order"]:
    """Squared error of held-out states under the least squares fit of states to columns, for each order."""
    across = train.transpose(0, 2, 1)
    weights = np.linalg.pinv(across @ train, rcond=1e-10, hermitian=True) @ (across @ states)
    return np.square(held - test @ weights).sum((1, 2))
