"""Circuit page: what is drawn and said of a circuit, what a file may hold, and the page without a browser."""

import json
import math
from dataclasses import replace
from itertools import product

import networkx
import pytest
import torch

import workbench
from apps.menu import OPTIONS
from apps.screens import circuit as screen, circuit_asked, circuit_files, circuit_names
from apps.screens.circuit_names import Names
from apps.screens.circuit_shown import carried_at, measured, of_comparison, of_graph, of_result
from apps.text import plain
from apps.views.circuit_curve import curve_figure
from apps.views.circuit_graph import KINDS, MOST, Look, drawn, strongest
from apps.views.circuit_marks import mark_of, slot_kind
from apps.views.circuit_tables import beside_frames, edge_frame
from apps.views.circuit_union import jaccard_of, union_of
from apps.views.circuit_words import carried, cost_of, percent
from tests.apps.test_pages import address
from workbench import circuit_graph
from workbench.errors import BadFile, BadInput


def scored(seed: int = 0, part: float = 0.5, **sizes):
    """A graph with random scores, of which a random part is kept."""
    draw = torch.Generator().manual_seed(seed)
    graph = circuit_graph(**{"n_layers": 3, "n_heads": 4, "n_kv_heads": 2, **sizes})
    kept = (torch.rand(graph.shape, generator=draw) < part) & graph.exists
    return graph.with_(scores=torch.randn(graph.shape, generator=draw), kept=kept)


def owner(slot: str) -> str:
    return slot.partition("<")[0]


@pytest.fixture(scope="module")
def found():
    return workbench.circuit(workbench.load("micro"), task="induction", examples=8)


@pytest.fixture(scope="module")
def compared():
    return workbench.circuit_comparison(
        workbench.load("micro"), task="induction", other="induction", other_method="random", examples=8
    )


# ---- the drawing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_shared_keys_stand_below_the_heads_that_read_them(n_kv_heads):
    graph = circuit_graph(n_layers=2, n_heads=4, n_kv_heads=n_kv_heads)
    for slot, node in product(range(len(graph.slot_names)), range(len(graph.sources))):
        if slot_kind(graph.slot_names[slot]) not in (1, 2) or not graph.sources[node].startswith("a"):
            continue
        keys, head = mark_of(owner(graph.slot_names[slot]), graph), mark_of(graph.sources[node], graph)
        below = keys.layer == head.layer and abs(keys.column - head.column) < keys.span / 2
        assert below == bool(graph.feeds[slot, node])


def test_every_node_has_a_place_of_its_own():
    graph = circuit_graph(n_layers=3, n_heads=4, n_kv_heads=4)
    marks = [mark_of(node, graph) for node in graph.nodes]
    assert len({(mark.layer, mark.column) for mark in marks}) == len(marks)
    assert [mark.layer for mark in marks] == [*graph.source_layer.tolist(), 3]


def test_edges_are_drawn_with_their_names_and_scores():
    graph = scored()
    data = drawn(graph, Look(apart=True), name="x", unit="logits").data
    names = [mark["name"] for mark in data["marks"]]
    seen = {(names[a], names[b], KINDS[kind]): score for a, b, kind, score, _ in data["edges"]}
    kinds = {"q": "query", "k": "key", "v": "value"}
    told = {}
    for name in graph.kept_edges():
        start, slot = name.split("->")
        kind = kinds[slot[-2]] if slot.endswith(">") else "logits" if slot == "logits" else "MLP"
        told[start, owner(slot), kind] = graph.scores[graph.edge(name)].item()
    assert seen.keys() == told.keys() and len(seen) == graph.n_kept
    assert all(seen[key] == pytest.approx(told[key], rel=1e-3) for key in seen)
    sizes = [abs(edge[3]) for edge in data["edges"]]
    assert sizes == sorted(sizes, reverse=True)


def test_edges_into_one_head_are_one_and_sum_up():
    graph = scored(n_kv_heads=4)
    data = drawn(graph, Look(), name="x", unit="logits").data
    names = [mark["name"] for mark in data["marks"]]
    sums: dict[tuple[str, str], float] = {}
    for name in graph.kept_edges():
        start, slot = name.split("->")
        score = graph.scores[graph.edge(name)].item()
        sums[start, owner(slot)] = sums.get((start, owner(slot)), 0.0) + score
    seen = {(names[a], names[b]): score for a, b, _, score, _ in data["edges"]}
    assert seen == pytest.approx(sums, rel=1e-3, abs=1e-3)
    assert {KINDS[edge[2]] for edge in data["edges"]} == {"head", "MLP", "logits"}
    several = [
        i for i, (a, b, *_) in enumerate(data["edges"]) if sum(k == (names[a], names[b]) for k in _ends(graph)) > 1
    ]
    assert sorted(data["parts"]) == several


