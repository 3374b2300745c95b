"""The commands that examine rather than train: check, doctor, compare; `cli_bench` has bench."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated

import typer

from ..errors import GpucnnError
from . import arguments
from .arguments import DataOption, DeviceOption, JsonOption, NetworkArgument, ThreadsOption

app = typer.Typer()


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A name, or module:factory of a network or layer of your own.")
    ],
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="HxWxC", help="The input's shape without the batch.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the input, the parameters and the directions.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check hand-derived gradients against central differences, in float64, away from kinks.

    Then compare the equations with what this device's kernels compute for the same network.
    """
    from dataclasses import asdict

    from ..device import Device
    from ..network import own
    from ..report import gradient_check, table_check

    sizes = (input_shape or "").lower().replace("x", ",")
    shape = tuple(arguments.whole_numbers(sizes, "--input")) if sizes else None
    network = gradient_check.find(name, shape)
    place = Device.parse(device)
    with own.explained(name):
        rows = gradient_check.check(network, seed=seed)
        right = all(row.right for row in rows)
        right = all(row.right for row in rows)
        tables = table_check.on_tables(network, place, seed=seed) if right else []
        mixing = table_check.mixing(network)
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
        for table in tables:
            print(f"the {table} kernels of {place} give the same numbers as the equations")
        for layer in mixing:
            print(f"{layer} looks at other examples of a batch, so batches stay whole; see Layer and context.total")
    wrong = [row.name for row in rows if not row.right and row.directions]
    if wrong:
        raise GpucnnError(f"{name}: the gradient of {', '.join(wrong)} differs from the central difference")
    undecided = ", ".join(row.name for row in rows if not row.directions)
    if undecided:
        raise GpucnnError(f"{name}: the gradient of {undecided} meets a kink in every direction; try another --seed")


@app.command()
def doctor(device: DeviceOption = "auto", as_json: JsonOption = False) -> None:
    """Say what keeps the CPU or a GPU from working, and the command that mends it."""
    from ..report.doctor import examine, render

    report = examine(device)
    print(json.dumps(report.to_dict()) if as_json else render(report))
    if report.exit_status:
        raise typer.Exit(report.exit_status)


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
    from .. import networks
    from ..data import load
    from ..network import own
    from ..report.compare import CompareOptions
    from ..report.compare import compare as run
    from ..report.compare import plots as compare_plots
    from ..report.compare import text as compare_text

    networks.entry(network)
    if plot is not None:
        compare_plots.check_format(plot)
    sizes = arguments.whole_numbers(batches, "--batches")
    options = CompareOptions(network, devices.split(","), steps, batch_size, sizes, seed, threads)
    with own.explained(network) if ":" in network else contextlib.nullcontext():
        found = run(load(data), options)
    if plot is not None:
        compare_plots.overview(found, plot)
    print(json.dumps(found.to_dict()) if as_json else compare_text.render(found))
