"""The commands that examine rather than train: check, doctor and compare."""

from __future__ import annotations

import contextlib
from typing import Annotated

from typer import Argument, BadParameter, Exit, Option

from ..errors import GpucnnError
from . import arguments, completion
from .arguments import DataOption, DeviceOption, JsonOption, NetworkArgument, ThreadsOption, VerboseOption
from .options import SeedOption


def check(
    name: Annotated[
        str,
        Argument(
            metavar="NETWORK",
            autocompletion=completion.networks,
            help="A name, or module:name of a network or layer of your own.",
        ),
    ],
    input_shape: Annotated[
        str | None, Option("--input", metavar="HxWxC", help="The shape of one input, which a layer needs.")
    ] = None,
    seed: Annotated[
        int, Option(metavar="N", min=0, help="The number that decides inputs, parameters and directions.")
    ] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check hand-derived gradients against central differences.

    In float64, so that rounding does not blur the difference, and away from kinks, where there is no derivative. Then
    compare the equations with what this device's kernels compute for the same network. Of a network that comes with a
    loss, the loss is checked too.
    """
    from dataclasses import asdict

    from ..device import Device
    from ..network import own
    from ..report import gradient_check, table_check

    shape = None if input_shape is None else _shape(input_shape)
    network = gradient_check.find(name, shape)
    place = Device.parse(device)
    with own.explained(name):
        loss = gradient_check.loss_of(name)
        rows = gradient_check.check(network, loss=loss, seed=seed)
        right = all(row.right for row in rows)
        tables = table_check.on_tables(network, place, seed=seed) if right else []
        wrong = gradient_check.wrong_layers(network, seed=seed) if any(row.wrong for row in rows) else []
        mixing = table_check.mixing(network, loss) if right else []  # where the backward is wrong it would seem so
    if as_json:
        print(arguments.json_text([asdict(row) | {"right": row.right} for row in rows]))
    else:
        width = max(len(row.name) for row in rows)
        for row in rows:
            shown = " x ".join(map(str, row.shape))
            wrong_or_not = "WRONG" if row.directions else "UNDECIDED: every direction crosses a kink"
            verdict = "right" if row.right else wrong_or_not
            if row.name == "loss" and (said := gradient_check.of_factor(row.factor, gradient_check.BATCH)):
                verdict += f": {said}"
            print(
                f"{row.name:<{width}}  {shown:<18} relative error {row.error:.1e}  "
                f"{row.directions} directions, {row.kinks} kinks avoided  {verdict}"
            )
        for each in wrong:
            print(each)
        for table in tables:
            print(f"the {table} kernels of {place} give the same numbers as the equations")
        for part in mixing:
            print(f"{part} looks at other examples of a batch, so batches stay whole; see Layer and context.total")
    if differing := [row.name for row in rows if row.wrong]:
        where = f"; look at {' and '.join(each.name for each in wrong)}" if wrong else ""
        raise GpucnnError(f"{name}: the gradient of {', '.join(differing)} differs from the central difference{where}")
    undecided = ", ".join(row.name for row in rows if not row.directions)
    if undecided:
        raise GpucnnError(f"{name}: the gradient of {undecided} meets a kink in every direction; try another --seed")


def doctor(device: DeviceOption = "auto", as_json: JsonOption = False) -> None:
    """Say what keeps the CPU or a GPU from working, and which command mends it."""
    from ..report.doctor import examine, render

    report = examine(device)
    print(arguments.json_text(report.to_dict()) if as_json else render(report))
    if report.exit_status:
        raise Exit(report.exit_status)


def compare(
    network: NetworkArgument = "two-conv",
    data: DataOption = "digits",
    devices: Annotated[
        str, Option(metavar="D,...", help="What to compare: cpu, cuda, cuda:N, and cuda+eager, +cudnn or +reference.")
    ] = "cpu,cuda",
    steps: Annotated[int, Option(metavar="N", min=1, help="How many updates to compare.")] = 100,
    batch_size: Annotated[int | None, Option(metavar="N", min=1, help="How many images an update takes.")] = None,
    batches: Annotated[str, Option(metavar="N,...", help="The batch sizes to time.")] = "32,64,128,256,512,1024,2048",
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    plot: Annotated[str | None, Option(metavar="FILE", help="Draw it into this .png, .svg or .pdf file.")] = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the CPU with a GPU: how closely they agree after training from the same seed, and how fast each is.

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
        arguments.check_format(plot, "--plot")
    sizes = arguments.whole_numbers(batches, "--batches")
    options = CompareOptions(network, devices.split(","), steps, batch_size, sizes, seed, threads)
    with own.explained(network) if ":" in network else contextlib.nullcontext():
        found = run(load(data), options)
    if plot is not None:
        compare_plots.overview(found, plot)
    shown = compare_text.render if verbose else compare_text.brief
    print(arguments.json_text(found.to_dict()) if as_json else shown(found))


def _shape(text: str) -> tuple[int, ...]:
    """What --input says: HxWxC, or the number of features."""
    sizes = text.lower().replace(" ", "").replace(",", "x").split("x")
    if not all(size.isascii() and size.isdecimal() and len(size) < 10 and int(size) for size in sizes):
        message = f"{text!r}: HxWxC, such as 28x28x1, or a number of features was expected"
        raise BadParameter(message, param_hint="--input")
    return tuple(map(int, sizes))
