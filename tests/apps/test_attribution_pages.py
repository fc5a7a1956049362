"""The two pages of token attribution: numbers behind the pictures, and the pages drawn without a browser."""

import base64
import itertools

import numpy as np
import pytest

from apps.views.flow_edges import flow_edges, largest, reached, rollout_edges, with_residual
from apps.views.flow_graph import Window, graph_data
from apps.views.flow_graph_figure import graph_figure
from apps.views.sprite import ink_on
from apps.views.token_table import Column, column_data
from apps.views.token_table_colours import LEVELS, palette, shades
from apps.views.token_table_figure import table_figure


def attention(steps: int, n: int, *, causal: bool = True) -> np.ndarray:
    maps = np.random.default_rng(0).random((steps, n, n))
    maps = np.tril(maps) if causal else maps
    return maps / maps.sum(-1, keepdims=True)


def luminance(colour: tuple[int, int, int]) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (channel / 255 for channel in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_zero_is_the_middle_of_one_scale_and_numbers_are_legible_on_all_of_it(dark):
    colours = palette(dark=dark)
    assert len(colours) == 2 * LEVELS + 1
    away = [abs(luminance(colour) - luminance(colours[LEVELS])) for colour in colours]
    assert away[: LEVELS + 1] == sorted(away[: LEVELS + 1], reverse=True) and away[LEVELS:] == sorted(away[LEVELS:])
    assert all(blue > red for red, _, blue in colours[LEVELS + 1 :]) and all(r > b for r, _, b in colours[:LEVELS])
    inks = {"#11171b": luminance((17, 23, 27)), "#ffffff": 1.0}
    for colour in colours:
        dim, bright = sorted((luminance(colour), inks[ink_on(colour)]))
        assert (bright + 0.05) / (dim + 0.05) > 3, colour


def test_each_column_is_shaded_by_its_own_largest_score():
    assert shades(np.array([4.0, -1.0, 0.0, np.nan])).tolist()[:3] == [1.0, -0.5, 0.0]
    assert np.isnan(shades(np.array([4.0, np.nan])))[1]
    assert np.array_equal(shades(np.array([400.0, -100.0])), shades(np.array([4.0, -1.0])))
    assert shades(np.zeros(3)).tolist() == [0, 0, 0]
    assert np.isnan(shades(np.full(3, np.nan))).all()


def test_a_column_reaches_the_browser_as_float32_with_its_holes():
    values = np.array([[0.1, np.nan], [-2.0, 3.0]])
    sent = column_data(Column(name="a", title="A", values=values, agreement=(0.5, float("nan"))))
    read = np.frombuffer(base64.b64decode(sent["values"]), "<f4").reshape(sent["n_steps"], -1)
    assert np.array_equal(read, values.astype("f4"), equal_nan=True)
    assert sent["agreement"] == [0.5, None]


def test_the_figure_of_the_table_is_the_step_on_the_screen():
    rng = np.random.default_rng(0)
    cumulative = Column(name="rollout", title="Rollout", values=rng.random((3, 4)))
    single = Column(name="ixg", title="<b>Input</b>", values=rng.normal(size=(1, 4)), signed=True)
    check = Column(name="check", title="Removed", values=np.array([[1.0, np.nan, -2.0, 0.0]]), signed=True)
    figure = table_figure(["<i>a</i>", "b", "c", "d"], [cumulative, single], check, step=1, title="logit of '<b>'")
    shown = [np.asarray(trace.customdata)[:, 0] for trace in figure.data]
    assert np.array_equal(shown[0], cumulative.values[1]) and np.array_equal(shown[1], single.values[0])
    assert np.array_equal(shown[2], check.values[0], equal_nan=True)
    assert {(trace.zmin, trace.zmax) for trace in figure.data} == {(-1, 1)}
    written = figure.to_json()
    assert "<b>" not in written and "<i>" not in written


@pytest.mark.parametrize("causal", [True, False])
def test_rollout_edges_are_sums_over_paths(causal):
    """Every path from the target down, one by one: each edge carries the paths that use it."""
    maps = with_residual(attention(3, 4, causal=causal), 0.5)
    for source in (None, 2):
        expected = np.zeros_like(maps)
        for path in itertools.product(range(4), repeat=3):
            if source is not None and path[-1] != source:
                continue
            nodes = (3, *path)  # from the top down
            product = np.prod([maps[2 - i, nodes[i], nodes[i + 1]] for i in range(3)])
            for i in range(3):
                expected[2 - i, nodes[i], nodes[i + 1]] += product
        assert np.allclose(rollout_edges(maps, 3, 3, source), expected, atol=1e-12)
    assert np.allclose(rollout_edges(maps, 3, 3).sum((1, 2)), 1)
    assert np.allclose(rollout_edges(maps, 2, 1)[0].sum(0), (maps[1] @ maps[0])[1])


def test_raw_edges_are_those_that_lead_down_from_the_target():
    maps = np.zeros((2, 3, 3))
    maps[1, 2, 1] = maps[1, 0, 0] = maps[0, 1, 0] = maps[0, 2, 2] = 1
    kept = reached(maps, 2, 2)
    assert np.argwhere(kept).tolist() == [[0, 1, 0], [1, 2, 1]]


def test_the_largest_edges_within_the_window():
    carried = np.zeros((2, 5, 5))
    carried[0, 2, 2], carried[1, 4, 2], carried[1, 4, 0], carried[0, 3, 2] = 0.5, 0.3, 0.2, 0.1
    edges = largest(carried, 2, 5, 2)
    assert list(zip(edges.step, edges.query, edges.key, edges.value, strict=True)) == [(0, 2, 2, 0.5), (1, 4, 2, 0.3)]
    assert edges.left_out == 1 and edges.elsewhere == pytest.approx(0.2 / 1.1)
    assert len(largest(carried, 2, 5, 100).value) == 3 and len(largest(carried * 0, 0, 5, 10).value) == 0


def test_the_browser_gets_positions_of_the_whole_prompt():
    window = Window(tokens=tuple("abcdef"), sides=(*["input"] * 4, *["target"] * 2), steps=("one",), first=2, last=6)
    carried = np.zeros((1, 6, 6))
    carried[0, 5, 3] = 1
    data = graph_data(window, largest(carried, 2, 6, 9), np.array([1.0, 0, 0.5, 0, 0.5, 0]), shares=True)
    assert data["edges"] == [[0, 5, 3, 1.0]] and data["breaks"] == [4] and data["levels"] == ["input", "one"]
    assert data["numbers"] == [0.5, 0, 0.5, 0] and data["shares"] == [0.25, 0, 0.25, 0]


def test_the_figure_of_the_graph_leaves_out_what_the_screen_leaves_out():
    window = Window(tokens=("<b>", "b", "c"), sides=("input",) * 3, steps=("layer 0",), first=0, last=3)
    carried = np.zeros((1, 3, 3))
    carried[0, 2, 0], carried[0, 2, 1] = 0.9, 0.05
    edges = largest(carried, 0, 3, 9)
    numbers = carried[0, 2]

    def drawn(thin: float) -> int:
        figure = graph_figure(window, edges, numbers, target=(1, 2), source=0, thin=thin, title="<b>")
        assert "<b>" not in figure.to_json()
        return sum(len(trace.x) // 3 for trace in figure.data if trace.mode == "lines")

    assert (drawn(0.0), drawn(0.05), drawn(0.1)) == (2, 2, 1)


@pytest.mark.parametrize("causal", [True, False])
def test_the_edges_of_a_flow_are_a_maximum_flow(causal):
    """No edge carries more than it may, what comes into a node leaves it, and networkx finds no more."""
    import networkx as nx

    maps = with_residual(attention(3, 5, causal=causal), 0.5)
    graph = nx.DiGraph()
    for (step, query, key), weight in np.ndenumerate(maps):
        if weight > 0:
            graph.add_edge((step + 1, query), (step, key), capacity=weight)
    for source in range(5):
        passed = flow_edges(maps, 3, 4, source)
        assert (passed >= 0).all() and (passed <= maps + 1e-8).all()
        assert np.allclose(passed[1:].sum(1), passed[:-1].sum(2), atol=1e-8)
        assert passed[2].sum() == passed[2, 4].sum() and passed[0].sum() == passed[0, :, source].sum()
        assert passed[0].sum() == pytest.approx(nx.maximum_flow_value(graph, (3, 4), (0, source)), abs=1e-6)
