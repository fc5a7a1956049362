"""Neuron pruning: what is left of a task as a layer's neurons are removed, by a score from either end, or at random."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots, tasks
from workbench.analyses.fourier.neuron_spectrum import neuron_spectrum
from workbench.analyses.fourier.pairs import TEMPLATE, neuron_site, pairs_of, train_mask
from workbench.analyses.fourier.pruning_runs import DEAD, norms_in, norms_over, of_pairs, of_task, without
from workbench.errors import BadInput
from workbench.functional import PairOperation
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Layer, Seed, TaskName, VariableName, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronPruning(Result, kind="neuron-pruning"):
    """Accuracy and loss as more and more neurons of a layer are set to zero, in several orders."""

    site: str
    of: str
    """The task, or the variable over whose pairs it is measured."""
    score: str
    scores: Float[Tensor, "neuron"]
    """NaN where dead; these are removed first in any order."""
    dead: int
    """Neurons of no score: by norm those that are zero at all prompts, by ipr and share those of no spectrum."""
    shares: tuple[float, ...]
    removed: Int[Tensor, "share"]
    """How many neurons each share is."""
    orders: tuple[str, ...]
    """Of each run: lowest score first, highest first, or random, which looks at no score."""
    parts: tuple[str, ...]
    """Which examples are measured: all, and of pairs those trained on (train) and the others (test)."""
    examples: tuple[int, ...]
    """How many each part has; where none, its numbers are NaN."""
    accuracy: Float[Tensor, "run share part"]
    """Share of right answers: among the variable's values, or (of a task) targets ahead of the foils."""
    loss: Float[Tensor, "run share part"]
    """Cross-entropy in nats: among the variable's values, or (of a task) of the targets together among all tokens."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each run, share and part of the examples; runs of the same order are draws."""
        import pandas as pd

        rows = [
            {
                "order": order,
                "draw": self.orders[:run].count(order),
                "share": share,
                "removed": int(self.removed[at]),
                "part": part,
                "examples": count,
                "accuracy": self.accuracy[run, at, which].item(),
                "loss": self.loss[run, at, which].item(),
            }
            for run, order in enumerate(self.orders)
            for at, share in enumerate(self.shares)
            for which, (part, count) in enumerate(zip(self.parts, self.examples, strict=True))
        ]
        return pd.DataFrame(rows)

    def mean_frame(self, part: str = "all") -> "pd.DataFrame":
        """One row for each order and share, of one part of the examples: the mean over draws."""
        if part not in self.parts:
            raise BadInput(f"There is no part {part!r} of the examples; there are {', '.join(self.parts)}.")
        import pandas as pd

        which = self.parts.index(part)
        rows = []
        for order in dict.fromkeys(self.orders):
            runs = [run for run, one in enumerate(self.orders) if one == order]
            for at, share in enumerate(self.shares):
                accuracy, loss = (x[runs, at, which].mean().item() for x in (self.accuracy, self.loss))
                rows.append(
                    {
                        "order": order,
                        "share": share,
                        "removed": int(self.removed[at]),
                        "examples": self.examples[which],
                        "accuracy": accuracy,
                        "loss": loss,
                    }
                )
        return pd.DataFrame(rows)

    def figure(self, *, of: Literal["accuracy", "loss"] = "accuracy", part: str = "all") -> "go.Figure":
        """Accuracy, or loss, as neurons are removed: one line an order, draws averaged."""
        frame = self.mean_frame(part)
        return plots.lines(frame, x="share", y=of, color="order", title=f"{self.of}: {self.site}, by {self.score}")

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many neurons there are, and the mean curves."""
        dead = "zero at all prompts" if self.score == "norm" else "of no spectrum over the variable"
        text = (
            f"{len(self.scores)} neurons of {self.site}, {self.dead} of them dead ({dead}), removed by {self.score};"
            f" {self.of}."
        )
        return text, self.mean_frame()


@analysis("neuron-pruning", needs={"text", "readout", "mlp"})
@torch.no_grad()
def neuron_pruning(
    model: LensModel,
    *,
    task: Annotated[TaskName | None, "What is measured; none: the sums of all pairs of the variable's values"] = None,
    variable: Annotated[
        VariableName | None, "What spectra are over: needed for pairs, and to score by ipr or share"
    ] = None,
    template: Annotated[str, "The prompt: with {a} and {b} over all pairs, with {} over single values"] = TEMPLATE,
    operation: Annotated[PairOperation, "What is done to the operands of pairs, modulo the number of values"] = "add",
    layer: Annotated[Layer, "Whose neurons: of the stack that reads the prompt"] = -1,
    score: Annotated[
        Literal["norm", "ipr", "share"],
        "Norm of the neuron, inverse participation ratio, or share of its variance in one frequency",
    ] = "norm",
    shares: Annotated[tuple[float, ...], Within(0.0, 1.0), "Shares of the neurons removed"] = SHARES,
    draws: Annotated[int, Within(0, 50), "Random orders, the control"] = 3,
    train_share: Annotated[float, Within(0.0, 1.0), "Share of the pairs that the model was trained on"] = 1.0,
    train_seed: Annotated[Seed, "Seed they were drawn with (workbench.functional.train_pairs)"] = 0,
    examples: Annotated[int, Within(1, 1000), "Examples of the task"] = 24,
    anyway: Annotated[bool, "Go on where the model does not do the task"] = False,
    seed: Annotated[Seed, "Seed of the examples and of the random orders"] = 0,
) -> NeuronPruning:
    """What a layer's neurons are needed for: a task as ever more of them are set to zero, from either end of a score.

    Nothing is trained again. Removal is cumulative: lowest scores first, highest first, and random orders; dead neurons
    first in each: of no score, so by norm zero at all prompts, by ipr and share of no spectrum (as a neuron that holds
    the same at all). Scores are taken before anything is removed: over the variable's prompts, at their end,
    or without one over all positions of the task's. One run over all examples for each share and order: with n^2 pairs
    (2 + draws) x shares x n^2 forward passes. Doshi et al. (2024), "To grok or not to grok", which lacks the random
    orders.
    """
    if task is None and variable is None:
        raise BadInput("Say what is measured: a task, or a variable, whose pairs are then added.")
    if score != "norm" and variable is None:
        raise BadInput(f"A neuron's {score} is of its spectrum over a variable: name one, or score by 'norm'.")
    if not shares:
        raise BadInput("Name at least one share of the neurons to remove, such as 0.5.")
    site = neuron_site(model, layer)
    if task is not None:
        measured = of_task(model, tasks.task(task, model, examples=examples, seed=seed, anyway=anyway))
    else:
        assert variable is not None
        pairs = pairs_of(model, variable, template, operation)
        measured = of_pairs(pairs, train_mask(pairs, train_share, train_seed))
    if variable is None:
        scores = norms_in(measured, model, site)
    elif score == "norm":
        scores = norms_over(model, variable, template, operation, site)
    else:
        spectrum = neuron_spectrum(model, variable, template=template, operation=operation, layer=layer)
        scores = getattr(spectrum, score)
    scores = scores.double().masked_fill(scores < DEAD, torch.nan)
    removed = [round(part * len(scores)) for part in shares]
    orders: tuple[Literal["lowest", "highest", "random"], ...] = (
        "lowest",
        "highest",
        *("random" for _ in range(draws)),
    )
    ends = {count: without(model, site, torch.arange(count), measured) for count in {0, len(scores)} & set(removed)}
    found = []
    for run, by in enumerate(track(orders, label=f"pruning {site}")):
        order = functional.pruning_order(scores, by, seed=seed * 1009 + run)
        found.append([ends.get(count) or without(model, site, order[:count], measured) for count in removed])
    curves = torch.tensor(found, dtype=torch.float64)  # (run, share, part, 2)
    return NeuronPruning(
        site=site,
        of=measured.name,
        score=score,
        scores=scores,
        dead=int(scores.isnan().sum()),
        shares=shares,
        removed=torch.tensor(removed),
        orders=tuple(orders),
        parts=measured.parts,
        examples=measured.counts,
        accuracy=curves[..., 0].contiguous(),
        loss=curves[..., 1].contiguous(),
    )
