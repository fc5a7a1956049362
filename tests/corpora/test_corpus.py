"""What a corpus is, how it is drawn, what is built in, and what lists and data sets in memory become."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import workbench
from workbench.corpora import drawing
from workbench.errors import BadInput


def test_a_draw_is_the_same_on_every_machine_and_for_every_length():
    assert drawing.order(10, 0) == [3, 7, 9, 8, 5, 4, 2, 6, 0, 1]  # by b2sum -l 64
    assert drawing.drawn(10, 4, 0) == [3, 7, 8, 9]
    for seed in range(5):
        draws = [set(drawing.drawn(300, limit, seed)) for limit in (1, 10, 100, 300, None)]
        assert [len(draw) for draw in draws] == [1, 10, 100, 300, 300]
        assert all(small < large or small == large for small, large in zip(draws, draws[1:], strict=False))
        assert drawing.drawn(300, 10, seed) == sorted(drawing.drawn(300, 10, seed))
    assert drawing.drawn(3, 10) == [0, 1, 2]
    assert drawing.drawn(0, 10) == []


def test_a_draw_prefers_no_place():
    counts = Counter(place for seed in range(400) for place in drawing.drawn(20, 5, seed))
    assert sorted(counts) == list(range(20))
    assert all(70 <= count <= 135 for count in counts.values())  # 100 expected, four standard deviations either way


def test_the_built_in_sentences():
    whole = workbench.corpus("example")
    assert (len(whole), whole.reads, whole.name, whole.tags, whole.note) == (240, "text", "example", None, "")
    assert set(Counter(whole.groups).values()) == {30} and len(set(whole.groups)) == 8
    assert len(set(whole.inputs)) == 240
    for text in whole.inputs:
        assert 8 <= len(text.split()) <= 25 and text == text.strip() and text[-1] in ".?!"
    repeats = [text for text in whole.inputs if _repeats(text)]
    assert len(repeats) >= 60  # two words in a row that come again: what an induction head looks for
    assert whole.titles == whole.inputs


def _repeats(text: str) -> bool:
    words = [word.strip(".,:").lower() for word in text.split()]
    pairs = list(zip(words, words[1:], strict=False))
    return len(set(pairs)) < len(pairs)


def test_the_built_in_pictures_differ_in_what_can_be_seen():
    whole = workbench.corpus("example", reads="image")
    assert len(whole) == len(set(whole.titles)) == 24
    assert Counter(whole.groups) == {"slopes": 8, "shapes": 8, "stripes": 8}
    assert all(picture.size == (224, 224) and picture.mode == "RGB" for picture in whole.inputs)
    assert len({picture.tobytes() for picture in whole.inputs}) == 24
    pixels = {
        title: np.asarray(picture, float) / 255 for title, picture in zip(whole.titles, whole.inputs, strict=True)
    }
    right = pixels["example: slope, brighter to the right"]
    assert (np.diff(right.mean((0, 2))) > 0).mean() > 0.9 and np.ptp(right.mean((1, 2))) < 1e-9
    for width, count in (("wide", 6), ("narrow", 20)):
        for title, axis in ((f"example: {width} upright stripes", 0), (f"example: {width} level stripes", 1)):
            wave = pixels[title][..., 0].mean(axis)
            assert np.abs(np.fft.rfft(wave - wave.mean())).argmax() == count, title
            assert np.ptp(pixels[title][..., 0].mean(1 - axis)) < 1e-9
    red = pixels["example: red disc on light"][67, 67]
    assert red[0] > 0.8 and red[1] < 0.3 and red[2] < 0.3


def test_the_built_in_sounds_and_pairs():
    sounds = workbench.corpus("example", reads="audio")
    assert Counter(sounds.groups) == {"tones": 4, "rising": 4, "clicks": 4}
    assert all(
        wave.shape == (16_000,) and wave.dtype == np.float32 and abs(wave).max() <= 0.5 for wave in sounds.inputs
    )
    for pitch, wave in zip((110, 220, 440, 880), sounds.inputs, strict=False):
        assert np.abs(np.fft.rfft(wave)).argmax() == pitch
    pairs = workbench.corpus("example", reads="text+image", limit=30)
    assert all(isinstance(text, str) and isinstance(picture, Image.Image) for text, picture in pairs.inputs)
    assert pairs.titles[0].startswith(f"{pairs.inputs[0][0]} @ example: ")


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5", "whisper", "vit", "clip", "ast"])
def test_every_kind_of_model_reads_the_built_in_corpus(family, tiny):
    model = tiny(family)
    for x in workbench.corpus("example", reads=model.reads, limit=3).inputs:
        short = x[:20] if isinstance(x, str) else (x[0][:20], x[1]) if isinstance(x, tuple) else x
        assert model.encode(short)


def test_a_draw_keeps_each_input_with_its_group_and_its_tags():
    whole = workbench.corpus("example")
    group_of = dict(zip(whole.inputs, whole.groups, strict=True))
    small, other = workbench.corpus("example", limit=20, seed=1), workbench.corpus("example", limit=20, seed=2)
    assert len(small) == 20 and [group_of[text] for text in small.inputs] == list(small.groups)
    places = [whole.inputs.index(text) for text in small.inputs]
    assert places == sorted(places)
    assert set(small.inputs) != set(other.inputs)
    tagged = workbench.Corpus(
        name="mine", reads="text", inputs=("a", "b c", "d"), tags=(((0, 1, "A"),), ((0, 1, "B"),), ((0, 1, "D"),))
    )
    for limit in (1, 2):
        drawn = workbench.corpus(tagged, limit=limit, seed=3)
        assert [(text[0].upper(),) for text in drawn.inputs] == [tuple(t for _, _, t in spans) for spans in drawn.tags]


def test_a_corpus_knows_its_groups_or_refuses():
    assert workbench.Corpus(name="mine", reads="text", inputs=("a", "b")).groups == ("", "")
    with pytest.raises(BadInput, match="The corpus mine needs one group"):
        workbench.Corpus(name="mine", reads="text", inputs=("a", "b"), groups=("x",))
    with pytest.raises(BadInput, match="one list of tags, for each"):
        workbench.Corpus(name="mine", reads="text", inputs=("a", "b"), tags=((),))


def test_the_digest_is_of_what_a_model_reads(tmp_path):
    picture = Image.new("RGB", (4, 4), "red")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    picture.save(tmp_path / "a" / "x.png")
    picture.save(tmp_path / "b" / "y.png")

    def digest(source, **options) -> str:
        return workbench.corpus(source, **options).digest

    assert digest(["ab", "c"]) == digest("ab\nc\n") != digest(["a", "bc"])
    assert digest(["ab", "c"]) != digest(["c", "ab"])
    assert digest(tmp_path / "a", reads="image") == digest(tmp_path / "b", reads="image")
    assert digest([picture], reads="image") != digest([picture.transpose(0).resize((2, 8))], reads="image")
    assert digest([np.zeros(4)], reads="audio") != digest([np.zeros(4, np.float32)], reads="audio")


def test_lists_of_texts():
    made = workbench.corpus(["one", " ", "two", "", "three"])
    assert (made.inputs, made.note, made.made_by) == (("one", "two", "three"), "2 empty texts left out.", "")
    assert workbench.corpus(("only one sentence",)).inputs == ("only one sentence",)
    assert workbench.corpus("first\n\n second \n").inputs == ("first", "second")
    assert workbench.corpus("first\n\n second \n").note == "1 blank line left out."


def test_columns_of_frames():
    pandas = pytest.importorskip("pandas")
    assert workbench.corpus(pandas.Series(["x", "y"])).inputs == ("x", "y")
    for kind in (object, "string"):
        made = workbench.corpus(pandas.Series(["x", None, float("nan"), " ", pandas.NA, "y"], dtype=kind))
        assert made.inputs == ("x", "y")
        assert made.note == "3 rows without a value left out. 1 empty text left out."
    with pytest.raises(BadInput, match="Input 2 of the list must be a text, not int '3'"):
        workbench.corpus(pandas.Series(["x", None, 3], dtype=object))
    with pytest.raises(BadInput, match="holds nothing to read"):
        workbench.corpus(pandas.Series([None, float("nan")], dtype=object))
    frame = pandas.DataFrame({"id": [1], "text": ["x"]})
    with pytest.raises(BadInput, match=r"one column of the frame, such as df\['text'\]\.tolist\(\); it has id, text"):
        workbench.corpus(frame)
    assert workbench.corpus(frame["text"].tolist()).inputs == ("x",)


def test_lists_of_pictures_and_sounds(tmp_path):
    array = np.zeros((4, 4, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    wavfile.write(tmp_path / "a.wav", 400, np.zeros(8, np.int16))
    made = workbench.corpus([Image.fromarray(array), array, str(tmp_path / "x.png"), "example"], reads="image")
    assert made.inputs[2] == tmp_path / "x.png" and made.inputs[3] == "example"
    assert made.titles[0] == "list 0"
    assert len(workbench.corpus([np.zeros(10), tmp_path / "a.wav"], reads="audio")) == 2
    assert workbench.corpus([("a cat", "example"), "b @ example"], reads="text+image").inputs[1] == "b @ example"


@pytest.mark.parametrize(
    ("source", "reads", "message"),
    [
        ([], "text", "holds nothing to read"),
        (["", " "], "text", "holds nothing to read"),
        (["a", 3], "text", "Input 1 of the list must be a text, not int '3'"),
        (["a", None], "text", "Input 1 of the list must be a text, not nothing"),
        ([3], "image", "Input 0 of the list must be the path of an image"),
        ([np.zeros((2, 3))], "audio", r"Input 0 of the list must be the path of a \.wav file"),
        (["a"] * 2 + [("a", "b", "c")], "text+image", "Input 2 of the list must be a pair"),
        (7, "text", "not of int '7'"),
        (None, "text", "not of nothing"),
        (b"bytes", "text", "not of bytes"),
        ({"train": ["a"]}, "text", r"such as data\['train'\]"),
        ("", "text", "Say which inputs: 'example', 'brown'"),
        ("no such thing", "text", "no corpus, file or folder called 'no such thing'"),
        ("a sentence " * 60, "text", "a single text goes in a list"),
        ("~nobody-of-that-name/x", "text", "no corpus, file or folder"),
        ("brown", "image", "brown is text, and this model reads image"),
        ("scikit-image", "text", "scikit-image is pictures, and this model reads text"),
        ("example", "smell", "one of 'text', 'image', 'audio', 'text.image', not of 'smell'"),
    ],
)
def test_what_is_no_corpus_is_a_sentence(source, reads, message):
    with pytest.raises(BadInput, match=message):
        workbench.corpus(source, reads=reads)


def test_a_corpus_for_another_kind_of_model_is_refused():
    with pytest.raises(BadInput, match="The corpus example is of image, and this model reads text"):
        workbench.corpus(workbench.corpus("example", reads="image"))


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "3"])
def test_the_number_of_inputs_is_checked(limit):
    with pytest.raises(BadInput, match="limit must be a whole number from 1"):
        workbench.corpus("example", limit=limit)


def test_whole_numbers_of_every_library_are_numbers():
    made = workbench.corpus("example", limit=np.int64(3), seed=np.int32(4))
    assert made.inputs == workbench.corpus("example", limit=3, seed=4).inputs
    assert made.made_by == "workbench.corpus('example', limit=3, seed=4)"


@pytest.mark.parametrize("seed", [None, 1.5, "3", True, [1]])
def test_the_seed_is_checked(seed):
    with pytest.raises(BadInput, match="seed must be a whole number, not"):
        workbench.corpus("example", limit=3, seed=seed)


class Rows:
    """What a data set looks like: columns by name, rows by number."""

    def __init__(self, **columns: list) -> None:
        self.columns, self.column_names = columns, list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, place: int) -> dict:
        return {name: values[place] for name, values in self.columns.items()}


def test_data_sets_in_memory():
    made = workbench.corpus(Rows(id=[1, 2, 3, 4], sentence=["a", None, " ", "d"], label=["x", "y", "z", None]))
    assert (made.inputs, made.groups) == (("a", "d"), ("x", ""))
    assert made.note == "2 rows without an input left out."
    many = Rows(text=[f"text {i}" for i in range(100)], other=["o"] * 100)
    small = workbench.corpus(many, limit=7, seed=5)
    assert small.inputs == tuple(f"text {i}" for i in drawing.drawn(100, 7, 5))
    assert workbench.corpus(Rows(x=["only", "column"])).inputs == ("only", "column")
    pictures = workbench.corpus(Rows(image=[Image.new("RGB", (2, 2))], text=["a"]), reads="image")
    assert isinstance(pictures.inputs[0], Image.Image)


@pytest.mark.parametrize(
    ("rows", "reads", "message"),
    [
        (Rows(a=[1], b=[2.0]), "text", "The data set has no column of texts; its columns are a, b"),
        (Rows(text=["a"]), "image", "no column of images"),
        (Rows(text=["a"]), "audio", "A table holds texts or images"),
        (Rows(text=[]), "text", "The data set has no rows"),
        (Rows(text=[" ", "  "]), "text", "The column 'text' of the data set is empty"),
    ],
)
def test_data_sets_without_inputs_are_sentences(rows, reads, message):
    with pytest.raises(BadInput, match=message):
        workbench.corpus(rows, reads=reads)


def test_a_real_data_set():
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    made = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, 1]}, features=features)
    assert workbench.corpus(made).groups == ("good", "bad", "good")
    with pytest.raises(BadInput, match=r"such as data\['test'\]"):
        workbench.corpus(datasets.DatasetDict({"test": made}))
    with pytest.raises(BadInput, match="has no end"):
        workbench.corpus(made.to_iterable_dataset())


def test_nothing_heavy_is_imported_for_a_list():
    code = (
        "import sys, workbench; workbench.corpus(['a', 'b'], limit=1); workbench.corpus('example', limit=1);"
        "print([m for m in ('transformers', 'pyarrow', 'httpx', 'huggingface_hub', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
