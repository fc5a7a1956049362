"""Occlusion, and any set of tokens taken away: against single forward passes of the plain transformers models."""

from functools import partial

import pytest
import torch

import workbench
from workbench import progress
from workbench.analyses.attribution import perturb
from workbench.analyses.attribution.evidence import Wanted, gather
from workbench.analyses.attribution.removal import removed, stand_in
from workbench.models.adapters import adapt
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import FAMILIES, example_input, tiny_model

UNKNOWN = CharacterTokenizer.unk_token_id
WAYS = ("replace", "mask-attention", "zero-values")
NAMED = ("gpt2", "llama", "neox", "bert", "roberta", "mamba", "micro")


class WithMask(CharacterTokenizer):
    """The tilde is the mask."""

    mask_token, mask_token_id = "~", 96


class Bare(CharacterTokenizer):
    """Its unknown token is also the one that starts a text, as GPT-2's."""

    unk_token, unk_token_id = CharacterTokenizer.bos_token, CharacterTokenizer.bos_token_id


def answer(model, batch, target) -> float:
    with torch.no_grad():
        return target.of(model.module(**batch).logits).item()


def log_chance(logits, answer) -> float:
    return logits.log_softmax(-1)[answer].item()


def random_sets(evidence, n=6) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    table = torch.rand(n, len(evidence.tokens), generator=draws) < 0.4
    table[0] = False
    return table


@pytest.mark.parametrize("family", NAMED)
def test_each_token_is_replaced_by_itself_in_a_pass_of_its_own(family, double):
    model, text = double(family)
    found = workbench.occlusion(model, text, token="b", foil="c", position=-2)
    batch, target = model.encode(text), gather(model, text, Wanted(), token="b", foil="c", position=-2).target
    before = answer(model, batch, target)
    for i, score in enumerate(found.scores[0]):
        ids = batch["input_ids"].clone()
        ids[0, i] = UNKNOWN
        after = answer(model, {**batch, "input_ids": ids}, target)
        assert score.item() == pytest.approx(before - after, abs=2e-6), i
    assert found.score == pytest.approx(before, abs=1e-6) and "'\ufffd'" in found.note
    assert found.scores[0, :-2].abs().min() > 1e-4 or family in ("bert", "roberta")


@pytest.mark.parametrize("family", ["gpt2", "llama", "micro"])
def test_what_comes_after_the_explained_position_has_no_effect(family):
    found = workbench.occlusion(tiny_model(family), "abcabc", position=2)
    assert found.row == 2 and found.scores[0, 3:].abs().max() < 1e-5 < found.scores[0, :3].abs().min()


def test_both_sides_of_an_encoder_decoder_are_replaced(double):
    model, text = double("t5")
    found = workbench.occlusion(model, text)
    batch, target = model.encode(text), gather(model, text, Wanted()).target
    worth = partial(log_chance, answer=target.answer)
    before, expected = worth(model.module(**batch).logits[0, target.index]), []
    for name in ("input_ids", "decoder_input_ids"):
        for i in range(batch[name].shape[1]):
            ids = batch[name].clone()
            ids[0, i] = UNKNOWN
            expected.append(before - worth(model.module(**{**batch, name: ids}).logits[0, target.index]))
    torch.testing.assert_close(found.scores[0], torch.tensor(expected).to(found.scores), rtol=0, atol=1e-6)


def averaged(module, i):
    """A hook that puts the mean over positions in place of one vector."""

    def hook(_module, args, kwargs):
        states = (args[0] if args else kwargs["hidden_states"]).clone()
        states[:, i] = states.mean(1)
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def test_patches_are_replaced_by_the_mean_state():
    model = tiny_model("vit")
    found = workbench.occlusion(model, "example", token="LABEL_1")
    batch = model.encode("example")
    before = log_chance(model.module(**batch).logits[0], 1)
    for i, score in enumerate(found.scores[0]):
        handle = averaged(model.module.get_submodule(model.main.paths[0]), i)
        after = log_chance(model.module(**batch).logits[0], 1)
        handle.remove()
        assert score.item() == pytest.approx(before - after, abs=1e-6)
    assert "mean" in found.note and found.tokens[0] == "CLS" and found.scores.abs().min() > 1e-4


def test_without_a_head_the_turn_of_the_state_is_measured():
    model = tiny_model("dinov2")
    found = workbench.occlusion(model, "example", position=2)
    batch, last = model.encode("example"), model.module.get_submodule(model.main.paths[-1])
    states = []
    keep = last.register_forward_hook(lambda _m, _a, out: states.append(out[0] if isinstance(out, tuple) else out))
    model.module(**batch)
    for i in range(len(found.tokens)):
        handle = averaged(model.module.get_submodule(model.main.paths[0]), i)
        model.module(**batch)
        handle.remove()
    keep.remove()
    before, *after = [state.detach()[0, 2] for state in states]
    expected = torch.stack([1 - torch.cosine_similarity(before, now, dim=0) for now in after])
    torch.testing.assert_close(found.scores[0], expected, rtol=0, atol=1e-6)
    assert found.score is None


