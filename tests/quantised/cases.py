"""Quantised models in memory, on a CPU: which methods run behind `adapt`, and what each gives up.

Run by `tests/models/test_quantised.py` in a process of its own that can see the two libraries.

Tried with torchao 0.18.0 and bitsandbytes 0.50.2, torch 2.13 (CPU), transformers 5.23, on a tiny LLaMA:

* bitsandbytes 8-bit runs: reading, editing, gradients, all load-time checks. It computes in float16 inside.
* bitsandbytes 4-bit (nf4) runs: reading and editing; no gradient passes through its CPU kernel.
* torchao int8 weight-only runs: reading, editing, gradients.
* torchao int8 weights with int8 activations runs, without gradients; rounding depends on the input, so that eager and
  fused attention differ by about 1e-2 of the largest logit.
* torchao int4 weight-only fails on this CPU: it asks for the package mslk.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from workbench.hooks import editing, reading
from workbench.models.adapters import adapt
from workbench.models.folder import check_finite

IDS = torch.tensor([[2, 3, 4, 2, 3]])
SITES = ("blocks.0.attn.pattern", "blocks.1.attn.z", "blocks.1.resid_post")


@pytest.fixture(autouse=True)
def quantiser_warnings() -> Iterator[None]:
    """Both libraries warn about their own insides when they are imported and used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def plain() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, max_position_embeddings=32, **sizes, **ids)).eval()


def torchao_int8(_: Path) -> nn.Module:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    module = plain()
    quantize_(module, Int8WeightOnlyConfig())
    return module


def bitsandbytes(folder: Path, **options: Any) -> nn.Module:
    from transformers import BitsAndBytesConfig

    plain().save_pretrained(folder)
    config = BitsAndBytesConfig(**options)
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu")


def bitsandbytes_8(folder: Path) -> nn.Module:
    return bitsandbytes(folder, load_in_8bit=True)


def bitsandbytes_4(folder: Path) -> nn.Module:
    return bitsandbytes(folder, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)


@pytest.mark.parametrize("quantise", [torchao_int8, bitsandbytes_8, bitsandbytes_4])
def test_a_quantised_model_is_read_and_edited(quantise: Callable[[Path], nn.Module], tmp_path: Path) -> None:
    module = quantise(tmp_path)
    with torch.no_grad():
        bare = module(input_ids=IDS).logits
        exact = plain()(input_ids=IDS).logits
        assert not torch.equal(bare, exact)  # it is quantised
        model = adapt(module)
        with reading(model, SITES) as values:
            seen = module(input_ids=IDS).logits
        with editing(model, {"blocks.0.attn.z": torch.zeros_like}):
            edited = module(input_ids=IDS).logits
        after = module(input_ids=IDS).logits
    torch.testing.assert_close(seen, bare, atol=1e-3, rtol=0)
    torch.testing.assert_close(values["blocks.0.attn.pattern"].sum(-1), torch.ones(1, 4, 5))
    assert (edited - bare).abs().max() > 1e-2
    assert torch.equal(after, bare)
    check_finite(module)


@pytest.mark.parametrize("quantise", [torchao_int8, bitsandbytes_8])
def test_gradients_pass_through_eight_bits(quantise: Callable[[Path], nn.Module], tmp_path: Path) -> None:
    model = adapt(quantise(tmp_path))
    with reading(model, SITES, gradients=True) as values:
        model.module(input_ids=IDS).logits[0, -1, 5].backward()
    assert all(values[site].grad.abs().max() > 0 for site in SITES)
