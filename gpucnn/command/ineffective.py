"""Options that would change nothing are refused: who gives one expects something of it."""

from __future__ import annotations

from typing import Any

from typer import Context

from ..errors import GpucnnError
from .help import is_given


def check(context: Context, settings: Any) -> None:
    """Raises GpucnnError where an option that was given has no effect beside the others, before the data are read."""
    from .. import networks
    from ..losses import REGRESSION, kind
    from ..model import objective, runs
    from ..optimizers.base import chain

    if context.params.get("resume") is not None:  # what the run itself has may be said again
        return
    if is_given(context, "no_standardize") and not settings.standardize:
        loss = objective.asked(networks.entry(settings.network).loss, settings.loss, None, None)
        if kind(loss) != REGRESSION:
            raise GpucnnError(
                f"--no-standardize is for numbers, as with the losses mse and huber, and {type(loss).__name__} is for "
                "none; leave it out"
            )
    if is_given(context, "decay") and settings.update.decay is not None:
        _, rule = chain(runs.recipe(settings, 1)[1])
        if not getattr(rule, "weight_decay", 0):
            raise GpucnnError(
                f"--decay {settings.update.decay}: there is no weight decay that it would be for; say --weight-decay "
                "NUMBER, too, or leave it out"
            )
