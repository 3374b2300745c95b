"""Sizes of a layer as constants of the kernels' source: each layer has kernels that are compiled for it alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

from ...ops.window import Window

BLOCK = 256  # threads, as layers.cu has it
REALS = {"float32": "float", "float64": "double"}
SIDE_BY_SIDE = 4  # numbers that one access reads or writes at most


cached = functools.lru_cache(maxsize=1024)  # of each launch's sizes: to build them takes as long as to launch


class Sizes(NamedTuple):
    """Files of kernels, one after the other, and what they are compiled with: names and whole numbers, and names and
    matrices of REALs."""

    files: tuple[str, ...]
    constants: tuple[tuple[str, int], ...]
    matrices: tuple[tuple[str, tuple[tuple[float, ...], ...]], ...] = ()


WITHOUT = tuple(
    Sizes(files, ())
    for files in (
        ("layers.cu", "step.cu"),
        ("augment.cu",),
        ("curves.cu",),
        ("dropout.cu",),
        ("in_order.cu",),
        ("normalization.cu",),
    )
)  # of kernels that know no sizes: each is compiled where one of them is asked for


@functools.cache
def without(name: str) -> Sizes:
    """The files where a kernel is that knows no sizes."""
    return next(each for each in WITHOUT if any(f"KERNEL {name}(" in _text(file) for file in each.files))


def placed(window: Window, image: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """How windows lie on an image (H, W, C), as the kernels name it."""
    (top, _), (left, _) = window.padding
    values = (*image, *window.outputs(*image[:2]), *window.size, *window.stride, top, left)
    return tuple(zip(("H", "W", "C", "P", "Q", "I", "J", "s", "t", "top", "left"), values))


def source(sizes: Sizes) -> str:
    """The text that is compiled: the kernels of a layer of these sizes, or of files that know none."""
    named = ", ".join(f"{name} = {value}" for name, value in sizes.constants)
    constants = f"enum : INDEX {{ {named} }};\n" if named else ""
    matrices = (_matrix(name, rows) for name, rows in sizes.matrices)
    return "\n".join((_text("common.cu"), constants, *matrices, *map(_text, sizes.files)))


def options(dtype: str, wide: bool) -> tuple[str, ...]:
    """What the source is compiled with, for arrays of that type; wide: 64-bit indices."""
    return "-std=c++17", f"-DREAL={REALS[dtype]}", f"-DINDEX={'long long' if wide else 'int'}"


def _matrix(name: str, rows: tuple[tuple[float, ...], ...]) -> str:
    values = ", ".join(f"{{{', '.join(map(repr, row))}}}" for row in rows)
    return f"__device__ constexpr REAL {name}[{len(rows)}][{len(rows[0])}] = {{{values}}};"


@functools.cache
def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def side_by_side(gpu: Any, *lengths: int, arrays: tuple[Any, ...]) -> int:
    """How many numbers a thread copies at once: SIDE_BY_SIDE where it divides the lengths and the arrays begin where
    such an access may, else 1."""
    fitting = all(length % SIDE_BY_SIDE == 0 for length in lengths)
    return SIDE_BY_SIDE if fitting and all(gpu.address(a) % (SIDE_BY_SIDE * a.itemsize) == 0 for a in arrays) else 1
