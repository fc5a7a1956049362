"""Linear self-attention that is gradient descent by construction."""

import pytest
import torch

from workbench import functional
from workbench.errors import BadInput


def drawn(problems=7, n=6, d=3, **more):
    found = functional.regression_problems(problems, n, d, **more)
    return found.x.double(), found.y.double(), found.query.double()


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_each_layer_is_one_step_of_descent(layers):
    x, y, query = drawn(noise=0.5)
    weights = functional.descent_attention(3, 6, step_size=0.4, dtype=torch.float64)
    found = functional.in_context_prediction(x, y, query, weights, layers=layers)
    expected = functional.gradient_descent(x, y, query, step_size=0.4, steps=layers)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=0)


def test_where_the_query_is_a_key_only_the_first_layer_is_a_step():
    x, y, query = drawn()
    weights = functional.descent_attention(3, 6, step_size=0.4, dtype=torch.float64)
    for layers, same in ((1, True), (2, False)):
        found = functional.in_context_prediction(x, y, query, weights, layers=layers, queries_seen="always")
        expected = functional.gradient_descent(x, y, query, step_size=0.4, steps=layers)
        assert torch.allclose(found, expected, atol=1e-12) == same


def test_a_layer_is_that_of_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    weights = functional.LinearAttentionWeights(
        key_query=torch.randn(4, 4, generator=generator, dtype=torch.float64),
        value=torch.randn(4, 4, generator=generator, dtype=torch.float64),
    )
    for keys in (None, 3):
        found = functional.linear_self_attention(tokens, weights, keys=keys)
        for row in range(2):
            for at in range(5):
                expected = tokens[row, at].clone()
                for e in tokens[row, :keys]:
                    expected += weights.value @ e * (e @ weights.key_query @ tokens[row, at])
                torch.testing.assert_close(found[row, at], expected)


def test_bad_input_is_a_sentence():
    weights = functional.descent_attention(3, 6, step_size=0.4)
    with pytest.raises(BadInput, match="width|pos, 4"):
        functional.linear_self_attention(torch.zeros(2, 5, 3), weights)
    with pytest.raises(BadInput, match="finite step size"):
        functional.descent_attention(3, 6, step_size=float("inf"))
