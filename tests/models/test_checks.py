"""The load-time checks pass on sound models (test_adapters.py) and fail on each kind of unsound one."""

import pytest
import torch

from workbench.hooks import editing
from workbench.models.checks import check
from workbench.models.lens_model import LensModel
from workbench.models.sites import Place, Site
from workbench.testing import FAMILIES, tiny_model


def failed(model, **options):
    return {c.name for c in check(model, **options) if c.passed is False}


@pytest.mark.parametrize("family", FAMILIES)
def test_thorough_edits_every_site(family):
    model = tiny_model(family)
    found, n = {c.name: c for c in check(model, thorough=True)}, len(model.sites)
    assert found["edits are undone"].passed and found["edits are undone"].detail.startswith(f"{n} edited")


def test_a_site_that_changes_nothing_is_found():
    """A hook point whose value was used already: readable, not editable, and must not be declared so."""
    model = tiny_model("gpt2")
    module = model.module
    spare = torch.nn.Identity()
    module.transformer.h[1].spare = spare
    module.transformer.h[1].register_forward_hook(
        lambda _m, _a, out: (spare(out[0] if isinstance(out, tuple) else out), out)[1]
    )
    extra = Site("blocks.1.spare", ("batch", "pos", "d_model"), Place("transformer.h.1.spare"))
    fields = {f: getattr(model, f) for f in LensModel.__dataclass_fields__}
    odd = LensModel(**{**fields, "sites": {**model.sites, extra.name: extra}})
    assert failed(odd) >= {"editable sites"}
    assert failed(odd, thorough=True) == {"edits are undone"}


def test_a_model_that_does_not_repeat_itself_is_found():
    model = tiny_model("gpt2")
    model.module.transformer.h[0].mlp.dropout.p = 0.5
    model.module.train()
    assert {"numeric regime", "difference from the bare model"} <= failed(model)


def test_an_attention_that_does_not_sum_to_one_is_found():
    model = tiny_model("gpt2")
    with editing(model, {"blocks.0.attn.pattern": lambda p: p * 0.9}):
        assert "blocks.attn rows sum to one" in failed(model)
    assert not failed(model)
