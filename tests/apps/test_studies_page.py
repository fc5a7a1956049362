"""The Studies page without a browser: studies of a made-up checkout, run and shown, and what cannot be shown."""

import json
from collections.abc import Callable
from functools import partial

import pytest
from streamlit.testing.v1 import AppTest

from workbench import studies

STUDY = '''"""How large is one?"""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from workbench import studies


@dataclass(frozen=True, kw_only=True)
class Config:
    train: bool = False
    long: bool = False


def run(config: Config) -> studies.Findings:
    return studies.Findings(
        numbers={"one": 1.0, "each": {0: 0.5, 1: 0.25}},
        tables={"Rows": pd.DataFrame({"a": [1, 2]})},
        figures={"First": go.Figure(go.Scatter(y=[1, 2])), "Second": go.Figure(go.Bar(y=[3]))},
        skipped={"big.": "big could not be had."},
    )
'''
CLAIM = {"says": "One is <b>so</b> large.", "source": "somebody (2020)"}
EXPECTED = {
    "question": "How large is one?",
    "claims": [
        {"quantity": "one", "relation": ">=", "bound": 1, **CLAIM},
        {"quantity": "one", "relation": ">", "bound": 2, **CLAIM},
        {"quantity": "one", "relation": ">", "bound": 3, "not_reproduced": "it is small", **CLAIM},
        {"quantity": "big.q", "relation": ">", "bound": 3, **CLAIM},
        {"quantity": "each", "relation": "<", "bound": 0.6, "seeds": [0, 1], "control": True, **CLAIM},
    ],
    "opens": [
        {"says": "A head", "page": "head", "model": "micro", "prompt": "the cat sat", "options": {"layer": "1"}},
        {"says": "A page of tomorrow", "page": "tomorrow", "model": "micro"},
    ],
}


def make(root, name, code=STUDY, expected=EXPECTED):
    (root / name).mkdir(parents=True)
    (root / name / "study.py").write_text(code)
    if expected is not None:
        (root / name / "expected.json").write_text(json.dumps(expected))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout with a good study, one that raises and one without its claims; the cache is empty."""
    root = tmp_path / "case_studies"
    make(root, "good")
    make(root, "raising", STUDY.replace("    return", '    raise RuntimeError("it <b>fell</b>")\n    return'))
    make(root, "without", expected=None)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    for module in ("studies", "studies_shown"):
        monkeypatch.setattr(f"apps.screens.{module}.ROOT", root)
    return root


@pytest.fixture
def at(at, root) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "studies")


def said(app: AppTest) -> str:
    blocks = (*app.header, *app.info, *app.caption, *app.markdown, *app.error, *app.warning)
    return " ".join(block.value for block in blocks).replace("\\", "")


def drawn(app: AppTest) -> str:
    return " ".join(block.proto.body for block in app.get("html"))


def button(app: AppTest, label: str):
    (one,) = (one for one in app.button if one.label.replace("\\", "").replace("*", "") == label)
    return one


def test_the_list_has_every_study_and_one_that_cannot_be_read_is_a_sentence(at):
    app = at()
    assert not app.exception
    assert said(app).count("5 claims, not run yet") == 2 and "How large is one?" in said(app)
    (error,) = app.error
    assert "without/expected.json" in error.value.replace("\\", "")
    button(app, "Good").click().run()
    assert not app.exception and app.header[0].value.replace("\\", "") == "How large is one?"
    assert app.query_params["study"] in ("good", ["good"])
    button(app, "All studies").click().run()
    assert app.header[0].value == "Studies"


def test_reproduce_runs_the_study_and_shows_expected_beside_obtained(at, root):
    app = at(study="good")
    assert drawn(app).count("not run yet") == 5 and "<b>" not in drawn(app)
    button(app, "Reproduce").click().run()
    assert not app.exception and not app.error
    shown = drawn(app)
    assert "2 hold" in shown and shown.count("✓ holds") == 2
    for words in ("≠ does not reproduce", "1, not &gt; 3: it is small", "✗ fails", "not measured", ">control<"):
        assert words in shown, words
    assert "big could not be had." in shown and "0.5  0.25" in shown and "&lt;b&gt;so&lt;/b&gt;" in shown
    assert "fast form; workbench" in said(app) and not app.warning
    assert any(block.value == "workbench study run good" for block in app.code)
    assert studies.kept("good", root).form == "fast"
    listed = at()
    assert "2 hold" in drawn(listed) and said(listed).count("not run yet") == 1
    (root / "good" / "study.py").write_text(STUDY + "# another line\n")
    assert "has been changed since" in at(study="good").warning[0].value


def test_figures_and_tables_of_what_was_found(at, root):
    studies.keep(studies.run_study("good", root=root))
    app = at(study="good", show="figures", figure="Second")
    assert not app.exception and not app.error
    assert app.selectbox[0].value == "Second" and len(app.get("plotly_chart")) == 1
    app = at(study="good", show="tables", table="nothing")
    assert not app.exception and "table" not in app.query_params
    assert app.dataframe[0].value["a"].tolist() == [1, 2]


def test_a_study_that_raises_is_a_sentence_and_can_be_run_again(at):
    app = at(study="raising")
    button(app, "Reproduce").click().run()
    assert not app.exception
    (error,) = app.error
    assert "The study raising ended by an error: RuntimeError: it <b>fell</b>." in error.value.replace("\\", "")
    app.run()
    assert not app.error and not app.exception  # it is not run again unasked


@pytest.mark.parametrize(("name", "sentence"), [("nothing", "No case study"), ("without", "expected.json")])
def test_what_cannot_be_shown_is_a_sentence_with_a_way_back(at, name, sentence):
    app = at(study=name)
    assert not app.exception and sentence in app.error[0].value.replace("\\", "")
    button(app, "All studies").click().run()
    assert not app.exception and "claims, not run yet" in said(app)


def test_a_hostile_name_is_text(at):
    app = at(study="<img src=x> $y$")
    assert not app.exception and "\\<img src=x\\> \\$y\\$" in app.error[0].value


def test_a_damaged_finding_is_said_and_the_claims_stay(at, root):
    path = studies.keep(studies.run_study("good", root=root))
    path.write_text(path.read_text()[:100])
    app = at(study="good")
    assert not app.exception and "run the study again" in app.warning[0].value
    assert drawn(app).count("not run yet") == 5
    assert "cannot be read" in said(at())


def test_without_a_checkout_the_page_says_where_the_studies_are(at, tmp_path, monkeypatch):
    for module in ("studies", "studies_shown"):
        monkeypatch.setattr(f"apps.screens.{module}.ROOT", tmp_path / "nowhere")
    assert "Work from a checkout" in said(at())
    app = at(study="good")
    assert not app.exception and "work from a checkout" in app.error[0].value


def test_a_link_opens_its_page_filled_in_and_one_to_no_page_cannot_be_pressed(at, monkeypatch):
    asked = []
    monkeypatch.setattr("streamlit.switch_page", lambda page, query_params: asked.append((page.url_path, query_params)))
    app = at(study="good")
    assert button(app, "A page of tomorrow").disabled
    button(app, "A head").click().run()
    assert asked == [("head", {"model": "micro", "prompt": "the cat sat", "layer": "1"})]
