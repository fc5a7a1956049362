"""Ablation: nothing changes nothing, all heads at once are the bias, and each change against hooks set by hand."""

import pytest
import torch

import workbench
from workbench.hooks import reading
from workbench.testing import FAMILIES, example_input, tiny_model

FAMILIES = [f for f in FAMILIES if f != "micro"]


@pytest.mark.parametrize("family", FAMILIES)
def test_ablating_nothing_changes_nothing(family):
    result = workbench.ablate(tiny_model(family), example_input(family))
    assert result.state_change.eq(0).all()
    assert result.interventions == ()
    if result.kl is not None:
        assert result.kl.eq(0).all()
        assert torch.equal(result.log_probs[0], result.log_probs[1])
        assert torch.equal(result.ranks[0], torch.arange(len(result.answers)))
        assert result.loss[0] == result.loss[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_the_models_own_before(family):
    model, text = tiny_model(family), example_input(family)
    result = workbench.ablate(model, text, top_k=3)
    if "readout" not in model.capabilities:
        assert result.log_probs is None and result.token is None and result.answers == ()
        assert list(result.to_frame()["pos"]) == list(range(len(result.tokens)))
        return
    logits = model.logits(model.encode(text))[0]
    own = logits[result.position if len(logits) > 1 else 0].log_softmax(-1)
    assert result.answers == tuple(model.token_text(i) for i in own.topk(3).indices.tolist())
    torch.testing.assert_close(result.log_probs[0], own.topk(3).values, rtol=1e-5, atol=1e-5)
    assert result.loss[0].item() == pytest.approx(-own.max().item(), abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "t5", "vit"])
def test_a_change_against_a_hook_by_hand(family):
    """The last MLP set to zero, by a forward hook on the module that the workbench knows nothing of."""
    paths = {
        "gpt2": "transformer.h.1.mlp",
        "llama": "model.layers.1.mlp",
        "bert": "bert.encoder.layer.1.output.dense",
        "t5": "decoder.block.1.layer.2.DenseReluDense",
        "vit": "vit.layers.1.mlp",
    }
    model, text = tiny_model(family), example_input(family)
    site = model.stream("mlp_out")[1]
    result = workbench.ablate(model, text, sites=(site,))
    before = model.logits(model.encode(text))[0].log_softmax(-1)
    handle = model.module.get_submodule(paths[family]).register_forward_hook(lambda _m, _a, out: torch.zeros_like(out))
    after = model.logits(model.encode(text))[0].log_softmax(-1)
    handle.remove()
    position = result.position if len(before) > 1 else 0
    kl = (before[position].exp() * (before[position] - after[position])).sum().item()
    assert kl > 1e-4
    assert result.kl[result.position].item() == pytest.approx(kl, rel=1e-3, abs=1e-6)
    top = before[position].argmax()
    assert result.loss.tolist() == pytest.approx(
        [-before[position, top].item(), -after[position, top].item()], abs=1e-5
    )
    assert result.interventions == (f"{site}=zero",)


def test_answers_that_only_rise_after_are_listed_too():
    result = workbench.ablate(tiny_model("gpt2"), "abcabc", sites=("blocks.1.resid_post=scale:-1",), top_k=3)
    assert len(result.answers) > 3
    assert result.ranks[0, :3].tolist() == [0, 1, 2]
    assert set(result.ranks[1].tolist()) >= {0, 1, 2}
    frame = result.to_frame()
    assert frame["change"].tolist() == pytest.approx((frame["after"] - frame["before"]).tolist())


def test_zero_of_the_final_state_moves_it_by_its_whole_length():
    result = workbench.ablate(tiny_model("dinov2"), "example", sites=("blocks.1.resid_post@2",))
    moved = [0.0] * len(result.tokens)
    moved[2] = 1.0
    assert result.state_change.tolist() == pytest.approx(moved)


def test_a_causal_models_earlier_positions_do_not_move():
    result = workbench.ablate(tiny_model("gpt2"), "abcabc", sites=("blocks.0.mlp_out@3",))
    assert result.kl[:3].eq(0).all() and (result.kl[3:] > 0).all()


def test_resampling_is_repeatable_and_its_seed_matters():
    model = tiny_model("gpt2")
    runs = [
        workbench.ablate(model, "abcabc", sites=("blocks.0.mlp_out",), operation="resample", seed=s) for s in (1, 1, 2)
    ]
    assert torch.equal(runs[0].kl, runs[1].kl)
    assert not torch.equal(runs[0].kl, runs[2].kl)
    assert runs[2].interventions == ("blocks.0.mlp_out=resample:2",)


def test_models_that_do_not_read_text_refer_to_the_prompts_own_positions():
    model = tiny_model("dinov2")
    site = "blocks.1.resid_post"
    result = workbench.ablate(model, "example", sites=(site,), operation="mean")
    with torch.no_grad(), reading(model, [site]) as values:
        model.module(**model.encode("example"))
    state = values[site][0]
    expected = (state[1:].mean(0) - state).norm(dim=-1) / state.norm(dim=-1)
    torch.testing.assert_close(result.state_change, expected)


def test_bad_sites_are_sentences():
    model = tiny_model("gpt2")
    for bad, words in (
        ("blocks.9.mlp_out", "blocks"),
        ("blocks.0.attn.z:7", "heads 0 to 1"),
        ("blocks.0.mlp_out@77", "position 77"),
        ("blocks.0.mlp_out:1", "no heads"),
        ("blocks.0.attn.pattern=mean", "lengths differ"),
        ("nonsense here", "not an intervention"),
    ):
        with pytest.raises(workbench.WorkbenchError, match=words):
            workbench.ablate(model, "abc", sites=(bad,))


@pytest.mark.parametrize("family", ["gpt2", "micro", "vit", "bert"])
def test_what_comes_after_the_last_state_is_ablated_too(family):
    """The final norm is a site: the answer without it is the model's own inside `editing`, at full length."""
    import torch

    from workbench.hooks import editing
    from workbench.testing import example_input, tiny_model

    model, prompt = tiny_model(family), example_input(family)
    site = "ln_final" if "ln_final" in model.sites else "blocks.1.mlp_out"
    found = workbench.ablate(model, prompt, sites=(site,))
    batch = model.encode(prompt)
    with editing(model, {site: torch.zeros_like}):
        logits = model.logits(batch)[0]
    row = logits[min(found.position, len(logits) - 1)].float()
    token = model.token_id(found.token)
    torch.testing.assert_close(found.loss[1].item(), -row.log_softmax(-1)[token].item(), rtol=0, atol=1e-5)
    assert found.kl.max() > 1e-3
