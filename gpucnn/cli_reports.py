"""The commands that examine rather than train: check, doctor, compare; `cli_bench` has bench."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import arguments
from .arguments import DataOption, DeviceOption, JsonOption, ThreadsOption
from .errors import GpucnnError

app = typer.Typer()


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A name, or module:factory of a network or layer of your own.")
    ],
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="H,W,C", help="The input's shape without the batch.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn: input, parameters, directions.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check hand-derived gradients against central differences, in float64, away from kinks."""
    from dataclasses import asdict

    from .report import gradient_check

    shape = None if input_shape is None else tuple(arguments.whole_numbers(input_shape, "--input"))
    network = gradient_check.find(name, shape)
    with gradient_check.explained(name):
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
    wrong = [row.name for row in rows if not row.right]
    if wrong:
        raise GpucnnError(f"{name}: the gradient of {', '.join(wrong)} differs from the central difference")


@app.command()
def doctor(device: DeviceOption = "auto", as_json: JsonOption = False) -> None:
    """Say what keeps the CPU or a GPU from working, and the command that mends it."""
    from .report.doctor import examine, render

    report = examine(device)
    print(json.dumps(report.to_dict()) if as_json else render(report))
    if report.exit_status:
        raise typer.Exit(report.exit_status)


@app.command()
def compare(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A network's name; `gpucnn networks` lists them.")
    ] = "two-conv",
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
    from . import networks
    from .data import load
    from .report.compare import Settings
    from .report.compare import compare as run
    from .report.compare import plots as compare_plots
    from .report.compare import text as compare_text

    networks.entry(network)
    if plot is not None:
        compare_plots.check_format(plot)
    sizes = arguments.whole_numbers(batches, "--batches")
    found = run(load(data), Settings(network, devices.split(","), steps, batch_size, sizes, seed, threads))
    if plot is not None:
        compare_plots.overview(found, plot)
    print(json.dumps(found.to_dict()) if as_json else compare_text.render(found))
