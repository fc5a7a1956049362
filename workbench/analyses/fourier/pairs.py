"""All pairs of a variable's values as prompts: what a model answers to each, and what its neurons hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import functional
from workbench.errors import BadInput
from workbench.functional import PairOperation, SumAxes
from workbench.hooks import reading
from workbench.inputs import tokenizer_of
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.variables import Variable, placed, variable
from workbench.variables.texts import answer_places, check_differ, check_known
from workbench.variables.value_states import encoded

MOST = 256
"""Values of a variable whose pairs are read: 65536 prompts, and 134 MB for one table of logits."""
TEMPLATE = "{a} {b} ="
_NUMBERS = 2**23
"""Logits of a batch, at most."""
Batch = tuple[list[int], Tensor, Tensor]
"""(numbers of the pairs, token ids (batch, pos), positions of the answers (batch)); the second value changes first."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """The prompts of all pairs of a variable's values in one model, and the order in which they add up."""

    model: LensModel
    variable: Variable
    operation: PairOperation
    template: str
    axes: SumAxes

    @property
    def n(self) -> int:
        """Values on each axis of the ordered table: without the 0 of a multiplication."""
        return len(self.axes)

    def period(self, frequency: int) -> float:
        """How far one cycle reaches, in the variable's unit; for products, in steps of the discrete logarithm."""
        return self.n * (1.0 if self.operation == "multiply" else self.variable.spacing) / frequency


def pairs_of(model: LensModel, spec: str, template: str = TEMPLATE, operation: PairOperation = "add") -> Pairs:
    """The pairs of a variable; refuses one that is too long, or whose values do not close under the operation."""
    found = variable(spec, model)
    if found.of_positions:
        raise BadInput("positions are places in the input, and no operands. Choose a variable of tokens.")
    if len(found) > MOST:
        raise BadInput(
            f"{found.name} has {len(found)} values, whose pairs are {len(found) ** 2} prompts: choose at most {MOST}."
        )
    _check(template)
    start = found.values[0] / found.spacing
    if abs(start - round(start)) > 1e-6 or (operation == "multiply" and found.spacing != 1):
        raise BadInput(
            f"The values of {found.name} begin at {found.values[0]:g} in steps of {found.spacing:g}: no"
            f" {'product' if operation == 'multiply' else 'sum'} of two is one of them again. Choose steps that the"
            " first value is a multiple of (of 1 for products)."
        )
    axes = functional.sum_axes(len(found), operation, round(start))
    if len(axes) < 3:
        raise BadInput(f"The values of {found.name} are too few to {operation}: a spectrum is of three or more.")
    return Pairs(model=model, variable=found, operation=operation, template=template, axes=axes)


def logits_of(pairs: Pairs, batches: Sequence[Batch] = ()) -> Float[Tensor, "n n n"]:
    """The logits of the variable's values where each pair is answered, in the order of `axes`, in float64 on the CPU.

    Less their mean over the answers, which no probability depends on. Other tokens have no part in them. `batches` are
    those of `batches_of`, where several runs share them.
    """
    model, n = pairs.model, len(pairs.variable)
    answers = pairs.variable.tokens()
    table = torch.empty(n * n, n, dtype=torch.float64)
    for numbers, batch, at in track(batches or batches_of(pairs), label=f"pairs of {pairs.variable.name}"):
        logits = model.logits(encoded(model, batch))
        last = torch.full_like(at, -1)  # of the decoder, which has read its start token alone
        place = at if model.main.side == "input" else last
        chosen = logits[torch.arange(len(at)), place.to(logits.device)][:, answers.to(logits.device)]
        table[numbers] = chosen.double().cpu()
    if bad := int((~torch.isfinite(table)).any(-1).sum()):
        raise BadInput(f"{model.name} answers {bad} of the {n * n} pairs with logits that are not finite.")
    table = table - table.mean(-1, keepdim=True)
    return pairs.axes.logits(table.view(n, n, n))


def neurons_of(pairs: Pairs, site: str) -> Float[Tensor, "n n neuron"]:
    """What a site holds at the answer of each pair, in the order of `axes`, in float32 on the CPU."""
    model, n = pairs.model, len(pairs.variable)
    rows: Tensor | None = None
    for numbers, batch, at in track(batches_of(pairs), label=f"pairs of {pairs.variable.name}"):
        with torch.no_grad(), reading(model, [site]) as values:
            model.module(**encoded(model, batch))
        found = values[site][torch.arange(len(at)), at.to(values[site].device)].float().cpu()
        rows = torch.empty(n * n, found.shape[-1]) if rows is None else rows
        rows[numbers] = found
    assert rows is not None  # there are values
    return pairs.axes.pairs(rows.view(n, n, -1))


