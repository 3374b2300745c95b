"""`geometry.warped` for NumPy, in memory that is used again: fresh arrays cost more than the arithmetic on them."""

from __future__ import annotations

import numpy as np

from ...kernels.memory import empty
from .geometry import PIXEL, reflected

Array = np.ndarray


def warped(images: Array, y: Array, x: Array, reflect: bool) -> Array:
    """The bytes that `geometry.warped` gives. y and x, int32, are written over."""
    n, H, W, C = images.shape
    is_bytes = images.dtype == np.uint8
    dtype = np.float32 if is_bytes else images.dtype
    pitch, height = W + 3, H + 3
    for each, size in ((y, H), (x, W)):
        if reflect:
            each[...] = reflected(each, (size - 1) * PIXEL)
        else:
            np.clip(each, -PIXEL, size * PIXEL, out=each)
    place = np.right_shift(y, 16, out=empty(y.shape, np.int32))
    place *= pitch
    place += np.right_shift(x, 16, out=empty(y.shape, np.int32))
    first = np.arange(n) * (height * pitch) + pitch + 1
    corner = np.add(place, first[:, None, None], out=empty(y.shape, np.int64)).reshape(-1)
    weights = []
    for each in (y, x):
        each >>= 8
        each &= 255
        weights.append(empty(corner.shape, dtype))
        weights[-1][...] = each.reshape(-1)
    down, right = weights
    padded, out = empty((n, height, pitch), dtype), empty(images.shape, images.dtype)
    for edge in (padded[:, 0], padded[:, H + 1 :], padded[:, :, 0], padded[:, :, W + 1 :]):
        edge[...] = 0
    plane, spare = padded.reshape(-1), empty(corner.shape, dtype)
    above, below = empty(corner.shape, dtype), empty(corner.shape, dtype)
    for channel in range(C):
        padded[:, 1 : H + 1, 1 : W + 1] = images[..., channel]
        _between(plane, corner, right, above, spare)
        _between(plane[pitch:], corner, right, below, spare)
        below -= above
        below *= down
        above *= 256
        above += below
        if is_bytes:
            above += PIXEL // 2
        above *= 1 / PIXEL
        np.copyto(out[..., channel], above.reshape(n, H, W), casting="unsafe")
    return out


def _between(plane: Array, left: Array, right: Array, out: Array, spare: Array) -> None:
    """256 times what is between two neighbouring columns; right: the weight of the second, in 1/256."""
    np.take(plane, left, out=out, mode="clip")  # with "raise" NumPy copies once more
    np.take(plane[1:], left, out=spare, mode="clip")
    spare -= out
    spare *= right
    out *= 256
    out += spare
