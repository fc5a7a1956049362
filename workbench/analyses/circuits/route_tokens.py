"""What a state would predict, and what a vector that was written into it promotes, in words of the vocabulary."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.one_prompt import answer_texts
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel

if TYPE_CHECKING:
    import pandas as pd


@torch.no_grad()
def predicted(
    model: LensModel, state: Float[Tensor, "d_model"], before: Float[Tensor, "d_model"] | None, top_k: int
) -> "pd.DataFrame":
    """The logit lens of one state: rank, token, probability; with the state before, the rank there and the rise.

    Ranks count from 0; `rise` is how many places a token has come up since, negative where it has fallen.
    """
    import pandas as pd

    logits = precise(model.readout(state[None].to(model.dtype)))[0]
    best = logits.topk(min(top_k, len(logits)))
    rows = {
        "rank": range(len(best.indices)),
        "token": answer_texts(model, best.indices),
        "probability": logits.softmax(-1)[best.indices].tolist(),
    }
    if before is not None:
        earlier = precise(model.readout(before[None].to(model.dtype))).expand(len(best.indices), -1)
        ranks = functional.token_ranks(earlier, best.indices).tolist()
        rows |= {"rank_before": ranks, "rise": [then - now for now, then in enumerate(ranks)]}
    return pd.DataFrame(rows)


@torch.no_grad()
def promoted(
    model: LensModel, written: Float[Tensor, "d_model"], final: Float[Tensor, "d_model"], top_k: int
) -> "pd.DataFrame":
    """Tokens whose logits a vector raises and lowers most, directly: effect, rank, token, logit.

    Through the final norm frozen at the scale of `final`, the last state at that position, and the unembedding.
    """
    import pandas as pd

    logits = direct_logits(model, written[None], final)[0]
    rows = []
    for effect, largest in (("promoted", True), ("suppressed", False)):
        values, ids = logits.topk(min(top_k, len(logits)), largest=largest)
        texts = answer_texts(model, ids)
        rows += [(effect, i, text, value) for i, (text, value) in enumerate(zip(texts, values.tolist(), strict=True))]
    return pd.DataFrame(rows, columns=["effect", "rank", "token", "logit"])


def direct_logits(
    model: LensModel, written: Float[Tensor, "some d_model"], final: Float[Tensor, "d_model"]
) -> Float[Tensor, "some vocab"]:
    """What vectors add to the logits, without the bias of the head."""
    norm = model.final_norm
    scale = functional.norm_scale(precise(final), centred=norm.centred, eps=norm.eps)
    direct = functional.frozen_norm(precise(written), scale, centred=norm.centred, weight=precise(norm.weight))
    nothing = model.unembedding(torch.zeros_like(direct[:1]).to(model.dtype))
    return precise(model.unembedding(direct.to(model.dtype))) - precise(nothing)


def why_no_prediction(model: LensModel) -> str:
    """Why a state cannot be read out; empty if it can."""
    return "" if "readout" in model.capabilities else f"{model.name} has no trained head that reads a state out."


def why_not_promoted(model: LensModel) -> str:
    """Why what is written has no direct effect on logits; empty if it has."""
    if model.main.row.order == "post":
        return "norms between a block and the readout mix what it wrote with the rest."
    if "direct-logits" not in model.capabilities:
        return f"{model.name} has no trained readout that is one norm and one linear map."
    return ""
