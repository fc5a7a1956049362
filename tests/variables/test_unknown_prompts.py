"""Prompts that a tokenizer does not know, or does not tell apart, are refused before anything is measured."""

import pytest
from tokenizers import normalizers

import workbench
from tests.analyses.fourier.adding_models import random_adder
from tests.variables.token_models import token_model
from workbench.variables import placed, states, variable

UNKNOWN = "The tokenizer of random adder 0 does not know"


@pytest.fixture(scope="module")
def adder():
    return random_adder(7)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{a}{b}=", f"{UNKNOWN} '00=': leave it out"),
        ("{a} zzz {b}", f"{UNKNOWN} 'zzz' in '0 zzz 0'"),
        ("so {a} + {b} =", r"does not know 'so', '\+' in 'so 0 \+ 0 ='"),
    ],
)
@pytest.mark.parametrize("analysis", [workbench.progress_measures, workbench.neuron_spectrum])
def test_pairs_in_unknown_words_are_refused(adder, analysis, template, sentence):
    with pytest.raises(workbench.BadInput, match=sentence):
        analysis(adder, "0-6", template=template)


def test_values_in_unknown_words_are_refused(adder):
    for template in ("zzz {} yyy", "{} zzz =", "zzz{}"):
        for wanted in ("0-6", "ids:0-6"):
            with pytest.raises(workbench.BadInput, match=f"{UNKNOWN} '(zzz|zzz0)'"):
                states(adder, variable(wanted, adder), ["blocks.0.resid_post"], template=template)
    with pytest.raises(workbench.BadInput, match=f"{UNKNOWN} 'zzz', 'yyy' in"):
        workbench.fourier_spectrum(adder, "0-6", template="zzz {} yyy")
    with pytest.raises(workbench.BadInput, match=f"{UNKNOWN} 'zzz' in ' zzz '"):
        workbench.progress_measures(adder, "ids:0-6", template="{a} zzz {b}")


def test_prompts_of_the_same_tokens_are_refused():
    model = token_model(["=", *"0123456789", "10", "11", " 0", " 1"])
    with pytest.raises(workbench.BadInput, match="'110=' is the prompt of different values to pieces"):
        workbench.progress_measures(model, "0-11", template="{a}{b}=")


def test_what_names_the_unknown_token_itself_may_stand_in_a_template(adder):
    assert len(placed(adder, variable("0-6", adder), "[?] {}")) == 7


def test_characters_are_named_one_by_one():
    micro = workbench.load("micro")
    unknown = next(c for c in "\u03c9\u20ac~" if micro.processor.unk_token_id in micro.processor(c)["input_ids"])
    with pytest.raises(workbench.BadInput, match=f"does not know '.*{unknown}'"):
        placed(micro, variable("letters", micro), f"{unknown} {{}}")


def test_values_of_the_same_tokens_are_refused(adder):
    lower = token_model(["the", " the", " day", " is"])
    lower.processor.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(workbench.BadInput, match="'the THE is' and 'the the is' are the prompt of different values"):
        placed(lower, variable("DAY,THE,the"), "the {} is")


@pytest.mark.parametrize("name", ["0-6", "positions:4"])
def test_a_place_to_read_that_there_is_not_is_refused(adder, name):
    with pytest.raises(workbench.BadInput, match="at the 'value' or the 'last' token, not at 'foo'"):
        states(adder, variable(name, adder), ["embed"], read="foo")  # type: ignore


def test_variables_that_are_lists_or_made_already_say_how_to_be_given(adder):
    made = variable("0-6", adder)
    with pytest.raises(workbench.BadInput, match="Write the list as one text: '0,1,2'"):
        workbench.fourier_spectrum(adder, ["0", "1", "2"])  # type: ignore
    with pytest.raises(workbench.BadInput, match="Give what it was made from, such as its name: '0-6'"):
        workbench.fourier_spectrum(adder, made)  # type: ignore
    with pytest.raises(workbench.BadInput, match="not Variable. Give what it was made from: '0-6'"):
        variable(made)  # type: ignore
