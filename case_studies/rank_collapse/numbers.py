"""The numbers that claims are about, out of the tables."""

import math
from typing import Any

import torch

from case_studies.rank_collapse.measure import curve, exponent
from workbench import functional

Table = Any
"""A pandas frame, whose columns are what pandas' own types cannot say."""
Numbers = dict[str, Any]
LEAST = 1e-16
"""Residuals are not told apart below this."""


def kind_numbers(kinds: Table) -> Numbers:
    """Residuals at chosen depths of the random networks, a value for each seed, and how they compare."""
    found: Numbers = {}
    curves = {
        name: {int(seed): each["residual"].tolist() for seed, each in rows.groupby("seed")}
        for name, rows in kinds.groupby("network")
    }

    def at(name: str, depth: int) -> dict[int, float]:
        return {seed: values[depth] for seed, values in curves[name].items()}

    for short, name in SHORT.items():
        found |= {f"{short}.layer_{depth}": at(name, depth) for depth in (1, 3, 4, 8)}
    found["alone.exponent"] = {s: exponent(torch.tensor(v).double()) for s, v in curves["attention alone"].items()}
    found["skip.exponent"] = {s: exponent(torch.tensor(v).double()) for s, v in curves["attention and skip"].items()}
    found["causal.exponent"] = {
        s: exponent(torch.tensor(v).double()) for s, v in curves["attention alone, causal"].items()
    }
    for short in ("mlp", "norm_before", "norm_after", "causal"):
        found[f"{short}.slower"] = {
            s: _log(v[3]) - _log(curves["attention alone"][s][3]) for s, v in _of(curves, short)
        }
    found["identity.change"] = {s: abs(v[-1] - v[0]) for s, v in curves["identity attention"].items()}
    return found


SHORT = {
    "alone": "attention alone",
    "mlp": "attention and MLP",
    "skip": "attention and skip",
    "full": "full",
    "norm_before": "attention alone, norm before",
    "norm_after": "attention alone, norm after",
    "full_norm_before": "full, norm before",
    "full_norm_after": "full, norm after",
    "causal": "attention alone, causal",
    "uniform": "uniform attention",
    "identity_random": "identity attention, random values",
}


def sharpness_numbers(sharper: Table) -> Numbers:
    """Whether each sharper attention collapses more slowly, a value for each seed."""
    found: Numbers = {"sharpness.slower": {}, "sharpness.ordered": {}}
    for seed, rows in sharper[sharper["depth"] == 3].groupby("seed"):
        values = rows.sort_values("sharpness")["residual"].tolist()
        logs = [_log(value) for value in values]
        found["sharpness.slower"][int(seed)] = logs[-1] - logs[0]
        rising = [a < b for a, b in zip(logs[:-1], logs[1:], strict=True)]
        found["sharpness.ordered"][int(seed)] = sum(rising) / len(rising)
    return found


def path_numbers(paths: Table, layers: int) -> Numbers:
    """What short and long paths of random networks carry, a value for each seed."""
    found: Numbers = {name: {} for name in ("paths.lacks", "paths.short", "paths.long", "paths.longest_residual")}
    for seed, rows in paths.groupby("seed"):
        share = rows.sort_values("length")["share"].tolist()
        found["paths.lacks"][int(seed)] = float(rows["lacks"].max())
        found["paths.short"][int(seed)] = sum(share[:2])
        found["paths.long"][int(seed)] = sum(abs(one) for one in share[layers // 2 + 1 :])
        found["paths.longest_residual"][int(seed)] = float(rows.set_index("length").loc[layers, "residual"])
    return found | {"paths.counted_short": counted_share(layers, 4, 1)}


def counted_share(n_layers: int, n_heads: int, most: int) -> float:
    """How many of all paths go through at most so many heads: what they would carry if all carried alike."""
    counts = functional.path_counts(n_layers, n_heads)
    return sum(counts[: most + 1]) / sum(counts)


def trained_numbers(name: str, trained: Table, fresh: Table) -> Numbers:
    """Residuals after the last layer of a small trained model, and of the same with random weights."""
    found: Numbers = {}
    for variant in ("full", "no skip", "no MLP", "attention alone"):
        key = f"{name}.{variant.replace(' ', '_')}"
        found[key] = curve(trained, variant)[-1]
        found[f"{key}_frozen"] = curve(trained, variant, "frozen")[-1]
        found[f"{key}_untrained"] = curve(fresh, variant)[-1]
    for end in ("", "_frozen", "_untrained"):
        found[f"{name}.mlp_keeps{end}"] = found[f"{name}.no_skip{end}"] - found[f"{name}.attention_alone{end}"]
    return found


def real_numbers(frame: Table) -> Numbers:
    """Residuals of the default model after its last layer, and how much more slowly it collapses with its MLPs."""
    last = {variant: curve(frame, variant)[-1] for variant in ("full", "no skip", "no MLP", "attention alone")}
    return {
        "real.full": last["full"],
        "real.no_mlp": last["no MLP"],
        "real.alone": last["attention alone"],
        "real.alone_frozen": curve(frame, "attention alone", "frozen")[-1],
        "real.mlp_slows": slower(frame),
        "real.mlp_slows_frozen": slower(frame, "frozen"),
    }


def slower(frame: Table, attention: str = "recomputed") -> float:
    """Powers of ten by which the residual without skips is larger with MLPs than without, halfway through."""
    bare, alone = (curve(frame, variant, attention) for variant in ("no skip", "attention alone"))
    middle = len(bare) // 2
    return _log(bare[middle]) - _log(alone[middle])


def length_numbers(name: str, rows: Table) -> Numbers:
    """What short paths add to the answer, of the sizes of all lengths together; the least over texts."""
    together = rows.groupby(["text", "length"], as_index=False)[["value"]].sum()
    sizes = together.assign(size=together["value"].abs()).groupby("text")
    shares = {
        most: min(float(each.loc[each["length"] <= most, "size"].sum() / each["size"].sum()) for _, each in sizes)
        for most in (0, 1, 3)
    }
    return {f"{name}.paths_lack": float((rows["lacks"] / rows["logit"].abs()).max())} | {
        f"{name}.paths_to_{most}": value for most, value in shares.items()
    }


def _of(curves: Any, short: str) -> Any:
    return curves[SHORT[short]].items()


def _log(value: float) -> float:
    return math.log10(max(value, LEAST))
