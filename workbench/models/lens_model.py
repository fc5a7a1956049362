"""`LensModel`: the one interface every analysis sees, whatever the model underneath."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import inputs
from workbench.errors import MissingCapability, MissingSite, UnknownName
from workbench.models import linear_maps
from workbench.models.architectures import Architecture, Stack
from workbench.models.linear_maps import Activation, LinearMap, MlpMap, Norm
from workbench.models.sites import Site

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of one stack of blocks."""

    n_blocks: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """One row of blocks of a loaded model: its place in the architecture row, and its sizes."""

    row: Stack
    sizes: Sizes
    paths: tuple[str, ...]
    """Path of each block; a shared block stands once for each layer."""

    @property
    def prefix(self) -> str:
        """What the names of its sites begin with: blocks, encoder_blocks ..."""
        return self.row.prefix

    @property
    def n_blocks(self) -> int:
        """How many layers it has."""
        return self.sizes.n_blocks

    @property
    def attentions(self) -> tuple[str, ...]:
        """Names of the attentions in each of its blocks: attn, or self_attn and cross_attn."""
        return tuple(self.row.attention)

    @property
    def causal(self) -> bool:
        """Whether a position sees only itself and what stands before it."""
        return self.row.causal

    @property
    def side(self) -> str:
        """Which of the model's inputs its positions are: input, target or image."""
        return self.row.side


