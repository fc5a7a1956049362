"""An interpretability workbench: load a model, look inside it, change it, and keep what you find.

    import workbench

    model = workbench.load("smollm2-135m")
    result = workbench.logit_lens(model, "The Eiffel Tower is in the city of")
    result.figure().show()

Every analysis is a function here (`workbench.logit_lens`); `workbench list` names them all. Nothing heavy is
imported until a name is used.

Words used everywhere, one meaning each:
  site       a named place whose value can be read or replaced, such as `blocks.3.attn.pattern`
  stream     the residual stream; `resid_pre`, `resid_mid`, `resid_post` are its three points in a block
  block      one layer of a stack; layers count from 0
  position   a place in the input, counted from 0; a token, patch or frame stands there
  part       the kind of a site within its block: `z`, `pattern`, `mlp_out`
  capability what a model can do, such as `text` or `readout`; analyses ask for these, never for classes
Axis names: batch, pos, query, key, head, kv_head, d_model, d_head, d_mlp, vocab, layer. Attention is (query, key).
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench import (
        functional as functional,
        plots as plots,
        studies as studies,
        tasks as tasks,
        testing as testing,
        variables as variables,
    )
    from workbench.activations import Activations as Activations, estimate as estimate
    from workbench.analyses.circuits.circuit_history import circuit_history as circuit_history
    from workbench.analyses.circuits.direction_steering import steering as steering
    from workbench.analyses.fourier.filter_answers import filtered_answers as filtered_answers
    from workbench.analyses.fourier.progress_history import progress_history as progress_history
    from workbench.analyses.in_context.compare import compare_algorithms as compare_algorithms
    from workbench.capture import capture as capture
    from workbench.circuits.graph import circuit_graph as circuit_graph
    from workbench.circuits.graph_data import CircuitGraph as CircuitGraph
    from workbench.corpora import Corpus as Corpus, corpus as corpus
    from workbench.errors import (
        BadFile as BadFile,
        BadInput as BadInput,
        BadWeights as BadWeights,
        BrokenPlugin as BrokenPlugin,
        MissingCapability as MissingCapability,
        MissingSite as MissingSite,
        Stopped as Stopped,
        Unavailable as Unavailable,
        UnknownName as UnknownName,
        UnsupportedModel as UnsupportedModel,
        WorkbenchError as WorkbenchError,
    )
    from workbench.hooks import editing as editing, reading as reading
    from workbench.interventions import Intervention as Intervention
    from workbench.models.adapters import adapt as adapt
    from workbench.models.architectures import (
        Architecture as Architecture,
        AttentionRow as AttentionRow,
        Stack as Stack,
    )
    from workbench.models.checks import check as check
    from workbench.models.lens_model import LensModel as LensModel
    from workbench.models.loading import load as load
    from workbench.plots import write_figure as write_figure
    from workbench.progress import report as report, reporting as reporting, track as track
    from workbench.registry import (
        ANALYSES as ANALYSES,
        Analysis as Analysis,
        AttentionName as AttentionName,
        Head as Head,
        Layer as Layer,
        Position as Position,
        Prompt as Prompt,
        Seed as Seed,
        Sites as Sites,
        TaskName as TaskName,
        Texts as Texts,
        Token as Token,
        VariableName as VariableName,
        Within as Within,
        analysis as analysis,
        get as get,
    )
    from workbench.results import Result as Result, load_result as load_result
    from workbench.store import ActivationStore as ActivationStore
    from workbench.tasks import Task as Task, task as task
    from workbench.variables import Variable as Variable, variable as variable

__all__ = [
    "ANALYSES",
    "ActivationStore",
    "Activations",
    "Analysis",
    "Architecture",
    "AttentionName",
    "AttentionRow",
    "BadFile",
    "BadInput",
    "BadWeights",
    "BrokenPlugin",
    "CircuitGraph",
    "Corpus",
    "Head",
    "Intervention",
    "Layer",
    "LensModel",
    "MissingCapability",
    "MissingSite",
    "Position",
    "Prompt",
    "Result",
    "Seed",
    "Sites",
    "Stack",
    "Stopped",
    "Task",
    "TaskName",
    "Texts",
    "Token",
    "Unavailable",
    "UnknownName",
    "UnsupportedModel",
    "Variable",
    "VariableName",
    "Within",
    "WorkbenchError",
    "adapt",
    "analysis",
    "capture",
    "check",
    "circuit_graph",
    "circuit_history",
    "compare_algorithms",
    "corpus",
    "editing",
    "estimate",
    "filtered_answers",
    "functional",
    "get",
    "load",
    "load_result",
    "plots",
    "progress_history",
    "reading",
    "report",
    "reporting",
    "steering",
    "studies",
    "task",
    "tasks",
    "testing",
    "track",
    "variable",
    "variables",
    "write_figure",
]

_HOME = {
    "activations": ("Activations", "estimate"),
    "analyses.circuits.circuit_history": ("circuit_history",),
    "analyses.circuits.direction_steering": ("steering",),
    "analyses.fourier.filter_answers": ("filtered_answers",),
    "analyses.fourier.progress_history": ("progress_history",),
    "analyses.in_context.compare": ("compare_algorithms",),
    "capture": ("capture",),
    "circuits.graph": ("circuit_graph",),
    "circuits.graph_data": ("CircuitGraph",),
    "corpora": ("Corpus", "corpus"),
    "errors": (
        "BadFile", "BadInput", "BadWeights", "BrokenPlugin", "MissingCapability", "MissingSite", "Stopped",
        "Unavailable", "UnknownName", "UnsupportedModel", "WorkbenchError",
    ),
    "hooks": ("editing", "reading"),
    "interventions": ("Intervention",),
    "models.adapters": ("adapt",),
    "models.architectures": ("Architecture", "AttentionRow", "Stack"),
    "models.checks": ("check",),
    "models.lens_model": ("LensModel",),
    "models.loading": ("load",),
    "plots": ("write_figure",),
    "progress": ("report", "reporting", "track"),
    "registry": (
        "ANALYSES", "Analysis", "AttentionName", "Head", "Layer", "Position", "Prompt", "Seed", "Sites", "TaskName",
        "Texts", "Token", "VariableName", "Within", "analysis", "get",
    ),
    "results": ("Result", "load_result"),
    "store": ("ActivationStore",),
    "tasks": ("Task", "task"),
    "variables": ("Variable", "variable"),
}  # fmt: skip
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    elif name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    elif name in __all__ or find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")  # which binds the name here
    else:
        from workbench.index import index

        entry = index().by_function(name)
        if entry is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; `workbench list` names the analyses")
        from workbench.registry import get

        value = get(entry.name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    from workbench.index import index

    return sorted({*__all__, *(entry.function for entry in index().analyses.values())})


class _Package(ModuleType):
    """Keeps `workbench.capture` the function: importing `workbench/capture.py` would rebind it to the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULE_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
