"""Sinks against loops over patterns and values, on attention whose shape is known, under padding and start tokens."""

import math
import statistics

import pytest
import torch

import workbench
from workbench.functional import uniform_sink_mass

PROMPT = "abcabca"


def read(model, prompt, sites):
    with torch.no_grad(), workbench.reading(model, sites) as values:
        model.module(**model.encode(prompt))
    return [values[site][0] for site in sites]


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_masses_and_norms_are_those_of_loops(family, tiny):
    model = tiny(family)
    found = workbench.attention_sinks(model, PROMPT, position=2)
    n, both = len(found.keys), not model.main.causal
    patterns = read(model, PROMPT, model.attention_sites(None, "pattern"))
    values = read(model, PROMPT, model.attention_sites(None, "v"))
    states = read(model, PROMPT, [model.stream("resid_pre")[0], *model.stream("resid_post")])
    for layer, (pattern, value) in enumerate(zip(patterns, values, strict=True)):
        for head in range(model.n_heads):
            for key in range(n):
                rows = [pattern[head, i, key].item() for i in range(n) if (i != key if both else i > key)]
                mass = found.mass[layer, head, key].item()
                assert mass == pytest.approx(statistics.fmean(rows), abs=1e-6) if rows else math.isnan(mass)
                assert found.counts[key] == len(rows)
        for kv in range(model.n_kv_heads):
            norms = [math.hypot(*value[i, kv].tolist()) for i in range(n)]
            for key in range(n):
                others = statistics.fmean(norms[:key] + norms[key + 1 :])
                assert found.value_ratio[layer, kv, key].item() == pytest.approx(norms[key] / others, rel=1e-4)
    for number, state in enumerate(states):
        norms = [math.hypot(*row) for row in state.tolist()]
        for key in range(n):
            others = statistics.median(norms[:key] + norms[key + 1 :])
            assert found.state_ratio[number, key].item() == pytest.approx(norms[key] / others, rel=1e-4)
    frame = found.to_frame()
    assert frame["mass"].tolist() == found.mass[..., 2].flatten().tolist()
    assert frame["kv_head"].tolist() == [h * model.n_kv_heads // model.n_heads for h in range(model.n_heads)] * 2
    one = frame.iloc[-1]
    assert one["value_ratio"] == found.value_ratio[-1, -1, 2].item()
    assert one["strongest_mass"] == found.mass[-1, -1].nan_to_num(-1).max().item()


def even(scores):
    return torch.where(scores > torch.finfo(scores.dtype).min / 2, 0.0, scores)


def test_uniform_attention_scores_its_chance(tiny):
    model = tiny("gpt2")
    with workbench.editing(model, {site: even for site in model.attention_sites(None, "attn_scores")}):
        found = workbench.attention_sinks(model, PROMPT, position=0)
    expected = uniform_sink_mass(len(found.keys)).float()
    torch.testing.assert_close(found.mass[1, 0], expected, equal_nan=True)
    torch.testing.assert_close(found.chance, expected, equal_nan=True)
    assert found.mass[0, 0, 0].item() == pytest.approx(sum(1 / (i + 1) for i in range(1, 8)) / 7)
    assert found.share == (1.0 if found.chance[0] > 0.3 else 0.0)


def test_a_planted_sink_with_a_drained_value_is_found(tiny):
    model = tiny("llama")

    def sink(pattern):
        new = torch.zeros_like(pattern)
        new[..., 3] = 1.0
        return new

    def drained(values):
        new = torch.ones_like(values)
        new[:, 3] = 0.05
        return new

    sites = {site: sink for site in model.attention_sites(None, "pattern")}
    sites |= {site: drained for site in model.attention_sites(None, "v")}
    with workbench.editing(model, sites):
        found = workbench.attention_sinks(model, PROMPT)
    assert (found.position, found.share) == (3, 1.0)
    torch.testing.assert_close(found.value_ratio[..., 3], torch.full((2, 2), 0.05))
    assert "100% of 8 heads give token 3" in found.brief()[0]
    assert found.sink_heads.all()


def test_the_first_token_is_the_tokenizers_or_the_one_asked_for(tiny):
    model = tiny("gpt2")
    usual, without = (workbench.attention_sinks(model, PROMPT, start=s) for s in ("yes", "no"))
    assert usual.keys[0] == "<bos>" and usual.special == (0,) and "a special one" in usual.first
    assert without.keys == usual.keys[1:] and without.special == () and "no special one" in without.first
    assert workbench.attention_sinks(model, PROMPT).keys == usual.keys
    with pytest.raises(workbench.BadInput, match="yet to be cut into tokens"):
        workbench.attention_sinks(model, [5, 6, 7], start="no")


def test_left_padding_changes_nothing(tiny):
    model = tiny("llama")
    batch = dict(model.processor(PROMPT, return_tensors="pt", padding="max_length", max_length=12, padding_side="left"))
    alone, there = workbench.attention_sinks(model, PROMPT), workbench.attention_sinks(model, batch)
    assert (there.keys, there.position, there.special) == (alone.keys, alone.position, alone.special)
    for name in ("mass", "value_norm", "state_ratio"):
        torch.testing.assert_close(getattr(there, name), getattr(alone, name), equal_nan=True, rtol=1e-4, atol=1e-5)


def test_cross_attention_counts_every_query(tiny):
    model = tiny("t5")
    name = "decoder_blocks.cross_attn"
    found = workbench.attention_sinks(model, "abcabc => ab", attention=name)
    (pattern,) = read(model, "abcabc => ab", ["decoder_blocks.0.cross_attn.pattern"])
    torch.testing.assert_close(found.mass[0], pattern.mean(1))
    assert set(found.counts.tolist()) == {3}
    assert found.state_norm.shape == (3, len(found.keys))
    (state,) = read(model, "abcabc => ab", ["encoder_blocks.1.resid_post"])
    torch.testing.assert_close(found.state_norm[-1], state.norm(dim=-1))


def test_chosen_queries_alone_count(tiny):
    model = tiny("gpt2")
    found = workbench.attention_sinks(model, PROMPT, queries=("c",), position=0)
    (pattern,) = read(model, PROMPT, ["blocks.1.attn.pattern"])
    assert found.queries == (3, 6) and found.counts.tolist() == [2, 2, 2, 1, 1, 1, 0, 0]
    torch.testing.assert_close(found.mass[1, :, 0], pattern[:, [3, 6], 0].mean(1))
    with pytest.raises(workbench.BadInput, match="sees another key"):
        workbench.attention_sinks(model, PROMPT, queries=("0",))


def test_a_decoder_of_one_token_is_named_with_the_other_attentions(tiny):
    others = "encoder_blocks.attn, decoder_blocks.cross_attn"
    for family in ("t5", "bart"):
        with pytest.raises(workbench.BadInput, match=rf"decoder_blocks.self_attn reads 1 token.*=>.*{others}"):
            workbench.attention_sinks(tiny(family), "abcabc")
        assert workbench.attention_sinks(tiny(family), "abcabc", attention="encoder_blocks.attn").keys


def test_a_single_token_has_no_sink_and_figures_are_three(tiny):
    model = tiny("gpt2")
    with pytest.raises(workbench.BadInput, match="at least two tokens"):
        workbench.attention_sinks(model, [5])
    found = workbench.attention_sinks(model, PROMPT)
    assert all(found.figure(of).data for of in ("mass", "values", "states"))
    with pytest.raises(workbench.BadInput, match="not 'z'"):
        found.figure("z")
    assert found.masses_frame(0, 1)["mass"].tolist()[:7] == found.mass[0, 1].tolist()[:7]
