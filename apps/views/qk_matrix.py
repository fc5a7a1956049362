"""What the QK matrix shows: the pictures in their colours, the numbers of a head, and what the whole of it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from apps.text import plain
from apps.views.qk_colours import Painted, painted
from apps.views.qk_search import matching
from apps.views.scatter_pictures import scatter_pictures, scatter_png, within_bytes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from workbench.analyses.embedding.colourings import Colouring
    from workbench.analyses.embedding.joint_matrix import JointMatrix

MEANING = {
    "correlation": "correlation of cosine distance with dot product after alignment, over pairs that can attend: "
    "-1 is perfect",
    "translated": "the same correlation after the translation alone",
    "before": "the same correlation before alignment",
    "euclidean": "the correlation of Euclidean distance, after alignment",
    "norm gap": "mean length of queries less that of keys",
    "spiral": "how far the points curl with their position",
    "first": "attention on the first token",
    "previous": "attention on the token just before",
    "self": "attention on the token itself",
    "distance": "mean distance looked back, in positions",
    "entropy": "entropy of the attention, in nats",
    "induction": "attention on what followed an earlier copy of the token",
    "same token": "attention on earlier copies of the token",
}
SPREAD = "how much of the spread of the points goes with {}: 0 by chance, 1 all of it"
CLUSTER = "cluster:"
"""Scores called so are of a colouring."""
STAGES = ("before", "translated", "aligned")
COSTLY = 0.05  # of a correlation, from which what alignment costs is said
CORRELATIONS = ("before", "translated", "correlation", "euclidean")
BIG = 560  # pixels a side of the locked head's picture
_NAMED = 8  # heads that are skipped and named


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the points are drawn."""

    colour: str
    modulo: int
    show: str
    find: str
    exact: bool
    dark: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """All pictures of a result, and what a search found."""

    pictures: "np.ndarray"
    """(head, height, width), layer by layer."""
    sheet: dict[str, Any]
    paint: Painted
    found: "np.ndarray | None"
    """(point,) which ones were searched for; None without a search."""


def drawn(result: "JointMatrix", colouring: "Colouring", look: Look) -> Drawn:
    """The pictures of all heads, and all of them as one."""
    layers, heads, n, _ = result.coordinates.shape
    points = result.coordinates.numpy().reshape(layers * heads, n, -1)[..., :2]
    norms = None if colouring.values is not None else result.norms.numpy().reshape(layers * heads, n)
    paint = painted(colouring, norms=norms, dark=look.dark)
    found = matching(result.labels, look.find, exact=look.exact) if look.find.strip() else None
    index = _meant(paint.index, paint, found, result, look)
    pictures, sheet = within_bytes(points, index, paint.palette, columns=heads, behind=paint.other, front=found)
    return Drawn(pictures=pictures, sheet=sheet, paint=paint, found=found)


def picture(result: "JointMatrix", one: Drawn, look: Look, layer: int, head: int) -> bytes:
    """One head's picture, larger, as a PNG."""
    index = one.paint.index
    if index.ndim == 2:
        index = index[layer * result.coordinates.shape[1] + head]
    index = _meant(index, one.paint, one.found, result, look)
    points = result.coordinates[layer, head, None, :, :2].numpy()
    large = scatter_pictures(points, index, side=BIG, behind=one.paint.other, front=one.found)
    return scatter_png(large[0], one.paint.palette)


def _meant(
    index: "np.ndarray", paint: Painted, found: "np.ndarray | None", result: "JointMatrix", look: Look
) -> "np.ndarray":
    """The colours with what a search does not mean dimmed, and what is hidden gone. A search in vain dims nothing."""
    import numpy as np

    if found is not None and found.any():
        index = np.where(found, index, np.uint8(paint.dim))
    if look.show != "both":
        index = np.where(result.is_key.numpy() == (look.show == "keys"), index, np.uint8(0))
    return index


def count_of(found: "np.ndarray", result: "JointMatrix") -> str:
    """How many points a search found, in words."""
    keys = result.is_key.numpy()
    queries, of_keys = int((found & ~keys).sum()), int((found & keys).sum())
    inputs = len(set(result.input.numpy()[found].tolist()))
    sides = f"{queries:,} queries and {of_keys:,} keys, in {inputs:,} of {len(result.texts):,} inputs"
    return f"{queries + of_keys:,} of {len(found):,} points match: {sides}"


def named(score: str, modulo: int) -> str:
    """A score as a person reads it."""
    return f"spread by {_thing(score, modulo)}" if score.startswith(CLUSTER) else score


def meaning(score: str, modulo: int) -> str:
    """What a score says."""
    return SPREAD.format(_thing(score, modulo)) if score.startswith(CLUSTER) else MEANING.get(score, score)


def _thing(score: str, modulo: int) -> str:
    thing = score.removeprefix(CLUSTER)
    return f"{thing} {modulo}" if thing == "position mod" else thing


