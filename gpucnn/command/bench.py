"""The command `gpucnn bench`: its first word says what is measured, the others of which network."""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from typing import Annotated, Any

import typer

from ..errors import SettingError
from . import arguments
from .arguments import DeviceOption, JsonOption, ThreadsOption

app = typer.Typer()

MODES = {  # and the options that each uses, beside --json
    "steps": ("batch", "device", "threads", "rounds", "fused"),
    "time-to": ("accuracy", "data", "device", "threads", "rounds"),
    "scaling": ("batch", "device", "threads", "rounds", "fused"),
    "memory": ("batch", "device", "threads", "rounds"),
    "profile": ("batch", "device", "rounds", "fused"),
}


@app.command()
def bench(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODE|NETWORK",
            help="What is measured, steps by default; and the networks' names: without any, steps measures the five "
            "of the README's table, the other modes one each.",
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="N,...", help="Images per step. Memory and profile take one number.")
    ] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="How often each is measured: 7 times, but in time-to 5, in memory 3, in profile 30."),
    ] = None,
    accuracy: Annotated[float, typer.Option(help="time-to: the test accuracy at which training ends.")] = 0.99,
    data: Annotated[str, typer.Option(metavar="NAME|PATH", help="time-to: the data set.")] = "mnist",
    fused: Annotated[
        bool,
        typer.Option("--fused", help="Time numba's kernels too; on CUDA the fused ones, as a graph, and with cuDNN."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what training costs, beside PyTorch (and, on CUDA, JAX) where they are installed.

    MODE is one of these. A first word that is none of them is a network.

    steps: the time of a training step at each batch size, and of inference.

    time-to: the time of whole processes that train until a test accuracy is reached.

    scaling: a training step's time per image as batches grow, and per pixel as images do.

    memory: the most that a training step holds, measured on the CPU in processes of their own.

    profile: a training step's time by layer, forward and backward. Gpucnn alone, on one thread of the CPU or on CUDA.
    """
    mode, names = _mode(words or [])
    for option in context.params:
        if context.get_parameter_source(option).name == "COMMANDLINE":  # type: ignore[union-attr]
            _check(mode, option)

    def show(text: str) -> None:
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)

    from ..report.bench.session import BenchOptions

    how = _asked(mode, names, [] if batch is None else arguments.whole_numbers(batch, "--batch"))
    how |= {"options": BenchOptions(device, threads, rounds, fused=fused), "show": show}
    if mode == "time-to":
        how |= {"accuracy": accuracy, "data": data}
    name = mode.replace("-", "_")
    found = getattr(importlib.import_module(f"gpucnn.report.bench.{name}"), name)(**how)
    if as_json:
        print(json.dumps(found))


def _check(mode: str, option: str) -> None:
    """Refuse an option that the mode does not use."""
    takers = [name for name, options in MODES.items() if option in options]
    if takers and mode not in takers:
        message = f"bench {mode} does not use it; use it with {' or '.join(takers)}"
        raise typer.BadParameter(message, param_hint=f"--{option}")


def _asked(mode: str, names: list[str], sizes: list[int]) -> dict[str, Any]:
    """Networks and batch sizes as the mode's function takes them; what is not given is left to it."""
    found: dict[str, Any] = {}
    if names:
        found |= {"names": names} if mode == "steps" else {"network": names[0]}
    if mode in ("steps", "scaling"):
        return found | ({"batches": sizes} if sizes else {})
    if len(sizes) > 1:
        raise typer.BadParameter(f"bench {mode} takes one number, {len(sizes)} were given", param_hint="--batch")
    return found | ({"batch": sizes[0]} if sizes else {})


def _mode(words: list[str]) -> tuple[str, list[str]]:
    """The mode, and the networks that are named. Refuses a first word that is neither but looks like a mode."""
    from .. import networks

    if words and words[0] in MODES and words[0] != "steps":
        mode, *names = words
        if len(names) > 1:
            raise typer.BadParameter(f"bench {mode} measures one network, {len(names)} were named: {', '.join(names)}")
        return mode, names
    near = difflib.get_close_matches(words[0], MODES, 1) if words and words[0] != "steps" else []
    try:
        if near:
            networks.entry(words[0])
    except SettingError:
        message = f"{words[0]!r} is neither a mode nor a network; did you mean bench {near[0]}?"
        raise typer.BadParameter(message) from None
    return "steps", words[1:] if words[:1] == ["steps"] else words
