"""What an operation is made by, told from the tokens and positions that its score depends on."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LABELS = ("token match", "reachability", "position match", "one side", "nothing")
"""token match: query and key depend on the same token, each on its own. reachability: on the same token, which an
earlier layer brought to at least one of them. position match: on positions. one side: only one depends on anything."""


def label(
    tokens: Float[Tensor, "2 pos"],
    positions: Float[Tensor, "2 pos"] | None,
    ids: Sequence[int],
    query: int,
    key: int,
    threshold: float,
) -> str:
    """The label of one operation; where tokens and positions both match, that of the larger change.

    `tokens` and `positions` are changes of its score through the query and through the key, when a token is replaced
    and when a position is emptied. A match is as large as the smaller of its two sides.
    """
    same = torch.tensor([[a == b for b in ids] for a in ids], device=tokens.device)
    change = tokens.abs()
    pairs = torch.minimum(change[0][:, None], change[1][None]).where(same, 0.0)  # (query side, key side)
    found = {"token match": pairs[query, key].item(), "reachability": pairs.max().item()}
    if found["token match"] > threshold:  # what lies open needs no other explanation
        found["reachability"] = 0.0
    if positions is not None:
        found["position match"] = positions.abs().amax(-1).min().item()
    best = max(found, key=lambda name: found[name])
    if found[best] > threshold:
        return best
    either = change.max().item() if positions is None else max(change.max().item(), positions.abs().max().item())
    return "one side" if either > threshold else "nothing"


def shared_tokens(tokens: Float[Tensor, "2 pos"], ids: Sequence[int], threshold: float) -> tuple[int, ...]:
    """Ids of the tokens that both sides of an operation depend on, the strongest first."""
    found: dict[int, list[float]] = {}
    for side in range(2):
        for at, change in enumerate(tokens[side].abs().tolist()):
            sides = found.setdefault(ids[at], [0.0, 0.0])
            sides[side] = max(sides[side], change)
    both = [number for number, sides in found.items() if min(sides) > threshold]
    return tuple(sorted(both, key=lambda number: -min(found[number])))


def depends(changes: Float[Tensor, "*any pos"], threshold: float) -> Bool[Tensor, "*any pos"]:
    """Which changes are larger than the threshold, up or down."""
    return changes.abs() > threshold
