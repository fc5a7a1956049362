"""Who gets it: the indirect object in a small model, from what it answers to which heads and edges carry the answer.

"Because Katherine and Kenneth were late for the market, Katherine threw a card to" goes on with Kenneth: of two names
the one that comes once. In GPT-2 small a circuit of 26 heads does this. Here the default model, which that paper did
not know, is asked the same with the workbench's own tools, and each tool is held against another: gradients against
patching edge by edge, routes against both, circuits against edges in random order, and all of it against a model with
random weights.

Wang et al. (2022), Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 Small,
arXiv 2211.00593. Hanna et al. (2024), Have Faith in Faithfulness, arXiv 2403.17806. Ferrando & Voita (2024),
Information Flow Routes, arXiv 2403.00824.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from torch import Tensor

import workbench
from case_studies.ioi.edges import against_patching, between, curve, orders, sampled, scored
from case_studies.ioi.heads import exact_heads, head_table, route_table
from case_studies.ioi.numbers import answer_numbers, circuit_numbers, edge_numbers, head_numbers, null_numbers
from case_studies.ioi.pictures import curve_figure, head_figure, patched_figure, route_figure
from case_studies.ioi.prompts import behaviour, drawn, exchanged, refusal, untrained
from workbench import functional, studies
from workbench.circuits import Wiring, split

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on how many prompts."""

    train: bool = False  # nothing is trained here: the same as the fast form
    long: bool = False  # more prompts and edges, five orders at random
    model: str = "smollm2-135m"
    small: str = "micro"  # a model that cannot read the prompts at all
    prompts: int = 32  # whose answers are counted
    examples: int = 10  # on which edges are scored and circuits run
    patched: int = 4  # on which edges are patched one by one
    top: int = 60  # edges patched: those with the largest scores ...
    random: int = 60  # ... and others
    heads: int = 12  # heads patched: those with the largest scores, and as many others
    routes: int = 6  # prompts whose routes are traced
    threshold: float = 0.01  # of routes; .04 is usual, and leaves hardly a head here
    shares: tuple[float, ...] = functional.SHARES
    finer: int = 4  # sizes tried between those, where circuits come to be faithful
    null_shares: tuple[float, ...] = (0.01, 0.1)  # of the model with random weights
    draws: int = 1
    faithful: float = 0.8
    seed: int = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """How many prompts, edges and heads this form takes."""
        names = ("prompts", "examples", "patched", "top", "random", "heads", "routes", "draws")
        fast: dict[str, int] = {name: getattr(self, name) for name in names}
        return fast | LONG if self.long else fast


LONG = {"prompts": 128, "examples": 32, "patched": 10, "top": 100, "random": 200, "heads": 30, "routes": 16, "draws": 5}


def run(config: Config) -> studies.Findings:
    """Answers, heads, edges, patching and routes of the model, and what a model with random weights gives."""
    n = config.counts
    try:
        model = workbench.load(config.model)
    except workbench.Unavailable as error:
        return studies.Findings(numbers={}, skipped={"": str(error)})
    fresh = untrained(model, config.seed)
    task = drawn(model, n["prompts"], config.seed)
    few = task.first(n["examples"])
    answers = pd.DataFrame(
        [
            behaviour("trained", model, task),
            behaviour("trained, names exchanged", model, exchanged(task)),
            behaviour("random weights", fresh, task),
        ]
    )
    wiring, empty = split(model), split(fresh)
    scores = {"eap-ig": scored(wiring, few, "eap-ig", 5), "eap": scored(wiring, few, "eap", 1)}
    heads = causal_heads(wiring, few, scores["eap-ig"], n["heads"], config.seed)
    heads = with_routes(heads, route_table(model, few.first(n["routes"]), config.threshold))
    rows = circuits(wiring, few, scores["eap-ig"], config)
    patched = few.first(n["patched"])
    there = {name: scored(wiring, patched, name, 5) for name in ("eap-ig", "eap")}
    mask = sampled(there["eap-ig"], wiring.graph.exists, n["top"], n["random"], config.seed)
    edges = against_patching(wiring, patched, mask, there)
    nothing = scored(empty, few, "eap-ig", 5)
    null = circuits(empty, few, nothing, replace(config, shares=config.null_shares, finer=0, draws=0, long=False))
    numbers = {
        **answer_numbers(answers),
        **head_numbers(heads),
        **edge_numbers(edges),
        **circuit_numbers(wiring, rows, config.faithful),
        **null_numbers(null, scores["eap-ig"], nothing),
        "untrained.refused": float(bool(refusal(fresh, 16, config.seed))),
        "micro.refused": float(bool(refusal(workbench.load(config.small), 16, config.seed))),
    }
    return studies.Findings(
        numbers=numbers,
        tables={
            "Answers": answers,
            "Heads": heads,
            "Faithfulness": pd.concat(
                [rows.assign(model="trained"), null.assign(model="random weights")], ignore_index=True
            ),
            "Patched edges": edges,
            "Top edges": top_edges(wiring, scores["eap-ig"]),
        },
        figures={
            "Heads": head_figure(heads),
            "Faithfulness": curve_figure(rows),
            "Patched edges": patched_figure(edges),
            "Routes": route_figure(heads),
        },
    )


# ---- tables ----------------------------------------------------------------------------------------------------------


def causal_heads(wiring: Wiring, task: Any, scores: Tensor, most: int, seed: int) -> Table:
    """Every head, the first of them by score and as many others patched whole; what was not patched is NaN."""
    table = head_table(wiring, task, scores)
    order = table["score"].abs().sort_values(ascending=False).index
    rest = table.loc[order[most:], "node"].sample(most, random_state=seed)
    exact = exact_heads(wiring, task, [*table.loc[order[:most], "node"], *rest])
    table["patched"] = table["node"].map(exact)
    return table.loc[order].reset_index(drop=True)


def with_routes(heads: Table, routes: Table) -> Table:
    """The same with what routes say of each head, 0 where none passes through it."""
    return heads.merge(routes, "left", ["layer", "head"]).fillna({"route": 0.0, "on routes": 0.0})


def top_edges(wiring: Wiring, scores: Tensor, most: int = 30) -> Table:
    """The first edges by the size of their score."""
    graph = wiring.graph
    n_slots = scores.shape[1]
    places = [divmod(int(place), n_slots) for place in functional.top_order(scores, graph.exists)[:most]]
    return pd.DataFrame([{"edge": graph.edge_name(*place), "score": float(scores[place])} for place in places])


def circuits(wiring: Wiring, task: Any, scores: Tensor, config: Config) -> Table:
    """One row for each order of edges and size: how faithful the circuit is."""
    sizes = functional.circuit_sizes(config.shares, wiring.graph.n_edges).tolist()
    found = []
    for name, order in orders(wiring, scores, config.counts["draws"], config.seed).items():
        rows = curve(wiring, task, order, sizes)
        if not name.startswith("random") and (more := between(rows, config.faithful, config.finer)):
            rows = pd.concat([rows, curve(wiring, task, order, more)]).sort_values("edges")
        found.append(rows.assign(by=name))
    return pd.concat(found, ignore_index=True)
