"""The same measures on a real language model, and its massive activations: how large, where, and what they are for."""

from typing import Any

import pandas as pd

import workbench
from case_studies.extreme_tokens import pictures
from workbench import studies

Table = Any
SENTENCES = 4
"""Put together for one text: about 70 tokens."""


def texts(count: int) -> list[str]:
    """Texts of four sentences each on one subject, from the built-in corpus, each subject in turn."""
    corpus = workbench.corpus("example")
    by_subject: dict[str, list[str]] = {}
    for sentence, subject in zip(corpus.inputs, corpus.groups or (), strict=True):
        by_subject.setdefault(subject, []).append(sentence)
    pieces = [
        " ".join(sentences[at : at + SENTENCES])
        for at in range(0, 28, SENTENCES)
        for sentences in by_subject.values()
        if len(sentences) >= at + SENTENCES
    ]
    return pieces[:count]


def look_at(model: workbench.LensModel, *, count: int, changed: int) -> studies.Findings:
    """Sinks, drained values and peaks on `count` texts; massive activations set to zero and to their mean in some.

    The mean is that of the texts whose loss is not taken.
    """
    read = texts(count)
    massive = workbench.massive_activations(model, read[0], texts=read, inputs=count)
    sinks = [workbench.attention_sinks(model, text, position=0) for text in read[:3]]
    altered = workbench.massive_interventions(
        model, read[0], texts=read[1:changed], inputs=changed - 1, reference=read[changed:], draws=2
    )
    over: Table = massive.texts_frame()
    largest = over.loc[over["value"].abs().idxmax()]
    numbers = {
        "largest": abs(float(largest["value"])),
        "ratio": float((massive.text_value[..., 0].abs() / massive.text_median).amax(1).min()),
        "texts_with_some": float((massive.text_count.amax(1) > 0).double().mean()),
        "layers": float((massive.text_count > 0).double().mean(0).ge(0.5).sum()),
        "at_first": float(largest["at_first"]),
        "varies": float(largest["varies"]),
        "sink_heads": min(one.share for one in sinks),
        "sink": min(float(one.mass[..., 0].mean()) for one in sinks),
        "sink_beside_even": min(float(one.mass[..., 0].mean() / one.chance[0]) for one in sinks),
        "value": max(_median_drain(one) for one in sinks),
        "peak": min(float(one.state_ratio[:, 0].max()) for one in sinks),
    }
    changes: Table = altered.to_frame()
    numbers |= {_name(name): float(rows["rise"].max()) for name, rows in changes.groupby("condition", sort=False)}
    numbers |= {f"{_name(name)}.sink": float(rows["sink"].mean()) for name, rows in changes.groupby("condition")}
    return studies.Findings(
        numbers={f"real.{name}": value for name, value in numbers.items()},
        tables={
            "Massive activations by layer": massive.to_frame(),
            "Massive activations over texts": over,
            "Massive activations changed": changes,
            "Sinks of the real model": pd.concat(
                [one.to_frame().assign(text=number) for number, one in enumerate(sinks)], ignore_index=True
            ),
        },
        figures={
            "Massive activations": pictures.massive_figure(massive.curve_frame()),
            "Massive activations changed": pictures.changed_figure(changes),
        },
    )


def _median_drain(sinks: Any) -> float:
    """Length of the first token's value over the others', median of the sink heads."""
    rows = sinks.to_frame()
    return float(rows.loc[rows["sink"], "value_ratio"].median())


def _name(condition: str) -> str:
    return condition.replace(": ", ".").replace(" ", "_")
