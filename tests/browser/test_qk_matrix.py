"""The QK matrix in the browser: a click locks a head, a search marks it everywhere, a button opens its own page."""

from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

import workbench
from apps.views.qk_matrix import brief, numbers
from tests.browser.driving import PATIENCE, errors, opened, settled

pytestmark = pytest.mark.browser

FEW = {"inputs": "6", "points": "200"}


@pytest.fixture(scope="module")
def found():
    return workbench.get("joint-qk-matrix")(workbench.load("micro"), inputs=6, points=200)


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def painted(page: Page, head: str) -> dict[str, int]:
    """How many pixels of the picture of a head have which colour."""
    return page.locator(f'[data-head="{head}"] canvas').evaluate(
        """canvas => {
        const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, counts = {};
        for (let i = 0; i < all.length; i += 4) {
          const name = all[i + 3] ? `${all[i]},${all[i + 1]},${all[i + 2]}` : "nothing";
          counts[name] = (counts[name] ?? 0) + 1;
        }
        return counts;
        }"""
    )


def ready(page: Page) -> Page:
    expect(page.locator("[data-head]")).to_have_count(8, timeout=PATIENCE)
    return settled(page)


def test_a_click_locks_a_head_and_the_button_opens_it(visit, found):
    page = ready(visit("qk_matrix", **FEW, colour="token", find="e"))
    assert not errors(page)
    page.locator('[data-head="1.2"]').click()
    expect(page.get_by_text("Layer 1, head 2", exact=True)).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["locked"] == "1.2"
    shown = page.locator(".wb-numbers tr").all_inner_texts()
    rows = numbers(found, 1, 2).split("</tr>")[:-1]
    assert len(shown) == len(rows)
    aligned = [brief(found.correlations[1, 2, 2, d, 0].item()) for d in range(2)]
    assert shown[3].split() == ["aligned", *aligned]
    page.get_by_role("button", name="Open head").click()
    page.wait_for_url("**/qk_head?**", timeout=PATIENCE)
    settled(page)
    same = {"layer": "1", "head": "2", "colour": "token", "find": "e", **FEW}
    assert query(page) | same == query(page)
    page.go_back()
    expect(page.locator('[data-head="1.2"][aria-pressed="true"]')).to_be_visible(timeout=PATIENCE)


def test_a_search_marks_a_token_in_every_head(visit, window):
    page = ready(visit("qk_matrix", **FEW))
    heads = [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    plain = {"47,127,196", "224,138,30", "nothing"}
    assert all(set(painted(page, head)) == plain for head in heads)
    box = page.get_by_placeholder("a token, in every head")
    box.fill("e")
    box.press("Enter")
    expect(page.get_by_text("points match")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert all(set(painted(page, head)) == plain | {"222,225,229"} for head in heads)
    assert query(page)["find"] == "e"

    other = ready(opened(window(), page.url))  # the link opens the same view
    expect(other.get_by_text("points match")).to_have_text(page.get_by_text("points match").inner_text())
    assert all(painted(other, head) == painted(page, head) for head in heads)


def test_heads_are_sorted_by_their_number(visit, found):
    page = ready(visit("qk_matrix", **FEW, sort="norm gap", lowest="yes"))
    tiles = page.locator("[data-head]")
    values = {f"{i // 4}.{i % 4}": value for i, value in enumerate(found.score("norm gap").flatten().tolist())}
    order = sorted(values, key=lambda head: values[head])
    assert tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.head)") == order
    assert tiles.locator(".under").all_inner_texts() == [brief(values[head]) for head in order]


def test_a_narrow_window_does_not_scroll_sideways(window, app):
    page = window()
    page.set_viewport_size({"width": 900, "height": 800})
    ready(opened(page, app.url("qk_matrix", **FEW, locked="0.1")))
    main = '[data-testid="stMain"]'
    assert page.eval_on_selector(main, "main => main.scrollWidth <= main.clientWidth + 1")
