"""The page of heads in the browser: a class is chosen, arrows and Enter lock a head, a button opens it."""

from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import PATIENCE, errors, settled

pytestmark = pytest.mark.browser


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def test_a_class_is_shown_and_a_head_is_locked_by_keys_and_opened(visit):
    page = visit("heads")
    expect(page.locator("[data-head]")).to_have_count(8, timeout=PATIENCE)
    page.get_by_text("previous token (2)", exact=True).click()
    expect(page.get_by_text("Heads that are not previous token are faded.")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["class"] == "previous token" and not errors(page)
    page.locator('[data-head="0.1"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator('[data-head="0.2"][aria-pressed="true"]')).to_have_count(1, timeout=PATIENCE)
    settled(page)
    assert query(page)["locked"] == "0.2"
    page.get_by_role("button", name="Open head").click()
    page.wait_for_url("**/head?**", timeout=PATIENCE)
    settled(page)
    assert {"layer": "0", "head": "2"}.items() <= query(page).items() and not errors(page)
