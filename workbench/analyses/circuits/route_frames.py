"""Tables of a route: its edges with heads summed, and how many edges each threshold keeps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.analyses.circuits.route_links import ATTENTION, BIAS, Links

if TYPE_CHECKING:
    import pandas as pd

    from workbench.analyses.circuits.route_result import Routes


def plural(n: int, thing: str) -> str:
    """1 edge, 2 edges."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def edges(parts: "pd.DataFrame") -> "pd.DataFrame":
    """See `Routes.edges_frame`; `parts` are rows of `Routes.route`."""
    ordered = parts.query("kind != 'bias'").sort_values("share", ascending=False, kind="stable")
    each = ordered.groupby(["kind", "layer", "query", "key"], sort=False)
    found = each.agg(contribution=("contribution", "sum"), heads=("head", "size"), largest=("head", "first"))
    found = found.reset_index().sort_values(["layer", "query", "kind", "key"], kind="stable", ignore_index=True)
    found.loc[found["kind"] != "attention", "heads"] = 0
    return found


def counts(links: Links, held: np.ndarray, thresholds: Sequence[float]) -> list[int]:
    """See `Routes.n_kept`; `held` are the thresholds below which each part is on the route."""
    looks = links.kind == ATTENTION
    place = (links.layer * links.n_positions + links.query) * links.n_positions + links.key
    drawn, which = np.unique(place[looks], return_inverse=True)
    strongest = np.zeros(len(drawn))
    np.maximum.at(strongest, which, held[looks])
    every = np.concatenate([strongest, held[~looks & (links.kind != BIAS)]])
    return [int((every > threshold).sum()) for threshold in thresholds]


def thresholds(routes: "Routes", values: Sequence[float]) -> "pd.DataFrame":
    """See `Routes.thresholds_frame`."""
    import pandas as pd

    rows = []
    for threshold in values:
        found = routes.edges_frame(threshold)
        looks, mlps = found["kind"] == "attention", found["kind"] == "mlp"
        numbers = {"attention_edges": looks.sum(), "heads": found["heads"].sum(), "mlps": mlps.sum()}
        tokens = int(routes.states(threshold)[0].sum())
        rows.append({"threshold": threshold, "edges": len(found), **numbers, "tokens": tokens})
    return pd.DataFrame(rows, columns=["threshold", "edges", "attention_edges", "heads", "mlps", "tokens"])
