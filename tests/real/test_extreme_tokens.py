"""Sinks and massive activations of the default model, as measured, and what they are for."""

import pytest

import workbench

pytestmark = pytest.mark.real
PROMPT = (
    "Massive activations are a handful of numbers in the residual stream that are far larger than all others."
    " They stand at the first token, and at some delimiters, in a few fixed dimensions."
)


@pytest.fixture(scope="module")
def smollm2():
    return workbench.load("smollm2-135m")


def test_smollm2_has_massive_activations_at_its_first_token(smollm2):
    found = workbench.massive_activations(smollm2, PROMPT)
    assert {tuple(place) for _, *place in found.massive.tolist()} == {(0, 507), (0, 247)}
    assert {layer for layer, _, d in found.massive.tolist() if d == 507} == set(range(11, 28))
    assert found.massive_value.max().item() == pytest.approx(23_694, rel=0.01)
    assert found.layer == 11


def test_smollm2_needs_them_as_constants(smollm2):
    found = workbench.massive_interventions(smollm2, PROMPT, draws=1)
    rise = found.to_frame().set_index("condition")["rise"]
    assert rise["massive: zero"] > 5
    assert abs(rise["massive: mean"]) < 0.05
    assert abs(rise["random: zero"]) < 0.05
    assert abs(rise["next largest: zero"]) < 0.2
    sink = found.to_frame().set_index("condition")["sink"]
    assert sink["massive: zero"] < sink["unaltered"] - 0.05 and abs(sink["massive: mean"] - sink["unaltered"]) < 0.02


def test_most_heads_of_smollm2_are_sinks_on_a_drained_first_token(smollm2):
    found = workbench.attention_sinks(smollm2, PROMPT)
    assert found.position == 0 and 0.6 < found.share < 0.8
    assert found.value_ratio[12:28, :, 0].median() < 0.3
    assert found.state_ratio[12, 0] > 100
