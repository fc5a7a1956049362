"""Everything a result of the Fourier page can be saved as, its own file among it."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports
from apps.generic import offer
from apps.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import plotly.graph_objects as go

    from workbench.registry import Analysis
    from workbench.results import Result


def offer_all(
    seen: Subject,
    analysis: "Analysis",
    found: "Result",
    params: dict[str, Any],
    *,
    figure: "Callable[[], go.Figure] | None" = None,
) -> None:
    """Exports, the lines that make it again, and the result as a file."""
    with st.container(horizontal=True, key=f"fourier-files-{analysis.name}"):
        offer(analysis, seen, found, params, figure=figure)
        result_file(found, f"{analysis.name}-{seen.model.name}")


def three_figures(frame: "pd.DataFrame") -> dict[str, Any]:
    """How the browser writes the numbers of a table that are not whole."""
    names = [name for name in frame if frame[name].dtype.kind == "f"]
    return {str(name): st.column_config.NumberColumn(format="%.3g") for name in names}


def result_file(found: "Result", name: str) -> None:
    """A button that saves the result whole."""
    st.download_button(
        "Result file",
        lambda: _bytes(found),
        f"{exports.file_name(name)}.safetensors",
        "application/octet-stream",
        key=f"fourier file {name}",
        on_click="ignore",
        icon=":material/file_save:",
        help="All numbers with what made them; workbench.load_result reads it.",
    )


def _bytes(found: "Result") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        found.save(path := Path(folder) / "result.safetensors")
        return path.read_bytes()
