"""Attention knockout by windows of layers and groups of tokens: which tokens the answer's way leads past, and where."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import plots, progress
from workbench.analyses.attribution.asked import Answer, Foil, ReadAt
from workbench.analyses.attribution.removal import cut_edges
from workbench.analyses.attribution.target import Target, answers_of, choose_target
from workbench.analyses.circuits.patch_runs import base_of, changed_answers
from workbench.analyses.circuits.token_groups import group
from workbench.analyses.one_prompt import answer_texts, one_prompt, real
from workbench.errors import BadInput
from workbench.hooks import Edit, editing
from workbench.models.lens_model import LensModel
from workbench.registry import AttentionName, Prompt, Within, analysis
from workbench.results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_NUMBERED = 12  # windows up to which cells have room for numbers


@dataclass(frozen=True, eq=False, kw_only=True)
class KnockoutWindows(Result, kind="knockout-windows"):
    """The answer without attention from one group of tokens to another, in each window of layers."""

    target: str
    """What is measured, in words."""
    token: str
    foil: str | None
    tokens: tuple[str, ...]
    """That attend."""
    key_tokens: tuple[str, ...]
    """That are attended to; the same, but in cross-attention."""
    queries: tuple[str, ...]
    """Of each pair, the group that no longer attends ..."""
    keys: tuple[str, ...]
    """... to this one."""
    query_positions: tuple[tuple[int, ...], ...]
    key_positions: tuple[tuple[int, ...], ...]
    first: Int[Tensor, "window"]
    """First layer of each window."""
    last: Int[Tensor, "window"]
    """Its last layer."""
    n_edges: Int[Tensor, "window pair"]
    """Attention weights that were cut, counted once for all heads; 0 where the mask hides all of them anyway."""
    log_prob: Float[Tensor, "window pair"]
    """Natural logarithm of the answer's probability (with a foil: between the two)."""
    logit: Float[Tensor, "window pair"]
    """Logit of the answer (with a foil: less that of the foil)."""
    fall: Float[Tensor, "window pair"]
    """How far the log-probability (with a foil: the difference of logits) falls; NaN where nothing was cut."""
    answers: tuple[tuple[str, ...], ...]
    """The top answer, (window, pair)."""
    base_log_prob: float
    base_logit: float
    base_answer: str

    @property
    def base(self) -> float:
        """The target in the unaltered run, which `fall` is counted from."""
        return self.base_log_prob if self.target.startswith("log-probability") else self.base_logit

    @property
    def changed(self) -> Bool[Tensor, "window pair"]:
        """Where the top answer is another than that of the unaltered run."""
        return torch.tensor([[answer != self.base_answer for answer in row] for row in self.answers])

    def to_frame(self) -> "pd.DataFrame":
        """One row for each window and pair of groups; `edges` is 0 where there was nothing to cut."""
        import pandas as pd

        windows, pairs = self.fall.shape
        return pd.DataFrame(
            {
                "first": [int(i) for i in self.first for _ in range(pairs)],
                "last": [int(i) for i in self.last for _ in range(pairs)],
                "queries": list(self.queries) * windows,
                "keys": list(self.keys) * windows,
                "fall": self.fall.flatten().tolist(),
                "probability": self.log_prob.exp().flatten().tolist(),
                "logit": self.logit.flatten().tolist(),
                "answer": [answer for row in self.answers for answer in row],
                "changed": self.changed.flatten().tolist(),
                "edges": self.n_edges.flatten().tolist(),
            }
        )

    def figure(self) -> "go.Figure":
        """The fall of the answer: pairs of groups by windows of layers, with what is answered instead."""
        windows, pairs = self.fall.shape
        fall = f"falls by ({'nats' if self.target.startswith('log-probability') else 'logits'}; below 0 it rises)"
        frame = self.to_frame().rename(columns={"fall": fall, "first": "first layer"})
        frame["from→to"] = [f"{q}→{k}" for q, k in zip(frame["queries"], frame["keys"], strict=True)]
        frame["pair"] = list(range(pairs)) * windows
        frame["layers"] = [
            f"{a}" if a == b else f"{a}–{b}" for a, b in zip(frame["first layer"], frame["last"], strict=True)
        ]
        frame["cell"] = self._cells(numbers=windows <= _NUMBERED)
        written = pairs <= 12 and windows <= 40
        most = max(1e-9, self.fall.nan_to_num().abs().max().item())
        figure = plots.heatmap(
            frame,
            x="first layer",
            y="pair",
            value=fall,
            text="cell" if written else None,
            x_labels="layers",
            y_labels="from→to",
            hover=("probability", "answer", "edges"),
            center=0.0,
            limits=(-most, most),
            y_down=True,
            title=f"Fall of the {self.target}",
        )
        number = "the fall, and " if windows <= _NUMBERED else ""
        said = "Attention from one group of tokens to another is cut."
        if written:
            said += f" In a cell: {number}the new top answer; – where the mask hides it anyway."
        figure.update_layout(title={"subtitle": {"text": said, "font": {"size": 12}}}, margin={"t": 76})
        figure.update_xaxes(title="layers in which it is cut")
        return figure.update_yaxes(title="attention that is cut")

    def _cells(self, *, numbers: bool) -> list[str]:
        """What is written in each cell: the fall, if asked for, and the top answer where it is a new one."""
        cells = []
        for fall, answer in zip(self.fall.flatten().tolist(), sum(self.answers, ()), strict=True):
            new = answer if answer != self.base_answer else ""
            number = f"{round(fall, 1) + 0.0:.1f}{'→' if new else ''}" if numbers else ""
            cells.append("–" if math.isnan(fall) else number + new or "·")
        return cells

    def brief(self) -> "tuple[str, pd.DataFrame]":
        """The unaltered run in a sentence, and the cuts that the answer falls most by."""
        order = self.fall.nan_to_num(-torch.inf).flatten().argsort(descending=True, stable=True)[:10]
        text = f"{self.target}: {self.base:.3f}, top answer {self.base_answer!r}, before anything is cut."
        return text, self.to_frame().iloc[order.tolist()].reset_index(drop=True)


