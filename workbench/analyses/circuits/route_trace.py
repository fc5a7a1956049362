"""Tracing: from last states down through the blocks, only as far as parts above a floor lead."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.analyses.circuits.route_links import BIAS, MLP, PASSING, RESIDUAL, Links, links_of
from workbench.analyses.circuits.route_parts import Measure, Recorded, attention_shares, mlp_shares
from workbench.progress import track


@dataclass(frozen=True, eq=False, kw_only=True)
class Traced:
    """Shares of all parts at the positions that were reached; 0 where none was asked for."""

    reached: Bool[Tensor, "state pos"]
    """State 0 is what enters the first block; state l + 1 leaves block l."""
    reached_mid: Bool[Tensor, "layer pos"]
    """The stream after attention, in sequential blocks with MLPs; else the state after the block."""
    residual: Float[Tensor, "layer pos"]
    bias_attn: Float[Tensor, "layer pos"]
    mlp: Float[Tensor, "layer pos"] | None
    residual_mlp: Float[Tensor, "layer pos"] | None
    heads: dict[str, Int[Tensor, "edge"]] = field(default_factory=dict)
    """layer, query, key and head of every look above the floor, in order."""
    weights: Float[Tensor, "edge"]

    def links(self) -> Links:
        """All parts as columns."""
        singles = {RESIDUAL: self.residual, BIAS: self.bias_attn, MLP: self.mlp, PASSING: self.residual_mlp}
        return links_of(tuple(self.heads.values()), self.weights, singles)


@torch.no_grad()
def traced(run: Recorded, positions: Sequence[int], how: Measure, *, floor: float, full: bool = False) -> Traced:
    """Shares where parts above `floor` lead from the last states at `positions`; everywhere if `full`."""
    n, n_layers = len(run.tokens), run.model.n_blocks
    device = run.values[run.model.stream("resid_pre")[0]].device
    state = torch.zeros(n, dtype=torch.bool, device=device)
    state[list(positions)] = True
    states, mids = [state], []
    residual, bias, mlp, past = (torch.zeros(n_layers, n) for _ in range(4))
    found: list[tuple[Tensor, ...]] = []
    for layer in track(list(reversed(range(n_layers))), label="layers traced"):
        at = _places(state, full)
        mid, below = state, torch.zeros_like(state)
        if run.has_mlp and not run.parallel and len(at):
            shares = mlp_shares(run, layer, at, how)  # (query, (mlp, past))
            mlp[layer, at.cpu()], past[layer, at.cpu()] = shares.T.float().cpu()
            mid = torch.zeros_like(state)
            mid[at] = (shares > floor).any(-1)
            mid &= state
            at = _places(mid, full)
        mids.append(mid)
        if len(at):
            here = attention_shares(run, layer, at, how)
            places = at.cpu()
            residual[layer, places], bias[layer, places] = here.residual.float().cpu(), here.bias.float().cpu()
            stays = here.residual > floor
            if here.mlp is not None:
                mlp[layer, places] = here.mlp.float().cpu()
                stays |= here.mlp > floor
            head, query, key = (here.heads > floor).nonzero(as_tuple=True)
            found.append((torch.full_like(key, layer), at[query], key, head, here.heads[head, query, key]))
            below[at[stays]] = True
            below[key] = True
            if full:  # what is reached is told of the traced positions, whatever else is computed
                below = _below(mid, at, stays, query, key)
        state = below
        states.append(state)
    nothing = (*[torch.zeros(0, dtype=torch.int64, device=device)] * 4, torch.zeros(0, device=device))
    columns = [torch.cat(column).cpu() for column in zip(nothing, *found, strict=True)]
    return Traced(
        reached=torch.stack(states[::-1]).cpu(),
        reached_mid=torch.stack(mids[::-1]).cpu(),
        residual=residual,
        bias_attn=bias,
        mlp=mlp if run.has_mlp else None,
        residual_mlp=past if run.has_mlp and not run.parallel else None,
        heads=dict(zip(("layer", "query", "key", "head"), columns[:4], strict=True)),
        weights=columns[4].float(),
    )


def _places(state: Bool[Tensor, "pos"], full: bool) -> Int[Tensor, "query"]:
    return torch.arange(len(state), device=state.device) if full else state.nonzero().squeeze(-1)


def _below(mid: Tensor, at: Tensor, stays: Tensor, query: Tensor, key: Tensor) -> Bool[Tensor, "pos"]:
    """Positions that parts lead to from those of `mid`."""
    below = torch.zeros_like(mid)
    below[at[stays & mid[at]]] = True
    below[key[mid[at[query]]]] = True
    return below
