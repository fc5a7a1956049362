"""Every page drawn by Streamlit's own test driver, without a browser."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from apps.menu import OWN
from apps.screens.qk_asked import PAGES as READ_MANY
from workbench import registry
from workbench.index import index

PROMPT = "the cat sat. the cat"
NAMES = [*OWN, *(f"analysis-{name}" for name in index().analyses)]
PROMPTLESS = {f"analysis-{name}" for name in index().analyses if registry.get(name).prompt is None}
WITHOUT = {*READ_MANY, "qk_weights", "circuit", "fourier", "heads", "studies", *PROMPTLESS}
WITH_PROMPT = [name for name in NAMES if name not in WITHOUT]


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """The same; pages that read many inputs read a few."""

    def visit(name: str, **values: str) -> AppTest:
        few = {"inputs": "4", "points": "100"} if name in READ_MANY else {}
        return at(name, **{**few, **values})

    return visit


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_drawn_without_an_exception(name, at):
    app = at(name, prompt=PROMPT)
    assert not app.exception
    assert not app.error
    assert app.header


@pytest.mark.parametrize("name", WITH_PROMPT)
def test_an_empty_page_says_what_to_do(name, at):
    app = at(name)
    assert not app.exception and not app.error
    said = " ".join(block.value for block in (*app.info, *app.caption))
    assert "Type a sentence" in said


@pytest.mark.parametrize("name", WITH_PROMPT)
def test_a_prompt_over_the_context_is_a_sentence(name, at):
    app = at(name, prompt="a" * 2000)
    assert not app.exception
    assert any("512" in error.value for error in app.error)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", ["tiny:bert", "tiny:vit", "tiny:t5", "tiny:mamba"])
def test_a_page_suits_any_model_or_says_why_not(name, model, at):
    prompt = "example" if model == "tiny:vit" else PROMPT
    app = at(name, model=model, prompt=prompt)
    assert not app.exception


def test_a_model_that_cannot_be_had_is_replaced_and_the_page_says_so(at):
    app = at("overview", model="no-such-model", prompt=PROMPT)
    assert "instead of" in app.warning[0].value and not app.error and not app.exception


def address(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("head", {"layer": "18", "head": "6"}, {}),
        ("head", {"layer": "1", "head": "6", "query": "40", "key": "2"}, {"layer": "1", "key": "2"}),
        ("head", {"key": "3  ␣John", "locked": "1.2"}, {}),
        ("attribution", {"position": "40"}, {}),
        ("ablate", {"position": "40", "operation": "burn"}, {}),
        ("lens", {"top_k": "3", "colour": "blue"}, {"top_k": "3"}),
    ],
)
def test_options_that_do_not_fit_leave_the_address(name, given, kept, at):
    app = at(name, prompt=PROMPT, **given)
    assert not app.exception and not app.error
    assert address(app) == {"model": "micro", "prompt": PROMPT, **kept}


def box(app: AppTest, kind: str, label: str):
    (one,) = (one for one in getattr(app, kind) if one.label.startswith(label))
    return one


def test_the_boxes_of_a_head_name_the_pair_that_is_computed(at):
    app = at("head", prompt="one two three four five six", query="20", key="9")
    assert (box(app, "selectbox", "Query").value, box(app, "selectbox", "Key").value) == (20, 9)
    app = box(app, "text_input", "Prompt").set_value("a cat").run()
    assert not app.exception and not app.error
    assert address(app) == {"model": "micro", "prompt": "a cat"}
    assert (box(app, "selectbox", "Query").value, box(app, "selectbox", "Key").value) == (5, 0)
    assert "position 5 adds" in " ".join(one.value for one in app.caption)
    app = box(app, "selectbox", "Key").set_value(3).run()
    assert address(app)["key"] == "3"
    app = box(app, "text_input", "Prompt").set_value("the dog sat").run()
    assert address(app)["key"] == "3" and box(app, "selectbox", "Key").value == 3


@pytest.mark.parametrize(
    ("model", "more", "masked"),
    [
        ("micro", {}, True),
        ("tiny:bert", {}, False),
        ("tiny:t5", {"attention": "encoder_blocks.attn"}, False),
        ("tiny:t5", {"attention": "decoder_blocks.self_attn"}, True),
        ("tiny:t5", {"attention": "decoder_blocks.cross_attn"}, False),
        ("tiny:vit", {}, False),
    ],
)
def test_only_a_causal_head_has_a_mask_to_blank(model, more, masked, at):
    app = at("head", model=model, prompt="example" if model == "tiny:vit" else PROMPT, **more)
    assert not app.exception and not app.error
    assert ("Blank what the mask hides" in [one.label for one in app.checkbox]) == masked


def test_rows_are_said_to_sum_to_one_only_where_they_do(at):
    for prompt, whole in ((PROMPT, True), ("a" * 300, False)):
        assert ("Rows sum to one." in " ".join(one.value for one in at("head", prompt=prompt).caption)) == whole