def _ends(graph):
    return [(name.split("->")[0], owner(name.split("->")[1])) for name in graph.kept_edges()]


def test_a_group_is_one_mark_and_what_is_inside_is_counted():
    graph = scored(n_kv_heads=4)
    members = ("a0.h1", "a1.h2", "m1")
    one = drawn(graph, Look(groups={"mine": members}, labels={"m0": "first"}), name="x", unit="logits")
    names = [mark["name"] for mark in one.data["marks"]]
    assert "mine" in names and not set(members) & set(names)
    inside = [ends for ends in _ends(graph) if set(ends) <= set(members)]
    assert one.inside == len(inside) > 0
    merged = networkx.DiGraph(("mine" if a in members else a, "mine" if b in members else b) for a, b in _ends(graph))
    merged.remove_edges_from(list(networkx.selfloop_edges(merged)))
    assert {(names[a], names[b]) for a, b, *_ in one.data["edges"]} == set(merged.edges)
    assert {mark["name"]: mark["label"] for mark in one.data["marks"]}["m0"] == "first"


def test_no_more_than_a_browser_draws_and_the_weakest_are_left_out():
    graph = scored(part=0.9, n_layers=10)
    one = drawn(graph, Look(apart=True), name="x", unit="logits")
    assert one.edges == graph.n_kept > MOST and one.left_out == graph.n_kept - MOST
    scores = graph.scores[graph.kept].abs().sort(descending=True).values
    assert abs(one.data["edges"][-1][3]) == pytest.approx(scores[MOST - 1].item(), rel=1e-3)
    assert len(json.dumps(one.data)) < 120_000


def test_positions_of_an_edge_are_one_and_add_up():
    graph = circuit_graph(n_layers=1, n_heads=2, positions=("a", "b", "c"))
    scores = torch.arange(float(math.prod(graph.shape))).view(graph.shape)
    kept = graph.exists.expand(graph.shape).clone()
    kept[1] = False
    edges = strongest(graph.with_(scores=scores, kept=kept))
    assert len(edges) == int(graph.exists.sum())
    assert all(score == scores[0, s, t] + scores[2, s, t] for s, t, score in edges)


def test_a_graph_without_scores_is_drawn():
    graph = circuit_graph(n_layers=1, n_heads=2)
    one = drawn(graph, Look(apart=True), name="x", unit="")
    assert len(one.data["edges"]) == graph.n_edges and all(edge[3] == 0 for edge in one.data["edges"])


# ---- two circuits --------------------------------------------------------------------------------------------------


def test_two_circuits_as_sets_of_names():
    first, second = scored(1), scored(2)
    one, other = set(first.kept_edges()), set(second.kept_edges())
    union, sides = union_of(first, second)
    assert set(union.kept_edges()) == one | other
    names = [{union.edge_name(*edge) for edge, side in sides.items() if side == i} for i in (0, 1, 2)]
    assert names == [one & other, one - other, other - one]
    assert jaccard_of(first, second) == pytest.approx(len(one & other) / len(one | other))
    for name in one | other:
        mine = first if name in one else second
        assert union.scores[union.edge(name)] == pytest.approx(mine.scores[mine.edge(name)].item())
    empty = first.with_(kept=first.kept & False)
    assert jaccard_of(empty, empty) is None and jaccard_of(empty, first) == 0


def test_a_comparison_gives_both_circuits(compared):
    one, other = of_comparison(compared)
    assert set(one.at(16).kept_edges()) == set(compared.circuits(16)[0].kept_edges())
    assert set(other.at(16).kept_edges()) == set(compared.circuits(16)[1].kept_edges())
    assert one.title != other.title


# ---- tables --------------------------------------------------------------------------------------------------------


