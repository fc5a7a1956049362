"""The two pages of token attribution: numbers behind the pictures, and the pages drawn without a browser."""

import base64
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import workbench
from apps.views.flow_edges import largest, reached, rollout_edges, with_residual
from apps.views.flow_followed import TOGETHER, followed, frame_of, telling
from apps.views.flow_graph import Window, graph_data
from apps.views.flow_graph_figure import graph_figure
from apps.views.sprite import ink_on
from apps.views.token_table import Column, column_data
from apps.views.token_table_colours import LEVELS, palette, shades
from apps.views.token_table_data import layer_of, named, names_in, table_of
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
    sent = column_data(Column(name="a", title="A", values=values, agreement={"spearman": (0.5, float("nan"))}))
    read = np.frombuffer(base64.b64decode(sent["values"]), "<f4").reshape(sent["n_steps"], -1)
    assert np.array_equal(read, values.astype("f4"), equal_nan=True)
    assert sent["agreement"] == {"spearman": [0.5, None]}


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

    raw = attention(3, 5, causal=causal)
    maps = with_residual(raw, 0.5)
    graph = nx.DiGraph()
    for (step, query, key), weight in np.ndenumerate(maps):
        if weight > 0:
            graph.add_edge((step + 1, query), (step, key), capacity=weight)
    flows = [nx.maximum_flow_value(graph, (3, 4), (0, source)) for source in range(5)]
    for source in range(5):
        one = followed(raw, "flow", 3, 4, source)
        assert one.source == source and one.numbers == pytest.approx(flows, abs=1e-6)
        passed = one.carried
        assert (passed >= 0).all() and (passed <= maps + 1e-8).all()
        assert np.allclose(passed[1:].sum(1), passed[:-1].sum(2), atol=1e-8)
        assert passed[2].sum() == pytest.approx(passed[2, 4].sum()) == pytest.approx(flows[source], abs=1e-6)
        assert passed[0].sum() == pytest.approx(passed[0, :, source].sum())
    together = followed(raw, "flow", 3, 4, None)
    assert together.source is None and together.carried[0].sum(0) == pytest.approx(np.array(flows) / sum(flows))


def test_the_three_ways_agree_after_one_layer():
    """After one layer there is one way from a node to a token: flow and rollout are the mixed weights, raw the bare."""
    raw = attention(2, 6)
    mixed = with_residual(raw, 0.5)[0, 4]
    assert followed(raw, "flow", 1, 4, None).numbers == pytest.approx(mixed)
    assert followed(raw, "rollout", 1, 4, None).numbers == pytest.approx(mixed)
    assert followed(raw, "raw", 1, 4, None).numbers == pytest.approx(raw[0, 4])


def test_saturated_tokens_are_counted_in_the_note():
    raw = np.zeros((2, 4, 4))
    raw[:, :, 0] = 1  # all look at the first token: nothing else can pass but by one's own column
    assert "saturated" not in followed(raw, "flow", 2, 3, None).said
    raw = np.full((8, 4, 4), 0.25)
    one = followed(raw, "flow", 8, 3, None)
    full = int((one.numbers > 0.9999).sum())
    assert full >= 2 and f"{full} of 4 tokens are saturated" in one.said


def test_the_file_of_the_graph_holds_its_numbers_and_edges():
    one = followed(attention(2, 4), "rollout", 2, 3, None)
    frame = frame_of(one, ("<b>", "b", "c", "d"), ("layer 0", "layer 1"), 2, 3)
    numbers, edges = (frame[frame.quantity == kind] for kind in ("number", "edge"))
    assert numbers.value.tolist() == one.numbers.tolist() and set(numbers["query"]) == {3}
    assert numbers.key_token.tolist() == ["<b>", "b", "c", "d"] and set(numbers.step) == {"layer 1"}
    assert edges.value.sum() == pytest.approx(2) and (edges.step == "layer 0").sum() == (one.carried[0] > 0).sum()
    assert set(edges.query_token[edges.step == "layer 1"]) == {"d"}


def test_a_long_prompt_draws_the_flow_to_one_telling_token_that_is_shown():
    flows = np.array([1.0, 0.4, 0.7, 0.9])
    assert [telling(flows, 3, 0, 4), telling(flows, 3, 0, 2), telling(flows, 2, 0, 4)] == [2, 1, 3]
    assert telling(np.array([1.0, 1.0, 1.0]), 2, 1, 3) in (1, 2)
    raw = attention(1, TOGETHER + 1)
    one = followed(raw, "flow", 1, TOGETHER, None, (30, 60))
    assert one.source is not None and 30 <= one.source < 60
    assert one.carried.sum() == pytest.approx(one.numbers[one.source])
    assert followed(raw[:, :-1, :-1], "flow", 1, 9, None).source is None


@pytest.fixture(scope="module")
def result():
    methods = ("rollout", "knockout", "raw")
    return workbench.token_attribution(workbench.load("micro"), "the cat", methods=methods, skip_first=True)


def test_the_columns_of_a_result(result):
    table = table_of(result)
    assert [column.name for column in table.columns] == ["rollout", "knockout", "raw"]
    assert table.steps == ("layer 0", "layer 1")
    assert [len(column.values) for column in table.columns] == [2, 1, 2]
    lines = [i for i, name in enumerate(result.line_methods) if name == "raw"]
    assert table.columns[2].values.tolist() == result.scores[lines].tolist()
    assert table.columns[2].agreement["spearman"] == tuple(result.agreement[lines, 0].tolist())
    assert "signed spearman" in table.columns[1].agreement and "signed spearman" not in table.columns[0].agreement
    assert [column.same for column in table.columns] == [False, result.check == "mask-attention", False]
    assert table.check is not None and table.check.values.tolist() == [result.effects.tolist()]
    assert table.control is not None and table.control.low < table.control.mean < table.control.high


