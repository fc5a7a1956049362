"""Massive activations: the few numbers of the stream that are thousands of times larger than the rest, and where."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import functional, plots
from workbench.analyses.extremes.given import InputsOf, MassiveRatio, MassiveSize, drawn
from workbench.analyses.extremes.starts import StartToken, first_sentence, special_positions, started
from workbench.analyses.one_prompt import precise, real
from workbench.analyses.sound import need_finite_values
from workbench.errors import BadInput
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Prompt, Seed, Texts, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

RANKS = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class MassiveActivations(Result, kind="massive-activations"):
    """The largest numbers of the stream after each layer, which of them are massive, and whether inputs change them."""

    value: Float[Tensor, "layer rank"]
    """The largest by size, with their signs; the state after the final norm is not among the layers."""
    position: Int[Tensor, "layer rank"]
    dimension: Int[Tensor, "layer rank"]
    median: Float[Tensor, "layer"]
    """Median size of all numbers of a layer's state, all tokens together."""
    massive: Int[Tensor, "found 3"]
    """(layer, position, dimension) of all that are massive; no rows where there is none."""
    massive_value: Float[Tensor, "found"]
    dimensions: Int[Tensor, "shown"]
    """The dimensions that grow largest in any layer beside its median, the largest first."""
    picture: Float[Tensor, "layer pos shown"]
    """What stands in them at every token."""
    tokens: tuple[str, ...]
    special: tuple[int, ...]
    """Positions of special tokens."""
    absolute: float
    """A massive number is larger than this in size ..."""
    ratio: float
    """... and at least this many times the median."""
    texts: str
    """The corpus that was read besides, "" for none: what follows has a row for each of its inputs."""
    text_value: Float[Tensor, "input layer rank"]
    """The largest numbers of each input, by size, with their signs."""
    text_median: Float[Tensor, "input layer"]
    text_count: Int[Tensor, "input layer"]
    """How many numbers of an input are massive."""
    text_largest: Float[Tensor, "input layer shown"]
    """In each of `dimensions` the number of largest size, with its sign ..."""
    text_position: Int[Tensor, "input layer shown"]
    """... and where in the input it stands."""

    @property
    def first(self) -> str:
        """Which token stands first, and whether it is a special one."""
        return first_sentence(self.tokens, self.special)

    @property
    def layer(self) -> int:
        """The layer whose largest number is furthest above the median."""
        return int((self.value[:, 0].abs() / self.median).nan_to_num(0.0).argmax())

    def to_frame(self) -> "pd.DataFrame":
        """One row for each layer and rank: the number, where it stands, and how many times the median it is.

        `counted` is 0 where the median is 0, so that there is no ratio.
        """
        import pandas as pd

        layers, ranks = self.value.shape
        index = pd.MultiIndex.from_product([range(layers), range(1, ranks + 1)])
        frame = index.to_frame(index=False, name=["layer", "rank"])
        median = self.median[:, None].expand(layers, ranks)
        ratio = torch.where(median > 0, self.value.abs() / median, torch.nan)
        found = {tuple(place) for place in self.massive.tolist()}
        at = list(zip(frame["layer"], self.position.flatten().tolist(), self.dimension.flatten().tolist(), strict=True))
        return frame.assign(
            value=self.value.flatten().tolist(),
            pos=self.position.flatten().tolist(),
            token=[self.tokens[pos] for _, pos, _ in at],
            dimension=self.dimension.flatten().tolist(),
            median=median.flatten().tolist(),
            ratio=ratio.flatten().tolist(),
            massive=[place in found for place in at],
            counted=(median > 0).flatten().long().tolist(),
        )

    def massive_frame(self) -> "pd.DataFrame":
        """One row for each massive activation; no rows where there is none."""
        import pandas as pd

        rows = [
            {"layer": layer, "pos": pos, "token": self.tokens[pos], "dimension": d, "value": value}
            for (layer, pos, d), value in zip(self.massive.tolist(), self.massive_value.tolist(), strict=True)
        ]
        frame = pd.DataFrame(rows, columns=["layer", "pos", "token", "dimension", "value"])
        median = self.median[self.massive[:, 0]]
        return frame.assign(ratio=(self.massive_value.abs() / median).tolist())

    def picture_frame(self, layer: int | None = None, *, tokens: int = 40) -> "pd.DataFrame":
        """One row for each token and dimension of a layer's state: the tokens whose numbers are largest, in order."""
        import pandas as pd

        layer = self._layer(layer)
        state = self.picture[layer]
        top = state.abs().amax(-1).topk(min(tokens, len(state))).indices.sort().values.tolist()
        rows = [
            {"pos": pos, "token": self.tokens[pos], "place": place, "dimension": str(int(d)), "value": value}
            for pos in top
            for place, (d, value) in enumerate(zip(self.dimensions, state[pos].tolist(), strict=True))
        ]
        frame = pd.DataFrame(rows)
        median = self.median[layer].item()
        frame["ratio"] = frame["value"].abs() / median if median > 0 else math.nan
        return frame

    def texts_frame(self) -> "pd.DataFrame":
        """One row for each layer and shown dimension: its largest number over the texts, and how little that changes.

        `varies` is the standard deviation over the size of the mean (NaN with fewer than 2 inputs), `at_first` the
        share of inputs in which it stands at the first token, `massive_inputs` how many have a massive number.
        """
        import pandas as pd

        inputs, layers, shown = self.text_largest.shape
        index = pd.MultiIndex.from_product([range(layers), self.dimensions.tolist()])
        frame = index.to_frame(index=False, name=["layer", "dimension"])
        size, median = self.text_largest.abs(), self.text_median[..., None]
        massive = (size > self.absolute) & (size >= self.ratio * median)
        return frame.assign(
            value=self.text_largest.mean(0).flatten().tolist(),
            varies=functional.coefficient_of_variation(self.text_largest).flatten().tolist(),
            at_first=(self.text_position == 0).float().mean(0).flatten().tolist(),
            massive_inputs=massive.sum(0).flatten().tolist(),
            inputs=[inputs] * (layers * shown),
        )

    def curve_frame(self) -> "pd.DataFrame":
        """One row for each layer and line: sizes of the largest three and the median, means over texts if there are."""
        import pandas as pd

        value, median = self.value[None], self.median[None]
        if self.texts:
            value, median = self.text_value, self.text_median
        sizes = torch.cat([value.abs(), median[..., None]], -1).mean(0)  # (layer, rank + 1)
        names = ["largest", "second", "third"][: value.shape[-1]] + ["median"]
        rows = [
            {"layer": layer, "number": name, "size": size}
            for place, name in enumerate(names)
            for layer, size in enumerate(sizes[:, place].tolist())
        ]
        return pd.DataFrame(rows)

    def figure(self, of: str = "layers", layer: int | None = None) -> "go.Figure":
        """Of "layers", the largest three and the median; of "picture", a layer's numbers, tokens by dimensions."""
        if of == "layers":
            over = f", mean of {len(self.text_value)} texts" if self.texts else ""
            title = f"Largest numbers of the stream and their median{over}"
            figure = plots.lines(self.curve_frame(), x="layer", y="size", color="number", title=title)
            return figure.update_yaxes(type="log")
        if of != "picture":
            raise BadInput(f"A figure is of 'layers' or of the 'picture' of one, not {of!r}.")
        layer = self._layer(layer)
        frame = self.picture_frame(layer)
        frame = frame.assign(**{"log10 of times the median": frame["ratio"].clip(lower=1e-3).map(math.log10)})
        return plots.heatmap(
            frame, x="place", y="pos", value="log10 of times the median", x_labels="dimension", y_labels="token",
            hover=("value", "ratio"), y_down=True, title=f"Stream after layer {layer}: tokens by dimensions",
        ).update_xaxes(title="dimension")  # fmt: skip

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """How many there are, in which dimensions and layers, and the massive ones (or the largest)."""
        rule = f"above {self.absolute:g} and at least {self.ratio:g} times the median"
        if not len(self.massive):
            top = self.to_frame().sort_values("ratio", ascending=False, ignore_index=True).head(10)
            return f"No number of the stream is massive ({rule}). {self.first}", top
        layers = sorted({layer for layer, _, _ in self.massive.tolist()})
        dims = ", ".join(str(d) for d in sorted({d for _, _, d in self.massive.tolist()}))
        text = f"{len(self.massive)} numbers are massive ({rule}), after layers {layers[0]} to {layers[-1]}"
        return f"{text}, in dimensions {dims}. {self.first}", self.massive_frame()

    def _layer(self, layer: int | None) -> int:
        count = len(self.median)
        if layer is None:
            return self.layer
        if not -count <= layer < count:
            raise BadInput(f"There is no layer {layer}; there are 0 to {count - 1}.")
        return layer % count


