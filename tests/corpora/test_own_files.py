"""Text files, tables and folders of the user's own: what is read, what is left out, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import workbench
from workbench.corpora import drawing
from workbench.errors import BadFile, BadInput


def test_a_text_file_is_one_input_a_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffFirst line.\r\n\r\n  Über alles \n\n\nlast".encode())
    made = workbench.corpus(path)
    assert made.inputs == ("First line.", "Über alles", "last")
    assert (made.name, made.note) == ("mine.txt", "3 blank lines left out.")
    assert made.made_by == f"workbench.corpus({str(path)!r})"
    assert workbench.corpus(str(path), limit=1, seed=4).inputs[0] in made.inputs


INSIDE = "\u2028\x85\x0c\x1c\x0b\u2029"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_where_a_file_says_so(tmp_path, end):
    text = f"a{INSIDE}b{end}{end}c"
    (tmp_path / "mine.txt").write_bytes((text + end).encode())
    for made in (workbench.corpus(tmp_path / "mine.txt"), workbench.corpus(text), workbench.corpus(text + end)):
        assert made.inputs == (f"a{INSIDE}b", "c") and made.note == "1 blank line left out."


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_cell_of_a_table_keeps_its_lines(tmp_path, end):
    path = tmp_path / "table.csv"
    texts = [f"a{INSIDE}b", "two\r\nlines", "two\nlines", "last"]
    path.write_bytes("".join(["text,topic", end, *(f'"{text}",x{end}' for text in texts)]).encode())
    made = workbench.corpus(path)
    assert made.inputs == tuple(texts) and made.groups == ("x",) * 4 and made.note == ""
    rows = end.join(json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    (tmp_path / "table.jsonl").write_bytes(rows.encode())
    assert workbench.corpus(tmp_path / "table.jsonl").inputs == tuple(texts)


def test_a_cell_may_be_longer_than_the_csv_module_expects(tmp_path):
    (tmp_path / "long.csv").write_text(f"text\n{'long ' * 40_000}\nshort\n")
    assert [len(text) for text in workbench.corpus(tmp_path / "long.csv").inputs] == [199_999, 5]


def test_cells_beyond_the_header_are_counted(tmp_path):
    (tmp_path / "commas.csv").write_text("text\nwell, I never\nfine\ntrailing,\n")
    made = workbench.corpus(tmp_path / "commas.csv")
    assert made.inputs == ("well", "fine", "trailing")
    assert made.note == "Rows with more cells than the header has, which were not read: 1."


def test_a_text_file_that_cannot_be_used(tmp_path):
    (tmp_path / "latin.txt").write_bytes("fine\nÜber".encode("latin-1"))
    with pytest.raises(BadFile, match=r"latin\.txt is not text in UTF-8: byte 5 cannot be read. Save it as UTF-8"):
        workbench.corpus(tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(BadInput, match=r"empty\.txt holds no text: write one input a line"):
        workbench.corpus(tmp_path / "empty.txt")
    with pytest.raises(BadInput, match=r"latin\.txt is a file; give a folder of images"):
        workbench.corpus(tmp_path / "latin.txt", reads="image")
    with pytest.raises(BadInput, match="no corpus, file or folder called"):
        workbench.corpus(tmp_path / "missing.txt")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_tables(tmp_path, kind):
    rows = [
        {"id": "1", "text": 'said "yes", twice', "topic": "talk"},
        {"id": "2", "text": "  ", "topic": "none"},
        {"id": "3", "text": "plain", "topic": "talk"},
    ]
    path = tmp_path / f"table.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        frame = pytest.importorskip("pandas").DataFrame(rows)
        frame.to_parquet(path) if kind == "parquet" else frame.to_csv(
            path, index=False, sep="\t" if kind == "tsv" else ","
        )
    made = workbench.corpus(path)
    assert made.inputs == ('said "yes", twice', "plain")
    assert made.groups == ("talk", "talk")
    assert "1" in made.note and "without a text" in made.note
    assert workbench.corpus(f"{path}:id").inputs == ("1", "2", "3")
    with pytest.raises(BadInput, match="has no column 'nope'; it has id, text, topic"):
        workbench.corpus(f"{path}:nope")


def test_tables_that_cannot_be_used(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    with pytest.raises(BadFile, match=r"Line 2 of .*a\.jsonl is not JSON"):
        workbench.corpus(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text("[1]\n")
    with pytest.raises(BadFile, match=r"Line 1 of .*b\.jsonl is not a JSON object"):
        workbench.corpus(tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(BadInput, match=r"c\.jsonl has no column of texts; its columns are n"):
        workbench.corpus(tmp_path / "c.jsonl")
    (tmp_path / "e.csv").write_text("text,topic\n")
    with pytest.raises(BadInput, match=r"e\.csv holds no rows below its header\."):
        workbench.corpus(tmp_path / "e.csv")
    (tmp_path / "f.csv").write_text("\n")
    with pytest.raises(BadInput, match=r"f\.csv holds no rows\."):
        workbench.corpus(tmp_path / "f.csv")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(BadFile, match=r"d\.parquet is not a parquet file"):
        workbench.corpus(tmp_path / "d.parquet")


@pytest.fixture
def folder(tmp_path):
    """Ten pictures in two folders, two damaged ones, and things that are none."""
    base = tmp_path / "pictures"
    for i in range(10):
        path = base / ("cats" if i % 2 else "dogs/small") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(path)
    Image.new("RGB", (8, 8), "blue").save(base / "top.JPG", format="jpeg")
    (base / "cats" / "broken.png").write_bytes(b"not a picture")
    whole = (base / "cats" / "1.png").read_bytes()
    (base / "dogs" / "cut.png").write_bytes(whole[: len(whole) - 30])
    (base / "notes.txt").write_text("no picture")
    (base / ".hidden").mkdir()
    Image.new("RGB", (8, 8)).save(base / ".hidden" / "x.png")
    return base


def test_a_folder_of_pictures(folder):
    made = workbench.corpus(folder, reads="image")
    assert [path.name for path in made.inputs] == [*(f"{i}.png" for i in (1, 3, 5, 7, 9, 0, 2, 4, 6, 8)), "top.JPG"]
    assert made.groups == ("cats",) * 5 + ("small",) * 5 + ("",)
    assert made.name == "pictures"
    assert made.note == "2 of the images could not be read and were left out: cats/broken.png, dogs/cut.png."
    assert made.titles[0] == str(folder / "cats" / "1.png")


def test_a_draw_from_a_folder_passes_over_what_cannot_be_read(folder):
    for seed in range(8):
        made = workbench.corpus(folder, reads="image", limit=5, seed=seed)
        assert len(made) == 5 and not {"broken.png", "cut.png"} & {path.name for path in made.inputs}
    names = [path.name for path in workbench.corpus(folder, reads="image").inputs]
    every = sorted([*names, "broken.png", "cut.png"])
    assert len(every) == 13
    files = sorted((p for p in folder.rglob("*.*") if p.name in every and ".hidden" not in p.parts), key=str)
    good = [files[i] for i in drawing.order(13, 3) if files[i].name in names][:5]
    assert list(workbench.corpus(folder, reads="image", limit=5, seed=3).inputs) == sorted(good, key=str)


def test_a_list_of_files_leaves_out_what_a_folder_does(folder):
    good = list(workbench.corpus(folder, reads="image").inputs)
    bad = [folder / "cats" / "broken.png", folder / "gone.png"]
    made = workbench.corpus([*bad, *map(str, good)], reads="image")
    assert list(made.inputs) == good
    assert made.note == f"2 of the images could not be read and were left out: {bad[0]}, {bad[1]}."
    for seed in range(4):
        files = [*bad, *good]
        drawn = [files[i] for i in drawing.order(13, seed) if files[i] not in bad][:6]
        made = workbench.corpus(files, reads="image", limit=6, seed=seed)
        assert list(made.inputs) == sorted(drawn, key=files.index)
    pairs = [("a", good[0]), ("b", str(bad[0])), f"c @ {bad[1]}", f"d @ {good[1]}", "e", "f @ example"]
    made = workbench.corpus(pairs, reads="text+image")
    assert made.inputs == (("a", good[0]), f"d @ {good[1]}", "e", "f @ example") and str(bad[1]) in made.note
    lines = workbench.corpus(f"{good[0]}\n\n{bad[0]}\n", reads="image")
    assert lines.inputs == (good[0],)
    assert lines.note.startswith("1 blank line left out. 1 of the images could not be read and was left out: ")
    with pytest.raises(BadInput, match=r"None of the 2 images of the list can be read, .*broken\.png, .*gone\.png"):
        workbench.corpus(bad, reads="image")
    with pytest.raises(BadInput, match=r"None of the 1 sounds of the list can be read, gone\.wav"):
        workbench.corpus(["gone.wav"], reads="audio")


def test_a_folder_that_cannot_be_used(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="There are no images in .*empty or its folders"):
        workbench.corpus(tmp_path / "empty", reads="image")
    with pytest.raises(BadInput, match=r"There are no \.wav files in"):
        workbench.corpus(folder, reads="audio")
    with pytest.raises(BadInput, match="is a folder; for a model that reads text give a text file"):
        workbench.corpus(folder)
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in "abcde":
        (bad / f"{name}.jpg").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"None of the 5 images in .* can be read, a\.jpg, b\.jpg, c\.jpg and 2 more"):
        workbench.corpus(bad, reads="image")
    with pytest.raises(BadInput, match="no corpus, file or folder called"):
        workbench.corpus(tmp_path / "missing", reads="image")


def test_a_picture_too_large_to_be_meant_is_left_out(tmp_path, monkeypatch):
    Image.new("RGB", (100, 100)).save(tmp_path / "large.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    made = workbench.corpus(tmp_path, reads="image")
    assert [path.name for path in made.inputs] == ["small.png"]
    assert made.note == "1 of the images could not be read and was left out: large.png."


def test_a_folder_of_sounds(tmp_path, tiny):
    for name in ("b", "a"):
        wavfile.write(tmp_path / f"{name}.wav", 400, np.zeros(800, np.int16))
    (tmp_path / "c.wav").write_bytes(b"RIFF nothing")
    made = workbench.corpus(tmp_path, reads="audio")
    assert [path.name for path in made.inputs] == ["a.wav", "b.wav"] and "c.wav" in made.note
    assert tiny("ast").encode(made.inputs[0])
