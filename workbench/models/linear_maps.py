"""What a model's modules do, as numbers: norms, linear maps and activations, read off the modules the row names.

Weights that lie open are taken as they are, without a copy; of any other linear module (quantised, wrapped) the map is
found by passing unit vectors through it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.errors import MissingCapability
from workbench.models.sites import layout

if TYPE_CHECKING:
    from workbench.models.lens_model import Blocks, LensModel

Activation = Callable[[Tensor], Tensor]
"""A function of single numbers, whatever the shape."""

FUNCTIONS: Mapping[str, Activation] = MappingProxyType(
    {"=tanh": torch.tanh, "=gelu": nn.functional.gelu, "=relu": torch.relu}
)
"""Steps of heads that are no modules, as rows spell them."""

NORMS = ("norm1", "norm_cross", "norm2")
"""The norms a block may have, in the order in which the stream meets them."""

READS: Mapping[str, str] = MappingProxyType({"q": "queries", "k": "keys", "v": "values"})
"""What a head makes of the stream, by the last part of the site's name."""

_QUERY_OR_KEY = re.compile(r"(^|_)(q|k|qk|query|key)(_|norm|layernorm|$)")


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm:
    """A norm as numbers: x -> (x - mean if centred) / scale(x) * weight + bias."""

    centred: bool
    weight: Tensor
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """The normed vectors."""
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        x = x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt() * self.weight
        return x if self.bias is None else x + self.bias


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearMap:
    """x -> x @ weight + bias."""

    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, "d_out"] | None

    def __call__(self, x: Tensor) -> Tensor:
        """The mapped vectors."""
        return x @ self.weight if self.bias is None else x @ self.weight + self.bias


@dataclass(frozen=True, eq=False, kw_only=True)
class MlpMap:
    """x -> outer(activation(inner(x))), or outer(activation(inner(x)) * linear(x)) of a gated one."""

    inner: LinearMap
    outer: LinearMap
    activation: Activation
    linear: LinearMap | None

    def __call__(self, x: Tensor) -> Tensor:
        """What the MLP adds to the stream."""
        hidden = self.activation(self.inner(x))
        return self.outer(hidden if self.linear is None else hidden * self.linear(x))


