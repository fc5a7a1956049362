"""Analyses on real weights: known answers, sums that still add up, refusals that matter."""

import pytest
import torch

import workbench

pytestmark = pytest.mark.real
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def smollm2():
    return workbench.load("smollm2-135m")


def test_the_lens_ends_at_paris(smollm2):
    lens = workbench.logit_lens(smollm2, PROMPT)
    assert lens.token == " Paris"
    assert lens.token_log_prob[-1, -1].exp().item() == pytest.approx(0.77, abs=0.01)  # the 4-bit weights' own answer
    assert lens.rank[-1, -1] == 0
    assert lens.rank[: len(lens.states) // 2, -1].min() > 100  # and only the upper half knows it


def test_the_logit_of_paris_is_the_sum_of_its_parts(smollm2):
    split = workbench.residual(smollm2, PROMPT, token=" Paris", heads=True)
    own = smollm2.logits(smollm2.encode(PROMPT))[0, -1, smollm2.token_id(" Paris")].item()
    assert split.contributions.sum().item() == pytest.approx(own, abs=1e-4)
    assert abs(split.contributions[split.parts.index("rounding")]) < 1e-4
    assert len(split.parts) == 1 + 30 * (9 + 1 + 1) + 2


def test_ablating_all_heads_is_ablating_the_attention(smollm2):
    heads = workbench.ablate(smollm2, PROMPT, sites=("blocks.18.attn.z:0,1,2,3,4,5,6,7,8",))
    whole = workbench.ablate(smollm2, PROMPT, sites=("blocks.18.attn_out",))
    torch.testing.assert_close(heads.log_probs, whole.log_probs)  # its output map has no bias
    assert whole.kl[-1] > 0


def test_a_sentence_encoder_reports_no_head():
    encoder = workbench.load("minilm-l6")
    with pytest.raises(workbench.MissingCapability, match="head"):
        workbench.logit_lens(encoder, PROMPT)
    assert "norms and cosines only" in workbench.residual(encoder, PROMPT).note
    assert workbench.ablate(encoder, PROMPT, sites=("blocks.0.attn_out",)).log_probs is None
