"""Activation patching: each cell against one plain hooked run, TransformerLens's sweeps, gates, and what must hold."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch

import workbench
from workbench.interventions import edits, parse
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import tiny_model

CLEAN, CORRUPTED = "abcabcabc", "abcacabca"
SWEEPS = ("resid_pre", "attn_out", "mlp_out", "heads", "queries", "keys", "values", "patterns")


def patched(model, clean=CLEAN, corrupted=CORRUPTED, **options) -> Any:
    return workbench.get("activation-patching")(model, clean, corrupted, **options)


def one_by_one(model, found, clean, corrupted, *, source, index):
    """Each patch as an edit of a whole forward pass of its own."""
    answer, foil = model.token_id(found.token), model.token_id(found.foil)
    values = torch.empty_like(found.value)
    for layer in range(values.shape[0]):
        for head in range(values.shape[1]):
            for pos in range(values.shape[2]):
                change = edits(model, [found.intervention(layer, head, pos)], source=source)
                with workbench.editing(model, change):
                    row = model.logits(model.encode(corrupted if source == clean else clean))[0, index]
                values[layer, head, pos] = row[answer] - row[foil]
    return values


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "bert", "albert"])
def test_each_cell_is_one_plain_run(family, double):
    model, _ = double(family)
    for sweep in ("resid_pre", "mlp_out", "heads", "values"):
        found = patched(model, sweep=sweep, each_position=sweep == "heads", positions=(5, 7, -1))
        expected = one_by_one(model, found, CLEAN, CORRUPTED, source=CLEAN, index=-1)
        torch.testing.assert_close(found.value, expected, rtol=1e-9, atol=1e-9)
        assert found.value.unique().numel() > 2, sweep


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_in_encoder_decoders_both_sides_are_swept(direction):
    model = tiny_model("t5")
    clean, corrupted = "abcabc => ab", "cbaabc => ab"
    for attention in ("encoder_blocks.attn", "decoder_blocks.cross_attn"):
        found = patched(model, clean, corrupted, sweep="heads", attention=attention, direction=direction)
        source = clean if direction == "denoise" else corrupted
        expected = one_by_one(model, found, clean, corrupted, source=source, index=-1)
        torch.testing.assert_close(found.value, expected, rtol=1e-4, atol=1e-5)


SITES = {"resid_pre": "resid_pre", "attn_out": "attn_out", "mlp_out": "mlp_out"}
OF_HEADS = {"heads": "out", "queries": "q", "keys": "k", "values": "v", "patterns": "pattern"}


def metric(row, logits):
    return logits[0, -1] @ row


@pytest.mark.parametrize(("family", "sweeps"), [("gpt2", SWEEPS), ("llama", SWEEPS[:4])])
def test_agrees_with_the_sweeps_of_transformer_lens(family, sweeps, double, bridge_of):
    """In its bridge keys and values of grouped heads have no sweep of their own."""
    model, _ = double(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import patching

        bridge = bridge_of(model)
        ids = [model.encode(text)["input_ids"] for text in (CLEAN, CORRUPTED)]
        _, cache = bridge.run_with_cache(ids[0])
        for sweep in sweeps:
            found = patched(model, sweep=sweep, direction="denoise")
            row = torch.zeros(model.vocab_size, dtype=torch.double)
            row[model.token_id(found.token)], row[model.token_id(found.foil)] = 1, -1
            name = f"attn_head_{OF_HEADS[sweep]}_all_pos" if sweep in OF_HEADS else SITES[sweep]
            function = getattr(patching, f"get_act_patch_{name}")
            theirs = function(bridge, ids[1], cache, partial(metric, row))
            torch.testing.assert_close(found.value.squeeze(), theirs.to(found.value), rtol=1e-5, atol=1e-5)
            assert theirs.unique().numel() > 2, sweep


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_all_of_the_stream_is_the_other_run_and_nothing_is_this_one(direction):
    """Before layer 0 only the differing tokens are there to be patched; after the last block, the answer's position."""
    model = tiny_model("gpt2")
    clean, corrupted = "abcabcabc", "abxabcabc"
    found = patched(model, clean, corrupted, direction=direction)
    assert found.effect[0, 0, 3].item() == pytest.approx(
        1, abs=1e-5
    )  # after a start token, place 3 is the third letter
    assert found.effect[0, 0, [0, 1, 2, 4, 5, 6, 7, 8, 9]].abs().max() == 0
    base = found.corrupted if direction == "denoise" else found.clean
    assert found.value[0, 0, 0].item() == base


