"""A network of two layers, built by hand, that finds the parent of a vertex's parent by merging paths.

It reads `> u v` for each edge. In layer 0 the second position of each edge looks at the first and copies its vertex
into a slot, which the MLP moves on. In layer 1 each position looks, by that vertex, for an edge that ends in it, and
copies what stands in that edge's slot into the answer.
"""

import torch

import workbench
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer

WORDS = (*"abcdefgh", ">")
EDGES = 4
LENGTH = 3 * EDGES
STRENGTH = 30.0
"""A score that leaves nothing to others."""


def merging_network() -> workbench.LensModel:
    """The network; ask it at the last position of an edge."""
    vocab = len(WORDS) + 1
    token, place = slice(0, vocab), slice(vocab, vocab + LENGTH)
    slot, moved, answer = (slice(vocab * (i + 1) + LENGTH, vocab * (i + 2) + LENGTH) for i in range(3))
    width = 4 * vocab + LENGTH
    sizes = SmallConfig(
        vocab_size=vocab, n_ctx=LENGTH, n_layers=2, n_heads=1, d_model=width, d_head=width, d_mlp=vocab, causal=False
    )
    module = SmallTransformer(sizes)
    same = torch.eye(width)
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
        module.embed.weight[:, token] = torch.eye(vocab)
        module.pos_embed.weight[:, place] = torch.eye(LENGTH)
        first, second = (block.attn for block in module.blocks)
        scale = STRENGTH * width**0.5
        for at in range(LENGTH):  # the end of an edge looks at its beginning, all others at themselves
            seen = at - 1 if at % 3 == 2 else at
            first.W_Q.weight[place.start + seen, place.start + at] = scale
            for end in range(2, LENGTH, 3):  # in layer 1 ends of edges are looked for, by all
                second.W_Q.weight[place.start + end, place.start + at] = scale
        first.W_K.weight.copy_(same)
        second.W_K.weight.copy_(same)
        for attention, source, to in ((first, token, slot), (second, moved, answer)):
            attention.W_V.weight.copy_(same)
            attention.W_O.weight[to, source] = torch.eye(vocab)
        second.W_Q.weight[token, moved] = scale * torch.eye(vocab)
        mlp = module.blocks[0].mlp
        mlp.W_in.weight[:, slot] = torch.eye(vocab)
        mlp.W_in.bias.fill_(-0.25)
        mlp.W_out.weight[moved] = torch.eye(vocab)
        mlp.W_out.weight[moved] *= 4 / 3
        module.unembed.weight[:, answer] = 5 * torch.eye(vocab)
    return workbench.adapt(module.eval(), word_tokenizer(WORDS), name="merging")
