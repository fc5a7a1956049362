"""Load-time checks: does this model give the numbers its names promise? Shown in the app and by `workbench check`.

One plain pass before anything is attached, one with every site attached, one backward pass through all sites at once
(an edit can only change the output where the output depends on the value), and a few real edits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench import progress
from workbench.errors import WorkbenchError
from workbench.hooks import editing, reading
from workbench.models.lens_model import Blocks, LensModel, known_names
from workbench.models.replay import reads_gap, replay_gap, with_read_inputs
from workbench.models.sites import Sum, first_tensor
from workbench.models.weights import not_finite

SENTENCE = "The quick brown fox jumps over the lazy dog"
SAMPLES = {"text": SENTENCE, "image": "example", "audio": "example", "text+image": f"{SENTENCE} @ example"}
PARITY = {torch.float64: 1e-9, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 3e-1}
"""Largest difference of outputs, as a share of the largest, that rounding explains (fused against eager attention)."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question about a loaded model. `passed` is None where there is nothing to pass, only to know."""

    name: str
    passed: bool | None
    detail: str
    value: float | None = None


def check(model: LensModel, *, thorough: bool = False) -> tuple[Check, ...]:
    """What was found in a model, and whether its sites hold what they promise. Takes about fifteen forward passes.

    Every editable site is held to the output's dependence on it; one of each kind is really edited, and with
    `thorough` every single one, at a forward pass each.
    """
    found: list[Check] = []
    batch = _sample(model)
    steps: tuple[Callable[[LensModel, dict[str, Tensor]], Iterator[Check]], ...] = (
        _known,
        _weights,
        _parity,
        _algebra,
        _rows,
        _head,
        _maps,
        _all_edits if thorough else _edits,
    )
    for step in progress.track(steps, label="load-time checks"):
        try:
            found += step(model, batch)
        except (WorkbenchError, RuntimeError) as error:
            found.append(Check(name=step.__name__.strip("_"), passed=False, detail=f"could not be run: {error}"))
    return tuple(found)


@torch.no_grad()
def mistrusted(model: LensModel) -> tuple[set[str], dict[str, str]]:
    """Sites of a guessed row that do not hold what their names say, and capabilities to withdraw, each with why.

    One or two forward passes over a short example. Nothing is mistrusted where no example can be made.
    """
    try:
        batch = _sample(model)
    except WorkbenchError:
        return set(), {}
    with model.lock, reading(model, model.sites) as values:
        output = model.module(**batch)
    sites = {name for name in model.sites if name not in values}
    why: dict[str, str] = {}
    for part, capability in (("pattern", "pattern"), ("q", "qk"), ("z", "z")):
        if any(name.endswith(f".{part}") for name in sites):
            why[capability] = "its attention does not come by transformers' attention function"
    for stack in model.stacks:
        if any(check.passed is False for check in _algebra_of(model, stack, batch)):
            parts = ("attn_out", "mlp_out", "cross_attn_out", "resid_mid", "resid_mid_cross")
            sites |= {name for name in model.sites if name.startswith(stack.prefix) and name.endswith(parts)}
            for capability in ("attn_out", "mlp_out", "direct-logits"):
                why[capability] = "what its blocks add up to is not what their parts put out"
    if "readout" in model.capabilities:
        read, written_out, close = _head_gaps(model, batch)
        if read > close:
            for capability in ("readout", "direct-logits"):
                why[capability] = "its head does more than the row says: the last state read out is not its answer"
        elif written_out > close:
            why["direct-logits"] = "its final norm is not the plain one"
    checkable = "decomposition" in model.capabilities and not sites
    if not checkable or not _maps_gap(model, values, output) <= PARITY.get(model.dtype, 1e-3):
        for capability in model.capabilities & {"norms", "decomposition"}:
            why.setdefault(capability, "its blocks or its head do more than their norms and linear maps say")
    if "qk-maps" in model.capabilities and not _reads_gap(model, batch) <= PARITY.get(model.dtype, 1e-3):
        why["qk-maps"] = "its queries, keys or values are not what their linear maps say"
    return sites, why


