"""Circuit in the browser: run, walk, pin, name, group, another size, files there and back, two circuits at once."""

import json
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, expect

import workbench
from tests.browser.driving import PATIENCE, errors, opened, settled

pytestmark = pytest.mark.browser

ASKED = {"task": "induction", "examples": "8"}


@pytest.fixture(scope="module")
def found():
    return workbench.circuit(workbench.load("micro"), **{"task": "induction", "examples": 8})


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def drawn(page: Page) -> Page:
    expect(page.locator(".root[data-edges] svg")).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert not errors(page)
    return page


def ran(page: Page) -> Page:
    page.get_by_role("button", name="Run", exact=True).click()
    return drawn(page)


def marks(page: Page) -> set[str]:
    return set(page.locator(".mark").evaluate_all("all => all.map(mark => mark.dataset.node)"))


def nodes_of(graph) -> set[str]:
    names = [name.split("->") for name in graph.kept_edges()]
    return {node for start, slot in names for node in (start, slot.partition("<")[0])}


def sees(page: Page, graph) -> None:
    expect(page.locator(".root[data-edges]")).to_have_attribute("data-edges", str(graph.n_kept), timeout=PATIENCE)
    assert marks(page) == nodes_of(graph)


def open_file(page: Page, path) -> None:
    page.get_by_role("button", name="Open file").click()
    page.locator('input[type="file"]').set_input_files(path)


def test_a_visit(visit, window, found, tmp_path):
    page = visit("circuit", **ASKED)
    expect(page.get_by_text("81 edges: 2 forward passes")).to_be_visible()
    ran(page)
    first = min(n for n, f in zip(found.sizes.tolist(), found.faithfulness.tolist(), strict=True) if f >= 0.8)
    sees(page, found.circuit(first))
    expect(page.get_by_role("heading", name="of the task")).to_contain_text(f"{found.circuit(first).n_kept} edges")

    # Another size is drawn at once, by the slider and by the address.
    page.get_by_role("slider").first.focus()
    page.keyboard.press("End")
    expect(page.get_by_role("heading", name="of the task")).to_contain_text(
        "81 edges (100 %) carry 100 %", timeout=PATIENCE
    )
    sees(page, found.circuit(81))
    assert query(page)["size"] == "81"

    # A mark says what it is and fades what is far from it; a click pins it, and the keyboard walks.
    page.locator('.mark[data-node="a1.h2"]').hover()
    expect(page.locator(".root .float")).to_contain_text("a1.h2")
    graph = found.circuit(81)
    touched = [name for name in graph.kept_edges() if "a1.h2" in name]
    bright = page.locator(".edge:not(.faded)")
    expect(bright).to_have_count(len(touched))
    page.locator('.mark[data-node="a1.h2"]').click()
    expect(page.locator('.mark.pinned[data-node="a1.h2"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert query(page)["pinned"] == "a1.h2"
    page.locator('.mark[data-node="a1.h2"]').focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator('.mark[data-node="a1.h3"]')).to_be_focused()
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".mark.pinned")).to_have_count(2, timeout=PATIENCE)
    settled(page)
    assert query(page)["pinned"] == "a1.h2,a1.h3"

    # Two nodes become one, under a name that is text.
    box = page.get_by_label("Draw these 2 as one, called")
    box.fill("<b>copying</b>")
    box.press("Enter")
    expect(page.locator('.mark.group[data-node="<b>copying</b>"]')).to_be_visible(timeout=PATIENCE)
    settled(page)
    assert json.loads(query(page)["groups"]) == {"<b>copying</b>": ["a1.h2", "a1.h3"]}
    assert not {"a1.h2", "a1.h3"} & marks(page)

    # The drawing as a file stands for itself.
    with page.expect_download() as download:
        page.get_by_role("button", name="Save this drawing as SVG").click()
    download.value.save_as(path := tmp_path / "circuit.svg")
    text = path.read_text()
    tree = ElementTree.fromstring(text)
    paths = [one for one in tree.iter("{http://www.w3.org/2000/svg}path")]
    assert len(paths) == int(page.locator(".root[data-edges]").get_attribute("data-edges") or 0) > 0
    assert "var(" not in text and all(one.get("stroke", "").startswith(("rgb", "color")) for one in paths)

    # The link opens the same view elsewhere.
    other = drawn(opened(window(), page.url))
    assert marks(other) == marks(page) and query(other) == query(page)


def test_a_saved_graph_comes_back_with_its_names(visit, found, tmp_path):
    page = ran(visit("circuit", **ASKED, size="16", names='{"a1.h2":"copies"}', below="save"))
    with page.expect_download() as download:
        page.get_by_role("button", name="This circuit as a graph").click()
    download.value.save_as(graph := tmp_path / "graph.json")
    with page.expect_download() as download:
        page.get_by_role("button", name="Result: all scores").click()
    download.value.save_as(result := tmp_path / "result.safetensors")
    for path in (graph, result):
        other = visit("circuit")
        open_file(other, path)
        expect(other.get_by_text(path.name)).to_be_visible(timeout=PATIENCE)
        drawn(other)
        if path == graph:
            sees(other, found.circuit(16))
        expect(other.locator('.mark[data-node="a1.h2"] .label')).to_have_text("copies")
        other.get_by_role("button", name="Close the file").click()
        expect(other.get_by_text("Choose a task above")).to_be_visible(timeout=PATIENCE)


def test_files_that_do_not_fit_are_sentences(visit, tmp_path):
    page = visit("circuit")
    (path := tmp_path / "damaged.json").write_text('{"format": "workbench-circuit"')
    open_file(page, path)
    expect(page.get_by_text("damaged.json").last).to_be_visible(timeout=PATIENCE)
    expect(page.locator('[data-testid="stAlertContentError"]')).to_have_count(1)
    page = visit("circuit")
    graph = workbench.circuit_graph(n_layers=12, n_heads=12)
    graph.with_(kept=graph.exists).save(path := tmp_path / "gpt2.json")
    open_file(page, path)
    expect(page.get_by_text("12 layers, not 2")).to_be_visible(timeout=PATIENCE)


def test_two_circuits_in_three_colours(visit, found):
    page = ran(visit("circuit", **ASKED, size="16", below="compare", against="induction|weights"))
    other = workbench.circuit(workbench.load("micro"), **{"task": "induction", "examples": 8, "method": "weights"})
    one, two = (set(result.circuit(16).kept_edges()) for result in (found, other))
    for side, names in enumerate((one & two, one - two, two - one)):
        expect(page.locator(f".edge.side{side}")).to_have_count(len(names), timeout=PATIENCE)
    expect(page.get_by_text(f"Jaccard {len(one & two) / len(one | two):.2f}")).to_be_visible()
    page.get_by_role("button", name="Stop comparing").click()
    expect(page.locator(".edge.side0")).to_have_count(0, timeout=PATIENCE)
    settled(page)
    assert "against" not in query(page)
