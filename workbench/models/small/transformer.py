"""A small transformer for studies, with or without norms and MLPs, in which every step is a submodule."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from workbench.errors import BadInput
from workbench.models.micro.attention_only import Attention, relu, softmax
from workbench.models.small.config import SmallConfig

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
NORMS = (None, "layer")
ATTENTIONS = {"softmax": softmax, "relu": relu}
SIZES = {"vocab_size": 1, "n_ctx": 1, "n_layers": 1, "n_heads": 1, "d_model": 1, "d_head": 1, "d_mlp": 0}
"""Each with the least that it may be."""


class Mlp(nn.Module):
    """outer(act(inner(x))), with biases."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.W_in = nn.Linear(config.d_model, config.d_mlp)
        self.act = ACTIVATIONS[config.act]()
        self.W_out = nn.Linear(config.d_mlp, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """What the MLP adds to the stream (batch, pos, d_model)."""
        return self.W_out(self.act(self.W_in(x)))


class Block(nn.Module):
    """Attention, then the MLP if there is one, each added to the stream. Its output is `resid_post`."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.hook_resid_pre = nn.Identity()
        self.ln1 = _norm(config)
        weigh = ATTENTIONS[config.attention]
        self.attn = Attention(config, weigh)  # pyright: ignore[reportArgumentType] - it needs the sizes alone
        self.hook_attn_out = nn.Identity()
        if config.d_mlp:
            self.ln2 = _norm(config)
            self.mlp = Mlp(config)

    def forward(self, resid: Tensor, allowed: Tensor) -> Tensor:
        """Give the stream (batch, pos, d_model) after this layer."""
        resid = self.hook_resid_pre(resid)
        resid = resid + self.hook_attn_out(self.attn(self.ln1(resid), allowed))
        return resid + self.mlp(self.ln2(resid)) if hasattr(self, "mlp") else resid


class SmallTransformer(PreTrainedModel):
    """Predicts the next token with learned positions, attention, and (if asked for) norms and MLPs.

    Without norms and with ReLU it is the transformer of Nanda et al. (2023), Progress Measures for Grokking via
    Mechanistic Interpretability, but for the biases of attention. Positions count the tokens that are not padding,
    so a padded batch gives each text what it gets alone. Saved and loaded like any `transformers` model.
    """

    config_class = SmallConfig
    config: SmallConfig
    base_model_prefix = ""
    _tied_weights_keys = {"unembed.weight": "embed.weight"}

    def __init__(self, config: SmallConfig) -> None:
        config.tie_word_embeddings = config.tied
        super().__init__(config)
        _check(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_final = _norm(config)
        self.unembed = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> CausalLMOutput:
        """Give the logits for ids (batch, pos); attention_mask (batch, pos) is 1 for tokens and 0 for padding."""
        if input_ids is None or input_ids.ndim != 2 or input_ids.shape[1] == 0:
            shape = None if input_ids is None else tuple(input_ids.shape)
            raise BadInput(f"The model reads token ids of shape (batch, pos) with at least one position, not {shape}.")
        length = input_ids.shape[1]
        if length > self.config.n_ctx:
            raise BadInput(f"{length} tokens are more than the {self.config.n_ctx} this model can read.")
        here = torch.arange(length, device=input_ids.device)
        allowed = ((here[:, None] >= here) | (not self.config.causal))[None, None]  # (1, 1, query, key)
        positions = here[None] if position_ids is None else position_ids
        if attention_mask is not None:
            real = attention_mask.to(input_ids)
            positions = (real.cumsum(-1) - 1).clamp(min=0) if position_ids is None else position_ids
            allowed = allowed & (real.bool()[:, None, :] | (here[:, None] == here))[:, None]  # no row is empty
        resid = self.embed(input_ids) + self.pos_embed(positions)
        for block in self.blocks:
            resid = block(resid, allowed)
        return CausalLMOutput(logits=self.unembed(self.ln_final(resid)))

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        """What reads the answers."""
        return self.unembed

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Weights of variance 1 / (numbers read); tables of variance 1 / d_model."""
        if isinstance(module, nn.Linear):
            module.weight.normal_(std=module.in_features**-0.5)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(std=module.embedding_dim**-0.5)
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()


def _norm(config: SmallConfig) -> nn.Module:
    return nn.LayerNorm(config.d_model) if config.norm else nn.Identity()


def _check(config: SmallConfig) -> None:
    for name, allowed in (
        ("act", tuple(ACTIVATIONS)),
        ("norm", NORMS),
        ("attention", tuple(ATTENTIONS)),
        ("causal", (True, False)),
    ):
        value = getattr(config, name)
        if value not in allowed:
            raise BadInput(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}.")
    for name, least in SIZES.items():
        value = getattr(config, name)
        if type(value) is not int or value < least:
            raise BadInput(f"{name} must be a whole number of at least {least}, not {value!r}.")
