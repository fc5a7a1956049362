"""Studies: published findings with their claims as numbers; run one here, and follow its links into the other pages."""

from pathlib import Path

import streamlit as st

from apps import state, views
from apps.running import sentences
from apps.screens.studies_shown import found_last, name_said, one
from apps.subject import heading
from apps.text import plain
from apps.theme import is_dark
from apps.views.studies_table import counts, told
from workbench import studies
from workbench.errors import BadFile, UnknownName, WorkbenchError
from workbench.studies.form import ROOT

NONE_HERE = (
    "No case studies here: they are in the repository, not in the installed package. Work from a checkout of it "
    "(git clone, then `make app`) to run them."
)


def page() -> None:
    """Draw the page."""
    st.html(Path(views.__file__).with_name("studies.css"))
    name = state.get("study")
    if not name:
        _list()
        return
    try:
        study = studies.study(name, ROOT)
    except (UnknownName, BadFile) as error:
        heading("Studies")
        st.error(plain(error))
        _back()
        return
    heading(study.question)
    _back()
    one(study)


def _back() -> None:
    st.button("All studies", icon=":material/arrow_back:", type="tertiary", on_click=state.replace_options, args=({},))


def _list() -> None:
    heading(
        "Studies",
        "Published findings, measured again on this computer: each claim is a number that can fail, beside controls "
        "that could refute it.",
    )
    names = studies.known(ROOT)
    if not names:
        st.info(plain(NONE_HERE), icon=":material/folder_off:")
        return
    st.caption(plain("All of them in a terminal, as one table: make studies, or workbench study run --all"))
    for name in names:
        with st.container(border=True, key=f"study-row-{name}"):
            _entry(name)


@sentences
def _entry(name: str) -> None:
    study = studies.study(name, ROOT)
    left, right = st.columns([5, 2], vertical_alignment="center")
    with left:
        st.button(
            f"**{plain(name_said(name))}**",
            key=f"study:{name}",
            type="tertiary",
            icon=":material/science:",
            on_click=state.replace_options,
            args=({"study": name},),
        )
        st.markdown(plain(study.question))
    with right:
        try:
            run = found_last(name)
        except WorkbenchError:
            st.caption("What was kept of it cannot be read.")
            return
        if run is None:
            st.caption(f"{len(study.claims)} claims, not run yet")
        else:
            st.html(counts(run.verdicts, dark=is_dark()))
            st.caption(plain(told(run).partition(";")[0]))
