"""Linear probe: how well a linear reader finds a property of words in each layer, beside what it finds by chance.

A plugin like any third party's: it uses the public interface of the workbench only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.tokens import last_tokens, tagged_sentences, words_and_tags
from workbench import BadInput, LensModel, Result, Seed, Within, analysis, plots, reading, track

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

ARMS = ("property", "control task", "shuffled")
"""What is read: the property; a random tag for each word type (Hewitt and Liang); tags in random order."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearProbe(Result, kind="linear-probe"):
    """Held-out accuracy of a linear reader at each layer, beside its controls."""

    accuracy: Float[Tensor, "state arm"]
    """Share of held-out words read rightly, each word held out once."""
    arms: tuple[str, ...]
    majority: float
    """Share of the commonest tag: what a reader that sees nothing reaches."""
    states: tuple[str, ...]
    layers: tuple[str, ...]
    """What stands before each state: "embed", then the layer's number."""
    n_words: int
    """Words held out: the denominator of every accuracy."""
    n_sentences: int
    left_out: int
    """Sentences left out because the model's tokens do not spell their words, or the model cannot read them."""

    @property
    def selectivity(self) -> Float[Tensor, "state"]:
        """Accuracy on the property less accuracy on the control task."""
        return self.accuracy[:, 0] - self.accuracy[:, 1]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer and arm, and one a layer for the selectivity."""
        import pandas as pd

        numbers = torch.cat([self.accuracy, self.selectivity[:, None]], dim=1)
        names = (*self.arms, "selectivity")
        index = pd.MultiIndex.from_product([self.layers, names], names=["layer", "measure"])
        return index.to_frame(index=False).assign(value=numbers.flatten().numpy(), words=self.n_words)

    def figure(self) -> "go.Figure":
        """Accuracy and controls against depth, with the commonest tag's share as a dotted line."""
        figure = plots.lines(self.to_frame(), x="layer", y="value", color="measure")
        return figure.add_hline(self.majority, line_dash="dot", annotation_text="commonest tag")


@analysis("linear-probe", needs={"text", "resid"})
def linear_probe(
    model: LensModel,
    sentences: Annotated[
        tuple[str, ...], "Tagged sentences: 'The/DET river/NOUN ...'; none: thirty that come along"
    ] = (),
    *,
    reader: Annotated[Literal["ridge", "logistic"], "Kind of linear classifier"] = "ridge",
    penalty: Annotated[float, Within(1e-6, 1e6), "Weight of the L2 penalty, on features of unit variance"] = 10.0,
    folds: Annotated[int, Within(2, 20), "Parts that the sentences are cut into; each is held out once"] = 5,
    seed: Annotated[Seed, "Seed of the cut and of the controls"] = 0,
) -> LinearProbe:
    """How well a linear reader finds each word's tag in every layer, on held-out sentences, beside two controls.

    Reads the last token of each word. Selectivity is accuracy less that on a control task, where every word type has
    a random tag (Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks"): what a reader can
    do by memorising words. Words of held-out sentences may occur in the others. Encoder-decoders are probed in their
    encoder. One pass for each sentence.
    """
    stack = next(stack for stack in model.stacks if stack.side == "input")
    states = (model.stream("resid_pre", stack.prefix)[0], *model.stream("resid_post", stack.prefix))
    kept: list[dict[str, Any]] = []
    given = sentences or tagged_sentences()
    for sentence in track(given, label="sentences"):
        if (read := _read(model, sentence, states)) is not None:
            kept.append(read)
    if len(kept) < folds:
        raise BadInput(
            f"{len(kept)} of {len(given)} sentences can be used with {model.name}, too few for {folds} parts."
            " Give more sentences, or fewer folds."
        )
    groups = np.repeat(np.arange(len(kept)), [len(read["tags"]) for read in kept])
    words = np.concatenate([read["words"] for read in kept])
    tags = np.concatenate([read["tags"] for read in kept])
    if len(set(tags)) < 2:
        raise BadInput(f"All words have the tag {tags[0]!r}; a probe needs two tags or more to tell apart.")
    random = np.random.default_rng(seed)
    arms = (tags, _tag_for_each_type(words, tags, random), random.permutation(tags))
    held_out = random.permutation(np.arange(len(kept)) % folds)[groups]
    accuracy = [
        held_out_accuracy(features, arms, held_out, reader, penalty)
        for features in track(np.concatenate([read["states"] for read in kept], axis=1), label="layers")
    ]
    return LinearProbe(
        accuracy=torch.tensor(accuracy),
        arms=ARMS,
        majority=float(np.unique(tags, return_counts=True)[1].max() / len(tags)),
        states=states,
        layers=("embed", *map(str, range(stack.n_blocks))),
        n_words=len(tags),
        n_sentences=len(kept),
        left_out=len(given) - len(kept),
    )


