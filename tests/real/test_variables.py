"""The default model has the variables it is known to have, and lays out the days on a circle."""

import pytest

import workbench

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def smollm2():
    return workbench.load("smollm2-135m", source="package")


def test_which_variables_smollm2_has_tokens_for(smollm2):
    spaced = {name: workbench.variable(name, smollm2).spaced for name in ("letters", "days", "months", "digits")}
    assert spaced == {"letters": True, "days": True, "months": True, "digits": False}
    assert all(workbench.variable(name, smollm2).ids is not None for name in spaced)
    with pytest.raises(workbench.BadInput, match=r"splits them from 10 on .*'digits'.*template"):
        workbench.variable("numbers", smollm2)
    assert list(workbench.variable("0-99", smollm2).left_out) == [str(number) for number in range(10, 100)]


def test_smollm2_lays_out_the_days_on_a_circle_above_chance(smollm2):
    asked = {"template": "The day after {} is", "parts": ("resid_post",)}
    found = workbench.fourier_spectrum(smollm2, "days", **asked)
    row = found.strongest_frame().iloc[0]
    assert row["frequency"] == 1 and row["roundness"] > 0.85 and row["above the null"] >= 25
    mixed = "Monday,Thursday,Sunday,Wednesday,Saturday,Tuesday,Friday"  # every third day: the circle at another k
    turned = workbench.fourier_spectrum(smollm2, mixed, **asked)
    assert (turned.shares[:, 3] > turned.shares[:, 1]).all()
