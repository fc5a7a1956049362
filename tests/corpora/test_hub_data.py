"""Data sets of a hub, against a small hub on this machine: files, columns, splits, faults, and no network."""

import io
import json
import socket
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import workbench
from tests.corpora.data_hub import REPO, DataHub, serving
from workbench.corpora import drawing, hub_data
from workbench.errors import BadFile, BadInput, Unavailable
from workbench.models.sources import hub

SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "WORKBENCH_OFFLINE", "HF_HUB_CACHE")


def parquet(columns: dict[str, list], names: list[str] | None = None) -> bytes:
    """A parquet file as the datasets library writes it; `names` are those of the labels."""
    table = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=7)
    return out.getvalue()


def shard(number: int, rows: int = 20) -> bytes:
    texts: list[str | None] = [f"text {number * rows + i}" for i in range(rows)]
    texts[3] = None if number == 0 else "  "
    columns = {"id": list(range(rows)), "text": texts, "title": ["t"] * rows, "label": [0, 1] * (rows // 2)}
    return parquet(columns, ["no", "yes"])


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(out, "png")
    return out.getvalue()


MAIN = {
    "README.md": b"# a data set",
    "loader.py": b"raise SystemExit('never run this')",
    **{f"data/train-0000{i}-of-00003.parquet": shard(i) for i in range(3)},
    "data/test-00000-of-00001.parquet": parquet({"text": ["a test"]}),
    "other/validation.parquet": parquet({"sentence": ["other, valid"]}),
}


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path) -> None:
    """Empty caches, and the hub may be asked."""
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server(monkeypatch) -> Iterator[DataHub]:
    with serving(DataHub(main=dict(MAIN))) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def test_all_of_a_data_set(server):
    made = workbench.corpus(f"hf:{REPO}")
    assert made.inputs == tuple(f"text {i}" for i in range(60) if i not in (3, 23, 43))
    assert made.groups[:4] == ("no", "yes", "no", "no")
    assert (made.name, made.note) == (REPO, "Rows without a text left out: 3.")
    assert made.made_by == f"workbench.corpus('hf:{REPO}')"
    assert server.fetched() == [f"data/train-0000{i}-of-00003.parquet" for i in range(3)]


def test_only_the_files_that_the_draw_needs_are_fetched(server):
    made = workbench.corpus(f"hf:{REPO}", limit=5, seed=2)
    assert server.fetched() == ["data/train-00000-of-00003.parquet"]
    usable = [i for i in range(20) if i != 3]
    assert made.inputs == tuple(f"text {usable[i]}" for i in drawing.drawn(19, 5, 2))
    assert made.note == "Drawn from the first 1 of 3 files. Rows without a text left out: 1."
    assert len(workbench.corpus(f"hf:{REPO}", limit=30).inputs) == 30
    assert len(server.fetched()) == 2


def test_what_was_fetched_is_used_again_without_asking(server, monkeypatch):
    first = workbench.corpus(f"hf:{REPO}", limit=5)
    asked = len(server.asked)
    assert workbench.corpus(f"hf:{REPO}", limit=5).digest == first.digest
    assert len(server.asked) == asked
    for switch in ("HF_HUB_OFFLINE", "WORKBENCH_OFFLINE"):
        monkeypatch.setenv(switch, "1")
        assert workbench.corpus(f"hf:{REPO}", limit=5).digest == first.digest
        with pytest.raises(Unavailable, match=r"train-00001-of-00003\.parquet of org/data is not on this disk"):
            workbench.corpus(f"hf:{REPO}", limit=40)
        monkeypatch.delenv(switch)
    assert len(server.asked) == asked


def test_configurations_splits_and_columns(server):
    assert workbench.corpus(f"hf:{REPO}/default/test").inputs == ("a test",)
    other = workbench.corpus(f"hf:{REPO}/other:sentence")
    assert (other.inputs, other.note) == (("other, valid",), "other, validation.")
    assert set(workbench.corpus(f"hf:{REPO}:title", limit=4).inputs) == {"t"}


@pytest.mark.parametrize(
    ("source", "reads", "message"),
    [
        (f"hf:{REPO}/nope", "text", "org/data has no configuration 'nope'; it has default, other"),
        (f"hf:{REPO}/default/nope", "text", "org/data has no split 'nope'; it has test, train"),
        (f"hf:{REPO}:nope", "text", "org/data has no column 'nope'; it has id, text, title, label"),
        (f"hf:{REPO}:id", "text", "The column 'id' of org/data does not hold texts"),
        (f"hf:{REPO}", "image", "org/data has no column of images; its columns are id, text, title, label"),
        ("hf:data", "text", "'hf:data' names no data set: write hf:OWNER/NAME"),
        ("hf:", "text", "'hf:' names no data set"),
    ],
)
def test_what_a_data_set_does_not_have(server, source, reads, message):
    with pytest.raises(BadInput, match=message):
        workbench.corpus(source, reads=reads, limit=3)


def test_a_data_set_that_the_hub_has_converted(monkeypatch):
    converted = {
        "plain/train/0000.parquet": parquet({"text": ["a", "b"]}),
        "plain/partial-test/0000.parquet": parquet({"text": ["c"]}),
    }
    with serving(DataHub(main={"data.json": b"[]"}, converted=converted)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        made = workbench.corpus(f"hf:{REPO}")
        assert (made.inputs, made.note) == (("a", "b"), "plain, train.")
        assert workbench.corpus(f"hf:{REPO}/plain/test").inputs == ("c",)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("data/train-00000-of-00001-abc12.parquet", ("default", "train")),
        ("en/validation-00001-of-00004.parquet", ("en", "validation")),
        ("data/en/train_sft-00000-of-00002.parquet", ("en", "train_sft")),
        ("plain_text/partial-train/0007.parquet", ("plain_text", "train")),
        ("sample/10BT/000_00001.parquet", ("sample/10BT", "train")),
        ("test.parquet", ("default", "test")),
        ("everything.parquet", ("default", "train")),
    ],
)
def test_where_files_lie(name, place):
    assert hub_data._place(name) == place


