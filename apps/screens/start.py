"""Start: the model, what it is, whether its sites hold what they promise, and the prompt as the model reads it."""

import streamlit as st

from apps import models, session, state
from apps.running import sentences
from apps.subject import EXAMPLES, choose_model, heading, prompt_box, tokens_of
from apps.text import plain, short
from apps.views.strip import token_strip
from workbench.errors import BadFile

_QUICK = 30_000_000  # parameters up to which the checks run without being asked for


def page() -> None:
    """Draw the page."""
    heading("Look inside a transformer", "Choose a model, type a prompt, and follow it through every head and layer.")
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.subheader("Prompt", anchor=False)
        prompt_box()
        typed = st.container()
        st.subheader("Session", anchor=False)
        _session()
    with right:
        st.subheader("Model", anchor=False)
        choose_model()
        one = models.loaded(state.get("model"))
        if one.note:
            st.warning(plain(one.note), icon=":material/cloud_off:")
    with typed:
        _prompt(one)
    with right:
        _facts(one)
        _checks(one)


@sentences
def _prompt(one: models.Loaded) -> None:
    prompt = state.get("prompt")
    if not prompt.strip():
        st.caption("An empty prompt shows nothing. Type a sentence above, or try one of these:")
        for i, text in enumerate(EXAMPLES if one.model.reads == "text" else ("example",)):
            st.button(text, key=f"example:{i}", on_click=_take, args=(text,), icon=":material/edit:")
        return
    with st.container(horizontal=True):
        if st.button("See every head", type="primary", icon=":material/grid_view:"):
            state.go("overview")
        if st.button("Read every layer", icon=":material/layers:"):
            state.go("lens")
        st.button("Keep this prompt", icon=":material/bookmark_add:", on_click=_keep, args=(prompt,))
    tokens = tokens_of(one, prompt)
    most = f" of at most {one.model.n_ctx:,}" if one.model.n_ctx else ""
    st.caption(f"{len(tokens):,} tokens{most}, as the model reads them. ␣ is a space.")
    token_strip(tokens, key="start strip")


def _facts(one: models.Loaded) -> None:
    model, info = one.model, one.model.info
    grouped = f" ({model.n_kv_heads} key-value)" if model.n_kv_heads != model.n_heads else ""
    rows = {
        "Family": f"{model.family}, reads {model.reads}",
        "Size": f"{_count(model.n_params)} parameters, {model.n_bytes / 2**20:,.0f} MB in memory",
        "Shape": f"{model.n_blocks} layers, {model.n_heads} heads{grouped}, d_model {model.d_model}",
        "Context": f"{model.n_ctx:,} tokens" if model.n_ctx else "no bound",
        "Vocabulary": f"{model.vocab_size:,} answers" if "readout" in model.capabilities else "no trained head",
        "Numbers": str(info.get("dtype", model.dtype)),
        "Licence": info.get("licence"),
        "Source": info.get("source"),
        "Revision": short(str(info.get("revision") or ""), 26),
        "Note": info.get("note"),
    }
    st.table({name: plain(value) for name, value in rows.items() if value}, border="horizontal")


def _count(n: int) -> str:
    return f"{n / 1e9:.2f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million" if n >= 1e6 else f"{n:,}"


@st.fragment
@sentences
def _checks(one: models.Loaded) -> None:
    st.subheader("Checks", anchor=False)
    quick = one.model.n_params <= _QUICK or models.checks_kept(one)
    if not quick and not st.button("Check this model", icon=":material/fact_check:"):
        st.caption("Compares it with the bare model, tests every site, and puts everything back. Takes some seconds.")
        return
    found = models.checks_of(one)
    failed = sum(check.passed is False for check in found)
    done = sum(check.passed is True for check in found)
    st.caption(f"{done} passed, {failed} failed. A dash is for your information only.")
    marks = {True: "✓", False: "✗", None: "–"}
    st.dataframe(
        [{"": marks[check.passed], "check": check.name, "found": check.detail} for check in found],
        hide_index=True,
        column_config={"": st.column_config.TextColumn(width=20), "check": st.column_config.TextColumn(width="small")},
        row_height=28,
    )


def _session() -> None:
    kept = state.prompts()
    if kept:
        chosen = st.selectbox("Kept prompts", kept, None, format_func=lambda t: short(t, 70), placeholder="Choose one")
        with st.container(horizontal=True):
            st.button("Use it", disabled=chosen is None, on_click=_take, args=(chosen,))
            st.button("Forget it", disabled=chosen is None, on_click=_drop, args=(chosen,))
    row = st.container(horizontal=True)
    row.download_button(
        "Save session",
        session.to_text(state.session()),
        "session.json",
        "application/json",
        on_click="ignore",
        icon=":material/save:",
        help="The model, prompts, selections and interventions of all pages, in a small file.",
    )
    with row.popover("Open session", icon=":material/folder_open:"):
        _open()


@sentences
def _open() -> None:
    file = st.file_uploader("A session file", type=["json"], key="session file")
    if file is None or st.session_state.get("session opened") == file.file_id:
        return
    st.session_state["session opened"] = file.file_id
    try:
        saved = session.from_bytes(file.getvalue(), name=file.name)
    except BadFile:
        st.session_state.pop("session opened")
        raise
    state.restore(saved)
    if saved.page in st.session_state["state:menu"] and saved.page != "start":
        state.go(saved.page)
    st.rerun()


def _take(text: str) -> None:
    state.put(prompt=text)


def _keep(text: str) -> None:
    if text not in state.prompts():
        state.prompts().append(text)


def _drop(text: str) -> None:
    if text in state.prompts():
        state.prompts().remove(text)