def test_the_mask_token_comes_first_and_a_masked_position_scores_nothing():
    model = adapt(tiny_model("bert").module, WithMask())
    found = workbench.occlusion(model, "ab~ab")
    assert found.row == 3 and found.scores[0, 3] == 0 and "'~'" in found.note
    assert found.scores[0, [1, 2, 4, 5]].abs().min() > 1e-5


def test_an_unknown_token_that_means_something_else_is_not_taken():
    model = adapt(tiny_model("gpt2").module, Bare())
    assert stand_in(model) is None and stand_in(model, "a") == CharacterTokenizer()("a")["input_ids"][1]
    found = workbench.occlusion(model, "abc")
    embed, batch = model.module.get_input_embeddings(), model.encode("abc")
    vectors = embed(batch["input_ids"]).detach()
    before = model.module(**batch).logits[0, -1]
    for i in range(4):
        altered = vectors.clone()
        altered[0, i] = vectors[0].mean(0)
        after = model.module(inputs_embeds=altered).logits[0, -1]
        expected = log_chance(before, before.argmax()) - log_chance(after, before.argmax())
        assert found.scores[0, i].item() == pytest.approx(expected, abs=2e-6)
    assert "mean" in found.note
    assert "scores 0" in workbench.occlusion(model, torch.tensor([[5]])).note


def test_the_named_replacement_is_used():
    model = tiny_model("gpt2")
    found = workbench.occlusion(model, "abc", replacement="b")
    assert found.scores[0, 2] == 0 and found.scores[0, [0, 1, 3]].abs().min() > 1e-4 and "'b'" in found.note


@pytest.mark.parametrize(
    ("family", "replacement", "what"),
    [("gpt2", "two", "3 tokens"), ("gpt2", "<bos>", "padding"), ("gpt2", "", "empty"), ("vit", "a", "no tokenizer")],
)
def test_a_replacement_that_cannot_be_used_is_a_sentence(family, replacement, what):
    with pytest.raises(workbench.BadInput, match=what):
        workbench.occlusion(tiny_model(family), example_input(family), replacement=replacement)


# ---- sets of tokens ------------------------------------------------------------------------------------------------


def test_sets_of_tokens_are_replaced_together(double):
    model, text = double("gpt2")
    evidence = gather(model, text, Wanted())
    table = random_sets(evidence)
    found = removed(evidence, table)
    for gone, score, chance in zip(table, found.score, found.probability, strict=True):
        ids = evidence.batch["input_ids"].masked_fill(gone, UNKNOWN)
        logits = model.module(input_ids=ids).logits[0, -1]
        assert score.item() == pytest.approx(logits[evidence.target.answer].item(), abs=1e-9)
        assert chance.item() == pytest.approx(logits.softmax(-1)[evidence.target.answer].item(), abs=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_hidden_tokens_are_those_of_a_mask_written_by_hand(family):
    """Of (query, key): causal, without the columns; a row that would be empty sees itself."""
    model, text = tiny_model(family), "abcabc"
    evidence = gather(model, text, Wanted())
    table = torch.cat([random_sets(evidence), torch.ones(1, 7, dtype=torch.bool)])
    table[1, 0] = True
    found = removed(evidence, table, "mask-attention")
    for gone, score in zip(table, found.score, strict=True):
        open_ = torch.ones(7, 7).tril().bool() & ~gone
        open_ |= torch.eye(7).bool() & ~open_.any(-1, keepdim=True)
        mask = torch.zeros(1, 1, 7, 7).masked_fill(~open_, torch.finfo(torch.float32).min)
        batch = {"input_ids": evidence.batch["input_ids"], "attention_mask": mask}
        assert score.item() == pytest.approx(answer(model, batch, evidence.target), abs=2e-6)
    assert found.score[1:].sub(evidence.score).abs().min() > 1e-4


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "albert", "t5", "bart"])
def test_hidden_tokens_are_those_that_the_models_own_mask_hides(family):
    model, text = tiny_model(family), example_input(family)
    evidence = gather(model, text, Wanted())
    n = evidence.batch["input_ids"].shape[1]
    table = random_sets(evidence)
    table[:, n:], table[:, 0] = False, False
    found = removed(evidence, table, "mask-attention")
    for gone, score in zip(table, found.score, strict=True):
        batch = {**evidence.batch, "attention_mask": (~gone[None, :n]).long()}
        assert score.item() == pytest.approx(answer(model, batch, evidence.target), abs=2e-6)


def test_a_decoder_that_may_read_nothing_reads_nothing():
    model, text = tiny_model("t5"), example_input("t5")
    evidence = gather(model, text, Wanted())
    table = torch.tensor([[side == "input" for side in evidence.sides]])
    found = removed(evidence, table, "mask-attention").score.item()
    handles = [
        block.layer[1].EncDecAttention.register_forward_hook(lambda _m, _a, out: (0 * out[0], *out[1:]))
        for block in model.module.decoder.block
    ]
    expected = answer(model, evidence.batch, evidence.target)
    for handle in handles:
        handle.remove()
    assert found == pytest.approx(expected, abs=1e-6) != pytest.approx(evidence.score, abs=1e-3)


