"""Methods side by side: ranked as scipy ranks them, checked by plain passes of the model, with planted methods."""

import math

import pytest
import scipy.stats
import torch

import workbench
from workbench.analyses.attribution.evidence import Wanted, gather
from workbench.analyses.attribution.method import Method, Scores
from workbench.analyses.attribution.methods import methods
from workbench.analyses.attribution.together import FAST, chosen_check
from workbench.cli import main
from workbench.models.adapters import adapt
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import example_input, tiny_model

UNKNOWN = CharacterTokenizer.unk_token_id


@pytest.fixture
def plant(monkeypatch):
    """Adds a method of the given scores to the table of methods, and gives its name back."""

    def put(name, scores, **options):
        def function(evidence):
            values = scores(evidence) if callable(scores) else scores
            return values if isinstance(values, Scores) else Scores(values=torch.as_tensor(values)[None])

        made = Method(**{"name": name, "title": name.title(), "function": function, "needs": frozenset()} | options)
        monkeypatch.setitem(methods(), name, made)
        return name

    return put


def drawn(levels=None, seed=0):
    """Scores of any prompt: normal ones, or whole numbers with ties."""

    def scores(evidence):
        random, n = torch.Generator().manual_seed(seed), len(evidence.tokens)
        if levels:
            return torch.randint(-levels, levels + 1, (n,), generator=random).float()
        return torch.randn(n, generator=random)

    return scores


@pytest.mark.parametrize("family", ["gpt2", "t5", "bert", "vit", "dinov2", "mamba"])
def test_correlations_are_scipys_with_the_effects_of_occlusion(family, plant):
    names = (plant("untied", drawn(), signed=True), plant("tied", drawn(levels=2, seed=1)))
    model = tiny_model(family)
    found = workbench.token_attribution(model, example_input(family), methods=names, check="replace")
    effects = workbench.occlusion(model, example_input(family)).scores[0]
    torch.testing.assert_close(found.effects, effects)
    for line, signed in enumerate((True, False)):
        a, b = found.scores[line].double().numpy(), found.effects.double().numpy()
        pairs = [(abs(a), abs(b)), (a, b)]
        for j, (measure, pair) in enumerate((m, p) for p in pairs for m in ("spearmanr", "kendalltau")):
            value = found.agreement[line, j].item()
            if j >= 2 and not signed:
                assert math.isnan(value)
            else:
                assert value == pytest.approx(getattr(scipy.stats, measure)(*pair).statistic, abs=1e-6)


def test_the_right_order_the_wrong_sign_and_no_order(plant):
    model, text = tiny_model("gpt2"), "abcabcab"
    true = workbench.occlusion(model, text).scores[0]
    plant("truth", true, signed=True)
    plant("opposite", -true, signed=True)
    plant("sizes", true.abs())
    plant("constant", torch.full_like(true, 0.3))
    names = ("constant", "truth", "opposite", "sizes")
    found = workbench.token_attribution(model, text, methods=names, check="replace")
    assert found.agreement[:, 0].tolist()[1:] == pytest.approx([1, 1, 1])
    assert found.agreement[1:3, 2].tolist() == pytest.approx([1, -1])
    assert [name for name, _ in found.ranking()] == ["truth", "opposite", "sizes", "constant"]  # undefined last
    assert found.ranking("signed spearman")[0][0] == "truth"
    frame = found.to_frame()
    undefined = frame[frame.method == "constant"].query("quantity == 'spearman'")
    assert undefined.value.isna().all()
    assert (undefined["count"] == 0).all()
    assert (frame[frame.value.notna()]["count"] > 0).all()
    signed = frame[frame.quantity.str.startswith("signed")]
    assert set(signed.method) == {"truth", "opposite", "random mean", "random lower", "random upper"}


def test_only_what_the_explained_position_can_see_is_compared(plant):
    plant("any", drawn())
    causal = workbench.token_attribution(tiny_model("gpt2"), "abcabc", methods=("any",), position=3)
    assert causal.counted.tolist() == [True] * 4 + [False] * 3
    a, b = causal.scores[0, :4].abs().numpy(), causal.effects[:4].abs().numpy()
    assert causal.agreement[0, 0].item() == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-6)
    assert causal.random_agreement[0, 2].item() == pytest.approx(
        1
    )  # one order of 4 in 24 is the right one, of 7 hardly any
    both_ways = workbench.token_attribution(tiny_model("bert"), "abcabc", methods=("any",), position=3)
    assert both_ways.counted.all()
    two = workbench.token_attribution(tiny_model("t5"), "abc => abc", methods=("any",), position=1)
    assert two.counted.tolist() == [True] * 6 + [False] * 2
    less = workbench.token_attribution(
        tiny_model("t5"), "abc => abc", methods=("any",), position=1, skip_special=True, skip_first=True
    )
    assert less.tokens == ("<bos>", "a", "b", "c", "<bos>", "a", "b", "c")
    assert less.counted.tolist() == [False, True, True, True, False, True, False, False]
    first = workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("any",), skip_first=True)
    assert first.counted.tolist() == [False, True, True, True]
    picture = workbench.token_attribution(tiny_model("vit"), "example", methods=("any",), skip_special=True)
    assert picture.counted.tolist() == [False, True, True, True, True]


