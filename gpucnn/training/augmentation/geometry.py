"""Where the pixels of a changed image come from: of moved and mirrored ones one by one, of others from between four.

Coordinates are whole numbers, PIXEL to a pixel, and weights have 8 bits, so that a uint8 image becomes the same one on
every device: float32 holds each product and each sum exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from array_api_compat import device

from ...namespace import array_namespace, clipped, joined

Array = Any

PIXEL = 1 << 16
SHORT = 60  # pixels of a displacement that is computed with 32-bit numbers
NODES = 5  # of the grid of an elastic displacement, along each axis
SMALL = 1600  # H + W below which coordinates of an image that is a tenth as large still are 32-bit numbers


def moved(images: Array, down: Array, right: Array, mirrored: Array, most: int, reflect: bool) -> Array:
    """images (n, H, W, C), mirrored where that is 1, then moved by whole pixels, at most `most`; what comes in is 0.

    down, right, mirrored: (n,) int64. reflect: what comes in is the image reflected at its first and last pixels.
    """
    xp, (n, H, W, C), where = array_namespace(images), images.shape, device(images)
    down, right, mirrored = (xp.reshape(each, (n, 1)) for each in (down, right, mirrored))
    rows, columns = (xp.arange(size, dtype=xp.int64, device=where)[None, :] for size in (H, W))
    rows, columns = rows - down, columns - right
    columns = columns + mirrored * (W - 1 - 2 * columns)
    edge = 0 if reflect else most
    if reflect:
        rows, columns, padded = reflected(rows, H - 1), reflected(columns, W - 1), images
    else:
        padded = xp.zeros((n, H + 2 * most, W + 2 * most, C), dtype=images.dtype, device=where)
        padded[:, most : most + H, most : most + W, :] = images
    first = xp.arange(n, dtype=xp.int64, device=where)[:, None] * (H + 2 * edge) + rows + edge
    pixels = first[:, :, None] * (W + 2 * edge) + (columns + edge)[:, None, :]
    taken = xp.take(xp.reshape(padded, (-1, C)), xp.reshape(pixels, (-1,)), axis=0)
    return xp.reshape(taken, (n, H, W, C))


def reflected(place: Array, last: int) -> Array:
    """Places on a line, taken back to 0 .. last as mirrors at both ends show them; last > 0."""
    xp = array_namespace(place)
    return last - xp.abs(last - place % (2 * last))


class Map(NamedTuple):
    """Where the pixels of changed images come from, each (n,) int64: coordinates are twice those from the centre.

    row = along * h + across * w + rows, column = side * (along * w - across * h + columns), in half a PIXEL.
    """

    along: Array
    across: Array
    rows: Array
    columns: Array
    side: Array


def inverse_map(angle: Array, size: Array, down: Array, right: Array, mirrored: Array) -> Map:
    """Of images that are mirrored, enlarged by `size` and turned by `angle` around their centres, and moved.

    angle: radians, counterclockwise as the image is seen; float64 (n,), as size is. down, right, mirrored: int64 (n,).
    """
    xp = array_namespace(angle)
    along, across = (
        xp.astype(xp.round(each * (PIXEL // 2)), xp.int64) for each in (xp.cos(angle) / size, xp.sin(angle) / size)
    )
    rows, columns = along * down + across * right, along * right - across * down
    return Map(along, across, -2 * rows, -2 * columns, 1 - 2 * mirrored)


def sources(places: Map, H: int, W: int, displaced: Sequence[Array] = ()) -> tuple[Array, Array]:
    """The coordinates (n, H, W) of the rows and columns that images' pixels come from, PIXEL to a pixel.

    displaced: by how much beside that, both (n, H, W) or none.
    """
    xp, where = array_namespace(places.along), device(places.along)
    kind = xp.int32 if H + W < SMALL else xp.int64
    along, across, rows, columns, side = (each[:, None] for each in places)
    h, w = (2 * xp.arange(size, dtype=xp.int64, device=where)[None, :] - (size - 1) for size in (H, W))
    pairs = (
        (along * h + rows + (H - 1) * (PIXEL // 2), across * w),
        (side * (columns - across * h) + (W - 1) * (PIXEL // 2), side * along * w),
    )
    found = [xp.astype(of_h, kind)[:, :, None] + xp.astype(of_w, kind)[:, None, :] for of_h, of_w in pairs]
    for each, more in zip(found, displaced):
        each += xp.astype(more, kind)
    return found[0], found[1]


def displacement(drawn: Array, H: int, W: int, most: int) -> Array:
    """By how much each pixel moves, (n, H, W), PIXEL to a pixel: smooth, at most `most`.

    drawn: 32 random bits for each of NODES x NODES places, (n, NODES, NODES); what is between them is interpolated by
    the weight t^2 (3 - 2 t), whose slope is 0 at the nodes. After Simard, Steinkraus and Platt, 2003, who smooth a
    field that is drawn pixel by pixel.
    """
    xp = array_namespace(drawn)
    kind = xp.int32 if most < SHORT * PIXEL else xp.int64
    field = xp.astype(((drawn >> 16) * 2 - 65535) * most >> 16, kind)
    for axis, size in ((1, H), (2, W)):
        place = xp.arange(size, dtype=kind, device=device(drawn)) * ((NODES - 1) * 256) // max(1, size - 1)
        node = clipped(place >> 8, 0, NODES - 2)
        t = place - (node << 8)
        weight = xp.reshape(t * t * (768 - 2 * t) >> 16, (1, -1) if axis == 2 else (1, -1, 1))
        first, second = (xp.take(field, node + k, axis=axis) for k in (0, 1))
        field = first + ((second - first) * weight >> 8)
    return field


def warped(images: Array, y: Array, x: Array, reflect: bool) -> Array:
    """images (n, H, W, C) as they are seen at the coordinates y, x (n, H, W): bilinear, in the same type.

    A uint8 pixel is rounded to the nearest whole number, halves upwards. What is outside is 0, or with reflect the
    image reflected at its first and last pixels.
    """
    xp, (n, H, W, C), where = array_namespace(images), images.shape, device(images)
    is_bytes = images.dtype == xp.uint8
    dtype = xp.float32 if is_bytes else images.dtype
    pitch, height = W + 3, H + 3  # a pixel before and two after, for what is outside
    padded = xp.astype(xp.moveaxis(images, 3, 0), dtype)
    for axis in (2, 3):
        shape = [*padded.shape[:axis], 2, *padded.shape[axis + 1 :]]
        zeros = xp.zeros(tuple(shape), dtype=dtype, device=where)
        padded = xp.concat([zeros[..., :1, :] if axis == 2 else zeros[..., :1], padded, zeros], axis=axis)
    if reflect:
        y, x = reflected(y, (H - 1) * PIXEL), reflected(x, (W - 1) * PIXEL)
    else:
        y, x = (clipped(each, -PIXEL, size * PIXEL) for each, size in ((y, H), (x, W)))
    first = xp.arange(n, dtype=xp.int64, device=where) * (height * pitch) + pitch + 1
    corner = xp.reshape(xp.astype((y >> 16) * pitch + (x >> 16), xp.int64) + first[:, None, None], (-1,))
    down, right = (xp.reshape(xp.astype(each >> 8 & 255, dtype), (-1,)) for each in (y, x))
    made = []
    for channel in range(C):
        plane = xp.reshape(padded[channel, ...], (-1,))
        above, below = (_between(plane[start:], corner, right) for start in (0, pitch))
        below -= above
        below *= down
        above *= 256
        above += below
        if is_bytes:
            above += PIXEL // 2
        above *= 1 / PIXEL
        made.append(xp.astype(above, images.dtype))
    out = made[0] if C == 1 else joined([xp.reshape(each, (-1, 1)) for each in made], axis=1)
    return xp.reshape(out, (n, H, W, C))


def _between(plane: Array, left: Array, right: Array) -> Array:
    """256 times what is between two neighbouring columns; right: the weight of the second, in 1/256."""
    xp = array_namespace(plane)
    first, second = (xp.take(plane[k:], left, axis=0) for k in (0, 1))
    second -= first
    second *= right
    first *= 256
    first += second
    return first
