"""What the paths of a model's attention were found to add to one number, by their length."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

EMBEDDING, BIASES = "embedding", "biases"


@dataclass(frozen=True, eq=False, kw_only=True)
class PathDecomposition(Result, kind="path-decomposition"):
    """One number at one position as a sum over paths, by where they begin and how many heads they go through."""

    explained: str
    """What is split up: "logit of ' Paris' at position 4"."""
    score: float
    """That number, as the model gave it."""
    contributions: Float[Tensor, "source length"]
    """What all paths from a source that go through so many heads add together, in double precision."""
    sources: tuple[str, ...]
    """embedding (the stream that enters the first block), the site of each MLP's output, biases."""
    rounding: float
    """What the sum of all contributions lacks of the number."""
    values: Float[Tensor, "path"]
    """What single paths from the embedding add."""
    paths: Int[Tensor, "path layer"]
    """What they go through in each layer: 0 past the heads, h + 1 head h."""
    exact: bool
    """Whether these are all paths; else so many of each length were drawn. The one asked for comes first."""
    asked: str
    """The path that was asked for, "" where none was."""
    n_heads: int
    tokens: tuple[str, ...]
    position: int
    note: str

    @property
    def n_layers(self) -> int:
        """How many layers a path passes."""
        return self.contributions.shape[1] - 1

    def to_frame(self) -> "pd.DataFrame":
        """One row for each source and length, then the rounding (length -1); `value` adds up to the number.

        `paths` is how many paths from the embedding have that length.
        """
        import pandas as pd

        lengths = range(self.n_layers + 1)
        counts = [float(count) for count in functional.path_counts(self.n_layers, self.n_heads)]
        rows = [
            (source, length, counts[length], value)
            for source, values in zip(self.sources, self.contributions.tolist(), strict=True)
            for length, value in zip(lengths, values, strict=True)
        ]
        return pd.DataFrame(
            [*rows, ("rounding", -1, 0.0, self.rounding)], columns=["source", "length", "paths", "value"]
        )

    def lengths_frame(self) -> "pd.DataFrame":
        """One row for each length and kind of source (embedding, MLPs, biases), with the sum up to that length."""
        import pandas as pd

        kinds = [source if source in (EMBEDDING, BIASES) else "MLPs" for source in self.sources]
        frames = []
        for kind in dict.fromkeys(kinds):
            of_kind = torch.tensor([one == kind for one in kinds])
            value = self.contributions[of_kind].sum(0)
            columns = {"value": value.numpy(), "sum": value.cumsum(0).numpy()}
            frames.append(pd.DataFrame({"from": kind, "length": range(self.n_layers + 1), **columns}))
        return pd.concat(frames, ignore_index=True)

    def paths_frame(self) -> "pd.DataFrame":
        """One row for each single path, the largest first."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "path": [path_text(path) for path in self.paths.tolist()],
                "length": (self.paths > 0).sum(-1).numpy(),
                "value": self.values.numpy(),
            }
        )
        order = self.values.abs().argsort(descending=True, stable=True).tolist()
        return frame.iloc[order].reset_index(drop=True)

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What paths of each length add, of every kind of source."""
        table = self.lengths_frame().pivot(index="length", columns="from", values="value").reset_index()
        table.columns.name = None
        table["together"] = self.contributions.sum(0).numpy()
        said = f"{self.explained}: {self.score:.4g}. The sum over all paths lacks {self.rounding:.1e} of it."
        return "\n".join(filter(None, [self.note, said])), table

    def figure(self) -> "go.Figure":
        """What paths of each length add, a bar for each kind of source."""
        title = f"{self.explained}: {self.score:.4g}"
        figure = plots.bars(self.lengths_frame(), x="length", y="value", color="from", title=title)
        return figure.update_xaxes(title="heads passed")


def path_text(path: list[int]) -> str:
    """A path as the heads it goes through, "0.3 > 5.1"; "past all heads" for the one of length 0."""
    heads = [f"{layer}.{through - 1}" for layer, through in enumerate(path) if through]
    return " > ".join(heads) or "past all heads"
