"""What tests of the mathematics share."""

import jaxtyping
import pytest


@pytest.fixture
def as_installed(monkeypatch):
    """Without the checks of shapes and types that only these tests turn on: what is wrong must be said without them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
