"""Read and replace activations while a model runs. The only file that registers hooks.

    with torch.no_grad(), reading(model, ["blocks.3.attn.pattern"]) as values:
        model.module(**model.encode("Hello"))
    values["blocks.3.attn.pattern"]                                  # (batch, head, query, key)

    with editing(model, {"blocks.3.mlp_out": torch.zeros_like}):
        model.module(**model.encode("Hello"))

Both hold the model's lock until they end, so that another thread's forward pass never sees these edits, and both leave
the module as they found it, also on error. A value is read after every edit of the same site, however they nest.
Values keep their graph: wrap the block in `torch.no_grad()` unless gradients are wanted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from workbench import progress
from workbench.errors import BadInput, MissingSite
from workbench.models import attention
from workbench.models.lens_model import LensModel
from workbench.models.sites import Layout, Place, Site, first_tensor, layout, with_first

Edit = Callable[[Tensor], Tensor]
Wish = Callable[[Tensor], Tensor | None]
"""What a tap does with a value: give a new one, or None to leave it."""
Door = tuple[str, str]
"""(module path, side): where values pass. `side` is out, in, or a part of our attention function."""


class Values(dict[str, Tensor]):
    """Site name -> value of the last forward pass; says so when the pass never came by a site."""

    def __missing__(self, site: str) -> Tensor:
        raise MissingSite(
            f"No value of {site!r}: it was not asked for, no forward pass ran inside the block, or the pass never came"
            " by that site."
        )

    def pop(self, site: str, *default: Any) -> Any:  # type: ignore[override]
        """Take a value out; without a default, one that is not there is the same error as `values[site]`."""
        return super().pop(site, *default) if default or site in self else self[site]


@contextmanager
def reading(model: LensModel, sites: str | Iterable[str], *, gradients: bool = False) -> Iterator[Values]:
    """Fill the yielded mapping with the value of each site on every forward pass inside the block.

    With `gradients=True` every value is part of the graph, and its `.grad` is there after a `backward()`.
    """
    values, wanted = Values(), (sites,) if isinstance(sites, str) else sites

    def look(site: str) -> Wish:
        def keep(value: Tensor) -> None:
            values[site] = value

        def keep_in_graph(value: Tensor) -> Tensor:
            # A new node, put in the old one's place: its gradient is what an edit here does, and nothing else's.
            value = value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
            value.retain_grad()
            values[site] = value
            return value

        return keep_in_graph if gradients else keep

    with _tapped(model, {site: look(site) for site in wanted}, order=2):
        yield values


@contextmanager
def editing(model: LensModel, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Replace the value of each site by `edit(value)` on every forward pass inside the block.

    An edit must give a tensor of the same shape; keys and values may also get a head for each query head where several
    share one. Sites that can only be read are refused.
    """
    for name, edit in edits.items():
        if not callable(edit):
            raise BadInput(f"The edit of {name!r} must be a function of a tensor, not {type(edit).__name__}.")
        if not model.site(name).editable:
            raise MissingSite(f"{model.name} can read {name!r} but not edit it; see `model.sites[...].editable`.")
    with _tapped(model, {name: _checked(model.site(name), model, edit) for name, edit in edits.items()}, order=0):
        yield


def _checked(site: Site, model: LensModel, edit: Edit) -> Wish:
    n_heads = model.stack_of(site.name).sizes.n_heads
    heads_in = site.shape.index("kv_head") if "kv_head" in site.shape else None

    def run(value: Tensor) -> Tensor:
        new = edit(value)
        allowed = [tuple(value.shape)]
        if heads_in is not None:
            allowed.append((*value.shape[:heads_in], n_heads, *value.shape[heads_in + 1 :]))
        if not isinstance(new, Tensor) or tuple(new.shape) not in allowed:
            got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise BadInput(f"The edit of {site.name!r} must give a tensor of shape {allowed[0]}, not {got}.")
        return new.to(value)

    return run


@dataclass(frozen=True, eq=False)
class _Tap:
    """One wish at one door."""

    layout: Layout
    call: int | None
    wish: Wish
    order: int
    """0 edits, 1 edits of a sum, 2 looks: taps of one door are served in this order, however the blocks nest."""


@dataclass(eq=False)
class _Board:
    """All taps that are now set on one module, and how to close each of its doors."""

    taps: dict[Door, list[_Tap]] = field(default_factory=dict)
    close: dict[Door, Callable[[], None]] = field(default_factory=dict)
    calls: dict[Door, int] = field(default_factory=dict)

    def serve(self, door: Door, raw: Tensor) -> Tensor:
        call = self.calls.get(door, 0)
        self.calls[door] = call + 1
        for tap in self.taps.get(door, ()):
            if tap.call is None or tap.call == call:
                new = tap.wish(tap.layout.view(raw))
                if new is not None:
                    raw = tap.layout.put(raw, new)
        return raw


_BOARDS: WeakKeyDictionary[nn.Module, _Board] = WeakKeyDictionary()
_ATTENTION: Door = ("", "attention")


