"""Head scores against plain loops, TransformerLens, products made in full, and models whose heads are made by hand."""

import math
from typing import Any

import pytest
import torch
from transformer_lens import FactoredMatrix
from transformer_lens.head_detector import (
    compute_head_attention_similarity_score,
    get_duplicate_token_head_detection_pattern as duplicate_places,
    get_induction_head_detection_pattern as induction_places,
    get_previous_token_head_detection_pattern as previous_places,
)

import workbench
from workbench.analyses.heads import copying
from workbench.analyses.heads.repeated_blocks import drawn
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer
from workbench.testing import tiny_model

SMALL = {"period": 6, "repeats": 3, "sequences": 2, "leave_out": 0.0, "seed": 4}


def patterns_of(model, ids):
    sites = model.attention_sites(None, "pattern")
    with torch.no_grad(), workbench.reading(model, sites) as values:
        logits = model.logits(model.encode(ids))[0] if "logits" in model.capabilities else None
    return torch.stack([values[site][0] for site in sites]), logits


def by_loops(patterns, ids):
    """The scores of every head, query by query; a token is found again by its id."""
    rows = []
    for pattern in patterns.flatten(0, 1).tolist():
        length, found = len(pattern), {name: [] for name in ("last", "all", "previous", "same", "own", "first", "bits")}
        for t in range(1, length):
            copies = [s for s in range(t) if ids[s] == ids[t]]
            found["previous"].append(pattern[t][t - 1])
            found["own"].append(pattern[t][t])
            found["first"].append(pattern[t][0])
            found["bits"].append(-sum(p * math.log(p) for p in pattern[t] if p))
            if copies:
                found["last"].append(pattern[t][copies[-1] + 1])
                found["all"].append(sum(pattern[t][s + 1] for s in copies))
                found["same"].append(sum(pattern[t][s] for s in copies))
        rows.append([sum(x) / len(x) for x in (found[name] for name in found)])
    return torch.tensor(rows)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_scores_of_patterns_are_those_of_a_loop(family):
    model = tiny_model(family)
    found = workbench.head_scores(model, **SMALL)
    names = ["prefix_matching", "prefix_matching_all", "previous_token", "duplicate_token", "self_token"]
    scores = torch.stack([found.score(name) for name in (*names, "first_token", "entropy")], -1).flatten(0, 1)
    ids = workbench.functional.repeated_tokens(6, 3, batch=2, vocab=torch.arange(2, 98), seed=4, bos=0)
    each = torch.stack([by_loops(patterns_of(model, row)[0], row.tolist()) for row in ids])
    torch.testing.assert_close(scores, each.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.spread.flatten(0, 1)[:, :7], each.std(0), atol=1e-5, rtol=1e-3)


def test_they_are_those_of_induction_scores_on_the_same_blocks():
    model = workbench.load("micro")
    found, other = workbench.head_scores(model, sequences=2), workbench.induction_scores(model, sequences=2)
    for i, name in enumerate(other.score_names):
        torch.testing.assert_close(found.score(name), other.scores[..., i])
        assert found.chance[found.score_names.index(name)].item() == pytest.approx(other.chance[i], rel=1e-6)


@pytest.mark.parametrize("family", ["micro", "neox"])
def test_transformer_lens_gives_the_same_shares(family):
    model = tiny_model(family)
    found = workbench.head_scores(model, **(SMALL | {"sequences": 1}))
    ids = workbench.functional.repeated_tokens(6, 3, batch=1, vocab=torch.arange(2, 98), seed=4, bos=0)
    patterns, length = patterns_of(model, ids[0])[0], ids.shape[1]

    def shares(places):
        score = compute_head_attention_similarity_score
        options = {"exclude_bos": False, "exclude_current_token": False, "error_measure": "mul"}
        rows = [[score(head, places(ids), **options) for head in layer] for layer in patterns]
        return torch.tensor(rows) * length  # theirs is a share of all attention; each query has 1

    again = length - 7  # queries from the second copy on
    for name, places, queries in (
        ("previous_token", previous_places, length - 1),
        ("duplicate_token", duplicate_places, again),
        ("prefix_matching_all", induction_places, again),
    ):
        torch.testing.assert_close(found.score(name), shares(places) / queries, atol=1e-5, rtol=1e-4)


