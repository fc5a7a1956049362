"""One head's joint embedding as the cloud of points that the canvas draws."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.views.qk_colours import Colour, painted
from apps.views.qk_scatter import Cloud, Colours
from apps.views.sprite import css

if TYPE_CHECKING:
    import numpy as np

    from workbench.analyses.embedding.colourings import Colouring
    from workbench.analyses.embedding.joint_head import JointHead


def cloud_of(found: "JointHead", *, noun: str, asked: str, modulo: int) -> Cloud:
    """The cloud of a result; `asked` says all that was asked for, and `noun` what one input is."""
    from workbench.analyses.embedding.colourings import colourings

    norms = found.norms.double().numpy()
    known = {
        name: one if one.values is not None else replace(one, values=norms)
        for name, one in colourings(found, modulo).items()
    }
    return Cloud(
        name=hashlib.sha256(asked.encode()).hexdigest()[:6],
        coordinates=found.coordinates.double().numpy(),
        n_queries=int((~found.is_key).sum()),
        labels=found.labels,
        input=found.input.numpy(),
        position=found.position.numpy(),
        tags=found.tags,
        texts=titles(found),
        noun=noun,
        hint="a token" if found.reads == "text" else "a patch, as 3,4",
        strongest=found.strongest.numpy(),
        weights=found.strongest_weights.numpy(),
        colours=tuple(map(colours_of, known.values())),
        sizes=found.value_norms.double().numpy(),
    )


def titles(found: "JointHead") -> tuple[str, ...]:
    """What each input is called: a text is what it says, a picture the name of its file."""
    return found.texts if found.reads == "text" else tuple(Path(text).name for text in found.texts)


def colours_of(colouring: "Colouring") -> Colours:
    """A colouring with its colours on a light and on a dark page."""
    light, dark = (painted(colouring, dark=dark) for dark in (False, True))
    return Colours(
        name=colouring.name,
        index=light.index,
        light=_css(light.palette),
        dark=_css(dark.palette),
        legend=light.legend if colouring.name == "token" else _spaced(light.legend),
        numbers=_numbers(colouring),
    )


def _spaced(legend: dict[str, Any]) -> dict[str, Any]:
    """Names of categories that are no tokens have plain spaces."""
    items = [{**item, "text": item["text"].replace("␣", " ")} for item in legend.get("items", ())]
    return {**legend, "items": items}


def _numbers(colouring: "Colouring") -> "np.ndarray | None":
    return None if colouring.kind == "category" else colouring.values


def _css(palette: tuple[Colour, ...]) -> tuple[str, ...]:
    return tuple(map(css, palette))
