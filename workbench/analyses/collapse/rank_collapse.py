"""Rank collapse: whether the states of a text become one vector, with skip connections and MLPs and without."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch

from workbench.analyses.collapse.double import in_double, resolution
from workbench.analyses.collapse.rank_collapse_result import RankCollapse
from workbench.analyses.collapse.variants import MEASURES, RUNS, Curves, curves, stack_read
from workbench.analyses.embedding.asked import CorpusOf
from workbench.analyses.embedding.gathered import cut_note, fitted
from workbench.analyses.one_prompt import one_prompt
from workbench.corpora import corpus
from workbench.errors import BadInput
from workbench.functional.rank_residuals import Minimiser, Norm
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Prompt, Seed, Within, analysis

NormOf = Annotated[Norm, "How the residual is measured: Frobenius, or the paper's composite norm"]
MinimiserOf = Annotated[Minimiser, "The vector that is taken off all states: their mean, or the median of each column"]
Skip = Annotated[int, Within(0, 1000), "Positions left out at the start"]


@analysis("rank-collapse", needs={"pattern", "resid", "attn_out"})
@torch.no_grad()
def rank_collapse(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    norm: NormOf = "fro",
    minimiser: MinimiserOf = "mean",
    skip: Skip = 0,
) -> RankCollapse:
    """How soon all positions hold the same vector: in the network, without skip connections, MLPs, or both.

    The residual is what is left of the states (position, width) without their mean, over their own size; beside it
    their effective rank, mean cosine, and the mean entropy of attention, at every depth. Attention is recomputed from
    the states that there are then, or frozen as in the full network: two different experiments. Norms stay where they
    are. Small models whose norms can be are computed in double precision, on a copy; below `floor` a curve is rounding.
    Of encoder-decoders the encoder is read, of models of text and pictures the text. Seven forward passes.
    Dong, Cordonnier & Loukas (2021), "Attention is not all you need".
    """
    precise = in_double(model)
    return _result(model, precise, [_curves(precise, prompt, norm, minimiser, skip)], norm, minimiser, ())


@analysis("rank-collapse-texts", needs={"pattern", "resid", "attn_out"}, title="Rank collapse over several texts")
@torch.no_grad()
def rank_collapse_texts(
    model: LensModel,
    texts: CorpusOf = "example",
    *,
    inputs: Annotated[int, Within(1, 1000), "Inputs drawn from the corpus"] = 8,
    norm: NormOf = "fro",
    minimiser: MinimiserOf = "mean",
    skip: Skip = 0,
    seed: Annotated[Seed, "Seed of the draw"] = 0,
) -> RankCollapse:
    """How soon all positions of a text hold the same vector: median and quartiles over several texts.

    Each text is run and measured by itself, as in `rank_collapse`; `values` keeps every one. Seven forward passes a
    text.
    """
    drawn = corpus(texts, reads=model.reads, limit=inputs, seed=seed)
    precise, read = in_double(model), fitted(model, drawn.inputs)
    found = [_curves(precise, one, norm, minimiser, skip) for one in track(read, label="texts")]
    notes = tuple(filter(None, [drawn.note, cut_note(model, read, drawn.inputs)]))
    return _result(model, precise, found, norm, minimiser, notes)


def _curves(model: LensModel, prompt: Any, norm: Norm, minimiser: Minimiser, skip: int) -> tuple[Curves, int]:
    batch, side = one_prompt(model, prompt), stack_read(model).side
    if (count := len(model.labels(batch, side=side)) - skip) < 1:
        raise BadInput(
            f"The prompt has {count + skip} positions and the first {skip} are left out, so none is left."
            " Take a longer prompt, or skip fewer."
        )
    return curves(model, batch, norm=norm, minimiser=minimiser, skip=skip), count


def _result(
    model: LensModel,
    precise: LensModel,
    found: Sequence[tuple[Curves, int]],
    norm: Norm,
    minimiser: Minimiser,
    notes: tuple[str, ...],
) -> RankCollapse:
    return RankCollapse(
        values=torch.stack([one.values for one, _ in found]),
        floor=torch.stack([one.floor for one, _ in found]),
        variants=tuple(variant for variant, _ in RUNS),
        attentions=tuple(attention for _, attention in RUNS),
        measures=MEASURES,
        norm=norm,
        minimiser=minimiser,
        positions=tuple(count for _, count in found),
        notes=(*notes, _norms_said(model), *_lacks_said(model), _precision_said(precise)),
    )


def _norms_said(model: LensModel) -> str:
    stack = stack_read(model)
    if stack.row.norm1 is None:
        return f"No norms are known in the blocks of {model.name}."
    where = "after each sum" if stack.row.order == "post" else "before each sublayer"
    return f"Norms were applied, in every run, where {model.name} has them: {where}."


def _lacks_said(model: LensModel) -> list[str]:
    stack = stack_read(model)
    if f"{stack.prefix}.0.mlp_out" not in model.sites:
        return [f"{model.name} has no MLPs: it is the same with and without."]
    if stack.row.order == "parallel":
        return ["Attention and MLP of a block read and are added to the same stream: one skip connection a block."]
    return []


def _precision_said(precise: LensModel) -> str:
    kind = str(precise.dtype).removeprefix("torch.")
    return f"Computed in {kind}; relative residuals below about {resolution(precise):.0e} are rounding."
