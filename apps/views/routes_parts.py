"""What is drawn of a route: every edge once, the thresholds that keep it, and what it contributes at each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.circuits.route_result import Routes


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """The edges that some threshold keeps, arrays (edge,), those first that the highest thresholds keep."""

    kind: "np.ndarray"
    """As in `workbench.analyses.circuits.route_links`; biases are no edges."""
    layer: "np.ndarray"
    query: "np.ndarray"
    key: "np.ndarray"
    held: "np.ndarray"
    """The edge is on the route for every threshold below this, and for no other."""
    shares: "np.ndarray"
    """(edge, threshold) what it contributes to its sum, 0 to 1; heads that the threshold keeps, together."""
    heads: Mapping[tuple[int, int, int], Sequence[tuple[int, float]]]
    """The heads of an attention edge (layer, query, key) with their own shares, the largest first."""
    thresholds: tuple[float, ...]
    target: int
    """The position whose prediction is traced."""
    one_sum: bool
    """Whether a block has one sum, and no stream between attention and MLP."""

    @cached_property
    def stays(self) -> "np.ndarray":
        """(edge,) how many of the thresholds keep it, from the lowest on."""
        import numpy as np

        return (self.held[:, None] > np.array(self.thresholds)).sum(1)

    @property
    def counts(self) -> list[int]:
        """How many edges each threshold keeps."""
        return [int((self.held > threshold).sum()) for threshold in self.thresholds]


def drawn(found: "Routes", *, renormalise: bool) -> Drawn:
    """The edges of a result, heads of an attention edge taken together; a look at itself is none of the stream's."""
    import numpy as np

    from workbench.analyses.circuits.route_links import ATTENTION, BIAS
    from workbench.analyses.circuits.route_result import THRESHOLDS

    links = found.links
    held, _ = links.held(found.position)
    limits = [threshold for threshold in THRESHOLDS if threshold >= found.floor - 1e-12]
    columns = np.stack([links.kind, links.layer, links.query, links.key])
    kept = (held > limits[0]) & (links.kind != BIAS)
    edges, which = np.unique(columns[:, kept], axis=1, return_inverse=True)
    strongest = np.zeros(edges.shape[1])
    np.maximum.at(strongest, which, held[kept])
    shares = np.zeros((edges.shape[1], len(limits)))
    for i, threshold in enumerate(limits):
        above = links.share > threshold
        each = links.divided(above) if renormalise else np.where(above, links.share, 0.0)
        np.add.at(shares[:, i], which, each[kept])
    heads: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
    looks = np.flatnonzero(kept & (links.kind == ATTENTION))
    for i in looks[np.argsort(-links.share[looks], kind="stable")].tolist():
        edge = int(links.layer[i]), int(links.query[i]), int(links.key[i])
        heads.setdefault(edge, []).append((int(links.head[i]), float(links.share[i])))
    order = np.argsort(-strongest, kind="stable")
    kind, layer, query, key = edges[:, order]
    return Drawn(
        kind=kind,
        layer=layer,
        query=query,
        key=key,
        held=strongest[order],
        shares=shares[order],
        heads=heads,
        thresholds=tuple(limits),
        target=found.position,
        one_sum=found.residual_mlp is None,
    )
