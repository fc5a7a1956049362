"""A cloud of points drawn in two or three dimensions: straight (PCA), or so that neighbours stay near (t-SNE, UMAP).

What such a picture shows of the cloud is for `trustworthiness` and `neighbour_preservation` to say: print them with it.
References: van der Maaten & Hinton (2008), "Visualizing Data using t-SNE"; McInnes, Healy & Melville (2018), "UMAP";
Kobak & Linderman (2021), "Initialization is critical for preserving global data structure in both t-SNE and UMAP".
"""

import contextlib
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench import progress
from workbench.errors import BadInput
from workbench.functional.checks import need_finite, need_whole
from workbench.functional.neighbours import directions, nearest_keys, power_of_two
from workbench.functional.principal import principal_picture, principal_pictures

Method = Literal["pca", "tsne", "umap"]
Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Projection:
    """Where each point of each cloud is drawn."""

    coordinates: Float[Tensor, "*heads point dims"]
    """Centred for PCA; in the units of the method otherwise. 0 where all points of a cloud are one
    (for cosine: one direction)."""
    explained: Float[Tensor, "*heads"] | None
    """PCA: the share of the cloud's variance that is in the picture. NaN: all points are one, there is no variance."""
    method: str


@torch.no_grad()
def project(
    points: Real[Tensor, "*heads point d"],
    method: Method = "pca",
    *,
    dims: Literal[2, 3] = 2,
    seed: int = 0,
    metric: Metric = "cosine",
    perplexity: float | int = 30,
    n_neighbors: int = 15,
    shared: bool = False,
) -> Projection:
    """Each cloud of points as a picture of two or three dimensions, one by one, or all in the same with `shared`.

    PCA is exact, from the d by d covariance in double precision. An axis points to where its largest loading is
    positive (the first of equal ones), and one along which there is nothing but rounding is 0. It is linear and takes
    no `metric`, no `seed`. t-SNE is scikit-learn's, UMAP is umap-learn's; both start from PCA, and a seed gives the
    same picture again on the same machine. With `metric="cosine"` a zero vector is a direction of its own, at right
    angles to all others.

    `shared` projects the points of all clouds as one, and `explained` is then that of all together. Heads have bases
    of their own, which the model never compares: points of two heads that are near by are near in the numbers of
    their coordinates and in nothing else, unless the heads were brought to one basis before.

    4,000 points of 64 dimensions take PCA about 5 ms, t-SNE and UMAP many seconds (UMAP some more the first time, when
    it is compiled); memory grows with the points.
    """
    clouds = _checked(points, dims)
    _check_options(metric, seed, n_neighbors)
    if shared:
        clouds = clouds.reshape(1, -1, clouds.shape[-1])
    if method == "pca":
        coordinates, explained = principal_pictures(clouds, dims)
    else:
        draw = _drawing(method, clouds.shape[1], dims, seed, metric, float(perplexity), n_neighbors)
        coordinates, explained = _one_by_one(clouds, dims, metric, draw, method), None
    dtype = torch.promote_types(points.dtype, torch.float32)
    coordinates = coordinates.to(points.device, dtype)
    if not bool(coordinates.isfinite().all()):
        raise BadInput(f"The points are too far apart for numbers of {str(dtype)[6:]}: divide them all by the same.")
    if explained is not None:
        explained = explained.to(points.device, dtype).expand(points.shape[:-2].numel()).reshape(points.shape[:-2])
    return Projection(
        coordinates=coordinates.reshape(*points.shape[:-1], dims),
        explained=explained,
        method=method,
    )


def _one_by_one(clouds: Tensor, dims: int, metric: str, draw: Callable[..., Any], label: str) -> Tensor:
    """Coordinates of each cloud as `draw(points, start)` has them; 0 where all points are one, or one direction."""
    one = 1e-6 if metric == "cosine" else 0.0  # directions of single precision differ by their rounding
    drawn = torch.zeros(*clouds.shape[:2], dims)
    for cloud, picture in progress.track(list(zip(clouds, drawn, strict=True)), label=label):
        exact = cloud.to("cpu", torch.float64)
        exact = exact / power_of_two(exact, (-2, -1))
        if metric == "cosine":
            exact = directions(exact)
        start, _ = principal_picture(exact[None], dims)
        spread = float(start[0, :, 0].std(correction=0))
        if spread > one:
            if metric != "cosine":  # distances are made single, and scikit-learn crashes where one is infinite
                exact = (exact - exact.mean(0)) / spread
            picture.copy_(torch.from_numpy(draw(exact.numpy(), (start[0] / spread).numpy())))
    return drawn


