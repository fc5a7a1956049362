"""A batch that its own tokenizer padded on the left gives the numbers of the prompt alone."""

import pytest
import torch

import workbench
from workbench.testing import tiny_model

PROMPT = "abcabca"


@pytest.fixture
def padded():
    model = tiny_model("llama")  # its positions are counted by the mask-free rotary embedding: distances alone matter
    tokens = model.processor(PROMPT, return_tensors="pt", padding="max_length", max_length=12, padding_side="left")
    assert tokens["attention_mask"][0].tolist() == [0] * 4 + [1] * 8
    return model, dict(tokens)


def test_answers_are_read_at_the_last_real_position(padded):
    model, batch = padded
    assert model.answer_position(batch) == 11 and model.answer_position(model.encode(PROMPT)) == 7


@pytest.mark.parametrize("name", ["residual", "logit_lens", "ablate"])
def test_left_padding_changes_no_answer(padded, name):
    model, batch = padded
    options = {"sites": ("blocks.0.attn_out",)} if name == "ablate" else {}
    alone = getattr(workbench, name)(model, PROMPT, **options)
    there = getattr(workbench, name)(model, batch, **options)
    assert there.tokens == alone.tokens and there.token == alone.token
    if name == "residual":
        torch.testing.assert_close(there.logit, alone.logit, rtol=0, atol=1e-4)
        torch.testing.assert_close(there.contributions, alone.contributions, rtol=0, atol=1e-4)
    elif name == "ablate":
        torch.testing.assert_close(there.loss, alone.loss, rtol=0, atol=1e-4)
    else:
        torch.testing.assert_close(there.log_probs, alone.log_probs, rtol=0, atol=1e-4)