@analysis("knockout-windows", needs={"pattern", "logits"}, title="Knockout by windows")
@torch.no_grad()
def knockout_windows(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    queries: Annotated[
        tuple[str, ...],
        "Groups that no longer attend: all, first, answer, last, others, 3, 2-5, or a text of the prompt",
    ] = ("answer", "others"),
    keys: Annotated[tuple[str, ...], "Groups they no longer attend to, named alike; patches are those of an image"] = (
        "first",
        "others",
        "answer",
    ),
    window: Annotated[int, Within(1, 200), "Layers that are cut together"] = 5,
    stride: Annotated[int, Within(1, 200), "Layers from one window to the next"] = 1,
    token: Answer = None,
    foil: Foil = None,
    position: ReadAt = None,
    attention: Annotated[AttentionName, "Attention that is cut"] = None,
) -> KnockoutWindows:
    """How far the answer falls when one group of tokens cannot attend to another in a window of layers.

    For each pair of a query group and a key group, and each window, all heads' weights from the queries to the keys
    are set to minus infinity before the softmax, so that each row shares its attention among what is left; a row that
    would be empty keeps itself, and one of cross-attention then reads nothing. Falls are of the answer's natural log
    probability, or with a foil of the difference of logits; negative where it rises; NaN with 0 edges where the mask
    hides the keys from the queries anyway. A window larger than the model is all of it. Cost: one run a window and
    pair, many in a batch, from the window's first layer on.
    Geva et al. (2023), "Dissecting Recall of Factual Associations in Auto-Regressive Language Models"; Kaduri et al.
    (2024), "What's in the Image? A Deep-Dive into the Vision of Vision Language Models".
    """
    if not queries or not keys:
        raise BadInput("Name at least one group of queries and one of keys, such as 'answer' and 'first'.")
    stack, short = model.attention(attention)
    cross = short == "cross_attn"
    key_stack = model.stacks[0] if cross else stack
    paths = [f"{stack.prefix}.{layer}.{short}" for layer in range(stack.n_blocks)]
    batch = one_prompt(model, prompt)
    sides = [model.labels(batch, side=one.side) for one in (stack, key_stack)]
    visible, logits = _visible(model, batch, paths)
    target = choose_target(model, batch, logits, token=token, foil=foil, position=position)
    row = target.row(logits)
    at = target.position if logits.ndim == 3 else model.answer_position(batch)
    answer = [at if one is model.main else None for one in (stack, key_stack)]
    groups = [[group(name, sides[i], answer[i]) for name in names] for i, names in enumerate((queries, keys))]
    pairs = [(a, b) for a in range(len(queries)) for b in range(len(keys))]
    places = [_places(batch, one.side, visible.shape[1 + i]) for i, one in enumerate((stack, key_stack))]
    gone = torch.zeros(len(pairs), *visible.shape[1:], dtype=torch.bool, device=visible.device)
    for i, (a, b) in enumerate(pairs):
        gone[i, places[0][list(groups[0][a])][:, None], places[1][list(groups[1][b])]] = True
    size = min(window, stack.n_blocks)
    starts = list(range(0, stack.n_blocks - size + 1, stride))
    n_edges = torch.stack([(visible[s : s + size, None] & gone).sum((0, 2, 3)) for s in starts])  # (window pair)
    rows = _cut_rows(model, batch, target, paths, gone, starts, size, main=stack is model.main, own=not cross)
    found = torch.where((n_edges > 0).flatten()[:, None], rows, row)
    log_prob, logit = target.log_probability(found).view(n_edges.shape), target.of(found).view(n_edges.shape)
    base_log_prob, base_logit = target.log_probability(row).item(), target.of(row).item()
    fall = base_logit - logit if foil is not None or target.alone else base_log_prob - log_prob
    assert target.answer is not None, "logits are needed"
    return KnockoutWindows(
        target=target.text if foil is not None or target.alone else target.text.replace("logit", "log-probability", 1),
        token=model.token_text(target.answer),
        foil=None if target.foil is None else model.token_text(target.foil),
        tokens=sides[0],
        key_tokens=sides[1],
        queries=tuple(queries[a] for a, _ in pairs),
        keys=tuple(keys[b] for _, b in pairs),
        query_positions=tuple(groups[0][a] for a, _ in pairs),
        key_positions=tuple(groups[1][b] for _, b in pairs),
        first=torch.tensor(starts),
        last=torch.tensor(starts) + size - 1,
        n_edges=n_edges.cpu(),
        log_prob=log_prob.cpu(),
        logit=logit.cpu(),
        fall=fall.masked_fill(n_edges == 0, torch.nan).cpu(),
        answers=answer_texts(model, found.argmax(-1).view(n_edges.shape)),
        base_log_prob=base_log_prob,
        base_logit=base_logit,
        base_answer=model.token_text(int(row[0].argmax())),
    )


