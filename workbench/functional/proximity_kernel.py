"""How much shorter sums are without each of many scaled vectors, compiled: what `proximity` is made of on a processor.

Imported when it is first needed, for numba takes a while. Makes no temporary: each part is taken away coordinate by
coordinate while it lies in the cache.
"""

from typing import Any, no_type_check

from numba import njit

REORDERED = {"reassoc", "contract", "nsz"}
"""Sums may be taken in any order, several at a time; NaN and infinity stay what they are."""


def compiled(function: Any) -> Any:
    """Compile once and keep it on disk, where a place for that can be written to. Does not hold Python's lock."""
    try:
        return njit(nogil=True, cache=True, fastmath=REORDERED)(function)
    except RuntimeError:  # no folder to cache in
        return njit(nogil=True, fastmath=REORDERED)(function)


@compiled
@no_type_check  # numba compiles the function as written, not one that checks its arguments
def lost_lengths(weights, vectors, whole, keep, found):
    """Write sum_d keep_qd (|whole_qd| - |whole_qd - weights_qk vectors_kd|) to found[q, k] where the weight is not 0.

    weights (query, part), vectors (part, d), whole (query, d), keep (query, d) or None for all coordinates.
    """
    for part in range(vectors.shape[0]):
        vector = vectors[part]
        for query in range(whole.shape[0]):
            weight = weights[query, part]
            if weight == 0:
                continue
            state = whole[query]
            lost = weight - weight  # a zero of the same type
            if keep is None:
                for d in range(state.shape[0]):
                    lost += abs(state[d]) - abs(state[d] - weight * vector[d])
            else:
                kept = keep[query]
                for d in range(state.shape[0]):
                    lost += kept[d] * (abs(state[d]) - abs(state[d] - weight * vector[d]))
            found[query, part] = lost
