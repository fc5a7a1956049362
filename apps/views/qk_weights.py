"""Heads by a number of their weights: the colour of each, or a small picture of its product, and what it means."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from apps.views.component import component
from apps.views.grid import Layout, shown
from apps.views.sprite import css, png, scale, sheet
from workbench.analyses.embedding.qk_weights import PRODUCTS, SCORES, SIGNED

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd

    from workbench.analyses.embedding.qk_weights import QKWeights

Colour = tuple[int, int, int]

SHORT = {"qk": "W_Q W_Kᵀ", "vo": "W_V W_O"}
"""The two products as the page writes them."""
NAMES = {
    "identity": "closeness to identity",
    "cosine": "cosine with identity",
    "correlation": "correlation of entries",
    "effective_rank": "effective rank",
    "effective_share": "effective rank / d_head",
    "positive": "positive eigenvalues",
    "eigenvalue_sign": "sign of eigenvalues",
    "size": "size",
}
"""The numbers in the order in which the page offers them."""
NUMBERS = tuple(f"{product}_{name}" for product in PRODUCTS for name in NAMES)
RED, BLUE = (196, 50, 60), (38, 112, 190)
MIDDLE = {False: (243, 244, 246), True: (35, 41, 47)}
"""Nothing, on a light and on a dark page."""
UNDEFINED = (128, 134, 150)
_LEVELS = 64
_PIXELS = 150_000  # of all small pictures together


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Which colours stand for which numbers."""

    low: float
    high: float
    palette: "tuple[Colour, ...]"

    def colour(self, value: float) -> "Colour":
        """The colour of a number; grey where it is undefined."""
        if value != value:
            return UNDEFINED
        at = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.palette[min(len(self.palette) - 1, max(0, int(at * len(self.palette))))]


def named(number: str) -> str:
    """A number as the page calls it."""
    product, _, name = number.partition("_")
    return f"{SHORT[product]}: {NAMES[name]}"


def meaning(number: str) -> str:
    """What a number says."""
    return SCORES[number.partition("_")[2]]


def two_sided(*, dark: bool) -> "tuple[Colour, ...]":
    """Red below, nothing in the middle, blue above."""
    half = _LEVELS // 2

    def mixed(end: "Colour", part: float) -> "Colour":
        first, second, third = (round(m + (e - m) * part) for m, e in zip(MIDDLE[dark], end, strict=True))
        return first, second, third

    parts = [((i + 0.5) / half) ** 0.8 for i in range(half)]
    return (*(mixed(RED, part) for part in reversed(parts)), *(mixed(BLUE, part) for part in parts))


def scale_of(found: "QKWeights", number: str, *, dark: bool) -> Scale:
    """Signed numbers are two-sided around 0, shares of eigenvalues around a half; others go from least to most."""
    import numpy as np

    name, values = number.partition("_")[2], found.score(number).numpy()
    known = values[np.isfinite(values)]
    if name in SIGNED:
        most = float(np.abs(known).max(initial=0)) or 1.0
        return Scale(low=-most, high=most, palette=two_sided(dark=dark))
    if name == "positive":
        return Scale(low=0.0, high=1.0, palette=two_sided(dark=dark))
    low = float(known.min(initial=np.inf)) if len(known) else 0.0
    return Scale(low=low, high=float(known.max(initial=low)), palette=tuple(scale(_LEVELS, dark=dark)))


def legend(found: "QKWeights", number: str, colours: Scale) -> Any:
    """Draw what the colours mean, and what chance gives."""
    data = {
        "title": named(number),
        "bar": [css(colour) for colour in colours.palette],
        "low": f"{colours.low:.3g}",
        "high": f"{colours.high:.3g}",
        "note": f"{meaning(number)[0].upper()}{meaning(number)[1:]}. {chance(found, number)}".strip(),
    }
    return component("qk_legend")(key="weights legend", data=data)


def chance(found: "QKWeights", number: str) -> str:
    """What weights drawn at random would have."""
    name, rank = number.partition("_")[2], found.singular_values.shape[-1]
    said = {
        "identity": f"Random weights: 0 ± {found.random_spread:.2g}.",
        "cosine": f"At most {found.cosine_bound:.2g} in size here.",
        "effective_rank": f"Random weights: {found.random_effective_rank:.1f} of {rank}.",
        "effective_share": f"Random weights: {found.random_effective_rank / rank:.2f}.",
        "positive": "Random weights: about 0.5.",
        "eigenvalue_sign": "Random weights: about 0.",
        "correlation": f"Random weights: 0 ± {(found.d_model * found.d_head) ** -0.5:.1g}.",
    }
    return said.get(name, "")


