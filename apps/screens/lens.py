"""Logit lens: what the model would answer at every layer and position, one word a cell."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from apps import asking, results, state
from apps.generic import offer
from apps.running import sentences
from apps.subject import Subject, subject
from apps.text import visible
from apps.theme import is_dark
from apps.views.lens import Colouring, lens_grid
from apps.views.window import window
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.readout.logit_lens import LogitLens

CAVEAT = (
    "Each state is read as if it were the last. Early layers need not speak the language of the last one: "
    "a wrong answer there does not mean that the model does not know."
)
COLOURS = ("probability", "entropy", "rank", "chance of the token")
_WIDTH = 48  # positions a screen holds


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Logit lens",
        "What the model would answer after each layer, at every position.",
        warning=CAVEAT,
        analysis="logit-lens",
    )
    if seen is None:
        return
    left, middle, right = st.columns([1.2, 3, 1.2], vertical_alignment="bottom")
    with left:
        token = asking.answer("Follow a token", "Its rank and probability are followed through the layers.")
    with middle:
        colour = state.linked(
            st.segmented_control,
            "Colour",
            "colour",
            COLOURS[0],
            read=state.one_of(COLOURS),
            options=COLOURS,
            required=True,
        )
    with right:
        top_k = state.linked(
            st.number_input, "Runners-up", "top_k", 5, read=state.whole(1, 20), min_value=1, max_value=20
        )
    params = {"prompt": seen.prompt, "token": token, "top_k": top_k}
    found = results.result_of(seen.loaded, "logit-lens", **params)
    _view(seen, found, colour, params)


@st.fragment
@sentences
def _view(seen: Subject, found: "LogitLens", colour: str, params: dict) -> None:
    first, last = window(len(found.tokens), _WIDTH, at_end=True)
    chances = found.log_probs.exp().numpy()
    followed = visible(found.token)

    def note(layer: int, pos: int) -> str:
        chance = math.exp(found.token_log_prob[layer, pos].item())
        rank = int(found.rank[layer, pos])
        return f"{followed}: rank {rank}, {chance:.2g} · entropy {found.entropy[layer, pos]:.2f} nats"

    lens_grid(
        found.answers,
        chances,
        _colouring(found, colour, seen.model.vocab_size),
        layers=[name if name == "embed" else f"layer {name}" for name in found.layers],
        tokens=found.tokens,
        first=first,
        last=last,
        notes=note,
        key="lens grid",
        locked=state.get("cell"),
        dark=is_dark(),
        on_click=_clicked,
    )
    _cell(found)
    offer(registry.get("logit-lens"), seen, found, params)


def _colouring(found: "LogitLens", colour: str, vocabulary: int) -> Colouring:
    top = math.log(max(vocabulary, 2))
    if colour == "entropy":
        values = 1 - found.entropy.numpy() / top
        return Colouring(values=values, low=f"{top:.1f} nats", high="0 nats", what="entropy: how undecided it is")
    if colour == "rank":
        values = 1 - (found.rank.float() + 1).log().numpy() / top
        what = f"rank of {visible(found.token)} (logarithmic)"
        return Colouring(values=values, low=f"{vocabulary - 1:,}", high="0", what=what)
    if colour == "chance of the token":
        values = found.token_log_prob.exp().numpy()
        return Colouring(values=values, low="0", high="1", what=f"probability of {visible(found.token)}")
    return Colouring(values=found.log_probs[..., 0].exp().numpy(), low="0", high="1", what="probability of the answer")


def _clicked() -> None:
    clicked = st.session_state["lens grid"].click
    if clicked:
        state.put(cell=None if clicked == state.get("cell") else clicked)


def _cell(found: "LogitLens") -> None:
    """The kept cell in full."""
    try:
        layer, pos = map(int, state.get("cell").split("."))
        answers, chances = found.answers[layer][pos], found.log_probs[layer, pos].exp().tolist()
        before = found.tokens[: pos + 1][-6:]
    except (ValueError, IndexError):
        st.caption("Hover a cell for the runners-up; click one to keep it here.")
        return
    left, right = st.columns([1, 1.4], gap="large")
    with left:
        st.caption(
            f"{'embed' if found.layers[layer] == 'embed' else f'Layer {found.layers[layer]}'}, position {pos}, after"
        )
        st.code("".join(before), language=None)
        st.dataframe(
            {"answer": [visible(text) for text in answers], "probability": chances},
            hide_index=True,
            column_config={"probability": st.column_config.ProgressColumn(format="%.3f", min_value=0, max_value=1)},
        )
    with right:
        from workbench import plots

        frame = found.cells_frame().query("pos == @pos")
        figure = plots.lines(
            frame, x="layer", y="token_probability", title=f"{visible(found.token)} through the layers"
        )
        figure.update_layout(height=320, yaxis={"range": [0, 1], "title": "probability"})
        st.plotly_chart(figure, key="lens trajectory")