def norm_numbers(module: Any, offset: float = 0.0) -> Norm | None:
    """A norm module as numbers; None if it is neither a LayerNorm nor an RMSNorm that only multiplies."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim != 1 or "Norm" not in type(module).__name__:
        return None
    weight = weight.detach() + offset if offset else weight.detach()
    if isinstance(module, nn.LayerNorm):
        return Norm(centred=True, weight=weight, bias=None if bias is None else bias.detach(), eps=module.eps)
    eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
    return Norm(centred=False, weight=weight, bias=None, eps=eps) if bias is None and eps else None


@torch.no_grad()
def linear_map(module: Any, d_in: int, like: Tensor) -> LinearMap:
    """A linear module as numbers; `like` tells device and dtype where unit vectors have to be passed through it."""
    weight: Any = getattr(module, "weight", None)
    transposed = type(module) is nn.Linear
    if type(weight) in (Tensor, nn.Parameter) and (transposed or _is_conv1d(module)):
        bias = None if module.bias is None else module.bias.detach()
        return LinearMap(weight=weight.detach().T if transposed else weight.detach(), bias=bias)
    unit = torch.eye(d_in, device=like.device, dtype=like.dtype)
    bias = module(torch.zeros_like(unit[:1]))  # (1, d_out)
    return LinearMap(weight=module(unit) - bias, bias=bias[0] if bias.any() else None)


def block_norms(model: "LensModel", layer: int, prefix: str | None = None) -> dict[str, Norm]:
    """See `LensModel.norms`."""
    _need(model, "norms")
    stack, found = model.stack(prefix), {}
    for name in NORMS:
        if (path := getattr(stack.row, name)) is not None:
            norm = norm_numbers(_at(model, f"{stack.paths[layer]}.{path}"), model.architecture.norm_offset)
            assert norm is not None, f"{path} was a norm when the model was adapted"
            found[name] = norm
    return found


def last_norm(model: "LensModel", prefix: str | None = None) -> Norm | None:
    """See `LensModel.last_norm`."""
    _need(model, "norms")
    path = model.stack(prefix).row.ln_final
    return None if path is None else norm_numbers(_at(model, model.base + path), model.architecture.norm_offset)


def output_map(model: "LensModel", attention: str | None, layer: int) -> tuple[Tensor, Tensor]:
    """See `LensModel.output_map`."""
    stack, short = model.attention(attention)
    row, sizes, path = stack.row.attention[short], stack.sizes, stack.paths[layer]
    if row.o_proj is None:
        raise MissingCapability(f"The row of {model.family} does not say which module writes {attention}'s output.")
    width = sizes.n_heads * sizes.d_head
    project = _scaled(model, linear_map(_at(model, f"{path}.{row.o_proj}"), width, _like(model)), path, row.o_scale)
    bias = project.weight.new_zeros(project.weight.shape[1]) if project.bias is None else project.bias
    return project.weight.unflatten(0, (sizes.n_heads, sizes.d_head)), bias


def head_reads(model: "LensModel", part: str, attention: str | None, layer: int) -> tuple[Tensor, Tensor]:
    """See `LensModel.query_map`, `key_map` and `value_map`; `part` is q, k or v."""
    stack, short = model.attention(attention)
    sizes, found = stack.sizes, read_by(model.module, stack, short, part)
    if found is None:
        raise MissingCapability(
            f"The row of {model.family} does not say which module gives {attention or short}'s {READS[part]}."
        )
    path, cut = found
    project = linear_map(_at(model, f"{stack.paths[layer]}.{path}"), sizes.d_model, _like(model))
    view = layout(cut, sizes.d_head).view
    weight = view(project.weight)
    return weight, weight.new_zeros(weight.shape[1:]) if project.bias is None else view(project.bias)


def read_by(module: nn.Module, stack: "Blocks", short: str, part: str) -> tuple[str, str] | None:
    """(module in a block, layout) of the linear map that gives queries, keys or values; None if the row names none."""
    named: str | None = getattr(stack.row.attention[short], f"{part}_proj")
    path, _, cut = (named or stack.row.places.get(f"{short}.{part}", "")).partition(" | ")
    if not path or path.startswith("<") or not _there(module, f"{stack.paths[0]}.{path}"):
        return None
    weight = getattr(module.get_submodule(f"{stack.paths[0]}.{path}"), "weight", None)
    linear = isinstance(weight, Tensor) and weight.ndim == 2  # a place may also be a norm, or a point to hook
    return (path, cut) if named or linear else None


def normed_reads(model: "LensModel", attention: str | None) -> bool:
    """See `LensModel.normed_queries`."""
    stack, short = model.attention(attention)
    path = stack.row.attention[short].module
    if path is None:
        return False
    names = (name.lower() for name, _ in _at(model, f"{stack.paths[0]}.{path}").named_children())
    return any("norm" in name and _QUERY_OR_KEY.search(name) for name in names)


def heads_known(module: nn.Module, stacks: Iterable["Blocks"]) -> Iterator[str]:
    """The capability of a model all of whose heads read and write by maps that its row names: `qk-maps`."""
    rows = [(stack, short, row) for stack in stacks for short, row in stack.row.attention.items()]
    named = all(row.o_proj and all(read_by(module, stack, short, part) for part in READS) for stack, short, row in rows)
    if rows and named:
        yield "qk-maps"


def mlp_map(model: "LensModel", layer: int, prefix: str | None = None) -> MlpMap | None:
    """See `LensModel.mlp_map`."""
    stack = model.stack(prefix)
    row, path = stack.row.mlp, stack.paths[layer]
    if row is None:
        if "mlp_out" in stack.row.places:
            raise MissingCapability(f"The row of {model.family} does not say what the MLP of its blocks is made of.")
        return None

    def linear(name: str, d_in: int) -> LinearMap:
        return linear_map(_at(model, f"{path}.{name}"), d_in, _like(model))

    inner = linear(row.inner, stack.sizes.d_model)
    outer = _scaled(model, linear(row.outer, inner.weight.shape[1]), path, row.scale)
    gated = None if row.linear is None else linear(row.linear, stack.sizes.d_model)
    return MlpMap(inner=inner, outer=outer, activation=_at(model, f"{path}.{row.activation}"), linear=gated)


def head_maps(model: "LensModel", answers: tuple[int, ...]) -> tuple[Norm | LinearMap | Activation, ...]:
    """See `LensModel.head_maps`."""
    *paths, last = [path.replace("~", model.base) for path in head_paths(model.module, model.architecture)]
    width, steps = model.d_model, []
    for path in paths:
        step = head_step(model.module, path, model.architecture.norm_offset)
        if step is None:
            step = linear_map(_at(model, path), width, _like(model))
            width = step.weight.shape[1]
        steps.append(step)
    return (*steps, _answer_map(model, last, width, answers))


def _answer_map(model: "LensModel", path: str, width: int, answers: tuple[int, ...]) -> LinearMap:
    """The last linear map of the head, cut to some of its answers: its gradient at zero, and its value there."""
    rows, values = [], []
    chosen = list(answers)
    with torch.enable_grad():
        state = torch.zeros(1, width, device=model.device, dtype=model.dtype, requires_grad=True)
        logits = model.head_step(path, state)[0]
        if model.architecture.bias is not None:
            logits = logits + model.module.get_buffer(model.architecture.bias)[0]
        for answer in chosen:
            rows.append(torch.autograd.grad(logits[answer], state, retain_graph=True)[0][0])
            values.append(logits[answer].detach())
    return LinearMap(weight=torch.stack(rows, 1), bias=torch.stack(values))


def head_paths(module: nn.Module, row: Any) -> tuple[str, ...]:
    """The finest steps from the last state to the answers, as the row spells them; empty where none are known."""
    kind = type(module).__name__
    return next((steps for ending, steps in row.head.items() if kind.endswith(ending)), row.readout)


def head_step(module: nn.Module, path: str, offset: float) -> Norm | Activation | None:
    """A step of a head that is not linear: a norm or an activation; None for a linear one."""
    if path in FUNCTIONS:
        return FUNCTIONS[path]
    step = module.get_submodule(path)
    if norm := norm_numbers(step, offset):
        return norm
    return None if any(True for _ in step.parameters()) else step


def known(module: nn.Module, row: Any, stacks: Any, base: str, *, answers: bool) -> Iterator[str]:
    """Capabilities of a model whose norms, and whose every map, are known as numbers: `norms`, `decomposition`."""
    if not all(stack.row.attention and stack.row.norm1 for stack in stacks):
        return
    for stack in stacks:
        paths = [f"{stack.paths[0]}.{path}" for name in NORMS if (path := getattr(stack.row, name))]
        paths += [base + stack.row.ln_final] if stack.row.ln_final else []
        if not all(_there(module, path) and norm_numbers(module.get_submodule(path)) for path in paths):
            return
        if any(attention.o_proj is None for attention in stack.row.attention.values()):
            return
    yield "norms"
    for stack in stacks:
        if not all(read_by(module, stack, short, "v") for short in stack.row.attention):
            return
        mlp, paths = stack.row.mlp, []
        if "mlp_out" in stack.row.places:
            if mlp is None:
                return
            paths = [mlp.inner, mlp.outer, mlp.activation, mlp.linear or mlp.inner]
        if not all(_there(module, f"{stack.paths[0]}.{path}") for path in paths):
            return
    head = [path.replace("~", base) for path in head_paths(module, row)]
    if not answers or (head and all(_one_step(module, path, row.norm_offset) for path in head)):
        yield "decomposition"


def _one_step(module: nn.Module, path: str, offset: float) -> bool:
    """Whether a step of a head is one norm, one activation or one linear map."""
    if path not in FUNCTIONS and not _there(module, path):
        return False
    return head_step(module, path, offset) is not None or not list(module.get_submodule(path).children())


def _scaled(model: "LensModel", linear: LinearMap, block: str, scale: str | None) -> LinearMap:
    """A linear map followed by a module that multiplies each output by a number of its own."""
    if scale is None:
        return linear
    with torch.no_grad():
        factors = _at(model, f"{block}.{scale}")(torch.ones_like(linear.weight[:1]))[0]
    return LinearMap(weight=linear.weight * factors, bias=None if linear.bias is None else linear.bias * factors)


def _is_conv1d(module: Any) -> bool:
    """GPT-2's own linear module, whose weight is not transposed; known by its name, so that nothing is imported."""
    return (type(module).__module__, type(module).__name__) == ("transformers.pytorch_utils", "Conv1D")


def _there(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def _at(model: "LensModel", path: str) -> Any:
    return model.module.get_submodule(path)


def _like(model: "LensModel") -> Tensor:
    return torch.empty(0, device=model.device, dtype=model.dtype)


def _need(model: "LensModel", capability: str) -> None:
    if capability not in model.capabilities:
        raise MissingCapability(f"The norms of {model.name}'s blocks ({model.family}) are not known as numbers.")
