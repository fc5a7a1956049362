"""What one head attends to in one input of a joint embedding: the input read again, as tokens or as a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from workbench.analyses.embedding.joint_head import JointHead
    from workbench.models.lens_model import LensModel

_SIDE = 448  # pixels of the longer side of a picture
_EDGE = (217, 130, 43)
_HEAT = (47, 127, 196)


@dataclass(frozen=True, eq=False, kw_only=True)
class OneInput:
    """One input and one head's attention on it."""

    queries: tuple[str, ...]
    keys: tuple[str, ...]
    pattern: "np.ndarray"
    """(query, key), rows sum to one."""
    picture: "np.ndarray | None"
    """(height, width, 3) from 0 to 1, as the model sees it; None where the input is no picture."""


def one_input(model: "LensModel", found: "JointHead", number: int, asked: Mapping[str, Any]) -> OneInput:
    """Input `number` of a result that was `asked` for, read once more by the head that the result is about."""
    import torch

    from workbench import media
    from workbench.analyses.attention.attention import sides
    from workbench.analyses.embedding.gathered import fitted
    from workbench.analyses.one_prompt import one_prompt, real
    from workbench.hooks import reading

    (read,) = fitted(model, (_input(model, found, number, asked),))
    batch = one_prompt(model, read)
    name, query_side, key_side = sides(model, found.attention)
    prefix, _, short = name.rpartition(".")
    site = f"{prefix}.{found.layer}.{short}.pattern"
    with torch.no_grad(), reading(model, site) as values:
        model.module(**batch)
    pattern = values[site][0, found.head]
    pattern = real(real(pattern, batch, query_side, dim=-2), batch, key_side, dim=-1)
    picture = media.seen(model, batch)
    return OneInput(
        queries=model.labels(batch, side=query_side),
        keys=model.labels(batch, side=key_side),
        pattern=pattern.float().cpu().numpy(),
        picture=None if picture is None else picture.permute(1, 2, 0).numpy(),
    )


def _input(model: "LensModel", found: "JointHead", number: int, asked: Mapping[str, Any]) -> Any:
    """The input itself: a text is what it says, all else is drawn from the corpus once more."""
    from workbench.corpora import corpus

    title = found.texts[number]
    if found.reads == "text":
        return title
    drawn = corpus(asked["texts"], reads=model.reads, limit=asked["inputs"], seed=asked["seed"])
    for one, name in zip(drawn.inputs, drawn.titles, strict=True):
        if name == title:
            return one
    raise BadInput(f"The corpus no longer holds {title!r}; run the embedding again.")


def place_of(label: str) -> tuple[int, int] | None:
    """Row and column of a patch; None for a token that is none, such as the class token."""
    row, comma, column = label.partition(",")
    return (int(row), int(column)) if comma and row.isdigit() and column.isdigit() else None


def overlaid(one: OneInput, position: int, *, of_key: bool) -> "tuple[Image, float, float]":
    """The picture with the weights of one patch over it, the largest of a patch, and those of what is no patch.

    A query's row says where it looks; a key's column how much each patch looks at it. The darkest blue is the largest
    weight of a patch; the patch itself has an orange frame.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    assert one.picture is not None
    weights = one.pattern[:, position] if of_key else one.pattern[position]
    labels = one.queries if of_key else one.keys
    places = [place_of(label) for label in labels]
    rows, columns = (max(place[i] for place in places if place) + 1 for i in range(2))
    heat = np.zeros((rows, columns))
    rest = 0.0
    for place, weight in zip(places, weights.tolist(), strict=True):
        if place is None:
            rest += weight
        else:
            heat[place] = weight
    height, width = one.picture.shape[:2]
    by = max(1, _SIDE // max(height, width))
    picture = np.repeat(np.repeat(one.picture, by, 0), by, 1)
    grey = 0.35 * picture + 0.65 * picture.mean(-1, keepdims=True)
    part = np.kron(heat / (heat.max() or 1.0), np.ones((height * by // rows, width * by // columns)))
    part = np.pad(part, [(0, grey.shape[i] - part.shape[i]) for i in range(2)])[..., None] ** 0.7 * 0.85
    image = Image.fromarray(np.round(255 * (grey * (1 - part) + np.array(_HEAT) / 255 * part)).astype(np.uint8))
    own = place_of((one.keys if of_key else one.queries)[position])
    if own is not None:
        high, wide = height * by // rows, width * by // columns
        box = (own[1] * wide, own[0] * high, (own[1] + 1) * wide - 1, (own[0] + 1) * high - 1)
        ImageDraw.Draw(image).rectangle(box, outline=_EDGE, width=3)
    return image, float(heat.max()), rest
