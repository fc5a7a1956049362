import os

import pytest
import torch

import workbench
from workbench.analyses.embedding import kept
from workbench.analyses.embedding.gathered import fitted, gathered, sample
from workbench.corpora import Corpus
from workbench.store.writer import LOCK, FileLock
from workbench.testing import tiny_model

TEXTS = ("abcabc", "the cat", "xyz", "a longer text, with more of it", "aaaa")


def plain(model, text, sites):
    with torch.no_grad(), workbench.reading(model, sites) as values:
        model.module(**model.encode(text))
    return [values[site][0] for site in sites]


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_rows_are_those_of_each_input_alone(family, store, tmp_path):
    model = tiny_model(family)
    found = gathered(model, TEXTS, points=25, seed=3, store=tmp_path / "kept" if store else None)
    assert 0 < len(found.chosen) < len(TEXTS)
    turned = "rot_" if family == "llama" else ""
    at = 0
    for number in found.chosen:
        q, k, v, pattern = plain(
            model, TEXTS[number], [f"blocks.1.attn.{part}" for part in (f"{turned}q", f"{turned}k", "v", "pattern")]
        )
        rows = slice(at, at + len(q))
        for kept_rows, alone in ((found.queries(1), q), (found.keys(1), k), (found.values(1), v)):
            torch.testing.assert_close(kept_rows[rows], alone)
        torch.testing.assert_close(dict(found.patterns(1))[number], pattern)
        assert found.rows.input[rows].eq(number).all()
        assert found.rows.position[rows].tolist() == list(range(len(q)))
        assert found.rows.label[rows] == model.labels(model.encode(TEXTS[number]))
        at += len(q)
    assert at == len(found.rows) == len(found.queries(1))


