"""The joint embedding study: what it measures against the analysis and look-ups, its controls, and that it can fail."""

import math

import pandas as pd
import pytest
import torch

import workbench
from case_studies.attention_viz import measure, read, study
from workbench import functional, studies
from workbench.studies.judging import verdicts

TINY = {"smollm2": "tiny:llama", "minilm": "tiny:bert", "dinov2": "tiny:dinov2"}
COLUMNS = {  # what the analysis calls the same
    "before": "before",
    "translated": "translated",
    "aligned": "correlation",
    "euclidean aligned": "euclidean",
    "norm gap": "norm gap",
    "first": "first",
    "previous": "previous",
    "self": "self",
    "induction": "induction",
    "same token": "same token",
    "spiral": "spiral",
}


@pytest.fixture(scope="module")
def texts():
    whole = workbench.corpus("example")
    chosen = range(0, 240, 20)
    return workbench.Corpus(
        name="short",
        reads="text",
        inputs=tuple(whole.inputs[i][: 12 + n] for n, i in enumerate(chosen)),
        groups=tuple(whole.groups[i] for i in chosen),
    )


@pytest.fixture(scope="module", params=["llama", "bert"])
def reading(request, texts, tiny):
    return read.read(tiny(request.param), texts)


@pytest.fixture(scope="module")
def table(reading):
    return measure.measure(reading, orders=2, seed=0)


def test_the_heads_are_measured_as_the_analysis_measures_them(reading, table, monkeypatch):
    found = workbench.joint_qk_matrix(reading.model, reading.corpus, points=100_000).to_frame()
    wide = found.pivot(index=["layer", "head"], columns="score", values="value")
    for ours, theirs in COLUMNS.items():
        assert table[ours].tolist() == pytest.approx(wide[theirs].tolist(), abs=2e-5, nan_ok=True), ours
    assert len(table) == reading.model.n_blocks * reading.model.n_heads
    assert table["dropped"].sum() == 0


def test_the_attention_of_pairs_is_looked_up_where_it_is(reading):
    layer = reading.layer(1)
    pairs = functional.attention_pairs(
        reading.input, reading.position, reading.input, reading.position, causal=reading.causal, most=60, seed=1
    )
    found = measure.attention_of(layer, reading, pairs)
    for i, (query, key) in enumerate(pairs.tolist()):
        text = int(reading.input[query])
        at = int(reading.position[query]), int(reading.position[key])
        assert found[:, i].tolist() == layer.patterns[text][:, at[0], at[1]].tolist()


def test_vectors_are_those_after_rotary_embedding_and_of_the_head_that_reads_them(reading):
    layer = reading.layer(0)
    scale = layer.queries.shape[-1] ** -0.5
    rows = reading.input == 3
    scores = (layer.queries[:, rows] @ layer.keys[:, rows].mT) * scale
    if reading.causal:
        scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), -torch.inf)
        assert layer.unturned is not None
        assert not torch.allclose(layer.unturned[0], layer.queries)
    torch.testing.assert_close(scores.softmax(-1), layer.patterns[3], atol=1e-5, rtol=1e-4)


def test_controls_keep_what_they_should_and_change_the_rest(reading):
    known = measure.Known(reading, 3, seed=0)
    for mixed in known.other_positions:
        assert not torch.equal(mixed, known.positions)
        assert (mixed[reading.position == 0] == -1).all()
        for number in range(len(reading.corpus)):
            mine = reading.input == number
            assert mixed[mine].sort().values.tolist() == known.positions[mine].sort().values.tolist()
    for mixed in known.other_groups:
        assert not torch.equal(mixed, known.groups)
        assert mixed.sort().values.tolist() == known.groups.sort().values.tolist()
    again = measure.Known(reading, 3, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(known.other_groups, again.other_groups, strict=True))


def test_topics_are_of_the_means_of_whole_inputs(reading, table):
    layer, head = 1, 0
    kept = reading.layer(layer)
    scores = []
    for side in kept.sides:
        means = [side[head][(reading.input == n) & (reading.position > 0)].mean(0) for n in range(len(reading.corpus))]
        names = sorted(set(reading.corpus.groups))
        groups = torch.tensor([names.index(name) for name in reading.corpus.groups])
        scores.append(functional.cluster_score(torch.stack(means), groups).values.item())
    found = table[(table["layer"] == layer) & (table["head"] == head)]["topic"].item()
    assert found == pytest.approx(max(scores), abs=1e-5)


def test_a_text_of_one_token_has_no_topic(tiny, texts):
    def topics(inputs, groups):
        some = workbench.Corpus(name="some", reads="text", inputs=inputs, groups=tuple(groups))
        return measure.measure(read.read(tiny("llama"), some), orders=1, seed=0, control=True)["topic"].tolist()

    with_one = topics(([7], *texts.inputs[:5]), "aabbcc")
    assert with_one == pytest.approx(topics(texts.inputs[:5], "abbcc"), abs=1e-5)
    assert not any(math.isnan(value) for value in with_one)


