"""Queries, keys, values and patterns of one attention over many inputs, read a layer at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, inputs as inputs_of
from workbench.activations import Activations
from workbench.analyses.attention.attention import sides
from workbench.analyses.embedding.kept import kept_folder
from workbench.capture import capture
from workbench.corpora import Corpus, corpus
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.store import ActivationStore
from workbench.store.rows import Rows

CACHE = "cache"
"""Said for a store: a folder that the workbench keeps, and finds again by the model and the inputs."""
FEWEST = 3
"""Rows below which there is nothing to place."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Gathered:
    """A sample of a corpus, whole inputs drawn with a seed, and what one attention does on it."""

    model: LensModel
    attention: str
    texts: Corpus
    inputs: tuple[Any, ...]
    """The corpus as it was read: token ids in the place of texts that were too long."""
    chosen: tuple[int, ...]
    """Which inputs of the corpus are in the sample, in their order."""
    rows: Rows
    """Rows that ask; `input` counts within the corpus."""
    key_rows: Rows
    """Rows that are asked: the same ones, but in cross-attention."""
    kept: Activations | ActivationStore

    @property
    def note(self) -> str:
        """What was left out; "" when nothing was."""
        return " ".join(filter(None, [self.texts.note, cut_note(self.model, self.inputs, self.texts.inputs)]))

    @property
    def causal(self) -> bool:
        """Whether a row sees only those before it."""
        stack, short = self.model.attention(self.attention)
        return stack.row.causal and short != "cross_attn"

    @property
    def crossed(self) -> bool:
        """Whether the keys are other rows than the queries."""
        return self.model.attention(self.attention)[1] == "cross_attn"

    def queries(self, layer: int) -> Float[Tensor, "query head d_head"]:
        """What every row asks, in one layer, after rotary embedding where there is one; float32 or better."""
        return self._rows(_sites(self.model, self.attention, layer)[0])

    def keys(self, layer: int) -> Float[Tensor, "key kv_head d_head"]:
        """What every row offers."""
        return self._rows(_sites(self.model, self.attention, layer)[1])

    def values(self, layer: int) -> Float[Tensor, "key kv_head d_head"]:
        """What every row holds."""
        return self._rows(_sites(self.model, self.attention, layer)[2])

    def patterns(self, layer: int) -> Iterator[tuple[int, Float[Tensor, "head query key"]]]:
        """(input, pattern of every head on it), input by input."""
        site = _sites(self.model, self.attention, layer)[3]
        for place, number in enumerate(self.chosen):
            yield number, precise(self.kept.of_input(site, self._number(place)))

    def pairs(self, *, most: int, seed: int) -> Int[Tensor, "pair 2"]:
        """(row that asks, row that is asked) of pairs that can attend: within one input, none later if causal."""
        return functional.attention_pairs(
            self.rows.input,
            self.rows.position,
            self.key_rows.input,
            self.key_rows.position,
            causal=self.causal,
            most=most,
            seed=seed,
        )

    def _number(self, place: int) -> int:
        """How the place-th chosen input is counted where it is kept: memory holds the chosen ones alone."""
        return self.chosen[place] if isinstance(self.kept, ActivationStore) else place

    def _rows(self, site: str) -> Tensor:
        if isinstance(self.kept, Activations) or len(self.chosen) == len(self.kept.inputs):
            found = self.kept.site(site)
            assert isinstance(found, Tensor)
            return precise(found)
        return precise(torch.cat([self.kept.of_input(site, number) for number in self.chosen]))


def gathered(
    model: LensModel,
    texts: Any,
    *,
    attention: str | None = None,
    layers: Sequence[int] | None = None,
    inputs: int | None = None,
    points: int | None = None,
    seed: int = 0,
    store: str | Path | None = None,
) -> Gathered:
    """Run a model over a corpus and keep what its heads ask and offer.

    `inputs` are drawn from the corpus with the seed; of these, whole inputs are drawn with the seed until they have
    `points` rows: they are the sample. Without a store only the sample is run, and only `layers` are kept, in memory.
    A store keeps every layer of all inputs that were drawn: it is written while the model runs, goes on where it
    stopped, and any later sample of any layer is read from it ("cache" is one that the workbench keeps). Memory holds
    one batch, and then one layer of the sample.
    """
    drawn = corpus(texts, reads=model.reads, limit=inputs, seed=seed)
    name, query_side, key_side = sides(model, attention or first_attention(model))
    read = fitted(model, drawn.inputs)
    lengths = [_length(model, one, query_side) for one in track(read, label="reading inputs")]
    chosen = sample(lengths, points, seed)
    if sum(lengths[i] for i in chosen) < FEWEST:
        raise BadInput(
            f"{drawn.name} gives {sum(lengths[i] for i in chosen)} tokens; at least {FEWEST} are needed to place them."
        )
    wanted = range(model.attention(name)[0].n_blocks) if store is not None or layers is None else layers
    sites = [site for layer in wanted for site in _sites(model, name, layer)]
    if store is None:
        kept: Any = capture(model, [read[i] for i in chosen], sites, sort_by_length=True)
        number = torch.tensor(chosen)
    else:
        folder = kept_folder(model, drawn, name) if store == CACHE else store
        kept = capture(model, list(read), sites, store=folder, sort_by_length=True)
        number = torch.arange(len(read))
    return Gathered(
        model=model,
        attention=name,
        texts=drawn,
        inputs=read,
        chosen=chosen,
        rows=_chosen_rows(kept.rows(query_side), number, chosen),
        key_rows=_chosen_rows(kept.rows(key_side), number, chosen),
        kept=kept,
    )


