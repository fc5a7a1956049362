"""Every page in the browser: hostile prompts are text, mistakes are sentences, files are made without a network."""

import re

import pytest
from playwright.sync_api import expect

from apps.menu import OWN
from apps.screens.qk_asked import PAGES as READ_MANY
from tests.browser.driving import PATIENCE, errors, opened, settled
from workbench import registry
from workbench.index import index

pytestmark = pytest.mark.browser

HOSTILE = (
    "<img src=x onerror=alert(1)></script><b>b</b> [a](http://x.invalid/) ![i](http://x.invalid/i.png) :red[r] $x$"
)
PROMPT = "the cat sat on the mat. the cat"
WITHOUT_PROMPT = {"start", "qk_weights", "circuit", "fourier", "heads", "studies", *READ_MANY}
PAGES = ["", *(name for name in OWN if name not in WITHOUT_PROMPT)]
FEW = {"inputs": "6", "points": "200"}
"""Enough of a corpus to show something."""


def shown_as_text(page):
    """The hostile prompt is in its box and nowhere an element. A dialog, or a request elsewhere, fails in `visit`."""
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(HOSTILE, timeout=PATIENCE)
    nowhere_an_element(page)


def nowhere_an_element(page):
    made = page.evaluate(
        """() => {
        const all = [document];
        for (const root of all) root.querySelectorAll("*").forEach(n => n.shadowRoot && all.push(n.shadowRoot));
        const count = (selector) => all.reduce((sum, root) => sum + root.querySelectorAll(selector).length, 0);
        return ['img[src="x"]', '[onerror]', 'a[href*="x.invalid"]', 'img[src*="x.invalid"]'].map(count);
        }"""
    )
    assert made == [0, 0, 0, 0]
    assert not page.locator('[data-testid="stException"]').count()


@pytest.mark.parametrize("page_name", PAGES)
def test_a_hostile_prompt_is_shown_as_text(visit, page_name):
    shown_as_text(visit(page_name, prompt=HOSTILE))


def representatives():
    """Analyses that bring a group or a kind of parameter not seen before; all pages are made by one file.

    `tests/test_every_analysis.py` opens the page of every analysis, without a browser.
    """
    seen: set[str] = set()
    for name, entry in index().analyses.items():
        kinds = {entry.group, *(p.kind for p in registry.get(name).params)}
        if kinds - seen:
            seen |= kinds
            yield name


@pytest.mark.parametrize("name", list(representatives()))
def test_analyses_have_a_page_that_shows_their_result(visit, name):
    few = FEW if any(p.kind == "corpus" for p in registry.get(name).params) else {}
    known = {p.name for p in registry.get(name).params}
    page = visit(f"analysis-{name}", prompt=HOSTILE, **{key: text for key, text in few.items() if key in known})
    assert not errors(page)
    if not page.get_by_text("Fill in").count():  # else it needs more than a prompt; its form is there
        expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text(re.compile(r"Table, [\d,]+ rows"))).to_be_visible()
        page.get_by_role("button", name="Copy as").click()
        expect(page.get_by_text("import workbench")).to_be_visible()
    nowhere_an_element(page) if registry.get(name).prompt is None else shown_as_text(page)


def test_an_empty_prompt_teaches_the_first_step(visit):
    page = visit("overview")
    expect(page.get_by_text("Type a sentence above")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="The capital of France is").click()
    expect(page.locator("[data-head]")).to_have_count(8, timeout=PATIENCE)


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"prompt": "word " * 400}, "512"),
        ({"prompt": PROMPT, "token": "no such token"}, "token"),
        ({"prompt": PROMPT, "model": "no-such-model"}, "no-such-model"),
    ],
)
def test_a_mistake_is_a_sentence_and_never_a_traceback(visit, values, sentence):
    page = visit("lens", **values)
    shown = page.locator('[data-testid="stAlert"]').all_inner_texts()
    assert any(sentence in text for text in shown), shown
    assert not page.locator('[data-testid="stException"]').count()
    assert "Traceback" not in page.inner_text("body")


def test_options_in_the_address_that_do_not_fit_are_left_out(visit):
    page = visit("head", prompt=PROMPT, layer="99", head="x", query="1e9", upper="maybe")
    assert not errors(page)
    assert page.get_by_label("Layer (", exact=False).first.input_value() == "0"


def test_every_figure_can_be_saved_and_opens_offline(visit, browser, tmp_path):
    page = visit("head", prompt=PROMPT, layer="1", head="2")
    page.get_by_role("button", name="Export").first.click()
    for name, start in (
        ("PNG", b"\x89PNG"),
        ("SVG", b"<svg"),
        ("HTML", b"<!doctype html"),
        ("CSV", b"query,"),
        ("JSON", b"[{"),
    ):
        with page.expect_download(timeout=PATIENCE) as download:
            page.get_by_role("button", name=name, exact=True).first.click()
        download.value.save_as(path := tmp_path / f"figure.{name.lower()}")
        assert path.read_bytes().lstrip().lower().startswith(start.lower())
        settled(page)

    context = browser.new_context(offline=True)
    asked = []
    offline = context.new_page()
    offline.on("request", lambda request: asked.append(request.url))
    offline.goto((tmp_path / "figure.html").as_uri())
    expect(offline.locator(".js-plotly-plot .heatmaplayer").first).to_be_visible()
    offline.wait_for_timeout(500)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def test_hovering_a_token_shades_what_it_reads(visit):
    page = visit("head", prompt=PROMPT, layer="0", head="2")
    import workbench

    pattern = workbench.head(workbench.load("micro"), PROMPT, layer=0, head=2).pattern
    page.locator('[data-position="5"]').hover()
    expect(page.locator('.chip.reader[data-position="5"]')).to_be_visible()
    weights = page.locator(".strip .chip").evaluate_all("chips => chips.map(chip => Number(chip.dataset.weight))")
    assert weights == pytest.approx(pattern[5].tolist(), abs=0.003)


def test_a_long_prompt_is_drawn_in_pieces(visit, app):
    page = visit("head", prompt="a quick brown fox. " * 26)
    assert not errors(page)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=PATIENCE)
    page.get_by_text("All positions, in blocks").click()
    expect(page.get_by_text("Pictures from (showing 128 of")).to_be_visible(timeout=PATIENCE)


def test_a_narrow_window_does_not_scroll_sideways(window, app):
    page = window()
    page.set_viewport_size({"width": 900, "height": 800})
    for name in PAGES[:6]:
        opened(page, app.url(name, prompt=PROMPT))
        main = '[data-testid="stMain"]'
        assert page.eval_on_selector(main, "main => main.scrollWidth <= main.clientWidth + 1"), name
