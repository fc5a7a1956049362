"""Circuit comparison: what two tasks' circuits share, and whether the circuit of one does the other."""

from typing import Annotated, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from workbench import functional, tasks
from workbench.analyses.circuits.comparison_result import CircuitComparison
from workbench.analyses.circuits.shape import shape_of
from workbench.circuits.finding import Finder, Replace, Rule, found_scores, random_orders
from workbench.circuits.graph import Slots
from workbench.circuits.judging import Judged, circuits_of, judged, ordered_edges
from workbench.circuits.split import NEEDS, split
from workbench.models.lens_model import LensModel
from workbench.registry import Seed, TaskName, Within, analysis

Metric = Literal["task", "logit-diff", "prob-diff", "log-prob", "kl"]
SIZES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
NEVER = -1


@analysis("circuit-comparison", needs=NEEDS | {"text"})
def circuit_comparison(
    model: LensModel,
    task: Annotated[TaskName, "The first task: by name, or a table of prompts"] = "induction",
    *,
    other: Annotated[TaskName, "The second task"] = "induction-match",
    method: Annotated[Finder, "How edges are scored"] = "eap-ig",
    other_method: Annotated[Finder | None, "How those of the second task are scored; none: as the first's"] = None,
    metric: Annotated[Metric, "What is measured at the answer; task: each task's own"] = "task",
    replace: Annotated[Replace, "What edges carry that are left out"] = "corrupted",
    select: Annotated[
        Literal["greedy", "top"], "greedy: circuits grow from the logits; top: the highest scores wherever they are"
    ] = "greedy",
    absolute: Annotated[bool, "Whether edges that hurt count by their size"] = True,
    steps: Annotated[int, Within(1, 1000), "Points of the path of eap-ig"] = 5,
    rule: Annotated[Rule, "Where on each step of the path gradients are taken"] = "midpoint",
    threshold: Annotated[float, Within(0, 1000), "acdc: how far the answers may move for an edge to go"] = 0.01,
    slots: Annotated[Slots, "Keys and values: one slot for each kv head, or for each query head"] = "kv-head",
    examples: Annotated[int, Within(1, 10_000), "Examples of each task"] = 16,
    shares: Annotated[tuple[float, ...], Within(0, 1), "Sizes to compare at, as shares of all edges"] = SIZES,
    draws: Annotated[int, Within(0, 100), "Random orders of edges for comparison"] = 1,
    seed: Annotated[Seed, "Seed of the examples and of random orders"] = 0,
    anyway: Annotated[bool, "Go on though the model does not do a task: for controls"] = False,
) -> CircuitComparison:
    """What the circuits of two tasks have in common, and whether each does the task of the other.

    Both circuits get the same number of edges, so that Jaccard compares like with like; beside it stands what a
    circuit of random scores shares with the first. Sharing edges is not doing the same, so each circuit also runs on
    the examples of the other task (cross-faithfulness). Costs what the method costs, twice, and about two forward
    passes for each circuit, size and example. Hanna et al. (2024), "Have Faith in Faithfulness".
    """
    wiring = split(model, slots=slots)
    graph = wiring.graph
    drawn = {"examples": examples, "seed": seed, "metric": metric, "anyway": anyway}
    chosen = [tasks.task(name, model, **drawn) for name in (task, other)]
    pairs = [list(one.pairs(model)) for one in chosen]
    scores, orders = [], []
    methods = (method, other_method or method)
    for one, some, by in zip(chosen, pairs, methods, strict=True):
        found, order = found_scores(
            wiring, some, one.metric, by,
            steps=steps, rule=rule, replace=replace, threshold=threshold, seed=seed,
        )  # fmt: skip
        scores.append(found.detach().float().cpu())
        orders.append(ordered_edges(graph, scores[-1], select, absolute=absolute) if order is None else order.cpu())
    sizes = functional.circuit_sizes(shares, graph.n_edges)
    masks = torch.stack(
        [circuits_of(graph, order, sizes.tolist()) for order in (*orders, *random_orders(graph, select, draws, seed))]
    )  # (order, size, source, slot)
    runs = [
        judged(wiring, some, one.metric, masks.flatten(0, 1), replace=replace)
        for one, some in zip(chosen, pairs, strict=True)
    ]
    faithfulness = torch.stack([run.faithfulness.float().view(masks.shape[:2]) for run in runs], 1)
    edges, nodes = masks.flatten(2), functional.kept_nodes(masks, graph.feeds)
    agreement = functional.score_agreement(*(x[graph.exists] for x in scores))
    jaccard = functional.jaccard(edges[:1].expand_as(edges), edges).float()  # (order, size), each beside the first
    return CircuitComparison(
        **vars(shape_of(graph)),
        tasks=(chosen[0].name, chosen[1].name),
        metrics=(chosen[0].metric, chosen[1].metric),
        methods=methods,
        select=select,
        replace=replace,
        n_examples=(len(chosen[0]), len(chosen[1])),
        notes=_notes(chosen, runs),
        clean=torch.stack([run.clean.mean() for run in runs]).float(),
        corrupted=torch.stack([run.empty.mean() for run in runs]).float(),
        scores=torch.stack(scores),
        rank=torch.stack([_ranks(order, scores[0]) for order in orders]),
        shares=tuple(shares),
        sizes=sizes,
        kept=edges[:2].sum(-1),
        shared=(edges[0] & edges[1]).sum(-1),
        jaccard=jaccard[1],
        node_jaccard=functional.jaccard(nodes[0], nodes[1]).float(),
        random_jaccard=jaccard[2:].nanmean(0),
        faithfulness=faithfulness[:2],
        random_faithfulness=faithfulness[2:].mean(0),
        spearman=agreement.spearman.item(),
        pearson=agreement.pearson.item(),
    )


def _notes(chosen: list[tasks.Task], runs: list[Judged]) -> tuple[str, ...]:
    """What was adapted, and tasks of which there is nothing to be faithful to."""
    said = [one.note for one in chosen if one.note]
    for one, run in zip(chosen, runs, strict=True):
        if bool(run.faithfulness.isnan().any()):
            said.append(f"On {one.name} the whole model is no better than none of it: faithfulness is undefined.")
    return tuple(dict.fromkeys(said))


def _ranks(order: Tensor, scores: Tensor) -> Int[Tensor, "source slot"]:
    rank = torch.full((scores.numel(),), NEVER)
    rank[order] = torch.arange(len(order))
    return rank.view(scores.shape)
