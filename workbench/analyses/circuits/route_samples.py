"""Predictions drawn from a corpus, and what each head and MLP contributes to the route of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.analyses.circuits.route_frames import counts
from workbench.analyses.circuits.route_links import ATTENTION, MLP, Links
from workbench.analyses.circuits.route_parts import Measure, recorded
from workbench.analyses.circuits.route_trace import traced
from workbench.analyses.embedding.gathered import fitted
from workbench.corpora import Corpus, position_tags
from workbench.models.lens_model import LensModel
from workbench.progress import track


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """One position of one input, and the route of what is predicted there."""

    input: int
    position: int
    group: str
    """Its part of speech or its input's topic; "" where that is not known or was not asked for."""
    heads: Float[Tensor, "layer head"]
    """The most that each head contributes to one sum on the route, all keys together; 0 where it is not on it."""
    mlps: Float[Tensor, "layer"] | None
    edges: int


def predictions(
    model: LensModel,
    texts: Corpus,
    how: Measure,
    *,
    by: str,
    positions: int,
    threshold: float,
    seed: int,
) -> Iterator[Prediction]:
    """Some predictions of each input, drawn with the seed. One forward pass an input."""
    generator = torch.Generator().manual_seed(seed)
    for number, text in enumerate(track(fitted(model, texts.inputs), label="inputs")):
        run = recorded(model, text)
        n = len(run.tokens)
        groups = _groups(model, texts, number, text, by, n)
        # the first position of causal models sees nothing but itself; the next token is known but for the last
        first, last = int(model.main.causal and n > 1), n - (by == "next")
        able = [i for i in range(first, max(last, first + 1)) if i < n]
        chosen = sorted(able[i] for i in torch.randperm(len(able), generator=generator)[:positions].tolist())
        links = traced(run, chosen, how, floor=threshold).links()
        for position in chosen:
            held, _ = links.held(position)
            heads, mlps = _contributions(links, held > threshold, model.n_heads)
            yield Prediction(
                input=number, position=position, group=groups[position], heads=torch.from_numpy(heads),
                mlps=torch.from_numpy(mlps) if run.has_mlp else None, edges=counts(links, held, [threshold])[0],
            )  # fmt: skip


def _contributions(links: Links, kept: np.ndarray, n_heads: int) -> tuple[np.ndarray, np.ndarray]:
    """(layer, head) and (layer,): the most that each contributes to one sum, by its kept parts."""
    looks, mlps = kept & (links.kind == ATTENTION), kept & (links.kind == MLP)
    sums = np.zeros((links.n_layers, n_heads, links.n_positions))
    np.add.at(sums, (links.layer[looks], links.head[looks], links.query[looks]), links.share[looks])
    most = np.zeros(links.n_layers)
    np.maximum.at(most, links.layer[mlps], links.share[mlps])
    return sums.max(-1), most


def _groups(model: LensModel, texts: Corpus, number: int, text: object, by: str, n: int) -> tuple[str, ...]:
    """What each position of an input counts as."""
    if by == "group":
        return (texts.groups[number],) * n
    if by == "none" or texts.tags is None or text is not texts.inputs[number] or not isinstance(text, str):
        return ("",) * n  # of a text that was cut it is not known which characters its tokens are
    tags = position_tags(model, text, texts.tags[number])
    return (*tags[1:], "") if by == "next" else tags
