"""The photographs of scikit-image, against a wheel made here in pip's place."""

import hashlib
import io
import zipfile
from dataclasses import replace

import pytest
from PIL import Image

import workbench
from workbench.corpora import photographs
from workbench.corpora.photographs import GROUP_OF, GROUPS, SOURCE
from workbench.errors import Unavailable
from workbench.models.sources import package


@pytest.fixture
def wheel(monkeypatch, tmp_path) -> list:
    """A wheel with those pictures and others, and with which options pip was asked for it."""
    out, asked = io.BytesIO(), []
    with zipfile.ZipFile(out, "w") as file:
        for i, name in enumerate([*SOURCE.members, "skimage/data/logo.png", "skimage/__init__.py"]):
            picture = io.BytesIO()
            Image.new("RGB", (4, 4), (i, i, i)).save(picture, "png")
            file.writestr(name, picture.getvalue())
    data = out.getvalue()

    def download(source, scratch, which=()):
        asked.append(which)
        (scratch / "x.whl").write_bytes(data)
        return scratch / "x.whl"

    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBENCH_OFFLINE", raising=False)
    monkeypatch.setattr(package, "download", download)
    monkeypatch.setattr(photographs, "SOURCE", replace(SOURCE, sha256=hashlib.sha256(data).hexdigest()))
    return asked


def test_the_photographs_are_paths_with_their_subjects(wheel, monkeypatch):
    made = workbench.corpus("scikit-image", reads="image")
    assert len(made) == 20 and [path.name for path in made.inputs] == sorted(GROUP_OF)
    assert sum(len(names.split()) for names in GROUPS.values()) == 20  # none in two groups
    assert all(GROUPS[group].split().count(path.name) for path, group in zip(made.inputs, made.groups, strict=True))
    assert sorted(path.name for path in made.inputs[0].parent.iterdir()) == sorted([*GROUP_OF, "complete.json"])
    assert len(wheel) == 1 and any("platform" in option for option in wheel[0])  # one wheel for every machine
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    assert workbench.corpus("scikit-image", reads="image").digest == made.digest
    assert len(wheel) == 1
    assert len(workbench.corpus("scikit-image", reads="image", limit=6, seed=9)) == 6


def test_another_wheel_is_refused(wheel, monkeypatch):
    monkeypatch.setattr(photographs, "SOURCE", SOURCE)
    with pytest.raises(Unavailable, match="The corpus scikit-image could not be had.*sha256.*'example'"):
        workbench.corpus("scikit-image", reads="image")


def test_offline_pip_is_not_asked(wheel, monkeypatch):
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    with pytest.raises(Unavailable, match=r"package scikit-image==0\.25\.2: skipped, WORKBENCH_OFFLINE is set"):
        workbench.corpus("scikit-image", reads="image")
    assert wheel == []
