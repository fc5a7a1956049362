"""The Fourier page without a browser: what the maps are sent, and the page on the micro model."""

import base64
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

import workbench
from apps.checkpoints import MOST, thinned
from apps.screens.fourier_asked import TEMPLATES
from apps.views.fourier_filtered import PARTS, answers, answers_frames, errors_frame
from apps.views.fourier_history import at_step
from apps.views.fourier_map import Words, largest, map_data, pairs_panel, panels_of
from apps.views.fourier_measures import keys_frame, losses, number
from apps.views.fourier_neurons import thin_ticks
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
    press(again, "Filter it out")
    assert not again.exception and [option(again, name) for name in ("tab", "remove", "frequency")] == [
        "filter",
        "one",
        "3",
    ]


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


def test_answers_before_and_after_are_those_of_the_result():
    found = workbench.fourier_filter(
        tiny_model("gpt2"), "letters", "induction", examples=6, draws=1, anyway=True, seed=1, shown=5
    )
    table, changed = answers_frames(found)
    assert table.shape == changed.shape and not changed.loc[:, ["prompt", "right", "before"]].to_numpy().any()
    assert [text.replace(" / ", "\n") for text in table["prompt"]] == list(found.prompts)
    for at, condition in ((1, "low removed"), (found.bands.index("high removed"), "high removed")):
        for place, part in enumerate(found.parts):
            after = [found.labels[i] for i in found.predicted[place, at, : len(table)].tolist()]
            name = f"{PARTS[part]}: {condition}"
            assert list(table[name]) == after
            assert list(changed[name]) == [a != b for a, b in zip(after, table["before"], strict=True)]
    assert answers(found).to_html().count("background-color") >= changed.to_numpy().any()
    errors = errors_frame(found)
    assert "multiples of 100" not in errors and "multiples of 10" in errors  # 26 letters are never 100 apart
    rows = found.to_frame()
    for kind, by in (("filter", "the band"), ("random subspace", "random subspaces, mean of 1")):
        some = rows[(rows["filter"] == kind) & (rows["band"] == "low removed") & (rows["part"] == "attn_out")]
        mine = errors[(errors["by"] == by) & (errors["removed"] == "low removed") & (errors["part"] == "attention")]
        assert mine["accuracy"].item() == pytest.approx(some["accuracy"].mean())


def test_a_filter_runs_on_the_task_and_frequency_of_the_address(at):
    asked = partial(at, tab="filter", variable="letters", anyway="yes")
    app = asked(task="induction", remove="one", frequency="3", examples="4")
    assert not app.exception and not app.error and "forward passes of 4 examples" in said(app)
    press(app, "Run")
    assert not app.exception and not app.error, said(app)
    assert "frequency 3 removed in attention changes" in said(app)
    assert any("frequencies=(3,)" in block.value and "fourier_filter" in block.value for block in app.code)
    whole = press(asked(task="induction", remove="others", examples="2"), "Run")
    assert not whole.exception and not whole.error
    wrong = press(asked(task="addition", examples="2"), "Run")
    assert not wrong.exception and len(wrong.error) == 1 and len(wrong.error[0].value) < 600


def test_what_no_built_in_task_answers_with_has_no_button_but_the_reason(at, study):
    app = press(at(variable="letters"), "Run")
    assert not app.exception and any(one.label == "Filter it out" for one in app.button)
    app = press(at(variable="ids:0-6", model=str(study / "checkpoint-2")), "Run")
    assert not app.exception and not any(one.label == "Filter it out" for one in app.button)
    assert "cannot be filtered out with a built-in task" in said(app) and "one norm and one linear map" in said(app)


def test_prompts_longer_than_the_model_reads_point_to_a_table(at, monkeypatch):
    def refused(*given, **params):
        raise workbench.BadInput("No example. 680 were tried, left out: 680 because it is longer than the model reads.")

    app = at(tab="filter", variable="digits", task="addition")
    monkeypatch.setattr("apps.results.result_of", refused)
    press(app, "Run")
    assert not app.exception and len(app.error) == 1
    assert "addition are longer than micro reads. A table of your own prompts" in said(app)


def test_a_task_that_the_model_does_not_do_is_gone_on_with_when_asked(at):
    app = press(at(tab="filter", variable="digits", task="addition", examples="8", draws="1"), "Run")
    assert not app.exception and len(app.error) == 1 and "does not do addition" in said(app)
    press(app, "Go on all the same")
    assert not app.exception and not app.error and option(app, "anyway") == "yes" and "of the answers" in said(app)


