"""The attention analysis against transformers' own attentions and a loop over cells, and what holds exactly."""

import math

import pytest
import torch

import workbench
from workbench.testing import example_input, tiny_model

WITH_PATTERNS = ("gpt2", "llama", "neox", "bert", "distilbert", "albert", "vit", "dinov2", "ast")


@torch.no_grad()
def own_attentions(model, **more):
    """What transformers itself gives, from its eager implementation."""
    model.module.set_attn_implementation("eager")
    return model.module(**model.encode(example_input(model.name.removeprefix("tiny:"))), output_attentions=True, **more)


@pytest.mark.parametrize("family", WITH_PATTERNS)
def test_patterns_are_transformers_own(family):
    result = workbench.attention(tiny_model(family), example_input(family))
    own = torch.stack(own_attentions(tiny_model(family)).attentions)[:, 0]
    torch.testing.assert_close(result.patterns.float(), own, rtol=2**-11, atol=1e-7)  # half precision


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("encoder_blocks.attn", "encoder_attentions"),
        ("decoder_blocks.self_attn", "decoder_attentions"),
        ("decoder_blocks.cross_attn", "cross_attentions"),
    ],
)
@pytest.mark.parametrize("family", ["t5", "bart", "whisper"])
def test_each_attention_of_an_encoder_decoder(family, name, field):
    result = workbench.attention(tiny_model(family), example_input(family), attention=name)
    own = torch.stack(getattr(own_attentions(tiny_model(family)), field))[:, 0]
    torch.testing.assert_close(result.patterns.float(), own, rtol=2**-11, atol=1e-7)
    assert (len(result.queries), len(result.keys)) == own.shape[-2:]
    undefined = result.to_frame().query("queries == 0")
    assert undefined["value"].isna().all()
    assert set(undefined["score"]) == ({"distance", "previous", "self"} if "cross" in name else set())


@pytest.mark.parametrize("skip_first", [False, True])
def test_scores_against_a_loop(double, skip_first):
    model, text = double("gpt2")
    scores = workbench.attention(model, text, skip_first=skip_first).to_frame()
    reference, _ = double("gpt2")
    for layer, attentions in enumerate(own_attentions(reference).attentions):
        for head, rows in enumerate(attentions[0].tolist()):
            counted = range(1 if skip_first else 0, len(rows))
            expected = {
                "entropy": [-sum(a * math.log(a) for a in rows[q] if a) for q in counted],
                "distance": [sum(a * abs(q - k) for k, a in enumerate(rows[q])) for q in counted],
                "first": [rows[q][0] for q in counted],
                "previous": [rows[q][q - 1] for q in counted if q],
                "self": [rows[q][q] for q in counted],
            }
            for name, values in expected.items():
                row = scores.query("layer == @layer and head == @head and score == @name")
                assert row["value"].item() == pytest.approx(sum(values) / len(values), rel=1e-9), (layer, head, name)
                assert row["queries"].item() == len(values)


def test_frame_and_heads():
    result = workbench.attention(tiny_model("llama"), "abcabc")
    frame = result.to_frame()
    assert len(frame) == 2 * 4 * 5
    assert frame.query("layer == 0 and score == 'entropy'")["kv_head"].tolist() == [0, 0, 1, 1]
    cells = result.head_frame(1, 2)
    assert len(cells) == len(result.queries) * len(result.keys)
    cell = cells.query("query == 3 and key == 1").iloc[0]
    assert cell["attention"] == result.patterns[1, 2, 3, 1].item()
    assert (cell["query_token"], cell["key_token"]) == (result.queries[3], result.keys[1])


def test_models_without_attention_are_refused_in_words():
    with pytest.raises(workbench.MissingCapability, match="attention patterns"):
        workbench.attention(tiny_model("mamba"), "abc")


def test_two_prompts_at_once_are_refused():
    with pytest.raises(workbench.BadInput, match="one prompt at a time"):
        workbench.attention(tiny_model("gpt2"), ["abc", "abcd"])


def test_the_result_is_lean():
    """Two bytes a cell and nothing that grows with cells beside it."""
    result = workbench.attention(tiny_model("gpt2"), "a" * 60)
    assert result.patterns.dtype == torch.float16
    assert len(result.to_frame()) == 2 * 2 * 5
    assert result.thumbnails(16).shape == (2, 2, 16, 16)
