"""The command `gpucnn bench`: its first word says what is measured, the others of which network."""

from __future__ import annotations

import functools
import importlib
import shutil
import sys
from typing import Annotated, Any

import typer

from ..errors import SettingError, nearest
from . import arguments, completion
from .arguments import DeviceOption, JsonOption, ThreadsOption, VerboseOption
from .help import is_given

MODES = {  # and the options that each uses, beside --json
    "steps": ("batch", "device", "threads", "rounds", "all_kernels", "autotune"),
    "time-to": ("accuracy", "data", "device", "threads", "rounds"),
    "scaling": ("batch", "device", "threads", "rounds", "all_kernels", "autotune"),
    "memory": ("batch", "device", "threads", "rounds"),
    "profile": ("batch", "device", "rounds", "all_kernels"),
    "tune": ("batch", "device"),
}


def bench(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODE|NETWORK",
            autocompletion=completion.modes,
            help="What is measured, steps by default; then the networks. If none is named, steps measures the five of "
            "the README's table, and the other modes measure one each.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="N,...", help="How many images a step takes. Memory and profile take one number."),
    ] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="How often everything is measured. By default time-to measures 5 times, memory 3, profile 30, the "
            "others 7.",
        ),
    ] = None,
    accuracy: Annotated[
        float, typer.Option(metavar="PART", help="The test accuracy at which time-to ends a training.")
    ] = 0.99,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH", autocompletion=completion.data_sets, help="The data set that time-to trains on."
        ),
    ] = "mnist",
    all_kernels: Annotated[
        bool,
        typer.Option(
            "--all-kernels",
            help="Time gpucnn's other kernels too: numba's; on CUDA the default ones without a graph, in TF32, with "
            "Winograd's and with cuDNN's convolutions, and the reference.",
        ),
    ] = False,
    autotune: Annotated[
        bool,
        typer.Option(
            "--autotune/--no-autotune",
            help="On CUDA, time PyTorch's max-autotune too, which takes up to minutes to compile each row.",
        ),
    ] = True,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what training costs, beside PyTorch (and, on CUDA, JAX) where they are installed.

    MODE is one of these. A first word that is none of them is a network.

    steps: the time of a training step at each batch size, and of inference.

    time-to: the time of whole processes that train until a test accuracy is reached.

    scaling: a training step's time per image as batches grow, and per pixel as images do.

    memory: the most that a training step holds, measured on the CPU in processes of their own.

    profile: a training step's time by layer, on one thread of the CPU or on CUDA; there also its kernels, in order.

    tune: on CUDA, each convolution's time by every way that takes it, and which one `train --tune` would choose.
    """
    mode, names = _mode(words or [])
    for option in context.params:
        takers = [name for name, options in MODES.items() if option in options]
        if is_given(context, option) and takers and mode not in takers:
            message = f"bench {mode} does not use it; use it with {' or '.join(takers)}"
            raise typer.BadParameter(message, param_hint=f"--{option.replace('_', '-')}")

    from ..report.bench.session import BenchOptions
    from ..report.bench.summary import summary

    whole = functools.partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    show = whole if as_json or verbose else _passing

    # what is not given is left to the mode's function
    sizes = [] if batch is None else arguments.whole_numbers(batch, "--batch")
    if mode in ("memory", "profile", "tune") and len(sizes) > 1:
        raise typer.BadParameter(f"bench {mode} takes one number, {len(sizes)} were given", param_hint="--batch")
    how: dict[str, Any] = {
        "options": BenchOptions(device, threads, rounds, all_kernels=all_kernels, autotune=autotune),
        "show": show,
    }
    if names:
        how |= {"names": names} if mode == "steps" else {"network": names[0]}
    if sizes:
        how |= {"batches": sizes} if mode in ("steps", "scaling") else {"batch": sizes[0]}
    if mode == "time-to":
        how |= {"accuracy": accuracy, "data": data}
    name = mode.replace("-", "_")
    own = next((each for each in names if ":" in each), None)
    with arguments.explained(own or mode, own):
        found = getattr(importlib.import_module(f"gpucnn.report.bench.{name}"), name)(**how)
    if as_json:
        print(arguments.json_text(found))
        return
    _passing("")
    print(f"\n{summary(found)}" if verbose else summary(found))


def _passing(text: str) -> None:
    """Show what is going on in a line of the terminal that the next one, or the result, takes the place of."""
    if sys.stderr.isatty():
        first = text.strip().partition("\n")[0][: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[K{first}", end="", file=sys.stderr, flush=True)


def _mode(words: list[str]) -> tuple[str, list[str]]:
    """The mode, and the networks that are named. Refuses a first word that is neither but looks like a mode."""
    from .. import networks

    if not words or words[0] in MODES:
        mode, *names = words or ["steps"]
        if mode != "steps" and len(names) > 1:
            raise typer.BadParameter(f"bench {mode} measures one network, {len(names)} were named: {', '.join(names)}")
        return mode, names
    near = nearest(words[0], MODES)
    try:
        if near:
            networks.entry(words[0])
    except SettingError:
        message = f"{words[0]!r} is neither a mode nor a network; did you mean bench {near}?"
        raise typer.BadParameter(message) from None
    return "steps", words
