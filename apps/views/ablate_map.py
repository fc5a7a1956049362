"""The small map of what can be taken away: a square for each head, and the attention and MLP of each layer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from apps.views.component import component

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel


def ablate_map(
    model: "LensModel", attention: str, chosen: tuple[str, ...], *, key: str, on_click: Callable[[], None]
) -> Any:
    """Draw the map with what is `chosen` marked. A click leaves a site in `st.session_state[key].click`."""
    stack, short = model.attention(attention)
    heads = stack.sizes.n_heads
    tiles, rows = [], []
    for layer in range(stack.n_blocks):
        lead = f"{stack.prefix}.{layer}"
        for head in range(heads):
            site = f"{lead}.{short}.z:{head}"
            colour = "#d9822b" if site in chosen else "rgba(76, 130, 180, 0.22)"
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
    data = {
        "sprite": None,
        "tiles": tiles,
        "columns": heads,
        "rows": rows,
        "heads": [str(head) for head in range(heads)],
        "names": ["layer ↓ head →", ""],
        "locked": "",
        "chosen": list(chosen),
        "scores": {},
    }
    return component("head_grid")(key=key, data=data, on_click_change=on_click)
