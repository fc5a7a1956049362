"""The models of this study: the committed ones, fresh ones, and how they are written down."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import workbench
from case_studies.attention_flow.data import MAKERS
from case_studies.attention_flow.train import TrainConfig, initial_model

CHECKPOINTS = Path(__file__).parent / "checkpoints"
SEEDS = (0, 1, 2)
SETTINGS = {
    "agreement": TrainConfig(),
    "evidence": TrainConfig(task="evidence", norms="post", n_layers=4, lengths=tuple(range(11, 21))),
}
"""Task -> how its models are trained. Agreement has pre-norm blocks, as in Abnar & Zuidema; evidence post-norm ones,
as in GlobEnc."""

PRE_NORM = workbench.Architecture(
    stacks=(
        workbench.Stack(
            blocks="encoder.layer",
            places={
                "resid_pre": "<",
                "attn_out": "attention.output.dropout",
                "resid_mid": "attention",
                "mlp.pre": "intermediate.dense",
                "mlp.post": "intermediate",
                "mlp_out": "output.dropout",
                "resid_post": "",
            },
            attention={"attn": workbench.AttentionRow(module="attention.self", o_proj="attention.output.dense")},
            embed="embeddings.word_embeddings",
            pos_embed="embeddings.position_embeddings",
            ln_final="LayerNorm",
            norm1="attention.LayerNorm",
            norm2="intermediate.LayerNorm",
            causal=False,
        ),
    )
)
"""RoBERTa with norms before each part: where its sites are."""


def committed(task: str, seed: int) -> workbench.LensModel:
    """The trained model of a task and seed that comes with the study."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = CHECKPOINTS / f"{task}-{seed}"
    module = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, dtype=torch.float64)
    return adapted(module, task, folder.name)


def untrained(task: str, seed: int) -> workbench.LensModel:
    """A model of a task as it is before training."""
    from dataclasses import replace

    return adapted(initial_model(replace(SETTINGS[task], seed=seed)), task, f"{task}, untrained, seed {seed}")


def adapted(module: nn.Module, task: str, name: str) -> workbench.LensModel:
    """A module as a `LensModel`, in double precision: probabilities near one would tie in single."""
    architecture = PRE_NORM if SETTINGS[task].norms == "pre" else "bert"
    return workbench.adapt(module.double().eval(), tokenizer(task), architecture, name=name)


def tokenizer(task: str) -> Any:
    """The words of a task, split at spaces, between [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(MAKERS[task][1])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends: Any = [(word, words[word]) for word in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **{f"{kind}_token": word for kind, word in names.items()})


def write(module: Any, config: TrainConfig, measured: Mapping[str, float], folder: Path) -> None:
    """Write a trained model as a folder that transformers and `workbench.load` read, its weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    module.config.architectures = [type(module).__name__]
    module.config.dtype = "float16"
    module.config.provenance = {"script": "case_studies/attention_flow/train.py", "measured": dict(measured)}
    module.config.save_pretrained(folder)
    tokenizer(config.task).save_pretrained(folder)
    weights = {name: value.half().contiguous() for name, value in module.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