@analysis("massive-activations", needs={"resid"})
@torch.no_grad()
def massive_activations(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    texts: Annotated[
        Texts | None, "Inputs over which means are taken, to see what an input changes; none: none"
    ] = None,
    inputs: InputsOf = 10,
    absolute: MassiveSize = functional.MASSIVE_SIZE,
    ratio: MassiveRatio = functional.MASSIVE_RATIO,
    shown: Annotated[int, Within(1, 64), "Dimensions that are kept for all tokens"] = 8,
    start: StartToken = "as the tokenizer does",
    seed: Annotated[Seed, "Seed of which inputs are drawn"] = 0,
) -> MassiveActivations:
    """Which few numbers of the residual stream outgrow all others, after which layers, at which tokens and dimensions.

    A number is massive if its size is above `absolute` and at least `ratio` times the median size of its layer's state
    (all tokens of the input, all dimensions; few tokens make that median unsteady). Many models have none: an empty
    list is an answer. States are those that leave the blocks of the main stack: the final norm is not in them, but in
    post-norm families each block's own is, which leaves nothing massive. Padding does not count. `start` has its say
    for the prompt; texts begin as the tokenizer does. One forward pass for the prompt and one for each text.
    Sun et al. (2024), "Massive Activations in Large Language Models".
    """
    batch, side = started(model, prompt, start), model.main.side
    sites = model.stream("resid_post")

    def states_of(batch: dict[str, Tensor]) -> Float[Tensor, "layer pos d_model"]:
        with reading(model, sites) as values:
            model.module(**batch)
        found = [precise(real(values[site][0], batch, side, dim=0)) for site in sites]
        for site, state in zip(sites, found, strict=True):
            need_finite_values(model, site, state)
        return torch.stack(found)

    states = states_of(batch)
    ranks = min(RANKS, states.shape[1] * states.shape[2])
    top = functional.largest_entries(states, ranks)
    massive = functional.is_massive(states, absolute=absolute, ratio=ratio).nonzero()
    beside = states.abs().amax(1) / top.median[:, None]
    dimensions = beside.nan_to_num(0.0).amax(0).topk(min(shown, states.shape[2])).indices
    corpus = None if texts is None else drawn(model, texts, inputs, seed)
    kept: list[tuple[Tensor, ...]] = []
    for one in track(corpus.inputs if corpus else (), label="texts"):
        other = states_of(model.encode(one))
        entries = functional.largest_entries(other, ranks)
        at = other[..., dimensions].abs().argmax(1)  # (layer, shown)
        values = other[..., dimensions].gather(1, at[:, None])[:, 0]
        count = functional.is_massive(other, absolute=absolute, ratio=ratio).sum((1, 2))
        kept.append((entries.value, entries.median, count, values, at))
    shape = (len(states), ranks), (len(states),), (len(states),), (len(states), len(dimensions))
    empty = [torch.zeros(0, *size) for size in (*shape, shape[-1])]
    over = [torch.stack(column).cpu() for column in zip(*kept, strict=True)] or [
        empty[0], empty[1], empty[2].long(), empty[3], empty[4].long()
    ]  # fmt: skip
    return MassiveActivations(
        value=top.value.cpu(),
        position=top.position.cpu(),
        dimension=top.dimension.cpu(),
        median=top.median.cpu(),
        massive=massive.cpu(),
        massive_value=states[massive[:, 0], massive[:, 1], massive[:, 2]].cpu(),
        dimensions=dimensions.cpu(),
        picture=states[..., dimensions].cpu(),
        tokens=model.labels(batch, side=side),
        special=special_positions(model, batch, side),
        absolute=absolute,
        ratio=ratio,
        texts=corpus.name if corpus else "",
        text_value=over[0],
        text_median=over[1],
        text_count=over[2],
        text_largest=over[3],
        text_position=over[4],
    )
