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
import plotly.graph_objects as go
import torch
from torch import Tensor

import workbench
from case_studies.ioi.edges import against_patching, between, curve, orders, sampled, scored, smallest
from case_studies.ioi.heads import exact_heads, head_table, rank_correlation, route_table
from case_studies.ioi.prompts import behaviour, drawn, exchanged, refusal, untrained
from workbench import functional, plots, studies
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
    model = workbench.load(config.model)
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


# ---- numbers ---------------------------------------------------------------------------------------------------------


def answer_numbers(answers: Table) -> dict[str, float]:
    """Accuracy and logit differences by kind of model and prompt."""
    names = {"trained": "answers", "trained, names exchanged": "exchanged", "random weights": "untrained"}
    found: dict[str, float] = {}
    for row in answers.to_dict("records"):
        lead = names[row["model"]]
        found |= {f"{lead}.accuracy": row["accuracy"], f"{lead}.difference": row["logit difference"]}
        found[f"{lead}.corrupted"] = row["corrupted"]
    sizes = {
        "answers.corrupted_size": abs(found["answers.corrupted"]),
        "untrained.difference_size": abs(found["untrained.difference"]),
    }
    return found | sizes | {"answers.first": float(answers["first of all tokens"][0])}


def head_numbers(heads: Table, most: int = 12) -> dict[str, float]:
    """What kinds of heads there are, and whether routes pass through those that matter."""
    patched = heads.dropna(subset="patched")
    movers = heads[(heads["direct"] > 0) & (heads["receiver"] > 0.5)]
    blocking = heads[(heads["direct"] > 0) & (heads["giver, second"] > 0.5)]
    against = heads[(heads["direct"] < 0) & (heads["receiver"] > 0.5)]
    silent = heads[(heads["giver, second"] > 0.5) & (heads["score"] > 0)]
    silent = silent[silent["direct"].abs() < 0.1 * silent["score"]]
    ranks = heads["route"].rank(ascending=False)
    helping, hurting = heads[heads["score"] > 0.1], heads[heads["score"] < -0.1]
    first = heads.head(most)
    total = heads["score"].abs().sum()
    return {
        "heads.patched_with_scores": rank_correlation(patched["score"].abs(), patched["patched"].abs()),
        "heads.same_sign": float((patched["score"] * patched["patched"] > 0).head(most).mean()),
        "heads.movers": float(len(movers)),
        "heads.movers_direct": float(movers["direct"].sum()),
        "heads.movers_first_layer": float(movers["layer"].min()) if len(movers) else float("nan"),
        "heads.negative": float(len(against)),
        "heads.negative_direct": float(against["direct"].sum()),
        "heads.blocking_direct": float(blocking["direct"].max()) if len(blocking) else 0.0,
        "heads.silent": float(len(silent)),
        "heads.duplicate": float(((heads["to itself before"] > 0.5) & (heads["score"] > 0.1)).sum()),
        "heads.induction": float(((heads["to what followed"] > 0.5) & (heads["score"] > 0.1)).sum()),
        "heads.best_on_giver": float(heads["giver, second"][0]),
        "heads.best_direct": float(heads["direct"][0]),
        "heads.best_on_receiver": float(heads["receiver"][0]),
        "heads.best_share": float(abs(heads["score"][0]) / total),
        "heads.silent_patched": float(silent["patched"].max()) if len(silent) else float("nan"),
        "routes.with_scores": rank_correlation(heads["route"], heads["score"].abs()),
        "routes.with_direct": rank_correlation(heads["route"], heads["direct"].abs()),
        "routes.heads": float((heads["route"] > 0).sum()),
        "routes.best_rank": float(ranks[0]),
        "routes.helping_missed": float((helping["route"] == 0).mean()),
        "routes.hurting_missed": float((hurting["route"] == 0).mean()),
        "routes.causal_missed": float((first["route"] == 0).sum()),
        "routes.not_causal": float((heads[ranks <= most]["score"].abs() < 0.05).sum()),
    }


def edge_numbers(edges: Table) -> dict[str, float]:
    """Whether gradients say what patching says, by size and by sign."""
    found: dict[str, float] = {}
    largest = edges[edges["exact"].abs() >= edges["exact"].abs().quantile(0.75)]
    for name in ("eap-ig", "eap"):
        lead, own = f"edges.{name.replace('-', '_')}", edges[name]
        found |= {
            f"{lead}.pearson": float(own.corr(edges["exact"])),
            f"{lead}.spearman": rank_correlation(own, edges["exact"]),
            f"{lead}.spearman_of_sizes": rank_correlation(own.abs(), edges["exact"].abs()),
            f"{lead}.same_sign": float((largest[name] * largest["exact"] > 0).mean()),
        }
    order = "edges.{}.spearman_of_sizes"
    return found | {"edges.order_gain": found[order.format("eap_ig")] - found[order.format("eap")]}


