"""Where the sites live in each family of models: data, one row a family.

To support another family add one row to `ARCHITECTURES`; nothing else changes. Paths are submodule paths: those of a
stack start at the base model (`transformers`' `base_model_prefix`), those of a block at the block. A leading `<` names
the module's input, ` | layout` how its tensor is cut (see `sites.py`), `a + b` a stream that no module outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """One attention module of a block, and the linear map that writes its z into the stream."""

    module: str | None
    """Path of the module that calls transformers' attention function; None where `places` name every site."""
    o_proj: str | None = None
    q_proj: str | None = None
    """Where its queries come from, like a place: "self_attn.q_proj | heads", or one part of a fused projection; None
    where the place of the site `q` is the linear map itself. So are keys and values."""
    k_proj: str | None = None
    v_proj: str | None = None
    o_scale: str | None = None
    """A module applied to the output of `o_proj` before it is added (DINOv2's layer scale)."""
    rotary: bool = False
    """Whether q and k are turned by position before they meet: then `places` say where they are not turned yet."""
    writes: str = "attn_out"
    """The site that holds what it adds to the stream."""
    normalised: bool = True
    """Whether the rows of its pattern sum to one, as a softmax makes them."""


@dataclass(frozen=True, kw_only=True)
class MlpRow:
    """What the MLP of a block is made of: outer(activation(inner(x))), times linear(x) in gated ones."""

    inner: str
    outer: str
    activation: str
    linear: str | None = None
    """The other factor of a gated MLP; `inner` is then the gate."""
    scale: str | None = None
    """A module applied to the output of `outer` before it is added (DINOv2's layer scale)."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A row of blocks: an encoder, a decoder, a tower."""

    blocks: str
    places: Mapping[str, str]
    attention: Mapping[str, AttentionRow] = field(default_factory=dict)
    prefix: str = "blocks"
    embed: str | None = None
    pos_embed: str | None = None
    ln_final: str | None = None
    norm1: str | None = None
    norm2: str | None = None
    norm_cross: str | None = None
    """The norm of cross-attention: before it, or after it in post-norm decoders."""
    mlp: MlpRow | None = None
    order: Literal["pre", "post", "parallel", "mixer"] = "pre"
    """pre: norms read the stream; post: norms follow each sum; parallel: both parts read resid_pre; mixer: one part."""
    causal: bool = True
    side: Literal["input", "target", "image"] = "input"
    """Which of the model's inputs its positions are: the prompt, the decoder's text, or the image beside a text."""
    config: str | None = None
    """Name of the sub-config that holds this stack's sizes."""
    repeated: bool = False
    """The listed blocks are shared: the whole row is called again for each of the config's layers."""

    @property
    def lead(self) -> str:
        """What the stack's own sites are prefixed with: '' or 'encoder_', 'decoder_', 'vision_' ..."""
        return self.prefix.removesuffix("blocks")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Module paths of one family, and how its logits are read from the last residual state."""

    stacks: tuple[Stack, ...]
    readout: tuple[str, ...] = ()
    """Modules applied in turn to the last resid_post of the readout stack (the last one); `~` is the base model."""
    head: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ending of the class name -> the finest steps from the last state to the answers, `=tanh` for a bare function;
    for heads that `readout` names in one or not at all."""
    linear_end: bool = True
    """Whether the last module of the readout is one linear map; a head of several steps is not."""
    tied_scale: bool = False
    """T5: with tied embeddings, the normed state is scaled by d_model ** -0.5 before the unembedding."""
    bias: str | None = None
    """A buffer added to the logits (BART)."""
    norm_offset: float = 0.0
    """Gemma: the final norm multiplies by offset + weight."""
    reads: Literal["text", "image", "audio", "text+image"] = "text"
    dims: Mapping[str, int] = field(default_factory=dict)
    """Sizes (n_heads, n_kv_heads, d_model, d_head) of a module that has no config to tell them."""
    input_name: str = "input_ids"
    """What the module calls its token ids."""
    base: str | None = None
    """Path of the base model; None asks transformers (`base_model_prefix`)."""


