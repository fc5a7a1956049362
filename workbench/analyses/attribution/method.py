"""What a method of attribution is: its declaration, and the scores that it gives."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from workbench.analyses.attribution.evidence import Wanted
from workbench.models.lens_model import LensModel


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """How much each token counts, after each step for methods that are cumulative."""

    values: Float[Tensor, "step node"]
    steps: tuple[str, ...] = ("all",)
    """What each row is after; one row ("all") where the method has no steps."""
    explained: str = ""
    """What the values are of, where it is not the target itself."""
    maps: Float[Tensor, "step node node"] | None = None
    """The same for every position: (step, explained, source), where the method gives it."""
    note: str = ""
    """What this run has to say for itself: what stood in for the tokens, how exact a sum is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Method:
    """One method: a declaration that the analyses, the table of methods and the page all read."""

    name: str
    """As users type it: "rollout"."""
    title: str
    function: Callable[..., Scores]
    """(Evidence, **options) -> Scores; every option has a default."""
    wants: Callable[[LensModel], Wanted] = field(default=lambda _: Wanted())
    needs: frozenset[str] = frozenset({"pattern"})
    """Capabilities of the model."""
    signed: bool = False
    """Whether a negative score says that the token speaks against the answer."""
    cost: Literal["one forward", "one forward and one backward", "several passes", "one forward a token"] = (
        "one forward"
    )
    note: str = ""
    """Where it misleads, in one sentence."""
    analysis: str = ""
    """Name of the analysis that runs it alone, with all its options."""

    def missing(self, model: LensModel) -> frozenset[str]:
        """What it needs that `model` lacks."""
        return self.needs - model.capabilities