def test_edges_of_a_node_are_those_that_end_or_begin_there():
    graph = scored()
    into, out = beside_frames(graph, ("a1.h2",), {})
    node = graph.node_index("a1.h2")
    reads = [name for i, name in enumerate(graph.slot_names) if graph.feeds[i, node]]
    ends = [name.split("->") for name in graph.kept_edges()]
    assert sorted(into["from"]) == sorted(start for start, slot in ends if slot in reads)
    assert sorted(out["into"]) == sorted(owner(slot) for start, slot in ends if start == "a1.h2")
    assert set(into) == {"from", "read as", "score"} and set(out) == {"into", "read as", "score"}
    graph = scored(part=0.9)
    members = ("a0.h1", "m0")
    into, out = beside_frames(graph, members, {"input": "words"})
    reads = ("a0.h1<q>", "a0.kv0<k>", "a0.kv0<v>", "m0")
    ends = [name.split("->") for name in graph.kept_edges()]
    assert ["a0.h1", "m0"] in ends
    comes = [("input  words" if start == "input" else start, owner(slot)) for start, slot in ends if slot in reads]
    goes = [(start, owner(slot)) for start, slot in ends if start in members]
    inside = ("a0.h1", "m0")
    assert sorted(zip(into["from"], into["into"], strict=True)) == sorted(set_aside(comes, inside))
    assert sorted(zip(out["from"], out["into"], strict=True)) == sorted(set_aside(goes, inside))


def set_aside(rows: list, one) -> list:
    return [row for row in rows if row != one]


def test_the_search_finds_nodes_slots_and_own_names():
    graph = scored()
    everything = edge_frame(graph, {})
    assert list(everything["rank"]) == list(range(1, graph.n_kept + 1))
    keys = edge_frame(graph, {}, "KEY")
    assert len(keys) == sum("<k>" in name for name in graph.kept_edges()) > 0
    named = edge_frame(graph, {"a0.h1": "Mover (x)"}, "mover (")
    assert len(named) == sum(
        "a0.h1" in (name.split("->")[0], owner(name.split("->")[1])) for name in graph.kept_edges()
    )
    assert edge_frame(graph, {}, "nothing like this").empty


# ---- names ---------------------------------------------------------------------------------------------------------


def test_pins_names_and_groups():
    graph = scored()
    names = circuit_names.pin(Names(), "a0.h1", more=False)
    names = circuit_names.pin(names, "m1", more=True)
    assert names.pinned == ("a0.h1", "m1")
    names = circuit_names.rename(names, "m1", "  adds,  up ")
    assert names.labels == {"m1": "adds up"}
    names = circuit_names.group(names, "pair", graph)
    assert (names.pinned, names.groups) == (("pair",), {"pair": ("a0.h1", "m1")})
    names = circuit_names.rename(names, "pair", "two")
    assert (names.pinned, names.groups) == (("two",), {"two": ("a0.h1", "m1")})
    names = circuit_names.group(circuit_names.pin(names, "a2.h0", more=True), "three", graph)
    assert names.groups == {"three": ("a0.h1", "m1", "a2.h0")}
    names = circuit_names.ungroup(names, "three")
    assert (names.pinned, names.groups) == (("a0.h1", "m1", "a2.h0"), {})
    assert circuit_names.rename(names, "m1", "").labels == {}
    assert circuit_names.pin(Names(pinned=("m1",)), "m1", more=False).pinned == ()
    assert circuit_names.pin(names, "", more=False).pinned == ()


@pytest.mark.parametrize(
    ("pinned", "text"), [(("m1",), "x"), (("m1", "input"), "x"), (("m1", "a1.kv0"), "x"), (("m1", "m2"), "m0")]
)
def test_what_cannot_be_grouped_is_said(pinned, text):
    with pytest.raises(BadInput):
        circuit_names.group(Names(pinned=pinned), text, scored())


@pytest.mark.parametrize("value", [[], {"a9.h9": "x"}, {"m1": 3}, {"m1": ""}, {"m1": "x" * 50}, {"m1": ["x"]}])
def test_names_that_fit_no_graph_are_refused(value):
    with pytest.raises(ValueError, match=r".*"):
        circuit_names.checked_labels(value, frozenset(scored().nodes))


@pytest.mark.parametrize(
    "value",
    [[], {"x": ["m1"]}, {"x": ["m1", "m9"]}, {"x": ["m1", "input"]}, {"m0": ["m1", "m2"]}, {"x": "m1"}]
    + [{"x": ["m1", "m2"], "y": ["m2", "m0"]}, {"x": ["m1", "m1"]}, {"a,b": ["m1", "m2"]}],
)
def test_groups_that_fit_no_graph_are_refused(value):
    with pytest.raises(ValueError, match=r".*"):
        circuit_names.checked_groups(value, frozenset(scored().nodes))


