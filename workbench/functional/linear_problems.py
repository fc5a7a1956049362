"""Problems of in-context regression: examples of a linear function, a query, and the right answer."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.checks import need_whole


@dataclass(frozen=True, eq=False, kw_only=True)
class RegressionProblems:
    """Examples, a query and what should be said of it, one of each problem."""

    x: Float[Tensor, "problem n d"]
    y: Float[Tensor, "problem n"]
    query: Float[Tensor, "problem d"]
    target: Float[Tensor, "problem"]
    """weights . query, without noise."""
    weights: Float[Tensor, "problem d"]

    def __len__(self) -> int:
        return len(self.x)


def regression_problems(
    problems: int,
    n: int,
    d: int,
    *,
    inputs: Literal["normal", "uniform"] = "normal",
    noise: float = 0.0,
    input_scale: float = 1.0,
    query_scale: float = 1.0,
    weight_scale: float = 1.0,
    covariate_shift: float = 0.0,
    seed: int = 0,
) -> RegressionProblems:
    """Linear functions drawn at random, each with n examples and a query: what in-context regression is trained on.

    Weights are normal; inputs normal or uniform from -1 to 1, times `input_scale`, the query also times `query_scale`;
    labels have normal noise. `covariate_shift` s makes the inputs of each problem (examples and query) exp(s z) times
    as large, z normal: a distribution of inputs that differs from prompt to prompt (Zhang et al. 2024, Trained
    Transformers Learn Linear Models In-Context). The same seed gives the same problems, up to scales and noise.
    """
    for name, number in (("problems", problems), ("n", n), ("d", d)):
        need_whole(name, number)
        if number < 1:
            raise BadInput(f"{name} is 1 or more, not {number}.")
    scales = {"noise": noise, "input_scale": input_scale, "query_scale": query_scale, "weight_scale": weight_scale}
    for name, scale in (scales | {"covariate_shift": covariate_shift}).items():
        if not 0 <= scale < math.inf:
            raise BadInput(f"{name} is finite and not negative, not {scale}.")
    if inputs not in ("normal", "uniform"):
        raise BadInput(f"inputs are 'normal' or 'uniform', not {inputs!r}.")
    generator = torch.Generator().manual_seed(seed)
    weights = weight_scale * torch.randn(problems, d, generator=generator)
    drawn = torch.randn if inputs == "normal" else torch.rand
    x = drawn(problems, n + 1, d, generator=generator)
    x = input_scale * (x if inputs == "normal" else 2 * x - 1)
    errors = torch.randn(problems, n, generator=generator)
    x = x * (covariate_shift * torch.randn(problems, 1, 1, generator=generator)).exp()
    x, query = x[:, :n], query_scale * x[:, n]
    labels = torch.einsum("pnd,pd->pn", x, weights) + noise * errors
    return RegressionProblems(x=x, y=labels, query=query, target=(query * weights).sum(-1), weights=weights)
