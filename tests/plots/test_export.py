"""Figures become files that open offline; what cannot be written is a sentence and leaves nothing behind."""

import json
import re
import sys
from types import ModuleType

import pandas as pd
import plotly.graph_objects as go
import pytest

from workbench import BadFile, BadInput, Unavailable, plots
from workbench.plots import export

FRAME = pd.DataFrame({"pos": [0, 1], "token": ["</script><img src=x onerror=alert(1)>", "é"], "value": [0.5, 0.25]})


@pytest.fixture
def figure():
    return plots.bars(FRAME, x="pos", y="value", x_labels="token")


def test_html_holds_the_library_and_asks_nobody(figure, tmp_path):
    text = plots.write_figure(figure, tmp_path / "f.html").read_text(encoding="utf-8")
    assert len(text) > 3_000_000, "plotly.js itself is inside"
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", text.partition("*/")[0])
    assert '<script src="' not in text
    assert "<img src=x" not in text
    assert text.rstrip().endswith("</html>")


def test_json_comes_back_as_the_same_figure(figure, tmp_path):
    path = plots.write_figure(figure, tmp_path / "f.JSON")
    again = go.Figure(json.loads(path.read_text()))
    assert list(again.data[0].y) == FRAME["value"].tolist()
    assert again.layout.xaxis.ticktext == figure.layout.xaxis.ticktext
    assert again.layout.template.layout.font == figure.layout.template.layout.font


def test_csv_is_the_frame(figure, tmp_path):
    path = plots.write_figure(figure, tmp_path / "f.csv", frame=FRAME)
    pd.testing.assert_frame_equal(pd.read_csv(path), FRAME)
    with pytest.raises(BadInput, match="give frame="):
        plots.write_figure(figure, tmp_path / "g.csv")


@pytest.mark.parametrize("name", ["f.gif", "f", "f.pdf.zip"])
def test_an_unknown_ending_lists_the_known_ones(figure, tmp_path, name):
    with pytest.raises(BadInput, match=r"must end in one of .html, .json, .csv, .png, .svg"):
        plots.write_figure(figure, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_a_sentence(figure, tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        plots.write_figure(figure, tmp_path / "no" / "f.html")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_pictures_without_kaleido_say_the_next_step(figure, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install kaleido.*write f.html"):
        plots.write_figure(figure, tmp_path / f"f.{kind}")


def test_pictures_with_kaleido_are_what_it_drew(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: ModuleType(name).__spec__ or sys.modules["sys"].__spec__)
    monkeypatch.setattr(go.Figure, "to_image", lambda self, format: format.encode())
    assert plots.write_figure(figure, tmp_path / "f.png").read_bytes() == b"png"

    def no_chrome(self, format):
        raise RuntimeError("Kaleido requires Google Chrome to be installed.\n\nMore text")

    monkeypatch.setattr(go.Figure, "to_image", no_chrome)
    with pytest.raises(Unavailable, match=r"could not be drawn: Kaleido requires Google Chrome .* Write g.html"):
        plots.write_figure(figure, tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()
