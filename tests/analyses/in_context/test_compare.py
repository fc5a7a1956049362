"""Predictors that are an algorithm are found to be that one, and nothing else is said to be beyond chance."""

from functools import partial

import numpy as np
import pytest
import torch

import workbench
from workbench import functional
from workbench.errors import BadInput, UnknownName

DRAWN = functional.regression_problems(120, 8, 4, noise=0.5)
ASKED = (DRAWN.x, DRAWN.y, DRAWN.query)
ALGORITHMS = {
    "one step": partial(functional.gradient_descent, step_size=0.5),
    "three steps": partial(functional.gradient_descent, step_size=0.5, steps=3),
    "ridge": partial(functional.ridge, penalty=0.25),
    "least squares": functional.least_squares,
    "neighbours": partial(functional.nearest_labels, k=2),
}
WEIGHTS = {
    "one step": functional.gradient_descent_weights(*ASKED[:2], step_size=0.5),
    "least squares": functional.least_squares_weights(*ASKED[:2]),
    "ridge": functional.ridge_weights(*ASKED[:2], penalty=0.25),
}


@pytest.fixture(scope="module")
def ridge():
    return workbench.compare_algorithms(ALGORITHMS["ridge"], ALGORITHMS, *ASKED, DRAWN.target, resamples=200)


@pytest.mark.parametrize("name", ["one step", "three steps", "least squares"])
def test_an_algorithm_is_closest_to_itself_by_every_measure(name):
    found = workbench.compare_algorithms(ALGORITHMS[name], ALGORITHMS, *ASKED, resamples=100)
    for measure in ("distance", "weights", "sensitivity", "cosine"):
        assert found.closest(measure) == name
        assert found.lead(measure).low > 0
    assert found.distance[list(ALGORITHMS).index(name)].max() == 0
    assert found.weights[list(ALGORITHMS).index(name)].max() < 1e-8


def test_distances_are_those_of_the_algorithms_weights(ridge):
    frame = ridge.to_frame().set_index(["measure", "algorithm"])
    for name in ("one step", "least squares"):
        apart = (WEIGHTS[name] - WEIGHTS["ridge"]).double()
        expected = {
            "distance": ((apart * DRAWN.query).sum(-1) ** 2).mean(),
            "weights": (apart**2).sum(-1).mean(),
            "sensitivity": apart.norm(dim=-1).mean(),
            "cosine": np.mean(
                [
                    np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
                    for a, b in zip(WEIGHTS[name].numpy(), WEIGHTS["ridge"].numpy(), strict=True)
                ]
            ),
        }
        for measure, value in expected.items():
            row = frame.loc[(measure, name)]
            assert row["value"] == pytest.approx(float(value), rel=1e-3, abs=1e-6)
            assert row["low"] <= row["value"] <= row["high"]
            assert row["problems"] == 120
    losses = frame.loc["loss"]
    assert losses.loc["the predictor", "value"] == losses.loc["ridge", "value"] > 0


def test_what_has_no_slope_has_no_cosine_and_a_count_says_so(ridge):
    row = ridge.to_frame().set_index(["measure", "algorithm"]).loc[("cosine", "neighbours")]
    assert np.isnan(row["value"])
    assert row["problems"] == 0
    assert ridge.explained.min() > 0.999
    neighbours = workbench.compare_algorithms(ALGORITHMS["neighbours"], ALGORITHMS, *ASKED)
    assert neighbours.explained.mean() < 0.9


def test_two_algorithms_equally_near_are_not_told_apart():
    noisy = {
        name: lambda x, y, query, seed=seed: (
            ALGORITHMS["ridge"](x, y, query)
            + 0.1 * torch.randn(len(x), generator=torch.Generator().manual_seed(seed + len(x)))
        )
        for seed, name in enumerate(("a", "b"))
    }
    found = workbench.compare_algorithms(ALGORITHMS["ridge"], noisy, *ASKED)
    lead = found.lead()
    assert lead.low < 0 < lead.high
    assert "not beyond chance" in found.brief()[0]


def test_a_predictor_without_gradients_is_compared_by_differences(ridge):
    def theirs(x, y, query):
        from sklearn.linear_model import Ridge

        return torch.tensor(
            [
                Ridge(alpha=0.25, fit_intercept=False).fit(a, b).predict(q[None])[0]
                for a, b, q in zip(x.detach(), y, query.detach(), strict=True)
            ]
        )

    few = [each[:8].double() for each in ASKED]
    found = workbench.compare_algorithms(theirs, ALGORITHMS, *few, fresh=4, difference=0.01)
    assert {found.closest(measure) for measure in ("distance", "weights", "sensitivity", "cosine")} == {"ridge"}
    assert found.sensitivity[2].max() < 1e-6
    with pytest.raises(BadInput, match="difference"):
        workbench.compare_algorithms(theirs, ALGORITHMS, *few, fresh=4)


def test_it_is_kept_and_drawn(ridge, tmp_path):
    again = workbench.load_result(ridge.save(tmp_path / "comparison"))
    assert again.to_frame().equals(ridge.to_frame())
    figure = ridge.figure("weights")
    assert "ridge" in figure.layout.title.text
    assert list(figure.data[0].y) == pytest.approx(ridge.weights.mean(-1).tolist())
    assert figure.data[0].error_y.array.min() >= 0
    assert ridge.figure("loss").data[0].x[-1] == 5
    with pytest.raises(UnknownName):
        ridge.figure("size")


def test_of_one_algorithm_there_is_no_next():
    alone = workbench.compare_algorithms(ALGORITHMS["ridge"], {"ridge": ALGORITHMS["ridge"]}, *ASKED, fresh=4)
    with pytest.raises(BadInput, match="ridge is the only algorithm"):
        alone.lead()
    assert alone.closest() == "ridge" and "explain" in alone.brief()[0]


def test_bad_input_is_a_sentence():
    with pytest.raises(BadInput, match="one algorithm or more"):
        workbench.compare_algorithms(ALGORITHMS["ridge"], {}, *ASKED)
    with pytest.raises(BadInput, match="fresh"):
        workbench.compare_algorithms(ALGORITHMS["ridge"], ALGORITHMS, *ASKED, fresh=3)
    with pytest.raises(BadInput, match="one answer for each query"):
        workbench.compare_algorithms(lambda x, y, query: y, ALGORITHMS, *ASKED)
