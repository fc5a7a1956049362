"""The table of agreements over prompts: methods and layers by rank correlations, with intervals and controls."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.errors import UnknownName
from workbench.functional.bootstrap import Interval
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class AttributionAgreement(Result, kind="attribution-agreement"):
    """Rank correlations between scores and causal effects over prompts."""

    models: tuple[str, ...]
    """trained, and where it was asked for untrained."""
    prompts: tuple[str, ...]
    explained: tuple[str, ...]
    """What was explained of each prompt, by the trained model."""
    compared: tuple[int, ...]
    """Tokens (or words) compared in each prompt."""
    methods: tuple[str, ...]
    """The last is the random order."""
    titles: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    """(method, why it did not run), for all prompts or one of them."""
    line_methods: tuple[str, ...]
    """The method of each line."""
    line_steps: tuple[str, ...]
    """What each line is after: a layer, or "all"."""
    measures: tuple[str, ...]
    check: str
    """How tokens were taken away."""
    correlations: Float[Tensor, "model line measure prompt"]
    """From -1 to 1; NaN where undefined."""
    mean: Float[Tensor, "model line measure"]
    """Over the prompts where it is defined."""
    low: Float[Tensor, "model line measure"]
    """Lower end of the bootstrap interval of the mean; NaN with fewer than two prompts."""
    high: Float[Tensor, "model line measure"]
    count: Int[Tensor, "model line measure"]
    """Prompts in the mean."""
    undefined: Int[Tensor, "model line measure"]
    """Prompts left out because the correlation is undefined."""
    level: float
    seed: int
    note: str

    def line(self, method: str, step: str | None = None) -> int:
        """The number of a line: of a method after a step, by default its last."""
        found = [
            i
            for i, (name, after) in enumerate(zip(self.line_methods, self.line_steps, strict=True))
            if name == method and step in (None, after)
        ]
        if not found:
            known = {f"{name} {after}" for name, after in zip(self.line_methods, self.line_steps, strict=True)}
            raise UnknownName("line", f"{method} {step or ''}".strip(), known)
        return found[-1]

    def difference(
        self, method: str, other: str, *, step: str | None = None, other_step: str | None = None,
        measure: str = "spearman", model: str = "trained",
    ) -> Interval:  # fmt: skip
        """How much better one method agrees than another on the same prompts, with its interval: pairs are drawn."""
        if measure not in self.measures:
            raise UnknownName("measure", measure, self.measures)
        if model not in self.models:
            raise UnknownName("arm", model, self.models)
        table = self.correlations[self.models.index(model), :, self.measures.index(measure)]  # (line, prompt)
        a, b = table[self.line(method, step)], table[self.line(other, other_step)]
        return functional.bootstrap_difference(a, b, level=self.level, seed=self.seed)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each model, method, step and correlation. Signed ones only of methods that have a sign.

        `prompts` are those in the mean, `undefined` those left out, `spread` those an interval could be drawn from.
        """
        import pandas as pd

        rows = []
        for m, arm in enumerate(self.models):
            for i, (method, step) in enumerate(zip(self.line_methods, self.line_steps, strict=True)):
                for j, measure in enumerate(self.measures):
                    numbers = (self.mean[m, i, j].item(), self.low[m, i, j].item(), self.high[m, i, j].item())
                    count, undefined = int(self.count[m, i, j]), int(self.undefined[m, i, j])
                    if measure.startswith("signed") and not self._has_sign(method):
                        continue
                    spread = count if count > 1 else 0
                    rows.append((arm, method, step, measure, *numbers, count, undefined, spread))
        columns = ["model", "method", "step", "measure", "mean", "low", "high", "prompts", "undefined", "spread"]
        return pd.DataFrame(rows, columns=columns)

    def _has_sign(self, method: str) -> bool:
        lines = [i for i, name in enumerate(self.line_methods) if name == method]
        signed = [j for j, measure in enumerate(self.measures) if measure.startswith("signed")]
        return bool(self.count[:, lines][:, :, signed].any())

    def figure(self) -> "go.Figure":
        """Mean Spearman correlation after each layer, a line for each method; single scores stand at "all"."""
        frame = self.to_frame().query("measure == 'spearman'")
        titles = dict(zip(self.methods, self.titles, strict=True))
        names = [
            titles[name] + ("" if arm == "trained" else f" ({arm})")
            for name, arm in zip(frame["method"], frame["model"], strict=True)
        ]
        shown = frame.assign(method=names).rename(columns={"mean": "agreement with the causal check"})
        return plots.lines(shown, x="step", y="agreement with the causal check", color="method")
