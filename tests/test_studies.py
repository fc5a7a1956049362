"""The form of case studies, verdicts on claims that fail, the induction study itself, and its notebook."""

import ast
import dataclasses
import functools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import nbformat
import pytest

import workbench
from workbench import studies
from workbench.cli import main
from workbench.studies import Claim, Findings, running

STUDIES = studies.known()
LONGER = ("attention_flow", "attention_viz", "ioi")
"""Studies of minutes, the last two on whole packaged models. Their notebooks are the same code as the studies, which
`make studies` runs."""
REAL = ("addition_pretrained",)
"""Studies of seconds that look into a real model, too."""


def claim(**changes):
    given = {"quantity": "q", "relation": "<", "bound": 1.0, "says": "It is small.", "source": "somebody (2020)"}
    return Claim(**given | changes)


def verdict(value, **changes):
    return studies.verdicts(Findings(numbers={} if value is None else {"q": value}), [claim(**changes)])[0]


@pytest.mark.parametrize(
    ("relation", "below", "equal", "above"),
    [("<", True, False, False), ("<=", True, True, False), (">", False, False, True), (">=", False, True, True)],
)
def test_a_claim_is_held_against_the_number(relation, below, equal, above):
    for value, holds in ((0.5, below), (1.0, equal), (1.5, above)):
        assert verdict(value, relation=relation).outcome == ("holds" if holds else "fails")


def test_a_claim_that_fails_says_so_with_its_numbers():
    found = verdict(3.0)
    assert (found.outcome, found.as_expected) == ("fails", False)
    assert found.reason == "3, not < 1"


def test_one_bad_seed_fails_a_claim_and_only_it_is_named():
    found = verdict({0: 0.1, 1: 2.5, 2: 0.2}, seeds=(0, 1, 2))
    assert (found.outcome, found.reason) == ("fails", "2.5 (seed 1), not < 1")


def test_a_seed_that_was_not_measured_fails_a_claim():
    found = verdict({0: 0.1}, seeds=(0, 1))
    assert (found.outcome, found.reason) == ("fails", "not measured for seed 1")


def test_an_undefined_number_never_holds():
    for relation in studies.form.RELATIONS:
        found = verdict(math.nan, relation=relation)
        assert found.outcome == "fails"
        assert "undefined" in found.reason


def test_what_is_known_not_to_reproduce_is_shown_with_the_reason():
    found = verdict(3.0, not_reproduced="the model is too small")
    assert (found.outcome, found.as_expected) == ("does not reproduce", True)
    assert found.reason == "3, not < 1: the model is too small"
    after_all = verdict(0.5, not_reproduced="the model is too small")
    assert (after_all.outcome, after_all.as_expected) == ("holds after all", False)


def test_what_a_study_skipped_is_neither_held_nor_failed_and_says_why():
    findings = Findings(numbers={"other.q": 0.5}, skipped={"large.": "large cannot be had: no network."})
    names = ("large.q", "larger.q", "other.q")
    skipped, unsaid, other = studies.verdicts(findings, [claim(quantity=name) for name in names])
    assert (skipped.outcome, skipped.reason) == ("not measured", "large cannot be had: no network.")
    assert (unsaid.outcome, other.outcome) == ("fails", "holds")


def test_what_this_form_does_not_measure_is_neither_held_nor_failed():
    assert verdict(None, form="train").outcome == "not measured"
    assert verdict(None).outcome == "fails"


# ---- the form -------------------------------------------------------------------------------------------

STUDY = '''"""How large is one?"""

from dataclasses import dataclass

from workbench import studies


@dataclass(frozen=True, kw_only=True)
class Config:
    train: bool = False
    long: bool = False


# A comment above a function.
def run(config: Config) -> studies.Findings:
    return studies.Findings(numbers={"one": 1.0, "none": {0: float("nan")}, "trained": float(config.train)})
'''


@pytest.fixture
def root(tmp_path):
    """A checkout with one study of three claims: one holds, one fails, one is a control."""
    folder = tmp_path / "case_studies" / "small"
    folder.mkdir(parents=True)
    (folder / "study.py").write_text(STUDY)
    base = {"says": "Something.", "source": "us"}
    claims = [
        {"quantity": "one", "relation": ">=", "bound": 1, **base},
        {"quantity": "one", "relation": ">", "bound": 2, **base},
        {"quantity": "trained", "relation": "<", "bound": 0.5, "control": True, **base},
    ]
    (folder / "expected.json").write_text(json.dumps({"question": "How large is one?", "claims": claims}))
    return folder.parent


