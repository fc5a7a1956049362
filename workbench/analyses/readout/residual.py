"""Residual: how the stream grows and turns, and which part of the model wrote the chosen logit."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.one_prompt import checked_position, chosen_answer, one_prompt, real
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.registry import Position, Prompt, Token, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

WRITERS = ("attn_out", "cross_attn_out", "mixer.out", "mlp_out")
"""Parts of a block that add to the stream, in the order they do."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Residual(Result, kind="residual"):
    """The stream's length and direction at each layer, and who wrote one logit."""

    norms: Float[Tensor, "state pos"]
    """Euclidean length of the stream."""
    cosine: Float[Tensor, "state pos"]
    """Cosine of each state with the final one at the same position."""
    states: tuple[str, ...]
    """The sites read: the stream before the first block, then after each."""
    layers: tuple[str, ...]
    """What stands before each state: "embed", then the layer's number."""
    tokens: tuple[str, ...]
    contributions: Float[Tensor, "part"] | None
    """What each part adds to the logit, in double precision; all together are the logit.
    None where the readout does not split up."""
    parts: tuple[str, ...]
    """Sites that write into the stream (`blocks.0.attn.z:3` for a head), then "biases" (of the final norm and the
    unembedding) and "rounding" (what the parts' sum differs from the stream)."""
    token: str | None
    position: int
    logit: float | None
    note: str
    """Why there are no contributions, if there are none."""

    def to_frame(self) -> "pd.DataFrame":
        """One row for each number: norm and cosine of every layer and position, contribution of every part."""
        import numpy as np
        import pandas as pd

        state, pos = (index.reshape(-1) for index in np.indices(self.norms.shape))
        layer, token = np.array(self.layers, dtype=object)[state], np.array(self.tokens, dtype=object)[pos]
        frames = [
            pd.DataFrame(
                {
                    "quantity": name,
                    "part": np.array(self.states, dtype=object)[state],
                    "layer": layer,
                    "pos": pos,
                    "token": token,
                    "value": values.flatten().numpy(),
                }
            )
            for name, values in (("norm", self.norms), ("cosine", self.cosine))
        ]
        if self.contributions is not None:
            frames.append(self.contributions_frame().drop(columns="sum").rename(columns={"contribution": "value"}))
        return pd.concat(frames, ignore_index=True)

    def contributions_frame(self) -> "pd.DataFrame":
        """One row for each part, in the order they are written, with the sum up to here; empty where there are none."""
        import pandas as pd

        values = torch.empty(0) if self.contributions is None else self.contributions
        return pd.DataFrame(
            {
                "quantity": "contribution",
                "part": list(self.parts),
                "layer": [_layer_of(part) for part in self.parts],
                "pos": self.position,
                "token": self.tokens[self.position],
                "contribution": values.numpy(),
                "sum": values.cumsum(0).numpy(),
            }
        )

    def figure(self) -> "go.Figure":
        """Contributions to the logit where there are any, else the norms."""
        if self.contributions is not None:
            title = f"logit of {self.token!r} at position {self.position}: {self.logit:.4g}"
            return plots.bars(self.contributions_frame(), x="part", y="contribution", horizontal=True, title=title)
        norms = self.to_frame().query("quantity == 'norm'").rename(columns={"value": "norm"})
        return plots.heatmap(norms, x="pos", y="layer", value="norm", x_labels="token")


@analysis("residual", needs={"resid"}, title="Residual stream and logit attribution")
@torch.no_grad()
def residual(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    token: Annotated[Token, "Answer whose logit is split up; none: the model's own top answer"] = None,
    position: Annotated[
        Position | None, "Where the answer is read; none: the model's last (or masked) position"
    ] = None,
    heads: Annotated[bool, "Split each attention further into its heads"] = False,
) -> Residual:
    """How long the stream is, how soon it points where it ends, and what each sub-layer adds to the chosen logit.

    Direct logit attribution: each part's output through the final norm, frozen at its actual scale, and through the
    unembedding (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"). The parts, the biases and
    the rounding add up to the logit exactly. Only direct effects: what later layers make of a part counts as theirs.
    """
    batch = one_prompt(model, prompt)
    side = model.main.side
    states = (model.stream("resid_pre")[0], *model.stream("resid_post"))
    writers = _writers(model)
    z_sites = _z_sites(model) if heads else {}
    with reading(model, [*states, *writers, *z_sites.values()]) as values:
        model.module(**batch)
    labels = model.labels(batch, side=side)
    stream = torch.stack([precise(real(values[s][0], batch, side, dim=0)) for s in states])  # (state, pos, d_model)
    if position is None:
        index = model.answer_position(batch)
        marks = torch.arange(values[states[-1]].shape[1], device=stream.device)
        position = int((real(marks, batch, side, dim=0) < index).sum())
    position = checked_position(position, labels)

    contributions, parts, answer, logit, note = None, (), None, None, _why_not(model)
    if "readout" in model.capabilities:
        raw = real(values[states[-1]][0], batch, side, dim=0)[position]
        logits = model.readout(raw[None])[0]
        chosen = chosen_answer(model, token, logits)
        answer, logit = model.token_text(chosen), logits[chosen].item()
        if not note:
            at = {name: real(v[0], batch, side, dim=0)[position].double() for name, v in values.items()}
            pieces = _pieces(model, at, states[0], writers, z_sites)
            contributions = _attribute(model, torch.stack(list(pieces.values())), at[states[-1]], chosen)
            parts = (*pieces, "biases", "rounding")
            contributions = torch.cat([contributions, (logit - contributions.sum())[None]]).cpu()
    return Residual(
        norms=stream.norm(dim=-1).cpu(),
        cosine=torch.cosine_similarity(stream, stream[-1:], dim=-1).cpu(),
        states=states,
        layers=("embed", *map(str, range(model.n_blocks))),
        tokens=labels,
        contributions=contributions,
        parts=parts,
        token=answer,
        position=position,
        logit=logit,
        note=note,
    )