def answer(model, ids, target):
    with torch.no_grad():
        logits = model.module(**{**model.encode("a"), "input_ids": ids, "attention_mask": ids * 0 + 1}).logits
        return logits[0, target.index].log_softmax(-1)[target.answer]


def test_words_are_taken_away_whole_and_their_scores_are_sums(plant):
    model, text = tiny_model("gpt2"), "ab ba abc"
    plant("any", drawn(), signed=True)
    found = workbench.token_attribution(model, text, methods=("any",), words=True, check="replace")
    assert found.tokens == ("<bos>", "ab", " ba", " abc")
    assert found.row == 3
    spans = [(0, 1), (1, 3), (3, 6), (6, 10)]
    pieces = workbench.token_attribution(model, text, methods=("any",), check="replace")
    batch, target = model.encode(text), gather(model, text, Wanted()).target
    before = answer(model, batch["input_ids"], target)
    for word, (start, end) in enumerate(spans):
        assert found.scores[0, word].item() == pytest.approx(pieces.scores[0, start:end].sum().item(), abs=1e-6)
        ids = batch["input_ids"].clone()
        ids[0, start:end] = UNKNOWN
        assert found.effects[word].item() == pytest.approx((before - answer(model, ids, target)).item(), abs=2e-6)
    assert found.effects[1:].sum().item() != pytest.approx(pieces.effects[1:].sum().item(), abs=1e-4)


def slow_faithfulness(model, text, scores, counted):
    """The four numbers, one plain forward pass after the other."""
    batch, target = model.encode(text), gather(model, text, Wanted()).target
    order = sorted(counted, key=lambda i: (-scores[i], i))
    n = len(order)

    def p(gone):
        ids = batch["input_ids"].clone()
        ids[0, gone] = UNKNOWN
        with torch.no_grad():
            logits = model.module(**{**batch, "input_ids": ids}).logits[0, target.index].double()
        return logits.softmax(-1)[target.answer].item()

    def mean(values):
        return sum(values) / len(values)

    sizes = [(tenth * n + 5) // 10 for tenth in range(11)]
    first, rest, last = (
        [p(order[:k]) for k in sizes],
        [p(order[k:]) for k in sizes],
        [p(order[n - k :]) for k in sizes],
    )
    area = [mean([(a + b) / 2 for a, b in zip(curve, curve[1:], strict=False)]) for curve in (first, last)]
    return [mean([first[0] - q for q in first[1:]]), mean([first[0] - q for q in rest[1:]]), *area]


def test_faithfulness_against_one_pass_after_the_other(plant):
    model, text = tiny_model("gpt2"), "abcabcab ccab"
    names = (plant("untied", drawn(), signed=True), plant("tied", drawn(levels=1, seed=3)))
    found = workbench.token_attribution(model, text, methods=names, faithfulness=True, skip_first=True, check="replace")
    counted = list(range(1, len(found.tokens)))
    for line in range(2):
        expected = slow_faithfulness(model, text, found.scores[line].tolist(), counted)
        assert found.faithfulness[line].tolist() == pytest.approx(expected, abs=1e-7)
    assert found.faithfulness.shape == (3, 4)  # and random orders
    (_, check), (_, extra) = found.passes
    assert check == len(found.tokens)
    assert extra <= 5 * 2 * 10 + 2  # no set of tokens is run twice
    assert (
        found.passes
        == workbench.token_attribution(
            model, text, methods=names, faithfulness=True, skip_first=True, seed=0, check="replace"
        ).passes
    )
    frame = found.faithfulness_frame()
    assert len(frame) == 12
    assert set(frame.method) == {"untied", "tied", "random mean"}


def test_the_layer_chooses_what_is_ranked(plant):
    def layered(evidence):
        n = len(evidence.tokens)
        values = torch.stack(
            [torch.randn(n, generator=torch.Generator().manual_seed(i)) for i in range(len(evidence.steps))]
        )
        return Scores(values=values, steps=evidence.steps)

    plant("layered", layered)
    plant("single", drawn())
    model = tiny_model("gpt2")
    for layer, line in ((None, 1), (0, 0), (1, 1)):
        found = workbench.token_attribution(model, "abcabc", methods=("layered", "single"), layer=layer)
        assert found.ranked_lines == (line, 2)
        assert dict(found.ranking())["layered"] == found.agreement[line, 0].item()
    assert found.of("layered").shape == (2, 7)
    two = workbench.token_attribution(tiny_model("t5"), "abc => abc", methods=("layered",), layer=0)
    assert two.line_steps[two.ranked_lines[0]] == "decoder 0 cross"


def test_random_orders_reach_what_theory_says(plant):
    plant("any", drawn())
    text = "abcabcabcabcabcabcabcabcabcabcabcabcabc"
    found = workbench.token_attribution(tiny_model("gpt2"), text, methods=("any",))
    n = len(found.tokens)
    for j, deviation in enumerate((1 / math.sqrt(n - 1), math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))):
        mean, low, high = found.random_agreement[j].tolist()
        assert mean == pytest.approx(0, abs=4 * deviation / math.sqrt(500))
        assert low == pytest.approx(-1.96 * deviation, rel=0.15)
        assert high == pytest.approx(1.96 * deviation, rel=0.15)
    other = workbench.token_attribution(tiny_model("gpt2"), text, methods=("any",), seed=1)
    assert not torch.equal(other.random_agreement, found.random_agreement)