@contextmanager
def _tapped(model: LensModel, wishes: Mapping[str, Wish], *, order: int) -> Iterator[None]:
    """Set a tap for each wish, with the model's lock held; take away all that came with them on leaving."""
    sites = {name: model.site(name) for name in wishes}
    with model.lock, ExitStack() as undo:
        board = _BOARDS.setdefault(model.module, _Board())
        undo.enter_context(_watching(model, board))
        for name, wish in wishes.items():
            _set(model, board, sites[name], wish, order, undo)
        yield


def _set(model: LensModel, board: _Board, site: Site, wish: Wish, order: int, undo: ExitStack) -> None:
    place = site.place
    if isinstance(place, Place):
        cut = layout(place.layout, model.d_head_at(site.name))
        return _tap(model, board, place, _Tap(cut, place.call, wish, order), undo)
    base, added = model.site(place.base), model.site(place.added).place
    assert isinstance(added, Place), f"{place.added} must pass through a module"
    stream: list[Tensor] = []

    def keep(value: Tensor) -> None:
        stream[:] = [value]

    _set(model, board, base, keep, 2, undo)
    cut = Layout(lambda raw: stream[0] + raw, lambda _raw, new: new - stream[0])
    return _tap(model, board, added, _Tap(cut, added.call, wish, max(order, 1)), undo)


def _tap(model: LensModel, board: _Board, place: Place, tap: _Tap, undo: ExitStack) -> None:
    door = (place.path, place.side)
    if door not in board.taps:
        board.close[door] = _open(model, board, place)
    taps = board.taps.setdefault(door, [])
    taps.append(tap)
    taps.sort(key=lambda one: one.order)

    def untap() -> None:
        taps.remove(tap)
        if not taps:
            del board.taps[door]
            board.close.pop(door)()

    undo.callback(untap)


def _open(model: LensModel, board: _Board, place: Place) -> Callable[[], None]:
    """Make the values at a place pass by the board; gives the way back."""
    module, door = model.module.get_submodule(place.path), (place.path, place.side)
    if place.side == "out":

        def outward(_module: Any, _args: Any, output: Any) -> Any:
            raw = first_tensor(output)
            new = board.serve(door, raw)
            return None if new is raw else with_first(output, new)

        return module.register_forward_hook(outward).remove
    if place.side == "in":

        def inward(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            name = None if args else next(k for k, v in kwargs.items() if isinstance(v, Tensor))
            raw = args[0] if name is None else kwargs[name]
            new = board.serve(door, raw)
            if new is raw:
                return None
            return ((new, *args[1:]), kwargs) if name is None else (args, kwargs | {name: new})

        return module.register_forward_pre_hook(inward, with_kwargs=True).remove
    return _open_attention(model, board, place, module)


def _open_attention(model: LensModel, board: _Board, place: Place, module: nn.Module) -> Callable[[], None]:
    """Route a module's attention past the board, and run the model through our attention function meanwhile."""
    here = [door for door in board.taps if door[0] == place.path and door[1] in attention.PARTS]
    if not here:
        attention.ROUTES[id(module)] = lambda part, raw: board.serve((place.path, part), raw)
    if _ATTENTION not in board.close:
        stack = ExitStack()
        stack.enter_context(attention.installed(model.module))
        board.close[_ATTENTION] = stack.close

    def close() -> None:
        left = [door for door in board.taps if door[1] in attention.PARTS]
        if not any(door[0] == place.path for door in left):
            attention.ROUTES.pop(id(module), None)
        if not left:
            board.close.pop(_ATTENTION)()

    return close


@contextmanager
def _watching(model: LensModel, board: _Board) -> Iterator[None]:
    """Count calls anew in each forward pass, and report progress block by block when somebody listens."""
    with ExitStack() as undo:

        def start(*_: Any) -> None:
            board.calls.clear()

        undo.callback(model.module.register_forward_pre_hook(start).remove)
        if progress.listening():
            blocks = [model.module.get_submodule(path) for path in model.block_paths]
            done = [0]

            def tick(*_: Any) -> None:
                done[0] = done[0] % len(blocks) + 1
                progress.report("layers", done[0], len(blocks))

            for block in blocks:
                undo.callback(block.register_forward_hook(tick).remove)
        yield


@contextmanager
def calls_of_blocks(model: LensModel) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Collect what each block of the main stack is called with on a forward pass inside the block, in order.

    Attention runs through our attention function meanwhile, so that the masks it is given are the ones that say all.
    """
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    with model.lock, ExitStack() as undo:
        undo.enter_context(our_attention(model))
        for path in dict.fromkeys(model.main.paths):
            block = model.module.get_submodule(path)
            undo.callback(block.register_forward_pre_hook(keep, with_kwargs=True).remove)
        yield calls


@contextmanager
def our_attention(model: LensModel) -> Iterator[None]:
    """Run the model through our attention function, also while no attention site is read."""
    board = _BOARDS.setdefault(model.module, _Board())
    rows = (row for stack in model.stacks for row in stack.row.attention.values())
    if _ATTENTION in board.close or all(row.module is None for row in rows):
        yield
        return
    with attention.installed(model.module):
        yield


def counted_from(model: LensModel, layer: int) -> None:
    """Tell the taps which layer a block stands for that is called by itself; only shared blocks need to know."""
    board = _BOARDS.get(model.module)
    if board is not None and model.main.row.repeated:
        board.calls.update(dict.fromkeys(board.taps, layer))
