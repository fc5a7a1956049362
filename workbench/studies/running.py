"""Running a case study: import its code, measure, hold the claims against it, keep what was found."""

import hashlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.errors import BadFile
from workbench.files import write_atomically
from workbench.provenance import versions
from workbench.studies.form import ROOT, Findings, Study, study
from workbench.studies.judging import Verdict, verdicts

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyRun:
    """A study, what it measured this time, and what became of each claim."""

    study: Study
    form: str
    """fast, train or long."""
    findings: Findings
    verdicts: tuple[Verdict, ...]
    seconds: float = math.nan
    """How long it took, without starting Python."""
    when: str = ""
    """Date and time in UTC, as ISO 8601 has them."""
    versions: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    """Of the study's code and claims, as they were when it ran."""

    @property
    def as_expected(self) -> bool:
        """Whether no claim fails that should hold, nor the other way round."""
        return all(verdict.as_expected for verdict in self.verdicts)

    def to_frame(self) -> "pd.DataFrame":
        """One row for each claim and seed."""
        import pandas as pd

        rows = [
            {
                "claim": verdict.claim.says,
                "quantity": verdict.claim.quantity,
                "relation": verdict.claim.relation,
                "bound": verdict.claim.bound,
                "seed": label.removeprefix("seed "),
                "value": value,
                "outcome": verdict.outcome,
                "control": verdict.claim.control,
                "reason": verdict.reason,
                "source": verdict.claim.source,
            }
            for verdict in self.verdicts
            for label, value in (verdict.values or {"": math.nan}).items()
        ]
        return pd.DataFrame(rows)

    def save(self, folder: str | Path) -> Path:
        """Write `findings.json`, each table as CSV and each figure as HTML into `folder`, which is made if needed."""
        from workbench.plots import write_figure

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadFile(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
        for title, table in self.findings.tables.items():
            write_atomically(folder / f"{_file_name(title)}.csv", table.to_csv(index=False))
        for title, figure in self.findings.figures.items():
            write_figure(figure, folder / f"{_file_name(title)}.html")
        found = {
            "study": self.study.name,
            "question": self.study.question,
            "form": self.form,
            "when": self.when,
            "seconds": round(self.seconds, 1),
            "numbers": plain_numbers(self.findings.numbers),
            "skipped": dict(self.findings.skipped),
            "verdicts": [
                {"claim": str(v.claim), "says": v.claim.says, "outcome": v.outcome, "reason": v.reason}
                for v in self.verdicts
            ],
            "versions": dict(self.versions),
        }
        write_atomically(folder / "findings.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
        return folder

    def __repr__(self) -> str:
        lines = [f"{self.study.name} ({self.form}): {self.study.question}", *(f"  {v}" for v in self.verdicts)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown = self.to_frame()[["outcome", "claim", "quantity", "value", "relation", "bound", "seed", "reason"]]
        return shown.to_html(index=False, escape=True)


def run_study(name: str, *, train: bool = False, long: bool = False, root: Path = ROOT) -> StudyRun:
    """Run a case study and judge its claims.

    The fast form works on committed checkpoints, in seconds; `train` trains them again and compares; `long` does so
    for more seeds and controls (minutes to hours: its README says). Interrupted training goes on where it stopped.
    """
    found = study(name, root)
    started, digest = time.perf_counter(), digest_of(found.folder)
    module = _module(found)
    findings = module.run(module.Config(train=train or long, long=long))
    return StudyRun(
        study=found,
        form="long" if long else "train" if train else "fast",
        findings=findings,
        verdicts=verdicts(findings, found.claims),
        seconds=time.perf_counter() - started,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=dict(versions()),
        digest=digest,
    )


def digest_of(folder: Path) -> str:
    """Of a study's code and claims: another one when a line of them is changed."""
    found = hashlib.sha256()
    for path in sorted((*folder.glob("*.py"), folder / "expected.json")):
        found.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def work_folder(name: str) -> Path:
    """Where a study keeps what it trains, so that it can be cut off and go on: in the workbench's cache."""
    from workbench.models.sources.cache import cache_dir

    return cache_dir() / "studies" / name


def _module(found: Study) -> ModuleType:
    """The study's code, imported by its path; the files beside it are `case_studies.NAME.*`."""
    path = found.folder / "study.py"
    checkout = str(found.folder.parents[1])
    if checkout not in sys.path:
        sys.path.append(checkout)
    name = f"case_studies.{found.name}.study"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadFile(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    if lacking := [part for part in ("Config", "run") if not hasattr(module, part)]:
        raise BadFile(f"{path} has no {' and no '.join(lacking)}; a study has a frozen Config and run(config).")
    return module


def _file_name(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower()).strip("-")


def plain_numbers(numbers: Mapping[Any, Any]) -> dict[str, Any]:
    """The numbers as JSON has them: what is undefined is null."""
    return {
        str(name): plain_numbers(value)
        if isinstance(value, Mapping)
        else float(value)
        if math.isfinite(value)
        else None
        for name, value in numbers.items()
    }
