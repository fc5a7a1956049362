"""Agreement over prompts: the single runs put together, with what is undefined counted, and its controls."""

import math
from typing import Any

import pytest
import torch

import workbench
from workbench import functional
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.methods import methods
from workbench.models.adapters import adapt
from workbench.models.untrained import untrained_copy
from workbench.testing import tiny_model

PROMPTS = ("abcabc", "cab", "aabbccaa", "bca bca")


@pytest.fixture
def planted(monkeypatch):
    """Three methods: one with steps, one that is constant where the prompt begins with an a, one that may refuse."""

    def layered(evidence):
        n = len(evidence.tokens)
        draws = [torch.randn(n, generator=torch.Generator().manual_seed(n + i)) for i in range(2)]
        return Scores(values=torch.stack(draws), steps=("0", "1"))

    def moody(evidence):
        n = len(evidence.tokens)
        return Scores(values=(torch.ones(n) if evidence.tokens[1] == "a" else torch.arange(float(n)))[None])

    def refusing(evidence):
        if len(evidence.tokens) > 7:
            raise workbench.BadInput("Too long for me.")
        return Scores(values=torch.arange(float(len(evidence.tokens)))[None])

    for function, signed in ((layered, True), (moody, False), (refusing, False)):
        name = function.__name__
        made = Method(name=name, title=name.title(), function=function, needs=frozenset(), signed=signed)
        monkeypatch.setitem(methods(), name, made)
    return ("layered", "moody", "refusing")


def test_is_the_single_runs_put_together(planted):
    model = tiny_model("gpt2")
    found = workbench.attribution_agreement(model, PROMPTS, methods=planted)
    lines = [("layered", "0"), ("layered", "1"), ("moody", "all"), ("refusing", "all"), ("random", "all")]
    assert [*zip(found.line_methods, found.line_steps, strict=True)] == lines
    for i, text in enumerate(PROMPTS):
        single = workbench.token_attribution(model, text, methods=planted)
        expected = dict(zip(zip(single.line_methods, single.line_steps, strict=True), single.agreement, strict=True))
        for number, line in enumerate(lines[:-1]):
            alone = expected.get(line, torch.full((4,), math.nan, dtype=torch.float64))
            torch.testing.assert_close(found.correlations[0, number, :, i], alone, equal_nan=True)
    interval = functional.bootstrap_interval(found.correlations)
    for name, values in (("mean", interval.value), ("low", interval.low), ("high", interval.high)):
        torch.testing.assert_close(getattr(found, name), values, equal_nan=True)
    assert found.explained[0] == workbench.token_attribution(model, PROMPTS[0], methods=planted).explained
    assert found.compared == (7, 4, 9, 8)


def test_undefined_correlations_are_counted_and_never_0(planted):
    found = workbench.attribution_agreement(tiny_model("gpt2"), PROMPTS, methods=planted)
    moody, refusing = found.line("moody"), found.line("refusing")
    assert (found.line("layered", "0"), found.line("layered")) == (0, 1)  # the last, where none is named
    assert found.count[0, [moody, refusing], 0].tolist() == [2, 2]
    assert found.undefined[0, [moody, refusing], 0].tolist() == [2, 2]
    kept = found.correlations[0, moody, 0, [1, 3]]
    assert found.mean[0, moody, 0].item() == pytest.approx(kept.mean().item())
    assert dict(found.left_out) == {"refusing": "Too long for me."}
    rows = found.to_frame().query("method == 'moody' and measure == 'spearman'").iloc[0]
    assert (rows.prompts, rows.undefined) == (2, 2)
    never = workbench.attribution_agreement(tiny_model("gpt2"), ("aab", "aba"), methods=("moody",))
    row = never.to_frame().query("method == 'moody' and measure == 'spearman'").iloc[0]
    assert math.isnan(row["mean"])
    assert (row.prompts, row.undefined, row.spread) == (0, 2, 0)
    assert "signed spearman" not in set(found.to_frame().query("method == 'moody'").measure)
    assert "signed spearman" in set(found.to_frame().query("method == 'layered'").measure)


def test_one_prompt_has_no_interval(planted):
    found = workbench.attribution_agreement(tiny_model("gpt2"), ("abcab",), methods=("layered",))
    assert found.low.isnan().all()
    assert (found.to_frame().spread == 0).all()
    assert not found.mean[0, 0].isnan().any()