def _visible(
    model: LensModel, batch: dict[str, Tensor], paths: Sequence[str]
) -> tuple[Bool[Tensor, "layer query key"], Tensor]:
    """Which keys the mask lets each query see, in each layer, and the logits of the unaltered run."""
    seen: dict[str, Tensor] = {}

    def noting(path: str) -> Edit:
        def look(scores: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query key"]:
            seen[path] = (scores > torch.finfo(scores.dtype).min / 2).any(1)[0]
            return scores

        return look

    with editing(model, {f"{path}.attn_scores": noting(path) for path in paths}):
        logits = answers_of(model.module(**batch))
    return torch.stack([seen[path] for path in paths]), logits


def _places(batch: dict[str, Tensor], side: str, length: int) -> Tensor:
    marks = torch.arange(length, device=next(iter(batch.values())).device)
    return real(marks, batch, side, dim=0)


def _cut_rows(
    model: LensModel,
    batch: dict[str, Tensor],
    target: Target,
    paths: Sequence[str],
    gone: Bool[Tensor, "pair query key"],
    starts: Sequence[int],
    size: int,
    *,
    main: bool,
    own: bool,
) -> Float[Tensor, "row vocab"]:
    """Answers of each window and pair, in that order."""
    base = base_of(model, batch, target)
    found: list[Tensor] = []
    jobs = [(i, part) for i in range(len(starts)) for part in torch.arange(len(gone)).split(base.rows_at_once)]
    for i, part in progress.track(jobs, label="windows"):
        edits: dict[str, Edit] = {}
        for layer in range(starts[i], starts[i] + size):
            edits |= cut_edges(paths[layer], gone[part.to(gone.device)], own=own)
        found.append(changed_answers(base, starts[i] if main else 0, len(part), edits))
    return torch.cat(found)
