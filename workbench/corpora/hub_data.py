"""Data sets on a Hugging Face hub: their parquet files, through the user's own hub cache. None of their code is run.

What files a data set has is asked once and kept, so that the same rows are found later, also without a network.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.corpora import fetching, parquet
from workbench.corpora.form import Corpus
from workbench.errors import BadInput, Unavailable
from workbench.models.sources import hub

CONVERTED = "refs/convert/parquet"
"""The branch on which the hub keeps parquet files of data sets that have none of their own."""
MOST = 2_000_000_000  # bytes that one corpus may fetch
_NAME = r"[\w.-]+"
_SOURCE = re.compile(
    rf"hf:(?P<repo>{_NAME}/{_NAME})(?:/(?P<config>{_NAME}))?(?:/(?P<split>{_NAME}))?(?::(?P<column>.+))?"
)
_SHARD = re.compile(r"(?P<split>.+?)-\d+-of-\d+(?:-\w+)?")
_SPLITS = {"train", "test", "validation", "valid", "val", "dev"}


@dataclass(frozen=True)
class DataFile:
    """One parquet file of a data set."""

    name: str
    size: int
    config: str
    split: str


def hub_data(source: str, reads: str, limit: int | None, seed: int) -> Corpus:
    """The corpus of "hf:OWNER/NAME[/CONFIG[/SPLIT]][:COLUMN]"; labels are groups."""
    asked = _SOURCE.fullmatch(source)
    if asked is None:
        raise BadInput(
            f"{source!r} names no data set: write hf:OWNER/NAME, hf:OWNER/NAME/CONFIG or hf:OWNER/NAME:COLUMN."
        )
    repo = asked["repo"]
    commit, files = _listed(repo)
    config = _one_of("configuration", asked["config"], [f.config for f in files], "default", repo)
    files = [f for f in files if f.config == config]
    split = _one_of("split", asked["split"], [f.split for f in files], "train", repo)
    files = [f for f in files if f.split == split]
    corpus, count = parquet.read(_paths(repo, commit, files, limit), reads, asked["column"], limit, seed, repo)
    first = f"Drawn from the first {count} of {len(files)} files." if count < len(files) else ""
    what = f"{config}, {split}." if (config, split) != ("default", "train") else ""
    return replace(corpus, name=source.removeprefix("hf:"), note=" ".join(filter(None, [what, first, corpus.note])))


def _listed(repo: str) -> tuple[str, list[DataFile]]:
    endpoint = os.environ.get("HF_ENDPOINT", "")
    digest = hashlib.sha256(f"{endpoint} {repo}".encode()).hexdigest()[:8]

    def make(_scratch: Path, out: Path) -> dict[str, Any]:
        commit, sizes = _ask(repo)
        text = json.dumps({"commit": commit, "sizes": sizes})
        (out / "files.json").write_text(text, encoding="utf-8")
        return {"dataset": repo, "commit": commit}

    skipped = "HF_HUB_OFFLINE" if hub.is_offline() else None
    key = f"dataset-{repo.replace('/', '--')}-{digest}"
    folder = fetching.kept(key, f"hf:{repo}", f"hub {repo}", make, skipped=skipped)
    found = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    return found["commit"], sorted(
        (DataFile(name, size, *_place(name)) for name, size in found["sizes"].items()), key=lambda f: f.name
    )


def _ask(repo: str) -> tuple[str, dict[str, int]]:
    """(commit, parquet file to size), from the data set's own files or from those that the hub has converted."""
    for revision in (None, CONVERTED):
        info = hub.asked(
            repo,
            lambda api, revision=revision: api.dataset_info(
                repo, revision=revision, timeout=hub.TIMEOUT, files_metadata=True
            ),
            what="dataset",
        )
        sizes = {s.rfilename: s.size or 0 for s in info.siblings or () if s.rfilename.endswith(".parquet")}
        if sizes:
            return info.sha, sizes
    raise Unavailable(f"{repo} has no parquet files, of its own or converted by the hub")


def _place(name: str) -> tuple[str, str]:
    """(configuration, split) of a file: "main/test/0000.parquet", "main/test-00000-of-00002.parquet"."""
    *folders, last = Path(name).with_suffix("").parts
    split = "train"
    if match := _SHARD.fullmatch(last):
        split = match["split"]
    elif last in _SPLITS:
        split = last
    elif folders and (re.fullmatch(r"\d{4}", last) or folders[-1] in _SPLITS):
        split = folders.pop()
    folders = [folder for folder in folders if folder != "data"]
    return "/".join(folders) or "default", split.removeprefix("partial-")


def _one_of(what: str, wanted: str | None, known: Sequence[str], usual: str, repo: str) -> str:
    known = list(dict.fromkeys(known))
    if wanted is None:
        return usual if usual in known else known[0]
    if wanted not in known:
        raise BadInput(f"{repo} has no {what} {wanted!r}; it has {', '.join(known)}.")
    return wanted


def _paths(repo: str, commit: str, files: Sequence[DataFile], limit: int | None) -> Iterator[Path]:
    """The files on this disk, each fetched only when it is asked for."""
    done, total = 0, sum(f.size for f in files)
    if limit is None and total > MOST:
        raise BadInput(f"{repo} is {total / 1e9:.1f} GB: say how many inputs to draw, with limit.")
    for file in files:
        if done + file.size > MOST:
            raise BadInput(f"{repo} would need more than {MOST / 1e9:.0f} GB for this: ask for fewer inputs.")
        yield _path(repo, commit, file, done, total if limit is None else done + file.size)
        done += file.size


def _path(repo: str, commit: str, file: DataFile, done: int, total: int) -> Path:
    from huggingface_hub import try_to_load_from_cache

    if hub.is_offline():
        found = try_to_load_from_cache(repo, file.name, cache_dir=hub.cache_dir(), revision=commit, repo_type="dataset")
        if not isinstance(found, str):
            raise Unavailable(
                f"The file {file.name} of {repo} is not on this disk, and no hub may be asked: unset WORKBENCH_OFFLINE "
                "and HF_HUB_OFFLINE, or use 'example', which is built in."
            )
        return Path(found)
    try:
        return Path(
            hub.asked(
                repo,
                lambda api: hub.downloaded(api, repo, file.name, commit, done, total, what="dataset"),
                what="dataset",
            )
        )
    except Unavailable as error:
        raise Unavailable(
            f"The file {file.name} of the data set {repo} could not be had: {str(error).rstrip('.')}. To go on, check "
            "the network connection, give a file, a folder or a list, or use 'example', which is built in."
        ) from error
