"""Similar heads: distances against plain loops over what the model did, and heads made alike."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.distance import jensenshannon

import workbench
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.testing import tiny_model

TEXTS = ("abcabcabc", "the cat", "xyz xyz and so on")


@torch.no_grad()
def all_patterns(model, attention=None):
    """Patterns (head, query, key) of each text, heads counted through the layers."""
    found = []
    sites = model.attention_sites(attention, "pattern")
    for text in TEXTS:
        with reading(model, sites) as values:
            model.module(**model.encode(text))
        found.append(torch.cat([values[site][0] for site in sites]).double().numpy())
    return found


@pytest.mark.parametrize("family", ["gpt2", "bert", "micro"])
def test_divergences_are_those_of_the_rows_heads_choose_in(family):
    model = tiny_model(family)
    found = workbench.similar_heads(model, TEXTS)
    patterns = all_patterns(model)
    first = 1 if model.main.causal else 0
    assert found.n_inputs == 3 and found.n_rows == sum(one.shape[1] - first for one in patterns)
    for a, b in itertools.product(range(len(found.distances)), repeat=2):
        each = [jensenshannon(one[a, q], one[b, q]) ** 2 for one in patterns for q in range(first, one.shape[1])]
        assert found.distances[a, b].item() == pytest.approx(np.nanmean(each), abs=1e-6)
    order = np.argsort(np.where(np.eye(len(found.distances)), np.inf, found.distances), axis=1, kind="stable")
    assert found.nearest.tolist() == order[:, : found.nearest.shape[1]].tolist()


@pytest.mark.parametrize("by", ["queries", "keys", "values", "outputs"])
def test_spaces_are_compared_by_principal_angles(by):
    model = tiny_model("llama")
    found = workbench.similar_heads(model, by=by)
    weights = []
    for layer in model.module.model.layers:
        matrix = getattr(layer.self_attn, f"{by[0]}_proj").weight.detach().double()
        heads = (matrix.T if by == "outputs" else matrix).view(-1, 4, 16).mT  # (head, d_model, d_head)
        weights.append(heads.repeat_interleave(4 // len(heads), 0))
    spaces = torch.cat(weights).numpy()
    for a, b in itertools.product(range(8), repeat=2):
        angles = scipy.linalg.subspace_angles(spaces[a], spaces[b])
        assert found.distances[a, b].item() == pytest.approx(math.sqrt(np.mean(np.sin(angles) ** 2)), abs=1e-6)
    shared = by in ("keys", "values")
    assert (found.distances[0, 1] < 1e-6) == shared and found.distances[1, 2] > 0.1
    assert (found.n_inputs, found.n_rows) == (0, 0)


def test_heads_that_were_made_alike_are_found():
    model = tiny_model("gpt2")
    with torch.no_grad():
        fused = model.module.transformer.h[1].attn.c_attn
        for part in range(2):
            for one in (fused.weight, fused.bias):
                one[..., part * 16 : part * 16 + 8] = one[..., part * 16 + 8 : part * 16 + 16]
    for by in ("patterns", "queries", "keys"):
        found = workbench.similar_heads(model, TEXTS, by=by)
        assert found.distances[2, 3] < 1e-7 and found.nearest[2, 0] == 3 and found.nearest[3, 0] == 2
        torch.testing.assert_close(found.coordinates[2], found.coordinates[3], rtol=0, atol=2e-4)
        frame = found.to_frame()
        assert frame.loc[2, "nearest"] == "1.1" and frame.loc[3, "nearest"] == "1.0"
    assert workbench.similar_heads(model, by="values").distances[2, 3] > 0.1


def test_some_layers_are_a_part_of_all():
    model = tiny_model("micro")
    whole, part = workbench.similar_heads(model, TEXTS), workbench.similar_heads(model, TEXTS, layers=(1,))
    n = model.n_heads
    torch.testing.assert_close(part.distances, whole.distances[n : 2 * n, n : 2 * n])
    assert part.layers == (1,) and part.label(0) == "1.0" and part.number(1, 2) == 2
    with pytest.raises(BadInput, match="Layer 0 was not compared"):
        part.number(0, 0)
    with pytest.raises(BadInput, match=f"no head 99 in a layer: there are {n}, 0 to {n - 1}"):
        part.number(1, 99)


def test_rows_are_drawn_with_the_seed():
    model = tiny_model("gpt2")
    one, same, other = (workbench.similar_heads(model, TEXTS, rows=3, seed=seed) for seed in (0, 0, 1))
    assert one.n_rows == 9
    assert torch.equal(one.distances, same.distances) and not torch.equal(one.distances, other.distances)


def test_the_map_is_of_the_distances():
    model = tiny_model("bert")
    found = workbench.similar_heads(model, TEXTS)
    roots = found.distances.double().sqrt().numpy()
    centred = -0.5 * (np.eye(4) - 0.25) @ roots**2 @ (np.eye(4) - 0.25)
    values = np.sort(np.linalg.eigvalsh(centred))[::-1]
    assert found.kept == pytest.approx(values[:2].sum() / np.abs(values).sum(), abs=1e-5)
    np.testing.assert_allclose((found.coordinates**2).sum(0), values[:2], rtol=1e-4, atol=1e-9)
    pairs = found.pairs_frame()
    assert len(pairs) == 6 and pairs.loc[0, "distance"] == found.distances[0, 1].item()
    assert len(found.matrix_figure().data[0].z) == 4


def test_cross_attention_and_encoders_have_maps():
    model = tiny_model("t5")
    assert workbench.similar_heads(model).attention == "encoder_blocks.attn"
    crossed = workbench.similar_heads(model, ("abc => abcd", "xyzzy => x"), attention="decoder_blocks.cross_attn")
    assert crossed.n_rows > 2  # also the first row: there is a choice
    with pytest.raises(BadInput, match="no choice where to look.*text => target"):
        workbench.similar_heads(model, TEXTS, attention="decoder_blocks.self_attn")


def test_texts_longer_than_the_model_reads_are_cut():
    model = tiny_model("gpt2")
    found = workbench.similar_heads(model, ["ab" * 200], rows=4096)
    assert found.n_rows == model.n_ctx - 1
    assert found.notes == (f"1 input is longer than {model.name} reads: the first {model.n_ctx} tokens are read.",)
    assert workbench.similar_heads(model, TEXTS).notes == ()


def test_a_head_that_is_not_finite_is_named():
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.module.transformer.h[1].attn.c_attn.bias[8:16] = torch.nan  # queries of its second head
    with pytest.raises(BadInput, match="that of layer 1, head 1 of blocks.attn is not"):
        workbench.similar_heads(model, TEXTS)


def test_half_precision_is_compared_too():
    whole, half = tiny_model("gpt2"), tiny_model("gpt2")
    half.module.bfloat16()
    found = workbench.similar_heads(half, TEXTS).distances
    torch.testing.assert_close(found, workbench.similar_heads(whole, TEXTS).distances, rtol=0.1, atol=1e-3)


def test_one_head_cannot_be_compared():
    import transformers

    config = transformers.GPT2Config(vocab_size=98, n_layer=1, n_head=1, n_embd=16)
    with pytest.raises(BadInput, match="at least two"):
        workbench.similar_heads(workbench.adapt(transformers.GPT2LMHeadModel(config).eval()), TEXTS)
