"""What marks of a route say, against the analyses that say it of whole models and against sums by hand."""

import pytest
import torch

import workbench
from tests.analyses.circuits.test_routes import exact, shares
from workbench.analyses.circuits.route_node import route_node
from workbench.analyses.circuits.route_parts import Measure
from workbench.testing import tiny_model


def logits_of(frame, effect="promoted"):
    chosen = frame[frame["effect"] == effect]
    return dict(zip(chosen["token"], chosen["logit"], strict=True))


@pytest.mark.parametrize("family", ["gpt2", "neox", "bert", "micro"])
def test_a_state_says_what_the_logit_lens_says(family):
    model, text = exact(family)
    lens = workbench.logit_lens(model, text, top_k=4)
    for state in range(model.n_blocks + 1):
        found = route_node(model, text, state, 2, "state", top_k=4).predicted
        assert tuple(found["token"]) == lens.answers[state][2]
        assert found["probability"].tolist() == pytest.approx(lens.log_probs[state, 2].exp().tolist())
        assert ("rise" in found) == (state > 0)


def test_rises_are_counted_from_the_state_before():
    model, text = exact("gpt2")
    with workbench.reading(model, ["blocks.1.resid_mid", "blocks.1.resid_post", "blocks.1.resid_pre"]) as values:
        model.module(**model.encode(text))
    order = {name: model.readout(x[0, 3]).argsort(descending=True).tolist() for name, x in values.items()}
    for part, layer, before, now in (("state", 2, "mid", "post"), ("middle", 1, "pre", "mid")):
        found = route_node(model, text, layer, 3, part, top_k=5).predicted
        ids = order[f"blocks.1.resid_{now}"][:5]
        earlier = [order[f"blocks.1.resid_{before}"].index(i) for i in ids]
        assert found["token"].tolist() == [model.token_text(i) for i in ids]
        assert found["rank_before"].tolist() == earlier
        assert found["rise"].tolist() == [then - now for now, then in enumerate(earlier)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_writers_promote_what_they_add_to_the_logit(family):
    model, text = exact(family)
    answer = model.token_text(5)
    parts = workbench.residual(model, text, token=answer, position=4, heads=True)
    added = dict(zip(parts.parts, parts.contributions.tolist(), strict=True))
    mlp = route_node(model, text, 1, 4, "mlp", top_k=98)
    assert logits_of(mlp.promoted)[answer] == pytest.approx(added["blocks.1.mlp_out"], abs=1e-9)
    for head in range(model.n_heads):
        found = route_node(model, text, 1, 4, f"h{head}", top_k=98).promoted
        assert logits_of(found)[answer] == pytest.approx(added[f"blocks.1.attn.z:{head}"], abs=1e-9)
        assert logits_of(found, "suppressed") == pytest.approx(logits_of(found))
        looks = [route_node(model, text, 1, 4, f"h{head}", key=k, top_k=98).promoted for k in range(5)]
        assert sum(logits_of(one)[answer] for one in looks) == pytest.approx(logits_of(found)[answer], abs=1e-9)
    heads = sum(added[f"blocks.1.attn.z:{h}"] for h in range(model.n_heads)) + added["blocks.1.attn.bias"]
    whole = route_node(model, text, 1, 4, "attention", top_k=98).promoted
    assert logits_of(whole)[answer] == pytest.approx(heads, abs=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "bert"])
@pytest.mark.parametrize("how", [Measure(), Measure(norm="l2", drop=2)], ids=["l1", "l2 without two"])
def test_neurons_count_as_parts_of_the_stream_after_the_mlp(family, how):
    model, text = exact(family)
    sites = [f"blocks.0.{part}" for part in ("resid_pre", "attn_out", "mlp.post", "mlp_out")]
    sites += ["blocks.0.resid_mid"] * (family != "neox")
    with torch.no_grad(), workbench.reading(model, sites) as values:
        model.module(**model.encode(text))
    pre, attn, post, mlp_out, *mid = (values[site][0, 3] for site in sites)
    mid = mid[0] if mid else pre + attn
    outer = model.mlp_map(0).outer
    bias = torch.zeros_like(mid) if outer.bias is None else outer.bias
    parts = torch.stack([*(post[:, None] * outer.weight), mid, bias]).detach()
    expected = shares(parts, mid + mlp_out, how.norm, how.drop)
    found = route_node(model, text, 0, 3, "mlp", top_k=6, how=how).neurons
    order = expected[:-2].argsort(descending=True)[:6]
    assert found["neuron"].tolist() == order.tolist()
    assert found["contribution"].tolist() == pytest.approx(expected[order].tolist())
    assert found["activation"].tolist() == pytest.approx(post[order].tolist())
    assert ("promotes" in found) == (family != "bert")


def test_an_edge_names_its_heads_in_order():
    found = workbench.routes(workbench.load("micro"), "abcdefgabcde")
    heads = found.edge_heads(1, 12, 6)
    assert heads["share"].is_monotonic_decreasing and len(heads) >= 2
    edge = found.edges_frame().query("layer == 1 and query == 12 and key == 6").iloc[0]
    assert heads["head"].iloc[0] == edge["largest"] and (heads["share"] > 0.04).sum() == edge["heads"]
    assert len(found.edge_heads(0, 3, 9)) == 0


def test_what_a_model_lacks_is_a_note_and_what_is_not_there_a_sentence():
    model = tiny_model("dinov2")
    assert "no trained head" in route_node(model, "example", 0, 0, "state").notes[0]
    assert "No promoted tokens" in route_node(model, "example", 0, 0, "mlp").notes[0]
    assert "norms between" in route_node(tiny_model("bert"), "abc", 0, 0, "h1").notes[0]
    for part, layer in (("mlp", 0), ("middle", 0), ("h9", 0), ("x", 0)):
        with pytest.raises(workbench.BadInput, match=f"no part '{part}' of a block of micro; there is state"):
            route_node(workbench.load("micro"), "abc", layer, 0, part)
    with pytest.raises(workbench.BadInput, match="no layer 2 for 'mlp'.*0 to 1"):
        route_node(tiny_model("gpt2"), "abc", 2, 0, "mlp")
    with pytest.raises(workbench.BadInput, match="no position 9"):
        route_node(tiny_model("gpt2"), "abc", 0, 9, "mlp")
    for part in ("attention", "mlp", "state"):
        with pytest.raises(workbench.BadInput, match=f"'{part}' is not taken apart by keys"):
            route_node(tiny_model("gpt2"), "abc", 0, 1, part, key=1)
    with pytest.raises(workbench.BadInput, match="Position 1 of .* cannot look ahead at position 3"):
        route_node(tiny_model("gpt2"), "abc", 0, 1, "h0", key=-1)
    assert route_node(tiny_model("bert"), "abc", 0, 1, "h0", key=2).part == "h0"
    with pytest.raises(workbench.MissingCapability, match="one stack"):
        route_node(tiny_model("t5"), "abc => a", 0, 0, "mlp")
