"""The pictures of all heads in the browser: what is received, and how long from a kept result until they are seen."""

from functools import lru_cache

from playwright.sync_api import Request

from tests.benchmarks.harness import Measured, bench
from tests.browser.driving import PATIENCE, chromium, opened, running, settled

MODEL, LAST = "smollm2-135m", '[data-head="29.8"]'
HOW = {"model": MODEL, "inputs": "60", "points": "2000"}


@lru_cache(maxsize=1)
def seen() -> tuple[int, int, float]:
    """(bytes of data, bytes of Streamlit's own program, seconds) of a new window on a result that is kept.

    In colours that were not drawn before, so that the pictures are made, too.
    """
    received = {"data": 0, "program": 0}

    def frame(data: str | bytes) -> None:
        received["data"] += len(data)

    def body(request: Request) -> None:
        received["program" if "/static/" in request.url else "data"] += max(request.sizes()["responseBodySize"], 0)

    with running() as app, chromium() as browser:
        first = browser.new_page(viewport={"width": 1400, "height": 900})
        opened(first, app.url("qk_matrix", **HOW))
        first.wait_for_selector(LAST, timeout=4 * PATIENCE)
        first.close()
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("websocket", lambda socket: socket.on("framereceived", frame))
        page.on("requestfinished", body)
        page.goto(app.url("qk_matrix", **HOW, colour="position"))
        page.wait_for_selector(LAST, timeout=PATIENCE)
        waited = page.evaluate("performance.now()") / 1000
        settled(page)
    return received["data"], received["program"], waited


@bench("QK matrix of 270 heads, received", at_most=3, unit="MB")
def matrix_bytes() -> Measured:
    """All data over websocket and HTTP of a new window: pictures, table and all."""
    data, program, _ = seen()
    return Measured(data / 1e6, f"Besides, once: {program / 1e6:.1f} MB of Streamlit's own program.")


@bench("QK matrix of 270 heads, from a kept result", at_most=3, unit="s")
def matrix_time() -> Measured:
    """In the browser: from the start of a new window until the pictures are there, in colours not drawn before."""
    return Measured(seen()[2], "Opening the window and Streamlit's start are in it.")
