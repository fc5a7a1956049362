"""What a study found last, kept in one file of the workbench's cache: written whole or not at all."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadFile
from workbench.files import write_atomically
from workbench.studies.form import ROOT, Claim, Findings, Study, study
from workbench.studies.judging import Verdict
from workbench.studies.running import StudyRun, digest_of, plain_numbers, work_folder

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "workbench-finding-1"


def keep(run: StudyRun) -> Path:
    """Write what was found into the study's work folder, in place of what was found before. Raises `BadFile`."""
    path = _path(run.study.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"The folder {path.parent} cannot be made: {error.strerror or error}.") from error
    return write_atomically(path, json.dumps(_written(run), allow_nan=False) + "\n")


def kept(name: str, root: Path = ROOT) -> StudyRun | None:
    """What the study found last, with the claims that it had then; None where nothing is kept.

    Raises `BadFile` for a file that is damaged or of another version of the workbench: run the study again.
    """
    found, path = study(name, root), _path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"The kept finding {path} cannot be read ({error}); run the study again.") from error
    try:
        written = json.loads(text)
        if written["format"] != FORMAT or written["study"] != name:
            raise ValueError("it is of another study or of another version of the workbench")
        return _read(written, found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"The kept finding {path} is damaged ({error}); run the study again.") from error


def changed_since(run: StudyRun) -> bool:
    """Whether the study's code or claims are others than those that this finding is of."""
    return digest_of(run.study.folder) != run.digest


def _path(name: str) -> Path:
    return work_folder(name) / "finding.json"


def _written(run: StudyRun) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "study": run.study.name,
        "form": run.form,
        "when": run.when,
        "seconds": run.seconds if math.isfinite(run.seconds) else None,
        "versions": dict(run.versions),
        "digest": run.digest,
        "numbers": plain_numbers(run.findings.numbers),
        "skipped": dict(run.findings.skipped),
        "verdicts": [
            {"claim": asdict(v.claim), "values": plain_numbers(v.values), "outcome": v.outcome, "reason": v.reason}
            for v in run.verdicts
        ],
        "tables": {title: _table(table) for title, table in run.findings.tables.items()},
        "figures": {title: json.loads(str(figure.to_json())) for title, figure in run.findings.figures.items()},
    }


def _table(table: "pd.DataFrame") -> dict[str, Any]:
    text = table.reset_index(drop=True).to_json(orient="split", double_precision=15, default_handler=str)
    return {name: value for name, value in json.loads(str(text)).items() if name != "index"}


def _read(written: Mapping[str, Any], found: Study) -> StudyRun:
    import pandas as pd
    import plotly.graph_objects as go

    claims = [Claim(**{**each["claim"], "seeds": tuple(each["claim"]["seeds"])}) for each in written["verdicts"]]
    return StudyRun(
        study=found,
        form=written["form"],
        findings=Findings(
            numbers={name: _number(value) for name, value in written["numbers"].items()},
            tables={title: pd.DataFrame(**table) for title, table in written["tables"].items()},
            figures={title: go.Figure(figure) for title, figure in written["figures"].items()},
            skipped=written["skipped"],
        ),
        verdicts=tuple(
            Verdict(
                claim=claim,
                values={name: _float(value) for name, value in each["values"].items()},
                outcome=each["outcome"],
                reason=each["reason"],
            )
            for claim, each in zip(claims, written["verdicts"], strict=True)
        ),
        seconds=_float(written["seconds"]),
        when=written["when"],
        versions=written["versions"],
        digest=written["digest"],
    )


def _number(value: Any) -> float | dict[int, float]:
    return {int(seed): _float(one) for seed, one in value.items()} if isinstance(value, dict) else _float(value)


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
