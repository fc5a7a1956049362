"""Dormant heads: which heads park their attention on one kind of text and act on another, and what they do for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.embedding.gathered import first_attention
from workbench.analyses.extremes.given import drawn
from workbench.analyses.extremes.head_ablations import ablated
from workbench.analyses.one_prompt import one_prompt, precise, real
from workbench.analyses.sound import need_finite_values
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Seed, Texts, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class DormantHeads(Result, kind="dormant-heads"):
    """Each head's sink and output on two kinds of text, and what some of them do for the answers."""

    sink: Float[Tensor, "2 layer head"]
    """Mean attention of later queries to the first token: mean over the inputs of each domain."""
    norm: Float[Tensor, "2 layer head"]
    """Mean length of what the head adds at every token but the first, in units of the stream."""
    heads: Int[Tensor, "ablated 2"]
    """(layer, head) of those that were ablated."""
    zero: Float[Tensor, "2 ablated"]
    """What `measure` says when the head adds nothing ..."""
    parked: Float[Tensor, "2 ablated"]
    """... and when all its attention is on the first token."""
    measure: str
    """"loss": rise of the next-token loss, nats a token; "kl": KL(unaltered || ablated) of the answers, nats."""
    base: Float[Tensor, "2"]
    """Next-token loss of the unaltered model; NaN where no next token is predicted, or nothing was ablated."""
    n_predicted: Int[Tensor, "2"]
    """Tokens (for kl, answers) in each mean."""
    texts: str
    """Name of the first corpus, domain 0 ..."""
    other: str
    """... and of the second, domain 1."""
    n_inputs: tuple[int, int]
    firsts: tuple[tuple[str, ...], tuple[str, ...]]
    """Tokens that stood first in each domain: one, where the tokenizer puts a start token there."""
    attention: str
    n_kv_heads: int

    @property
    def score(self) -> Float[Tensor, "layer head"]:
        """Sink in the first domain less that in the second: above 0, dormant on the first and active on the second."""
        return self.sink[0] - self.sink[1]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each head, the largest difference of sinks first; `ablated` is 0 for heads that were left alone.

        Columns without a suffix are of the first domain, those in _other of the second.
        """
        import pandas as pd

        layers, heads = self.score.shape
        frame = pd.MultiIndex.from_product([range(layers), range(heads)]).to_frame(index=False, name=["layer", "head"])
        frame.insert(2, "kv_head", frame["head"] // (heads // self.n_kv_heads))
        frame = frame.assign(score=self.score.flatten().tolist())
        for name, values in (("sink", self.sink), ("norm", self.norm)):
            frame = frame.assign(**{name: values[0].flatten().tolist(), f"{name}_other": values[1].flatten().tolist()})
        frame["ablated"] = 0
        for name, values in (("zero", self.zero), ("parked", self.parked)):
            for suffix, row in zip(("", "_other"), values, strict=True):
                column = torch.full((layers, heads), torch.nan, dtype=values.dtype)
                column[self.heads[:, 0], self.heads[:, 1]] = row
                frame[name + suffix] = column.flatten().tolist()
        at = torch.zeros(layers, heads, dtype=torch.long)
        at[self.heads[:, 0], self.heads[:, 1]] = 1
        frame["ablated"] = at.flatten().tolist()
        order = self.score.abs().flatten().argsort(descending=True, stable=True)
        return frame.iloc[order.tolist()].reset_index(drop=True)

    def figure(self) -> "go.Figure":
        """All heads by the difference of their sinks."""
        most = max(1e-9, self.score.abs().max().item())
        return plots.heatmap(
            self.to_frame(), x="head", y="layer", value="score", center=0.0, limits=(-most, most),
            hover=("sink", "sink_other", "norm", "norm_other"),
            title="Attention to the first token: first texts less second",
        )  # fmt: skip

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """What was compared, and the ten heads with the largest difference."""
        first = [", ".join(map(repr, some[:3])) + (" ..." if len(some) > 3 else "") for some in self.firsts]
        text = (
            f"{self.n_inputs[0]} inputs of {self.texts} (first tokens {first[0]}) against {self.n_inputs[1]} of"
            f" {self.other} ({first[1]}); zero and parked are {_SAYS[self.measure]}."
        )
        return text, self.to_frame().head(10)


_SAYS = {"loss": "the rise of the loss in nats a token", "kl": "the KL of the answers in nats"}


@analysis("dormant-heads", needs={"pattern", "z", "norms", "logits"})
@torch.no_grad()
def dormant_heads(
    model: LensModel,
    texts: Annotated[Texts, "The first kind of text: a corpus by name, a file, or a list"],
    other: Annotated[Texts, "The second kind of text"],
    *,
    inputs: Annotated[int, Within(1, 10_000), "Inputs drawn from each"] = 8,
    top_k: Annotated[int, Within(0, 1000), "Heads ablated: those whose sinks differ most; 0: none"] = 4,
    heads: Annotated[tuple[str, ...], "Heads ablated besides, as layer.head, such as 16.25,17.3"] = (),
    seed: Annotated[Seed, "Seed of which inputs are drawn"] = 0,
) -> DormantHeads:
    """Which heads are dormant on one kind of text and active on another, and what each does for the answers there.

    A dormant head parks its attention on the first token and adds little. The score is its sink (mean attention of
    later queries to the first token) on the first texts less that on the second; beside it stands the mean length of
    its output. The heads whose sinks differ most are ablated in two ways: its output set to zero, and all its
    attention put on the first token; told is the rise of the next-token loss, or, where no next token is predicted,
    the KL of the answers. Encoder-decoders are measured in the encoder. The first token is what the tokenizer puts
    there, and is named. Cost: one pass for each input, then 2 for each ablated head and batch of about 512 tokens.
    Guo et al. (2024), "Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs".
    """
    stack, short = model.attention(first_attention(model))
    attention = f"{stack.prefix}.{short}"
    corpora = [drawn(model, source, inputs, seed) for source in (texts, other)]
    found = [_looked_at(model, attention, corpus.inputs) for corpus in corpora]
    sink, norm = torch.stack([one.sink for one in found]), torch.stack([one.norm for one in found])
    chosen = _chosen(sink[0] - sink[1], heads, top_k, model)
    runs = [ablated(model, attention, corpus.inputs, chosen) for corpus in corpora]
    measure = "loss" if all(run.n_tokens for run in runs) else "kl"
    return DormantHeads(
        sink=sink,
        norm=norm,
        heads=torch.tensor(chosen, dtype=torch.long).reshape(-1, 2),
        zero=torch.stack([getattr(run, measure)[0] for run in runs]),
        parked=torch.stack([getattr(run, measure)[1] for run in runs]),
        measure=measure,
        base=torch.tensor([run.base for run in runs], dtype=torch.float64),
        n_predicted=torch.tensor([run.n_tokens if measure == "loss" else run.n_answers for run in runs]),
        texts=corpora[0].name,
        other=corpora[1].name,
        n_inputs=(len(corpora[0].inputs), len(corpora[1].inputs)),
        firsts=(found[0].firsts, found[1].firsts),
        attention=attention,
        n_kv_heads=stack.sizes.n_kv_heads,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Seen:
    """What all heads do on one kind of text."""

    sink: Float[Tensor, "layer head"]
    norm: Float[Tensor, "layer head"]
    firsts: tuple[str, ...]


def _looked_at(model: LensModel, attention: str, inputs: Sequence[object]) -> _Seen:
    """Mean sink and mean length of the output of every head, and the tokens that stood first."""
    stack, _ = model.attention(attention)
    patterns, mixed = (model.attention_sites(attention, part) for part in ("pattern", "z"))
    maps = [precise(model.output_map(attention, layer)[0]) for layer in range(stack.n_blocks)]
    sinks: list[Tensor] = []
    norms: list[Tensor] = []
    firsts: list[str] = []
    for one in track(inputs, label="inputs"):
        batch = one_prompt(model, one)
        with reading(model, [*patterns, *mixed]) as values:
            model.module(**batch)
        labels = model.labels(batch, side=stack.side)
        if len(labels) < 2:
            raise BadInput("A text of a single token has no later query: leave it out.")
        firsts.append(labels[0])
        cells = [real(real(values[site][0], batch, stack.side, dim=-2), batch, stack.side, dim=-1) for site in patterns]
        for site, pattern in zip(patterns, cells, strict=True):
            need_finite_values(model, site, pattern)
        sinks.append(torch.stack([functional.sink_mass(p, both_ways=not stack.causal)[:, 0] for p in cells]))
        z = [precise(real(values[site][0], batch, stack.side, dim=0))[1:] for site in mixed]
        added = [torch.einsum("phd,hdm->phm", one_z, w) for one_z, w in zip(z, maps, strict=True)]
        for site, write in zip(mixed, added, strict=True):
            need_finite_values(model, f"{site} through the output map", write)
        norms.append(torch.stack([x.norm(dim=-1).mean(0) for x in added]))
    return _Seen(
        sink=torch.stack(sinks).mean(0).cpu(),
        norm=torch.stack(norms).mean(0).cpu(),
        firsts=tuple(dict.fromkeys(firsts)),
    )


def _chosen(
    score: Float[Tensor, "layer head"], named: Sequence[str], top_k: int, model: LensModel
) -> list[tuple[int, int]]:
    """The heads named, then those whose score is furthest from 0, each once."""
    layers, count = score.shape
    chosen = []
    for name in (head for one in named for head in one.split(",")):
        layer, dot, head = name.strip().partition(".")
        if not (dot and layer.isdigit() and head.isdigit() and int(layer) < layers and int(head) < count):
            raise BadInput(
                f"{name!r} is no head of {model.name}: write layer.head, from 0.0 to {layers - 1}.{count - 1}."
            )
        chosen.append((int(layer), int(head)))
    order = score.abs().flatten().argsort(descending=True, stable=True)[:top_k]
    return list(dict.fromkeys([*chosen, *((i // count, i % count) for i in order.tolist())]))
