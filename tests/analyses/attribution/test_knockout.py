"""Attention knockout: against attention masks written by hand, and what cutting may and may not change."""

import pytest
import torch

import workbench
from workbench.analyses.attribution.evidence import Wanted, gather
from workbench.testing import FAMILIES, example_input, tiny_model

LOWEST = torch.finfo(torch.float32).min
PATTERNED = [f for f in FAMILIES if "pattern" in tiny_model(f).capabilities]


def opened(n, causal, gone):
    """(query, key) True where a query may look; a row that would be empty sees itself."""
    free = (torch.ones(n, n).tril().bool() if causal else torch.ones(n, n).bool()) & ~gone
    return free | (torch.eye(n).bool() & ~free.any(-1, keepdim=True))


def with_masks(model, batch, masks) -> torch.Tensor:
    """Logits when each layer's attention module gets an additive mask of its own (layer -> (query, key) True if open).

    The masks are put straight into the arguments of each attention module.
    """
    stack, handles = model.main, []
    for layer, free in masks.items():
        module = model.module.get_submodule(f"{stack.paths[layer]}.{stack.row.attention['attn'].module}")

        def put(_module, args, kwargs, free=free):
            return args, {**kwargs, "attention_mask": torch.zeros(1, 1, *free.shape).masked_fill(~free, LOWEST)}

        handles.append(module.register_forward_pre_hook(put, with_kwargs=True))
    try:
        with torch.no_grad():
            return model.module(**batch).logits[0]
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("layers", [(), (0,), (1,)])
@pytest.mark.parametrize("family", ["llama", "neox"])
def test_columns_are_taken_out_of_the_chosen_layers(family, layers):
    model, text, n = tiny_model(family), "abcabc", 7
    found = workbench.attention_knockout(model, text, token="b", foil="c", layers=layers)
    batch, b, c = model.encode(text), model.token_id("b"), model.token_id("c")
    plain = {layer: opened(n, True, torch.zeros(n, n).bool()) for layer in range(2)}
    before = with_masks(model, batch, plain)[-1]
    assert found.score == pytest.approx((before[b] - before[c]).item(), abs=1e-6)
    for i in range(n):
        gone = torch.zeros(n, n).bool()
        gone[:, i] = True
        after = with_masks(model, batch, plain | dict.fromkeys(layers or (0, 1), opened(n, True, gone)))[-1]
        expected = ((before - after)[b] - (before - after)[c]).item()
        assert found.scores[0, i].item() == pytest.approx(expected, abs=2e-6), i
    assert found.scores.abs().max() > 1e-3


def test_a_group_is_cut_off_from_chosen_positions_only():
    model, text, n = tiny_model("llama"), "abcabc", 7
    found = workbench.attention_knockout(model, text, layers=(-1,), sources=(1, 4), targets=(-1, 5))
    batch = model.encode(text)
    before = model.logits(batch)[0, -1]
    gone = torch.zeros(n, n).bool()
    gone[5:, [1, 4]] = True
    after = with_masks(model, batch, {1: opened(n, True, gone)})[-1]
    expected = (before.log_softmax(-1) - after.log_softmax(-1))[before.argmax()].item()
    assert found.scores[0, [1, 4]].tolist() == pytest.approx([expected] * 2, abs=2e-6)
    assert found.scores[0, [0, 2, 3, 5, 6]].abs().max() == 0 < abs(expected)


@pytest.mark.parametrize("family", ["gpt2", "llama", "micro"])
def test_pairs_that_cannot_see_each_other_lose_nothing(family):
    model = tiny_model(family)
    later = workbench.attention_knockout(model, "abcabc", sources=(5, 6), targets=(0, 1, 2, 3, 4))
    assert later.scores.abs().max() < 1e-5
    unread = workbench.attention_knockout(model, "abcabc", position=2)
    assert unread.scores[0, 3:].abs().max() < 1e-5 < unread.scores[0, :3].abs().max()


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_a_token_that_sees_itself_only_is_a_function_of_itself(family):
    model, ends = tiny_model(family), []
    for text in ("abcabca", "xyzzyxa"):
        found = workbench.attention_knockout(model, text, token="b", sources=tuple(range(7)), targets=(7,))
        before = model.logits(model.encode(text))[0, -1].log_softmax(-1)[model.token_id("b")]
        ends.append(before.item() - found.scores[0, 0].item())
    assert ends[0] == pytest.approx(ends[1], abs=2e-6)
    before = [model.logits(model.encode(t))[0, -1, model.token_id("b")].item() for t in ("abcabca", "xyzzyxa")]
    assert abs(before[0] - before[1]) > 1e-3


def test_cross_attention_is_cut_where_the_models_own_mask_would(double):
    """What nobody attends to in encoder and cross-attention is what the encoder's padding mask hides."""
    model, text = double("t5")
    found, batch = workbench.attention_knockout(model, text), model.encode(text)
    row, top = (model.logits(batch)[0, -1], model.logits(batch)[0, -1].argmax())
    for i in range(batch["input_ids"].shape[1]):
        mask = batch["attention_mask"].clone()
        mask[0, i] = 0
        after = model.module(**{**batch, "attention_mask": mask}).logits[0, -1]
        assert found.scores[0, i].item() == pytest.approx(
            (row.log_softmax(-1) - after.log_softmax(-1))[top].item(), abs=2e-6
        )
    assert found.sides.count("target") == 3 and found.scores[0, -3:].abs().min() > 1e-3


@pytest.mark.parametrize("family", PATTERNED)
def test_rows_still_sum_to_one_and_the_column_is_empty(family):
    from workbench.analyses.attribution.removal import hiding
    from workbench.hooks import editing, reading

    model = tiny_model(family)
    evidence = gather(model, example_input(family), Wanted())
    table = torch.eye(len(evidence.tokens), dtype=torch.bool)[1:2]
    batch, edits = hiding(evidence, table)(torch.tensor([0]), evidence.batch)
    sites = [site.replace("attn_scores", "pattern") for site in edits]
    with torch.no_grad(), editing(model, edits), reading(model, sites) as values:
        model.module(**batch)
    for site in sites:
        torch.testing.assert_close(values[site].sum(-1), torch.ones_like(values[site][..., 0]))
        mine = not site.startswith("decoder") or "cross" in site
        assert bool((values[site][..., 1] == 0).all()) == mine


def test_positions_and_layers_that_are_not_there_are_sentences():
    model = tiny_model("gpt2")
    with pytest.raises(workbench.BadInput, match="no position 9"):
        workbench.attention_knockout(model, "abc", sources=(9,))
    with pytest.raises(workbench.BadInput, match="no position -5"):
        workbench.attention_knockout(model, "abc", targets=(-5,))
    with pytest.raises(workbench.BadInput, match="layers"):
        workbench.attention_knockout(model, "abc", layers=(2,))
