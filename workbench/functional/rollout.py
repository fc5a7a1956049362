"""How much of each input token has reached each position: attention maps multiplied from layer to layer.

Patterns are (*batch, layer, head, query, key), maps (*batch, layer, query, key), one map for each layer: a row is the
position that is explained, a column an input token. Half precision is computed in float32. Rollout knows neither
values nor signs: a token that is looked at counts, whatever is read there.
Reference: Abnar & Zuidema (2020), "Quantifying Attention Flow in Transformers".
"""

import itertools
import math

import torch
from jaxtyping import Float, Real
from torch import Tensor

from workbench.errors import BadInput
from workbench.functional.precision import precise_type

ROW_SUM_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 2e-2}
"""How far a row's sum may be from one: rounding of half precision is seen in it."""
SINGLE_TOLERANCE = 1e-4
"""The same for all else; double precision too, because models take their softmax in single precision."""


def head_mean(patterns: Real[Tensor, "*batch head query key"]) -> Float[Tensor, "*batch query key"]:
    """What a layer looks at when its heads count alike: the mean over the head axis, third from last."""
    return patterns.mean(-3, dtype=precise_type(patterns.dtype))


def with_residual(
    maps: Real[Tensor, "*batch query key"], residual: float = 0.5, normalize: bool = False
) -> Float[Tensor, "*batch query key"]:
    """Each map mixed with what a position keeps of itself: (1 - residual) * map + residual * identity.

    `normalize` divides each row by its sum afterwards: the paper's (A + I) / sum at 0.5. A row of zeros (padding) then
    is its residual alone, a one on the diagonal; without any residual it stays zero.
    """
    _check_square(maps)
    return _mixed(maps.to(precise_type(maps.dtype), copy=True), residual, normalize)


def check_axes(patterns: Tensor) -> None:
    """Refuse patterns without an axis for layers and one for heads, and those with nothing along an axis."""
    shape = tuple(patterns.shape)
    if len(shape) < 4:
        raise BadInput(
            f"Patterns have the axes (*batch, layer, head, query, key), and these are of shape {shape}. "
            "Add what is missing: patterns[:, None] where heads are one already, patterns[None] for a single layer."
        )
    if 0 in shape:
        axis = max(shape.index(0) - len(shape), -5)
        nothing = {-5: "prompts", -4: "layers", -3: "heads"}.get(axis, "tokens")
        raise BadInput(f"There is no attention in patterns of shape {shape}: they have no {nothing}.")


def attention_maps(
    patterns: Real[Tensor, "*batch layer head query key"], *, normalize: bool = False
) -> Float[Tensor, "*batch layer query key"]:
    """The mean over heads of what is attention in every head; all else is refused, and says why.

    With `normalize` rows need not sum to one, but entries are still finite and never negative.
    """
    check_axes(patterns)
    smallest = float(patterns.detach().amin())
    if smallest < 0:  # a mean over heads would hide it
        *_, n_heads, n_queries, n_keys = patterns.shape
        layer, rest = divmod(int(patterns.argmin()), n_heads * n_queries * n_keys)
        where = f"layer {layer % patterns.shape[-4]}, head {rest // (n_queries * n_keys)}"
        raise BadInput(f"Attention is never negative; the smallest entry here is {smallest:.4g}, in {where}.")
    maps = head_mean(patterns)
    _check_square(maps)
    if not normalize:
        _check_sums(maps, patterns.dtype, smallest)
    elif not maps.detach().amax() < math.inf:  # nor is NaN
        raise BadInput("Attention to be normalised must be finite: there is NaN or infinity in it.")
    return maps


def check_rows(maps: Real[Tensor, "*batch query key"], *, precision: torch.dtype | None = None) -> None:
    """Refuse maps that are no attention: NaN, negative entries, rows that do not sum to one.

    `precision` is the type the attention was computed in, when it is not that of `maps`; half precision rounds more.
    """
    if not maps.numel():
        raise BadInput(f"There is no attention in maps of shape {tuple(maps.shape)}.")
    _check_sums(maps, precision or maps.dtype, float(maps.detach().amin()))


def cumulative_product(
    maps: Real[Tensor, "*batch layer query key"], start_layer: int = 0
) -> Float[Tensor, "*batch from_start query key"]:
    """Maps chained from `start_layer` up: entry l is maps[start_layer + l] @ ... @ maps[start_layer].

    Layers below `start_layer` are left out, in the result too: it has layer - start_layer of them.
    """
    _check_square(maps)
    return _chained(_from(maps, start_layer).to(precise_type(maps.dtype), copy=True))


def attention_rollout(
    patterns: Real[Tensor, "*batch layer head query key"],
    residual: float = 0.5,
    start_layer: int = 0,
    *,
    normalize: bool = False,
) -> Float[Tensor, "*batch from_start query key"]:
    """Share of each input token in each position after each layer: mean heads, residual mixed in, layers multiplied.

    R_l = ((1 - residual) mean_h A_l + residual I) R_{l-1}, from `start_layer` on: entry l of the result is layer
    start_layer + l. `residual=0.0` is the raw product of attention. Rows sum to one. `normalize` takes patterns whose
    rows do not, and divides each mixed row by its sum; see `with_residual`. One matrix product a layer.
    """
    maps = attention_maps(patterns, normalize=normalize)
    return _chained(_mixed(_from(maps, start_layer), residual, normalize))


