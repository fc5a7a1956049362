"""How much of the task the circuit of the chosen size carries, where that was not among the sizes that were run."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from apps.running import progress
from apps.screens.circuit_asked import fingerprint
from apps.subject import Subject

if TYPE_CHECKING:
    from workbench.circuits.graph_data import CircuitGraph

_KEPT = "circuit:measured"


def known(seen: Subject, params: dict[str, Any], size: int) -> float | None:
    """What was measured of this size in this session."""
    return _measured().get((fingerprint(seen.loaded.name, params), size))


def measure(seen: Subject, params: dict[str, Any], size: int, graph: "CircuitGraph") -> None:
    """A button that runs the circuit, and this alone, on the examples."""
    if st.button(
        "Measure this size",
        icon=":material/straighten:",
        help="Runs the model on the examples with this circuit alone: about two forward passes.",
        disabled=not graph.n_kept,
    ):
        with progress("Running the circuit", f"circuit {fingerprint(seen.loaded.name, params)} {size}"):
            value = _faithfulness(seen, params, graph)
        _measured()[fingerprint(seen.loaded.name, params), size] = value
        st.rerun()


def _measured() -> dict[tuple[str, int], float]:
    return st.session_state.setdefault(_KEPT, {})


def _faithfulness(seen: Subject, params: dict[str, Any], graph: "CircuitGraph") -> float:
    from workbench import tasks
    from workbench.circuits.judging import judged
    from workbench.circuits.split import split

    assert graph.kept is not None
    model, control = seen.model, bool(params.get("untrained"))
    if control:
        from workbench.models.untrained import untrained_copy

        model = untrained_copy(model, params["seed"])
    same = {name: params[name] for name in ("examples", "seed", "metric")}
    task = tasks.task(params["task"], model, anyway=params["anyway"] or control, **same)
    found = judged(
        split(model, slots=params["slots"]),
        task.pairs(model),
        task.metric,
        graph.kept[None],
        replace=params["replace"],
    )
    return found.faithfulness[0].item()
