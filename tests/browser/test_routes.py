"""Information flow routes in the browser: the threshold, parts that are clicked, other predictions, links, files."""

import re
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

import workbench
from apps.text import visible
from apps.views import component, routes_graph
from tests.browser.driving import PATIENCE, errors, opened, settled
from workbench.analyses.circuits.route_node import route_node

pytestmark = pytest.mark.browser

PROMPT = "the cat sat on the mat. the cat"
WITH_MLPS = {"model": "tiny:gpt2", "prompt": "one two three four"}


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


@pytest.fixture(scope="module")
def found():
    return workbench.routes(workbench.load("micro"), PROMPT, threshold=0.01)


def graph(page: Page):
    root = page.locator(".root[data-kept]")
    expect(root).to_be_visible(timeout=PATIENCE)
    return root


def looks(page: Page) -> set[str]:
    """The attention edges that are drawn, as LAYER.QUERY.KEY."""
    return set(page.locator(".edge.attention").evaluate_all("all => all.map(path => path.dataset.name.slice(1))"))


def expected(found, threshold: float) -> set[str]:
    edges = found.edges_frame(threshold)
    of_heads = edges[edges["kind"] == "attention"]
    return {f"{r.layer}.{r.query}.{r.key}" for r in of_heads.itertuples()}


def test_the_slider_redraws_before_the_server_is_asked_and_the_address_follows(visit, found):
    page = visit("routes", prompt=PROMPT)
    root = graph(page)
    assert not errors(page) and looks(page) == expected(found, 0.04)
    for step, threshold in ((0, 0.01), (9, 0.1)):
        root.locator("input[type=range]").evaluate("(input, step) => { input.value = step; input.oninput(); }", step)
        expect(root).to_have_attribute("data-at", f"{threshold:g}")
        kept = int(found.n_kept[step])
        assert looks(page) == expected(found, threshold) and root.get_attribute("data-kept") == str(kept)
        assert f"{threshold:g} · {kept} edge" in root.locator("output").inner_text()
        assert "threshold" not in query(page)
    root.locator("input[type=range]").press("ArrowLeft")
    settled(page)
    assert query(page)["threshold"] == "0.09" and root.get_attribute("data-at") == "0.09"


def test_an_edge_lists_its_heads_in_order_and_opens_one(visit, found):
    page = visit("routes", prompt=PROMPT)
    graph(page)
    edge = found.edges_frame(0.04).query("kind == 'attention' and query != key").iloc[0]
    layer, q, k = (int(edge[name]) for name in ("layer", "query", "key"))
    page.locator(f'.hit[data-id="e{layer}.{q}.{k}"]').dispatch_event("click")
    settled(page)
    assert query(page)["selected"] == f"e{layer}.{q}.{k}" and not errors(page)
    expect(page.locator(f'.edge.picked[data-name="e{layer}.{q}.{k}"]')).to_have_count(1)
    rows = found.route(0.01).query("kind == 'attention' and layer == @layer and query == @q and key == @k")
    heads = rows.sort_values("share", ascending=False)["head"].tolist()
    buttons = page.get_by_role("button", name=re.compile(r"Head \d"))
    assert [text.split()[-1] for text in buttons.all_inner_texts()] == [str(head) for head in heads]
    buttons.first.click()
    page.wait_for_url("**/head?**", timeout=PATIENCE)
    settled(page)
    opened_at = {"layer": str(layer), "head": str(heads[0]), "query": str(q), "key": str(k), "prompt": PROMPT}
    named = query(page)
    assert {name: named.get(name, "0") for name in opened_at} == opened_at


