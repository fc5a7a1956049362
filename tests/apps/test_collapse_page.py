"""The Collapse page without a browser: what its figures and sentences say, and the page on the micro model."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

import workbench
from apps.views import collapse_figures
from workbench.testing import tiny_model


@pytest.fixture(scope="module")
def found():
    return workbench.rank_collapse(tiny_model("bert"), "abcabc")


@pytest.fixture(scope="module")
def paths():
    return workbench.path_decomposition(tiny_model("gpt2"), "abcabc")


def test_each_line_is_the_curve_it_names(found):
    for asked, names in (("recomputed", 4), ("frozen", 4), ("both", 7)):
        figure: Any = collapse_figures.curves(found, "relative residual", asked)
        lines = {trace.name: trace for trace in figure.data}
        assert len(lines) == names + 1 and figure.layout.yaxis.type == "log"
        for name, trace in lines.items():
            if name == "rounding":
                assert trace.y == pytest.approx(found.floor.amax((0, 1)).tolist())
                continue
            variant, _, own = name.partition(", ")
            expected = found.curve(variant, own or ("frozen" if asked == "frozen" else "recomputed"))[0]
            assert list(trace.y) == pytest.approx(expected.tolist())
            assert trace.line.color == collapse_figures.COLOURS[variant]
            assert trace.line.dash == ("dash" if asked == "both" and own == "frozen" else "solid")


def test_the_picture_ends_below_its_curves_and_at_rounding_where_they_reach_it(found):
    near: Any = collapse_figures.curves(found, "relative residual", "recomputed")
    least = found.curve("attention alone")[0].min().item()
    assert 10 ** near.layout.yaxis.range[0] == pytest.approx(least / 3, rel=0.2)
    gone = replace(found, values=torch.where(found.values < 0.1, 1e-16, found.values))
    far: Any = collapse_figures.curves(gone, "relative residual", "recomputed")
    assert 10 ** far.layout.yaxis.range[0] < gone.floor.min()
    shown = [{t.name: t.showlegend for t in figure.data}["rounding"] for figure in (near, far)]
    assert shown == [False, True]


def test_other_measures_have_a_plain_axis_and_no_rounding(found):
    for measure in collapse_figures.CHOICES[1:]:
        figure: Any = collapse_figures.curves(found, measure, "recomputed")
        assert figure.layout.yaxis.type is None and "rounding" not in {trace.name for trace in figure.data}


def test_the_headline_says_where_curves_end(found):
    said = collapse_figures.headline(found, "relative residual", "frozen")
    assert f"{found.curve('full')[0, -1]:.2g} in the full network" in said
    assert f"{found.curve('attention alone', 'frozen')[0, -1]:.2g} from attention alone" in said
    gone = replace(found, values=torch.where(found.values < 1, 1e-20, found.values))
    assert "no more than rounding" in collapse_figures.headline(gone, "relative residual", "recomputed")


def test_bars_are_sums_over_kinds_of_sources(paths):
    figure: Any = collapse_figures.lengths(paths)
    heights = {trace.name: list(trace.y) for trace in figure.data}
    assert set(heights) == {"embedding", "MLPs", "biases"}
    assert heights["MLPs"] == pytest.approx(paths.contributions[1:3].sum(0).tolist())
    assert sum(map(sum, heights.values())) == pytest.approx(paths.score, abs=1e-5)
    assert f"{paths.score:.4g}" in collapse_figures.lengths_said(paths)


def test_lengths_that_add_nothing_are_left_out_and_said(paths):
    long = torch.cat([paths.contributions, torch.full((4, 5), 1e-9, dtype=torch.float64)], 1)
    many = replace(paths, contributions=long)
    assert collapse_figures.shown_lengths(many) == 3
    assert "Longer paths together add 2.0e-08" in collapse_figures.lengths_said(many)


@pytest.fixture
def page(at):
    return partial(at, "collapse", prompt="abcabcabc")


def test_the_page_shows_curves_and_paths_and_takes_options_from_the_address(page):
    app = page()
    assert not app.exception and not app.error
    assert len(app.get("plotly_chart")) == 2
    said = " ".join(element.value for element in (*app.markdown, *app.caption))
    assert "from attention alone" in said and "has no MLPs" in said and "The sum over all paths" in said
    chosen = page(measure="mean cosine", attention="both", norm="1inf", skip="1", token="b")
    assert not chosen.exception and not chosen.error
    assert {"mean cosine", "1inf"} <= {box.value for box in chosen.selectbox}
    assert chosen.number_input[0].value == 1
    assert any("logit of 'b'" in element.value for element in chosen.caption)


def test_a_model_that_cannot_be_taken_apart_gets_a_sentence(page):
    app = page(model="tiny:mamba")
    assert not app.exception and app.info and not app.get("plotly_chart")
    half = page(model="tiny:t5", prompt="abcabc => ab")
    assert not half.exception and len(half.get("plotly_chart")) == 1 and half.info