ATTENTION_SITES = ("q", "k", "v", "attn_scores", "pattern", "z")


def _pre(attn: str, mlp: str, *, pre: str, post: str, **more: str) -> dict[str, str]:
    """Places of a pre-norm block whose attention and MLP modules output what they add."""
    return {
        "resid_pre": "<",
        "attn_out": attn,
        "resid_mid": "resid_pre + attn_out",
        "mlp.pre": pre,
        "mlp.post": post,
        "mlp_out": mlp,
        "resid_post": "",
    }


def _rotary(at: str) -> dict[str, str]:
    return {"attn.q": f"{at}.q_proj | heads", "attn.k": f"{at}.k_proj | heads"}


GPT2 = Stack(
    blocks="h",
    places=_pre("attn", "mlp", pre="mlp.c_fc", post="<mlp.c_proj"),
    attention={
        "attn": AttentionRow(
            module="attn",
            o_proj="attn.c_proj",
            q_proj="attn.c_attn | thirds:0",
            k_proj="attn.c_attn | thirds:1",
            v_proj="attn.c_attn | thirds:2",
        )
    },
    mlp=MlpRow(inner="mlp.c_fc", outer="mlp.c_proj", activation="mlp.act"),
    embed="wte",
    pos_embed="wpe",
    ln_final="ln_f",
    norm1="ln_1",
    norm2="ln_2",
)

LLAMA = Stack(
    blocks="layers",
    places=_pre("self_attn", "mlp", pre="mlp.gate_proj", post="<mlp.down_proj")
    | {"mlp.pre_linear": "mlp.up_proj"}
    | _rotary("self_attn"),
    attention={
        "attn": AttentionRow(
            module="self_attn", o_proj="self_attn.o_proj", v_proj="self_attn.v_proj | heads", rotary=True
        )
    },
    mlp=MlpRow(inner="mlp.gate_proj", linear="mlp.up_proj", outer="mlp.down_proj", activation="mlp.act_fn"),
    embed="embed_tokens",
    ln_final="norm",
    norm1="input_layernorm",
    norm2="post_attention_layernorm",
)

NEOX_SEQUENTIAL = Stack(
    blocks="layers",
    places=_pre("post_attention_dropout", "post_mlp_dropout", pre="mlp.dense_h_to_4h", post="<mlp.dense_4h_to_h")
    | {"attn.q": "attention.query_key_value | fused:0", "attn.k": "attention.query_key_value | fused:1"},
    attention={
        "attn": AttentionRow(
            module="attention", o_proj="attention.dense", v_proj="attention.query_key_value | fused:2", rotary=True
        )
    },
    mlp=MlpRow(inner="mlp.dense_h_to_4h", outer="mlp.dense_4h_to_h", activation="mlp.act"),
    embed="embed_in",
    ln_final="final_layer_norm",
    norm1="input_layernorm",
    norm2="post_attention_layernorm",
)
NEOX = replace(
    NEOX_SEQUENTIAL,
    places={k: v for k, v in NEOX_SEQUENTIAL.places.items() if k != "resid_mid"},
    order="parallel",
)

BERT = Stack(
    blocks="encoder.layer",
    places={
        "resid_pre": "<",
        "attn_out": "attention.output.dropout",
        "resid_mid": "attention.output",
        "mlp.pre": "intermediate.dense",
        "mlp.post": "intermediate",
        "mlp_out": "output.dropout",
        "resid_post": "",
    },
    attention={
        "attn": AttentionRow(
            module="attention.self",
            o_proj="attention.output.dense",
            q_proj="attention.self.query | heads",
            k_proj="attention.self.key | heads",
            v_proj="attention.self.value | heads",
        )
    },
    mlp=MlpRow(inner="intermediate.dense", outer="output.dense", activation="intermediate.intermediate_act_fn"),
    embed="embeddings.word_embeddings",
    pos_embed="embeddings.position_embeddings",
    norm1="attention.output.LayerNorm",
    norm2="output.LayerNorm",
    order="post",
    causal=False,
)

