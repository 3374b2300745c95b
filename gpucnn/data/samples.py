"""Digits as a hand might draw them: pictures to predict, dark on light, of several sizes and places."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from ..training.writing import write_whole

Point = tuple[float, float]

FINE = 4  # a picture is drawn so many times larger, for smooth edges


class Drawing(NamedTuple):
    """One digit. strokes: points in a box of width 0.6 and height 1, from its upper left corner.

    size (width, height) of the picture, corner (x, y) and height of the digit, width of its strokes: in pixels. ink,
    paper: 0 (black) to 255.
    """

    strokes: tuple[tuple[Point, ...], ...]
    size: tuple[int, int] = (280, 280)
    corner: Point = (85, 50)
    height: float = 180
    width: float = 20
    ink: int = 20
    paper: int = 255


def _arc(x: float, y: float, rx: float, ry: float, first: float, last: float) -> tuple[Point, ...]:
    """Points on an ellipse; degrees, 0 at the right, 90 below."""
    turns = [math.radians(first + (last - first) * k / 40) for k in range(41)]
    return tuple((x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns)


DRAWINGS = {
    "zero": Drawing((_arc(0.3, 0.5, 0.28, 0.5, -90, 270),)),
    "one": Drawing((((0.05, 0.3), (0.3, 0), (0.3, 1)),), size=(200, 300), corner=(40, 80), width=30),
    "two": Drawing(((*_arc(0.3, 0.28, 0.28, 0.28, -170, 40), (0.02, 1), (0.6, 1)),), corner=(140, 90), height=150),
    "three": Drawing(
        (_arc(0.24, 0.26, 0.3, 0.26, -150, 90), _arc(0.24, 0.75, 0.34, 0.25, -90, 150)), ink=90, paper=235
    ),
    "four": Drawing((((0.3, 0), (0, 0.6), (0.6, 0.6)), ((0.44, 0.32), (0.4, 1))), size=(420, 280), corner=(250, 40)),
    "five": Drawing((((0.55, 0), (0.1, 0), (0.06, 0.44)), _arc(0.24, 0.69, 0.34, 0.31, -125, 140)), width=26),
    "six": Drawing((((0.45, 0), (0.2, 0.25), (0.03, 0.68)), _arc(0.3, 0.7, 0.28, 0.3, -180, 180)), corner=(30, 20)),
    "seven": Drawing((((0, 0), (0.6, 0), (0.2, 1)), ((0.15, 0.5), (0.55, 0.5)))),
    "eight": Drawing((_arc(0.3, 0.22, 0.2, 0.22, 90, 450), _arc(0.3, 0.72, 0.24, 0.28, -90, 270)), ink=0, paper=200),
    "nine": Drawing((_arc(0.3, 0.25, 0.22, 0.25, 0, 360), ((0.52, 0.25), (0.5, 0.6), (0.42, 1))), ink=245, paper=25),
}
DIGITS = {name: str(digit) for digit, name in enumerate(DRAWINGS)}


def picture(name: str) -> Any:
    """The drawn digit of that name, such as "seven", as a grey PIL image."""
    from PIL import Image, ImageDraw

    drawing = DRAWINGS[name]
    drawn = Image.new("L", (FINE * drawing.size[0], FINE * drawing.size[1]), drawing.paper)
    pen, radius = ImageDraw.Draw(drawn), FINE * drawing.width / 2
    for stroke in drawing.strokes:
        points = [tuple(FINE * (c + drawing.height * p) for c, p in zip(drawing.corner, point)) for point in stroke]
        pen.line(points, fill=drawing.ink, width=round(2 * radius), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=drawing.ink)
    return drawn.resize(drawing.size, Image.Resampling.BOX)


def write(folder: str | os.PathLike[str]) -> list[Path]:
    """Write the ten pictures as PNG files into the folder; a file that is there stays as it is. -> their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder, f"{name}.png") for name in DRAWINGS]
    for path in paths:
        if not path.exists():
            content = io.BytesIO()
            picture(path.stem).save(content, "PNG")
            write_whole(path, content.getvalue())
    return paths
