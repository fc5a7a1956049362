"""What the page of sinks and massive activations says in sentences, also where there is nothing to be found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.analyses.extremes.attention_sinks import AttentionSinks
    from workbench.analyses.extremes.dormant_heads import DormantHeads
    from workbench.analyses.extremes.massive_activations import MassiveActivations
    from workbench.analyses.extremes.massive_interventions import MassiveInterventions


def rule(found: "MassiveActivations") -> str:
    """The two thresholds."""
    return f"above {found.absolute:g} and at least {found.ratio:g} times the median of its layer"


def massive_said(found: "MassiveActivations") -> str:
    """How many numbers are massive, and where; or how far the largest is from it."""
    value, median = found.value[found.layer, 0].item(), found.median[found.layer].item()
    if not len(found.massive):
        times = f"{abs(value) / median:,.3g} times the median" if median > 0 else "of a layer whose median is 0"
        return (
            f"No number of the stream is massive on this prompt: none is {rule(found)}. The one that stands out most "
            f"is {value:,.4g} after layer {found.layer}, {times}"
        )
    layers, dims = ({row[i] for row in found.massive.tolist()} for i in (0, 2))
    where = f"layer {min(layers)}" if len(layers) == 1 else f"layers {min(layers)} to {max(layers)}"
    named = ", ".join(map(str, sorted(dims)))
    return f"{_count(len(found.massive), 'number')} massive after {where}, in dimension{'s' * (len(dims) > 1)} {named}"


def texts_said(found: "MassiveActivations") -> str:
    """In how many of the other texts there is a massive number."""
    inputs = len(found.text_value)
    with_some = int((found.text_count.sum(1) > 0).sum())
    return (
        f"Of {inputs} texts of {found.texts} {with_some or 'none'} {'has' if with_some == 1 else 'have'} a massive "
        "number. The lines are means over them; the prompt's own picture is below."
    )


def sinks_said(found: "AttentionSinks") -> str:
    """How many heads are sinks of the token that is looked at."""
    heads, sinks = found.sink_heads.numel(), int(found.sink_heads.sum())
    return (
        f"{sinks or 'None'} of {heads} heads give{'s' * (sinks == 1)} token {found.position}, "
        f"{found.keys[found.position]!r}, more than {found.threshold:g} of their attention"
    )


def beside_sinks(found: "AttentionSinks") -> str:
    """Chance, what the mass is a mean of, and what stands first."""
    chance, counts = found.chance[found.position].item(), int(found.counts[found.position])
    return (
        f"Means over {counts} quer{'y' if counts == 1 else 'ies'}; looking at all tokens alike gives {chance:.3f}. "
        f"{found.first}"
    )


def changed_said(found: "MassiveInterventions", row: Mapping[str, Any], random: Mapping[str, Any], asked: str) -> str:
    """What a change does to the loss, beside as many random numbers."""
    count = len(found.places)
    what = f"{count} number{'s' * (count != 1)} set to {'zero' if asked == 'zero' else 'the mean'}"
    if not found.n_tokens.any():
        return (
            f"{what}: the answers move by {row['kl']:.3g} nats (KL), by {random['kl']:.3g} where as many random "
            "numbers are set to zero. This model predicts no next token, so there is no loss"
        )
    return (
        f"{what}: the loss goes from {row['loss'] - row['rise']:.3f} to {row['loss']:.3f} nats a token, to "
        f"{random['loss']:.3f} where as many random numbers are set to zero"
    )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what} is" if n == 1 else f"{n:,} {what}s are"


def dormant_said(found: "DormantHeads") -> str:
    """The head whose sinks differ most between the two kinds of text."""
    score = found.score
    at = int(score.abs().nan_to_num(-1.0).argmax())
    layer, head = at // score.shape[1], at % score.shape[1]
    first, second = (found.sink[i, layer, head].item() for i in (0, 1))
    where = "first" if first > second else "second"
    return (
        f"Head {layer}.{head} differs most: it gives the first token {first:.2f} of its attention on the first kind of "
        f"text and {second:.2f} on the second, so it is more dormant on the {where}"
    )


def head_said(found: "DormantHeads", layer: int, head: int) -> list[str]:
    """What one head does on both kinds of text, and what is lost without it where that was measured."""
    sink, norm = found.sink[:, layer, head].tolist(), found.norm[:, layer, head].tolist()
    said = [
        f"Sink: {sink[0]:.3f} on the first kind, {sink[1]:.3f} on the second.",
        f"Length of its output: {norm[0]:.3g} and {norm[1]:.3g}.",
    ]
    if [layer, head] not in found.heads.tolist():
        return [*said, "It was not ablated."]
    at = found.heads.tolist().index([layer, head])
    measure = "The loss changes by" if found.measure == "loss" else "The answers move (KL) by"
    for name, values in (("it adds nothing", found.zero), ("it looks at the first token alone", found.parked)):
        one, two = values[:, at].tolist()
        said.append(f"{measure} {one:+.3f} and {two:+.3f} nats when {name}.")
    return said
