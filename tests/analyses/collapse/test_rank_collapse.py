"""Rank collapse: every variant against the stack done by hand, in every order of norms, and what it says of itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import workbench
from tests.analyses.collapse.by_hand import seen, variant_states
from workbench import functional
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer
from workbench.testing import tiny_model

PROMPT = "abcabcabd"
PARTS = {"full": (True, True), "no skip": (False, True), "no MLP": (True, False), "attention alone": (False, False)}


@pytest.fixture(scope="module")
def results():
    return {name: workbench.rank_collapse(tiny_model(name), PROMPT) for name in ("gpt2", "bert", "neox", "llama")}


def small(seed=0, **sizes):
    torch.manual_seed(seed)
    config = SmallConfig(vocab_size=11, n_ctx=24, d_model=16, d_head=4, d_mlp=32, **sizes)
    return workbench.adapt(SmallTransformer(config).eval(), word_tokenizer([*map(str, range(10))]), name="small")


def own_patterns(model):
    """Causal or full softmax attention from the maps of queries and keys; families without rotary embedding."""

    def pattern(layer, reads):
        (w_q, b_q), (w_k, b_k) = model.query_map(None, layer), model.key_map(None, layer)
        q, k = (
            torch.einsum("pm,mhd->hpd", reads, w.double()) + b.double()[:, None] for w, b in ((w_q, b_q), (w_k, b_k))
        )
        scores = q @ k.mT / w_q.shape[-1] ** 0.5
        if model.main.causal:
            scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), -torch.inf)
        return scores.softmax(-1)

    return pattern


FROZEN = [(family, "frozen") for family in ("gpt2", "bert", "neox", "llama")]
RECOMPUTED = [(family, "recomputed") for family in ("gpt2", "bert")]  # rotary embedding is not done by hand


@pytest.mark.parametrize(("family", "attention"), [*FROZEN, *RECOMPUTED])
def test_each_variant_is_the_stack_done_by_hand(results, family, attention):
    model = tiny_model(family)
    values, patterns = seen(model, model.encode(PROMPT))
    first = values[model.stream("resid_pre")[0]]
    rounding = 2e-5 if family in ("neox", "llama") else 1e-5  # what enters, and patterns held, are of single precision
    for variant, (skip, mlp) in PARTS.items():
        given = own_patterns(model) if attention == "recomputed" else patterns
        states = variant_states(model, first, given, skip=skip, mlp=mlp)
        expected = functional.rank_residual(states).relative
        found = results[family].curve(variant, attention)[0]
        torch.testing.assert_close(found, expected, rtol=rounding, atol=1e-7)
        rank = results[family].curve(variant, attention, "effective rank")[0]
        torch.testing.assert_close(rank, functional.state_rank(states), rtol=1e-4, atol=0)


def test_the_full_network_is_what_transformers_gives(results):
    model = tiny_model("bert")
    with torch.no_grad():
        output = model.module(**model.encode(PROMPT), output_hidden_states=True)
    expected = functional.rank_residual(torch.stack(output.hidden_states)[:, 0]).relative
    torch.testing.assert_close(results["bert"].curve("full")[0], expected.double(), rtol=1e-5, atol=0)


def test_entropy_and_cosine_are_those_of_the_run(results):
    model = tiny_model("gpt2")
    values, patterns = seen(model, model.encode(PROMPT))
    p = patterns.clamp(min=1e-300)
    entropy = results["gpt2"].curve("full", measure="attention entropy")[0]
    assert entropy[0].isnan()
    torch.testing.assert_close(entropy[1:], -(p * p.log()).sum(-1).mean((-2, -1)), rtol=1e-5, atol=0)
    frozen = results["gpt2"].curve("no skip", "frozen", "attention entropy")[0]
    torch.testing.assert_close(frozen, entropy, equal_nan=True)
    last = values[model.stream("resid_post")[-1]]
    units = last / last.norm(dim=-1, keepdim=True)
    pairs = (units @ units.T)[~torch.eye(len(last)).bool()].mean()
    torch.testing.assert_close(results["gpt2"].curve("full", measure="mean cosine")[0, -1], pairs, rtol=1e-5, atol=0)


def test_attention_that_does_not_look_is_the_same_frozen_and_recomputed():
    model = small(n_layers=4, norm="layer")
    with torch.no_grad():
        for block in model.module.blocks:
            block.attn.W_Q.weight.zero_()
    found = workbench.rank_collapse(model, "1 2 3 4 5 6 7 8")
    for variant in ("no skip", "no MLP", "attention alone"):
        torch.testing.assert_close(found.curve(variant, "frozen"), found.curve(variant), rtol=1e-12, atol=1e-15)
    entropy = found.curve("full", measure="attention entropy")[0, 1:]
    expected = float(np.log(np.arange(1, 9)).mean())  # even over what each position sees
    torch.testing.assert_close(entropy, torch.full_like(entropy, expected))


def test_attention_alone_collapses_and_the_full_network_does_not():
    found = workbench.rank_collapse(small(n_layers=16), "1 2 3 4 5 6 7 8 9 0 1 3 5 7 9")
    full, alone = found.curve("full")[0], found.curve("attention alone")[0]
    assert full.min() > 0.1 and alone[8] < 0.05 and alone[-1] < 1e-3 and found.floor.max() < 1e-13


def test_the_model_stays_as_it_was_and_its_small_copy_is_in_double(results):
    model = tiny_model("gpt2")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    workbench.rank_collapse(model, PROMPT)
    assert model.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert "float64" in results["gpt2"].notes[-1] and "float32" in results["llama"].notes[-1]
    assert results["gpt2"].floor[0, 0].max() < 1e-15 < 1e-7 < results["llama"].floor.min()
    mine = replace(model, module=model.module.double())
    torch.testing.assert_close(workbench.rank_collapse(mine, PROMPT).values, results["gpt2"].values, equal_nan=True)


def test_what_it_says_of_norms_and_of_parts_that_a_model_lacks(results):
    assert "before each sublayer" in results["gpt2"].notes[0] and "after each sum" in results["bert"].notes[0]
    assert any("one skip connection a block" in note for note in results["neox"].notes)
    micro = workbench.rank_collapse(tiny_model("micro"), PROMPT)
    assert any("no MLPs" in note for note in micro.notes)
    torch.testing.assert_close(micro.curve("no MLP"), micro.curve("full"), rtol=1e-12, atol=0)
    bare = workbench.rank_collapse(small(n_layers=1), "1 2 3")
    assert "No norms are known" in bare.notes[0]


def test_left_padding_and_left_out_positions():
    model = tiny_model("llama")
    tokens = model.processor(PROMPT, return_tensors="pt", padding="max_length", max_length=14, padding_side="left")
    alone, padded = (workbench.rank_collapse(model, given, skip=2) for given in (PROMPT, dict(tokens)))
    assert padded.positions == alone.positions == (len(model.labels(model.encode(PROMPT))) - 2,)
    torch.testing.assert_close(padded.values, alone.values, rtol=1e-4, atol=1e-4, equal_nan=True)
    values, _ = seen(model, model.encode(PROMPT))
    last = values[model.stream("resid_post")[-1]][2:]
    expected = functional.rank_residual(last).relative
    torch.testing.assert_close(alone.curve("full")[0, -1].double(), expected, rtol=1e-5, atol=0)


def test_norm_and_minimiser_are_those_asked_for():
    model = tiny_model("gpt2")
    values, _ = seen(model, model.encode(PROMPT))
    last = values[model.stream("resid_post")[-1]]
    found = workbench.rank_collapse(model, PROMPT, norm="1inf", minimiser="median")
    expected = functional.rank_residual(last, "1inf", "median")
    torch.testing.assert_close(found.curve("full")[0, -1], expected.relative, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.curve("full", measure="residual")[0, -1], expected.absolute, rtol=1e-5, atol=0)


def test_several_texts_have_a_median_and_quartiles_of_each_by_itself():
    model, texts = tiny_model("gpt2"), ["abcabc", "the cat sat", "1 2 3 1 2", "xyz", "hello, you there"]
    found = workbench.rank_collapse_texts(model, texts, inputs=5)
    each = torch.stack([workbench.rank_collapse(model, text).values[0] for text in texts])
    order = [found.positions.index(len(model.labels(model.encode(text)))) for text in texts]
    torch.testing.assert_close(found.values[order], each, equal_nan=True)
    frame = found.to_frame()
    row = frame[(frame["run"] == "no skip, frozen") & (frame["measure"] == "mean cosine") & (frame["depth"] == 2)]
    low, value, high = np.percentile(each[:, 2, 3, 2], [25, 50, 75])
    assert row[["low", "value", "high"]].to_numpy()[0] == pytest.approx([low, value, high], rel=1e-6)
    assert set(frame["texts"]) == {0, 5}
    some = workbench.rank_collapse_texts(model, [texts[0], "", " "])
    assert len(some.positions) == 1 and "2 empty texts left out." in some.brief()[0]


def test_what_is_refused(results):
    with pytest.raises(workbench.BadInput, match="none is left"):
        workbench.rank_collapse(tiny_model("gpt2"), "abc", skip=10)
    with pytest.raises(workbench.UnknownName, match="Did you mean 'no skip'"):
        results["gpt2"].curve("no skips")
    with pytest.raises(workbench.UnknownName, match="measure"):
        results["gpt2"].figure("rank")