def _maps_gap(model: LensModel, values: dict[str, Tensor], output: Any) -> float:
    return replay_gap(model, values, output.logits if "logits" in model.capabilities else None)


def _reads_gap(model: LensModel, batch: dict[str, Tensor]) -> float:
    watched = with_read_inputs(model)
    with model.lock, reading(watched, watched.sites) as values:
        model.module(**batch)
    return reads_gap(model, values)


def _sample(model: LensModel) -> dict[str, Tensor]:
    if "text" in model.capabilities and model.processor is None and model.reads == "text":
        return model.encode(torch.arange(2, 10)[None])
    text = SAMPLES[model.reads]
    if model.reads == "text":
        text = " ".join(text.split()[: model.n_ctx])
    return model.encode(f"{text} => {SENTENCE[:9]}" if model.main.side == "target" else text)


def main_output(output: Any) -> Tensor:
    """The tensor that a forward pass is for: logits, or the last states."""
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "logits_per_image", "last_hidden_state"):
        if isinstance(value := getattr(output, name, None), Tensor):
            return value
    return first_tensor(tuple(output.values()))


def _known(model: LensModel, _batch: dict[str, Tensor]) -> Iterator[Check]:
    stacks = ", ".join(f"{s.n_blocks} {s.prefix}" for s in model.stacks)
    how = model.info.get("architecture", f"row of {model.family}")
    yield Check(name="modules found", passed=True, detail=f"{stacks}; {len(model.sites)} sites; {how}")
    yield Check(name="parameters", passed=None, detail=f"{model.n_params:,}", value=float(model.n_params))
    yield Check(
        name="memory", passed=None, detail=f"{model.n_bytes / 2**20:,.1f} MiB of weights", value=float(model.n_bytes)
    )
    limit = model.n_ctx
    yield Check(name="context length", passed=None, detail=f"{limit} positions" if limit else "no bound", value=limit)


def _weights(model: LensModel, _batch: dict[str, Tensor]) -> Iterator[Check]:
    bad = [name for name, _ in not_finite(model.module)]
    detail = f"NaN or infinity in {known_names(bad, 3)}" if bad else "all finite"
    yield Check(name="weights", passed=not bad, detail=detail)
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.module.parameters()})
    mode = "training mode: dropout makes every pass different" if model.module.training else "evaluation mode"
    folded = "weights as they are, nothing folded or centred"
    if model.info.get("engine") == "TransformerBridge" and getattr(model.module, "compatibility_mode", False):
        folded = "TransformerLens's compatibility mode: layer norms folded, weights centred"
    note = f"; {model.info['note']}" if model.info.get("note") else ""
    yield Check(
        name="numeric regime", passed=not model.module.training, detail=f"{', '.join(dtypes)}; {folded}; {mode}{note}"
    )
    implementation = getattr(getattr(model.module, "config", None), "_attn_implementation", None)
    detail = (
        f"{implementation}; eager while attention sites are read or edited" if implementation else "the module's own"
    )
    yield Check(name="attention implementation", passed=None, detail=detail)


