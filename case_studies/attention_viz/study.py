"""Queries and keys of every head in one space: what distance there tells, and which heads are laid out by what.

AttentionViz moves a head's keys onto its queries and scales both, which changes no attention, so that what is near is
attended to; clouds then show spirals of positions, topics, brightness. Here numbers look for what the paper found by
eye, in three models it does not know, and the same numbers are taken where nothing can be found: random weights,
positions in another order, the colours of another picture.

Yeh et al. (2023), AttentionViz: A Global View of Transformer Attention, arXiv 2305.03210.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch

import workbench
from case_studies.attention_viz.measure import curve, measure
from case_studies.attention_viz.read import MODELS, corpora, read, untrained
from workbench import functional, plots, studies

Table = Any
"""A pandas frame, one row a head; its columns are what pandas' own types cannot say."""
PAPER = {"BERT": -0.938, "GPT-2": -0.792, "ViT-B/32": -0.873, "ViT-B/16": -0.884}
"""Mean over heads of Spearman's correlation of cosine distance with q.k, as the paper reports it."""
TRAITS = ("brightness", "hue", "saturation", "contrast", "edges", "orientation")
PLACES = ("row", "column")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured, and on what."""

    train: bool = False  # nothing is trained here: the same as the fast form
    long: bool = False  # five models with random weights, and 19 other pictures as a control
    models: tuple[str, ...] = tuple(MODELS)
    texts: int = 200
    images: int = 20
    seed: int = 0
    orders: Mapping[str, int] | None = None  # how often labels are shuffled; by default 19 for texts, 4 for pictures
    sink: float = 0.5  # a head is a sink when it leaves more than half of its attention on the first position


def run(config: Config) -> studies.Findings:
    """Measure every head of each model, and of the same models with random weights."""
    seeds = range(5) if config.long else range(1)
    orders = config.orders or {"text": 19, "image": 19 if config.long else 4}
    read_from = corpora(config.texts, config.images, config.seed)
    numbers: dict[str, float | Mapping[int, float]] = {}
    heads: list[Table] = []
    curves: list[Table] = []
    skipped: dict[str, str] = {}
    for short in config.models:
        try:
            model = workbench.load(MODELS[short])
        except workbench.Unavailable as error:
            skipped |= dict.fromkeys((f"{short}.", f"untrained_{short}."), str(error))
            continue
        corpus = read_from[model.reads]
        numbers[f"{short}.inputs"] = float(len(corpus))
        reading = read(model, corpus)
        numbers[f"{short}.rows"] = float(len(reading.position))
        trained: Table = measure(reading, orders=orders[model.reads], seed=config.seed)
        if model.reads == "text":
            curves.append(curve(reading, *best_spiral(trained)).assign(model=short))
        heads.append(trained.assign(model=short, weights="trained", seed=-1))
        del reading
        again = {"orders": orders[model.reads], "seed": config.seed, "control": True}
        controls = [measure(read(untrained(model, seed), corpus), **again).assign(seed=seed) for seed in seeds]
        fresh: Table = pd.concat(controls, ignore_index=True)
        heads.append(fresh.assign(model=short, weights="random"))
        numbers |= summary(short, trained, fresh, config)
        if short == "minilm":
            again["orders"] = 19
            topics, fresh = (
                measure(read(one, read_from["topics"]), **again) for one in (model, untrained(model, config.seed))
            )
            numbers |= found_beside(topics, "topic", "minilm.example_topic", fresh)
            heads.append(topics.assign(model=f"{short}, built-in topics", weights="trained", seed=-1))
    if not heads:
        return studies.Findings(numbers={}, skipped=skipped)
    table: Table = pd.concat(heads, ignore_index=True)
    shuffled = [name for name in table if ", permuted" in str(name)]
    return studies.Findings(
        numbers=numbers,
        tables={
            "Correlations": correlation_table(table),
            "Heads that stand out": standing_out(table),
            "Heads": table.drop(columns=shuffled),
            "Corpora": pd.DataFrame(
                [{"reads": kind, "corpus": c.name, "inputs": len(c)} for kind, c in read_from.items()]
            ),
        },
        figures=figures(table, curves),
        skipped=skipped,
    )


# ---- numbers ---------------------------------------------------------------------------------------------------------


def summary(short: str, trained: Table, fresh: Table, config: Config) -> dict[str, float]:
    """The numbers that claims are about, of one model beside the same with random weights."""
    means, without = trained.mean(), fresh.mean()
    numbers = {f"{short}.{key(name)}": float(means[name]) for name in means.index if counted(str(name))}
    numbers |= {f"untrained_{short}.{key(name)}": float(without[name]) for name in without.index if counted(str(name))}
    numbers |= {
        f"{short}.aligned_over_untrained": float(means["aligned"] - without["aligned"]),
        f"{short}.alignment_gain": float(means["aligned"] - means["before"]),
        f"{short}.euclidean_gain": float(means["euclidean aligned"] - means["euclidean before"]),
        f"{short}.scale_worst": float((trained["euclidean aligned"] - trained["euclidean translated"]).max()),
        f"{short}.dropped": float(trained["dropped"].sum()),
        f"{short}.lowest_norm_gap": float(trained["norm gap"].min()),
    }
    numbers |= sink_numbers(short, trained, config)
    if "spiral" in trained:
        numbers |= spiral_numbers(short, trained, fresh)
    if "brightness" in trained:
        for name in (*TRAITS, *PLACES):
            numbers |= found_beside(trained, name, f"{short}.{name}", fresh)
    else:
        numbers |= found_beside(trained, "topic", f"{short}.topic", fresh)
        for name in ("induction", "same token", "previous"):
            numbers[f"{short}.{key(name)}.best"] = float(trained[name].max())
            numbers[f"untrained_{short}.{key(name)}.best"] = float(fresh[name].max())
    return numbers


def counted(name: str) -> bool:
    """Whether a column's mean over heads says something."""
    return ", permuted" not in name and name not in ("layer", "head", "seed", "spiral of keys", "dropped")


