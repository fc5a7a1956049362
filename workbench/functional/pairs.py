"""Which queries and keys belong together: pairs within one input, drawn with a seed and never from a whole matrix."""

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.errors import BadInput


def attention_pairs(
    query_input: Int[Tensor, "query"],
    query_position: Int[Tensor, "query"],
    key_input: Int[Tensor, "key"],
    key_position: Int[Tensor, "key"],
    *,
    causal: bool,
    most: int = 20_000,
    seed: int = 0,
) -> Int[Tensor, "pair 2"]:
    """Pairs (row of a query, row of a key) where the one can attend to the other: at most `most` of them, each once.

    Both are of the same input, and with `causal` the key does not come after the query. Where there are more pairs
    than `most`, every set of that size is equally likely. Sorted by query. O(query log key + most) memory.
    """
    if query_input.shape != query_position.shape or key_input.shape != key_position.shape:
        raise BadInput(
            f"Each row has an input and a position: there are {len(query_input)} and {len(query_position)} for queries,"
            f" {len(key_input)} and {len(key_position)} for keys."
        )
    if not len(query_input) or not len(key_input):
        return query_input.new_zeros((0, 2), dtype=torch.long)
    first = torch.minimum(query_position.min(), key_position.min()).long()
    span = torch.maximum(query_position.max(), key_position.max()).long() - first + 1
    query_place, key_place = query_position.long() - first, key_position.long() - first
    ordered, rows = (key_input.long() * span + key_place).sort(stable=True)
    start = torch.searchsorted(ordered, query_input.long() * span)
    last = query_place if causal else span - 1
    end = torch.searchsorted(ordered, query_input.long() * span + last, right=True)
    up_to = (end - start).cumsum(0)  # pairs of this query and of all before it
    chosen = some_of(int(up_to[-1]), most, seed).to(up_to.device)
    query = torch.searchsorted(up_to, chosen, right=True)
    key = end[query] - (up_to[query] - chosen)
    return torch.stack([query, rows[key]], -1)


def some_of(total: int, most: int, seed: int) -> Int[Tensor, "chosen"]:
    """At most `most` different numbers below `total`, in order; every set of them is equally likely.

    Memory grows with `most`, not with `total`.
    """
    if most < 1:
        raise BadInput(f"One or more are drawn, not {most}.")
    if total <= most:
        return torch.arange(total)
    random = torch.Generator().manual_seed(seed)
    if total <= 4 * most:
        return torch.randperm(total, generator=random)[:most].sort().values
    drawn = torch.empty(0, dtype=torch.long)
    while len(drawn) < most:
        more = torch.randint(total, (most + most // 4,), generator=random)
        drawn = torch.cat([drawn, more]).unique()
    return drawn[torch.randperm(len(drawn), generator=random)[:most]].sort().values


def chosen_pairs(
    valid_pairs: Tensor | None, sizes: tuple[int, int], most: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """The pairs looked at (pair, 2), which these are (pair) of those there are, and the shape of what there are."""
    n_queries, n_keys = sizes
    if valid_pairs is None:
        rows = some_of(n_queries * n_keys, most, seed).to(device)
        return torch.stack([rows // n_keys, rows % n_keys], -1), rows, sizes
    here = f"{str(valid_pairs.dtype).removeprefix('torch.')} of shape {tuple(valid_pairs.shape)}"
    if valid_pairs.dtype == torch.bool:
        if valid_pairs.shape != sizes:
            raise BadInput(f"Valid pairs are true or false for {n_queries} queries and {n_keys} keys; here: {here}.")
        there = valid_pairs.flatten().nonzero().squeeze(-1)
        rows = there[some_of(len(there), most, seed).to(there.device)].to(device)
        pairs, listed = torch.stack([rows // n_keys, rows % n_keys], -1), sizes
    else:
        if valid_pairs.is_floating_point() or valid_pairs.ndim != 2 or valid_pairs.shape[-1] != 2:
            raise BadInput(f"Pairs are whole numbers, (pair, 2): the row of a query and of a key; here: {here}.")
        rows = some_of(len(valid_pairs), most, seed).to(device)
        pairs, listed = valid_pairs.to(device).long()[rows], (len(valid_pairs),)
        if bool(((pairs < 0) | (pairs >= pairs.new_tensor(sizes))).any()):
            raise BadInput(f"A pair names a row that is not there: there are {n_queries} queries and {n_keys} keys.")
    if not len(pairs):
        raise BadInput("There is no valid pair of a query and a key: take more rows of each input.")
    return pairs, rows, listed


def at_pairs(values: Tensor, what: str, listed: tuple[int, ...], rows: Tensor, batch: tuple[int, ...]) -> Tensor:
    """What is given for each pair of the list, or for each query and key, of those that are looked at."""
    leading = values.shape[: -len(listed)]
    fits = len(leading) <= len(batch) and all(a in (1, b) for a, b in zip(leading[::-1], batch[::-1], strict=False))
    if values.shape[-len(listed) :] != listed or not fits:
        wanted = "one for each listed pair" if len(listed) == 1 else "one for each query and key"
        raise BadInput(f"The {what} are {wanted}, {(*batch, *listed)}, not {tuple(values.shape)}.")
    chosen = values.to(rows.device).flatten(-len(listed))[..., rows].double()
    if not bool(chosen.isfinite().all()):
        raise BadInput(f"The {what} of pairs are finite: list only pairs that can attend (valid_pairs).")
    return chosen.expand(*batch, -1)