def test_pictures_of_a_data_set(monkeypatch):
    images = [{"bytes": png(c), "path": None} for c in ("red", "green", "blue")]
    images[1:1] = [{"bytes": b"broken", "path": "x.png"}, None]
    data = parquet({"image": images, "label": [0, 1, 0, 1, 0]}, ["warm", "cold"])
    with serving(DataHub(main={"data/train-00000-of-00001.parquet": data})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        made = workbench.corpus(f"hf:{REPO}", reads="image")
    assert [picture.getpixel((0, 0)) for picture in made.inputs] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert made.groups == ("warm", "cold", "warm")
    assert made.titles == ("org/data: row 0", "org/data: row 3", "org/data: row 4")
    assert made.note == "Rows without an image left out: 1. Images that cannot be read left out: 1."


def test_what_the_hub_does_not_have(server):
    with pytest.raises(Unavailable, match="could not be had.*the hub has no dataset 'org/none'.*'example'"):
        workbench.corpus("hf:org/none")
    server.files["main"] = {"data.csv": b"a,b"}
    server.files["refs/convert/parquet"] = {}
    with pytest.raises(Unavailable, match="org/data has no parquet files, of its own or converted by the hub"):
        workbench.corpus(f"hf:{REPO}")


def test_a_damaged_file_is_a_sentence(server):
    server.files["main"]["data/train-00000-of-00003.parquet"] = MAIN["data/train-00000-of-00003.parquet"][:-40]
    with pytest.raises(BadFile, match=r"train-00000-of-00003\.parquet is not a parquet file that can be read"):
        workbench.corpus(f"hf:{REPO}", limit=3)


def test_too_much_is_refused_before_it_is_fetched(server, monkeypatch):
    monkeypatch.setattr(hub_data, "MOST", 2500)
    with pytest.raises(BadInput, match="say how many inputs to draw, with limit"):
        workbench.corpus(f"hf:{REPO}")
    monkeypatch.setattr(hub_data, "MOST", 10)
    with pytest.raises(BadInput, match="ask for fewer inputs"):
        workbench.corpus(f"hf:{REPO}", limit=3)
    assert server.fetched() == []


def test_a_hub_that_is_not_there_or_never_answers(monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(Unavailable, match=rf"The corpus hf:{REPO} could not be had.*no answer within 0\.3 seconds"):
            workbench.corpus(f"hf:{REPO}")
    with pytest.raises(Unavailable, match=rf"{endpoint}.*refused"):
        workbench.corpus(f"hf:{REPO}")


@pytest.mark.parametrize("switch", ["WORKBENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_no_hub_is_asked(server, monkeypatch, switch):
    monkeypatch.setenv(switch, "1")
    with pytest.raises(Unavailable, match=f"skipped, {switch} is set.*unset {switch}"):
        workbench.corpus(f"hf:{REPO}")
    assert server.asked == []
