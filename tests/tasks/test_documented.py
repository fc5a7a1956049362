"""The page on tasks names what there is, and its table of prompts is one."""

from pathlib import Path

from workbench.functional import METRICS
from workbench.tasks import BUILTIN
from workbench.tasks.user_file import rows

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()


def test_every_task_and_metric_is_on_the_page():
    assert all(f"| `{name}` |" in PAGE for name in BUILTIN)
    assert all(f"| `{name}` |" in PAGE for name in METRICS)
    for name, built_in in BUILTIN.items():
        line, measured = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
        assert built_in.metric in measured
        assert line.endswith(f"| {built_in.metric} |")
        assert built_in.about.endswith(".") and len(built_in.about) <= 110


def test_the_table_on_the_page_can_be_read(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(PAGE.partition("```\nclean")[2].partition("```")[0].join(["clean", ""]))
    first, second = rows(path)
    assert (first.targets, first.foils) == ((" cold",), (" small",))
    assert (second.clean, second.targets) == ("Red, blue and", (" green", "yellow"))
