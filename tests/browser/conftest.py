"""One app and one Chromium for all browser tests; a window of its own for each test."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.driving import App, chromium, opened, running

collect_ignore_glob: list[str] = []


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    with running() as one:
        yield one


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def window(browser) -> Iterator[Callable[[], Page]]:
    """`window()` opens a window that shares nothing with the others; requests to elsewhere fail the test."""
    contexts, strangers = [], []

    def fresh() -> Page:
        context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: strangers.append(request.url) if _elsewhere(request.url) else None)
        page.on("dialog", lambda dialog: (strangers.append(f"dialog {dialog.message}"), dialog.dismiss()))
        return page

    yield fresh
    for context in contexts:
        context.close()
    assert strangers == []


def _elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:", "about:"))


@pytest.fixture
def visit(app, window) -> Callable[..., Page]:
    """`visit(page, **options)` opens a page of the app on the micro model, in a new window."""

    def at(page: str = "", **values: str) -> Page:
        return opened(window(), app.url(page, **values))

    return at