def _drawing(
    method: str, n: int, dims: int, seed: int, metric: str, perplexity: float, n_neighbors: int
) -> Callable[..., Any]:
    """`draw(points, start)` of a method; `start` (point, dims) has a spread of one along its first axis."""
    if not 0 <= seed < 2**32:
        raise BadInput(f"A seed is a whole number from 0 to 2**32 - 1, not {seed}.")
    if method == "tsne":
        if not 0 < perplexity < n:
            raise BadInput(
                f"t-SNE weighs about as many neighbours of each point as its perplexity, {perplexity:g}, and there are "
                f"{n} points: {_other_perplexity(n)}."
            )
        return lambda points, start: _tsne(points, start, dims, seed, metric, perplexity)
    if method == "umap":
        if not 2 <= n_neighbors < n:
            raise BadInput(
                f"UMAP starts from the n_neighbors={n_neighbors} nearest of each point, and there are {n} points: "
                + (f"take n_neighbors from 2 to {n - 1}, or more points." if n > 2 else "it needs 3 at least.")
            )
        return lambda points, start: _umap(points, start, dims, seed, metric, n_neighbors)
    raise BadInput(f"No projection called {method!r}; there are 'pca', 'tsne' and 'umap'.")


def _other_perplexity(n: int) -> str:
    most = (n - 1) // 3
    if most > 2:
        return f"take perplexity={most}, a third of them, or less but at least 2, or more points"
    return "take perplexity=2, or more points" if n > 2 else "take more points"


def _noisy(start: np.ndarray, seed: int) -> np.ndarray:
    """A start that is not flat: along an axis with nothing on it, neither method would ever leave 0."""
    return (start + np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)).astype(np.float32)


def _tsne(points: np.ndarray, start: np.ndarray, dims: int, seed: int, metric: str, perplexity: float) -> np.ndarray:
    from sklearn.manifold import TSNE

    start = 1e-4 * _noisy(start, seed)  # the spread that the first steps are made for
    made: Any = TSNE  # init may be an array, which its annotations do not know
    return made(dims, metric=metric, perplexity=perplexity, init=start, random_state=seed).fit_transform(points)


_ONE_AT_A_TIME = threading.Lock()
"""numba's threads may be of a kind that ends the process where two come at once."""


@contextlib.contextmanager
def _threads_left_alone() -> Iterator[None]:
    """Put torch's number of threads back: numba sets it, for the whole process, to that of all processors."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _umap(points: np.ndarray, start: np.ndarray, dims: int, seed: int, metric: str, n_neighbors: int) -> np.ndarray:
    clouds = torch.from_numpy(points)
    near = nearest_keys(clouds, clouds, n_neighbors, "cosine" if metric == "cosine" else "euclidean")
    distances = (1 - near.values).clamp(min=0) if metric == "cosine" else near.values
    with _ONE_AT_A_TIME, _threads_left_alone(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]")  # an index for points that come later
        import umap

        made: Any = umap.UMAP  # init may be an array here too
        made = made(
            n_neighbors=n_neighbors,
            n_components=dims,
            metric=metric,
            # Exact, and without the minute that it takes to compile the search for approximate ones.
            precomputed_knn=(near.indices.numpy(), distances.numpy(), None),
            init=_noisy(start, seed),
            random_state=seed,
            n_jobs=1,  # with a seed it takes no more, and says so
            disconnection_distance=math.inf,  # or a point opposite to all others would be NaN
        )
        return np.asarray(made.fit_transform(points))


def _checked(points: Tensor, dims: int) -> Tensor:
    """The clouds (cloud, point, d), all finite."""
    if points.ndim < 2 or 0 in points.shape:
        raise BadInput(f"A cloud has the axes (point, d) and something along each; this is {tuple(points.shape)}.")
    if dims not in (2, 3):
        raise BadInput(f"A picture has 2 or 3 dimensions, not {dims}.")
    clouds = points.reshape(-1, *points.shape[-2:])
    need_finite("points", clouds)
    return clouds


def _check_options(metric: str, seed: int, n_neighbors: int) -> None:
    """What is of the wrong kind is wrong for every method, also for one that has no use for it."""
    if metric not in ("cosine", "euclidean"):
        raise BadInput(f"Distances are 'cosine' or 'euclidean', not {metric!r}.")
    need_whole("seed", seed)
    need_whole("n_neighbors", n_neighbors)
