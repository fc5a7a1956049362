"""Pairs: batches of one length, each example once, answers filled with -1."""

import pytest
import torch

from tests.tasks.word_models import word_model
from workbench.errors import BadInput
from workbench.tasks import draw


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("kind", ["next", "mask"])
def test_every_example_is_in_one_batch_of_its_length(kind, batch_size):
    model = word_model(kind)
    task = draw("greater-than", model, examples=23)
    pairs = list(task.pairs(model, batch_size))
    assert sorted(number for pair in pairs for number in pair.numbers) == list(range(23))
    assert all(len(pair) <= batch_size for pair in pairs)
    if batch_size == 100:
        assert len(pairs) == len({len(e.clean) for e in task.examples})
    for pair in pairs:
        for row, number in enumerate(pair.numbers):
            e = task.examples[number]
            assert pair.clean["input_ids"][row].tolist() == list(e.clean)
            assert pair.corrupted["input_ids"][row].tolist() == list(e.corrupted)
            assert [n for n in pair.targets[row].tolist() if n >= 0] == list(e.targets)
            assert [n for n in pair.foils[row].tolist() if n != -1] == list(e.foils)
            assert pair.position[row] == e.position
        assert pair.clean["attention_mask"].all() and pair.corrupted["attention_mask"].all(), "nothing is padded"
        assert pair.targets.dtype == pair.foils.dtype == pair.position.dtype == torch.int64


def test_columns_of_a_task():
    task = draw("ioi", word_model(), examples=5)
    assert task.clean == tuple(e.texts[0] for e in task.examples) and len(task) == 5
    assert task.corrupted[2] == task.examples[2].texts[1]
    assert task.targets[3] == task.examples[3].targets and task.foils[3] == task.examples[3].foils
    assert set(task.tags) <= {"ABBA", "BABA"}
    assert task.first(2).examples == task.examples[:2]
    assert task.said == "5 of 5 examples of ioi can be used with words:next."


def test_a_batch_has_a_size():
    model = word_model()
    with pytest.raises(BadInput, match="batch_size must be a whole number of at least 1, not 0"):
        next(draw("ioi", model, examples=1).pairs(model, 0))
