"""The corpus that is always there: sentences on eight topics, computed pictures, computed sounds."""

import colorsys
import json
from importlib.resources import files
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.corpora.drawing import Take
from workbench.corpora.form import Corpus

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 224  # pixels: what most vision models see
RATE = 16_000  # samples a second: what most audio models hear


def example(reads: str, take: Take) -> Corpus:
    """The built-in corpus for models that read texts, pictures, sounds, or texts with pictures."""
    things = {"text": texts, "image": pictures, "audio": sounds, "text+image": pairs}[reads]()
    return Corpus(
        name="example",
        reads=reads,
        inputs=tuple(thing for _, thing in things),
        groups=tuple(group for group, _ in things),
    ).chosen(take(len(things)))


def texts() -> list[tuple[str, str]]:
    """(topic, sentence) for all the sentences."""
    found = json.loads(files("workbench.corpora").joinpath("example_texts.json").read_text(encoding="utf-8"))
    return [(topic, sentence) for topic, sentences in found.items() for sentence in sentences]


def pictures() -> list[tuple[str, "Image"]]:
    """(kind, picture): slopes of brightness and hue, coloured shapes, stripes of several widths and directions."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    return [*_slopes(x, y), *_shapes(x, y), *_stripes(x, y)]


def _slopes(x: np.ndarray, y: np.ndarray) -> list[tuple[str, "Image"]]:
    grey = np.ones(3)
    rows = [(f"brighter to the {side}", along[..., None] * grey) for side, along in (("right", x), ("bottom", y))]
    rows.append(("brighter in the middle", (1 - np.hypot(x - 0.5, y - 0.5) * 1.4)[..., None] * grey))
    for name, hue in (("red", 0.0), ("green", 0.33), ("blue", 0.6)):
        rows.append((f"darker {name} downwards", (1 - 0.8 * y)[..., None] * _rgb(hue, 0.8)))
    for name, along in (("right", x), ("bottom", y)):
        hues = np.array([_rgb(hue, 0.9) for hue in along.ravel()])
        rows.append((f"every hue to the {name}", hues.reshape(SIDE, SIDE, 3)))
    return [("slopes", _picture(f"slope, {name}", pixels)) for name, pixels in rows]


def _shapes(x: np.ndarray, y: np.ndarray) -> list[tuple[str, "Image"]]:
    hues = {"red": 0.0, "yellow": 0.15, "green": 0.35, "blue": 0.62}
    made = []
    for i, (shape, (colour, hue)) in enumerate(product(("disc", "square"), hues.items())):
        across, down = 0.3 + 0.4 * (i % 2), 0.3 + 0.4 * (i // 2 % 2)
        far = np.hypot(x - across, y - down) if shape == "disc" else np.maximum(abs(x - across), abs(y - down))
        ground = 0.15 if i % 3 else 0.85  # dark, or light
        pixels = np.where((far < 0.2)[..., None], _rgb(hue, 0.9), ground)
        made.append(("shapes", _picture(f"{colour} {shape} on {'dark' if i % 3 else 'light'}", pixels)))
    return made


def _stripes(x: np.ndarray, y: np.ndarray) -> list[tuple[str, "Image"]]:
    directions = {"upright": x, "level": y, "rising": (x + y) / 2**0.5, "falling": (x - y) / 2**0.5}
    made = []
    for (name, along), count in product(directions.items(), (6, 20)):
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * count * along)
        width = "wide" if count == 6 else "narrow"
        made.append(("stripes", _picture(f"{width} {name} stripes", wave[..., None] * np.array([1.0, 0.95, 0.85]))))
    return made


def _picture(title: str, pixels: np.ndarray) -> "Image":
    from PIL import Image

    found = Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))
    found.info["title"] = f"example: {title}"
    return found


def _rgb(hue: float, saturation: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(float(hue), saturation, 0.95))


def sounds() -> list[tuple[str, np.ndarray]]:
    """(kind, waveform): one second each of steady tones, rising tones, and clicks at several rates."""
    t = np.arange(RATE, dtype=np.float64) / RATE
    made = [("tones", np.sin(2 * np.pi * pitch * t)) for pitch in (110, 220, 440, 880)]
    made += [("rising", np.sin(2 * np.pi * (start + 300 * t) * t)) for start in (100, 200, 400, 800)]
    made += [("clicks", np.sin(2 * np.pi * 1000 * t) * ((t * rate) % 1 < 0.1)) for rate in (2, 4, 8, 16)]
    return [(kind, (0.5 * wave).astype(np.float32)) for kind, wave in made]


def pairs() -> list[tuple[str, Any]]:
    """(topic, (sentence, picture)): each sentence with one of the pictures, in turn."""
    seen = [picture for _, picture in pictures()]
    return [(topic, (text, seen[i % len(seen)])) for i, (topic, text) in enumerate(texts())]
