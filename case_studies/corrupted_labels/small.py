"""The same with a transformer: one layer, attention and an MLP, on corrupted sums of fewer numbers."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding

import workbench
from case_studies.corrupted_labels.data import Sums, corrupted_sums
from case_studies.corrupted_labels.neurons import Neurons, curves, ipr
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer
from workbench.training import Training, train

DECAYS = (0.0, 10.0)
"""Weight decays whose transformers are committed. With 5 it ends as with 0; with 20 it learns nothing."""


@dataclass(frozen=True, kw_only=True)
class SmallTrainConfig:
    """What is trained and on what: prompts "3 4 =", all of them at every step."""

    seed: int = 0
    weight_decay: float = 0.0
    corrupted: float = 0.15
    train_share: float = 0.7
    p: int = 37
    d_model: int = 64
    n_heads: int = 4
    d_mlp: int = 256
    steps: int = 1500
    lr: float = 0.001
    betas: tuple[float, float] = (0.9, 0.98)
    measure_every: int = 250


def start(config: SmallTrainConfig) -> tuple[Sums, SmallTransformer]:
    """Give the sums and the untrained transformer."""
    generator = torch.Generator().manual_seed(config.seed)
    sums = corrupted_sums(config.p, corrupted=config.corrupted, train_share=config.train_share, generator=generator)
    sizes = SmallConfig(
        vocab_size=config.p + 2,  # the numbers, "=", and what is none of them
        n_ctx=3,
        n_layers=1,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_head=config.d_model // config.n_heads,
        d_mlp=config.d_mlp,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return sums, SmallTransformer(sizes)


def words(p: int) -> Any:
    """The tokenizer: a token a number, "=" after them."""
    return word_tokenizer([*map(str, range(p)), "="])


def outputs(module: Any, pairs: Tensor) -> Tensor:
    """The logits (pair, number) after "a b =", as the module gives them, four times as fast.

    Attention of one layer reads each number at each place alone: its keys and values are made once, and the one query
    of "=" too. Only what is added at the last position is computed.
    """
    p, attn = module.config.vocab_size - 2, module.blocks[0].attn
    place = module.pos_embed.weight
    first, second = (module.embed.weight[:p] + place[at] for at in (0, 1))  # (number, d_model)
    last = (module.embed.weight[p] + place[2])[None]
    query = attn.W_Q(last).unflatten(-1, (attn.n_heads, -1))  # (1, head, d_head)
    scores, values = [], []
    for read, column in ((first, pairs[:, 0]), (second, pairs[:, 1]), (last, None)):
        key, value = (project(read).unflatten(-1, (attn.n_heads, -1)) for project in (attn.W_K, attn.W_V))
        score = (query * key).sum(-1) / attn.d_head**0.5  # (number, head)
        scores.append(score.expand(len(pairs), -1) if column is None else embedding(column, score))
        values.append(
            value.flatten(1).expand(len(pairs), -1) if column is None else embedding(column, value.flatten(1))
        )
    pattern = torch.stack(scores).softmax(0)  # (place, pair, head)
    mixed = (pattern[..., None] * torch.stack(values).unflatten(-1, (attn.n_heads, -1))).sum(0)
    resid = last + attn.W_O(mixed.flatten(-2))
    resid = resid + module.blocks[0].mlp(resid)
    return resid @ module.unembed.weight[:p].T


def prompts(sums: Sums) -> Tensor:
    """The ids (pair, 3) of "a b ="."""
    return torch.nn.functional.pad(sums.pairs, (0, 1), value=sums.p)


def trained(config: SmallTrainConfig, folder: Path | None = None) -> Training:
    """Train in `folder`, which keeps the state of a training that was cut off."""
    sums, module = start(config)
    pairs, labels = sums.pairs[sums.train], sums.labels[sums.train]
    return train(
        module,
        lambda module, step: cross_entropy(outputs(module, pairs), labels),
        steps=config.steps,
        optimizer=lambda parameters: torch.optim.AdamW(
            parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        ),
        seed=config.seed,
        folder=folder,
        settings=asdict(config),
        measure=lambda module, step: sums.accuracies(outputs(module, sums.pairs)),
        measure_at=range(0, config.steps + 1, config.measure_every),
        label=f"training a transformer, weight decay {config.weight_decay:g}, seed {config.seed}",
    )


@torch.no_grad()
def of_transformer(model: workbench.LensModel, sums: Sums) -> Neurons:
    """The MLP's neurons where the answer stands.

    What a neuron hears of an operand is its input, in the mean over the other operand; what it says is what it adds to
    each number's logit. Their mean does not count as a wave.
    """
    module: Any = model.module
    p = sums.p
    sites = ("blocks.0.mlp.pre", "blocks.0.mlp.post")
    with workbench.reading(model, sites) as values:
        logits = model.logits(model.encode(prompts(sums)))[:, -1, :p]
    before, after = (values[site][:, -1] for site in sites)  # (pair, neuron)
    out = module.blocks[0].mlp.W_out.weight.T @ module.unembed.weight[:p].T  # (neuron, p)
    square = before.unflatten(0, (p, p))
    return Neurons(
        hidden=after,
        out=out,
        rest=logits - after @ out,
        ipr=ipr([square.mean(1), square.mean(0), out.T], constant=False),
    )


def measured(folder: Path, draws: int) -> tuple[dict[str, float], Any]:
    """The accuracies, the median IPR and the pruning of the committed transformers, and their curves."""
    numbers, tables = {}, []
    sums, fresh = start(SmallTrainConfig())
    untrained = of_transformer(workbench.adapt(fresh.eval(), words(sums.p)), sums)
    numbers["transformer_untrained.ipr.median"] = untrained.alive.median().item()
    for decay in DECAYS:
        model = workbench.load(folder / f"transformer-{decay:g}")
        rows, found = look_at(model, sums, draws)
        tables.append(rows.assign(network=f"transformer, weight decay {decay:g}"))
        numbers |= {f"transformer_{decay:g}.{quantity}": value for quantity, value in found.items()}
    return numbers, pd.concat(tables, ignore_index=True)


def look_at(model: workbench.LensModel, sums: Sums, draws: int) -> tuple[Any, dict[str, float]]:
    """The pruning curves of one transformer, and its numbers: at three tenths pruned, what an order leaves."""
    neurons = of_transformer(model, sums)
    rows: Any = curves(neurons, sums, draws=draws)
    at = rows.round({"pruned": 4}).set_index(["order", "pruned"])
    whole = at.loc[("at random", 0.0)]
    numbers = {group: float(whole[group]) for group in ("corrupted", "uncorrupted", "train", "test")}
    numbers["ipr.median"] = neurons.alive.median().item()
    for group in ("corrupted", "test"):
        for order, short in (("low IPR first", "low_first"), ("high IPR first", "high_first")):
            gain = at.loc[(order, 0.3), group] - at.loc[("at random", 0.3), group]
            numbers[f"{short}_over_random.{group}"] = float(gain)
    return rows, numbers
