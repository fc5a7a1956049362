"""Routes of a corpus: which heads and MLPs are on the routes of many predictions, and which only of some kind.

Reference: Ferrando & Voita (2024), "Information Flow Routes: Automatically Interpreting Language Models at Scale".
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.analyses.circuits.route_groups import GroupDifferences, group_differences
from workbench.analyses.circuits.route_habits_result import RouteHabits as RouteHabits
from workbench.analyses.circuits.route_parts import Measure
from workbench.analyses.circuits.route_samples import Prediction, predictions
from workbench.analyses.embedding.asked import CorpusOf
from workbench.analyses.embedding.gathered import cut_note, fitted
from workbench.corpora import Corpus, corpus
from workbench.errors import BadInput
from workbench.models.lens_model import LensModel
from workbench.registry import Seed, Within, analysis

FEWEST = 5
"""Predictions below which a group is not compared."""
TAGS = ("current", "next")
"""What is compared by parts of speech."""


@analysis("routes-corpus", needs={"pattern", "resid", "norms", "one-stack"}, title="Routes of a corpus")
@torch.no_grad()
def routes_corpus(
    model: LensModel,
    texts: CorpusOf = "example",
    *,
    inputs: Annotated[int, Within(1, 10_000), "Inputs drawn from the corpus"] = 16,
    positions: Annotated[int, Within(1, 1000), "Predictions traced in each input, drawn"] = 8,
    by: Annotated[
        Literal["none", "current", "next", "group"],
        "What predictions are compared by: part of speech of the token at the position, of the one after it, or the"
        " topic or folder of the input",
    ] = "none",
    threshold: Annotated[float, Within(0.001, 1.0), "Parts with a share up to this are left out of routes"] = 0.04,
    norm: Annotated[Literal["l1", "l2"], "How lengths of vectors are measured"] = "l1",
    drop: Annotated[int, Within(0, 64), "Coordinates left out, those in which each sum is largest"] = 0,
    draws: Annotated[int, Within(20, 10_000), "Random groupings that differences are held against"] = 500,
    seed: Annotated[Seed, "Seed of all draws"] = 0,
) -> RouteHabits:
    """Which heads and MLPs are on the routes of many predictions: always, or for one part of speech or topic.

    Each prediction's route is traced as in `routes`; a part that always matters is on all of them. Groups are held
    against random ones: whole inputs are mixed where each input is of one group, else single predictions, which of one
    text are not independent. Groups of fewer than 5 predictions are left out. One forward pass an input, and
    elementwise work for all positions that its routes reach. A threshold that leaves no route an edge is refused.
    """
    drawn = corpus(texts, reads=model.reads, limit=inputs, seed=seed)
    _check_groups(drawn, by)
    how = Measure(norm=norm, drop=drop)
    found = list(predictions(model, drawn, how, by=by, positions=positions, threshold=threshold, seed=seed))
    _check_kept(found, threshold)
    numbers = torch.stack([_flat(one) for one in found])  # (prediction, part)
    counted = Counter(one.group for one in found if one.group)
    names = tuple(sorted(name for name, n in counted.items() if n >= FEWEST))
    names = names if len(names) > 1 else ()
    mine = [i for i, one in enumerate(found) if one.group in names]
    compared = _compared(numbers, found, names, mine, draws, seed)
    notes = [drawn.note, cut_note(model, fitted(model, drawn.inputs), drawn.inputs)]
    if by != "none" and not names:
        notes.append(f"Nothing is compared by {by}: fewer than two kinds have {FEWEST} predictions.")
    return RouteHabits(
        kept=(numbers > 0).double().mean(0).float(),
        contribution=numbers.mean(0).float(),
        n_layers=model.n_blocks,
        n_heads=model.n_heads,
        threshold=threshold,
        norm=norm,
        by=by,
        groups=names,
        group_counts=torch.tensor([counted[name] for name in names], dtype=torch.int64),
        group_contribution=compared.mean,
        difference=compared.difference,
        score=compared.score,
        p=compared.p,
        edges=torch.tensor([one.edges for one in found]),
        n_inputs=len({one.input for one in found}),
        n_predictions=len(found),
        n_apart=len(found) - len(mine) if by != "none" else 0,
        notes=tuple(filter(None, notes)),
    )


def _check_kept(found: Sequence[Prediction], threshold: float) -> None:
    if not any(one.edges for one in found):
        several = f"any of the {len(found)} predictions" if len(found) > 1 else "the one prediction"
        raise BadInput(
            f"Nothing is left at a threshold of {threshold:g}: no part of the last state of {several} has a share above"
            " it. Give a lower threshold; 0.04 is usual."
        )


def _flat(one: Prediction) -> Float[Tensor, "part"]:
    return one.heads.flatten() if one.mlps is None else torch.cat([one.heads.flatten(), one.mlps])


def _compared(
    numbers: Tensor, found: Sequence[Prediction], names: tuple[str, ...], mine: list[int], draws: int, seed: int
) -> GroupDifferences:
    if not names:
        nothing = torch.zeros(0, numbers.shape[1])
        return GroupDifferences(mean=nothing, difference=nothing, score=nothing, p=nothing)
    group = torch.tensor([names.index(found[i].group) for i in mine])
    unit = torch.tensor([found[i].input for i in mine])
    return group_differences(numbers[mine], group, unit, len(names), draws=draws, seed=seed)


def _check_groups(drawn: Corpus, by: str) -> None:
    if by in TAGS and drawn.tags is None:
        raise BadInput(
            f"The corpus {drawn.name} has no parts of speech to compare predictions by; 'brown' has. by='group'"
            " compares topics or folders."
        )
    if by == "group" and not any(drawn.groups):
        raise BadInput(f"The inputs of {drawn.name} are in no groups; those of 'example', 'brown' and of folders are.")