def test_a_method_with_fewer_steps_than_the_others_stands_at_its_own(result):
    """Where a method has no row for a step of the slider, its last one is shown."""
    lines = [*zip(result.line_methods, result.line_steps, strict=True)]
    keep = [i for i, line in enumerate(lines) if line != ("raw", "0")]
    fewer = replace(
        result,
        scores=result.scores[keep],
        agreement=result.agreement[keep],
        line_methods=tuple(result.line_methods[i] for i in keep),
        line_steps=tuple(result.line_steps[i] for i in keep),
    )
    assert table_of(fewer).columns[2].values.tolist() == [result.of("raw")[1].tolist()]


def test_steps_have_names_and_layers_have_numbers():
    assert [*map(named, ("3", "encoder 0", "decoder 1 cross"))] == ["layer 3", "encoder 0", "decoder 1 cross"]
    assert [*map(layer_of, ("layer 3", "decoder 1 cross"))] == [3, 1]
    assert [*map(layer_of, ("decoder 1 self", "encoder 0", "all"))] == [None] * 3


def test_methods_that_are_not_offered_are_refused():
    assert names_in("raw rollout raw", ("raw", "rollout", "flow")) == ["raw", "rollout"]
    for text in ("raw nonsense", "", "  "):
        with pytest.raises(ValueError):
            names_in(text, ("raw",))


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """The same, with a prompt."""
    return partial(at, prompt="the cat sat")


def address(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


MODELS = ("tiny:bert", "tiny:llama", "tiny:t5", "tiny:whisper", "tiny:vit", "tiny:clip", "tiny:ast", "tiny:mamba")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokens", "flow"])
@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_model_is_shown_or_gets_a_sentence(name, model, at):
    app = at(name, model=model, prompt="cat" if model in MODELS[:3] + ("tiny:mamba",) else "example")
    assert not app.exception
    if model != "tiny:mamba":
        assert not app.error
        assert not [one for one in app.info if "needs" in one.value]


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("tokens", {"methods": "raw nonsense", "check": "burn", "step": "7", "row": "x", "words": "maybe"}, {}),
        ("tokens", {"methods": "raw rollout", "check": "none", "step": "0", "row": "2"}, None),
        ("tokens", {"methods": "raw", "check": "mask-attention", "skip_first": "yes"}, None),
        ("flow", {"show": "magic", "level": "0", "node": "99", "source": "-7", "thin": "0.3"}, {}),
        ("flow", {"show": "rollout", "level": "1", "node": "4", "source": "2", "thin": "0.05"}, None),
    ],
)
def test_options_that_do_not_fit_leave_the_address(name, given, kept, at):
    app = at(name, **given)
    assert not app.exception and not app.error
    kept = given if kept is None else {key: given[key] for key in kept}
    assert address(app) == {"model": "micro", "prompt": "the cat sat", **kept}


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("tokens", {"token": "no such token"}, "token"),
        ("tokens", {"foil": ".", "token": "."}, "same"),
        ("tokens", {"prompt": "a" * 2000}, "512"),
        ("flow", {"prompt": "a" * 2000}, "512"),
    ],
)
def test_a_mistake_is_a_sentence(name, given, said, at):
    app = at(name, **given)
    assert not app.exception
    assert any(said in one.value for one in app.error)


def labels(app: AppTest) -> set[str]:
    return {one.label for one in (*app.text_input, *app.selectbox)}


def test_a_model_without_a_head_has_no_answer_to_ask_for(at):
    app = at("tokens", model="tiny:dinov2", prompt="example")
    assert not app.exception and not app.error
    assert not {"Answer", "Against"} & labels(app) and "Read at" in labels(app)
    assert any("no trained head" in one.value for one in app.caption)


def test_a_classifier_answers_for_the_whole_picture(at):
    app = at("tokens", model="tiny:vit", prompt="example")
    assert not app.exception and not app.error
    assert {"Answer", "Against"} <= labels(app) and "Read at" not in labels(app)


def test_the_lines_that_make_the_same_name_the_layer_of_the_slider(at):
    app = at("tokens", methods="raw rollout", step="0")
    assert any("layer=0" in one.value and "methods=" in one.value for one in app.code)
    assert not any("layer=" in one.value for one in at("tokens", methods="raw rollout").code)


def test_notes_of_all_methods_can_be_read_below(at):
    said = " ".join(one.value for one in at("tokens", methods="raw rollout").markdown)
    assert "ignores values and signs" in said and "Causal check" in said


@pytest.mark.parametrize("show", ["flow", "rollout", "raw"])
@pytest.mark.parametrize("model", ["micro", "tiny:t5"])
def test_the_lines_copied_from_the_graph_give_its_numbers(show, model, at):
    level, node = ("1", "3") if model == "micro" else ("4", "4")  # of the decoder, after its first layer
    app = at("flow", model=model, show=show, level=level, node=node, prompt="cat")
    assert not app.exception and not app.error
    (line,) = (one.value for one in app.code if "import workbench" in one.value)
    made: dict = {}
    exec(line, made)
    raw = workbench.raw_attention(workbench.load(model), "cat").maps.numpy()
    expected = followed(raw, show, int(level), int(node), None).numbers
    step = -1 if show == "flow" else int(level) - 1
    assert made["result"].scores[step].numpy() == pytest.approx(expected, abs=1e-6)


def test_nodes_that_no_analysis_explains_have_no_lines(at):
    assert not at("flow", model="tiny:t5", level="4", node="1", prompt="cat").code
    assert not at("flow", model="tiny:t5", level="1", node="4", prompt="cat").code
