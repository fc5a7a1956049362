"""`adapt` turns a module in memory into a `LensModel`, by the row of its family; the module stays as it is."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from workbench import inputs
from workbench.errors import BadInput, UnknownName, UnsupportedModel
from workbench.models.architectures import ARCHITECTURES, ATTENTION_SITES, Architecture, Stack, row_name
from workbench.models.lens_model import Blocks, LensModel, Sizes
from workbench.models.linear_maps import heads_known, known
from workbench.models.sites import Place, Site, Sum, axes

SIZE_NAMES: Mapping[str, tuple[str, ...]] = {
    "n_heads": ("num_attention_heads", "num_heads", "n_heads", "n_head"),
    "n_kv_heads": ("num_key_value_heads", "n_key_value_heads"),
    "d_model": ("hidden_size", "d_model", "n_embd"),
    "d_head": ("head_dim", "d_kv", "d_head"),
}
"""What configs call the sizes, first found first served."""


def adapt(
    module: nn.Module,
    processor: Any = None,
    architecture: str | Architecture | None = None,
    *,
    name: str | None = None,
    info: Mapping[str, Any] | None = None,
    untrained: Iterable[str] = (),
) -> LensModel:
    """A model in memory behind the workbench's interface: any `transformers` model, a TransformerBridge, any module.

    `processor` is its tokenizer, image processor or feature extractor. `architecture` is a row of module paths, or the
    name of one; None finds it by the config's model_type, then by structure. `untrained` names weights that are not
    trained: a head among them is never offered as a readout. Raises `UnsupportedModel` naming the paths that lack.
    """
    if not isinstance(module, nn.Module):
        raise UnsupportedModel(f"adapt() takes a torch module, not {type(module).__name__}.")
    if type(module).__name__ == "TransformerBridge":
        from workbench.models.bridge import adapt_bridge

        return adapt_bridge(module, processor, name=name, info=info)
    notes: dict[str, Any] = dict(info or {})
    family, row = _row(module, architecture, notes)
    guessed = "architecture" in notes
    base = row.base if row.base is not None else getattr(module, "base_model_prefix", "")
    base = f"{base}." if base and isinstance(getattr(module, base, None), nn.Module) else ""
    stacks = tuple(_blocks(module, stack, base, row.dims) for stack in row.stacks)
    sites = {site.name: site for stack in stacks for site in _sites(module, stack, base)}
    untrained = frozenset(untrained)
    readable = _readout(module, row, base, untrained, notes)
    answers = readable or _classifies(module, base, untrained)
    model = LensModel(
        module=module,
        processor=processor,
        name=name or getattr(getattr(module, "config", None), "name_or_path", "") or family,
        family=family,
        architecture=row,
        base=base,
        stacks=stacks,
        sites=MappingProxyType(sites),
        capabilities=_capabilities(row, stacks, sites, readable, answers)
        | {*known(module, row, stacks, base, answers=answers), *heads_known(module, stacks)},
        info=MappingProxyType(notes),
    )
    return _tried(model) if guessed else model


def _tried(model: LensModel) -> LensModel:
    """A model whose row was guessed, without what a trial run shows to be other than its name says."""
    from workbench.models.checks import mistrusted

    sites, why = mistrusted(model)
    reasons = "; ".join(dict.fromkeys(why.values()))
    info = {**model.info, **({"architecture": f"{model.info['architecture']}, but {reasons}"} if reasons else {})}
    if "readout" in why:
        info["readout"] = why["readout"]
    kept = {name: site for name, site in model.sites.items() if name not in sites}
    return replace(
        model,
        sites=MappingProxyType(kept),
        capabilities=model.capabilities - set(why),
        info=MappingProxyType(info),
    )


def _row(module: Any, architecture: str | Architecture | None, notes: dict[str, Any]) -> tuple[str, Architecture]:
    if isinstance(architecture, Architecture):
        return getattr(getattr(module, "config", None), "model_type", None) or type(module).__name__, architecture
    if architecture is not None:
        if not isinstance(architecture, str):
            raise BadInput(f"architecture is the name of a row or an Architecture, not {type(architecture).__name__}.")
        if architecture not in ARCHITECTURES:
            raise UnknownName("architecture", architecture, ARCHITECTURES)
        return architecture, ARCHITECTURES[architecture]
    config: Any = getattr(module, "config", None)
    if hasattr(config, "model_type") and (kind := row_name(config)) in ARCHITECTURES:
        return config.model_type, ARCHITECTURES[kind]
    return row_for(module, notes)


def row_for(module: nn.Module, notes: dict[str, Any] | None = None) -> tuple[str, Architecture]:
    """The first row whose every path is there, for families that have no row of their own.

    The load-time checks tell whether its meaning fits as well as its names.
    """
    prefix = getattr(module, "base_model_prefix", "")
    base = f"{prefix}." if prefix and isinstance(getattr(module, prefix, None), nn.Module) else ""
    for name, row in ARCHITECTURES.items():
        if not any(_lacking(module, stack, base) for stack in row.stacks):
            if notes is not None:
                notes["architecture"] = f"found by structure: its modules are laid out like {name}'s"
            kind = getattr(getattr(module, "config", None), "model_type", name)
            return kind, row
    kind = getattr(getattr(module, "config", None), "model_type", type(module).__name__)
    raise UnsupportedModel(
        f"No architecture row fits {type(module).__name__} (model type {kind!r}). Rows: {', '.join(ARCHITECTURES)}."
        " Give adapt() an `architecture=Architecture(...)` with the module paths of its blocks."
    )


def _lacking(module: nn.Module, stack: Stack, base: str) -> list[str]:
    """The paths of a stack's row that this module does not have."""
    if not _has(module, base + stack.blocks):
        return [base + stack.blocks]
    first = f"{base}{stack.blocks}.0"
    wanted = [base + path for path in (stack.embed, stack.pos_embed, stack.ln_final) if path]
    wanted += [f"{first}.{_path(text)}".rstrip(".") for text in stack.places.values() if " + " not in text]
    for attention in stack.attention.values():
        wanted += [f"{first}.{path}" for path in (attention.module, attention.o_proj, attention.o_scale) if path]
    return [path for path in wanted if not _has(module, path)]


