"""The default model does the tasks it is known to do."""

import pytest

from workbench.models.loading import load
from workbench.tasks import task

pytestmark = pytest.mark.real


def test_smollm2_does_indirect_objects() -> None:
    found = task("ioi", load("smollm2-135m", source="package"), examples=24)
    assert found.doing is not None and found.doing.why_not == ""
    assert found.doing.accuracy >= 0.75 and found.doing.gap > 2
    assert abs(found.doing.corrupted) < found.doing.gap / 2, "names that come once favour neither answer"
