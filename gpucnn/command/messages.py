"""Lines that `gpucnn train` prints of its run, and what commands say of a data set."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from typer import Context

from ..errors import counted, printable
from .help import is_given

OPTIONS = {  # what the library's sentences say in Python's words
    "skip_broken=True": "--skip-broken",
    "numbers=True": "--loss mse",
    "(lr)": "(--lr)",
    "size=(H, W)": "--size",
    'fit="pad"': "--fit pad",
    'fit="stretch"': "--fit stretch",
    "give fit validation=(images, labels)": "say --validation 0.1",
    'load_parameters(path, without="head")': "--init-except head",
    'without="head"': "--init-except head",
    "standardize=False": "--no-standardize",
    "padding='same'": "--set padding=same",
}


def as_options(text: str) -> str:
    """A sentence of the library with the command's words."""
    for python, option in OPTIONS.items():
        text = text.replace(python, option)
    return text


def quoted(*words: str) -> str:
    """Words as the shell takes them; those of Windows know double quotes only."""
    if os.name != "nt":
        return shlex.join(words)
    plain = re.compile(r"[\w.:\\/@+=,-]+")
    return " ".join(word if plain.fullmatch(word) else '"{}"'.format(word.replace('"', '\\"')) for word in words)


def tell_notes(dataset: Any) -> None:
    """What was left out or assumed, on standard error."""
    for note in dataset.notes:
        print(printable(f"gpucnn: {as_options(note)}"), file=sys.stderr)


OF_NETWORK = ("network", "options", "data", "size", "channels", "classes")  # what decides how many parameters it has


def of_another_time(context: Context, model: Any, dataset: Any) -> list[str]:
    """Sentences where the file of settings is of a run of before: "" where there is nothing to say."""
    return [_of_another_network(context, model, dataset), _not_standardised(context, model)]


def _of_another_network(context: Context, model: Any, dataset: Any) -> str:
    """A sentence where the file of settings is of a run whose network was, or may have been, another one; else ""."""
    from .. import __version__
    from ..model import config
    from . import data_options

    path, made = context.meta.get(config.MADE, ("", {}))
    if (changed := made.get(config.CHANGED)) and context.params.get("resume") is None:
        return f"{path}: the run that wrote it had other settings before ({changed}), so this does not repeat it"
    if not made or any(is_given(context, name) for name in OF_NETWORK):
        return ""
    version, then, now = made.get("gpucnn"), made.get("parameters"), counted(model.layout.size, "parameter")
    by = f"gpucnn {version} wrote it, and this is {__version__}" if version != __version__ else ""
    if then is None:
        differ = (
            f"it does not say how many parameters {model.name} had then, and here it has {now}: it may be another one"
        )
    else:
        is_other = then != model.layout.size
        differ = (
            f"{model.name} had {then:,} parameters then, and has {now} here: this is another one" if is_other else ""
        )
    anew = context.params.get("resume") is None and not by  # of a state that does not fit it was said before
    shape = data_options.of_shape(context.params, data_options.beside(path), dataset) if anew else ""
    return "" if not by + differ + shape else f"{path}: {'; '.join(filter(None, (by, differ, shape)))}"


def _not_standardised(context: Context, model: Any) -> str:
    """A sentence where numbers are taken as they are because a run of before, whose file of settings it is, did; else
    "".
    """
    from ..losses import REGRESSION, kind
    from ..model import config

    path, made = context.meta.get(config.MADE, ("", {}))
    is_told = kind(model.loss) != REGRESSION or model.standardize or context.params.get("resume") is not None
    if is_told or not made or config.NUMBERS in made:
        return ""
    return (
        f"{path}: the run that wrote it took numbers as they are, and so does this one; write no_standardize = false "
        "there to have them standardised"
    )


def opening(
    settings: Any,
    chosen: Any,
    rule: Any,
    dataset: Any,
    model: Any,
    is_own: bool,
    why: str,
    begun: list[str],
    state: tuple[str, str],
) -> Iterator[str]:
    """What is said before the first batch, beside the network and the data.

    is_own: whether the data are of one's own; chosen, rule: the recipe and the optimiser; why: what was chosen for such
    data; begun: what is said of the parameters of --init; state: where a run stands that is resumed, as
    `checkpoints.standing` says it.
    """
    from ..model import training_memory
    from ..model.checkpoints import FINISHED
    from ..model.numbers import standardizes
    from ..model.own_data import lasting

    if is_own:
        yield as_options(dataset.summary())
    yield from filter(None, (why, lasting(settings, chosen, dataset)))
    total, part = len(dataset.train_labels), chosen.validation
    if part and dataset.validation is None and not min(round(part * total), total - 1):
        yield f"no validation: {part:g} of {counted(total, 'training image')} is no image; --validation 0.1 is a tenth"
    if standardizes(model) and model.units is None and not state[1]:  # a run that goes on has decided
        yield "the numbers are learnt standardised, whatever their units; what the model says is in their units"
    yield device_line(settings.device, model)
    yield from map(as_options, begun)
    yield training_memory.told(model, dataset, chosen, rule, len(settings.keeping()))
    if state[1] and state[0] != FINISHED:  # which is not known before the settings are compared
        yield state[1]


def read_otherwise(settings: Any, start: Any, dataset: Any, data: str) -> list[str]:
    """A sentence where the model that a run begins with was trained on pictures that were read in another way.

    start: as `preflight.check` gives it; data: the name or path of the data set.
    """
    from ..data.loading import may_be_broken
    from ..data.preprocessing import Preprocessing
    from ..model.warm_start import shorter

    read = start and start[0].get("preprocessing")
    if not read or not may_be_broken(data):  # of arrays nobody knows
        return []
    then, now = Preprocessing.from_dict(read), dataset.preprocessing
    if then.strokes is not None:  # which have ways of their own
        return []
    ways = [f"--fit {then.fit}"] * (then.fit != now.fit)
    if then.invert != now.invert:
        ways.append("--invert" if then.invert else "no --invert")
    what = f"{shorter(settings.init)} was trained on pictures that were read otherwise: by "
    return [what + " and ".join(ways)] if ways else []


def result_line(result: Any, dataset: Any) -> str:
    from ..metrics import shown

    found = {name.removeprefix("test_"): value for name, value in result.items() if name.startswith("test_")}
    more = of_several(found, dataset, "`gpucnn evaluate MODEL --report`")
    return f"test {shown(found)}, on {counted(len(dataset.test_labels), 'image')}{more}"


def of_several(found: Any, dataset: Any, by: str) -> str:
    """What the errors of several numbers are, which may be of different units, and by what each is told; else ""."""
    several = "mean_absolute_error" in found and len(dataset.class_names) > 1
    return f"; the errors are means over {len(dataset.class_names)} numbers, {by} has each" if several else ""


def device_line(asked: str, model: Any) -> str:
    from ..device import select

    threads = f", {counted(model.threads, 'thread')}" if model.device.kind == "cpu" else ""
    why = f" ({select(asked)[1]})" if asked == "auto" and model.device.kind == "cpu" else ""
    return f"on {model.device}: {model.device.name}{threads}{why}"
