"""Figures hold the numbers of their frame, in its order, and name each place once."""

import base64
import io

import numpy as np
import pandas as pd
import plotly.io
import pytest
from PIL import Image

from workbench import plots

FRAME = pd.DataFrame(
    {
        "pos": [0, 1, 0, 1],
        "layer": ["embed", "embed", "0", "0"],
        "token": ["a", "a", "a", "a"],
        "value": [1.0, 2.0, 3.0, float("nan")],
        "answer": ["w", "x", "y", "z"],
    }
)


def test_heatmap_puts_each_number_in_its_cell():
    figure = plots.heatmap(FRAME, x="pos", y="layer", value="value", text="answer", x_labels="token")
    (trace,) = figure.data
    np.testing.assert_array_equal(np.array(trace.z, dtype=float), [[1, 2], [3, np.nan]])
    assert [list(row) for row in trace.text] == [["w", "x"], ["y", "z"]]
    assert list(figure.layout.xaxis.ticktext) == ["a", "a"], "two equal tokens keep two places"
    assert list(figure.layout.xaxis.tickvals) == [0, 1]
    assert list(figure.layout.yaxis.ticktext) == ["embed", "0"]
    assert figure.layout.yaxis.autorange is None
    assert trace.customdata[0][1] == "layer embed<br>pos 1 a<br>answer x"


def test_heatmap_scales_are_what_was_asked():
    plain = plots.heatmap(FRAME, x="pos", y="layer", value="value", limits=(0, 1)).data[0]
    assert (plain.zmin, plain.zmax, plain.zmid) == (0, 1, None)
    centred = plots.heatmap(FRAME, x="pos", y="layer", value="value", center=0.0, y_down=True)
    assert centred.data[0].zmid == 0.0
    assert centred.data[0].colorscale != plain.colorscale
    assert centred.layout.yaxis.autorange == "reversed"


def test_heatmap_refuses_two_numbers_for_one_cell():
    with pytest.raises(ValueError, match="duplicate"):
        plots.heatmap(pd.concat([FRAME, FRAME]), x="pos", y="layer", value="value")


def test_numbers_are_places_in_order():
    frame = pd.DataFrame({"x": [10, 2], "y": [0, 0], "v": [1.0, 2.0]})
    assert plots.heatmap(frame, x="x", y="y", value="v").data[0].z == ([2.0, 1.0],)


def test_lines_make_one_for_each_group():
    figure = plots.lines(FRAME, x="layer", y="value", color="pos")
    assert [trace.name for trace in figure.data] == ["0", "1"]
    assert [list(trace.x) for trace in figure.data] == [[0, 1], [0, 1]]
    assert list(figure.data[0].y) == [1.0, 3.0]
    assert list(figure.layout.xaxis.ticktext) == ["embed", "0"]
    numeric = plots.lines(FRAME.query("layer == '0'"), x="pos", y="value")
    assert list(numeric.data[0].x) == [0, 1]
    assert numeric.layout.showlegend is False


def test_bars_stand_where_their_row_says():
    upright = plots.bars(FRAME.head(2), x="pos", y="value", x_labels="token")
    assert (list(upright.data[0].x), list(upright.data[0].y)) == ([0, 1], [1.0, 2.0])
    lying = plots.bars(FRAME.head(2), x="pos", y="value", horizontal=True)
    assert (list(lying.data[0].x), list(lying.data[0].y)) == ([1.0, 2.0], [0, 1])
    assert lying.layout.yaxis.autorange == "reversed"


@pytest.mark.parametrize("rows", [3, 63, 500])
def test_lying_bars_have_room_for_their_names(rows):
    frame = pd.DataFrame({"part": [f"blocks.{i}.attn_out" for i in range(rows)], "v": range(rows)})
    layout = plots.bars(frame, x="part", y="v", horizontal=True).layout
    drawn = (layout.height or 450) - 100  # margins and the other axis
    assert drawn / len(layout.yaxis.ticktext) >= 16, "a line of 13 px text"
    assert rows == 500 or len(layout.yaxis.ticktext) == rows


def cells(rows: int, columns: int) -> pd.DataFrame:
    return pd.DataFrame(
        [(x, y, 0.5, " considerable") for y in range(rows) for x in range(columns)], columns=["x", "y", "v", "w"]
    )