@dataclass(frozen=True, eq=False, kw_only=True)
class LensModel:
    """A torch module with named sites. Holds no activations, and leaves the module as it was found.

    `model.module(**model.encode("text"))` runs it; `reading` and `editing` look inside while it runs.
    """

    module: nn.Module
    processor: Any
    name: str
    family: str
    architecture: Architecture
    base: str
    """Path of the base model inside `module`, with a trailing dot; empty where `module` is it."""
    stacks: tuple[Blocks, ...]
    sites: Mapping[str, Site]
    capabilities: frozenset[str]
    """What analyses may ask for: text, image, audio, pattern, qk, z, resid, attn_out, mlp_out, mlp, readout,
    direct-logits, logits, norms, decomposition, qk-maps, causal, one-stack, gradients."""
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Where it comes from: source, revision, licence, notes."""

    # ---- sizes -----------------------------------------------------------------------------------------------------

    @property
    def main(self) -> Blocks:
        """The stack whose last state is read out: the decoder, or the only one."""
        return self.stacks[-1]

    @property
    def n_blocks(self) -> int:
        """Layers of the main stack."""
        return self.main.sizes.n_blocks

    @property
    def n_heads(self) -> int:
        """Query heads of a layer of the main stack."""
        return self.main.sizes.n_heads

    @property
    def n_kv_heads(self) -> int:
        """Key and value heads of a layer of the main stack."""
        return self.main.sizes.n_kv_heads

    @property
    def d_model(self) -> int:
        """Width of the main stack's residual stream."""
        return self.main.sizes.d_model

    @property
    def d_head(self) -> int:
        """Width of a head of the main stack."""
        return self.main.sizes.d_head

    @cached_property
    def n_ctx(self) -> int | None:
        """Most positions the model can read; None where there is no bound."""
        return inputs.context_length(self)

    @cached_property
    def n_params(self) -> int:
        """Number of weights, shared ones counted once."""
        return sum(p.numel() for p in self.module.parameters())

    @cached_property
    def n_bytes(self) -> int:
        """Memory of the weights in bytes, shared ones counted once."""
        return sum(p.numel() * p.element_size() for p in self.module.parameters())

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """Names of what a classifier chooses among; None where answers are tokens."""
        return inputs.classes(self)

    @cached_property
    def vocab_size(self) -> int:
        """Number of answers the readout chooses among, or of tokens where there is no readout."""
        if self.classes is not None:
            return len(self.classes)
        if self.unembed is not None and hasattr(self.unembed, "weight"):
            return self.unembed.weight.shape[0]
        return inputs.vocab_size(self)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return next(p.dtype for p in self.module.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Where its first weights are."""
        return next(self.module.parameters()).device

    @property
    def reads(self) -> Literal["text", "image", "audio", "text+image"]:
        """What kind of input it takes."""
        return self.architecture.reads

    @cached_property
    def lock(self) -> Any:
        """Held while sites are read or edited; shared by all LensModels of one module."""
        return _LOCKS.setdefault(self.module, RLock())

    # ---- sites -----------------------------------------------------------------------------------------------------

    def site(self, name: str) -> Site:
        """The site called `name`; an unknown one is an error that offers the nearest."""
        if name in self.sites:
            return self.sites[name]
        heads = [s for s in self.sites if ".0." in s or "blocks" not in s]
        known = UnknownName("site", name, heads)
        raise MissingSite(f"{self.name} ({self.family}, {self.n_blocks} layers) has no such site. {known}")

    def stack(self, prefix: str | None = None) -> Blocks:
        """The stack whose sites begin with `prefix`; the main one if None."""
        if prefix is None:
            return self.main
        for stack in self.stacks:
            if stack.prefix == prefix:
                return stack
        raise UnknownName("stack", prefix, [s.prefix for s in self.stacks])

    def stack_of(self, site: str) -> Blocks:
        """The stack that a site (or an attention such as `blocks.attn`) belongs to."""
        for stack in self.stacks:
            if site.startswith(f"{stack.prefix}.") or (stack.row.lead and site.startswith(stack.row.lead)):
                return stack
        return self.main

    def d_head_at(self, site: str) -> int:
        """Width of a head where `site` is."""
        return self.stack_of(site).sizes.d_head

    @property
    def attentions(self) -> tuple[str, ...]:
        """Every kind of attention it has: ('blocks.attn',), or encoder, decoder self- and cross-attention."""
        return tuple(f"{stack.prefix}.{name}" for stack in self.stacks for name in stack.attentions)

    def attention(self, name: str | None = None) -> tuple[Blocks, str]:
        """The stack and the short name of an attention; None is the first one of the main stack."""
        if not self.attentions:
            raise MissingCapability(f"{self.name} has no attention ({self.family}).")
        name = name or f"{self.main.prefix}.{self.main.attentions[0]}"
        if name not in self.attentions:
            raise UnknownName("attention", name, self.attentions)
        prefix, _, short = name.partition(".")
        return self.stack(prefix), short

    def attention_sites(self, attention: str | None, part: str) -> tuple[str, ...]:
        """The sites of one part (pattern, q, z ...) of one attention, a layer each."""
        stack, short = self.attention(attention)
        return tuple(f"{stack.prefix}.{i}.{short}.{part}" for i in range(stack.n_blocks))

    def stream(self, part: str, prefix: str | None = None) -> tuple[str, ...]:
        """The sites of one part of the blocks (resid_post, attn_out ...), a layer each."""
        stack = self.stack(prefix)
        return tuple(f"{stack.prefix}.{i}.{part}" for i in range(stack.n_blocks))

    @property
    def block_paths(self) -> tuple[str, ...]:
        """Module paths of all blocks, each once."""
        return tuple(dict.fromkeys(path for stack in self.stacks for path in stack.paths))

    # ---- inputs ----------------------------------------------------------------------------------------------------

    def encode(self, x: Any, *, target: str | None = None, bos: bool | None = None) -> dict[str, Tensor]:
        """What the module takes, from text, a list of texts (padded), token ids, an image, or audio.

        `bos`: None adds the special tokens that the processor adds, True a BOS where there is none, False none at all.
        `target` is the decoder's text in encoder-decoders. Empty or too long input is a `BadInput`.
        """
        return inputs.encode(self, x, target=target, bos=bos)

    def labels(self, batch: Mapping[str, Tensor], *, row: int = 0, side: str = "input") -> tuple[str, ...]:
        """One label a position, padding left out: the token's text, or where the patch or frame is."""
        return inputs.labels(self, batch, row=row, side=side)

    def token_id(self, text: str | int) -> int:
        """The id of an answer: of a text that is exactly one token (as typed, or with a space before), or a class."""
        return inputs.token_id(self, text)

    def token_text(self, number: int) -> str:
        """The text of an answer: a token as it stands in running text, or the name of a class."""
        return inputs.token_text(self, int(number))

    def answer_position(self, batch: Mapping[str, Tensor]) -> int:
        """The position whose answer is meant when none is named: last, the first mask, or the class token's."""
        return inputs.answer_position(self, batch)

    # ---- outputs ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logits(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch pos vocab"]:
        """Run the module under its lock and give its logits; classifiers have one position."""
        with self.lock:
            output = self.module(**batch)
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if logits is None:
            raise MissingCapability(f"{self.name} has no head that gives logits; it gives states only.")
        return logits if logits.ndim == 3 else logits[:, None]

    def readout(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits that the model would give if its last residual state were `resid`."""
        for path in self._readout_paths:
            resid = self.head_step(path, resid)
        if self.architecture.bias is not None:
            resid = resid + self.module.get_buffer(self.architecture.bias)[0]
        return resid

    def head_step(self, path: str, x: Tensor) -> Tensor:
        """One module of the head, with the factor that some families put before the last."""
        if self.architecture.tied_scale and path == self._readout_paths[-1]:
            config: Any = self.module.config
            if getattr(config, "scale_decoder_outputs", config.tie_word_embeddings):
                x = x * config.d_model**-0.5
        return self.module.get_submodule(path)(x)

    @property
    def _readout_paths(self) -> tuple[str, ...]:
        if "readout" not in self.capabilities:
            why = self.info.get("readout", "its family has no head, or the one it has was not trained")
            raise MissingCapability(f"{self.name} cannot be read out: {why}.")
        return tuple(path.replace("~", self.base) for path in self.architecture.readout)

    @property
    def final_norm(self) -> Norm:
        """The final norm of the readout as numbers; needs `direct-logits`."""
        if "direct-logits" not in self.capabilities:
            raise MissingCapability(f"{self.name}'s readout is not a norm and one linear map, so it does not split up.")
        module: Any = self.module.get_submodule(self._readout_paths[0])
        weight = module.weight.detach() + self.architecture.norm_offset
        if isinstance(module, nn.LayerNorm):
            return Norm(centred=True, weight=weight, bias=module.bias, eps=module.eps)
        eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", 1e-6)
        return Norm(centred=False, weight=weight, bias=None, eps=eps)

    @property
    def unembed(self) -> Any:
        """The last linear map of the readout, or None."""
        if "direct-logits" not in self.capabilities:
            return None
        return self.module.get_submodule(self._readout_paths[-1])

    def unembedding(self, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """The linear part of the readout alone: logits of states that went through the final norm."""
        return self.head_step(self._readout_paths[-1], normed)

    # ---- maps as numbers -------------------------------------------------------------------------------------------

    def norms(self, layer: int, prefix: str | None = None) -> dict[str, Norm]:
        """The norms of one block as numbers, by the row's names: norm1, norm_cross, norm2. Needs `norms`."""
        return linear_maps.block_norms(self, layer, prefix)

    def last_norm(self, prefix: str | None = None) -> Norm | None:
        """The norm after the last block of a stack as numbers, or None where there is none. Needs `norms`."""
        return linear_maps.last_norm(self, prefix)

    def output_map(
        self, attention: str | None, layer: int
    ) -> tuple[Float[Tensor, "head d_head d_model"], Float[Tensor, "d_model"]]:
        """How one layer's heads write: W_O per head and the bias added once, read off the modules themselves.

        Exact for any linear output map, quantised or not; costs nothing where the weights lie open.
        """
        return linear_maps.output_map(self, attention, layer)

    def query_map(
        self, attention: str | None, layer: int
    ) -> tuple[Float[Tensor, "d_model head d_head"], Float[Tensor, "head d_head"]]:
        """How one layer's heads make queries: W_Q per head and its bias, before rotary embedding. Needs `qk-maps`.

        q = x W_Q + b of what the attention reads: the normed stream in pre-norm families. No scale is in it. Exact for
        any linear module, quantised or not.
        """
        return linear_maps.head_reads(self, "q", attention, layer)

    def key_map(
        self, attention: str | None, layer: int
    ) -> tuple[Float[Tensor, "d_model kv_head d_head"], Float[Tensor, "kv_head d_head"]]:
        """How one layer's heads make keys: W_K per kv head and its bias, as `query_map`. Needs `qk-maps`.

        Cross-attention makes them of the other side's last state.
        """
        return linear_maps.head_reads(self, "k", attention, layer)

    def value_map(
        self, attention: str | None, layer: int
    ) -> tuple[Float[Tensor, "d_model kv_head d_head"], Float[Tensor, "kv_head d_head"]]:
        """How one layer's heads read: W_V per kv head and its bias. Needs `qk-maps` or `decomposition`."""
        return linear_maps.head_reads(self, "v", attention, layer)

    def normed_queries(self, attention: str | None = None) -> bool:
        """Whether queries and keys go through norms of their own between their maps and the scores.

        Told by the names of the attention's modules (q_norm, k_layernorm ...).
        """
        return linear_maps.normed_reads(self, attention)

    def mlp_map(self, layer: int, prefix: str | None = None) -> MlpMap | None:
        """The linear maps and the activation of one block's MLP; None where it has none. Needs `decomposition`."""
        return linear_maps.mlp_map(self, layer, prefix)

    def head_maps(self, answers: Sequence[int]) -> tuple[Norm | LinearMap | Activation, ...]:
        """The steps from the last state to the logits of some answers, in turn. Needs `decomposition`.

        The last step is linear and has one output an answer. Classifiers read one position (`answer_position`).
        """
        return linear_maps.head_maps(self, tuple(answers))

    def __repr__(self) -> str:
        sizes = f"{self.n_blocks} layers, {self.n_heads} heads, d_model {self.d_model}"
        return f"LensModel({self.name!r}, {self.family}: {sizes}, {len(self.sites)} sites)"


def known_names(names: Sequence[str], most: int = 12) -> str:
    """A list of names for a message, cut to `most`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
