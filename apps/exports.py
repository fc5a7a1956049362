"""Every figure and table as a file: PNG, SVG, HTML without network, CSV, JSON, and the line that makes it again."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps.running import sentences
from apps.views.component import component

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# The page may run its own script and nothing else: no request can leave it, whatever a token spells.
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    'worker-src blob:">'
)


def html_of(figure: "go.Figure") -> str:
    """One page that holds the figure and plotly.js; opening it offline asks the network for nothing."""
    from workbench.plots.export import figure_html

    return figure_html(figure).replace("<head>", f"<head>{_POLICY}", 1)


def csv_of(frame: "pd.DataFrame") -> str:
    """The table with a header line; what is undefined is an empty cell."""
    return frame.to_csv(index=False)


def json_of(frame: "pd.DataFrame") -> str:
    """One object a row; what is undefined is null."""
    return frame.to_json(orient="records", double_precision=15) or "[]"


def file_name(text: str) -> str:
    """`text` as the name of a file on any system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "result"


@st.fragment
@sentences
def exports(
    name: str,
    *,
    figure: "Callable[[], go.Figure] | None" = None,
    frame: "Callable[[], pd.DataFrame] | None" = None,
    key: str,
    python: str = "",
    command: str = "",
) -> None:
    """A row of two buttons: what can be saved, and how to make the same elsewhere. Files are made when asked for."""
    name = file_name(name)
    with st.container(horizontal=True, key=f"exports-{file_name(key)}"):
        with st.popover("Export", icon=":material/download:"):
            if figure is not None:
                st.caption("The figure")
                _pictures(name, figure, key)
                _file("HTML", lambda: html_of(figure()), f"{name}.html", "text/html", key)
            if frame is not None:
                st.caption("The numbers")
                _file("CSV", lambda: csv_of(frame()), f"{name}.csv", "text/csv", key)
                _file("JSON", lambda: json_of(frame()), f"{name}.json", "application/json", key)
        if python or command:
            with st.popover("Copy as …", icon=":material/content_copy:"):
                if python:
                    st.caption("Copy as Python")
                    st.code(python, language="python", wrap_lines=True)
                if command:
                    st.caption("Copy as command")
                    st.code(command, language="bash", wrap_lines=True)


def _file(label: str, data: Callable[[], str], name: str, mime: str, key: str) -> None:
    st.download_button(
        label,
        data,
        name,
        mime,
        key=f"file:{key}:{label}",
        on_click="ignore",
        icon=":material/file_save:",
        width="stretch",
    )


def _pictures(name: str, figure: "Callable[[], go.Figure]", key: str) -> None:
    """PNG and SVG: the browser draws them, so only the figure asked for is sent, once."""
    slot = f"picture:{key}"
    wanted = getattr(st.session_state.get(slot), "format", None)
    job: dict[str, Any] | None = None
    if wanted in ("png", "svg"):
        count = st.session_state["pictures made"] = st.session_state.get("pictures made", 0) + 1
        made = figure()
        layout: Any = made.layout
        made.update_layout(paper_bgcolor="#ffffff")
        size = (layout.width or 1100, layout.height or 650)
        job = {"figure": made.to_json(), "format": wanted, "name": name, "id": f"{key}:{count}"}
        job |= {"width": size[0], "height": size[1]}
    component("figure_file")(key=slot, data={"job": job, "plotly": plotly_address()}, on_format_change=lambda: None)


def plotly_address() -> str:
    """Where this app serves the plotly.min.js of the Python package: its own origin."""
    import plotly
    import streamlit.components.v1 as v1

    folder = f"{plotly.__path__[0]}/package_data"
    served = v1.declare_component("plotly_library", path=folder)
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{'/' + base if base else ''}/component/{served.name}/plotly.min.js"
