"""The plane of one frequency at a place: that of the spectrum, of any frequency, in any template, beside its null."""

import pytest
import torch

import workbench
from workbench.errors import BadInput
from workbench.testing import tiny_model


@pytest.fixture(scope="module")
def micro():
    return workbench.load("micro")


@pytest.mark.parametrize("detrend", [False, True])
def test_it_is_the_plane_that_the_spectrum_keeps(micro, detrend):
    spectrum = workbench.fourier_spectrum(micro, "letters", template="an {}", kept=12, draws=20, detrend=detrend)
    for place in ("embed", "unembed", "blocks.1.attn_out", "blocks.0.resid_post"):
        at = spectrum.places.index(place)
        for rank, k in enumerate(spectrum.strongest[at].tolist()[:3]):
            found = workbench.fourier_plane(
                micro, "letters", place=place, frequency=k, template="an {}", draws=20, detrend=detrend
            )
            torch.testing.assert_close(found.coordinates, spectrum.coordinates[at, rank])
            assert found.share.item() == pytest.approx(spectrum.shares[at, k].item())
            assert found.held.item() == pytest.approx(spectrum.held[at, rank].item())
            assert found.roundness.item() == pytest.approx(spectrum.roundness[at, rank].item())
            assert found.period == pytest.approx(26 / k)


def test_chances_count_the_orders_that_reach_as_much():
    model = tiny_model("gpt2")
    found = workbench.fourier_plane(model, "letters", place="blocks.0.mlp_out", frequency=5, draws=50)
    share, roundness = found.chances
    assert share == sum(float(one >= found.share) for one in found.random_share) / 50
    assert roundness == sum(float(one >= found.roundness) for one in found.random_roundness) / 50
    assert len(found.to_frame()) == 26 and "random orders" in found.brief()[0]


def test_the_figure_has_equal_axes_and_names_the_values():
    figure = workbench.fourier_plane(tiny_model("gpt2"), "letters", frequency=2, draws=20).figure()
    line, points = figure.data
    assert figure.layout.yaxis.scaleanchor == "x"
    assert list(points.text) == list("abcdefghijklmnopqrstuvwxyz") and len(line.x) == 26


def test_of_many_values_some_are_named_all_around_the_circle():
    found = workbench.fourier_plane(tiny_model("gpt2"), "ids:0-59", frequency=6, draws=20)
    (points,) = found.figure().data
    named = [i for i, text in enumerate(points.text) if text]
    assert 8 <= len(named) <= 30 and len({i % 10 for i in named}) >= 8


def test_what_there_is_not_is_a_sentence(micro):
    with pytest.raises(BadInput, match="1 to 13"):
        workbench.fourier_plane(micro, "letters", frequency=14)
    with pytest.raises(workbench.WorkbenchError):
        workbench.fourier_plane(micro, "letters", place="blocks.9.mlp_out")
    with pytest.raises(BadInput, match="not one token"):
        workbench.fourier_plane(micro, "months")
