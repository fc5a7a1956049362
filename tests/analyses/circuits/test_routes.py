"""Routes against blocks taken apart by hand, plain searches, planted heads and weights of zero."""

import json
import re
from dataclasses import replace
from functools import cache

import networkx as nx
import pytest
import torch

import workbench
from tests.analyses.attribution.plain_blocks import CUTS, SINGLE, _inputs, _run, exact_model, linear, values
from workbench import functional
from workbench.analyses.circuits import route_export
from workbench.analyses.circuits.route_parts import _without_least, attention_maps, recorded
from workbench.analyses.circuits.route_result import THRESHOLDS
from workbench.testing import tiny_model

FAMILIES = ("gpt2", "llama", "neox", "phi", "bert", "distilbert", "micro", "vit")
MLPS = {"gpt2": "mlp", "llama": "mlp", "neox": "mlp", "phi": "mlp", "vit": "mlp"}
ORDER = {"l1": 1, "l2": 2}


def shares(parts, whole, norm="l1", drop=0):
    """Shares of (part, d_model) in one whole, a part after the other."""
    kept = whole.abs().argsort()[: len(whole) - drop]
    whole, parts = whole[kept], parts[:, kept]
    length = torch.linalg.vector_norm(whole, ORDER[norm])
    near = [
        max((length - torch.linalg.vector_norm(whole - p, ORDER[norm])).item(), 1e-5 if p.any() else 0) for p in parts
    ]
    return torch.tensor(near, dtype=torch.float64) / sum(near)


def counted(parts, whole, **how):
    """The same, 0 for parts that count nothing."""
    found = shares(parts, whole, **how)
    least = found[found > 0].min() * (1 + 1e-3)
    kept = whole.abs().argsort()[: len(whole) - how.get("drop", 0)]
    lengths = [torch.linalg.vector_norm(w[kept], ORDER[how.get("norm", "l1")]) for w in (whole, *(whole - parts))]
    nothing = torch.stack([one > lengths[0] - 1e-5 for one in lengths[1:]])
    return found if nothing.all() else found.where(~nothing | (found > least), 0.0)


