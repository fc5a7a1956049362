"""Numbers of a circuit in words: what running will cost, what a circuit carries, what is missing."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.lens_model import LensModel

METHODS = {
    "eap-ig": "EAP-IG scores every edge by gradients along the line between the two prompts.",
    "eap": "EAP scores every edge by one gradient at the clean prompt: fast, and blind where gradients vanish.",
    "eap-ig-activations": "EAP-IG over activations follows each node by itself from the corrupted to the clean prompt.",
    "clean-corrupted": "Scores are the mean of the gradients at the clean and at the corrupted prompt.",
    "nodes": "Nodes are scored, and an edge by the node it comes from.",
    "exact": "Each edge by itself carries the corrupted prompt's write, and the metric is read: the reference.",
    "acdc": "From the logits down, each edge is taken out for good if the metric hardly falls.",
    "weights": "Edges are scored by the norms of the weights alone: a baseline.",
    "random": "Edges get random scores: a baseline.",
}
UNITS = {"logit-diff": "logits", "prob-diff": "of probability", "log-prob": "nats", "kl": "nats"}
_SLOW = 4000  # runs of the model after which an hour is near on a small machine


def method_said(method: str) -> str:
    """What a method does, in a sentence."""
    return METHODS.get(method, "")


def unit_of(metric: str) -> str:
    """The unit of a metric."""
    return UNITS.get(metric, "of the metric")


def cost_of(model: "LensModel", params: Mapping[str, Any]) -> tuple[str, str]:
    """How much there is to run, in a sentence; and a warning, "" where it is not long."""
    from workbench.circuits.graph import circuit_graph

    edges = circuit_graph(model, slots=params.get("slots") or "kv-head").n_edges
    method, pairs = str(params["method"]), int(params["examples"])
    steps = int(params.get("steps") or 5)
    sizes, draws = len(params.get("shares") or (0,) * 10), int(params.get("draws") or 0)
    gradients = {"eap": 1, "eap-ig": steps, "clean-corrupted": 2, "nodes": 1}.get(method, 0)
    if method == "eap-ig-activations":
        gradients = steps * (model.n_blocks * 2)
    count = sizes * (1 + draws)
    judged = f"{count:,} circuits are judged, {sizes * draws:,} of them random, at about 2 forward passes each"
    if method in ("exact", "acdc"):
        least = "at least " if method == "acdc" else ""
        runs = f"{least}{edges:,} runs of the rest of the model, one for each edge, on {pairs} pairs of prompts"
        warning = ""
        if edges > _SLOW:
            warning = f"{edges:,} runs take hours on a small machine. EAP-IG comes close to this in minutes."
        return f"{edges:,} edges: {runs}; then {judged}.", warning
    if not gradients:
        return f"{edges:,} edges: no run to score them; then {judged} on {pairs} pairs of prompts.", ""
    passes = f"2 forward passes and {gradients:,} with gradients over {pairs} pairs of prompts"
    return f"{edges:,} edges: {passes} to score them all; then {judged}.", ""


def percent(value: float, *, fine: bool = False) -> str:
    """A share as a reader says it: 82 %, 4.1 %; `fine` ones have two digits however small: 0.07 %."""
    if math.isnan(value):
        return "an undefined share"
    size = abs(100 * value)
    digits = 0 if size >= 9.95 else 1
    if fine and 0 < size < 0.995:
        digits = 1 - math.floor(math.log10(size))
    text = f"{100 * value:.{digits}f}"
    return "0 %" if float(text) == 0 else f"{text} %".replace("-", "−")


def number(value: float) -> str:
    """A number of the metric, three digits, with a true minus."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3g}".replace("-", "−")


def carried(kept: int, of: int, share: float | None, *, between: tuple[float, float] | None = None) -> str:
    """What a circuit carries: "48 edges (0.07 %) carry 82 % of the task"."""
    edges = f"{kept:,} edge{'s' * (kept != 1)} ({percent(kept / of, fine=True)})"
    verb = "carries" if kept == 1 else "carry"
    if share is not None:
        return f"{edges} {verb} {percent(share)} of the task"
    if between is not None:
        low, high = (percent(value) for value in sorted(between))
        return f"{edges} {verb} about {low if low == high else f'{low} to {high}'} of the task"
    return edges
