"""Models split by hand: every slot reads a residual input of its own, added up write by write, so one edge can change.

Plain and slow on purpose, and it shares nothing with the workbench but the modules' weights: one head at a time, one
edge a run. What is measured by circuits is held against it.

    plain = split_by_hand(model.module, model.family)
    clean = run(plain, ids)                                     # writes of sources, inputs of slots, logits
    run(plain, ids, {"a1.h0<q>": {"a0.h1": other}}).logits      # this one edge carries another write
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PlainLayer:
    """One block as functions of what its slots receive, norms included."""

    q: Callable[[int, Tensor], Tensor]
    """(head, slot's input (batch, pos, d_model)) -> (batch, pos, d_head), rotated where the family rotates."""
    k: Callable[[int, Tensor], Tensor]
    """The same by key-value head; so is v."""
    v: Callable[[int, Tensor], Tensor]
    out: Tensor
    """(head, d_head, d_model)"""
    out_bias: Any
    hidden: Callable[[Tensor], Tensor] | None
    """The MLP's slot's input -> (batch, pos, neuron)."""
    mlp_out: Any
    """(neuron, d_model)"""
    mlp_bias: Any


@dataclass(frozen=True)
class Plain:
    """A model split by hand."""

    embed: Callable[[Tensor], Tensor]
    layers: tuple[PlainLayer, ...]
    head: Callable[[Tensor], Tensor]
    n_heads: int
    n_kv_heads: int
    parallel: bool = False


@dataclass
class Run:
    """What one run gave."""

    writes: dict[str, Tensor] = field(default_factory=dict)
    """Source -> (batch, pos, d_model)."""
    reads: dict[str, Tensor] = field(default_factory=dict)
    """Slot -> what it received, (batch, pos, d_model): a tensor of its own, so gradients tell slots apart."""
    sees: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Slot -> the sources that had written when it received."""
    logits: Any = None
    """(batch, pos, vocab)"""


def run(
    plain: Plain,
    ids: Tensor,
    carried: Mapping[str, Mapping[str, Tensor]] | None = None,
    *,
    slots: str = "query-head",
    neurons: tuple[int, ...] = (),
    embedded: Tensor | None = None,
) -> Run:
    """One forward pass in which the edges of `carried` (slot -> source -> write) carry that write, not the run's own.

    `embedded` stands for the embeddings of `ids`; `neurons` are layers whose MLP writes neuron by neuron.
    """
    done, carried, constant = Run(), carried or {}, 0.0

    def received(slot: str) -> Tensor:
        if slot not in done.reads:
            x = constant + sum(done.writes.values())
            for source, other in carried.get(slot, {}).items():
                x = x + (other - done.writes[source])
            done.reads[slot], done.sees[slot] = x, tuple(done.writes)
        return done.reads[slot]

    def mlp(number: int, layer: PlainLayer) -> tuple[dict[str, Tensor], Any]:
        if layer.hidden is None:
            return {}, 0.0
        hidden = layer.hidden(received(f"m{number}"))
        if number not in neurons:
            return {f"m{number}": hidden @ layer.mlp_out + layer.mlp_bias}, 0.0
        each = {f"m{number}.n{i}": hidden[..., i, None] * layer.mlp_out[i] for i in range(len(layer.mlp_out))}
        return each, layer.mlp_bias

    done.writes["input"] = plain.embed(ids) if embedded is None else embedded
    for number, layer in enumerate(plain.layers):
        heads = {}
        for h in range(plain.n_heads):
            g = h * plain.n_kv_heads // plain.n_heads
            one = f"a{number}.kv{g}" if slots == "kv-head" and plain.n_kv_heads < plain.n_heads else f"a{number}.h{h}"
            q = layer.q(h, received(f"a{number}.h{h}<q>"))
            k, v = layer.k(g, received(f"{one}<k>")), layer.v(g, received(f"{one}<v>"))
            scores = q @ k.mT / q.shape[-1] ** 0.5
            later = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
            heads[f"a{number}.h{h}"] = scores.masked_fill(later, -torch.inf).softmax(-1) @ v @ layer.out[h]
        if plain.parallel:
            added, bias = mlp(number, layer)
            done.writes.update(heads)
        else:
            done.writes.update(heads)
            constant = constant + layer.out_bias
            added, bias = mlp(number, layer)
        done.writes.update(added)
        constant = constant + bias + (layer.out_bias if plain.parallel else 0.0)
    done.logits = plain.head(received("logits"))
    return done


# ---- scores, one edge after the other ----------------------------------------------------------------------------


def answer(logits: Tensor, position: Tensor) -> Tensor:
    """(batch, vocab) at each example's answer position."""
    return logits[torch.arange(len(logits)), position]


def edges_of(done: Run) -> list[tuple[str, str]]:
    """Every edge of the graph, (source, slot)."""
    return [(source, slot) for slot, sources in done.sees.items() for source in sources]


@torch.no_grad()
def exact(
    plain, clean, corrupted, metric, *, slots="query-head", neurons=(), edges=None
) -> dict[tuple[str, str], float]:
    """Edge -> metric(clean) - metric(that edge carries the corrupted prompt's write); metric(logits) is one number."""
    options = {"slots": slots, "neurons": neurons}
    whole, other = run(plain, clean, **options), run(plain, corrupted, **options)
    before = metric(whole.logits)
    edges = edges_of(whole) if edges is None else edges
    return {
        (source, slot): float(
            before - metric(run(plain, clean, {slot: {source: other.writes[source]}}, **options).logits)
        )
        for source, slot in edges
    }


@torch.no_grad()
def circuit(plain, clean, others: Mapping[str, Tensor], kept, *, slots="query-head", neurons=(), edges=None) -> Tensor:
    """Logits (batch, pos, vocab) when every edge outside `kept` carries the write of `others`."""
    options = {"slots": slots, "neurons": neurons}
    edges = edges_of(run(plain, clean, **options)) if edges is None else edges
    carried: dict[str, dict[str, Tensor]] = {}
    for source, slot in edges:
        if (source, slot) not in kept:
            carried.setdefault(slot, {})[source] = others[source]
    return run(plain, clean, carried, **options).logits


def gradient_scores(plain, clean, corrupted, metric, *, at=(1.0,), slots="query-head", neurons=()):
    """Edge -> (clean - corrupted write) . gradient of the metric with respect to what the slot received.

    Gradients are averaged over runs whose embeddings stand at the shares `at` of the way from corrupted to clean:
    (1.0,) is EAP; (0.5,) one midpoint; (0.0, 1.0) both ends.
    """
    options = {"slots": slots, "neurons": neurons}
    with torch.no_grad():
        whole, other = run(plain, clean, **options), run(plain, corrupted, **options)
        begin, end = plain.embed(corrupted), plain.embed(clean)
    total: dict[str, Tensor] = {}
    for share in at:
        done = run(plain, clean, embedded=(begin + share * (end - begin)).requires_grad_(), **options)
        grads = torch.autograd.grad(metric(done.logits), list(done.reads.values()), allow_unused=True)
        for slot, grad in zip(done.reads, grads, strict=True):
            grad = torch.zeros_like(begin) if grad is None else grad
            total[slot] = total.get(slot, 0.0) + grad / len(at)
    return {
        (source, slot): float(((whole.writes[source] - other.writes[source]) * total[slot]).sum())
        for source, slot in edges_of(whole)
    }


# ---- families ----------------------------------------------------------------------------------------------------


def split_by_hand(module: Any, family: str) -> Plain:
    """The module of a micro model, GPT-2, Llama or GPT-NeoX, split by hand."""
    return {"attention_only": _micro, "gpt2": _gpt2, "llama": _llama, "gpt_neox": _neox}[family](module)


def _layer_norm(x: Tensor, norm: Any) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def _rms_norm(x: Tensor, norm: Any) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt() * norm.weight


def _turned(x: Tensor, width: int, base: float) -> Tensor:
    """Rotary embedding of the first `width` coordinates: coordinate i turns with coordinate i + width / 2."""
    half = width // 2
    angles = torch.arange(x.shape[1]).to(x)[:, None] * base ** (-torch.arange(half).to(x) / half)
    first, second, rest = x[..., :half], x[..., half:width], x[..., width:]
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


def _reader(norm, norm_module, weight, bias, width, turn=None):
    """(head, input) -> what that head reads; weight is (d_model, heads * width)."""

    def read(h: int, x: Tensor) -> Tensor:
        here = slice(h * width, (h + 1) * width)
        read = norm(x, norm_module) @ weight[:, here] + (0.0 if bias is None else bias[here])
        return read if turn is None else turn(read)

    return read


def _micro(module: Any) -> Plain:
    layers = []
    for block in module.blocks:
        a = block.attn
        q, k, v = (_reader(_layer_norm, block.ln1, w.weight.T, None, a.d_head) for w in (a.W_Q, a.W_K, a.W_V))
        out = a.W_O.weight.T.unflatten(0, (a.n_heads, a.d_head))
        layers.append(PlainLayer(q, k, v, out, 0.0, None, None, 0.0))
    return Plain(
        lambda ids: module.embed.weight[ids] + module.pos_embed.weight[: ids.shape[1]],
        tuple(layers),
        lambda x: _layer_norm(x, module.ln_final) @ module.unembed.weight.T,
        module.config.n_heads,
        module.config.n_heads,
    )


def _gpt2(module: Any) -> Plain:
    config, base = module.config, module.transformer
    width, layers = config.n_embd // config.n_head, []
    activation = {"gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}[config.activation_function]
    for block in base.h:
        weights, biases = block.attn.c_attn.weight.chunk(3, 1), block.attn.c_attn.bias.chunk(3)
        reads = [_reader(_layer_norm, block.ln_1, w, b, width) for w, b in zip(weights, biases, strict=True)]
        out, out_bias = block.attn.c_proj.weight.unflatten(0, (config.n_head, width)), block.attn.c_proj.bias

        def hidden(x: Tensor, block=block) -> Tensor:
            return activation(_layer_norm(x, block.ln_2) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias)

        layers.append(PlainLayer(*reads, out, out_bias, hidden, block.mlp.c_proj.weight, block.mlp.c_proj.bias))
    return Plain(
        lambda ids: base.wte.weight[ids] + base.wpe.weight[: ids.shape[1]],
        tuple(layers),
        lambda x: _layer_norm(x, base.ln_f) @ module.lm_head.weight.T,
        config.n_head,
        config.n_head,
    )


def _llama(module: Any) -> Plain:
    config, base, layers = module.config, module.model, []
    for block in base.layers:
        a, m = block.self_attn, block.mlp
        turn = lambda x: _turned(x, x.shape[-1], config.rope_parameters["rope_theta"])  # noqa: E731
        q, k = (
            _reader(_rms_norm, block.input_layernorm, w.weight.T, w.bias, a.head_dim, turn)
            for w in (a.q_proj, a.k_proj)
        )
        v = _reader(_rms_norm, block.input_layernorm, a.v_proj.weight.T, a.v_proj.bias, a.head_dim)
        out = a.o_proj.weight.T.unflatten(0, (config.num_attention_heads, a.head_dim))

        def hidden(x: Tensor, block=block, m=m) -> Tensor:
            x = _rms_norm(x, block.post_attention_layernorm)
            return F.silu(x @ m.gate_proj.weight.T) * (x @ m.up_proj.weight.T)

        layers.append(PlainLayer(q, k, v, out, 0.0, hidden, m.down_proj.weight.T, 0.0))
    return Plain(
        lambda ids: base.embed_tokens.weight[ids],
        tuple(layers),
        lambda x: _rms_norm(x, base.norm) @ module.lm_head.weight.T,
        config.num_attention_heads,
        config.num_key_value_heads,
    )


def _neox(module: Any) -> Plain:
    config, base, layers = module.config, module.gpt_neox, []
    heads = config.num_attention_heads
    width = config.hidden_size // heads
    rotary, theta = int(width * config.rope_parameters["partial_rotary_factor"]), config.rope_parameters["rope_theta"]
    for block in base.layers:
        fused, m = block.attention.query_key_value, block.mlp
        weights = fused.weight.unflatten(0, (heads, 3, width))  # (head, q k v, d_head, d_model)
        biases = fused.bias.unflatten(0, (heads, 3, width))
        turn = lambda x: _turned(x, rotary, theta)  # noqa: E731
        q, k, v = (
            _reader(_layer_norm, block.input_layernorm, weights[:, i].flatten(0, 1).T, biases[:, i].flatten(), width,
                    turn if i < 2 else None)
            for i in range(3)
        )  # fmt: skip
        out, out_bias = block.attention.dense.weight.T.unflatten(0, (heads, width)), block.attention.dense.bias

        def hidden(x: Tensor, block=block, m=m) -> Tensor:
            x = _layer_norm(x, block.post_attention_layernorm)
            return F.gelu(x @ m.dense_h_to_4h.weight.T + m.dense_h_to_4h.bias)

        layers.append(PlainLayer(q, k, v, out, out_bias, hidden, m.dense_4h_to_h.weight.T, m.dense_4h_to_h.bias))
    return Plain(
        lambda ids: base.embed_in.weight[ids],
        tuple(layers),
        lambda x: _layer_norm(x, base.final_layer_norm) @ module.lm_head.weight.T,
        heads,
        heads,
        parallel=True,
    )
