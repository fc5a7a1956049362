"""A figure as a file: a page that opens offline, JSON, CSV of its frame, or a picture."""

from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import BadInput, Unavailable
from workbench.files import check_writable, write_atomically

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

KINDS = (".html", ".json", ".csv", ".png", ".svg")


def check_figure_path(path: str | PathLike[str]) -> Path:
    """`path`, after checking that a figure can be written there in that form; cheap, so do it before long work."""
    path = check_writable(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise BadInput(f"A figure cannot be written as {path.name!r}: the name must end in one of {', '.join(KINDS)}.")
    if kind in (".png", ".svg") and find_spec("kaleido") is None:
        raise Unavailable(
            f"Writing {kind} needs kaleido, which is not installed: run `pip install kaleido` (it also needs Chrome), "
            f"or write {path.with_suffix('.html').name} and save the picture from the page."
        )
    return path


def write_figure(figure: "go.Figure", path: str | PathLike[str], *, frame: "pd.DataFrame | None" = None) -> Path:
    """Write `figure` to `path`; the ending chooses the form. `.csv` writes `frame`, the numbers behind it.

    `.html` holds plotly.js itself (about 5 MB) and makes no request when opened.
    """
    path = check_figure_path(path)
    kind = path.suffix.lower()
    if kind == ".csv":
        if frame is None:
            raise BadInput("A CSV file holds the numbers behind a figure: give frame=result.to_frame().")
        return write_atomically(path, frame.to_csv(index=False))
    if kind == ".html":
        return write_atomically(path, figure_html(figure))
    if kind == ".json":
        return write_atomically(path, str(figure.to_json()))
    try:
        return write_atomically(path, figure.to_image(format=kind[1:]))
    except (ValueError, RuntimeError, OSError) as error:
        raise Unavailable(
            f"{path.name} could not be drawn: {str(error).strip().splitlines()[0]} "
            f"Write {path.with_suffix('.html').name} and save the picture from the page."
        ) from error


def figure_html(figure: "go.Figure") -> str:
    """A whole page with the library inside: nothing is fetched when it is opened."""
    return figure.to_html(include_plotlyjs=True, include_mathjax=False, full_html=True, config={"displaylogo": False})
