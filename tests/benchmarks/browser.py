"""What the browser receives and how long it waits: the app on the default model, driven in Chromium."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, Request

from tests.benchmarks.harness import Measured, bench
from tests.browser.driving import PATIENCE, App, chromium, opened, running, settled

MODEL = "smollm2-135m"
TEXT = (
    "The lighthouse stood at the end of the long stone pier, and every evening the keeper climbed its narrow stairs to "
    "light the lamp. Ships passed far out on the dark water, carrying grain and timber, letters and strangers. "
)

# Notes, in the page itself, when the progress bar says that the forward pass is over and when the grid is drawn.
WATCH = """() => {
  window.seen = {};
  const look = () => {
    const now = performance.now();
    const text = document.querySelector('[data-testid="stProgress"]')?.innerText ?? "";
    if (text.includes("scores")) window.seen.scores ??= now;
    if (text.includes("layers")) window.seen.layers = now;
    const grids = [...document.querySelectorAll("*")].filter(n => n.shadowRoot?.querySelector("[data-head]"));
    if (grids.length) window.seen.grid ??= now;
    else requestAnimationFrame(look);
  };
  look();
}"""
# Clicks a link of the menu and gives the milliseconds until the page is drawn and the app is idle.
SWITCH = """([name, heading]) => new Promise((resolve) => {
  const link = [...document.querySelectorAll('[data-testid="stSidebarNavLink"]')]
    .find(a => new URL(a.href).pathname.endsWith("/" + name));
  const start = performance.now();
  link.click();
  const look = () => {
    const app = document.querySelector('[data-testid="stApp"]');
    const title = document.querySelector('[data-testid="stHeading"]')?.innerText ?? "";
    const ready = [...document.querySelectorAll("*")].some(n => n.shadowRoot?.querySelector("[data-head], .cell"));
    const stale = document.querySelector('[data-stale="true"]');
    const idle = app.dataset.testScriptState === "notRunning" && !stale;
    if (idle && ready && title.includes(heading)) resolve(performance.now() - start);
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""


def prompt_of(tokens: int) -> str:
    """A text that the default model reads as exactly `tokens` tokens."""
    import workbench

    model = workbench.load(MODEL)
    ids = model.encode(TEXT * (tokens // 20 + 2))["input_ids"][0, :tokens]
    text = model.processor.decode(ids)
    found = model.encode(text)["input_ids"].shape[1]
    if found != tokens:
        raise RuntimeError(f"The prompt has {found} tokens, not {tokens}.")
    return text


@contextmanager
def visiting() -> Iterator[tuple[App, Page]]:
    """The app and a window of it, with the default model in memory."""
    with running() as app, chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        opened(page, app.url("lens", model=MODEL, prompt="A short prompt"))
        yield app, page


@bench("head grid at 128 tokens", at_most=300, unit="kB received")
def grid_bytes() -> Measured:
    """All data over websocket and HTTP, from the click in the menu until the overview is drawn, table and all."""
    text = prompt_of(128)
    with running() as app, chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        received = {"data": 0, "program": 0}

        def frame(data: str | bytes) -> None:
            received["data"] += len(data)

        def body(request: Request) -> None:
            part = "program" if "/static/" in request.url else "data"
            received[part] += max(request.sizes()["responseBodySize"], 0)

        page.on("websocket", lambda socket: socket.on("framereceived", frame))
        page.on("requestfinished", body)
        opened(page, app.url("", model=MODEL, prompt=text))
        page.wait_for_timeout(500)
        received.update(data=0, program=0)
        page.get_by_role("link", name="Attention overview").click()
        page.wait_for_selector('[data-head="29.8"]', timeout=PATIENCE)
        settled(page)
        note = f"30 layers, 9 heads. Besides, once: {received['program'] / 1000:.0f} kB of Streamlit's own program."
        return Measured(received["data"] / 1000, note)


@bench("overview at 512 tokens, after the forward pass", at_most=3, unit="s")
def overview_after_forward() -> Measured:
    """In the browser: from the end of the forward pass, as the progress bar tells, until the grid is in the page."""
    text = prompt_of(512)
    with visiting() as (app, page):
        page.add_init_script(f"addEventListener('DOMContentLoaded', {WATCH})")
        page.goto(app.url("overview", model=MODEL, prompt=text))
        page.wait_for_selector('[data-head="29.8"]', timeout=PATIENCE)
        seen = settled(page).evaluate("window.seen")
    start = seen.get("scores", seen.get("layers"))
    if start is None:
        raise RuntimeError("No progress was seen: the forward pass ended before the bar was shown.")
    note = "" if "scores" in seen else "Counted from the last layer seen."
    return Measured((seen["grid"] - start) / 1000, note)


@bench("warm page switch", at_most=0.5, unit="s")
def page_switch() -> Measured:
    """In the browser: from the click in the menu until the page is drawn and the app idle; median of twelve."""
    with visiting() as (app, page):
        opened(page, app.url("overview", model=MODEL, prompt="When Mary and John went to the store, John gave a drink"))
        pages = (("lens", "Logit lens"), ("overview", "Attention overview"))
        for one in pages * 2:
            page.evaluate(SWITCH, one)
            settled(page)
        times = []
        for one in pages * 6:
            times.append(page.evaluate(SWITCH, one) / 1000)
            settled(page)
    return Measured(statistics.median(times), f"{min(times):.2f} to {max(times):.2f} s.")
