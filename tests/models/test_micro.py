"""The character tokenizer, the attention-only module and the committed checkpoint."""

import subprocess
import sys

import pytest
import torch

from workbench.errors import BadInput
from workbench.models.micro.characters import CharacterTokenizer

PRINTABLE = "".join(map(chr, range(32, 127)))


def test_the_ids_are_the_documented_ones():
    tokenizer = CharacterTokenizer()
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab()) == 98
    assert tokenizer("A\n~ ")["input_ids"] == [0, 2 + ord("A") - 32, 97, 96, 2]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 96, 97]) == ["<bos>", "\ufffd", " ", "~", "\n"]
    assert tokenizer.convert_tokens_to_ids(["<bos>", "é", "A"]) == [0, 1, 35]


def test_text_comes_back_and_other_characters_become_unknown():
    tokenizer = CharacterTokenizer()
    text = PRINTABLE + "\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer.decode(tokenizer.encode("né\t", add_special_tokens=False)) == "n\ufffd\ufffd"
    assert tokenizer("<bos>", add_special_tokens=False)["input_ids"] == [2 + ord(c) - 32 for c in "<bos>"]


@pytest.mark.parametrize(("side", "row", "mask"), [("right", [0, 67, 0, 0], [1, 1, 0, 0]), ("left", [0, 0, 0, 67], [0, 0, 1, 1])])
def test_padding_has_mask_zero(side, row, mask):
    batch = CharacterTokenizer(padding_side=side)(["a", "abc"], return_tensors="pt", padding=True)
    assert batch["input_ids"].dtype == torch.long
    assert batch["input_ids"].tolist() == [row, [0, 67, 68, 69]]
    assert batch["attention_mask"].tolist() == [mask, [1, 1, 1, 1]]


def test_truncation_and_options():
    tokenizer = CharacterTokenizer()
    assert tokenizer("abc", truncation=True, max_length=2)["input_ids"] == [0, 67]
    assert tokenizer(["a"], padding="max_length", max_length=3)["attention_mask"] == [[1, 1, 0]]
    assert tokenizer("", return_tensors="pt")["input_ids"].tolist() == [[0]]


def test_bad_input_is_a_sentence():
    tokenizer = CharacterTokenizer()
    with pytest.raises(BadInput, match="padding=True"):
        tokenizer(["a", "abc"], return_tensors="pt")
    with pytest.raises(BadInput, match="ids run from 0 to 97"):
        tokenizer.convert_ids_to_tokens(98)
    with pytest.raises(BadInput, match="text or a list of texts"):
        tokenizer(3)  # pyright: ignore[reportArgumentType]


def test_the_tokenizer_does_not_import_torch():
    code = (
        "import sys; from workbench.models.micro import CharacterTokenizer; "
        "CharacterTokenizer()('a'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
