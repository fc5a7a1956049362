"""What the Fourier page opens: checkpoints, models that are not there, and files that a link names."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from streamlit.testing.v1 import AppTest

import workbench


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "fourier")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with two checkpoints of a small untrained network on numbers, and nothing else."""
    from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer

    folder = tmp_path_factory.mktemp("run")
    tokenizer = word_tokenizer([*map(str, range(7)), "="])
    for step in (1, 10):
        torch.manual_seed(step)
        config = SmallConfig(
            n_layers=1, d_model=16, n_heads=2, d_head=8, d_mlp=12, n_ctx=3, vocab_size=len(tokenizer), act="relu"
        )
        save_small(SmallTransformer(config), tokenizer, folder / f"checkpoint-{step}")
    return folder


def said(app: AppTest) -> str:
    blocks = (*app.info, *app.caption, *app.markdown, *app.error, *app.warning)
    return " ".join(block.value for block in blocks).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    (button,) = (one for one in app.button if one.label.replace("\\", "") == label)
    return button.click().run()


def option(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value[0] if isinstance(value, list) else value


def test_a_checkpoint_is_looked_into_and_the_history_kept(at, study, monkeypatch):
    app = press(at(model=str(study / "checkpoint-10"), tab="training", variable="0-6", train="0.25"), "Run")
    app.select_slider[0].set_value(1).run()
    press(app, "Look into this checkpoint")
    assert not app.exception and option(app, "model") == str(study / "checkpoint-1") and option(app, "tab") == "pairs"
    assert "7 values, so 49 prompts" in said(app)
    real = workbench.load
    monkeypatch.setattr(workbench, "load", lambda *given, **options: pytest.fail(f"loaded again: {given}"))
    app.segmented_control[0].set_value("training").run()
    assert not app.exception and [slider.value for slider in app.select_slider] == [1]
    monkeypatch.setattr(workbench, "load", real)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("rosebud\nxanadu\nkane\n", encoding="utf-8")
    return str(path)


def everything(app: AppTest) -> str:
    return f"{said(app)} {[str(block) for block in blocks(app.main)]} {[str(frame.value) for frame in app.dataframe]}"


def test_a_variable_in_a_link_opens_no_file_before_a_click(at, secret, monkeypatch):
    from workbench.variables import sources

    read = sources._lines
    monkeypatch.setattr(sources, "_lines", lambda path: pytest.fail(f"read {path}"))
    app = at(variable=secret)
    assert not app.exception and "none is opened from a link" in said(app) and "rosebud" not in everything(app)
    assert any(button.label.startswith("Letters") for button in app.button)
    monkeypatch.setattr(sources, "_lines", read)
    press(app, "Open the file")
    assert not app.exception and not app.error and "rosebud" in said(app)


def test_a_task_in_a_link_opens_no_file_before_a_click(at, secret, monkeypatch):
    from workbench.tasks import user_file

    read = user_file._text
    asked = {"tab": "filter", "variable": "letters", "task": secret, "examples": "2", "draws": "0", "anyway": "yes"}
    ran = option(press(at(**asked), "Run"), "filtered")
    monkeypatch.setattr(user_file, "_text", lambda path: pytest.fail(f"read {path}"))
    app = at(**asked, filtered=ran)
    assert not app.exception and not app.error and "none is opened from a link" in said(app)
    monkeypatch.setattr(user_file, "_text", read)
    press(app, "Open the file")
    assert not app.exception and len(app.error) == 1 and "has no column clean" in said(app)
    assert "rosebud" not in everything(app)


def test_a_wrong_variable_offers_others(at):
    app = at(variable="wednesdays")
    assert len(app.error) == 1
    press(app, next(button.label.replace("\\", "") for button in app.button if button.label.startswith("Letters")))
    assert not app.exception and not app.error and len(app.metric) == 2


def test_the_button_names_the_model_that_is_shown(at, study, tmp_path):
    app = at(model=str(study), variable="0-6")
    assert not app.exception and f"{study.name} checkpoint-10" in named(app) and not app.warning
    app = at(model=str(tmp_path))
    assert not app.exception and "micro" in named(app) and tmp_path.name not in named(app)
    assert "Showing the model 'micro' instead of" in said(app)


def named(app: AppTest) -> list[str]:
    """What stands on buttons that open something."""
    popovers = (block.proto.popover.label for block in blocks(app.main) if block.type == "popover")
    return [label.replace("\\", "") for label in popovers]


def blocks(top):
    for block in getattr(top, "children", {}).values():
        yield block
        yield from blocks(block)


def test_what_a_model_does_not_do_is_said_in_the_words_of_a_page(at):
    asked = {"tab": "filter", "variable": "digits", "task": "addition", "examples": "8", "draws": "0"}
    app = press(at(**asked), "Run")
    assert not app.exception and "does not do addition" in said(app) and "anyway" not in app.error[0].value
    assert any(button.label == "Go on all the same" for button in app.button)
    with pytest.raises(workbench.BadInput, match="say anyway to go on"):
        workbench.fourier_filter(workbench.load("micro"), "digits", task="addition", examples=8, draws=0)
