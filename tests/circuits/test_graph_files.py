"""Circuit graphs in files and for other tools: what is written is read back, by us and by them."""

import contextlib
import json
import math
from importlib.metadata import version

import networkx
import pytest
import torch

from workbench import BadFile, BadInput, CircuitGraph, circuit_graph

SIZES = [
    {"n_layers": 2, "n_heads": 2},
    {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "parallel": True},
    {"n_layers": 2, "n_heads": 2, "mlps": False},
    {"n_layers": 2, "n_heads": 2, "neurons": (1,), "n_neurons": 3},
    {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "positions": ("The", " cat<b>", "\u2028")},
]
shapes = pytest.mark.parametrize("sizes", SIZES, ids=str)
HOSTILE = "<img src=x onerror=alert(1)>\x00\x1b\x85 & \"'"


def drawn(sizes, *, seed=0, dtype=torch.float32, share=0.4, **words):
    """A graph with random scores, some of them missing, and random kept edges."""
    random = torch.Generator().manual_seed(seed)
    graph = circuit_graph(**sizes)
    scores = torch.randn(graph.shape, generator=random, dtype=dtype)
    scores[torch.rand(graph.shape, generator=random) < 0.1] = math.nan
    kept = (torch.rand(graph.shape, generator=random) < share) & graph.exists
    words = {"labels": {"a0.h0": HOSTILE}, "groups": {"early": ("a0.h0", "a0.h1")}, "pinned": ("a0.h1",), **words}
    return graph.with_(scores=scores, kept=kept, model="toy", about={"task": "ioi", "examples": 3}, **words)