def head_rollout(
    patterns: Real[Tensor, "*batch layer head query key"],
    layer: int,
    residual: float = 0.5,
    *,
    normalize: bool = False,
) -> Float[Tensor, "*batch head query key"]:
    """Share of each input token in what each head of one layer passes on: its own map over the mean heads below it.

    The mean over the heads is `attention_rollout` at this layer (with `normalize` only where rows sum alike).
    """
    check_axes(patterns)
    n_layers = patterns.shape[-4]
    if not 0 <= layer < n_layers:
        raise BadInput(f"There is no layer {layer}: there are {n_layers}, 0 to {n_layers - 1}.")
    maps = attention_maps(patterns.narrow(-4, 0, layer + 1), normalize=normalize)
    own = with_residual(patterns.select(-4, layer), residual, normalize)
    if layer == 0:
        return own
    below = _chained(_mixed(maps.narrow(-3, 0, layer), residual, normalize))
    return own @ below[..., -1:, :, :]


def drop_first(maps: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query rest"]:
    """Maps without their first token, where causal models collect what they do not use; rows sum to one again.

    A row that had all its weight there, such as the first of a causal map, stays zero.
    """
    rest = maps[..., 1:]
    sums = rest.sum(-1, keepdim=True)
    return rest / sums.where(sums != 0, 1.0)


def joint_maps(
    encoder: Float[Tensor, "*batch encoder_layer source source"],
    decoder: Float[Tensor, "*batch decoder_layer target target"],
    cross: Float[Tensor, "*batch decoder_layer target source"],
    cross_own: Float[Tensor, "*batch decoder_layer target"],
) -> Float[Tensor, "*batch step node node"]:
    """An encoder-decoder as one graph, so that what holds for a stack of maps holds for it: rollout, flow.

    Nodes are the encoder's tokens, then the decoder's. Each encoder layer is a step, each decoder layer two: its
    self-attention, then its cross-attention, where a token keeps `cross_own` of itself. The residual is mixed in
    before (`cross` rows and `cross_own` sum to one together); tokens of the other side stand still.
    """
    n_source, n_target = encoder.shape[-1], decoder.shape[-1]
    still = torch.eye(n_source + n_target, dtype=decoder.dtype, device=decoder.device)
    source, target = slice(0, n_source), slice(n_source, None)

    def steps(n: int) -> Tensor:
        return still.expand(*decoder.shape[:-3], n, *still.shape).clone()

    encoding, own, crossing = steps(encoder.shape[-3]), steps(decoder.shape[-3]), steps(decoder.shape[-3])
    encoding[..., source, source] = encoder
    own[..., target, target] = decoder
    crossing[..., target, source] = cross
    crossing[..., target, target] = torch.diag_embed(cross_own)
    decoding = torch.stack([own, crossing], -3).flatten(-4, -3)
    return torch.cat([encoding, decoding], -3)


def _mixed(maps: Tensor, residual: float, normalize: bool) -> Tensor:
    """`with_residual`, written into `maps`."""
    if not 0 <= residual <= 1:
        raise BadInput(f"The residual's share is between 0 and 1, not {residual}.")
    maps.mul_(1 - residual).diagonal(0, -2, -1).add_(residual)
    if not normalize:
        return maps
    sums = maps.sum(-1, keepdim=True)
    if not sums.isfinite().all():
        raise BadInput("Rows can only be divided by sums that are finite: there is NaN or infinity in these.")
    return maps / sums.where(sums > 0, 1.0)


def _from(maps: Tensor, start_layer: int) -> Tensor:
    n_layers = maps.shape[-3]
    if not 0 <= start_layer < n_layers:
        raise BadInput(f"There is no layer {start_layer} to start from: there are {n_layers}, 0 to {n_layers - 1}.")
    return maps[..., start_layer:, :, :]


def _chained(maps: Tensor) -> Tensor:
    """`cumulative_product`, written into `maps`: at a hundred tokens, new memory is a good part of the cost."""
    layers = maps.unbind(-3)
    if torch.is_grad_enabled() and maps.requires_grad:
        return torch.stack(list(itertools.accumulate(layers, lambda below, layer: layer @ below)), -3)
    product = torch.empty_like(layers[0])
    for below, layer in itertools.pairwise(layers):
        torch.matmul(layer, below, out=product)
        layer.copy_(product)
    return maps


def _check_sums(maps: Tensor, precision: torch.dtype, smallest: float) -> None:
    sums = maps.detach().sum(-1, dtype=precise_type(maps.dtype))
    least, most = (bound.item() for bound in sums.aminmax())
    tolerance = ROW_SUM_TOLERANCE.get(precision, SINGLE_TOLERANCE)
    if smallest >= 0 and 1 - tolerance <= least and most <= 1 + tolerance:  # NaN is neither
        return
    worst = int((sums - 1).abs().argmax())  # NaN counts as the largest
    found, where = sums.flatten()[worst].item(), _place(worst, sums.shape)
    if not math.isfinite(found):
        what = "NaN" if math.isnan(found) else "infinity"
        raise BadInput(f"There is {what} in the attention, first in {where}: leave out what is masked altogether.")
    if smallest < 0:
        raise BadInput(f"Attention is never negative; the smallest entry here is {smallest:.4g}.")
    raise BadInput(
        f"Rows of attention sum to one, but {where} sums to {found:.4g}. "
        "Cut padded positions off, turn dropout off, or divide each row by its sum with normalize=True."
    )


def _check_square(maps: Tensor) -> None:
    if maps.shape[-1] != maps.shape[-2]:
        raise BadInput(
            f"Layers can only be chained where queries and keys are the same tokens: a map here is "
            f"{maps.shape[-2]} by {maps.shape[-1]}. Cross-attention is joined with `joint_maps`."
        )


def _place(index: int, shape: torch.Size) -> str:
    row = f"row {index % shape[-1]}"
    return f"layer {index // shape[-1] % shape[-2]}, {row}" if len(shape) > 1 else row
