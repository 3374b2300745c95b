"""`gpucnn serve`: a page to draw on."""

from __future__ import annotations

from typing import Annotated

from typer import Option, echo

from . import arguments
from .arguments import DeviceOption, LayersOption, ModelArgument


def serve(
    model: ModelArgument,
    port: Annotated[
        int,
        Option(min=0, max=65535, metavar="N", help="Where to listen on this computer; 0 takes a port that is free."),
    ] = 8000,
    layers: LayersOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Open a page on this computer to draw a digit, or drop a picture: the probabilities, what each layer makes of it,
    and which pixels mattered.

    The page is for this computer only, and needs no internet. Ctrl-C ends it. Needs starlette and uvicorn:
    pip install starlette uvicorn.
    """
    import os
    from pathlib import Path

    from ..model import load
    from ..web.answers import Answers
    from ..web.server import HOST, application, listening
    from ..web.server import serve as answer

    with arguments.explained(model, None):
        loaded = load(model, device=device, layers=layers)
    answers = Answers(loaded, "/".join(Path(os.path.abspath(model)).parts[-2:]))  # a run's folder says which it is
    application(answers)  # what is missing is said before anything is listened on
    with listening(port) as listener:
        echo(f"http://{HOST}:{listener.getsockname()[1]}/  (Ctrl-C ends it)")
        answer(answers, listener)
