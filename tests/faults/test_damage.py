"""Bytes of a store changed, cut or lost: only our own errors come out, or the data as they were; and it is mended."""

import random
from itertools import product

import pytest
import torch

from workbench import ActivationStore, BadFile, WorkbenchError
from workbench.capture import capture
from workbench.store.manifest import NAME
from workbench.testing import tiny_model

TEXTS = ["abc", "x", "hello", "ab"]
SITES = ["blocks.1.resid_post", "blocks.0.attn.pattern"]
SHARD = "000001.safetensors"


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2")


@pytest.fixture
def store(model, tmp_path):
    return capture(model, TEXTS, SITES, batch_size=2, store=tmp_path / "store")


def everything(folder):
    store = ActivationStore(folder)
    rows = store.rows()
    return [store.site(SITES[0]), *store.site(SITES[1]), rows.table, rows.label]


def same(found, want):
    return all(torch.equal(f, w) if isinstance(f, torch.Tensor) else f == w for f, w in zip(found, want, strict=True))


def damaged(data, how, generator):
    at = generator.randrange(len(data))
    if how == "cut":
        return data[:at]
    if how == "longer":
        return data + generator.randbytes(1 + at % 16)
    if how == "zeros":
        return data[:at] + bytes(min(8, len(data) - at)) + data[at + 8 :]
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


@pytest.mark.parametrize(("name", "how"), list(product([SHARD, NAME], ["flip", "zeros", "cut", "longer"])))
def test_damaged_bytes_never_pass_as_data(store, name, how):
    path, want = store.folder / name, everything(store.folder)
    whole, generator, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300 if how == "flip" else 60):
        path.write_bytes(damaged(whole, how, generator))
        try:
            assert same(everything(store.folder), want)
        except WorkbenchError as error:
            assert isinstance(error, BadFile) and name in str(error)
            refused += 1
    assert refused > 0
    path.write_bytes(whole)
    assert same(everything(store.folder), want)


def test_every_bit_of_a_header_is_guarded(store):
    path = store.folder / SHARD
    whole = path.read_bytes()
    for at in range(8 + int.from_bytes(whole[:8], "little")):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(BadFile, match="header is damaged"):
            everything(store.folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "[" * 100_000, '{"sha256": 1, "format": NaN}', "9" * 5000, "\x00", "\udc80"]
)
def test_what_is_no_manifest_is_said_to_be_none(model, store, text):
    (store.folder / NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
    for use in (
        lambda: ActivationStore(store.folder),
        lambda: capture(model, TEXTS, SITES, batch_size=2, store=store.folder),
    ):
        with pytest.raises(BadFile, match=r"manifest\.json is damaged.*capture again"):
            use()


@pytest.mark.parametrize("how", ["flip", "zeros", "cut", "longer", "lost", "swapped"])
def test_a_bad_shard_is_found_and_made_anew(model, store, how):
    before = {p.name: p.read_bytes() for p in store.folder.iterdir() if p.suffix}
    path = store.folder / SHARD
    if how == "lost":
        path.unlink()
    elif how == "swapped":
        path.write_bytes((store.folder / "000000.safetensors").read_bytes())
    else:
        path.write_bytes(damaged(path.read_bytes(), how, random.Random(5)))
    good = (store.folder / "000000.safetensors").stat().st_mtime_ns
    (problem,) = ActivationStore(store.folder).verify()
    assert SHARD in problem
    mended = capture(model, TEXTS, SITES, batch_size=2, store=store.folder)
    assert mended.verify() == () and mended.complete
    assert {p.name: p.read_bytes() for p in store.folder.iterdir() if p.suffix} == before
    assert (store.folder / "000000.safetensors").stat().st_mtime_ns == good


def test_a_shard_of_another_store_does_not_pass(model, store, tmp_path):
    other = capture(model, [*TEXTS[:3], "cd"], SITES, batch_size=2, store=tmp_path / "other")
    (store.folder / SHARD).write_bytes((other.folder / SHARD).read_bytes())
    assert ActivationStore(store.folder).verify() != ()