def test_methods_that_do_not_run_are_named_with_the_reason(plant):
    def refuse(evidence):
        raise workbench.BadInput("Not for this prompt.")

    plant("any", drawn())
    plant("refuses", refuse)
    plant("nan", lambda e: torch.full((len(e.tokens),), math.nan), note="It divides by nothing.")
    plant("attentive", drawn(), needs=frozenset({"pattern"}))
    found = workbench.token_attribution(tiny_model("mamba"), "abc", methods=("any", "refuses", "attentive", "nan"))
    assert found.methods == ("any",)
    reasons = dict(found.left_out)
    assert reasons["refuses"] == "Not for this prompt."
    assert "attention patterns, which tiny:mamba does not have" in reasons["attentive"]
    assert "not a finite number" in reasons["nan"]
    assert "divides by nothing" in reasons["nan"]
    with pytest.raises(workbench.MissingCapability, match="None of the methods"):
        workbench.token_attribution(tiny_model("mamba"), "abc", methods=("attentive",))
    with pytest.raises(workbench.BadInput, match="Not for this prompt"):
        workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("refuses",))
    with pytest.raises(workbench.WorkbenchError, match="No method called 'rolout'"):
        workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("rolout",))


def test_without_a_check_there_is_no_ranking(plant):
    plant("any", drawn())
    found = workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("any",), check="none")
    assert (found.effects, found.agreement, found.ranking(), found.passes) == (None, None, (), ())
    assert set(found.to_frame().quantity) == {"score"}
    with pytest.raises(workbench.BadInput, match="choose a check"):
        workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("any",), check="none", faithfulness=True)


@pytest.mark.parametrize("check", ["mask-attention", "zero-values"])
def test_other_checks_take_tokens_away_in_their_own_way(check, plant):
    plant("any", drawn())
    model, text = tiny_model("bert"), "abcab"
    found = workbench.token_attribution(model, text, methods=("any",), check=check)
    replaced = workbench.token_attribution(model, text, methods=("any",), check="replace")
    assert found.effects.abs().min() > 1e-6
    assert not torch.allclose(found.effects, replaced.effects, atol=1e-4)
    unit = "Effects are falls in log-probability, in nats."
    assert found.check_note.startswith(unit) and "own stream goes on" in found.check_note
    assert replaced.check_note.endswith(unit)
    assert replaced.check_note.startswith("Tokens were replaced")


def test_the_check_that_is_chosen_is_the_mask_token_or_else_attention():
    class WithMask(CharacterTokenizer):
        mask_token, mask_token_id = "~", 96

    bert, gpt2, mamba = tiny_model("bert"), tiny_model("gpt2"), tiny_model("mamba")
    assert chosen_check(adapt(bert.module, WithMask()), "auto", None) == "replace"
    assert chosen_check(bert, "auto", None) == chosen_check(gpt2, "auto", None) == "mask-attention"
    assert chosen_check(gpt2, "auto", "a") == chosen_check(mamba, "auto", None) == "replace"
    assert chosen_check(gpt2, "zero-values", None) == "zero-values"


def test_all_fast_methods_share_one_forward_pass():
    model = tiny_model("gpt2")
    rows = []
    watch = model.module.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        found = workbench.token_attribution(model, "abcabc", check="none")
        assert rows == [1]
        workbench.token_attribution(model, "abcabc")
        assert sum(rows) == 1 + 1 + 7
    finally:
        watch.remove()
    assert found.methods == FAST
    assert not found.left_out


def test_one_token_is_enough():
    found = workbench.token_attribution(tiny_model("gpt2"), torch.tensor([5]))
    assert found.scores.shape[1] == 1
    assert found.agreement.isnan().all()


def test_a_terminal_shows_the_ranking_and_a_table_of_tokens(plant, capsys):
    plant("any", drawn())
    found = workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("any , raw",))
    said, table = found.brief()
    assert found.methods == ("any", "raw") and "Explained: logit of" in said and "Random orders reach" in said
    assert list(table.columns) == ["pos", "token", "any", "raw", "causal check"] and len(table) == 4
    assert table["raw"].tolist() == pytest.approx(found.of("raw")[-1].tolist(), abs=1e-4)
    assert main(["run", "token-attribution", "abc", "--model", "tiny:gpt2", "--methods", "raw,rollout"]) == 0
    printed = capsys.readouterr().out
    assert "causal check" in printed and "rollout" in printed and "Spearman" in printed


def test_one_token_to_compare_is_said_to_be_too_few(plant):
    plant("any", drawn())
    found = workbench.token_attribution(tiny_model("gpt2"), "abc", methods=("any",), position=0)
    assert "Only 1 of the tokens can be compared" in found.check_note
