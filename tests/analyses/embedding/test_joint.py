"""One head and all heads: against plain loops over inputs, and each against the other."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import workbench
from workbench.analyses.embedding.colourings import colourings
from workbench.testing import tiny_model

TEXTS = ("abcabcab", "the cat sat", "xyz", "a text of more", "aaaa")


def plain_pairs(model, site_q, site_k, head, kv_head, *, causal):
    """Queries, keys and every pair that can attend, input by input."""
    pairs = []
    for text in TEXTS:
        with torch.no_grad(), workbench.reading(model, [site_q, site_k]) as values:
            model.module(**model.encode(text))
        q, k = values[site_q][0, :, head].double(), values[site_k][0, :, kv_head].double()
        pairs.append((q, k))
    queries, keys = (torch.cat(x) for x in zip(*pairs, strict=True))
    move = queries.mean(0) - keys.mean(0)
    found = []
    for q, k in pairs:
        for i in range(len(q)):
            found += [(q[i], k[j]) for j in range(i + 1 if causal else len(k))]
    return found, move


@pytest.mark.parametrize(("family", "causal"), [("gpt2", True), ("llama", True), ("bert", False)])
def test_correlations_are_those_of_a_plain_loop(family, causal):
    model = tiny_model(family)
    turned = "rot_" if family == "llama" else ""
    result = workbench.joint_qk(model, TEXTS, layer=1, head=1, points=1000)
    pairs, move = plain_pairs(
        model, f"blocks.1.attn.{turned}q", f"blocks.1.attn.{turned}k", 1, result.kv_head, causal=causal
    )
    assert result.n_pairs == len(pairs)
    for stage, (a, c) in enumerate(((0, 1), (move, 1), (move, result.scale))):
        moved = [(c * q, (k + a) / c) for q, k in pairs]
        dots = [float(q @ k) for q, k in moved]
        distances = {
            0: [1 - float(q @ k) / math.sqrt(float(q @ q) * float(k @ k)) for q, k in moved],
            1: [float((q - k).square().sum().sqrt()) for q, k in moved],
        }
        for kind, distance in distances.items():
            expected = [stats.spearmanr(distance, dots).statistic, stats.pearsonr(distance, dots).statistic]
            np.testing.assert_allclose(result.correlations[stage, kind].numpy(), expected, atol=2e-4)


def test_alignment_leaves_attention_as_it_is():
    model = tiny_model("gpt2")
    result = workbench.joint_qk(model, TEXTS, layer=1, head=0, points=1000)
    d_head = result.vectors.shape[1]
    for number, text in enumerate(TEXTS):
        with torch.no_grad(), workbench.reading(model, ["blocks.1.attn.pattern"]) as values:
            model.module(**model.encode(text))
        mine = result.input == number
        q, k = result.vectors[mine & ~result.is_key], result.vectors[mine & result.is_key]
        scores = (q @ k.T / math.sqrt(d_head)).masked_fill(torch.ones(len(q), len(k)).triu(1).bool(), -math.inf)
        torch.testing.assert_close(scores.softmax(-1), values["blocks.1.attn.pattern"][0, 0], rtol=1e-4, atol=1e-6)


def test_strongest_keys_and_value_norms_are_the_models():
    model = tiny_model("llama")
    result = workbench.joint_qk(model, TEXTS, layer=1, head=3, points=1000)
    n_queries = int((~result.is_key).sum())
    w_o = model.module.model.layers[1].self_attn.o_proj.weight.T.unflatten(0, (4, -1))[3]  # (d_head, d_model)
    for number, text in enumerate(TEXTS):
        with torch.no_grad(), workbench.reading(model, ["blocks.1.attn.pattern", "blocks.1.attn.v"]) as values:
            model.module(**model.encode(text))
        pattern = values["blocks.1.attn.pattern"][0, 3]
        rows = (result.input[:n_queries] == number).nonzero().squeeze(-1)
        first = n_queries + int(rows[0])
        for i, row in enumerate(rows.tolist()):
            weights, places = pattern[i, : i + 1].sort(descending=True)
            expected = [first + int(p) for p in places[:3]] + [-1] * (3 - len(places))
            assert result.strongest[row].tolist() == expected
            torch.testing.assert_close(result.strongest_weights[row][: len(weights)], weights[:3])
        moved = (values["blocks.1.attn.v"][0, :, 1] @ w_o).norm(dim=-1)
        torch.testing.assert_close(result.value_norms[rows], moved)
        torch.testing.assert_close(result.value_norms[rows + n_queries], moved)


def test_scores_that_are_more_than_dot_products_have_correlations_of_their_own():
    assert workbench.joint_qk(tiny_model("gpt2"), TEXTS).score_correlations is None
    model = tiny_model("t5")  # relative positions are added to q.k
    result = workbench.joint_qk(model, TEXTS, layer=1, head=1, attention="encoder_blocks.attn", points=1000)
    cosine, scores = [], []
    for text in TEXTS:
        sites = [f"encoder_blocks.1.attn.{part}" for part in ("q", "k", "attn_scores")]
        with torch.no_grad(), workbench.reading(model, sites) as values:
            model.module(**model.encode(text))
        q, k, score = values[sites[0]][0, :, 1], values[sites[1]][0, :, 1], values[sites[2]][0, 1]
        for i in range(len(q)):
            for j in range(len(k)):
                cosine.append(1 - torch.cosine_similarity(q[i], k[j], dim=0).item())
                scores.append(score[i, j].item())
    assert result.score_correlations is not None
    assert result.score_correlations[0, 0, 0].item() == pytest.approx(
        stats.spearmanr(cosine, scores).statistic, abs=2e-4
    )
    assert abs(result.score_correlations[0, 0, 0] - result.correlations[0, 0, 0]) > 0.01
    frame = result.correlation_frame()
    assert set(frame.loc[frame["with"] == "score", "pairs"]) == {len(scores)}
    assert set(frame.loc[frame["with"] == "dot product", "pairs"]) == {result.n_pairs}
    still = workbench.joint_qk(
        model, TEXTS, layer=1, head=1, attention="encoder_blocks.attn", points=1000, translate=False
    )
    torch.testing.assert_close(still.score_correlations[:2], result.score_correlations[:1].expand(2, 2, 2))
    assert not torch.allclose(result.score_correlations[1], result.score_correlations[0])


def test_scores_are_held_against_the_alignment_that_is_shown():
    model, texts = tiny_model("t5"), tuple(f"{a}{b}{a}{b} {b}" for a in "abcdef" for b in "xyz")
    result = workbench.joint_qk(model, texts, layer=0, head=0, points=1000)
    q, k = result.vectors[~result.is_key].double(), result.vectors[result.is_key].double()
    cosine, scores, at = [], [], 0
    for text in texts[:12]:
        with torch.no_grad(), workbench.reading(model, ["encoder_blocks.0.attn.attn_scores"]) as values:
            model.module(**model.encode(text))
        score = values["encoder_blocks.0.attn.attn_scores"][0, 0]
        rows = slice(at, at + len(score))
        similar = torch.nn.functional.normalize(q[rows], dim=-1) @ torch.nn.functional.normalize(k[rows], dim=-1).T
        cosine += (1 - similar).flatten().tolist()
        scores += score.flatten().tolist()
        at += len(score)
    assert result.score_pairs == len(scores)
    expected = stats.spearmanr(cosine, scores).statistic
    assert result.score_correlations[2, 0, 0].item() == pytest.approx(
        expected, abs=1e-3
    )  # the vectors are in single precision


def test_the_matrix_holds_every_head_as_it_is_alone():
    model = tiny_model("llama")
    matrix = workbench.joint_qk_matrix(model, TEXTS, points=1000)
    for layer in range(2):
        for head in range(4):
            alone = workbench.joint_qk(model, TEXTS, layer=layer, head=head, points=1000)
            torch.testing.assert_close(matrix.correlations[layer, head], alone.correlations)
            torch.testing.assert_close(matrix.norms[layer, head], alone.norms)
            torch.testing.assert_close(matrix.coordinates[layer, head], alone.coordinates.half(), rtol=2e-3, atol=2e-3)
            assert matrix.score("correlation")[layer, head] == alone.correlations[2, 0, 0]


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_habits_are_those_of_a_plain_loop(family):
    model = tiny_model(family)
    matrix = workbench.joint_qk_matrix(model, TEXTS, points=1000)
    seen: dict[str, list[float]] = {name: [] for name in ("first", "previous", "self", "induction", "same token")}
    for text in TEXTS:
        batch = model.encode(text)
        ids = batch["input_ids"][0].tolist()
        with torch.no_grad(), workbench.reading(model, ["blocks.1.attn.pattern"]) as values:
            model.module(**batch)
        pattern = values["blocks.1.attn.pattern"][0, 1]
        for i in range(1, len(ids)):
            seen["first"].append(pattern[i, 0].item())
            seen["previous"].append(pattern[i, i - 1].item())
            seen["self"].append(pattern[i, i].item())
        for i in range(len(ids)):
            earlier = [j for j in range(i) if ids[j] == ids[i]]
            if earlier:
                seen["same token"].append(sum(pattern[i, j].item() for j in earlier))
            if after := [j + 1 for j in earlier if j + 1 < i]:
                seen["induction"].append(sum(pattern[i, j].item() for j in after))
    for name, values in seen.items():
        place = matrix.score_names.index(name)
        assert matrix.scores[1, 1, place].item() == pytest.approx(np.mean(values), abs=1e-5), name
        assert matrix.counts[1, 1, place] == len(values)


def test_a_head_whose_queries_are_all_one_is_named_and_skipped():
    model = tiny_model("gpt2")
    weight = model.module.transformer.h[1].attn.c_attn
    with torch.no_grad():
        weight.weight[:, 8:16] = 0.0  # the queries of head 1: its bias alone is left
    matrix = workbench.joint_qk_matrix(model, TEXTS, points=1000)
    assert matrix.skipped == ((1, 1, "all its queries are the same vector"),)
    assert matrix.coordinates[1, 1].isnan().all()
    assert not matrix.coordinates[1, 0].isnan().any()
    place = matrix.score_names.index("correlation")
    assert matrix.scores[1, 1, place].isnan()
    assert matrix.counts[1, 1, place] == 0
    assert "Layer 1, head 1 is skipped" in matrix.brief()[0]
    alone = workbench.joint_qk(model, TEXTS, layer=1, head=1, points=1000)
    assert alone.correlations.isnan().all()
    assert any("queries" in note for note in alone.notes)


def test_a_head_that_is_not_finite_has_no_scores():
    model = tiny_model("gpt2")
    with torch.no_grad():
        model.module.transformer.h[1].attn.c_attn.weight[0, 8:16] = torch.nan
    matrix = workbench.joint_qk_matrix(model, TEXTS, points=1000)
    assert matrix.skipped == ((1, 1, "its queries are not finite"),)
    assert matrix.scores[1, 1].isnan().all()
    assert (matrix.counts[1, 1] == 0).all()
    assert not matrix.scores[1, 0].isnan().all()
    with pytest.raises(workbench.BadInput, match="Layer 1, head 1 has queries or keys that are not finite"):
        workbench.joint_qk(model, TEXTS, layer=1, head=1, points=1000)


def test_a_cloud_of_one_point_has_no_neighbours_to_keep():
    result = workbench.joint_qk(
        tiny_model("t5"), TEXTS, attention="decoder_blocks.self_attn", points=1000
    )  # the start token alone, of every input
    assert math.isnan(result.trustworthiness)
    assert math.isnan(result.preservation)


def test_unknown_scores_are_named():
    matrix = workbench.joint_qk_matrix(tiny_model("gpt2"), TEXTS, points=1000)
    for asked in (matrix.score, lambda name: matrix.figure(of=name)):
        with pytest.raises(workbench.UnknownName, match="norm gap"):
            asked("norm gapp")
    with pytest.raises(workbench.BadInput, match="modulo 2"):
        colourings(matrix, modulo=0)


def test_the_picture_half_of_a_pair_has_its_patches():
    model = tiny_model("clip")
    matrix = workbench.joint_qk_matrix(
        model, ["abc @ example", "ab @ example"], attention="vision_blocks.attn", points=100
    )
    assert {"row", "column", "brightness", "hue"} <= set(matrix.trait_names)


def test_one_projection_for_all_heads_keeps_their_axes():
    model = tiny_model("gpt2")
    own = workbench.joint_qk_matrix(model, TEXTS, points=1000)
    shared = workbench.joint_qk_matrix(model, TEXTS, points=1000, shared=True)
    vectors = [
        workbench.joint_qk(model, TEXTS, layer=layer, head=head, points=1000).vectors.double()
        for layer in range(2)
        for head in range(2)
    ]
    pooled = torch.cat(vectors)
    _, _, axes = torch.linalg.svd(pooled - pooled.mean(0), full_matrices=False)
    expected = torch.stack([(x - pooled.mean(0)) @ axes[:2].T for x in vectors])
    found = shared.coordinates.flatten(0, 1).double()
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=5e-3, atol=5e-3)
    assert not torch.allclose(own.coordinates, shared.coordinates)
    torch.testing.assert_close(own.correlations, shared.correlations)


def test_colourings_say_what_is_known():
    result = workbench.joint_qk(tiny_model("gpt2"), TEXTS, points=1000)
    known = colourings(result, modulo=3)
    assert list(known)[0] == "query or key"
    assert known["query or key"].values.tolist() == [float(x) for x in result.is_key.tolist()]
    assert known["position"].values.tolist() == result.position.tolist()
    assert known["position mod"].values.tolist() == (result.position % 3).tolist()
    token = known["token"]
    assert [token.categories[int(i)] for i in token.values if int(i) < 12] == [
        label for label in result.labels if label in token.categories[:12]
    ]
    assert known["norm"].values is None
    assert "part of speech" not in known
    assert "group" not in known
    with pytest.raises(workbench.UnknownName, match="position mod"):
        result.figure(colour="posiiton")


def test_patches_are_coloured_by_what_they_show():
    from PIL import Image

    left = np.zeros((16, 16, 3), np.uint8)
    left[:, :8] = 255  # white on the left, black on the right
    model = tiny_model("vit")
    result = workbench.joint_qk(model, [Image.fromarray(left)], points=100)
    bright = colourings(result)["brightness"].values
    assert math.isnan(bright[0])  # the class token shows nothing
    assert bright[1:5].tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0], abs=1e-6)
    assert bright[6:10].tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0], abs=1e-6)
    assert colourings(result)["column"].values[1:5].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert colourings(result)["hue"].kind == "circular"
