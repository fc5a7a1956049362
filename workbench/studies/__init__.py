"""Case studies: a question, the claims of a paper as numbers that can fail, and the code that measures them."""

from typing import TYPE_CHECKING

from workbench.lazy import lazily

if TYPE_CHECKING:
    from workbench.studies.apart import run_apart
    from workbench.studies.form import Claim, Findings, Study, known, study
    from workbench.studies.judging import Verdict, verdicts
    from workbench.studies.keeping import changed_since, keep, kept
    from workbench.studies.opening import Opening
    from workbench.studies.running import StudyRun, run_study, work_folder
    from workbench.studies.together import Ran, run_all
    from workbench.studies.writing import notebook, write_notebook

__all__ = [
    "Claim",
    "Findings",
    "Opening",
    "Ran",
    "Study",
    "StudyRun",
    "Verdict",
    "changed_since",
    "keep",
    "kept",
    "known",
    "notebook",
    "run_all",
    "run_apart",
    "run_study",
    "study",
    "verdicts",
    "work_folder",
    "write_notebook",
]

_HOMES = {
    "apart": ("run_apart",),
    "form": ("Claim", "Findings", "Study", "known", "study"),
    "judging": ("Verdict", "verdicts"),
    "keeping": ("changed_since", "keep", "kept"),
    "opening": ("Opening",),
    "running": ("StudyRun", "run_study", "work_folder"),
    "together": ("Ran", "run_all"),
    "writing": ("notebook", "write_notebook"),
}
__getattr__, __dir__ = lazily(__name__, _HOMES)
