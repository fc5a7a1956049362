"""Each value in a template is read at its last token, or at the template's; states are the model's own."""

import pytest
import torch

import workbench
from tests.variables.token_models import token_model
from workbench.variables import embedding_rows, placed, states, unembedding_rows, variable

PIECES = [
    "The",
    " day",
    " after",
    " is",
    " Mon",
    "Mon",
    "day",
    " Tues",
    " one",
    " six",
    " two",
    "one",
    "six",
    "two",
    "\u03c9",
    "<b>",
    "{",
]


@pytest.fixture(scope="module", params=[False, True], ids=["gpt2", "bert"])
def own(request):
    return token_model(PIECES, around=request.param)


def texts(model, row):
    return [model.token_text(number) for number in row.ids]


@pytest.mark.parametrize(
    ("template", "read", "at"),
    [
        ("{}", "value", " one"),
        ("{}", "last", " one"),
        ("The {}", "value", " one"),
        ("The day after {} is", "value", " one"),
        ("The day after {} is", "last", " is"),
        ("{} day", "value", " one"),
    ],
)
def test_where_a_single_token_is_read(own, template, read, at):
    found = variable("one,six,two", own)
    assert found.spaced
    row = placed(own, found, template, read)[0]
    shown = texts(own, row)
    assert shown[row.position] == at
    inside = [text for text in shown if text not in ("[CLS]", "[SEP]")]
    assert "".join(inside) == template.replace("{}", " one" if template.startswith("{}") else "one")


def test_a_value_of_several_tokens_is_read_at_its_last(own):
    found = variable("Monday,Tuesday,one", own)
    assert found.ids is None
    rows = placed(own, found, "The day after {} is")
    assert [texts(own, row)[row.position] for row in rows] == ["day", "day", " one"]
    assert len({len(row.ids) for row in rows}) == 2


def test_a_mask_is_where_the_last_is_read():
    own = token_model(PIECES, around=True)
    (row, *_) = placed(own, variable("one,six,two", own), "The {} is[MASK] day", "last")
    assert texts(own, row)[row.position] == "[MASK]"


def test_hostile_values_are_data(own):
    found = variable(["<b>", "{", "\u03c9"], own)
    rows = placed(own, found, "The{} is")
    assert [texts(own, row)[row.position] for row in rows] == ["<b>", "{", "\u03c9"]


def test_token_ids_stand_in_the_template_as_they_are(own):
    ids = own.processor.convert_tokens_to_ids(["day", "one", "<b>"])
    found = variable(f"ids:{','.join(map(str, ids))}", own)
    for read, text in (("value", None), ("last", " is")):
        rows = placed(own, found, "The{} is", read)
        assert [texts(own, row)[row.position] for row in rows] == [text or t for t in ("day", "one", "<b>")]
    assert {len(row.ids) for row in rows} == {3 if own.main.causal else 5}


@pytest.mark.parametrize("template", ["", "The day", "{} {}", 3])
def test_a_template_holds_one_gap(own, template):
    with pytest.raises(workbench.BadInput, match="A template holds {} once"):
        placed(own, variable("one,six,two", own), template)


def test_what_the_tokenizer_does_not_know_or_the_model_cannot_hold_is_named(own):
    with pytest.raises(workbench.BadInput, match="does not know '\u03b6'"):
        placed(own, variable(["one", "six", "\u03b6"], own))
    with pytest.raises(workbench.BadInput, match="is 10[13] tokens long with a value in it, and pieces reads 64"):
        placed(own, variable("one,six,two", own), "The" * 100 + "{}")


def test_states_are_those_of_one_pass_a_value(own):
    found = variable("Monday,Tuesday,one,six", own)
    sites = ("blocks.0.attn_out", "blocks.0.resid_post")
    got = states(own, found, sites, template="The day after {} is")
    for number, text in enumerate(found.texts):
        batch = own.processor(f"The day after {text} is", return_tensors="pt")
        with torch.no_grad():
            hidden = own.module(**batch, output_hidden_states=True).hidden_states[1][0]
        if own.main.causal:  # transformers gives the last state after the final norm
            with workbench.reading(own, ["blocks.0.resid_post"]) as values:
                own.module(**batch)
            hidden = values["blocks.0.resid_post"][0]
        pieces = own.processor.convert_ids_to_tokens(batch["input_ids"][0])
        at = {"Monday": "day", "Tuesday": "day"}.get(text, f" {text}")
        torch.testing.assert_close(got[sites[1]][number], hidden[pieces.index(at)], atol=1e-5, rtol=1e-5)


def test_rows_of_embedding_and_unembedding(own):
    found = variable("one,six,two", own)
    ids = found.tokens()
    torch.testing.assert_close(embedding_rows(own, ids), own.module.get_input_embeddings().weight[ids])
    torch.testing.assert_close(unembedding_rows(own, ids), own.module.get_output_embeddings().weight[ids])


def test_an_unembedding_without_open_weights_is_read_through_its_outputs(own, monkeypatch):
    ids = variable("one,six,two", own).tokens()
    expected, last = unembedding_rows(own, ids), own.module.get_output_embeddings()
    monkeypatch.setattr(own.module, "get_output_embeddings", lambda: lambda x: last(x) + 3.0)
    monkeypatch.setattr(type(own), "unembed", None)
    torch.testing.assert_close(unembedding_rows(own, ids), expected, atol=1e-5, rtol=1e-5)


def test_states_of_positions_are_means_over_random_tokens(tiny):
    model = tiny("gpt2")
    found = variable("positions:9", model)
    got = states(model, found, ["pos_embed", "blocks.1.resid_post"], seed=3)
    torch.testing.assert_close(got["pos_embed"], model.module.get_parameter("transformer.wpe.weight")[:9])
    plain = torch.arange(2, 98)  # all but the start mark and the unknown character
    tokens = plain[torch.randint(96, (16, 9), generator=torch.Generator().manual_seed(3))]
    rows = []
    for row in tokens:
        with torch.no_grad(), workbench.reading(model, ["blocks.1.resid_post"]) as values:
            model.module(row[None])
        rows.append(values["blocks.1.resid_post"][0])
    torch.testing.assert_close(got["blocks.1.resid_post"], torch.stack(rows).mean(0), atol=1e-5, rtol=1e-5)
    again, other = (states(model, found, ["blocks.1.resid_post"], seed=seed)["blocks.1.resid_post"] for seed in (3, 4))
    assert torch.equal(got["blocks.1.resid_post"], again) and not torch.equal(again, other)


def test_only_rows_of_tokens_are_read(tiny):
    with pytest.raises(workbench.BadInput, match="no row for each token"):
        states(tiny("gpt2"), variable("letters", tiny("gpt2")), ["blocks.0.attn.pattern"])
    with pytest.raises(workbench.BadInput, match="no row for each token"):
        states(tiny("t5"), variable("letters", tiny("t5")), ["decoder_blocks.0.resid_post"])


@pytest.mark.parametrize("family", ["t5", "bart", "clip", "mamba", "llama"])
def test_every_family_that_reads_text_has_states(tiny, family):
    model = tiny(family)
    prefix = next(stack.prefix for stack in model.stacks if stack.side == "input")
    site = model.stream("resid_post", prefix)[1]
    found = variable("a,bcd,e", model)
    got = states(model, found, [site], template="abc {}")[site]
    assert got.shape == (3, model.stack(prefix).sizes.d_model) and got.isfinite().all()
    assert embedding_rows(model, torch.tensor([3, 4])).shape[0] == 2
