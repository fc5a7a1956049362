"""QK head in the browser: what lies under the pointer, the lasso, isolating and taking back, links, hostile texts."""

from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import workbench
from apps.text import visible
from apps.views.qk_head_cloud import cloud_of
from apps.views.qk_head_regions import inside
from apps.views.qk_scatter import Cloud
from apps.views.qk_scatter_data import places
from tests.browser.driving import PATIENCE, errors, opened, settled

pytestmark = pytest.mark.browser

TEXTS = (
    "the cat sat on the mat and the dog sat on the log",
    "a <b>bold</b> <img src=x onerror=alert(1)> tag",
    "the moon is far away from the sea",
)


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


@pytest.fixture
def corpus(tmp_path) -> Path:
    (path := tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    return path


@pytest.fixture
def found(corpus):
    return workbench.joint_qk(workbench.load("micro"), str(corpus), layer=1, head=1)


def on_screen(page: Page, cloud: Cloud) -> np.ndarray:
    """(point, 2) where each point is in the window, as the picture opens."""
    box = page.locator("canvas.over").bounding_box()
    assert box is not None
    grid = places(cloud.coordinates).astype(float) - 32768
    scale = 0.46 * min(box["width"] / np.abs(grid[:, 0]).max(), box["height"] / np.abs(grid[:, 1]).max())
    return np.stack(
        [box["x"] + box["width"] / 2 + grid[:, 0] * scale, box["y"] + box["height"] / 2 - grid[:, 1] * scale], 1
    )


def apart(at: np.ndarray, candidates: np.ndarray) -> int:
    """The candidate that is farthest from any other point."""
    gaps = np.hypot(*(at[candidates][:, None] - at[None]).transpose(2, 0, 1))
    gaps[np.arange(len(candidates)), candidates] = np.inf
    return int(candidates[gaps.min(1).argmax()])


def within(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """How many pixels each point is inside a convex path that goes round to the right; less than 0 outside."""
    edges = np.roll(corners, -1, 0) - corners
    to = at[:, None] - corners[None]
    return ((edges[:, 0] * to[..., 1] - edges[:, 1] * to[..., 0]) / np.hypot(*edges.T)).min(1)


def pull(page: Page, *corners: tuple[float, float]) -> None:
    """Press at the first corner, go through the others, and let go at the last."""
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=3)
    page.mouse.up()


def drawn(page: Page) -> Page:
    expect(page.locator(".root[data-shown]")).to_be_visible(timeout=PATIENCE)
    assert not errors(page)
    return page


def test_a_visit_with_the_pointer(visit, window, corpus, found):
    cloud = cloud_of(found, noun="sentence", asked="", modulo=5)
    count = len(found.labels)
    page = drawn(visit("qk_head", texts=str(corpus), layer="1", head="1"))
    root, status = page.locator(".root[data-shown]"), page.locator(".root .status")
    assert root.get_attribute("data-shown") == str(count)
    at = on_screen(page, cloud)

    # A point says what it is; the text of its sentence is text.
    hostile = apart(at, np.flatnonzero((found.input == 1).numpy() & ~found.is_key.numpy()))
    page.mouse.move(*at[hostile])
    expect(root).to_have_attribute("data-hover", str(hostile))
    card = page.locator(".root .float")
    expect(card.locator("strong")).to_have_text(visible(found.labels[hostile]))
    expect(card).to_contain_text(f"query · position {int(found.position[hostile])} · sentence 1")
    expect(card.locator(".sentence")).to_have_text(TEXTS[1])

    # Of points that are close to each other, the nearest to the pointer is meant.
    spots = at + [2.5, 0.5]
    far = np.hypot(*(spots[:, None] - at[None]).transpose(2, 0, 1))
    first, second = np.sort(far, 1)[:, :2].T
    sure = np.flatnonzero((second - first > 1) & (second < 9))
    assert len(sure) > 10
    for spot in sure[:: len(sure) // 10].tolist():
        page.mouse.move(*spots[spot])
        expect(root).to_have_attribute("data-hover", str(far[spot].argmin()))

    # A click opens its sentence, with this head's attention.
    page.mouse.click(*at[hostile])
    expect(page.get_by_text("Tokens are shaded")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["point"] == str(hostile)
    head = workbench.head(workbench.load("micro"), TEXTS[1], layer=1, head=1)
    row = head.pattern[int(found.position[hostile])].tolist()
    chips = page.locator(".strip .chip")
    assert chips.all_inner_texts() == [visible(label) for label in head.keys]
    shades = [float(text) for text in chips.evaluate_all("all => all.map(chip => chip.dataset.weight)")]
    assert shades == pytest.approx(row, abs=0.5 / 255 + 0.001)

    # A lasso holds the same points here and on the server; alone they stay where they are; and all of it is a link.
    middle = at.mean(0)
    corners = middle + [(-160, -90), (140, -120), (170, 100), (-120, 130)]
    pull(page, *((float(x), float(y)) for x, y in corners))
    expect(page.get_by_text("different tokens, from")).to_be_visible(timeout=PATIENCE)
    settled(page)
    mask = inside(query(page)["selected"].replace(query(page)["selected"][1:7], cloud.name), cloud)
    assert 5 < mask.sum() < count - 5
    depth = within(at, corners)
    assert mask[depth > 3].all() and not mask[depth < -3].any()
    assert root.get_attribute("data-lit") == str(mask.sum())
    keys = int((mask & found.is_key.numpy()).sum())
    expect(page.get_by_text(f"{mask.sum():,} points: {mask.sum() - keys:,} queries and {keys:,} keys")).to_be_visible()
    page.get_by_role("button", name="Isolate").click()
    expect(root).to_have_attribute("data-shown", str(mask.sum()))
    settled(page)
    left = np.flatnonzero(mask)
    other = apart(at, left)
    page.mouse.move(*at[other])
    expect(root).to_have_attribute("data-hover", str(other))
    twin = drawn(opened(window(), page.url))
    expect(twin.locator(".root[data-shown]")).to_have_attribute("data-shown", str(mask.sum()))
    expect(twin.get_by_text(f"{mask.sum():,} points: ")).to_be_visible(timeout=PATIENCE)
    twin.context.close()
    page.get_by_role("button", name="Undo").click()
    expect(root).to_have_attribute("data-shown", str(count))
    expect(root).to_have_attribute("data-lit", str(mask.sum()))
    page.get_by_role("button", name="Undo").click()
    expect(status).to_have_text(f"{count} points.")
    settled(page)
    assert "selected" not in query(page) and "isolated" not in query(page)

    # The search, the colours and the kinds of points answer at once, and are in the link.
    page.get_by_label("Find a token").fill("the")
    page.get_by_label("Colour by").select_option("position")
    page.get_by_label("Points shown").select_option("keys")
    expect(root).to_have_attribute("data-shown", str(count // 2))
    expect(root).to_have_attribute("data-lit", "0")  # the micro model reads letters
    settled(page)
    for exact in (False, True):  # the token at the start is <bos>
        page.get_by_label("Find a token").fill("b")
        page.get_by_label("whole").set_checked(exact)
        held = [label.casefold() == "b" if exact else "b" in label.casefold() for label in found.labels]
        expect(root).to_have_attribute("data-lit", str((np.array(held) & found.is_key.numpy()).sum()))
    page.wait_for_timeout(700)
    settled(page)
    expected = {"find": "b", "exact": "yes", "colour": "position", "show": "keys", "point": str(hostile)}
    assert query(page) | expected == query(page)
    assert page.locator(".legend .ramp").is_visible() and not errors(page)


def test_a_visit_with_the_keyboard_in_three_dimensions(visit, corpus):
    page = drawn(visit("qk_head", texts=str(corpus), layer="1", head="1", dims="3"))
    root, canvas = page.locator(".root[data-shown]"), page.locator("canvas.over")
    canvas.focus()
    canvas.press("ArrowRight")
    first = root.get_attribute("data-hover")
    canvas.press("ArrowDown")
    second = root.get_attribute("data-hover")
    assert first is not None and second is not None and first != second
    canvas.press("Shift+ArrowRight")
    canvas.press("Enter")
    expect(page.get_by_text("Tokens are shaded")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["point"] == second
    box = canvas.bounding_box()
    assert box is not None
    before = page.locator(".stage canvas").first.evaluate("one => one.toDataURL()")
    pull(page, (box["x"] + 200, box["y"] + 200), (box["x"] + 300, box["y"] + 240))
    page.wait_for_timeout(100)
    assert page.locator(".stage canvas").first.evaluate("one => one.toDataURL()") != before
    page.keyboard.down("Shift")
    pull(page, (box["x"] + 60, box["y"] + 40), (box["x"] + box["width"] - 60, box["y"] + box["height"] - 40))
    page.keyboard.up("Shift")
    expect(page.get_by_text("different tokens, from")).to_be_visible(timeout=PATIENCE)
    settled(page)
    lit = int(root.get_attribute("data-lit") or 0)
    expect(page.get_by_text(f"{lit:,} points: ")).to_be_visible()
    canvas.press("Escape")
    expect(page.get_by_text("different tokens, from")).to_have_count(0, timeout=PATIENCE)
    page.get_by_role("button", name="1.0 ·").click()
    expect(page.get_by_role("button", name="1.1 ·")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page) | {"layer": "1", "point": second} == query(page) and not errors(page)
    assert query(page).get("head", "0") == "0"
