"""Options of `gpucnn train`: when a run ends, and which parameters it begins from, moves and keeps."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from .arguments import one_of

PatienceOption = Annotated[
    int | None,
    Option(
        min=1,
        metavar="N",
        help="End the run when N epochs in a row have brought nothing better, and keep the best one's parameters.",
    ),
]
KeepOption = Annotated[
    str | None,
    one_of(("best", "last"), "by default best with --patience, else last", "The epoch whose parameters to save."),
]
WatchOption = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="What --patience and --keep best look at: loss, which is the default, or accuracy of the validation, or "
        "train_loss.",
    ),
]
InitOption = Annotated[
    str | None,
    Option(
        metavar="MODEL",
        help="Begin with the parameters of this model.safetensors, as far as names and shapes are the same.",
    ),
]
FreezeOption = Annotated[
    str | None,
    Option(
        metavar="PATTERN,...",
        help="Leave the parameters with these names as they are, such as '0/*,3/bias': the layer's number and what it "
        "is, as in the files of models.",
    ),
]
