"""The pages of token attribution in the browser: the slider at hand, rows and nodes that are clicked, links, files."""

import json
from urllib.parse import parse_qs, urlparse

import pytest
import torch
from playwright.sync_api import Page, expect

import workbench
from apps.views.sprite import css
from apps.views.token_table_colours import LEVELS, palette, shades
from tests.browser.driving import PATIENCE, errors, opened, settled
from workbench import functional

pytestmark = pytest.mark.browser

PROMPT = "the cat sat. the cat"
N = len(PROMPT) + 1  # the micro model reads characters, after a start token
METHODS = ("raw", "rollout", "knockout")


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def cells(page: Page, j: int, read: str = "cell.innerText") -> list[str]:
    """What stands in column `j` of the table, row by row."""
    rows = page.locator("table.grid tbody tr")
    return rows.evaluate_all(f"(rows, j) => rows.map(row => row.cells[j + 1]).map(cell => {read})", j)


def ranking(page: Page) -> list[tuple[str, str]]:
    """(method, ρ) as they are ranked, without the random order."""
    items = page.locator(".ranking li:not(.random)")
    read = "all => all.map(li => [li.dataset.method, li.lastChild.innerText])"
    return [(name, rho) for name, rho in items.evaluate_all(read)]


def expected_ranking(found, step: int) -> list[tuple[str, str]]:
    lines = {name: [i for i, of in enumerate(found.line_methods) if of == name] for name in METHODS}
    values = {name: found.agreement[of[min(step, len(of) - 1)], 0].item() for name, of in lines.items()}
    return [(name, f"{values[name]:.2f}".replace("-", "−")) for name in sorted(METHODS, key=lambda name: -values[name])]


@pytest.fixture(scope="module")
def found():
    return workbench.token_attribution(workbench.load("micro"), PROMPT, methods=METHODS, check="replace")


@pytest.fixture
def table(visit) -> Page:
    page = visit("tokens", prompt=PROMPT, methods=" ".join(METHODS), check="replace")
    expect(page.locator("table.grid tbody tr")).to_have_count(N, timeout=PATIENCE)
    assert not errors(page)
    return page


def test_each_column_is_coloured_by_its_own_largest_score_and_the_check_is_last(table, found):
    heads = table.locator("table.grid thead th[data-method]").evaluate_all("all => all.map(th => th.dataset.method)")
    assert heads == [*METHODS, "check"]
    colours = [css(colour) for colour in palette(dark=False)]
    for j, values in enumerate([*(found.of(name)[-1] for name in METHODS), found.effects]):
        wanted = [colours[LEVELS + round(LEVELS * abs(s)) * (1 if s >= 0 else -1)] for s in shades(values.numpy())]
        rgb = [f"rgb({int(c[1:3], 16)}, {int(c[3:5], 16)}, {int(c[5:], 16)})" for c in wanted]
        assert cells(table, j, "cell.style.backgroundColor") == rgb, heads[j]
    assert ranking(table) == expected_ranking(found, step=1)


def test_the_slider_moves_cumulative_columns_and_the_ranking_before_the_server_is_asked(table, found):
    slider = table.get_by_label("Cumulative methods after layer")
    before = [cells(table, j) for j in range(4)]
    slider.evaluate("input => { input.value = '0'; input.dispatchEvent(new Event('input')); }")
    after = [cells(table, j) for j in range(4)]
    assert "step" not in query(table)
    assert before[0] != after[0] and before[1] != after[1] and before[2:] == after[2:]
    numbers = [float(text.replace("−", "-")) for text in after[1]]
    assert numbers == pytest.approx(found.of("rollout")[0].tolist(), abs=0.00501)
    assert ranking(table) == expected_ranking(found, step=0)
    slider.evaluate("input => input.dispatchEvent(new Event('change'))")
    settled(table)
    assert query(table)["step"] == "0" and [cells(table, j) for j in range(4)] == after


def test_hovering_a_cell_says_the_number_and_the_rank(table, found):
    scores = found.of("knockout")[0]
    weakest = int(scores.abs().argmin())
    assert (scores < -scores[weakest].abs()).any()  # those that speak against the answer are ranked by size as well
    table.locator(f'[data-cell="{weakest}.2"]').hover()
    float_ = table.locator(".float")
    expect(float_).to_contain_text(f"rank {N} of {N} by size")
    table.locator(f'[data-cell="{int(scores.argmax())}.2"]').hover()
    expect(float_).to_contain_text(f"Attention knockout: {scores.max().item():.4g}")
    table.locator('thead th[data-method="rollout"]').hover()
    expect(float_).to_contain_text("ignores values")
    expect(float_).to_contain_text("one forward")


def test_a_clicked_row_is_in_the_link(table, window):
    table.locator('tr[data-row="4"] button').click()
    expect(table.locator('tr.on[data-row="4"]')).to_be_visible(timeout=PATIENCE)
    settled(table)
    assert query(table)["row"] == "4"
    other = opened(window(), table.url)
    expect(other.locator('tr.on[data-row="4"]')).to_be_visible(timeout=PATIENCE)
    assert [cells(other, j) for j in range(4)] == [cells(table, j) for j in range(4)]
    assert ranking(other) == ranking(table)
    table.locator('tr[data-row="4"] button').click()
    expect(table.locator("tr.on")).to_have_count(0, timeout=PATIENCE)