def assert_same(a, b):
    for name in ("n_layers", "n_heads", "n_kv_heads", "mlps", "parallel", "slots", "neurons", "n_neurons", "d_model"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("positions", "model", "labels", "groups", "pinned", "about"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("scores", "kept"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        assert x is None or x.dtype == y.dtype and torch.equal(x.nan_to_num(99.0), y.nan_to_num(99.0))


@shapes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(sizes, dtype, tmp_path):
    graph = drawn(sizes, dtype=dtype)
    path = graph.save(tmp_path / "circuit.json")
    assert_same(CircuitGraph.load(path), graph)
    assert_same(CircuitGraph.from_json(path.read_text()), graph)


def test_a_graph_without_scores_or_kept_edges(tmp_path):
    bare = circuit_graph(n_layers=1, n_heads=1)
    assert_same(CircuitGraph.load(bare.save(tmp_path / "bare.json")), bare)
    kept = bare.with_(kept=torch.zeros(bare.shape, dtype=torch.bool))
    again = CircuitGraph.load(kept.save(tmp_path / "none.json"))
    assert again.n_kept == 0


def test_the_form_is_the_documented_one():
    graph = circuit_graph(n_layers=1, n_heads=1, n_kv_heads=1)
    scores = torch.full(graph.shape, math.nan)
    kept = torch.zeros(graph.shape, dtype=torch.bool)
    scores[graph.edge("input->m0")] = 0.1
    kept[graph.edge("a0.h0->logits")] = True
    written = json.loads(graph.with_(scores=scores, kept=kept, pinned=("m0",)).to_json())
    assert written["format"] == "workbench-circuit"
    assert written["version"] == 1
    assert written["pinned"] == ["m0"]
    assert written["edges"] == {
        "source": ["input", "a0.h0"],
        "slot": ["m0", "logits"],
        "score": [0.1, None],
        "kept": [False, True],
    }


DAMAGE = {
    "cut off": lambda text: text[: len(text) // 2],
    "not text": lambda text: b"\xff\xfe\x00" + text.encode(),
    "nothing": lambda text: "",
    "a list": lambda text: "[1, 2]",
    "another tool's": lambda text: json.dumps({"nodes": [], "links": []}),
    "deep": lambda text: "[" * 100_000,
    "a later version": lambda text: text.replace('"version": 1', '"version": 2'),
    "NaN": lambda text: text.replace('"score": [', '"score": [NaN, ', 1),
    "infinite": lambda text: text.replace('"score": [', '"score": [1e999, ', 1),
    "a score too many": lambda text: text.replace('"score": [', '"score": [0.5, ', 1),
    "a score of text": lambda text: text.replace('"score": [', '"score": ["0.5", ', 1),
    "an unknown node": lambda text: text.replace('"source": ["input"', '"source": ["outside"', 1),
    "an unknown slot": lambda text: text.replace('"slot": ["', '"slot": ["x', 1),
    "a number for a node": lambda text: text.replace('"source": ["input"', '"source": [7', 1),
    "an unknown label": lambda text: text.replace('"labels": {"a0.h0"', '"labels": {"a7.h0"'),
    "a label that is no text": lambda text: text.replace('"groups"', '"x": 1, "groups"').replace(
        '"early"', '"early": 3, "e"'
    ),
    "another shape": lambda text: text.replace('"n_layers": 2', '"n_layers": 1'),
    "no layers": lambda text: text.replace('"n_layers": 2', '"n_layers": 0'),
    "a billion layers": lambda text: text.replace('"n_layers": 2', '"n_layers": 1000000000'),
    "layers of text": lambda text: text.replace('"n_layers": 2', '"n_layers": "2"'),
    "half a layer": lambda text: text.replace('"n_layers": 2', '"n_layers": 2.5'),
    "no shape": lambda text: text.replace('"shape"', '"shapes"'),
    "a shape of more": lambda text: text.replace('"mlps"', '"mlp": 1, "mlps"'),
    "kept as numbers": lambda text: text.replace("true", "1").replace('"mlps": 1', '"mlps": true'),
    "a kind of slots": lambda text: text.replace("query-head", "head"),
    "no groups": lambda text: text.replace('"groups"', '"troups"'),
    "an infinite note": lambda text: text.replace('"examples": 3', '"examples": 1e999'),
    "a note that is a list": lambda text: text.replace('"examples": 3', '"examples": [3]'),
    "precision": lambda text: text.replace('"single"', '"half"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_or_foreign_file_is_a_sentence(damage, tmp_path):
    text = drawn(SIZES[0]).to_json()
    broken = damage(text)
    assert broken != text, "the damage misses"
    path = tmp_path / "circuit.json"
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.raises(BadFile, match="circuit.json") as caught:
        CircuitGraph.load(path)
    assert len(str(caught.value)) < 500


def test_every_byte_turned_gives_a_graph_or_a_sentence():
    text = drawn({"n_layers": 1, "n_heads": 1}, labels={}, groups={}, pinned=()).to_json().encode()
    for i in range(0, len(text), 3):
        with contextlib.suppress(BadFile):
            CircuitGraph.from_json(text[:i] + bytes([text[i] ^ 1]) + text[i + 1 :])


def test_edges_named_twice_and_positions_that_are_not_there():
    text = json.loads(drawn(SIZES[0]).to_json())
    for column in text["edges"].values():
        column.append(column[0])
    with pytest.raises(BadFile, match="an edge twice"):
        CircuitGraph.from_json(json.dumps(text))
    text = json.loads(drawn(SIZES[4]).to_json())
    for wrong in (3, -1, True, 0.0, "0"):
        text["edges"]["pos"][0] = wrong
        with pytest.raises(BadFile, match="positions of edges are whole numbers from 0 to 2"):
            CircuitGraph.from_json(json.dumps(text))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(BadFile, match="There is no file"):
        CircuitGraph.load(tmp_path / "none.json")
    with pytest.raises(BadFile, match="cannot be read"):
        CircuitGraph.load(tmp_path)
    with pytest.raises(BadFile, match="does not exist"):
        drawn(SIZES[0]).save(tmp_path / "none" / "circuit.json")


@shapes
def test_networkx_has_each_kept_edge_once(sizes):
    graph = drawn(sizes)
    made = graph.to_networkx()
    edges = {(u, v, key): data for u, v, key, data in made.edges(keys=True, data=True) if data["kind"] == "edge"}
    index = {name: graph.edge(name) for name in graph.kept_edges()}
    assert len(edges) == graph.n_kept == len(index)
    for name, at in index.items():
        ends, _, place = name.partition("@")
        source, slot = ends.split("->")
        behind = f"@{place}" if place else ""
        data = edges[source + behind, slot.partition("<")[0] + behind, slot]
        score = graph.scores[at].item()
        assert data.get("score") == (None if math.isnan(score) else score)
        assert data.get("reads") == (slot[-2] if "<" in slot else None)
    whole = graph.to_networkx(all_edges=True)
    assert sum(data["kind"] == "edge" for *_, data in whole.edges(data=True)) == graph.n_edges
    assert whole.nodes["a0.h0" + ("@0" if graph.positions else "")]["label"] == HOSTILE


@pytest.mark.parametrize("sizes", SIZES[:4], ids=str)
def test_paths_in_networkx_are_those_of_the_model(sizes):
    """Every node can be reached from the input and reaches the logits, in the order of the layers."""
    made = circuit_graph(**sizes).to_networkx()
    assert networkx.is_directed_acyclic_graph(made)
    assert set(networkx.descendants(made, "input")) == set(made.nodes) - {"input"}
    assert set(networkx.ancestors(made, "logits")) == set(made.nodes) - {"logits"}


@shapes
def test_node_link_is_what_networkx_reads(sizes):
    graph = drawn(sizes)
    made = graph.to_networkx()
    assert len(graph.to_node_link()["edges"]) == made.number_of_edges()
    for read in (
        networkx.node_link_graph(json.loads(json.dumps(graph.to_node_link())), edges="edges"),
        networkx.node_link_graph(json.loads(json.dumps(graph.to_node_link(edges="links"))), edges="links"),
    ):
        assert read.nodes(data=True) == made.nodes(data=True)
        assert sorted(read.edges(keys=True)) == sorted(made.edges(keys=True))
        for u, v, key in made.edges(keys=True):
            assert read.edges[u, v, key] == made.edges[u, v, key]
    if tuple(map(int, version("networkx").split(".")[:2])) >= (3, 6):
        assert networkx.utils.graphs_equal(networkx.node_link_graph(graph.to_node_link()), made)


@shapes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_node_link_is_read_back(sizes, dtype, tmp_path):
    graph = drawn(sizes, dtype=dtype)
    path = tmp_path / "node-link.json"
    path.write_text(json.dumps(graph.to_node_link(all_edges=True)))
    assert_same(CircuitGraph.load(path), graph)
    through = networkx.node_link_data(graph.to_networkx(all_edges=True), edges="links")
    assert_same(CircuitGraph.from_json(json.dumps(through)), graph)
    alone = CircuitGraph.from_json(json.dumps(graph.to_node_link()))  # the kept edges, with their scores
    assert_same(alone, graph.with_(scores=graph.scores.masked_fill(~graph.kept, math.nan)))
    assert_same(CircuitGraph.from_json(json.dumps(circuit_graph(**sizes).to_node_link())), circuit_graph(**sizes))


def test_an_edge_taken_away_elsewhere_is_not_kept():
    made = circuit_graph(n_layers=1, n_heads=2).to_networkx()
    made.remove_edge("input", "m0", key="m0")
    read = CircuitGraph.from_json(json.dumps(networkx.node_link_data(made, edges="edges")))
    assert read.n_kept == read.n_edges - 1
    assert not read.kept[read.edge("input->m0")]


def test_node_link_of_something_else_is_a_sentence():
    other = networkx.node_link_data(networkx.path_graph(3, networkx.DiGraph), edges="edges")
    with pytest.raises(BadFile, match="it has nodes and edges without the sizes of the model, which to_node_link"):
        CircuitGraph.from_json(json.dumps(other))
    damaged = drawn(SIZES[0]).to_node_link()
    damaged["graph"]["workbench-circuit"] = damaged["graph"]["workbench-circuit"][:-9]
    with pytest.raises(BadFile, match="no usable circuit graph"):
        CircuitGraph.from_json(json.dumps(damaged))
    with pytest.raises(BadInput, match="'edges' or 'links', not 'nodes'"):
        drawn(SIZES[0]).to_node_link(edges="nodes")


@shapes
def test_graphml_is_what_networkx_reads(sizes, tmp_path):
    graph = drawn(sizes)
    path = graph.to_graphml(tmp_path / "circuit.graphml")
    read = networkx.read_graphml(path)
    made = graph.to_networkx()
    assert set(read.nodes) == set(made.nodes)
    ends = [(u, v, data.get("slot"), data.get("score")) for u, v, data in made.edges(data=True)]
    found = [(u, v, data.get("slot"), data.get("score")) for u, v, data in read.edges(data=True)]
    key = lambda edge: tuple(map(str, edge[:3]))  # noqa: E731
    for ours, theirs in zip(sorted(ends, key=key), sorted(found, key=key), strict=True):
        assert ours[:3] == theirs[:3]
        assert ours[3] == (None if theirs[3] is None else pytest.approx(theirs[3]))
    label = read.nodes["a0.h0" + ("@0" if graph.positions else "")]["label"]
    assert label == HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\x85", "\\x85")


EAP = {
    "cfg": {"n_layers": 1, "n_heads": 1, "d_model": 16, "parallel_attn_mlp": False},
    "nodes": {name: {"in_graph": name != "m0"} for name in ("input", "a0.h0", "m0", "logits")},
    "edges": {
        "input->a0.h0<q>": {"score": 0.5, "in_graph": True},
        "input->a0.h0<k>": {"score": -0.25, "in_graph": False},
        "input->a0.h0<v>": {"score": 1.5, "in_graph": True},
        "input->m0": {"score": 0.0, "in_graph": False},
        "a0.h0->m0": {"score": 0.0, "in_graph": False},
        "input->logits": {"score": 0.0, "in_graph": False},
        "a0.h0->logits": {"score": 2.0, "in_graph": True},
        "m0->logits": {"score": 0.0, "in_graph": False},
    },
}
"""Written by hand, with every edge of a model of one head."""


def test_the_form_of_eap_ig_both_ways():
    graph = CircuitGraph.from_json(json.dumps(EAP))
    assert graph.kept_edges() == ("input->a0.h0<q>", "input->a0.h0<v>", "a0.h0->logits")
    assert graph.scores[graph.edge("input->a0.h0<k>")] == -0.25
    assert (graph.d_model, graph.n_unscored) == (16, 0)
    assert graph.to_eap() == EAP
    assert_same(CircuitGraph.from_json(json.dumps(graph.to_eap())), graph)
    plain = {**EAP, "nodes": {name: True for name in EAP["nodes"]}}  # as earlier versions wrote nodes
    assert CircuitGraph.from_json(json.dumps(plain)).n_kept == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["edges"].update({"m0->a0.h0<q>": {"score": 1, "in_graph": True}}), "no edge m0->a0.h0<q>"),
        (lambda d: d["edges"].update({"a9.h0->m0": {"score": 1, "in_graph": True}}), "no node 'a9.h0'"),
        (lambda d: d["edges"]["input->m0"].update(score=None, in_graph=1), "true or false"),
        (lambda d: d["edges"]["input->m0"].pop("in_graph"), "missing"),
        (lambda d: d["nodes"]["a0.h0"].update(neurons=[True, False]), "only some dimensions"),
        (lambda d: d["cfg"].update(n_heads="1"), "n_heads is a whole number"),
        (lambda d: d["cfg"].update(parallel_attn_mlp="no"), "true or false"),
    ],
)
def test_files_of_eap_ig_that_cannot_be_used(change, sentence):
    data = json.loads(json.dumps(EAP))
    change(data)
    with pytest.raises(BadFile, match=sentence):
        CircuitGraph.from_json(json.dumps(data))


@pytest.mark.parametrize("sizes", [SIZES[1], SIZES[3], SIZES[4]], ids=str)
def test_what_eap_ig_has_no_word_for_is_refused(sizes):
    with pytest.raises(BadInput, match="EAP-IG's form has") as caught:
        circuit_graph(**sizes).to_eap()
    assert ('slots="query-head"' in str(caught.value)) == ("n_kv_heads" in sizes)


def test_viewers_of_attribution_graphs_get_what_their_schema_asks_for():
    graph = drawn({"n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "positions": ("a", " b")})
    made = json.loads(json.dumps(graph.to_attribution_graph(slug="toy", prompt="a b")))
    assert set(made) == {"metadata", "qParams", "nodes", "links"}
    assert made["metadata"]["prompt_tokens"] == ["a", " b"]
    assert {name: type(made["metadata"][name]) for name in ("slug", "scan", "prompt")} == dict.fromkeys(
        ("slug", "scan", "prompt"), str
    )
    assert "node_threshold" not in made["metadata"]  # a number where there is one: null is refused
    ids = {node["node_id"]: node for node in made["nodes"]}
    assert len(ids) == len(made["nodes"])
    needed = {"node_id": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str, "jsNodeId": str}
    for node in made["nodes"]:
        for name, kind in {**needed, "clerp": str}.items():
            assert isinstance(node[name], kind)
    for link in made["links"]:
        assert {link["source"], link["target"]} <= set(ids)
    ends = [(link["source"], link["target"]) for link in made["links"]]
    assert len(set(ends)) == len(ends)
    kept = graph.scores[graph.kept]
    assert sum(link["weight"] for link in made["links"]) == pytest.approx(kept[~kept.isnan()].sum().item(), abs=1e-5)
    assert {node["clerp"] for node in made["nodes"] if node["feature"] == graph.node_index("a0.h0")} == {HOSTILE}
    pinned = {ids[name]["feature"] for name in made["qParams"]["pinnedIds"]}
    assert pinned == {graph.node_index("a0.h1")}
    (group,) = made["qParams"]["supernodes"]
    assert group[0] == "early"
    assert {ids[name]["feature"] for name in group[1:]} == {graph.node_index("a0.h0"), graph.node_index("a0.h1")}


def test_links_of_an_attribution_graph_by_hand():
    graph = circuit_graph(n_layers=1, n_heads=2, n_kv_heads=1)
    scores, kept = torch.zeros(graph.shape), torch.zeros(graph.shape, dtype=torch.bool)
    for name, score in {"input->a0.h0<q>": 1.0, "input->a0.kv0<v>": 4.0, "a0.h0->logits": 8.0}.items():
        scores[graph.edge(name)], kept[graph.edge(name)] = score, True
    made = graph.with_(scores=scores, kept=kept).to_attribution_graph()
    names = {node["node_id"]: (node["clerp"], node["layer"], node["feature_type"]) for node in made["nodes"]}
    assert sorted(names.values()) == [
        ("a0.h0", "0", "cross layer transcoder"),
        ("a0.h1", "0", "cross layer transcoder"),
        ("input", "E", "embedding"),
        ("logits", "2", "logit"),
    ]
    found = {(names[link["source"]][0], names[link["target"]][0]): link["weight"] for link in made["links"]}
    assert found == {("input", "a0.h0"): 3.0, ("input", "a0.h1"): 2.0, ("a0.h0", "logits"): 8.0}
