"""A filter of frequencies in words and tables: what changes most, answers before and after, how answers go wrong."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

    from workbench.analyses.fourier.filter_result import FourierFilter

MEASURES = {"accuracy": "Accuracy", "loss": "Loss", "changed": "Answers that change"}
"""What the figure can show."""
PARTS = {"attn_out": "attention", "mlp_out": "MLPs", "both": "both"}
"""Parts as a person reads them."""
TOGETHER = {**PARTS, "both": "attention and MLPs"}
_HEAD = ("prompt", "right", "before")
_CHANGED = "background-color: rgba(217, 130, 43, 0.28); font-weight: 600"


def headline(found: "FourierFilter") -> str:
    """How well the model does, and the filter that changes the most answers, beside the random ones."""
    frame = found.summary_frame("changed")
    first = f"the right answer is first among the {len(found.labels)} values in {found.accuracy[0, 0]:.0%}"
    before = f"{found.task}: {first}"
    best = frame.loc[frame["filtered"].idxmax()]
    layer = "" if best["layer"] < 0 else f" of layer {int(best['layer'])}"
    where = f"{TOGETHER.get(str(best['part']), best['part'])}{layer}"
    said = f"{before}; {removed_said(str(best['band']))} in {where} changes {best['filtered']:.0%} of the answers"
    return said + (f", random bands {best['random_band']:.0%}" if best["draws"] else "")


def removed_said(band: str) -> str:
    """What was removed as a person says it: one number is a frequency."""
    number, space, rest = band.partition(" ")
    return f"frequency {number}{space}{rest}" if number.isdigit() else band


def counted(found: "FourierFilter") -> str:
    """How many examples there are, and how many are shown."""
    shown = len(found.prompts)
    if not shown:
        return f"{found.n_examples} examples; none is shown."
    return f"The first {shown} of {found.n_examples} examples; changed answers are marked."


def answers(found: "FourierFilter") -> "Styler":
    """One row for each example: the prompt, the right answer, the one before, and one after each filter."""
    table, changed = answers_frames(found)
    styles = changed.map(lambda one: _CHANGED if one else "")
    return table.style.apply(lambda _: styles, axis=None)


def answers_frames(found: "FourierFilter") -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The table of answers, and one of the same shape that is true where an answer is another than before."""
    import pandas as pd

    rows: dict[int, dict[str, str]] = {}
    marks: dict[int, dict[str, bool]] = {}
    for one in found.changes_frame().to_dict("records"):
        at = f" {one['layer']}" if one["layer"] >= 0 else ""
        name = f"{PARTS.get(one['part'], one['part'])}{at}: {removed_said(str(one['band']))}"
        row = rows.setdefault(one["example"], {key: _line(one[key]) for key in _HEAD})
        row[name] = str(one["after"])
        marks.setdefault(one["example"], dict.fromkeys(_HEAD, False))[name] = one["changed"]
    return pd.DataFrame(list(rows.values())), pd.DataFrame(list(marks.values()))


def _line(text: object) -> str:
    return str(text).replace("\n", " / ")


def errors_frame(found: "FourierFilter") -> "pd.DataFrame":
    """One row for each place and filter, random ones as their means: accuracy, loss, and what the errors are like."""
    import pandas as pd

    from workbench.analyses.fourier.filter_conditions import FILTER, NONE

    reach = found.values[-1] - found.values[0]
    steps = {name: step for name, step in zip(found.step_names, found.steps, strict=True) if step <= reach}
    names = {"accuracy": "accuracy", "loss": "loss", "errors": "errors", "mean_error": "mean error"}
    names |= {name: f"multiples of {step:g}" for name, step in steps.items()}
    names |= {"near": f"off by less than {found.near_bound:g}"}
    groups: dict[tuple[str, int, str, str], list[dict[str, Any]]] = {}
    for one in found.to_frame().to_dict("records"):
        groups.setdefault((one["part"], one["layer"], one["band"], one["filter"]), []).append(dict(one))
    rows = []
    for (part, layer, band, kind), some in groups.items():
        where = {"part": PARTS.get(part, part), "layer": "all" if layer < 0 else str(layer)}
        the = "the frequency" if removed_said(band) != band else "the band"
        by = {FILTER: the, NONE: ""}.get(kind, f"{kind}s, mean of {len(some)}")
        means = {label: sum(one[name] for one in some) / len(some) for name, label in names.items()}
        rows.append({**where, "removed": "nothing" if kind == NONE else removed_said(band), "by": by, **means})
    return pd.DataFrame(rows)