def test_running_judges_every_claim_and_saves_what_was_found(root, tmp_path):
    run = studies.run_study("small", root=root)
    assert [v.outcome for v in run.verdicts] == ["holds", "fails", "holds"]
    assert not run.as_expected
    assert run.to_frame()["outcome"].tolist() == ["holds", "fails", "holds"]
    found = json.loads((run.save(tmp_path / "out" / "deep") / "findings.json").read_text())
    assert found["numbers"] == {"one": 1.0, "none": {"0": None}, "trained": 0.0}
    assert [v["outcome"] for v in found["verdicts"]] == ["holds", "fails", "holds"]
    assert studies.run_study("small", train=True, root=root).verdicts[2].outcome == "fails"


# ---- what is kept ---------------------------------------------------------------------------------------

SHOWING = STUDY.replace(
    "float(config.train)}",
    """float(config.train)},
        tables={"Rows": pd.DataFrame({"n": [1, 2], "x": [0.1, float("nan")], "word": ["a", None], "odd": [{1}, 2]})},
        figures={"Line": go.Figure(go.Scatter(x=np.arange(3), y=np.array([0.5, np.nan, 2.0])))},
        skipped={"big.": "big cannot be had."},
    """,
).replace(
    "from dataclasses", "import numpy as np\nimport pandas as pd\nimport plotly.graph_objects as go\nfrom dataclasses"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_what_was_found(root, cache):
    assert studies.kept("small", root) is None
    (root / "small" / "study.py").write_text(SHOWING)
    run = studies.run_study("small", root=root)
    path = studies.keep(run)
    assert path == cache / "studies" / "small" / "finding.json" and path.parent == studies.work_folder("small")
    found = studies.kept("small", root)
    assert found.study == run.study
    assert [v.claim for v in found.verdicts] == list(run.study.claims)
    assert [(v.outcome, v.reason, v.values) for v in found.verdicts] == [
        (v.outcome, v.reason, v.values) for v in run.verdicts
    ]
    for name in ("form", "seconds", "when", "versions", "digest"):
        assert getattr(found, name) == getattr(run, name), name
    assert found.findings.numbers["one"] == 1.0 and math.isnan(found.findings.numbers["none"][0])
    assert found.findings.skipped == run.findings.skipped
    rows = found.findings.tables["Rows"]
    assert rows["n"].tolist() == [1, 2] and rows["word"][0] == "a" and rows["word"].isna().tolist() == [False, True]
    assert rows["x"][0] == 0.1 and math.isnan(rows["x"][1])
    assert json.loads(found.findings.figures["Line"].to_json()) == json.loads(run.findings.figures["Line"].to_json())
    assert not studies.changed_since(found)
    (root / "small" / "study.py").write_text(SHOWING + "# another line\n")
    assert studies.changed_since(found)


def test_interrupted_writing_leaves_the_old_finding(root, cache, monkeypatch):
    run = studies.run_study("small", root=root)
    before = studies.keep(run).read_bytes()

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        studies.keep(dataclasses.replace(run, form="long"))
    (only,) = (cache / "studies" / "small").iterdir()
    assert only.read_bytes() == before and studies.kept("small", root).form == "fast"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("workbench-finding-1", "workbench-finding-9"),
        lambda text: text.replace('"quantity"', '"quality"'),
        lambda text: text.replace('"versions": {', '"versoins": {'),
    ],
)
def test_a_damaged_finding_is_a_sentence(root, cache, change):
    path = studies.keep(studies.run_study("small", root=root))
    path.write_text(change(path.read_text()))
    with pytest.raises(workbench.BadFile, match="run the study again"):
        studies.kept("small", root)


def test_a_finding_that_cannot_be_kept_is_said_and_the_verdicts_stand(root, cache, capsys):
    cache.write_text("a file where the cache should be")
    assert main(["study", "run", "small", "--folder", str(root)]) == 1
    told = capsys.readouterr()
    assert "2 of the 3 claims" in told.out and "the app will not show this finding" in told.err


