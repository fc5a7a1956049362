"""Progress measures: how much of an answer to all pairs of operands a few frequencies of their sum are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.analyses.fourier.measured import MEASURES, key_of, measures_of, pair_power, random_keys, table_of
from workbench.analyses.fourier.pairs import TEMPLATE, Pairs, pairs_of, train_mask
from workbench.analyses.fourier.progress_result import ProgressMeasures
from workbench.errors import BadFile, BadInput
from workbench.functional import PairOperation
from workbench.models.lens_model import LensModel
from workbench.registry import Seed, VariableName, Within, analysis


@analysis("progress-measures", needs={"text", "readout"})
@torch.no_grad()
def progress_measures(
    model: LensModel,
    variable: Annotated[VariableName, "The operands and answers: values of one token each, 256 at most"],
    *,
    template: Annotated[str, "The prompt, with {a} and {b} once each; the answer is read at its end"] = TEMPLATE,
    operation: Annotated[PairOperation, "What is done to the operands, modulo the number of values"] = "add",
    frequencies: Annotated[
        tuple[int, ...], Within(1, 128), "The key frequencies; none: all with more than `share` of the variance"
    ] = (),
    share: Annotated[float, Within(0.0, 0.99), "Share of the variance above which a frequency is key"] = 0.02,
    train_share: Annotated[float, Within(0.0, 1.0), "Share of the pairs that the model was trained on"] = 1.0,
    train_seed: Annotated[Seed, "Seed they were drawn with (workbench.functional.train_pairs)"] = 0,
    train_file: Annotated[str, "Or a file of the pairs trained on: two values a line, a tab or a comma between"] = "",
    draws: Annotated[int, Within(0, 100), "Draws of as many other frequencies, the control"] = 5,
    seed: Annotated[Seed, "Seed of the control"] = 0,
) -> ProgressMeasures:
    """How far a model answers pairs by a few frequencies of their sum, before its test loss shows it.

    Over all pairs: the loss of the key frequencies' sum directions and the mean logits alone (restricted), on the pairs
    trained on the loss without these directions (excluded), the share of the logits' variance they have, how unevenly
    the waves share the embedding and the map from neurons to logits, and the same of as many other frequencies, drawn
    at random. Logits are of the variable's values alone, less their mean over answers. Operands count as numbers where
    they are numbers, else from 0; sums are modulo the number of values. "subtract" turns the second operand round;
    "multiply" orders by the discrete logarithm modulo a prime, 0 left out. n^2 prompts of a forward pass each, and
    n^3 numbers in float64 while it runs (12 MB at n = 113). Nanda et al. (2023), "Progress measures for grokking via
    mechanistic interpretability".
    """
    pairs = pairs_of(model, variable, template, operation)
    chosen = checked_key(pairs, frequencies)
    if train_file and train_share != 1:
        raise BadInput("train_file and train_share both say which pairs were trained on: give one of them.")
    train = train_mask(pairs, train_share, train_seed, pairs_in(train_file, pairs) if train_file else None)
    table = table_of(pairs)
    key = chosen or key_of(table, share)
    random = random_keys(pairs.n, key, draws, seed)
    return ProgressMeasures(
        variable=pairs.variable.name,
        operation=operation,
        template=template,
        n=pairs.n,
        period=pairs.period(1),
        key=key,
        chosen=bool(chosen),
        share=share,
        trained_on=train.sum(),
        measures=measures_of(table, key, train, random),
        names=tuple(MEASURES),
        random=random,
        sums=table.sums,
        pairs=pair_power(table.logits),
        embedding=table.embedding,
        neuron_logits=table.neuron_logits,
    )


def checked_key(pairs: Pairs, frequencies: Sequence[int]) -> tuple[int, ...]:
    """The frequencies given, each once and in order, or a sentence when there is no such one."""
    chosen, most = tuple(sorted(set(frequencies))), pairs.n // 2
    if chosen and not 1 <= chosen[0] <= chosen[-1] <= most:
        raise BadInput(f"Frequencies over the {pairs.n} values of {pairs.variable.name} are 1 to {most}, not {chosen}.")
    return chosen


def pairs_in(path: str, pairs: Pairs) -> Bool[Tensor, "n n"]:
    """Which pairs of values a file lists."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read as text: {error}.") from error
    places = {label: at for at, label in enumerate(pairs.variable.labels)}
    mask = torch.zeros(len(places), len(places), dtype=torch.bool)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values = [value.strip() for value in line.replace("\t", ",").split(",")]
        if len(values) != 2 or not set(values) <= set(places):
            raise BadFile(
                f"Line {number} of {path} is {line!r}; a line holds two values of {pairs.variable.name} with a tab or"
                " a comma between."
            )
        mask[places[values[0]], places[values[1]]] = True
    if not mask.any():
        raise BadFile(f"{path} lists no pair: write two values of {pairs.variable.name} a line, with a comma between.")
    return mask
