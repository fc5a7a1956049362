"""What `workbench.capture` keeps in memory, and how much it will take."""

from workbench.activations.estimating import Estimate as Estimate, estimate as estimate
from workbench.activations.memory import Activations as Activations

__all__ = ["Activations", "Estimate", "estimate"]
