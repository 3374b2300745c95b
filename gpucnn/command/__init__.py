"""The command `gpucnn`. Each command parses, calls the library and prints; heavy imports wait until one runs.

Exit status: 0; 1 for an error, with one sentence on standard error; 2 for wrong usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from .. import __version__
from ..errors import GpucnnError
from ..kernels.cuda import compiling
from . import bench
from .catalogue import data_app, networks
from .reports import check, compare, doctor
from .saved import evaluate, predict, verify
from .train import train

app = typer.Typer(
    name="gpucnn",
    help="Train convolutional neural networks whose gradients are derived by hand, on the CPU or on a CUDA GPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, evaluate, predict, verify, networks, check, doctor, compare):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(bench.app)


def _version(asked: bool) -> None:
    if asked:
        print(f"gpucnn {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> int:
    """Run the command on sys.argv and return its exit status."""
    status, sentence = 1, ""
    compiling.tell = lambda: typer.echo("compiling CUDA kernels (once per machine) ...", err=True)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: typer.echo(f"gpucnn: {message}", err=True)
            app(prog_name="gpucnn")
    except (GpucnnError, OSError) as error:
        sentence = str(error)
    except MemoryError as error:
        sentence = str(error) or "out of memory"
    except KeyboardInterrupt:
        status, sentence = 130, "interrupted"
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    typer.echo(f"gpucnn: {sentence}", err=True)
    return status
