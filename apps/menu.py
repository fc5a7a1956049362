"""Every page, by the name it has in the address: those with an interaction of their own, then one per analysis."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

import streamlit as st

from apps import generic, state
from apps.running import sentences
from apps.screens import qk_asked

OWN = {
    "start": ("Start", ":material/home:"),
    "overview": ("Attention overview", ":material/grid_view:"),
    "head": ("Head", ":material/center_focus_strong:"),
    "heads": ("Heads", ":material/leaderboard:"),
    "lens": ("Logit lens", ":material/layers:"),
    "attribution": ("Residual and attribution", ":material/stacked_bar_chart:"),
    "tokens": ("Token attribution", ":material/table_chart:"),
    "flow": ("Attention flow graph", ":material/account_tree:"),
    "routes": ("Information flow routes", ":material/route:"),
    "qk_matrix": ("QK matrix", ":material/apps:"),
    "qk_head": ("QK head", ":material/scatter_plot:"),
    "qk_weights": ("QK weights", ":material/line_weight:"),
    "ablate": ("Ablate", ":material/content_cut:"),
    "patching": ("Patching lab", ":material/swap_horiz:"),
    "circuit": ("Circuit", ":material/polyline:"),
    "fourier": ("Fourier", ":material/graphic_eq:"),
    "collapse": ("Collapse", ":material/compress:"),
    "sinks": ("Sinks and massive activations", ":material/vertical_align_bottom:"),
    "studies": ("Studies", ":material/science:"),
}
"""Pages of their own: module in `apps.screens`, title, icon."""

OPTIONS = {
    "start": frozenset[str](),
    "overview": frozenset({"attention", "sort", "lowest", "locked"}),
    "head": frozenset({"attention", "layer", "head", "query", "key", "upper", "first", "whole", "from", "pictures"}),
    "heads": frozenset(
        {"period", "repeats", "remove", "class", "score", "sort", "lowest", "locked", "trained", "step"}
        | {"over_induction", "over_previous_token", "over_duplicate_token", "over_self", "over_sink", "over_copying"}
    ),
    "lens": frozenset({"token", "colour", "top_k", "from", "cell"}),
    "attribution": frozenset({"token", "position", "heads", "show"}),
    "tokens": frozenset(
        {"token", "foil", "position", "methods", "check", "words", "skip_first", "skip_special", "replacement"}
        | {"step", "row"}
    ),
    "flow": frozenset({"show", "level", "node", "source", "thin", "from"}),
    "routes": frozenset({"position", "threshold", "norm", "drop", "renormalise", "few", "selected", "head"}),
    "qk_matrix": qk_asked.OPTIONS | {"shared", "colour", "modulo", "show", "find", "exact", "sort", "lowest", "locked"},
    "qk_head": qk_asked.OPTIONS
    | {"layer", "head", "dims", "colour", "modulo", "show", "size", "find", "exact"}
    | {"point", "selected", "isolated", "alike"},
    "qk_weights": frozenset({"attention", "fold", "number", "tiles", "sort", "lowest", "locked", "of"}),
    "ablate": frozenset({"attention", "operation", "sites", "token", "position"}),
    "patching": frozenset(
        {"corrupted", "token", "foil", "position", "direction", "attention", "sweep", "each", "ran", "patches"}
        | {"data"}
    ),
    "circuit": frozenset(
        {"task", "method", "metric", "replace", "select", "slots", "examples", "steps", "rule", "shares", "threshold"}
        | {"absolute", "draws", "seed", "anyway", "untrained", "ran", "size", "apart", "pinned", "names", "groups"}
        | {"below", "find", "against", "step"}
    ),
    "fourier": frozenset(
        {"tab", "variable", "template", "read", "detrend", "ran", "place", "frequency"}
        | {"task", "remove", "cut", "examples", "draws", "each", "everywhere", "anyway", "measure", "filtered"}
        | {"pair", "operation", "train", "paired", "over", "layer", "show", "neurons", "score", "pruned"}
        | {"step", "picture", "trained"}
    ),
    "collapse": frozenset({"measure", "attention", "norm", "skip", "token"}),
    "sinks": frozenset(
        {"tab", "over", "layer", "set", "attention", "start", "position", "threshold", "locked"}
        | {"texts", "other", "also", "ran", "trained", "step", "picture"}
    ),
    "studies": frozenset({"study", "show", "figure", "table"}),
}
"""What the address of such a page may say beside the model and the prompt."""


def run() -> None:
    """Draw the menu and the page."""
    from workbench.index import index

    menu = {name: _page(name, partial(_own, name), title, icon) for name, (title, icon) in OWN.items()}
    analyses = {
        f"analysis-{name}": _page(f"analysis-{name}", partial(generic.page, name), entry.title, ":material/analytics:")
        for name, entry in index().analyses.items()
    }
    st.session_state["state:menu"] = {**analyses, **menu}
    look = [page for name, page in menu.items() if name not in ("start", "studies")]
    sections = {"": [menu["start"]], "Look inside": look, "Case studies": [menu["studies"]]}
    chosen = st.navigation({**sections, "All analyses": list(analyses.values())}, expanded=True)
    name = chosen.url_path or "start"
    state.begin(name, OPTIONS.get(name))
    chosen.run()
    state.end()


def _own(name: str) -> None:
    import_module(f"apps.screens.{name}").page()


def _page(name: str, draw: Callable[[], None], title: str, icon: str) -> st.Page:
    return st.Page(sentences(_named(name, draw)), title=title, icon=icon, url_path=name, default=name == "start")


def _named(name: str, draw: Callable[[], None]) -> Callable[[], None]:
    def page() -> None:
        draw()

    page.__name__ = page.__qualname__ = f"page_{name.replace('-', '_')}"
    return page
