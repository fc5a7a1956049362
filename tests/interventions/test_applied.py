"""Interventions carried out: exact values at the site, exact effects on the output, replay."""

import pytest
import torch

from workbench import BadInput, MissingSite
from workbench.hooks import editing, reading
from workbench.interventions import edits, from_json, neutral_sentences, parse, reference_values, to_json
from workbench.testing import FAMILIES, example_input, tiny_model

TEXT = "abcabc"


@torch.no_grad()
def values_of(model, sites, changes=None, text=TEXT):
    with editing(model, changes or {}), reading(model, sites) as values:
        model.module(**model.encode(text))
    return values


def changed(model, site, *interventions, **options):
    return values_of(model, [site], edits(model, interventions, **options))[site]


def test_heads_and_positions_are_all_that_changes():
    model, site = tiny_model("llama"), "blocks.0.attn.z"
    clean, new = values_of(model, [site])[site], changed(model, site, f"{site}:1,3@2,-1")
    expected = clean.clone()
    for head in (1, 3):
        for position in (2, clean.shape[1] - 1):
            expected[0, position, head] = 0
    assert torch.equal(new, expected)
    assert not torch.equal(new, clean)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [("zero", lambda x: 0 * x), ("scale:0.5", lambda x: x / 2), ("add:2.0", lambda x: x + 2), ("scale:1", lambda x: x)],
)
def test_operations(operation, expected):
    model, site = tiny_model("gpt2"), "blocks.1.mlp_out"
    clean = values_of(model, [site])[site]
    torch.testing.assert_close(changed(model, site, f"{site}={operation}"), expected(clean))


def test_the_mean_is_over_the_references_positions_but_the_first():
    model, site = tiny_model("gpt2"), "blocks.0.attn.z"
    texts = ("hello there", "another text")
    rows = torch.cat([values_of(model, [site], text=text)[site][0, 1:] for text in texts])
    clean = values_of(model, [site])[site]
    expected = clean.clone()
    expected[:, :, 1] = rows.sum(0)[1] / len(rows)
    torch.testing.assert_close(changed(model, site, f"{site}:1=mean", reference=texts), expected)


def test_resampled_values_are_reference_values_and_the_same_positions_for_all_sites():
    model, sites = tiny_model("gpt2"), ["blocks.0.attn_out", "blocks.1.mlp_out"]
    reference = reference_values(model, sites)
    new = values_of(model, sites, edits(model, [f"{site}=resample:5" for site in sites]))
    drawn = []
    for site in sites:
        same = (new[site][0][:, None] == reference[site]).all(-1)  # (pos, reference position)
        assert same.any(1).all()
        drawn.append(same.int().argmax(1).tolist())
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1


def test_ablating_all_heads_leaves_the_output_bias():
    for family in ("gpt2", "llama", "bert", "vit", "dinov2"):
        model = tiny_model(family)
        _, bias = model.output_map(None, 1)
        z, out = "blocks.1.attn.z", "blocks.1.attn_out"
        heads = ",".join(map(str, range(model.n_heads)))
        left = values_of(model, [out], edits(model, [f"{z}:{heads}"]), text=example_input(family))[out]
        torch.testing.assert_close(left, bias.expand_as(left), rtol=1e-5, atol=1e-6)
        whole = values_of(model, [out], edits(model, [z]), text=example_input(family))[out]
        assert torch.equal(left, whole)


def test_ablating_heads_one_at_a_time_adds_up():
    """attn_out is linear in z: what each head takes away adds up to all but the bias."""
    model, out = tiny_model("gpt2"), "blocks.0.attn_out"
    clean = values_of(model, [out])[out]
    _, bias = model.output_map(None, 0)
    lost = sum(clean - changed(model, out, f"blocks.0.attn.z:{head}") for head in range(2))
    torch.testing.assert_close(lost, clean - bias, rtol=1e-4, atol=1e-6)


