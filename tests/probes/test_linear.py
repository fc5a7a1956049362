"""The linear probe: finds what is there, finds nothing in noise, and its controls are what they say."""

from itertools import cycle

import numpy as np
import pytest
import torch

import workbench
from probes.linear import _tag_for_each_type, held_out_accuracy
from probes.tokens import last_tokens, tagged_sentences, words_and_tags

RANDOM = np.random.default_rng(0)
FOLDS = np.arange(200) % 5


def accuracy(x, labels, reader="ridge"):
    return held_out_accuracy(x, [labels], FOLDS, reader, 1.0)[0]


@pytest.mark.parametrize("reader", ["ridge", "logistic"])
def test_reads_what_is_linear_and_only_chance_from_noise(reader):
    labels = np.array([f"tag {i % 4}" for i in RANDOM.permutation(200)])
    there = np.stack([labels == tag for tag in np.unique(labels)], 1) * 3.0 + 0.1 * RANDOM.normal(size=(200, 4))
    assert accuracy(there @ RANDOM.normal(size=(4, 12)), labels, reader) == 1.0
    # 200 fair draws among four: .25 with a standard error of .031, so .40 is nearly five of them away
    assert accuracy(RANDOM.normal(size=(200, 12)), labels, reader) < 0.40


def test_accuracy_is_of_words_never_seen_in_fitting():
    """With one feature a word, a reader that saw the held-out words would be perfect."""
    labels = np.array([str(i % 2) for i in RANDOM.permutation(200)])
    assert accuracy(np.eye(200), labels) < 0.70


@pytest.mark.parametrize(("size", "width"), [(60, 5), (30, 80)])
@pytest.mark.parametrize("tags", [("a", "b"), ("a", "b", "c")])
def test_the_shared_ridge_is_scikit_learns(size, width, tags):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, folds = RANDOM.normal(size=(size, width)), np.arange(size) % 3
    arms = [RANDOM.choice(tags, size) for _ in range(3)]
    expected = []
    for labels in arms:
        right = 0
        for part in range(3):
            train, test = folds != part, folds == part
            fitted = make_pipeline(StandardScaler(), RidgeClassifier(alpha=2.0)).fit(x[train], labels[train])
            right += (fitted.predict(x[test]) == labels[test]).sum()
        expected.append(right / size)
    assert held_out_accuracy(x, arms, folds, "ridge", 2.0) == pytest.approx(expected, abs=1e-12)


def test_the_control_task_gives_each_word_one_tag():
    words = np.array(["the", "cat", "the", "dog", "cat"] * 10)
    control = _tag_for_each_type(words, RANDOM.choice(["N", "V"], 50), RANDOM)
    for word in set(words):
        assert len(set(control[words == word])) == 1
    assert set(control) <= {"N", "V"}


def test_reads_a_property_of_characters_from_a_model(tiny):
    """Whether a word is one letter repeated or another is written in its last token, so the embedding gives it away."""
    words = cycle(["aaa/A", "bbb/B", "ccc/C"])
    sentences = tuple(" ".join(next(words) for _ in range(4)) for _ in range(10))
    probe = workbench.linear_probe(tiny("gpt2"), sentences, penalty=0.1)
    assert probe.accuracy[0, 0] == 1.0
    assert probe.n_words == 40 and probe.n_sentences == 10 and probe.left_out == 0
    assert probe.majority == 14 / 40
    assert (probe.accuracy[:, 2] < 0.75).all()
    torch.testing.assert_close(probe.selectivity, probe.accuracy[:, 0] - probe.accuracy[:, 1])


def test_the_state_read_is_that_of_the_words_last_token(tiny):
    for family in ("gpt2", "bert", "t5", "micro"):
        model = tiny(family)
        batch = model.encode("one three five")
        labels = model.labels(batch)
        positions = last_tokens(model, batch, ("one", "three", "five"))
        assert positions is not None and [labels[p] for p in positions] == ["e", "e", "e"]
        assert positions[1] - positions[0] == 6 and positions[2] - positions[1] == 5
        assert last_tokens(model, batch, ("one", "three", "fives")) is None


def test_tags_are_what_follows_the_last_slash():
    assert words_and_tags("a/b/C x/Y") == (("a/b", "x"), ("C", "Y"))
    for bad in ("", "word", "word/", "/TAG", "fine/X bare"):
        with pytest.raises(workbench.BadInput, match="needs a tag"):
            words_and_tags(bad)


def test_the_bundled_sentences_are_tagged_and_mixed():
    tags = [tag for sentence in tagged_sentences() for tag in words_and_tags(sentence)[1]]
    assert len(tagged_sentences()) == 30
    assert set(tags) == {"DET", "NOUN", "VERB", "ADJ", "ADV", "ADP", "PRON", "CONJ"}


def test_too_few_sentences_or_tags_are_refused_in_words(tiny):
    with pytest.raises(workbench.BadInput, match="too few"):
        workbench.linear_probe(tiny("gpt2"), ("one/A two/B",))
    with pytest.raises(workbench.BadInput, match="two tags or more"):
        workbench.linear_probe(tiny("gpt2"), ("one/A two/A",) * 5)


def test_frame(tiny):
    probe = workbench.linear_probe(tiny("gpt2"))
    frame = probe.to_frame()
    assert len(frame) == 3 * 4
    row = frame.query("layer == '1' and measure == 'selectivity'")
    assert row["value"].item() == pytest.approx(probe.selectivity[2].item())
    assert frame["words"].eq(probe.n_words).all()
