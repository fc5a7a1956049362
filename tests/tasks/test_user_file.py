"""The user's own table: what is read, what is guessed, and the row that is wrong."""

import pytest

from tests.tasks.word_models import word_model
from workbench.errors import BadFile, BadInput
from workbench.tasks import draft as reasons, draw
from workbench.tasks.draft import Draft
from workbench.tasks.user_file import expects_a_space

HEAD = "clean,corrupted,target,foil"
ROW = "So the capital of France is,So the capital of Italy is, Paris, Rome"


@pytest.fixture
def table(tmp_path):
    def written(*lines: str, name: str = "own.csv", text: bytes | None = None) -> str:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() if text is None else text)
        return str(path)

    return written


def answers(path: str, kind: str = "next") -> list[tuple[list[str], list[str]]]:
    model = word_model(kind)
    task = draw(path, model, examples=20)
    texts = [[[model.token_text(n) for n in ids] for ids in (e.targets, e.foils)] for e in task.examples]
    return [(targets, foils) for targets, foils in texts]


def test_a_row_is_an_example(table):
    path = table(f"{HEAD},tag", f"{ROW},fact")
    task = draw(path, word_model())
    (example,) = task.examples
    assert (task.name, task.metric, task.made, dict(task.dropped)) == ("own.csv", "logit-diff", 1, {})
    assert example.texts == ("So the capital of France is", "So the capital of Italy is")
    assert (example.tag, example.position) == ("fact", 5)
    assert answers(path) == [([" Paris"], [" Rome"])]
    assert draw(path, word_model(), metric="prob-diff").metric == "prob-diff"


@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_separator_and_any_end_of_line(table, between, end):
    lines = [line.replace(",", between) for line in (HEAD, ROW, "", ROW.replace("France", "Spain"))]
    found = draw(table(text=("\ufeff" + end.join(lines) + end).encode()), word_model())
    assert len(found) == 2 and found.note == "own.csv has 2 rows."


def test_several_answers_and_quoted_cells(table):
    path = table("tag;FOIL; target ;corrupted;clean", '"a;b"; Rome| Oslo; Paris|Madrid| Lima;"So the";"So a"')
    assert answers(path) == [([" Paris", " Madrid", " Lima"], [" Rome", " Oslo"])]


def test_a_space_is_added_where_one_belongs(table):
    rows = [
        "So the capital of France is,So the capital of Italy is,Paris,Rome",
        "The war lasted from the year 1732 to the year 17,The war lasted from the year 1701 to the year 17,45|99,01",
        "1+4=,1+3=,5,4",
        '"So the capital of France is ","So the capital of Italy is ",45,46',
    ]
    found = {tuple(targets) for targets, _ in answers(table(HEAD, *rows))}
    assert found == {(" Paris",), ("45", "99"), ("5",), ("45",)}
    assert answers(table(HEAD, ROW.replace(", ", ",")), "mask") == [([" Paris"], [" Rome"])]


@pytest.mark.parametrize(
    ("clean", "target", "spaced"),
    [
        ("is", "Paris", True),
        ("is:", "Paris", True),
        ("is 4", "Paris", True),
        ("2 +", "4", True),
        ("is ", "Paris", False),
    ]
    + [("(", "a", False), ('"', "a", False), ("1=", "2", False), ("the year 17", "45", False)],
)
def test_where_a_space_is_expected(clean, target, spaced):
    row = Draft(clean=clean, corrupted="x", targets=(target,), foils=("y",))
    assert expects_a_space(row) == spaced


def test_what_the_tokenizer_cannot_use_is_counted_and_the_rest_goes_on(table):
    rows = [ROW, ROW, f"{ROW}".replace("Italy", "the Italy"), ROW.replace("Paris", "El Dorado")]
    task = draw(table(HEAD, *rows), word_model())
    assert (len(task), task.made) == (1, 3)
    assert sorted(task.dropped.values()) == [1, 1]
    assert task.note == "own.csv has 4 rows, of which 1 repeats others."
    assert draw(table(HEAD, ROW), word_model()).note == "own.csv has 1 row."
    assert draw(table(HEAD, ROW), word_model()).said.startswith("1 of 1 example of own.csv can be used")
    with pytest.raises(
        BadInput, match=r"own.csv has no example that can be used here. 1 was tried, left out: 1 because"
    ):
        draw(table(HEAD, rows[2]), word_model())


