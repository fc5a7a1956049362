"""What a case study is made of, read from its folder without running any of it."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from workbench.errors import BadFile, UnknownName
from workbench.studies.opening import Opening, opening

ROOT = Path(__file__).parents[2] / "case_studies"
"""The studies are part of the checkout, not of the installed package."""
FILES = ("README.md", "study.py", "expected.json", "notebook.ipynb")
RELATIONS = ("<", "<=", ">", ">=")
FORMS = ("fast", "train", "long")
"""fast: on committed checkpoints, in seconds; train: from scratch; long: more seeds and more controls."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number that a study expects: `quantity relation bound`, for every seed."""

    quantity: str
    relation: Literal["<", "<=", ">", ">="]
    bound: float
    says: str
    """The claim in words."""
    source: str
    """The paper it is from, or why it is a control."""
    seeds: tuple[int, ...] = ()
    """It must hold for each of these; empty where the quantity is a single number."""
    control: bool = False
    """Whether it could refute the others: what should show nothing, shows nothing."""
    form: Literal["fast", "train", "long"] = "fast"
    """The cheapest form of the study that measures it."""
    not_reproduced: str = ""
    """For a claim that is known to fail here: why, as far as it is known."""

    def __str__(self) -> str:
        return f"{self.quantity} {self.relation} {self.bound:g}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """What a study measured."""

    numbers: Mapping[str, float | Mapping[int, float]]
    """Quantity -> value, or -> value for each seed. NaN where it is undefined."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """Title -> tidy pandas frame."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Title -> plotly figure."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Beginning of quantities -> why none of them could be measured here, as where an optional model cannot be had."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A folder under `case_studies`: question and claims; its code is imported only when it runs."""

    name: str
    folder: Path
    question: str
    claims: tuple[Claim, ...]
    opens: tuple[Opening, ...] = ()
    """Views of the app that show what it is about."""


def known(root: Path = ROOT) -> tuple[str, ...]:
    """Names of all case studies, sorted; empty outside a checkout."""
    return tuple(sorted(path.parent.name for path in root.glob("*/study.py")))


def study(name: str, root: Path = ROOT) -> Study:
    """One case study by name. Raises `BadFile` when its folder is incomplete or its claims cannot be read."""
    if name not in known(root):
        error = UnknownName("case study", name, known(root))
        if not root.is_dir():
            error.args = (f"{error} They are in the repository: work from a checkout of it to run them.",)
        raise error
    folder = root / name
    path = folder / "expected.json"
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        question = written["question"]
        claims = tuple(_claim(each) for each in written["claims"])
        opens = tuple(opening(each, folder) for each in written.get("opens", ()))
        if not isinstance(question, str) or not question.strip():
            raise ValueError("the question is empty")
        if not any(claim.control for claim in claims):
            raise ValueError("no claim is a control that could refute the others")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BadFile(f"{path} does not hold a question and its claims: {what}.") from error
    return Study(name=name, folder=folder, question=question, claims=claims, opens=opens)


def _claim(written: Any) -> Claim:
    if not isinstance(written, dict):
        raise ValueError(f"a claim is an object, not {written!r}")
    names = {f.name for f in fields(Claim)}
    needed = {f.name for f in fields(Claim) if f.default is MISSING}
    if wrong := (set(written) - names) | (needed - set(written)):
        raise ValueError(f"claim {written.get('quantity')!r}: missing or unknown {', '.join(sorted(wrong))}")
    values: dict[str, Any] = {**written, "seeds": tuple(written.get("seeds", ()))}
    claim = Claim(**values)
    if claim.relation not in RELATIONS or claim.form not in FORMS:
        raise ValueError(f"claim {claim.quantity!r}: relation is one of {RELATIONS}, form one of {FORMS}")
    if isinstance(claim.bound, bool) or not isinstance(claim.bound, int | float) or not math.isfinite(claim.bound):
        raise ValueError(f"claim {claim.quantity!r}: the bound is a number, not {claim.bound!r}")
    if not all(isinstance(text, str) and text.strip() for text in (claim.quantity, claim.says, claim.source)):
        raise ValueError(f"claim {claim.quantity!r}: quantity, says and source are texts")
    return claim