def test_a_study_apart_is_stopped_at_once(root, cache):
    import time

    from workbench.progress import reporting

    (root / "small" / "study.py").write_text(STUDY.replace("    return", "    import time; time.sleep(60)\n    return"))
    started, heard = time.monotonic(), []

    def listener(label, done, total):
        heard.append(label)
        if time.monotonic() - started > 1:
            raise workbench.errors.Stopped("stopped")

    with reporting(listener), pytest.raises(workbench.errors.Stopped):
        studies.run_apart("small", root=root)
    assert time.monotonic() - started < 30 and heard[0].startswith("Starting small, 0 s")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e.update(question=" "), "question is empty"),
        (lambda e: e.pop("claims"), "lacks 'claims'"),
        (lambda e: e["claims"].pop(), "no claim is a control"),
        (lambda e: e["claims"][0].pop("source"), "missing or unknown source"),
        (lambda e: e["claims"][0].update(colour="red"), "missing or unknown colour"),
        (lambda e: e["claims"][0].update(relation="~"), "relation is one of"),
        (lambda e: e["claims"][0].update(bound="one"), "bound is a number"),
        (lambda e: e["claims"].append(3), "a claim is an object"),
    ],
)
def test_claims_that_cannot_be_read_are_a_sentence(root, change, sentence):
    path = root / "small" / "expected.json"
    written = json.loads(path.read_text())
    change(written)
    path.write_text(json.dumps(written))
    with pytest.raises(workbench.BadFile, match=sentence):
        studies.study("small", root)


# ---- links into the app ---------------------------------------------------------------------------------

LINK = {"says": "Its heads", "page": "head", "model": "checkpoints/a"}


def with_link(root, link):
    (root / "small" / "checkpoints" / "a").mkdir(parents=True, exist_ok=True)
    (root / "small" / "task.json").write_text("{}")
    path = root / "small" / "expected.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "opens": [link]}))
    return studies.study("small", root).opens[0]


def test_a_link_names_its_page_with_absolute_paths(root):
    found = with_link(root, {**LINK, "prompt": "a b&c", "options": {"layer": "0", "task": "./task.json:one"}})
    path, _, query = found.address.partition("?")
    assert path == "head"
    folder = str(root / "small")
    assert parse_qs(query) == {
        "model": [f"{folder}/checkpoints/a"],
        "prompt": ["a b&c"],
        "layer": ["0"],
        "task": [f"{folder}/task.json:one"],
    }
    assert with_link(root, {**LINK, "model": "micro"}).query == {"model": "micro", "prompt": ""}
    assert with_link(root, {**LINK, "page": "analysis-logit-lens"}).address.startswith("analysis-logit-lens?")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "checkpoints/b"}, "neither a folder of the study .checkpoints/a. nor a name .*smollm2-135m"),
        ({"model": "../.."}, "neither a folder of the study"),
        ({"page": "analysis-logit-lense"}, "no analysis is called 'logit-lense'; near it: logit-lens"),
        ({"page": ""}, "page is a text"),
        ({"color": "red"}, "missing or unknown color"),
        ({"options": {"layer": 0}}, "layer is a text, not 0"),
        ({"options": ["layer"]}, "options are an object"),
        ({"options": {"model": "micro"}}, "model stands beside options"),
        ({"options": {"task": "./tusk.json"}}, "has no tusk.json; it has .*task.json"),
    ],
)
def test_a_wrong_link_is_a_sentence_that_names_it(root, change, sentence):
    with pytest.raises(workbench.BadFile, match=sentence) as raised:
        with_link(root, {**LINK, **change})
    assert "the link 'Its heads'" in str(raised.value)


@pytest.mark.parametrize("name", STUDIES)
def test_every_link_of_a_study_names_a_page_and_options_that_exist(name):
    from apps.menu import OPTIONS, OWN
    from workbench import registry

    opens = studies.study(name).opens
    assert len(opens) >= 2
    for link in opens:
        if link.page in OWN:
            assert set(link.options) <= OPTIONS[link.page], link
        else:
            analysis = registry.get(link.page.removeprefix("analysis-"))
            assert set(link.options) <= {p.name for p in analysis.params if p is not analysis.prompt}, link
            assert bool(link.prompt) == (analysis.prompt is not None), link
        if Path(link.model).is_absolute():
            assert list(Path(link.model).glob("**/config.json")), link


