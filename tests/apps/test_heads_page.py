"""The page of heads: its map, classes and table are the scores of the analysis, and it keeps its address."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import workbench
from apps.views import heads as view
from apps.views.grid import in_place

STUDY = Path(__file__).parents[2] / "case_studies" / "induction_emergence" / "checkpoints"


@pytest.fixture(scope="module")
def found():
    return workbench.head_scores(workbench.load("micro"))


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "heads")


def address(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def said(app: AppTest) -> str:
    return " ".join(block.value for block in (*app.caption, *app.info, *app.markdown)).replace("\\", "")


def test_the_map_sends_the_scores_and_fades_what_is_not_of_the_class(found, monkeypatch):
    sent = {}
    monkeypatch.setattr(view, "component", lambda name: lambda **given: sent.update(given))
    colours = view.scale_of(found, "previous_token", dark=False)
    within = found.members()["previous token"].flatten().tolist()
    view.score_map(
        found, "previous_token", in_place(2, 4, across=False), colours,
        within=within, locked="0.2", dark=False, key="map", on_click=lambda: None,
    )  # fmt: skip
    tiles = sent["data"]["tiles"]
    faded = view.css(view.FADED[False])
    assert [one["colour"] == faded for one in tiles] == [not member for member in within]
    assert tiles[2]["colour"] == view.css(colours.colour(found.score("previous_token")[0, 2].item()))
    for name, label in view.NAMES.items():
        if name in found.score_names:
            np.testing.assert_allclose(sent["data"]["scores"][label], found.score(name).flatten(), rtol=5e-3, atol=1e-9)


def test_colours_reach_from_none_to_all_or_both_ways(found):
    share, signed = (view.scale_of(found, name, dark=True) for name in ("first_token", "eigenvalues"))
    assert (share.low, share.high, signed.low, signed.high) == (0, 1, -1, 1)
    bits = view.scale_of(found, "entropy", dark=False)
    assert bits.high == pytest.approx(found.score("entropy").max().item())


def test_a_card_has_every_score_beside_chance(found):
    text = view.numbers(found, 0, 2)
    for name in set(view.NAMES) & set(found.score_names):
        assert f"<td>{found.score(name)[0, 2].item():.3g}</td>" in text
        assert f"<td>{found.chance[found.score_names.index(name)].item():.3g}</td>" in text


def test_the_page_shows_the_scores_and_keeps_its_address(at, found):
    options = {
        "class": "induction",
        "sort": "score",
        "locked": "1.2",
        "score": "prefix_matching",
        "over_induction": "0.95",
    }
    app = at(**options)
    assert not app.exception and not app.error
    assert address(app) == {"model": "micro", **options}
    assert "**Layer 1, head 2**" in [one.value for one in app.markdown]
    frame = app.dataframe[0].value
    members = found.members({"induction": 0.95})["induction"][1]
    order = sorted(members.nonzero().flatten().tolist(), key=lambda h: -found.score("prefix_matching")[1, h])
    assert frame["head"].tolist() == [f"1.{head}" for head in order] and 0 < len(order) < 4
    assert frame["prefix_matching"].iloc[0] == found.score("prefix_matching")[1, order[0]].item()
    assert f"{found.in_context_score:+.2f} nats" in said(app)


def test_a_class_without_heads_says_so_and_a_slider_changes_classes(at):
    app = at(**{"class": "sink"})
    assert "No head is of this class" in said(app) and not app.dataframe
    (slider,) = (one for one in app.slider if one.label == "Sink")
    slider.set_value(0.15).run()
    assert app.dataframe[0].value["head"].tolist() == ["1.1", "1.3"]
    assert address(app)["over_sink"] == "0.15"


def test_what_does_not_fit_leaves_the_address(at):
    app = at(**{"class": "lazy", "score": "beauty", "sort": "up", "period": "1", "over_sink": "7", "step": "3"})
    assert not app.exception and not app.error
    assert set(address(app)) <= {"model", "step"}


def test_other_models_have_their_own_or_a_sentence(at):
    app = at(model="tiny:bert")
    assert not app.exception and not app.error and "No copying scores" in said(app)
    (toggle,) = (one for one in app.toggle if one.label == "Remove each head")
    assert toggle.disabled
    app = at(model="tiny:vit")
    assert not app.exception and "needs" in said(app)


def test_scores_over_training_are_those_of_each_checkpoint(at):
    model = str(STUDY / "two-layers-0" / "checkpoint-800")
    app = at(model=model, trained="yes", step="520", period="16", repeats="3")
    assert not app.exception and not app.error
    frame = app.dataframe[0].value.set_index("head")
    step = workbench.load(STUDY / "two-layers-0", checkpoint="520")
    expected = workbench.head_scores(step, period=16, repeats=3)
    for layer, head in ((0, 1), (1, 1)):
        shown = frame.loc[f"{layer}.{head}", "prefix_matching_all"]
        assert shown == pytest.approx(expected.score("prefix_matching_all")[layer, head].item())
    assert any("Follow its" in one.label for one in app.toggle)
