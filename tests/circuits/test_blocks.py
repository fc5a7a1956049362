"""Running a model from a block on gives what the whole model gives, in every family with one stack."""

from functools import cache

import pytest
import torch

import workbench
from workbench.circuits.blocks import answers, recorded, run_blocks
from workbench.errors import MissingCapability
from workbench.testing import FAMILIES, example_input, tiny_model

model_of = cache(tiny_model)
ONE_STACK = [name for name in FAMILIES if len(model_of(name).stacks) == 1]
ANSWERING = [name for name in ONE_STACK if "logits" in model_of(name).capabilities and name != "ast"]


def batch_of(model):
    if model.reads == "text":
        return model.encode(["abcabcabc", "bcabcabca"])
    return model.encode(example_input(model.family if model.family in FAMILIES else "vit"))


@pytest.mark.parametrize("family", ONE_STACK)
def test_each_block_can_be_the_first(family):
    model = model_of(family)
    calls = recorded(model, batch_of(model))
    copies = torch.cat([calls.streams[-1]] * 3)
    for layer in range(model.n_blocks):
        torch.testing.assert_close(run_blocks(calls, layer, torch.cat([calls.streams[layer]] * 3)), copies)


@pytest.mark.parametrize("family", ["llama", "albert", "micro", "gpt2"])
def test_sites_of_its_own_layer_are_edited(family):
    """Also of blocks that are shared by all layers, which are told apart by when they are called."""
    model = model_of(family)
    batch, site = batch_of(model), f"blocks.{model.n_blocks - 1}.attn.z"
    edit = {site: lambda z: z * 0.5}
    with workbench.editing(model, edit):
        expected = model.logits(batch)[:, -1]
    calls = recorded(model, batch)
    with workbench.editing(model, edit), torch.no_grad():
        found = run_blocks(calls, model.n_blocks - 1, calls.streams[-2])[:, -1]
        before = answers(model, found)
    torch.testing.assert_close(before, expected)
    assert not torch.allclose(before, model.logits(batch)[:, -1])


def test_a_second_run_does_not_see_the_first():
    """Decoders keep a cache of keys by themselves; it must not grow."""
    model = model_of("llama")
    calls = recorded(model, batch_of(model))
    first, second = (run_blocks(calls, 0, calls.streams[0]) for _ in range(2))
    assert torch.equal(first, second)


def test_gradients_reach_the_stream():
    model = model_of("gpt2")
    calls = recorded(model, batch_of(model))
    stream = calls.streams[1].clone().requires_grad_()
    run_blocks(calls, 1, stream)[0, -1, 0].backward()
    assert stream.grad is not None
    assert stream.grad[0].abs().sum() > 0
    assert stream.grad[1].abs().sum() == 0


@pytest.mark.parametrize("family", ANSWERING)
def test_answers_are_the_models_logits(family):
    model = model_of(family)
    batch = batch_of(model)
    calls, place = recorded(model, batch), model.answer_position(batch)
    logits = model.logits(batch)
    expected = logits[:, place] if logits.shape[1] > 1 else logits[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(answers(model, calls.streams[-1][:, place]), expected)


def test_models_of_two_stacks_are_refused_by_name():
    with pytest.raises(MissingCapability, match="2 stacks of blocks"):
        recorded(model_of("bart"), {})
