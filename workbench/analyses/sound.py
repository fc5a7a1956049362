"""Numbers that a model computed, refused where they are not numbers: what is said of NaN would only look true."""

from torch import Tensor

from workbench.errors import BadWeights
from workbench.models.lens_model import LensModel


def need_finite_values(model: LensModel, site: str, values: Tensor) -> None:
    """Refuse values that hold NaN or infinity; give those of real positions, and no scores that are masked."""
    if not values.isfinite().all():
        _refuse(model, site)


def need_sound_logits(model: LensModel, logits: Tensor) -> None:
    """Refuse logits (*any, vocab) without probabilities; a single one of minus infinity is a probability of 0."""
    if not logits.logsumexp(-1).isfinite().all():
        _refuse(model, "logits")


def _refuse(model: LensModel, site: str) -> None:
    raise BadWeights(
        f"{model.name} computes numbers that are not finite at {site}: nothing that is said of them would mean"
        " anything. `workbench check` names the weights that hold NaN or infinity, if any do."
    )