ROBERTA_PRE_NORM = replace(
    BERT,
    places={**BERT.places, "resid_mid": "attention"},
    ln_final="LayerNorm",
    norm1="attention.LayerNorm",
    norm2="intermediate.LayerNorm",
    order="pre",
)

DISTILBERT = Stack(
    blocks="transformer.layer",
    places={
        "resid_pre": "<",
        "attn_out": "attention",
        "resid_mid": "sa_layer_norm",
        "mlp.pre": "ffn.lin1",
        "mlp.post": "<ffn.lin2",
        "mlp_out": "ffn",
        "resid_post": "output_layer_norm",
    },
    attention={
        "attn": AttentionRow(
            module="attention",
            o_proj="attention.out_lin",
            q_proj="attention.q_lin | heads",
            k_proj="attention.k_lin | heads",
            v_proj="attention.v_lin | heads",
        )
    },
    mlp=MlpRow(inner="ffn.lin1", outer="ffn.lin2", activation="ffn.activation"),
    embed="embeddings.word_embeddings",
    pos_embed="embeddings.position_embeddings",
    norm1="sa_layer_norm",
    norm2="output_layer_norm",
    order="post",
    causal=False,
)

ALBERT = Stack(
    blocks="encoder.albert_layer_groups.0.albert_layers",
    places={
        "resid_pre": "<",
        "attn_out": "attention.output_dropout",
        "resid_mid": "attention.LayerNorm",
        "mlp.pre": "ffn",
        "mlp.post": "<ffn_output",
        "mlp_out": "ffn_output",
        "resid_post": "full_layer_layer_norm",
    },
    attention={
        "attn": AttentionRow(
            module="attention",
            o_proj="attention.dense",
            q_proj="attention.query | heads",
            k_proj="attention.key | heads",
            v_proj="attention.value | heads",
        )
    },
    mlp=MlpRow(inner="ffn", outer="ffn_output", activation="activation"),
    embed="embeddings.word_embeddings",
    pos_embed="embeddings.position_embeddings",
    norm1="attention.LayerNorm",
    norm2="full_layer_layer_norm",
    order="post",
    causal=False,
    repeated=True,
)

_T5_SELF = AttentionRow(
    module="layer.0.SelfAttention",
    o_proj="layer.0.SelfAttention.o",
    q_proj="layer.0.SelfAttention.q | heads",
    k_proj="layer.0.SelfAttention.k | heads",
    v_proj="layer.0.SelfAttention.v | heads",
)


def _t5_mlp(layer: int, *, gated: bool = False) -> MlpRow:
    at = f"layer.{layer}.DenseReluDense"
    inner, linear = (f"{at}.wi_0", f"{at}.wi_1") if gated else (f"{at}.wi", None)
    return MlpRow(inner=inner, linear=linear, outer=f"{at}.wo", activation=f"{at}.act")


