"""Words from pieces: for every kind of tokenizer, trained here, against the words written down by hand."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from workbench.analyses.attribution.evidence import Wanted, gather
from workbench.analyses.attribution.words import space_mark, word_numbers, words
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import example_input, tiny_model

TEXT = "I don't know naïve café, 3.14 times — “yes”! A well-known 日本 word."
WORDS = ["I", "don't", "know", "naïve", "café", ",", "3.14", "times", "—", "“", "yes", "”!", "A", "well-known"]
WORDS += ["日", "本", "word", "."]
CORPUS = ["i do know you, don't you? knowing, known, unknown; times and words", "well the café is naïve"] * 3


def byte_level():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=290, initial_alphabet=letters, special_tokens=["<s>"])
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


def sentence_piece():
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=330, special_tokens=["<unk>", "<s>", *fallback]))
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>")


def word_piece():
    letters = sorted(set(TEXT) - {" "})
    pieces = ["[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), "know", "##times", "un"]
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


def end_of_word():
    made = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=130, end_of_word_suffix="</w>", special_tokens=["<unk>"], initial_alphabet=sorted(set(TEXT))
    )
    made.train_from_iterator([*CORPUS, TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def found(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    numbers, texts = word_numbers(tokenizer, ids)
    assert len(numbers) == len(ids)
    assert sorted(set(numbers)) == list(range(len(texts)))
    assert numbers == sorted(numbers)
    return numbers, texts


@pytest.mark.parametrize(("make", "mark"), [(byte_level, "Ġ"), (sentence_piece, "▁")])
def test_pieces_become_the_words_of_the_text(make, mark):
    tokenizer = make()
    assert space_mark(tokenizer) == mark
    numbers, texts = found(tokenizer, TEXT)
    assert [text.strip() for text in texts] == WORDS
    assert len(numbers) > 2 * len(texts)  # there was something to merge
    assert "".join(texts).strip() == TEXT


def test_wordpiece_has_its_own_words():
    tokenizer = word_piece()
    assert space_mark(tokenizer) == "##"
    text = TEXT.replace("日本", "")
    numbers, texts = found(tokenizer, text)
    own = [text for text, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
    assert texts == own
    assert "don" in own
    assert len(numbers) >= len(own) + 20
    ids = [1, *tokenizer("unknown know", add_special_tokens=False)["input_ids"], 2]
    assert word_numbers(tokenizer, ids)[1] == ["[CLS]", "unknown", "know", "[SEP]"]


def test_marks_at_the_end_of_words():
    tokenizer = end_of_word()
    assert space_mark(tokenizer) == "</w>"
    numbers, texts = found(tokenizer, "knowing thetimes unknown, words!")
    assert texts == ["knowing", "thetimes", "unknown", ",", "words", "!"]
    assert len(numbers) > len(texts)


def test_characters_become_words_at_spaces_which_go_with_the_word_that_follows():
    tokenizer = CharacterTokenizer()
    assert space_mark(tokenizer) == " "
    ids = tokenizer("the  cat's é\n end.")["input_ids"]
    numbers, texts = word_numbers(tokenizer, ids)
    assert texts == ["<bos>", "the", "  cat's", " \ufffd", "\n", " end", "."]
    assert numbers == [0, 1, 1, 1, *[2] * 7, 3, 3, 4, *[5] * 4, 6]
    assert word_numbers(tokenizer, tokenizer("naïve ba")["input_ids"])[1] == ["<bos>", "na\ufffdve", " ba"]


def test_special_tokens_stand_alone_in_the_middle_of_a_word():
    tokenizer = byte_level()
    one, *_ = list(tokenizer("known", add_special_tokens=False)["input_ids"])
    start = tokenizer.convert_tokens_to_ids("<s>")
    assert isinstance(start, int)
    assert word_numbers(tokenizer, [start, start, one, start, one])[0] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [byte_level, sentence_piece])
def test_a_letter_of_many_bytes_that_the_prompt_cuts_off_is_no_error(make):
    tokenizer = make()
    ids = tokenizer("日 日", add_special_tokens=False)["input_ids"]
    numbers, texts = word_numbers(tokenizer, ids[:-1])
    assert numbers == [*[0] * numbers.count(0), *[1] * numbers.count(1)]
    assert texts[1].strip() == "\ufffd"


def test_without_spaces_in_the_vocabulary_each_piece_is_a_word():
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    assert space_mark(tokenizer) == ""
    assert found(tokenizer, "a b zz b") == ([0, 1, 2, 3], ["a", "b", "[UNK]", "b"])


@pytest.mark.parametrize("family", ["micro", "t5", "vit", "whisper", "clip", "bert"])
def test_every_kind_of_model_has_words(family):
    model = tiny_model(family)
    text = {"micro": "ab ba ab", "t5": "ab ba => ab ab", "bert": "ab ba"}.get(family, example_input(family))
    evidence = gather(model, text, Wanted())
    merged = words(evidence)
    assert len(merged.numbers) == len(evidence.tokens)
    assert len(merged.sides) == len(merged.texts) == max(merged.numbers) + 1
    for node, word in enumerate(merged.numbers):
        assert merged.sides[word] == evidence.sides[node]
    expected = {
        "micro": ("<bos>", "ab", " ba", " ab"),
        "t5": ("<bos>", "ab", " ba", "<bos>", "ab", " ab"),
        "bert": ("<bos>", "ab", " ba"),
        "vit": evidence.tokens,
    }
    assert merged.texts == expected.get(family, merged.texts)


def test_a_model_without_a_tokenizer_has_a_word_a_position():
    from dataclasses import replace

    bare = replace(tiny_model("gpt2"), processor=None)
    assert words(gather(bare, [3, 4, 5], Wanted())).numbers == (0, 1, 2)
