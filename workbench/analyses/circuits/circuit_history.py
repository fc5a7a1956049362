"""Circuit history: one task's circuit over the checkpoints of a training run."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import functional, provenance, tasks
from workbench.analyses.circuits.history_result import CircuitHistory
from workbench.analyses.circuits.history_step import Asked, Checkpoint, followed, measured
from workbench.circuits.finding import Finder, Replace
from workbench.circuits.graph import CircuitGraph, Slots
from workbench.circuits.split import Wiring, split
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.progress import track

SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def circuit_history(
    steps: Sequence[int],
    load: Callable[[int], LensModel],
    task: str = "induction",
    *,
    unit: str = "step",
    method: Finder = "eap-ig",
    metric: str = "task",
    replace: Replace = "corrupted",
    select: Literal["greedy", "top"] = "greedy",
    target: float = 0.8,
    most: float = 1.0,
    shares: Sequence[float] = SIZES,
    circuit: CircuitGraph | None = None,
    slots: Slots = "kv-head",
    examples: int = 24,
    points: int = 5,
    seed: int = 0,
    anyway: bool = False,
) -> CircuitHistory:
    """When the circuit of a task comes, how small it is and how much of it stays, over the checkpoints of a run.

        folder = Path("run")
        workbench.circuit_history([0, 100, 200], lambda step: workbench.load(folder / f"step{step}"), "induction")

    `load` gives the model of a step; one is held at a time, the last first: its circuit (or `circuit`) is then measured
    at every step. At each, edges are scored anew, and the smallest circuit that comes to `target` is searched for among
    the first `most` of the edges, by narrowing the interval: where faithfulness does not grow with size, a smaller one
    may do. A checkpoint that does not do the task is a null, with no circuit, unless `anyway`. `points` are those of
    the path of eap-ig. Costs what the method costs and about 2 log2(edges) + 2 len(shares) + 8 forward passes a step.
    Tigges et al. (2024), "LLM Circuit Analyses Are Consistent Across Training and Scale".
    """
    order = _checked(steps, target, most, shares)
    asked = Asked(
        method=method, replace=replace, select=select, target=target, most=most, shares=tuple(shares),
        points=points, seed=seed, anyway=anyway,
    )  # fmt: skip
    found: dict[int, Checkpoint] = {}
    scores: dict[int, Tensor] = {}
    one, shape, chosen, meta = circuit, None, None, {}
    for at in track([order[-1], *order[:-1]], label=f"checkpoints of {task}"):
        model = load(at)
        if not isinstance(model, LensModel):
            raise BadInput(
                f"load must give the model of a checkpoint, as workbench.load does; for {unit} {at} it gave"
                f" {'nothing' if model is None else type(model).__name__}."
            )
        wiring = split(model, slots=slots)
        for graph in filter(None, (shape, one)):
            _same(graph, wiring, at)
        drawn = tasks.task(task, model, examples=examples, seed=seed, metric=metric, anyway=True)
        here = measured(wiring, drawn, asked)
        if shape is None or chosen is None:
            shape, chosen = wiring.graph, drawn
            params = {"task": task, "metric": metric, "slots": slots, "examples": examples, **vars(asked)}
            meta = provenance.stamp("circuit-history", model, params)
            if one is None and here.size:
                about = {"task": drawn.name, "metric": drawn.metric, "method": method, unit: at}
                one = shape.with_(scores=here.scores, kept=here.kept, about=about)
        if one is not None and one.kept is not None:
            here = dataclasses.replace(here, **followed(wiring, drawn, one.kept, asked))
        scores[at] = torch.zeros(0) if here.scores is None else here.scores[here.kept]
        found[at] = dataclasses.replace(here, scores=None)
        del model, wiring
    assert shape is not None and chosen is not None  # there is a step
    rows = [found[at] for at in order]
    kept = torch.stack([row.kept for row in rows])
    present = functional.kept_nodes(kept, shape.feeds)
    node_jaccard = _with_before(present)
    names = ("clean", "corrupted", "accuracy", "reached", "random", "last_circuit", "last_metric")
    return CircuitHistory(
        **{name: torch.tensor([getattr(row, name) for row in rows]) for name in names},
        task=chosen.name,
        metric=chosen.metric,
        method=method,
        select=select,
        replace=replace,
        target=target,
        steps=tuple(order),
        unit=unit,
        notes=tuple(f"{unit} {at}: {row.why_not}" for at, row in zip(order, rows, strict=True) if row.why_not),
        n_examples=len(chosen),
        n_edges=shape.n_edges,
        nodes=shape.nodes,
        does=torch.tensor([not row.why_not for row in rows]),
        shares=tuple(shares),
        faithfulness=torch.stack([row.curve for row in rows]),
        size=torch.tensor([row.size for row in rows]),
        kept=kept.flatten(1).sum(-1),
        present=present,
        node_jaccard=node_jaccard,
        edge_jaccard=_with_before(kept.flatten(1)),
        smoothed_jaccard=functional.smoothed(node_jaccard),
        edges=kept.nonzero(),
        edge_scores=torch.cat([scores[at] for at in order]),
        graph_json=(shape if one is None else one).to_json(),
        meta=meta,
    )


def _checked(steps: Sequence[int], target: float, most: float, shares: Sequence[float]) -> list[int]:
    """The steps in the order of training."""
    wrong = [step for step in steps if not isinstance(step, int) or isinstance(step, bool)]
    if wrong or not len(steps) or len(set(steps)) < len(steps):
        raise BadInput(f"Give the steps of one or more checkpoints, whole numbers, each once; not {tuple(steps)}.")
    if not 0 < target <= 1:
        raise BadInput(f"target is a faithfulness above 0 and up to 1, not {target}.")
    if not 0 < most <= 1:
        raise BadInput(f"most is a share of the edges above 0 and up to 1, not {most}.")
    functional.circuit_sizes(shares, 1)
    return sorted(steps)


def _same(graph: CircuitGraph, wiring: Wiring, at: int) -> None:
    """Refuse a circuit that is not of this model's nodes and slots."""
    graph.check_for(wiring.model)
    if (graph.sources, graph.slot_names) == (wiring.graph.sources, wiring.graph.slot_names):
        return
    raise BadInput(
        f"The circuit counts keys and values otherwise than the graph of {wiring.model.name} at {at}: give the slots it"
        ' was found with, slots="kv-head" or slots="query-head".'
    )


def _with_before(sets: Bool[Tensor, "step item"]) -> Float[Tensor, "step"]:
    """The Jaccard index of each set with the one before; NaN where either is empty, and for the first."""
    there = sets.any(-1)
    both = functional.jaccard(sets[1:], sets[:-1]).masked_fill(~(there[1:] & there[:-1]), torch.nan)
    return torch.cat([both.new_full((1,), torch.nan), both]).float()
