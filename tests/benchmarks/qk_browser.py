"""One head's queries and keys in the browser at 20,000 points: how long until a hover, a lasso or a colour is seen."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from tests.benchmarks.harness import Measured, bench
from tests.browser.driving import PATIENCE, chromium, opened, running, settled

MODEL = "micro"  # its letters give many points at little cost: what is measured is the browser's work
LINES, LETTERS = 100, 99  # one token a letter and one at the start of each line: 10,000 rows, 20,000 points

# Does each thing some times, from the event until the second frame after it: then it has been drawn.
WORK = """async (rounds) => {
  const host = [...document.querySelectorAll("*")].find((node) => node.shadowRoot?.querySelector("canvas.over"));
  const root = host.shadowRoot.querySelector(".root"), over = root.querySelector("canvas.over");
  const box = over.getBoundingClientRect(), w = box.width, h = box.height;
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const hand = (kind, x, y) => {
    const [clientX, clientY] = [box.left + x, box.top + y];
    over.dispatchEvent(new PointerEvent(kind, { clientX, clientY, pointerId: 1, bubbles: true }));
  };
  over.setPointerCapture = () => {};
  const timed = async (work) => {
    const start = performance.now();
    work();
    await frame();
    return performance.now() - start;
  };
  const found = { hover: [], lasso: [], colour: [] };
  const select = root.querySelector("select"), names = [...select.options].map((one) => one.value);
  for (let k = 0; k < rounds; k++) {
    await frame();
    const part = k / rounds;
    found.hover.push(await timed(() => hand("pointermove", w * (0.3 + 0.4 * part), h * (0.35 + 0.3 * part))));
    hand("pointerdown", w * 0.5 + 90, h * 0.5);
    for (let a = 0; a < 6.28; a += 0.15) {
      hand("pointermove", w * 0.5 + (60 + 5 * k) * Math.cos(a), h * 0.5 + 80 * Math.sin(a));
    }
    found.lasso.push(await timed(() => hand("pointerup", w * 0.5 + 90, h * 0.5)));
    select.value = names[(k + 1) % names.length];
    found.colour.push(await timed(() => select.onchange()));
  }
  return { ...found, shown: Number(root.dataset.shown), lit: Number(root.dataset.lit) };
}"""
# From the choice of a colour until the app has answered and is idle.
ANSWER = """(name) => new Promise((resolve) => {
  const host = [...document.querySelectorAll("*")].find((node) => node.shadowRoot?.querySelector("canvas.over"));
  const select = host.shadowRoot.querySelector("select"), app = document.querySelector('[data-testid="stApp"]');
  const start = performance.now();
  let ran = false;
  select.value = name;
  select.onchange();
  const look = () => {
    ran ||= app.dataset.testScriptState === "running";
    const answered = new URL(location.href).searchParams.get("colour") === name;
    const stale = document.querySelector('[data-stale="true"]');
    if (ran && answered && !stale && app.dataset.testScriptState === "notRunning") resolve(performance.now() - start);
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


@contextmanager
def drawn() -> Iterator[Page]:
    """The page with 20,000 points, at rest."""
    words = (
        "the sea takes what the wind brings and the sand keeps what is left of both when all the rest has gone away so"
    )
    with tempfile.TemporaryDirectory() as folder, running() as app, chromium() as browser:
        lines = ["".join(words[(i * 7 + j) % len(words)] for j in range(LETTERS)).strip() for i in range(LINES)]
        (path := Path(folder) / "lines.txt").write_text("\n".join(line.ljust(LETTERS, "e") for line in lines))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        opened(page, app.url("qk_head", model=MODEL, texts=str(path), points="10000", layer="1", head="2"))
        page.wait_for_selector(".root[data-shown]", timeout=PATIENCE)
        yield settled(page)


@bench("QK head at 20,000 points: hover, lasso, colour", at_most=1, unit="s until drawn")
def redrawn() -> Measured:
    """In the browser, the slowest of the three by its median: from the event to the second frame after it."""
    with drawn() as page:
        found = page.evaluate(WORK, 12)
    if found["shown"] != 20_000 or not 0 < found["lit"] < 20_000:
        raise RuntimeError(f"{found['shown']} points are shown and {found['lit']} selected.")
    medians = {name: statistics.median(found[name]) / 1000 for name in ("hover", "lasso", "colour")}
    each = ", ".join(
        f"{name} {1000 * value:.0f} ms (at most {max(found[name]):.0f})" for name, value in medians.items()
    )
    return Measured(max(medians.values()), f"{each}; two frames are {1000 / 30:.0f} ms.")


@bench("QK head at 20,000 points: a colour, answered", at_most=1, unit="s until idle")
def answered() -> Measured:
    """In the browser: from the choice until the server has it in the address and the app is idle; median of 8."""
    with drawn() as page:
        times = [page.evaluate(ANSWER, name) / 1000 for name in ("position", "norm", "token", "position mod") * 2]
    return Measured(statistics.median(times), f"{min(times):.2f} to {max(times):.2f} s.")
