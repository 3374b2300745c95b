"""`gpucnn demo`: pictures to try a model of digits on."""

from __future__ import annotations

import os
from typing import Annotated

from typer import Argument

from ..errors import printable

MODEL = os.path.join("runs", "two-conv-digits", "model.safetensors")


def demo(
    folder: Annotated[str, Argument(metavar="DIR", help="The folder for them; by default demo.")] = "demo",
) -> None:
    """Draw ten digits, zero.png to nine.png, to predict with a model of digits, and say which commands come next.

    They are as people draw: dark on light, large and small, in a corner. Files that are there stay as they are.
    """
    import shlex

    from ..data import samples

    paths = samples.write(folder)
    places = shlex.quote(str(paths[7])), " ".join(shlex.quote(str(paths[k])) for k in (2, 4, 9))
    print(f"ten drawn digits are in {printable(folder)}: {', '.join(path.name for path in paths)}\n\nnow try")
    if not os.path.exists(MODEL):
        print("  gpucnn train".ljust(66) + "  # first: there is no model yet")
    print(f"  gpucnn predict {MODEL} {places[0]}")
    print(f"  gpucnn predict {MODEL} {places[1]}")
    print(f"  gpucnn show {MODEL} {places[0]}   # what is inside")
    print(f"  gpucnn serve {MODEL}   # draw one yourself; needs the extra web")
