"""Interventions as data: written down, saved, reopened, replayed with identical output."""

from workbench.interventions.applied import (
    edits as edits,
    neutral_sentences as neutral_sentences,
    reference_values as reference_values,
)
from workbench.interventions.forms import (
    OPERATIONS as OPERATIONS,
    Intervention as Intervention,
    Operation as Operation,
    from_json as from_json,
    parse as parse,
    to_json as to_json,
)

__all__ = [
    "OPERATIONS",
    "Intervention",
    "Operation",
    "edits",
    "from_json",
    "neutral_sentences",
    "parse",
    "reference_values",
    "to_json",
]
