"""The pictures and tables behind the browser components."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

import workbench
from apps.exports import csv_of, html_of, json_of
from apps.views.ablate_map import map_data, toggled
from apps.views.grid import by_score, in_place, shown
from apps.views.head_figures import pair, shares, without_first
from apps.views.lens import LEVELS, level_of
from apps.views.sprite import picture_size, scale, sprite
from apps.views.strip import encoded
from apps.views.window import pooled


def test_a_sprite_holds_each_picture_where_it_says():
    pictures = np.zeros((6, 4, 5), np.uint8)
    pictures[4] = 255
    made = sprite(pictures, columns=3)
    image = Image.open(io.BytesIO(base64.b64decode(str(made["url"]).partition(",")[2]))).convert("RGB")
    assert (made["rows"], made["columns"], image.size) == (2, 3, (15, 8))
    pixels = np.asarray(image)
    strong, nothing = pixels[4:8, 5:10], pixels[:4]
    assert (strong == scale(2, dark=False)[1]).all() and (nothing == scale(2, dark=False)[0]).all()


def test_pictures_shrink_as_heads_grow():
    assert picture_size(1) == 48 and picture_size(270) < 48
    assert all(n * picture_size(n) ** 2 <= 250_000 for n in (100, 270, 1024))


def test_one_hue_carries_the_value_by_lightness_alone():
    for dark in (False, True):
        light = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in scale(24, dark=dark)]
        assert light == sorted(light, reverse=not dark)


@pytest.mark.parametrize("across", [False, True])
def test_every_head_has_one_place(across):
    layout = in_place(5, 3, across=across)
    assert sorted(layout.order) == list(range(15))
    row = layout.order[: layout.columns]
    assert row == ((0, 3, 6, 9, 12) if across else (0, 1, 2))


def test_undefined_scores_come_last_either_way():
    values = np.array([[1.0, np.nan], [3.0, 2.0]])
    assert by_score(values).order == (2, 3, 0, 1)
    assert by_score(values, lowest_first=True).order == (0, 3, 2, 1)
    assert shown(values, (2, 1)) == [3.0, None]


def test_weights_are_one_byte_each():
    weights = np.array([[0.0, 0.5], [np.nan, 1.0]])
    assert list(base64.b64decode(encoded(weights))) == [0, 128, 0, 255]


def test_levels_cover_the_scale():
    assert [level_of(v) for v in (0.0, 0.999, 1.0, -3.0, 9.0)] == [0, LEVELS - 1, LEVELS - 1, 0, LEVELS - 1]
    assert level_of(float("nan")) is None


def test_pooling_keeps_the_largest_value_and_the_last_rows():
    pattern = torch.zeros(10, 10)
    pattern[9, 9] = 1
    small, block = pooled(pattern, 4)
    assert (tuple(small.shape), block, small[3, 3].item()) == ((4, 4), 3, 1.0)
    assert pooled(pattern, 10) == (pattern, 1)


def test_without_the_first_column_rows_sum_to_one_again():
    pattern = torch.rand(6, 6).tril().softmax(-1)
    rest = without_first(pattern)
    assert torch.allclose(rest.sum(-1), torch.ones(6)) and (rest[:, 0] == 0).all()
    assert torch.isnan(without_first(torch.eye(3))[0]).all()  # nothing is left of the first row: undefined, not zero


def test_both_pictures_of_a_head_have_one_scale(tiny):
    found = workbench.head(tiny("gpt2"), "a b c d", layer=1, head=1)
    figure = pair(found, start=0, end=len(found.keys), hide_upper=True, hide_first=False, dark=False)
    attention, moved = figure.data
    assert (attention.zmin, attention.zmax) == (moved.zmin, moved.zmax) == (0, 1)
    assert np.allclose(np.nansum(moved.z, -1), 1, atol=1e-5)
    assert np.allclose(np.nan_to_num(attention.z), found.pattern.numpy())
    assert np.allclose(np.nan_to_num(moved.z), shares(found.weighted).numpy(), atol=1e-6)


def test_files_of_a_result(tiny):
    found = workbench.logit_lens(tiny("gpt2"), "<b>a</b>")
    page = html_of(found.figure())
    assert "default-src 'none'" in page and "cdn." not in page.partition("<script")[0]
    frame = found.to_frame()
    assert csv_of(frame).count("\n") >= len(frame) and json_of(frame).startswith("[{") and "NaN" not in json_of(frame)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("blocks.1.attn.z:0,2", {"blocks.1.attn.z:0", "blocks.1.attn.z:2"}),
        ("blocks.1.attn.z:1=mean", {"blocks.1.attn.z:1"}),
        ("blocks.0.attn.z:1@-1=scale:0.5", {"blocks.0.attn.z:1"}),
        ("blocks.1.attn.z", {f"blocks.1.attn.z:{head}" for head in range(4)}),
        ("blocks.1.attn_out@4", {"blocks.1.attn_out"}),
        ("blocks.0.mlp_out=resample:7", {"blocks.0.mlp_out"}),
        ("no intervention:", set()),
    ],
)
def test_the_map_marks_what_a_text_changes(text, marked):
    data = map_data(workbench.load("micro"), "blocks.attn", (text,))
    assert set(data["chosen"]) == marked
    plain = {tile["id"]: tile["colour"] for tile in map_data(workbench.load("micro"), "blocks.attn", ())["tiles"]}
    assert {tile["id"] for tile in data["tiles"] if tile["colour"] != plain[tile["id"]]} == marked & set(plain)


@pytest.mark.parametrize(
    ("texts", "clicked", "left"),
    [
        ((), "blocks.1.attn.z:0", ("blocks.1.attn.z:0",)),
        (("blocks.1.attn.z:0",), "blocks.1.attn.z:1", ("blocks.1.attn.z:0", "blocks.1.attn.z:1")),
        (("blocks.1.attn.z:0,2@4,-1=mean",), "blocks.1.attn.z:2", ("blocks.1.attn.z:0@4,-1=mean",)),
        (("blocks.1.attn.z:2=scale:0.5", "blocks.0.mlp_out"), "blocks.1.attn.z:2", ("blocks.0.mlp_out",)),
        (("blocks.1.attn.z",), "blocks.1.attn.z:0", ("blocks.1.attn.z:1,2,3",)),
        (("blocks.1.attn_out@4=mean",), "blocks.1.attn_out", ()),
    ],
)
def test_a_click_takes_a_part_out_of_the_text_that_holds_it(texts, clicked, left):
    assert toggled(texts, clicked, 4) == left
