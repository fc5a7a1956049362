"""How the tests and benchmarks drive the app: start it, open it in Chromium, wait until it has nothing left to do."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from workbench.cli.app import command

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 120_000  # milliseconds; machines that build and test at once are slow
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"][data-test-connection-state="CONNECTED"]'


@dataclass(frozen=True)
class App:
    """The app, running for the tests."""

    port: int
    pid: int

    def url(self, page: str = "", **values: str) -> str:
        """The address of a page that looks at the micro model unless told otherwise."""
        return f"http://127.0.0.1:{self.port}/{page}?{urlencode({'model': 'micro', **values})}"


@contextmanager
def running() -> Iterator[App]:
    """The app on a free port, as `workbench app` starts it, from a folder that is not the checkout."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(command(port), stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if server.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"The app ended at once:\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield App(port, server.pid)
        finally:
            server.terminate()
            server.wait(20)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; where there is none, the error says what to install."""
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if path is None:
        raise RuntimeError("There is no Chromium: install it (apt-get install chromium) to run the browser tests.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def settled(page: Page) -> Page:
    """`page`, when the app has drawn what it was asked for."""
    page.wait_for_selector(IDLE, state="attached", timeout=PATIENCE)
    page.wait_for_timeout(250)  # a rerun that a component asks for starts a moment after the first drawing
    page.wait_for_selector(IDLE, state="attached", timeout=PATIENCE)
    return page


def opened(page: Page, url: str) -> Page:
    """`page` at `url`, drawn to the end."""
    page.goto(url)
    page.wait_for_selector('[data-testid="stHeading"]', timeout=PATIENCE)
    return settled(page)


def errors(page: Page) -> list[str]:
    """The sentences of all error boxes."""
    return page.locator('[data-testid="stAlertContentError"], [data-testid="stException"]').all_inner_texts()
