"""Attention operations: which single looks of heads an answer hangs on, and what each of them is made by.

Reference: Saparov et al. (2024), "Transformers Struggle to Learn to Search".
"""

from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.perturb import repeated
from workbench.analyses.attribution.removal import stand_in
from workbench.analyses.attribution.target import answers_of, choose_target
from workbench.analyses.circuits.patch_runs import base_of
from workbench.analyses.one_prompt import one_prompt, real
from workbench.analyses.operations.altered_patterns import entries_that_count, falls, most_promising, without_others
from workbench.analyses.operations.operations_result import AttentionOperations as AttentionOperations
from workbench.analyses.operations.perturbed_inputs import (
    Unperturbed,
    emptying_positions,
    replacing_tokens,
    score_changes,
    unperturbed,
)
from workbench.analyses.sound import need_finite_values, need_sound_logits
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.inputs import tokenizer_of
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, Within, analysis


@analysis(
    "attention-operations",
    needs={"text", "pattern", "qk", "resid", "logits", "one-stack", "gradients"},
    title="Attention operations",
)
@torch.no_grad()
def attention_operations(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    kappa: Annotated[float, Within(0.0, 100.0), "Fall of the answer's logit above which an entry is important"] = 0.4,
    threshold: Annotated[float, Within(0.0, 100.0), "Change of a score above which it depends on a thing"] = 0.1,
    most: Annotated[int, Within(1, 1_000_000), "Entries changed at most, by gradient and by weight"] = 1000,
    raised: Annotated[bool, "Also look for entries that harm when they are raised to the largest of their row"] = False,
    replacement: Annotated[str | None, "Unused token put in others' places; none: the mask or unknown token"] = None,
) -> AttentionOperations:
    """Which single looks of heads an answer hangs on, and whether tokens, positions or reach make each of them.

    First, each entry of each head's pattern is set to zero; it is an important operation if the answer's logit falls by
    more than `kappa`. With `raised` it is also set to the largest of its row. Rows are not divided again. Then each
    token is replaced, and each learned position emptied, while all patterns stay and neurons keep their slopes
    act(x) / x; an operation depends on what changes its score (scaled, before the softmax) by more than `threshold`,
    which is the paper's sqrt(d) / 10 of query times key. Cost: a run an entry, layers * heads * positions^2 of them at
    most; above `most` only of those with the largest weights, or whose gradients promise the largest falls: some may be
    missed then. Then three runs a token and a position.
    Saparov et al. (2024), "Transformers Struggle to Learn to Search".
    """
    batch = one_prompt(model, prompt)
    sites = model.attention_sites(None, "pattern")
    with reading(model, sites) as values:
        logits = answers_of(model.module(**batch))
    patterns = torch.cat([values[site] for site in sites])  # (layer, head, query, key)
    target = choose_target(model, batch, logits, token=token, foil=foil, position=position)
    assert target.answer is not None, "logits are needed"
    for site in sites:
        square = real(real(values[site][0], batch, model.main.side, dim=-2), batch, model.main.side, dim=-1)
        need_finite_values(model, site, square)
    need_sound_logits(model, target.row(logits))
    base, unaltered = base_of(model, batch, target), target.of(logits).item()
    marks = real(torch.arange(patterns.shape[-1], device=patterns.device), batch, model.main.side, dim=0)
    every = entries_that_count(base, patterns, marks)
    tried = most_promising(base, every, most, raised=raised)
    at_zero = falls(base, tried, unaltered, raised=False)
    largest = falls(base, tried, unaltered, raised=True) if raised else torch.full_like(at_zero, -torch.inf)
    important = torch.maximum(at_zero, largest) > kappa
    operations = tried.places[important]
    high = largest[important] if raised else falls(base, tried[important], unaltered, raised=True)
    alone = without_others(base, patterns, operations)
    before = unperturbed(model, batch, operations)
    ids = batch[model.architecture.input_name][0, marks]
    number = unused(model, ids, replacement)
    single, everywhere = _by_tokens(before, marks, ids, number)
    place = {at: count for count, at in enumerate(marks.tolist())}  # where padding is not counted
    return AttentionOperations(
        tokens=model.labels(batch),
        ids=tuple(ids.tolist()),
        position=target.position,
        target=target.text,
        answer=model.token_text(target.answer),
        base=unaltered,
        kappa=kappa,
        threshold=threshold,
        stand_in=model.labels({model.architecture.input_name: torch.tensor([[number]])})[0],
        n_layers=model.n_blocks,
        possible=len(every),
        tried=len(tried),
        layer=operations[:, 0].cpu(),
        head=operations[:, 1].cpu(),
        query=torch.tensor([place[at] for at in operations[:, 2].tolist()], dtype=torch.long),
        key=torch.tensor([place[at] for at in operations[:, 3].tolist()], dtype=torch.long),
        weight=tried.weight[important].float().cpu(),
        falls=torch.stack([at_zero[important], high], -1).cpu(),
        raised=raised,
        token_changes=single.float().cpu(),
        everywhere_changes=everywhere.float().cpu(),
        position_changes=_by_positions(before, marks),
        sufficient=int(alone.argmax()) == int(target.row(logits)[0].argmax()),
        answer_alone=model.token_text(int(alone.argmax())),
        base_alone=target.of(alone[None]).item(),
    )


def unused(model: LensModel, ids: Int[Tensor, "pos"], replacement: str | None) -> int:
    """The token that stands in for others: the one named, else mask, unknown token, or the first that is not there."""
    here = set(ids.tolist())
    if replacement is not None:
        number = stand_in(model, replacement)
        if number is None or number in here:
            raise BadInput(f"{replacement!r} stands in the prompt itself; name a token that does not.")
        return number
    tokenizer = tokenizer_of(model)
    special = {*(getattr(tokenizer, "all_special_ids", None) or ())}
    named = [stand_in(model), getattr(tokenizer, "unk_token_id", None)]
    free = (number for number in range(len(here) + len(special) + 1) if number not in special)
    return next(number for number in (*named, *free) if number is not None and number not in here)


def _by_tokens(
    before: Unperturbed, marks: Int[Tensor, "pos"], ids: Int[Tensor, "pos"], number: int
) -> tuple[Float[Tensor, "2 operation pos"], Float[Tensor, "operation pos"]]:
    """Changes when the token of each position is replaced there (by side), and wherever it stands."""
    name = before.model.architecture.input_name
    texts, which = torch.unique(ids, return_inverse=True)
    gone = torch.zeros(len(marks) + len(texts), before.batch[name].shape[1], dtype=torch.bool, device=marks.device)
    gone[torch.arange(len(marks), device=marks.device), marks] = True
    gone[len(marks) + which, marks] = True
    changes = score_changes(before, len(gone), replacing_tokens(before, name, gone, number))
    return changes[:2, :, : len(marks)], changes[2, :, len(marks) :][:, which]


def _by_positions(before: Unperturbed, marks: Int[Tensor, "pos"]) -> Float[Tensor, "2 operation pos"] | None:
    site = f"{before.model.main.row.lead}pos_embed"
    if site not in before.model.sites:
        return None
    with reading(before.model, site) as values:
        before.model.module(**{name: repeated(value, 2) for name, value in before.batch.items()})
    one_table = len(values[site]) == 1
    changes = score_changes(before, len(marks), emptying_positions(before, site, marks), together=not one_table)
    return changes[:2].float().cpu()
