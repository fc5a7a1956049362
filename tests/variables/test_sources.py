"""A variable comes by name, as a range, as a list, from a file or as token ids; what cannot be one is a sentence."""

import pytest
import torch

import workbench
from tests.variables.token_models import token_model as word_model
from workbench.variables import BUILTIN, names, variable


@pytest.mark.parametrize("name", [name for name in names() if name != "positions"])
def test_names_need_no_model(name):
    found = variable(name)
    assert found.labels == found.texts == BUILTIN[name].texts
    assert found.ids is None and found.unit == BUILTIN[name].unit and found.cyclic == (name in ("days", "months"))
    with pytest.raises(workbench.BadInput, match="depends on the model"):
        found.tokens()


@pytest.mark.parametrize(
    ("spec", "values", "spacing", "unit"),
    [
        ("0-4", (0, 1, 2, 3, 4), 1, "numbers"),
        ("-2-2", (-2, -1, 0, 1, 2), 1, "numbers"),
        ("0-10:5", (0, 5, 10), 5, "numbers"),
        ("0-14 : 5", (0, 5, 10), 5, "numbers"),
        ("10, 20,30", (10, 20, 30), 10, "numbers"),
        (["0.1", "0.2", "0.3"], (0.1, 0.2, 0.3), 0.1, "numbers"),
        ("red, green,blue", (0, 1, 2), 1, "values"),
        ("nan,inf,one", (0, 1, 2), 1, "values"),
        ("positions:5", (0, 1, 2, 3, 4), 1, "positions"),
    ],
)
def test_values_spacing_and_unit(spec, values, spacing, unit):
    found = variable(spec)
    assert found.values == values and found.spacing == pytest.approx(spacing) and found.unit == unit
    assert found.period(1) == pytest.approx(len(values) * spacing) and found.period(2) == found.period(1) / 2


def test_a_file_has_one_value_a_line(tmp_path):
    path = tmp_path / "own list.txt"
    path.write_text("\ufeffeins\r\nzwei, drei\n\n <b>&amp;\u2028{}\n", encoding="utf-8")
    found = variable(path)
    assert found.labels == ("eins", "zwei, drei", "<b>&amp;\u2028{}") and found.name == "own list.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(workbench.BadFile, match="not text in UTF-8"):
        variable(str(path))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("dayz", r"No variable called 'dayz'. Did you mean 'days'\?.*a range"),
        ("", "No variable called ''"),
        ("a,b", r"3 to 4096 values, and a,b has 2 \('a', 'b'\)"),
        ("0-0", r"has 1 \('0'\)"),
        ("a,,b", "empty value"),
        ("a,b,a", "'a' twice"),
        ("1,2,4", "not evenly spaced: 1 to 2 is a step of 1, and 2 to 4 one of 2"),
        ("1,2,nan", "'nan' stands among numbers and is none"),
        ("3,2,1", "3,2,1 must rise, the smallest first, each once: 2 comes after 3"),
        ("1,1.0,2", "must rise, the smallest first, each once: 1.0 comes after 1"),
        ("9-0", "no range"),
        ("0-9:0", "no range"),
        ("0-99999999999", "has 100000000000"),
        ("ids:0-99999999999", "has 100000000000"),
        ("ids:a,b", "does not list token ids"),
        ("ids:1,2,1", "a token id twice"),
        ("positions:2", "has 2"),
        ("positions:99999", "has 99999"),
        (("a", 3, "b"), "a variable is one of|A variable is one of"),
        (7, "A variable is one of"),
    ],
)
def test_what_is_no_variable_is_a_sentence(spec, sentence):
    with pytest.raises(workbench.BadInput, match=sentence):
        variable(spec)


def test_single_tokens_are_found_and_others_named(tiny):
    model = tiny("gpt2")
    letters = variable("letters", model)
    assert letters.tokens().tolist() == [model.processor.get_vocab()[c] for c in letters.labels] and not letters.spaced
    some = variable("a,bc,d,\u03c9,<b>{}", model)
    assert some.ids is None and list(some.left_out) == ["bc", "\u03c9", "<b>{}"]
    with pytest.raises(
        workbench.BadInput, match=r"3 of the 5 values .* 'bc' is 2 tokens \('b', 'c'\); '\u03c9' is not known"
    ):
        some.tokens()


def test_numbers_end_where_tokens_do(tiny):
    with pytest.raises(workbench.BadInput, match=r"splits them from 10 on \('10' is 2 tokens.*'digits'.*template"):
        variable("numbers", tiny("gpt2"))
    found = variable("numbers", word_model([*map(str, range(37)), "38"]))
    assert len(found) == 37 and found.labels[-1] == "36" and found.ids is not None


def test_the_form_with_more_single_tokens_is_taken():
    with_space = word_model([" one", " two", " three", "one", "two", "th", "ree"])
    found = variable("one,two,three", with_space)
    assert found.spaced and [with_space.token_text(i) for i in found.tokens().tolist()] == [" one", " two", " three"]
    assert "with a space before" in found.said
    without = word_model([" one", "one", "two", "three"])
    found = variable("one,two,three", without)
    assert not found.spaced and [without.token_text(i) for i in found.tokens().tolist()] == ["one", "two", "three"]
    assert "without a space before" in found.said


def test_token_ids_are_taken_as_they_are(tiny):
    model = tiny("gpt2")
    found = variable("ids:3,5,9", model)
    assert torch.equal(found.tokens(), torch.tensor([3, 5, 9])) and found.labels == tuple(
        map(model.token_text, (3, 5, 9))
    )
    with pytest.raises(workbench.BadInput, match="run from 0 to 97, not 0 to 98"):
        variable("ids:0-98", model)


def test_positions_are_as_many_as_the_model_reads(tiny):
    assert len(variable("positions", tiny("gpt2"))) == 64
    with pytest.raises(workbench.BadInput, match="reads 64 positions, not 65"):
        variable("positions:65", tiny("gpt2"))
    with pytest.raises(workbench.BadInput, match="have no tokens"):
        variable("positions", tiny("gpt2")).tokens()
    with pytest.raises(workbench.BadInput, match="reads no text"):
        variable("letters", tiny("vit"))
