"""What must hold of every analysis on every tiny family it claims; a new analysis is tested for free."""

import json
import math
import re
import shlex
from functools import cache
from html.parser import HTMLParser
from importlib.metadata import version
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

import workbench
from workbench import registry
from workbench.cli import main
from workbench.index import index
from workbench.testing import FAMILIES, example_input, tiny_model

NAMES = tuple(index().analyses)
HOSTILE = "<img src=x onerror=alert(1)></script> $x$"

FEW = {"inputs": 6, "points": 120}
"""How much of a corpus is enough to show something."""

OF_A_TASK = {"examples": 4, "anyway": True}
"""How an analysis of a task is asked for where the model need not be able to do it."""

model_of = cache(tiny_model)


def claimed(name: str) -> list[str]:
    return [family for family in FAMILIES if not registry.get(name).missing(model_of(family))]


CLAIMS = [(name, family) for name in NAMES for family in claimed(name)]
FIRST_CLAIMS = list({name: (name, family) for name, family in reversed(CLAIMS)}.values())


def example(name: str, family: str, prompt: str | None = None) -> dict:
    """A value for each parameter that needs one to show something."""
    model, values = model_of(family), {}
    site = model.stream("resid_post")[0]
    by_kind = {
        "prompt": prompt or example_input(family),
        "corpus": "example",
        "task": "induction",
        "variable": "letters",
        "interventions": (site,),
        "sites": (site,),
        "layer": 0,
        "head": 0,
        "position": -1,
        "seed": 0,
    }
    for p in registry.get(name).params:
        if p.required or p.kind in ("interventions", "sites", "task", "variable"):
            value = by_kind[p.kind]
            values[p.name] = (value,) if p.type is tuple and p.kind == "prompt" else value
            if p.kind == "prompt" and p is not registry.get(name).prompt and model.reads == "text":
                values[p.name] = turned(value)
        if p.name in FEW and any(q.kind == "corpus" for q in registry.get(name).params):
            values[p.name] = FEW[p.name]
        if p.name in OF_A_TASK and any(q.kind == "task" for q in registry.get(name).params):
            values[p.name] = OF_A_TASK[p.name]
    return values


def turned(prompt: str) -> str:
    """Another prompt of as many characters: an analysis of pairs has something to tell apart."""
    text, mark, target = prompt.partition(" => ")
    return text[::-1] + mark + target


def prompt_of(name: str) -> str | None:
    """The name of the parameter that says what the model reads; analyses that make their own inputs have none."""
    return getattr(registry.get(name).prompt, "name", None)


def run(name: str, family: str, **change) -> workbench.Result:
    return registry.get(name)(model_of(family), **{**example(name, family), **change})


@cache
def result_of(name: str, family: str) -> workbench.Result:
    return run(name, family)


@cache
def figure_of(name: str, family: str) -> go.Figure:
    return result_of(name, family).figure()


class Again(NamedTuple):
    """The result of a second run, and what that run found and left of the model."""

    result: workbench.Result
    before: dict
    after: dict
    changed: list[str]


@cache
def again(name: str, family: str) -> Again:
    model = model_of(family)
    before, weights = state_of(model), {k: v.clone() for k, v in model.module.state_dict().items()}
    result = run(name, family)
    changed = [k for k, v in model.module.state_dict().items() if k not in weights or not torch.equal(v, weights[k])]
    return Again(result, before, state_of(model), changed)


def called(pairs: list) -> list[str]:
    return [f"{name}-{family}" for name, family in pairs]


each_claim = pytest.mark.parametrize(("name", "family"), CLAIMS, ids=called(CLAIMS))
each_analysis = pytest.mark.parametrize("name", NAMES)
once_each = pytest.mark.parametrize(("name", "family"), FIRST_CLAIMS, ids=called(FIRST_CLAIMS))


@each_analysis
def test_claims_a_family(name):
    assert claimed(name), f"{name} needs {sorted(registry.get(name).needs)}, which no tiny family has"


@each_claim
def test_frame_is_tidy(name, family):
    frame = result_of(name, family).to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame)
    assert isinstance(frame.index, pd.RangeIndex)
    assert all(isinstance(column, str) and column for column in frame.columns)
    assert frame.columns.is_unique
    for column in frame.columns:
        kinds = {type(value) for value in frame[column].tolist()}
        assert kinds <= {str, int, float, bool, type(None)}, f"{column} holds {kinds}"


@each_claim
def test_what_is_undefined_has_a_count(name, family):
    frame = result_of(name, family).to_frame()
    counts = frame.select_dtypes("integer")
    for column in frame.columns[frame.isna().any()]:
        undefined = frame[column].isna()
        assert any((counts.loc[undefined, c] == 0).all() for c in counts), f"{column} is NaN and no count says why"
    numbers = frame.select_dtypes("floating")
    assert not numbers.isin([math.inf]).any().any()


@each_claim
def test_draws_a_figure(name, family):
    figure = figure_of(name, family)
    assert isinstance(figure, go.Figure)
    assert figure.data or figure.layout.images
    assert figure.layout.font.family is None or "Inter" in figure.layout.font.family
    assert "Inter" in figure.layout.template.layout.font.family, "the house style is missing: use workbench.plots"


@each_claim
def test_comes_back_from_a_file(name, family, tmp_path):
    result = result_of(name, family)
    result.save(tmp_path / "result.safetensors")
    loaded = workbench.load_result(tmp_path / "result.safetensors")
    assert type(loaded) is type(result)
    assert loaded.meta == result.meta
    pd.testing.assert_frame_equal(loaded.to_frame(), result.to_frame())
    assert loaded.figure().to_json() == figure_of(name, family).to_json()


