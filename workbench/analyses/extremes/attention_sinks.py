"""Attention sinks: which keys draw attention whatever is asked, how drained their values and how long their states."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.attention.attention import sides
from workbench.analyses.circuits.token_groups import group
from workbench.analyses.extremes.starts import StartToken, first_sentence, special_positions, started
from workbench.analyses.one_prompt import checked_position, precise, real
from workbench.analyses.sound import need_finite_values
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.inputs import TARGET_MARK
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import AttentionName, Position, Prompt, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionSinks(Result, kind="attention-sinks"):
    """How much attention each key draws in each head, and how long its value and its state are."""

    mass: Float[Tensor, "layer head key"]
    """Mean over the queries that count; a key's own query never does. NaN where `counts` is 0."""
    counts: Int[Tensor, "key"]
    """Queries that count: those after the key under causal attention, all others where attention goes both ways."""
    chance: Float[Tensor, "key"]
    """The mass of a head that looks at all it sees alike."""
    value_norm: Float[Tensor, "layer kv_head key"]
    """Length of each key's value."""
    value_ratio: Float[Tensor, "layer kv_head key"]
    """The same over the mean length of the others: far below 1 is a drained value. NaN where the others are 0."""
    state_norm: Float[Tensor, "state key"]
    """Length of the stream at each key. State 0 enters layer 0, state i + 1 leaves layer i; the final norm is not in
    it, but in post-norm families those of the blocks are."""
    state_ratio: Float[Tensor, "state key"]
    """The same over the median length of the others: far above 1 is a residual peak."""
    position: int
    """The key that is looked at."""
    threshold: float
    """Mass from which a head is a sink head."""
    attention: str
    n_kv_heads: int
    keys: tuple[str, ...]
    special: tuple[int, ...]
    """Keys that are special tokens: BOS, [CLS], [SEP], class and register tokens of an image."""
    queries: tuple[int, ...]
    """Queries that were asked for; all unless some were named."""

    @property
    def first(self) -> str:
        """Which token stands first, and whether it is a special one."""
        return first_sentence(self.keys, self.special)

    @property
    def sink_heads(self) -> Bool[Tensor, "layer head"]:
        """Heads whose mass on the key is above the threshold."""
        return self.mass[..., self.position] > self.threshold

    @property
    def share(self) -> float:
        """Share of sink heads among all."""
        return functional.sink_share(self.mass[..., self.position], self.threshold).item()

    def to_frame(self) -> "pd.DataFrame":
        """One row for each head: its mass on the key, the key that draws most of it, and the key's value.

        `queries` says over how many the mass is a mean, `others` beside how many keys the value stands.
        """
        import pandas as pd

        layers, heads, n_keys = self.mass.shape
        index = pd.MultiIndex.from_product([range(layers), range(heads)])
        frame = index.to_frame(index=False, name=["layer", "head"])
        kv = (frame["head"] // (heads // self.n_kv_heads)).tolist()
        strongest = self.mass.nan_to_num(-1.0).max(-1)
        at, most = strongest.indices.flatten(), strongest.values.flatten()
        value = [self.value_ratio[layer, h, self.position].item() for layer, h in zip(frame["layer"], kv, strict=True)]
        mass = self.mass[..., self.position].flatten().tolist()
        defined = [x == x for x in value]
        return frame.assign(
            kv_head=kv,
            mass=mass,
            sink=self.sink_heads.flatten().tolist(),
            strongest=at.tolist(),
            strongest_token=[self.keys[i] for i in at.tolist()],
            strongest_mass=most.tolist(),
            value_ratio=value,
            queries=int(self.counts[self.position]),
            others=[(n_keys - 1) * d for d in defined],
        )

    def masses_frame(self, layer: int, head: int) -> "pd.DataFrame":
        """One row for each key of a head: its mass, that of uniform attention, and the length of its value."""
        import pandas as pd

        kv = head // (self.mass.shape[1] // self.n_kv_heads)
        return pd.DataFrame(
            {
                "key": range(len(self.keys)),
                "token": self.keys,
                "mass": self.mass[layer, head].tolist(),
                "chance": self.chance.tolist(),
                "queries": self.counts.tolist(),
                "value_norm": self.value_norm[layer, kv].tolist(),
            }
        )

    def states_frame(self) -> "pd.DataFrame":
        """One row for each state and key: how long the stream is there, and beside the median of the others."""
        import pandas as pd

        states, keys = self.state_norm.shape
        index = pd.MultiIndex.from_product([range(states), range(keys)])
        frame = index.to_frame(index=False, name=["state", "key"])
        return frame.assign(
            token=[self.keys[i] for i in frame["key"]],
            norm=self.state_norm.flatten().tolist(),
            ratio=self.state_ratio.flatten().tolist(),
        )

    def figure(self, of: str = "mass") -> "go.Figure":
        """Of "mass", the key's in all heads; of "values", its ratio in all kv heads; of "states", how long all are."""
        token = f"token {self.position}"
        if of == "mass":
            hover = ("strongest_token", "strongest_mass", "value_ratio")
            title = f"Attention that {token} draws"
            return plots.heatmap(
                self.to_frame(), x="head", y="layer", value="mass", hover=hover, limits=(0, 1), title=title
            )
        if of == "values":
            frame = self.to_frame().drop_duplicates(["layer", "kv_head"], ignore_index=True)
            frame = frame.assign(**{"times the others": frame["value_ratio"]})
            title = f"Length of the value of {token} beside the others"
            return plots.heatmap(
                frame, x="kv_head", y="layer", value="times the others", center=1.0, limits=(0, 2), title=title
            )
        if of != "states":
            raise BadInput(f"A figure is of 'mass', 'values' or 'states', not {of!r}.")
        frame = self.states_frame().assign(**{"log10 of ratio": self.state_ratio.log10().flatten().tolist()})
        return plots.heatmap(
            frame, x="key", y="state", value="log10 of ratio", x_labels="token", hover=("norm", "ratio"), center=0.0,
            title="Length of the stream at each token, beside the median of the others",
        )  # fmt: skip

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many heads are sinks, in a sentence, and the ten with most mass."""
        text = (
            f"{self.share:.0%} of {self.sink_heads.numel()} heads give token {self.position}"
            f" ({self.keys[self.position]!r}) more than {self.threshold:g} of their attention; uniform attention gives"
            f" {self.chance[self.position].item():.3f}. {self.first}"
        )
        return text, self.to_frame().sort_values("mass", ascending=False, ignore_index=True).head(10)


@analysis("attention-sinks", needs={"pattern", "qk", "resid"})
@torch.no_grad()
def attention_sinks(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    position: Annotated[
        Position | None, "The key looked at; none: the one that draws most attention beyond chance"
    ] = None,
    threshold: Annotated[float, Within(0, 1), "Mass from which a head is a sink head"] = functional.SINK_SHARE,
    queries: Annotated[
        tuple[str, ...], "Groups of queries that count: all, others, last, 3, 2-5, or a text of the prompt"
    ] = ("all",),
    start: StartToken = "as the tokenizer does",
    attention: Annotated[AttentionName, "Which attention, where there are several"] = None,
) -> AttentionSinks:
    """Which heads park their attention on one token, and how drained its values and how long its states are.

    Mass is the mean attention to a key over the queries after it (over all others where attention goes both ways, over
    all in cross-attention): the key's own query, which under causal attention row 0 has alone, never counts. Beside
    it stand the length of the key's value over the mean of the others (value drain) and of its state over the median
    of the others (residual peak). A position that is padding is none. Which token stands first, and whether it is a
    special one, is said: without a start token the first token takes its place. One forward pass; memory for all
    patterns, as that of `attention`.
    Xiao et al. (2023), "Efficient Streaming Language Models with Attention Sinks"; Gu et al. (2025), "When Attention
    Sink Emerges in Language Models"; Guo et al. (2024), "Active-Dormant Attention Heads".
    """
    batch = started(model, prompt, start)
    name, query_side, key_side = sides(model, attention)
    stack, short = model.attention(attention)
    cross, key_stack = short == "cross_attn", model.stacks[0] if short == "cross_attn" else stack
    patterns, values = model.attention_sites(attention, "pattern"), model.attention_sites(attention, "v")
    stream = (model.stream("resid_pre", key_stack.prefix)[0], *model.stream("resid_post", key_stack.prefix))
    with reading(model, [*patterns, *values, *stream]) as found:
        model.module(**batch)
    query_labels, keys = model.labels(batch, side=query_side), model.labels(batch, side=key_side)
    if len(keys) < 2:
        raise BadInput(_one_key(model, name, keys))
    answer = len(query_labels) - 1
    chosen = sorted({i for name in queries for i in group(name, query_labels, answer)})
    mask = torch.zeros(len(query_labels), dtype=torch.bool, device=found[patterns[0]].device)
    mask[chosen] = True

    def masses(pattern: Float[Tensor, "head query key"]) -> Float[Tensor, "head key"]:
        if cross:
            return precise(pattern)[:, mask].mean(1)
        return functional.sink_mass(pattern, queries=mask, both_ways=not stack.causal)

    each = []
    for site in track(patterns, label="layers"):
        cells = real(real(found.pop(site)[0], batch, query_side, dim=-2), batch, key_side, dim=-1)
        need_finite_values(model, site, cells)
        each.append(masses(cells))
    mass = torch.stack(each).cpu()
    seen = torch.ones(len(query_labels), len(keys), dtype=torch.float64)
    seen = seen if cross or not stack.causal else seen.tril()
    even = seen / seen.sum(-1, keepdim=True)
    chance = masses(even.to(mask.device)[None])[0].float().cpu()
    if cross:
        counts = torch.full((len(keys),), len(chosen))
    else:
        counts = functional.sink_queries(len(keys), queries=mask.cpu(), both_ways=not stack.causal)
    if not counts.any():
        raise BadInput(f"No query that counts sees another key: {', '.join(queries)} has positions {chosen}.")
    beyond = ((mass.mean((0, 1)) - chance) * counts).nan_to_num(-torch.inf)
    at = int(beyond.argmax()) if position is None else checked_position(position, keys)
    v = torch.stack([precise(real(found[site][0], batch, key_side, dim=0)).transpose(0, 1) for site in values])
    states = torch.stack([precise(real(found[site][0], batch, key_side, dim=0)) for site in stream])
    for site, rows in zip((*values, *stream), (*v, *states), strict=True):
        need_finite_values(model, site, rows)
    return AttentionSinks(
        mass=mass,
        counts=counts,
        chance=chance,
        value_norm=v.norm(dim=-1).cpu(),
        value_ratio=functional.norm_ratio(v).cpu(),
        state_norm=states.norm(dim=-1).cpu(),
        state_ratio=functional.norm_ratio(states, against="median").cpu(),
        position=at,
        threshold=threshold,
        attention=name,
        n_kv_heads=stack.sizes.n_kv_heads,
        keys=keys,
        special=special_positions(model, batch, key_side),
        queries=tuple(chosen),
    )


def _one_key(model: LensModel, name: str, keys: tuple[str, ...]) -> str:
    """Why there is no sink among so few keys, which attention read them, and which others there are."""
    said = f"A sink needs a query besides its own, and {name} reads {len(keys)} token"
    said += ": give a prompt of at least two tokens"
    others = [other for other in model.attentions if other != name]
    if model.attention(name)[0].side == "target" and "cross" not in name:
        said += f" to the decoder (after {TARGET_MARK.strip()})"
    return f"{said}, or take another attention: {', '.join(others)}." if others else f"{said}."
