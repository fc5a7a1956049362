"""Head: where one head looks beside what that moves, what it promotes, and why it looks there."""

from typing import TYPE_CHECKING

import streamlit as st

from apps import exports, results, state
from apps.generic import offer
from apps.running import sentences
from apps.subject import Subject, subject
from apps.text import plain, visible
from apps.theme import is_dark
from apps.views.head_figures import SIZE, pair, score_bars
from apps.views.strip import token_strip
from apps.views.window import window
from workbench import registry

if TYPE_CHECKING:
    from workbench.analyses.attention.head import Head

CAVEAT = (
    "A head may look at a token and move nothing from it: compare the two pictures. "
    "Neither says what later layers make of it."
)
_WIDTH = 128  # positions shown one by one
_STRIP = 384  # tokens of the strip


def page() -> None:
    """Draw the page."""
    seen = subject(
        "Head",
        "Where one head looks, what it moves, what it promotes, and why it looks there.",
        warning=CAVEAT,
        analysis="head",
    )
    if seen is None:
        return
    layer, head, attention = _which(seen)
    _view(seen, layer, head, attention)


def _which(seen: Subject) -> tuple[int, int, str | None]:
    names = list(seen.model.attentions)
    columns = st.columns([1, 1, 2 if len(names) > 1 else 0.01, 2], vertical_alignment="bottom")
    attention = None
    if len(names) > 1:
        with columns[2]:
            attention = state.linked(
                st.selectbox, "Attention", "attention", names[0], read=state.one_of(names), options=names
            )
    sizes = seen.model.attention(attention)[0].sizes
    chosen = []
    for column, name, count in ((columns[0], "layer", sizes.n_blocks), (columns[1], "head", sizes.n_heads)):
        with column:
            chosen.append(
                state.linked(
                    st.number_input,
                    f"{name.capitalize()} (0 to {count - 1})",
                    name,
                    0,
                    read=state.whole(0, count - 1),
                    min_value=0,
                    max_value=count - 1,
                )
            )
    with columns[3]:
        stack, short = seen.model.attention(attention)
        if st.button("Ablate this head", icon=":material/content_cut:"):
            state.go("ablate", sites=f"{stack.prefix}.{chosen[0]}.{short}.z:{chosen[1]}")
    return chosen[0], chosen[1], attention


@st.fragment
@sentences
def _view(seen: Subject, layer: int, head: int, attention: str | None) -> None:
    queries, keys = _counts(seen, attention)
    query = state.fitting("query", queries - 1, state.whole(0, queries - 1))
    key = state.fitting("key", 0, state.whole(0, keys - 1))
    params = {"prompt": seen.prompt, "layer": layer, "head": head, "attention": attention, "query": query, "key": key}
    found: Head = results.result_of(seen.loaded, "head", **params)
    first, last = window(len(found.keys), _STRIP, label="Tokens from")
    square = len(found.queries) == len(found.keys)
    pattern = found.pattern.numpy()
    st.caption("Hover a token: the tokens it reads are shaded. Click it to keep it as the query below.")
    token_strip(
        found.keys[first:last],
        key="head strip",
        first=first,
        weights=pattern[first:last, first:last] if square else None,
        locked=found.query,
        on_click=_clicked,
    )
    hide_upper, hide_first, whole = _options(len(found.keys), masked=_masked(seen, attention))
    start, end = (
        (0, len(found.keys)) if whole else window(len(found.keys), _WIDTH, name="pictures", label="Pictures from")
    )
    picture = pair(found, start=start, end=end, hide_upper=hide_upper, hide_first=hide_first, dark=is_dark())
    st.plotly_chart(picture, key="head pair", config={"displaylogo": False})
    st.caption(_reading(found, every=end - start == len(found.keys) <= SIZE, renormalised=hide_first))
    for note in found.notes:
        st.caption(plain(note))
    offer(
        registry.get("head"),
        seen,
        found,
        {k: v for k, v in params.items() if v is not None},
        figure=lambda: pair(found, start=start, end=end, hide_upper=hide_upper, hide_first=hide_first, dark=False),
    )
    left, right = st.columns([1, 1.25], gap="large")
    with left:
        _tokens(found)
    with right:
        _score(found, seen)


