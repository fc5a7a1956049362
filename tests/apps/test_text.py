"""Text of users and models, made safe: nothing acts as Markdown, HTML or a Streamlit directive."""

from hypothesis import given, strategies as st

from apps.exports import file_name
from apps.text import plain, short, visible

ACTING = set("\\`*_{}[]()#+-.!|<>~$:&@")


@given(st.text())
def test_every_acting_character_is_escaped(text):
    shown = plain(text)
    at = 0
    while at < len(shown):
        if shown[at] == "\\":
            assert shown[at + 1] in ACTING
            at += 2
            continue
        assert shown[at] not in ACTING
        at += 1


@given(st.text())
def test_nothing_of_a_token_is_lost_from_sight(token):
    shown = visible(token)
    assert shown and not any(c.isspace() for c in shown)
    assert all(c in shown for c in token if c.isprintable() and not c.isspace())


def test_short_keeps_the_length():
    assert short("abcdef", 4) == "abc…" and short("abc", 4) == "abc"


@given(st.text())
def test_a_file_name_is_one_on_every_system(text):
    name = file_name(text)
    assert name and len(name) <= 80 and not set(name) & set('/\\:*?"<>| \n') and name.strip(".") == name