def _attribute(
    model: LensModel, pieces: Float[Tensor, "part d_model"], final: Float[Tensor, "d_model"], token: int
) -> Float[Tensor, "part_and_bias"]:
    """Contribution of each piece to the token's logit, and last that of all biases."""
    norm = model.final_norm
    direction, logit_bias = _direction(model, token)
    contributions, bias = functional.logit_attribution(
        pieces,
        direction,
        scale=functional.norm_scale(final, centred=norm.centred, eps=norm.eps),
        centred=norm.centred,
        weight=norm.weight.double(),
        norm_bias=None if norm.bias is None else norm.bias.double(),
        logit_bias=logit_bias,
    )
    return torch.cat([contributions, bias[None]])


def _direction(model: LensModel, token: int) -> tuple[Float[Tensor, "d_model"], float]:
    """The linear map from normed state to one logit, read off the model's own unembedding: its gradient and bias."""
    with torch.enable_grad():
        state = torch.zeros(1, model.d_model, device=model.device, dtype=model.dtype, requires_grad=True)
        logit = model.unembedding(state)[0, token]
        (direction,) = torch.autograd.grad(logit, state)
    return direction[0].double(), logit.item()


def _writers(model: LensModel) -> tuple[str, ...]:
    stack = model.main
    sites = (f"{stack.prefix}.{i}.{part}" for i in range(stack.n_blocks) for part in WRITERS)
    return tuple(site for site in sites if site in model.sites)


def _z_sites(model: LensModel) -> dict[tuple[str, int], str]:
    """(attention, layer) -> the site of its z, for every attention that writes into the stream that is read out."""
    names = [name for name in model.attentions if name.startswith(f"{model.main.prefix}.")]
    return {(name, i): z for name in names for i, z in enumerate(model.attention_sites(name, "z")) if z in model.sites}


def _pieces(
    model: LensModel,
    at: dict[str, Tensor],
    embed: str,
    writers: tuple[str, ...],
    z_sites: dict[tuple[str, int], str],
) -> dict[str, Float[Tensor, "d_model"]]:
    """Part -> what it adds to the stream at the chosen position. Heads stand in place of the attention they are of."""
    pieces = {"embed": at[embed]}
    written_by: dict[str, list[tuple[str, int]]] = {}
    for name, layer in z_sites:
        stack, short = model.attention(name)
        written_by.setdefault(f"{stack.prefix}.{layer}.{stack.row.attention[short].writes}", []).append((name, layer))
    for site in writers:
        if site not in written_by:
            pieces[site] = at[site]
        for name, layer in written_by.get(site, ()):
            w_o, bias = (x.double() for x in model.output_map(name, layer))
            z_site = z_sites[name, layer]
            outputs = torch.einsum("hd,hdm->hm", at[z_site], w_o)
            pieces |= {f"{z_site}:{head}": output for head, output in enumerate(outputs)}
            pieces[f"{z_site.removesuffix('.z')}.bias"] = bias
    return pieces


def _why_not(model: LensModel) -> str:
    """Why the logit cannot be split up; empty if it can."""
    if "readout" not in model.capabilities:
        return f"{model.name} has no trained head, so there is no logit to split up: norms and cosines only."
    if "direct-logits" not in model.capabilities or model.main.row.order == "post":
        return (
            f"What {model.name} reads out is not one norm and one linear map of a sum of parts ({model.family}), so its"
            " logits do not split up into contributions: norms and cosines only."
        )
    return ""


def _layer_of(part: str) -> str:
    return next((piece for piece in part.split(".") if piece.isdigit()), part)
