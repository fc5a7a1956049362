"""What `import workbench` offers, and what it costs: nothing heavy until a name is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import workbench
from workbench.index import index

HEAVY = ("torch", "transformers", "pandas", "plotly", "numpy", "streamlit", "safetensors", "huggingface_hub")


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_public_name_is_there(name):
    assert getattr(workbench, name) is not None


def test_the_list_is_sorted_and_complete():
    assert workbench.__all__ == sorted(workbench.__all__)
    assert set(dir(workbench)) == set(workbench.__all__) | {e.function for e in index().analyses.values()}


def test_type_checkers_and_the_interpreter_find_the_same_things():
    """The imports under TYPE_CHECKING are what `__getattr__` resolves to."""
    tree = ast.parse(Path(workbench.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    named = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    assert sorted(named) == sorted(workbench.__all__)
    for public, (module, name) in named.items():
        assert public == name
        home = __import__(str(module), fromlist=[name])
        assert getattr(home, name) is getattr(workbench, public)


@pytest.mark.parametrize("entry", index().analyses.values(), ids=lambda entry: entry.name)
def test_every_analysis_is_a_function_here(entry):
    assert getattr(workbench, entry.function).name == entry.name


def test_no_public_name_hides_an_analysis():
    assert not {e.function for e in index().analyses.values()} & set(workbench.__all__)
    functions = [e.function for e in index().analyses.values()]
    assert len(functions) == len(set(functions))
    modules = {path.stem for path in Path(workbench.__file__).parent.iterdir()}
    assert not set(functions) & modules, "a module of that name would be found first"


def test_an_unknown_name_says_where_to_look():
    with pytest.raises(AttributeError, match="no attribute 'logit_lense'; `workbench list` names the analyses"):
        workbench.logit_lense  # noqa: B018
    with pytest.raises(AttributeError):
        workbench._nothing  # noqa: B018


def in_a_fresh_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_loads_nothing_heavy():
    in_a_fresh_python(f"import sys, workbench; assert not set(sys.modules) & set({HEAVY})")


def test_capture_is_the_function_also_after_its_module_was_imported():
    in_a_fresh_python(
        "import workbench.capture, workbench, types; assert not isinstance(workbench.capture, types.ModuleType);"
        "from workbench.capture import capture; assert capture is workbench.capture"
    )
    in_a_fresh_python(
        "import workbench, types; assert not isinstance(workbench.capture, types.ModuleType);"
        "from workbench.capture import capture; assert capture is workbench.capture"
    )


def test_a_typical_notebook_works():
    model = workbench.load("micro")
    result = workbench.logit_lens(model, "abab", top_k=1)
    assert result.meta["params"]["top_k"] == 1
    assert "Logit" in type(result).__name__
