"""Numbers at the edges: NaN, infinities, signed zeros and ties, denormals, very large ones; and how to compare them."""

from __future__ import annotations

from typing import Any

import numpy as np

DRAWS = ("nan", "infinite", "signed zeros", "denormal", "very large")
SCALE = {"denormal": {"float64": 1e-310, "float32": 1e-40}, "very large": {"float64": 1e100, "float32": 1e15}}


def drawn(draw: str, shape: tuple[int, ...], dtype: str = "float64", seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if draw == "signed zeros":
        return rng.choice([-1.0, -0.0, 0.0, 1.0], shape).astype(dtype)
    x = rng.standard_normal(shape)
    if draw in SCALE:
        return (x * SCALE[draw][dtype]).astype(dtype)
    edges = [np.nan] if draw == "nan" else [np.inf, -np.inf]
    return np.where(rng.random(shape) < 0.06, rng.choice(edges, shape), x).astype(dtype)


def silence_biases(layout: Any, theta: np.ndarray) -> None:
    """They would drown denormals, and make ties of what differs."""
    for slot in layout.slots:
        if slot.name.endswith("bias"):
            theta[slot.place] = 0


def assert_alike(found: Any, expected: Any, *, spreads: bool = False, digits: float = 1e-10) -> None:
    """The same numbers, NaN and infinities in the same places.

    spreads: what is not finite may reach further than it must, as in sums that Winograd's tiles share.
    """
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if spreads:
            assert not np.isfinite(a[~np.isfinite(b)]).any()
            a, b = a[np.isfinite(a)], b[np.isfinite(a)]
        largest = np.abs(b[np.isfinite(b)]).max(initial=0)
        np.testing.assert_allclose(
            a, b, rtol=digits, atol=max(digits * largest, 1e3 * np.finfo(b.dtype).smallest_subnormal)
        )
