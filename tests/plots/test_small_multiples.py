"""Panels hold the numbers of their rows, at the same places, each series named once."""

import pandas as pd

from workbench import plots

FRAME = pd.DataFrame(
    {
        "part": ["a", "a", "a", "<b>", "<b>", "<b>"],
        "removed": ["a low", "high", "a low", "high", "a low", "a low"],
        "by": ["filter", "filter", "random", "filter", "random", "random"],
        "value": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
)


def test_each_panel_has_its_rows_at_shared_places():
    marks = {"filter": "bar", "random": "points"}
    figure = plots.small_multiples(
        FRAME, panel="part", x="removed", y="value", color="by", marks=marks, title="t", limits=(0, 7)
    )
    told = [(t.type, t.xaxis, list(t.x), list(t.y), t.name, t.showlegend) for t in figure.data]
    assert told == [
        ("bar", "x", [0, 1], [1.0, 2.0], "filter", True),
        ("scatter", "x", [0], [3.0], "random", True),
        ("bar", "x2", [1], [4.0], "filter", False),
        ("scatter", "x2", [0, 0], [5.0, 6.0], "random", False),
    ]
    assert figure.data[0].marker.color == figure.data[2].marker.color != figure.data[1].marker.color
    assert figure.data[1].mode == "markers"
    assert [a.text for a in figure.layout.annotations] == ["a", "&lt;b&gt;"]
    assert list(figure.layout.xaxis2.ticktext) == ["a low", "high"]
    assert tuple(figure.layout.yaxis.range) == (0, 7)


def test_a_line_over_numbers():
    marks = {"filter": "line", "random": "line"}
    figure = plots.small_multiples(FRAME, panel="by", x="value", y="value", color="by", marks=marks)
    assert [t.mode for t in figure.data] == ["lines+markers"] * 2
    assert list(figure.data[1].x) == [2, 4, 5]
    assert list(figure.layout.xaxis.ticktext) == ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]
    assert figure.layout.yaxis.range is None
