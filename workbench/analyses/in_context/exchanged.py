"""Exchanging the tokens of a text one at a time: how far a model's answer moves, and those of n-gram predictors."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.heads.repeated_blocks import plain_tokens
from workbench.analyses.one_prompt import real
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel
from workbench.progress import track


def exchanged(
    model: LensModel,
    batch: dict[str, Tensor],
    ids: Int[Tensor, "pos"],
    at: int,
    before: Float[Tensor, "vocab"],
    *,
    order: int,
    most: int,
    seed: int,
) -> dict[str, Any]:
    """How far the answers at one position move when an earlier token is another one, which stands nowhere in the text.

    Special tokens stay. The model is asked once for each exchange.
    """
    plain = set(plain_tokens(model))
    places = [place for place in range(at) if int(ids[place]) in plain]
    places = places[max(0, len(places) - most) :]
    generator = torch.Generator().manual_seed(seed)
    others = torch.tensor(sorted(plain - set(ids.tolist())))
    if places and not len(others):
        raise BadInput(f"The text has all tokens of {model.name}, so that none can be exchanged: give exchanges=0.")
    drawn = others[torch.randint(len(others), (len(places),), generator=generator)] if places else others[:0]
    kinds = torch.cat([ids, drawn]).unique()
    real_places = _real_places(batch, len(ids))
    was, asked = precise(before).softmax(-1), ids[: at + 1]
    says = [_says(asked, kinds, n) for n in range(1, order + 1)]
    rows, ngrams = [], []
    for place, new in track(list(zip(places, drawn.tolist(), strict=True)), label="exchanged tokens"):
        changed = batch["input_ids"].clone()
        changed[0, real_places[place]] = new
        logits = real(model.logits({**batch, "input_ids": changed})[0], batch, "input", dim=0)[at]
        rows.append(functional.total_variation(precise(logits).softmax(-1), was).cpu())
        other = asked.clone()
        other[place] = new
        ngrams.append([functional.total_variation(_says(other, kinds, n), says[n - 1]) for n in range(1, order + 1)])
    none = torch.zeros(len(places))
    return {
        "places": torch.tensor(places, dtype=torch.long),
        "instead": tuple(model.token_text(number) for number in drawn.tolist()),
        "model": torch.stack(rows).float() if rows else none,
        "ngrams": torch.tensor(ngrams).view(len(places), order).T,
        "uniform": none,
    }


def _says(ids: Int[Tensor, "pos"], kinds: Int[Tensor, "value"], n: int) -> Float[Tensor, "value"]:
    """What an n-gram predictor says after these tokens."""
    return functional.ngram_predictions(torch.searchsorted(kinds, ids), n, values=len(kinds), at=-1)[0]


def _real_places(batch: dict[str, Tensor], length: int) -> list[int]:
    places = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
    return real(places, batch, "input", dim=0).tolist()[:length]