def circuit_numbers(wiring: Wiring, rows: Table, faithful: float) -> dict[str, float]:
    """The smallest circuits that are faithful, and areas under the curves, beside edges in random order."""
    found: dict[str, float] = {}
    random = rows[rows["by"].str.startswith("random")]
    for name in ("size", "help"):
        own = rows[rows["by"] == name]
        size = smallest(own, faithful)
        found |= {f"circuit.{name}.smallest": size, f"circuit.{name}.smallest_share": size / wiring.graph.n_edges}
        found |= area(f"circuit.{name}", own)
        found[f"circuit.{name}.most"] = float(own["faithfulness"].max())
    each = [area("random", one) for _, one in random.groupby("by")]
    found |= {name: sum(one[name] for one in each) / len(each) for name in each[0]}
    return found | {"random.smallest": smallest(random, faithful) / wiring.graph.n_edges}


def area(lead: str, rows: Table) -> dict[str, float]:
    """CPR and CMD of one curve, from the first size that is an edge at least."""
    rows = rows[rows["edges"] > 0]
    found = functional.faithfulness_areas(rows["share"].tolist(), torch.tensor(rows["faithfulness"].tolist()))
    return {f"{lead}.cpr": float(found.cpr), f"{lead}.cmd": float(found.cmd)}


def null_numbers(null: Table, trained: Tensor, fresh: Tensor) -> dict[str, float]:
    """What a circuit of a model with random weights comes to, though the workbench advises against it."""
    return {
        "untrained.largest_edge": float(fresh[~fresh.isnan()].abs().max() / trained[~trained.isnan()].abs().max()),
        "untrained.at_tenth": float(null[null["by"] == "size"]["faithfulness"].iloc[-1]),
        "untrained.at_tenth_help": float(null[null["by"] == "help"]["faithfulness"].iloc[-1]),
    }


# ---- pictures --------------------------------------------------------------------------------------------------------


def head_figure(heads: Table, most: int = 14) -> go.Figure:
    """The first heads: what their edges come to, what patching them does, and what they write on the answer."""
    tidy = heads.head(most).rename(columns={"score": "EAP-IG", "direct": "direct effect"})
    tidy = tidy.melt(["node"], ["EAP-IG", "patched", "direct effect"], "by", "drop of the logit difference")
    figure = plots.bars(tidy, x="node", y="drop of the logit difference", color="by")
    return figure.update_layout(height=380, margin={"t": 10, "b": 70})


def curve_figure(rows: Table) -> go.Figure:
    """Faithfulness by share of edges, of circuits and of edges in random order."""
    shown = rows[rows["edges"] > 0].rename(columns={"by": "edges by"})
    figure = plots.lines(shown, x="share", y="faithfulness", color="edges by")
    figure.update_xaxes(type="log", title="share of edges")
    return figure.update_layout(height=380, margin={"t": 10, "b": 80})


def patched_figure(edges: Table) -> go.Figure:
    """Each edge: by how much patching it lowers the logit difference, and by how much gradients say it does."""
    figure = plots.lines(
        edges.melt(["edge", "exact"], ["eap-ig", "eap"], "by", "score"), x="exact", y="score", color="by"
    )
    figure.update_traces(mode="markers")
    ends = [float(edges["exact"].min()), float(edges["exact"].max())]
    figure.add_scatter(x=ends, y=ends, mode="lines", name="equal", line={"width": 1, "dash": "dot"})
    figure.update_xaxes(title="patched")
    return figure.update_layout(height=400, margin={"t": 10, "b": 80})


def route_figure(heads: Table, named: int = 10) -> go.Figure:
    """Each head: its share of the routes, and what its edges come to; the first few by name."""
    figure = go.Figure()
    figure.add_scatter(
        x=heads["route"].tolist(),
        y=heads["score"].tolist(),
        text=[name if i < named else "" for i, name in enumerate(heads["node"])],
        mode="markers+text",
        textposition="middle right",
        textfont={"size": 10},
    )
    figure.update_xaxes(title="share of routes")
    figure.update_yaxes(title="EAP-IG, all edges of the head")
    return figure.update_layout(height=420, template="plotly_white", margin={"t": 10, "b": 80})
