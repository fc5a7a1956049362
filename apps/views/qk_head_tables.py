"""The numbers beside one head's scatter: how good the embedding and its picture are, and what a selection holds."""

from collections import Counter
from typing import TYPE_CHECKING

from apps.text import visible

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from workbench.analyses.embedding.joint_head import JointHead


def correlation_table(found: "JointHead", *, statistic: str = "spearman") -> "pd.DataFrame":
    """A row for each stage, a column for each distance; with the model's own scores too where they differ."""
    frame = found.correlation_frame()
    frame = frame[frame["statistic"] == statistic]
    wide = frame.pivot(index="stage", columns=["with", "distance"], values="correlation")
    wide = wide.reindex(["before", "translated", "aligned"])
    wide.columns = [distance if what == "dot product" else f"{distance}, {what}" for what, distance in wide.columns]
    return wide


def said(value: float, digits: int = 2) -> str:
    """A number, its minus sign as wide as a plus; what is not known is a dash."""
    return "–" if value != value else f"{value:.{digits}f}".replace("-", "−")


def quality_lines(found: "JointHead", *, metric: str) -> list[str]:
    """What else is to be known before the picture is believed, a sentence each."""
    dropped = f", {found.dropped:,} more left out because a vector has no length" if found.dropped else ""
    lines = [
        f"{found.n_pairs:,} pairs of a query and a key it may attend to{dropped}.",
        f"Queries times {found.scale:.3g}, keys divided by it.",
    ]
    variance = "" if found.explained != found.explained else f" {found.explained:.0%} of the variance is in it."
    kept = "–" if found.preservation != found.preservation else f"{found.preservation:.0%}"
    lines.append(
        f"The {metric} picture: trustworthiness {said(found.trustworthiness)}, {kept} of neighbours kept.{variance}"
    )
    before, _, aligned = found.correlations[:, 0, 0].tolist()
    if bool(found.translation.any()) and before < aligned - 0.05:
        lines.append(f"Distance said more before keys were moved ({said(before)}): the settings can leave them.")
    return [*lines, *found.notes]


def counts_by_token(found: "JointHead", chosen: "np.ndarray") -> "pd.DataFrame":
    """A row for each token among the `chosen` points, most frequent first; the share is of all points of that token."""
    import pandas as pd

    words = [visible(label) for label in found.labels]
    every, keys = Counter(words), found.is_key.numpy()
    points, of_key = (Counter(words[i] for i in mask.nonzero()[0].tolist()) for mask in (chosen, chosen & keys))
    rows = [(word, n, n - of_key[word], of_key[word], n / every[word]) for word, n in points.items()]
    table = pd.DataFrame(rows, columns=pd.Index(["token", "points", "queries", "keys", "share"]))
    return table.sort_values(["points", "token"], ascending=[False, True], ignore_index=True)


def chosen_points(found: "JointHead", chosen: "np.ndarray") -> "pd.DataFrame":
    """The chosen points, a row each, with the text they stand in."""
    frame = found.to_frame()[chosen].reset_index(drop=True)
    return frame.assign(text=[found.texts[i] for i in frame["input"]])