@each_claim
def test_is_repeatable(name, family):
    pd.testing.assert_frame_equal(again(name, family).result.to_frame(), result_of(name, family).to_frame())


def hooks_of(module: torch.nn.Module) -> int:
    return sum(
        len(hooks)
        for m in module.modules()
        for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)
    )


def state_of(model: workbench.LensModel) -> dict:
    module = model.module
    config = getattr(module, "config", None)
    return {
        "hooks": hooks_of(module),
        "keys": list(module.state_dict()),
        "attention": getattr(config, "_attn_implementation", None),
        "training": [m.training for m in module.modules()],
        "gradients": [(p.requires_grad, p.grad is None) for p in module.parameters()],
        "grad enabled": torch.is_grad_enabled(),
    }


@each_claim
def test_leaves_the_model_as_it_was(name, family):
    found = again(name, family)
    assert found.after == found.before
    assert not found.changed


@each_claim
def test_says_where_it_comes_from(name, family):
    meta, model = result_of(name, family).meta, model_of(family)
    assert (meta["analysis"], meta["model"], meta["family"]) == (name, model.name, model.family)
    assert set(meta["params"]) == {p.name for p in registry.get(name).params}
    assert meta["versions"]["torch"] == version("torch")
    assert "float32" in meta["numeric regime"]


@each_analysis
def test_is_documented(name):
    analysis = registry.get(name)
    assert analysis.summary.endswith(".")
    assert len(analysis.summary) <= 120
    assert analysis.summary == index().analyses[name].summary
    assert analysis.title == index().analyses[name].title
    assert getattr(workbench, index().analyses[name].function) is analysis
    for p in analysis.params:
        assert p.help, f"{p.name} has no help"
        assert p.type is not object or p.kind in ("prompt", "corpus"), f"no front door can ask for {p.name}"


@once_each
def test_the_command_line_makes_the_same_result(name, family, tmp_path, capsys):
    out = tmp_path / "result.safetensors"
    values = example(name, family)
    command = shlex.split(registry.get(name).as_command(model_of(family).name, values))
    assert command[0] == "workbench"
    assert main([*command[1:2], *command[2:3], "--out", str(out), "--json", *command[3:]]) == 0
    printed, frame = json.loads(capsys.readouterr().out), workbench.load_result(out).to_frame()
    assert len(printed) == len(frame)
    assert list(printed[0]) == list(frame.columns)
    pd.testing.assert_frame_equal(frame, result_of(name, family).to_frame())


@once_each
def test_the_python_line_makes_the_same_result(name, family):
    scope: dict = {}
    exec(registry.get(name).as_python(model_of(family).name, example(name, family)), scope)
    pd.testing.assert_frame_equal(scope["result"].to_frame(), result_of(name, family).to_frame())


MARKUP = re.compile(r"</?(br|b|i|extra|sub|sup)>")


class Tags(HTMLParser):
    """Which elements a browser would find."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)


def texts(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [t for item in value.values() for t in texts(item)]
    return [t for item in value for t in texts(item)] if isinstance(value, list | tuple) else []


@pytest.mark.parametrize("name", [name for name in NAMES if prompt_of(name) and "micro" in claimed(name)])
def test_hostile_text_is_never_markup(name):
    result = registry.get(name)(model_of("micro"), **example(name, "micro", HOSTILE))
    for text in texts(result.figure().to_dict()):
        assert "<" not in MARKUP.sub("", text), text
    tags = Tags()
    tags.feed(result._repr_html_())
    assert tags.seen <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "script"}


@pytest.mark.parametrize("bad", ["", None, 3.5, ("a", 1), b"bytes"])
@pytest.mark.parametrize("name", [name for name in NAMES if prompt_of(name)])
def test_an_unusable_prompt_is_a_sentence(name, bad):
    family, prompt = claimed(name)[0], prompt_of(name)
    with pytest.raises(workbench.WorkbenchError) as caught:
        run(name, family, **{prompt: bad})
    assert str(caught.value)
    assert hooks_of(model_of(family).module) == 0


@each_analysis
def test_every_limit_is_enforced(name):
    family = claimed(name)[0]
    for p in registry.get(name).params:
        if p.within:
            with pytest.raises(workbench.BadInput, match=p.name):
                run(name, family, **{p.name: p.within.high + 1})
        if p.choices:
            with pytest.raises(workbench.BadInput, match=p.name):
                run(name, family, **{p.name: "no such choice"})
        if p.kind in ("layer", "head"):
            with pytest.raises(workbench.BadInput, match=p.name):
                run(name, family, **{p.name: 99})


@each_analysis
def test_refuses_a_model_that_lacks_what_it_needs(name):
    for family in set(FAMILIES) - set(claimed(name)):
        with pytest.raises(workbench.MissingCapability, match=name):
            registry.get(name)(model_of(family), **example(name, "gpt2"))


@once_each
@pytest.mark.usefixtures("packages_read_once")
def test_has_a_page(name, family):
    from streamlit.testing.v1 import AppTest

    def script(name: str) -> None:
        from apps import generic, state

        state.begin(f"analysis-{name}")
        generic.page(name)

    values = example(name, family)
    app = AppTest.from_function(script, kwargs={"name": name}, default_timeout=60)
    app.query_params["model"] = model_of(family).name
    app.query_params["prompt"] = example_input(family)
    for p in registry.get(name).params:
        if p.name in values:
            value = values[p.name]
            text = ",".join(value) if isinstance(value, tuple) else str(value).lower() if value is True else str(value)
            app.query_params["prompt" if p is registry.get(name).prompt else p.name] = text
    app.run()
    assert not app.exception, app.exception
    assert not app.error, app.error
    assert len(app.get("plotly_chart")) >= 1
    assert len(app.dataframe) >= 1
