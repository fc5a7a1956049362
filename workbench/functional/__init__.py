"""The mathematics alone: pure functions of tensors, batched, on any device and in any dtype; no model anywhere."""

import importlib
from typing import Any

_WHERE = {
    "AttentionScores": "patterns",
    "LensStatistics": "logit_lens",
    "attention_distance": "patterns",
    "attention_entropy": "patterns",
    "attention_scores": "patterns",
    "copying_eigenvalues": "heads",
    "copying_score": "heads",
    "final_norm": "frozen_norms",
    "frozen_norm": "frozen_norms",
    "kl_divergence": "distributions",
    "lens_statistics": "logit_lens",
    "logit_attribution": "frozen_norms",
    "norm_scale": "frozen_norms",
    "prefix_matching": "heads",
    "previous_token": "heads",
    "previous_token_mass": "patterns",
    "query_key_terms": "query_key",
    "repeat_kv": "query_key",
    "repeated_tokens": "heads",
    "self_mass": "patterns",
    "source_norms": "value_weighted",
    "thumbnails": "pictures",
    "token_ranks": "distributions",
    "value_weighted_pattern": "value_weighted",
}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