def test_an_unknown_study_is_a_sentence(root):
    with pytest.raises(workbench.UnknownName, match="Did you mean 'small'"):
        studies.study("smal", root)
    with pytest.raises(workbench.UnknownName, match="work from a checkout"):
        studies.study("small", root / "nowhere")


def test_a_study_without_run_is_a_sentence(root):
    path = root / "small" / "study.py"
    path.write_text(path.read_text().replace("def run(", "def walk("))
    with pytest.raises(workbench.BadFile, match="has no run"):
        studies.run_study("small", root=root)


def test_a_notebook_is_the_code_in_order(root):
    cells = json.loads(studies.notebook("small", root))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code[0].startswith("from dataclasses import dataclass")
    assert code[1].startswith("@dataclass")
    assert code[2].startswith("# A comment above a function.\ndef run(")
    without_docstring = STUDY.partition("\n\n")[2]
    assert "".join("".join(code[:3]).split()) == "".join(without_docstring.split())


def test_the_claims_of_a_notebook_need_nothing_that_the_study_imports(root, monkeypatch):
    assert "import workbench\n" not in STUDY
    monkeypatch.setattr(studies, "study", functools.partial(studies.study, root=root))
    cells = [cell for cell in json.loads(studies.notebook("small", root))["cells"] if cell["cell_type"] == "code"]
    names: dict = {"__name__": "__main__", "findings": Findings(numbers={"one": 1.0, "trained": 0.0})}
    (judged,) = ("".join(cell["source"]) for cell in cells if "verdicts(" in "".join(cell["source"]))
    exec(judged, names)
    assert [claim.quantity for claim in names["claims"]] == ["one", "one", "trained"]


def test_the_study_of_the_documentation_runs(tmp_path, cache):
    """Its claims hold on the micro model, its links are links of the app, and its notebook can be made."""
    from apps.menu import OPTIONS

    text = (Path(__file__).parents[1] / "docs" / "case_studies.md").read_text()
    read, code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (expected,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    root = tmp_path / "case_studies"
    root.mkdir()
    copied(root, "own", code, json.loads(expected))
    run = studies.run_study("own", root=root)
    assert [v.outcome for v in run.verdicts] == ["holds", "holds"], run
    assert all(set(link.options) <= OPTIONS.get(link.page, set()) for link in run.study.opens)
    assert "second.best > 0.6" in studies.notebook("own", root)
    for name in re.findall(r"studies\.(\w+)\(", read + code):
        assert name in studies.__all__
    for name in re.findall(r"^\| ([\w ]+) \| [it]", text, re.MULTILINE):
        assert name in ("holds", "fails", "does not reproduce", "holds after all", "not measured")
    relabelled = code.replace("best[1]", "best[0]")  # without the effect the claim fails
    (root / "own" / "study.py").write_text(relabelled)
    assert studies.run_study("own", root=root).verdicts[0].outcome == "fails"


# ---- every study there is -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_complete(name):
    study = studies.study(name)
    for file in studies.form.FILES:
        assert (study.folder / file).is_file(), file
    readme = (study.folder / "README.md").read_text()
    assert study.question in readme
    assert f"workbench study run {name}" in readme
    for line in readme.splitlines():
        if line.startswith("!["):
            assert (study.folder / line.partition("](")[2].rstrip(")")).is_file(), line
    assert sum(file.stat().st_size for file in study.folder.rglob("*") if file.suffix != ".pyc") < 5_000_000


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_uses_only_what_is_public(name):
    for path in studies.study(name).folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "workbench" or alias.name == "workbench" for alias in node.names)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "workbench":
                package = __import__(str(node.module), fromlist=["__all__"])
                for alias in node.names:
                    assert alias.name in package.__all__ or is_public_package(node.module, alias.name), ast.unparse(
                        node
                    )


def is_public_package(package, name):
    """Whether it is a package whose own `__all__` says what is public."""
    return hasattr(__import__(f"{package}.{name}", fromlist=["__all__"]), "__all__")