T5_ENCODER = Stack(
    blocks="encoder.block",
    prefix="encoder_blocks",
    places=_pre(
        "layer.0.dropout",
        "layer.1.dropout",
        pre="layer.1.DenseReluDense.wi",
        post="<layer.1.DenseReluDense.wo",
    ),
    attention={"attn": _T5_SELF},
    mlp=_t5_mlp(1),
    embed="encoder.embed_tokens",
    ln_final="encoder.final_layer_norm",
    norm1="layer.0.layer_norm",
    norm2="layer.1.layer_norm",
    causal=False,
)
T5_DECODER = Stack(
    blocks="decoder.block",
    prefix="decoder_blocks",
    places=_pre(
        "layer.0.dropout",
        "layer.2.dropout",
        pre="layer.2.DenseReluDense.wi",
        post="<layer.2.DenseReluDense.wo",
    )
    | {"cross_attn_out": "layer.1.dropout", "resid_mid_cross": "resid_mid + cross_attn_out"},
    attention={
        "self_attn": _T5_SELF,
        "cross_attn": AttentionRow(
            module="layer.1.EncDecAttention",
            o_proj="layer.1.EncDecAttention.o",
            q_proj="layer.1.EncDecAttention.q | heads",
            k_proj="layer.1.EncDecAttention.k | heads",
            v_proj="layer.1.EncDecAttention.v | heads",
            writes="cross_attn_out",
        ),
    },
    mlp=_t5_mlp(2),
    embed="decoder.embed_tokens",
    ln_final="decoder.final_layer_norm",
    norm1="layer.0.layer_norm",
    norm_cross="layer.1.layer_norm",
    norm2="layer.2.layer_norm",
    side="target",
)
_GATED = {"mlp.pre": "layer.{}.DenseReluDense.wi_0", "mlp.pre_linear": "layer.{}.DenseReluDense.wi_1"}
T5_ENCODER_GATED = replace(
    T5_ENCODER,
    places={**T5_ENCODER.places, **{k: v.format(1) for k, v in _GATED.items()}},
    mlp=_t5_mlp(1, gated=True),
)
T5_DECODER_GATED = replace(
    T5_DECODER,
    places={**T5_DECODER.places, **{k: v.format(2) for k, v in _GATED.items()}},
    mlp=_t5_mlp(2, gated=True),
)

_CROSS = AttentionRow(
    module="encoder_attn",
    o_proj="encoder_attn.out_proj",
    q_proj="encoder_attn.q_proj | heads",
    k_proj="encoder_attn.k_proj | heads",
    v_proj="encoder_attn.v_proj | heads",
    writes="cross_attn_out",
)
_SELF = AttentionRow(
    module="self_attn",
    o_proj="self_attn.out_proj",
    q_proj="self_attn.q_proj | heads",
    k_proj="self_attn.k_proj | heads",
    v_proj="self_attn.v_proj | heads",
)
_FC = MlpRow(inner="fc1", outer="fc2", activation="activation_fn")
_MLP_FC = MlpRow(inner="mlp.fc1", outer="mlp.fc2", activation="mlp.activation_fn")
BART_ENCODER = Stack(
    blocks="encoder.layers",
    prefix="encoder_blocks",
    places={
        "resid_pre": "<",
        "attn_out": "self_attn",
        "resid_mid": "self_attn_layer_norm",
        "mlp.pre": "fc1",
        "mlp.post": "<fc2",
        "mlp_out": "fc2",
        "resid_post": "",
    },
    attention={"attn": _SELF},
    mlp=_FC,
    embed="encoder.embed_tokens",
    norm1="self_attn_layer_norm",
    norm2="final_layer_norm",
    order="post",
    causal=False,
)
BART_DECODER = replace(
    BART_ENCODER,
    blocks="decoder.layers",
    prefix="decoder_blocks",
    places={
        **BART_ENCODER.places,
        "cross_attn_out": "encoder_attn",
        "resid_mid_cross": "encoder_attn_layer_norm",
    },
    attention={"self_attn": _SELF, "cross_attn": _CROSS},
    embed="decoder.embed_tokens",
    norm_cross="encoder_attn_layer_norm",
    causal=True,
    side="target",
)

WHISPER_ENCODER = Stack(
    blocks="encoder.layers",
    prefix="encoder_blocks",
    places={
        **_pre("self_attn", "fc2", pre="fc1", post="<fc2"),
        "attn.q": "self_attn.q_proj | heads",  # Whisper scales q before its attention function sees it
    },
    attention={"attn": _SELF},
    mlp=_FC,
    ln_final="encoder.layer_norm",
    norm1="self_attn_layer_norm",
    norm2="final_layer_norm",
    causal=False,
)
WHISPER_DECODER = replace(
    WHISPER_ENCODER,
    blocks="decoder.layers",
    prefix="decoder_blocks",
    places={
        **{site: path for site, path in WHISPER_ENCODER.places.items() if site != "attn.q"},
        "self_attn.q": "self_attn.q_proj | heads",
        "cross_attn.q": "encoder_attn.q_proj | heads",
        "cross_attn_out": "encoder_attn",
        "resid_mid_cross": "resid_mid + cross_attn_out",
    },
    attention={"self_attn": _SELF, "cross_attn": _CROSS},
    embed="decoder.embed_tokens",
    ln_final="decoder.layer_norm",
    norm_cross="encoder_attn_layer_norm",
    causal=True,
    side="target",
)