def test_the_difference_of_two_methods_is_taken_prompt_by_prompt(planted):
    found = workbench.attribution_agreement(tiny_model("gpt2"), PROMPTS, methods=planted)
    paired = found.difference("layered", "moody", step="0")
    a, b = found.correlations[0, 0, 0], found.correlations[0, 2, 0]
    assert paired.count.item() == 2
    assert paired.value.item() == pytest.approx((a - b).nanmean().item())
    with pytest.raises(workbench.WorkbenchError, match="line"):
        found.difference("layered", "nothing")
    with pytest.raises(workbench.WorkbenchError, match="measure"):
        found.difference("layered", "moody", measure="pearson")


def test_random_orders_agree_by_chance_alone(planted):
    texts = tuple("".join("abc"[(i * j) % 3] for j in range(1, 30)) + "ab" * (i % 3) for i in range(12))
    found = workbench.attribution_agreement(tiny_model("gpt2"), texts, methods=("layered",))
    line = found.line("random")
    assert found.mean[0, line, 0].abs().item() < 4 / math.sqrt(29 * len(texts))
    values = found.correlations[0, line, 0]
    assert len(set(values.tolist())) == len(texts)  # a new order for each prompt
    again = workbench.attribution_agreement(tiny_model("gpt2"), texts, methods=("layered",), seed=100)
    assert not torch.equal(again.correlations[0, line, 0], values)


def test_answers_and_foils_go_with_their_prompts(planted):
    model = tiny_model("gpt2")
    found = workbench.attribution_agreement(model, PROMPTS[:2], methods=("layered",), answers=("a", "b"), foils=("c",))
    assert [text.partition(" at ")[0] for text in found.explained] == [
        "logit of 'a' less that of 'c'",
        "logit of 'b' less that of 'c'",
    ]
    with pytest.raises(workbench.BadInput, match="3 answers for 2 prompts"):
        workbench.attribution_agreement(model, PROMPTS[:2], methods=("layered",), answers=("a", "b", "c"))
    with pytest.raises(workbench.BadInput, match="Prompt 1: .*longer|Prompt 1: .*tokens long"):
        workbench.attribution_agreement(model, ("ab", "a" * 99), methods=("layered",))


@pytest.mark.parametrize("family", ["gpt2", "t5", "vit", "mamba", "micro"])
def test_the_untrained_copy_is_another_model_of_the_same_shape(family):
    model = tiny_model(family)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    state = torch.get_rng_state()
    fresh = untrained_copy(model, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert fresh.module is not model.module
    assert not fresh.module.training
    assert fresh.n_params == model.n_params
    ours = dict(fresh.module.named_parameters())
    for name, value in model.module.named_parameters():
        assert torch.equal(value, before[name])
        assert ours[name].shape == value.shape
        assert ours[name].data_ptr() != value.data_ptr()
        if value.ndim > 1 and not name.endswith("A_log"):  # which Mamba always starts from the same numbers
            assert torch.corrcoef(torch.stack([ours[name].flatten(), value.flatten()]))[0, 1].abs() < 0.4, name
    again = untrained_copy(model, seed=3)
    for name, value in again.module.named_parameters():
        assert torch.equal(value, ours[name])
    other = untrained_copy(model, seed=4)
    assert any(not torch.equal(value, ours[name]) for name, value in other.module.named_parameters())


def test_untrained_weights_are_drawn_as_the_config_says():
    fresh = untrained_copy(tiny_model("gpt2"))
    config: Any = fresh.module.config
    weights = torch.cat([p.flatten() for n, p in fresh.module.named_parameters() if "c_fc.weight" in n or "wte" in n])
    assert weights.std().item() == pytest.approx(config.initializer_range, rel=0.1)


def test_an_untrained_arm_stands_beside_the_trained_one(planted):
    model = tiny_model("gpt2")
    found = workbench.attribution_agreement(model, PROMPTS, methods=planted, untrained=True)
    assert found.models == ("trained", "untrained")
    alone = workbench.attribution_agreement(model, PROMPTS, methods=planted)
    torch.testing.assert_close(found.correlations[0], alone.correlations[0], equal_nan=True)
    fresh = workbench.attribution_agreement(untrained_copy(model), PROMPTS, methods=planted)
    torch.testing.assert_close(found.correlations[1], fresh.correlations[0], equal_nan=True)
    assert not torch.equal(found.correlations[0, 0], found.correlations[1, 0])
    assert "MB beside" in found.note
    paired = found.difference("layered", "random", model="untrained")
    assert paired.count.item() == 4


def test_a_model_that_was_changed_has_no_untrained_copy():
    model = tiny_model("gpt2")
    model.module.lm_head = torch.nn.Linear(16, 98)  # with a bias, which the config knows nothing of
    changed = adapt(model.module, model.processor)
    with pytest.raises(workbench.UnsupportedModel, match="other weights"):
        untrained_copy(changed)
