"""The options that commands share, and what their texts mean: values, or a sentence where that cannot be."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Context, Option

from ..engine.acceleration import TABLES
from ..errors import GpucnnError, SettingError, suggested
from ..kernels.cuda.cublas import PRECISIONS
from ..model.folder import CONFIG, check_run
from ..schedules import schedule
from . import completion, network_settings
from .help import is_given, one_of

DataOption = Annotated[
    str,
    Option(
        metavar="NAME|PATH",
        autocompletion=completion.data_sets,
        help="The data set: digits, mnist, fashion-mnist or cifar10; or the path of a folder that has one sub-folder "
        "of pictures per class, or a .csv that names them; of an .npz, .csv or .parquet file; or of IDX or .npy files.",
    ),
]
DeviceOption = Annotated[
    str,
    Option(
        metavar="DEVICE",
        autocompletion=completion.devices,
        help="Where to compute: auto|cpu|cuda|cuda:N. auto takes a CUDA GPU where one can be used.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    Option(metavar="N", min=1, help="How many CPUs to compute with; by default all that this process may use."),
]
JsonOption = Annotated[
    bool, Option("--json", help="Print JSON, an object or a list, as the last line of standard output.")
]
VerboseOption = Annotated[bool, Option("--verbose", "-v", help="Show the details: every figure, and how it was taken.")]
LayersOption = Annotated[
    list[str] | None,
    Option(
        metavar="MODULE",
        help="Where the layers and losses of your own that the model holds are defined: a module, or module:class. May "
        "be given several times.",
    ),
]
NetworkArgument = Annotated[
    str,
    Argument(
        metavar="NETWORK",
        autocompletion=completion.networks,
        help="The network: a name that `gpucnn networks` lists, or module:factory of your own.",
    ),
]
DataArgument = Annotated[
    str,
    Argument(
        metavar="NAME|PATH",
        autocompletion=completion.data_sets,
        help="The data set: a name, or a path, as --data takes it.",
    ),
]
ModelArgument = Annotated[
    str, Argument(metavar="MODEL", help="The model.safetensors file that `gpucnn train` left in its folder.")
]
KernelsOption = Annotated[
    str,
    one_of(
        TABLES,
        "default: the fastest of the device, those for NumPy on a CPU and our own on CUDA",
        "Which kernels compute the layers. reference: the equations as they are written; numba: some of the CPU's, "
        "compiled; of CUDA, cudnn: cuDNN's convolutions, winograd: Winograd's, and columns: cuBLAS's products, where "
        "they are wide.",
    ),
]
PrecisionOption = Annotated[
    str,
    one_of(
        PRECISIONS,
        "float32 by default",
        "How products are rounded on a CUDA device. tf32 and bfloat16 round the factors of products, those of dense "
        "layers and of wide convolutions, to 10 and 7 bits after the point, for the tensor cores. Direct and "
        "Winograd's convolutions and small products stay float32; columns take a direct one's place where that is "
        "estimated to be faster.",
    ),
]


def check_format(path: str, option: str) -> None:
    """Raises BadParameter, before any work, where the ending names no kind of picture or the folder is not there."""
    if os.path.splitext(path)[1].lower() not in (".png", ".svg", ".pdf"):
        raise BadParameter(f"{path}: .png, .svg or .pdf was expected as the ending", param_hint=option)
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise BadParameter(f"{path}: there is no folder {os.path.dirname(path)}; make it first", param_hint=option)


OF_SHAPE = ("size", "channels")  # what decides the shape of pictures
SHOWN = ("log_every", "quiet", "as_json")  # what a call shows of a run
NOT_SETTINGS = ("config", "resume", "anyway", "out", "force", *SHOWN, "help")  # of a run, but of one call


def from_config(context: Context, path: str | None) -> str | None:
    """The callback of --config: what the file says becomes the default of the options."""
    if path is not None:
        _take_settings(context, Path(path))
    return path


def from_run(context: Context, folder: str | None) -> str | None:
    """The callback of --resume: the same with the file of the run's folder."""
    if folder is not None:
        if not folder or Path(folder).is_file():
            raise BadParameter(f"{folder!r}: the folder of a run was expected", param_hint="--resume")
        check_run(folder)
        _take_settings(context, Path(folder) / CONFIG)
        context.default_map = {**(context.default_map or {}), "out": folder}
    return folder


def _take_settings(context: Context, path: Path) -> None:
    """Raises GpucnnError for a name that is no option."""
    from ..model import config
    from ..networks import as_text

    known = {each.name for each in context.command.params} - {*NOT_SETTINGS, "options"} | {"set"}
    found: dict[str, Any] = {}
    settings, made = config.read(path)
    context.meta[config.MADE] = path, made
    for name, value in settings.items():
        option = name.replace("-", "_")
        if option not in known:
            raise GpucnnError(
                f"{path}: {name} is no setting of a run; {suggested(option, known)}they are {', '.join(sorted(known))}"
            )
        if option == "set":
            if not isinstance(value, dict):
                raise GpucnnError(f"{path}: set = {value!r}: a table was expected, such as [set] with hidden = 64")
            found["options"] = [f"{each}={as_text(of_each)}" for each, of_each in value.items()]
        elif isinstance(value, (dict, list)):
            raise GpucnnError(f"{path}: {name} = {value!r}: one value was expected, as --{name} takes it")
        else:
            found[option] = value if isinstance(value, bool) else str(value)
    if made and config.NUMBERS not in made and "no_standardize" in known:  # numbers were learnt as they are then
        found.setdefault("no_standardize", True)
    context.default_map = {**(context.default_map or {}), **found}


