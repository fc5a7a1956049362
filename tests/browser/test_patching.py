"""The patching lab in the browser: clicks and keys apply patches, the numbers are the library's, links and lists."""

import json
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

import workbench
from tests.browser.driving import PATIENCE, errors, opened, settled

pytestmark = pytest.mark.browser

LISTED = '.st-key-patch-list [data-testid="stButton"]'
CLEAN, CORRUPTED = "the cat sat. the c", "the cot sat. the c"
FOCUSED = """() => {
  let at = document.activeElement;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at.tagName;
}"""
N, LAYERS = len(CLEAN) + 1, 2
PLACE = 6  # where the prompts differ


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("canvas.cells", timeout=PATIENCE)
    settled(page)
    assert not errors(page)


def spot(page: Page, row: int, column: int, columns: int = N, rows: int = LAYERS) -> dict[str, float]:
    """The middle of a cell of the canvas, counted from its top left."""
    box = page.locator("canvas.cells").bounding_box()
    assert box is not None
    return {"x": box["width"] * (column + 0.5) / columns, "y": box["height"] * (row + 0.5) / rows}


def patches(page: Page) -> list[str]:
    return page.locator(LISTED).all_inner_texts()


@pytest.fixture(scope="module")
def swept():
    return workbench.activation_patching(workbench.load("micro"), CLEAN, CORRUPTED)


@pytest.fixture
def lab(visit) -> Page:
    page = visit("patching", prompt=CLEAN, corrupted=CORRUPTED)
    assert not errors(page)
    return page


def test_a_visit(lab, swept, window):
    """Differences are marked, hovering says the numbers, clicks collect patches, a link brings them back."""
    differing = lab.locator("table.pair td.differs").all_inner_texts()
    assert differing == ["a", "o"]
    run(lab)
    canvas = lab.locator("canvas.cells")
    canvas.hover(position=spot(lab, 0, PLACE))  # layer 1 is on top
    expect(lab.locator(".float:visible")).to_contain_text(f"layer 1, position {PLACE}: a / o")
    said = lab.locator(".float:visible td.num").first.inner_text()
    assert float(said.replace("−", "-")) == pytest.approx(swept.effect[1, 0, PLACE].item(), rel=0.006)
    canvas.click(position=spot(lab, 0, PLACE))
    expect(lab.locator(LISTED)).to_have_count(1, timeout=PATIENCE)
    settled(lab)
    assert query(lab)["patches"] == f"blocks.1.resid_pre@{PLACE}=patch"
    values = lab.locator('[data-testid="stMetricValue"]').all_inner_texts()
    expected = [swept.clean, swept.value[1, 0, PLACE].item(), swept.corrupted]
    assert [float(v.replace("−", "-")) for v in values] == pytest.approx(expected, abs=0.006)
    expect(lab.locator("table.answers thead")).to_contain_text("patched")
    canvas.click(position=spot(lab, 1, 2))
    expect(lab.locator(LISTED)).to_have_count(3, timeout=PATIENCE)  # two, and Clear
    settled(lab)
    other = opened(window(), lab.url)
    other.wait_for_selector("canvas.cells", timeout=PATIENCE)
    settled(other)
    assert patches(other) == patches(lab) and not errors(other)
    assert (
        other.locator('[data-testid="stMetricValue"]').all_inner_texts()
        == lab.locator('[data-testid="stMetricValue"]').all_inner_texts()
    )
    canvas.click(position=spot(lab, 0, PLACE))
    expect(lab.locator(LISTED)).to_have_count(1, timeout=PATIENCE)


