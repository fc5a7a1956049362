"""Interventions as text and JSON: round trips, and a sentence for anything else."""

import pytest

from workbench import BadInput, Intervention
from workbench.interventions import from_json, parse, to_json

EXAMPLES = (
    Intervention(site="blocks.5.attn.z", heads=(3,)),
    Intervention(site="blocks.5.attn.z", heads=(0, 3), positions=(4, -7), operation="mean"),
    Intervention(site="blocks.2.mlp_out", positions=(-1,), operation="scale", amount=0.1),
    Intervention(site="blocks.2.mlp_out", operation="add", amount=-1e-7),
    Intervention(site="decoder_blocks.0.cross_attn.pattern", heads=(2,), operation="zero"),
    Intervention(site="blocks.2.resid_post", operation="resample", seed=7),
    Intervention(site="blocks.2.resid_pre", operation="patch", positions=(4,)),
)


@pytest.mark.parametrize("intervention", EXAMPLES, ids=str)
def test_text_round_trip(intervention):
    assert parse(str(intervention)) == intervention


def test_json_round_trip():
    assert from_json(to_json(EXAMPLES)) == EXAMPLES


def test_short_forms():
    assert parse("blocks.5.attn.z:3@4,7") == Intervention(site="blocks.5.attn.z", heads=(3,), positions=(4, 7))
    assert parse("blocks.5.mlp_out", operation="resample", seed=3) == Intervention(
        site="blocks.5.mlp_out", operation="resample", seed=3
    )
    assert parse("blocks.5.mlp_out=zero", operation="mean").operation == "zero"
    assert str(parse("blocks.5.attn.z:3@4,7")) == "blocks.5.attn.z:3@4,7=zero"


@pytest.mark.parametrize(
    "text",
    ["", "a b", "x:y", "x@", "x:1:2", "x=explode", "x=scale", "x=scale:much", "x=scale:nan", "x=scale:inf",
     "x=zero:1", "x=resample:1.5", "x=mean:2", "x=patch:1", "x@1.5", "x:-1"],
)  # fmt: skip
def test_what_is_not_an_intervention_is_refused_in_words(text):
    with pytest.raises(BadInput):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "3", "null", "[3]", '[{"site": 3}]', '[{"operation": "zero"}]', '[{"site": "x", "bogus": 1}]',
     '[{"site": "x", "heads": ["a"]}]', '[{"site": "x", "heads": 3}]', '[{"site": "x", "operation": "explode"}]',
     '[{"site": "x", "amount": "1"}]', '[{"site": "x", "amount": NaN}]', '[{"site": "x", "seed": true}]',
     '{"site": "x"}', '[{"site": "x", "heads": [-1]}]', '[{"site": "x", "seed": -1}]', "["* 100_000],
)  # fmt: skip
def test_what_is_not_json_of_interventions_is_refused_in_words(text):
    with pytest.raises(BadInput):
        from_json(text)
