"""What one mark of a route says when it is clicked: tokens, what was written there, and by which neurons.

node = route_node(model, prompt, 3, -1, "mlp")
node.promoted, node.neurons
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.circuits.route_parts import NEEDS, Measure
from workbench.analyses.circuits.route_tokens import (
    direct_logits,
    predicted,
    promoted,
    why_no_prediction,
    why_not_promoted,
)
from workbench.analyses.one_prompt import answer_texts, checked_position, one_prompt, real
from workbench.capabilities import lacking
from workbench.errors import BadInput, MissingCapability
from workbench.functional.precision import precise
from workbench.hooks import reading
from workbench.models.lens_model import LensModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class RouteNode:
    """What is known of one mark; None where it has no such thing, with a note where a model lacks what it takes."""

    part: str
    layer: int
    position: int
    token: str
    predicted: "pd.DataFrame | None"
    """Of a state: what it would predict, and how ranks changed since the state before. See `route_tokens.predicted`."""
    promoted: "pd.DataFrame | None"
    """Of a writer: tokens that it directly promotes and suppresses, in logits. See `route_tokens.promoted`."""
    neurons: "pd.DataFrame | None"
    """Of an MLP: neuron, activation, contribution (its share in the stream after the MLP), and the token that what it
    wrote promotes most; the largest contributions first."""
    notes: tuple[str, ...]


@torch.no_grad()
def route_node(
    model: LensModel,
    prompt: Any,
    layer: int,
    position: int,
    part: str,
    *,
    key: int | None = None,
    top_k: int = 10,
    how: Measure | None = None,
) -> RouteNode:
    """What `part` of a block holds or writes at a position.

    "state" is the stream with `layer` blocks below it (0: before the first), "middle" the stream after attention of
    block `layer`, "attention" and "mlp" what they add to it, "h3" what head 3 adds, with a `key` only by its look at
    that position (no other part has keys). `how` is what the routes were asked for. One forward pass, of which only
    this part is kept.
    """
    how = how or Measure()
    if missing := NEEDS - model.capabilities:
        raise MissingCapability(lacking("A mark of a route", model.name, missing))
    sites = _sites(model, layer, part)
    final = model.stream("resid_post")[-1]
    batch = one_prompt(model, prompt)
    labels = model.labels(batch, side=model.main.side)
    position = checked_position(position, labels)
    key = None if key is None else _checked_key(model, key, labels, position, part)
    with reading(model, [*dict.fromkeys((*sites.values(), final))]) as values:
        model.module(**batch)

    def at(site: str) -> Tensor:
        value = values[site][0]
        for dim in (-2, -1) if site.endswith("pattern") else (0,):
            value = real(value, batch, model.main.side, dim=dim)
        return precise(value)

    known = {name: at(site) for name, site in sites.items()}
    last, notes = at(final)[position], []
    found: dict[str, Any] = dict.fromkeys(("predicted", "promoted", "neurons"))
    if part in ("state", "middle"):
        if why := why_no_prediction(model):
            notes.append(f"No predictions: {why}")
        else:
            before = known["before"][position] if "before" in known else None
            found["predicted"] = predicted(model, known["stream"][position], before, top_k)
    else:
        written = _written(model, known, layer, position, part, key)
        if why := why_not_promoted(model):
            notes.append(f"No promoted tokens: {why}")
        else:
            found["promoted"] = promoted(model, written, last, top_k)
        if part == "mlp":
            if "post" not in known:
                notes.append(f"No neurons: those of {model.name} ({model.family}) are not known.")
            else:
                found["neurons"] = _neurons(model, known, layer, position, last, how, top_k)
    return RouteNode(
        part=part, layer=layer, position=position, token=labels[position], notes=tuple(notes), **found
    )  # fmt: skip


def _checked_key(model: LensModel, key: int, labels: tuple[str, ...], position: int, part: str) -> int:
    if part[:1] != "h":
        raise BadInput(
            f"{part!r} is not taken apart by keys; looks of single heads are: give part='h0' with key={key}, or no key."
        )
    key = checked_position(key, labels)
    if model.main.causal and key > position:
        raise BadInput(
            f"Position {position} of {model.name} cannot look ahead at position {key}: give a key up to {position}."
        )
    return key


def _sites(model: LensModel, layer: int, part: str) -> dict[str, str]:
    """What is read for a part, by what it is called here."""
    prefix, short, n = model.main.prefix, model.main.attentions[0], model.n_blocks
    highest = n if part == "state" else n - 1
    if not 0 <= layer <= highest:
        raise BadInput(f"There is no layer {layer} for {part!r} in {model.name}: it has 0 to {highest}.")
    sequential = f"{prefix}.{layer}.resid_mid" in model.sites and model.main.row.order != "parallel"
    if part == "state" and layer == 0:
        return {"stream": f"{prefix}.0.resid_pre"}
    if part == "state":
        below = f"{prefix}.{layer - 1}"
        middle = f"{below}.resid_mid" in model.sites and model.main.row.order != "parallel"
        return {"stream": f"{below}.resid_post", "before": f"{below}.{'resid_mid' if middle else 'resid_pre'}"}
    at = f"{prefix}.{layer}"
    if part == "middle" and sequential:
        return {"stream": f"{at}.resid_mid", "before": f"{at}.resid_pre"}
    if part == "attention" and "attn_out" in model.capabilities:
        return {"written": f"{at}.attn_out"}
    if part == "mlp" and "mlp_out" in model.capabilities:
        neurons = {"mlp", "decomposition"} <= model.capabilities
        before = {} if sequential else {"pre": f"{at}.resid_pre", "attn": f"{at}.attn_out"}
        before = {"mid": f"{at}.resid_mid"} if sequential else before
        return {"written": f"{at}.mlp_out", **({"post": f"{at}.mlp.post", **before} if neurons else {})}
    if part[:1] == "h" and part[1:].isdecimal() and int(part[1:]) < model.n_heads:
        return {"pattern": f"{at}.{short}.pattern", "v": f"{at}.{short}.v"}
    parts = ["state", "attention", f"h0 to h{model.n_heads - 1}"]
    parts += ["middle"] * sequential + ["mlp"] * ("mlp_out" in model.capabilities)
    raise BadInput(f"There is no part {part!r} of a block of {model.name}; there is {', '.join(parts)}.")


def _written(
    model: LensModel,
    known: Mapping[str, Tensor],
    layer: int,
    position: int,
    part: str,
    key: int | None,
) -> Float[Tensor, "d_model"]:
    """What a part adds to the stream at a position; of a head its look at one position, if asked."""
    if part in ("attention", "mlp"):
        return known["written"][position]
    head = int(part[1:])
    name = f"{model.main.prefix}.{model.main.attentions[0]}"
    w_o, _ = model.output_map(name, layer)
    values = known["v"][:, head // (model.n_heads // model.n_kv_heads)]
    weights = known["pattern"][head, position]
    if key is not None:
        weights, values = weights[key : key + 1], values[key : key + 1]
    return weights @ values @ w_o[head].to(values)


def _neurons(
    model: LensModel,
    known: Mapping[str, Tensor],
    layer: int,
    position: int,
    final: Float[Tensor, "d_model"],
    how: Measure,
    top_k: int,
) -> "pd.DataFrame":
    """The neurons that contribute most to the stream after the MLP at one position."""
    import pandas as pd

    mlp = model.mlp_map(layer)
    assert mlp is not None, "a model with mlp_out has MLPs"
    active, out = known["post"][position], mlp.outer.weight.to(known["post"])
    before = known["mid"][position] if "mid" in known else known["pre"][position] + known["attn"][position]
    bias = torch.zeros_like(before) if mlp.outer.bias is None else mlp.outer.bias.to(before)
    whole = before + known["written"][position]
    shares, _ = functional.neuron_contributions(
        active[None], out, torch.stack([before, bias])[None], whole[None], norm=how.norm, drop=how.drop
    )
    best = shares[0].topk(min(top_k, len(active)))
    rows: dict[str, Any] = {
        "neuron": best.indices.tolist(),
        "activation": active[best.indices].tolist(),
        "contribution": best.values.tolist(),
    }
    if not why_not_promoted(model):
        logits = direct_logits(model, active[best.indices, None] * out[best.indices], final)
        rows["promotes"] = answer_texts(model, logits.argmax(-1))
    return pd.DataFrame(rows)
