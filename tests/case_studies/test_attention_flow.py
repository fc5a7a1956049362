"""The attention flow study: its languages, its models, what it measures, and that its claims can fail."""

import dataclasses
import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

import workbench
from case_studies.attention_flow import data, measure, models, train
from workbench import functional, studies
from workbench.studies.judging import verdicts


@pytest.fixture(scope="module")
def agreement():
    return models.committed("agreement", 1)


@pytest.fixture(scope="module")
def evidence():
    return models.committed("evidence", 2)


# ---- the languages ---------------------------------------------------------------------------------------------------


def test_the_label_is_the_number_of_the_one_noun_outside_prepositional_phrases():
    attracted = 0
    for length in (7, 11, 16):
        texts = data.agreement(200, length, seed=length)
        for words, label, planted in zip(texts.words, texts.labels.tolist(), texts.planted.tolist(), strict=True):
            assert len(words) == length
            inside, subjects, others = False, [], []
            for place, word in enumerate(words):
                inside = word in data.PREPOSITIONS or (inside and word not in data.ADVERBS)
                if word.removesuffix("s") in data.NOUNS:
                    (others if inside else subjects).append(place)
                    inside = False
            assert [place for place, mark in enumerate(planted) if mark] == subjects
            assert len(subjects) == 1
            assert label == words[subjects[0]].endswith("s")
            attracted += any(words[place].endswith("s") != label for place in others)
        assert 0.4 < texts.labels.double().mean() < 0.6
    assert attracted > 200  # of 600 sentences: another number stands in the way


def test_the_label_is_the_sign_of_the_evidence():
    for length in (11, 20):
        texts = data.evidence(200, length, seed=length)
        for words, label, planted in zip(texts.words, texts.labels.tolist(), texts.planted.tolist(), strict=True):
            assert len(words) == length
            total = 0
            for place, word in enumerate(words):
                strength = 2 if word in (*data.VERY_GOOD, *data.VERY_BAD) else 1
                sign = 1 if word in (*data.GOOD, *data.VERY_GOOD) else -1
                if word in (*data.GOOD, *data.BAD, *data.VERY_GOOD, *data.VERY_BAD):
                    total += strength * sign * (-1 if place and words[place - 1] == "not" else 1)
                assert planted[place] == (word not in data.FILLERS)
            assert total != 0
            assert label == (total > 0)


def test_texts_depend_on_their_seed_alone():
    first, again, other = (data.evidence(5, 12, seed) for seed in (3, 3, 4))
    assert first.words == again.words
    assert first.words != other.words


# ---- the models ------------------------------------------------------------------------------------------------------


def test_the_committed_models_read_words_as_in_training_and_know_their_task(agreement, evidence):
    for task, model in (("agreement", agreement), ("evidence", evidence)):
        make, vocabulary = data.MAKERS[task]
        texts = make(100, 12, 999)
        ids = measure.encoded(model, texts)
        assert torch.equal(ids, data.ids_of(texts, vocabulary))
        assert (model.module(ids).logits.argmax(-1) == texts.labels).double().mean() > 0.95


def test_the_row_of_the_pre_norm_family_fits(agreement):
    checks = workbench.check(agreement)
    assert {"blocks add up", "editable sites"} <= {check.name for check in checks}
    assert not [check for check in checks if check.passed is False]
    sites = [f"blocks.0.{part}" for part in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")]
    with torch.no_grad(), workbench.reading(agreement, sites) as values:
        agreement.module(**agreement.encode("the cats near my dog often"))
    before, attention, middle, mlp, after = (values[site] for site in sites)
    torch.testing.assert_close(middle, before + attention)
    torch.testing.assert_close(after, middle + mlp)


def test_a_committed_model_opens_as_a_folder():
    model = workbench.load(models.CHECKPOINTS / "evidence-0")
    batch = model.encode("w01 not awful w02 superb w03 w04 w05 w06 w07 w08")
    assert int(model.logits(batch)[0, 0].argmax()) == 1


SHORT = train.TrainConfig(n_layers=1, d_model=8, d_mlp=8, n_heads=2, steps=4, batch=4, lengths=(7, 8), measure_every=2)


@pytest.mark.parametrize("task", ["agreement", "evidence"])
def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path, task):
    settings = models.SETTINGS[task]
    config = dataclasses.replace(SHORT, task=task, norms=settings.norms, lengths=settings.lengths[:2])
    whole = train.train(config, tmp_path / "whole")

    def cut(_label, done, _total):
        if done == 2:
            raise workbench.Stopped("enough")

    with pytest.raises(workbench.Stopped), workbench.reporting(cut):
        train.train(config, tmp_path / "cut")
    again = train.train(config, tmp_path / "cut")
    assert whole.history == again.history and [row["step"] for row in whole.history] == [0, 2, 4]
    trained = whole.module.state_dict()
    for name, value in again.module.state_dict().items():
        assert torch.equal(value, trained[name]), name
    before = train.initial_model(config).state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in trained.items())
    with pytest.raises(workbench.BadInput, match="seed 0 instead of 9"):
        train.train(dataclasses.replace(config, seed=9), tmp_path / "cut")


