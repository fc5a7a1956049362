"""What a model holds of each value of a variable at some sites: one row a value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.inputs import tokenizer_of, vocab_size
from workbench.progress import track
from workbench.variables.form import Variable
from workbench.variables.texts import GAP, Placed, Read, check_read, placed

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

SEQUENCES = 16
"""Sequences of random tokens over which the state of a position is averaged."""
_AT_ONCE = 32


@torch.no_grad()
def states(
    model: "LensModel",
    variable: Variable,
    sites: Sequence[str],
    *,
    template: str = GAP,
    read: Read = "value",
    seed: int = 0,
) -> dict[str, Float[Tensor, "value width"]]:
    """Site -> its value for each value of the variable, in float32 or better, on the CPU.

    Read at the last token of the value in the template, or with `read` "last" at the last token of the template (its
    mask, where it has one). Sites belong to the stack that reads the prompt. Of "positions" the mean over 16 sequences
    of random tokens (`seed`) is taken at each position, and the template is left out. One forward pass a value, of
    equal lengths together.
    """
    check_sites(model, sites)
    check_read(read)
    if variable.of_positions:
        return _of_positions(model, len(variable), sites, seed)
    found: dict[str, list[Any]] = {site: [None] * len(variable) for site in sites}
    for numbers, batch, at in track(list(_batches(placed(model, variable, template, read))), label="values"):
        with reading(model, sites) as values:
            model.module(**encoded(model, batch))
        for site in sites:
            rows = precise(values[site])[torch.arange(len(at)), at]
            for number, row in zip(numbers, rows, strict=True):
                found[site][number] = row
    return {site: torch.stack(rows).cpu() for site, rows in found.items()}


def check_sites(model: "LensModel", sites: Sequence[str]) -> None:
    """Refuse sites that have no row for each token of the prompt."""
    for name in sites:
        site = model.site(name)
        if model.stack_of(name).side != "input" or site.shape[:2] != ("batch", "pos") or len(site.shape) != 3:
            raise BadInput(f"{name!r} holds {site.shape}, which is no row for each token of the prompt.")


def _batches(rows: Sequence[Placed]) -> list[tuple[list[int], Int[Tensor, "batch pos"], Int[Tensor, "batch"]]]:
    """(numbers of the values, token ids, positions) of rows of equal length."""
    lengths: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        lengths.setdefault(len(row.ids), []).append(number)
    return [
        (part, torch.tensor([rows[n].ids for n in part]), torch.tensor([rows[n].position for n in part]))
        for numbers in lengths.values()
        for part in (numbers[at : at + _AT_ONCE] for at in range(0, len(numbers), _AT_ONCE))
    ]


def encoded(model: "LensModel", ids: Int[Tensor, "batch pos"]) -> dict[str, Tensor]:
    """What the module takes; a grey picture a row where it also sees."""
    if model.reads != "text+image":
        return model.encode(ids)
    from PIL import Image

    return model.encode((ids, [Image.new("RGB", (64, 64), (128, 128, 128))] * len(ids)))


def _of_positions(
    model: "LensModel", count: int, sites: Sequence[str], seed: int
) -> dict[str, Float[Tensor, "value width"]]:
    generator = torch.Generator().manual_seed(seed)
    special = set(getattr(tokenizer_of(model), "all_special_ids", None) or ())
    plain = torch.tensor([number for number in range(vocab_size(model)) if number not in special])
    ids = plain[torch.randint(len(plain), (SEQUENCES, count), generator=generator)]
    with reading(model, sites) as values:
        model.module(**encoded(model, ids))
    return {site: precise(values[site]).mean(0).cpu() for site in sites}
