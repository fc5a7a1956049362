"""The notebook of a case study: its code cut into cells, so that the two cannot drift apart. It holds no outputs."""

import ast
import json
from pathlib import Path
from typing import Any

from workbench.errors import BadFile
from workbench.files import write_atomically
from workbench.studies.form import ROOT, Study, study


def notebook(name: str, root: Path = ROOT) -> str:
    """The text of a study's notebook, as `write_notebook` writes it: the same for the same study."""
    found = study(name, root)
    path = found.folder / "study.py"
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadFile(f"{path} cannot be read as Python: {error}.") from error
    cells = [_prose(_opening(found, ast.get_docstring(tree) or "")), *map(_code, _pieces(source, tree))]
    cells += [
        _prose("## What is found"),
        _code("findings = run(Config())"),
        _code(
            "from workbench.studies import study, verdicts\n\n"
            f'claims = study("{found.name}").claims\nfor verdict in verdicts(findings, claims):\n    print(verdict)'
        ),
        _code(
            "from IPython.display import display\n\n"
            "for title, figure in findings.figures.items():\n    print(title)\n    display(figure)"
        ),
        _code("for title, table in findings.tables.items():\n    print(title)\n    display(table)"),
    ]
    written = {
        "cells": [cell | {"id": f"cell-{number}"} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(written, indent=1, ensure_ascii=False) + "\n"


def write_notebook(name: str, path: str | Path | None = None, root: Path = ROOT) -> Path:
    """Write a study's notebook beside it, or to `path`."""
    target = study(name, root).folder / "notebook.ipynb" if path is None else Path(path)
    return write_atomically(target, notebook(name, root))


def _opening(found: Study, docstring: str) -> str:
    claims = "\n".join(f"- {claim.says} `{claim}` ({claim.source})" for claim in found.claims)
    made = f"This notebook is made from `study.py` by `workbench study notebook {found.name}`; change that one."
    return f"# {found.question}\n\n{docstring}\n\n{made}\n\n## What is claimed\n\n{claims}"


def _pieces(source: str, tree: ast.Module) -> list[str]:
    """One piece for what stands before the first definition, then one for each definition; comments stay."""
    lines = source.splitlines()
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    start = tree.body[0].end_lineno or 0 if body is not tree.body else 0
    pieces: list[list[str]] = [[]]
    for node in body:
        end = node.end_lineno or start
        piece = lines[start:end]
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            pieces += [piece, []]
        else:
            pieces[-1] += piece
        start = end
    return [text for piece in pieces if (text := "\n".join(piece).strip())]


def _prose(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }
