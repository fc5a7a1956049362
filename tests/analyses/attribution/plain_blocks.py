"""What tests of norm-based methods hold them to: blocks taken apart with weights straight from transformers' modules.

Slow and plain: whole (query, key, d_model) tensors, one head at a time, norms at the scale of what really went in.
"""

from dataclasses import dataclass, field

import torch
import transformers

from workbench.hooks import reading
from workbench.models.adapters import adapt
from workbench.models.micro.characters import CharacterTokenizer
from workbench.testing import FAMILIES, example_input, tiny_model

SIZES = {"vocab_size": 98, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "bos_token_id": 0,
         "intermediate_size": 32, "eos_token_id": 0, "pad_token_id": 0}  # fmt: skip
OTHERS = {
    "gemma": lambda: transformers.GemmaForCausalLM(
        transformers.GemmaConfig(**SIZES, num_key_value_heads=1, head_dim=8)
    ),
    "phi": lambda: transformers.PhiForCausalLM(transformers.PhiConfig(**SIZES)),
    "opt": lambda: transformers.OPTForCausalLM(
        transformers.OPTConfig(**{**SIZES, "ffn_dim": 32}, word_embed_proj_dim=16, max_position_embeddings=64)
    ),
    "mt5": lambda: transformers.MT5ForConditionalGeneration(
        transformers.MT5Config(vocab_size=98, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0,
                               decoder_start_token_id=0)
    ),
    "bert_classifier": lambda: transformers.BertForSequenceClassification(
        transformers.BertConfig(**SIZES, num_labels=3)
    ),
    "roberta_classifier": lambda: transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(**SIZES, num_labels=3)
    ),
    "distilbert_classifier": lambda: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=98, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=3)
    ),
    "gpt2_classifier": lambda: transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(vocab_size=98, n_layer=2, n_head=2, n_embd=16, num_labels=3, pad_token_id=0)
    ),
}  # fmt: skip
"""Families with a row of their own and no tiny model."""


def exact_model(family):
    """A tiny model in double precision, RMS norms included, which transformers computes in single; and its input."""
    if family in FAMILIES:
        model = tiny_model(family)
    else:
        torch.manual_seed(0)
        module = OTHERS[family]().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model = adapt(module, CharacterTokenizer(), name=family)
    model.module.double()
    for norm in model.module.modules():
        if "RMSNorm" in type(norm).__name__ or type(norm).__name__.endswith("T5LayerNorm"):
            norm.forward = _in_double(norm)
    return model, {"mt5": "abcabc => ab"}.get(family) or (
        example_input(family) if family in FAMILIES else "abcabcabc"
    )  # fmt: skip


def _in_double(norm):
    eps = getattr(norm, "variance_epsilon", None) or norm.eps
    offset = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
    return lambda x: x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * (norm.weight + offset)


@dataclass(frozen=True, eq=False, kw_only=True)
class PlainNorm:
    """A norm module and what went into it, without the batch axis."""

    module: torch.nn.Module
    came_in: torch.Tensor

    def __call__(self, vectors):
        """Contributions (query, ..., d_model) through the norm frozen at its true scale, without its bias."""
        module, x = self.module, self.came_in
        shape = (len(x), *[1] * (vectors.ndim - 1))
        if isinstance(module, torch.nn.LayerNorm):
            deviation = (x.var(-1, correction=0) + module.eps).sqrt().reshape(shape)
            return (vectors - vectors.mean(-1, keepdim=True)) / deviation * module.weight
        eps = getattr(module, "variance_epsilon", None) or module.eps
        offset = 1.0 if type(module).__name__.startswith("Gemma") else 0.0
        return vectors / (x.square().mean(-1) + eps).sqrt().reshape(shape) * (module.weight + offset)


@dataclass(frozen=True, eq=False, kw_only=True)
class PlainStep:
    """One attention: what each source brings each query, and the norms that follow."""

    z: torch.Tensor
    """(query, key, d_model)"""
    weights: torch.Tensor
    """Mean over heads: (query, key)."""
    own: torch.Tensor
    after: list = field(default_factory=list)
    block: list = field(default_factory=list)
    post: bool = False
    cross: bool = False

    @property
    def whole(self):
        """The z, with what the query has itself: on the diagonal, or for cross-attention as one more source."""
        if self.cross:
            return torch.cat([self.z, self.own[:, None]], 1)
        return self.z + torch.eye(len(self.own))[..., None] * self.own[:, None]


def linear(module):
    """(d_in, d_out) of a Linear or Conv1D."""
    return module.weight if type(module).__name__ == "Conv1D" else module.weight.T


def values(x, module, heads, *, cut=None):
    """(head, pos, d_head) of a projection; `cut` takes the values out of a fused one."""
    out = module(x)
    out = out if cut is None else cut(out)
    return out.reshape(len(x), heads, -1).transpose(0, 1)


