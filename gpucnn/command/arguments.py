"""What the options of the command `gpucnn` mean: texts in, values out, and a sentence where that cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from ..errors import GpucnnError

DataOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH",
        help="digits, mnist, fashion-mnist, cifar10, an .npz file, a folder of IDX files or of pictures.",
    ),
]
DeviceOption = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPUs to compute with. All by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
LayersOption = Annotated[
    list[str] | None, typer.Option(metavar="MODULE[:CLASS]", help="Where its own layers and losses are defined.")
]
NetworkArgument = Annotated[
    str, typer.Argument(metavar="NETWORK", help="A name that `gpucnn networks` lists, or module:factory of your own.")
]
SizeOption = Annotated[
    str | None, typer.Option(metavar="HxW", help="Of pictures from a folder: resized, centre-cropped.")
]
ChannelsOption = Annotated[int | None, typer.Option(help="Of pictures from a folder: 1 (grey) or 3 (colour).")]
AugmentOption = Annotated[
    str | None,
    typer.Option(metavar="shift=N,flip", help="Move training images by up to N pixels, mirror half of them."),
]
InvertOption = Annotated[bool, typer.Option("--invert", help="Pictures from a folder are dark on light.")]
KernelsOption = Annotated[
    Literal["default", "numba", "fused", "cudnn"],
    typer.Option(
        help="numba: some compiled, for a CPU. fused: for CUDA; cudnn: these with cuDNN's convolutions. Experimental: "
        "the last two have not yet run on a GPU."
    ),
]
PrecisionOption = Annotated[
    Literal["float32", "tf32", "bfloat16"],
    typer.Option(help="Of products on a CUDA device. All but float32 round their factors, with fused kernels."),
]
GraphOption = Annotated[
    bool,
    typer.Option(
        "--graph/--no-graph",
        help="Record a step as one CUDA graph, with fused kernels. Experimental: not yet run on a GPU.",
    ),
]


def positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value}: a number above 0 was expected")
    return value


def part(value: float | None) -> float | None:
    if value is not None and not 0 <= value < 1:
        raise typer.BadParameter(f"{value}: 0, or a part of 1 such as 0.1, was expected")
    return value


def options(texts: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE texts: numbers, comma-separated numbers, none, or words."""
    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"{text!r}: NAME=VALUE was expected, such as f=sigmoid", param_hint="--set")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    parts = text.split(",")
    if all(part.strip().isdecimal() for part in parts):
        numbers = tuple(map(int, parts))
        return numbers if len(numbers) > 1 else numbers[0]
    return None if text.lower() == "none" else text


def whole_numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: whole numbers with commas between were expected", param_hint=option
        ) from None


def labels(text: str, names: Sequence[str]) -> list[int]:
    """Classes by name or, where none has that name, by number."""
    parts = [part.strip() for part in text.split(",")]
    known = {name: label for label, name in enumerate(names)}
    wrong = [part for part in parts if part not in known and not part.isdecimal()]
    if wrong:
        raise GpucnnError(f"--classes {text}: there is no class {wrong[0]!r}; choose from {', '.join(names)}")
    return [known[part] if part in known else int(part) for part in parts]
