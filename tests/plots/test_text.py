"""No text of a token reaches plotly as markup, whatever it is and wherever it is drawn."""

import html

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from workbench import plots
from workbench.plots.text import plain, sentence, visible

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" Paris", "␣Paris"),
        ("\n", "⏎"),
        ("\t", "⇥"),
        ("<b>", "&lt;b&gt;"),
        ("a&amp;b", "a&amp;amp;b"),
        ("$x$", "&#36;x&#36;"),
        ("", "(empty)"),
        ("\x1b[2J", "\\u001b[2J"),
        ("\u202egnp", "\\u202egnp"),
        ("é漢🙂", "é漢🙂"),
        (3, "3"),
    ],
)
def test_shows_a_token_as_it_is(token, shown):
    assert plain(token) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("blocks.attn, layer 0", "blocks.attn, layer 0"),
        ("logit of ' Mary'", "logit of &#39; Mary&#39;"),
        ("<b> x</b>", "&lt;b&gt; x&lt;/b&gt;"),
        ("a\nb", "a⏎b"),
        (" Mary", "␣Mary"),
        ("  ", "␣␣"),
        ("", "(empty)"),
    ],
)
def test_a_sentence_keeps_the_spaces_between_its_words(text, shown):
    assert sentence(text) == shown


def test_titles_axes_and_legends_have_spaces_and_tokens_show_theirs():
    frame = pd.DataFrame(
        {"the place": [0, 1], "a value": [1.0, 2.0], "who": ["one of us", "two"], "token": [" a", "b"]}
    )
    for draw in (plots.bars, plots.lines):
        figure = draw(frame, x="the place", y="a value", color="who", x_labels="token", title="A title of words")
        assert figure.layout.title.text == "A title of words"
        assert figure.layout.xaxis.title.text == "the place"
        assert figure.layout.yaxis.title.text == "a value"
        assert figure.data[0].name == "one of us"
        assert figure.layout.xaxis.ticktext[0] == "␣a"
    figure = plots.heatmap(frame, x="the place", y="who", value="a value", x_labels="token", text="token")
    assert figure.data[0].colorbar.title.text == "a value"
    assert figure.data[0].text[0][0] == "␣a"
    assert figure.data[0].customdata[0][0] == "who one␣of␣us<br>the place 0 ␣a<br>token ␣a"


def test_cuts_before_it_escapes():
    assert plain("<" * 9, limit=4) == "&lt;&lt;&lt;…"


@given(st.text(min_size=1))
def test_nothing_is_markup_and_nothing_is_lost(text):
    shown = plain(text)
    assert not set(shown) & set("<>$\n\r\t")
    assert html.unescape(shown) == visible(text)
    assert not set(sentence(text)) & set("<>$\n\r\t")
    assert html.unescape(sentence(text)).replace(" ", "␣") == visible(text)


def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


frame = pd.DataFrame({"x": [0, 1], HOSTILE: [HOSTILE, "b"], "v": [1.0, 2.0], "w": [HOSTILE, HOSTILE]})


@pytest.mark.parametrize(
    "figure",
    [
        plots.heatmap(
            frame, x="x", y=HOSTILE, value="v", text="w", x_labels="w", y_labels="w", hover=("w",), title=HOSTILE
        ),
        plots.heatmap(frame.rename(columns={"v": "<i>"}), x=HOSTILE, y="x", value="<i>"),
        plots.lines(frame, x="x", y="v", color=HOSTILE, x_labels="w", title=HOSTILE),
        plots.lines(frame, x=HOSTILE, y="v"),
        plots.bars(frame, x="x", y="v", color=HOSTILE, x_labels="w", title=HOSTILE),
        plots.bars(frame, x=HOSTILE, y="v", horizontal=True),
    ],
)
def test_every_place_of_every_figure_is_escaped(figure):
    for text in texts(figure.to_dict()):
        assert "<" not in text.replace("<br>", "").replace("<extra></extra>", ""), text


def test_a_figure_cannot_end_the_script_that_draws_it_in_a_notebook():
    """Even one whose texts were not escaped, as a stranger's result may make."""
    import plotly.graph_objects as go

    from workbench.plots.notebook import notebook_html

    notebook_html("first", go.Figure(), frame)  # brings the library, whose own text is not of interest
    shown = notebook_html(HOSTILE, go.Figure(layout={"title": {"text": "</script>" + HOSTILE}}), frame)
    assert shown.count("</script>") == shown.count("<script>") == 1
    assert "<img" not in shown
