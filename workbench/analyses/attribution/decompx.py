"""DecompX: the logit as a sum of what each token adds to it, carried through the whole model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import plots
from workbench.activations.estimating import readable
from workbench.analyses.attribution.asked import ReadAt
from workbench.analyses.attribution.decomposing import check_memory, decomposed_answers, wanted
from workbench.analyses.attribution.evidence import Evidence, gather
from workbench.analyses.attribution.method import Method, Scores
from workbench.errors import MissingCapability
from workbench.models.lens_model import LensModel
from workbench.registry import Prompt, Token, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Biases = Literal["absdot", "apart"]
Gate = Literal["half", "gate", "linear"]
GATE_SHARES: dict[Gate, float] = {"half": 0.5, "gate": 1.0, "linear": 0.0}
"""How much of a gated MLP's product is counted through its gate."""
CLOSE = {torch.float16: 5e-2, torch.bfloat16: 3e-1}
"""How far the sum may be from the logit, as a share of the largest logit; 1e-3 in single and double precision."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Decomposition(Result, kind="decompx"):
    """What each token adds to one logit (or difference of two), with its sign; all together are the logit."""

    explained: str
    """What is split up: "logit of ' Paris' at position 4"."""
    score: float
    """The logit, or the difference of two, itself."""
    scores: Float[Tensor, "token"]
    tokens: tuple[str, ...]
    sides: tuple[str, ...]
    """Where each token is read: input, or target (what an encoder-decoder has written)."""
    row: int
    """Which of the tokens' positions is explained."""
    biases: float | None
    """What all biases add, where they are kept apart; None where they are split over the tokens."""
    rounding: float
    """What the sum of all parts lacks of the logit."""
    memory: int
    """Bytes that were estimated for what is carried through each layer."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each token, then the biases where they are apart, and the rounding; `value` adds up to the logit.

        `pos` is -1 for what is no token.
        """
        import pandas as pd

        rows = [("token", *row) for row in zip(range(len(self.tokens)), self.tokens, self.sides, strict=True)]
        values = self.scores.tolist()
        if self.biases is not None:
            rows.append(("biases", -1, "", ""))
            values.append(self.biases)
        frame = pd.DataFrame([*rows, ("rounding", -1, "", "")], columns=["part", "pos", "token", "side"])
        return frame.assign(value=[*values, self.rounding])

    def figure(self) -> "go.Figure":
        """One bar for each token, above 0 where it speaks for the answer."""
        frame = self.to_frame().query("part == 'token'")
        return plots.bars(frame, x="pos", y="value", x_labels="token", title=f"{self.explained}: {self.score:.4g}")


def _decomposed(
    evidence: Evidence, biases: Biases, gate: Gate
) -> tuple[Float[Tensor, "source"], Float[Tensor, ""], int]:
    """(each source's part, what they lack of the score, bytes estimated)."""
    model, target = evidence.model, evidence.target
    memory = check_memory(model, len(evidence.tokens), model.dtype.itemsize)
    if target.answer is None or evidence.logits is None or evidence.score is None:
        raise MissingCapability(f"{model.name} has no trained head, so there is no logit to split up.")
    answers = (target.answer,) if target.foil is None else (target.answer, target.foil)
    parts = decomposed_answers(evidence, answers, biases=biases, gate_share=GATE_SHARES[gate])
    found = parts[0] if target.foil is None else parts[0] - parts[1]
    lacks = evidence.score - found.sum()
    size = evidence.logits.abs().max().item()
    if not abs(lacks.item()) <= CLOSE.get(model.dtype, 1e-3) * max(size, 1e-6):
        raise MissingCapability(
            f"The parts that {model.name}'s maps give sum to {found.sum().item():.4g}, but the {target.text} is"
            f" {evidence.score:.4g}: its blocks or its head do more than is known of them ({model.family})."
        )
    return found, lacks, memory


def _scores(evidence: Evidence, biases: Biases = "absdot", gate: Gate = "half") -> Scores:
    found, lacks, memory = _decomposed(evidence, biases, gate)
    found = found[: len(evidence.tokens)]
    note = f"The parts add up to the explained number to {abs(lacks.item()):.1e}; {readable(memory)} a layer."
    return Scores(values=found[None], note=note)


METHODS = (
    Method(
        name="decompx",
        title="DecompX",
        function=_scores,
        wants=wanted,
        needs=frozenset({"pattern", "resid", "decomposition", "logits"}),
        signed=True,
        cost="one forward a token",
        note="Patterns, norms' scales and slopes are held as they were, so a token's part in making them is not seen.",
        analysis="decompx",
    ),
)


@analysis("decompx", needs=set(METHODS[0].needs), title="DecompX")
@torch.no_grad()
def decompx(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Annotated[Token, "Answer whose logit is split up; none: the model's own top answer"] = None,
    foil: Annotated[Token, "Answer whose logit is subtracted; none: the answer's alone"] = None,
    position: ReadAt = None,
    biases: Annotated[Biases, "Split each bias over the tokens by how far they point along it, or keep all apart"] = (
        "absdot"
    ),
    gate: Annotated[Gate, "Gated MLPs: count their product half through each factor, or all through one"] = "half",
) -> Decomposition:
    """How much each token adds to the logit, with its sign, exactly: all tokens together are the logit.

    The state of every position is carried as a sum of parts, one a token, through every attention, norm, MLP and the
    head, with attention patterns, norms' scales and activations' slopes held as they were (for a gated MLP's product:
    half through each factor, its Shapley shares, unless `gate` says otherwise). Biases are split by the size of their
    inner products with the parts. In encoder-decoders the tokens of both sides are the sources. Costs about a forward
    pass a token; memory for a few (token, position, d_model) tensors, refused where there is not enough.
    Modarressi et al. (2023), "DecompX: Explaining Transformers Decisions by Propagating Token Decomposition".
    """
    evidence = gather(model, prompt, wanted(model), token=token, foil=foil, position=position)
    found, lacks, memory = _decomposed(evidence, biases, gate)
    n = len(evidence.tokens)
    assert evidence.score is not None
    return Decomposition(
        explained=evidence.target.text,
        score=evidence.score,
        scores=found[:n].cpu(),
        tokens=evidence.tokens,
        sides=evidence.sides,
        row=evidence.row,
        biases=found[n].item() if biases == "apart" else None,
        rounding=lacks.item(),
        memory=memory,
    )
