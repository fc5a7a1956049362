"""Tiny random models with tokenizers of whole words: one that continues, one that fills masks, one with sentinels."""

import re
from collections.abc import Iterable
from functools import cache
from itertools import islice
from random import Random

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from workbench.models.adapters import adapt
from workbench.models.lens_model import LensModel
from workbench.tasks.builtin import BUILTIN

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<extra_id_0>")
NUMBERS = {"single": r"\d", "pairs": r"\d{2}|\d"}
SIZES = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


class EveryToken:
    """A reader for whom all answers are one token, and words are numbered."""

    def is_one_token(self, text: str, answer: str) -> bool:
        return True

    vocabulary = tuple(range(100))


@cache
def texts_of_all_tasks() -> tuple[str, ...]:
    found = []
    for name, built_in in BUILTIN.items():
        for draft in islice(built_in.drafts(EveryToken(), Random(0)), 0 if "induction" in name else 400):
            answers = "".join(map(str, (*draft.targets, *draft.foils)))
            found += [f"{draft.clean}{answers}{draft.after}", str(draft.corrupted)]
    return tuple(dict.fromkeys(found))


def splitter(numbers: str) -> pre_tokenizers.PreTokenizer:
    """Words with the space before them, numbers cut as asked for."""
    pattern = Regex(NUMBERS[numbers] + r"|[.,?+=]|'t|\s?[^\s\d.,?+=']+|\s")
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


@cache
def vocabulary(numbers: str) -> tuple[str, ...]:
    pre = splitter(numbers)
    found = {token for text in texts_of_all_tasks() for token, _ in pre.pre_tokenize_str(text)}
    return (*SPECIAL, *sorted(found | {"+", "=", "Ċ", "Ġ"}))


def tokenizer_of_words(
    kind: str = "next", numbers: str = "pairs", without: Iterable[str] = ()
) -> transformers.PreTrainedTokenizerFast:
    """`without` words it does not know."""
    known = [token for token in vocabulary(numbers) if token not in {w.replace(" ", "Ġ") for w in without}]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(known)}, unk_token="[UNK]"))
    inner.pre_tokenizer, inner.decoder = splitter(numbers), decoders.ByteLevel()
    if kind == "mask":
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    mask = transformers.AddedToken("[MASK]", lstrip=True, special=True)
    special: dict = {"next": {}, "mask": {"mask_token": mask, "cls_token": "[CLS]", "sep_token": "[SEP]"}}
    special["sentinel"] = {"additional_special_tokens": [transformers.AddedToken("<extra_id_0>", lstrip=True)]}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]", **special[kind]
    )


@cache
def word_model(kind: str = "next", numbers: str = "pairs", without: tuple[str, ...] = ()) -> LensModel:
    tokenizer = tokenizer_of_words(kind, numbers, without)
    sizes = {**SIZES, "vocab_size": len(tokenizer)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "mask":
            config = transformers.BertConfig(
                **sizes, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
            )
            module = transformers.BertForMaskedLM(config)
        elif kind == "sentinel":
            config = transformers.T5Config(
                **sizes, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
            )
            module = transformers.T5ForConditionalGeneration(config)
        else:
            config = transformers.GPT2Config(**sizes, n_layer=1, n_head=2, n_embd=16, n_positions=64)
            module = transformers.GPT2LMHeadModel(config)
        with torch.no_grad():  # so that what is read makes a difference
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return adapt(module.eval(), tokenizer, name=f"words:{kind}")


def words_in(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)
