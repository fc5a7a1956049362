"""Information flow routes: which edges a threshold keeps, what the browser is sent, what stands beside the picture."""

from collections import Counter, defaultdict
from functools import cache
from typing import Any, cast

import numpy as np
import pytest

import workbench
from apps.screens.routes_beside import Part, attention_edges, edge_heads, part_of
from apps.views import routes_graph as graph, routes_tables as tables
from apps.views.routes_figure import route_figure
from apps.views.routes_parts import drawn
from workbench.testing import tiny_model

PROMPT = "the cat sat. the cat"
ATTENTION, RESIDUAL, BIAS, MLP, PASSING = range(5)


@pytest.fixture(scope="module", params=["micro", "gpt2", "neox"])
def found(request):
    model = workbench.load("micro") if request.param == "micro" else tiny_model(request.param)
    return workbench.routes(model, PROMPT, threshold=0.01, norm="l2")


@cache
def sums_of(found) -> dict[tuple, list[tuple]]:
    """All parts above the floor, by the sum that they are in: (state or middle, layer, position) -> [(part, share)]."""
    sums = defaultdict(list)
    one = found.residual_mlp is None
    columns = ("layer", "query", "key", "head", "weight")
    for layer, q, k, head, share in zip(*(getattr(found, f"head_edge_{n}").tolist() for n in columns), strict=True):
        sums["state" if one else "middle", layer, q].append(((ATTENTION, layer, q, k), share, head))
    for kind, values, last in (
        (RESIDUAL, found.residual, one),
        (BIAS, found.bias_attn, one),
        (MLP, found.mlp, True),
        (PASSING, found.residual_mlp, True),
    ):
        for layer, row in enumerate([] if values is None else values.tolist()):
            for q, share in enumerate(row):
                sums["state" if last else "middle", layer, q].append(((kind, layer, q, q), share, -1))
    return sums


@cache
def walked(found, threshold: float, *, renormalise: bool) -> dict[tuple, float]:
    """The route by walking down from the last state, sum by sum: edge -> contribution, heads together."""
    sums, one = sums_of(found), found.residual_mlp is None
    edges, waiting, seen = Counter(), [("state", found.n_layers - 1, found.position)], set()
    while waiting:
        here = waiting.pop()
        if here in seen or here[1] < 0:
            continue
        seen.add(here)
        kept = [entry for entry in sums[here] if entry[1] > threshold]
        total = sum(share for _, share, _ in kept) if renormalise else 1
        for part, share, _ in kept:
            kind, layer, _, key = part
            if kind == BIAS:
                continue
            edges[part] += share / total
            below = ("middle", layer, key) if kind in (MLP, PASSING) and not one else ("state", layer - 1, key)
            waiting.append(below)
    return dict(edges)


@pytest.mark.parametrize("renormalise", [True, False])
def test_each_threshold_keeps_what_a_walk_from_the_last_state_meets(found, renormalise):
    route = drawn(found, renormalise=renormalise)
    assert route.counts == found.n_kept.tolist() and route.counts[0] > route.counts[-1] > 0
    for i, threshold in enumerate(route.thresholds):
        kept = np.flatnonzero(route.stays > i)
        names = [tuple(column[j].item() for column in (route.kind, route.layer, route.query, route.key)) for j in kept]
        shares = dict(zip(names, route.shares[kept, i].tolist(), strict=True))
        assert shares == pytest.approx(walked(found, threshold, renormalise=renormalise), abs=1e-6)


def test_the_browser_is_sent_the_edges_that_hold_longest_and_their_largest_heads(found, monkeypatch):
    route = drawn(found, renormalise=False)
    view = graph.View(threshold=0.03, divided=False, few=True, selected="s1.2", answer="x")
    monkeypatch.setattr(graph, "MOST", 9)
    data = graph.graph_data(route, ["<b>", *found.tokens[1:]], found.n_layers, view)
    assert data["tokens"][0] == {"text": "<b>", "whole": "<b>"} and data["at"] == 2 and data["one"] == route.one_sum
    assert (data["target"], data["selected"], data["counts"]) == (found.position, "s1.2", route.counts)
    sent = [tuple(edge[:4]) for edge in data["edges"]]
    by_hold = sorted(walked(found, 0.01, renormalise=False), key=lambda edge: -holds(found, edge))
    assert {holds(found, edge) for edge in sent} == {holds(found, edge) for edge in by_hold[: len(sent)]}
    for kind, layer, query, key, stays, share, *heads in data["edges"]:
        assert stays == sum(holds(found, (kind, layer, query, key)) > i / 100 for i in range(1, 11)) > 0
        first = share[0] if isinstance(share, list) else share
        assert first == pytest.approx(walked(found, 0.01, renormalise=False)[kind, layer, query, key], rel=6e-3)
        if kind == ATTENTION:
            each = {head: s for part, s, head in sums_at(found, layer, query) if part == (kind, layer, query, key)}
            assert [head for head, _ in heads[0]] == sorted(each, key=lambda head: -each[head])[:3]


