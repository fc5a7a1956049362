"""Writes tokenizer.json and tokenizer_config.json for the tokenizers that come without them."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

CONTROL = 3  # llama.cpp's token type for special tokens

SMILES_PIECE = r"\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|%[0-9]{2}|[0-9]"
"""How a SMILES string is cut: atoms, bonds, rings. Schwaller et al. 2019, Molecular Transformer."""


def byte_level_bpe(metadata: dict[str, Any], out: Path) -> None:
    """The tokenizer in a GGUF file's metadata: GPT-2's byte-level pairs, each digit a token of its own."""
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    roles = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    _write(
        tokenizer,
        out,
        {
            **{role: tokens[metadata[f"tokenizer.ggml.{key}_token_id"]] for key, role in roles.items()},
            "model_max_length": metadata["llama.context_length"],
            "chat_template": metadata.get("tokenizer.chat_template"),
            "clean_up_tokenization_spaces": False,
        },
    )


def smiles(vocabulary: Path, out: Path) -> None:
    """A tokenizer of SMILES pieces: [CLS] pieces [SEP]; what is no piece is left out, as the original does."""
    words = vocabulary.read_text(encoding="utf-8").split("\n")
    vocab = {word: i for i, word in enumerate(words) if word}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES_PIECE), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special["mask_token"] = "[MASK]"
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special.values()])
    _write(tokenizer, out, {**special, "model_max_length": 512, "clean_up_tokenization_spaces": False})


def _write(tokenizer: Tokenizer, out: Path, settings: dict[str, Any]) -> None:
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **{k: v for k, v in settings.items() if v is not None}}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
