"""ALTI of every family against blocks taken apart by hand."""

import pytest
import torch

import workbench
from tests.analyses.attribution.plain_blocks import SINGLE, exact_model, single_steps, two_sided_steps
from workbench.analyses.attribution.alti import METHODS
from workbench.testing import tiny_model

EXACT = {"rtol": 1e-9, "atol": 1e-10}


def shares(step):
    """c_ij of one step, vector by vector; cross: the query itself is the last column."""
    whole = step.whole
    for norm in step.after if step.post else []:
        whole = norm(whole)
    rows = []
    for parts in whole:  # (source, d_model)
        total = parts.sum(0)
        kept = [max(0.0, (total.abs().sum() - (total - part).abs().sum()).item()) for part in parts]
        rows.append([one / sum(kept) if sum(kept) else 0.0 for one in kept])
    return torch.tensor(rows, dtype=torch.float64)


def chained(maps):
    found = [maps[0]]
    for one in maps[1:]:
        found.append(one @ found[-1])
    return torch.stack(found)


@pytest.mark.parametrize("family", SINGLE)
def test_every_family(family):
    model, text = exact_model(family)
    plain = [shares(step) for step in single_steps(family, model, model.encode(text))]
    each = workbench.alti(model, text, cumulative=False)
    torch.testing.assert_close(each.maps, torch.stack(plain), **EXACT)
    found = workbench.alti(model, text)
    torch.testing.assert_close(found.maps, chained(plain), **EXACT)
    assert torch.equal(found.scores, found.maps[:, found.row])


@pytest.mark.parametrize("family", ["t5", "bart", "whisper"])
def test_encoder_decoders(family):
    model, text = exact_model(family)
    steps = two_sided_steps(family, model, model.encode(text))
    n = len(steps["encoder"][0].own)
    size = n + len(steps["self"][0].own)
    maps = torch.eye(size, dtype=torch.float64).repeat(6, 1, 1)
    for i in range(2):
        maps[i, :n, :n] = shares(steps["encoder"][i])
        maps[2 + 2 * i, n:, n:] = shares(steps["self"][i])
        cross = shares(steps["cross"][i])
        maps[3 + 2 * i, n:, :n], maps[3 + 2 * i, n:, n:] = cross[:, :-1], torch.diag(cross[:, -1])
    torch.testing.assert_close(workbench.alti(model, text).maps, chained(maps), **EXACT)


def test_in_post_norm_models_the_norm_counts():
    """Without the norm of the sum the shares of the trained-like BERT would be others."""
    model, text = exact_model("bert")
    steps = single_steps("bert", model, model.encode(text))
    bare = [shares(type(s)(**{**vars(s), "post": False})) for s in steps]
    found = workbench.alti(model, text, cumulative=False).maps
    assert not torch.allclose(found, torch.stack(bare), atol=1e-3)


def test_one_token_is_all_there_is():
    found = workbench.alti(tiny_model("gpt2"), torch.tensor([[7]]))
    assert found.scores.tolist() == [[1.0], [1.0]]


def test_is_one_of_the_methods():
    (one,) = METHODS
    assert one.analysis == "alti" and not one.signed and one.cost == "one forward"
    assert not one.missing(tiny_model("bart")) and one.missing(tiny_model("mamba"))