def test_random_weights_are_of_the_same_model_and_their_seed_alone(tiny):
    model = tiny("llama")
    one, again, other = (read.untrained(model, seed) for seed in (0, 0, 1))
    states = [each.module.state_dict() for each in (model, one, again, other)]
    name = next(name for name in states[0] if name.endswith("q_proj.weight"))
    assert states[0].keys() == states[1].keys()
    assert torch.equal(states[1][name], states[2][name])
    assert not torch.equal(states[1][name], states[3][name])
    assert not torch.equal(states[0][name], states[1][name])


def test_traits_of_pictures_are_those_of_the_patches(tiny):
    pictures = workbench.corpus("example", reads="image", limit=5)
    reading = read.read(tiny("dinov2"), pictures)
    found = measure.measure(reading, orders=2, seed=0)
    seen = [read.pixels(reading.model, picture) for picture in pictures.inputs]
    assert all(bool(((each >= 0) & (each <= 1)).all()) for each in seen)
    traits = torch.stack([functional.patch_traits(each, 2, 2).values for each in seen])
    side = reading.layer(0).sides
    patches = reading.position > 0
    for name, circular in (("brightness", False), ("hue", True)):
        values = traits[..., functional.PATCH_TRAITS.index(name)]
        expected = [
            max(functional.trait_score(x[0, patches], v.flatten(), circular=circular).values.item() for x in side)
            for v in (values, values.roll(1, 0))
        ]
        row = found[(found["layer"] == 0) & (found["head"] == 0)]
        assert row[name].item() == pytest.approx(expected[0], abs=1e-5)
        assert row[f"{name}, permuted 1"].item() == pytest.approx(expected[1], abs=1e-5)
    assert "row, permuted 1" not in found


def test_the_best_head_is_held_against_the_best_of_chance():
    heads = pd.DataFrame({"hue": [0.1, 0.5, 0.3], "hue, permuted 1": [0.2, 0.0, 0.1], "hue, permuted 2": [0.1, 0.4, 0]})
    fresh = pd.DataFrame({"hue": [0.05, 0.25]})
    assert study.found_beside(heads, "hue", "m.hue", fresh) == pytest.approx(
        {
            "m.hue.best": 0.5,
            "m.hue.permuted": 0.4,
            "m.hue.over_permuted": 0.1,
            "m.hue.heads": 1.0,
            "m.hue.untrained": 0.25,
            "m.hue.over_untrained": 0.25,
            "m.hue.heads_over_untrained": 2.0,
        }
    )


@pytest.fixture(scope="module")
def of_random_models(texts):
    """The whole study where nothing was ever learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "MODELS", TINY)
        pictures = workbench.corpus("example", reads="image", limit=6)
        patch.setattr(study, "corpora", lambda *_: {"text": texts, "image": pictures, "topics": texts})
        yield study.run(study.Config(orders={"text": 3, "image": 2}))


def test_models_that_learned_nothing_fail_the_claims_about_trained_ones(of_random_models):
    found = {v.claim.quantity: v for v in verdicts(of_random_models, studies.study("attention_viz").claims)}
    assert not [name for name, verdict in found.items() if verdict.outcome == "fails" and not verdict.values]
    for name in (
        "smollm2.spiral.best",
        "minilm.spiral.best",
        "minilm.spiral.previous",
        "smollm2.sink.share",
        "smollm2.induction.best",
    ):
        assert found[name].outcome == "fails", found[name]


def test_tables_and_figures_are_complete(of_random_models):
    tables = of_random_models.tables
    assert set(tables) == {"Correlations", "Heads that stand out", "Heads", "Corpora"}
    paper = tables["Correlations"].set_index("model")["aligned"]
    assert paper["the paper: BERT"] == -0.938
    heads = tables["Heads"]
    assert not [name for name in heads if "permuted 1" in str(name)]
    assert set(heads["weights"]) == {"trained", "random"}
    assert set(of_random_models.figures) == {"Correlations", "Spirals", "Traits"}
    assert not [name for name, value in of_random_models.numbers.items() if isinstance(value, complex)]
    assert math.isfinite(of_random_models.numbers["minilm.aligned"])


def test_without_a_network_what_is_built_in_is_read(monkeypatch):
    real = workbench.corpus

    def offline(source, **options):
        if source != "example":
            raise workbench.Unavailable("no network")
        return real(source, **options)

    monkeypatch.setattr(workbench, "corpus", offline)
    found = read.corpora(200, 20, 0)
    assert [(kind, corpus.name, len(corpus)) for kind, corpus in found.items()] == [
        ("text", "example", 200),
        ("image", "example", 20),
        ("topics", "example", 200),
    ]
