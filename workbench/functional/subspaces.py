"""Directions of the residual stream as knobs: read them, exchange them between runs, set them, find them.

A subspace is a matrix (d_model, rank) with orthonormal columns; a direction, one such column, may come as (d_model,).
Geiger et al. (2023), Finding Alignments Between Interpretable Causal Variables and Distributed Neural Representations;
Minder et al. (2024), Controllable Context Sensitivity and the Knob Behind It.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import progress
from workbench.errors import BadInput
from workbench.functional.checks import need_axes, need_finite, need_whole
from workbench.functional.comparison import average_ranks
from workbench.functional.precision import precise

TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""How far the products of a subspace's columns may be from orthonormal, by what rounds them; 1e-4 for all others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedSubspace:
    """A subspace found by descent, and the way there."""

    basis: Float[Tensor, "d_model rank"]
    """Orthonormal columns, those of the smallest loss on the way."""
    losses: Float[Tensor, "step"]
    """The loss before each step, and after the last."""


def coordinates(
    stream: Float[Tensor, "*batch d_model"], basis: Float[Tensor, "d_model *rank"]
) -> Float[Tensor, "*batch rank"]:
    """Where states stand along each column of a subspace: u . h, in units of the stream."""
    return precise(stream) @ _columns(basis, stream)


def interchange(
    target: Float[Tensor, "*batch d_model"],
    source: Float[Tensor, "*batch d_model"],
    basis: Float[Tensor, "d_model *rank"],
) -> Float[Tensor, "*batch d_model"]:
    """States that stand where `source` does inside a subspace, and where they stood before outside: h + U U'(s - h).

    With itself it is the identity, and with a basis of all of d_model it gives `source`.
    """
    columns = _columns(basis, target)
    here = precise(target)
    return here + (precise(source).to(here) - here) @ columns @ columns.mT


def steer(
    stream: Float[Tensor, "*batch d_model"],
    basis: Float[Tensor, "d_model *rank"],
    value: float | Float[Tensor, "*rank_or_batch"],
) -> Float[Tensor, "*batch d_model"]:
    """States set to `value` along a direction, unchanged across it: h + (value - u . h) u.

    `value` is one number, or as many as the subspace has columns (with batch axes before them if they differ), in units
    of the stream.
    """
    columns = _columns(basis, stream)
    here = precise(stream)
    wanted = torch.as_tensor(value, dtype=here.dtype, device=here.device)
    if not wanted.isfinite().all():
        raise BadInput("A direction is set to finite numbers: there is NaN or infinity in these.")
    if wanted.ndim and wanted.shape[-1] != columns.shape[-1]:
        raise BadInput(f"This subspace has {columns.shape[-1]} columns to set, not {wanted.shape[-1]}.")
    return here + (wanted - here @ columns) @ columns.mT


def difference_of_means(
    positive: Float[Tensor, "example d_model"], negative: Float[Tensor, "other d_model"]
) -> Float[Tensor, "d_model"]:
    """The direction from the mean of one group of states to that of another, of length one.

    It separates best where states scatter alike in all directions; where a nuisance goes with the groups, it follows
    that as well.
    """
    for states in (positive, negative):
        need_axes("States", states, "example d_model", batched=False)
        need_finite("states", states)
        if not len(states):
            raise BadInput("A difference of means needs states on both sides: one has none.")
    difference = precise(positive).mean(0) - precise(negative).mean(0)
    length = difference.norm()
    if not length:
        raise BadInput("The two groups of states have the same mean: there is no direction from one to the other.")
    return difference / length


def orthonormal(vectors: Float[Tensor, "d_model rank"]) -> Float[Tensor, "d_model rank"]:
    """Orthonormal columns that span the same space, the first along the first vector, and each on its vector's side."""
    need_axes("Vectors that span a space", vectors, "d_model rank", batched=False)
    need_finite("rows", vectors)
    exact = precise(vectors)
    d_model, rank = exact.shape
    sizes = torch.linalg.svdvals(exact.detach()) if exact.numel() else exact.new_zeros(1)
    if not rank or rank > d_model or sizes[-1] <= sizes[0] * max(d_model, rank) * torch.finfo(exact.dtype).eps:
        raise BadInput(f"{rank} vectors in {d_model} dimensions span no space of {rank}: leave out dependent ones.")
    columns, upper = torch.linalg.qr(exact)
    return columns * upper.diagonal().sign()


