"""Sinks and outputs of heads by loops, ablations against weights that were changed, and heads named by hand."""

import copy
import statistics

import pytest
import torch

import workbench
from workbench.analyses.extremes.head_ablations import parked, silent

A, B = ["abcab", "cabbage"], ["aabbccdd", "dad", "bcd"]


def losses_of(module, model, texts):
    """(sum, count) of transformers' own next-token losses, one text at a time."""
    total, count = 0.0, 0
    for text in texts:
        ids = model.encode(text)["input_ids"]
        with torch.no_grad():
            total += module(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total, count


def test_sinks_and_norms_are_those_of_loops(tiny):
    model = tiny("gpt2")
    found = workbench.dormant_heads(model, A, B, top_k=0)
    for domain, texts in enumerate((A, B)):
        for layer in range(2):
            sites = [f"blocks.{layer}.attn.{part}" for part in ("pattern", "z")]
            weight = model.module.transformer.h[layer].attn.c_proj.weight
            for head in range(2):
                sinks, norms = [], []
                for text in texts:
                    with torch.no_grad(), workbench.reading(model, sites) as values:
                        model.module(**model.encode(text))
                        pattern, z = (values[site][0] for site in sites)
                    sinks.append(statistics.fmean(pattern[head, i, 0].item() for i in range(1, len(z))))
                    added = z[1:, head] @ weight[8 * head : 8 * head + 8]
                    norms.append(statistics.fmean(added.norm(dim=-1).tolist()))
                assert found.sink[domain, layer, head].item() == pytest.approx(statistics.fmean(sinks), rel=1e-5)
                assert found.norm[domain, layer, head].item() == pytest.approx(statistics.fmean(norms), rel=1e-4)
    torch.testing.assert_close(found.score, found.sink[0] - found.sink[1])
    assert (found.texts, found.n_inputs, found.firsts) == ("list", (2, 3), (("<bos>",), ("<bos>",)))
    assert found.to_frame()["ablated"].sum() == 0


def test_a_head_without_output_is_one_whose_weights_are_zero(tiny):
    model = tiny("gpt2")
    found = workbench.dormant_heads(model, A, B, heads=("1.0",), top_k=0)
    without = copy.deepcopy(model.module)
    with torch.no_grad():
        without.transformer.h[1].attn.c_proj.weight[:8] = 0
    assert found.heads.tolist() == [[1, 0]] and found.measure == "loss"
    for domain, texts in enumerate((A, B)):
        (before, count), (after, _) = losses_of(model.module, model, texts), losses_of(without, model, texts)
        assert found.base[domain].item() == pytest.approx(before / count, rel=1e-5)
        assert found.zero[domain, 0].item() == pytest.approx((after - before) / count, abs=1e-5)
        assert found.n_predicted[domain] == count
        assert abs(found.zero[domain, 0].item()) > 1e-3


def test_a_parked_head_says_what_the_first_value_says(tiny):
    model = tiny("gpt2")
    found = workbench.dormant_heads(model, A, B, heads=("1.1",), top_k=0)

    def first_value(z):
        new = z.clone()
        new[:, :, 1] = values["blocks.1.attn.v"][:, :1, 1]
        return new

    total = {True: 0.0, False: 0.0}
    for text in A:
        ids = model.encode(text)["input_ids"]
        with torch.no_grad(), workbench.reading(model, "blocks.1.attn.v") as values:
            total[False] += model.module(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            with workbench.editing(model, {"blocks.1.attn.z": first_value}):
                total[True] += model.module(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    expected = (total[True] - total[False]) / found.n_predicted[0].item()
    assert found.parked[0, 0].item() == pytest.approx(expected, abs=1e-5)


def test_parked_heads_with_a_drained_value_leave_the_bias_alone(tiny):
    model = tiny("gpt2")

    def all_parked(pattern):
        for head in range(2):
            pattern = parked(head)(pattern)
        return pattern

    def drained(values):
        new = values.clone()
        new[:, 0] = 0
        return new

    edits = {"blocks.1.attn.pattern": all_parked, "blocks.1.attn.v": drained}
    with torch.no_grad(), workbench.editing(model, edits), workbench.reading(model, "blocks.1.attn_out") as values:
        model.module(**model.encode("abcab"))
    bias = model.module.transformer.h[1].attn.c_proj.bias
    torch.testing.assert_close(values["blocks.1.attn_out"][0], bias.expand(6, -1), rtol=0, atol=1e-6)


def test_the_heads_that_differ_most_are_ablated(tiny):
    found = workbench.dormant_heads(tiny("llama"), A, B, top_k=2, heads=("0.3",))
    score = found.score.abs().flatten()
    most = [divmod(i, 4) for i in score.argsort(descending=True).tolist()[:2]]
    assert found.heads.tolist()[0] == [0, 3]
    assert {tuple(head) for head in found.heads.tolist()} == {(0, 3), *most}
    frame = found.to_frame()
    assert frame["score"].abs().is_monotonic_decreasing
    assert frame["zero"].notna().sum() == frame["ablated"].sum() == len(found.heads)
    named = frame.query("layer == 0 and head == 3").iloc[0]
    assert (named["zero"], named["parked_other"]) == (found.zero[0, 0].item(), found.parked[1, 0].item())
    assert named["kv_head"] == 1


def test_without_next_tokens_answers_are_compared(tiny):
    model = tiny("bert")
    found = workbench.dormant_heads(model, A, B, heads=("0.1",), top_k=0)
    each = []
    for text in B:  # one at a time, so that nothing is padded
        batch = model.encode(text)
        with torch.no_grad(), workbench.editing(model, {"blocks.0.attn.z": silent(1)}):
            after = model.logits(batch)
        each += workbench.functional.kl_divergence(model.logits(batch)[0], after[0]).tolist()
    assert found.zero[1, 0].item() == pytest.approx(statistics.fmean(each), rel=1e-4)
    assert found.measure == "kl" and found.base.isnan().all() and (found.zero > 0).all()
    assert found.n_predicted.tolist() == [sum(len(t) + 1 for t in texts) for texts in (A, B)]


def test_heads_are_named_one_by_one_or_with_commas(tiny):
    model = tiny("gpt2")
    found = [workbench.dormant_heads(model, A, B, heads=h, top_k=0) for h in (("0.1", "1.0"), ("0.1,1.0",))]
    assert found[0].heads.tolist() == found[1].heads.tolist() == [[0, 1], [1, 0]]


def test_bad_heads_and_texts_are_sentences(tiny):
    model = tiny("gpt2")
    for name in ("2.0", "x", "1", "0.2", "-1.0"):
        with pytest.raises(workbench.BadInput, match=r"from 0.0 to 1.1"):
            workbench.dormant_heads(model, A, B, heads=(name,))