def all_set(context: Context, options: list[str] | None) -> list[str]:
    """What --set says and, before it, what a file does: the later one counts."""
    given = [*(options or [])]
    named = {each.partition("=")[0] for each in given}
    of_file = (context.default_map or {}).get("options") or []
    return [*(each for each in of_file if each.partition("=")[0] not in named), *given]


def check_resumed(context: Context, folder: str | None, *, anyway: bool) -> None:
    """Raises GpucnnError where an option beside --resume says what the run did not begin with, but for its epochs."""
    if folder is None and anyway:
        raise GpucnnError("--anyway: there is no run to go on with; say --resume DIR beside it, or leave it out")
    if folder is None or anyway:
        return
    for each in context.command.params:
        name = each.name or ""
        saved = (context.default_map or {}).get(name)
        if not is_given(context, name) or name in (*NOT_SETTINGS[1:3], *SHOWN, "epochs"):
            continue
        if name in OF_SHAPE and saved is None:  # a file of before does not say it, and the state decides
            continue
        given = context.params[name]
        if name == "options":
            given, saved = network_settings.parsed(all_set(context, given)), network_settings.parsed(saved)
        if name == "optimizer" and saved is None:
            saved = _in_recipe(context.params["network"], given)
        if _compared(name, given) != _compared(name, saved):
            if name == "options":
                saved = (context.default_map or {}).get(name)
            then = "" if name in NOT_SETTINGS or not saved else f" (the run began with {_said(name, saved)})"
            option = "NETWORK" if name == "network" else "" if name == "options" else f"--{name.replace('_', '-')}"
            value = "" if given is True else f" {_said(name, context.params[name])}"
            raise GpucnnError(
                f"--resume {folder}:{option and f' {option}'}{value} is not what the run began with{then}; leave it "
                f"out, or say --anyway to go on with it{', as where the data has moved' if name == 'data' else ''}"
            )


def _said(name: str, value: Any) -> str:
    """An option's value as it is written on the command line, of --set with the option."""
    return " ".join(f"--set {each}" for each in value) if name == "options" else str(value)


def _in_recipe(network: str, name: str) -> str | None:
    """The name of an optimiser, if it is the one of the network's recipe."""
    from .. import networks, optimizers

    return name if optimizers.optimizer(name) == networks.entry(network).recipe.optimizer else None


@contextlib.contextmanager
def moved(folder: str | None) -> Iterator[None]:
    """Around reading the data of a run that is resumed: the sentence for data that is not there says what to do."""
    try:
        yield
    except GpucnnError as error:
        if folder is None:
            raise
        raise type(error)(f"{error}; if the run's data has moved, say --data NEW --anyway beside --resume") from None


def _compared(name: str, value: Any) -> Any:
    """An option's value, from the command line or a file, the same where the same is meant."""
    from ..data import parse_size

    if name == "size" and value is not None:
        return parse_size(value)
    with contextlib.suppress(ValueError, TypeError):
        return float(value)
    return as_path(value) if name == "data" and value is not None else value


def as_path(data: str) -> str:
    """A data set's name, or its path from anywhere."""
    from ..data.catalogue import resolve

    return data if resolve(data) is not None else os.path.abspath(os.path.expanduser(data))


def explained(text: str, check: str | None = None) -> contextlib.AbstractContextManager[None]:
    """Around what runs a user's own code: what that raises, as one sentence that sends the user to `gpucnn check`.

    check: what to check; None is for what has no such code, whose mistakes keep their tracebacks.
    """
    from ..network import own

    return contextlib.nullcontext() if check is None else own.explained(text, f"; try `gpucnn check {check}`")


def json_text(value: Any) -> str:
    """The value as JSON, which has no NaN and no infinity: null stands for them."""

    def plain(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: plain(inner) for key, inner in each.items()}
        if isinstance(each, (list, tuple)):
            return [plain(inner) for inner in each]
        return None if isinstance(each, float) and not math.isfinite(each) else each

    return json.dumps(plain(value), allow_nan=False)


def positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise BadParameter(f"{value}: a number above 0 was expected")
    return value


def not_negative(value: float | None) -> float | None:
    if value is not None and not 0 <= value < math.inf:
        raise BadParameter(f"{value}: a number of at least 0 was expected")
    return value


def scheduled(text: str | None) -> str | None:
    """A text that is a schedule."""
    try:
        schedule(text or "constant")
    except SettingError as error:
        raise BadParameter(str(error).removeprefix("schedule ")) from None
    return text


def part(value: float | None) -> float | None:
    if value is not None and not 0 <= value < 1:
        raise BadParameter(f"{value}: 0, or a part of 1 such as 0.1, was expected")
    return value


def inner_part(value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise BadParameter(f"{value}: a part of 1, above 0, such as 0.999 was expected")
    return value


def whole_numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        message = f"{text!r}: whole numbers with commas between were expected"
        raise BadParameter(message, param_hint=option) from None
