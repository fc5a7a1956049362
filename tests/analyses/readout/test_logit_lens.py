"""The logit lens against the model's own output, hidden states by hand, and TransformerLens's own tool."""

import warnings

import pytest
import torch

import workbench
from workbench.testing import example_input, tiny_model

READABLE = (
    "gpt2",
    "llama",
    "neox",
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "albert",
    "t5",
    "bart",
    "whisper",
    "mamba",
)


@pytest.mark.parametrize("family", READABLE)
def test_the_last_layer_is_the_models_own_output(family):
    model, text = tiny_model(family), example_input(family)
    lens = workbench.logit_lens(model, text, top_k=20)
    log_probs = model.logits(model.encode(text))[0].log_softmax(-1)
    best = log_probs.topk(20)
    torch.testing.assert_close(lens.log_probs[-1], best.values, rtol=1e-5, atol=1e-5)
    expected = [[model.token_text(i) for i in row] for row in best.indices[:, :3].tolist()]
    assert [list(row[:3]) for row in lens.answers[-1]] == expected
    torch.testing.assert_close(lens.entropy[-1], torch.special.entr(log_probs.exp()).sum(-1), rtol=1e-5, atol=1e-5)


def test_an_image_classifiers_last_layer_is_its_answer_at_the_class_token():
    model = tiny_model("vit")
    lens = workbench.logit_lens(model, "example")
    own = model.logits(model.encode("example"))[0, 0].log_softmax(-1)
    torch.testing.assert_close(lens.log_probs[-1, 0], own.sort(descending=True).values, rtol=1e-5, atol=1e-5)
    assert lens.token == model.token_text(own.argmax())


@torch.no_grad()
def test_every_layer_by_hand_for_gpt2(double):
    model, text = double("gpt2")
    chosen = model.token_text(17)
    lens = workbench.logit_lens(model, text, token=chosen)
    gpt2 = model.module
    hidden = gpt2(**model.encode(text), output_hidden_states=True).hidden_states
    for state in range(2):  # the last entry of hidden_states is after the final norm, so it is left to the test above
        for pos in range(len(lens.tokens)):
            logits = gpt2.lm_head(gpt2.transformer.ln_f(hidden[state][0, pos]))
            probs = logits.softmax(-1)
            ranking = probs.argsort(descending=True).tolist()
            assert lens.answers[state][pos] == tuple(model.token_text(i) for i in ranking[:5])
            assert lens.rank[state, pos].item() == ranking.index(17)
            assert lens.token_log_prob[state, pos].item() == pytest.approx(probs[17].log().item(), abs=1e-10)
            assert lens.entropy[state, pos].item() == pytest.approx(-(probs * probs.log()).sum().item(), abs=1e-10)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_agrees_with_transformer_lens(family, bridge_of):
    from transformer_lens.tools.analysis import logit_lens

    model, text = tiny_model(family), example_input(family)
    batch = model.encode(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = logit_lens(
            bridge_of(model),
            batch["input_ids"],
            positions=None,
            targets=[17],
            return_type="log_probs",
            enable_grad=False,
        )
    ours = workbench.logit_lens(model, text, token=model.token_text(17))
    torch.testing.assert_close(ours.token_log_prob, theirs.values[:, 0, :, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.entropy, theirs.readout.entropy[:, 0], rtol=1e-4, atol=1e-5)
    assert torch.equal(ours.rank, theirs.readout.target_ranks[:, 0, :, 0])
    assert theirs.labels == ["0_pre", "1_pre", "final_post"]


def test_the_chosen_token_is_by_default_the_models_own_answer():
    model = tiny_model("llama")
    lens = workbench.logit_lens(model, "abcz")
    best = model.logits(model.encode("abcz"))[0].argmax(-1)
    assert lens.token == model.token_text(best[-1])
    assert best[-1] not in best[:-1]  # so it cannot have come from another position
    assert lens.rank[-1, -1] == 0
    assert lens.token == lens.answers[-1][-1][0]


def test_frames():
    lens = workbench.logit_lens(tiny_model("gpt2"), "abc", top_k=2)
    frame = lens.to_frame()
    assert len(frame) == 3 * len(lens.tokens) * 2
    row = frame.query("layer == '1' and pos == 1 and rank == 1").iloc[0]
    assert row["answer"] == lens.answers[2][1][1] and row["log_prob"] == lens.log_probs[2, 1, 1].item()
    cells = lens.cells_frame()
    assert len(cells) == 3 * len(lens.tokens)
    assert cells.query("layer == 'embed' and pos == 2")["entropy"].item() == lens.entropy[0, 2].item()


def test_refusals_are_sentences():
    with pytest.raises(workbench.MissingCapability, match="head"):
        workbench.logit_lens(tiny_model("dinov2"), "example")
    with pytest.raises(workbench.BadInput):
        workbench.logit_lens(tiny_model("gpt2"), "abc", token="not one token")
    with pytest.raises(workbench.BadInput, match="top_k"):
        workbench.logit_lens(tiny_model("gpt2"), "abc", top_k=0)