@pytest.mark.parametrize("name", ["micro", "gpt2"])
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("qxtmaq,qytmaqz,x,y", reasons.LENGTHS),
        ("qxtmaq,qytmaqz, x, y", reasons.MANY_TOKENS),
        ("qxtmaq,qytmaq,xt,y", reasons.MANY_TOKENS),
        ("qx\u00c9maq,qy\u00c9maq,x,y", reasons.UNKNOWN),
        ("qxtmaq,qytmaq,\u00c9,y", reasons.UNKNOWN),
        ("qxtmaq,qytmaq, \u00c9,y", reasons.UNKNOWN),
    ],
)
def test_a_row_is_left_out_for_what_is_wrong_with_it_and_not_with_an_added_space(name, row, reason, table, tiny):
    found = draw(table(HEAD, "abca,adca,b,d", row), tiny(name))
    assert (len(found), dict(found.dropped)) == (1, {reason: 1})


def test_a_draw_is_random_and_a_larger_one_holds_it(table):
    rows = [f"So the capital of {c} is,So the capital of Italy is, Paris, Rome" for c in ("France", "Spain", "Peru")]
    path = table(HEAD, *rows)
    few, all_ = (draw(path, word_model(), examples=n, seed=5) for n in (2, 10))
    assert few.examples == all_.examples[:2] and len(all_) == 3
    assert {draw(path, word_model(), examples=1, seed=s).clean[0] for s in range(12)} == {r.split(",")[0] for r in rows}


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ((HEAD, ROW, ROW.replace(" Rome", "")), r"Row 2 of own.csv \(line 3\) has nothing in the column foil"),
        ((HEAD, "", ROW, "a,b"), r"Row 2 of own.csv \(line 4\) has nothing in the column target"),
        ((HEAD, f"{ROW}, Oslo"), r"Row 1 of own.csv \(line 2\) has 5 cells, and the header 4: put cells that hold"),
        ((HEAD, ROW.replace(" Paris", " Paris||x")), r"Row 1 .* has an empty answer in target: ' Paris\|\|x'"),
        ((HEAD, ROW.replace(" Rome", "Paris ")), r"Row 1 .* has 'Paris' both as target and as foil"),
        ((HEAD, ROW.replace("Italy", "France")), r"Row 1 .* has the same text twice"),
        (
            ("clean,target,foil", "a,b,c"),
            r"own.csv has no column corrupted in its first line, which has 3 cells\. A task is",
        ),
        (("a b", "c"), r"no column clean and no column corrupted and no column target and no column foil"),
        ((f"{HEAD},clean", ROW), r"two columns called 'clean'"),
        ((HEAD,), r"own.csv holds no rows below its header. A task is a table with the columns"),
        (("",), r"own.csv holds no rows. A task is"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(table, lines, sentence):
    with pytest.raises(BadInput, match=sentence):
        draw(table(*lines), word_model())


def test_what_is_no_table_is_said(table, tmp_path):
    with pytest.raises(BadFile, match="own.csv is not text in UTF-8: byte 3 cannot be read"):
        draw(table(text=b"cle\xffan"), word_model())
    with pytest.raises(BadFile, match="own.csv is not a table: line 2"):
        draw(table(HEAD, '"never closed'), word_model())
    with pytest.raises(
        BadInput, match=r"No task or file called '.*gone.csv'.* A file is a table with the columns clean"
    ):
        draw(tmp_path / "gone.csv", word_model())
    with pytest.raises(BadInput, match=r"No task or file called 'greater'. Did you mean 'greater-than'"):
        draw("greater", word_model())
    with pytest.raises(BadInput, match="No task or file called"):
        draw(str(tmp_path), word_model())
    with pytest.raises(BadInput, match="No task or file called"):
        draw("x" * 5000, word_model())
