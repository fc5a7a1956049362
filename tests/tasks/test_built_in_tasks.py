"""Each built-in task against a plain reading of its own prompts: who gives, what is larger, what came next before."""

import re

import pytest

from tests.tasks.word_models import word_model, words_in
from workbench.tasks import BUILTIN, Example, draw, names
from workbench.tasks.word_lists import words

COUNT = 60
NAMES = words("names")
PEOPLE = {*NAMES["female"], *NAMES["male"]}
CAPITALS = dict(words("capitals")["capitals"])


def examples(name: str, numbers: str = "pairs", kind: str = "next") -> list[tuple[Example, str, str, list, list]]:
    """(example, clean, corrupted, targets, foils) in words."""
    model = word_model(kind, numbers)
    task = draw(name, model, examples=COUNT, seed=3)
    assert len(task) == COUNT

    def said(ids: tuple[int, ...]) -> list[str]:
        return [model.token_text(number).strip() for number in ids]

    return [(e, *e.texts, said(e.targets), said(e.foils)) for e in task.examples]


@pytest.mark.parametrize("kind", ["next", "mask", "sentinel"])
@pytest.mark.parametrize("name", BUILTIN)
def test_what_holds_of_every_task(name, kind):
    model = word_model(kind, "pairs")
    count = 25
    task = draw(name, model, examples=count, seed=1)
    assert task.made == len(task) + sum(task.dropped.values())
    assert len({(e.clean, e.corrupted) for e in task.examples}) == count
    for e in task.examples:
        assert len(e.clean) == len(e.corrupted) and e.clean != e.corrupted
        assert e.targets and e.foils and not set(e.targets) & set(e.foils)
    again, other = (draw(name, model, examples=count, seed=seed) for seed in (1, 2))
    assert again.examples == task.examples
    assert other.examples != task.examples
    assert draw(name, model, examples=10, seed=1).examples == task.examples[:10]


def test_names_are_in_alphabetical_order_of_nothing_but_the_table():
    assert names() == tuple(BUILTIN)
    assert len(PEOPLE) == len(NAMES["female"]) + len(NAMES["male"]), "a name of both lists has no gender"


def test_ioi_the_one_who_does_not_give_gets_it():
    orders = set()
    for e, clean, corrupted, (target,), (foil,) in examples("ioi"):
        first, second, giver = [word for word in words_in(clean) if word in PEOPLE]
        assert giver == foil and {first, second} == {target, foil}
        assert e.tag == ("ABBA" if first == target else "BABA")
        others = [word for word in words_in(corrupted) if word in PEOPLE]
        assert len({*others, first, second}) == 5
        assert re.sub("|".join(PEOPLE), "X", clean) == re.sub("|".join(PEOPLE), "X", corrupted)
        orders.add(e.tag)
    assert orders == {"ABBA", "BABA"}


def test_greater_than_with_years_of_two_tokens():
    for _, clean, corrupted, targets, foils in examples("greater-than"):
        start, century = re.findall(r"\d+", clean)
        assert start[:2] == century
        assert targets == [f"{n:02}" for n in range(100) if n > int(start[2:])]
        assert foils == [f"{n:02}" for n in range(100) if n <= int(start[2:])]
        assert corrupted == clean.replace(start, f"{century}01")


def test_greater_than_with_years_of_single_digits():
    for _, clean, corrupted, targets, foils in examples("greater-than", "single"):
        start, century = re.findall(r"\d+", clean)
        later = {f"{n:02}"[0] for n in range(100) if n > int(start[2:])}
        sooner = {f"{n:02}"[0] for n in range(100) if n <= int(start[2:])}
        assert set(targets) == later - sooner and set(foils) == sooner - later
        assert corrupted == clean.replace(start, f"{century}01")
    assert "split into single digits" in draw("greater-than", word_model("next", "single"), examples=2).note
    assert draw("greater-than", word_model("next", "pairs"), examples=2).note == ""


def test_the_verb_follows_the_subject_and_not_its_neighbour():
    found = words("numbers_of_nouns")
    plural = {pair[1] for pair in (*found["subjects"], *found["others"])}
    singular = {pair[0] for pair in (*found["subjects"], *found["others"])}
    seen = set()
    for e, clean, corrupted, targets, foils in examples("sva"):
        subject, neighbour = words_in(clean)[1], words_in(clean)[-1]
        assert targets == [pair[subject in plural] for pair in found["verbs"]]
        assert foils == [pair[subject in singular] for pair in found["verbs"]]
        assert words_in(corrupted)[0::2][1:] == words_in(clean)[0::2][1:]
        assert {subject, words_in(corrupted)[1]} in [set(pair) for pair in found["subjects"]]
        assert words_in(corrupted)[2:] == words_in(clean)[2:]
        number = {True: "plural", False: "singular"}
        assert e.tag == f"{number[subject in plural]} subject, {number[neighbour in plural]} neighbour"
        seen.add(e.tag)
    assert len(seen) == 4