def test_arrow_keys_and_enter(lab, swept):
    run(lab)
    canvas = lab.locator("canvas.cells")
    canvas.focus()
    lab.keyboard.press("Tab")
    lab.keyboard.press("Shift+Tab")
    for _ in range(PLACE):
        lab.keyboard.press("ArrowRight")
    lab.keyboard.press("ArrowDown")
    effect = f"{swept.effect[0, 0, PLACE].item():.3g}"
    expect(lab.locator(".spoken")).to_have_text(f"layer 0, position {PLACE}: a / o, effect {effect}")
    lab.keyboard.press("Enter")
    expect(lab.locator(LISTED)).to_have_count(1, timeout=PATIENCE)
    settled(lab)
    assert patches(lab)[0].split()[-1] == f"blocks.0.resid_pre@{PLACE}"
    assert lab.evaluate(FOCUSED) == "CANVAS"
    lab.keyboard.press("ArrowUp")
    expect(lab.locator(".spoken")).to_contain_text("layer 1, position")
    lab.keyboard.press("Enter")
    expect(lab.locator(LISTED)).to_have_count(3, timeout=PATIENCE)


def test_heads_and_the_other_direction(lab):
    lab.get_by_text("corrupted into clean").click()
    settled(lab)
    lab.get_by_role("combobox", name="Sweep over").click()
    lab.get_by_role("option", name="Heads", exact=True).click()
    settled(lab)
    run(lab)
    found = workbench.activation_patching(workbench.load("micro"), CLEAN, CORRUPTED, sweep="heads", direction="noise")
    lab.locator("canvas.cells").hover(position=spot(lab, 0, 2, columns=4))
    expect(lab.locator(".float:visible strong")).to_have_text("layer 1, head 2")
    said = lab.locator(".float:visible td.num").first.inner_text()
    assert float(said.replace("−", "-")) == pytest.approx(found.effect[1, 2, 0].item(), rel=0.006)
    assert query(lab)["direction"] == "noise" and query(lab)["sweep"] == "heads"


def test_a_list_is_pasted_shown_and_downloaded(lab):
    lab.get_by_text("Interventions as data").click()
    settled(lab)
    area = lab.get_by_role("textbox", name="Interventions")
    area.fill(
        '[{"site": "blocks.1.attn.z", "operation": "patch", "heads": [2]},'
        ' {"site": "blocks.0.attn_out", "operation": "zero"}]'
    )
    lab.get_by_role("button", name="Apply").click()
    expect(lab.locator(LISTED)).to_have_count(3, timeout=PATIENCE)
    settled(lab)
    assert not errors(lab)
    with lab.expect_download() as download:
        lab.get_by_role("button", name="Download JSON").click()
    data = json.loads(download.value.path().read_text())
    assert [(one["site"], one["operation"], one["heads"]) for one in data] == [
        ("blocks.1.attn.z", "patch", [2]),
        ("blocks.0.attn_out", "zero", []),
    ]
    expect(lab.get_by_text("with workbench.editing")).to_be_visible()
    area.fill("blocks.9.attn_out")
    lab.get_by_role("button", name="Apply").click()
    expect(lab.locator('[data-testid="stAlertContentError"]')).to_contain_text("no such site", timeout=PATIENCE)


def test_a_long_prompt_scrolls_and_answers(visit):
    text = "a quick brown fox. " * 10
    page = visit("patching", prompt=text + "the c", corrupted=text + "tha c")
    run(page)
    box = page.locator("canvas.cells").bounding_box()
    assert box is not None and box["width"] > 3000
    page.locator("canvas.cells").scroll_into_view_if_needed()
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_on_a_narrow_screen_the_map_has_the_whole_width(visit):
    page = visit("patching", prompt=CLEAN, corrupted=CORRUPTED)
    page.set_viewport_size({"width": 900, "height": 900})
    run(page)
    sides = page.locator(".st-key-patching-sides [data-testid='stColumn']").evaluate_all(
        "all => all.slice(0, 1).map(one => one.getBoundingClientRect().width)"
    )
    assert sides[0] > 400


def test_hostile_tokens_are_text(visit):
    hostile = "<img src=x onerror=alert(1)>"
    page = visit("patching", prompt=hostile, corrupted=hostile.replace("1", "2"))
    run(page)
    assert page.locator("table.pair img, .board img, table.answers img").count() == 0
    assert not errors(page)
