"""The same heads found three other ways: by routes from one pass, by gradients, and by patching every edge."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch

import workbench
from workbench import functional, plots, tasks

METHODS = {
    "eap": {"method": "eap"},
    "eap-ig left": {"method": "eap-ig", "rule": "left"},
    "eap-ig midpoint": {"method": "eap-ig"},
    "eap-ig right": {"method": "eap-ig", "rule": "right"},
    "eap-ig 30 steps": {"method": "eap-ig", "steps": 30},
    "clean-corrupted": {"method": "clean-corrupted"},
    "exact": {"method": "exact"},
}
SIZES = (0.05, 0.1, 0.2, 0.5)
THRESHOLDS = (0.01, 0.04, 0.1)


# ---- edge attribution against exact patching -------------------------------------------------------------------------


def attributed(model: workbench.LensModel, task: str, examples: int, draws: int) -> dict[str, Any]:
    """One circuit of each method; edges in random order beside the exact one."""
    return {
        name: workbench.circuit(
            model, task, **options, select="top", examples=examples, draws=draws if name == "exact" else 0
        )
        for name, options in METHODS.items()
    }


def methods_table(circuits: dict[str, Any]) -> pd.DataFrame:
    """How far each method agrees with exact patching, and how good its circuits are."""
    exact = circuits["exact"]
    rows = []
    for name, one in circuits.items():
        both = functional.score_agreement(one.scores.flatten(), exact.scores.flatten())
        row = {"method": name, "spearman": both.spearman.item(), "pearson": both.pearson.item()}
        rows.append(row | {"cpr": one.cpr, "cmd": one.cmd} | _at_sizes(one.faithfulness, one.shares))
    chance = exact.random_faithfulness.mean(0)
    row = {"method": "random", "spearman": float("nan"), "pearson": float("nan")}
    rows.append(row | {"cpr": exact.cpr_random, "cmd": exact.cmd_random} | _at_sizes(chance, exact.shares))
    return pd.DataFrame(rows)


def _at_sizes(curve: torch.Tensor, shares: tuple[float, ...]) -> dict[str, float]:
    return {f"at {size:.0%}": curve[shares.index(size)].item() for size in SIZES}


def curve_figure(circuits: dict[str, Any]) -> go.Figure:
    """Faithfulness against size, for exact patching, gradients and chance."""
    exact = circuits["exact"]
    shown = {name: circuits[name].faithfulness for name in ("exact", "eap", "eap-ig midpoint")}
    shown["random order"] = exact.random_faithfulness.mean(0)
    frame = pd.concat(
        pd.DataFrame({"share of edges": exact.shares, "faithfulness": curve.tolist(), "edges by": name})
        for name, curve in shown.items()
    )
    figure = plots.lines(frame, x="share of edges", y="faithfulness", color="edges by", log_x=True)
    return figure.update_layout(height=340, margin={"t": 10, "b": 60})


def fed_heads(circuit: Any, n: int, layer: int) -> set[tuple[int, int]]:
    """(layer, head) of one layer that are sources of edges in the circuit of `n` edges."""
    kept = circuit.circuit(n).kept_edges()
    sources = {edge.partition("->")[0] for edge in kept}
    return {(layer, head) for head in range(circuit.n_heads) if f"a{layer}.h{head}" in sources}


def keys_of_the_match(circuit: Any) -> dict[str, float]:
    """What the keys of layer 1 read of layer 0 when the place is what is corrupted: by head, as shares of all heads."""
    slots = [circuit.graph.slot_index(f"a1.h{head}<k>") for head in range(circuit.n_heads)]
    rows = [circuit.graph.source_index(f"a0.h{head}") for head in range(circuit.n_heads)]
    read = circuit.scores[rows][:, slots].abs().sum(-1)
    numbers = {f"circuit.match.keys_read_0_{head}": share for head, share in enumerate((read / read.sum()).tolist())}
    layer_0 = sorted(head for _, head in fed_heads(circuit, 12, 0))
    return numbers | {"circuit.match.heads_in_12_edges": float(len(layer_0)), "circuit.match.size": circuit.smallest()}


# ---- routes ----------------------------------------------------------------------------------------------------------


def routed(model: workbench.LensModel, examples: int, *, norm: str = "l1", edits: dict | None = None) -> pd.DataFrame:
    """One prompt a row: shares of the two edges that induction is made of, and whether they are on the route.

    answer edge: heads of layer 1 from the last position to the token after its last copy. previous edge: heads of
    layer 0 from that token to the one before it.
    """
    rows = []
    for example in workbench.track(tasks.draw("induction", model, examples=examples).examples, label="routes"):
        ids = list(example.clean)
        last, after = len(ids) - 1, ids.index(ids[-1]) + 1
        with workbench.editing(model, edits or {}):
            found = workbench.routes(model, torch.tensor([ids]), norm=norm)
        answer, previous = _looks(found, 1, last), _looks(found, 0, after)
        row: dict[str, Any] = {
            "answer edge": answer.get(after, 0.0),
            "is largest": max(answer, key=lambda key: answer[key], default=-1) == after,
            "residual": found.residual[1, last].item(),
            "bias": found.bias_attn[1, last].item(),
            "previous edge": previous.get(after - 1, 0.0),
        }
        for threshold in THRESHOLDS:
            edges = found.edges_frame(threshold)
            edges = edges[edges["kind"] == "attention"]
            looks = set(zip(edges["layer"], edges["query"], edges["key"], strict=True))
            row[f"both at {threshold:g}"] = {(1, last, after), (0, after, after - 1)} <= looks
            row[f"edges at {threshold:g}"] = sum((layer, query) == (1, last) for layer, query, _ in looks)
        rows.append(row)
    return pd.DataFrame(rows)


def _looks(found: Any, layer: int, query: int) -> dict[int, float]:
    """Key -> share of all heads of a layer at one position."""
    here = (found.head_edge_layer == layer) & (found.head_edge_query == query)
    shares: dict[int, float] = {}
    for key, share in zip(found.head_edge_key[here].tolist(), found.head_edge_weight[here].tolist(), strict=True):
        shares[key] = shares.get(key, 0.0) + share
    return shares


def permuted(model: workbench.LensModel) -> dict:
    """Edits that give each query its attention weights in another order of the keys it sees: the control."""

    def shuffle(pattern: torch.Tensor) -> torch.Tensor:  # (batch, head, query, key)
        generator, mixed = torch.Generator().manual_seed(0), torch.zeros_like(pattern)
        for query in range(pattern.shape[2]):
            order = torch.randperm(query + 1, generator=generator)
            mixed[:, :, query, : query + 1] = pattern[:, :, query, order]
        return mixed

    return {site: shuffle for site in model.attention_sites(None, "pattern")}


def routes_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Means over prompts, a row for each way of measuring."""
    return pd.DataFrame([{"routes": name, **table.astype(float).mean().to_dict()} for name, table in tables.items()])


