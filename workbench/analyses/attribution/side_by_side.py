"""Side by side: the result of many methods on one prompt, with what the tokens really do last."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import plots
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

BOUNDS = ("mean", "lower", "upper")
"""Of what random orders reach, as in `TokenAttribution.random_agreement`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenAttribution(Result, kind="token-attribution"):
    """What several methods say each token counts for one answer, and what it really does."""

    explained: str
    """What the scores are of: "logit of ' Paris' at position 4"."""
    score: float | None
    """The explained logit (or difference of logits) itself; None where a state is explained."""
    tokens: tuple[str, ...]
    """Tokens, or the words that they were merged into."""
    sides: tuple[str, ...]
    """Where each is read: input, or target (what an encoder-decoder has written)."""
    row: int
    """The one whose position is explained."""
    counted: Bool[Tensor, "token"]
    """Which ones the correlations compare."""

    methods: tuple[str, ...]
    titles: tuple[str, ...]
    signed: tuple[bool, ...]
    """Whether a negative score says that the token speaks against the answer."""
    costs: tuple[str, ...]
    notes: tuple[str, ...]
    """Where each method misleads."""
    left_out: tuple[tuple[str, str], ...]
    """(method, why it did not run)."""

    scores: Float[Tensor, "line token"]
    """One line for each step of each method, below each other."""
    line_methods: tuple[str, ...]
    line_steps: tuple[str, ...]
    """What each line is after: a layer, or "all" for methods without steps."""
    ranked_lines: tuple[int, ...]
    """The line of each method that is ranked: after the chosen layer, or its only one."""

    check: str
    """How tokens were taken away: replace, mask-attention, zero-values or none."""
    check_note: str
    effects: Float[Tensor, "token"] | None
    """How far the answer fell without each token, in the unit that `check_note` says."""
    agreement: Float[Tensor, "line measure"] | None
    """Rank correlation of each line with the effects; NaN where it is undefined."""
    random_agreement: Float[Tensor, "measure bound"] | None
    """(mean, lower, upper) that random orders reach: 95 in 100 lie between the last two."""
    measures: tuple[str, ...]
    """Correlations of sizes, and for signed methods also of the signed numbers."""
    faithfulness: Float[Tensor, "method_and_random curve"] | None
    """What removing and keeping the highest scores does to the answer's probability; last, random orders."""
    curves: tuple[str, ...]
    passes: tuple[tuple[str, int], ...]
    """Forward passes of the causal check and of the curves, beside those of the methods."""

    def of(self, method: str) -> Float[Tensor, "step token"]:
        """All lines of one method."""
        return self.scores[[i for i, name in enumerate(self.line_methods) if name == method]]

    def ranking(self, measure: str = "spearman") -> tuple[tuple[str, float], ...]:
        """(method, correlation with the causal check) from the best on; undefined ones last. Empty without a check."""
        if self.agreement is None:
            return ()
        column = self.agreement[list(self.ranked_lines), self.measures.index(measure)].tolist()
        return tuple(sorted(zip(self.methods, column, strict=True), key=lambda one: (one[1] != one[1], -one[1])))

    def to_frame(self) -> "pd.DataFrame":
        """One row for each number: scores, effects, correlations and curves; `pos` is -1 for those of all tokens.

        `count` is how many tokens a number compares, 1 for a score, 0 where it is undefined.
        """
        import pandas as pd

        frames = [self.scores_frame().assign(count=1)]
        for table in (self.agreement_frame(), self.faithfulness_frame()):
            if len(table):
                frames.append(table.assign(pos=-1, token="", side=""))
        columns = ["quantity", "method", "step", "pos", "token", "side", "value", "count"]
        return pd.concat(frames, ignore_index=True).reindex(columns=columns)

    def scores_frame(self) -> "pd.DataFrame":
        """One row for each line and token: the scores of all methods, and last the effects ("causal check")."""
        import numpy as np
        import pandas as pd

        lines = [*zip(self.line_methods, self.line_steps, strict=True)]
        values = [self.scores]
        if self.effects is not None:
            lines.append((self.check, "all"))
            values.append(self.effects[None])
        line, token = (index.reshape(-1) for index in np.indices((len(lines), len(self.tokens))))
        kinds = ["score"] * len(self.line_methods) + ["effect"] * (len(lines) - len(self.line_methods))
        return pd.DataFrame(
            {
                "quantity": np.array(kinds, dtype=object)[line],
                "method": np.array([name for name, _ in lines], dtype=object)[line],
                "step": np.array([step for _, step in lines], dtype=object)[line],
                "pos": token,
                "token": np.array(self.tokens, dtype=object)[token],
                "side": np.array(self.sides, dtype=object)[token],
                "value": torch.cat(values).flatten().numpy(),
            }
        )

    def agreement_frame(self) -> "pd.DataFrame":
        """One row for each line and correlation with the effects, then what random orders reach; empty without a check.

        Signed correlations of methods without a sign are left out.
        """
        import pandas as pd

        rows = []
        sign = dict(zip(self.methods, self.signed, strict=True))
        if self.agreement is not None and self.random_agreement is not None:
            for name, step, values in zip(self.line_methods, self.line_steps, self.agreement.tolist(), strict=True):
                rows += [
                    (measure, name, step, value)
                    for measure, value in zip(self.measures, values, strict=True)
                    if sign[name] or not measure.startswith("signed")
                ]
            for measure, bounds in zip(self.measures, self.random_agreement.tolist(), strict=True):
                rows += [
                    (measure, f"random {bound}", "all", value) for bound, value in zip(BOUNDS, bounds, strict=True)
                ]
        frame = pd.DataFrame(rows, columns=["quantity", "method", "step", "value"])
        return frame.assign(count=frame.value.notna() * int(self.counted.sum()))

    def faithfulness_frame(self) -> "pd.DataFrame":
        """One row for each method, then random orders, and each number of the curves; empty where none were drawn."""
        import pandas as pd

        if self.faithfulness is None:
            return pd.DataFrame(columns=["quantity", "method", "step", "value", "count"])
        steps = [self.line_steps[line] for line in self.ranked_lines]
        named = zip((*self.methods, "random mean"), (*steps, "all"), strict=True)
        rows = [
            (curve, name, step, value)
            for (name, step), values in zip(named, self.faithfulness.tolist(), strict=True)
            for curve, value in zip(self.curves, values, strict=True)
        ]
        frame = pd.DataFrame(rows, columns=["quantity", "method", "step", "value"])
        return frame.assign(count=int(self.counted.sum()))

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The ranking in words, and tokens by methods after the ranked layers, the effects last."""
        import pandas as pd

        lines = [f"Explained: {self.explained}" + (f" = {self.score:.4g}" if self.score is not None else "")]
        lines += [f"Left out: {name}. {why}" for name, why in self.left_out]
        if self.random_agreement is not None:
            _, low, high = self.random_agreement[0].tolist()
            ranks = ", ".join(f"{name} {'undefined' if r != r else f'{r:.2f}'}" for name, r in self.ranking())
            lines.append(f"Agreement with the causal check ({self.check}), Spearman: {ranks}.")
            lines.append(f"Random orders reach {low:.2f} to {high:.2f}. {self.check_note}")
        columns = dict(zip(self.methods, self.scores[list(self.ranked_lines)].tolist(), strict=True))
        if self.effects is not None:
            columns["causal check"] = self.effects.tolist()
        table = pd.DataFrame({"pos": range(len(self.tokens)), "token": self.tokens} | columns)
        return "\n".join(lines), table.round(4)

    def figure(self) -> "go.Figure":
        """Tokens by methods after the chosen layer, each in shares of its largest size, the causal check last.

        Shares are of the largest of the tokens that are compared; others may exceed it and are drawn like it.
        """
        import pandas as pd

        columns = [*zip(self.methods, self.scores[list(self.ranked_lines)], strict=True)]
        if self.effects is not None:
            columns.append(("causal check", self.effects))
        rank = {name: "" if value != value else f":\u03c1={value:.2f}" for name, value in self.ranking()}
        frames = []
        for name, values in columns:
            largest = values[self.counted].abs().max().item() if self.counted.any() else 0.0
            shares = values / largest if largest > 0 else torch.zeros_like(values)
            shown = {"pos": range(len(self.tokens)), "token": self.tokens, "score": values.tolist()}
            named = {"method": name, "agreement": name.replace(" ", "-") + rank.get(name, "")}
            frames.append(pd.DataFrame({**named, **shown, "share of the largest": shares.tolist()}))
        signed = any(self.signed) or self.effects is not None
        return plots.heatmap(
            pd.concat(frames, ignore_index=True),
            x="method",
            y="pos",
            value="share of the largest",
            x_labels="agreement",
            y_labels="token",
            hover=("score",),
            center=0.0 if signed else None,
            limits=(-1.0, 1.0) if signed else (0.0, 1.0),
            y_down=True,
            title=self.explained,
        )