def test_words_in_cells_have_room():
    figure = plots.heatmap(cells(31, 17), x="x", y="y", value="v", text="w")
    (trace,) = figure.data
    letters = max(len(word) for row in trace.text for word in row)
    assert (figure.layout.width - 190) // 17 / letters >= 0.7 * trace.textfont.size, "a letter is 0.6 wide"
    assert trace.textfont.size >= 10
    assert (figure.layout.height - 130) / 31 >= 16
    assert trace.customdata[3][5] == "y 3<br>x 5<br>w ␣considerable"


def test_words_that_have_no_room_are_left_to_the_pointer():
    (trace,) = plots.heatmap(cells(3, 60), x="x", y="y", value="v", text="w").data
    assert trace.text is None and trace.texttemplate is None
    assert trace.customdata[0][0].endswith("w ␣considerable")


def test_many_ticks_are_thinned():
    frame = pd.DataFrame({"x": range(500), "v": range(500)})
    ticks = plots.bars(frame, x="x", y="v").layout.xaxis
    assert len(ticks.tickvals) <= 80
    assert [str(v) for v in ticks.tickvals] == list(ticks.ticktext)


def test_head_grid_is_one_picture_with_every_head_where_it_belongs():
    thumbnails = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    thumbnails[1, 2] = 255
    thumbnails[0, 0, 0, 3] = 128
    figure = plots.head_grid(thumbnails, gap=0)
    (image,) = figure.layout.images
    data = base64.b64decode(image.source.partition("base64,")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert pixels.shape == (8, 12, 3)
    assert (pixels[4:, 8:] == pixels[7, 11]).all()
    assert pixels[7, 11].sum() < pixels[0, 3].sum() < pixels[0, 0].sum(), "darker is stronger; query 0 is at the top"
    (clicks,) = figure.data
    assert [tuple(c) for c in clicks.customdata] == [(layer, head) for layer in range(2) for head in range(3)]
    assert list(zip(clicks.y, clicks.x, strict=True)) == [(layer, head) for layer in range(2) for head in range(3)]
    assert clicks.hoverinfo != "skip", "plotly reports no clicks on what it skips"


def test_head_grid_keeps_a_gap_between_heads():
    figure = plots.head_grid(np.full((1, 2, 4, 4), 255, dtype=np.uint8), gap=2)
    data = base64.b64decode(figure.layout.images[0].source.partition("base64,")[2])
    row = np.asarray(Image.open(io.BytesIO(data)).convert("L"))[2].astype(int)
    assert len(row) == 12
    assert (row[[0, 5, 6, 11]] > row[2]).all()


def test_head_grid_shades_by_the_square_root_in_the_colours_of_the_theme():
    from workbench.plots.theme import BLUES

    values = np.array([[0, 64], [255, 255]], dtype=np.uint8)  # 64 / 255 has the root 0.501, the middle of the scale
    figure = plots.head_grid(values[None, None], gap=0)
    data = base64.b64decode(figure.layout.images[0].source.partition("base64,")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert abs(pixels - np.array([[BLUES[0], BLUES[2]], [BLUES[4], BLUES[4]]])).max() <= 2


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (12, 12, 8, 8), (30, 9, 8, 8), (3, 20, 8, 4)])
def test_head_grid_fills_the_plot_and_no_more(shape):
    figure = plots.head_grid(np.zeros(shape, dtype=np.uint8))
    layout, (layers, heads, height, width) = figure.layout, shape
    assert list(layout.xaxis.range) == [-0.5, heads - 0.5]
    assert list(layout.yaxis.range) == [layers - 0.5, -0.5]
    assert layout.xaxis.constrain == layout.yaxis.constrain == "domain", "else plotly widens the ranges instead"
    across = (layout.width - layout.margin.l - layout.margin.r) / heads
    down = (layout.height - layout.margin.t - layout.margin.b) / layers
    assert down / across == pytest.approx(height / width, rel=0.02)


def test_drawing_changes_no_global_style():
    before = plotly.io.templates.default, list(plotly.io.templates)
    plots.heatmap(FRAME, x="pos", y="layer", value="value")
    assert (plotly.io.templates.default, list(plotly.io.templates)) == before


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("page", ["#ffffff", "#0e1117"])
def test_text_is_legible_on_light_and_dark(page):
    """WCAG contrast of at least 3, its bound for large text and graphics."""
    from workbench.plots.theme import INK

    light, dark = sorted((luminance(INK), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3
