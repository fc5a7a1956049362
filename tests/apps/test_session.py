"""Session files: what is saved comes back, and nothing else does."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from apps.session import Session, from_bytes, to_text
from workbench.errors import BadFile

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sessions = st.builds(
    Session,
    page=text,
    model=text,
    prompt=text,
    options=st.dictionaries(text, st.dictionaries(text, text, max_size=3), max_size=3),
    prompts=st.lists(text, max_size=3).map(tuple),
)


@given(sessions)
def test_a_saved_session_comes_back(session):
    assert from_bytes(to_text(session).encode()) == session


@given(sessions, st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
@settings(max_examples=300)
def test_a_damaged_file_is_a_bad_file_or_a_session(session, at, junk):
    data = to_text(session).encode()
    at %= len(data)
    for damaged in (data[:at], data[:at] + junk + data[at:], data[:at] + junk + data[at + len(junk) :]):
        try:
            found = from_bytes(damaged)
        except BadFile:
            continue
        assert from_bytes(to_text(found).encode()) == found  # whatever was read can be saved again


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_sentence(data):
    with pytest.raises(BadFile):
        from_bytes(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["page", "model", "prompt", "options", "prompts", "version", "format"]), json_values)
def test_a_field_of_another_kind_is_a_bad_file(name, value):
    whole = json.loads(to_text(Session(prompts=("a",), options={"head": {"layer": "1"}})))
    whole[name] = value
    try:
        found = from_bytes(json.dumps(whole).encode())
    except BadFile:
        return
    assert isinstance(found.prompt, str) and all(isinstance(prompt, str) for prompt in found.prompts)
    assert all(isinstance(text, str) for options in found.options.values() for text in options.values())


def test_deep_and_large_files_are_refused():
    with pytest.raises(BadFile):
        from_bytes(b"[" * 100_000)
    with pytest.raises(BadFile, match="larger"):
        from_bytes(b" " * 3_000_000)


def test_the_sentence_names_the_file_and_the_version():
    with pytest.raises(BadFile, match="mine.json is a session of another version"):
        from_bytes(b'{"format": "workbench-session", "version": 2}', name="mine.json")
