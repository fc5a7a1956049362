"""Progress history: the progress measures over the checkpoints of a training run."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench import provenance
from workbench.analyses.fourier.given import check_load, check_whole
from workbench.analyses.fourier.measured import MEASURES, key_of, measures_of, random_keys, table_of
from workbench.analyses.fourier.pairs import TEMPLATE, pairs_of, train_mask
from workbench.analyses.fourier.progress_measures import checked_key
from workbench.analyses.fourier.progress_result import ProgressHistory
from workbench.errors import BadInput
from workbench.functional import PairOperation
from workbench.models.lens_model import LensModel
from workbench.progress import track


@torch.no_grad()
def progress_history(
    steps: Sequence[int],
    load: Callable[[int], LensModel],
    variable: str,
    *,
    template: str = TEMPLATE,
    operation: PairOperation = "add",
    frequencies: Sequence[int] = (),
    share: float = 0.02,
    train_share: float = 1.0,
    train_seed: int = 0,
    train: Bool[Tensor, "value value"] | None = None,
    draws: int = 5,
    seed: int = 0,
    unit: str = "step",
) -> ProgressHistory:
    """How the circuit of a few frequencies forms over training, measured with the same frequencies at every step.

        workbench.progress_history([0, 1000], lambda step: workbench.load("run", checkpoint=str(step)), "ids:0-58")

    `load` gives the model of a step; one is held at a time, the last first: its key frequencies (or `frequencies`) are
    those of all steps, so that a loss is of one and the same circuit. `train` says which pairs were trained on, where
    `train_share` and `train_seed` do not. The rest as in `progress_measures`, which each step costs once. Nanda et al.
    (2023), "Progress measures for grokking via mechanistic interpretability".
    """
    wrong = [step for step in steps if not isinstance(step, int) or isinstance(step, bool)]
    if wrong or not len(steps) or len(set(steps)) < len(steps):
        raise BadInput(f"Give the steps of one or more checkpoints, whole numbers, each once; not {tuple(steps)}.")
    check_load(load, unit)
    check_whole("draws", draws, 0)
    check_whole("seed", seed, 0)
    if train is not None and train_share != 1:
        raise BadInput("train and train_share both say which pairs were trained on: give one of them.")
    if not 0 <= share < 1:
        raise BadInput(f"share is from 0 to below 1, not {share}.")
    order = sorted(steps)
    found: dict[int, tuple[Tensor, ...]] = {}
    key, about, meta = (), {}, {}
    first: dict[str, int] = {}
    random = torch.zeros(0, 0, dtype=torch.long)
    for at in track([order[-1], *order[:-1]], label=f"checkpoints over {variable}"):
        model = load(at)
        if not isinstance(model, LensModel):
            raise BadInput(
                f"load must give the model of a checkpoint, as workbench.load does; for {unit} {at} it gave"
                f" {'nothing' if model is None else type(model).__name__}."
            )
        if {"text", "readout"} - model.capabilities:
            raise BadInput(f"{model.name} gives no logits of the tokens of a text: progress is measured by these.")
        pairs = pairs_of(model, variable, template, operation)
        if about and about["n"] != pairs.n:
            raise BadInput(f"{variable} has {pairs.n} values in the model of {unit} {at}, and {about['n']} at the end.")
        sizes = {"tokens": model.vocab_size, "dimensions": model.d_model, "layers": model.n_blocks}
        if about and (other := next((what for what in sizes if sizes[what] != first[what]), None)):
            raise BadInput(
                f"The model of {unit} {at} has {sizes[other]} {other}, and that of {unit} {order[-1]} {first[other]}:"
                " these are no checkpoints of one training run."
            )
        first = sizes
        mask = train_mask(pairs, train_share, train_seed, train)
        table = table_of(pairs)
        if not about:
            key = checked_key(pairs, frequencies) or key_of(table, share)
            random = random_keys(pairs.n, key, draws, seed)
            about = {
                "variable": pairs.variable.name, "operation": operation, "template": template, "n": pairs.n,
                "period": pairs.period(1), "key": key, "chosen": bool(frequencies), "share": share,
                "trained_on": mask.sum(), "random": random,
            }  # fmt: skip
            asked = {"variable": variable, "template": template, "operation": operation, "share": share}
            asked |= {"train_share": train_share, "train_seed": train_seed, "draws": draws, "seed": seed}
            meta = provenance.stamp("progress-history", model, {**asked, "frequencies": tuple(frequencies)})
        measures = measures_of(table, key, mask, random)
        here = torch.zeros(pairs.n // 2 + 1, dtype=torch.bool)
        here[list(key_of(table, share))] = True
        found[at] = (measures, here, table.sums, table.embedding)
        del model, pairs, table
    columns = [torch.stack(column) for column in zip(*(found[at] for at in order), strict=True)]
    return ProgressHistory(
        **about,
        steps=tuple(order),
        unit=unit,
        names=tuple(MEASURES),
        measures=columns[0],
        key_here=columns[1],
        sums=columns[2],
        embedding=columns[3],
        meta=meta,
    )