def brought(v, out, pattern):
    """(query, key, d_model): sum over heads of alpha_ij v_j W_O, head by head."""
    w_o = linear(out)
    n, d_head = pattern.shape[0], v.shape[-1]
    return sum(
        pattern[h][..., None] * (v[h * len(v) // n] @ w_o[h * d_head : (h + 1) * d_head])[None] for h in range(n)
    )


SINGLE = {
    # blocks, order, norm1, values, W_O, norm2, last norm
    "bert": ("bert.encoder.layer", "post", "attention.output.LayerNorm", "attention.self.value",
             "attention.output.dense", "output.LayerNorm", None),
    "roberta": ("roberta.encoder.layer", "post", "attention.output.LayerNorm", "attention.self.value",
                "attention.output.dense", "output.LayerNorm", None),
    "electra": ("electra.encoder.layer", "post", "attention.output.LayerNorm", "attention.self.value",
                "attention.output.dense", "output.LayerNorm", None),
    "distilbert": ("distilbert.transformer.layer", "post", "sa_layer_norm", "attention.v_lin", "attention.out_lin",
                   "output_layer_norm", None),
    "albert": ("albert.encoder.albert_layer_groups.0.albert_layers", "post", "attention.LayerNorm", "attention.value",
               "attention.dense", "full_layer_layer_norm", None),
    "gpt2": ("transformer.h", "pre", "ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "transformer.ln_f"),
    "llama": ("model.layers", "pre", "input_layernorm", "self_attn.v_proj", "self_attn.o_proj",
              "post_attention_layernorm", "model.norm"),
    "gemma": ("model.layers", "pre", "input_layernorm", "self_attn.v_proj", "self_attn.o_proj",
              "post_attention_layernorm", "model.norm"),
    "opt": ("model.decoder.layers", "pre", "self_attn_layer_norm", "self_attn.v_proj", "self_attn.out_proj",
            "final_layer_norm", "model.decoder.final_layer_norm"),
    "vit": ("vit.layers", "pre", "layernorm_before", "attention.v_proj", "attention.o_proj", "layernorm_after",
            "vit.layernorm"),
    "dinov2": ("encoder.layer", "pre", "norm1", "attention.v_proj", "attention.o_proj", "norm2", "layernorm"),
    "neox": ("gpt_neox.layers", "parallel", "input_layernorm", "attention.query_key_value", "attention.dense",
             "post_attention_layernorm", "gpt_neox.final_layer_norm"),
    "phi": ("model.layers", "parallel", "input_layernorm", "self_attn.v_proj", "self_attn.dense", None,
            "model.final_layernorm"),
    "micro": ("blocks", "pre", "ln1", "attn.W_V", "attn.W_O", None, "ln_final"),
}  # fmt: skip
"""One-stack families by the paths of their modules, written down once more from transformers' own code."""

CUTS = {
    "gpt2": lambda out: out.chunk(3, -1)[2],
    "neox": lambda out: out.unflatten(-1, (2, 3, 8))[:, :, 2],
}


@torch.no_grad()
def single_steps(family, model, batch):
    """The steps of a one-stack model."""
    blocks_at, order, norm1, value, out, norm2, last = SINGLE[family]
    module = model.module
    blocks = list(module.get_submodule(blocks_at))
    layers = model.n_blocks
    blocks = blocks * layers if len(blocks) == 1 else blocks
    inputs = _inputs(module)
    patterns = _run(model, batch, inputs)["blocks.attn"]
    steps = []
    for i, block in enumerate(blocks):
        call = i if len({id(b) for b in blocks}) == 1 and layers > 1 else 0
        first, read = block.get_submodule(norm1), block.get_submodule(value)
        came_in = inputs[first][call]
        x = inputs[block][call] if order == "post" else first(came_in)
        v = values(x, read, model.n_kv_heads, cut=CUTS.get(family))
        z = brought(v, block.get_submodule(out), patterns[i])
        if family == "dinov2":
            z = z * block.layer_scale1.lambda1
        one = PlainNorm(module=first, came_in=came_in)
        if order == "post":
            after = [one]
            second = block.get_submodule(norm2)
            following = [one, PlainNorm(module=second, came_in=inputs[second][call])]
        else:
            reads = module.get_submodule(last) if i + 1 == layers else blocks[i + 1].get_submodule(norm1)
            following = [PlainNorm(module=reads, came_in=inputs[reads][0])]
            second = block.get_submodule(norm2) if norm2 and order == "pre" else None
            after = following if second is None else [PlainNorm(module=second, came_in=inputs[second][0])]
        steps.append(
            PlainStep(z=z, weights=patterns[i].mean(0), own=inputs[block][call], after=after, block=following,
                      post=order == "post")
        )  # fmt: skip
    return steps


@torch.no_grad()
def two_sided_steps(family, model, batch):
    """The steps of an encoder-decoder: (encoder's, [(self, cross) of each decoder layer])."""
    module = model.module
    inputs = _inputs(module)
    patterns = _run(model, batch, inputs)
    t5 = family in ("t5", "mt5")
    base = module if t5 else module.model
    encoder, decoder = (list(s.block if t5 else s.layers) for s in (base.encoder, base.decoder))

    def seen(norm):
        return PlainNorm(module=norm, came_in=inputs[norm][0])

    def parts(block, cross=False):
        """(norm, values, W_O) of a block's self- or cross-attention, and the MLP's norm."""
        if t5:
            at = block.layer[1] if cross else block.layer[0]
            attention = at.EncDecAttention if cross else at.SelfAttention
            return at.layer_norm, attention.v, attention.o, block.layer[-1].layer_norm
        attention = block.encoder_attn if cross else block.self_attn
        norm = block.encoder_attn_layer_norm if cross else block.self_attn_layer_norm
        return norm, attention.v_proj, attention.out_proj, block.final_layer_norm

    post = family == "bart"
    memory_norm = {"t5": "final_layer_norm", "mt5": "final_layer_norm", "whisper": "layer_norm"}.get(family)
    if memory_norm:
        reads = getattr(base.encoder, memory_norm)
        memory = reads(inputs[reads][0])
        decoder_last = getattr(base.decoder, memory_norm)
    else:
        memory, reads, decoder_last = inputs[encoder[-1]].out, None, None
    found = {"encoder": [], "self": [], "cross": []}
    for side, blocks, last in (("encoder", encoder, reads), ("self", decoder, decoder_last)):
        for i, block in enumerate(blocks):
            name = "encoder_blocks.attn" if side == "encoder" else "decoder_blocks.self_attn"
            own, (norm, value, out, mlp_norm) = inputs[block][0], parts(block)
            x = own if post else norm(own)
            z = brought(values(x, value, 2), out, patterns[name][i])
            following = None if post else last if i + 1 == len(blocks) else parts(blocks[i + 1])[0]
            if side == "encoder":
                after = [seen(norm)] if post else [seen(mlp_norm)]
                block_norms = [*after, seen(mlp_norm)] if post else [seen(following)]
                found[side].append(PlainStep(z=z, weights=patterns[name][i].mean(0), own=own, after=after,
                                             block=block_norms, post=post))  # fmt: skip
                continue
            cross_norm, cross_value, cross_out, _ = parts(block, cross=True)
            after = [seen(norm)] if post else [seen(cross_norm)]
            found["self"].append(PlainStep(z=z, weights=patterns[name][i].mean(0), own=own, after=after, block=after,
                                           post=post))  # fmt: skip
            middle = norm(inputs[norm][0]) if post else inputs[cross_norm][0]
            pattern = patterns["decoder_blocks.cross_attn"][i]
            z = brought(values(memory, cross_value, 2), cross_out, pattern)
            after = [seen(cross_norm)] if post else [seen(mlp_norm)]
            block_norms = [*after, seen(mlp_norm)] if post else [seen(following)]
            found["cross"].append(PlainStep(z=z, weights=pattern.mean(0), own=middle, after=after, block=block_norms,
                                            post=post, cross=True))  # fmt: skip
    return found


class _Calls(list):
    """Inputs of a module, one a call; `out` is its last output."""

    out = None


def _inputs(module):
    """Module -> what went into it at each call of the next forward pass, without the batch axis."""
    found = {}

    def note(name):
        def hook(which, args, kwargs, output):
            tensor = args[0] if args else next(x for x in kwargs.values() if isinstance(x, torch.Tensor))
            calls = found.setdefault(which, _Calls())
            calls.append(tensor[0] if tensor.ndim > 2 else tensor)
            calls.out = output[0] if isinstance(output, tuple) else output
            calls.out = calls.out[0] if isinstance(calls.out, torch.Tensor) and calls.out.ndim > 2 else calls.out

        return hook

    for name, one in module.named_modules():
        if one is not module and not isinstance(one, (torch.nn.Embedding, torch.nn.ModuleList)):
            one.register_forward_hook(note(name), with_kwargs=True)
    return found


def _run(model, batch, inputs):
    """Patterns of the pass that filled `inputs`: attention -> (layer, head, query, key)."""
    sites = {name: model.attention_sites(name, "pattern") for name in model.attentions}
    with reading(model, [s for each in sites.values() for s in each]) as values:
        model.module(**batch)
    return {name: torch.stack([values[s][0] for s in each]) for name, each in sites.items()}
