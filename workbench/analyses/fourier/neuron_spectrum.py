"""Neuron spectrum: of how many frequencies of a variable, or of pairs of its values, each MLP neuron is made."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, plots, variable as variable_of
from workbench.analyses.fourier.pairs import TEMPLATE, neuron_site, neurons_of, pairs_of
from workbench.functional import PairOperation
from workbench.models.lens_model import LensModel
from workbench.registry import Layer, Seed, VariableName, Within, analysis
from workbench.results import Result
from workbench.variables import states

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_AT_ONCE = 64
_SAME = 1e-6
"""A neuron whose deviations are smaller than this part of its values holds the same everywhere, but for rounding."""


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronSpectrum(Result, kind="neuron-spectrum"):
    """For each neuron of one layer: its best frequency, how much of its variance that has, and how few it is made of.

    Dead neurons hold the same for all prompts, zero or not: their numbers are NaN, their frequency is 0.
    """

    site: str
    variable: str
    template: str
    operation: str
    over: str
    """"pairs" or "values"."""
    n: int
    """Values on each axis."""
    period: float
    """Period of frequency 1, in the variable's unit."""
    threshold: float
    power: Float[Tensor, "neuron frequency"]
    """Share of each neuron's variance explained by each frequency alone; entry 0, the constant, is 0. Over pairs these
    are the waves of k in the first operand, in the second, and the products of the two: a polynomial of degree 2."""
    share: Float[Tensor, "neuron"]
    """The share of the best frequency."""
    frequency: Int[Tensor, "neuron"]
    """The best frequency; 0 where dead."""
    shuffled: Float[Tensor, "neuron"]
    """The best share with the values in a random order: the control."""
    ipr: Float[Tensor, "neuron"]
    """Inverse participation ratio without the constant, each frequency once (rfft): 1 for a single wave. Over pairs the
    mean of two: of the neuron's mean over each operand as a function of the other."""
    ipr_twice: Float[Tensor, "neuron"]
    """The same with each wave counted twice (fft): .5 for a single wave."""
    ipr_of: Int[Tensor, "neuron"]
    """How many functions it is the mean of: those that are not constant."""
    norm: Float[Tensor, "neuron"]
    """Norm of the differences from its mean."""
    dead: Bool[Tensor, "neuron"]

    @property
    def counts(self) -> tuple[int, int, int]:
        """(neurons explained by one frequency above the threshold, the others that are alive, the dead)."""
        above, dead = int((self.share > self.threshold).sum()), int(self.dead.sum())
        return above, len(self.dead) - above - dead, dead

    def to_frame(self) -> "pd.DataFrame":
        """One row for each neuron; `alive` is 0 where it holds the same for all values."""
        import pandas as pd

        return pd.DataFrame(
            {
                "neuron": list(range(len(self.share))),
                "frequency": self.frequency.tolist(),
                "period": [self.period / k if k else float("nan") for k in self.frequency.tolist()],
                "share": self.share.tolist(),
                "shuffled": self.shuffled.tolist(),
                "ipr": self.ipr.tolist(),
                "ipr_twice": self.ipr_twice.tolist(),
                "ipr_of": self.ipr_of.tolist(),
                "norm": self.norm.tolist(),
                "alive": (~self.dead).int().tolist(),
            }
        )

    def frequency_frame(self) -> "pd.DataFrame":
        """One row for each frequency: the neurons it is the best of, above the threshold and below."""
        import pandas as pd

        rows = []
        for k in range(1, self.power.shape[1]):
            mine = self.frequency == k
            above = int((mine & (self.share > self.threshold)).sum())
            rows += [
                {"frequency": k, "period": self.period / k, "explained": f"above {self.threshold:g}", "neurons": above},
                {
                    "frequency": k,
                    "period": self.period / k,
                    "explained": f"to {self.threshold:g}",
                    "neurons": int(mine.sum()) - above,
                },
            ]
        return pd.DataFrame(rows)

    def sorted_frame(self) -> "pd.DataFrame":
        """One row for each living neuron and order: best shares from high to low, in order and shuffled."""
        import pandas as pd

        rows = [
            {"values": name, "rank": rank, "share": value}
            for name, shares in (("in order", self.share), ("in random order", self.shuffled))
            for rank, value in enumerate(shares[~self.dead].sort(descending=True).values.tolist(), start=1)
        ]
        return pd.DataFrame(rows, columns=["values", "rank", "share"])

    def figure(self, *, of: Literal["frequencies", "shares"] = "frequencies") -> "go.Figure":
        """How many neurons each frequency is the best of; or all best shares from high to low, beside the control."""
        if of == "shares":
            return plots.lines(self.sorted_frame(), x="rank", y="share", color="values", markers=False)
        return plots.bars(
            self.frequency_frame(), x="frequency", y="neurons", color="explained", mode="stack", title=self.site
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many neurons one frequency explains, and the neurons it explains best."""
        above, others, dead = self.counts
        living, total = above + others, len(self.dead)
        shuffled = int((self.shuffled > self.threshold).sum())
        text = (
            f"{above} of {living} living neurons have more than {self.threshold:.0%} of their variance in one frequency"
            f" ({shuffled} with the values in random order); {dead} of {total} are dead: they hold the same at"
            " all prompts."
        )
        return text, self.to_frame().sort_values("share", ascending=False).head(20).reset_index(drop=True)


@analysis("neuron-spectrum", needs={"text", "mlp"})
@torch.no_grad()
def neuron_spectrum(
    model: LensModel,
    variable: Annotated[VariableName, "The values, in order; over pairs of one token each"],
    *,
    template: Annotated[str, "The prompt: with {a} and {b} over all pairs, with {} over single values"] = TEMPLATE,
    operation: Annotated[PairOperation, "What is done to the operands of pairs: decides their order"] = "add",
    layer: Annotated[Layer, "Whose neurons: of the stack that reads the prompt"] = -1,
    threshold: Annotated[float, Within(0.0, 1.0), "Share above which a neuron counts as explained"] = 0.85,
    seed: Annotated[Seed, "Seed of the random order that is the control"] = 0,
) -> NeuronSpectrum:
    """Which frequency each MLP neuron of a layer follows, and how much of it one frequency explains.

    Neurons are read at the end of the prompt. Over pairs, a frequency k explains the waves of k in either operand and
    the products of the two (Nanda et al. 2023: a degree-2 polynomial of one frequency); over single values, the wave.
    A neuron is dead if the norm of its differences from its mean is below 1e-8, or below a millionth of its own; to
    neuron-pruning by norm one is dead whose norm itself is below 1e-8, which may hold at fewer neurons. The
    control has the values in one random order. One forward pass a pair or value; n^2 x d_mlp numbers in float32 are
    held (26 MB at n = 113 and 512 neurons), and transformed 64 neurons at a time in float64.
    """
    site = neuron_site(model, layer)
    if "{a}" in template or "{b}" in template:
        pairs = pairs_of(model, variable, template, operation)
        held, name, period, over = neurons_of(pairs, site), pairs.variable.name, pairs.period(1), "pairs"
    else:
        values = variable_of(variable, model)
        held, name, over = states(model, values, [site], template=template, read="last")[site], values.name, "values"
        period = len(values) * values.spacing
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seed))
    parts = [_spectra(part, order) for part in held.split(_AT_ONCE, -1)]
    columns = [torch.cat(column, -1) for column in zip(*parts, strict=True)]
    power, shuffled, ipr, ipr_twice, ipr_of, norm, dead = columns
    share, frequency = power[1:].max(0)
    return NeuronSpectrum(
        site=site,
        variable=name,
        template=template,
        operation=operation,
        over=over,
        n=len(held),
        period=period,
        threshold=threshold,
        power=power.T.contiguous(),
        share=share,
        frequency=(frequency + 1).masked_fill(dead, 0),
        shuffled=shuffled,
        ipr=ipr,
        ipr_twice=ipr_twice,
        ipr_of=ipr_of,
        norm=norm,
        dead=dead,
    )


def _spectra(held: Float[Tensor, "..."], order: Int[Tensor, "n"]) -> tuple[Tensor, ...]:
    """Some neurons, (n, n, neuron) or (n, neuron): power shares, the control's, participation ratios, norms, dead."""
    held = held.double()
    axes = tuple(range(held.ndim - 1))
    centred = held - held.mean(axes, keepdim=True)
    norm = centred.square().sum(axes).sqrt()
    dead = norm < torch.clamp(_SAME * held.square().sum(axes).sqrt(), min=1e-8)
    centred = (centred / norm).masked_fill(dead, 0)
    mixed = centred[order][:, order] if held.ndim == 3 else centred[order]
    power, shuffled = (_one_frequency(x).masked_fill(dead, torch.nan) for x in (centred, mixed))
    sides = torch.stack([centred.mean(1), centred.mean(0)]) if held.ndim == 3 else centred[None]  # (side, n, neuron)
    flat = (sides.norm(dim=1) < _SAME / len(held)) | dead  # of a norm-1 table whose side says nothing
    ratios = [
        functional.inverse_participation_ratio(sides, 1, kind, constant=False).masked_fill(flat, torch.nan).nanmean(0)
        for kind in ("rfft", "fft")
    ]
    return power, shuffled[1:].max(0).values, *ratios, (~flat).sum(0), norm, dead


def _one_frequency(held: Float[Tensor, "..."]) -> Float[Tensor, "frequency neuron"]:
    """The squares in each frequency alone, of tables whose squares add up to 1."""
    if held.ndim == 2:
        return functional.power_spectrum(held, 0)
    power = functional.power_2d(held)
    found = power[:, 0] + power[0] + power.diagonal().T
    found[0] = 0
    return found
