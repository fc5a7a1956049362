"""What is read: three models, the same ones with random weights, sentences, photographs, and their queries and keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import workbench
from workbench import functional

MODELS = {"smollm2": "smollm2-135m", "minilm": "minilm-l6", "dinov2": "dinov2-small"}
"""Short name -> name in the catalogue: a causal decoder, an encoder of sentences, an encoder of images."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """What the heads of one layer ask and offer on all inputs, in float32, and where they look."""

    number: int
    queries: Tensor
    """(head, row, d_head), after rotary embedding where there is one."""
    keys: Tensor
    """(head, row, d_head): those of the key-value head that a head reads."""
    unturned: tuple[Tensor, Tensor] | None
    """Queries and keys before rotary embedding; None where there is none."""
    patterns: tuple[Tensor, ...]
    """One (head, query, key) for each input."""

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        return self.queries, self.keys


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """A model on a corpus, a layer at a time."""

    model: workbench.LensModel
    corpus: workbench.Corpus
    kept: workbench.Activations
    input: Tensor
    """Of each row."""
    position: Tensor
    token: Tensor
    labels: tuple[str, ...]

    @property
    def causal(self) -> bool:
        return bool(self.model.main.row.causal)

    def layers(self) -> Iterator[Layer]:
        return map(self.layer, range(self.model.n_blocks))

    def layer(self, number: int) -> Layer:
        turned, plain = (self._pair(number, prefix) for prefix in ("rot_", ""))
        pair = turned or plain
        assert pair is not None
        q, k = pair
        patterns = self.kept.site(self.model.attention_sites(None, "pattern")[number])
        assert isinstance(patterns, tuple)
        return Layer(number=number, queries=q, keys=k, unturned=plain if turned else None, patterns=patterns)

    def _pair(self, number: int, turned: str) -> tuple[Tensor, Tensor] | None:
        sites = [self.model.attention_sites(None, turned + part)[number] for part in ("q", "k")]
        if sites[0] not in self.kept.sites:
            return None
        q, k = (torch.as_tensor(self.kept.site(site)).float().transpose(0, 1) for site in sites)
        return q, functional.repeat_kv(k, len(q), dim=0)


def read(model: workbench.LensModel, corpus: workbench.Corpus) -> Reading:
    """Run a model over a corpus once and keep queries, keys and patterns of all layers in memory."""
    parts = ("rot_q", "rot_k", "q", "k", "pattern")
    sites = [site for part in parts for site in model.attention_sites(None, part) if site in model.sites]
    kept = workbench.capture(model, corpus.inputs, sites, sort_by_length=True)
    assert isinstance(kept, workbench.Activations)
    rows = kept.rows()
    return Reading(
        model=model,
        corpus=corpus,
        kept=kept,
        input=rows.input,
        position=rows.position,
        token=rows.token,
        labels=rows.label,
    )


def corpora(texts: int, images: int, seed: int) -> dict[str, workbench.Corpus]:
    """Sentences of the Brown corpus and photographs, or what is built in where these cannot be fetched; and topics."""
    return {
        "text": _corpus("brown", reads="text", limit=texts, seed=seed),
        "image": _corpus("scikit-image", reads="image", limit=images, seed=seed),
        "topics": workbench.corpus("example", limit=texts, seed=seed),
    }


def _corpus(name: str, **options: Any) -> workbench.Corpus:
    try:
        return workbench.corpus(name, **options)
    except workbench.Unavailable:
        return workbench.corpus("example", **options)


def untrained(model: workbench.LensModel, seed: int) -> workbench.LensModel:
    """The same architecture with random weights, as it would start to be trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module: Any = type(model.module)(model.module.config)
    return workbench.adapt(module.float().eval(), model.processor, name=f"{model.name}, untrained")


def pixels(model: workbench.LensModel, picture: Any) -> Tensor:
    """A picture as the model sees it, (3, height, width) from 0 to 1: cut and resized, but not normalised."""
    seen = model.encode(picture)["pixel_values"][0]
    processor: Any = model.processor
    if hasattr(processor, "image_mean"):
        mean, spread = (torch.tensor(each)[:, None, None] for each in (processor.image_mean, processor.image_std))
        seen = seen * spread + mean
    return seen.clamp(0, 1)
