"""A task is asked for in Python, on the command line and in a form; `workbench tasks` says what there is."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, get_type_hints

import pandas as pd
import plotly.graph_objects as go
import pytest

import workbench
from workbench import registry
from workbench.cli import main
from workbench.errors import BadInput
from workbench.params import params_of
from workbench.results import Result
from workbench.tasks import BUILTIN, doable, draw


@dataclass(frozen=True, eq=False, kw_only=True)
class Done(Result, kind="test-done"):
    """How well a task is done."""

    accuracy: float

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame({"accuracy": [self.accuracy]})

    def figure(self) -> go.Figure:
        """Nothing to see."""
        return go.Figure()


def done(
    model: workbench.LensModel,
    task: Annotated[workbench.TaskName, "What it should do"] = "ioi",
    *,
    examples: Annotated[int, workbench.Within(1, 500), "How many"] = 8,
) -> Done:
    """How well a task is done."""
    found = workbench.task(task, model, examples=examples).doing
    assert found is not None
    return Done(accuracy=found.accuracy)


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr(registry, "ANALYSES", dict(registry.ANALYSES))
    return workbench.analysis("test-done", needs={"text"})(done)


def test_the_declaration(given, tiny):
    (task, _) = given.params
    assert (task.kind, task.type, task.default, task.help) == ("task", str, "ioi", "What it should do")
    assert given.prompt is None
    result = given(tiny("micro"), "induction")
    assert result.accuracy == 1 and result.meta["params"]["task"] == "induction"


@pytest.mark.parametrize("bad", ["", "  ", None, 3, ("ioi",), b"ioi"])
def test_what_names_no_task_is_refused_at_the_door(given, tiny, bad):
    with pytest.raises(
        BadInput, match=r"task must be the name of a task \('ioi'; `workbench tasks` lists them\) or the"
    ):
        given(tiny("micro"), bad)


def test_a_path_is_taken(given, tiny, tmp_path):
    path = tmp_path / "own.csv"
    rows = [
        f"{a}{b}xyz{a},{a}{c}xyz{a},{b},{c}" for a, b, c in ("abc", "bcd", "cde", "def", "efg", "fgh", "ghi", "hij")
    ]
    path.write_text("clean,corrupted,target,foil\n" + "\n".join(rows))
    result = given(tiny("micro"), path)
    assert result.meta["params"]["task"] == str(path)
    assert result.accuracy == 1
    assert f"--task {path}" in given.as_command("micro", {"task": str(path)})
    scope: dict = {}
    exec(given.as_python("micro", {"task": str(path)}), scope)
    assert scope["result"].accuracy == 1


def test_the_command_line_takes_a_task_and_names_those_there_are(given, capsys, monkeypatch):
    from workbench.index import Entry, index

    entry = Entry(name="test-done", function="done", module=__name__, summary="s", title="t", group="g")
    monkeypatch.setitem(index().analyses, "test-done", entry)
    assert main(["run", "test-done", "--model", "micro", "--task", "induction", "--csv"]) == 0
    assert capsys.readouterr().out.split() == ["accuracy", "1.0"]
    assert main(["run", "test-done", "--model", "micro", "--task", "ioi"]) == 2
    assert "ioi has no example that can be used here" in capsys.readouterr().err
    assert main(["run", "test-done", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(name in printed.replace("- ", "-") for name in BUILTIN) and "--task TASK" in printed


def test_the_form_offers_the_names_and_takes_another():
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        import streamlit as st

        from apps import widgets
        from tests.tasks.test_front_doors import done
        from workbench.params import params_of
        from workbench.testing import tiny_model

        hints = __import__("typing").get_type_hints(done, include_extras=True)
        (task, _) = params_of(done, hints)
        value = widgets.ask(task, st.query_params.get("task", ""), widgets.Context(model=tiny_model("gpt2")), key="k")
        st.session_state["said"] = (value, widgets.to_text(task, value))

    app = AppTest.from_function(script, default_timeout=30)
    app.run()
    assert not app.exception
    assert app.session_state["said"] == ("ioi", "")  # the default is not in the address
    assert app.selectbox(key="k").options == list(BUILTIN)
    app.selectbox(key="k").select("sva").run()
    assert app.session_state["said"] == ("sva", "sva")
    app = AppTest.from_function(script, default_timeout=30)
    app.query_params["task"] = "/home/me/own.csv"
    app.run()
    assert app.session_state["said"] == ("/home/me/own.csv", "/home/me/own.csv")


def test_the_declaration_of_a_required_task():
    def function(model, task: workbench.TaskName) -> Done: ...

    (param,) = params_of(function, get_type_hints(function, include_extras=True))
    assert param.kind == "task" and param.required and param.check("sva") == "sva"


# ---- workbench tasks -----------------------------------------------------------------------------------------------


def test_tasks_are_named_without_torch():
    code = (
        "import sys; from workbench.cli import main; code = main(['tasks']);"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy'} & set(sys.modules); assert not heavy, heavy;"
        "sys.exit(code)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert all(name in told.stdout and built_in.about in told.stdout for name, built_in in BUILTIN.items())


def test_one_task_of_one_model(capsys, tiny):
    assert main(["tasks", "greater-than", "--model", "tiny:gpt2", "--examples", "30", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    task = draw("greater-than", tiny("gpt2"), examples=30, seed=2)
    doing = doable(tiny("gpt2"), task)
    assert task.dropped and task.said in printed
    assert f"prob-diff: {doing.clean:.3f} on clean prompts, {doing.corrupted:.3f} on corrupted ones." in printed
    assert f"on {doing.accuracy:.1%} of clean prompts" in printed and doing.why_not in printed
    assert printed.count("corrupted  ") == 3 and task.clean[2] in printed.replace("␣", " ")
    assert main(["tasks", "induction", "--model", "micro", "--examples", "8"]) == 0
    assert "micro does induction." in capsys.readouterr().out


def test_all_tasks_of_one_model(capsys):
    assert main(["tasks", "--model", "micro", "--examples", "8"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["induction"][1:4] == ["8", "of", "8"] and rows["induction"][-1] == "yes"
    assert rows["ioi"] == ["ioi", "0", "no"] and rows["addition"][-1] == "no"
    assert set(BUILTIN) <= set(rows)


def test_numbers_for_programs(capsys, tiny):
    options = ["--model", "micro", "--examples", "9", "--seed", "4", "--metric", "log-prob", "--json"]
    assert main(["tasks", "induction", *options]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    task = draw("induction", tiny("micro"), examples=9, seed=4, metric="log-prob")
    assert found["clean"] == pytest.approx(doable(tiny("micro"), task).clean)
    assert [p["clean"] for p in found["prompts"]] == list(task.clean) and found["made"] == 9
    assert main(["tasks", *options]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert set(found) == set(BUILTIN) and "no example that can be used" in found["ioi"]["why_not"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ioo", "--model", "micro"], "Did you mean 'ioi'?"),
        (["ioi", "--model", "micro"], "ioi has no example that can be used here"),
        (["induction", "--model", "tiny:vit"], "A task needs a text input, which tiny:vit does not have."),
        (["induction", "--model", "micro", "--examples", "0"], "examples must be a whole number of at least 1"),
        (["induction", "--model", "micro", "--metric", "x"], "No metric called 'x'"),
        (["--model", "micro", "--examples", "0"], "examples must be a whole number of at least 1, not 0."),
        (["--model", "micro", "--metric", "x"], "No metric called 'x'"),
        (["--seed", "-1"], "seed must be a whole number from 0 to 4294967295, not -1."),
        (["--model", "micro", "--seed", "-1"], "seed must be a whole number from 0 to 4294967295, not -1."),
        (["induction", "--model", "micro", "--seed", "4294967296"], "seed must be a whole number from 0 to 4294967295"),
    ],
)
def test_a_mistake_is_one_line_and_code_two(arguments, sentence, capsys):
    assert main(["tasks", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