def sums_at(found, layer: int, query: int) -> list[tuple]:
    return sums_of(found)["state" if found.residual_mlp is None else "middle", layer, query]


def holds(found, edge: tuple) -> float:
    """The largest share that some part has, below which a walk meets the edge."""
    shares = sorted({share for parts in sums_of(found).values() for _, share, _ in parts}, reverse=True)
    low, high = 0, len(shares) - 1
    while low < high:  # the first (largest) share at which the edge is not yet met, from above
        middle = (low + high) // 2
        if edge in walked(found, shares[middle] - 1e-9, renormalise=False):
            high = middle
        else:
            low = middle + 1
    return shares[low]


def test_the_file_shows_the_columns_and_edges_of_the_screen(found):
    route = drawn(found, renormalise=True)
    figure = route_figure(route, found.tokens, found.n_layers, 0.05, few=True, title="<b>a</b>")
    kept = route.held > 0.05
    columns = sorted({*route.query[kept].tolist(), *route.key[kept].tolist(), found.position})
    layout, traces = cast("Any", figure.layout), cast("Any", figure.data)
    assert len(layout.xaxis.ticktext) == len(columns) and "<b>" not in layout.title.text
    assert sum(np.isnan(trace.y).sum() for trace in traces if trace.mode == "lines") == kept.sum() == route.counts[4]


def test_edges_and_heads_beside_the_picture_are_those_of_the_walk(found):
    route = drawn(found, renormalise=True)
    expected = {part[1:]: share for part, share in walked(found, 0.02, renormalise=False).items() if not part[0]}
    edges = attention_edges(route, 0.02)
    assert {tuple(place): share for *place, share in edges} == pytest.approx(expected, abs=1e-6)
    assert [edge[3] for edge in edges] == sorted((edge[3] for edge in edges), reverse=True)
    layer, query, key, _ = edges[0]
    each = {head: s for part, s, head in sums_at(found, layer, query) if part == (ATTENTION, layer, query, key)}
    heads = edge_heads(found, Part(kind="e", layer=layer, query=query, key=key))
    assert dict(heads) == pytest.approx(each) and [head for head, _ in heads] == sorted(each, key=lambda h: -each[h])


def test_the_address_names_parts_that_are_there(found):
    n, layers = len(found.tokens), found.n_layers
    for text in (f"s{layers}.{n - 1}", "s0.0", f"e{layers - 1}.3.1"):
        assert part_of(text, found).name == text
    wrong = ["", "s", "s1", "x1.2", "e1.2", "s1.2.3", f"s{layers + 1}.0", f"e{layers}.0.0", f"s0.{n}", "s0.-1", "s0.x"]
    for text in [*wrong, *(["m0.0"] if found.mlp is None else []), *(["a0.0"] if found.residual_mlp is None else [])]:
        with pytest.raises(ValueError):
            part_of(text, found)


def test_tables_say_how_ranks_changed_and_escape_tokens():
    import pandas as pd

    states = pd.DataFrame({"rank": [0, 1, 2], "token": ["<b>", " a", "c"], "probability": [0.5, 0.25, 0.125]})
    html = tables.predicted(states.assign(rank_before=[1200, 0, 2], rise=[1200, -1, 0]))
    assert "&lt;b&gt;" in html and "<b>" not in html and "␣a" in html and "0.125" in html
    assert 'wb-rise">▲ 1,200<' in html and 'wb-fall">▼ 1<' in html and 'wb-same">–<' in html
    assert "rank" not in tables.predicted(states)
    rows = [
        ("promoted", 0, "<i>", 2.0),
        ("promoted", 1, "b", 1.0),
        ("suppressed", 0, "c", -3.0),
        ("suppressed", 1, "d", 0),
    ]
    html = tables.promoted(pd.DataFrame(rows, columns=["effect", "rank", "token", "logit"]))
    first = html.split("<tr>")[2]
    assert first.index("&lt;i&gt;") < first.index("+2.00") < first.index(">c<") < first.index("-3.00")
    neurons = pd.DataFrame({"neuron": [7], "activation": [-1.5], "contribution": [0.25], "promotes": ["<u>"]})
    html = tables.neurons(neurons)
    assert all(text in html for text in (">7<", "0.250", "-1.50", "&lt;u&gt;")) and "promotes" in html
    assert "promotes" not in tables.neurons(neurons.drop(columns="promotes"))
