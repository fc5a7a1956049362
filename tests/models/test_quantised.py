"""Quantised models run behind `adapt`; the cases are in `tests/quantised/cases.py`.

torchao and bitsandbytes live in a folder beside the environment (`make` puts them there), because transformers imports
them wherever they are installed, which costs every other start of the workbench seconds and warnings.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(sys.prefix) / "quantised"
CASES = Path(__file__).parents[1] / "quantised" / "cases.py"


@pytest.mark.slow
def test_quantised_models() -> None:
    if not FOLDER.is_dir() and not (find_spec("torchao") and find_spec("bitsandbytes")):
        pytest.fail(
            f"torchao and bitsandbytes are not installed: pip install --no-deps --target {FOLDER} torchao bitsandbytes"
        )
    path = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