def test_a_store_gives_what_memory_gives_and_is_used_again(tmp_path, monkeypatch):
    model = tiny_model("llama")
    in_memory = workbench.joint_qk(model, TEXTS, layer=1, head=2, points=25)
    on_disk = workbench.joint_qk(model, TEXTS, layer=1, head=2, points=25, store=str(tmp_path / "kept"))
    torch.testing.assert_close(on_disk.vectors, in_memory.vectors, rtol=1e-4, atol=1e-5)
    assert on_disk.labels == in_memory.labels
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")}
    workbench.joint_qk(model, TEXTS, layer=0, head=1, points=1000, store=str(tmp_path / "kept"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")} == shards
    next(iter(shards)).unlink()
    again = workbench.joint_qk(model, TEXTS, layer=1, head=2, points=25, store=str(tmp_path / "kept"))
    torch.testing.assert_close(again.vectors, on_disk.vectors, rtol=0, atol=0)
    with pytest.raises(workbench.BadInput, match="another capture"):
        workbench.joint_qk(model, ["something else", "and more"], store=str(tmp_path / "kept"))


def test_samples_are_whole_inputs_and_smaller_ones_are_in_larger_ones():
    lengths = [5, 9, 2, 7, 30, 4]
    assert sample(lengths, None, 0) == sample(lengths, 57, 0) == tuple(range(6))
    before: set[int] = set()
    for points in (3, 10, 20, 40, 56):
        taken = set(sample(lengths, points, seed=1))
        assert before <= taken
        assert sum(lengths[i] for i in taken) <= points or len(taken) == 1
        before = taken
    assert sample(lengths, 20, seed=1) == sample(lengths, 20, seed=1)
    assert len({sample(lengths, 20, seed=seed) for seed in range(20)}) > 3


def test_pairs_are_within_an_input_and_not_later():
    for family, causal in (("gpt2", True), ("bert", False)):
        found = gathered(tiny_model(family), TEXTS, points=1000)
        pairs = found.pairs(most=10**6, seed=0)
        query, key = pairs.unbind(1)
        rows = found.rows
        every = {
            (i, j)
            for i in range(len(rows))
            for j in range(len(rows))
            if rows.input[i] == rows.input[j] and (not causal or rows.position[j] <= rows.position[i])
        }
        assert set(zip(query.tolist(), key.tolist(), strict=True)) == every


def test_texts_that_are_too_long_are_cut_and_counted():
    model = tiny_model("gpt2")  # reads 64 characters
    short, long = "abc", "abcdefgh" * 20
    read = fitted(model, (short, long))
    assert read[0] is short
    assert read[1] == model.encode(long[:63])["input_ids"][0].tolist()  # and the start mark
    result = workbench.joint_qk(model, (short, long), points=1000)
    assert result.notes == ("1 input is longer than tiny:gpt2 reads: the first 64 tokens are read.",)
    assert len(result.labels) == 2 * (4 + 64)


def test_both_sides_of_an_encoder_decoder_are_cut_apart():
    model = tiny_model("bart")  # reads and writes 64 characters
    long, short = "abcdefgh" * 20, "abcab"
    for text, target in ((long, short), (short, long), (long, long)):
        found = gathered(model, (f"{text} => {target}", "abc => ab"), attention="decoder_blocks.cross_attn")
        first = found.rows.input == 0
        assert int(first.sum()) == min(1 + len(target), 64)
        assert (
            int((found.key_rows.input == 0).sum()) == min(len(model.encode(short)["input_ids"][0]), 64) or text == long
        )
        assert int((found.key_rows.input == 0).sum()) == (
            64 if text == long else len(model.labels(model.encode(short)))
        )
        assert "1 input is longer" in found.note


def test_without_a_name_the_attention_is_the_encoders():
    model = tiny_model("t5")
    result = workbench.joint_qk(model, TEXTS, points=1000)
    assert result.attention == "encoder_blocks.attn"
    assert result.attention == workbench.similar_heads(model, TEXTS).attention
    assert workbench.joint_qk_matrix(model, TEXTS, points=1000).attention == result.attention


def test_an_attention_to_the_other_side_has_two_tables():
    model = tiny_model("bart")
    found = gathered(model, ("abcabc => ab", "abc => abab"), attention="decoder_blocks.cross_attn", points=1000)
    assert len(found.key_rows) == sum(len(model.labels(model.encode(x))) for x in found.inputs)
    assert len(found.rows) == sum(len(model.labels(model.encode(x), side="target")) for x in found.inputs)
    assert found.crossed
    assert not found.causal
    pairs = found.pairs(most=10**6, seed=0)
    assert (found.rows.input[pairs[:, 0]] == found.key_rows.input[pairs[:, 1]]).all()


@pytest.mark.parametrize(("texts", "said"), [([""], "nothing to read"), (["a"], "at least 3"), ([], "nothing to read")])
def test_too_little_is_a_sentence(texts, said):
    with pytest.raises(workbench.WorkbenchError, match=said):
        workbench.joint_qk(tiny_model("gpt2"), texts)


def test_one_sentence_is_enough():
    result = workbench.joint_qk(tiny_model("gpt2"), ["the cat sat"])
    assert len(result.is_key) == 2 * 12  # and the start mark
    assert result.n_pairs == 12 * 13 // 2


def test_kept_captures_make_room_oldest_first(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    model, folders = tiny_model("gpt2"), []
    for number in range(4):
        texts = Corpus(name="mine", reads="text", inputs=(f"text {number}",))
        folder = kept.kept_folder(model, texts, "blocks.attn")
        assert folder == kept.kept_folder(model, texts, "blocks.attn")
        (folder / "data").write_bytes(b"x" * 100)
        folders.append(folder)
    assert len(set(folders)) == 4
    monkeypatch.setattr(kept, "MOST_BYTES", 250)
    with FileLock(folders[0] / LOCK):  # somebody writes it
        for number, folder in enumerate(folders):
            os.utime(folder, (1000 + number, 1000 + number))
        kept.make_room(folders[3])
        assert [(folder / "data").exists() for folder in folders] == [True, False, True, True]
    kept.make_room(folders[3])
    assert [folder.exists() for folder in folders] == [False, False, True, True]
