"""Which inputs are taken when not all are wanted: by a hash of seed and place, so that every machine takes the same."""

import hashlib
from collections.abc import Callable, Sequence

Take = Callable[[int], Sequence[int]]
"""Given how many inputs there are, which places to take."""


def order(count: int, seed: int = 0) -> list[int]:
    """The places 0 to count - 1 in a random order; a longer draw with the same seed holds every shorter one."""
    return sorted(range(count), key=lambda i: hashlib.blake2b(f"{seed}:{i}".encode(), digest_size=8).digest())


def drawn(count: int, limit: int | None, seed: int = 0) -> list[int]:
    """At most `limit` of `count` places, in their own order; all of them when `limit` is None."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(order(count, seed)[:limit])