@pytest.mark.parametrize("name", STUDIES)
def test_the_notebook_is_made_from_the_study_and_holds_no_outputs(name):
    text = (studies.study(name).folder / "notebook.ipynb").read_text()
    assert text == studies.notebook(name), f"run `workbench study notebook {name}`"
    written = nbformat.reads(text, as_version=4)
    nbformat.validate(written)
    assert all(not cell.outputs and cell.execution_count is None for cell in written.cells if cell.cell_type == "code")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.real] * (name in REAL)) for name in STUDIES if name not in LONGER]
)
def test_the_notebook_runs(name, tmp_path):
    from nbclient import NotebookClient

    written = nbformat.read(studies.study(name).folder / "notebook.ipynb", as_version=4)
    checkout = str(studies.form.ROOT.parent)
    NotebookClient(written, timeout=280, resources={"metadata": {"path": checkout}}).execute()
    printed = "".join(o.get("text", "") for cell in written.cells for o in cell.get("outputs", []))
    assert printed.count("holds:") >= 10
    assert "fails:" not in printed
    shown = [o for cell in written.cells for o in cell.get("outputs", []) if o.output_type == "display_data"]
    assert any("application/vnd.plotly.v1+json" in o.data for o in shown)


@pytest.mark.parametrize(
    ("name", "measured"),
    [("ioi", set()), ("attention_viz", set()), ("addition_pretrained", {"waves.test"})],
)
def test_a_model_that_cannot_be_had_is_skipped_and_the_study_says_so(name, measured, cache, monkeypatch):
    """Neither a traceback nor a pass: its claims are not measured, with the reason; the others go on."""
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    monkeypatch.setattr("workbench.models.sources.hub.cached", lambda *_: None)
    found = studies.study(name)
    module = running._module(found)
    if name == "addition_pretrained":  # its models in miniature are in the checkout
        monkeypatch.setattr(module, "miniature", lambda _: ({"waves.test": dict.fromkeys((0, 1, 2), 1.0)}, {}, {}))
    findings = module.run(module.Config())
    claims = [claim for claim in found.claims if claim.form == "fast"]
    verdicts = studies.verdicts(findings, claims)
    assert {v.claim.quantity for v in verdicts if v.outcome == "holds"} == measured
    left = [v for v in verdicts if v.outcome == "not measured"]
    assert len(left) >= 20 and all("could not be had" in v.reason for v in left)
    wrong = {v.claim.quantity.partition(".")[0] for v in verdicts if v.outcome == "fails"}
    assert wrong <= {"scratch", "exchanged", "random", "untrained", "slow_waves", "waves"}  # what was not run here


