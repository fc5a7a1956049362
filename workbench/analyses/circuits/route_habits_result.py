"""What the routes of many predictions have in common, and what belongs to one kind of prediction."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from workbench import plots
from workbench.analyses.circuits.route_frames import plural
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

ALWAYS = 0.9
"""Share of predictions from which on a part counts as always on the route."""
SURE = 0.05
"""p up to which a part counts as one of a group's own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RouteHabits(Result, kind="routes-corpus"):
    """How often and how much each head and MLP is on the route of a prediction, and for which kind of prediction.

    Parts are all heads, layer by layer, then all MLPs. A part's contribution to a prediction is the most it contributes
    to one sum on its route (a head with all that it looks at there), 0 where it is not on it.
    """

    kept: Float[Tensor, "part"]
    """Share of predictions on whose route it is."""
    contribution: Float[Tensor, "part"]
    """Mean over all predictions."""
    n_layers: int
    n_heads: int
    threshold: float
    norm: str
    by: str
    groups: tuple[str, ...]
    """Kinds of predictions that are compared; empty where none are."""
    group_counts: Int[Tensor, "group"]
    """Predictions of each."""
    group_contribution: Float[Tensor, "group part"]
    difference: Float[Tensor, "group part"]
    """Mean contribution in a group less that in all others."""
    score: Float[Tensor, "group part"]
    """The difference in standard deviations of those of random groups."""
    p: Float[Tensor, "group part"]
    """How often random groups have any part that scores as far from 0: corrected for all parts and groups."""
    edges: Int[Tensor, "prediction"]
    """Edges on each route, heads summed."""
    n_inputs: int
    n_predictions: int
    n_apart: int
    """Predictions in no group: of unknown kind, or of one with too few."""
    notes: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts: a3.h5, m3."""
        heads = [f"a{layer}.h{head}" for layer in range(self.n_layers) for head in range(self.n_heads)]
        mlps = [f"m{layer}" for layer in range(len(self.kept) // self.n_layers - self.n_heads and self.n_layers)]
        return (*heads, *mlps)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each head and MLP: share of predictions on whose route it is, and its mean contribution."""
        import pandas as pd

        n = self.n_layers * self.n_heads
        layer = [i // self.n_heads if i < n else i - n for i in range(len(self.kept))]
        return pd.DataFrame(
            {
                "part": self.parts,
                "kind": ["head" if i < n else "mlp" for i in range(len(self.kept))],
                "layer": layer,
                "head": [i % self.n_heads if i < n else -1 for i in range(len(self.kept))],
                "kept": self.kept.numpy(),
                "contribution": self.contribution.numpy(),
                "predictions": self.n_predictions,
            }
        )

    def groups_frame(self) -> "pd.DataFrame":
        """One row for each group and part; empty where no groups are compared."""
        import pandas as pd

        group = [name for name in self.groups for _ in self.parts]
        numbers = {name: getattr(self, name).flatten().numpy() for name in ("difference", "score", "p")}
        return pd.DataFrame(
            {
                "group": group,
                "part": self.parts * len(self.groups),
                "predictions": self.group_counts.repeat_interleave(len(self.parts)).numpy(),
                "contribution": self.group_contribution.flatten().numpy(),
                **numbers,
            }
        )

    def specialised_frame(self) -> "pd.DataFrame":
        """The parts that contribute more or less in one group than random groups ever do, the surest first."""
        frame = self.groups_frame().query(f"p <= {SURE}")
        return frame.sort_values("score", key=abs, ascending=False, kind="stable", ignore_index=True)

    def figure(self) -> "go.Figure":
        """The share of predictions on whose route each head and MLP is."""
        frame = self.to_frame()
        frame["column"] = [str(head) if head >= 0 else "MLP" for head in frame["head"]]
        return plots.heatmap(
            frame,
            x="column",
            y="layer",
            value="kept",
            hover=["part", "contribution"],
            limits=(0.0, 1.0),
            title=f"on the route of what share of {plural(self.n_predictions, 'prediction')}",
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What is always on the route, what belongs to a group, and all parts, those most often kept first."""
        frame = self.to_frame().sort_values(["kept", "contribution"], ascending=False, kind="stable", ignore_index=True)
        always = frame.query(f"kept >= {ALWAYS}")["part"].tolist()
        shown = f"{', '.join(always[:12])}{' ...' if len(always) > 12 else ''}" if always else "none"
        mean = f"{self.edges.float().mean():.0f}"
        lines = [
            f"{plural(self.n_predictions, 'prediction')} of {plural(self.n_inputs, 'input')},"
            f" {mean} {'edge' if mean == '1' else 'edges'} each above {self.threshold:g}."
            f" On at least {ALWAYS:.0%} of routes: {shown}."
        ]
        if self.groups:
            own = self.specialised_frame()
            counts = ", ".join(f"{g} {n}" for g, n in zip(self.groups, self.group_counts.tolist(), strict=True))
            differ = f"{plural(len(own), 'part')} of a group {'differs' if len(own) == 1 else 'differ'} from the rest"
            lines.append(f"By {self.by}: {counts}; {differ} (p <= {SURE:g}).")
            columns = own.head(8)[["group", "part", "difference", "p"]].itertuples(index=False, name=None)
            lines += [f"{group}: {part} {difference:+.3f} (p {p:.3f})" for group, part, difference, p in columns]
        return "  \n".join((*lines, *self.notes)), frame
