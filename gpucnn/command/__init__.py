"""The command `gpucnn`. Each command parses, calls the library and prints; heavy imports wait until one runs.

Exit status: 0; 1 for an error, with one sentence on standard error; 2 for wrong usage; 130 after Ctrl-C; 143 after
SIGTERM; 141, without a word, where what reads the output has closed it, as programs end that write into `| head`.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Annotated

import typer

from .. import __version__
from ..errors import GpucnnError, of_system
from ..kernels.cuda import compiling
from . import bench
from .augment import augment
from .catalogue import data_app, networks
from .demo import demo
from .reports import check, compare, doctor
from .saved import evaluate, predict, verify
from .search import lr
from .serve import serve
from .show import show
from .train import train

app = typer.Typer(
    name="gpucnn",
    help="Train convolutional neural networks whose gradients are derived by hand, on the CPU or on a CUDA GPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, lr, evaluate, demo, predict, show, serve, verify, augment, networks, check, doctor, compare):
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
            _run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written goes there
        return 128 + signal.SIGPIPE
    except OSError as error:
        sentence = of_system(error)
    except GpucnnError as error:
        sentence = str(error)
    except MemoryError as error:
        sentence = str(error) or "out of memory"
    except KeyboardInterrupt as error:
        status, sentence = 128 + getattr(error, "signal", signal.SIGINT), "interrupted"
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    typer.echo(f"gpucnn: {sentence}", err=True)
    return status


def _run() -> None:
    """Run the command, and see that what it printed has gone out before its status is known.

    Typer turns a signal, and output that nobody reads, into an exit without a word: they are raised here.
    """
    try:
        app(prog_name="gpucnn")
    except SystemExit as ended:
        error: BaseException | None = ended
        while error is not None and not isinstance(error, KeyboardInterrupt | BrokenPipeError):
            error = error.__cause__ or error.__context__
        raise error or ended from None
    finally:
        sys.stdout.flush()