def test_chance_is_even_attention():
    model = tiny_model("gpt2")
    found = workbench.head_scores(model, **SMALL)
    chance, queries = dict(zip(found.score_names, found.chance.tolist(), strict=True)), range(7, 19)
    assert chance["prefix_matching"] == pytest.approx(sum(1 / (t + 1) for t in queries) / 12)
    assert chance["duplicate_token"] == pytest.approx(sum(((t - 1) // 6) / (t + 1) for t in queries) / 12)
    each = sum(1 / (t + 1) for t in range(1, 19)) / 18
    assert chance["previous_token"] == chance["self_token"] == chance["first_token"] == pytest.approx(each)
    assert chance["entropy"] == pytest.approx(sum(math.log(t + 1) for t in range(1, 19)) / 18)


# ---- copying ---------------------------------------------------------------------------------------------------------


def promoted_in_full(model, layer, ids):
    """(head, token, token): what attending to a token adds to logits, every matrix made as it stands in the paper."""
    norm, final = model.norms(layer)["norm1"], model.final_norm
    rows = model.module.get_input_embeddings().weight.detach()[ids].double()
    if norm.centred:
        rows = rows - rows.mean(-1, keepdim=True)
    rows = rows / (rows.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight.double()
    w_v, w_o = model.value_map(None, layer)[0].double(), model.output_map(None, layer)[0].double()
    w_u = model.module.get_output_embeddings().weight.detach()[ids].double()
    heads = []
    for head, out in enumerate(w_o):
        written = rows @ w_v[:, head // (len(w_o) // w_v.shape[1])] @ out
        written = written - written.mean(-1, keepdim=True) if final.centred else written
        heads.append(written * final.weight.double() @ w_u.T)
    return torch.stack(heads)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_copying_is_that_of_matrices_made_in_full(family):
    model = tiny_model(family)
    found = workbench.head_scores(model, **SMALL)
    vocab = torch.arange(2, 98)
    for layer in range(model.n_blocks):
        full = promoted_in_full(model, layer, vocab)
        values = torch.linalg.eigvals(full)
        ratio = values.sum(-1).real / values.abs().sum(-1)
        torch.testing.assert_close(found.score("eigenvalues")[layer].double(), ratio, atol=2e-4, rtol=1e-3)
        copied = workbench.functional.copying_score(full)
        torch.testing.assert_close(found.score("copying")[layer].double(), copied, atol=1e-5, rtol=1e-4)
        best = (full.argmax(-1) == torch.arange(96)).double().mean(-1)
        torch.testing.assert_close(found.score("most_copied")[layer].double(), best)


def test_eigenvalues_are_transformer_lenss():
    model = tiny_model("gpt2")
    found = workbench.head_scores(model, **SMALL)
    ids = torch.arange(2, 98)
    read, written = copying._embedded(model, ids), copying._read_out(model, ids)
    for layer in range(2):
        w_v, w_o = model.value_map(None, layer)[0], model.output_map(None, layer)[0]
        scale = model.norms(layer)["norm1"].weight[:, None]
        for head in range(2):
            values = FactoredMatrix(read @ (scale * w_v[:, head]), w_o[head] @ written.T).eigenvalues
            expected = (values.sum().real / values.abs().sum()).item()
            assert found.score("eigenvalues")[layer, head].item() == pytest.approx(expected, abs=1e-4)


def by_hand(ov: float) -> workbench.LensModel:
    """One head with OV = ov times the identity, orthonormal embedding and unembedding, no norms, no MLP."""
    words = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    module: Any = SmallTransformer(
        SmallConfig(vocab_size=11, n_ctx=16, n_layers=1, n_heads=1, d_model=16, d_head=16, d_mlp=0)
    )
    with torch.no_grad():
        module.embed.weight.copy_(torch.eye(16)[:11])
        module.unembed.weight.copy_(torch.eye(16)[:11])
        module.blocks[0].attn.W_V.weight.copy_(torch.eye(16))
        module.blocks[0].attn.W_O.weight.copy_(ov * torch.eye(16))
    return workbench.adapt(module, word_tokenizer(words), name="by hand")


@pytest.mark.parametrize("ov", [1.0, -1.0])
def test_an_identity_copies_and_its_negative_suppresses(ov):
    found = workbench.head_scores(by_hand(ov), period=5, repeats=2, leave_out=0.0)
    assert found.score("copying").item() == pytest.approx(ov)
    assert found.score("eigenvalues").item() == pytest.approx(ov)
    assert found.score("most_copied").item() == (ov > 0)
    assert bool(found.members()["copying"]) == (ov > 0)


def test_a_sample_of_tokens_is_said_and_near_the_whole():
    model = workbench.load("micro")
    whole, part = workbench.head_scores(model, sequences=1), workbench.head_scores(model, sequences=1, tokens=48)
    assert not whole.notes and "48 of 96 tokens" in part.notes[0]
    assert torch.equal(whole.score("eigenvalues"), part.score("eigenvalues"))
    assert (whole.score("most_copied") - part.score("most_copied")).abs().max() < 0.15
    frame = part.to_frame().set_index("score")
    assert set(frame.loc["copying", "counted"]) == {48} and set(frame.loc["eigenvalues", "counted"]) == {96}


@pytest.mark.parametrize(("family", "why"), [("bert", "norms between"), ("t5", "decoder")])
def test_where_weights_do_not_say_what_is_copied_a_note_says_why(family, why):
    found = workbench.head_scores(tiny_model(family), **SMALL)
    assert found.score("eigenvalues").isnan().all() and why in found.notes[0]
    assert not found.members()["copying"].any()


# ---- classes, losses, removal ----------------------------------------------------------------------------------------


def test_the_heads_of_the_micro_model_fall_in_their_classes():
    found = workbench.head_scores(workbench.load("micro"), sequences=4)
    members = {name: found.nonzero().tolist() for name, found in found.members().items()}
    assert members["induction"] == [[1, 0], [1, 1], [1, 2], [1, 3]]
    assert members["previous token"] == [[0, 2], [0, 3]]
    assert members["none"] == [[0, 0]] and members["sink"] == []
    assert [1, 3] in members["copying"]
    strict = found.members({"induction": 0.999, "copying": 1.0})
    assert not strict["induction"].any() and strict["none"].sum() == 6
    assert "previous token, copying" in found.heads_frame()["classes"].tolist()
    with pytest.raises(workbench.WorkbenchError, match="class of heads"):
        found.members({"inducton": 0.5})
    with pytest.raises(workbench.BadInput, match="threshold of 'induction' is a number, not nan"):
        found.members({"induction": math.nan})
    with pytest.raises(workbench.WorkbenchError, match="score of a head"):
        found.figure("prefix")
    assert "4 induction" in found.brief()[0]


def test_losses_and_what_is_lost_without_a_head_are_those_of_plain_passes():
    model = workbench.load("micro")
    options = {"period": 8, "repeats": 3, "sequences": 2}
    found = workbench.head_scores(model, **options, remove=True)
    blocks = drawn(model, **options, start="as the tokenizer does", leave_out=0.05, seed=0)
    ids = blocks.ids
    with torch.no_grad(), workbench.reading(model, "blocks.0.attn.z") as values:
        logits = model.module(ids).logits
    mean = values["blocks.0.attn.z"].mean((0, 1))

    def losses(logits):
        return -logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]

    torch.testing.assert_close(found.losses[1:], losses(logits).mean(0), atol=1e-5, rtol=1e-4)
    expected = losses(logits)[:, -8:].mean() - losses(logits)[:, 1:8].mean()
    assert found.in_context_score == pytest.approx(expected.item(), abs=1e-5)
    z = values["blocks.0.attn.z"].clone()
    z[:, :, 2] = mean[2]
    with torch.no_grad(), workbench.editing(model, {"blocks.0.attn.z": lambda _: z}):
        without = losses(model.module(ids).logits)
    grown = (without - losses(logits))[:, 9:].mean()
    assert grown > 0.5
    assert found.score("loss_without")[0, 2].item() == pytest.approx(grown.item(), rel=1e-4)
    assert found.score("loss_without")[0, 2] == found.score("loss_without").max()


def test_a_decoder_beside_an_encoder_is_read_from_its_own_opening():
    model = tiny_model("t5")
    found = workbench.head_scores(model, **SMALL, remove=True)
    assert found.before == 2 and len(found.losses) == 20
    blocks = drawn(model, period=6, repeats=3, sequences=2, start="as the tokenizer does", leave_out=0.0, seed=4)
    row = blocks.ids[:1]
    batch = model.encode(row) | {"decoder_input_ids": torch.cat([torch.zeros_like(row[:, :1]), row], 1)}
    told = model.logits(batch)[0].log_softmax(-1)
    first = -told[:-1].gather(-1, row[0, :, None])[:, 0]
    one = workbench.head_scores(model, **(SMALL | {"sequences": 1}))
    torch.testing.assert_close(one.losses[1:], first, atol=1e-5, rtol=1e-4)


def test_a_model_that_predicts_nothing_has_no_losses_and_cannot_lose_by_removal():
    model = tiny_model("bert")
    found = workbench.head_scores(model, **SMALL)
    assert found.losses.isnan().all() and math.isnan(found.in_context_score)
    with pytest.raises(workbench.MissingCapability, match="Removing heads needs"):
        workbench.head_scores(model, **SMALL, remove=True)
