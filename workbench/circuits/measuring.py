"""A task on a model as a measure of circuits, for `functional.completeness` and `functional.minimality`.

measure = measure_of(split(model), workbench.tasks.task("induction", model))
edges, drops = functional.minimality(measure, circuit.kept)
"""

from workbench.circuits.edge_scores import Replace
from workbench.circuits.judging import judged
from workbench.circuits.split import Wiring
from workbench.functional.circuit_checks import Measure
from workbench.tasks.form import Task


def measure_of(wiring: Wiring, task: Task, *, replace: Replace = "corrupted") -> Measure:
    """A function from circuits, (circuit, source, slot), to the mean of the task's metric for each.

    All other edges carry what `replace` says. Costs about two forward passes a circuit and example, and two more an
    example for each time it is asked.
    """
    pairs = list(task.pairs(wiring.model))

    def measure(kept):
        return judged(wiring, pairs, task.metric, kept, replace=replace).circuits.mean(-1)

    return measure
