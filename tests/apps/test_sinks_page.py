"""The page of sinks and massive activations without a browser: what is drawn and said, and each tab on small models."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest

import workbench
from apps.screens.sinks_training import history
from apps.views.sinks_figures import keys_figure, layers_figure, picture_figure, states_figure, values_figure
from apps.views.sinks_words import massive_said, sinks_said
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer

PROMPT = "b a c d e f g h"
LETTERS = list("abcdefgh")


def small(seed: int) -> SmallTransformer:
    torch.manual_seed(seed)
    return SmallTransformer(
        SmallConfig(
            n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=12, n_ctx=8, vocab_size=len(LETTERS) + 1, norm="layer"
        )
    )


@pytest.fixture(scope="module")
def massive(tmp_path_factory):
    """A model in which the letter a has a number in dimension 5 that nothing else comes near."""
    module = small(0)
    module.embed.weight.data[0, 5] = -5000.0
    return str(save_small(module, word_tokenizer(LETTERS), tmp_path_factory.mktemp("massive") / "model"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three checkpoints, the last of them with the massive number."""
    folder = tmp_path_factory.mktemp("run")
    for step in (1, 2, 10):
        module = small(step)
        module.embed.weight.data[0, 5] = -5000.0 if step == 10 else 0.1
        save_small(module, word_tokenizer(LETTERS), folder / f"checkpoint-{step}")
    return folder


@pytest.fixture(scope="module")
def found(massive):
    return workbench.massive_activations(workbench.load(massive), PROMPT)


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "sinks", prompt=PROMPT)


def traces(figure: Any) -> Any:
    return figure.data


def said(app: AppTest) -> str:
    blocks = (*app.info, *app.caption, *app.markdown, *app.error, *app.warning)
    return " ".join(block.value for block in blocks).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    (button,) = (one for one in app.button if one.label.replace("\\", "") == label)
    return button.click().run()


