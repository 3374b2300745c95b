"""`gpucnn demo`: pictures to try a model of digits on."""

from __future__ import annotations

import os
from typing import Annotated

from typer import Argument

from ..errors import printable
from .places import check_folder

MODEL = os.path.join("runs", "two-conv-digits", "model.safetensors")


def demo(
    folder: Annotated[str, Argument(metavar="DIR", help="The folder for them; by default demo.")] = "demo",
) -> None:
    """Draw ten digits, zero.png to nine.png, to predict with a model of digits, and say which commands come next.

    They are as people draw: dark on light, large and small, in a corner. Files that are there stay as they are.
    """
    from ..data import samples
    from .messages import quoted

    check_folder(folder)
    paths = samples.write(folder)
    all_of_them, seven = quoted(folder), quoted(str(paths[7]))
    print(f"ten drawn digits are in {printable(folder)}: {', '.join(path.name for path in paths)}\n\nnow try")
    if not os.path.exists(MODEL):
        print("  gpucnn train   # first: there is no model yet")
    print(f"  gpucnn predict {MODEL} {seven}")
    print(f"  gpucnn predict {MODEL} {all_of_them}")
    print(f"  gpucnn show {MODEL} {seven}   # what is inside")
    print(f"  gpucnn serve {MODEL}   # to draw one yourself; it needs pip install starlette uvicorn")
