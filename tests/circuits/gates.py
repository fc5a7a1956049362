"""An AND and an OR of two bits with weights written by hand: where patching one edge at a time misleads."""

from collections.abc import Sequence
from typing import Any

import torch

from tests.circuits.planted import Planted, Space, harmless, made
from workbench.models.adapters import adapt
from workbench.models.micro.characters import CharacterTokenizer


def gate(kind: str, clean: Sequence[int] = (1, 1), corrupted: Sequence[int] = (0, 0)) -> Planted:
    """An "and" or an "or" of two bits: a GPT-2 of one block whose first two heads fetch a bit each, and an MLP.

    Tokens: a0 a1 b0 b1 ask yes no; the answer is the logit of yes over that of no, 1 or 0. AND is relu(a + b - 1);
    OR is relu(a) + relu(b) - relu(a + b - 1).
    """
    import transformers

    space = Space({"a here": 1, "a": 1, "b here": 1, "b": 1, "ask": 1, "left": 1, "right": 1, "y": 1, "spare": 1})
    a_here, a, b_here, b, ask, left, right, y, _ = (space[one] for one in space.sizes)
    width, heads = 2 * space.size, 3
    torch.manual_seed(0)
    module: Any = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=7, n_layer=1, n_head=heads, n_embd=width, n_positions=8, n_inner=4,
                                activation_function="relu", tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
                                pad_token_id=0)
    ).double().eval()  # fmt: skip
    zero = torch.zeros_like(ask[0])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        base, d_head = module.transformer, width // heads
        block = base.h[0]
        for norm in (block.ln_1, block.ln_2, base.ln_f):
            harmless(norm)
        base.wte.weight.copy_(
            space.write(torch.stack([a_here[0], (a_here + a)[0], b_here[0], (b_here + b)[0], ask[0], zero, zero]))
        )
        module.lm_head.weight.copy_(space.read(torch.stack([*[zero] * 5, y[0], zero])))
        for h, (here, bit, side) in enumerate(((a_here, a, left), (b_here, b, right))):
            at, sharp = h * d_head, (40.0 * d_head**0.5) ** 0.5
            for part, picks in enumerate((ask * sharp, here * sharp, bit)):
                block.attn.c_attn.weight[:, part * width + at] = space.read(picks)[0]
            block.attn.c_proj.weight[at] = space.write(side)[0]
        at = 2 * d_head  # the dead head attends at random
        block.attn.c_attn.weight[:, at : at + d_head].normal_()
        block.attn.c_attn.weight[:, width + at : width + at + d_head].normal_()
        both, threshold = space.read(left + right)[0], -1.0
        alone = [(space.read(side)[0], 0.0, 1.0) for side in (left, right)]
        gates = {"and": [(both, threshold, 1.0)], "or": [*alone, (both, threshold, -1.0)]}
        for neuron, (reads, bias, weight) in enumerate(gates[kind]):
            block.mlp.c_fc.weight[:, neuron], block.mlp.c_fc.bias[neuron] = reads, bias
            block.mlp.c_proj.weight[neuron] = weight * space.write(y)[0]
    model = adapt(module, CharacterTokenizer(), name=kind)
    rows = [[bits[0], 2 + bits[1], 4] for bits in (clean, corrupted)]
    true = {"input->a0.h0<v>", "input->a0.h1<v>", "a0.h0->m0", "a0.h1->m0", "m0->logits"}
    return made(model, [("both", rows[0], rows[1], 5, 6)], true=frozenset(true), dead=("a0.h2",))
