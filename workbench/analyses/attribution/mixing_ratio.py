"""Mixing ratio: how much of what each position becomes in a layer comes from other positions, and how much it keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.attribution.evidence import gather
from workbench.analyses.attribution.mixing_steps import mixing_steps, wanted, wanted_norms
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class MixingRatio(Result, kind="mixing-ratio"):
    """The share of other positions in each position, layer by layer."""

    ratios: Float[Tensor, "step node"]
    """0 nothing from others, 1 all. In encoder-decoders a step of one side leaves the other side's tokens at 0."""
    steps: tuple[str, ...]
    tokens: tuple[str, ...]
    sides: tuple[str, ...]
    """Where each token is read: input, or target (what an encoder-decoder has written)."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each step and token."""
        import numpy as np
        import pandas as pd

        step, node = (index.reshape(-1) for index in np.indices(self.ratios.shape))
        return pd.DataFrame(
            {
                "step": np.array(self.steps, dtype=object)[step],
                "pos": node,
                "token": np.array(self.tokens, dtype=object)[node],
                "side": np.array(self.sides, dtype=object)[node],
                "ratio": self.ratios.flatten().numpy(),
            }
        )

    def figure(self) -> "go.Figure":
        """Steps by tokens."""
        return plots.heatmap(self.to_frame(), x="pos", y="step", value="ratio", x_labels="token")


@analysis("mixing-ratio", needs={"pattern", "resid", "norms"}, title="Mixing ratio")
@torch.no_grad()
def mixing_ratio(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    norm: Annotated[bool, "After the norm that follows attention, at its true scale; else of the sum itself"] = False,
) -> MixingRatio:
    """How much of each position comes from others in each layer: 0 all its own, 1 all from others.

    The length of what all other positions bring together through attention, over that plus the length of what the
    position has itself: its stream, and what it attends to of itself. Kobayashi et al. (2021), "Incorporating Residual
    and Normalization Layers into Analysis of Masked Language Models".
    """
    evidence = gather(model, prompt, wanted_norms(model) if norm else wanted(model))
    ratios = []
    for step in mixing_steps(evidence):
        found = functional.mixing_ratio(*step.mixed, step.after_attention if norm else (), cross=step.cross)
        line = found.new_zeros(len(evidence.tokens))
        line[[side == step.stack.side for side in evidence.sides]] = found
        ratios.append(line)
    return MixingRatio(
        ratios=torch.stack(ratios).cpu(), steps=evidence.steps, tokens=evidence.tokens, sides=evidence.sides
    )
