"""Patched answers: as a replay by hand and as the cell of a sweep; the two runs where nothing or all is patched."""

from typing import Any

import pytest
import torch

import workbench
from workbench.interventions import edits, parse
from workbench.testing import tiny_model

CLEAN, CORRUPTED = "abcabcabc", "abcacabca"


def answered(model, *patches, **options) -> Any:
    return workbench.get("patched-answers")(model, CLEAN, CORRUPTED, patches=patches, **options)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_list_is_replayed_by_its_texts(direction):
    model = tiny_model("llama")
    found = answered(
        model, "blocks.0.attn.z:1,3@5", "blocks.1.mlp_out@-1", "blocks.1.attn_out=zero", direction=direction
    )
    base, source = (CORRUPTED, CLEAN) if direction == "denoise" else (CLEAN, CORRUPTED)
    assert [parse(text).operation for text in found.interventions] == ["patch", "patch", "zero"]
    with workbench.editing(model, edits(model, found.interventions, source=source)):
        row = model.logits(model.encode(base))[0, -1]
    a, b = model.token_id(found.token), model.token_id(found.foil)
    assert found.values[1].item() == pytest.approx((row[a] - row[b]).item(), abs=1e-5)
    torch.testing.assert_close(found.probabilities[1], row.softmax(-1)[[a, b]])
    for answer, log_prob, rank in zip(found.answers, found.log_probs[1], found.ranks[1], strict=True):
        number = model.token_id(answer)
        assert log_prob.item() == pytest.approx(row.log_softmax(-1)[number].item(), abs=1e-5)
        assert rank == (row > row[number]).sum()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_one_patch_is_the_cell_of_the_sweep(direction):
    model = tiny_model("gpt2")
    sweep = workbench.get("activation-patching")(
        model, CLEAN, CORRUPTED, sweep="heads", each_position=True, direction=direction
    )
    found = answered(model, sweep.intervention(1, 0, 9), direction=direction)
    assert found.effect == pytest.approx(sweep.effect[1, 0, 9].item(), abs=1e-5)
    assert found.probabilities[1, 0].item() == pytest.approx(sweep.probability[1, 0, 9].item(), abs=1e-6)


def test_nothing_and_everything():
    model = tiny_model("gpt2")
    nothing, everything = answered(model), answered(model, "blocks.1.resid_pre")
    assert nothing.effect == pytest.approx(0, abs=1e-6) and torch.equal(nothing.log_probs[1], nothing.log_probs[2])
    assert everything.effect == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(everything.log_probs[1], everything.log_probs[0], atol=1e-5, rtol=0)
    assert everything.to_frame()["change"].abs().max() > 0.01 > nothing.to_frame()["change"].abs().max()


def test_runs_that_do_not_differ_have_no_effect():
    found = workbench.get("patched-answers")(tiny_model("gpt2"), CLEAN, CLEAN, patches=("blocks.0.mlp_out",))
    assert found.effect is None and "undefined" in found.brief()[0]


def test_what_is_no_patch():
    with pytest.raises(workbench.BadInput, match="not an intervention"):
        answered(tiny_model("gpt2"), "block five")
    with pytest.raises(workbench.MissingSite, match="no such site"):
        answered(tiny_model("gpt2"), "blocks.9.mlp_out")
    with pytest.raises(workbench.BadInput, match="position 40"):
        answered(tiny_model("gpt2"), "blocks.0.mlp_out@40")
