"""`load` turns a name into a model: a catalogue name, a hub id, a local folder, or a tiny model of a family."""

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadInput, Stopped, UnknownName, WorkbenchError
from workbench.models.catalogue import CATALOGUE, DEFAULT, BundledSource

if TYPE_CHECKING:
    import torch

    from workbench.models.lens_model import LensModel
    from workbench.models.sources import Fetched

TINY, HUB = "tiny:", "hf:"


def load(
    name: str | PathLike[str] = DEFAULT,
    *,
    revision: str | None = None,
    checkpoint: int | str | None = None,
    dtype: "str | torch.dtype" = "float32",
    device: "str | torch.device" = "cpu",
    trust_remote_code: bool = False,
    source: str | None = None,
) -> "LensModel":
    """A model ready to be looked into.

    `name` is a catalogue name (`workbench models`), a Hugging Face id (`org/name`, or `hf:gpt2` where there is no
    slash), a local folder (a `Path` always is one), or `tiny:FAMILY`, a small random model. `revision` is a branch, tag
    or commit on the hub. `checkpoint` is a training checkpoint: an int counts them (0 the first, -1 the last), a text
    chooses by value ("step1000" or "1000"); `checkpoints(name)` lists them. Of a folder that holds checkpoints and no
    model of its own the last is opened, and `model.name` and `model.info` say so. `dtype` is float32, float16,
    bfloat16, float64 or auto (as stored), or torch's own; `device` is cpu, cuda, mps or auto. `source` ("hub",
    "package") insists on one source of the catalogue.
    Raises `UnknownName`, `Unavailable`, `BadFile`, `BadWeights` or `UnsupportedModel`.
    """
    name, dtype = _text(name), str(dtype).removeprefix("torch.")
    target = _device(str(device))
    if name.startswith(TINY):
        _refuse(name, revision=revision, checkpoint=checkpoint, source=source)
        return _tiny(name.removeprefix(TINY), dtype, target)
    if name in CATALOGUE and _is_bundled(name):
        _refuse(name, revision=revision, checkpoint=checkpoint)
        return _bundled(name, dtype, target)
    fetched = _folder(name, revision, checkpoint, trust_remote_code, source)
    return _from_folder(name, fetched, dtype, target, trust_remote_code)


def _text(name: object) -> str:
    """A name as text; a path becomes one that cannot be taken for an id on the hub."""
    if isinstance(name, PathLike) and isinstance(path := name.__fspath__(), str):
        return str(Path(path).expanduser().absolute())
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"A model is named by a text or a folder's path, such as load({DEFAULT!r}), not {name!r}.")
    return name


def load_or_micro(name: str | PathLike[str] = DEFAULT, **options: Any) -> "tuple[LensModel, str | None]":
    """`load(name, **options)`, or the model that needs no download and a sentence saying why."""
    try:
        return load(name, **options), None
    except Stopped:
        raise
    except WorkbenchError as error:
        return load("micro"), f"Showing the model 'micro' instead of {name!r}: {error}"


def checkpoints(name: str | PathLike[str]) -> Mapping[int, str]:
    """The training checkpoints of a hub model or a local folder: step to revision or subfolder, in order.

    They are the branches and tags named like `step1000`, or the subfolders named like `checkpoint-1000`.
    """
    from workbench.models.sources import hub

    kind, where = _resolved(_text(name))
    if kind == "folder":
        return _steps_in(where)
    return hub.steps(where)


def _steps_in(folder: str) -> Mapping[int, str]:
    """The subfolders of a folder that are training checkpoints."""
    from workbench.models.sources import hub

    path = Path(folder)
    inside = path.iterdir() if path.is_dir() else ()
    return hub.numbered(one.name for one in inside if (one / "config.json").exists())


def _resolved(name: str) -> tuple[str, str]:
    """What a name means: ("catalogue" | "folder" | "hub", the rest)."""
    if name.startswith(HUB):
        return "hub", name.removeprefix(HUB)
    if name in CATALOGUE:
        hubs = [place.id for place in CATALOGUE[name].sources if place.kind == "hub"]
        return "catalogue", hubs[0] if hubs else name
    path = Path(name).expanduser()
    if path.is_dir() or name.startswith(("/", "./", "../", "~")):
        return "folder", str(path)
    if name.count("/") == 1 and all(name.split("/")):
        return "hub", name
    error = UnknownName("model", name, CATALOGUE)
    error.args = (f"{error} A model on the hub needs its full id (org/name, or hf:{name}), a folder must exist.",)
    raise error


