"""`workbench models`, `fetch NAME` and `check NAME`: what there is, getting it, and whether it can be trusted."""

import argparse
from typing import Any

from workbench.cli import load, output, progress
from workbench.errors import UnknownName


def add_to(commands: Any) -> None:
    """Add `models`, `fetch` and `check`."""
    models = commands.add_parser("models", help="name the models", description="Models with a short name, and more.")
    models.set_defaults(handle=_models)
    fetch = commands.add_parser(
        "fetch", help="download a model", description="Download a model now, so that it works offline later."
    )
    fetch.add_argument("name", metavar="NAME", help="a name from `workbench models`, or a Hugging Face id")
    fetch.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    fetch.set_defaults(handle=_fetch)
    check = commands.add_parser(
        "check",
        help="check that a model can be looked into",
        description="Load a model and check every promise the workbench makes about it. Exit code 1 if one fails.",
    )
    check.add_argument("name", metavar="NAME", help=load.NAMES)
    check.add_argument("--thorough", action="store_true", help="really edit every single site, a forward pass each")
    load.add_options(check)
    check.set_defaults(handle=_check)


def _models(_: argparse.Namespace) -> int:
    from workbench.models.catalogue import CATALOGUE

    rows = [
        (e.name, e.family, e.reads, _size(e.n_params), e.licence, " | ".join(str(s) for s in e.sources))
        for e in CATALOGUE.values()
    ]
    print(output.columns(rows, header=("name", "family", "reads", "weights", "licence", "where from, in this order")))
    print("\nAlso: any Hugging Face id, a local folder, and tiny:FAMILY (random weights, no download).")
    return 0


def _size(n_params: int) -> str:
    return f"{n_params / 1e6:.0f}M" if n_params >= 1e6 else f"{n_params / 1e3:.0f}k" if n_params else "?"


def _fetch(arguments: argparse.Namespace) -> int:
    from workbench.models.catalogue import CATALOGUE, BundledSource
    from workbench.models.sources import fetch_catalogued, fetch_hub

    entry = CATALOGUE.get(arguments.name)
    if entry and any(isinstance(source, BundledSource) for source in entry.sources):
        print(f"{entry.name} comes with the workbench; there is nothing to fetch.")
        return 0
    if arguments.name.startswith("tiny:"):
        from workbench.testing import TINY

        if (family := arguments.name.removeprefix("tiny:")) not in TINY:
            raise UnknownName("tiny model", family, TINY)
        print(f"{arguments.name} is made when it is loaded; there is nothing to fetch.")
        return 0
    with progress.shown():
        if entry and arguments.revision is None:
            found = fetch_catalogued(entry)
        elif entry:
            hub = next((s.id for s in entry.sources if s.kind == "hub"), entry.name)
            found = fetch_hub(hub, arguments.revision)
        else:
            found = fetch_hub(arguments.name.removeprefix("hf:"), arguments.revision)
    print(f"{arguments.name} is in {found.path} ({found.source}, revision {found.revision or 'unknown'}).")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from workbench.models.checks import check

    with progress.shown():
        model = load.load(arguments.name, arguments)
        checks = check(model, thorough=arguments.thorough)
    words = {True: "ok", False: "FAILED", None: "-"}
    print(output.columns((words[c.passed], c.name, c.detail) for c in checks))
    return 1 if any(c.passed is False for c in checks) else 0
