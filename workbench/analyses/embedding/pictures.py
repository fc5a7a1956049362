"""The clouds of all heads as small pictures, and how far each is to be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float16
from torch import Tensor

from workbench import functional
from workbench.analyses.embedding.asked import Method

ANCHORS = 100
"""Points whose neighbours are looked at in each picture."""


@dataclass(eq=False, kw_only=True)
class Pictures:
    """Collects clouds layer by layer; each is placed when it comes, or all together in the end when shared."""

    method: Method
    shared: bool
    seed: int
    perplexity: float
    neighbours: int
    _clouds: list[Tensor] = field(default_factory=list)
    _usable: list[Sequence[int]] = field(default_factory=list)
    _places: list[Tensor] = field(default_factory=list)
    _quality: list[Tensor] = field(default_factory=list)

    def add(self, cloud: Float[Tensor, "head point d_head"], usable: Sequence[int]) -> None:
        """One layer's clouds; heads that are not usable have no picture."""
        self._usable.append(usable)
        if self.shared:
            self._clouds.append(cloud[list(usable)])
        else:
            self._keep(cloud, usable, self._placed(cloud[list(usable)]))

    def done(self, n_heads: int) -> tuple[Float16[Tensor, "layer head point dim"], Float[Tensor, "layer head 2"]]:
        """Coordinates of all heads, and trustworthiness and share of neighbours kept; NaN where there is no picture."""
        if self.shared:
            pooled = self._placed(torch.cat(self._clouds), shared=True)
            sizes = [len(usable) for usable in self._usable]
            for cloud, usable, places in zip(self._clouds, self._usable, pooled.split(sizes), strict=True):
                whole = cloud.new_full((n_heads, *cloud.shape[1:]), torch.nan)
                whole[list(usable)] = cloud
                self._keep(whole, usable, places)
        return torch.stack(self._places), torch.stack(self._quality)

    def _placed(self, clouds: Tensor, *, shared: bool = False) -> Tensor:
        if not len(clouds):
            return clouds[..., :2]
        return functional.project(
            clouds,
            self.method,
            seed=self.seed,
            perplexity=self.perplexity,
            n_neighbors=self.neighbours,
            shared=shared,
        ).coordinates

    def _keep(self, cloud: Tensor, usable: Sequence[int], places: Tensor) -> None:
        heads, n_points = cloud.shape[:2]
        near = max(1, min(self.neighbours, (n_points - 1) // 2))
        coordinates, quality = torch.full((heads, n_points, 2), torch.nan), torch.full((heads, 2), torch.nan)
        if chosen := list(usable):
            coordinates[chosen] = places.cpu()
            measured = functional.picture_quality(cloud[chosen], places, near, anchors=ANCHORS, seed=self.seed)
            quality[chosen] = torch.stack([measured.trustworthiness, measured.preservation], -1).float().cpu()
        self._places.append(coordinates.half())
        self._quality.append(quality)