_VIT = AttentionRow(
    module="attention",
    o_proj="attention.o_proj",
    q_proj="attention.q_proj | heads",
    k_proj="attention.k_proj | heads",
    v_proj="attention.v_proj | heads",
)
VIT = Stack(
    blocks="layers",
    places=_pre("attention", "mlp", pre="mlp.fc1", post="<mlp.fc2"),
    attention={"attn": _VIT},
    mlp=_MLP_FC,
    embed="embeddings",
    ln_final="layernorm",
    norm1="layernorm_before",
    norm2="layernorm_after",
    causal=False,
)
DINOV2 = replace(
    VIT,
    blocks="encoder.layer",
    places=_pre("layer_scale1", "layer_scale2", pre="mlp.fc1", post="<mlp.fc2"),
    attention={"attn": replace(_VIT, o_scale="layer_scale1")},
    mlp=replace(_MLP_FC, scale="layer_scale2"),
    norm1="norm1",
    norm2="norm2",
)

CLIP_TEXT = Stack(
    blocks="text_model.encoder.layers",
    prefix="text_blocks",
    places=_pre("self_attn", "mlp", pre="mlp.fc1", post="<mlp.fc2"),
    attention={"attn": _SELF},
    mlp=_MLP_FC,
    embed="text_model.embeddings.token_embedding",
    pos_embed="text_model.embeddings.position_embedding",
    ln_final="text_model.final_layer_norm",
    norm1="layer_norm1",
    norm2="layer_norm2",
    config="text_config",
)
CLIP_VISION = replace(
    CLIP_TEXT,
    blocks="vision_model.encoder.layers",
    prefix="vision_blocks",
    embed="vision_model.embeddings",
    pos_embed=None,
    ln_final=None,
    causal=False,
    side="image",
    config="vision_config",
)


def _one_tower(stack: Stack, tower: str) -> Stack:
    """The same tower when it is loaded alone."""
    paths = {
        k: v.removeprefix(f"{tower}.") if (v := getattr(stack, k)) else v for k in ("blocks", "embed", "pos_embed")
    }
    return replace(stack, **paths, ln_final=None, prefix="blocks", side="input", config=None)


MAMBA = Stack(
    blocks="layers",
    places={"resid_pre": "<", "mixer.out": "mixer", "resid_post": ""},
    embed="embeddings",
    ln_final="norm_f",
    norm1="norm",
    order="mixer",
)

ATTENTION_ONLY = Stack(
    blocks="blocks",
    places={
        "resid_pre": "hook_resid_pre",
        **{f"attn.{part}": f"attn.hook_{part}" for part in ATTENTION_SITES},
        "attn_out": "hook_attn_out",
        "resid_post": "",
    },
    attention={
        "attn": AttentionRow(
            module=None,
            o_proj="attn.W_O",
            q_proj="attn.W_Q | heads",
            k_proj="attn.W_K | heads",
            v_proj="attn.W_V | heads",
        )
    },
    embed="embed",
    pos_embed="pos_embed",
    ln_final="ln_final",
    norm1="ln1",
)

SMALL_BARE = replace(
    ATTENTION_ONLY,
    places={
        **ATTENTION_ONLY.places,
        "resid_mid": "resid_pre + attn_out",
        "mlp.pre": "mlp.W_in",
        "mlp.post": "mlp.act",
        "mlp_out": "mlp",
    },
    mlp=MlpRow(inner="mlp.W_in", outer="mlp.W_out", activation="mlp.act"),
    ln_final=None,
    norm1=None,
)
SMALL = replace(SMALL_BARE, ln_final="ln_final", norm1="ln1", norm2="ln2")