# ---- numbers in words ----------------------------------------------------------------------------------------------


def test_numbers_in_words():
    assert carried(48, 70_651, 0.823) == "48 edges (0.068 %) carry 82 % of the task"
    assert carried(1, 81, -0.052) == "1 edge (1.2 %) carries −5.2 % of the task"
    assert carried(9, 10, None, between=(0.9, 0.25)) == "9 edges (90 %) carry about 25 % to 90 % of the task"
    assert carried(9, 10, None, between=(0.999, 1.001)) == "9 edges (90 %) carry about 100 % of the task"
    assert carried(0, 81, math.nan) == "0 edges (0 %) carry an undefined share of the task"
    assert [percent(x) for x in (1, 0.0004, -0.0001, 0.0949)] == ["100 %", "0 %", "0 %", "9.5 %"]


def test_the_cost_is_said_before_and_long_runs_are_warned_of():
    model = workbench.load("micro")
    params = {"method": "eap-ig", "steps": 7, "examples": 8, "slots": "kv-head", "shares": (0.1, 0.5), "draws": 2}
    said, warning = cost_of(model, params)
    assert "81 edges" in said and "7 with gradients over 8 pairs" in said and "6 circuits" in said and not warning
    said, _ = cost_of(model, {**params, "method": "exact"})
    assert "81 runs" in said


# ---- sizes ---------------------------------------------------------------------------------------------------------


def test_a_result_at_every_size(found):
    one = of_result(found)
    known = measured(one)
    assert 0 not in known.sizes and set(known.sizes) < set(one.sizes()) and one.sizes()[0] == 1
    assert one.sizes()[-1] == one.n_edges == 81
    first = one.first_size()
    enough = [n for n, f in zip(found.sizes.tolist(), found.faithfulness.tolist(), strict=True) if f >= 0.8]
    assert first == min(enough)
    share, between, chance = carried_at(one, first)
    assert share == pytest.approx(found.faithfulness[found.sizes.tolist().index(first)].item())
    assert between is None and chance == pytest.approx(
        found.random_faithfulness[:, found.sizes.tolist().index(first)].mean()
    )
    share, (low, high), _ = carried_at(one, first + 1)
    later = found.sizes.tolist().index(first) + 1
    assert share is None and (low, high) == pytest.approx(found.faithfulness[later - 1 : later + 1].tolist())
    assert set(one.at(first).kept_edges()) == set(found.circuit(first).kept_edges())
    assert one.at(first) is one.at(first)


def test_a_graph_from_a_file_keeps_its_own_circuit_and_grows_others(found):
    graph = found.circuit(16)
    one = of_graph(graph, "mine.json")
    assert one.at(one.first_size()) is graph
    assert set(one.at(8).kept_edges()) == set(found.circuit(8).kept_edges())
    assert of_graph(graph.with_(scores=None), "mine.json").fixed


def test_the_curve_says_what_was_measured(found):
    known = measured(of_result(found))
    figure = curve_figure(
        known.sizes, known.kept, known.faithfulness, known.random.numpy(), n_edges=81, at=8, name="<b>x</b>"
    )
    (ours,) = [trace for trace in figure.data if trace.customdata is not None]
    assert list(ours.x) == known.sizes and list(ours.y) == known.faithfulness
    assert ours.name == "&lt;b&gt;x&lt;/b&gt;"
    assert {shape.y0 for shape in figure.layout.shapes if shape.y0 == shape.y1} == {0.8}


# ---- files ---------------------------------------------------------------------------------------------------------


def test_files_are_read_back_with_names(found, tmp_path):
    names = Names(labels={"a1.h2": "copies"}, groups={"two": ("a1.h0", "a1.h1")}, pinned=("a1.h2", "two"))
    graph = circuit_files.named(found.circuit(16), names)
    back = circuit_files.read(graph.to_json().encode(), "mine.json")
    assert set(back.kept_edges()) == set(graph.kept_edges())
    assert (back.labels, back.groups, back.pinned) == ({"a1.h2": "copies"}, {"two": ("a1.h0", "a1.h1")}, ("a1.h2",))
    said = {"labels": dict(names.labels), "groups": dict(names.groups), "pinned": names.pinned}
    replace(found, meta={**found.meta, "page": said}).save(path := tmp_path / "x.safetensors")
    back = circuit_files.read(path.read_bytes(), "mine.safetensors")
    assert torch.equal(back.scores, found.scores) or torch.equal(back.scores.nan_to_num(), found.scores.nan_to_num())
    assert circuit_files._named(back) == (dict(names.labels), dict(names.groups), names.pinned)


