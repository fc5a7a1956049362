"""Two kinds of heads make a two-layer attention-only model continue whatever repeats.

A head of the first layer looks one token back and leaves there what it saw. A head of the second layer searches for the
place whose note is the current token, so it lands just after that token's last occurrence, and copies what it finds:
an induction head. Scores on random characters find the heads; removing them shows that they are what copies.

Elhage et al. (2021), A Mathematical Framework for Transformer Circuits; Olsson et al. (2022), In-context Learning and
Induction Heads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch

import workbench
from workbench import functional, plots, studies, training
from workbench.models.micro import AttentionOnly, CharacterTokenizer, load_micro

FOLDER = studies.study("induction").folder
CHARACTERS = torch.arange(2, 98)  # every character with an id of its own
TYPED = (  # (prompt, how it goes on)
    ("The cat sat. The cat s", "at"),
    ("one two three; one two thr", "ee"),
    ("Mary had a little lamb. Mary had a lit", "tle"),
    ("def f(x):\n    return x\ndef f(x):\n    ret", "urn x"),
)
Heads = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # train seed 0 again
    long: bool = False  # train three seeds, and a model of one layer
    period: int = 25  # Olsson et al.: 25 random tokens, 4 times, a start token first
    repeats: int = 4
    sequences: int = 32
    seed: int = 1
    threshold: float = 0.5  # a head is of a kind when more than half of its attention is
    untrained_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    examples: int = 24  # prompts for routes and circuits
    draws: int = 5  # random orders of edges


def run(config: Config) -> studies.Findings:
    """Find the heads, remove them, and do the same to models that should show nothing."""
    model = workbench.load("micro")
    heads = head_table(model, config)
    parts = kinds_of_heads(heads, config)
    removed = ablations(model, config, parts)
    steps = checkpoints(config)
    first, repeats = losses(model, config)
    edges, edge_tables, edge_figures = by_edges(model, config)
    loss = removed.set_index("removed")["loss"]
    numbers = {
        "loss.chance": math.log(len(CHARACTERS)),
        "loss.first_copy": first,
        "loss.repeats": repeats,
        "typed.completed": completed(model),
        **best_scores(heads),
        **{f"loss.without_{_key(name)}": loss[name] for name in parts},
        "copying_eigenvalues.lowest": lowest(heads, parts["induction heads"], "copying_eigenvalues"),
        "copying_score.lowest": lowest(heads, parts["induction heads"], "copying_score"),
        **{f"{row['step']}.{name}": row[name] for row in steps.to_dict("records") for name in ("loss", "heads")},
        **untrained(config),
        **edges,
        **(retrained(config) if config.train else {}),
    }
    history = pd.DataFrame(training.read_history(FOLDER / "training.json"))
    return studies.Findings(
        numbers=numbers,
        tables={"Heads": heads, "Removed heads": removed, "Checkpoints": steps, **edge_tables},
        figures={
            "Heads by their scores": head_figure(heads),
            "Loss without some heads": ablation_figure(removed),
            "Training": training_figure(history),
            **edge_figures,
        },
    )


# ---- scores ----------------------------------------------------------------------------------------------------------


def head_table(model: workbench.LensModel, config: Config) -> pd.DataFrame:
    """One row for each head: its attention scores, and how far its output is a copy of what it attends to."""
    scores = workbench.induction_scores(
        model,
        period=config.period,
        repeats=config.repeats,
        sequences=config.sequences,
        start="yes",
        leave_out=0.0,
        seed=config.seed,
    )
    promoted = tokens_to_logits(model.module)  # (layer, head, token, vocab)
    copied = functional.copying_score(promoted)
    eigenvalues = functional.copying_eigenvalues(promoted)
    table = scores.heads_frame().sort_values(["layer", "head"], ignore_index=True)
    return table.assign(copying_score=copied.flatten().numpy(), copying_eigenvalues=eigenvalues.flatten().numpy())


@torch.no_grad()
def tokens_to_logits(module: Any) -> torch.Tensor:
    """What each head adds to every character's logit when it attends to a character, embedding to unembedding.

    (layer, head, token, vocab), float64. The final norm's division, one positive number a position, is left out.
    """
    maps = []
    for block in module.blocks:
        values = block.attn.W_V(block.ln1(module.embed.weight[CHARACTERS]))
        values = values.unflatten(-1, (module.config.n_heads, -1))
        write = block.attn.W_O.weight.unflatten(1, (module.config.n_heads, -1))
        added = torch.einsum("thd,mhd->htm", values, write)  # (head, token, d_model)
        centred = (added - added.mean(-1, keepdim=True)) * module.ln_final.weight
        maps.append(centred @ module.unembed.weight[CHARACTERS].T)
    return torch.stack(maps).double()


def kinds_of_heads(heads: pd.DataFrame, config: Config) -> dict[str, Heads]:
    """The heads of each kind, by their scores, and what is left of the first layer."""
    rows = heads.to_dict("records")

    def above(score: str) -> Heads:
        return tuple((row["layer"], row["head"]) for row in rows if row[score] > config.threshold)

    induction, previous = above("prefix_matching_all"), above("previous_token")
    layer_0 = [(row["layer"], row["head"]) for row in rows if row["layer"] == 0]
    others = tuple(head for head in layer_0 if head not in {*induction, *previous})
    return {"induction heads": induction, "previous-token heads": previous, "other heads of layer 0": others}


def best_scores(heads: pd.DataFrame) -> dict[str, float]:
    """The highest score of each kind in each layer."""
    best: dict[str, float] = {}
    for row in heads.to_dict("records"):
        for score in ("prefix_matching", "prefix_matching_all", "previous_token"):
            name = f"layer_{row['layer']}.{score}"
            best[name] = max(row[score], best.get(name, 0.0))
    return best


def lowest(heads: pd.DataFrame, wanted: Heads, score: str) -> float:
    """The lowest score among some heads; NaN when there are none."""
    found = [row[score] for row in heads.to_dict("records") if (row["layer"], row["head"]) in wanted]
    return min(found, default=math.nan)


def _key(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_")


# ---- removing heads --------------------------------------------------------------------------------------------------


@torch.no_grad()
def losses(
    model: workbench.LensModel, config: Config, without: Heads = (), *, zero: bool = False
) -> tuple[float, float]:
    """Cross-entropy in nats on the first copy, and on what can be known: the repeats from their second token on.

    The outputs z of the heads in `without` are replaced by their mean over all sequences and positions, or by zero.
    """
    ids = functional.repeated_tokens(
        config.period, config.repeats, batch=config.sequences, vocab=CHARACTERS, seed=config.seed, bos=0
    )
    edits = {f"blocks.{layer}.attn.z": _remover([h for at, h in without if at == layer], zero) for layer, _ in without}
    with workbench.editing(model, edits):
        logits = model.logits(model.encode(ids))[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return each[:, : config.period].mean().item(), each[:, config.period + 1 :].mean().item()


def _remover(heads: list[int], zero: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    def remove(z: torch.Tensor) -> torch.Tensor:  # (batch, pos, head, d_head)
        kept = z.clone()
        kept[:, :, heads] = 0 if zero else z[:, :, heads].mean((0, 1))
        return kept

    return remove


def ablations(model: workbench.LensModel, config: Config, parts: dict[str, Heads]) -> pd.DataFrame:
    """The loss on repeats without each kind of heads, and without each head alone."""
    n_layers, n_heads = model.n_blocks, model.n_heads
    single = {f"head {layer}.{head}": ((layer, head),) for layer in range(n_layers) for head in range(n_heads)}
    rows = [
        {
            "removed": name,
            "heads": " ".join(f"{layer}.{head}" for layer, head in heads),
            "loss": losses(model, config, heads)[1],
            "loss_zeroed": losses(model, config, heads, zero=True)[1],
        }
        for name, heads in {"nothing": (), **parts, **single}.items()
    ]
    return pd.DataFrame(rows)


# ---- what should show nothing, and training --------------------------------------------------------------------------


def adapted(module: AttentionOnly, name: str) -> workbench.LensModel:
    return workbench.adapt(module, CharacterTokenizer(), "attention_only", name=name)


def untrained(config: Config) -> dict[str, dict[int, float]]:
    """The same measurements on models with random weights, one value a seed."""
    from case_studies.induction.train import TrainConfig, initial_model

    found: dict[str, dict[int, float]] = {}
    for seed in config.untrained_seeds:
        model = adapted(initial_model(TrainConfig(seed=seed)).eval(), f"untrained, seed {seed}")
        heads = head_table(model, replace(config, sequences=8))
        numbers = {"loss": losses(model, config)[1]}
        for score in ("prefix_matching_all", "previous_token", "copying_eigenvalues"):
            numbers[score] = max(heads[score].tolist())
        for name, value in numbers.items():
            found.setdefault(f"untrained.{name}", {})[seed] = value
    return found


def checkpoints(config: Config) -> pd.DataFrame:
    """The committed steps of training: the loss on repeats, and how many heads of each kind there are."""
    rows = []
    for path in sorted(FOLDER.glob("checkpoints/step-*.safetensors")):
        module, _ = load_micro(path)
        model = adapted(module, path.stem)
        parts = kinds_of_heads(head_table(model, replace(config, sequences=8)), config)
        induction, previous = (len(parts[kind]) for kind in ("induction heads", "previous-token heads"))
        row = {"step": path.stem.replace("-", "_"), "loss": losses(model, config)[1]}
        rows.append(row | {"heads": induction + previous, "induction": induction, "previous": previous})
    return pd.DataFrame(rows)


def by_edges(model: workbench.LensModel, config: Config) -> tuple[dict[str, float], dict[str, Any], dict[str, Any]]:
    """The same heads by routes, by edge attribution and by patching every edge, and their circuit over training."""
    from case_studies.induction import circuits
    from case_studies.induction.train import TrainConfig, initial_model

    start = adapted(initial_model(TrainConfig()).eval(), "step 0")
    numbers, tables, figures = circuits.measured(model, start, config.examples, config.draws)
    paths = {int(path.stem.partition("-")[2]): path for path in FOLDER.glob("checkpoints/step-*.safetensors")}
    models = {step: adapted(load_micro(path)[0], path.stem) for step, path in sorted(paths.items())}
    last = training.read_history(FOLDER / "training.json")[-1]["step"]
    history = circuits.followed({0: start, **models, last: model}, config.examples)
    numbers |= circuits.history_numbers(history)
    tables["The circuit over training"] = history.to_frame()
    figures["The circuit over training"] = circuits.history_figure(history)
    return numbers, tables, figures


def completed(model: workbench.LensModel) -> float:
    """The share of typed prompts whose repeated part is finished letter by letter."""
    right = 0
    for prompt, rest in TYPED:
        text = prompt
        for _ in rest:
            text += model.token_text(int(model.logits(model.encode(text))[0, -1].argmax()))
        right += text == prompt + rest
    return right / len(TYPED)


def retrained(config: Config) -> dict[str, dict[int, float]]:
    """Models trained here and now, from scratch: what was claimed of the committed one, for each seed."""
    from case_studies.induction.train import TrainConfig, train

    found: dict[str, dict[int, float]] = {}
    work = studies.work_folder("induction")
    for seed in (0, 1, 2) if config.long else (0,):
        module: Any = train(TrainConfig(seed=seed), work / f"seed-{seed}").module
        model = adapted(module, f"trained again, seed {seed}")
        heads = head_table(model, config)
        parts = kinds_of_heads(heads, config)
        numbers = {"loss": losses(model, config)[1]}
        numbers |= {f"loss_without_{_key(name)}": losses(model, config, parts[name])[1] for name in parts}
        numbers |= best_scores(heads)
        for name, value in numbers.items():
            found.setdefault(f"retrained.{name}", {})[seed] = value
    if config.long:
        module = train(TrainConfig(n_layers=1, keep=()), work / "one-layer").module
        found["one_layer.loss"] = {0: losses(adapted(module, "one layer"), config)[1]}
    training.forget(work)  # all is done: the next time starts from scratch
    return found


# ---- pictures --------------------------------------------------------------------------------------------------------


def head_figure(heads: pd.DataFrame) -> go.Figure:
    """Every head by every score."""
    tidy = heads.melt(["layer", "head"], ["previous_token", "prefix_matching", "prefix_matching_all"], "score")
    tidy["name"] = [f"{layer}.{head}" for layer, head in zip(tidy["layer"], tidy["head"], strict=True)]
    tidy["shown"] = tidy["value"].map("{:.2f}".format)
    figure = plots.heatmap(tidy, x="name", y="score", value="value", text="shown", limits=(0, 1))
    figure.update_xaxes(title="head (layer.head)")
    return figure.update_layout(height=300, margin={"t": 10, "b": 60})


def ablation_figure(removed: pd.DataFrame) -> go.Figure:
    """The loss on repeats without each set of heads, beside chance."""
    figure = plots.bars(removed, x="removed", y="loss", horizontal=True)
    figure.add_vline(x=math.log(len(CHARACTERS)), line_dash="dot", annotation_text="chance")
    figure.update_yaxes(title="without", ticktext=removed["removed"].tolist(), automargin=True)
    figure.update_xaxes(title="loss on repeats (nats)")
    return figure.update_layout(height=400, margin={"t": 30, "b": 60})


def training_figure(history: pd.DataFrame) -> go.Figure:
    """What was measured while the committed model was trained: the best scores, and the loss as a share of chance."""
    history = history.assign(loss_of_chance=history["ce_repeat"] / math.log(len(CHARACTERS)))
    shown = ["loss_of_chance", "prefix_matching_all", "previous_token"]
    figure = plots.lines(history.melt("step", shown, "what"), x="step", y="value", color="what")
    return figure.update_layout(height=340, margin={"t": 10, "b": 60})