OPT = replace(
    GPT2,
    blocks="decoder.layers",
    places={
        **_pre("self_attn", "fc2", pre="fc1", post="<fc2"),
        "attn.q": "self_attn.q_proj | heads",  # as Whisper's
    },
    attention={"attn": _SELF},
    mlp=_FC,
    embed="decoder.embed_tokens",
    pos_embed="decoder.embed_positions",
    ln_final="decoder.final_layer_norm",
    norm1="self_attn_layer_norm",
    norm2="final_layer_norm",
)

_PHI = _pre("self_attn", "mlp", pre="mlp.fc1", post="<mlp.fc2") | _rotary("self_attn")
PHI = replace(
    LLAMA,
    places={site: path for site, path in _PHI.items() if site != "resid_mid"},
    attention={
        "attn": AttentionRow(
            module="self_attn", o_proj="self_attn.dense", v_proj="self_attn.v_proj | heads", rotary=True
        )
    },
    mlp=_MLP_FC,
    ln_final="final_layernorm",
    norm2=None,
    order="parallel",
)


def _score(norm: str) -> dict[str, tuple[str, ...]]:
    """Decoders that classify: the last state through the final norm and one linear map."""
    return {"ForSequenceClassification": (norm, "score"), "": (norm, "lm_head")}


_BERT_HEADS = {
    "ForSequenceClassification": ("~pooler.dense", "~pooler.activation", "classifier"),
    "": (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.transform_act_fn",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
    ),
}
_ROBERTA_HEADS = {
    "ForSequenceClassification": ("classifier.dense", "=tanh", "classifier.out_proj"),
    "": ("lm_head.dense", "=gelu", "lm_head.layer_norm", "lm_head.decoder"),
}
_ELECTRA_HEADS = {
    "ForSequenceClassification": ("classifier.dense", "classifier.activation", "classifier.out_proj"),
    "": (
        "generator_predictions.dense",
        "generator_predictions.activation",
        "generator_predictions.LayerNorm",
        "generator_lm_head",
    ),
}
_DISTILBERT_MLM = ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector")
_DISTILBERT_HEADS = {"ForSequenceClassification": ("pre_classifier", "=relu", "classifier"), "": _DISTILBERT_MLM}
_ALBERT_HEADS = {
    "ForSequenceClassification": ("~pooler", "~pooler_activation", "classifier"),
    "": ("predictions.dense", "predictions.activation", "predictions.LayerNorm", "predictions.decoder"),
}