def test_a_long_prompt_does_not_freeze(visit):
    page = visit("tokens", prompt="a quick brown fox. " * 26, methods="raw rollout relevance", check="none")
    assert not errors(page)
    rows = page.locator("table.grid tbody tr")
    expect(rows).to_have_count(495, timeout=PATIENCE)
    assert page.eval_on_selector(".scroller", "one => one.clientHeight < 800 && one.scrollHeight > 5000")
    slider = page.get_by_label("Cumulative methods after layer")
    took = slider.evaluate(
        "input => { const from = performance.now(); for (const to of ['0', '1', '0']) { input.value = to;"
        " input.dispatchEvent(new Event('input')); document.body.offsetHeight; } return performance.now() - from; }"
    )
    assert took < 1500  # three redrawings, on a machine that tests and builds at once
    expect(page.get_by_text("nothing says which method is right")).to_be_visible()


@pytest.mark.parametrize("name", ["tokens", "flow"])
def test_what_the_screen_shows_can_be_saved(visit, name, tmp_path):
    page = visit(name, prompt=PROMPT)
    page.get_by_role("button", name="Export").click()
    for kind in ("SVG", "JSON"):
        with page.expect_download(timeout=PATIENCE) as download:
            page.get_by_role("button", name=kind, exact=True).first.click()
        download.value.save_as(path := tmp_path / f"file.{kind.lower()}")
        settled(page)
    assert (tmp_path / "file.svg").read_text().startswith("<svg")
    rows = json.loads(path.read_text())
    assert {row["token" if name == "tokens" else "key_token"] for row in rows} >= {"c", "a", "t"}
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Copy as").click()
    expect(page.get_by_text("import workbench")).to_be_visible()


def graph_of(prompt: str) -> torch.Tensor:
    found = workbench.raw_attention(workbench.load("micro"), prompt)
    return functional.with_residual(found.maps.double(), 0.5)


def numbers(page: Page) -> list[float]:
    texts = page.locator("svg text.number").evaluate_all("all => all.map(one => one.textContent)")
    return [0.0 if text == "<.01" else float(text) for text in texts]


def test_clicks_choose_the_node_and_the_source_and_the_link_keeps_them(visit, window):
    page = visit("flow", prompt=PROMPT)
    last = N - 1
    expect(page.locator(f'.node.target[data-node="2.{last}"]')).to_be_visible(timeout=PATIENCE)
    maps = graph_of(PROMPT)
    flows = functional.cumulative_flow(maps)
    assert numbers(page) == pytest.approx(flows[1, last].tolist(), abs=0.0101)
    page.locator('[data-node="1.9"] .hit').click()
    expect(page.locator('.node.target[data-node="1.9"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["level"] == "1" and query(page)["node"] == "9"
    assert numbers(page) == pytest.approx(flows[0, 9].tolist(), abs=0.0101)
    page.locator('[data-node="0.4"] .hit').click()
    expect(page.locator('.node.source[data-node="0.4"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["source"] == "4"
    assert page.locator("path.edge").count() == 1  # after one layer there is one way from a node to a token
    other = opened(window(), page.url)
    expect(other.locator('.node.target[data-node="1.9"]')).to_be_visible(timeout=PATIENCE)
    assert numbers(other) == numbers(page) and other.locator(".node.source").count() == 1


def test_thin_edges_are_left_out_at_hand(visit):
    page = visit("flow", prompt=PROMPT, show="rollout")
    expect(page.locator("path.edge").first).to_be_attached(timeout=PATIENCE)
    maps, last = graph_of(PROMPT), N - 1
    above = maps[1, last]
    carried = torch.cat([above, (above[:, None] * maps[0]).flatten()])
    slider = page.get_by_label("Leave out edges thinner than")
    for place, thin in ((0, 0.0), (6, 0.05)):
        slider.evaluate(f"input => {{ input.value = '{place}'; input.dispatchEvent(new Event('input')); }}")
        kept = int(((carried >= thin) & (carried > 0)).sum())
        drawn = "all => all.filter(path => path.style.display !== 'none').length"
        assert page.locator("path.edge").evaluate_all(drawn) == kept > 0
        assert page.locator(".root[data-kept]").get_attribute("data-kept") == str(kept)
    assert "thin" not in query(page)
    slider.evaluate("input => input.dispatchEvent(new Event('change'))")
    settled(page)
    assert query(page)["thin"] == "0.05"


@pytest.mark.parametrize("name", ["tokens", "flow"])
def test_a_narrow_window_scrolls_the_view_and_not_the_page(window, app, name):
    page = window()
    page.set_viewport_size({"width": 900, "height": 800})
    opened(page, app.url(name, prompt=PROMPT))
    expect(page.locator(".scroller")).to_be_visible(timeout=PATIENCE)
    assert page.eval_on_selector('[data-testid="stMain"]', "main => main.scrollWidth <= main.clientWidth + 1")
