"""The sizes of a small transformer, as its folder's config.json holds them."""

from typing import Any

from transformers import PreTrainedConfig


class SmallConfig(PreTrainedConfig):
    """Sizes under TransformerLens's names: `norm` is "layer" or None; `d_mlp` 0 leaves the MLPs out.

    `attention` "relu" has relu(scores) / (how many keys a query sees) in place of the softmax, so that rows need not
    sum to one and a head can look at nothing; `causal` False lets every position see all others.
    """

    model_type = "workbench-small"
    attribute_map = {
        "hidden_size": "d_model",
        "max_position_embeddings": "n_ctx",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }

    vocab_size: int = 64
    n_ctx: int = 16
    n_layers: int = 1
    n_heads: int = 4
    d_model: int = 128
    d_head: int = 32
    d_mlp: int = 512
    act: str = "relu"
    norm: str | None = None
    attention: str = "softmax"
    causal: bool = True
    tied: bool = False
    provenance: dict[str, Any] | None = None
    """Script, seed, settings and step that the weights are from; None where nobody wrote it down."""
