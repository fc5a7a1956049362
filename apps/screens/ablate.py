"""Ablate: click heads, attentions or MLPs away and see what the model answers without them."""

from typing import TYPE_CHECKING

import streamlit as st

from apps import asking, results, state
from apps.generic import offer
from apps.running import sentences
from apps.subject import Subject, subject
from apps.text import plain, visible
from apps.views.ablate_map import ablate_map, toggled
from apps.views.strip import token_strip
from workbench import interventions, registry

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.analyses.interventions.ablate import Ablation

CAVEAT = (
    "A zeroed part is a state the model never saw in training, so some of the change is surprise, not lost function. "
    "Compare with mean and resample before you conclude."
)
OPERATIONS = ("zero", "mean", "resample")


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Ablate",
        "Take parts of the model away, and see what it answers without them.",
        warning=CAVEAT,
        analysis="ablate",
    )
    if seen is None:
        return
    _view(seen)


def chosen_sites() -> tuple[str, ...]:
    """What is taken away, as the address says: sites with spaces between them."""
    return tuple(state.get("sites").split())


def keep_sites(sites: tuple[str, ...]) -> None:
    """Write down what is taken away."""
    state.put(sites=" ".join(dict.fromkeys(sites)) or None)


@st.fragment
@sentences
def _view(seen: Subject) -> None:
    left, right = st.columns([1, 1.15], gap="large")
    with left:
        attention = _map(seen)
        _typed()
    with right:
        _result(seen, attention)


@sentences
def _map(seen: Subject) -> str | None:
    names = list(seen.model.attentions)
    attention = names[0] if names else None
    if len(names) > 1:
        attention = state.linked(
            st.selectbox, "Attention", "attention", names[0], read=state.one_of(names), options=names
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        state.linked(
            st.segmented_control,
            "Replace by",
            "operation",
            OPERATIONS[0],
            read=state.one_of(OPERATIONS),
            options=OPERATIONS,
            required=True,
            help="zero; the mean over neutral sentences; or the value at a random position of them",
        )
        st.button("Clear", icon=":material/backspace:", disabled=not chosen_sites(), on_click=keep_sites, args=((),))
    if attention:
        n_heads = seen.model.attention(attention)[0].sizes.n_heads

        def clicked() -> None:
            if site := st.session_state["ablate map"].click:
                keep_sites(toggled(chosen_sites(), site, n_heads))

        st.caption("Click a head, or the name of a layer's attention or MLP. Click again to put it back.")
        ablate_map(seen.model, attention, chosen_sites(), key="ablate map", on_click=clicked)
    return attention


def _typed() -> None:
    """All interventions as text, to be read, changed, or added to by hand."""
    text = "\n".join(chosen_sites())
    with st.expander("Interventions as text", icon=":material/edit_note:"), st.form("ablate typed", border=False):
        st.caption(
            "One a line: SITE, SITE:HEADS, SITE@POSITIONS, with =OPERATION after it if you like, "
            "as in blocks.1.attn.z:0,3@4=mean"
        )
        typed = st.text_area(
            "Interventions", text, key=f"ablate typed:{text}", label_visibility="collapsed", height=110
        )
        if st.form_submit_button("Apply"):
            sites = tuple(line.strip() for line in typed.splitlines() if line.strip())
            for site in sites:
                interventions.parse(site)
            keep_sites(sites)
            st.rerun()


@sentences
def _result(seen: Subject, attention: str | None) -> None:
    token, position = _asked(seen)
    sites = chosen_sites()
    operation = state.fitting("operation", OPERATIONS[0], state.one_of(OPERATIONS))
    params = {
        "prompt": seen.prompt,
        "sites": sites,
        "operation": operation,
        "token": token,
        "position": position,
    }
    found = results.result_of(seen.loaded, "ablate", **params)
    if not sites:
        st.info("Nothing is taken away yet. These are the model's own answers.", icon=":material/ads_click:")
    else:
        _numbers(found)
    _answers(found)
    _where(found)
    offer(registry.get("ablate"), seen, found, params, figure=lambda: _answers_figure(found))


def _asked(seen: Subject) -> tuple[str | None, int | None]:
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        token = asking.answer("Compare the loss of", "Its loss before and after is told.")
    with right:
        return token, asking.position(seen)


def _numbers(found: "Ablation") -> None:
    columns = st.columns(3)
    if found.loss is not None and found.kl is not None:
        before, after = found.loss.tolist()
        columns[0].metric(
            f"Loss of {plain(visible(found.token or ''))}", f"{after:.3f} nats", f"{after - before:+.3f}", "inverse"
        )
        columns[1].metric("KL from before", f"{found.kl[found.position].item():.3f} nats")
    columns[2].metric("Final state moved by", f"{found.state_change[found.position].item():.3g} × its length")


def _answers(found: "Ablation") -> None:
    key = "ablate states" if found.log_probs is None else "ablate answers"
    st.plotly_chart(_answers_figure(found), key=key, config={"displaylogo": False})


def _answers_figure(found: "Ablation") -> "go.Figure":
    from apps.views.ablate_figure import before_and_after

    return found.figure() if found.log_probs is None else before_and_after(found)


def _where(found: "Ablation") -> None:
    """Which positions changed, as shading of the prompt."""
    import numpy as np

    change = (found.kl if found.kl is not None else found.state_change).numpy()
    top = float(np.nanmax(change)) if change.size else 0.0
    if not found.interventions or not top > 0 or len(change) > 600:
        return
    st.caption(
        f"Where the answers changed: darkest is {top:.3g}{' nats of KL' if found.kl is not None else ' of its length'}."
    )
    token_strip(
        found.tokens, key="ablate strip", weights=np.tile(change / top, (len(change), 1)), locked=0, outlined=False
    )
