"""Attention as transformers gives it, with a graph for gradients: what the tests compare with."""

from contextlib import contextmanager

import torch

DECODERS, ENCODERS, TWO_SIDED = ("gpt2", "llama", "neox"), ("bert", "vit", "ast"), ("t5", "bart", "whisper")


@contextmanager
def _eager(module):
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        yield
    finally:
        module.set_attn_implementation(before)


def output_of(model, batch):
    """The model's own output with its attentions, in eager mode."""
    with _eager(model.module), torch.enable_grad():
        return model.module(**batch, output_attentions=True)


def attentions(output) -> tuple[tuple, ...]:
    """(layers,) of a model with one stack; (encoder, decoder, cross) of one with two."""
    if getattr(output, "attentions", None) is not None:
        return (output.attentions,)
    return output.encoder_attentions, output.decoder_attentions, output.cross_attentions


def answer_row(output) -> torch.Tensor:
    """Logits of a classifier, or of the last position."""
    return output.logits[0] if output.logits.ndim == 2 else output.logits[0, -1]


def steps(found: tuple) -> list[tuple[tuple[str, str], torch.Tensor]]:
    """Every step as ((rows, columns), pattern of all heads) in the order in which information passes."""
    if len(found) == 1:
        return [(("source", "source"), pattern[0]) for pattern in found[0]]
    encoder, decoder, cross = found
    inner = [(("source", "source"), pattern[0]) for pattern in encoder]
    for own, other in zip(decoder, cross, strict=True):
        inner += [(("target", "target"), own[0]), (("target", "source"), other[0])]
    return inner


def graphs(found: tuple) -> list[torch.Tensor]:
    """Every step as (head, node, node): nodes of both sides, those that the step does not concern on themselves."""
    n_source = found[0][0].shape[-1]
    n = n_source + (found[1][0].shape[-1] if len(found) > 1 else 0)
    places = {"source": list(range(n_source)), "target": list(range(n_source, n))}
    every = []
    for (rows, columns), pattern in steps(found):
        links = torch.zeros(len(pattern), n, n, dtype=torch.float64)
        for head in range(len(pattern)):
            for node in range(n):
                links[head, node, node] = float(node not in places[rows])
            for i, row in enumerate(places[rows]):
                for j, column in enumerate(places[columns]):
                    links[head, row, column] = pattern[head, i, j].item()
        every.append(links)
    return every
