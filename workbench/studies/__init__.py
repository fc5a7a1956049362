"""Case studies: a question, the claims of a paper as numbers that can fail, and the code that measures them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.studies.form import Claim, Findings, Study, known, study
    from workbench.studies.notebook import notebook, write_notebook
    from workbench.studies.running import StudyRun, run_study, work_folder
    from workbench.studies.verdicts import Verdict, verdicts

_HOMES = {
    "Claim": "form",
    "Findings": "form",
    "Study": "form",
    "StudyRun": "running",
    "Verdict": "verdicts",
    "known": "form",
    "notebook": "notebook",
    "run_study": "running",
    "study": "form",
    "verdicts": "verdicts",
    "work_folder": "running",
    "write_notebook": "notebook",
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
