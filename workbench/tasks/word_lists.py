"""Names, places, nouns and facts that the tasks are made of, each list in a file of its own."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def words(name: str) -> dict[str, Any]:
    """The lists of one file, such as "names"."""
    return json.loads(files("workbench.tasks").joinpath(f"words/{name}.json").read_text(encoding="utf-8"))
