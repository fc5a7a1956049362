"""What is lost when a head is silenced, or when it looks elsewhere: by kind of token."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

import workbench
from case_studies.extreme_tokens import measure
from case_studies.extreme_tokens.measure import Ids

Where = Literal["start", "previous", "evenly"]


def silenced(model: workbench.LensModel, ids: Ids) -> dict[str, float]:
    """Loss by kind of token when no head adds anything."""
    return _edited(model, ids, {site: torch.zeros_like for site in _sites(model, "attn_out")})


def looking(model: workbench.LensModel, ids: Ids, at: Bool[Tensor, "sequence query"], where: Where) -> dict[str, float]:
    """Loss by kind of token when heads at the chosen queries attend to one place alone, or to all that they see alike.

    All heads of all layers. The first query sees only itself, and stays.
    """

    def turn(pattern: Float[Tensor, "sequence head query key"]) -> Tensor:
        return torch.where(at[:, None, :, None], row_to(where, pattern), pattern)

    return _edited(model, ids, dict.fromkeys(model.attention_sites(None, "pattern"), turn))


def row_to(where: Where, pattern: Float[Tensor, "*batch query key"]) -> Float[Tensor, "query key"]:
    """Attention that goes to the start, to the token before, or evenly to all that is seen; rows sum to one."""
    queries, keys = pattern.shape[-2:]
    if where == "evenly":
        seen = pattern.new_ones(queries, keys).tril()
        return seen / seen.sum(-1, keepdim=True)
    rows = pattern.new_zeros(queries, keys)
    here = torch.arange(queries, device=pattern.device)
    rows[here, here * 0 if where == "start" else (here - 1).clamp(min=0)] = 1
    return rows


def loss_changes(model: workbench.LensModel, ids: Ids) -> dict[str, dict[str, float]]:
    """By what is done, and by kind of token: how much more is lost than before."""
    before = measure.losses(model.module, ids)
    at = measure.kinds(ids[:, :-1])
    done = {
        "silenced": silenced(model, ids),
        "others_to_start": looking(model, ids, at["other"], "start"),
        "triggers_to_start": looking(model, ids, at["trigger"], "start"),
        "others_to_previous": looking(model, ids, at["other"], "previous"),
        "others_evenly": looking(model, ids, at["other"], "evenly"),
        "triggers_to_previous": looking(model, ids, at["trigger"], "previous"),
    }
    return {
        name: {kind.removeprefix("loss."): after[kind] - before[kind] for kind in before}
        for name, after in done.items()
    }


def _edited(model: workbench.LensModel, ids: Ids, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, float]:
    with workbench.editing(model, dict(edits)):
        return measure.losses(model.module, ids)


def _sites(model: workbench.LensModel, part: str) -> list[str]:
    return [f"blocks.{layer}.{part}" for layer in range(len(model.attention_sites(None, "pattern")))]
