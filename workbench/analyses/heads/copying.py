"""What each head adds to the logits of a token that it attends to, from the weights alone: embedding to unembedding."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional
from workbench.analyses.heads.repeated_blocks import plain_tokens
from workbench.analyses.sound import need_finite_values
from workbench.capabilities import CAPABILITIES
from workbench.functional.precision import precise
from workbench.models.lens_model import LensModel
from workbench.models.linear_maps import Norm
from workbench.progress import track
from workbench.variables import embedding_rows, unembedding_rows

SCORES = ("copying", "most_copied", "eigenvalues")
_AT_ONCE = 8192
_CONTROLS = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class Copying:
    """How far what a head writes is a copy of what it reads."""

    values: Float[Tensor, "layer head score"]
    chance: tuple[float, ...]
    """Means over heads of the first layer's shape with random weights."""
    tokens: int
    """Tokens among which `copying` and `most_copied` are taken."""
    vocabulary: int
    """Tokens that the eigenvalues are taken over: all that are not special."""


def why_none(model: LensModel) -> str:
    """Why the weights of a model do not say what its heads copy; empty where they do."""
    if model.main.row.order == "post":
        return "norms between its heads and the readout mix what they write with the rest."
    needed = {"qk-maps", "attn_out", "readout"}
    needed |= {"norms"} if model.main.row.norm1 else set()
    needed |= {"direct-logits"} if len(model.architecture.readout) > 1 else set()
    if missing := sorted(needed - model.capabilities):
        return f"{model.name} has no {CAPABILITIES[missing[0]][0]}."
    if model.main.side != "input":
        return "the embedding that its decoder reads is not the one that reads the prompt."
    width = embedding_rows(model, torch.tensor([0])).shape[-1]
    if width != model.d_model:
        return f"its embedding of width {width} is mapped to the stream before the first block."
    return ""


@torch.no_grad()
def copying(model: LensModel, *, tokens: int, seed: int) -> Copying:
    """Copying scores on a sample of tokens, and eigenvalues over all that are not special.

    W_E W_V W_O W_U with the norms in it: each token's embedding goes through the norm before the attention (without its
    bias), what is written through the final norm's weights. The final norm's division, one positive number, positions
    and all that stands between are left out. Eigenvalues come from products of size d_head: those of A B are those of
    B A. Two passes over the embedding, and (tokens, d_head) products a head.
    """
    known = torch.tensor(plain_tokens(model))
    generator = torch.Generator().manual_seed(seed)
    chosen = known[torch.randperm(len(known), generator=generator)[:tokens].sort().values]
    name, n_heads = f"{model.main.prefix}.{model.main.attentions[0]}", model.n_heads
    embedded, read_out = _embedded(model, chosen), _read_out(model, chosen)
    whole = torch.stack([_read_out(model, ids).mT @ _embedded(model, ids) for ids in known.split(_AT_ONCE)]).sum(0)
    maps = {"its embedding": embedded, "its unembedding": read_out, "its embedding through its unembedding": whole}
    for place, values in maps.items():
        need_finite_values(model, place, values)
    rows, chance = [], ()
    for layer in track(range(model.n_blocks), label="layers"):
        left = precise(model.value_map(name, layer)[0]).transpose(0, 1)  # (kv head, d_model, d_head)
        if norm := _norm(model, layer):
            left = left * precise(norm.weight)[:, None]
        left = functional.repeat_kv(left, n_heads, dim=0)
        right = precise(model.output_map(name, layer)[0])
        for part, values in {"value map": left, "output map": right}.items():
            need_finite_values(model, f"the {part} of layer {layer}", values)
        rows.append(_scores(left, right, embedded, read_out, whole))
        if not chance:
            random = (torch.randn(_CONTROLS, *side.shape[1:], generator=generator).to(side) for side in (left, right))
            chance = tuple(_scores(*random, embedded, read_out, whole).mean(0).tolist())
    return Copying(values=torch.stack(rows).cpu(), chance=chance, tokens=len(chosen), vocabulary=len(known))


def _scores(
    left: Float[Tensor, "head d_model d_head"],
    right: Float[Tensor, "head d_head d_model"],
    embedded: Float[Tensor, "token d_model"],
    read_out: Float[Tensor, "token d_model"],
    whole: Float[Tensor, "d_model d_model"],
) -> Float[Tensor, "head score"]:
    found = [_of_tokens(a, b, embedded, read_out) for a, b in zip(left, right, strict=True)]
    return torch.cat([torch.stack(found), functional.copying_eigenvalues(right @ whole @ left)[:, None]], -1)


def _of_tokens(left: Tensor, right: Tensor, embedded: Tensor, read_out: Tensor) -> Float[Tensor, "score"]:
    promoted = (embedded @ left) @ (right @ read_out.mT)
    return torch.stack([functional.copying_score(promoted), functional.most_copied(promoted)])


def _norm(model: LensModel, layer: int) -> Norm | None:
    return model.norms(layer)["norm1"] if model.main.row.norm1 else None


def _embedded(model: LensModel, ids: Int[Tensor, "token"]) -> Float[Tensor, "token d_model"]:
    """Embeddings as the first norm leaves them, its weights and its bias apart."""
    rows, norm = precise(embedding_rows(model, ids)), _norm(model, 0)
    return rows if norm is None else replace(norm, weight=torch.ones_like(precise(norm.weight)), bias=None)(rows)


def _read_out(model: LensModel, ids: Int[Tensor, "token"]) -> Float[Tensor, "token d_model"]:
    """What of a head's output goes into each token's logit: the unembedding with the final norm's weights in it."""
    rows = unembedding_rows(model, ids)
    assert rows is not None, "there is a readout"
    if "direct-logits" not in model.capabilities:
        return precise(rows)
    norm = model.final_norm
    return functional.fold_norm(precise(rows).mT, norm.weight, centred=norm.centred).mT