_ARCH: dict[str, Architecture] = {
    "gpt2": Architecture(stacks=(GPT2,), readout=("~ln_f", "lm_head"), head=_score("~ln_f")),
    "llama": Architecture(stacks=(LLAMA,), readout=("~norm", "lm_head"), head=_score("~norm")),
    "opt": Architecture(stacks=(OPT,), readout=("~decoder.final_layer_norm", "lm_head")),
    "phi": Architecture(stacks=(PHI,), readout=("~final_layernorm", "lm_head")),
    "gpt_neox": Architecture(stacks=(NEOX,), readout=("~final_layer_norm", "lm_head")),
    "gpt_neox_sequential": Architecture(stacks=(NEOX_SEQUENTIAL,), readout=("~final_layer_norm", "lm_head")),
    "bert": Architecture(stacks=(BERT,), readout=("cls.predictions",), head=_BERT_HEADS),
    "roberta": Architecture(stacks=(BERT,), readout=("lm_head",), head=_ROBERTA_HEADS),
    "electra": Architecture(
        stacks=(BERT,), readout=("generator_predictions", "generator_lm_head"), head=_ELECTRA_HEADS
    ),
    "distilbert": Architecture(stacks=(DISTILBERT,), readout=_DISTILBERT_MLM, head=_DISTILBERT_HEADS),
    "albert": Architecture(stacks=(ALBERT,), readout=("predictions",), head=_ALBERT_HEADS),
    "t5": Architecture(
        stacks=(T5_ENCODER, T5_DECODER), readout=("~decoder.final_layer_norm", "lm_head"), tied_scale=True
    ),
    "t5_gated": Architecture(
        stacks=(T5_ENCODER_GATED, T5_DECODER_GATED),
        readout=("~decoder.final_layer_norm", "lm_head"),
        tied_scale=True,
    ),
    "bart": Architecture(stacks=(BART_ENCODER, BART_DECODER), readout=("lm_head",), bias="final_logits_bias"),
    "whisper": Architecture(
        stacks=(WHISPER_ENCODER, WHISPER_DECODER), readout=("~decoder.layer_norm", "proj_out"), reads="audio"
    ),
    "vit": Architecture(stacks=(VIT,), readout=("~layernorm", "classifier"), reads="image"),
    "dinov2": Architecture(stacks=(DINOV2,), reads="image"),
    "clip": Architecture(stacks=(CLIP_VISION, CLIP_TEXT), reads="text+image"),
    "clip_text_model": Architecture(stacks=(_one_tower(CLIP_TEXT, "text_model"),)),
    "clip_vision_model": Architecture(stacks=(_one_tower(CLIP_VISION, "vision_model"),), reads="image"),
    "audio-spectrogram-transformer": Architecture(stacks=(VIT,), reads="audio"),
    "attention_only": Architecture(stacks=(ATTENTION_ONLY,), readout=("ln_final", "unembed")),
    "mamba": Architecture(stacks=(MAMBA,), readout=("~norm_f", "lm_head")),
}
_SMALL = {
    "": SMALL,
    "-attention": ATTENTION_ONLY,
    "-bare": SMALL_BARE,
    "-bare-attention": replace(ATTENTION_ONLY, ln_final=None, norm1=None),
}
for _name, _stack in _SMALL.items():
    _relu = {"attn": replace(_stack.attention["attn"], normalised=False)}
    _end = ("unembed",) if "bare" in _name else ("ln_final", "unembed")
    for _more, _change in {"": {}, "-relu": {"attention": _relu}}.items():
        for _seen in (True, False):
            _key = f"workbench-small{_name}{_more}{'' if _seen else '-both-ways'}"
            _ARCH[_key] = Architecture(stacks=(replace(_stack, causal=_seen, **_change),), readout=_end)
for _same_as_llama in ("mistral", "qwen2", "smollm3"):
    _ARCH[_same_as_llama] = _ARCH["llama"]
_ARCH["gemma"] = replace(_ARCH["llama"], norm_offset=1.0)
_ARCH["deit"] = replace(_ARCH["vit"], readout=("~layernorm", "classifier"))
_ARCH["xlm-roberta"] = _ARCH["roberta"]
_ARCH["roberta-prelayernorm"] = Architecture(
    stacks=(ROBERTA_PRE_NORM,), readout=("~LayerNorm", "lm_head"), linear_end=False
)
_ARCH["mt5"] = replace(_ARCH["t5_gated"], tied_scale=False)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(_ARCH)
"""transformers' `model_type` -> row. Rows are also found by structure: see `adapters.row_for`."""


def row_name(config: Any) -> str:
    """The row that fits this config: its model_type, or that type's variant."""
    kind = config.model_type
    if kind == "gpt_neox" and not config.use_parallel_residual:
        return "gpt_neox_sequential"
    if kind == "t5" and getattr(config, "is_gated_act", False):
        return "t5_gated"
    if kind == "workbench-small":
        parts = f"{'' if config.norm else '-bare'}{'' if config.d_mlp else '-attention'}"
        more = f"{'' if config.attention == 'softmax' else '-relu'}{'' if config.causal else '-both-ways'}"
        return f"{kind}{parts}{more}"
    return kind
