"""The page of any registered analysis: a form, a figure, a table, exports. A new analysis has one without app code."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import exports, results, state, widgets
from apps.subject import Subject, of_many, subject
from apps.text import plain
from workbench.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import plotly.graph_objects as go

    from workbench.registry import Analysis

_MOST_ROWS = 5000  # rows the browser is sent; the files hold all of them


def page(name: str) -> None:
    """Draw the page of the analysis called `name`."""
    from workbench import registry
    from workbench.index import index

    entry, analysis = index().analyses[name], registry.get(name)
    if analysis.prompt is None:
        top = of_many(entry.title, entry.summary, lambda _: None, analysis=name)
        seen = None if top is None else top[0]
    else:
        seen = subject(entry.title, entry.summary)
    if seen is None:
        return
    if sentence := analysis.why_not(seen.model):
        st.info(plain(sentence))
        return
    params = form(analysis, seen)
    if params is not None:
        show(analysis, seen, results.result_of(seen.loaded, name, **params), params)


def form(analysis: "Analysis", seen: Subject) -> dict[str, Any] | None:
    """The parameters: from the address, changed by the form. None while something required is missing."""
    context = widgets.Context(model=seen.model, tokens=seen.tokens)
    asked = [p for p in analysis.params if p is not analysis.prompt]
    first = {analysis.prompt.name: seen.prompt} if analysis.prompt else {}
    values = {p.name: widgets.from_text(p, state.get(p.name)) for p in asked}
    if asked:
        with st.form(f"form:{analysis.name}", border=True):
            columns = st.columns(min(len(asked), 3), vertical_alignment="bottom")
            for i, p in enumerate(asked):
                with columns[i % len(columns)]:
                    # A widget starts anew when its text in the address changes.
                    key = f"form:{analysis.name}:{p.name}:{state.get(p.name)}"
                    values[p.name] = widgets.ask(p, state.get(p.name), context, key=key)
            run = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:")
        if run:
            state.replace_options({p.name: widgets.to_text(p, values[p.name]) or "" for p in asked})
            st.session_state[f"form:{analysis.name}:run"] = True
            st.rerun()
        values = {p.name: widgets.from_text(p, state.get(p.name)) for p in asked}
    missing = [p for p in asked if p.required and values[p.name] in (None, "", ())]
    if missing:
        if st.session_state.pop(f"form:{analysis.name}:run", False):
            raise BadInput(f"{widgets.label_of(missing[0])} is needed: {missing[0].help or missing[0].allowed}.")
        st.info(f"Fill in {', '.join(plain(widgets.label_of(p)) for p in missing)} and press Run.")
        return None
    return {**first, **values}


def show(analysis: "Analysis", seen: Subject, result: Any, params: dict[str, Any]) -> None:
    """The figure, the files, the table."""
    st.plotly_chart(result.figure(), theme="streamlit", key=f"figure:{analysis.name}")
    offer(analysis, seen, result, params)
    frame = result.to_frame()
    with st.expander(f"Table, {len(frame):,} rows", icon=":material/table_rows:"):
        st.dataframe(frame.head(_MOST_ROWS), hide_index=True)
        if len(frame) > _MOST_ROWS:
            st.caption(f"The first {_MOST_ROWS:,} rows; Export holds all.")
    if note := remarks(analysis):
        with st.expander("What this shows, and what it does not", icon=":material/menu_book:"):
            st.text(note)


def offer(
    analysis: "Analysis",
    seen: Subject,
    result: Any,
    params: dict[str, Any],
    *,
    figure: "Callable[[], go.Figure] | None" = None,
) -> None:
    """Exports of a result, and the lines that make it again; `figure` draws what the screen shows, if not its own."""
    exports.exports(
        f"{analysis.name}-{seen.model.name}",
        figure=figure or result.figure,
        frame=result.to_frame,
        key=f"{analysis.name}",
        python=analysis.as_python(seen.loaded.name, params),
        command=analysis.as_command(seen.loaded.name, params),
    )


def remarks(analysis: "Analysis") -> str:
    """The docstring of an analysis after its first line."""
    import inspect

    return (inspect.getdoc(analysis.function) or "").partition("\n")[2].strip()