def _folder(name: str, revision: str | None, checkpoint: int | str | None, code: bool, source: str | None) -> "Fetched":
    from workbench.models.sources import Fetched, fetch_catalogued, fetch_hub

    kind, where = _resolved(name)
    if checkpoint is not None and revision is not None:
        raise BadInput("Give revision= or checkpoint=, not both: a training checkpoint is a revision.")
    chosen = None if checkpoint is None else chosen_checkpoint(name, checkpoint)
    if kind == "folder":
        if revision is not None:
            raise BadInput(f"{where} is a local folder: it has no revision {revision!r}.")
        facts: dict[str, Any] = {}
        if chosen is None and not (Path(where) / "config.json").exists() and (known := _steps_in(where)):
            chosen = list(known.values())[-1]
            facts = {
                "checkpoint": chosen,
                "note": f"The last of {len(known)} checkpoints of a folder.",
            }
        path = Path(where) / (chosen or "")
        return Fetched(path=path, source=f"folder {path.resolve()}", revision=None, facts=facts)
    if kind == "catalogue" and revision is None and chosen is None:
        return fetch_catalogued(CATALOGUE[name], source=source)
    return fetch_hub(where, chosen or revision, code=code)


def chosen_checkpoint(name: str, checkpoint: int | str) -> str:
    """The revision or subfolder of one training checkpoint, by index (int) or value (text)."""
    known = checkpoints(name)
    if not known:
        raise BadInput(f"{name} has no training checkpoints: no branch, tag or folder is named like step1000.")
    listed = ", ".join(f"step{step}" for step in known)
    if isinstance(checkpoint, int):
        if not -len(known) <= checkpoint < len(known):
            raise BadInput(f"{name} has {len(known)} training checkpoints, so no number {checkpoint}: {listed}.")
        return list(known.values())[checkpoint]
    digits = "".join(filter(str.isdigit, checkpoint))
    if not digits or int(digits) not in known:
        raise BadInput(f"{name} has no training checkpoint {checkpoint!r}; it has {listed}.")
    return known[int(digits)]


def _from_folder(name: str, fetched: "Fetched", dtype: str, device: str, trust_remote_code: bool) -> "LensModel":
    from workbench.models.adapters import adapt
    from workbench.models.folder import load_folder

    loaded = load_folder(fetched.path, dtype=dtype, trust_remote_code=trust_remote_code)
    module = loaded.module.to(device)
    info: dict[str, Any] = {"source": fetched.source, "revision": fetched.revision, **fetched.facts}
    if name in CATALOGUE:
        info |= {"licence": CATALOGUE[name].licence, "note": CATALOGUE[name].note}
    info["dtype"] = str(next(module.parameters()).dtype).removeprefix("torch.")
    shown = Path(name).expanduser().name if fetched.source.startswith("folder ") else name.removeprefix(HUB)
    if "checkpoint" in fetched.facts:
        shown = f"{shown} {fetched.facts['checkpoint']}"
    return adapt(module, loaded.processor, name=shown, info=info, untrained=loaded.untrained)


def _is_bundled(name: str) -> bool:
    return isinstance(CATALOGUE[name].sources[0], BundledSource)


def _bundled(name: str, dtype: str, device: str) -> "LensModel":
    from workbench.models.adapters import adapt
    from workbench.models.folder import check_finite

    entry = CATALOGUE[name]
    place = entry.sources[0]
    assert isinstance(place, BundledSource)
    module, processor = getattr(import_module(place.module), place.function)()
    check_finite(module)
    info = {"source": str(place), "licence": entry.licence, "note": entry.note, "dtype": dtype}
    return adapt(_cast(module, dtype, device), processor, entry.family, name=name, info=info)


def _tiny(family: str, dtype: str, device: str) -> "LensModel":
    from workbench.testing import tiny_model

    model = tiny_model(family)
    _cast(model.module, dtype, device)
    return model


def _cast(module: Any, dtype: str, device: str) -> Any:
    from workbench.models.folder import DTYPES

    if dtype not in DTYPES:
        raise BadInput(f"No dtype {dtype!r}; choose from {', '.join(DTYPES)}.")
    return module.to(device) if dtype == "auto" else module.to(device, DTYPES[dtype])


def _device(device: str) -> str:
    import torch

    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name in ("cuda", "mps") if here[name]), "cpu")
    if not here.get(device.split(":")[0]):
        raise BadInput(f"No device {device!r} here; there is {', '.join(name for name in here if here[name])}.")
    return device


def _refuse(name: str, **options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise BadInput(f"{name} takes no {option}=: it does not come from a hub.")