@pytest.mark.parametrize(
    ("family", "value"), [("llama", "self_attn.v_proj"), ("bert", "attention.self.value"), ("t5", "SelfAttention.v")]
)
def test_silenced_tokens_have_no_values(family, value):
    model, text = tiny_model(family), example_input(family)
    evidence = gather(model, text, Wanted())
    table = random_sets(evidence)
    n = evidence.batch["input_ids"].shape[1]
    if family == "t5":  # the decoder's own tokens; its cross-attention reads the encoder's
        table[:, :n] = False
    found = removed(evidence, table, "zero-values")
    for gone, score in zip(table, found.score, strict=True):
        mine = gone[n:] if family == "t5" else gone

        def silence(_module, _args, output, mine=mine):
            return output.masked_fill(mine[None, :, None], 0)

        where = model.module.decoder if family == "t5" else model.module
        handles = [m.register_forward_hook(silence) for name, m in where.named_modules() if name.endswith(value)]
        assert len(handles) == 2
        expected = answer(model, evidence.batch, evidence.target)
        for handle in handles:
            handle.remove()
        assert score.item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("family", [f for f in FAMILIES if "pattern" in tiny_model(f).capabilities])
def test_a_variant_is_what_it_is_alone_and_nothing_removed_changes_nothing(family, how, double):
    model, text = double(family)
    evidence = gather(model, text, Wanted())
    table = random_sets(evidence)
    together, alone = removed(evidence, table, how), removed(evidence, table, how, batch_size=1)
    torch.testing.assert_close(together.score, alone.score, rtol=0, atol=2e-6)
    assert together.score[0].item() == pytest.approx(perturb.unaltered(evidence), abs=2e-6)
    assert together.score[1:].sub(together.score[0]).abs().max() > 1e-4
    assert (together.probability is None) == (evidence.score is None)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_padding_changes_nothing(family, side, how):
    model, text = tiny_model(family), "abcabca"
    ids = model.encode(text)["input_ids"]
    pad = (3, 0) if side == "left" else (0, 3)
    padded = {
        "input_ids": torch.nn.functional.pad(ids, pad, value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), pad),
    }
    if side == "left":  # positions of learned position embeddings start after the padding
        padded["position_ids"] = torch.tensor([[0, 0, 0, *range(ids.shape[1])]])
    alone, there = gather(model, text, Wanted(), token="b"), gather(model, padded, Wanted(), token="b")
    table = random_sets(alone)
    one, other = removed(alone, table, how), removed(there, table, how)
    torch.testing.assert_close(other.score, one.score, rtol=0, atol=5e-6)


def test_the_mean_is_over_the_prompt_and_not_its_padding():
    model = adapt(tiny_model("gpt2").module, Bare())
    ids = model.encode("abcabc")["input_ids"]
    padded = {
        "input_ids": torch.nn.functional.pad(ids, (0, 3), value=7),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), (0, 3)),
    }
    one, other = (workbench.occlusion(model, x) for x in ("abcabc", padded))
    torch.testing.assert_close(other.scores, one.scores, rtol=0, atol=2e-6)


def test_a_batch_of_variants_is_bounded(monkeypatch):
    evidence = gather(tiny_model("gpt2"), "abcabc", Wanted())
    assert perturb.rows_at_once(evidence) == perturb.MOST_ROWS
    monkeypatch.setattr(perturb, "MOST_BYTES", 1)
    assert perturb.rows_at_once(evidence) == 1
    sizes = []

    def seen(rows, batch):
        sizes.append(len(batch["input_ids"]))
        return batch, {}

    perturb.outcomes(evidence, 5, seen, batch_size=2)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("name", ["occlusion", "attention-knockout", "atman"])
def test_half_precision_says_what_it_rounds_away(name):
    half = tiny_model("gpt2")
    half.module.to(torch.bfloat16)
    found = workbench.get(name)(half, "abc")
    assert "bfloat16: effects below about 0.0" in found.note and found.scores.dtype == torch.float32
    assert "rounding" not in workbench.get(name)(tiny_model("gpt2"), "abc").note


def test_it_can_be_stopped_and_leaves_no_edit_behind():
    model = tiny_model("gpt2")
    evidence = gather(model, "abcabc", Wanted())
    before = model.logits(evidence.batch)

    def stop(label, done, total):
        if label == "variants" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress.reporting(stop):
        removed(evidence, random_sets(evidence), "mask-attention", batch_size=1)
    assert torch.equal(model.logits(evidence.batch), before)


def test_tables_and_ways_that_do_not_fit_are_sentences():
    evidence = gather(tiny_model("gpt2"), "abc", Wanted())
    with pytest.raises(workbench.BadInput, match="columns"):
        removed(evidence, torch.zeros(2, 9, dtype=torch.bool))
    with pytest.raises(workbench.BadInput, match="only where tokens are replaced"):
        removed(evidence, torch.zeros(2, 4, dtype=torch.bool), "zero-values", replacement="a")
    mamba = gather(tiny_model("mamba"), "abc", Wanted())
    with pytest.raises(workbench.MissingCapability, match="attention patterns"):
        removed(mamba, torch.zeros(2, 4, dtype=torch.bool), "mask-attention")
