"""Circuit: which edges of the model carry a task, how many are needed, and how much of the task they give."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots, tasks
from workbench.analyses.circuits.shape import Shape, shape_of
from workbench.circuits.finding import Finder, Replace, Rule, found_scores, random_orders
from workbench.circuits.graph import CircuitGraph, Slots
from workbench.circuits.judging import Judged, circuits_of, judged, ordered_edges
from workbench.circuits.split import NEEDS, split
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.models.untrained import untrained_copy
from workbench.registry import Seed, TaskName, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Metric = Literal["task", "logit-diff", "prob-diff", "log-prob", "kl"]
Select = Literal["greedy", "top"]
RANDOM = "The weights are random: this is a control."
SHOWN = 8
"""Examples that a result keeps as text, and edges that a terminal shows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Circuit(Shape, Result, kind="circuit"):
    """Scores of all edges for one task, and how faithful circuits of growing size are."""

    task: str
    metric: str
    method: str
    select: str
    replace: str
    examples: tuple[tuple[str, str, str, str], ...]
    """The first few: clean prompt, corrupted prompt, targets, foils."""
    n_examples: int
    notes: tuple[str, ...]
    """What was left out, and what to keep in mind."""
    accuracy: float
    """Share of examples on which the targets are ahead of the foils."""
    clean: float
    """Mean metric of the whole model."""
    corrupted: float
    """Mean metric with no edge kept."""
    without_gap: int
    """Examples on which the whole model is no better than none of it; they are in the means all the same."""
    scores: Float[Tensor, "source slot"]
    """By how much the metric drops when the edge carries the other prompt's write; NaN where there is no edge."""
    order: Int[Tensor, "edge"]
    """Edges as places in the flattened scores, in the order in which circuits take them."""
    shares: tuple[float, ...]
    """Sizes that were judged, as shares of all edges."""
    sizes: Int[Tensor, "size"]
    """The same in edges."""
    kept: Int[Tensor, "size"]
    """Edges of these that lie on a way from the input to the logits."""
    faithfulness: Float[Tensor, "size"]
    """Share of the gap between corrupted and clean metric that the circuit gives; NaN where there is no gap."""
    random_faithfulness: Float[Tensor, "draw size"]
    """The same for edges in random order."""
    cpr: float
    """Area under the faithfulness curve over the share of edges (MIB): higher is better. NaN unless sizes go to 1."""
    cmd: float
    """Area between the curve and 1: lower is better."""
    cpr_random: float
    """Mean over the draws."""
    cmd_random: float

    @property
    def graph(self) -> CircuitGraph:
        """The graph with the scores of all edges, and no edge chosen."""
        about = {"task": self.task, "metric": self.metric, "method": self.method, "replace": self.replace}
        return self.graph_with(scores=self.scores, model=str(self.meta.get("model", "")), about=about)

    def circuit(self, n: int) -> CircuitGraph:
        """The circuit of the first `n` edges, dead ends pruned; the model is not run."""
        if not 0 <= n <= self.graph.n_edges:
            raise BadInput(f"This graph has {self.graph.n_edges:,} edges; a circuit of {n:,} cannot be taken from it.")
        return self.graph.with_(kept=circuits_of(self.graph, self.order, [n])[0])

    def smallest(self, faithful: float = 0.8) -> int | None:
        """The fewest edges, of the sizes that were judged, that give this share of the task; None where none does."""
        enough = (self.faithfulness >= faithful).nonzero()
        return int(self.kept[enough[0, 0]]) if len(enough) else None

    def to_frame(self) -> "pd.DataFrame":
        """One row for each edge: those that circuits take first come first, those that none takes (rank -1) last."""
        import pandas as pd

        graph, n_slots = self.graph, self.scores.shape[1]
        rest = graph.exists.flatten().clone()
        rest[self.order] = False
        places = torch.cat([self.order, rest.nonzero()[:, 0]])
        sources, slots = (places // n_slots).tolist(), (places % n_slots).tolist()
        return pd.DataFrame(
            {
                "rank": [*range(len(self.order)), *[-1] * (len(places) - len(self.order))],
                "source": [graph.sources[i] for i in sources],
                "slot": [graph.slot_names[i] for i in slots],
                "score": self.scores.flatten()[places].tolist(),
                "scored": (~self.scores.flatten()[places].isnan()).int().tolist(),
            }
        )

    def curve_frame(self) -> "pd.DataFrame":
        """One row for each size: edges asked for and left after pruning, faithfulness, and that of random orders."""
        import pandas as pd

        draws = self.random_faithfulness
        columns = {
            "share": self.shares,
            "edges": self.sizes.tolist(),
            "kept": self.kept.tolist(),
            "faithfulness": self.faithfulness.tolist(),
        }
        if len(draws):
            columns |= {
                "random": draws.mean(0).tolist(),
                "random_low": draws.amin(0).tolist(),
                "random_high": draws.amax(0).tolist(),
            }
        return pd.DataFrame(columns)

    def figure(self) -> "go.Figure":
        """Faithfulness against the share of edges, random order beside it; where it is undefined, sizes of scores."""
        if bool(self.faithfulness.isnan().any()):
            edges = self.to_frame().query("rank >= 0")
            edges = edges.assign(place=edges["rank"] + 1, size=edges["score"].abs())
            return plots.lines(
                edges, x="place", y="size", log_x=True, title=f"{self.task}: sizes of scores, in the order taken"
            )
        frame = self.curve_frame().rename(columns={"faithfulness": self.method})
        lines = [self.method, *([] if "random" not in frame else ["random"])]
        tidy = frame.melt(["share", "edges", "kept"], lines, var_name="edges by", value_name="faithfulness")
        return plots.lines(
            tidy.dropna(),
            x="share",
            y="faithfulness",
            color="edges by",
            log_x=True,
            title=f"{self.task}: {self.metric}",
        )

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How much of the task which sizes give, and the first edges."""
        smallest = self.smallest()
        said = "No circuit that was judged gives 80 % of it." if smallest is None else ""
        if smallest is not None:
            share = smallest / self.graph.n_edges
            said = f"{smallest:,} of {self.graph.n_edges:,} edges ({share:.2%}) give 80 % of it."
        of = f"{self.n_examples} example{'s' if self.n_examples > 1 else ''}"
        text = (
            f"{self.task}: {self.metric} {self.clean:.3g} clean, {self.corrupted:.3g} corrupted, accuracy"
            f" {self.accuracy:.2f} over {of}."
        )
        areas = "" if math.isnan(self.cpr) else f"CPR {self.cpr:.3f}, CMD {self.cmd:.3f}"
        if not math.isnan(self.cpr_random):
            areas += f"; random edges {self.cpr_random:.3f}, {self.cmd_random:.3f}"
        said = "" if bool(self.faithfulness.isnan().any()) else said
        text = " ".join(filter(None, [text, said, f"{areas}." if areas else ""]))
        return " ".join([text, *self.notes]), self.to_frame().head(SHOWN)


@analysis("circuit", needs=NEEDS | {"text"})
def circuit(
    model: LensModel,
    task: Annotated[TaskName, "What the model should do: a task by name, or a table of prompts"] = "induction",
    *,
    method: Annotated[Finder, "How edges are scored"] = "eap-ig",
    metric: Annotated[Metric, "What is measured at the answer; task: the task's own"] = "task",
    replace: Annotated[Replace, "What edges carry that are left out"] = "corrupted",
    select: Annotated[Select, "greedy: circuits grow from the logits; top: the highest scores anywhere"] = "greedy",
    absolute: Annotated[bool, "Whether edges that hurt count by their size"] = True,
    steps: Annotated[int, Within(1, 1000), "Points of the path of eap-ig"] = 5,
    rule: Annotated[Rule, "Where on each step of the path gradients are taken"] = "midpoint",
    threshold: Annotated[float, Within(0, 1000), "acdc: how far the answers may move for an edge to go"] = 0.01,
    slots: Annotated[Slots, "Keys and values: one slot for each kv head, or for each query head"] = "kv-head",
    examples: Annotated[int, Within(1, 10_000), "Examples of the task"] = 24,
    shares: Annotated[tuple[float, ...], Within(0, 1), "Sizes to judge, as shares of all edges"] = functional.SHARES,
    draws: Annotated[int, Within(0, 100), "Random orders of edges for comparison"] = 1,
    seed: Annotated[Seed, "Seed of the examples and of random orders"] = 0,
    anyway: Annotated[bool, "Go on though the model does not do the task: for controls"] = False,
    untrained: Annotated[bool, "The same for a copy with random weights: what the shape alone gives"] = False,
) -> Circuit:
    """Which edges carry a task, and how much of it circuits of growing size give (EAP, EAP-IG, exact, ACDC).

    Every edge gets a score: by how much the metric drops when it carries the corrupted prompt's activation. Circuits
    are the best edges, without dead ends, all others carrying the corrupted prompt's; faithfulness is the share of the
    metric's gap that they give. A score from gradients is an estimate, faithfulness is measured. Costs what the method
    costs (`workbench.circuits.edge_scores`), and about two forward passes for each size, draw and example.
    Hanna et al. (2024), "Have Faith in Faithfulness"; Mueller et al. (2025), "MIB".
    """
    shares = _growing(shares)
    model = untrained_copy(model, seed) if untrained else model
    wiring = split(model, slots=slots)
    chosen = tasks.task(task, model, examples=examples, seed=seed, metric=metric, anyway=anyway or untrained)
    pairs = list(chosen.pairs(model))
    scores, order = found_scores(
        wiring, pairs, chosen.metric, method,
        steps=steps, rule=rule, replace=replace, threshold=threshold, seed=seed,
    )  # fmt: skip
    scores = scores.detach().float().cpu()
    order = ordered_edges(wiring.graph, scores, select, absolute=absolute) if order is None else order
    n_edges, own = wiring.graph.n_edges, int((scores >= threshold).sum()) if method == "acdc" else None
    shares = shares if not own else _growing((*shares, own / n_edges))
    sizes = functional.circuit_sizes(shares, n_edges)
    orders = [order, *random_orders(wiring.graph, select, draws, seed)]
    masks = torch.cat([circuits_of(wiring.graph, one, sizes.tolist()) for one in orders])
    found = judged(wiring, pairs, chosen.metric, masks, replace=replace)
    curves = found.faithfulness.float().view(len(orders), len(sizes))
    areas = functional.faithfulness_areas(shares, curves) if len(shares) > 1 and shares[-1] == 1 else None
    doing, nan = chosen.doing, float("nan")
    notes = [RANDOM if untrained else "", chosen.note, *_warnings(found, n_edges, shares)]
    if own is not None:
        left = f"{own:,} of {n_edges:,} edges" if own else "no edge; give a lower one"
        notes.append(f"At a threshold of {threshold:g} acdc leaves {left}.")
    return Circuit(
        **vars(shape_of(wiring.graph)),
        task=chosen.name,
        metric=chosen.metric,
        method=method,
        select=select,
        replace=replace,
        examples=_shown(model, chosen),
        n_examples=len(chosen),
        notes=tuple(filter(None, notes)),
        accuracy=nan if doing is None else doing.accuracy,
        clean=found.clean.mean().item(),
        corrupted=found.empty.mean().item(),
        without_gap=found.without_gap,
        scores=scores,
        order=order.cpu(),
        shares=tuple(shares),
        sizes=sizes,
        kept=masks[: len(sizes)].flatten(1).sum(-1).cpu(),
        faithfulness=curves[0],
        random_faithfulness=curves[1:],
        cpr=nan if areas is None else areas.cpr[0].item(),
        cmd=nan if areas is None else areas.cmd[0].item(),
        cpr_random=nan if areas is None or not draws else areas.cpr[1:].mean().item(),
        cmd_random=nan if areas is None or not draws else areas.cmd[1:].mean().item(),
    )


def _shown(model: LensModel, task: tasks.Task) -> tuple[tuple[str, str, str, str], ...]:
    def words(ids: tuple[int, ...]) -> str:
        return " ".join(model.token_text(i).strip() or repr(model.token_text(i)) for i in ids[:12])

    return tuple((*one.texts, words(one.targets), words(one.foils)) for one in task.examples[:SHOWN])


def _growing(shares: tuple[float, ...]) -> tuple[float, ...]:
    """Shares in order, each once; before anything is run."""
    if not shares or min(shares) <= 0:
        raise BadInput(f"shares are sizes of circuits: one or more numbers above 0, up to 1, not {tuple(shares)}.")
    return tuple(sorted(set(shares)))


def _warnings(found: Judged, n_edges: int, shares: tuple[float, ...]) -> list[str]:
    notes, empty = [], int((functional.circuit_sizes(shares, n_edges) == 0).sum())
    if bool(found.faithfulness.isnan().any()):
        notes.append("The whole model is no better than none of it: faithfulness is undefined.")
    elif found.without_gap:
        count, of = found.without_gap, len(found.clean)
        notes.append(f"On {count} of {of} examples the whole model is no better than none of it; the means have them.")
    if shares[-1] < 1:
        notes.append("CPR and CMD are areas up to the whole model: have 1 among the shares to get them.")
    elif empty:
        verb = "is" if empty == 1 else "are"
        least = functional.least_areas(shares, n_edges).cmd.item() if len(shares) > 1 else 0.0
        notes.append(
            f"{empty} of the sizes {verb} less than one of {n_edges:,} edges and give nothing: no method has a CMD"
            f" below {least:.3f} here."
        )
    return notes