def test_the_two_directions_mirror_each_other_where_one_place_carries_all():
    model = tiny_model("llama")
    there = patched(model, "abcabcabc", "abcabcaba", sweep="resid_pre", direction="denoise")
    back = patched(model, "abcabcabc", "abcabcaba", sweep="resid_pre", direction="noise")
    torch.testing.assert_close(there.effect[:, 0, -1], torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(back.effect[:, 0, -1], torch.ones(2), atol=1e-5, rtol=0)
    assert (there.clean, there.corrupted) == (back.clean, back.corrupted)


def test_the_trained_model_copies_through_its_second_layer():
    """The trained model: what tells the prompts apart is at the copied letter, and layer 1 carries it to the end."""
    model = workbench.load("micro")
    found = patched(model, "the cat sat. the c", "the cot sat. the c", sweep="resid_pre", token="a", foil="o")
    where = found.tokens.index("a", 5)
    assert found.clean > 0 > found.corrupted
    assert found.effect[0, 0, where].item() == pytest.approx(1, abs=1e-4)
    assert found.effect[1, 0, where].item() > 0.5
    heads = patched(model, "the cat sat. the c", "the cot sat. the c", sweep="heads", token="a", foil="o")
    assert heads.effect[1].sum() > 0.7 > 3 * heads.effect[0].abs().max()


def test_places_where_both_runs_agree_are_not_run():
    model = tiny_model("gpt2")
    found = patched(model, "abcabcabc", "abcabcaba", sweep="mlp_out")
    assert found.n_run == 2  # the last position of two layers
    assert found.effect[:, 0, :-1].abs().max() == 0
    assert patched(tiny_model("bert"), "abcabcabc", "abcabcaba", sweep="mlp_out").n_run == 20


def test_default_answers_are_the_top_of_each_run():
    model = tiny_model("gpt2")
    found = patched(model, "abcabcabc", "abcabcaba")
    tops = [model.token_text(int(model.logits(model.encode(t))[0, -1].argmax())) for t in ("abcabcabc", "abcabcaba")]
    assert [found.token, found.foil] == tops
    rows = [model.logits(model.encode(t))[0, -1] for t in ("abcabcabc", "abcabcaba")]
    probability = rows[0].softmax(-1)[model.token_id(found.token)]
    assert found.probability[0, 0, -1].item() == pytest.approx(probability.item(), abs=1e-6)


def test_where_both_runs_give_one_answer_the_foil_is_the_likely_one_that_gains_most():
    model = workbench.load("micro")
    clean, corrupted = "the cat sat. the ", "the cot sat. the "
    found = patched(model, clean, corrupted)
    a, b = (model.logits(model.encode(text))[0, -1] for text in (clean, corrupted))
    assert a.argmax() == b.argmax() == model.token_id(found.token)
    others = [i for i in b.argsort(descending=True).tolist() if i != a.argmax()][:10]
    gains = {i: ((b[i] - b[a.argmax()]) - (a[i] - a[a.argmax()])).item() for i in others}
    assert model.token_id(found.foil) == max(gains, key=gains.__getitem__)
    assert found.clean > found.corrupted


def test_prompts_that_do_the_same_have_no_effect_and_say_so():
    found = patched(tiny_model("gpt2"), CLEAN, CLEAN, sweep="heads")
    assert found.effect.isnan().all() and found.n_pairs == 0 and found.n_run == 0
    assert found.value.isfinite().all()
    assert (found.to_frame()["pairs"] == 0).all()
    assert "no effect is defined" in found.brief()[0]


def test_different_lengths_are_told_with_both_prompts():
    with pytest.raises(workbench.BadInput, match="10 and 9 tokens.*words of as many"):
        patched(tiny_model("gpt2"), "abcabcabc", "abcabcab")
    with pytest.raises(workbench.BadInput, match=r"a\|b\|c"):
        patched(tiny_model("gpt2"), "abc", "abcd")


def test_masks_at_different_places_are_refused():
    class Masking(CharacterTokenizer):
        mask_token, mask_token_id = "~", 96

    model = workbench.adapt(tiny_model("bert").module, Masking(), name="masking")
    assert patched(model, "ab~c", "ba~c").position == 3
    with pytest.raises(workbench.BadInput, match="same place"):
        patched(model, "ab~c", "a~bc")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token": "a", "foil": "a"}, "Answer and foil"),
        ({"positions": (40,)}, "no position 40"),
        ({"layers": (7,)}, "layers"),
        ({"sweep": "everything"}, "sweep"),
    ],
)
def test_what_cannot_be_asked(options, says):
    with pytest.raises(workbench.BadInput, match=says):
        patched(tiny_model("gpt2"), **options)


