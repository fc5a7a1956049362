"""The command line: what it prints, how it ends, and what it must not import to say so."""

import csv
import errno
import io
import json
import os
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest

import workbench
from workbench import registry
from workbench.cli import main
from workbench.cli.app import command
from workbench.index import index
from workbench.models.catalogue import CATALOGUE

SIZES = "--batch-size must be a whole number of at least 1, not {}."
LENS = ("run", "logit-lens", "--model", "micro")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("list",),
        ("models",),
        ("study", "list"),
        ("study", "--help"),
        ("run", "--help"),
        ("app", "--help"),
        ("check", "--help"),
        ("capture", "--help"),
        ("run", "no-such-analysis"),
    ],
    ids=" ".join,
)
def test_answers_without_torch(arguments):
    code = (
        "import sys; from workbench.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'pandas', 'plotly', 'streamlit', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == (2 if arguments[-1] == "no-such-analysis" else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_help_of_one_analysis_imports_only_that_one():
    code = (
        "import sys; from workbench.cli import main; assert main(['run', 'attention', '--help']) == 0;"
        "loaded = [m for m in sys.modules if m.startswith('workbench.analyses.readout') or m.startswith('probes')];"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_lists_every_analysis_and_model(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(e.name in printed and e.summary in printed for e in index().analyses.values())
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in CATALOGUE)


def test_flags_come_from_the_signature(capsys):
    assert main(["run", "logit-lens", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for p in registry.get("logit-lens").params:
        assert p.help.rstrip(".") in printed
        assert p.kind == "prompt" or f"--{p.name.replace('_', '-')}" in printed
    assert "(default: smollm2-135m)" in printed


def test_writes_every_form_that_was_asked_for(tmp_path, capsys):
    out, figure = tmp_path / "r.safetensors", tmp_path / "f.html"
    assert main([*LENS, "abab", "--top-k", "2", "--out", str(out), "--figure", str(figure)]) == 0
    result = workbench.load_result(out)
    assert result.meta["params"] | {"prompt": "abab", "top_k": 2} == result.meta["params"]
    assert "plotly.js" in figure.read_text()
    printed = capsys.readouterr().out
    assert f"({len(result.to_frame())} rows; --json or --csv prints them all)" in printed


def test_a_table_without_rows_is_said_to_have_none(capsys):
    arguments = ["run", "attention-operations", "abc", "--model", "tiny:gpt2", "--kappa", "90"]
    assert main(arguments) == 0
    *_, said, table = capsys.readouterr().out.splitlines()
    assert said.endswith("There is no operation to show.") and table == "(no rows)"


def test_a_path_is_asked_for_as_its_help_says(capsys):
    run = ["run", "path-decomposition", "abc", "--model", "tiny:gpt2"]
    assert main([*run, "--path", "0.1,1.0"]) == main([*run, "--path", "0.1", "--path", "1.0"]) == 0
    assert main([*run, "--path", "0.1;1.0"]) == 2
    assert "LAYER.HEAD" in capsys.readouterr().err


def test_prints_json_and_csv(capsys):
    assert main([*LENS, "abab", "--json"]) == 0
    records = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    frame = workbench.logit_lens(workbench.load("micro"), "abab").to_frame()
    assert len(records) == len(frame)
    for column in frame.select_dtypes("floating"):
        assert [r[column] for r in records] == pytest.approx(frame[column].tolist(), rel=1e-6)
    assert main([*LENS, "abab", "--csv"]) == 0
    assert len(list(csv.reader(io.StringIO(capsys.readouterr().out)))) == len(frame) + 1


def test_json_writes_what_is_undefined_as_null():
    from workbench.cli.output import records

    frame = pd.DataFrame(
        {"a": [1.0, float("nan")], "b": pd.Series(["x", "\ud800"], dtype=object), "c": [float("inf"), 0.1]}
    )
    assert json.loads(records(frame), parse_constant=pytest.fail) == [
        {"a": 1.0, "b": "x", "c": None},
        {"a": None, "b": "\ud800", "c": 0.1},
    ]


def test_token_text_cannot_command_the_terminal(capsys):
    assert main([*LENS, "a\x1b[2Jb\x07"]) in (0, 2)
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\x07" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("nope",), "No command called 'nope'"),
        (("run",), "the following arguments are required: ANALYSIS"),
        (("run", "logit-lense"), "No analysis called 'logit-lense'. Did you mean 'logit-lens'?"),
        (("run", "logit-lens"), "the following arguments are required: PROMPT"),
        ((*LENS, "ab", "--top-k", "99"), "top_k must be a whole number from 1 to 20, not 99."),
        ((*LENS, "ab", "--top-k", "many"), "top_k must be a whole number from 1 to 20, not 'many'."),
        ((*LENS, "ab", "--top", "3"), "unrecognized arguments: --top 3"),
        ((*LENS, ""), "empty"),
        ((*LENS, "ab", "--out", "no/such/folder/r"), "The folder no/such/folder does not exist"),
        ((*LENS, "ab", "--figure", "f.gif"), "must end in one of .html"),
        ((*LENS, "ab", "--json", "--csv"), "not allowed with argument"),
        (("run", "logit-lens", "ab", "--model", "tiny:gtp2"), "No tiny model called 'gtp2'. Did you mean 'gpt2'?"),
        (("run", "logit-lens", "ab", "--model", "tiny:dinov2"), "dinov2"),
        (("check", "tiny:nope"), "No tiny model called 'nope'"),
        (("app", "--port", "0"), "--port must be from 1 to 65535"),
        (("fetch", "tiny:nope"), "No tiny model called 'nope'"),
        (("run", "ablate", "ab", "--model", "micro", "--sites", "embed=mean", "--reference", ""), "prompt is empty"),
        (("capture", "-", "--sites", "e", "--out", "s", "--batch-size", "x"), SIZES.format("'x'")),
        (("capture", "-", "--sites", "e", "--out", "s", "--batch-size", "0"), SIZES.format("'0'")),
        (("capture", "no-such-file", "--sites", "embed", "--out", "s"), "There is no file no-such-file"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_and_code_two(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(list(arguments)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("workbench: ")
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_bad_output_paths_are_refused_before_the_model_is_loaded(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("workbench.cli.load.load", lambda *_: pytest.fail("loaded"))
    assert main([*LENS, "ab", "--figure", str(tmp_path / "f.gif")]) == 2


def test_a_fault_of_ours_is_one_line_and_code_one(monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("workbench.cli.load.load", broken)
    monkeypatch.delenv("WORKBENCH_DEBUG", raising=False)
    assert main([*LENS, "ab"]) == 1
    line = capsys.readouterr().err
    assert (
        line
        == "workbench: this is a fault of the workbench: RuntimeError: two lines. Set WORKBENCH_DEBUG=1 to see where.\n"
    )
    monkeypatch.setenv("WORKBENCH_DEBUG", "1")
    assert main([*LENS, "ab"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.cli.load.load", stop)
    assert main([*LENS, "ab"]) == 130
    assert capsys.readouterr().err == "workbench: stopped.\n"


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    code = "import sys; from workbench.cli import main; sys.exit(main(['list']))"
    done = subprocess.run([sys.executable, "-uc", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


class Refusing(io.StringIO):
    """A screen that takes text and cannot keep it."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def write(self, text):
        return self.refuse("write") or super().write(text)

    def flush(self):
        self.refuse("flush")

    def refuse(self, now):
        if now == self.where:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["write", "flush"])
def test_output_to_a_full_disk_is_one_line_and_code_two(where, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Refusing(where))
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "workbench: the output could not be written: No space left on device.\n"


def test_output_that_may_not_grow_is_one_line_and_code_two(tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from workbench.cli import main; sys.exit(main(['list']))"
    )
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run([sys.executable, "-Bc", code], stdout=out, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "workbench: the output could not be written: File too large.\n")


def test_checks_a_model(capsys):
    assert main(["check", "tiny:gpt2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok") for line in lines)
    assert not any(line.startswith("FAILED") for line in lines)


def test_a_failed_check_shows_in_the_exit_code(monkeypatch, capsys):
    from workbench.models.checks import Check

    found = (Check(name="rows", passed=False, detail="off by 1"), Check(name="size", passed=None, detail="3"))
    monkeypatch.setattr("workbench.models.checks.check", lambda _, **_options: found)
    assert main(["check", "micro"]) == 1
    assert capsys.readouterr().out.splitlines() == ["FAILED  rows  off by 1", "-       size  3"]


def test_fetches_nothing_for_a_model_that_is_here(capsys):
    assert main(["fetch", "micro"]) == 0
    assert "comes with the workbench" in capsys.readouterr().out
    assert main(["fetch", "tiny:gpt2"]) == 0
    assert "there is nothing to fetch" in capsys.readouterr().out


def test_captures_to_a_store_and_again(tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("abab\n\nlonger text\nxyz\n")
    arguments = ["capture", str(tmp_path / "texts.txt"), "--model", "micro", "--sites", "blocks.*.resid_post"]
    assert main([*arguments, "--batch-size", "2", "--out", str(tmp_path / "store")]) == 0
    assert main([*arguments, "--batch-size", "2", "--out", str(tmp_path / "store")]) == 0
    assert "3 inputs, 2 sites: " in capsys.readouterr().out
    assert workbench.ActivationStore(tmp_path / "store") is not None


def test_the_app_listens_here_only_and_sends_no_statistics():
    words = command(8600)
    assert words[words.index("--server.address") + 1] == "127.0.0.1"
    assert words[words.index("--browser.gatherUsageStats") + 1] == "false"
    assert words[words.index("--server.headless") + 1] == "true"
    assert words[4].endswith("main.py")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_the_app_starts_and_ends_with_its_command(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["app", "--no-browser", "--model", "micro", "--prompt", "a&b", "--port", str(port)]
    command = [sys.executable, "-m", "workbench.cli", *arguments]
    app = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert app.stdout is not None
        assert app.stdout.readline().startswith(
            f"The workbench is at http://127.0.0.1:{port}/?model=micro&prompt=a%26b "
        )
        until = time.monotonic() + 120
        while not answers(port) and time.monotonic() < until:
            time.sleep(0.1)
        assert answers(port)
    finally:
        app.terminate()
        app.communicate()
    assert app.returncode == 0
    assert not answers(port)


def test_a_port_that_is_taken_is_a_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["app", "--no-browser", "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another with --port" in capsys.readouterr().err


def test_progress_is_silent_where_nobody_looks(capfd):
    from workbench.cli.progress import shown
    from workbench.progress import report

    with shown():
        report("work", 1, 2)
    assert capfd.readouterr().err == ""


def test_progress_is_one_line_that_is_wiped(monkeypatch):
    from io import StringIO

    from workbench.cli import progress
    from workbench.progress import report

    class Terminal(StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(progress, "EVERY", 0)
    with progress.shown():
        report("work", 1, 2)
    assert terminal.getvalue() == "\r\x1b[Kwork 1/2  50%\r\x1b[K"