def _path(text: str) -> str:
    return text.removeprefix("<").partition(" | ")[0]


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def _blocks(module: nn.Module, row: Stack, base: str, dims: Mapping[str, int]) -> Blocks:
    if lacking := _lacking(module, row, base):
        raise UnsupportedModel(
            f"{type(module).__name__} does not fit its architecture row: it has no module {', '.join(lacking)}."
            " Give adapt() an `architecture=Architecture(...)` with its own paths."
        )
    config = getattr(module, "config", None)
    config = getattr(config, row.config) if row.config else config
    paths = [f"{base}{row.blocks}.{i}" for i, _ in enumerate(module.get_submodule(base + row.blocks).children())]
    if row.repeated and (getattr(config, "num_hidden_groups", 1) > 1 or getattr(config, "inner_group_num", 1) > 1):
        raise UnsupportedModel(
            f"{type(module).__name__} shares its layers in groups, which its row does not describe: only one group of"
            " one layer (num_hidden_groups=1, inner_group_num=1) is."
        )
    if row.repeated:
        paths = paths * (config.num_hidden_layers if config is not None else 1)
    side = row.lead.rstrip("_")

    def size(name: str) -> int | None:
        return dims.get(name) or _size(config, name, side)

    heads = size("n_heads") or 0
    d_model = size("d_model") or _width(module, base, row)
    return Blocks(
        row=row,
        paths=tuple(paths),
        sizes=Sizes(
            n_blocks=len(paths),
            n_heads=heads if row.attention else 0,
            n_kv_heads=(size("n_kv_heads") or heads) if row.attention else 0,
            d_model=d_model,
            d_head=(size("d_head") or (d_model // heads if heads else 0)) if row.attention else 0,
        ),
    )


def _size(config: Any, size: str, side: str) -> int | None:
    own = (f"{side}_attention_heads",) if size == "n_heads" and side else ()
    for name in (*own, *SIZE_NAMES[size]):
        if isinstance(value := getattr(config, name, None), int):
            return value
    return None


def _width(module: nn.Module, base: str, row: Stack) -> int:
    weight = next((p for p in module.get_submodule(base + row.blocks).parameters() if p.ndim == 1), None)
    return 0 if weight is None else weight.shape[0]


def _sites(module: nn.Module, stack: Blocks, base: str) -> Iterator[Site]:
    row = stack.row
    for name in ("embed", "pos_embed", "ln_final"):
        if path := getattr(row, name):
            weight = getattr(module.get_submodule(base + path), "weight", None)
            factorised = name != "ln_final" and weight is not None and weight.shape[-1] != stack.sizes.d_model
            shape = (*axes(name)[:-1], "d_embed") if factorised else axes(name)
            yield Site(row.lead + name, shape, Place(base + path))
    for i, path in enumerate(stack.paths):
        call = i if row.repeated else None
        for short, text in row.places.items():
            yield _site(f"{row.prefix}.{i}.", short, text, path, call)
        for name, attention in row.attention.items():
            if attention.module is None:
                continue
            for part in ATTENTION_SITES:
                shown = f"rot_{part}" if attention.rotary and part in "qk" else part
                if f"{name}.{shown}" in row.places:
                    continue
                layout = "same" if part in ("attn_scores", "pattern") else "head_first"
                place = Place(f"{path}.{attention.module}", part, layout, call)
                yield Site(f"{row.prefix}.{i}.{name}.{shown}", axes(shown), place)


def _site(lead: str, short: str, text: str, path: str, call: int | None) -> Site:
    if " + " in text:
        base, added = text.split(" + ")
        return Site(lead + short, axes(short), Sum(lead + base, lead + added))
    where, _, layout = text.partition(" | ")
    inside = where.removeprefix("<")
    place = Place(f"{path}.{inside}".rstrip("."), "in" if where.startswith("<") else "out", layout or "same", call)
    return Site(lead + short, axes(short), place)


def _readout(module: nn.Module, row: Architecture, base: str, untrained: frozenset[str], notes: dict[str, Any]) -> bool:
    """Whether logits can be read from a state by trained weights; says in the notes why not."""
    paths = [path.replace("~", base) for path in row.readout]
    if not paths or not all(_has(module, path) for path in paths):
        notes["readout"] = "no language-model head"
        return False
    random = sorted(key for key in untrained if any(key.startswith(f"{path}.") for path in paths))
    if random:
        notes["readout"] = f"its head is not trained ({', '.join(random)} are not in the checkpoint)"
        return False
    notes["readout"] = "trained head"
    return True


def _classifies(module: nn.Module, base: str, untrained: frozenset[str]) -> bool:
    """Whether it is a classifier all of whose head is trained; what a head is made of, no row needs to say."""
    head = {key for key, _ in module.named_parameters() if not (base and key.startswith(base))}
    return type(module).__name__.endswith(inputs.CLASSIFIERS) and not head & untrained


def _capabilities(
    row: Architecture, stacks: tuple[Blocks, ...], sites: Mapping[str, Site], readable: bool, answers: bool
) -> frozenset[str]:
    main = stacks[-1].row
    first = f"{main.prefix}.0."
    have = {"gradients", *row.reads.split("+")}
    have |= {part for part in ("attn_out", "mlp_out") if first + part in sites}
    have |= {"resid"} if f"{first}resid_post" in sites else set()
    have |= {"mlp"} if f"{first}mlp.post" in sites else set()
    for name in main.attention:
        have |= {part for part in ("pattern", "z") if f"{first}{name}.{part}" in sites}
        have |= {"qk"} if f"{first}{name}.q" in sites else set()
    have |= {"causal"} if main.causal else set()
    have |= {"one-stack"} if len(stacks) == 1 else set()
    have |= {"readout"} if readable else set()
    have |= {"logits"} if answers else set()
    additive = main.order in ("pre", "parallel", "mixer") and len(row.readout) == 2 and main.ln_final and row.linear_end
    return frozenset(have | ({"direct-logits"} if readable and additive else set()))