def neuron_site(model: LensModel, layer: int) -> str:
    """The site of the neurons of one layer, in the stack that reads the prompt."""
    stack = next(stack for stack in model.stacks if stack.side == "input")
    return model.site(f"{stack.prefix}.{layer}.mlp.post").name


def train_mask(pairs: Pairs, share: float, seed: int, mask: Tensor | None = None) -> Bool[Tensor, "n n"]:
    """Which pairs were trained on, in the order of `axes`."""
    n = len(pairs.variable)
    known = functional.train_pairs(n, share, seed) if mask is None else mask.cpu()
    if tuple(known.shape) != (n, n) or known.dtype != torch.bool:
        raise BadInput(
            f"The pairs trained on are true or false for each of {n} x {n} pairs, not {known.dtype}"
            f" {tuple(known.shape)}."
        )
    return pairs.axes.pairs(known)


def _check(template: str) -> None:
    if template.count("{a}") != 1 or template.count("{b}") != 1:
        raise BadInput(
            f"A template of pairs holds {{a}} and {{b}} once each, as in '{TEMPLATE}' or 'What is {{a}} + {{b}}? It is'"
            f"; got {template!r}."
        )


def _rows(pairs: Pairs) -> list[list[int]]:
    """The token ids of each pair's prompt, special ones included; the second value changes first."""
    values, template = pairs.variable, pairs.template
    if values.by_id:
        return _by_ids(pairs)
    first, second = template.index("{a}"), template.index("{b}")
    at_start = {"{a}": first == 0, "{b}": second == 0}
    told = {gap: [f" {x}" if values.spaced and at_start[gap] else x for x in values.texts] for gap in at_start}
    texts = [
        template[: min(first, second)]
        + (a if first < second else b)
        + template[min(first, second) + 3 : max(first, second)]
        + (b if first < second else a)
        + template[max(first, second) + 3 :]
        for a in told["{a}"]
        for b in told["{b}"]
    ]
    rows = [list(row) for row in tokenizer_of(pairs.model)(texts)["input_ids"]]
    check_differ(pairs.model, texts, rows)
    return rows


def _by_ids(pairs: Pairs) -> list[list[int]]:
    """The prompts of values that are token ids, which go into the template as they are."""
    model, values = pairs.model, pairs.variable
    bare = placed(model, values)[0]
    lead, end = bare.ids[: bare.position], bare.ids[bare.position + 1 :]
    first, second = sorted(("{a}", "{b}"), key=pairs.template.index)
    before, rest = pairs.template.split(first)
    between, after = rest.split(second)
    pieces = [_plain_ids(model, piece) for piece in (before, between, after)]
    ids = values.tokens().tolist()
    return [
        [*lead, *pieces[0], *((a, *pieces[1], b) if first == "{a}" else (b, *pieces[1], a)), *pieces[2], *end]
        for a in ids
        for b in ids
    ]


def _plain_ids(model: LensModel, text: str) -> list[int]:
    if not text.strip():
        return []
    tokenizer = tokenizer_of(model)
    if tokenizer is None:
        raise BadInput(f"{model.name} was adapted without a tokenizer, so the template can only be '{{a}} {{b}}'.")
    check_known(model, text)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def batches_of(pairs: Pairs) -> list[Batch]:
    """The prompts of all pairs, those of one length together."""
    model, lengths = pairs.model, dict[int, list[int]]()
    rows = _rows(pairs)
    places = answer_places(tokenizer_of(model), rows)
    for number, row in enumerate(rows):
        lengths.setdefault(len(row), []).append(number)
    if model.n_ctx is not None and max(lengths) > model.n_ctx:
        raise BadInput(
            f"The template is {max(lengths)} tokens long with a pair in it; {model.name} reads {model.n_ctx}."
        )
    parts = []
    for length, numbers in lengths.items():
        size = max(1, min(512, _NUMBERS // (length * max(model.vocab_size, 4 * model.d_model))))
        parts += [numbers[at : at + size] for at in range(0, len(numbers), size)]
    return [(part, torch.tensor([rows[n] for n in part]), torch.tensor([places[n] for n in part])) for part in parts]
