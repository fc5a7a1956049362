"""What a model answers without some waves in what its parts write, beside random filters that take out as much."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import plots
from workbench.analyses.fourier.filter_conditions import FILTER, NONE, RANDOM_BAND, RANDOM_SUBSPACE
from workbench.plots.small_multiples import Mark
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MEASURES = (
    "accuracy", "vocab_accuracy", "loss", "vocab_loss", "total_variation", "changed", "errors", "near", "mean_error",
)  # fmt: skip
"""Columns of a number each, beside one for each step."""
_UNBOUNDED = ("loss", "vocab_loss", "errors", "mean_error")  # all others are shares


@dataclass(frozen=True, eq=False, kw_only=True)
class FourierFilter(Result, kind="fourier-filter"):
    """Answers among a variable's values, for each place that was filtered and each filter.

    A place is a group of parts, in all chosen layers together or in one. Filters are the same at all places.
    """

    variable: str
    task: str
    said: tuple[str, ...]
    """What was left out and which frequencies the bands have, in sentences."""
    labels: tuple[str, ...]
    values: tuple[float, ...]
    n_examples: int
    left_out: int
    """Examples whose answer is no value of the variable."""
    everywhere: bool
    """Whether all positions are filtered; otherwise where the answer is read."""
    parts: tuple[str, ...]
    """Of each place: attn_out, mlp_out or both."""
    layers: Int[Tensor, "place"]
    """-1: all of `layers_filtered` together."""
    layers_filtered: tuple[int, ...]
    bands: tuple[str, ...]
    """Of each condition, what is removed, in words; a control bears the name of the band it is held against."""
    filters: tuple[str, ...]
    """Of each condition: none, filter, random band, random subspace."""
    draws: Int[Tensor, "condition"]
    """Which random one it is; -1 for those that are not random."""
    frequencies: tuple[tuple[int, ...], ...]
    """Of each condition, those removed."""
    ranks: Int[Tensor, "condition"]
    """Dimensions taken out of what is written."""
    d_model: int
    accuracy: Float[Tensor, "place condition"]
    """Share of examples whose right value is first among the values."""
    vocab_accuracy: Float[Tensor, "place condition"]
    """Share of examples whose right value is first in the whole vocabulary."""
    loss: Float[Tensor, "place condition"]
    """Mean negative log probability of the right value among the values, in nats."""
    vocab_loss: Float[Tensor, "place condition"]
    """The same in the whole vocabulary."""
    total_variation: Float[Tensor, "place condition"]
    """Mean over examples of how far the probabilities among the values moved: half the sum of differences, 0 to 1."""
    changed: Float[Tensor, "place condition"]
    """Share of examples whose first value is another than without a filter."""
    errors: Int[Tensor, "place condition"]
    """Examples whose first value is wrong: what the next three are of; NaN where there are none."""
    multiples: Float[Tensor, "place condition step"]
    """Share of the errors that are a multiple of each step."""
    near: Float[Tensor, "place condition"]
    """Share of the errors whose size is below `near_bound`."""
    mean_error: Float[Tensor, "place condition"]
    """Mean size of the errors, in units of the values."""
    steps: tuple[float, ...]
    near_bound: float
    predicted: Int[Tensor, "place condition example"]
    """The value that is first, counted from 0."""
    right: Int[Tensor, "example"]
    prompts: tuple[str, ...]
    """Of the first few examples."""

    @property
    def step_names(self) -> tuple[str, ...]:
        """The column of each step."""
        return tuple(f"multiples_of_{step:g}" for step in self.steps)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each place and condition; shares of no errors are NaN, and `errors` is 0 there."""
        import pandas as pd

        n_places, n_conditions = self.accuracy.shape
        columns: dict[str, list[Any]] = {
            "part": [part for part in self.parts for _ in range(n_conditions)],
            "layer": self.layers.repeat_interleave(n_conditions).tolist(),
            "band": [*self.bands] * n_places,
            "filter": [*self.filters] * n_places,
            "draw": self.draws.tolist() * n_places,
            "rank": self.ranks.tolist() * n_places,
            "left": (self.d_model - self.ranks).tolist() * n_places,
            "examples": [self.n_examples] * (n_places * n_conditions),
        }
        columns |= {name: getattr(self, name).flatten().tolist() for name in MEASURES}
        shares = zip(self.step_names, self.multiples.flatten(0, 1).unbind(-1), strict=True)
        return pd.DataFrame(columns | {name: share.tolist() for name, share in shares})

    def conditions_frame(self) -> "pd.DataFrame":
        """One row for each condition and frequency it removes; random subspaces remove none by name."""
        import pandas as pd

        rows = [
            {"band": band, "filter": kind, "draw": draw, "frequency": k, "period": len(self.labels) * self._spacing / k}
            for band, kind, draw, some in zip(
                self.bands, self.filters, self.draws.tolist(), self.frequencies, strict=True
            )
            for k in some
        ]
        return pd.DataFrame(rows, columns=["band", "filter", "draw", "frequency", "period"])

    def summary_frame(self, measure: str = "accuracy") -> "pd.DataFrame":
        """One row for each place and band: a measure without and with the filter, and the mean and range of controls.

        Where there are no controls their columns are NaN, and `draws` is 0.
        """
        import pandas as pd

        values = getattr(self, measure).double()
        filters = [i for i, kind in enumerate(self.filters) if kind == FILTER]
        rows = []
        for place, (part, layer) in enumerate(zip(self.parts, self.layers.tolist(), strict=True)):
            for i in filters:
                controls = {
                    kind: values[place, self._of(self.bands[i], kind)] for kind in (RANDOM_BAND, RANDOM_SUBSPACE)
                }
                row = {
                    "part": part,
                    "layer": layer,
                    "band": self.bands[i],
                    "rank": int(self.ranks[i]),
                    "without": values[place, 0].item(),
                    "filtered": values[place, i].item(),
                }
                for kind, some in controls.items():
                    name, there = kind.replace(" ", "_"), len(some) > 0
                    row[name] = some.mean().item()
                    row[f"{name}_low"] = some.min().item() if there else float("nan")
                    row[f"{name}_high"] = some.max().item() if there else float("nan")
                rows.append({**row, "draws": len(controls[RANDOM_BAND])})
        return pd.DataFrame(rows)

    def changes_frame(self) -> "pd.DataFrame":
        """One row for each of the first examples, place and filter that is not random: the answer before and after."""
        import pandas as pd

        rows = []
        for example, prompt in enumerate(self.prompts):
            for place, (part, layer) in enumerate(zip(self.parts, self.layers.tolist(), strict=True)):
                for i in (i for i, kind in enumerate(self.filters) if kind == FILTER):
                    before, after = (int(self.predicted[place, at, example]) for at in (0, i))
                    rows.append(
                        {
                            "example": example,
                            "prompt": prompt,
                            "right": self.labels[int(self.right[example])],
                            "part": part,
                            "layer": layer,
                            "band": self.bands[i],
                            "before": self.labels[before],
                            "after": self.labels[after],
                            "changed": before != after,
                        }
                    )
        names = ["example", "prompt", "right", "part", "layer", "band", "before", "after", "changed"]
        return pd.DataFrame(rows, columns=names)

    def figure(self, *, measure: str = "accuracy") -> "go.Figure":
        """A measure by what is removed, a panel for each part, random controls as points.

        Where each layer is filtered by itself, over the layers, with random bands alone.
        """
        frame = self.to_frame()
        title = f"{self.task}, {self.variable}: {measure.replace('_', ' ')}"
        limits = None if measure in _UNBOUNDED else (0.0, 1.04)
        if (self.layers < 0).all():
            frame = frame.rename(columns={"band": "removed"})
            names = {NONE: "no filter", FILTER: "the band"}
            frame["filter"] = [names.get(kind, kind) for kind in frame["filter"]]
            frame["removed"] = [band if band != NONE else "nothing" for band in frame["removed"]]
            marks: dict[str, Mark] = {
                name: "points" if "random" in name else "bar" for name in frame["filter"].unique()
            }
            return plots.small_multiples(
                frame, panel="part", x="removed", y=measure, color="filter", marks=marks, title=title, limits=limits
            )
        frame = frame[frame["filter"] != RANDOM_SUBSPACE]
        frame = frame.assign(
            removed=[
                "nothing" if kind == NONE else band if kind == FILTER else f"random band for {band}"
                for band, kind in zip(frame["band"], frame["filter"], strict=True)
            ]
        )
        marks = {name: "points" if name.startswith("random band for") else "line" for name in frame["removed"].unique()}
        return plots.small_multiples(
            frame, panel="part", x="layer", y=measure, color="removed", marks=marks, title=title, limits=limits
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How well the model does without a filter, what was left out, and accuracy by place and band."""
        text = (
            f"{self.task}: accuracy {self.accuracy[0, 0]:.2f} among {len(self.labels)} values of {self.variable} (the"
            f" right one first) over {self.n_examples} example{'s' * (self.n_examples != 1)},"
            f" {self.vocab_accuracy[0, 0]:.2f} in the whole vocabulary."
        )
        return " ".join([text, *self.said]), self.summary_frame()

    def _of(self, band: str, kind: str) -> list[int]:
        pairs = enumerate(zip(self.bands, self.filters, strict=True))
        return [i for i, (of, what) in pairs if (of, what) == (band, kind)]

    @property
    def _spacing(self) -> float:
        return self.values[1] - self.values[0]


def stacked(rows: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
    """Name -> the numbers of each place and condition, from a table of them."""
    names = rows[0][0]
    return {name: torch.stack([torch.stack([cell[name] for cell in row]) for row in rows]) for name in names}
