"""What patches show: exact on painted pictures, the standard library's colours, and none where there is none."""

import colorsys
import math

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import CIRCULAR_TRAITS, PATCH_TRAITS, patch_traits

SIDE = 14


def painted(colours, rows, columns):
    """A picture of even patches, (3, height, width), from colours rows first."""
    grid = torch.tensor(colours, dtype=torch.float64).reshape(rows, columns, 3).permute(2, 0, 1)
    return grid.repeat_interleave(SIDE, 1).repeat_interleave(SIDE, 2)


def stripes(degrees, period=7.0):
    """A wave whose lines run `degrees` counterclockwise from level."""
    y, x = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    across = x * math.sin(math.radians(degrees)) + y * math.cos(math.radians(degrees))
    return (0.5 + 0.4 * (2 * math.pi * across / period).sin()).expand(3, -1, -1)


def named(traits):
    return dict(zip(traits.names, traits.values.unbind(-1), strict=True))


def apart(a, b):
    """How far two angles in turns are from each other."""
    return abs((a - b + 0.5) % 1 - 0.5)


def test_even_patches_have_their_colour_and_place():
    colours = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (0.6, 0.3, 0.3)]
    found = named(patch_traits(painted(colours, 2, 3), 2, 3))
    assert found["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert found["column"].tolist() == [0, 1, 2, 0, 1, 2]
    for i, (r, g, b) in enumerate(colours):
        hue, saturation, _ = colorsys.rgb_to_hsv(r, g, b)
        assert found["brightness"][i].item() == pytest.approx(0.2126 * r + 0.7152 * g + 0.0722 * b)
        assert apart(found["hue"][i].item(), hue) < 1e-12  # exact at the corners of the hexagon
        assert found["saturation"][i].item() == pytest.approx(saturation)
    assert found["contrast"].abs().max() < 1e-12
    assert found["edges"].abs().max() < 1e-12  # neighbours do not show
    assert found["orientation"].isnan().all()


def test_hue_is_close_to_that_of_the_hexagon():
    colours = torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    found = named(patch_traits(painted(colours, 5, 8), 5, 8))
    for i, colour in enumerate(colours):
        assert apart(found["hue"][i].item(), colorsys.rgb_to_hsv(*colour)[0]) < 1.2 / 360
    assert (found["hue"] >= 0).all()
    assert (found["hue"] < 1).all()


def test_grey_has_no_hue_and_black_no_saturation():
    traits = patch_traits(painted([(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (0.5, 0.501, 0.5)], 2, 2), 2, 2)
    found = named(traits)
    assert found["hue"].isnan().all()
    assert found["saturation"].tolist() == [0, 0, 0, pytest.approx(0.001 / 0.501)]
    assert dict(zip(traits.names, traits.undefined.tolist(), strict=True)) == {
        **dict.fromkeys(PATCH_TRAITS, 0),
        "hue": 4,
        "orientation": 4,
    }


@pytest.mark.parametrize("degrees", [0, 30, 45, 80, 90, 120, 179])
def test_lines_run_the_way_they_were_drawn(degrees):
    found = named(patch_traits(stripes(degrees), 1, 1))
    assert apart(found["orientation"].item(), degrees / 180) < 3 / 180  # 14 pixels across two periods


def test_lines_level_and_upright_are_exact():
    assert named(patch_traits(stripes(0), 1, 1))["orientation"].item() == 0.0
    assert named(patch_traits(stripes(90), 1, 1))["orientation"].item() == pytest.approx(0.5, abs=1e-12)


def test_a_ramp_has_its_slope_as_edges_and_its_spread_as_contrast():
    ramp = (torch.arange(SIDE, dtype=torch.float64) * 0.05).expand(3, SIDE, SIDE)
    found = named(patch_traits(ramp, 1, 1))
    assert found["edges"].item() == pytest.approx(0.05)
    assert found["contrast"].item() == pytest.approx(0.05 * math.sqrt((SIDE**2 - 1) / 12))
    assert found["brightness"].item() == pytest.approx(0.05 * (SIDE - 1) / 2)
    assert found["orientation"].item() == pytest.approx(0.5)  # lines of one brightness stand upright


def test_what_points_all_ways_alike_has_no_orientation():
    y, x = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2] * 2, indexing="ij")
    cone = (torch.hypot(x, y) / SIDE).expand(3, -1, -1)
    found = named(patch_traits(cone, 1, 1))
    assert found["orientation"].isnan().all()
    assert found["edges"].item() > 0.03


def test_patches_are_cut_where_the_grid_says():
    picture = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    found = patch_traits(picture, 3, 5)
    for image in range(2):
        for patch in range(15):
            row, column = divmod(patch, 5)
            cut = picture[image, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
            alone = patch_traits(cut, 1, 1).values[0, 2:]
            torch.testing.assert_close(found.values[image, patch, 2:], alone, equal_nan=True)


def test_turning_the_colours_turns_the_hue_alone():
    picture = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    here, there = (named(patch_traits(p, 2, 2)) for p in (picture, picture[[2, 0, 1]]))
    for a, b in zip(here["hue"].tolist(), there["hue"].tolist(), strict=True):
        assert apart(a + 1 / 3, b) < 1e-9
    torch.testing.assert_close(here["saturation"], there["saturation"])


def test_types_and_sizes():
    assert set(CIRCULAR_TRAITS) < set(PATCH_TRAITS)
    half = patch_traits(torch.rand(3, 28, 28).half(), 2, 2)
    assert half.values.dtype == torch.float32
    assert patch_traits(torch.rand(3, 2, 2), 2, 2).values[:, -1].isnan().all()  # one pixel has no gradient


@pytest.mark.parametrize(
    ("pixels", "grid", "sentence"),
    [
        (torch.zeros(1, 8, 8), (2, 2), "red, green and blue"),
        (torch.zeros(3, 8, 9), (2, 2), "8 x 9 pixels cannot be cut into 2 x 2"),
        (torch.zeros(3, 8, 8), (0, 2), "cannot be cut"),
        (torch.zeros(8, 8), (2, 2), r"axes \(\*, channel, height, width\)"),
        (torch.zeros(0, 3, 8, 8), (2, 2), "There is no picture"),
        (torch.zeros(3, 8, 8), (2.0, 2), "rows is a whole number"),
        (torch.full((3, 8, 8), -1.5), (2, 2), "from -1.5 to -1.5. Undo"),
        (torch.full((3, 8, 8), torch.nan), (2, 2), "from nan"),
    ],
)
def test_what_is_no_picture_is_a_sentence(pixels, grid, sentence, as_installed):
    with pytest.raises(BadInput, match=sentence):
        patch_traits(pixels, *grid)