# ---- both, as numbers ------------------------------------------------------------------------------------------------


def measured(
    model: workbench.LensModel, untrained: workbench.LensModel, examples: int, draws: int
) -> tuple[dict[str, float], dict[str, pd.DataFrame], dict[str, go.Figure]]:
    """Numbers, tables and figures for the study; `untrained` has random weights."""
    by_value = attributed(model, "induction", examples, draws)
    by_match = workbench.circuit(model, "induction-match", method="exact", examples=examples, draws=0)
    methods = methods_table(by_value)
    routes = {
        "lengths in L1": routed(model, examples),
        "lengths in L2": routed(model, examples, norm="l2"),
        "attention permuted": routed(model, examples, edits=permuted(model)),
        "untrained": routed(untrained, examples),
    }
    ways = routes_table(routes)
    numbers: dict[str, float] = {}
    for row in methods.to_dict("records"):
        lead = f"circuit.{row.pop('method').replace(' ', '_')}"
        numbers |= {f"{lead}.{name.replace(' ', '_')}": value for name, value in row.items()}
    for row in ways.to_dict("records"):
        lead = f"routes.{row.pop('routes').replace(' ', '_')}"
        numbers |= {f"{lead}.{name.replace(' ', '_')}": value for name, value in row.items()}
    numbers["circuit.clean"], numbers["circuit.corrupted"] = by_value["exact"].clean, by_value["exact"].corrupted
    numbers["circuit.induction_heads"] = float(len(fed_heads(by_value["exact"], 8, 1)))
    numbers |= keys_of_the_match(by_match)
    tables = {"Methods": methods, "Routes": ways, "Edges of the match": by_match.to_frame().head(24)}
    return numbers, tables, {"Circuits by their size": curve_figure(by_value)}


# ---- over training ---------------------------------------------------------------------------------------------------


def followed(models: dict[int, workbench.LensModel], examples: int) -> Any:
    """The circuit that finds the place to copy from, at each checkpoint of the committed run; step 0 is untrained."""
    return workbench.circuit_history(
        tuple(models), lambda step: models[step], "induction-match", examples=examples, unit="step of training"
    )


def history_numbers(history: Any) -> dict[str, float]:
    """When the task and its circuit come, and what stays."""
    frame = history.to_frame().set_index("step")
    first = {row["node"]: row["first"] for row in history.appearances().to_dict("records")}
    numbers = {f"history.{step}.{name}": frame.loc[step, name] for step in frame.index for name in ("accuracy", "kept")}
    numbers |= {f"history.{step}.last_circuit": frame.loc[step, "last_circuit"] for step in frame.index}
    numbers["history.first_done"] = float(frame.index[frame["does"] == 1].min()) if frame["does"].any() else -1.0
    heads = {"previous": ("a0.h2", "a0.h3"), "induction": tuple(f"a1.h{head}" for head in range(4))}
    for kind, names in heads.items():
        numbers[f"history.{kind}_heads_come"] = float(max(first.get(name, -1) for name in names))
    numbers["history.last_jaccard"] = frame["node_jaccard"].iloc[-1]
    return {name: float(value) for name, value in numbers.items()}


def history_figure(history: Any) -> go.Figure:
    """How many edges the circuit needs, as a share of all, and how much the final circuit does at each step."""
    frame = history.to_frame()
    frame.loc[frame["found"] == 0, "share"] = float("nan")
    tidy = frame.melt("step", ["accuracy", "share", "last_circuit"], "what", "value").dropna()
    names = {"share": "share of edges needed", "last_circuit": "faithfulness of the final circuit"}
    figure = plots.lines(tidy.replace({"what": names}), x="step", y="value", color="what")
    return figure.update_layout(height=340, margin={"t": 10, "b": 60})
