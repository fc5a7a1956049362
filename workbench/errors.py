"""Every exception the workbench raises on purpose.

* WorkbenchError
  - UnknownName         a name that is not in a registry (says what is)
  - UnsupportedModel    no architecture row for this module, or it does not fit its row
  - MissingSite         this model has no such site
  - MissingCapability   this model lacks what an analysis needs
  - BadInput            a prompt, option or token that cannot be used (also a ValueError)
  - NotDone             a BadInput: a model does not do a task (goes on where told to)
  - BadFile             a file or folder that is damaged or is not what it should be
  - BadWeights          weights that hold NaN or infinity
  - Unavailable         something that could not be fetched (says what was tried)
  - BrokenPlugin        an analysis whose module fails when it is imported
  - Stopped             the user asked a running analysis to stop
"""

import difflib
from collections.abc import Iterable


class WorkbenchError(Exception):
    """Base class: catch this to catch everything the workbench raises."""


class UnknownName(WorkbenchError, LookupError):
    """A name that is not among the known ones; the message offers the nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"No {what} called {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


class UnsupportedModel(WorkbenchError, TypeError):
    """No architecture row for this module, or the module does not fit its row."""


class MissingSite(WorkbenchError, LookupError):
    """This model has no such site."""


class MissingCapability(WorkbenchError, TypeError):
    """This model lacks what an analysis needs."""


class BadInput(WorkbenchError, ValueError):
    """A prompt, option or token that cannot be used."""


class NotDone(BadInput):
    """A model that does not do a task, refused unless the caller goes on anyway; `reason` is the refusal alone."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}{advice}")
        self.reason = reason


class BadFile(WorkbenchError, ValueError):
    """A file or folder that is damaged, or is not what it should be."""


class BadWeights(WorkbenchError, ValueError):
    """Weights that hold NaN or infinity."""


class Unavailable(WorkbenchError, OSError):
    """Something that could not be fetched; the message lists what was tried."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class BrokenPlugin(WorkbenchError, ImportError):
    """An analysis whose module fails when it is imported; the others go on."""


class Stopped(WorkbenchError):
    """The user asked a running analysis to stop."""
