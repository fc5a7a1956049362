"""Models from a Hugging Face hub, through the user's own hub cache, and given up quickly when the hub does not answer.

`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to huggingface_hub. Files
with a sha256 on the hub are checked against it after they arrive; only safetensors are taken when there are any.
"""

import os
import re
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench import progress
from workbench.errors import Stopped, Unavailable
from workbench.models.sources.cache import sha256

TIMEOUT = 4.0  # seconds the hub has to answer the first question
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_STEP = re.compile(r"(?:.*[^0-9A-Za-z])?(?:step|checkpoint)[-_]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Snapshot:
    """The files of one repository at one commit, on this disk."""

    path: Path
    commit: str


def is_offline() -> bool:
    """Whether the user asked that no hub be contacted."""
    named = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "WORKBENCH_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in named)


def cached(repo: str, revision: str | None = None) -> Snapshot | None:
    """The snapshot in the user's hub cache, if it holds a configuration and all its weights."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repo, CONFIG, cache_dir=cache_dir(), revision=revision)
    except (HFValidationError, ValueError):
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return Snapshot(folder, folder.name) if has_weights(folder) else None


def has_weights(folder: Path) -> bool:
    """Whether all weight files that a folder promises are there."""
    import json

    for name in WEIGHTS:
        path = folder / name
        if not path.exists():
            continue
        if not name.endswith(".index.json"):
            return True
        shards = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        return all((folder / shard).exists() for shard in shards)
    return False


def fetch(repo: str, revision: str | None = None, *, code: bool = False) -> Snapshot:
    """Download what is needed to load `repo`, resuming what was begun; `code=True` takes its Python files as well.

    Raises `Unavailable` when the hub does not answer, does not know the model, or sends something damaged.
    """
    info = asked(repo, lambda api: api.model_info(repo, revision=revision, timeout=TIMEOUT, files_metadata=True))
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    names = wanted(sizes, code=code)
    if CONFIG not in names:
        raise Unavailable(f"{repo} has no {CONFIG}: it is not a model that transformers can load")
    if not any(name in names for name in WEIGHTS):
        raise Unavailable(f"{repo} has no weights as safetensors or pytorch_model.bin")
    done, total = 0, sum(sizes[name] for name in names)
    for name in names:
        path = asked(repo, lambda api, name=name, done=done: downloaded(api, repo, name, info.sha, done, total))
        done += sizes[name]
    folder = Path(path).parent
    _remember(repo, revision, info.sha)
    return Snapshot(folder, info.sha)


def wanted(names: Iterable[str], *, code: bool = False) -> list[str]:
    """Which of a repository's files to fetch; the configuration last, so that its presence says that all is there."""
    top = [name for name in names if "/" not in name]
    formats = [".safetensors", ".bin"]
    weights: list[str] = []
    for suffix in formats:
        stem = "model" if suffix == ".safetensors" else "pytorch_model"
        weights = [n for n in top if re.fullmatch(rf"{stem}(-\d+-of-\d+)?{re.escape(suffix)}(\.index\.json)?", n)]
        if weights:
            break
    small = [
        name
        for name in top
        if (name.endswith((".json", ".txt", ".model", ".jinja")) or (code and name.endswith(".py")))
        and not name.endswith(".index.json")
        and name not in {CONFIG, "README.txt"}
    ]
    return [*small, *weights, *([CONFIG] if CONFIG in top else [])]


def steps(repo: str) -> dict[int, str]:
    """The training checkpoints of `repo`: step to revision, from its branches and tags named like `step1000`."""
    if is_offline():
        folder = Path(cache_dir()) / f"models--{repo.replace('/', '--')}" / "refs"
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    else:
        asked(repo, lambda api: api.model_info(repo, timeout=TIMEOUT))  # listing has no time-out of its own
        refs = asked(repo, lambda api: api.list_repo_refs(repo))
        names = [ref.name for ref in (*refs.branches, *refs.tags)]
    return numbered(names)


def numbered(names: Iterable[str]) -> dict[int, str]:
    """Step to name, sorted, for those names that end in `step1000` or `checkpoint-1000`."""
    found = {int(match[1]): name for name in names if (match := _STEP.fullmatch(name))}
    return dict(sorted(found.items()))


def downloaded(
    api: Any, repo: str, name: str, commit: str, done: int, total: int, *, what: Literal["model", "dataset"] = "model"
) -> str:
    """The path of one file, from the user's hub cache or fetched into it; `done` of `total` bytes were there before."""
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        repo,
        name,
        repo_type=what,
        revision=commit,
        cache_dir=cache_dir(),
        endpoint=api.endpoint,
        etag_timeout=TIMEOUT,
        tqdm_class=_reporter(f"downloading {repo}", done, total),
    )
    blob = Path(path).resolve()
    checked = blob.with_name(f".{blob.name}.checked")
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and not checked.exists():  # large files are named by their sha256
        if sha256(blob) != blob.name:
            Path(path).unlink()
            blob.unlink(missing_ok=True)
            raise Unavailable(f"{name} of {repo} arrived damaged (its sha256 differs) and was deleted; try again")
        checked.touch()
    return path


def asked(repo: str, question: Callable[[Any], Any], *, what: Literal["model", "dataset"] = "model") -> Any:
    """Put a question to the hub; whatever goes wrong comes back as one sentence."""
    from huggingface_hub import HfApi, errors as hub_errors

    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        api = HfApi(endpoint=endpoint)
        return question(api)
    except (Stopped, Unavailable):
        raise
    except hub_errors.RevisionNotFoundError as error:
        raise Unavailable(f"{repo} has no such revision") from error
    except hub_errors.GatedRepoError as error:
        raise Unavailable(f"{repo} is gated: accept its terms on the hub and set HF_TOKEN") from error
    except hub_errors.RepositoryNotFoundError as error:
        raise Unavailable(f"the hub has no {what} {repo!r} (or it is private: set HF_TOKEN)") from error
    except Exception as error:  # time-outs, refused connections, bad answers: kinds vary with the HTTP library in use
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "timed out" in first.lower() or "timeout" in type(error).__name__.lower():
            first = f"no answer within {TIMEOUT:g} seconds"
        raise Unavailable(f"{endpoint or 'the hub'}: {first}") from error


def _remember(repo: str, revision: str | None, commit: str) -> None:
    """Note which commit a branch or tag meant, as huggingface_hub does, so that it is found without the hub."""
    revision = revision or "main"
    if revision != commit:
        ref = Path(cache_dir()) / f"models--{repo.replace('/', '--')}" / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit, encoding="utf-8")


def cache_dir() -> str:
    """Where huggingface_hub keeps its files; the environment is read now, not when it was imported."""
    from huggingface_hub import constants

    if chosen := os.environ.get("HF_HUB_CACHE"):
        return chosen
    if home := os.environ.get("HF_HOME"):
        return str(Path(home).expanduser() / "hub")
    return constants.HF_HUB_CACHE


def _reporter(label: str, before: int, total: int) -> type:
    """A progress-bar class for huggingface_hub that reports here and draws nothing."""
    from tqdm import tqdm

    context = copy_context()  # updates may come from another thread

    class Reporter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._done = int(kwargs.get("initial") or 0)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            context.copy().run(progress.report, label, min(before + self._done, total), total)

    return Reporter
