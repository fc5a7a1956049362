"""A task by its name, or from a file, made for one model."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from workbench.errors import BadInput, NotDone, UnknownName
from workbench.functional import METRICS
from workbench.tasks import user_file
from workbench.tasks.builtin import BUILTIN
from workbench.tasks.doing import MORE, doable
from workbench.tasks.draft import MANY_TOKENS, Draft, Unusable
from workbench.tasks.form import Example, Task, counted
from workbench.tasks.reader import Reader

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

TRIES = 20
"""Examples tried for each that is wanted, before a task is given up."""
OWN = "task"
"""The metric that a task names itself."""


def task(
    name: str | Path,
    model: "LensModel",
    *,
    examples: int = 64,
    seed: int = 0,
    metric: str = OWN,
    anyway: bool = False,
) -> Task:
    """The examples of a task that a model can read, and how well it does them.

    `name` is one of `workbench.tasks.names()`, or the path of a table with the columns clean, corrupted, target and
    foil. A model that does not do the task is refused with its numbers unless `anyway`; `doable` says what decides.
    `metric` "task" is the task's own. Raises `BadInput` where no example can be used, with the reasons counted.
    Two forward passes an example.
    """
    found = draw(name, model, examples=examples, seed=seed, metric=metric)
    doing = doable(model, found)
    if doing.why_not and not anyway:
        advice = (
            "" if doing.why_not.endswith(MORE) else " Take another model or task, or say anyway to go on all the same."
        )
        raise NotDone(doing.why_not, advice)
    return replace(found, doing=doing)


def draw(name: str | Path, model: "LensModel", *, examples: int = 64, seed: int = 0, metric: str = OWN) -> Task:
    """The examples alone; the model is not run."""
    check_draw(examples, seed, metric)
    if str(name) in BUILTIN:
        return _built_in(str(name), model, examples, seed, metric)
    path = _path(str(name))
    if path is None:
        raise BadInput(f"{UnknownName('task or file', str(name), BUILTIN)} A file is {user_file.HOW}.")
    return _of_file(path, model, examples, seed, metric)


def check_draw(examples: int, seed: int, metric: str) -> None:
    """Refuse what no task can be drawn with."""
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < 1:
        raise BadInput(f"examples must be a whole number of at least 1, not {examples!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise BadInput(f"seed must be a whole number from 0 to {2**32 - 1}, not {seed!r}.")
    if metric != OWN and metric not in METRICS:
        raise UnknownName("metric", metric, [OWN, *METRICS])


def _built_in(name: str, model: "LensModel", examples: int, seed: int, metric: str) -> Task:
    reader, built_in = Reader(model), BUILTIN[name]
    drafts = _different(islice(built_in.drafts(reader, Random(seed)), TRIES * (examples + 10)))
    advice = "Choose another model, the task 'induction', which any model that reads text can be given, or a file."
    found = _taken(name, drafts, reader.read, examples, advice)
    own = built_in.metric if metric == OWN else metric
    return replace(found, model=model.name, metric=own, note=built_in.adapted(reader))


def _of_file(path: Path, model: "LensModel", examples: int, seed: int, metric: str) -> Task:
    reader, rows = Reader(model), user_file.rows(path)

    def read(draft: Draft) -> Example:
        ways = (
            [user_file.spaced(draft), draft] if user_file.expects_a_space(draft) else [draft, user_file.spaced(draft)]
        )
        why: list[str] = []
        for way in ways:
            try:
                return reader.read(way)
            except Unusable as reason:
                why.append(str(reason))
        came_further = [reason for reason in reversed(why) if reason != MANY_TOKENS]
        raise Unusable((came_further or why)[0])

    different = list(_different(user_file.drawn(rows, seed)))
    advice = "See how its words are split in a page or an analysis that shows tokens, and choose others."
    found = _taken(path.name, iter(different), read, examples, advice)
    double = len(rows) - len(different)
    note = f"{path.name} has {counted(len(rows), 'row')}"
    note += f", of which {double} repeat{'s' * (double == 1)} others." if double else "."
    return replace(found, model=model.name, metric="logit-diff" if metric == OWN else metric, note=note)


def _different(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Each draft once."""
    seen: set[Draft] = set()
    for draft in drafts:
        if draft not in seen:
            seen.add(draft)
            yield draft


def _taken(name: str, drafts: Iterator[Draft], read: Callable[[Draft], Example], examples: int, advice: str) -> Task:
    kept: list[Example] = []
    dropped: Counter[str] = Counter()
    for draft in drafts:
        try:
            kept.append(read(draft))
        except Unusable as why:
            dropped[str(why)] += 1
        if len(kept) == examples:
            break
    made = len(kept) + dropped.total()
    if not kept:
        reasons = "; ".join(f"{count} because {why}" for why, count in sorted(dropped.items()))
        tried = f"{made} {'was' if made == 1 else 'were'} tried, left out: {reasons}."
        raise BadInput(f"{name} has no example that can be used here. {tried} {advice}")
    return Task(name=name, model="", metric="", examples=tuple(kept), made=made, dropped=dict(sorted(dropped.items())))


def _path(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None
