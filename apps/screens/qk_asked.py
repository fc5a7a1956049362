"""What both pages of joint embeddings ask: which inputs, how many, and how the picture is made; said once for both."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import state, widgets
from apps.models import Loaded
from workbench import registry

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel
    from workbench.registry import Param

PAGES = {"qk_matrix": "joint-qk-matrix", "qk_head": "joint-qk"}
"""Pages and their analyses."""
SETTINGS = ("inputs", "points", "seed", "neighbours", "perplexity", "translate")
OPTIONS = frozenset({"texts", "attention", "method", *SETTINGS})
"""What both pages have in the address."""
OWN_SETTINGS = ("shared", "distance")
"""Asked where the analysis of the page has them."""
METHODS = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
BUILT_IN = {
    "example": ("text", "image", "audio", "text+image"),
    "brown": ("text",),
    "scikit-image": ("image",),
}
"""Corpora with a name, and what models read them."""
MEANING = {
    "example": "built-in examples",
    "brown": "Brown corpus, with parts of speech",
    "scikit-image": "photographs of scikit-image",
}
NOUNS = {"text": ("sentences", "tokens"), "image": ("pictures", "patches"), "audio": ("sounds", "frames")}
_IMAGES = 20  # a picture has some hundred patches


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is embedded, and how."""

    params: dict[str, Any]
    """Parameters that both analyses take."""
    noun: str
    """What one input is, in the plural."""


def asked(one: Loaded) -> Asked:
    """Draw the questions, one after the other in a row, and share the answers with the other page."""
    model = one.model
    noun, rows = NOUNS.get(model.reads, ("inputs", "positions"))
    declared = {p.name: p for p in registry.get(PAGES[state.page()]).params}
    if model.reads != "text":
        declared["inputs"] = replace(declared["inputs"], default=_IMAGES)
    texts = _texts(model)
    method = state.linked(
        st.segmented_control,
        "Picture by",
        "method",
        "pca",
        read=state.one_of(METHODS),
        options=list(METHODS),
        format_func=lambda name: METHODS[name],
        required=True,
        label_visibility="collapsed",
        help="PCA takes milliseconds a head. UMAP and t-SNE keep neighbours better and take seconds a head.",
    )
    names = [name for name in (*SETTINGS, *OWN_SETTINGS) if name in declared and _counts(name, method)]
    settings = [declared[name] for name in names]
    values = {p.name: widgets.from_text(p, state.get(p.name)) for p in settings}
    sample = f"{values['inputs']:,} {noun}, {values['points']:,} {rows}"
    with st.popover(sample, icon=":material/tune:", help="How many are drawn, and how they are placed."):
        _form(settings, model)
    attention = _attention(model)
    for page in set(PAGES) - {state.page()}:
        state.share(page, OPTIONS)
    params = {"texts": texts, "attention": attention, "method": method, **values, "store": "cache"}
    return Asked(params=params, noun=noun)


def _counts(name: str, method: str) -> bool:
    """Whether a setting matters to this kind of picture."""
    return {"perplexity": method == "tsne", "distance": method != "pca"}.get(name, True)


def _texts(model: "LensModel") -> str:
    offered = [name for name, reads in BUILT_IN.items() if model.reads in reads]
    text = state.get("texts")
    return state.linked(
        st.selectbox,
        "Inputs",
        "texts",
        "example",
        read=lambda text: _corpus(text, offered),
        options=offered if text in ("", *BUILT_IN) else [text, *offered],
        accept_new_options=True,
        format_func=lambda name: MEANING.get(name, name),
        label_visibility="collapsed",
        width=230,
        help="A built-in corpus, the path of a text file (one input a line) or of a folder of pictures, "
        "or a data set on the hub: hf:OWNER/NAME[/CONFIG][:COLUMN]",
    )


def _corpus(text: str, offered: list[str]) -> str:
    """The corpus as given; one that this kind of model cannot read is refused."""
    if not text.strip() or (text in BUILT_IN and text not in offered):
        raise ValueError(text)
    return text.strip()


def _form(settings: "list[Param]", model: "LensModel") -> None:
    """Numbers that are changed together, because each change runs the model."""
    context = widgets.Context(model=model)
    with st.form("qk settings", border=False):
        values = {
            # A widget starts anew when its text in the address changes.
            p.name: widgets.ask(p, state.get(p.name), context, key=f"qk:{p.name}:{model.reads}:{state.get(p.name)}")
            for p in settings
        }
        if st.form_submit_button("Run", type="primary", icon=":material/play_arrow:"):
            state.put(**{p.name: widgets.to_text(p, values[p.name]) or None for p in settings})
            st.rerun()


def _attention(model: "LensModel") -> str | None:
    names = list(model.attentions)
    if len(names) < 2:
        return None
    return state.linked(
        st.segmented_control, "Attention", "attention", names[0], read=state.one_of(names), options=names, required=True
    )
