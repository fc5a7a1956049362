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


@pytest.fixture(scope="session")
def packages_read_once():
    """What Streamlit finds in all installed packages whenever an app starts, which takes longer than most pages."""
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


def piece(nodeid: str) -> str:
    """What is done on one worker: a file, which makes its models once; of the longest two files, less.

    An analysis of the one, whose results are made once; a test of the other, each of which opens a window of its own.
    """
    file, _, test = nodeid.partition("::")
    if file.endswith("/test_every_analysis.py"):
        return file + test.partition("[")[2].rpartition("-")[0]
    return nodeid if file.endswith("/browser/test_pages.py") else file


class ByFile(LoadFileScheduling):
    """Workers take one piece after another."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, as `make test` has it, the scheduler above, which begins with what is collected first."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """Files with slow tests first, divided ones last: workers that begin with what takes long end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (piece(item.nodeid) != item.nodeid.partition("::")[0], item.path not in slow))
