"""What all tests share: one copy of each tiny model, and torch on one thread, where tiny models are fastest."""

from functools import cache

import pytest
import torch
from xdist.scheduler import LoadFileScheduling

from workbench.models.lens_model import LensModel
from workbench.testing import FAMILIES, tiny_model

torch.set_num_threads(1)


@cache
def shared_tiny(family: str) -> LensModel:
    """The tiny model of a family, made once for the whole run: tests must leave it as they found it."""
    return tiny_model(family)


@pytest.fixture(scope="session")
def tiny():
    """`tiny("gpt2")` is a tiny random model, shared by the run."""
    return shared_tiny


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    """Each family in turn."""
    return request.param


@pytest.fixture
def model(family, tiny) -> LensModel:
    """The tiny model of each family in turn."""
    return tiny(family)


class ByFile(LoadFileScheduling):
    """A file's tests on one worker, which makes its models once; the longest file in a piece for each analysis."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if not file.endswith("test_every_analysis.py"):
            return file
        return file + test.partition("[")[2].rpartition("-")[0]


def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, as `make test` has it, the scheduler above."""
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
