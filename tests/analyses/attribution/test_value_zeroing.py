"""Value zeroing: against one pass for each layer and token, with the values cut in the plain modules."""

import pytest
import torch

import workbench
from workbench.testing import FAMILIES, example_input, tiny_model

PATTERNED = [f for f in FAMILIES if "pattern" in tiny_model(f).capabilities]
EXACT = 1e-6


def outputs_of(model, batch, blocks, cut=()) -> list[torch.Tensor]:
    """The output of each block, while `cut` ((module, position, columns of its output)) are set to zero."""
    kept, handles = [], []
    for block in blocks:
        handles.append(
            block.register_forward_hook(lambda _m, _a, out: kept.append(out[0] if isinstance(out, tuple) else out))
        )
    for projection, position, columns in cut:

        def silence(_module, _args, out, position=position, columns=columns):
            out = out.clone()
            out[:, position, columns] = 0
            return out

        handles.append(projection.register_forward_hook(silence))
    with torch.no_grad():
        model.module(**batch)
    for handle in handles:
        handle.remove()
    return [value[0].double() for value in kept]


def turns(before, after) -> torch.Tensor:
    return 1 - torch.cosine_similarity(before, after, dim=-1)


def rows_to_one(maps):
    return maps / maps.sum(-1, keepdim=True)


ONE_SIDED = {
    "gpt2": ("transformer.h", "attn.c_attn", slice(32, 48)),
    "llama": ("model.layers", "self_attn.v_proj", slice(None)),
    "bert": ("bert.encoder.layer", "attention.self.value", slice(None)),
    "distilbert": ("distilbert.transformer.layer", "attention.v_lin", slice(None)),
}


@pytest.mark.parametrize("family", [*ONE_SIDED])
def test_each_layer_loses_the_values_of_one_token(family, double):
    model, text = double(family)
    path, projection, columns = ONE_SIDED[family]
    blocks = list(model.module.get_submodule(path))
    batch = model.encode(text)
    before = outputs_of(model, batch, blocks)
    n = len(before[0])
    expected = torch.zeros(2, n, n, dtype=torch.float64)
    for layer in range(2):
        for i in range(n):
            cut = [(blocks[layer].get_submodule(projection), i, columns)]
            expected[layer, :, i] = turns(before[layer], outputs_of(model, batch, blocks, cut)[layer])
    expected = rows_to_one(expected)
    layers = workbench.value_zeroing(model, text, chain=False)
    torch.testing.assert_close(layers.maps.double(), expected, rtol=0, atol=EXACT)
    chained = workbench.value_zeroing(model, text, position=-3)
    torch.testing.assert_close(chained.maps[1].double(), expected[1] @ expected[0], rtol=0, atol=EXACT)
    torch.testing.assert_close(chained.scores[1].double(), (expected[1] @ expected[0])[-3], rtol=0, atol=EXACT)
    assert chained.steps == ("0", "1") and expected.amax((-1, -2)).min() < 1.01 and expected.std() > 0.01


def test_encoder_and_decoder_share_rows(double):
    model, text = double("t5")
    batch = model.encode(text)
    encoder, decoder = list(model.module.encoder.block), list(model.module.decoder.block)
    blocks = [*encoder, *decoder]
    before = outputs_of(model, batch, blocks)
    n, m = batch["input_ids"].shape[1], batch["decoder_input_ids"].shape[1]
    every = slice(None)
    maps = torch.eye(n + m, dtype=torch.float64).repeat(4, 1, 1)
    for layer in range(2):
        for i in range(n):
            cut = [(encoder[layer].layer[0].SelfAttention.v, i, every)]
            maps[layer, :n, i] = turns(before[layer], outputs_of(model, batch, blocks, cut)[layer])
            cut = [(decoder[layer].layer[1].EncDecAttention.v, i, every)]
            maps[2 + layer, n:, i] = turns(before[2 + layer], outputs_of(model, batch, blocks, cut)[2 + layer])
        for i in range(m):
            cut = [(decoder[layer].layer[0].SelfAttention.v, i, every)]
            maps[2 + layer, n:, n + i] = turns(before[2 + layer], outputs_of(model, batch, blocks, cut)[2 + layer])
    expected = rows_to_one(maps)
    found = workbench.value_zeroing(model, text, chain=False)
    torch.testing.assert_close(found.maps.double(), expected, rtol=0, atol=EXACT)
    assert found.steps == ("encoder 0", "encoder 1", "decoder 0", "decoder 1")
    chained = workbench.value_zeroing(model, text)
    torch.testing.assert_close(
        chained.scores[-1].double(), torch.linalg.multi_dot([*expected.flip(0)])[-1], rtol=0, atol=EXACT
    )
    assert chained.scores[-1, :n].sum() > 0.01 < chained.scores[-1, n:].sum()


@pytest.mark.parametrize("family", PATTERNED)
def test_rows_are_shares(family):
    found = workbench.value_zeroing(tiny_model(family), example_input(family))
    torch.testing.assert_close(found.maps.sum(-1), torch.ones(found.maps.shape[:-1]), rtol=0, atol=1e-5)
    assert found.maps.min() >= 0 and found.scores.shape == (len(found.steps), len(found.tokens))


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "micro"])
def test_the_future_has_no_share(family):
    found = workbench.value_zeroing(tiny_model(family), "abcabc")
    assert found.maps.triu(1).max() < 1e-9
    torch.testing.assert_close(found.maps[:, 0, 0], torch.ones(2))


def test_tokens_are_zeroed_each_alone_whatever_the_batch(monkeypatch):
    from workbench.analyses.attribution import perturb

    model = tiny_model("llama")
    together = workbench.value_zeroing(model, "abcabc")
    monkeypatch.setattr(perturb, "MOST_ROWS", 3)
    torch.testing.assert_close(workbench.value_zeroing(model, "abcabc").maps, together.maps, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    model, text = tiny_model("bert"), "abcabca"
    ids = model.encode(text)["input_ids"]
    pad = (3, 0) if side == "left" else (0, 3)
    padded = {
        "input_ids": torch.nn.functional.pad(ids, pad, value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), pad),
    }
    if side == "left":
        padded["position_ids"] = torch.tensor([[0, 0, 0, *range(ids.shape[1])]])
    one, other = (workbench.value_zeroing(model, x) for x in (text, padded))
    torch.testing.assert_close(other.maps, one.maps, rtol=0, atol=1e-5)


def test_where_values_do_nothing_each_position_keeps_itself():
    model = tiny_model("llama")
    module = model.module
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith("o_proj.weight"):
                weight.zero_()
    found = workbench.value_zeroing(model, "abc")
    torch.testing.assert_close(found.maps, torch.eye(4).repeat(2, 1, 1))