def test_an_opened_file_is_said_to_be_in_no_link_and_whose_it_is(found, at):
    def said(opened) -> str:
        app = at("circuit", examples="8")
        app.session_state["circuit:opened"] = ("mine", opened)
        app.run()
        assert not app.exception and not app.error
        return " ".join(one.value for one in app.caption).replace("\\", "")

    for own in (found, found.circuit(16), found.circuit(16).with_(model="")):
        assert "A link to this page does not carry the file." in said(own) and "Made for" not in said(own)
    assert "Made for another, shown on micro." in said(found.circuit(16).with_(model="another"))


@pytest.mark.parametrize("data", [b"", b"{", b"[1, 2]", b'{"a": 1}', b"\xff\xfe\x00" * 9, b"PK\x03\x04" * 20, b"null"])
def test_what_is_no_circuit_is_a_sentence_without_a_path(data):
    with pytest.raises(BadFile) as error:
        circuit_files.read(data, "mine.json")
    assert "mine.json" in str(error.value) and "/tmp" not in str(error.value)


def test_another_kind_of_result_is_a_sentence(tmp_path):
    workbench.logit_lens(workbench.load("micro"), "ab").save(path := tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match="logit-lens"):
        circuit_files.read(path.read_bytes(), "x.safetensors")


# ---- the page ------------------------------------------------------------------------------------------------------


def test_the_address_may_hold_every_parameter():
    declared = {p.name for p in workbench.get("circuit").params}
    assert declared <= OPTIONS["circuit"] == screen.OPTIONS


def test_another_parameter_is_another_run():
    marks = {circuit_asked.fingerprint(model, {"a": a}) for model in ("x", "y") for a in (1, 2, "1")}
    assert len(marks) == 6 and circuit_asked.fingerprint("x", {"a": 1}) in marks


def test_run_pins_and_a_link(at):
    app = at("circuit", examples="8", task="induction")
    assert not app.error and "81 edges" in " ".join(one.value for one in app.caption)
    next(button for button in app.button if button.label == "Run").click().run()
    assert not app.exception and not app.error
    headline = next(one.value for one in app.markdown if "of the task" in one.value)
    link = address(app)
    assert link["ran"] and link["examples"] == "8"
    same = at("circuit", **{**link, "pinned": "a1.h2,nowhere", "names": "{", "groups": '{"x":["m7","m8"]}'})
    assert not same.exception and not same.error
    assert headline in [one.value for one in same.markdown]
    assert not {"pinned", "names", "groups"} & address(same).keys()
    same = at("circuit", **{**link, "pinned": "a1.h2", "names": '{"a1.h2":"**x**"}', "size": "81"})
    assert any(r"\*\*x\*\*" in one.value for one in same.markdown)
    assert any("81 edges" in one.value and "100 %" in one.value for one in same.markdown)
    other = at("circuit", **{**link, "examples": "9"})
    assert not any("of the task" in one.value for one in other.markdown)


def test_a_size_that_was_not_run_is_measured_when_asked_for(at):
    app = at("circuit", examples="8", size="6")
    next(button for button in app.button if button.label == "Run").click().run()
    assert any("about" in one.value for one in app.markdown)
    next(button for button in app.button if button.label == "Measure this size").click().run()
    assert not app.exception and not app.error
    alone = workbench.circuit(workbench.load("micro"), task="induction", examples=8, shares=(6.5 / 81,))
    assert alone.sizes.tolist() == [6]
    said = carried(int(alone.kept[0]), 81, alone.faithfulness[0].item())
    assert any(plain(said) in one.value for one in app.markdown)
    assert not any(button.label == "Measure this size" for button in app.button)


def test_a_task_that_the_model_does_not_do_is_a_sentence(at):
    app = at("circuit", examples="8", task="addition")
    next(button for button in app.button if button.label == "Run").click().run()
    assert not app.exception and len(app.error) == 1


def test_no_circuit_left_is_said(at):
    app = at("circuit", examples="8", task="induction")
    next(button for button in app.button if button.label == "Run").click().run()
    app = at("circuit", **{**address(app), "size": "1"})
    assert not app.exception and any("No circuit is left" in one.value for one in app.info)
