"""A small attention-only transformer in which every step is a submodule, so that a row of paths describes it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class AttentionOnlyConfig:
    """The sizes of an `AttentionOnly` model, under TransformerLens's names."""

    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    d_head: int = 16
    n_ctx: int = 256
    d_vocab: int = 98


@dataclass(frozen=True)
class Prediction:
    """What the model returns: `logits` of shape (batch, pos, vocab), not normalised."""

    logits: Tensor


def softmax(scores: Tensor, allowed: Tensor) -> Tensor:
    """Rows that sum to one."""
    return scores.softmax(-1)


def relu(scores: Tensor, allowed: Tensor) -> Tensor:
    """What is above zero, over how many keys the query sees."""
    return scores.relu() / allowed.sum(-1, keepdim=True)


class Attention(nn.Module):
    """Attention over what `allowed` lets a query see; each `hook_` passes its tensor on, to be read or replaced."""

    def __init__(self, config: AttentionOnlyConfig, weigh: Callable[[Tensor, Tensor], Tensor] = softmax) -> None:
        super().__init__()
        self.n_heads, self.d_head, self.weigh = config.n_heads, config.d_head, weigh
        width = config.n_heads * config.d_head
        self.W_Q = nn.Linear(config.d_model, width, bias=False)
        self.W_K = nn.Linear(config.d_model, width, bias=False)
        self.W_V = nn.Linear(config.d_model, width, bias=False)
        self.W_O = nn.Linear(width, config.d_model, bias=False)
        self.hook_q = nn.Identity()  # (batch, pos, head, d_head), so are k, v, z
        self.hook_k = nn.Identity()
        self.hook_v = nn.Identity()
        self.hook_attn_scores = nn.Identity()  # (batch, head, query, key), scaled and masked
        self.hook_pattern = nn.Identity()  # (batch, head, query, key)
        self.hook_z = nn.Identity()

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Mix the positions of x (batch, pos, d_model); allowed (batch, 1, query, key) says which may be seen."""
        q, k, v = (
            hook(project(x).unflatten(-1, (self.n_heads, self.d_head)))
            for hook, project in ((self.hook_q, self.W_Q), (self.hook_k, self.W_K), (self.hook_v, self.W_V))
        )
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.d_head**0.5
        scores = self.hook_attn_scores(scores.masked_fill(~allowed, torch.finfo(scores.dtype).min))
        pattern = self.hook_pattern(self.weigh(scores, allowed))
        z = self.hook_z(torch.einsum("bhqk,bkhd->bqhd", pattern, v))
        return self.W_O(z.flatten(-2))


class Block(nn.Module):
    """One layer: the stream plus what attention reads from its normalised copy. Its output is `resid_post`."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        self.hook_resid_pre = nn.Identity()
        self.ln1 = nn.LayerNorm(config.d_model)
        self.attn = Attention(config)
        self.hook_attn_out = nn.Identity()

    def forward(self, resid: Tensor, allowed: Tensor) -> Tensor:
        """Give the stream (batch, pos, d_model) after this layer."""
        resid = self.hook_resid_pre(resid)
        return resid + self.hook_attn_out(self.attn(self.ln1(resid), allowed))


class AttentionOnly(nn.Module):
    """Predicts the next token with attention alone: learned positions, norm before each layer, no MLP, no biases.

    The architecture of Elhage et al. (2021), A Mathematical Framework for Transformer Circuits, with layer norm.
    Positions count the tokens that are not padding, so a padded batch gives each text what it gets alone.
    """

    def __init__(self, config: AttentionOnlyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AttentionOnlyConfig()
        self.embed = nn.Embedding(config.d_vocab, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_final = nn.LayerNorm(config.d_model)
        self.unembed = nn.Linear(config.d_model, config.d_vocab, bias=False)
        for table in (self.embed, self.pos_embed):
            nn.init.normal_(table.weight, std=config.d_model**-0.5)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Prediction:
        """Give the logits for ids (batch, pos); attention_mask (batch, pos) is 1 for tokens and 0 for padding."""
        if input_ids is None or input_ids.ndim != 2 or input_ids.shape[1] == 0:
            shape = None if input_ids is None else tuple(input_ids.shape)
            raise BadInput(f"The model reads token ids of shape (batch, pos) with at least one position, not {shape}.")
        if input_ids.shape[1] > self.config.n_ctx:
            raise BadInput(f"{input_ids.shape[1]} tokens are more than the {self.config.n_ctx} this model can read.")
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(input_ids)
        positions = (real.cumsum(-1) - 1).clamp(min=0) if position_ids is None else position_ids
        resid = self.embed(input_ids) + self.pos_embed(positions)
        here = torch.arange(input_ids.shape[1], device=input_ids.device)
        seen = real.bool()[:, None, :] | (here[:, None] == here)  # padding sees itself, so that no row is empty
        allowed = (seen & (here[:, None] >= here))[:, None]  # (batch, 1, query, key)
        for block in self.blocks:
            resid = block(resid, allowed)
        return Prediction(self.unembed(self.ln_final(resid)))
