"""Case studies: a question, the claims of a paper as numbers that can fail, and the code that measures them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.studies.form import Claim, Findings, Study, known, study
    from workbench.studies.judging import Verdict, verdicts
    from workbench.studies.running import StudyRun, run_study, work_folder
    from workbench.studies.writing import notebook, write_notebook

_HOMES = {
    "Claim": "form",
    "Findings": "form",
    "Study": "form",
    "StudyRun": "running",
    "Verdict": "judging",
    "known": "form",
    "notebook": "writing",
    "run_study": "running",
    "study": "form",
    "verdicts": "judging",
    "work_folder": "running",
    "write_notebook": "writing",
}
__all__ = [
    "Claim",
    "Findings",
    "Study",
    "StudyRun",
    "Verdict",
    "known",
    "notebook",
    "run_study",
    "study",
    "verdicts",
    "work_folder",
    "write_notebook",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
