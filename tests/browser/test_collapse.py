"""The Collapse page in the browser: the curves are there, and the switches are in the address and change them."""

from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import expect

from tests.browser.driving import PATIENCE, errors, settled

pytestmark = pytest.mark.browser


def test_curves_follow_the_switches(visit):
    page = visit("collapse", prompt="the cat sat on the mat and the cat sat")
    page.wait_for_selector(".js-plotly-plot", timeout=PATIENCE)
    settled(page)
    expect(page.locator(".js-plotly-plot")).to_have_count(2, timeout=PATIENCE)
    legend = page.locator(".js-plotly-plot").first.locator(".legendtext")
    expect(legend).to_have_count(4)
    page.get_by_test_id("stButtonGroup").get_by_text("both", exact=True).click()
    expect(legend).to_have_count(7, timeout=PATIENCE)
    settled(page)
    assert parse_qs(urlparse(page.url).query)["attention"] == ["both"] and not errors(page)
