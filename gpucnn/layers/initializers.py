"""Initial weights by name, drawn on the host in float64, so that every device starts from the same numbers.

Each takes (rng, shape, fan_in, fan_out); fans are channels times kernel area for a convolution, features for a dense
layer. avgpool-96 writes Glorot's rule: +-sqrt(6 / (fan_in + fan_out)); its first kernel's 4 under the root, and W1's
missing root, are slips, as its second kernel shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import SettingError

Initializer = Callable[[np.random.Generator, tuple[int, ...], int, int], np.ndarray]


def generator(seed: int | np.random.SeedSequence) -> np.random.Generator:
    """The one kind of random generator in gpucnn: NumPy's PCG64, on the host."""
    return np.random.Generator(np.random.PCG64(seed))


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)): variance 2 / (fan_in + fan_out)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Normal of variance 2 / (fan_in + fan_out)."""
    return rng.normal(0, math.sqrt(2 / (fan_in + fan_out)), shape)


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Uniform in +-sqrt(6 / fan_in): variance 2 / fan_in, which ReLU halves again."""
    limit = math.sqrt(6 / fan_in)
    return rng.uniform(-limit, limit, shape)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Normal of variance 2 / fan_in."""
    return rng.normal(0, math.sqrt(2 / fan_in), shape)


def lecun_uniform(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Uniform in +-sqrt(3 / fan_in): variance 1 / fan_in."""
    limit = math.sqrt(3 / fan_in)
    return rng.uniform(-limit, limit, shape)


def lecun_normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
    """Normal of variance 1 / fan_in."""
    return rng.normal(0, math.sqrt(1 / fan_in), shape)


def zeros(rng: np.random.Generator | None, shape: tuple[int, ...], fan_in: int = 0, fan_out: int = 0) -> np.ndarray:
    """All 0, for biases. It draws nothing from rng."""
    return np.zeros(shape)


def ones(rng: np.random.Generator | None, shape: tuple[int, ...]) -> np.ndarray:
    """All 1, for the scales of normalisation. It draws nothing from rng."""
    return np.ones(shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int = 0, fan_out: int = 0) -> np.ndarray:
    """Orthonormal columns, or rows if those are fewer, of the weights as a matrix (the other axes, the last)."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))  # without the signs of r the draw is not uniform over rotations
    return np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)


BY_NAME: dict[str, Initializer] = {
    function.__name__: function
    for function in (
        glorot_uniform,
        glorot_normal,
        he_uniform,
        he_normal,
        lecun_uniform,
        lecun_normal,
        zeros,
        orthogonal,
    )
}


def initializer(name: str) -> Initializer:
    """The initializer of that name. Raises SettingError with the names there are."""
    if not isinstance(name, str) or name not in BY_NAME:
        raise SettingError(f"initializer {name!r} is not known; choose one of {', '.join(BY_NAME)}")
    return BY_NAME[name]
