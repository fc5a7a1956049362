"""A visit from end to end: type a prompt, lock a head, open it, and hand the link to another window."""

import json
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import PATIENCE, errors, opened, settled

pytestmark = pytest.mark.browser

PROMPT = "the cat sat on the mat. the cat"


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def type_prompt(page: Page, text: str) -> None:
    box = page.get_by_label("Prompt", exact=True)
    box.fill(text)
    box.press("Enter")
    settled(page)


def lock_and_open(page: Page, head: str) -> None:
    layer, number = head.split(".")
    page.locator(f'[data-head="{head}"]').click()
    expect(page.locator(f'[data-head="{head}"][aria-pressed="true"]')).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text(f"Layer {layer}, head {number}", exact=True)).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["locked"] == head
    page.get_by_role("button", name="Open head").click()
    page.wait_for_url("**/head?**", timeout=PATIENCE)
    settled(page)


def seen(page: Page) -> dict:
    """What a window shows of a head, as the reader sees it."""
    chips = page.locator(".strip .chip")
    expect(chips.first).to_be_visible(timeout=PATIENCE)
    return {
        "layer": page.get_by_label("Layer (", exact=False).first.input_value(),
        "head": page.get_by_label("Head (", exact=False).first.input_value(),
        "tokens": chips.all_inner_texts(),
        "shades": chips.evaluate_all("chips => chips.map(chip => chip.dataset.weight)"),
        "score": page.get_by_text("q · k by dimension").inner_text(),
    }


def flow(first: Page, second: Page, head: str) -> None:
    type_prompt(first, PROMPT)
    lock_and_open(first, head)
    first.locator('[data-position="2"]').click()
    expect(first.locator('.chip.reader[data-position="2"]')).to_be_visible(timeout=PATIENCE)
    settled(first)
    expect(first.get_by_text("adds directly to the logits")).to_contain_text("position 2", timeout=PATIENCE)
    assert query(first) | {"query": "2", "layer": head.split(".")[0], "prompt": PROMPT} == query(first)
    view = seen(first)
    opened(second, first.url)
    assert seen(second) == view
    assert query(second) == query(first)
    assert not errors(second)


def test_a_link_opens_the_same_view_in_a_new_window(app, visit, window):
    flow(visit("overview"), window(), "1.2")


@pytest.mark.real
def test_the_same_on_the_default_model(app, window):
    first = opened(window(), app.url("overview", model="smollm2-135m"))
    flow(first, window(), "18.6")


def test_copy_link_copies_the_address(app, browser):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = opened(context.new_page(), app.url("overview", prompt=PROMPT, locked="0.1"))
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    context.close()


def test_going_back_returns_to_the_view_before(visit):
    page = visit("overview", prompt=PROMPT, locked="0.1")
    page.locator('[data-head="1.3"]').click()
    expect(page.locator('[data-head="1.3"][aria-pressed="true"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    page.go_back()
    expect(page.locator('[data-head="0.1"][aria-pressed="true"]')).to_be_visible(timeout=PATIENCE)
    assert query(page)["locked"] == "0.1"


def test_sorting_draws_the_same_heads_in_the_order_of_the_score(visit):
    page = visit("overview", prompt=PROMPT, sort="entropy")
    tiles = page.locator("[data-head]")
    expect(tiles).to_have_count(8, timeout=PATIENCE)
    order = tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.head)")
    import workbench

    found = workbench.attention(workbench.load("micro"), PROMPT, skip_first=True)
    entropy = found.scores[..., found.score_names.index("entropy")]
    heads = [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    values = dict(zip(heads, entropy.flatten().tolist(), strict=True))
    assert order == sorted(heads, key=lambda head: -values[head])


def test_a_session_file_brings_everything_back(visit, tmp_path):
    page = visit("ablate", prompt=PROMPT, sites="blocks.1.attn.z:2 blocks.0.attn_out", operation="mean")
    expect(page.get_by_text("KL from before")).to_be_visible(timeout=PATIENCE)
    numbers = page.locator('[data-testid="stMetricValue"]').all_inner_texts()
    page.get_by_role("link", name="Start").click()
    page.get_by_role("button", name="Save session").wait_for(timeout=PATIENCE)
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save session").click()
    download.value.save_as(path := tmp_path / "session.json")
    saved = json.loads(path.read_text())
    assert (saved["page"], saved["prompt"], saved["model"]) == ("ablate", PROMPT, "micro")

    other = visit("")
    other.get_by_role("button", name="Open session").click()
    other.locator('input[type="file"]').set_input_files(path)
    other.wait_for_url("**/ablate?**", timeout=PATIENCE)
    expect(other.get_by_text("KL from before")).to_be_visible(timeout=PATIENCE)
    settled(other)
    assert other.locator('[data-testid="stMetricValue"]').all_inner_texts() == numbers
    assert query(other)["sites"] == "blocks.1.attn.z:2 blocks.0.attn_out"


def test_a_damaged_session_file_is_a_sentence(visit, tmp_path):
    page = visit("")
    (path := tmp_path / "session.json").write_text('{"format": "workbench-session", "version": 1, "prompt": 3}')
    page.get_by_role("button", name="Open session").click()
    page.locator('input[type="file"]').set_input_files(path)
    expect(page.get_by_text("is a damaged session")).to_be_visible(timeout=PATIENCE)


def test_going_back_after_open_head_returns_to_the_overview_as_it_was(visit):
    page = visit("overview", prompt=PROMPT)
    lock_and_open(page, "1.2")
    assert query(page) == {"model": "micro", "prompt": PROMPT, "layer": "1", "head": "2"}
    page.go_back()
    expect(page.locator('[data-head="1.2"][aria-pressed="true"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert urlparse(page.url).path == "/overview"
    assert query(page) == {"model": "micro", "prompt": PROMPT, "locked": "1.2"}


def test_another_model_and_prompt_leave_page_and_address_of_one_mind(app, window):
    page = opened(window(), app.url("head", model="tiny:gpt2", prompt="one two three four five", query="9", key="8"))
    type_prompt(page, "a b")
    expect(page.get_by_text("adds directly to the logits")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page) == {"model": "tiny:gpt2", "prompt": "a b"}
    assert not errors(page)
