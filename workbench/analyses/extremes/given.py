"""What the analyses of extreme tokens ask for in the same words, and the inputs they draw."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from workbench.analyses.embedding.gathered import fitted
from workbench.corpora import Corpus, corpus
from workbench.models.lens_model import LensModel
from workbench.params import Within

InputsOf = Annotated[int, Within(1, 10_000), "Inputs drawn from the texts"]
MassiveSize = Annotated[float, Within(0, 1e9), "A massive number is larger than this in size"]
MassiveRatio = Annotated[float, Within(1, 1e9), "And at least this many times the median size of its layer"]


def drawn(model: LensModel, texts: Any, inputs: int, seed: int) -> Corpus:
    """Inputs drawn from a corpus with the seed, cut to what the model reads."""
    found = corpus(texts, reads=model.reads, limit=inputs, seed=seed)
    read: Sequence[Any] = fitted(model, found.inputs)
    return replace(found, inputs=tuple(read), made_by="")
