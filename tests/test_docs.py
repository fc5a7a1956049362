"""The documents name what exists: tests, benchmarks, files, commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

ROOT = Path(__file__).parents[1]
PROMISES = (ROOT / "docs" / "promises.md").read_text()
README = (ROOT / "README.md").read_text()


def named_tests():
    path = ""
    for file, test in re.findall(r"`([\w/]+\.py)?(?:::(\w+))?`", PROMISES):
        path = file or path
        if file or test:
            yield path, test


def test_every_test_that_keeps_a_promise_exists():
    found = list(named_tests())
    assert len(found) > 60
    for path, test in found:
        text = (ROOT / "tests" / path).read_text()
        assert not test or f"def {test}(" in text, f"{path}::{test}"


def test_every_benchmark_that_keeps_a_promise_exists():
    code = "import tests.benchmarks.__main__ as m; m.main(['no such benchmark'])"
    listed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    table = PROMISES.partition("## Speed and size")[2]
    rows = re.findall(r"^\| [^|]+ \| (.+) \|$", table, re.MULTILINE)[1:]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) >= 13
    for name in names:
        assert name in listed, name


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/promises.md",
        "docs/add_an_analysis.md",
        "docs/your_own_model.md",
        "docs/your_own_data.md",
        "docs/token_attribution.md",
        "docs/circuits.md",
        "docs/joint_qk.md",
        "docs/tasks.md",
        "docs/fourier.md",
        "docs/in_context.md",
        "docs/case_studies.md",
        "docs/sinks.md",
        "docs/heads.md",
        "docs/rank_collapse.md",
        "docs/training.md",
        "docs/attention_operations.md",
    ],
)
def test_every_link_of_a_document_leads_somewhere(document):
    text = (ROOT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    for link in links:
        assert ((ROOT / document).parent / link.partition("#")[0]).exists(), link


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    """On the micro model, so that it needs no download; the names and calls are the README's own."""
    monkeypatch.chdir(tmp_path)
    first, own, inside = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict = {"my_sentences": ["abc", "the cat sat"]}
    exec(first.replace("smollm2-135m", "micro"), scope)
    assert len(scope["result"].to_frame()) > 0 and scope["result"].meta["params"]["top_k"] == 3
    assert (tmp_path / "lens.safetensors").exists()
    exec(inside.replace("blocks.18", "blocks.1"), scope)
    assert scope["values"]["blocks.1.attn.pattern"].shape[1] == 4
    assert len(scope["store"]) == 4 + 12
    import workbench

    for call in re.findall(r"workbench\.(\w+)\(", own):
        assert call in workbench.__all__


