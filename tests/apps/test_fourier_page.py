"""The Fourier page without a browser: what the maps are sent, and the page on the micro model."""

import base64
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import workbench
from apps.screens.fourier_asked import TEMPLATES
from apps.views.fourier_map import Words, largest, map_data, panels_of
from apps.views.fourier_words import circle_said, headline
from workbench.testing import tiny_model

WORDS = Words(row="layer", column="cycles", value="share", under="period", unit="letters", beside="chance")


@pytest.fixture(scope="module")
def found():
    return workbench.fourier_spectrum(tiny_model("gpt2"), "letters", template="b {}", draws=20)


def cells(panel: dict, name: str = "values") -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(panel[name]), "<f4")
    return flat.reshape(len(panel["rows"]), -1)


def test_each_cell_of_the_map_is_the_share_that_it_names(found):
    """A cell, its dot and the number beside it are looked up in the table by the place and frequency of its ids."""
    data = map_data(panels_of(found), WORDS, ("embed", "3"), dark=False)
    table = found.to_frame().set_index(["place", "frequency"])
    seen = 0
    for panel in data["panels"]:
        values, marked, beside = (cells(panel, name) for name in ("values", "marked", "beside"))
        for i, place in enumerate(panel["rowIds"]):
            if not place:
                assert np.isnan(values[i]).all() and panel["rows"][i] == ""
                continue
            for j, frequency in enumerate(panel["columnIds"]):
                row = table.loc[(place, int(frequency))]
                assert values[i, j] == pytest.approx(row["share"], rel=1e-5)
                assert beside[i, 0] == pytest.approx(row["null"], rel=1e-5)
                assert bool(marked[i, j]) == (row["share"] > row["null"])
                assert panel["under"][j] == f"{row['period']:.3g}"
                seen += 1
    assert seen == len(table)
    assert data["most"] == pytest.approx(max(table["share"].max(), table["null"].max()), rel=1e-5)


def test_the_last_layer_is_on_top_and_rows_are_level(found):
    titles = {panel.title: panel for panel in panels_of(found)}
    assert titles["Residual stream"].rows == ("unembed", "1", "0", "embed")
    assert titles["MLP output"].rows == ("", "1", "0", "")
    assert titles["Residual stream"].row_ids == ("unembed", "blocks.1.resid_post", "blocks.0.resid_post", "embed")


def test_a_place_where_all_values_are_the_same_has_no_cells(found):
    from dataclasses import replace

    flat = replace(found, power=found.power * 0, null=found.null * float("nan"))
    panels = panels_of(flat)
    assert all(np.isnan(panel.values).all() and not panel.marked.any() for panel in panels)
    assert largest(panels) == 1.0 and "in none of" in headline(flat)


def test_sentences_name_the_strongest_place_and_the_chances(found):
    above = found.shares[:, 1:].amax(-1) > found.null
    assert f"in {int(above.sum()) or 'none'} of {len(found.places)} places" in headline(found)
    plane = workbench.fourier_plane(tiny_model("gpt2"), "letters", frequency=2, draws=20)
    share, roundness = plane.chances
    assert f"{share:.1%} reach this share" in circle_said(plane) and f"{roundness:.1%} this" in circle_said(plane)
    line = workbench.fourier_plane(tiny_model("gpt2"), "letters", frequency=13, draws=20)
    assert "lie on a line" in circle_said(line)


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "fourier")


def said(app: AppTest) -> str:
    blocks = (*app.info, *app.caption, *app.markdown, *app.error, *app.warning)
    return " ".join(block.value for block in blocks).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    (button,) = (one for one in app.button if one.label.replace("\\", "") == label)
    return button.click().run()


def option(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value[0] if isinstance(value, list) else value


def test_nothing_runs_unasked_and_an_example_shows_a_circle(at):
    app = at()
    assert not app.exception and not app.error
    assert "press Run, or try one of these" in said(app) and "10 forward passes" in said(app)
    press(app, f"Letters: {TEMPLATES['letters'].format('…')}")
    assert not app.exception and not app.error
    assert option(app, "variable") == "letters" and "letters, 26 values" in said(app)
    assert [metric.label for metric in app.metric] == ["Share explained", "Roundness"]
    again = at(variable="letters", ran=option(app, "ran"), place="blocks.0.attn_out", frequency="3")
    plane = workbench.fourier_plane(
        workbench.load("micro"), "letters", place="blocks.0.attn_out", frequency=3, template=TEMPLATES["letters"]
    )
    assert [metric.value for metric in again.metric] == [f"{plane.share:.1%}", f"{plane.roundness:.2f}"]
    assert any("fourier_plane" in block.value and "frequency=3" in block.value for block in again.code)


def test_what_does_not_fit_leaves_the_address(at):
    app = at(variable="letters", place="blocks.9.nothing", frequency="99", read="<b>", tab="nowhere")
    press(app, "Run")
    assert not app.exception and not app.error and len(app.metric) == 2
    assert not {"place", "frequency", "read", "tab"} & set(app.query_params)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"variable": "wednesdays"}, "A variable may also be"),
        ({"variable": "1,2,5"}, "not evenly spaced"),
        ({"variable": "a,b"}, "has 3 to 4096 values"),
        ({"variable": "<img src=x>,$y$"}, "<img src=x>"),
    ],
)
def test_bad_variables_are_a_sentence(at, options, sentence):
    app = at(**options)
    assert not app.exception and len(app.error) == 1 and sentence in said(app)


def test_a_bad_text_is_a_sentence(at):
    app = press(at(variable="letters", template="no gap"), "Run")
    assert not app.exception and "A template holds {} once" in app.error[0].value.replace("\\", "")


def test_numbers_that_the_tokenizer_splits_are_said_and_digits_offered(at):
    app = at(variable="8-12")
    assert not app.exception and not app.error and "Not one token in micro: '10'" in said(app)
    press(app, "Take digits")
    assert option(app, "variable") == "digits"


def test_a_model_that_cannot_gets_a_sentence(at):
    app = at(model="tiny:vit")
    assert not app.exception and not app.error and len(app.info) == 1 and "text" in app.info[0].value
