"""The variables that have a name; nothing heavy is imported to name them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """One variable before it is read by a model."""

    about: str
    """What it is, with its first and last values."""
    texts: tuple[str, ...]
    """Empty for positions, which are places and no texts."""
    unit: str
    """What one step of it is called, in the plural."""
    cyclic: bool = False
    """Whether the first value comes after the last."""


MOST_NUMBERS = 520
"""Zhou et al. (2024) use 0 to 520; the 520 numbers below that hold whole periods of 2, 5, 10 and 100's divisors."""

BUILTIN: Mapping[str, Builtin] = MappingProxyType(
    {
        "digits": Builtin(about="0 to 9", texts=tuple("0123456789"), unit="digits"),
        "numbers": Builtin(
            about=f"0, 1, 2 ... as far as each is one token, to {MOST_NUMBERS - 1} at most",
            texts=tuple(map(str, range(MOST_NUMBERS))),
            unit="numbers",
        ),
        "letters": Builtin(about="a to z", texts=tuple("abcdefghijklmnopqrstuvwxyz"), unit="letters"),
        "days": Builtin(
            about="Monday to Sunday",
            texts=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
            unit="days",
            cyclic=True,
        ),
        "months": Builtin(
            about="January to December",
            texts=(
                "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                "November", "December",
            ),
            unit="months",
            cyclic=True,
        ),
        "positions": Builtin(
            about="places in the input, 64 or as many as the model reads; positions:128 for more",
            texts=(),
            unit="positions",
        ),
    }
)  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of the built-in variables."""
    return tuple(BUILTIN)