def test_pronouns_go_with_the_name():
    for e, clean, corrupted, (target,), (foil,) in examples("gendered-pronoun"):
        (name,), (other,) = ([w for w in words_in(text) if w in PEOPLE] for text in (clean, corrupted))
        assert (target, foil) == (("she", "he") if name in NAMES["female"] else ("he", "she"))
        assert (other in NAMES["female"]) != (name in NAMES["female"])
        assert e.tag == ("female" if name in NAMES["female"] else "male")
        assert corrupted == clean.replace(name, other)


def test_capitals_are_those_of_their_countries():
    for _, clean, corrupted, (target,), (foil,) in examples("capital-country"):
        (capital,), (other,) = ([w for w in words_in(text) if w in CAPITALS] for text in (clean, corrupted))
        assert (CAPITALS[capital], CAPITALS[other]) == (target, foil)
        assert corrupted == clean.replace(capital, other)
    assert len(set(CAPITALS.values())) == len(CAPITALS)


def after_the_last_time(ids: tuple[int, ...]) -> int:
    """What a perfect induction head answers: the token after the previous occurrence of the last one."""
    (place,) = [i for i, number in enumerate(ids[:-1]) if number == ids[-1]]
    return ids[place + 1]


@pytest.mark.parametrize("family", ["micro", "gpt2"])
@pytest.mark.parametrize("name", ["induction", "induction-match"])
def test_a_perfect_induction_head_tells_the_prompts_apart(name, family, tiny):
    task = draw(name, tiny(family), examples=COUNT)
    changed = {"induction": 1, "induction-match": 2}[name]
    distances = set()
    for e in task.examples:
        assert (after_the_last_time(e.clean),) == e.targets
        assert (after_the_last_time(e.corrupted),) == e.foils
        assert e.clean[0] == e.corrupted[0] == 0, "the tokenizer's own start token comes first"
        assert sum(a != b for a, b in zip(e.clean, e.corrupted, strict=True)) == changed
        if name == "induction-match":
            assert sorted(e.clean) == sorted(e.corrupted), "the tokens only change places"
            assert e.clean[e.clean.index(e.targets[0])] == e.corrupted[e.clean.index(e.targets[0])]
        distances.add(len(e.clean) - 1 - e.clean.index(e.clean[-1]))
    assert len(distances) >= 4, "a head that looks a fixed distance back must not do the task"
    assert {len(e.clean) for e in task.examples} == {16}


def test_the_words_of_induction_are_whole_words_where_there_are_enough():
    class Many:
        unk_token_id, all_special_ids = 1, (0, 1)

        def __len__(self) -> int:
            return 3000

        def convert_ids_to_tokens(self, ids):
            letters = "abcdefghijklmnopqrstuvwxyz"
            return [f"Ġ{letters[i % 26]}{letters[i // 26 % 26]}" if i < 2000 else f"##{i}" for i in ids]

    from workbench.tasks.reader import Reader

    reader = Reader(word_model())
    reader.tokenizer = Many()
    object.__setattr__(reader, "model", type("Big", (), {"vocab_size": 2500})())
    assert reader.vocabulary == tuple(range(2, 2000))


@pytest.mark.parametrize(("numbers", "largest"), [("pairs", 99), ("single", 9)])
def test_sums_are_right(numbers, largest):
    tags = set()
    for e, clean, corrupted, (target,), (foil,) in examples("addition", numbers):
        *shown, asked = clean.split("\n")
        for line in shown:
            a, b, total = map(int, re.findall(r"\d+", line))
            assert a + b == total and total not in (int(target), int(foil))
        (a, b), (x, y) = (tuple(map(int, re.findall(r"\d+", text.split("\n")[-1]))) for text in (clean, corrupted))
        assert (a + b, x + y) == (int(target), int(foil))
        assert max(a + b, x + y) <= largest
        assert e.tag == ("first operand" if b == y and a != x else "second operand")
        assert corrupted.split("\n")[:-1] == shown
        tags.add(e.tag)
    assert tags == {"first operand", "second operand"}
    note = draw("addition", word_model("next", numbers), examples=2).note
    assert note == ("" if largest == 99 else "Numbers are split into single digits here: sums are at most 9.")


def test_the_context_says_another_capital_than_the_world():
    of = {country: capital for capital, country in CAPITALS.items()}
    tags = set()
    for e, clean, corrupted, (target,), (foil,) in examples("context-prior"):
        told, asked = [word for word in words_in(clean) if word in of]
        (city,) = [word for word in words_in(clean) if word in CAPITALS]
        assert told == asked and city == target and of[asked] == foil
        told, asked_again = [word for word in words_in(corrupted) if word in of]
        (city,) = [word for word in words_in(corrupted) if word in CAPITALS]
        assert asked_again == asked and of[told] == city, "corrupted is true of the world"
        assert (city, told) == ((foil, asked) if e.tag == "agrees" else (target, CAPITALS[target]))
        tags.add(e.tag)
    assert tags == {"agrees", "elsewhere"}
