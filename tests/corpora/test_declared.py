"""An analysis that reads a corpus: every front door takes one, and the result says which it was."""

import shlex
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

import workbench
from workbench import provenance, registry
from workbench.cli import main
from workbench.errors import BadInput
from workbench.params import params_of
from workbench.results import Result


@dataclass(frozen=True, eq=False, kw_only=True)
class Counted(Result, kind="test-counted"):
    """How many inputs there were."""

    count: int

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame({"count": [self.count]})

    def figure(self) -> go.Figure:
        """Nothing to see."""
        return go.Figure()


def counted(
    model: workbench.LensModel,
    texts: Annotated[workbench.Texts, "What to read"] = "example",
    *,
    inputs: Annotated[int, workbench.Within(1, 500), "How many"] = 5,
) -> Counted:
    """How many inputs a corpus has."""
    return Counted(count=len(workbench.corpus(texts, reads=model.reads, limit=inputs)))


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr(registry, "ANALYSES", dict(registry.ANALYSES))
    return workbench.analysis("test-counted", needs=set())(counted)


def test_the_declaration(given):
    (texts, _) = given.params
    assert (texts.kind, texts.type, texts.default, texts.help) == ("corpus", object, "example", "What to read")
    assert given.prompt is None
    assert given(workbench.load("tiny:gpt2")).count == 5
    assert given(workbench.load("tiny:vit")).count == 5


@pytest.mark.parametrize("bad", [None, "", 3, 2.5, True, b"bytes"])
def test_what_names_no_corpus_is_refused_at_the_door(given, tiny, bad):
    with pytest.raises(BadInput, match="texts must be the name of a corpus .'example'., the path of a text file"):
        given(tiny("gpt2"), bad)


def test_a_corpus_that_may_be_left_out():
    def function(model, texts: Annotated[workbench.Texts | None, "What to read"] = None) -> Counted: ...

    (param,) = params_of(function, function.__annotations__)
    assert param.kind == "corpus" and param.optional and param.check(None) is None


def test_the_result_says_what_was_read(given, tiny, tmp_path):
    model = tiny("gpt2")

    def said(texts):
        return given(model, texts).meta["params"]["texts"]

    assert said("example") == "example"
    assert said(["ab", "c"]) == ("ab", "c")
    (tmp_path / "x.txt").write_text("a\nb\n")
    assert said(tmp_path / "x.txt") == str(tmp_path / "x.txt")
    made = workbench.corpus("example", limit=7, seed=3)
    assert said(made) == {
        **{"corpus": "example", "reads": "text", "inputs": 7, "sha256": made.digest},
        "made by": "workbench.corpus('example', limit=7, seed=3)",
    }
    assert "made by" not in said(workbench.corpus(["a"]))


def test_pictures_and_data_sets_are_said_by_their_digest():
    picture = Image.new("RGB", (2, 2), "red")
    (found,) = provenance.plain([picture])
    assert found["in memory"] == "Image" and len(found["sha256"]) == 64
    (array,) = provenance.plain([np.zeros((2, 2, 3), np.uint8)])
    assert array["shape"] == (2, 2, 3)
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"text": ["a", "b"]})
    about = provenance.plain(made)
    assert (about["in memory"], about["columns"], about["rows"]) == ("Dataset", ("text",), 2)
    assert about["fingerprint"] != provenance.plain(datasets.Dataset.from_dict({"text": ["a", "c"]}))["fingerprint"]


def test_a_result_of_a_corpus_comes_back_from_a_file(given, tiny, tmp_path):
    result = given(tiny("gpt2"), workbench.corpus("example", limit=3))
    result.save(tmp_path / "r.safetensors")
    assert workbench.load_result(tmp_path / "r.safetensors").meta == result.meta


@pytest.mark.parametrize("texts", ["example", ["ab", "it's"], workbench.Corpus])
def test_a_line_of_python_reads_the_same(given, texts):
    texts = workbench.corpus("example", limit=9, seed=2) if texts is workbench.Corpus else texts
    line = given.as_python("tiny:gpt2", {"texts": texts, "inputs": 200})
    scope: dict = {}
    exec(line, scope)
    assert scope["result"].count == len(workbench.corpus(texts, limit=200))


def test_a_corpus_in_memory_has_no_line(given):
    for texts in (workbench.corpus(["a"]), [Image.new("RGB", (2, 2))]):
        with pytest.raises(BadInput, match="in memory, which a line of Python cannot hold"):
            given.as_python("tiny:gpt2", {"texts": texts})


@pytest.mark.parametrize("texts", ["brown", "-odd name", "two\nlines", "hf:org/data:text"])
def test_a_command_names_the_corpus(given, texts):
    words = shlex.split(given.as_command("tiny:gpt2", {"texts": texts}))
    assert f"--texts={texts}" in words or words[words.index("--texts") + 1] == texts
    with pytest.raises(BadInput, match="texts is a list, which a command line cannot hold; write the texts to a file"):
        given.as_command("tiny:gpt2", {"texts": ["a", "b"]})


def test_the_command_line_reads_a_corpus(given, tmp_path, capsys, monkeypatch):
    from workbench.index import Entry, index

    entry = Entry(name="test-counted", function="counted", module=__name__, summary="s", title="t", group="g")
    monkeypatch.setitem(index().analyses, "test-counted", entry)
    (tmp_path / "x.txt").write_text("a\nb\nc\n")
    assert main(["run", "test-counted", "--model", "tiny:gpt2", "--texts", str(tmp_path / "x.txt"), "--csv"]) == 0
    assert capsys.readouterr().out.split() == ["count", "3"]
    assert main(["run", "test-counted", "--model", "tiny:gpt2", "--texts", "nowhere"]) != 0
    assert "There is no corpus, file or folder called 'nowhere'" in capsys.readouterr().err


def test_the_form_asks_for_a_corpus():
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        import streamlit as st

        from apps import widgets
        from tests.corpora.test_declared import counted
        from workbench.params import params_of
        from workbench.testing import tiny_model

        hints = __import__("typing").get_type_hints(counted, include_extras=True)
        (texts, _) = params_of(counted, hints)
        value = widgets.ask(texts, st.query_params.get("texts", ""), widgets.Context(model=tiny_model("gpt2")), key="k")
        st.session_state["said"] = (value, widgets.to_text(texts, value))

    app = AppTest.from_function(script, default_timeout=30)
    app.run()
    assert not app.exception
    assert app.session_state["said"] == ("example", "")  # the default is not in the address
    app.text_area(key="k").set_value("  brown ").run()
    assert app.session_state["said"] == ("brown", "brown")
    app.text_area(key="k").set_value("one text\nanother\n").run()
    assert workbench.corpus(app.session_state["said"][1]).inputs == ("one text", "another")