def test_training_blanks_words_but_never_the_ends():
    ids, labels = train.sentences(dataclasses.replace(SHORT, unknown=0.5, batch=64), step=0)
    assert ids.shape[0] == labels.shape[0] == 64
    assert 0.4 < (ids[:, 1:-1] == data.UNK).double().mean() < 0.6
    assert not (ids[:, [0, -1]] == data.UNK).any()


def test_a_written_model_is_the_model_in_half_precision(tmp_path):
    module = train.initial_model(SHORT)
    models.write(module, SHORT, {"step": 4}, tmp_path)
    from transformers import AutoModelForSequenceClassification

    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_importance_is_what_blanking_and_gradients_say(agreement):
    texts = data.agreement(3, 8, seed=1)
    found = measure.measure(agreement, texts)
    ids = data.ids_of(texts, data.AGREEMENT)
    table = agreement.module.get_submodule(agreement.base + "embeddings.word_embeddings").weight.detach()

    def margin(vectors, label):
        chances = agreement.module(inputs_embeds=vectors[None]).logits[0].softmax(-1)
        return chances[label] - chances[1 - label]

    for text, label in enumerate(texts.labels.tolist()):
        vectors = table[ids[text]]
        whole = margin(vectors, label).item()
        for word in range(8):
            blank = vectors.clone()
            blank[word + 1] = table[data.UNK]
            change = abs(margin(blank, label).item() - whole)
            assert found.importance["blank-out"][text, word].item() == pytest.approx(change, rel=1e-6, abs=1e-12)
            step = 1e-6  # gradient x input is the slope of scaling the word's vector
            scaled = [vectors.clone() for _ in range(2)]
            scaled[0][word + 1] *= 1 + step
            scaled[1][word + 1] *= 1 - step
            slope = abs(margin(scaled[0], label).item() - margin(scaled[1], label).item()) / (2 * step)
            assert found.importance["gradient x input"][text, word].item() == pytest.approx(slope, rel=1e-3, abs=1e-9)


def test_saliency_is_the_length_of_slope_times_vector(evidence):
    texts = data.evidence(2, 11, seed=1)
    found = measure.measure(evidence, texts)
    ids = data.ids_of(texts, data.EVIDENCE)
    table = evidence.module.get_submodule(evidence.base + "embeddings.word_embeddings").weight.detach()
    vectors = table[ids].requires_grad_()
    logits = evidence.module(inputs_embeds=vectors).logits
    (slope,) = torch.autograd.grad(logits.max(-1).values.sum(), vectors)
    length = (slope * vectors).detach().pow(2).sum(-1).sqrt()[:, 1:-1]
    torch.testing.assert_close(found.importance["saliency"], length, rtol=1e-9, atol=1e-12)


def test_relevance_is_the_row_of_the_class_token_over_words(evidence):
    texts = data.evidence(2, 11, seed=2)
    found = measure.measure(evidence, texts)
    sites = evidence.attention_sites(None, "pattern")
    with torch.no_grad(), workbench.reading(evidence, sites) as values:
        evidence.module(input_ids=data.ids_of(texts, data.EVIDENCE))
    product = torch.eye(13, dtype=torch.float64).expand(2, -1, -1)
    for layer, site in enumerate(sites):
        weights = values[site].mean(1)
        product = (0.5 * weights + 0.5 * torch.eye(13, dtype=torch.float64)) @ product
        torch.testing.assert_close(found.relevance["raw"][:, layer], weights[:, 0, 1:-1])
        torch.testing.assert_close(found.relevance["rollout"][:, layer], product[:, 0, 1:-1])
        assert (found.relevance["flow"][:, layer] >= product[:, 0, 1:-1] - 1e-9).all()
    torch.testing.assert_close(
        found.on_ends, torch.stack([values[s][..., [0, 12]].sum(-1) for s in sites]).mean((0, 2, 3))
    )


@torch.no_grad()
def test_the_ladder_is_made_of_the_vectors_that_each_position_brings(evidence):
    texts = data.evidence(1, 11, seed=3)
    found = measure.ladder(evidence, texts)
    parts = ("resid_pre", "resid_mid", "resid_post", "attn.v", "attn.pattern", "mlp_out")
    with workbench.reading(evidence, [f"blocks.{i}.{part}" for i in range(4) for part in parts]) as values:
        evidence.module(input_ids=data.ids_of(texts, data.EVIDENCE))
    rolled = {name: torch.eye(13, dtype=torch.float64) for name in ("N", "N_RES", "N_ENC")}
    for layer in range(4):
        own, middle, after, v, pattern, mlp = (values[f"blocks.{layer}.{part}"][0] for part in parts)
        block = evidence.module.bert.encoder.layer[layer]
        w_o = block.attention.output.dense.weight.T.unflatten(0, (4, 16))  # (head, d_head, d_model)
        brought = torch.einsum("hij,jhd,hdm->ijm", pattern, v, w_o)
        both = brought.clone()
        both[range(13), range(13)] += own
        first, second = block.attention.output.LayerNorm, block.output.LayerNorm
        before = own + brought.sum(1) + block.attention.output.dense.bias
        torch.testing.assert_close(first(before), middle)
        scale = (before.var(-1, correction=0) + first.eps).sqrt()[:, None, None]
        normed = (both - both.mean(-1, keepdim=True)) / scale * first.weight
        total = middle + mlp
        torch.testing.assert_close(second(total), after)
        scale = (total.var(-1, correction=0) + second.eps).sqrt()[:, None, None]
        normed = (normed - normed.mean(-1, keepdim=True)) / scale * second.weight
        for name, vectors in (("N", brought), ("N_RES", both), ("N_ENC", normed)):
            rolled[name] = vectors.norm(dim=-1) @ rolled[name]
            torch.testing.assert_close(found[name][0, layer], rolled[name][0, 1:-1], rtol=1e-6, atol=1e-9)


