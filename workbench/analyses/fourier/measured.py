"""The progress measures of one model: what its logits over all pairs are made of, and its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.fourier.pairs import Pairs, logits_of
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import LinearMap, Norm
from workbench.variables import embedding_rows

NAN = float("nan")

MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "loss": "loss on all pairs",
        "train_loss": "loss on the pairs trained on",
        "test_loss": "loss on the other pairs",
        "accuracy": "right answers of all pairs",
        "train_accuracy": "right answers of the pairs trained on",
        "test_accuracy": "right answers of the other pairs",
        "restricted_loss": "loss of the key frequencies alone, all pairs",
        "restricted_test_loss": "loss of the key frequencies alone, pairs not trained on",
        "excluded_loss": "loss without the key frequencies, pairs trained on",
        "random_restricted_loss": "loss of as many other frequencies alone, all pairs",
        "random_excluded_loss": "loss without as many other frequencies, pairs trained on",
        "explained": "share of the logits' variance over pairs in the key frequencies of the sum",
        "random_explained": "the same of as many other frequencies",
        "sum_explained": "the same of all frequencies of the sum",
        "embedding_gini": "Gini coefficient of the waves of the embedding",
        "neuron_logit_gini": "Gini coefficient of the waves of the map from neurons to logits",
        "squared_weights": "sum of the squares of all weights",
    }
)
"""Name -> what it is. Losses in nats over the variable's values; all that is no loss, nor weights, is from 0 to 1."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """What is read off a model before any frequency is chosen."""

    logits: Float[Tensor, "n n n"]
    sums: Float[Tensor, "frequency"]
    """Share of the logits' variance over pairs in the sum directions of each frequency."""
    embedding: Float[Tensor, "frequency"]
    """Share of the embedding's power of each frequency, without the constant."""
    neuron_logits: Float[Tensor, "frequency"]
    """The same of the map from the last layer's neurons to the logits; NaN where there is no such linear map."""
    weights: Mapping[str, float]


def table_of(pairs: Pairs) -> Table:
    """The logits of all pairs, and the spectra of them and of the weights."""
    model, axes = pairs.model, pairs.axes
    logits = logits_of(pairs)
    ids = pairs.variable.tokens()
    embedding = embedding_rows(model, ids).double().cpu()[axes.first]
    written = neuron_logits(model, ids)
    output = None if written is None else written.double().cpu()[axes.answers]
    squares = sum(parameter.detach().double().square().sum().item() for parameter in model.module.parameters())
    weights = {"embedding_gini": _gini(embedding), "neuron_logit_gini": _gini(output), "squared_weights": squares}
    frequencies = pairs.n // 2 + 1
    return Table(
        logits=logits,
        sums=_shares(functional.sum_power(logits), functional.centred_power(logits)),
        embedding=_power_shares(embedding),
        neuron_logits=torch.full((frequencies,), NAN, dtype=torch.float64) if output is None else _power_shares(output),
        weights=weights,
    )


def measures_of(
    table: Table, key: Sequence[int], train: Bool[Tensor, "n n"], random: Int[Tensor, "draw key"]
) -> Float[Tensor, "measure"]:
    """All of `MEASURES`, in their order; NaN where there are no such pairs, frequencies or weights."""
    logits, everything = table.logits, torch.ones_like(train)
    n = len(logits)
    right = (logits.argmax(-1) == (torch.arange(n)[:, None] + torch.arange(n)) % n).double()
    parts = {"": everything, "train_": train, "test_": ~train}
    found = {f"{part}loss": _loss(logits, mask) for part, mask in parts.items()}
    found |= {f"{part}accuracy": right[mask].mean().item() if mask.any() else NAN for part, mask in parts.items()}
    kept = functional.keep_sums(logits, key, constant=True)
    found |= {"restricted_loss": _loss(kept, everything), "restricted_test_loss": _loss(kept, ~train)}
    found["excluded_loss"] = _loss(functional.remove_sums(logits, key), train)
    draws = random.tolist()
    found["random_restricted_loss"] = _mean(
        [_loss(functional.keep_sums(logits, draw, constant=True), everything) for draw in draws]
    )
    found["random_excluded_loss"] = _mean([_loss(functional.remove_sums(logits, draw), train) for draw in draws])
    found["explained"] = table.sums[list(key)].sum().item()
    found["random_explained"] = _mean([table.sums[draw].sum().item() for draw in draws])
    found["sum_explained"] = table.sums.sum().item()
    found |= table.weights
    return torch.tensor([found[name] for name in MEASURES], dtype=torch.float64)


def pair_power(logits: Float[Tensor, "n n n"]) -> Float[Tensor, "frequency_a frequency_b"]:
    """Share of the logits' variance over pairs in each pair of frequencies, over all answers."""
    power = sum(functional.power_2d(part).sum(-1) for part in logits.split(16, dim=-1))
    assert isinstance(power, Tensor)
    return _shares(power, power.sum())


def key_of(table: Table, share: float) -> tuple[int, ...]:
    """The frequencies whose sum directions have more than `share` of the logits' variance over pairs."""
    if table.sums.isnan().all():  # the same logits for all pairs
        return ()
    return functional.key_frequencies(table.sums, share, total=1.0)


def random_keys(n: int, key: Sequence[int], draws: int, seed: int) -> Int[Tensor, "draw key"]:
    """As many frequencies that are not key, drawn `draws` times; none where there are not enough of them."""
    others = torch.tensor([k for k in range(1, n // 2 + 1) if k not in key], dtype=torch.long)
    if not key or len(others) < len(key):
        return torch.zeros(0, len(key), dtype=torch.long)
    generator = torch.Generator().manual_seed(seed)
    picked = [others[torch.randperm(len(others), generator=generator)[: len(key)]] for _ in range(draws)]
    return torch.stack(picked).sort(-1).values if picked else torch.zeros(0, len(key), dtype=torch.long)


@torch.no_grad()
def neuron_logits(model: LensModel, ids: Int[Tensor, "value"]) -> Float[Tensor, "value neuron"] | None:
    """What each neuron of the last layer adds to the logit of each id when it is 1: W_U W_out.

    The weights of norms in between are in it, their division is not. None where some map in between is not linear.
    """
    if "readout" not in model.capabilities or model.classes is not None or model.main.row.mlp is None:
        return None
    mlp = model.mlp_map(model.n_blocks - 1)
    assert mlp is not None  # the row names it
    written = mlp.outer.weight
    for step in model.head_maps(ids.tolist()):
        if isinstance(step, Norm):
            written = (written - written.mean(-1, keepdim=True) if step.centred else written) * step.weight
        elif isinstance(step, LinearMap):
            written = written @ step.weight
        else:
            return None
    return written.T


def _loss(logits: Tensor, mask: Tensor) -> float:
    return functional.pair_loss(logits, None, mask).item() if mask.any() else NAN


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else NAN


def _gini(rows: Tensor | None) -> float:
    """Of the norms of the waves over the values (n, width), the constant left out."""
    if rows is None:
        return NAN
    return functional.gini(functional.fourier_coefficients(rows, 0)[1:].norm(dim=-1)).item()


def _power_shares(rows: Tensor) -> Tensor:
    power = functional.power_spectrum(rows, 0).sum(-1)
    return _shares(power, power.sum())


def _shares(power: Tensor, total: Tensor) -> Tensor:
    """Shares of a total; NaN where that is the square of a dead norm."""
    return power / total.masked_fill(total < 1e-16, torch.nan)