def scores_of(result: "JointMatrix") -> "dict[str, np.ndarray]":
    """(layer, head) of each score."""
    return {name: result.scores[..., i].numpy() for i, name in enumerate(result.score_names)}


def under(result: "JointMatrix", values: "np.ndarray") -> list[str]:
    """A number below each picture; heads that are skipped say so."""
    skipped = {(layer, head) for layer, head, _ in result.skipped}
    heads = result.scores.shape[1]
    numbers = enumerate(values.reshape(-1).tolist())
    return ["skipped" if divmod(i, heads) in skipped else brief(value) for i, value in numbers]


def brief(value: float) -> str:
    """A number in a few characters; the undefined is a dash."""
    if value != value:
        return "–"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", "\N{MINUS SIGN}")


def said(result: "JointMatrix", method: str, noun: str, asked: Mapping[str, Any]) -> str:
    """What the picture is and how good: method, sample, mean correlation and quality; `asked` are the parameters."""
    import numpy as np

    def mean(values: "np.ndarray") -> float:
        return float(np.mean(known)) if len(known := values[np.isfinite(values)]) else float("nan")

    stages = [mean(result.correlations[..., stage, 0, 0].numpy()) for stage in range(len(STAGES))]
    trust, kept = (mean(result.quality[..., i].numpy()) for i in range(2))
    keys = int(result.is_key.sum())
    how = "one picture for all heads, " if asked.get("shared") else ""
    how += "" if asked.get("translate", True) else "keys not translated, "
    fewer = len(result.texts) < asked.get("inputs", 0)
    sample = f" (whole ones up to {asked.get('points', 0):,} tokens)" if fewer else ""
    worse = asked.get("translate", True) and stages[2] > stages[0] + COSTLY
    cost = " Distance said more before keys were moved: the settings can leave them where they are." if worse else ""
    return plain(
        f"{method} of {len(result.is_key) - keys:,} queries and {keys:,} keys from {len(result.texts):,} {noun}"
        f"{sample}, {how}seed {asked['seed']}. Correlation of cosine distance with dot product (Spearman, "
        f"{result.n_pairs:,} pairs that can attend), mean over heads: {brief(stages[0])} before, "
        f"{brief(stages[1])} translated, {brief(stages[2])} aligned.{cost} The pictures: trustworthiness "
        f"{brief(trust)}, {brief(kept)} of the neighbours kept. Points outside the middle 99% are drawn at the edge."
    )


def left_out(result: "JointMatrix") -> str:
    """The heads that are skipped, named and counted; "" when there are none."""
    if not result.skipped:
        return ""
    total = result.scores.shape[0] * result.scores.shape[1]
    names = [f"{layer}.{head} ({why})" for layer, head, why in result.skipped]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return plain(f"{len(names)} of {total} heads skipped: {'; '.join([*names[:_NAMED], *more])}.")


def numbers(result: "JointMatrix", layer: int, head: int) -> str:
    """Every number of a head as a table in HTML: correlations by stage and distance, then the rest."""
    own = result.correlations[layer, head, :, :, 0].tolist()  # (stage, distance), Spearman
    rows = ["<tr><th>Spearman</th><th>cosine</th><th>Euclid.</th></tr>"]
    rows += [_row(stage, brief(own[i][0]), brief(own[i][1])) for i, stage in enumerate(STAGES)]
    rows += [_row(name, "", brief(value)) for name, value in _rest(result, layer, head)]
    return f'<table class="wb-numbers">{"".join(rows)}</table>'


def _row(name: str, *values: str) -> str:
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"


def _rest(result: "JointMatrix", layer: int, head: int) -> Iterator[tuple[str, float]]:
    yield "scale", float(result.scale[layer, head])
    yield "trustworthiness", float(result.quality[layer, head, 0])
    yield "neighbours kept", float(result.quality[layer, head, 1])
    for i, name in enumerate(result.score_names):
        if name not in CORRELATIONS:
            yield named(name, result.modulo), float(result.scores[layer, head, i])


def table(result: "JointMatrix") -> "pd.DataFrame":
    """One row a head: all its numbers, and why it is skipped if it is."""
    import pandas as pd

    layers, heads = result.scores.shape[:2]
    places = [(layer, head) for layer in range(layers) for head in range(heads)]
    frame = pd.DataFrame(
        {
            "head": [f"{layer}.{head}" for layer, head in places],
            **{name: values.reshape(-1) for name, values in scores_of(result).items()},
            "scale": result.scale.numpy().reshape(-1),
            "trustworthiness": result.quality[..., 0].numpy().reshape(-1),
            "neighbours kept": result.quality[..., 1].numpy().reshape(-1),
        }
    )
    if result.skipped:
        why = {(layer, head): text for layer, head, text in result.skipped}
        frame["skipped"] = [why.get(place, "") for place in places]
    return frame
