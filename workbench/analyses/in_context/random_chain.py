"""Texts of a random chain over a few of a model's tokens: what follows what is told by nothing but the text."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.analyses.heads.repeated_blocks import plain_tokens
from workbench.analyses.one_prompt import real
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel


def random_chain(model: LensModel, words: int, seed: int) -> tuple[Int[Tensor, "word"], Float[Tensor, "word word"]]:
    """Ids of some of the model's tokens in order, and a random table of which follows which."""
    plain = torch.tensor(plain_tokens(model))
    if len(plain) < words:
        raise BadInput(f"{model.name} has {len(plain)} tokens that are not special, fewer than {words}.")
    generator = torch.Generator().manual_seed(seed)
    chosen = plain[torch.randperm(len(plain), generator=generator)[:words]].sort().values
    return chosen, (2 * torch.randn(words, words, generator=generator)).softmax(-1)


def chain_text(
    model: LensModel, batch: dict[str, Tensor], words: Tensor, table: Tensor, length: int, seed: int
) -> Tensor:
    """Ids of a text of the chain, after the start token if the prompt has one."""
    generator = torch.Generator().manual_seed(seed + 1)
    states = [int(torch.randint(len(words), (1,), generator=generator))]
    while len(states) < length:
        states.append(int(torch.multinomial(table[states[-1]], 1, generator=generator)))
    start = real(batch["input_ids"][0], batch, "input", dim=0)[:1].cpu()
    special = int(start) not in set(plain_tokens(model))
    return torch.cat([start[: int(special)], words[states]])


def chain_says(
    ids: Int[Tensor, "pos"], kinds: Int[Tensor, "value"], words: Int[Tensor, "word"], table: Float[Tensor, "word word"]
) -> Float[Tensor, "pos value"]:
    """The chain's own distribution after each token; even after the start token."""
    known = torch.zeros(len(ids), len(kinds))
    rows = torch.full((len(ids), len(words)), 1 / len(words))
    inside = torch.isin(ids, words)
    rows[inside] = table[torch.searchsorted(words, ids[inside])]
    known[:, torch.searchsorted(kinds, words)] = rows
    return known