def _reading(found: "Head", *, every: bool, renormalised: bool) -> str:
    """How the pictures are read; rows sum to one only where every key has a cell of its own."""
    both = found.weighted is not None
    said = "Left: the share of its attention that a query gives a key." if both else "The share of a query's attention."
    if both:
        said += (
            " Right: the share of what the head moves, attention times the length of the value it would add to the"
            " stream."
        )
    said += " All from 0 to 1."
    if not every:
        return said
    return f"{said} Rows sum to one{', but for those that look at the first token only' if renormalised else ''}."


def _counts(seen: Subject, attention: str | None) -> tuple[int, int]:
    """How many queries and keys there are: in cross-attention they stand on two sides."""
    from workbench.analyses.attention.attention import sides

    _, *both = sides(seen.model, attention)
    batch = seen.model.encode(seen.prompt)
    queries, keys = (len(seen.model.labels(batch, side=side)) for side in both)
    return queries, keys


def _masked(seen: Subject, attention: str | None) -> bool:
    """Whether a query cannot look at what stands after it."""
    stack, short = seen.model.attention(attention)
    return stack.causal and short != "cross_attn"


def _clicked() -> None:
    clicked = st.session_state["head strip"].click
    if clicked is not None:
        state.put(query=str(int(clicked)))


def _options(n: int, *, masked: bool) -> tuple[bool, bool, bool]:
    with st.container(horizontal=True):
        upper = masked and state.linked(
            st.checkbox,
            "Blank what the mask hides",
            "upper",
            True,
            read=state.switch,
            write=state.yes_no,
            help="The upper triangle: a causal head cannot look ahead.",
        )
        hidden = state.linked(
            st.checkbox,
            "Hide the first column and renormalise",
            "first",
            False,
            read=state.switch,
            write=state.yes_no,
            help="Many heads rest on the first token; without it the rest shows. Rows then sum to one again.",
        )
        whole = False
        if n > _WIDTH:
            whole = state.linked(
                st.checkbox,
                "All positions, in blocks",
                "whole",
                True,
                read=state.switch,
                write=state.yes_no,
                help="A cell then is the largest value of its block.",
            )
    return upper, hidden, whole


def _tokens(found: "Head") -> None:
    st.subheader("Promoted and suppressed", anchor=False)
    if found.promoted is None or found.suppressed is None:
        st.caption("Not known for this head; the reason stands above.")
        return
    st.caption(f"What the head's output at position {found.query} adds directly to the logits.")
    code = found.query
    up, down = found.promoted[code].tolist(), found.suppressed[code].tolist()
    assert found.promoted_tokens is not None and found.suppressed_tokens is not None
    st.dataframe(
        {
            "promoted": [visible(t) for t in found.promoted_tokens[code]],
            "logit ": up,
            "suppressed": [visible(t) for t in found.suppressed_tokens[code]],
            "logit": down,
        },
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="%+.3f") for name in ("logit ", "logit")},
    )


def _score(found: "Head", seen: Subject) -> None:
    st.subheader("Why it looks there", anchor=False)
    left, right = st.columns(2)
    for column, label, name, tokens, default in (
        (left, "Query", "query", found.queries, found.query),
        (right, "Key", "key", found.keys, found.key),
    ):
        with column:
            state.linked(
                st.selectbox,
                label,
                name,
                default,
                read=state.whole(0, len(tokens) - 1),
                options=range(len(tokens)),
                format_func=lambda i, tokens=tokens: f"{i}  {visible(tokens[i])}",
            )
    if found.score is None:
        st.info("The mask hides this key from this query: there is no score.")
        return
    total = float(found.terms.sum())
    weight = float(found.pattern[found.query, found.key])
    bias = f" + position bias {found.bias:+.3f}" if abs(found.bias) > 1e-3 else ""
    st.caption(
        f"q · k by dimension: the {len(found.terms)} terms sum to {total:+.3f}{bias} = score {found.score:+.3f}; "
        f"after the softmax, attention {weight:.3f}."
    )
    figure = score_bars(found)
    st.plotly_chart(figure, key="head score", config={"displaylogo": False})
    exports.exports(
        f"head-qk-{found.layer}-{found.head}", figure=lambda: score_bars(found), frame=found.qk_frame, key="head qk"
    )
