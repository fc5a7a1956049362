"""What the eye sees of a head is what the head does: the pixels on the screen against the numbers."""

import io

import numpy as np
import pytest
from PIL import Image

import workbench

pytestmark = [pytest.mark.browser, pytest.mark.real]

PROMPT = "When Mary and John went to the store, John gave a drink to"


def test_the_first_column_of_a_small_thumbnail_is_on_the_screen(visit):
    """Heads that read little but the first token show that, also where 270 pictures share the screen."""
    found = workbench.attention(workbench.load("smollm2-135m"), PROMPT)
    mass = found.patterns[:, :, 1:].float().mean(-2)  # (layer, head, key), without the first query
    sinks = (mass[..., 0] > 0.8).nonzero().tolist()
    assert len(sinks) > 10
    page = visit("overview", model="smollm2-135m", prompt=PROMPT)
    for layer, head in sinks[:: len(sinks) // 10]:
        face = page.locator(f'[data-head="{layer}.{head}"] .face')
        ink = 255 - np.asarray(Image.open(io.BytesIO(face.screenshot())).convert("L"), float)
        columns = ink[4:-2].mean(0)  # one number a pixel column
        assert columns[:3].max() > 100, (layer, head)
        assert columns[:3].max() > 2 * columns[5:-2].max(), (layer, head)