def test_a_mark_above_a_column_traces_its_prediction_and_a_link_shows_the_same(visit, window):
    page = visit("routes", prompt=PROMPT)
    graph(page)
    page.locator('[data-id="t9"] .grip').click()
    expect(page.locator('.mark.on[data-id="t9"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    there = workbench.routes(workbench.load("micro"), PROMPT, position=9, threshold=0.01)
    assert query(page)["position"] == "9" and looks(page) == expected(there, 0.04)
    assert page.locator("text.answer").inner_html() == f"{visible(there.answer)} {there.probability:.2f}"
    page.get_by_text("Only tokens on the route").click()
    settled(page)
    skipped = page.locator("[data-skipped]").evaluate_all("all => all.map(text => Number(text.dataset.skipped))")
    assert sum(skipped) + page.locator("g.mark").count() == len(there.tokens) and skipped
    other = opened(window(), page.url)
    graph(other)
    assert looks(other) == looks(page) and query(other) == query(page)


def test_states_and_mlps_say_what_they_hold(visit):
    model = workbench.load(WITH_MLPS["model"])
    last = len(workbench.routes(model, WITH_MLPS["prompt"]).tokens) - 1
    page = visit("routes", **WITH_MLPS)
    graph(page)
    page.locator(f'.grip[data-id="s2.{last}"]').hover()
    expect(page.locator(".float")).to_contain_text(f"position {last}, after layer 1")
    page.locator(f'.grip[data-id="s2.{last}"]').click()
    settled(page)
    node = route_node(model, WITH_MLPS["prompt"], 2, last, "state", top_k=8)
    assert node.predicted is not None
    words = page.locator(".wb-route").first.locator("tr td:first-child .wb-token")
    assert words.evaluate_all("all => all.map(span => span.title)") == [visible(t) for t in node.predicted["token"]]
    rises = page.locator(".wb-route").first.locator("tr td:last-child").all_inner_texts()
    assert [int(text.replace("▲ ", "").replace("▼ ", "-").replace("–", "0").replace(",", "")) for text in rises] == (
        node.predicted["rise"].tolist()
    )
    page.locator(".grip[data-id^=m]").first.dispatch_event("click")
    expect(page.get_by_text("Ablate this MLP here")).to_be_visible(timeout=PATIENCE)
    settled(page)
    layer, position = map(int, query(page)["selected"][1:].split("."))
    node = route_node(model, WITH_MLPS["prompt"], layer, position, "mlp", top_k=8)
    assert node.neurons is not None
    shown = page.locator(".wb-route").first.locator("tr td:first-child").all_inner_texts()
    assert shown == [str(number) for number in node.neurons["neuron"]] and not errors(page)


def test_the_keyboard_goes_from_state_to_state_and_files_are_made(visit, found):
    page = visit("routes", prompt=PROMPT, threshold="0.1", selected="e99.0.0", norm="l7")
    graph(page)
    assert query(page) == {"model": "micro", "prompt": PROMPT, "threshold": "0.1"} and not errors(page)
    page.locator("svg[role=application]").focus()
    page.keyboard.press("ArrowDown")
    below = page.locator(".grip.here").get_attribute("data-id")
    page.keyboard.press("Enter")
    settled(page)
    assert below is not None and query(page)["selected"] == below
    with page.expect_download(timeout=PATIENCE) as download:
        page.get_by_role("button", name="GraphML").click()
    text = download.value.path().read_text("utf-8")
    nodes = found.to_networkx(0.1).number_of_nodes()
    assert text.count("<node ") == nodes and "graphml" in text


def test_a_threshold_that_leaves_nothing_and_edges_that_are_not_drawn_are_said(browser):
    """The component by itself, with a hand-made route: one edge holds up to .01, a second one was not sent."""
    script, style = component._source("routes_graph", routes_graph._PARTS)
    data = {"tokens": [{"text": "a", "whole": "a"}, {"text": "b", "whole": "b"}], "layers": 1, "target": 1, "at": 0}
    data |= {"edges": [[0, 0, 1, 0, 1, 0.02, [[3, 0.02]]]], "thresholds": [0.01, 0.02], "counts": [2, 0], "one": True}
    data |= {"selected": "", "divided": False, "few": False, "answer": "", "of": "x"}
    page = browser.new_page()
    page.set_content(f"<style>{style}</style><div id=host><div class=root></div></div>")
    page.evaluate(
        """async ([script, data]) => {
        const source = URL.createObjectURL(new Blob([script], {type: "text/javascript"}));
        const {default: mount} = await import(source);
        mount({data, parentElement: document.querySelector("#host"), setTriggerValue: () => {}});
        }""",
        [script, data],
    )
    expect(page.locator(".edge")).to_have_count(1)
    expect(page.locator("output")).to_have_text("0.01 · 2 edges kept, the strongest 1 drawn")
    expect(page.locator(".none")).to_be_hidden()
    page.locator("input[type=range]").press("ArrowRight")
    expect(page.locator(".edge")).to_have_count(0)
    expect(page.locator(".none")).to_contain_text("No part of this prediction contributes more than 0.02")
    page.close()
