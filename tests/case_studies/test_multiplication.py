"""The multiplication study: its arithmetic, its problems, what it measures, and that its claims can fail."""

import dataclasses
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import workbench
from case_studies.multiplication import arithmetic, circles, measure, models, numbers, problems, tables, train
from workbench import studies
from workbench.progress import reporting
from workbench.studies.judging import verdicts

NUMBERS = [(random.Random(i).randrange(10**5), random.Random(i).randrange(10)) for i in range(200)]
NUMBERS += [(99999, 9), (0, 7), (33334, 3), (11111, 9), (12345, 0), (16667, 6), (14286, 7), (99999, 1)]
A, B = (torch.tensor(column) for column in zip(*NUMBERS, strict=True))


def by_hand(a: int, b: int) -> list[tuple[int, int]]:
    """(digit, what came in) of each place of the product, the units first, as at school."""
    coming, found = 0, []
    for letter in reversed(f"{a:05d}"):
        total = int(letter) * b + coming
        found.append((total % 10, coming))
        coming = total // 10
    return [*found, (coming, coming)]


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def test_carries_and_subtasks_are_those_of_school():
    carries = arithmetic.carries_in(A, B, 5)
    kinds = arithmetic.subtasks(A, B, 5)
    answers = arithmetic.digits(A * B, 6)
    for row, (a, b) in enumerate(NUMBERS):
        places = by_hand(a, b)[::-1]
        assert answers[row].tolist() == [digit for digit, _ in places] == [int(x) for x in f"{a * b:06d}"]
        assert carries[row].tolist() == [coming for _, coming in places]
        expected = ["carry", *("use carry" if coming else "base multiply" for _, coming in places[1:])]
        assert [arithmetic.SUBTASKS[kind] for kind in kinds[row].tolist()] == expected
        assert bool(arithmetic.carry_free(A, B, 5)[row]) == all(coming == 0 for _, coming in places)


def test_the_reach_of_a_digit_is_what_must_be_read_to_know_it():
    found = arithmetic.reach(A, B, 5)
    assert set(found.flatten().tolist()) >= {0, 1, 2, 3}
    for row, (a, b) in enumerate(NUMBERS):
        for column, place in enumerate(range(5, -1, -1)):
            letters = f"{a:05d}"[::-1]  # units first
            known = []
            for depth in range(6):
                cut = "".join(c if at >= place - depth else "0" for at, c in enumerate(letters))[::-1]
                known.append(f"{int(cut) * b:06d}"[column])
            right = known[-1]
            needed = next(depth for depth in range(6) if all(value == right for value in known[depth:]))
            assert found[row, column] == needed, (a, b, place)


def test_reach_of_known_chains():
    # 16667 x 6 = 100002: that there is a 1 in front is known from the units alone
    assert arithmetic.reach(torch.tensor([16667]), torch.tensor([6]), 5)[0].tolist() == [5, 4, 3, 2, 1, 0]
    assert arithmetic.reach(torch.tensor([11111]), torch.tensor([9]), 5)[0].tolist() == [0, 0, 0, 0, 0, 0]
    assert arithmetic.reach(torch.tensor([5]), torch.tensor([9]), 5)[0].tolist() == [0, 0, 0, 0, 1, 0]


def test_the_longest_run_counts_successive_carries():
    found = arithmetic.longest_run(A, B, 5)
    for row, (a, b) in enumerate(NUMBERS):
        marks = "".join("1" if coming else "0" for _, coming in by_hand(a, b))
        assert found[row] == max(len(run) for run in marks.split("0"))


def test_digits_and_numbers_are_inverse():
    assert torch.equal(arithmetic.number(arithmetic.digits(A, 5)), A)


# ---- problems --------------------------------------------------------------------------------------------------------


def test_a_problem_is_read_as_it_is_typed():
    few = problems.held_out()[:50]
    tokenizer = train.word_tokenizer(problems.WORDS)
    for order in ("ordinary", "reversed"):
        ids = problems.tokens(few, few.answers(), order)
        assert ids.shape == (50, problems.LENGTH + 1)
        for row, prompt, a, b in zip(ids, few.prompts(), few.a.tolist(), few.b.tolist(), strict=True):
            letters = f"{a * b:06d}"
            written = " ".join(letters if order == "ordinary" else letters[::-1])
            assert prompt == f"{' '.join(f'{a:05d}')} x {b} ="
            assert tokenizer(f"{prompt} {written}")["input_ids"] == row.tolist()


