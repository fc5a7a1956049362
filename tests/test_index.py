"""The index reads names off the source without importing it, and a broken plugin is named, not fatal."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from workbench.index import build, index, locate

GOOD = '''
"""A module that must not be imported."""
raise SystemExit("imported!")

class Found(Result, kind="found-kind"):
    pass

@analysis("found-name", needs={"text"}, title="Found it")
@torch.no_grad()
def found(model, prompt):
    """What it tells.

    More.
    """

@workbench.analysis(name="second", needs=set())
def second(model): ...
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes a package of files and gives the entry point to it."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, module=None, **files):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("raise SystemExit('imported!')")
        for file, text in files.items():
            (folder / f"{file}.py").write_text(text)
        return EntryPoint(name, module or name, "workbench.analyses")

    return make


@pytest.fixture
def nothing(tmp_path):
    folder = tmp_path / "no-analyses"
    folder.mkdir()
    return folder


def test_reads_names_kinds_and_summaries_without_importing(plugin, nothing):
    found = build(nothing, [plugin("strangers", "strangers.one", one=GOOD)])
    assert found.broken == ()
    assert list(found.analyses) == ["found-name", "second"]
    entry = found.analyses["found-name"]
    assert (entry.function, entry.module, entry.summary) == ("found", "strangers.one", "What it tells.")
    assert (entry.title, entry.group) == ("Found it", "strangers")
    assert found.analyses["second"].title == "Second"
    assert found.kinds == {"found-kind": "strangers.one"}
    assert found.by_function("found") == entry
    assert found.by_function("lost") is None


def test_a_package_is_read_whole(plugin, nothing):
    found = build(nothing, [plugin("whole", one=GOOD, other="x = 1")])
    assert found.analyses["found-name"].module == "whole.one"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:", "cannot be read"),
        ("\0", "cannot be read"),
        (
            "@analysis(NAME, needs=set())\ndef f(model): ...",
            "line 2: the name given to @analysis must be a plain string",
        ),
    ],
)
def test_a_broken_file_is_named_and_the_others_stay(plugin, nothing, text, reason):
    found = build(nothing, [plugin("bad", a=text, b=GOOD)])
    assert "found-name" in found.analyses
    (broken,) = found.broken
    assert (broken.plugin, broken.module) == ("bad", "bad.a")
    assert reason in str(broken)


def test_a_missing_module_is_named(plugin, nothing):
    points = [
        EntryPoint("gone", "no_such_module_at_all", "workbench.analyses"),
        plugin("half", "half.missing"),
        plugin("fine", one=GOOD),
    ]
    found = build(nothing, points)
    assert "found-name" in found.analyses
    assert [b.plugin for b in found.broken] == ["gone", "half"]
    assert "no module called 'no_such_module_at_all'" in str(found.broken[0])
    assert "no module 'half.missing'" in str(found.broken[1])


def test_the_first_of_two_equal_names_wins(plugin, nothing):
    found = build(nothing, [plugin("first", one=GOOD), plugin("later", one=GOOD)])
    assert found.analyses["found-name"].module == "first.one"
    assert "'found-name' is already taken by first.one" in str(found.broken[0])


def test_locates_without_importing():
    assert locate("workbench.index").name == "index.py"
    assert locate("json").name == "json"
    assert locate("secrets").name == "secrets.py"
    with pytest.raises(LookupError, match="no source file"):
        locate("sys")


def test_nothing_of_ours_is_broken():
    assert index().broken == ()
    assert "probes" in {entry.group for entry in index().analyses.values()}


def test_reading_the_index_imports_no_analysis():
    code = (
        "import sys; from workbench.index import index; assert 'logit-lens' in index().analyses;"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'probes', 'pandas', 'plotly', 'transformers')"
        " or m.startswith('workbench.analyses')]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