def first_attention(model: LensModel) -> str | None:
    """The attention that is meant when none is named: of encoder-decoders the encoder's, for a corpus is its input."""
    return model.attentions[0] if model.attentions and model.main.side == "target" else None


def fitted(model: LensModel, texts: Sequence[Any]) -> tuple[Any, ...]:
    """Inputs as the model can read them: texts with too many tokens for it are cut to the first ones."""
    tokenizer, longest = inputs_of.tokenizer_of(model), model.n_ctx
    if longest is None or not callable(tokenizer) or model.reads not in ("text", "text+image"):
        return tuple(texts)
    marked = model.main.side == "target"
    return tuple(_cut(tokenizer, one, longest, marked) for one in texts)


def cut_note(model: LensModel, read: Sequence[Any], whole: Sequence[Any]) -> str:
    """How many inputs were cut to what the model reads; "" when none was."""
    count = sum(one is not given for one, given in zip(read, whole, strict=True))
    many = f"{count} inputs are" if count > 1 else "1 input is"
    return f"{many} longer than {model.name} reads: the first {model.n_ctx} tokens are read." if count else ""


def _cut(tokenizer: Any, one: Any, longest: int, marked: bool) -> Any:
    """Token ids where the text has too many of them, else the input as it was; a target after its mark is cut too."""
    if isinstance(one, tuple):
        text = _cut(tokenizer, one[0], longest, False)
        return one if text is one[0] else (text, *one[1:])
    if not isinstance(one, str) or len(one) < longest:  # a token has at least one character
        return one
    text, mark, target = one.partition(inputs_of.TARGET_MARK) if marked else (one, "", "")
    ids, written = list(tokenizer(text)["input_ids"]), _begun(tokenizer, target, longest - 1)
    if len(ids) <= longest and written == target:
        return one
    return (ids[:longest], written) if mark else ids[:longest]


def _begun(tokenizer: Any, target: str, most: int) -> str:
    """The beginning of a target that has at most `most` tokens."""
    while (n := len(tokenizer(target, add_special_tokens=False)["input_ids"])) > most:
        target = target[: max(1, min(len(target) - 1, len(target) * most // n))]
    return target


def sample(lengths: Sequence[int], points: int | None, seed: int) -> tuple[int, ...]:
    """Whole inputs, drawn with the seed until they have `points` rows, at least one; a larger sample holds a smaller.

    None takes all.
    """
    if points is None or sum(lengths) <= points:
        return tuple(range(len(lengths)))
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    taken, total = [], 0
    for number in order:
        if taken and total + lengths[number] > points:
            break
        taken.append(number)
        total += lengths[number]
    return tuple(sorted(taken))


def _length(model: LensModel, one: Any, side: str) -> int:
    return len(model.labels(model.encode(one), side=side))


def _sites(model: LensModel, attention: str, layer: int) -> tuple[str, str, str, str]:
    stack, short = model.attention(attention)
    at = f"{stack.prefix}.{layer}.{short}"
    turned = "rot_" if f"{at}.rot_q" in model.sites else ""
    return f"{at}.{turned}q", f"{at}.{turned}k", f"{at}.v", f"{at}.pattern"


def _chosen_rows(rows: Rows, number: Tensor, chosen: Sequence[int]) -> Rows:
    """The rows of the chosen inputs, with inputs counted as in the corpus."""
    inputs = number[rows.input]
    mine = torch.isin(inputs, torch.tensor(chosen))
    label = tuple(text for text, kept in zip(rows.label, mine.tolist(), strict=True) if kept)
    return Rows(input=inputs[mine], position=rows.position[mine], token=rows.token[mine], label=label)
