"""Small random model folders and a small tokenizer, for the tests of loading."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "the", "cat", "sat", "on", "mat"]


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of seven words."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


def llama(seed: int = 0) -> LlamaForCausalLM:
    """A LLaMA of two layers."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def bert() -> BertModel:
    """A BERT without a head."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)).eval()


def saved(folder: Path, model: torch.nn.Module) -> Path:
    """`folder` with the model and the tokenizer in it."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
