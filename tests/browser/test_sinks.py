"""The page of sinks in the browser: a head is locked by keyboard and opened, a click changes massive numbers."""

import pytest
from playwright.sync_api import expect

from tests.browser.driving import PATIENCE, errors, settled

pytestmark = pytest.mark.browser

PROMPT = "the cat sat on the mat"


def test_a_head_is_locked_by_keyboard_and_opened(visit):
    page = visit("sinks", prompt=PROMPT, tab="sinks")
    page.wait_for_selector('[data-head="1.3"]', timeout=PATIENCE)
    settled(page)
    page.locator('[data-head="0.3"]').focus()
    expect(page.locator(".float:visible")).to_contain_text("layer 0, head 3")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".float:visible")).to_contain_text("attention it draws")
    page.keyboard.press("Enter")
    drawn = page.get_by_text("Layer 1, head 3: attention that each token draws").first  # the old one leaves late
    expect(drawn).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert "locked=1.3" in page.url and not errors(page)
    page.get_by_role("button", name="Open head").click()
    page.wait_for_url("**/head?**", timeout=PATIENCE)
    assert "layer=1" in page.url and "head=3" in page.url


def test_one_click_sets_numbers_to_zero(visit):
    page = visit("sinks", prompt=PROMPT)
    page.get_by_role("button", name="Set to zero").click()
    expect(page.get_by_text("3 numbers set to zero: the loss goes from")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert "set=zero" in page.url and not errors(page)
    assert page.locator(".js-plotly-plot").count() == 3