def side_of(n: int) -> int:
    """Pixels a side that each of `n` small pictures may have."""
    return max(8, min(32, int((_PIXELS / max(n, 1)) ** 0.5)))


def sprite_of(pictures: "np.ndarray", *, dark: bool) -> dict[str, object]:
    """(layer, head, row, column) products as one picture; each head has a scale of its own, symmetric around 0."""
    layers, heads, *size = pictures.shape
    return sheet(_places(pictures.reshape(layers * heads, *size)), two_sided(dark=dark), columns=heads, optimize=True)


def picture_of(product: "np.ndarray", *, dark: bool) -> bytes:
    """One product (row, column) as a PNG, in the colours of the small ones."""
    return png(_places(product[None])[0].repeat(3, 0).repeat(3, 1), two_sided(dark=dark), optimize=True)


def _places(pictures: "np.ndarray") -> "np.ndarray":
    """Places in the palette; the largest half per cent of a picture's entries share its ends."""
    import numpy as np

    most = np.percentile(np.abs(pictures), 99.5, axis=(1, 2), keepdims=True)
    shares = np.clip(pictures / np.where(most > 0, most, 1.0), -1, 1)
    return np.clip(((shares + 1) / 2 * _LEVELS).astype(int), 0, _LEVELS - 1).astype(np.uint8)


def weights_grid(
    found: "QKWeights",
    number: str,
    layout: Layout,
    colours: Scale,
    *,
    sprite: dict[str, object] | None,
    locked: str,
    on_click: "Callable[[], None]",
) -> Any:
    """Draw every head in its colour, or as its picture in `sprite`; a click leaves "LAYER.HEAD"."""
    heads = found.scores.shape[1]
    values = found.score(number).numpy()
    flat = values.reshape(-1).tolist()
    tiles = [
        {
            "id": f"{i // heads}.{i % heads}",
            "text": f"{i // heads}.{i % heads}",
            "title": f"layer {i // heads}, head {i % heads}",
            "at": [i % heads, i // heads],
            "colour": "" if sprite else css(colours.colour(flat[i])),
            "under": f"{flat[i]:.2f}" if sprite and layout.columns <= 20 else "",
        }
        for i in layout.order
    ]
    product = number.partition("_")[0]
    told = [number, *(f"{product}_{name}" for name in NAMES if f"{product}_{name}" != number)]
    data = {
        "sprite": sprite,
        "tiles": tiles,
        "tile": 52 if sprite else 34,
        "smooth": False,
        "columns": layout.columns,
        "rows": [{"text": text} for text in layout.rows] or None,
        "heads": list(layout.heads),
        "names": list(layout.names),
        "locked": locked,
        "chosen": [],
        "scores": {named(one): shown(found.score(one).numpy(), layout.order) for one in told},
    }
    return component("head_grid")(key="weights grid", data=data, on_click_change=on_click)


def numbers(found: "QKWeights", layer: int, head: int) -> str:
    """Every number of a head as a table in HTML, a column for each product."""
    rows = [
        "<tr><th></th>" + "".join(f"<th>{escape(SHORT[p]).replace(' ', '&nbsp;')}</th>" for p in PRODUCTS) + "</tr>"
    ]
    for name, label in NAMES.items():
        values = (float(found.score(f"{p}_{name}")[layer, head]) for p in PRODUCTS)
        cells = "".join(f"<td>{'–' if v != v else f'{v:.3g}'}</td>" for v in values)
        rows.append(f"<tr><td>{escape(label)}</td>{cells}</tr>")
    return f'<table class="wb-numbers">{"".join(rows)}</table>'


def table(found: "QKWeights") -> "pd.DataFrame":
    """One row a head, by the names that the page uses."""
    frame = found.to_frame()
    heads = [f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"], strict=True)]
    return frame.filter(list(NUMBERS)).assign(head=heads).filter(["head", *NUMBERS])