def test_what_a_model_lacks_is_named():
    with pytest.raises(workbench.MissingCapability, match="resid_mid.*it has resid_pre"):
        patched(tiny_model("neox"), sweep="resid_mid")
    with pytest.raises(workbench.MissingCapability, match="separate MLP"):
        patched(workbench.load("micro"), sweep="mlp_out")


def test_layers_and_positions_can_be_chosen():
    model = tiny_model("gpt2")
    whole = patched(model, sweep="heads", each_position=True)
    some = patched(model, sweep="heads", layers=(1,), positions=(-1, 6))
    assert some.positions.tolist() == [9, 6] and some.layers.tolist() == [1]
    torch.testing.assert_close(some.value, whole.value[1:][..., [9, 6]])
    assert parse(some.intervention(0, 1, 1)) == parse("blocks.1.attn.z:1@6=patch")


def test_the_figure_of_heads_by_position_shows_those_that_reach_furthest():
    found = patched(tiny_model("gpt2"), sweep="heads", each_position=True)
    figure = found.figure()
    assert len(figure.data[0].z) == 4
    shown = torch.tensor(figure.data[0].z)
    assert torch.equal(shown.view(2, 2, 10), found.effect.to(shown))


def gate(kind) -> workbench.LensModel:
    """One block whose attention adds up the bits of all positions and whose MLP makes OR or AND of the sum."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=98, n_layer=1, n_head=1, n_embd=8, n_positions=16, n_inner=2, activation_function="relu",
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    tokenizer = CharacterTokenizer()
    module: Any = transformers.GPT2LMHeadModel(config).eval().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        body, block = module.transformer, module.transformer.h[0]
        body.wte.weight[:, 6:] = torch.tensor([1000.0, -1000.0])  # so large that every norm divides by the same
        for norm in (block.ln_1, block.ln_2, body.ln_f):
            norm.weight[:6] = 500
        block.attn.c_attn.weight[0, 16] = 3  # the value is the bit; three positions share the attention
        block.mlp.c_fc.weight[1] = 1
        block.mlp.c_fc.bias[:] = torch.tensor([0.0, -1.0])
        for sign in (1, -1):  # each number stands in two places that cancel in the mean, which norms take away
            body.wte.weight[tokenizer("1")["input_ids"][-1], 0 if sign > 0 else 3] = sign
            block.attn.c_proj.weight[0, 1 if sign > 0 else 4] = sign
            out = torch.tensor([1.0, -1.0] if kind == "or" else [0.0, 1.0])
            block.mlp.c_proj.weight[:, 2 if sign > 0 else 5] = sign * out
        module.lm_head.weight[tokenizer("Y")["input_ids"][-1], 2] = 1
    return workbench.adapt(module, tokenizer, name=kind)


@pytest.mark.parametrize("kind", ["or", "and"])
def test_denoising_sees_or_and_noising_sees_and(kind):
    """Of two places that do the same either suffices and neither is needed; of two that are needed, the reverse."""
    for direction in ("denoise", "noise"):
        found = patched(gate(kind), "11", "00", token="Y", foil="N", direction=direction)
        seen = 1.0 if (kind == "or") == (direction == "denoise") else 0.0
        assert found.effect[0, 0].tolist() == pytest.approx([0, seen, seen], abs=0.02), direction


def test_half_precision_rounding_is_no_effect():
    model = tiny_model("gpt2")
    model.module.bfloat16()
    assert patched(model, CLEAN, CLEAN).n_pairs == 0
