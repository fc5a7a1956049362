"""The store holds what memory would, reads only what is asked for, and takes no second writer and no other capture."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from workbench import ActivationStore, BadFile, BadInput, MissingSite, Stopped, reporting
from workbench.capture import capture
from workbench.store.manifest import NAME
from workbench.testing import tiny_model

TEXTS = ["abcab", "x", "hello you", "abc", "abcabcabc", "de"]
SITES = ["blocks.*.resid_post", "blocks.0.attn.q", "blocks.1.attn.pattern"]


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2")


@pytest.fixture(scope="module")
def held(model):
    return capture(model, TEXTS, SITES, batch_size=2)


@pytest.fixture
def store(model, tmp_path):
    return capture(model, TEXTS, SITES, batch_size=2, store=tmp_path / "store")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("by_length", [False, True])
def test_it_holds_what_memory_would(model, tmp_path, by_length):
    options = {"batch_size": 2, "sort_by_length": by_length}
    store, held = (capture(model, TEXTS, SITES, store=s, **options) for s in (tmp_path / "s", None))
    assert store.sites == held.sites and store.complete and store.nbytes == held.nbytes and len(store) == len(held)
    assert store.to_frame().equals(held.to_frame())
    for site in held.sites:
        assert_close(store.site(site), held.site(site), rtol=0, atol=0)
        for number in range(len(TEXTS)):
            assert_close(store.of_input(site, number), held.of_input(site, number), rtol=0, atol=0)
    assert store.verify() == ()


def test_any_slice_is_that_slice(model, tmp_path, held):
    store = capture(model, TEXTS, SITES, batch_size=2, sort_by_length=True, store=tmp_path / "s")
    whole, total = store.site("blocks.0.resid_post"), len(store)
    assert_close(whole, held.site("blocks.0.resid_post"))
    for start in range(total + 1):
        for stop in (start, start + 1, start + 7, total, total + 5):
            assert torch.equal(store.slice("blocks.0.resid_post", start, stop), whole[start:stop])
    assert torch.equal(store.slice("blocks.0.resid_post", -3), whole[-3:])
    assert [p.shape for p in store.slice("blocks.1.attn.pattern", 1, 3)] == [
        p.shape for p in held.site("blocks.1.attn.pattern")[1:3]
    ]


def test_shards_stream_it_all(store, held):
    for site in ("blocks.0.attn.q", "blocks.1.attn.pattern"):
        parts = list(store.shards(site))
        assert len(parts) == 3
        joined = torch.cat(parts) if isinstance(parts[0], torch.Tensor) else tuple(e for part in parts for e in part)
        assert_close(joined, held.site(site), rtol=0, atol=0)


def test_any_safetensors_reader_opens_a_shard(store, held):
    tensors = [load_file(path) for path in sorted(store.folder.glob("*.safetensors"))]
    assert torch.equal(torch.cat([t["blocks.0.attn.q"] for t in tensors]), held.site("blocks.0.attn.q"))
    assert torch.equal(torch.cat([t["rows/input"] for t in tensors])[:, 2], held.rows().token)


def test_smaller_types_come_back_as_they_are(model, tmp_path, held):
    store = capture(model, TEXTS, SITES, batch_size=2, dtype="bfloat16", store=tmp_path / "s")
    for site in ("blocks.0.attn.q", "blocks.1.attn.pattern"):
        want = held.site(site)
        want = want.bfloat16() if isinstance(want, torch.Tensor) else tuple(w.bfloat16() for w in want)
        assert_close(store.site(site), want, rtol=0, atol=0)


def test_opening_reads_the_manifest_alone(store):
    for path in store.folder.glob("*.safetensors"):
        path.unlink()
    again = ActivationStore(store.folder)
    assert again.complete and len(again) == len(store) and "gpt2" in repr(again)
    with pytest.raises(BadFile, match=r"000000\.safetensors: it cannot be read .*verify\(\).*same capture"):
        again.site("blocks.0.resid_post")


def test_a_slice_reads_only_its_own_bytes(store, held):
    """With every other byte of the data destroyed, the slice still comes back whole."""
    path = store.folder / "000000.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:start]))
    row = 16 * 4
    first = start + header["blocks.1.resid_post"]["data_offsets"][0] + 2 * row
    check = start + header["check/blocks.1.resid_post"]["data_offsets"][0] + 2 * 8
    keep = [(first, bytes(data[first : first + 3 * row])), (check, bytes(data[check : check + 3 * 8]))]
    data[start:] = bytes(255 - byte for byte in data[start:])
    for at, piece in keep:
        data[at : at + len(piece)] = piece
    path.write_bytes(data)
    assert torch.equal(store.slice("blocks.1.resid_post", 2, 5), held.site("blocks.1.resid_post")[2:5])
    with pytest.raises(BadFile, match="do not match their checksum"):
        store.slice("blocks.1.resid_post", 2, 6)


def test_running_it_again_writes_nothing(model, store):
    before = {p: p.stat().st_mtime_ns for p in store.folder.iterdir() if p.name != ".lock"}
    ran = []
    with model.module.register_forward_pre_hook(lambda *_: ran.append(1)):
        capture(model, TEXTS, SITES, batch_size=2, store=store.folder)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(ran) == 1  # the look at the shortest input


def test_stopped_in_the_middle_it_is_valid_and_goes_on(model, tmp_path, store):
    folder = tmp_path / "stopped"

    def stop(label, done, total):
        if (label, done) == ("capturing", 2):
            raise Stopped("enough")

    with reporting(stop), pytest.raises(Stopped):
        capture(model, TEXTS, SITES, batch_size=2, store=folder)
    part = ActivationStore(folder)
    assert not part.complete and "2 of 3 batches" in repr(part) and part.verify() == ()
    assert part.inputs == (0, 1, 2, 3)
    assert torch.equal(part.site("blocks.0.attn.q"), store.site("blocks.0.attn.q")[: len(part)])
    assert capture(model, TEXTS, SITES, batch_size=2, store=folder).complete
    assert contents(folder) == contents(store.folder)


def test_another_capture_is_refused_and_the_store_left_alone(model, store):
    before = contents(store.folder)

    def refused(says, model=model, inputs=TEXTS, sites=SITES, **options):
        with pytest.raises(BadInput, match=f"holds another capture; it differs in {says}.*Use a new folder"):
            capture(model, inputs, sites, **{"batch_size": 2, **options}, store=store.folder)

    refused("model .name: 'tiny:gpt2' there, 'tiny:llama' now", model=tiny_model("llama"))
    refused("sites .blocks.0.attn.q: .* there, absent now", sites=SITES[:1] + SITES[2:])
    refused("sites .blocks.0.attn.k: absent there", sites=[*SITES, "blocks.0.attn.k"])
    refused("inputs .count: 6 there, 5 now", inputs=TEXTS[:5])
    refused("inputs .fingerprint", inputs=[*TEXTS[:5], "df"])
    refused("options .batch_size: 2 there, 3 now", batch_size=3)
    refused("options .sort_by_length", sort_by_length=True)
    refused("sites .*bfloat16", dtype="bfloat16")
    refused("sites .*grad", gradients_of=lambda output, batch: output.logits.sum())
    other = tiny_model("gpt2")
    with torch.no_grad():
        other.module.transformer.h[1].mlp.c_fc.weight[0, 0] += 1e-3
    refused("model .weights", model=other)
    assert contents(store.folder) == before


def test_two_writers_at_once_are_refused(model, tmp_path):
    folder, seen = tmp_path / "s", []

    def listen(label, done, total):
        if (label, done) == ("capturing", 1):
            with reporting(None), pytest.raises(BadInput, match="being written by another capture"):
                capture(model, TEXTS, SITES, batch_size=2, store=folder)
            seen.append(done)

    with reporting(listen):
        assert capture(model, TEXTS, SITES, batch_size=2, store=folder).verify() == ()
    assert seen == [1]


def test_foreign_folders_are_left_alone(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(BadInput, match=r"holds other files \(thesis\.tex"):
        capture(model, TEXTS, SITES, store=tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        capture(model, TEXTS, SITES, store=tmp_path / "thesis.tex")
    assert contents(tmp_path) == {"thesis.tex": b"important"}
    with pytest.raises(BadFile, match=r"not an activation store.*workbench\.capture"):
        ActivationStore(tmp_path)


def test_what_is_not_there_is_said(store):
    with pytest.raises(MissingSite, match=r"holds .*blocks\.0\.resid_post.*not 'embed'"):
        store.site("embed")
    with pytest.raises(BadInput, match="holds 6 inputs, and number 6"):
        store.of_input("blocks.0.resid_post", 6)
    with pytest.raises(BadInput, match="has rows of input, not of 'target'"):
        store.rows("target")


def test_the_manifest_says_what_was_captured(store):
    manifest = json.loads((store.folder / NAME).read_text())
    assert manifest["model"]["name"] == "tiny:gpt2" and len(manifest["model"]["weights"]) == 64
    assert manifest["options"]["batch_size"] == 2 and {"torch", "transformers"} <= set(manifest["versions"])
    assert [c["shape"] for c in manifest["sites"] if c["name"] == "blocks.0.attn.q"] == [[2, 8]]
    for shard in manifest["shards"]:
        assert shard["bytes"] == (store.folder / f"{shard['batch']:06d}.safetensors").stat().st_size


def test_a_store_can_be_moved(store, tmp_path, held):
    shutil.move(store.folder, tmp_path / "elsewhere")
    assert torch.equal(ActivationStore(tmp_path / "elsewhere").site("blocks.0.attn.q"), held.site("blocks.0.attn.q"))


def test_what_a_kill_left_lying_is_cleared(model, store):
    before = contents(store.folder)
    (store.folder / "000007.safetensors").write_bytes(b"written, but not yet in the manifest")
    (store.folder / ".000007.safetensors.part").write_bytes(b"half")
    capture(model, TEXTS, SITES, batch_size=2, store=store.folder)
    assert contents(store.folder) == before