@torch.no_grad()
def _parity(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    with model.lock:
        plain = main_output(model.module(**batch)).float()
        with reading(model, model.sites) as values:
            attached = main_output(model.module(**batch)).float()
    gap, scale = (plain - attached).abs().max().item(), plain.abs().max().item()
    passed = gap <= PARITY.get(model.dtype, 1e-3) * max(scale, 1e-6)
    spread = f"the largest output is {scale:.3g}"
    yield Check(name="difference from the bare model", passed=passed, detail=f"{gap:.2e} at most; {spread}", value=gap)
    silent = [name for name in model.sites if name not in values]
    detail = f"no value came by {known_names(silent, 4)}" if silent else f"all {len(values)} gave a value"
    yield Check(name="sites read", passed=not silent, detail=detail)


@torch.no_grad()
def _algebra(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    """Block output = block input + what its parts add, through the norms of the family."""
    for stack in model.stacks:
        yield from _algebra_of(model, stack, batch)


def _algebra_of(model: LensModel, stack: Blocks, batch: dict[str, Tensor]) -> Iterator[Check]:
    parts = ["resid_pre", "resid_post", "attn_out", "cross_attn_out", "mlp_out", "mixer.out"]
    lead = [f"{stack.prefix}.{i}." for i in range(stack.n_blocks)]
    have = [part for part in parts if lead[0] + part in model.sites]
    if "resid_pre" not in have or len(have) < 3:
        return
    with reading(model, [lead_i + part for lead_i in lead for part in have]) as values:
        model.module(**batch)
    gap = max(_block_gap(model, stack, i, {p: values[lead_i + p] for p in have}) for i, lead_i in enumerate(lead))
    yield Check(
        name=f"{stack.prefix} add up",
        passed=gap <= 1e-3,
        detail=f"resid_post is resid_pre and its parts to {gap:.1e} of its size (blocks of kind {stack.row.order})",
        value=gap,
    )


def _block_gap(model: LensModel, stack: Any, layer: int, values: dict[str, Tensor]) -> float:
    total = values["resid_pre"]
    added = [part for part in ("attn_out", "cross_attn_out", "mlp_out", "mixer.out") if part in values]
    if stack.row.order == "post":
        norms = {"attn_out": stack.row.norm1, "mlp_out": stack.row.norm2, "cross_attn_out": stack.row.norm_cross}
        if any(norms[part] is None for part in added) or not added:
            return 0.0
        for part in added:
            total = model.module.get_submodule(f"{stack.paths[layer]}.{norms[part]}")(total + values[part])
    else:
        for part in added:
            total = total + values[part]
    size = values["resid_post"].abs().max().clamp(min=1e-6)
    return ((total - values["resid_post"]).abs().max() / size).item()


@torch.no_grad()
def _rows(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    for attention in model.attentions:
        sites = model.attention_sites(attention, "pattern")
        if sites[0] not in model.sites:
            continue
        with reading(model, sites) as values:
            model.module(**batch)
        stack, short = model.attention(attention)
        if not stack.row.attention[short].normalised:
            most = max(values[site].float().sum(-1).max().item() for site in sites)
            detail = f"they need not: this attention has no softmax (largest sum {most:.2g})"
            yield Check(name=f"{attention} rows sum to one", passed=None, detail=detail, value=most)
            continue
        gap = max((values[site].float().sum(-1) - 1).abs().max().item() for site in sites)
        detail = f"to {gap:.1e}, all layers and heads"
        yield Check(name=f"{attention} rows sum to one", passed=gap < 1e-2, detail=detail, value=gap)


@torch.no_grad()
def _head(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    why = str(model.info.get("readout", ""))
    if "readout" not in model.capabilities:
        yield Check(name="trained head", passed=None, detail=f"{why}: states can be read, answers cannot")
        return
    read, written_out, close = _head_gaps(model, batch)
    gap = max(read, written_out)
    detail = f"{why}; reading the last state gives the model's own logits to {gap:.1e}"
    yield Check(name="trained head", passed=gap <= close, detail=detail, value=gap)


@torch.no_grad()
def _maps(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    if "qk-maps" in model.capabilities:
        gap = _reads_gap(model, batch)
        detail = f"queries, keys and values by their maps are what the model has, to {gap:.1e} of their size"
        passed = gap <= PARITY.get(model.dtype, 1e-3)
        yield Check(name="queries, keys and values as numbers", passed=passed, detail=detail, value=gap)
    if "decomposition" not in model.capabilities:
        return
    with model.lock, reading(model, model.sites) as values:
        output = model.module(**batch)
    gap = _maps_gap(model, values, output)
    detail = f"blocks and head done again from their numbers are what the model did, to {gap:.1e} of its size"
    yield Check(name="maps as numbers", passed=gap <= PARITY.get(model.dtype, 1e-3), detail=detail, value=gap)


def _head_gaps(model: LensModel, batch: dict[str, Tensor]) -> tuple[float, float, float]:
    """How far the last state read out is from the logits, and from itself with the norm in numbers; and how far may be.

    Direct logit attribution uses those numbers; without `direct-logits` there are none, and the second gap is 0.
    """
    site = model.stream("resid_post")[-1]
    with reading(model, [site]) as values:
        logits = model.logits(batch)
    resid = values[site]
    readout = model.readout(resid)
    read = (readout[:, : logits.shape[1]] - logits).abs().max().item()
    close = PARITY.get(model.dtype, 1e-3) * max(logits.abs().max().item(), 1e-6)
    if "direct-logits" not in model.capabilities:
        return read, 0.0, close
    norm = model.final_norm
    centred = resid - resid.mean(-1, keepdim=True) if norm.centred else resid
    x = centred / (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
    x = x if norm.bias is None else x + norm.bias
    return read, (model.unembedding(x) - readout).abs().max().item(), close


def _edits(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    editable = [name for name, site in model.sites.items() if site.editable]
    dead = [name for name, moves in _depends(model, batch, editable) if not moves]
    if dead:  # some quantised kernels pass no gradient: then every such site is really edited
        dead = _still(model, batch, dead)[0]
    detail = f"the output depends on all {len(editable)} through the value an edit replaces"
    if dead:
        detail = f"the output does not depend on {known_names(dead, 4)}"
    yield Check(name="editable sites", passed=not dead, detail=detail)
    yield _undone(model, batch, _one_of_each_kind(model, editable))


def _all_edits(model: LensModel, batch: dict[str, Tensor]) -> Iterator[Check]:
    yield _undone(model, batch, [name for name, site in model.sites.items() if site.editable])


def _one_of_each_kind(model: LensModel, sites: list[str]) -> list[str]:
    """One site for every way in which values are cut out and put back, in a middle layer of each stack."""
    middle = tuple(f"{stack.prefix}.{stack.n_blocks // 2}." for stack in model.stacks)
    kinds: dict[Any, str] = {}
    for name in sites:
        place = model.sites[name].place
        kind = "sum" if isinstance(place, Sum) else (place.side, place.layout.partition(":")[0])
        if name.startswith(middle):
            kinds.setdefault(kind if not isinstance(kind, tuple) or kind[0] in ("in", "out") else "attention", name)
    return list(kinds.values())


def _undone(model: LensModel, batch: dict[str, Tensor], sites: list[str]) -> Check:
    still, gap = _still(model, batch, sites)
    detail = (
        f"{len(sites)} edited ({known_names(sites, 4)}): each changed the output; after them it is off by {gap:.1e}"
    )
    if still:
        detail = f"editing {known_names(still, 4)} changed nothing"
    return Check(name="edits are undone", passed=not still and gap == 0.0, detail=detail, value=gap)


@torch.no_grad()
def _still(model: LensModel, batch: dict[str, Tensor], sites: list[str]) -> tuple[list[str], float]:
    """The sites whose edit changes nothing, and how far the output is off once all edits are undone."""
    with model.lock:
        before, still = main_output(model.module(**batch)), []
        for name in sites:
            with editing(model, {name: _flipped}):
                if torch.equal(main_output(model.module(**batch)), before):
                    still.append(name)
        return still, (main_output(model.module(**batch)) - before).abs().max().item()


def _flipped(value: Tensor) -> Tensor:
    return value.flip(-1) * 0.5


def _depends(model: LensModel, batch: dict[str, Tensor], sites: list[str]) -> Iterator[tuple[str, bool]]:
    """For each site, whether the output's gradient at its value is not all zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.enable_grad(), reading(model, sites, gradients=True) as values:
        output = main_output(model.module(**batch)).float()
        weights = torch.randn(output.shape, generator=generator).to(output)
        grads = torch.autograd.grad((output * weights).sum(), [values[s] for s in sites], allow_unused=True)
    for site, grad in zip(sites, grads, strict=True):
        yield site, grad is not None and bool(grad.ne(0).any())
