"""Induction scores against loops over queries, on a model that copies, and their odd inputs."""

import pytest
import torch

import workbench
from workbench.testing import tiny_model


def by_loops(model, ids, period, before):
    """The three scores of every head of one sequence, query by query."""
    sites = model.attention_sites(None, "pattern")
    with torch.no_grad(), workbench.reading(model, sites) as values:
        model.module(**model.encode(ids))
    found = []
    for site in sites:
        for pattern in values[site][0].tolist():
            length = len(pattern)
            last, every, previous = [], [], []
            for t in range(before + period, length):
                assert ids[t] == ids[t - period]
                last.append(pattern[t][t - period + 1])
                every.append(sum(pattern[t][s + 1] for s in range(before, t) if ids[s] == ids[t]))
            for t in range(1, length):
                previous.append(pattern[t][t - 1])
            found.append([sum(x) / len(x) for x in (last, every, previous)])
    return torch.tensor(found).view(model.n_blocks, model.n_heads, 3)


@pytest.mark.parametrize("family", ["micro", "llama", "bert"])
def test_scores_are_those_of_a_loop(family):
    model = tiny_model(family)
    options = {"period": 9, "repeats": 3, "seed": 4}
    result = workbench.induction_scores(model, sequences=2, leave_out=0.0, **options)
    vocab = torch.tensor([n for n in range(98) if n not in (0, 1)])
    ids = workbench.functional.repeated_tokens(9, 3, batch=2, vocab=vocab, seed=4, bos=0)
    each = torch.stack([by_loops(model, row.tolist(), 9, 1) for row in ids])
    torch.testing.assert_close(result.scores, each.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result.spread, each.std(0), atol=1e-5, rtol=1e-4)


def test_the_micro_model_has_both_kinds_of_heads():
    frame = workbench.induction_scores(workbench.load("micro")).heads_frame().set_index(["layer", "head"])
    assert frame.loc[1, "prefix_matching_all"].max() > 0.9
    assert frame.loc[1, "prefix_matching"].max() > 0.5
    assert frame.loc[0, "previous_token"].max() > 0.9
    assert frame.loc[0, "prefix_matching_all"].max() < 0.1
    assert frame.loc[1, "previous_token"].max() < 0.1


def test_start_token_policies():
    model = tiny_model("gpt2")
    kept = {start: workbench.induction_scores(model, period=5, start=start) for start in ("yes", "no")}
    assert (kept["yes"].start, kept["yes"].positions) == ("<bos>", 21)
    assert (kept["no"].start, kept["no"].positions) == (None, 20)
    assert workbench.induction_scores(model, period=5).start == "<bos>"  # its tokenizer puts one first


def test_a_short_context_cuts_the_last_copies_and_says_so():
    model = tiny_model("gpt2")  # reads 64 positions
    assert workbench.induction_scores(model, period=25, repeats=4, sequences=1).positions == 64
    with pytest.raises(workbench.BadInput, match="second copy of 63 does not fit"):
        workbench.induction_scores(model, period=63)


def test_an_encoder_decoder_reads_the_blocks_on_its_decoder_side():
    result = workbench.induction_scores(tiny_model("t5"), period=5, repeats=3, sequences=1)
    assert result.attention == "decoder_blocks.self_attn"
    assert result.positions == 1 + 1 + 15  # the decoder's opening token, the start token, the blocks


def test_too_small_a_vocabulary_is_a_sentence():
    with pytest.raises(workbench.BadInput, match="too few for blocks of 25"):
        workbench.induction_scores(tiny_model("micro"), leave_out=0.45)


def test_an_unknown_score_is_a_sentence():
    result = workbench.induction_scores(tiny_model("micro"), period=5, sequences=1)
    assert result.figure("previous_token").data
    with pytest.raises(workbench.BadInput, match="no score 'copying'"):
        result.figure("copying")
