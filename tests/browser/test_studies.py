"""The Studies page in the browser: press Reproduce, see expected beside obtained, stop a run, follow a link."""

import re
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import expect

from tests.browser.driving import PATIENCE, errors, settled
from workbench import studies

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

NAME, LABEL = "modular_addition", "Modular addition"
"""The quickest of the studies."""


def test_a_study_is_run_stopped_and_its_link_followed(visit):
    page = visit("studies")
    page.get_by_role("button", name=LABEL).click()
    run = page.get_by_role("button", name=re.compile("Reproduce"))
    expect(run).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert parse_qs(urlparse(page.url).query)["study"] == [NAME]
    before = studies.kept(NAME)
    run.click()
    page.wait_for_function(
        "before => [...document.querySelectorAll('[data-testid=stCaptionContainer]')]"
        ".some(e => e.innerText.startsWith('Found on') && !(before && e.innerText.startsWith(before)))",
        arg=before and f"Found on {before.when[:16].replace('T', ' at ')} UTC in {before.seconds:.0f} s",
        timeout=4 * PATIENCE,
    )
    settled(page)
    found = studies.kept(NAME)
    assert found is not None and (before is None or found.when != before.when) and found.as_expected
    rows = page.locator(".wb-claims tbody tr")
    assert rows.count() == len(found.verdicts) and not errors(page)
    for row, verdict in zip(rows.all_inner_texts(), found.verdicts, strict=True):
        assert verdict.outcome in row and verdict.claim.says in row and f"{verdict.claim.bound:g}" in row
    run.click()
    page.get_by_role("button", name="Stop").click(timeout=PATIENCE)
    expect(page.get_by_text("Stopped. What was found before is as it was.")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert studies.kept(NAME).when == found.when and page.locator(".wb-claims tbody tr").count() == len(rows.all())
    link = studies.study(NAME).opens[1]
    page.get_by_role("button", name=link.says).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{link.page}?**", timeout=PATIENCE)
    page.wait_for_selector(".js-plotly-plot", timeout=PATIENCE)
    settled(page)
    asked = {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}
    assert asked == {name: text for name, text in link.query.items() if text} and not errors(page)
