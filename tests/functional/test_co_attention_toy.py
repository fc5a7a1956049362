"""The rules of co-attention on a trained model: relevance finds the object that the question is about."""

import pytest
import torch
from torch import Tensor

from tests.functional.co_attention_toy import OBJECTS, TEXT, Toy, scenes, trained
from workbench.functional import (
    cross_relevance,
    cumulative_product,
    gradient_weighted,
    head_mean,
    self_relevance,
    with_residual,
)

N = 200
SELF, CROSS = ("text_self", "image_self"), ("text_cross", "image_cross")


def by_relevance(weighted: dict) -> Tensor:
    """What the start mark has of each object, by the paper's rules in the order of the model's blocks."""
    text, image = (weighted[name] + torch.eye(n) for name, n in zip(SELF, (TEXT, OBJECTS), strict=True))
    between, back = text.new_zeros(N, TEXT, OBJECTS), text.new_zeros(N, OBJECTS, TEXT)
    for number in (0, 1):
        at = {name: weighted[f"{number} {name}"] for name in (*SELF, *CROSS)}
        (between, text), (back, image) = (
            cross_relevance(at["text_cross"], text, image, between, back),
            cross_relevance(at["image_cross"], image, text, back, between),
        )
        text, between = self_relevance(text, at["text_self"]), self_relevance(between, at["text_self"])
        image, back = self_relevance(image, at["image_self"]), self_relevance(back, at["image_self"])
    return between[:, 0]


def by_rollout(maps: dict) -> Tensor:
    """Text and image as one graph of twelve nodes: half of each node stays what it was in every attention."""

    def block(upper_left: Tensor, upper_right: Tensor, lower_left: Tensor, lower_right: Tensor) -> Tensor:
        return torch.cat([torch.cat([upper_left, upper_right], -1), torch.cat([lower_left, lower_right], -1)], -2)

    def step(text: Tensor, image: Tensor, *, cross: bool) -> Tensor:
        if cross:
            return with_residual(
                block(text.new_zeros(N, TEXT, TEXT), text, image, image.new_zeros(N, OBJECTS, OBJECTS))
            )
        return with_residual(block(text, text.new_zeros(N, TEXT, OBJECTS), image.new_zeros(N, OBJECTS, TEXT), image))

    steps = [step(*(maps[name] for name in SELF), cross=False)]
    for number in (0, 1):
        steps.append(step(*(maps[f"{number} {name}"] for name in CROSS), cross=True))
        steps.append(step(*(maps[f"{number} {name}"] for name in SELF), cross=False))
    return cumulative_product(torch.stack(steps, 1))[:, -1, 0, TEXT:]


def measured(seed: int) -> tuple[dict, float]:
    """(method -> what `judged` says of it, the model's own accuracy)."""
    toy = trained(seed)
    text, image, answers, right = scenes(N, torch.Generator().manual_seed(1000 + seed))
    objects = toy.embedded(image).detach().requires_grad_()
    logits = toy(text, objects)
    attentions = {name: getattr(toy, name) for name in SELF}
    for number, layer in enumerate(toy.layers):
        attentions |= {f"{number} {name}": getattr(layer, name) for name in (*SELF, *CROSS)}
    patterns = [a.pattern for a in attentions.values()]
    chosen = logits.gather(-1, answers[:, None]).sum()
    *slopes, slope = torch.autograd.grad(chosen, [*patterns, objects], allow_unused=True)
    slopes = [torch.zeros_like(p) if g is None else g for p, g in zip(patterns, slopes, strict=True)]
    with torch.no_grad():
        weighted = dict(zip(attentions, map(gradient_weighted, patterns, slopes), strict=True))
        maps = {name: head_mean(pattern) for name, pattern in zip(attentions, patterns, strict=True)}
        scores = {
            "relevance": by_relevance(weighted),
            "raw": maps["1 text_cross"][:, 0],
            "rollout": by_rollout(maps),
            "gradient x input": (slope * objects).sum(-1),
            "random": torch.rand(N, OBJECTS, generator=torch.Generator().manual_seed(seed)),
        }
        accuracy = (logits.argmax(-1) == answers).float().mean().item()
        found = {name: judged(toy, score, text, objects, answers, right) for name, score in scores.items()}
    return found, accuracy


def judged(toy: Toy, found: Tensor, text: Tensor, objects: Tensor, answers: Tensor, right: Tensor) -> dict:
    """Share on the right object (of what is above zero), how often it is the first, and two areas.

    The area under accuracy as objects are hidden, the highest first (positive: low is good) or the lowest first
    (negative: high is good).
    """
    shares = found.clamp(min=0) / found.clamp(min=0).sum(-1, keepdim=True).clamp(min=1e-12)
    areas = []
    for order in (found.argsort(-1, descending=True), found.argsort(-1)):
        curve = []
        for removed in range(OBJECTS):
            shown = torch.ones(N, OBJECTS, dtype=torch.bool).scatter(-1, order[:, :removed], value=False)
            curve.append((toy(text, objects, shown).argmax(-1) == answers).float().mean())
        areas.append(torch.trapezoid(torch.stack(curve)).item() / (OBJECTS - 1))
    share = shares.gather(-1, right[:, None]).mean().item()
    first = (found.argmax(-1) == right).float().mean().item()
    return {"share": share, "first": first, "positive": areas[0], "negative": areas[1]}


@pytest.mark.slow
def test_relevance_finds_the_object_asked_for(seed=0):
    """Chance is a ninth. Gradient times input and random do not find it; rollout does, but spreads itself wider.

    Relevance is not above raw cross-attention here: one look-up is all the task needs, so the last layer looks at the
    right object alone (a share of 0.84 to 0.99), while relevance goes on to what the objects themselves had looked at
    (0.53 to 0.62, with seeds 0, 1 and 2; one of them is trained here). Removing objects in the order of either does the
    same, to within 0.05 of the area.
    """
    found, accuracy = measured(seed)
    assert accuracy > 0.98
    relevant = found["relevance"]
    assert relevant["first"] > 0.99
    assert relevant["share"] > 1.25 * max(found[name]["share"] for name in ("rollout", "gradient x input", "random"))
    assert relevant["positive"] < min(found[name]["positive"] for name in ("gradient x input", "random")) - 0.2
    assert relevant["negative"] > max(found[name]["negative"] for name in ("gradient x input", "random")) + 0.2
    assert relevant["positive"] < found["raw"]["positive"] + 0.05
    assert relevant["negative"] > found["raw"]["negative"] - 0.01