def test_planted_words_first_is_the_area_under_the_curve():
    scores = torch.rand(4, 3, 9, generator=torch.Generator().manual_seed(0)).double().round(decimals=1)  # with ties
    planted = torch.tensor([[True, False, False, True, False, False, False, True, False]] * 4)
    planted[1, 0] = False
    found = measure.planted_first(scores, planted)
    for text in range(4):
        for layer in range(3):
            expected = roc_auc_score(planted[text].numpy(), scores[text, layer].numpy())
            assert found[text, layer].item() == pytest.approx(expected)


# ---- the study -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_study_gives_what_it_claims():
    run = studies.run_study("attention_flow")
    assert run.as_expected, repr(run)
    outcomes = {verdict.claim.quantity: verdict.outcome for verdict in run.verdicts}
    assert outcomes["agreement.rollout_over_raw.blank_out.deep_low"] == "holds"
    assert outcomes["evidence.N_ENC_over_W"] == "holds"
    assert outcomes["evidence.N_over_W"] == "does not reproduce"
    assert sum(verdict.claim.control and verdict.outcome == "holds" for verdict in run.verdicts) >= 8
    assert set(run.findings.tables) == {"Correlations by layer", "Ladder"}
    assert not any(math.isnan(value) for value in run.findings.tables["Correlations by layer"]["mean"])


@pytest.mark.slow
def test_models_that_were_hardly_trained_fail_the_claims_about_trained_ones(monkeypatch, tmp_path):
    from case_studies.attention_flow import study

    hasty = {task: dataclasses.replace(settings, steps=1, batch=4) for task, settings in models.SETTINGS.items()}
    monkeypatch.setattr(models, "SETTINGS", hasty)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    found = study.retrained(study.Config(per_length=3))
    assert set(found) == {"retrained_agreement", "retrained_evidence"}
    claims = [claim for claim in studies.study("attention_flow").claims if claim.quantity.startswith("retrained")]
    numbers = {f"{task}.{name}": value for task, seeds in found.items() for name, value in study.by_seed(seeds).items()}
    outcomes = [verdict.outcome for verdict in verdicts(studies.Findings(numbers=numbers), claims)]
    assert len(outcomes) >= 4
    assert outcomes.count("fails") >= 3
    assert not list(tmp_path.rglob("training.safetensors"))


def test_correlations_of_a_perfect_and_of_an_opposite_method():
    from case_studies.attention_flow import study

    scores = torch.arange(24.0, dtype=torch.float64).view(4, 6)
    rows_of = {"raw": -scores, "rollout": scores**3, "flow": scores}
    seen = measure.Measured(
        right=torch.ones(4, dtype=torch.bool),
        relevance={name: torch.stack([rows, rows], 1) for name, rows in rows_of.items()},
        importance=dict.fromkeys(measure.MEASURES, scores),
        on_ends=torch.zeros(4),
    )
    numbers = study.summary(study.correlations([seen]), study.Config(deep=1))
    assert numbers["raw.blank_out.last"] == pytest.approx(-1)
    assert numbers["rollout.blank_out.last"] == pytest.approx(1)
    assert numbers["rollout_over_raw.blank_out.deep_low"] == pytest.approx(2)
    assert numbers["rollout_over_another_text.saliency.last"] == pytest.approx(0)


@pytest.mark.real
def test_cases_of_the_packaged_models_ask_what_they_say():
    from case_studies.attention_flow import real

    albert = workbench.load("rxnmapper-albert")
    cases = list(real.reaction_cases(albert))
    assert len(cases) == 2 * len(real.REACTIONS)
    for ids, place, answer, foil in cases:
        words = albert.labels({"input_ids": ids})
        assert words[place] == "[MASK]"
        assert words.index(">>") < place < len(words) - 1
        assert foil is None
        assert albert.token_text(answer).strip("[]").isalpha()
    ids, place, answer, _ = cases[0]
    right, relevance, importance = real.look(albert, ids, place, answer, None, [albert.processor.mask_token_id])
    assert right
    for rows in relevance.values():
        assert rows.shape == (albert.n_blocks, ids.shape[1])
    assert functional.spearman(importance["blank_out"], importance["blank_out"]).item() == pytest.approx(1)