def test_scores_that_the_mask_hides_stay_hidden():
    model, pattern = tiny_model("gpt2"), "blocks.0.attn.pattern"
    new = changed(model, pattern, "blocks.0.attn.attn_scores=zero")[0, 0]
    size = len(new)
    expected = torch.ones(size, size).tril() / torch.arange(1, size + 1)[:, None]  # even over what each may see
    torch.testing.assert_close(new, expected)


def test_several_at_one_site_follow_in_order():
    model, site = tiny_model("gpt2"), "blocks.0.mlp_out"
    clean = values_of(model, [site])[site]
    torch.testing.assert_close(changed(model, site, f"{site}=add:1", f"{site}=scale:2"), 2 * (clean + 1))
    torch.testing.assert_close(changed(model, site, f"{site}=scale:2", f"{site}=add:1"), 2 * clean + 1)


def test_saved_and_replayed_gives_the_identical_output():
    model = tiny_model("gpt2")
    done = [
        parse(t) for t in ("blocks.0.attn.z:1=resample:3", "blocks.1.mlp_out@-1=scale:0.3", "blocks.0.mlp_out=mean")
    ]
    outputs = []
    for interventions in (done, from_json(to_json(done)), [str(i) for i in done]):
        with editing(model, edits(model, interventions)):
            outputs.append(model.logits(model.encode(TEXT)))
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], model.logits(model.encode(TEXT)))


def test_no_edit_reaches_across_sites_that_were_not_named():
    model = tiny_model("gpt2")
    sites = ["blocks.0.attn_out", "blocks.0.mlp_out", "blocks.1.resid_pre"]
    clean, new = values_of(model, sites), values_of(model, sites, edits(model, ["blocks.1.attn_out"]))
    assert all(torch.equal(clean[site], new[site]) for site in sites)


def test_grouped_keys_are_counted_as_kv_heads():
    model = tiny_model("llama")
    edits(model, ["blocks.0.attn.v:1"])
    with pytest.raises(BadInput, match="heads 0 to 1"):
        edits(model, ["blocks.0.attn.v:2"])
    edits(model, ["blocks.0.attn.z:3"])


def test_unknown_sites_name_what_there_is():
    with pytest.raises(MissingSite, match="no such site"):
        edits(tiny_model("mamba"), ["blocks.0.attn.z:1"])


@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f not in ("vit", "dinov2", "ast", "whisper", "clip", "micro")]
)
def test_the_bundled_sentences_can_be_read_by_every_text_model(family):
    model = tiny_model(family)
    site = model.stream("resid_post")[0]
    assert len(reference_values(model, [site])[site]) >= len(neutral_sentences()) / 2


def test_models_without_text_ask_for_a_reference():
    with pytest.raises(BadInput, match="give the inputs"):
        edits(tiny_model("dinov2"), ["blocks.0.mlp_out=mean"])


def test_a_patch_is_the_value_of_the_other_prompt_at_the_same_place():
    model, site, other = tiny_model("llama"), "blocks.1.attn.z", "cbacba"
    clean, source = values_of(model, [site])[site], values_of(model, [site], text=other)[site]
    expected = clean.clone()
    expected[0, [2, -1], 3] = source[0, [2, -1], 3]
    assert torch.equal(changed(model, site, f"{site}:3@2,-1=patch", source=other), expected)
    assert not torch.equal(expected, clean)


def test_patching_all_that_enters_a_block_gives_the_other_answer():
    model, other = tiny_model("gpt2"), "cbacba"
    with editing(model, edits(model, ["blocks.1.resid_pre=patch"], source=other)):
        found = model.logits(model.encode(TEXT))
    torch.testing.assert_close(found, model.logits(model.encode(other)))


def test_a_patch_needs_another_prompt_of_the_same_length():
    model = tiny_model("gpt2")
    with pytest.raises(BadInput, match="source="):
        edits(model, ["blocks.0.mlp_out=patch"])
    with (
        pytest.raises(BadInput, match="same length"),
        editing(model, edits(model, ["blocks.0.mlp_out=patch"], source="ab")),
    ):
        model.logits(model.encode(TEXT))
