"""Contributions through a frozen norm add up to the logit, for torch's LayerNorm and RMSNorm and Gemma's."""

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

from workbench import functional
from workbench.functional import final_norm, frozen_norm, logit_attribution, norm_scale

D, VOCAB = 16, 30


def layer_norm():
    norm = torch.nn.LayerNorm(D, eps=1e-5, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm, {"centred": True, "eps": 1e-5, "weight": norm.weight, "bias": norm.bias}


def rms_norm():
    norm = torch.nn.RMSNorm(D, eps=1e-6, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight)
    return norm, {"centred": False, "eps": 1e-6, "weight": norm.weight, "bias": None}


def gemma_norm():
    norm = GemmaRMSNorm(D, eps=1e-6).double()
    torch.nn.init.normal_(norm.weight)
    return norm, {"centred": False, "eps": 1e-6, "weight": 1 + norm.weight, "bias": None}


NORMS = pytest.mark.parametrize(
    ("make", "tolerance"), [(layer_norm, 1e-12), (rms_norm, 1e-12), (gemma_norm, 1e-5)]
)  # Gemma's own norm works in float32


@NORMS
@torch.no_grad()
def test_contributions_and_biases_add_up_to_the_logit(make, tolerance):
    torch.manual_seed(0)
    norm, spec = make()
    parts = torch.randn(7, 2, 5, D, dtype=torch.float64)
    unembed = torch.nn.Linear(D, VOCAB, dtype=torch.float64)
    resid = parts.sum(0)
    logits = unembed(norm(resid))
    for token in (0, 11, 29):
        contributions, bias = logit_attribution(
            parts,
            unembed.weight[token],
            scale=norm_scale(resid, centred=spec["centred"], eps=spec["eps"]),
            centred=spec["centred"],
            weight=spec["weight"],
            norm_bias=spec["bias"],
            logit_bias=unembed.bias[token].item(),
        )
        assert contributions.shape == (7, 2, 5)
        torch.testing.assert_close(contributions.sum(0) + bias, logits[..., token], rtol=tolerance, atol=tolerance)


@NORMS
@torch.no_grad()
def test_the_norm_written_out_is_the_norm(make, tolerance):
    torch.manual_seed(1)
    norm, spec = make()
    resid = torch.randn(4, D, dtype=torch.float64)
    torch.testing.assert_close(final_norm(resid, **spec), norm(resid), rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_a_frozen_norm_is_linear():
    x, y = torch.randn(2, 3, D, dtype=torch.float64)
    scale = norm_scale(x + y, centred=True, eps=1e-5)
    both = frozen_norm(x + y, scale, centred=True)
    torch.testing.assert_close(frozen_norm(x, scale, centred=True) + frozen_norm(y, scale, centred=True), both)
    torch.testing.assert_close(frozen_norm(3 * x, scale, centred=True), 3 * frozen_norm(x, scale, centred=True))


@pytest.mark.parametrize("centred", [True, False])
def test_gradient_through_a_norm_is_autograds(centred):
    torch.manual_seed(0)
    resid = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    weight, upstream = torch.randn(8, dtype=torch.float64), torch.randn(5, 3, 8, dtype=torch.float64)
    normed = functional.final_norm(resid, centred=centred, eps=1e-2, weight=weight)
    expected = torch.stack([torch.autograd.grad(normed, resid, one, retain_graph=True)[0] for one in upstream])
    found = functional.norm_gradient(resid.detach(), upstream, centred=centred, eps=1e-2, weight=weight)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