@torch.no_grad()
def by_hand(family, model, text, **how):
    """Per layer: (residual (pos,), bias (pos,), heads (head, query, key), mlp (pos,), past (pos,)), sum by sum."""
    blocks_at, order, norm1, value, out, norm2, last = SINGLE[family]
    module, inputs = model.module, {}
    blocks = list(module.get_submodule(blocks_at))
    inputs = _inputs(module)
    patterns = _run(model, model.encode(text), inputs)["blocks.attn"]
    for i, block in enumerate(blocks):
        pre, o = inputs[block][0], block.get_submodule(out)
        post = (
            inputs[blocks[i + 1]][0] if i + 1 < len(blocks) else inputs[module.get_submodule(last)][0] if last else None
        )
        came_in = inputs[block.get_submodule(norm1)][0]
        x = pre if order == "post" else block.get_submodule(norm1)(came_in)
        v = values(x, block.get_submodule(value), model.n_kv_heads, cut=CUTS.get(family))
        w_o, bias = linear(o), torch.zeros(model.d_model) if o.bias is None else o.bias
        n, d = model.n_heads, model.d_head
        heads = torch.stack(
            [patterns[i, h][..., None] * (v[h * len(v) // n] @ w_o[h * d : (h + 1) * d])[None] for h in range(n)]
        )  # (head, query, key, d_model)
        added = heads.sum((0, 2)) + bias
        mlp = None
        if order == "parallel":
            mlp = post - pre - added
        elif order == "post":
            mid = block.get_submodule(norm1)(came_in)
            mlp = inputs[block.get_submodule(norm2)][0] - mid
        elif norm2:
            mid = pre + added
            mlp = post - mid
        found = []
        for q in range(len(pre)):
            parts = [*heads[:, q].flatten(0, 1), pre[q], bias, *([mlp[q]] if order == "parallel" else [])]
            one = counted(torch.stack(parts), torch.stack(parts).sum(0), **how)
            n_looks = heads.shape[0] * heads.shape[2]
            row = [one[:n_looks].view(heads.shape[0], -1), *one[n_looks:]]
            if mlp is not None and order != "parallel":
                row += counted(torch.stack([mlp[q], mid[q]]), mlp[q] + mid[q], **how)
            found.append(row)
        columns = list(zip(*found, strict=True))
        yield [torch.stack([torch.as_tensor(x) for x in column]) for column in columns]


@cache
def exact(family):
    return exact_model(family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", [{}, {"norm": "l2", "drop": 2}], ids=["l1", "l2 without two"])
def test_shares_are_those_of_blocks_taken_apart(family, how):
    model, text = exact(family)
    found = workbench.routes(model, text, full=True, threshold=0.0, **how)
    close = {"atol": 2e-6, "rtol": 1e-4}
    for layer, (heads, residual, bias, *mlp) in enumerate(by_hand(family, model, text, **how)):
        here = found.head_edge_layer == layer
        dense = torch.zeros_like(heads).float()
        dense[found.head_edge_query[here], found.head_edge_head[here], found.head_edge_key[here]] = (
            found.head_edge_weight[here]
        )
        torch.testing.assert_close(dense, heads.float(), **close)
        torch.testing.assert_close(found.residual[layer], residual.float(), **close)
        torch.testing.assert_close(found.bias_attn[layer], bias.float(), **close)
        if mlp:
            torch.testing.assert_close(found.mlp[layer], mlp[0].float(), **close)
            assert (found.residual_mlp is None) == (len(mlp) == 1) == found.parallel
        if len(mlp) > 1:
            torch.testing.assert_close(found.residual_mlp[layer], mlp[1].float(), **close)
    assert found.below_floor.abs().max() < 5e-3


@pytest.mark.parametrize("family", ["gpt2", "neox", "llama"])
def test_what_counts_nothing_is_above_no_threshold(family):
    """Looks and MLPs without which a sum is longer, or as long: not followed at a threshold of 0 either."""
    model, text = exact(family)
    found, run = workbench.routes(model, text, full=True, threshold=0.0), recorded(model, text)
    at, nothing = torch.arange(len(run.tokens)), 0
    for layer in range(model.n_blocks):
        pattern, v, w_o, _ = attention_maps(run, layer, at)
        v = v.repeat_interleave(model.n_heads // model.n_kv_heads, 1)
        parts = torch.einsum("hqk,khd,hdm->hqkm", pattern, v, w_o)
        whole = run.at(layer, "resid_post" if found.parallel else "resid_mid")
        shorter = whole.abs().sum(-1)[:, None] - (whole[:, None] - parts).abs().sum(-1)  # (head, query, key)
        here = found.head_edge_layer == layer
        looks = torch.stack([found.head_edge_head, found.head_edge_query, found.head_edge_key], 1)[here]
        assert sorted(looks.tolist()) == sorted((shorter > 1e-5).nonzero().tolist())
        nothing += int(((shorter <= 0) & (pattern > 0)).sum())
        if not found.parallel:
            mlp, after = run.at(layer, "mlp_out"), run.at(layer, "mlp_out") + whole
            counts = [after.abs().sum(-1) > (after - part).abs().sum(-1) for part in (mlp, whole)]
            some = counts[0] | counts[1]
            assert torch.equal((found.mlp[layer] > 0)[some], counts[0][some])
            assert torch.equal((found.residual_mlp[layer] > 0)[some], counts[1][some])
    assert nothing > 5 and found.below_floor.abs().max() < 5e-3


def test_where_every_part_overshoots_all_count_alike():
    parts = torch.tensor([[[5.0, 0.0], [-4.0, 0.0]], [[5.0, 0.0], [-1.0, 0.0]]])
    near = torch.tensor([[1e-5, 1e-5], [3.0, 1e-5]])
    rest = near / near.sum(-1, keepdim=True)
    assert torch.equal(functional.part_proximity(parts, parts.sum(1)), near)
    found = _without_least(torch.zeros(0, 2, 0), rest, near)[1]
    assert found[0].tolist() == pytest.approx([0.5, 0.5])
    assert found[1, 0] == rest[1, 0] and found[1, 1] == 0


def plain_route(found, threshold, position):
    """Parts reached by going down from the last state, one part after the other."""
    looks = list(zip(found.head_edge_layer.tolist(), found.head_edge_query.tolist(), found.head_edge_key.tolist(),
                     found.head_edge_head.tolist(), found.head_edge_weight.tolist(), strict=True))  # fmt: skip
    kept, todo, seen = set(), [("state", found.n_layers, position)], set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        what, layer, q = node
        if what == "state" and layer == 0:
            continue
        layer = layer - 1 if what == "state" else layer
        if what == "state" and found.residual_mlp is not None:
            for kind, values in (("mlp", found.mlp), ("past the mlp", found.residual_mlp)):
                if values[layer, q] > threshold:
                    kept.add((kind, layer, q, q, -1))
                    todo.append(("middle", layer, q))
            continue
        alone = [("residual", found.residual)] + ([("mlp", found.mlp)] if found.parallel else [])
        for kind, values in alone:
            if values[layer, q] > threshold:
                kept.add((kind, layer, q, q, -1))
                todo.append(("state", layer, q))
        if found.bias_attn[layer, q] > threshold:
            kept.add(("bias", layer, q, q, -1))
        for l, query, key, head, weight in looks:
            if (l, query) == (layer, q) and weight > threshold:
                kept.add(("attention", layer, q, key, head))
                todo.append(("state", layer, key))
    return kept


def parts_of(rows):
    return set(rows[["kind", "layer", "query", "key", "head"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("family", ["gpt2", "neox", "bert", "micro", "vit"])
def test_the_route_is_what_a_plain_search_reaches(family):
    model, text = exact(family)
    whole, one = workbench.routes(model, text, full=True), workbench.routes(model, text)
    before = None
    for threshold in THRESHOLDS:
        expected = plain_route(whole, threshold, one.position)
        assert parts_of(one.route(threshold)) == parts_of(whole.route(threshold)) == expected
        assert before is None or expected <= before, "a higher threshold keeps no more"
        before = expected
    other = 1
    expected = plain_route(whole, 0.02, other)
    assert parts_of(whole.route(0.02, position=other)) == expected
    assert parts_of(workbench.routes(model, text, position=other).route(0.02)) == expected
    assert torch.equal(whole.reached, one.reached) and torch.equal(whole.states(one.floor), one.reached)
    assert one.n_kept.tolist() == [len(one.edges_frame(t)) for t in THRESHOLDS]
    assert one.thresholds_frame()["edges"].tolist() == one.n_kept.tolist()


@pytest.mark.parametrize(
    ("family", "swamped"),
    [("gpt2", "transformer.h.1.attn.c_proj.bias"), ("neox", "gpt_neox.layers.1.mlp.dense_4h_to_h.weight")],
)
def test_where_one_part_swamps_all_the_route_follows_it_alone(family, swamped):
    """A bias leads nowhere; an MLP beside attention leads to what enters the block, though the residual does not."""
    model, text = exact_model(family)
    with torch.no_grad():
        model.module.get_parameter(swamped).mul_(300)
    whole, one = workbench.routes(model, text, full=True), workbench.routes(model, text)
    assert parts_of(one.route()) == plain_route(whole, 0.04, one.position)
    assert torch.equal(whole.reached, one.reached)
    last = one.route().query("layer == 1")["kind"]
    assert set(last) == ({"mlp"} if family == "neox" else {"bias", "past the mlp"})
    assert bool(one.states()[1].any()) == (family == "neox")


@pytest.mark.parametrize("family", ["llama", "neox", "micro"])
def test_kept_shares_of_a_sum_are_one_again(family):
    found = workbench.routes(*exact(family), threshold=0.02)
    rows = found.route()
    after = rows["kind"].isin(["mlp", "past the mlp"]) & (not found.parallel)
    sums = rows.groupby([after, "layer", "query"])["contribution"].sum()
    assert abs(sums - 1).max() < 1e-6
    raw = found.route(renormalise=False)
    assert (raw["contribution"] == raw["share"]).all() and (raw["share"] > 0.02).all()
    assert parts_of(raw) == parts_of(rows)


def test_edges_sum_heads_and_keep_a_look_at_oneself_apart_from_the_stream():
    found = workbench.routes(workbench.load("micro"), "abcdefgabcde")
    edges, parts = found.edges_frame(), found.route()
    own = edges.query("layer == 0 and query == 0")
    assert own["kind"].tolist() == ["attention", "residual"] and (own["key"] == 0).all()
    for row in edges.query("kind == 'attention'").itertuples():
        heads = parts.query(f"layer == {row.layer} and query == {row.query} and key == {row.key} and head >= 0")
        assert row.heads == len(heads) and row.largest == heads.loc[heads["share"].idxmax(), "head"]
        assert row.contribution == pytest.approx(heads["contribution"].sum())
    attention = edges.query("kind == 'attention'")
    assert found.edge_layer.tolist() == attention["layer"].tolist()
    assert found.edge_weight.tolist() == pytest.approx(attention["contribution"].tolist())


def test_the_picture_counts_edges_and_draws_each():
    found = workbench.routes(*exact("gpt2"))
    edges, (lines, marks) = found.edges_frame(0.02), route_export.drawn(found, 0.02)
    assert f"{len(edges)} edges above 0.02" in found.figure(0.02).layout.title.text
    assert len(lines) == len(edges) + (edges["kind"] == "mlp").sum()
    assert set(lines["kind"]) == set(edges["kind"]) and (marks["kind"] == "mlp").sum() == (edges["kind"] == "mlp").sum()
    drawn = [t for t in found.figure(0.02).data if t.mode == "lines"]
    assert sum(len(t.x) // 4 for t in drawn) == len(lines)


def test_without_heads_and_mlps_the_route_is_a_straight_column():
    model = tiny_model("gpt2")
    with torch.no_grad():
        for block in model.module.transformer.h:
            for writer in (block.attn.c_proj, block.mlp.c_proj):
                writer.weight.zero_()
                writer.bias.zero_()
    rows = workbench.routes(model, "abcabc").route()
    assert set(rows["kind"]) == {"residual", "past the mlp"} and set(rows["query"]) == {6}
    assert rows["share"].min() > 0.999 and len(rows) == 4


@cache
def induction(seed):
    letters = torch.randperm(26, generator=torch.Generator().manual_seed(seed))[:12] + ord("a")
    block = "".join(map(chr, letters.tolist()))
    return workbench.routes(workbench.load("micro"), block + block[:5])


def test_the_induction_circuit_is_on_the_route():
    """Position 17 repeats position 5: it looks at 6 in the last layer, and 6 at 5 in the first (BOS is position 0)."""
    both, largest = 0, 0
    for seed in range(8):
        edges = induction(seed).edges_frame(0.04).query("kind == 'attention'")
        found = set(edges[["layer", "query", "key"]].itertuples(index=False, name=None))
        both += {(1, 17, 6), (0, 6, 5)} <= found
        into = edges.query("layer == 1 and query == 17").sort_values("contribution")
        largest += into["key"].iloc[-1] == 6
    assert both >= 7 and largest >= 7


def test_one_forward_pass():
    model, calls = tiny_model("gpt2"), []
    handle = model.module.register_forward_hook(lambda *_: calls.append(1))
    workbench.routes(model, "abcabc")
    handle.remove()
    assert len(calls) == 1


def test_half_precision():
    model = tiny_model("llama")
    model.module.bfloat16()
    half = workbench.routes(model, "abcabc", full=True, threshold=0.0)
    model = tiny_model("llama")
    exact = workbench.routes(model, "abcabc", full=True, threshold=0.0)
    torch.testing.assert_close(half.residual, exact.residual, atol=2e-2, rtol=0)
    assert half.residual.dtype == torch.float32


def test_what_the_model_answers_is_told():
    model = workbench.load("micro")
    found = workbench.routes(model, "abcabca")
    logits = model.logits(model.encode("abcabca"))[0, -1]
    assert found.answer == model.token_text(int(logits.argmax()))
    assert found.probability == pytest.approx(logits.softmax(-1).max().item())
    assert workbench.routes(tiny_model("dinov2"), "example").answer is None


def test_parts_that_do_not_add_up_are_refused():
    """What an intervention writes is no part of what the heads wrote."""
    model = tiny_model("gpt2")
    with (
        workbench.editing(model, {"blocks.1.attn_out": lambda x: x + 1}),
        pytest.raises(workbench.UnsupportedModel, match="layer 1 of tiny:gpt2 miss the stream.*interventions"),
    ):
        workbench.routes(model, "abc")


def test_a_threshold_that_leaves_nothing_is_a_sentence():
    with pytest.raises(
        workbench.BadInput, match="Nothing is left at a threshold of 1: .*position 3 has a share of 0\\."
    ) as e:
        workbench.routes(tiny_model("gpt2"), "abc", threshold=1.0)
    assert "Give a threshold below that" in str(e.value)


def test_one_edge_is_not_said_as_many():
    found = workbench.routes(tiny_model("gpt2"), "abc")
    values = sorted(found.held, reverse=True)
    for n, said in ((1, "1 edge above .* leads down to none of 4 tokens"), (3, "3 edges above .* lead down to ")):
        between = next(t for t in values if len(found.edges_frame(t)) == n)
        few = replace(found, threshold=between)
        assert re.search(said, few.brief()[0]), few.brief()[0]
        assert f": {n} edge{'s' * (n > 1)} above" in few.figure().layout.title.text


def test_a_terminal_shows_the_strongest_edges():
    found = workbench.routes(tiny_model("gpt2"), "abcabcabc", threshold=0.001)
    table = found.brief()[1]
    strongest = found.edges_frame().query("kind == 'attention'")["contribution"].sort_values(ascending=False)
    assert len(strongest) > 20 and table["contribution"].tolist() == strongest[:20].tolist()


def test_what_was_not_computed_is_a_sentence():
    found = workbench.routes(tiny_model("gpt2"), "abc", threshold=0.1)
    assert len(found.route(0.999)) == 0 and not found.states(0.999)[0].any()
    with pytest.raises(workbench.BadInput, match="no route at 0.005; run it again with threshold=0.005"):
        found.route(0.005)
    with pytest.raises(workbench.BadInput, match="Only the route of position 3 was computed.*full=True"):
        found.route(position=0)
    with pytest.raises(workbench.BadInput, match="There is no position 9"):
        workbench.routes(tiny_model("gpt2"), "abc", full=True).route(position=9)
    with pytest.raises(workbench.BadInput, match="There is no position 9"):
        workbench.routes(tiny_model("gpt2"), "abc", position=9)
    with pytest.raises(workbench.MissingCapability, match="one stack of blocks"):
        workbench.routes(tiny_model("t5"), "abc => a")


def test_a_stream_that_is_not_finite_is_a_sentence():
    model = tiny_model("gpt2")
    with (
        workbench.editing(model, {"blocks.1.resid_pre": lambda x: x * torch.inf}),
        pytest.raises(workbench.BadInput, match="NaN or infinity in layer 1"),
    ):
        workbench.routes(model, "abc")


def test_drop_leaves_out_coordinates_and_says_how_many_there_are():
    model = tiny_model("gpt2")
    assert not torch.equal(workbench.routes(model, "abc", drop=3).residual, workbench.routes(model, "abc").residual)
    with pytest.raises(workbench.BadInput, match="Of 16 coordinates"):
        workbench.routes(model, "abc", drop=16)


# ---- other programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "neox", "micro"])
def test_the_graph_holds_every_part(family):
    found = workbench.routes(*exact(family))
    graph, rows = found.to_networkx(), found.route().query("kind != 'bias'")
    assert nx.is_directed_acyclic_graph(graph)
    lines = (rows["kind"] == "mlp").sum() + len(rows)
    assert graph.number_of_edges() == lines
    end = f"I{found.n_layers - 1}_{found.position}"
    assert nx.ancestors(graph, end) | {end} == set(graph.nodes), "all leads to the prediction"
    tokens = {v["position"] for v in graph.nodes.values() if v["kind"] == "token"}
    assert tokens == set(found.states()[0].nonzero().squeeze(-1).tolist())
    assert all(v["token"] == found.tokens[v["position"]] for v in graph.nodes.values())


def test_json_node_link_and_graphml_come_back(tmp_path):
    found = workbench.routes(tiny_model("gpt2"), 'a<b>&"\n\x00c')
    graph = found.to_networkx(0.02)
    text = found.to_json(0.02)
    assert nx.utils.graphs_equal(route_export.from_json(text), graph)
    data = json.loads(text)
    assert data["tokens"] == list(found.tokens) and data["threshold"] == 0.02
    linked = json.loads(json.dumps(found.to_node_link(0.02)))
    assert nx.utils.graphs_equal(nx.node_link_graph(linked, edges="links"), graph)
    path = found.to_graphml(tmp_path / "route.graphml", 0.02)
    assert path == tmp_path / "route.graphml" and [*tmp_path.iterdir()] == [path]
    read = nx.read_graphml(path, force_multigraph=True)
    assert set(read.nodes) == set(graph.nodes) and read.number_of_edges() == graph.number_of_edges()
    shares = sorted(v["share"] for *_, v in read.edges.data())
    assert shares == pytest.approx(sorted(v["share"] for *_, v in graph.edges.data()))
    assert len(nx.read_graphml(found.to_graphml(path)).edges) < read.number_of_edges()
    with pytest.raises(workbench.BadFile, match="does not exist"):
        found.to_graphml(tmp_path / "nowhere" / "route.graphml")
    for other, says in (('{"format": "other"}', "says 'other'"), ("[]", "no object"), ("<", "no JSON")):
        with pytest.raises(workbench.BadInput, match=f"no route.*{says}"):
            route_export.from_json(other)