def option(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value[0] if isinstance(value, list) else value


# ---- what is drawn and said ------------------------------------------------------------------------------------------


def test_the_planted_number_is_found_and_said(found):
    assert found.massive.tolist() == [[0, 1, 5], [1, 1, 5]]
    assert massive_said(found) == "2 numbers are massive after layers 0 to 1, in dimension 5"
    one = replace(found, massive=found.massive[:1], massive_value=found.massive_value[:1])
    assert massive_said(one) == "1 number is massive after layer 0, in dimension 5"
    none = replace(found, massive=found.massive[:0], massive_value=found.massive_value[:0], absolute=1e6)
    times = found.value[found.layer, 0].abs() / found.median[found.layer]
    assert "none is above 1e+06 and at least 1000 times the median of its layer" in massive_said(none)
    assert f"{times.item():,.3g} times the median" in massive_said(none)


def test_the_curve_has_the_thresholds_of_the_rule(found):
    lines = {trace.name: list(trace.y) for trace in traces(layers_figure(found, 1))}
    assert lines["1000 × median"] == pytest.approx([1000 * m for m in found.median.tolist()])
    assert lines["100"] == [100, 100]
    for place, name in enumerate(("largest", "second", "third")):
        assert lines[name] == pytest.approx(found.value[:, place].abs().tolist())


def test_the_picture_writes_what_is_massive_and_its_colours_are_logarithms(found):
    (cells,) = traces(picture_figure(found, 1))
    place = found.dimensions.tolist().index(5)
    written = cells.text
    assert written[1][place] == f"{found.picture[1, 1, place].item():.0f}"
    assert sum(bool(text) for row in written for text in row) == 1
    assert cells.z[1][place] == pytest.approx(found.picture[1, 1, place].abs().log10().item())
    assert cells.zmax == pytest.approx(found.picture.abs().max().log10().item()) and cells.zmin < cells.zmax - 1
    none = replace(found, massive=found.massive[:0], massive_value=found.massive_value[:0])
    (plain,) = traces(picture_figure(none, 1))
    assert not any("".join(row) for row in plain.text)


def test_curves_of_a_token_are_those_of_the_result(massive):
    sinks = workbench.attention_sinks(workbench.load(massive), PROMPT, position=1)
    values = {trace.name: trace for trace in traces(values_figure(sinks, 1, 0))}
    assert list(values["each head"].y) == pytest.approx(sinks.value_ratio[..., 1].flatten().tolist())
    assert list(values["head 1.0"].y) == pytest.approx([sinks.value_ratio[1, 0, 1].item()])
    (line,) = traces(states_figure(sinks, 1))
    assert list(line.y) == pytest.approx(sinks.state_ratio[:, 1].tolist())
    bars, alike = traces(keys_figure(sinks, 1, 0))
    assert list(bars.y)[:-1] == pytest.approx(sinks.mass[1, 0, :-1].tolist())
    assert list(alike.y)[:-1] == pytest.approx(sinks.chance[:-1].tolist())
    assert len(traces(keys_figure(sinks, 1, 0, most=3))[0].y) == 3
    count = int((sinks.mass[..., 1] > sinks.threshold).sum())
    assert sinks_said(sinks).startswith(f"{count or 'None'} of 4 heads")


# ---- the page --------------------------------------------------------------------------------------------------------


def test_nothing_massive_is_an_answer_in_words(at):
    app = at()
    assert not app.exception and not app.error
    assert "No number of the stream is massive on this prompt: none is above 100" in said(app)
    assert "No number is massive, so the 3 largest are taken." in said(app)


def test_one_click_sets_massive_numbers_to_zero_and_to_the_mean(at, massive):
    app = at(model=massive)
    assert not app.exception and not app.error and "2 numbers are massive" in said(app)
    press(app, "Set to zero")
    assert not app.exception and not app.error and option(app, "set") == "zero"
    expected = workbench.massive_interventions(workbench.load(massive), PROMPT, layer=0)
    rows: Any = expected.to_frame().groupby("condition").mean()
    zero, random = rows.loc["massive: zero"], rows.loc["random: zero"]
    assert [metric.value for metric in app.metric][:2] == [f"{zero['loss']:.3f}", f"{zero['perplexity']:,.4g}"]
    assert app.metric[0].delta == f"{zero['rise']:+.3f}"
    before, after = rows.loc["unaltered", "loss"], zero["loss"]
    assert f"1 number set to zero: the loss goes from {before:.3f} to {after:.3f} nats" in said(app)
    assert f"to {random['loss']:.3f} where as many random numbers are set to zero" in said(app)
    press(app, "Set to the mean")
    assert app.metric[0].value == f"{rows.loc['massive: mean', 'loss']:.3f}" and option(app, "set") == "mean"
    assert any("massive_interventions" in block.value and "layer=0" in block.value for block in app.code)
    press(app, "Leave them as they are")
    assert not app.metric and "set" not in app.query_params


def test_other_texts_are_beside_the_prompt(at):
    app = at(over="yes")
    assert not app.exception and not app.error and "Of 10 texts of example none have a massive number" in said(app)


def test_sinks_of_the_chosen_token(at, massive):
    place = (workbench.attention_sinks(workbench.load(massive), PROMPT).position + 1) % 6  # not the one at first
    app = at(model=massive, tab="sinks", position=str(place), threshold="0.1", locked="1.1")
    assert not app.exception and not app.error
    sinks = workbench.attention_sinks(workbench.load(massive), PROMPT, position=place, threshold=0.1)
    assert sinks_said(sinks) in said(app) and "Layer 1, head 1" in said(app)
    assert any(f"position={place}" in block.value and "threshold=0.1" in block.value for block in app.code)
    wrong = at(model=massive, tab="sinks", position="99", threshold="7", locked="9.9", start="maybe")
    assert not wrong.exception and not wrong.error
    assert not {"position", "threshold", "start"} & set(wrong.query_params)


def test_two_kinds_of_text(at, massive):
    texts = {"texts": "a b c d\nb c d e", "other": "h g f e\ng f e d"}
    app = at(model=massive, tab="dormant", **texts)
    assert not app.exception and not app.error and "Eight inputs of each kind" in said(app)
    press(app, "Run")
    assert not app.exception and not app.error
    dormant = workbench.dormant_heads(workbench.load(massive), texts["texts"], texts["other"])
    best = int(dormant.score.abs().argmax())
    assert f"Head {best // 2}.{best % 2} differs most" in said(app)
    assert "The loss changes by" in said(app)


def test_the_slider_is_over_the_checkpoints(at, run):
    app = press(at(model=str(run / "checkpoint-2"), tab="training"), "Run")
    assert not app.exception and not app.error
    (slider,) = app.select_slider
    assert list(slider.options) == ["1", "2", "10"] and "At step 10" in said(app)
    frame: Any = history(str(run), (1, 2, 10), PROMPT)
    assert frame["massive numbers"].tolist() == [0, 0, 2] and frame["position"].nunique() == 1
    for step, largest in zip(frame["step"], frame["largest number"], strict=True):
        model = workbench.load(run, checkpoint=str(step))
        assert largest == pytest.approx(workbench.massive_activations(model, PROMPT).value.abs().max().item())
    slider.set_value(2).run()
    assert not app.exception and option(app, "step") == "2" and "no massive number" in said(app)
    (line,) = (block.value for block in app.code if "for step in" in block.value)
    exec(line, {})
    slider.set_value(1).run()
    press(app, "Look into this checkpoint")
    assert option(app, "model") == str(run / "checkpoint-1") and option(app, "tab") == "sinks"
    assert "micro has no training checkpoints" in said(at(tab="training"))


def test_models_that_cannot_get_a_sentence(at):
    for tab in ("massive", "sinks", "dormant", "training"):
        app = at(model="tiny:vit", prompt="example", tab=tab)
        assert not app.exception, tab
        assert not app.error, (tab, said(app))
