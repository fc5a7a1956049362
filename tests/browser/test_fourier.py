"""The Fourier page in the browser: a click, or arrow keys and Enter, show a cell of the map as its circle."""

from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

import workbench
from apps.screens.fourier_asked import TEMPLATES
from tests.browser.driving import PATIENCE, errors, settled

pytestmark = pytest.mark.browser

ROWS, COLUMNS = 4, 13  # unembed, two layers, embed; frequencies of 26 letters
CHANCE = 6 + 16  # pixels beside the cells


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def spot(page: Page, row: int, column: int) -> dict[str, float]:
    box = page.locator("canvas.cells").first.bounding_box()
    assert box is not None
    width = (box["width"] - CHANCE) / COLUMNS
    return {"x": width * (column + 0.5), "y": box["height"] * (row + 0.5) / ROWS}


def test_a_cell_becomes_a_circle(visit):
    page = visit("fourier")
    page.get_by_role("button", name="Letters: the letter …").click()
    page.wait_for_selector("canvas.cells", timeout=PATIENCE)
    settled(page)
    found = workbench.fourier_spectrum(workbench.load("micro"), "letters", template=TEMPLATES["letters"])
    canvas = page.locator("canvas.cells").first
    canvas.hover(position=spot(page, 1, 6))
    share = found.shares[found.places.index("blocks.1.resid_post"), 7].item()
    expect(page.locator(".float:visible")).to_contain_text("layer 1, cycles 7")
    shown = page.locator(".float:visible td.num").first.inner_text()
    assert float(shown.split()[0]) == pytest.approx(100 * share, rel=0.006)
    canvas.click(position=spot(page, 1, 6))
    expect(page.get_by_text("blocks.1.resid_post, 3.71 letters a turn")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert {"place": "blocks.1.resid_post", "frequency": "7"}.items() <= query(page).items() and not errors(page)
    points = page.locator(".js-plotly-plot .points path")
    expect(points).to_have_count(26, timeout=PATIENCE)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".spoken")).to_contain_text("layer 0, cycles 8, share of the power")
    page.keyboard.press("Enter")
    expect(page.get_by_text("blocks.0.resid_post, 3.25 letters a turn")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["frequency"] == "8" and not errors(page)
