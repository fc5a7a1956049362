"""QK weights in the browser: a click locks a head, pictures take the place of colours, a button opens the head."""

from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

import workbench
from tests.browser.driving import PATIENCE, errors, settled

pytestmark = pytest.mark.browser


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def test_a_click_locks_a_head_and_buttons_open_it(visit):
    found = workbench.qk_weights(workbench.load("micro"))
    page = visit("qk_weights", number="vo_identity")
    expect(page.locator("[data-head]")).to_have_count(8, timeout=PATIENCE)
    settled(page)
    assert not errors(page)
    page.locator('[data-head="0.1"]').click()
    expect(page.get_by_text("Layer 0, head 1", exact=True).first).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["locked"] == "0.1"
    closeness = page.locator(".wb-numbers tr").nth(1).inner_text().split()[-2:]
    assert closeness == [f"{found.score(f'{p}_identity')[0, 1].item():.3g}" for p in ("qk", "vo")]
    page.get_by_text("products", exact=True).click()
    expect(page.locator("canvas.face")).to_have_count(8, timeout=PATIENCE)
    settled(page)
    assert query(page)["tiles"] == "pictures" and not errors(page)
    page.get_by_role("button", name="Open head").click()
    page.wait_for_url("**/head?**", timeout=PATIENCE)
    settled(page)
    assert {"layer": "0", "head": "1"}.items() <= query(page).items()
