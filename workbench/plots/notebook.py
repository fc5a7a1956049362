"""How a result shows itself in a notebook: its figure above the head of its table, with no request to anywhere."""

import html
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

HEAD = 8
"""Rows of the table that are shown."""

_DRAW = """(() => {
  const at = document.getElementById("NAME");
  if (!window.Plotly) {
    at.textContent = "Run the first cell that shows a result again: the drawing library came with it.";
    return;
  }
  const spec = SPEC;
  Plotly.newPlot(at, spec.data, spec.layout, {displaylogo: false, responsive: true});
})()"""

_library_sent = False


def notebook_html(title: str, figure: "go.Figure", frame: "pd.DataFrame") -> str:
    """The figure and the first rows of the frame; plotly.js comes with the first one shown by this process."""
    table = frame.head(HEAD).to_html(escape=True, index=False, border=0, max_cols=16)
    more = f", the first {HEAD} here" if len(frame) > HEAD else ""
    caption = html.escape(f"{title}: {len(frame)} rows{more}")
    return f"<div>{_drawing(figure)}<p>{caption}</p>{table}</div>"


def _drawing(figure: "go.Figure") -> str:
    global _library_sent
    from plotly.offline import get_plotlyjs

    name = f"workbench-{uuid.uuid4().hex}"
    library = "" if _library_sent else f"<script>if (!window.Plotly) {{{get_plotlyjs()}}}</script>"
    _library_sent = True
    spec = str(figure.to_json()).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    draw = _DRAW.replace("NAME", name).replace("SPEC", spec)
    return f'<div id="{name}"></div>{library}<script>{draw}</script>'
