"""Slopes: the target's gradient where the vectors that enter the model are not those of the prompt."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import progress
from workbench.analyses.attribution.evidence import Evidence, Wanted, input_sites
from workbench.analyses.attribution.perturb import repeated, rows_at_once
from workbench.analyses.attribution.places import Side, sides
from workbench.analyses.attribution.target import answers_of
from workbench.functional.precision import precise
from workbench.hooks import Edit, editing
from workbench.models.lens_model import LensModel


def entering(model: LensModel) -> Wanted:
    """What to gather so that `inputs_of` has it, without a backward pass."""
    return Wanted(sites=input_sites(model))


def inputs_of(evidence: Evidence) -> Float[Tensor, "node d_embed"]:
    """The vectors that stand for the tokens where they enter."""
    return torch.cat([precise(evidence.values[side.entry]) for side in sides(evidence)])


def slopes(
    evidence: Evidence, points: Float[Tensor, "point node d_embed"]
) -> tuple[Float[Tensor, "point"], Float[Tensor, "point node d_embed"]]:
    """The target's value and its gradient at each point: one forward and one backward pass a point, in batches."""
    scores, gradients = [], []
    for some in progress.track(points.split(rows_at_once(evidence, graph=True)), label="gradients"):
        with torch.enable_grad():
            given = some.detach().clone().requires_grad_()
            edits = {side.entry: _entering(side, given) for side in sides(evidence)}
            batch = {name: repeated(value, len(given)) for name, value in evidence.batch.items()}
            with editing(evidence.model, edits):
                score = evidence.target.of(answers_of(evidence.model.module(**batch)))
            (gradient,) = torch.autograd.grad(score.sum(), given)
        scores.append(score.detach())
        gradients.append(gradient)
    return torch.cat(scores), torch.cat(gradients)


def _entering(side: Side, given: Tensor) -> Edit:
    def enter(value: Tensor) -> Tensor:
        return value.index_copy(1, side.index, given[:, side.nodes].to(value))

    return enter
