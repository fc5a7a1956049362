"""The example in docs/add_an_analysis.md works as written: as a plugin found through an entry point."""

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import plotly.graph_objects as go
import pytest

import workbench
from workbench import index, registry
from workbench.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "add_an_analysis.md"


def forget(package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The page's code in a package, and an index that knows its entry point."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (plugin, module) = re.search(r'^([\w-]+) = "([\w.]+)"$', PAGE.read_text(), re.MULTILINE).groups()
    package, _, file = module.partition(".")
    (tmp_path / package).mkdir()
    (tmp_path / package / f"{file}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    points = [*index.entry_points(group=index.GROUP), EntryPoint(plugin, module, index.GROUP)]
    monkeypatch.setattr(index, "entry_points", lambda group: points)
    monkeypatch.setattr(registry, "ANALYSES", dict(registry.ANALYSES))
    monkeypatch.setattr(workbench.Result, "kinds", dict(workbench.Result.kinds))
    index.index.cache_clear()
    yield plugin
    index.index.cache_clear()
    vars(workbench).pop("token_lengths", None)
    forget(package)


def test_it_is_listed_without_being_imported(installed, capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    assert f"{installed}:\n  token-lengths" in printed.out
    assert "How many characters each token of the prompt has." in printed.out
    assert "token-lengths" not in registry.ANALYSES


def test_it_runs_from_all_three_doors(installed, capsys, tmp_path, tiny):
    result = workbench.token_lengths(tiny("micro"), "hello", most=3)
    assert result.to_frame()["length"].tolist()[1:] == [1] * 5
    assert isinstance(result.figure(), go.Figure)
    again = workbench.load_result(result.save(tmp_path / "r"))
    assert again.to_frame().equals(result.to_frame())
    assert main(["run", "token-lengths", "hello", "--model", "micro", "--most", "3", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "pos,token,length"
    assert main(["run", "token-lengths", "hello", "--model", "micro", "--most", "0"]) == 2
    assert result.meta["params"] == {"prompt": "hello", "most": 3}
    line = workbench.get("token-lengths").as_python("micro", {"prompt": "hello", "most": 3})
    assert line.endswith("workbench.token_lengths(workbench.load('micro'), 'hello', most=3)")


def test_a_saved_result_finds_its_plugin(installed, tmp_path, tiny):
    path = workbench.token_lengths(tiny("micro"), "hello").save(tmp_path / "r")
    del workbench.Result.kinds["token-lengths"]
    forget("my_package")
    registry.ANALYSES.pop("token-lengths")
    assert workbench.load_result(path).tokens[1:] == tuple("hello")


def test_the_page_names_every_capability_and_kind():
    from workbench.capabilities import CAPABILITIES

    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in CAPABILITIES)
    kinds = ("Prompt", "Token", "Sites", "AttentionName", "Layer", "Head", "Position", "Seed")
    assert all(f"`{kind}`" in text for kind in kinds)