def test_the_map_of_pairs_is_the_power_of_the_result(study):
    found = workbench.progress_measures(workbench.load(study, checkpoint="2"), "0-6", frequencies=(2,))
    panel = pairs_panel(found)
    data = map_data([panel], WORDS, ("", ""), dark=True)["panels"][0]
    np.testing.assert_allclose(cells(data), found.pairs.numpy(), rtol=1e-5, atol=1e-7)
    assert panel.columns == ("0", "1", "2", "3") and panel.under[2] == "3.5"
    assert np.argwhere(panel.marked).tolist() == [[2, 2]]
    assert keys_frame(found)["frequency"].tolist() == [2]
    labels = [value for _, value, _ in losses(found)]
    assert labels == [number(found.value(name)) for name in ("loss", "restricted_loss", "excluded_loss")]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with three checkpoints of a small untrained network on numbers."""
    from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer

    folder = tmp_path_factory.mktemp("run")
    tokenizer = word_tokenizer([*map(str, range(7)), "="])
    for step in (1, 2, 10):
        torch.manual_seed(step)
        config = SmallConfig(
            n_layers=1, d_model=16, n_heads=2, d_head=8, d_mlp=12, n_ctx=3, vocab_size=len(tokenizer), act="relu"
        )
        save_small(SmallTransformer(config), tokenizer, folder / f"checkpoint-{step}")
    return folder


def test_pairs_and_neurons_run(at, study):
    model = str(study / "checkpoint-10")
    app = at(model=model, tab="pairs", variable="0-6", train="0.5")
    assert "7 values, so 49 prompts" in said(app)
    press(app, "Run")
    assert not app.exception and not app.error
    found = workbench.progress_measures(workbench.load(model), "0-6", train_share=0.5)
    assert [metric.value for metric in app.metric] == [value for _, value, _ in losses(found)]
    app = press(at(model=model, tab="neurons", variable="0-6", score="norm"), "Run")
    assert not app.exception and not app.error and "living neurons have more than 85%" in said(app)
    press(app, "Remove")
    assert not app.exception and not app.error and "pruned" in app.query_params
    assert "needs MLP neurons" in said(at(tab="neurons"))


def test_the_slider_is_over_the_checkpoints_beside_the_model(at, study):
    app = at(model=str(study / "checkpoint-2"), tab="training", variable="0-6", train="0.5")
    assert "3 checkpoints" in said(app)
    press(app, "Run")
    assert not app.exception and not app.error
    (slider,) = app.select_slider
    assert list(slider.options) == ["1", "2", "10"] and "At step 10 the loss" in said(app)
    expected = workbench.progress_history(
        [1, 2, 10], lambda step: workbench.load(study, checkpoint=str(step)), "0-6", train_share=0.5
    )
    slider.set_value(2).run()
    assert not app.exception and at_step(expected, 1) in said(app) and option(app, "step") == "2"
    assert any("progress_history" in block.value and str(study) in block.value for block in app.code)
    scope: dict = {}
    (line,) = (block.value for block in app.code if "progress_history" in block.value)
    exec(line, scope)
    assert scope["found"].steps == (1, 2, 10)


def test_one_checkpoint_is_in_memory_at_a_time(at, study, monkeypatch):
    """Each model is gone before the next is loaded, but for the one that the page itself shows."""
    import gc
    import weakref

    real, alive, most = workbench.load, weakref.WeakSet(), []

    def counting(*given, **options):
        gc.collect()
        most.append(len(alive))
        model = real(*given, **options)
        if options.get("checkpoint"):
            alive.add(model)
        return model

    monkeypatch.setattr(workbench, "load", counting)
    app = press(at(model=str(study / "checkpoint-1"), tab="training", variable="0-6", pair="{b} {a} ="), "Run")
    assert not app.exception and not app.error and len(most) == 3 and max(most) == 0


def test_without_checkpoints_the_bundled_study_is_offered(at):
    app = at(tab="training")
    assert not app.exception and not app.error and "micro has no training checkpoints" in said(app)
    press(app, "Take the bundled study of modular addition")
    assert not app.exception and not app.error and "checkpoints" in said(app)
    assert "checkpoint-" in option(app, "model") and option(app, "variable") == "0-58"


def test_ticks_of_many_bars_are_thinned_and_name_their_own():
    from workbench import plots

    frame = pd.DataFrame({"frequency": range(1, 30), "share": 0.1})
    figure = thin_ticks(plots.bars(frame, x="frequency", y="share"), 29)
    axis = figure.to_dict()["layout"]["xaxis"]
    names = [str(k) for k in frame["frequency"]]
    assert len(axis["tickvals"]) <= 12 and list(axis["ticktext"]) == [names[i] for i in axis["tickvals"]]


def test_many_checkpoints_are_thinned_with_both_ends():
    steps = tuple(range(0, 1540, 10))
    some = thinned(steps)
    assert len(some) == MOST and (some[0], some[-1]) == (0, 1530) and list(some) == sorted(set(some))
    assert thinned(steps[:5]) == steps[:5]
