"""The numbers that claims are about, out of the tables of the study."""

from typing import Any

import torch
from torch import Tensor

from case_studies.ioi.edges import smallest
from case_studies.ioi.heads import rank_correlation
from workbench import functional
from workbench.circuits import Wiring

Table = Any


def answer_numbers(answers: Table) -> dict[str, float]:
    """Accuracy and logit differences by kind of model and prompt."""
    names = {"trained": "answers", "trained, names exchanged": "exchanged", "random weights": "untrained"}
    found: dict[str, float] = {}
    for row in answers.to_dict("records"):
        lead = names[row["model"]]
        found |= {f"{lead}.accuracy": row["accuracy"], f"{lead}.difference": row["logit difference"]}
        found[f"{lead}.corrupted"] = row["corrupted"]
    sizes = {
        "answers.corrupted_size": abs(found["answers.corrupted"]),
        "untrained.difference_size": abs(found["untrained.difference"]),
    }
    return found | sizes | {"answers.first": float(answers["first of all tokens"][0])}


def head_numbers(heads: Table, most: int = 12) -> dict[str, float]:
    """What kinds of heads there are, and whether routes pass through those that matter."""
    patched = heads.dropna(subset="patched")
    movers = heads[(heads["direct"] > 0) & (heads["receiver"] > 0.5)]
    blocking = heads[(heads["direct"] > 0) & (heads["giver, second"] > 0.5)]
    against = heads[(heads["direct"] < 0) & (heads["receiver"] > 0.5)]
    silent = heads[(heads["giver, second"] > 0.5) & (heads["score"] > 0)]
    silent = silent[silent["direct"].abs() < 0.1 * silent["score"]]
    ranks = heads["route"].rank(ascending=False)
    helping, hurting = heads[heads["score"] > 0.1], heads[heads["score"] < -0.1]
    first = heads.head(most)
    total = heads["score"].abs().sum()
    return {
        "heads.patched_with_scores": rank_correlation(patched["score"].abs(), patched["patched"].abs()),
        "heads.same_sign": float((patched["score"] * patched["patched"] > 0).head(most).mean()),
        "heads.movers": float(len(movers)),
        "heads.movers_direct": float(movers["direct"].sum()),
        "heads.movers_first_layer": float(movers["layer"].min()) if len(movers) else float("nan"),
        "heads.negative": float(len(against)),
        "heads.negative_direct": float(against["direct"].sum()),
        "heads.blocking_direct": float(blocking["direct"].max()) if len(blocking) else 0.0,
        "heads.silent": float(len(silent)),
        "heads.duplicate": float(((heads["to itself before"] > 0.5) & (heads["score"] > 0.1)).sum()),
        "heads.induction": float(((heads["to what followed"] > 0.5) & (heads["score"] > 0.1)).sum()),
        "heads.best_on_giver": float(heads["giver, second"][0]),
        "heads.best_direct": float(heads["direct"][0]),
        "heads.best_on_receiver": float(heads["receiver"][0]),
        "heads.best_share": float(abs(heads["score"][0]) / total),
        "heads.silent_patched": float(silent["patched"].max()) if len(silent) else float("nan"),
        "routes.with_scores": rank_correlation(heads["route"], heads["score"].abs()),
        "routes.with_direct": rank_correlation(heads["route"], heads["direct"].abs()),
        "routes.heads": float((heads["route"] > 0).sum()),
        "routes.best_rank": float(ranks[0]),
        "routes.helping_missed": float((helping["route"] == 0).mean()),
        "routes.hurting_missed": float((hurting["route"] == 0).mean()),
        "routes.causal_missed": float((first["route"] == 0).sum()),
        "routes.not_causal": float((heads[ranks <= most]["score"].abs() < 0.05).sum()),
    }


def edge_numbers(edges: Table) -> dict[str, float]:
    """Whether gradients say what patching says, by size and by sign."""
    found: dict[str, float] = {}
    largest = edges[edges["exact"].abs() >= edges["exact"].abs().quantile(0.75)]
    for name in ("eap-ig", "eap"):
        lead, own = f"edges.{name.replace('-', '_')}", edges[name]
        found |= {
            f"{lead}.pearson": float(own.corr(edges["exact"])),
            f"{lead}.spearman": rank_correlation(own, edges["exact"]),
            f"{lead}.spearman_of_sizes": rank_correlation(own.abs(), edges["exact"].abs()),
            f"{lead}.same_sign": float((largest[name] * largest["exact"] > 0).mean()),
        }
    order = "edges.{}.spearman_of_sizes"
    return found | {"edges.order_gain": found[order.format("eap_ig")] - found[order.format("eap")]}


def circuit_numbers(wiring: Wiring, rows: Table, faithful: float) -> dict[str, float]:
    """The smallest circuits that are faithful, and areas under the curves, beside edges in random order."""
    found: dict[str, float] = {}
    random = rows[rows["by"].str.startswith("random")]
    for name in ("size", "help"):
        own = rows[rows["by"] == name]
        size = smallest(own, faithful)
        found |= {f"circuit.{name}.smallest": size, f"circuit.{name}.smallest_share": size / wiring.graph.n_edges}
        found |= area(f"circuit.{name}", own)
        found[f"circuit.{name}.most"] = float(own["faithfulness"].max())
    each = [area("random", one) for _, one in random.groupby("by")]
    found |= {name: sum(one[name] for one in each) / len(each) for name in each[0]}
    return found | {"random.smallest": smallest(random, faithful) / wiring.graph.n_edges}


def area(lead: str, rows: Table) -> dict[str, float]:
    """CPR and CMD of one curve, from the first size that is an edge at least."""
    rows = rows[rows["edges"] > 0]
    found = functional.faithfulness_areas(rows["share"].tolist(), torch.tensor(rows["faithfulness"].tolist()))
    return {f"{lead}.cpr": float(found.cpr), f"{lead}.cmd": float(found.cmd)}


def null_numbers(null: Table, trained: Tensor, fresh: Tensor) -> dict[str, float]:
    """What a circuit of a model with random weights comes to, though the workbench advises against it."""
    return {
        "untrained.largest_edge": float(fresh[~fresh.isnan()].abs().max() / trained[~trained.isnan()].abs().max()),
        "untrained.at_tenth": float(null[null["by"] == "size"]["faithfulness"].iloc[-1]),
        "untrained.at_tenth_help": float(null[null["by"] == "help"]["faithfulness"].iloc[-1]),
    }
