"""Tiny random models whose tokenizer knows exactly the pieces it is given."""

from collections.abc import Iterable

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, processors

from workbench.models.adapters import adapt
from workbench.models.lens_model import LensModel

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tokenizer_of(pieces: Iterable[str], *, around: bool = False) -> transformers.PreTrainedTokenizerFast:
    """Cuts a text into as few pieces as can be; `around` puts [CLS] before it and [SEP] after."""
    known = dict.fromkeys([*SPECIAL, *pieces])
    inner = Tokenizer(models.Unigram([(piece, -1.0) for piece in known], unk_id=1))
    inner.decoder = decoders.Fuse()
    if around:
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    named = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"} if around else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", clean_up_tokenization_spaces=False, **named
    )


def token_model(pieces: Iterable[str], *, around: bool = False, width: int = 16) -> LensModel:
    """A model of one layer: BERT where there are special tokens around, else GPT-2."""
    tokenizer = tokenizer_of(pieces, around=around)
    sizes = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if around:
            bert = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
            config = transformers.BertConfig(**sizes, **bert, hidden_size=width, max_position_embeddings=64)
            module = transformers.BertForMaskedLM(config)
        else:
            config = transformers.GPT2Config(**sizes, n_layer=1, n_head=2, n_embd=width, n_positions=64)
            module = transformers.GPT2LMHeadModel(config)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return adapt(module.eval(), tokenizer, name="pieces")