@torch.no_grad()
def _read(model: LensModel, sentence: str, states: tuple[str, ...]) -> dict[str, Any] | None:
    """The words, tags and states (state, word, d_model) of one sentence; None where it does not suit the model."""
    words, tags = words_and_tags(sentence)
    try:
        batch = model.encode(_beside_a_picture(model, " ".join(words)))
    except BadInput:
        return None
    if (positions := last_tokens(model, batch, words)) is None:
        return None
    with reading(model, states) as values:
        model.module(**batch)
    rows = torch.stack([values[state][0, list(positions)] for state in states])
    return {
        "words": np.array([w.lower() for w in words]),
        "tags": np.array(tags),
        "states": rows.double().cpu().numpy(),
    }


def _beside_a_picture(model: LensModel, text: str) -> Any:
    """The text, with a grey picture for models that read both."""
    if model.reads != "text+image":
        return text
    from PIL import Image

    return text, Image.new("RGB", (64, 64), (128, 128, 128))


def _tag_for_each_type(words: np.ndarray, tags: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One random tag for every word type, drawn as often as the real tags occur."""
    types, index = np.unique(words, return_inverse=True)
    return random.choice(tags, size=len(types))[index]


def held_out_accuracy(
    x: np.ndarray, arms: Sequence[np.ndarray], held_out: np.ndarray, reader: str, penalty: float
) -> list[float]:
    """For each arm, the share of words read rightly by readers fitted on the other parts."""
    fit = _ridge if reader == "ridge" else _logistic
    right = np.zeros(len(arms))
    for part in np.unique(held_out):
        test = held_out == part
        mean, spread = x[~test].mean(0), x[~test].std(0)
        z = (x - mean) / np.where(spread > 0, spread, 1.0)
        read = fit(z[~test], [labels[~test] for labels in arms], z[test], penalty)
        right += [(found == labels[test]).sum() for found, labels in zip(read, arms, strict=True)]
    return (right / len(x)).tolist()


def _ridge(x: np.ndarray, arms: Sequence[np.ndarray], new: np.ndarray, penalty: float) -> list[np.ndarray]:
    """Least squares on one column of +1 and -1 for each tag; all arms share one solution of the normal equations."""
    tags = [np.unique(labels) for labels in arms]
    targets = np.concatenate([np.where(y[:, None] == t, 1.0, -1.0) for y, t in zip(arms, tags, strict=True)], axis=1)
    offset = targets.mean(0)
    if x.shape[1] <= len(x):
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (targets - offset))
    else:
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), targets - offset)
    scores = np.split(new @ weights + offset, np.cumsum([len(t) for t in tags])[:-1], axis=1)
    return [t[s.argmax(1)] for t, s in zip(tags, scores, strict=True)]


def _logistic(x: np.ndarray, arms: Sequence[np.ndarray], new: np.ndarray, penalty: float) -> list[np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    return [
        LogisticRegression(C=1 / penalty, max_iter=2000).fit(x, labels).predict(new)
        if len(set(labels)) > 1
        else np.repeat(labels[:1], len(new))
        for labels in arms
    ]