def test_the_commands_of_the_readme_are_commands():
    commands = re.findall(r"(?:^|`|    )workbench (\w+)(?: ([\w-]+))?", README, re.MULTILINE)
    assert {"list", "run", "models", "check", "study"} <= {name for name, _ in commands}
    shown = subprocess.run(
        [Path(sys.executable).with_name("workbench"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    for name, _ in commands:
        assert name in shown
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_row_of_ones_own_model_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row, small = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "your_own_model.md").read_text(), re.DOTALL)
    scope: dict = {}
    exec(row, scope)
    assert [c.name for c in scope["checks"] if c.passed is False] == [
        "numeric regime"
    ]  # a new module is in training mode
    assert scope["result"].patterns.shape == (3, 2, 5, 5)
    exec(small, scope)
    assert [row["step"] for row in scope["trained"].history] == [0, 10, 20]
    assert scope["model"].labels(scope["model"].encode("3 + 4 =")) == ("3", "+", "4", "=")


def test_the_sources_of_ones_own_data_run(tmp_path, monkeypatch):
    """Those that need no network; the others are names that can be read."""
    from PIL import Image

    from workbench.corpora import hub_data, sources

    monkeypatch.chdir(tmp_path)
    Path("sentences.txt").write_text("One line.\n\nAnother.\n")
    Path("reviews.csv").write_text("review,label\nVery good.,yes\n")
    Path("pictures/cats").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("pictures/cats/a.png")
    Path("pictures/b.jpg").write_bytes(b"")
    text = (ROOT / "docs" / "your_own_data.md").read_text()
    first, fetched, own = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict = {}
    exec(first.replace("smollm2-135m", "micro"), scope)
    assert scope["pictures"].groups == ("cats",) and "b.jpg" in scope["pictures"].note
    assert (scope["lines"].inputs, scope["table"].groups) == (("One line.", "Another."), ("yes",))
    assert (len(scope["built_in"]), len(scope["result"].to_frame()) > 0) == (20, True)
    exec(own, scope)
    assert scope["tagged"].groups == ("", "")
    named = re.findall(r'corpus\("([^"]+)"', fetched)
    assert len(named) == 5
    assert all(name in sources.OFFER or hub_data._SOURCE.fullmatch(name) for name in named)


def test_the_document_on_attribution_names_every_method_and_its_analysis():
    from workbench.analyses.attribution.methods import methods

    text = (ROOT / "docs" / "token_attribution.md").read_text()
    table = text.partition("## Methods")[2].partition("## The causal check")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    assert named == set(methods())
    for one in methods().values():
        assert f"`{one.analysis}`" in table or one.analysis == one.name, one.name


def test_the_python_of_the_document_on_attribution_runs():
    text = (ROOT / "docs" / "token_attribution.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = code.replace("smollm2-135m", "micro").replace('foil="London"', 'foil="L"')
    scope: dict = {}
    exec(code, scope)
    assert len(scope["found"].ranking()) >= 8


def test_the_document_on_joint_embeddings_runs_and_names_every_score():
    text = (ROOT / "docs" / "joint_qk.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = code.replace("smollm2-135m", "micro").replace("layer=18, head=6", "layer=1, head=2")
    scope: dict = {}
    exec(code, scope)
    assert scope["head"].n_pairs > 1000
    table = text.partition("## Numbers of heads")[2].partition("## Many inputs")[0]
    named = {name.strip() for row in re.findall(r"^\| ([a-zX:, ]+) \|", table, re.MULTILINE) for name in row.split(",")}
    for name in scope["matrix"].score_names:
        assert name in named or ("cluster:X" in named and name.startswith("cluster:")), name


def test_the_document_on_circuits_runs_and_names_every_method():
    text = (ROOT / "docs" / "circuits.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = code.replace('graph.save("circuit.json")', "saved = graph.to_json()")
    scope: dict = {}
    exec(code, scope)
    assert scope["graph"].n_kept == 8
    (method,) = (p for p in workbench.get("circuit").params if p.name == "method")
    table = text.partition("## Finding edges")[2].partition("## Judging")[0]
    assert set(re.findall(r"`([a-z-]+)`", table)) >= set(method.choices)
    named = set(re.findall(r"workbench\.(\w+)\(", text))
    assert named <= {*dir(workbench), "circuit_graph"}


def test_the_document_on_fourier_features_runs_and_names_what_there_is():
    from workbench.variables import names

    text = (ROOT / "docs" / "fourier.md").read_text()
    small = {"smollm2-135m": "micro", "my-modular-model": "tiny:gpt2", "0-58": "digits"}
    scope: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for long, short in small.items():
            code = code.replace(long, short)
        exec(code, scope)
    assert len(scope["letters"]) == 26 and scope["plane"].frequency == 2 and len(scope["pruned"].to_frame())
    assert all(f"`{name}`" in text for name in names())
    named = set(re.findall(r"workbench\.(\w+)\(", text))
    assert named <= {*dir(workbench)} | {"load", "variable"}


def test_the_document_on_training_runs_and_its_checkpoints_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "training.md").read_text()
    scope: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, scope)
    losses = [row["loss"] for row in scope["done"].history]
    assert [row["step"] for row in scope["done"].history] == [0, 10, 20, 30] and losses[-1] < losses[0]
    kept = {path.name for path in Path("repeats").glob("checkpoint-*")}
    assert kept == {f"checkpoint-{step}" for step in (0, 10, 20, 30)}
    assert set(re.findall(r"`training\.(\w+)\(", text)) <= set(workbench.training.__all__)


def test_the_document_on_sinks_runs_and_names_what_there_is():
    text = (ROOT / "docs" / "sinks.md").read_text()
    scope: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code.replace("smollm2-135m", "micro"), scope)
    assert len(scope["sinks"].to_frame()) and len(scope["heads"].heads) == 1
    assert len(scope["massive"].text_median) == 2 and scope["changed"].conditions[0] == "unaltered"
    named = set(re.findall(r"workbench\.(\w+)\(", text))
    assert named <= {*dir(workbench)}
    assert {"sink_mass", "norm_ratio", "is_massive", "softmax_with_bias"} <= {*dir(workbench.functional)}


def test_the_document_on_in_context_algorithms_runs_and_names_what_there_is():
    text = (ROOT / "docs" / "in_context.md").read_text()
    first, second, third = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict = {}
    exec(first, scope)
    assert scope["found"].closest() == "ridge" and scope["found"].lead().low > 0
    exec(second, scope)
    exec(third, scope)
    assert list(scope["found"].summary_frame()["predictor"]) == ["uniform", "unigram", "bigram", "trigram"]
    for name in ("preconditioned_descent", "bayes_posterior", "best_step_size", "nearest_labels"):
        assert f"`{name}`" in text and name in dir(workbench.functional)


def test_the_document_on_attention_operations_runs():
    text = (ROOT / "docs" / "attention_operations.md").read_text()
    scope: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code.replace("smollm2-135m", "micro").replace("most=300", "most=40"), scope)
    assert scope["found"].tried == 40 < scope["found"].possible
    assert scope["graph"].number_of_nodes()
    assert scope["functional"].look_ahead(scope["edges"], 0, 3) == 3
    assert scope["functional"].reach_by_merging(scope["adjacent"], 2)[:, 0].sum(-1).tolist() == [3, 5, 7]
    labels = re.findall(r"^\| ([a-z ]+) \| (?:depend|only|neither)", text, re.MULTILINE)
    from workbench.analyses.operations.labels import LABELS

    assert tuple(labels) == LABELS


def test_the_document_on_rank_collapse_runs_and_names_what_there_is():
    text = (ROOT / "docs" / "rank_collapse.md").read_text()
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, scope)
    assert scope["paths"].asked == "0.3 > 1.2" and abs(scope["paths"].rounding) < 1e-4
    assert len(scope["several"].positions) == 2
    named = {name for name in re.findall(r"`([a-z_]+)`", text) if name in workbench.functional.__all__}
    assert {"rank_residual", "dobrushin", "path_outputs", "path_length_sums"} <= named


def test_the_document_on_heads_runs_and_names_what_there_is():
    from workbench.analyses.heads.head_scores_result import CLASSES, SCORES

    text = (ROOT / "docs" / "heads.md").read_text()
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, scope)
    assert all(f"`{name}`" in text for name in SCORES)
    for name, score in CLASSES.items():
        limit = f"{scope['found'].thresholds[name]:g}".removeprefix("0")
        assert f"| {name} | `{score}` | {limit} |" in text
    assert scope["strict"]["induction"].sum() <= 4
