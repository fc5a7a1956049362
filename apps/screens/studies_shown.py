"""One study: run it, expected beside obtained, its figures and tables, and links that open the pages filled in."""

import threading
from typing import TYPE_CHECKING

import streamlit as st

from apps import exports, files, state
from apps.cache import Cache
from apps.running import progress, sentences
from apps.screens.fourier_files import three_figures
from apps.text import plain, short
from apps.theme import is_dark
from apps.views.studies_table import claims_table, counts, told
from workbench import studies
from workbench.errors import Stopped, WorkbenchError
from workbench.studies.form import ROOT

if TYPE_CHECKING:
    from workbench.studies import Opening, Study, StudyRun

_RUNNING, _ENDED = "studies:running", "studies:ended"
_MOST_ROWS = 2000
SHOWN = ("claims", "figures", "tables")


def name_said(name: str) -> str:
    """The name of a study in words."""
    return name.replace("_", " ").capitalize() if name != "ioi" else "IOI"


def one(study: "Study") -> None:
    """Draw everything of one study."""
    found = _found(study)
    _run_row(study, found)
    _reproduce(study)
    if found is None:
        _links(study)
        st.html(claims_table(study.claims, (), dark=is_dark()))
        return
    st.html(counts(found.verdicts, dark=is_dark()))
    st.caption(plain(told(found)))
    if studies.changed_since(found):
        st.warning("The study has been changed since: press Reproduce again to see what it finds now.")
    _links(study)
    shown = state.linked(
        st.segmented_control,
        "Show",
        "show",
        SHOWN[0],
        read=state.one_of(SHOWN),
        options=SHOWN,
        format_func=str.capitalize,
        required=True,
        label_visibility="collapsed",
    )
    {"claims": _claims, "figures": _figures, "tables": _tables}[shown](study, found)


def found_last(name: str) -> "StudyRun | None":
    """What is kept of a study, read once as long as it stays the same."""
    path = studies.work_folder(name) / "finding.json"
    if not path.is_file():
        return None
    return _read().get_or_make((name, str(path), path.stat().st_mtime_ns), lambda: studies.kept(name, ROOT))


@st.cache_resource
def _read() -> "Cache[StudyRun | None]":
    return Cache(max_items=32)


@st.cache_resource
def _locks() -> dict[str, threading.Lock]:
    return {}


def _found(study: "Study") -> "StudyRun | None":
    try:
        return found_last(study.name)
    except WorkbenchError as error:
        st.warning(plain(error))
        return None


# ---- running ---------------------------------------------------------------------------------------------------------


def _run_row(study: "Study", found: "StudyRun | None") -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Reproduce again" if found else "Reproduce",
            type="primary",
            icon=":material/play_arrow:",
            key=f"study run:{study.name}",
            on_click=_ask,
            args=(study.name,),
            help="Runs the fast form on the committed checkpoints, in a process of its own.",
        )
        st.code(f"workbench study run {study.name}", language="bash", width="content")


def _ask(name: str) -> None:
    st.session_state[_RUNNING] = name
    st.session_state.pop(_ENDED, None)
    st.session_state.get("running:stopped", set()).discard(_job(name))


def _job(name: str) -> str:
    return f"study {name}"


@sentences
def _reproduce(study: "Study") -> None:
    """Run it where that was asked for. A click elsewhere ends the run, and what was found before is as it was."""
    name = study.name
    if st.session_state.pop(_ENDED, "") == name:
        st.info("Stopped. What was found before is as it was.")
    if st.session_state.get(_RUNNING) != name:
        return
    st.session_state.pop(_RUNNING)
    st.session_state[_ENDED] = name
    slot = st.empty()

    before, lock = found_last(name), _locks().setdefault(name, threading.Lock())
    while not lock.acquire(timeout=0.2):
        slot.caption("Another window is running the same …")
    try:
        now = found_last(name)
        if now is None or (before is not None and now.when == before.when):
            with slot.container(), progress(f"Running {name}", _job(name)):
                studies.run_apart(name, root=ROOT)
    except Stopped:
        return
    except WorkbenchError:
        st.session_state.pop(_ENDED)
        raise
    finally:
        lock.release()
    st.session_state.pop(_ENDED)
    st.rerun()


# ---- what was found --------------------------------------------------------------------------------------------------


def _links(study: "Study") -> None:
    if not study.opens:
        return
    st.caption("See it in the app")
    with st.container(horizontal=True):
        for number, link in enumerate(study.opens):
            page = st.session_state["state:menu"].get(link.page)
            asked = st.button(
                plain(short(link.says, 80)),
                key=f"study link:{study.name}:{number}",
                icon=":material/open_in_new:",
                disabled=page is None,
                help=plain(_where(link, page)),
            )
            if asked and page is not None:
                files.allow(link.model, link.prompt, *link.options.values())
                st.switch_page(page, query_params=link.query)


def _where(link: "Opening", page: "st.Page | None") -> str:
    if page is None:
        return f"The app has no page called {link.page}."
    return f"{page.title}, on {link.model.rpartition('case_studies/')[2]}"


def _claims(study: "Study", found: "StudyRun") -> None:
    st.html(claims_table((), found.verdicts, dark=is_dark()))
    exports.exports(
        f"study-{study.name}",
        frame=found.to_frame,
        key=f"study {study.name} claims",
        python=f'from workbench import studies\n\nrun = studies.run_study("{study.name}")\nprint(run)',
        command=f"workbench study run {study.name} --out {study.name}-found",
    )


def _figures(study: "Study", found: "StudyRun") -> None:
    titles = list(found.findings.figures)
    if not titles:
        st.info("This study draws no figures.")
        return
    title = _choice("Figure", "figure", titles)
    figure = found.findings.figures[title]
    st.plotly_chart(figure, theme="streamlit", key=f"study figure:{study.name}:{title}")
    exports.exports(
        f"study-{study.name}-{title}", figure=lambda: type(figure)(figure), key=f"study {study.name} figure {title}"
    )


def _tables(study: "Study", found: "StudyRun") -> None:
    titles = list(found.findings.tables)
    if not titles:
        st.info("This study has no tables.")
        return
    title = _choice("Table", "table", titles)
    table = found.findings.tables[title]
    key = f"study table:{study.name}:{title}"
    st.dataframe(table.head(_MOST_ROWS), hide_index=True, key=key, column_config=three_figures(table))
    if len(table) > _MOST_ROWS:
        st.caption(f"The first {_MOST_ROWS:,} of {len(table):,} rows; Export holds all.")
    exports.exports(f"study-{study.name}-{title}", frame=lambda: table, key=f"study {study.name} table {title}")


def _choice(label: str, name: str, titles: list[str]) -> str:
    return state.linked(
        st.selectbox, label, name, titles[0], read=state.one_of(titles), options=titles, label_visibility="collapsed"
    )
