"""Tags of characters on the positions of tokenizers of every kind: each right one found, and never a wrong one."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import workbench
from workbench.corpora import brown, position_tags

TEXT = 'The café\'s owner said, "No evidence" (yet).'
TAGGED = (
    "The/at café's/nn$ owner/nn said/vbd ,/, ``/`` No/at evidence/nn ''/'' (/( yet/rb )/) ./.",
    "I'll/ppss+md never/rb say/vb that/cs again/rb ;/. don't/do* ask/vb ./.",
)
SENTENCES = [line.split() for line in TAGGED]
WORDS = [text for text, _ in map(brown.plain, SENTENCES)]


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=made)


def pieces_tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # pyright: ignore[reportCallIssue]
    made.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(
        WORDS, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    )
    ends = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


@pytest.fixture(scope="module")
def bytes_model() -> workbench.LensModel:
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=400)
    return workbench.adapt(GPT2LMHeadModel(config).eval(), bytes_tokenizer())


@pytest.fixture(scope="module")
def pieces_model() -> workbench.LensModel:
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return workbench.adapt(BertForMaskedLM(BertConfig(vocab_size=90, **size)).eval(), pieces_tokenizer())


def test_bytes_that_stand_for_text_have_the_tag_of_the_text(bytes_model):
    """The characters of each token are found here by decoding ever longer beginnings of the ids."""
    for words in SENTENCES:
        text, spans = brown.plain(words)
        tokenizer, ids = bytes_model.processor, bytes_model.encode(text)["input_ids"][0].tolist()
        found = position_tags(bytes_model, text, spans)
        assert len(found) == len(ids) and sum(map(bool, found)) >= len(ids) - 1
        for i, tag in enumerate(found):
            before, after = (tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False) for end in (i, i + 1))
            if "\ufffd" in before + after:
                continue
            places = [p for p in range(len(before), len(after)) if text[p] != " "]
            right = {next((t for a, b, t in spans if a <= p < b), "") for p in places}
            assert tag == (right.pop() if len(right) == 1 else ""), after


def test_pieces_of_words_in_other_letters(pieces_model):
    text, spans = brown.plain(SENTENCES[0])
    found = position_tags(pieces_model, text, spans)
    assert found[0] == found[-1] == ""  # [CLS], [SEP]
    labels = pieces_model.labels(pieces_model.encode(text))
    tags = {}
    for label, tag in zip(labels[1:-1], found[1:-1], strict=True):
        tags.setdefault(tag, []).append(label.removeprefix("##"))
    assert "".join(tags["punctuation"]) == ',"".().'.replace(".(", "(", 1)
    assert "".join(tags["noun"]) == "cafe'sownerevidence"
    assert "".join(tags["verb"]) == "said" and "" not in tags


def test_a_token_across_two_tags_or_beyond_them_has_none(bytes_model):
    text = WORDS[0]
    ids = bytes_model.encode(text)["input_ids"][0].tolist()
    pieces = [bytes_model.processor.decode([i]) for i in ids]
    long = max(range(len(pieces)), key=lambda i: len(pieces[i]))
    start = len("".join(pieces[:long]))
    cut = start + len(pieces[long]) - 1
    two = position_tags(bytes_model, text, ((0, cut, "A"), (cut, len(text), "B")))
    assert two[long] == "" and set(two[:long]) == {"A"} and set(two[long + 1 :]) == {"B"}
    one = position_tags(bytes_model, text, ((0, cut, "A"),))
    assert one[long] == "" and set(one[long + 1 :]) == {""}
    same = position_tags(bytes_model, text, ((0, cut, "A"), (cut, len(text), "A")))
    assert set(same) == {"A"}


def test_tokens_spelled_along_the_text_where_the_tokenizer_says_nothing(tiny):
    text, spans = brown.plain(["She/pps", "didn't/dod*", "go/vb", "./."])
    model = tiny("gpt2")  # one token a character, after a mark for the start
    found = position_tags(model, text, spans)
    expected = [next((tag for a, b, tag in spans if a <= i < b), "") for i in range(len(text))]
    assert list(found) == ["", *expected]
    accented = position_tags(model, "né so", ((0, 2, "A"), (3, 5, "B")))
    assert accented == ("", "A", "", "", "", "")  # é has no id: where the rest is, is no longer known


class Slow:
    """A tokenizer that is not fast: the same ids without saying where they come from."""

    def __init__(self, fast: PreTrainedTokenizerFast) -> None:
        self.fast = fast
        self.all_special_tokens, self.unk_token = fast.all_special_tokens, fast.unk_token
        self.pad_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict:
        return {"input_ids": self.fast(text, add_special_tokens=add_special_tokens)["input_ids"]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return self.fast.convert_ids_to_tokens(ids)


def test_spelled_pieces_of_words_are_those_of_the_offsets_or_none(pieces_model):
    slow = workbench.adapt(pieces_model.module, Slow(pieces_model.processor))
    plain = "the owner said, no evidence yet."
    spans = tuple((i, i + 1, str(i // 4)) for i in range(len(plain)))
    assert position_tags(slow, plain, spans) == position_tags(pieces_model, plain, spans)
    text, tagged = brown.plain(SENTENCES[0])
    spelled, exact = position_tags(slow, text, tagged), position_tags(pieces_model, text, tagged)
    assert all(a in ("", b) for a, b in zip(spelled, exact, strict=True))
    assert spelled[1] == exact[1] == "determiner" and set(spelled[-6:]) == {""}  # lost at the accent


def test_after_a_token_that_cannot_be_spelled_nothing_is_guessed(pieces_model):
    slow = workbench.adapt(pieces_model.module, Slow(pieces_model.processor))
    text = "theß the owner"  # [UNK], whose beginning looks like the next token
    assert slow.labels(slow.encode(text))[1:3] == ("[UNK]", "the")
    assert set(position_tags(slow, text, ((0, 4, "A"), (5, 14, "B")))) == {""}
    text = "cafe\u0301 e no"  # the accent is a character of its own, which the tokenizer takes away
    found = position_tags(slow, text, tuple((i, i + 1, str(i)) for i in range(len(text))))
    exact = position_tags(pieces_model, text, tuple((i, i + 1, str(i)) for i in range(len(text))))
    assert all(a in ("", b) for a, b in zip(found, exact, strict=True))


def test_ids_that_the_tokenizer_does_not_give_are_not_placed(pieces_model, monkeypatch):
    """A model that reads other ids than its tokenizer's own is spelled along the text instead."""
    text = "the owner"
    ids = pieces_model.encode(text)["input_ids"]
    monkeypatch.setattr(workbench.LensModel, "encode", lambda *_, **__: {"input_ids": torch.cat([ids, ids[:, 1:2]], 1)})
    found = position_tags(pieces_model, text, ((0, 3, "A"), (4, 9, "B")))
    assert len(found) == ids.shape[1] + 1 and found[1] == "A" and found[-1] == ""


def test_no_spans_no_tags(bytes_model):
    assert set(position_tags(bytes_model, TEXT, ())) == {""}
