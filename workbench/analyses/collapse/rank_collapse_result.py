"""What rank collapse found: how alike states become at each depth, in the network and without its parts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from workbench import plots
from workbench.analyses.collapse.variants import MEASURES
from workbench.errors import UnknownName
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

LOGARITHMIC = ("relative residual", "residual")
ROUNDING = "rounding"


@dataclass(frozen=True, eq=False, kw_only=True)
class RankCollapse(Result, kind="rank-collapse"):
    """How far states are from all being one vector, at each depth of a network and of what is left of it."""

    values: Float[Tensor, "text run measure depth"]
    """Depth 0 is what enters the first block. NaN where undefined."""
    floor: Float[Tensor, "text run depth"]
    """About the relative residual that rounding alone gives: below it a curve says nothing."""
    variants: tuple[str, ...]
    """Of each run: full, no skip, no MLP or attention alone."""
    attentions: tuple[str, ...]
    """Of each run: recomputed from the states that there are then, or frozen as in the full network."""
    measures: tuple[str, ...]
    """relative residual and residual (in the norm asked for), effective rank (of squared singular values), mean cosine
    of two positions, attention entropy (nats, mean over heads and queries)."""
    norm: str
    minimiser: str
    positions: tuple[int, ...]
    """How many positions of each text count."""
    notes: tuple[str, ...]
    """Whether norms were applied, what the model lacks, how it was computed."""

    @property
    def runs(self) -> tuple[str, ...]:
        """One name a run, such as "no skip, frozen"."""
        return tuple(map(run_name, self.variants, self.attentions))

    def curve(self, variant: str, attention: str = "recomputed", measure: str = MEASURES[0]) -> Tensor:
        """One measure of one run: (text, depth)."""
        for name, known in ((variant, self.variants), (attention, self.attentions), (measure, self.measures)):
            if name not in known:
                raise UnknownName("curve", name, set(known))
        attention = "recomputed" if variant == "full" else attention
        run = list(zip(self.variants, self.attentions, strict=True)).index((variant, attention))
        return self.values[:, run, self.measures.index(measure)]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each number: median and quartiles over texts, and over how many (0 where it is undefined)."""
        import pandas as pd

        texts = self.values.isfinite().sum(0)
        middle = self.values.new_tensor([0.25, 0.5, 0.75])
        low, value, high = self.values.nanquantile(middle, dim=0)
        names = {"run": self.runs, "measure": self.measures, "depth": range(self.values.shape[-1])}
        frame = pd.MultiIndex.from_product(list(names.values()), names=list(names)).to_frame(index=False)
        each = len(self.measures) * self.values.shape[-1]
        columns = {"value": value, "low": low, "high": high, "texts": texts}
        frame = frame.assign(
            variant=[name for name in self.variants for _ in range(each)],
            attention=[name for name in self.attentions for _ in range(each)],
            **{name: values.flatten().numpy() for name, values in columns.items()},
        )
        return frame.loc[:, ["variant", "attention", "run", "measure", "depth", *columns]]

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The relative residual at the first depths, in the middle and at the end of each run."""
        import pandas as pd

        frame = self.to_frame()
        last = self.values.shape[-1] - 1
        depths = sorted({0, 1, 2, last // 2, last} & set(range(last + 1)))
        mine = frame[(frame["measure"] == self.measures[0])]
        columns = {f"depth {depth}": mine.loc[mine["depth"] == depth, "value"].tolist() for depth in depths}
        return "\n".join(self.notes), pd.DataFrame({"run": self.runs, **columns})

    def figure(self, measure: str = MEASURES[0], attention: str = "recomputed") -> "go.Figure":
        """One measure against depth, a line for each variant; residuals on a logarithmic axis that ends at rounding."""
        if measure not in self.measures:
            raise UnknownName("measure", measure, set(self.measures))
        if attention not in self.attentions:
            raise UnknownName("attention", attention, set(self.attentions))
        return curves_figure(self, measure, (attention,))


def curves_figure(found: RankCollapse, measure: str, attentions: tuple[str, ...]) -> "go.Figure":
    """One measure of the full network and of each variant with these attentions."""
    frame = found.to_frame()
    shown = (frame["variant"] == "full") | frame["attention"].isin(attentions)
    frame = frame.loc[(frame["measure"] == measure) & shown & (frame["texts"] > 0)]
    log = measure in LOGARITHMIC
    floor = found.floor.amax((0, 1))
    if measure == MEASURES[0]:
        least = float(floor.min()) / 4  # what is 0 has no place on a logarithmic axis
        frame = frame.assign(value=[max(value, least) for value in frame["value"]])
    title, many = f"{measure[0].upper()}{measure[1:]}", len(found.positions)
    figure = plots.lines(
        frame.assign(**{measure: frame["value"]}),
        x="depth",
        y=measure,
        color="run" if len(attentions) > 1 else "variant",
        title=f"{title}, median of {many} texts" if many > 1 else title,
    )
    if measure == MEASURES[0]:
        figure.add_scatter(
            x=list(range(len(floor))),
            y=floor.tolist(),
            mode="lines",
            name=ROUNDING,
            line={"dash": "dot", "color": "grey", "width": 1.5},
            hovertemplate="below %{y:.1e}: rounding",
        )
    figure.update_xaxes(title="blocks passed", rangemode="tozero")
    return figure.update_yaxes(type="log", exponentformat="power") if log else figure


def run_name(variant: str, attention: str) -> str:
    """The name of a run: the full network has only its own attention."""
    return variant if variant == "full" else f"{variant}, {attention}"
