"""AtMan: against GPT-2 and Llama written out, and its closed forms."""

from typing import Any

import pytest
import torch

import workbench
from workbench.testing import FAMILIES, example_input, tiny_model

PATTERNED = [f for f in FAMILIES if "pattern" in tiny_model(f).capabilities]


def gpt2_by_hand(module, ids, factors) -> torch.Tensor:
    """Logits of GPT-2 with AtMan's factors (key) on the scores of every head, one number of a row at a time."""
    n, base = len(ids), module.transformer
    x = base.wte(ids) + base.wpe(torch.arange(n))
    for block in base.h:
        q, k, v = (block.attn.c_attn(block.ln_1(x))).split(x.shape[-1], -1)
        heads = []
        for h in range(module.config.n_head):
            part = slice(h * 8, h * 8 + 8)
            scores = q[:, part] @ k[:, part].T / 8**0.5
            z = []
            for row in range(n):
                seen = scores[row, : row + 1]
                low = seen.min()
                z.append((low + factors[: row + 1] * (seen - low)).softmax(-1) @ v[: row + 1, part])
            heads.append(torch.stack(z))
        x = x + block.attn.c_proj(torch.cat(heads, -1))
        x = x + block.mlp(block.ln_2(x))
    return module.lm_head(base.ln_f(x))


@pytest.mark.parametrize("foil", [None, "c"])
@pytest.mark.parametrize("factor", [0.0, 0.1, 2.0])
def test_is_the_rise_of_the_cross_entropy(factor, foil, double):
    model, _ = double("gpt2")
    found = workbench.atman(model, "abcabc", token="b", foil=foil, factor=factor, position=4)
    ids, answer = model.encode("abcabc")["input_ids"][0], model.token_id("b")

    def loss(factors):
        row = gpt2_by_hand(model.module, ids, factors)[4]
        row = row[[answer, model.token_id(foil)]] if foil else row
        return torch.nn.functional.cross_entropy(row[None], torch.tensor([0 if foil else answer]))

    base = loss(torch.ones(7, dtype=torch.float64))
    for i in range(7):
        factors = torch.ones(7, dtype=torch.float64)
        factors[i] = factor
        expected = (loss(factors) - base).item()
        assert found.scores[0, i].item() == pytest.approx(expected, abs=1e-8)
    assert found.scores[0, 5:].abs().max() < 1e-12 < 1e-4 < found.scores[0, :5].abs().max()


def test_neighbours_are_suppressed_along(double):
    model, _ = double("gpt2")
    found = workbench.atman(model, "abcab", token="b", threshold=0.1, factor=0.2)
    ids, answer = model.encode("abcab")["input_ids"][0], model.token_id("b")
    vectors = model.module.transformer.wte(ids)
    base = gpt2_by_hand(model.module, ids, torch.ones(6, dtype=torch.float64))[-1].log_softmax(-1)[answer]
    for i in range(6):
        factors = torch.ones(6, dtype=torch.float64)
        for j in range(6):
            cosine = torch.cosine_similarity(vectors[i], vectors[j], dim=0)
            if cosine >= 0.1:
                factors[j] = 0.8 * (1 - cosine) + 0.2
        after = gpt2_by_hand(model.module, ids, factors)[-1].log_softmax(-1)[answer]
        assert found.scores[0, i].item() == pytest.approx((base - after).item(), abs=1e-8)
    torch.testing.assert_close(found.scores[0, 1], found.scores[0, 4])  # the same letter
    alone = workbench.atman(model, "abcab", token="b", factor=0.2)
    assert (alone.scores[0, 1] - alone.scores[0, 4]).abs() > 1e-5


@pytest.mark.parametrize("family", PATTERNED)
def test_a_factor_of_one_attributes_nothing(family):
    found = workbench.atman(tiny_model(family), example_input(family), factor=1.0)
    assert found.scores.abs().max() < 3e-6
    assert workbench.atman(tiny_model(family), example_input(family)).scores.abs().max() > 1e-6


def test_equal_scores_attribute_nothing():
    model = tiny_model("gpt2")
    module: Any = model.module
    weights = [block.attn.c_attn for block in module.transformer.h]
    with torch.no_grad():
        for projection in weights:
            projection.weight[:, :16] = 0
            projection.bias[:16] = 0
    assert workbench.atman(model, "abcabc", factor=0.0).scores.abs().max() < 1e-6
    assert workbench.attention_knockout(model, "abcabc").scores.abs().max() > 1e-3


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    """The published code takes the lowest score over hidden keys too, where padding would change the result."""
    model, text = tiny_model("bert"), "abcabca"
    ids = model.encode(text)["input_ids"]
    pad = (3, 0) if side == "left" else (0, 3)
    padded = {
        "input_ids": torch.nn.functional.pad(ids, pad, value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), pad),
    }
    if side == "left":
        padded["position_ids"] = torch.tensor([[0, 0, 0, *range(ids.shape[1])]])
    one, other = (workbench.atman(model, x, token="b", threshold=0.2) for x in (text, padded))
    torch.testing.assert_close(other.scores, one.scores, rtol=0, atol=5e-6)


def test_both_sides_of_an_encoder_decoder_have_neighbours_of_their_own():
    model = tiny_model("t5")
    alone, along = (workbench.atman(model, "abcabc => ab", threshold=t) for t in (None, 0.99))
    first, second = 1, 4  # both a, in the encoder
    torch.testing.assert_close(along.scores[0, first], along.scores[0, second], rtol=0, atol=1e-6)
    assert (alone.scores[0, first] - alone.scores[0, second]).abs() > 1e-4
    torch.testing.assert_close(along.scores[0, 7:], alone.scores[0, 7:], rtol=0, atol=1e-6)
