"""The command `gpucnn`. Each command parses, calls the library and prints; heavy imports wait until one runs.

Exit status: 0; 1 for an error, with one sentence on standard error; 2 for wrong usage; 130 after Ctrl-C; 143 after
SIGTERM, 129 where the terminal was closed; 141, without a word, where what reads the output has closed it, as programs
end that write into `| head`.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import GpucnnError, of_system, without_threads
from ..kernels.cuda import compiling
from . import bench, completion
from . import help as texts
from .augment import augment
from .catalogue import data_app, networks
from .demo import demo
from .export import export
from .messages import as_options
from .predict import predict
from .reports import check, compare, doctor
from .saved import evaluate, verify
from .search import lr
from .serve import serve
from .show import show
from .train import train

EXAMPLES = {
    "train": (
        "train",
        "train fast --data mnist --epochs 2",
        "train --data my_pictures --size 32x32 --channels 3 --out runs/mine",
        "train --config runs/mine/run.toml --seed 1",
        "train --resume runs/mine",
    ),
    "lr": ("lr two-conv --data mnist", "lr fast --optimizer sgd --from 0.001 --to 10 --out lr.png"),
    "evaluate": (
        "evaluate runs/mine/model.safetensors --data my_pictures",
        "evaluate runs/mine/model.safetensors --data my_pictures --report --out report",
    ),
    "demo": ("demo", "demo my_samples"),
    "predict": (
        "predict runs/mine/model.safetensors one.png two.jpg",
        "predict runs/mine/model.safetensors my_pictures --top 3 --csv",
    ),
    "show": ("show runs/mine/model.safetensors", "show runs/mine/model.safetensors one.png --class 7"),
    "serve": ("serve runs/mine/model.safetensors", "serve runs/mine/model.safetensors --port 0"),
    "export": ("export runs/mine/model.safetensors", "export runs/mine/model.safetensors mine.onnx --layout NCHW"),
    "verify": ("verify runs/mine/model.safetensors",),
    "augment": ("augment digits", "augment my_pictures --augment shift=2,rotate=15,flip --out changed.png"),
    "networks": ("networks", "networks two-conv", "networks my_nets:tiny"),
    "check": ("check two-conv", "check my_nets:Centred --input 28x28x3"),
    "doctor": ("doctor", "doctor --device cuda"),
    "compare": ("compare two-conv", "compare fast --devices cpu,cuda --plot compare.png --verbose"),
    "bench": ("bench two-conv", "bench steps two-conv --batch 32,128 --threads 1", "bench profile two-conv"),
}

UNREAD = 128 + 13  # SIGPIPE, which Windows does not have

app = typer.Typer(
    name="gpucnn",
    help="Train convolutional neural networks whose gradients are derived by hand, on the CPU or on a CUDA GPU.",
    epilog=texts.examples(
        "train", "train --data my_pictures --out runs/mine", "predict runs/mine/model.safetensors picture.png"
    ),
    cls=texts.Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train,
    lr,
    evaluate,
    demo,
    predict,
    show,
    serve,
    export,
    verify,
    augment,
    networks,
    check,
    doctor,
    compare,
    bench.bench,
):
    examples = texts.examples(*EXAMPLES[command.__name__]) if command.__name__ in EXAMPLES else None
    app.command(cls=texts.Command, epilog=examples)(command)
app.add_typer(data_app, name="data", cls=texts.Group)


@app.command("help", cls=texts.Command)
def help_(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", autocompletion=completion.commands, help="The command to explain."),
    ] = None,
) -> None:
    """Explain gpucnn, or one of its commands."""
    command: Any = context.find_root().command
    first, *more = words or [""]
    found = command.commands.get(first)
    for k, word in enumerate(more if found else []):
        found = getattr(found, "commands", {}).get(word)
        if found is None:
            of = " ".join(["gpucnn", first, *more[:k]])
            raise GpucnnError(f"help: {word} is no command of `{of}`; `{of} --help` says all of it")
    command.main([*(words or []), "--help"], prog_name="gpucnn", standalone_mode=False)


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
            if any(action == "error" and issubclass(UserWarning, kind) for action, _, kind, *_ in warnings.filters):
                warnings.filterwarnings("default", category=UserWarning, module=r"(?!PIL\b)")  # what we warn of is told
            warnings.showwarning = lambda message, *_, **__: typer.echo(f"gpucnn: {as_options(str(message))}", err=True)
            _run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written goes there
        return UNREAD
    except OSError as error:
        sentence = of_system(error)
    except GpucnnError as error:
        sentence = str(error)
    except MemoryError as error:
        sentence = str(error) or "out of memory"
    except KeyboardInterrupt as error:
        status, sentence = 128 + getattr(error, "signal", signal.SIGINT), "interrupted"
        if crowded := without_threads():
            status, sentence = 1, crowded
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    typer.echo(f"gpucnn: {as_options(sentence)}", err=True)
    return status


def _run() -> None:
    """Run the command, and see that what it printed has gone out before its status is known.

    Typer turns a signal, and output that nobody reads, into an exit without a word: they are raised here.
    """
    try:
        app(_words(), prog_name="gpucnn")
    except SystemExit as ended:
        error: BaseException | None = ended
        while error is not None and not isinstance(error, KeyboardInterrupt | BrokenPipeError):
            error = error.__cause__ or error.__context__
        raise error or ended from None
    finally:
        sys.stdout.flush()


def _words() -> list[str]:
    """The command's words. A shell of Windows leaves it to programs to find the files that a pattern stands for.

    What follows an option may be a pattern of other things, as of --freeze, and stays as it is.
    """
    import glob

    found: list[str] = []
    for before, word in zip(sys.argv, sys.argv[1:]):
        is_pattern = os.name == "nt" and glob.has_magic(word) and not os.path.lexists(word)
        is_pattern = is_pattern and (before == "-" or not before.startswith("-"))
        found += sorted(glob.glob(word, recursive=True)) * is_pattern or [word]
    return found
