"""The default model holds the days of the week on a circle, and answers as the circle is turned."""

import pytest

import workbench
from workbench.models.loading import load

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def smollm():
    return load("smollm2-135m", source="package")


def test_days_are_read_on_a_circle_of_seven_and_no_random_order_is(smollm) -> None:
    found = workbench.fourier_probe(smollm, "days", templates=("If today is {}",), periods=(7.0, 3.5))
    read = found.to_frame().query("way == 'read' and layer == '12'").set_index("feature")
    assert read.loc["period 7", "r2"] > 0.5  # 0.66
    assert read.loc["period 7", "chance"] < 0.4
    assert read.loc["period 7", "p_any"] <= 0.05
    assert read.loc["period 3.5", "p_any"] > 0.1


def test_tomorrow_follows_the_circle_turned_and_no_random_plane(smollm) -> None:
    asked = {"template": "If today is {}, then tomorrow is", "layer": 12, "by": (2,), "draws": 3}
    means = workbench.fourier_steering(smollm, "days", **asked).means().set_index("arm")["carried"]
    assert means["circle turned"] > 0.7  # 0.89
    assert abs(means["random plane"]) < 0.15
    assert means["random order"] < means["circle turned"] - 0.2
