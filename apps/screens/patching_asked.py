"""What the patching lab asks: the other prompt, what is measured, and which sweep is run."""

import hashlib
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import asking, state
from apps.subject import Subject
from apps.text import plain
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

EXAMPLES = (
    (
        "When Mary and John went to the store, John gave a drink to",
        "When Mary and John went to the store, Mary gave a drink to",
    ),
    ("The capital of France is", "The capital of Italy is"),
    ("The keys to the cabinet", "The key to the cabinet"),
    ("the cat sat. the c", "the cot sat. the c"),
)
DIRECTIONS = {"denoise": "clean into corrupted", "noise": "corrupted into clean"}
SWEEPS = {
    "resid_pre": "Stream before each block",
    "resid_mid": "Stream after attention",
    "attn_out": "Attention outputs",
    "mlp_out": "MLP outputs",
    "heads": "Heads",
    "queries": "Queries of heads",
    "keys": "Keys of heads",
    "values": "Values of heads",
    "patterns": "Attention patterns of heads",
}
OF_HEADS = ("heads", "queries", "keys", "values", "patterns")


def other_prompt(seen: Subject) -> str:
    """The second prompt; "" with what to do next shown while there is none."""
    other = state.linked(
        st.text_input,
        "The other prompt",
        "corrupted",
        "",
        read=str,
        placeholder="The other prompt: as many tokens, another answer",
        label_visibility="collapsed",
    )
    if other.strip():
        return other
    if seen.model.reads == "text":
        st.info("Type the other prompt: the first with a word or two changed. Or try a pair.", icon=":material/edit:")
        with st.container(horizontal=True):
            st.button(
                "Begin with the first prompt", icon=":material/content_copy:", on_click=_copy, args=(seen.prompt,)
            )
            for i, (clean, corrupted) in enumerate(EXAMPLES):
                label = f"{clean} / {_change(clean, corrupted)}"
                st.button(plain(label), key=f"pair:{i}", on_click=_take, args=(clean, corrupted))
    else:
        st.info("Type the path of another file of the same kind.", icon=":material/edit:")
    return ""


def measured(seen: Subject) -> dict[str, Any]:
    """Answer, foil, and where they are read."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        token = asking.answer("Answer to the first", "Its logit, less that of the other answer, is what is measured.")
        foil = state.linked(
            st.text_input,
            "Answer to the other",
            "foil",
            "",
            read=str,
            placeholder="the model's own answer",
            help="One token (or class) that the other prompt should be answered with.",
        )
        params: dict[str, Any] = {"token": token, "foil": foil or None}
        if not seen.model.classes:
            params["position"] = asking.position(seen)
        params["direction"] = state.linked(
            st.segmented_control,
            "Patch",
            "direction",
            "denoise",
            read=state.one_of(DIRECTIONS),
            options=list(DIRECTIONS),
            format_func=DIRECTIONS.__getitem__,
            required=True,
            help="Clean into corrupted (denoising) finds what suffices to bring the answer back; corrupted into clean "
            "(noising) finds what is needed for it.",
        )
    return params


def sweep_asked(seen: Subject) -> dict[str, Any]:
    """Which places are patched."""
    offered = [name for name in SWEEPS if _has(seen.model, name, state.get("attention") or None)]
    params: dict[str, Any] = {}
    names = list(seen.model.attentions)
    if len(names) > 1:
        params["attention"] = state.linked(
            st.selectbox, "Where", "attention", _first(seen.model), read=state.one_of(names), options=names
        )
    params["sweep"] = state.linked(
        st.selectbox,
        "Sweep over",
        "sweep",
        offered[0],
        read=state.one_of(offered),
        options=offered,
        format_func=SWEEPS.__getitem__,
        width=270,
    )
    if params["sweep"] in OF_HEADS:
        params["each_position"] = state.linked(
            st.toggle,
            "At each position",
            "each",
            False,
            read=state.switch,
            write=state.yes_no,
            help="A patch for each head and position, instead of one a head at all positions: many more runs.",
        )
    return params


def signature(params: dict[str, Any], model: str) -> str:
    """What the address says of a sweep that was run, so that another one is not run unasked."""
    return hashlib.sha256(repr((model, sorted(params.items()))).encode()).hexdigest()[:10]


def _first(model: "LensModel") -> str:
    return f"{model.main.prefix}.{model.main.attentions[0]}"


def _has(model: "LensModel", sweep: str, attention: str | None) -> bool:
    from workbench.analyses.circuits.patch_sweeps import sites_of

    try:
        return bool(sites_of(model, sweep, attention if attention in model.attentions else None))
    except WorkbenchError:
        return False


def _change(clean: str, corrupted: str) -> str:
    pairs = zip(clean.split(), corrupted.split(), strict=True)
    return " ".join(b for a, b in pairs if a != b)


def _copy(prompt: str) -> None:
    state.put(corrupted=prompt)


def _take(clean: str, corrupted: str) -> None:
    state.put(prompt=clean, corrupted=corrupted, token=None, foil=None, position=None, patches=None)
