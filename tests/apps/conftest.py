"""What tests of pages share: the app at any page, without a browser."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

MAIN = Path(__file__).parents[2] / "apps" / "main.py"


@pytest.fixture
def at(monkeypatch, packages_read_once) -> Callable[..., AppTest]:
    """`at(page, **options)` is the app after its first run; the driver has no address bar, so the menu is told."""

    def visit(name: str, **values: str) -> AppTest:
        def choose(pages, **options):
            (page,) = (page for section in pages.values() for page in section if (page.url_path or "start") == name)
            page._can_be_called = True
            return page

        monkeypatch.setattr("streamlit.navigation", choose)
        app = AppTest.from_file(str(MAIN), default_timeout=120)
        for key, value in {"model": "micro", **values}.items():
            app.query_params[key] = value
        return app.run()

    return visit
