"""Checks of what functions are given that are no analyses, whose arguments nothing else checks."""

from collections.abc import Mapping
from math import isfinite

from torch import Tensor

from workbench.errors import BadInput


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"{name} must be a whole number of at least {least}, not {value!r}.")


def check_number(name: str, value: object, *, above: float | int | None = None) -> None:
    """Refuse what is no finite number, of at least 0 or above `above`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not fits or value < 0 or (above is not None and value <= above):  # type: ignore[operator]
        raise BadInput(
            f"{name} must be a number {'of at least 0' if above is None else f'above {above:g}'}, not {value!r}."
        )


def check_load(load: object, unit: str) -> None:
    """Refuse what cannot be called to give the model of a step."""
    if not callable(load):
        raise BadInput(
            f"load is a function that gives the model of a {unit}, such as lambda step: workbench.load('run',"
            f" checkpoint=str(step)); not {load!r}."
        )


def check_tokens(name: str, ids: object) -> None:
    """Refuse what is no list of token ids in a tensor."""
    if not isinstance(ids, Tensor) or ids.ndim != 1 or ids.is_floating_point():
        raise BadInput(f"{name} is a tensor of whole numbers, as torch.tensor([3, 4, 5]); not {type(ids).__name__}.")


def check_bands(bands: object) -> None:
    """Refuse what gives no frequencies to names."""
    if not isinstance(bands, Mapping) or not all(isinstance(name, str) for name in bands):
        raise BadInput(
            f"bands gives each name its frequencies, as in {{'low removed': (1, 2)}}; not {type(bands).__name__}."
        )
