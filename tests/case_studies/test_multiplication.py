"""The multiplication study: its arithmetic, its problems, what it measures, and that its claims can fail."""

import random

import torch

from case_studies.multiplication import arithmetic, problems, train

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
