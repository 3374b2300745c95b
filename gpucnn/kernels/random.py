"""Random numbers by counting: what is drawn depends on a key and on counters alone.

So it is the same on every device, in whatever order and on whatever CPU it is drawn. The mixing is the integer hash
"lowbias32" (Chris Wellons, hash-prospector, public domain). Arrays are int64, of which 32 bits are used: no array
library lacks these operations.
"""

from __future__ import annotations

from typing import Any

Array = Any

MASK = 0xFFFFFFFF


def bits(key: int, *counters: Any) -> Any:
    """32 random bits, 0 .. 2^32 - 1. key and counters: whole numbers, or int64 arrays of them; shapes broadcast."""
    state: Any = _mixed(key & MASK)
    for counter in counters:
        state = _mixed((counter & MASK) ^ state)
    return state


def below(n: int, drawn: Any) -> Any:
    """A whole number in 0 .. n - 1 of 32 random bits; n up to 2^31."""
    return (drawn * n) >> 32


def threshold(rate: float) -> int:
    """What 32 random bits are below with this probability, of [0, 1)."""
    return min(round(rate * 2**32), MASK)


def _mixed(x: Any) -> Any:
    x = _times(x ^ (x >> 16), 0x7FEB352D)
    x = _times(x ^ (x >> 15), 0x846CA68B)
    return x ^ (x >> 16)


def _times(x: Any, factor: int) -> Any:
    """The lower 32 bits of the product: x in halves, so that nothing exceeds 64."""
    return ((x & 0xFFFF) * factor + ((((x >> 16) * factor) & 0xFFFF) << 16)) & MASK