def random_directions(d_model: int, draws: int, seed: int) -> Float[Tensor, "draw d_model"]:
    """Directions drawn evenly over the sphere, each of length one: what any other should do better than."""
    need_whole("draws", draws)
    drawn = torch.randn(draws, d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn / drawn.norm(dim=-1, keepdim=True)).float()


def separation(
    positive: Float[Tensor, "*batch example"], negative: Float[Tensor, "*batch other"]
) -> Float[Tensor, "*batch"]:
    """How often a value of one group is larger than one of the other, ties a half: AUROC, 1/2 where nothing is told."""
    n, m = positive.shape[-1], negative.shape[-1]
    if not n or not m:
        raise BadInput(f"Two groups are told apart only where both have values: these have {n} and {m}.")
    values = torch.cat([precise(positive), precise(negative)], -1)
    if not values.isfinite().all():
        raise BadInput(f"{int((~values.isfinite()).sum())} of the values to tell apart are not finite: leave them out.")
    return (average_ranks(values)[..., :n].sum(-1) - n * (n + 1) / 2) / (n * m)


def learned_subspace(
    loss: Callable[[Tensor], Tensor],
    d_model: int,
    *,
    rank: int = 1,
    steps: int = 100,
    lr: float = 0.05,
    seed: int = 0,
    start: Float[Tensor, "d_model rank"] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LearnedSubspace:
    """The subspace at which a loss is small, by Adam (distributed alignment search where it exchanges it between runs).

    `loss` takes orthonormal columns (d_model, rank) and gives a number with its gradient: they stay orthonormal at
    every step, being what QR makes of free vectors. These begin at `start`, or at random by `seed`. One forward and
    backward pass of `loss` a step.
    """
    for name, number in (("d_model", d_model), ("rank", rank), ("steps", steps)):
        need_whole(name, number)
    if not 1 <= rank <= d_model:
        raise BadInput(f"A subspace of {d_model} dimensions has a rank from 1 to {d_model}, not {rank}.")
    if start is None:
        start = torch.randn(d_model, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.enable_grad():
        free = orthonormal(start.to(device=device, dtype=dtype)).clone().requires_grad_()
        descent = torch.optim.Adam([free], lr=lr)
        losses: list[Tensor] = []
        best = free.detach().clone()
        for step in progress.track(range(steps + 1), label="direction"):
            columns, upper = torch.linalg.qr(free)
            columns = columns * upper.diagonal().sign().detach()
            now = loss(columns)
            if not now.isfinite():
                raise BadInput(f"The loss is {now.item()} after {step} steps: take a smaller lr than {lr:g}.")
            if not losses or now.detach() < torch.stack(losses).min():
                best = columns.detach().clone()
            losses.append(now.detach())
            if step < steps:
                (free.grad,) = torch.autograd.grad(now, free)
                descent.step()
    return LearnedSubspace(basis=best, losses=torch.stack(losses))


def _columns(basis: Tensor, like: Tensor) -> Float[Tensor, "d_model rank"]:
    """The basis as a matrix beside `like`, or a sentence where its columns are not orthonormal."""
    columns = basis[:, None] if basis.ndim == 1 else basis
    need_axes("The columns of a subspace", columns, "d_model rank", batched=False)
    if like.ndim < 1 or like.shape[-1] != len(columns):
        raise BadInput(f"The subspace is of {len(columns)} dimensions; states here are of shape {tuple(like.shape)}.")
    allowed = TOLERANCE.get(columns.dtype, 1e-4)
    columns = precise(columns).to(device=like.device, dtype=precise(like).dtype)
    gram = columns.detach().mT @ columns.detach()
    off = (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).abs()
    if not columns.shape[1] or not off.max() <= allowed:  # NaN is not
        raise BadInput(
            "The columns of a subspace are orthonormal, and these are not: bring them there with "
            "workbench.functional.orthonormal(vectors)."
        )
    return columns