def test_no_training_sees_what_is_held_out():
    kept = set(problems.held_out().numbers.tolist())
    assert len(kept) == problems.HELD_OUT
    for simple in (0.0, 0.5):
        for seed in range(20):
            drawn = problems.drawn(500, seed=seed, simple=simple)
            assert not kept & set(drawn.numbers.tolist())
            assert 440 < len(drawn) <= 500
            assert drawn.b.unique().tolist() == list(range(2, 10))


def test_simple_problems_have_one_digit_or_carry_nothing():
    drawn = problems.drawn(4000, seed=1, simple=1.0)
    alone = (arithmetic.digits(drawn.a, 5) > 0).sum(-1) <= 1
    free = arithmetic.carry_free(drawn.a, drawn.b, 5)
    assert (alone | free).all()
    assert not alone.all()
    assert not free.all()
    for share in (0.0, 0.5):
        drawn = problems.drawn(4000, seed=1, simple=share)
        alone = (arithmetic.digits(drawn.a, 5) > 0).sum(-1) <= 1
        free = arithmetic.carry_free(drawn.a, drawn.b, 5)
        assert abs((alone | free).double().mean() - share) < 0.04


def test_problems_are_those_of_their_seed_and_number():
    first, again, other = (problems.drawn(40, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.numbers, again.numbers)
    assert not torch.equal(first.numbers[:20], other.numbers[:20])
    assert torch.equal(problems.Problems.numbered(first.numbers).a, first.a)
    assert torch.equal(problems.Problems.numbered(first.numbers).b, first.b)


def test_long_chains_are_not_rare_among_chained_problems():
    chained = problems.chained(30)
    longest = arithmetic.reach(chained.a, chained.b, 5).max(-1).values
    assert longest.bincount().tolist() == [0, 30, 30, 30, 30]
    assert set(chained.numbers.tolist()) <= set(problems.held_out().numbers.tolist())


def test_permuted_answers_are_the_answers_of_other_problems():
    few = problems.held_out()[:500]
    answers = problems.permuted(few)
    assert torch.equal(answers, problems.permuted(few))
    assert (answers == few.answers()).all(-1).double().mean() < 0.02
    every = problems.Problems.numbered(torch.arange(problems.ALL))
    products = arithmetic.number(problems.permuted(every)).sort().values
    assert torch.equal(products, (every.a * every.b).sort().values)


# ---- what is measured ------------------------------------------------------------------------------------------------


class Calculator(torch.nn.Module):
    """Answers by arithmetic on what it can see, written in the given order, instead of by anything it learned."""

    def __init__(self, order, blind_below=5):
        super().__init__()
        self.order, self.blind_below = order, blind_below

    def forward(self, ids):
        a, b = arithmetic.number(ids[:, :5]), ids[:, 6]
        known = []
        for place in range(5, -1, -1):
            cut = 10 ** max(0, place - self.blind_below)
            known.append(arithmetic.digits(a // cut * cut * b, 6)[:, 5 - place])
        places = problems.from_places(torch.stack(known, -1), self.order)
        logits = torch.zeros(*ids.shape, len(problems.WORDS) + 1)
        logits[:, problems.FIRST :] = torch.nn.functional.one_hot(places, 13)[
            :, : ids.shape[1] - problems.FIRST
        ].float()
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("order", ["ordinary", "reversed"])
def test_one_who_looks_one_place_down_fails_where_chains_are_longer(order):
    chains = problems.chained(30)
    far = arithmetic.reach(chains.a, chains.b, 5)
    near = SimpleNamespace(module=Calculator(order, blind_below=1))
    seen = measure.right(near, chains, order)
    table = tables.reach_table(seen, far)
    assert table["right"].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert numbers.fall(seen, far) == 1.0
    shuffled = numbers.fall_numbers(seen, far, 40)
    assert shuffled["fall_with_reach.p"] == pytest.approx(1 / 41)
    assert shuffled["fall_with_reach.shuffled"] < 0.3
    perfect = measure.right(SimpleNamespace(module=Calculator(order)), chains, order)
    assert perfect.all()
    assert numbers.fall(perfect, far) == 0.0
    kinds = tables.subtask_table(seen, chains).set_index("group")["right"]
    assert kinds["base multiply"] == 1.0
    assert kinds["use carry"] < 0.9


@pytest.mark.parametrize("order", ["ordinary", "reversed"])
def test_needs_are_what_changes_when_a_digit_does(order):
    few = problems.held_out()[:4]
    found = measure.needs(few)
    expected = torch.zeros(6, 6)
    for a, b in zip(few.a.tolist(), few.b.tolist(), strict=True):
        for column, operand in enumerate(measure.OPERANDS):
            letters = f"{a:05d}"
            others = [
                (int(letters[:operand] + str(digit) + letters[operand + 1 :]), b) if operand < 5 else (a, digit)
                for digit in range(0 if operand < 5 else 2, 10)
            ]
            others = [pair for pair in others if pair != (a, b)]
            for x, y in others:
                for row in range(6):
                    expected[row, column] += (f"{x * y:06d}"[row] != f"{a * b:06d}"[row]) / len(others) / 4
    torch.testing.assert_close(found, expected)
    assert (found[5, :4] == 0).all()  # the units need the units alone


@pytest.fixture(scope="module")
def reversed_model():
    return models.committed("reversed", 0)


def test_the_committed_models_multiply_as_they_write(reversed_model):
    few = problems.held_out()[:60]
    answers = measure.written(reversed_model, few, "reversed")
    assert torch.equal(answers, few.answers())
    ordinary = models.committed("ordinary", 0)
    chains = problems.chained(20)
    alone = (measure.written(ordinary, chains, "ordinary") == chains.answers()).all(-1)
    assert torch.equal(alone, measure.right(ordinary, chains, "ordinary").all(-1))
    assert not alone.all()


def test_a_typed_problem_is_answered(reversed_model):
    text = "1 2 3 4 5 x 7 ="
    for digit in reversed(f"{12345 * 7:06d}"):
        best = int(reversed_model.logits(reversed_model.encode(text))[0, -1].argmax())
        assert problems.WORDS[best] == digit
        text += f" {digit}"


def test_checkpoints_of_training_are_those_of_the_history():
    history = models.history()
    for step in ("200", "400"):
        module: Any = models.committed("reversed", 0, checkpoint=step).module
        found = train.measured(module, train.SETTINGS["reversed"])
        row = history[(history["setting"] == "reversed") & (history["seed"] == 0) & (history["step"] == int(step))]
        for name, value in found.items():
            assert value == pytest.approx(float(row[name].iloc[0]), abs=0.02), name  # kept in half precision


def test_knocking_out_is_masking_by_hand(reversed_model):
    few = problems.held_out()[:40]
    found = measure.knocked_out(reversed_model, few, "reversed", keys=(4,))
    block, module = reversed_model.module.blocks[0], reversed_model.module
    ids = problems.tokens(few, few.answers(), "reversed")[:, :-1]
    with torch.no_grad():
        stream = module.embed(ids) + module.pos_embed(torch.arange(ids.shape[1]))
        normed = block.ln1(stream)
        q, k, v = (
            w(normed).unflatten(-1, (4, 16)).transpose(1, 2) for w in (block.attn.W_Q, block.attn.W_K, block.attn.W_V)
        )
        allowed = torch.ones(ids.shape[1], ids.shape[1]).tril().bool()
        allowed[problems.FIRST :, 4] = False
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        stream = stream + block.attn.W_O(mixed.transpose(1, 2).flatten(-2))
        stream = stream + block.mlp(block.ln2(stream))
        logits = module.unembed(module.ln_final(stream))[:, problems.FIRST :].flip(1)
    after = (logits.argmax(-1) == few.answers()).float().mean(0)
    torch.testing.assert_close(found[:, 0], measure.right(reversed_model, few, "reversed").float().mean(0) - after)
    assert found[5, 0] > 0.5
    assert found[0, 0].abs() < 0.05


def test_interchanged_values_bring_the_other_product(reversed_model):
    few = problems.held_out()[:60]
    found = measure.interchanged(reversed_model, few, "reversed")
    assert found["follows"].diagonal(-1).min() > 0.6  # each digit and its own place
    assert (found["counted"].diagonal(1) == 0).all()
    assert found["stays"][5, :4].min() == 1.0
    torch.testing.assert_close(found["stays"], found["stays"].clamp(0, 1))
    fresh = measure.interchanged(models.untrained("reversed", 0), few, "reversed")
    assert fresh["follows"].diagonal(-1).max() < 0.4


def test_a_wrong_digit_before_leads_astray_in_reversed_order_alone(reversed_model):
    chains = problems.chained(30)
    far = arithmetic.reach(chains.a, chains.b, 5) > 1
    assert measure.misled(reversed_model, chains, "reversed")[far].double().mean() < 0.8
    assert measure.right(reversed_model, chains, "reversed")[far].all()
    ordinary = models.committed("ordinary", 0)
    lost = (
        measure.right(ordinary, chains, "ordinary")[far].double()
        - measure.misled(ordinary, chains, "ordinary")[far].double()
    )
    assert lost.mean() < 0.15


def test_frequencies_of_one_wave_are_kept_alone():
    few = problems.held_out()[:30]
    answers = few.answers()
    angle = torch.arange(10) * 2 * torch.pi / 10
    wave = torch.cos(angle - angle[answers][..., None])  # logits that are one cycle around the digits

    def module(ids):
        logits = torch.zeros(*ids.shape, 13)
        logits[:, problems.FIRST :, :10] = wave
        return SimpleNamespace(logits=logits)

    model = SimpleNamespace(module=module)
    found = circles.frequency_numbers(model, few, "ordinary")
    assert found["kept.all"] == found["kept.low"] == 1.0
    assert found["kept.high"] < 0.4
    assert found["kept.random"] < 0.9


def test_neighbours_are_one_off_around_the_circle():
    predicted, answers = torch.tensor([[9, 1, 5, 3]]), torch.tensor([[0, 0, 5, 5]])
    assert circles.neighbours(predicted, answers, predicted != answers) == pytest.approx(2 / 3)


# ---- training --------------------------------------------------------------------------------------------------------

SHORT = train.TrainConfig(d_model=16, n_heads=2, d_mlp=16, steps=6, batch=8, measured=20, measure_at=(0, 3), keep=(3,))


def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path):
    whole = train.train(SHORT, tmp_path / "whole")
    half = dataclasses.replace(SHORT, steps=6)

    def stop(label, done, of):
        if done == 3:
            raise workbench.Stopped

    with pytest.raises(workbench.Stopped), reporting(stop):
        train.train(half, tmp_path / "cut")
    again = train.train(half, tmp_path / "cut")
    assert whole.history == again.history
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    assert (tmp_path / "cut" / "checkpoint-3" / "model.safetensors").is_file()
    opened = workbench.load(tmp_path / "whole")
    assert torch.equal(opened.module.unembed.weight, whole.module.unembed.weight.half().float())


def test_settings_differ_from_the_vanilla_one_in_one_thing():
    plain = dataclasses.asdict(train.SETTINGS["ordinary"])
    for name, config in train.SETTINGS.items():
        changed = {key for key, value in dataclasses.asdict(config).items() if value != plain[key]}
        assert len(changed) == {"ordinary": 0, "permuted": 2}.get(name, 1), name


# ---- the study -------------------------------------------------------------------------------------------------------


def test_models_that_learned_nothing_fail_the_claims(monkeypatch):
    from case_studies.multiplication import study

    claims = [claim for claim in studies.study("multiplication").claims if claim.quantity.startswith("ordinary.")]
    found, _ = study.look_at(models.untrained("ordinary", 0), "ordinary", study.Config(problems=100, looked_into=100))
    judged = {f"ordinary.{name}": dict.fromkeys((0, 1, 2), value) for name, value in found.items()}
    outcomes = [
        v.outcome for v in verdicts(studies.Findings(numbers=judged), [c for c in claims if c.quantity in judged])
    ]
    assert len(outcomes) >= 15
    assert outcomes.count("fails") >= 10