SMALLER = {"induction": {"sequences": 2, "untrained_seeds": (0,), "examples": 8, "draws": 1}}
"""Of studies whose fast form takes long in a test: the same code on less."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["induction", "rank_collapse"])
def test_two_runs_with_the_same_seed_give_equal_numbers(name):
    module = running._module(studies.study(name))
    config = module.Config(**SMALLER.get(name, {}))
    first, again = (module.run(config).numbers for _ in range(2))
    assert len(first) > 10 and running.plain_numbers(first) == running.plain_numbers(again)


# ---- induction ------------------------------------------------------------------------------------------


def test_the_induction_study_gives_what_it_claims():
    run = studies.run_study("induction")
    assert run.as_expected, repr(run)
    outcomes = {verdict.claim.quantity: verdict.outcome for verdict in run.verdicts}
    assert outcomes["loss.without_induction_heads"] == "holds"
    assert outcomes["copying_score.lowest"] == "does not reproduce"
    assert sum(verdict.claim.control and verdict.outcome == "holds" for verdict in run.verdicts) >= 5
    assert set(run.findings.tables) == {
        *("Heads", "Removed heads", "Checkpoints", "Methods", "Routes"),
        *("Edges of the match", "The circuit over training"),
    }
    assert run.findings.figures


# ---- the command line -----------------------------------------------------------------------------------


def test_the_commands(capsys, tmp_path):
    assert main(["study", "list"]) == 0
    assert "Which heads let a two-layer" in capsys.readouterr().out
    assert main(["study", "notebook", "induction", "--out", str(tmp_path / "n.ipynb")]) == 0
    assert (tmp_path / "n.ipynb").read_text() == studies.notebook("induction")
    assert main(["study", "run", "nothing"]) == 2
    assert "No case study called 'nothing'" in capsys.readouterr().err


def test_running_prints_verdicts_and_ends_with_one_when_a_claim_fails(root, cache, capsys, tmp_path):
    assert main(["study", "run", "small", "--folder", str(root), "--out", str(tmp_path / "out")]) == 1
    out = capsys.readouterr().out
    assert "fails: Something.\n    one: 1, not > 2" in out
    assert "2 of the 3 claims measured here hold, 1 fails." in out
    assert Path(tmp_path / "out" / "findings.json").is_file()


def test_listing_studies_does_not_import_torch():
    code = "import sys; from workbench.cli import main; main(['study', 'list']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_what_was_not_measured_is_told_from_what_failed(root, cache, capsys):
    expected = root / "small" / "expected.json"
    said = json.loads(expected.read_text())
    said["claims"][0] |= {"quantity": "later", "form": "train"}
    said["claims"][1] |= {"not_reproduced": "One is not that large."}
    expected.write_text(json.dumps(said))
    assert main(["study", "run", "small", "--folder", str(root)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "1 of the 2 claims measured here holds, 1 does not reproduce; 1 was not measured here."


def test_all_studies_are_one_table_and_one_that_raises_keeps_no_other(root, cache, capsys, tmp_path):
    expected = json.loads((root / "small" / "expected.json").read_text())
    copied(root, "raising", STUDY.replace("    return", '    raise RuntimeError("it fell over")\n    return'), expected)
    copied(root, "broken", STUDY, {})
    expected["claims"][1] |= {"not_reproduced": "One is not that large."}
    expected["claims"].append({**expected["claims"][0], "quantity": "big.q"})
    skipping = STUDY.replace("float(config.train)}", 'float(config.train)}, skipped={"big.": "big cannot be had."}')
    copied(root, "skipping", skipping, expected)
    (root / "small" / "study.py").unlink()
    assert main(["study", "run", "--all", "--folder", str(root), "--out", str(tmp_path / "out")]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 120
    said = " ".join(out.split())
    for words in (
        "claim expected obtained control verdict",
        "broken (0 s) could not be run",
        "could not be run The study raising ended by an error: RuntimeError: it fell over.",
        "Something. >= 1 1 holds",
        "Something. > 2 1 does not reproduce 1, not > 2: One is not that large.",
        "Something. < 0.5 0 control holds",
        "1 claim not measured: big cannot be had.",
        "2 of the 3 claims measured here hold, 1 does not reproduce; 1 was not measured here.",
        "Could not be run: broken, raising.",
    ):
        assert words in said, words
    assert said.index("broken (0 s)") < said.index("raising (") < said.index("skipping (") < said.index("3 studies in")
    written = json.loads((tmp_path / "out" / "studies.json").read_text())
    assert [row["outcome"] for row in written] == [
        *["raised"] * 2,
        "holds",
        *["does not reproduce", "holds"],
        "not measured",
    ]
    assert (tmp_path / "out" / "studies.csv").read_text().startswith("study,")
    assert (tmp_path / "out" / "skipping" / "findings.json").is_file()
    assert studies.kept("skipping", root).findings.skipped == {"big.": "big cannot be had."}


def copied(root, name, code, expected):
    (root / name).mkdir()
    (root / name / "study.py").write_text(code)
    (root / name / "expected.json").write_text(json.dumps(expected))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name one study"),
        (["small", "--all"], "not both"),
        (["--all", "--long"], "one by one with --train or --long"),
        (["--all", "--jobs", "0"], "at least 1"),
    ],
)
def test_what_cannot_be_run_together_is_a_sentence(arguments, sentence, capsys):
    assert main(["study", "run", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_open_starts_the_app_on_what_was_found(root, cache, monkeypatch):
    asked = []

    def serve(page, query, **options):
        asked.append((page, query, options, studies.kept("small", root)))
        return 0

    monkeypatch.setattr("workbench.cli.app.serve", serve)
    assert main(["study", "run", "small", "--folder", str(root), "--open", "--no-browser", "--port", "8600"]) == 0
    ((page, query, options, found),) = asked
    assert (page, query, options) == ("studies", {"study": "small"}, {"port": 8600, "browser": False})
    assert [v.outcome for v in found.verdicts] == ["holds", "fails", "holds"]


def test_no_name_of_studies_is_hidden_by_a_module_of_the_same_name():
    """An imported submodule is bound in its package, in place of a function called alike that is loaded on demand."""
    from pkgutil import iter_modules

    assert not {module.name for module in iter_modules(studies.__path__)} & set(studies.__all__)
