"""The commands that examine rather than train: check, doctor, bench, compare."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Annotated

import typer

from . import arguments
from .arguments import DataOption, DeviceOption, JsonOption, NetworkArgument, ThreadsOption
from .errors import GpucnnError

app = typer.Typer()


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A name, or module:factory of a network or layer of your own.")
    ],
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="HxWxC", help="The input's shape without the batch.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn: input, parameters, directions.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check hand-derived gradients against central differences, in float64, away from kinks."""
    from dataclasses import asdict

    from . import own
    from .report import gradient_check

    sizes = (input_shape or "").lower().replace("x", ",")
    shape = tuple(arguments.whole_numbers(sizes, "--input")) if sizes else None
    network = gradient_check.find(name, shape)
    with own.explained(name):
        rows = gradient_check.check(network, seed=seed)
    if as_json:
        print(json.dumps([asdict(row) | {"right": row.right} for row in rows]))
    else:
        width = max(len(row.name) for row in rows)
        for row in rows:
            shown = " x ".join(map(str, row.shape))
            verdict = (
                "right" if row.right else "WRONG" if row.directions else "UNDECIDED: every direction crosses a kink"
            )
            print(
                f"{row.name:<{width}}  {shown:<18} relative error {row.error:.1e}  "
                f"{row.directions} directions, {row.kinks} kinks avoided  {verdict}"
            )
    wrong = [row.name for row in rows if not row.right and row.directions]
    if wrong:
        raise GpucnnError(f"{name}: the gradient of {', '.join(wrong)} differs from the central difference")
    undecided = ", ".join(row.name for row in rows if not row.directions)
    if undecided:
        raise GpucnnError(f"{name}: the gradient of {undecided} meets a kink in every direction; try another --seed")


@app.command()
def doctor(device: DeviceOption = "auto", as_json: JsonOption = False) -> None:
    """Say what keeps the CPU or a GPU from working, and the command that mends it."""
    from .report.doctor import examine, render

    report = examine(device)
    print(json.dumps(report.to_dict()) if as_json else render(report))
    if report.exit_status:
        raise typer.Exit(report.exit_status)


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NETWORK]...", help="Networks by name; the five of the README's table by default."),
    ] = None,
    batch: Annotated[str | None, typer.Option(metavar="N,...", help="Images per step; 32,128,512 by default.")] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Turns of each library: 7, begun within 5 minutes; seeds of --time-to: 5; of --memory: 3."
        ),
    ] = None,
    time_to: Annotated[
        float | None, typer.Option(metavar="ACCURACY", help="Time whole processes until this test accuracy instead.")
    ] = None,
    data: Annotated[str, typer.Option(metavar="NAME|PATH", help="The data set of --time-to.")] = "mnist",
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Time per image against batch size and pixels instead.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Peak memory of a step in own processes instead.")] = False,
    fused: Annotated[
        bool,
        typer.Option("--fused", help="Time numba's kernels too; on CUDA the fused ones, as a graph, and with cuDNN."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Time training steps and inference beside PyTorch (and, on CUDA, JAX) where they are installed."""
    from .report import bench as steps
    from .report import processes

    def show(text: str) -> None:
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)

    if sum((time_to is not None, scaling, memory)) > 1:
        raise typer.BadParameter("--time-to, --scaling and --memory exclude each other; give one of them")
    settings = steps.Settings(device=device, threads=threads, rounds=rounds or steps.Settings.rounds, fused=fused)
    sizes = None if batch is None else arguments.whole_numbers(batch, "--batch")
    if time_to is not None:
        seeds = rounds or processes.SEEDS
        found = processes.time_to(time_to, data, (names or ["fast"])[0], settings, show, seeds=seeds)
    elif memory:
        largest = max(sizes or [512])
        repeats = rounds or processes.REPEATS
        found = processes.memory((names or ["two-conv-wide"])[0], largest, settings, show, repeats=repeats)
    elif scaling:
        batches = sizes or steps.SCALING_BATCHES
        found = steps.scaling((names or ["two-conv"])[0], batches, settings=settings, show=show)
    else:
        found = processes.compare(names or steps.NETWORKS, sizes or steps.BATCHES, settings, show)
    if as_json:
        print(json.dumps(found))


@app.command()
def compare(
    network: NetworkArgument = "two-conv",
    data: DataOption = "digits",
    devices: Annotated[
        str,
        typer.Option(metavar="D,...", help="What is set beside the CPU: cuda, cuda:N, cuda+fused, +graph, +cudnn."),
    ] = "cpu,cuda",
    steps: Annotated[int, typer.Option(min=1, help="Updates of theta.")] = 100,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per update; the recipe's by default.")] = None,
    batches: Annotated[
        str, typer.Option(metavar="N,...", help="Batch sizes that are timed.")
    ] = "32,64,128,256,512,1024,2048",
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and the batch order.")] = 0,
    threads: ThreadsOption = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw it, as .png, .svg or .pdf.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Set the CPU and a GPU side by side: the same seed, how closely they agree, how fast each is.

    Without a GPU, the array libraries at hand are compared instead.
    """
    from . import networks, own
    from .data import load
    from .report import compare_plots, compare_text
    from .report.compare import compare as run
    from .report.compare_result import Settings

    networks.entry(network)
    if plot is not None:
        compare_plots.check_format(plot)
    sizes = arguments.whole_numbers(batches, "--batches")
    settings = Settings(network, devices.split(","), steps, batch_size, sizes, seed, threads)
    with own.explained(network) if ":" in network else contextlib.nullcontext():
        found = run(load(data), settings)
    if plot is not None:
        compare_plots.overview(found, plot)
    print(json.dumps(found.to_dict()) if as_json else compare_text.render(found))
