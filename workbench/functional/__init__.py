"""The mathematics alone: pure functions of tensors, batched, on any device and in any dtype; no model anywhere."""

import importlib
from typing import Any

_WHERE = {
    "AttentionScores": "patterns",
    "BIAS_SPLITS": "decompx",
    "CountedMean": "comparison",
    "FrozenNorm": "contributions",
    "Interval": "bootstrap",
    "LensStatistics": "logit_lens",
    "MIXING_MAPS": "mixing",
    "MlpBranch": "decompx",
    "absdot": "decompx",
    "activation_slope": "decompx",
    "alti_map": "alti",
    "aopc": "perturbation",
    "attention_distance": "patterns",
    "attention_entropy": "patterns",
    "attention_flow": "flow",
    "attention_pagerank": "pagerank",
    "attention_parts": "decompx",
    "attention_rollout": "rollout",
    "attention_scores": "patterns",
    "average_ranks": "comparison",
    "bootstrap_difference": "bootstrap",
    "bootstrap_interval": "bootstrap",
    "check_rows": "rollout",
    "contribution_norms": "contributions",
    "copying_eigenvalues": "heads",
    "copying_score": "heads",
    "counted_mean": "comparison",
    "cross_alti_map": "alti",
    "cross_mixing_maps": "mixing",
    "cross_relevance": "relevance_rules",
    "cumulative_flow": "flow",
    "cumulative_product": "rollout",
    "decomposition_bytes": "decompx",
    "drop_first": "rollout",
    "encoder_decoder_relevance": "relevance_rules",
    "final_norm": "frozen_norms",
    "flow_edges": "flow",
    "frozen_norm": "frozen_norms",
    "gated_slopes": "decompx",
    "gradient_weighted": "relevance_rules",
    "head_mean": "rollout",
    "head_rollout": "rollout",
    "joint_maps": "rollout",
    "kendall": "comparison",
    "kl_divergence": "distributions",
    "lens_statistics": "logit_lens",
    "logit_attribution": "frozen_norms",
    "merge_positions": "words",
    "mixing_maps": "mixing",
    "mixing_ratio": "mixing",
    "mlp_parts": "decompx",
    "neighbour_factors": "suppression",
    "norm_scale": "frozen_norms",
    "normalized_relevance": "relevance_rules",
    "perturbation_auc": "perturbation",
    "prefix_matching": "heads",
    "previous_token": "heads",
    "previous_token_mass": "patterns",
    "query_key_terms": "query_key",
    "random_scores": "perturbation",
    "relevance": "relevance_rules",
    "removal_masks": "perturbation",
    "removal_order": "perturbation",
    "repeat_kv": "query_key",
    "repeated_tokens": "heads",
    "row_normalized": "mixing",
    "self_mass": "patterns",
    "self_relevance": "relevance_rules",
    "slope_at_zero": "decompx",
    "source_norms": "value_weighted",
    "spearman": "comparison",
    "suppressed_scores": "suppression",
    "thumbnails": "pictures",
    "token_ranks": "distributions",
    "value_weighted_pattern": "value_weighted",
    "with_bias": "decompx",
    "with_residual": "rollout",
}

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
