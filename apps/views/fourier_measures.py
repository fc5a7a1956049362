"""Progress measures in words and tables."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from workbench.analyses.fourier.progress_result import ProgressHistory, ProgressMeasures

_LOSSES = {
    "loss": ("Loss", "Of the right answer among the variable's values, over all pairs, in nats."),
    "restricted_loss": (
        "Restricted",
        "Loss of the key frequencies of the sum and the mean logits alone, all pairs.",
    ),
    "excluded_loss": ("Excluded", "Loss without the key frequencies of the sum, on the pairs trained on."),
}


def keys_said(found: "ProgressMeasures | ProgressHistory") -> str:
    """Which frequencies are key, in words."""
    how = "given" if found.chosen else f"above {found.share:.0%} of the variance"
    if not found.key:
        return f"{found.variable}: no frequency of the sum is {how} of the logits over pairs"
    keys = ", ".join(map(str, found.key[:12])) + (" …" if len(found.key) > 12 else "")
    many = "ies" if len(found.key) > 1 else "y"
    return f"{found.variable}: {len(found.key)} key frequenc{many}, {keys} ({how})"


def losses(found: "ProgressMeasures") -> list[tuple[str, str, str]]:
    """(label, value, help) of the three losses."""
    return [(label, number(found.value(name)), help) for name, (label, help) in _LOSSES.items()]


def control_said(found: "ProgressMeasures") -> str:
    """What the key frequencies explain, beside as many other frequencies, drawn at random."""
    if not found.key:
        return "Without key frequencies nothing is restricted to them, and nothing excluded."
    restricted, excluded = (number(found.value(f"random_{name}_loss")) for name in ("restricted", "excluded"))
    said = f"The key frequencies explain {found.value('explained'):.1%} of the variance of the logits over pairs"
    if found.value("random_explained") != found.value("random_explained"):
        return f"{said}. There are too few others for a control."
    return (
        f"{said}; as many others, drawn at random, {found.value('random_explained'):.1%}, with a restricted loss of "
        f"{restricted} and an excluded one of {excluded}."
    )


def keys_frame(found: "ProgressMeasures") -> "pd.DataFrame":
    """One row for each key frequency, the strongest first: its share of the variance of the logits, of the embedding's
    power, and of that of the map from neurons to logits.
    """
    frame = found.spectrum_frame()
    some = frame.loc[frame["frequency"].isin(found.key)].sort_values("sums", ascending=False)
    names = {"sums": "of the logits", "embedding": "embedding", "neuron_logits": "neurons"}
    return some.drop(columns="key").rename(columns=names).reset_index(drop=True)


def others_frame(found: "ProgressMeasures") -> "pd.DataFrame":
    """All measures, with what they are."""
    return found.to_frame().loc[:, ["measure", "value", "what"]]


def number(value: float) -> str:
    """Three figures; what is undefined says so."""
    return "undefined" if value != value else f"{value:.3g}".replace("-", "−")
