"""The wheel holds all that an installed workbench needs, and the Makefile installs once."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("workbench", "probes", "apps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_file_of_the_packages(unpacked):
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()}
    packed = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert tracked - packed == set()
    for name in (
        *("apps/main.py", "apps/.streamlit/config.toml", "workbench/py.typed", "workbench/models/catalogue.json"),
        *("workbench/models/micro/induction.safetensors", "probes/linear.py"),
    ):
        assert name in packed, name


def test_the_wheel_holds_nothing_else(unpacked):
    assert {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")} == set(PACKAGES)
    assert not list(unpacked.rglob("*.pyc"))


def test_the_wheel_says_what_it_is(unpacked):
    (info,) = unpacked.glob("*.dist-info")
    points = (info / "entry_points.txt").read_text()
    assert "workbench = workbench.cli:main" in points
    assert "probes = probes\n" in f"{points}\n"
    metadata = (info / "METADATA").read_text()
    assert "Name: transformer-workbench" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: <3.14,>=3.11" in metadata
    assert list((info / "licenses").iterdir())


def run_installed(unpacked: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command line of the unpacked wheel, somewhere without a checkout."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import workbench;"
        "assert workbench.__file__.startswith(sys.path[0]), workbench.__file__;"
        "from workbench.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-I", "-c", code, str(unpacked), *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)


def test_an_installed_copy_runs_without_a_checkout(unpacked, tmp_path):
    done = run_installed(unpacked, tmp_path, "run", "logit-lens", "abab", "--model", "micro", "--csv")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


def test_an_installed_copy_says_that_it_has_no_case_studies(unpacked, tmp_path):
    done = run_installed(unpacked, tmp_path, "study", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "checkout" in done.stdout


def test_an_installed_copy_finds_its_app(unpacked, tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); from workbench.cli.app import command; print(command(1)[4])"
    command = [sys.executable, "-I", "-c", code, str(unpacked)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == unpacked / "apps" / "main.py"


def test_dependencies_are_imported_and_imports_are_dependencies():
    """Every third party that a package imports is declared; the tests' own tools are in the extra."""
    import ast

    imported = set()
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                imported |= {name.partition(".")[0] for name in names}
    third = imported - sys.stdlib_module_names - set(PACKAGES)
    called = {"scikit-learn": "sklearn", "pillow": "PIL", "umap-learn": "umap", "transformer-lens": "transformer_lens"}
    required = PROJECT["project"]["dependencies"]
    names = {name: called.get(name, name) for name in (r.split(">")[0].split("<")[0] for r in required)}
    optional = {"torchao", "bitsandbytes", "kaleido", "IPython"}
    assert third - set(names.values()) - optional == set()


def test_the_declared_pythons_are_the_ones_the_makefile_looks_for():
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"python3.{minor}" in makefile for minor in (11, 12, 13))


@pytest.fixture
def pretend(tmp_path):
    """A copy of the Makefile beside a Python that only writes down what it is asked to do."""
    log = tmp_path / "log"
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "workbench"):
        tool = tmp_path / ".venv" / "bin" / name
        tool.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n')
        tool.chmod(0o755)

    def make(*arguments: str) -> list[str]:
        log.write_text("")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PIP_"))}
        subprocess.run(["make", *arguments], cwd=tmp_path, check=True, capture_output=True, env=environment)
        return log.read_text().splitlines()

    return make


def test_make_app_installs_once_torch_first_and_then_only_starts(pretend):
    first = pretend("app")
    installs = [line for line in first if "pip install" in line and "--upgrade pip" not in line]
    assert installs == ["python -m pip install torch==2.13.0", "python -m pip install -e .[dev]"]
    assert first[-1] == "workbench app"
    assert pretend("app") == ["workbench app"]


def test_make_installs_again_when_the_project_changed(pretend, tmp_path):
    pretend("app")
    stamp = (tmp_path / ".venv" / ".installed").stat().st_mtime
    os.utime(tmp_path / "pyproject.toml", (stamp + 10, stamp + 10))
    assert any("pip install -e" in line for line in pretend("app"))


def test_ci_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("exec make test")
    subprocess.run(["sh", "-n", str(script)], check=True)
