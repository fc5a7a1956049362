"""The small map of what can be taken away: a square for each head, and the attention and MLP of each layer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from apps.views.component import component
from workbench.errors import WorkbenchError
from workbench.interventions import Intervention, parse

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


def ablate_map(
    model: "LensModel", attention: str, chosen: tuple[str, ...], *, key: str, on_click: Callable[[], None]
) -> Any:
    """Draw the map with what is `chosen` marked. A click leaves a site in `st.session_state[key].click`."""
    data = map_data(model, attention, chosen)
    return component("head_grid")(key=key, data=data, on_click_change=on_click)


def map_data(model: "LensModel", attention: str, chosen: tuple[str, ...]) -> dict[str, Any]:
    """What the map draws: a tile for each head, the parts of each layer, and which of them `chosen` changes."""
    stack, short = model.attention(attention)
    heads = stack.sizes.n_heads
    marked = {part for one in map(_parsed, chosen) if one for part in _heads(one, heads) or (one.site,)}
    tiles, rows = [], []
    for layer in range(stack.n_blocks):
        lead = f"{stack.prefix}.{layer}"
        for head in range(heads):
            site = f"{lead}.{short}.z:{head}"
            colour = "#d9822b" if site in marked else "rgba(76, 130, 180, 0.22)"
            tiles.append(
                {"id": site, "text": "", "title": f"layer {layer}, head {head}", "at": [0, 0], "colour": colour}
            )
        parts = [("attn_out", "attn"), ("cross_attn_out", "cross"), ("mlp_out", "mlp")]
        picks = [
            {"id": f"{lead}.{part}", "text": text, "title": f"all of layer {layer}'s {part.replace('_out', '')}"}
            for part, text in parts
            if f"{lead}.{part}" in model.sites
        ]
        rows.append({"text": str(layer), "picks": picks})
    return {
        "sprite": None,
        "tiles": tiles,
        "columns": heads,
        "rows": rows,
        "heads": [str(head) for head in range(heads)],
        "names": ["layer ↓ head →", ""],
        "locked": "",
        "chosen": sorted(marked),
        "scores": {},
    }


def toggled(chosen: tuple[str, ...], clicked: str, n_heads: int) -> tuple[str, ...]:
    """The texts after a click on `clicked`: without it where they held it, else with it.

    A head leaves the interventions that hold it; their other heads, positions and operation stay as they were written.
    """
    kept = tuple(rest for text in chosen if (rest := _without(text, clicked, n_heads)))
    return (*chosen, clicked) if kept == chosen else kept


def _without(text: str, clicked: str, n_heads: int) -> str:
    """`text` less what was clicked; empty when nothing is left of it."""
    one = _parsed(text)
    if one is None:
        return text
    held = _heads(one, n_heads)
    if clicked not in (held or (one.site,)):
        return text
    heads = ",".join(site.rpartition(":")[2] for site in held if site != clicked)
    if not heads:
        return ""
    positions = f"@{','.join(map(str, one.positions))}" if one.positions else ""
    _, given, operation = text.partition("=")
    return f"{one.site}:{heads}{positions}{given}{operation}"


def _heads(one: Intervention, n_heads: int) -> tuple[str, ...]:
    """The heads whose output an intervention changes, each as a site of its own."""
    if not one.site.endswith(".z"):
        return ()
    return tuple(f"{one.site}:{head}" for head in dict.fromkeys(one.heads or range(n_heads)))


def _parsed(text: str) -> Intervention | None:
    """None for what is no intervention: the page says so where it runs them."""
    try:
        return parse(text)
    except WorkbenchError:
        return None