def key(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_").replace(".", "")


def found_beside(table: Table, name: str, quantity: str, fresh: Table | None = None) -> dict[str, float]:
    """The best head by a score, the best of any head by the same score of labels in another order, and untrained."""
    permuted = table[[column for column in table if str(column).startswith(f"{name}, permuted")]]
    best = float(table[name].max())
    found = {f"{quantity}.best": best}
    if permuted.shape[1]:
        largest = float(permuted.max().max())
        found |= {
            f"{quantity}.permuted": largest,
            f"{quantity}.over_permuted": best - largest,
            f"{quantity}.heads": float((table[name] > largest).sum()),
        }
    if fresh is not None:
        highest = float(fresh[name].max())
        found |= {f"{quantity}.untrained": highest, f"{quantity}.over_untrained": best - highest}
        found[f"{quantity}.heads_over_untrained"] = float((table[name] > highest).sum())
    return found


def best_spiral(table: Table) -> tuple[int, int, int]:
    """Layer, head, and 0 for its queries or 1 for its keys."""
    row: Any = table.loc[table["spiral"].idxmax()]
    return int(row["layer"]), int(row["head"]), int(row["spiral of keys"])


def spiral_numbers(short: str, trained: Table, fresh: Table) -> dict[str, float]:
    """The best spiral beside positions in another order, random weights and vectors before they are turned."""
    best: Any = trained.loc[trained["spiral"].idxmax()]
    numbers = found_beside(trained, "spiral", f"{short}.spiral", fresh)
    numbers |= {
        f"{short}.spiral.permuted": float(trained["spiral, permuted"].max()),
        f"{short}.spiral.turns": float(best["spiral turns"]),
        f"{short}.spiral.layer": float(best["layer"]),
        f"{short}.spiral.head": float(best["head"]),
        f"{short}.spiral.previous": float(best["previous"]),
        f"{short}.spiral.rank_by_previous": float((trained["previous"] > best["previous"]).sum() + 1),
        f"{short}.spiral.heads": float((trained["spiral"] > fresh["spiral"].max()).sum()),
    }
    if "spiral before rotary" in trained:
        numbers[f"{short}.spiral.before_rotary"] = float(trained["spiral before rotary"].max())
    return numbers


def sink_numbers(short: str, trained: Table, config: Config) -> dict[str, float]:
    """How many heads leave most of their attention on the first position, and how long their queries and keys are."""
    sink = trained["first"] > config.sink
    there: Any = trained[sink].mean()
    others: Any = trained[~sink].mean()
    return {
        f"{short}.sink.share": float(sink.mean()),
        f"{short}.sink.most": float(trained["first"].max()),
        f"{short}.sink.first_with_norm_gap": rank_correlation(trained["first"], trained["norm gap"]),
        f"{short}.sink.norm_gap": float(there["norm gap"]),
        f"{short}.sink.norm_gap_of_others": float(others["norm gap"]),
        f"{short}.sink.first_key": float(there["first key norm"] / there["key norm"]),
        f"{short}.sink.first_key_of_others": float(others["first key norm"] / others["key norm"]),
    }


def rank_correlation(one: Table, other: Table) -> float:
    """Spearman's, over heads."""
    return float(functional.spearman(*(torch.tensor(x.to_numpy()) for x in (one, other))))


# ---- tables ----------------------------------------------------------------------------------------------------------


def correlation_table(table: Table) -> pd.DataFrame:
    """Mean correlations over heads, trained and random, and what the paper reports."""
    wanted = [name for name in table if str(name).startswith(("before", "translated", "aligned", "euclidean"))]
    ours: Any = table.groupby(["model", "weights"], sort=False)[wanted].mean().reset_index()
    paper = pd.DataFrame([{"model": f"the paper: {name}", "aligned": value} for name, value in PAPER.items()])
    return pd.concat([ours, paper.assign(weights="trained")], ignore_index=True)


def standing_out(table: Table, most: int = 5) -> pd.DataFrame:
    """The first heads of each trained model by each score, beside what chance gives."""
    rows = []
    scores = ("spiral", "previous", "first", "induction", "same token", "topic", *TRAITS, *PLACES)
    for model, trained in table[table["weights"] == "trained"].groupby("model", sort=False):
        fresh = table[(table["model"] == model) & (table["weights"] == "random")]
        for score in scores:
            if score not in trained or trained[score].isna().all():
                continue
            permuted = trained[[c for c in trained if str(c).startswith(f"{score}, permuted")]].dropna(axis=1)
            beside = {
                "largest permuted": float(permuted.max().max()) if permuted.shape[1] else float("nan"),
                "largest untrained": float(fresh[score].max()) if len(fresh) else float("nan"),
            }
            first: Any = trained.nlargest(most, score)
            rows += [
                {"model": model, "score": score, "layer": r["layer"], "head": r["head"], "value": r[score], **beside}
                for r in first.to_dict("records")
            ]
    return pd.DataFrame(rows)


# ---- pictures --------------------------------------------------------------------------------------------------------


def figures(table: Table, curves: list[Table]) -> dict[str, go.Figure]:
    found = {"Correlations": correlation_figure(table)}
    if curves:
        found["Spirals"] = spiral_figure(curves)
    if (table["model"] == "dinov2").any():
        found["Traits"] = trait_figure(table)
    return found


def correlation_figure(table: Table) -> go.Figure:
    """Mean correlation before and after alignment, trained and random weights."""
    tidy: Any = table[table["model"].isin(tuple(MODELS))].melt(["model", "weights"], ["before", "aligned"], "stage")
    tidy = tidy.groupby(["model", "weights", "stage"], sort=False, as_index=False)["value"].mean()
    tidy["what"] = tidy["model"] + "/" + tidy["weights"]
    figure = plots.bars(tidy, x="what", y="value", color="stage")
    figure.update_yaxes(title="rank correlation")
    figure.update_xaxes(title="model/weights")
    return figure.update_layout(height=360, margin={"t": 10, "b": 90})


def spiral_figure(curves: list[Table]) -> go.Figure:
    """The mean vector of each position of the head that winds most, in its plane."""
    figure = go.Figure()
    for place, points in enumerate(curves, 1):
        axes = {"xaxis": f"x{place}", "yaxis": f"y{place}"}
        figure.add_scatter(
            x=points["across"].tolist(),
            y=points["up"].tolist(),
            mode="lines+markers+text",
            text=[str(p) if p <= 13 else "" for p in points["position"]],  # two turns
            textposition="top center",
            textfont={"size": 10},
            name=str(points["model"].iloc[0]),
            line={"width": 1},
            marker={"color": points["position"].tolist(), "colorscale": "Viridis", "size": 7},
            **axes,
        )
        suffix = "" if place == 1 else str(place)
        width = 1 / len(curves)
        figure.layout[f"xaxis{suffix}"] = {
            "domain": [(place - 1) * width + 0.07, place * width - 0.02],
            "title": "PC 1",
        }
        figure.layout[f"yaxis{suffix}"] = {"anchor": f"x{place}", "scaleanchor": f"x{place}", "title": "PC 2"}
    figure.update_layout(
        height=420, template="plotly_white", margin={"t": 30, "b": 50}, legend={"orientation": "h", "y": 1.1}
    )
    return figure


def trait_figure(table: Table) -> go.Figure:
    """How much of each layer's best head goes with brightness, hue and column, trained and random."""
    seen: Any = table[table["model"] == "dinov2"]
    tidy = seen.melt(["weights", "layer"], ["brightness", "hue", "row"], "trait")
    tidy = tidy.groupby(["trait", "weights", "layer"], sort=False, as_index=False)["value"].max()
    tidy["what"] = tidy["trait"] + ", " + tidy["weights"]
    figure = plots.lines(
        tidy.rename(columns={"value": "share of variance"}), x="layer", y="share of variance", color="what"
    )
    return figure.update_layout(height=360, margin={"t": 10, "b": 60})
