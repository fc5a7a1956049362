"""Analyses of a model that computes NaN refuse, instead of saying what only looks true."""

import pytest
import torch

import workbench
from workbench.registry import get
from workbench.testing import tiny_model

TEXT = "abcabc"
TEXTS = [TEXT, "bcabca"]
ASKED = {
    "attention-sinks": (TEXT,),
    "massive-activations": (TEXT,),
    "massive-interventions": (TEXT,),
    "in-context-algorithms": (TEXT,),
    "attention-operations": (TEXT,),
    "dormant-heads": (TEXTS, TEXTS),
    "rank-collapse": (TEXT,),
    "rank-collapse-texts": (TEXTS,),
    "path-decomposition": (TEXT,),
    "head-scores": (),
    "induction-scores": (),
}
OF_ANSWERS = sorted(set(ASKED) - {"attention-sinks", "massive-activations", "rank-collapse", "rank-collapse-texts"})
SMALL = {"head-scores": {"period": 4, "sequences": 1}, "induction-scores": {"period": 4, "sequences": 1}}


def broken(where: str, number: float) -> workbench.LensModel:
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.module.get_parameter(where).fill_(number)
    return model


def ask(name: str, model: workbench.LensModel) -> None:
    get(name)(model, *ASKED[name], **SMALL.get(name, {}))


@pytest.mark.parametrize("name", ASKED)
def test_nan_in_a_block_is_refused(name):
    with pytest.raises(workbench.BadWeights, match=r"not finite at .*`workbench check`"):
        ask(name, broken("transformer.h.0.mlp.c_fc.weight", torch.nan))


@pytest.mark.parametrize("name", OF_ANSWERS)
def test_infinity_before_the_readout_is_refused_where_answers_are_read(name):
    with pytest.raises(workbench.BadWeights, match="not finite at logits"):
        ask(name, broken("transformer.ln_f.bias", torch.inf))


def test_copying_refuses_weights_that_no_pattern_shows():
    from workbench.analyses.heads.copying import copying

    for where, said in {
        "transformer.wte.weight": "its embedding",
        "transformer.h.1.attn.c_proj.weight": "the output map of layer 1",
        "transformer.h.1.attn.c_attn.weight": "the value map of layer 1",
    }.items():
        with pytest.raises(workbench.BadWeights, match=said):
            copying(broken(where, torch.nan), tokens=8, seed=0)


def test_a_logit_of_minus_infinity_is_a_probability_of_zero():
    from workbench.analyses.sound import need_sound_logits

    model = tiny_model("gpt2")
    need_sound_logits(model, torch.tensor([[0.0, -torch.inf]]))
    for row in ([-torch.inf, -torch.inf], [0.0, torch.inf], [0.0, torch.nan]):
        with pytest.raises(workbench.BadWeights):
            need_sound_logits(model, torch.tensor([row]))
