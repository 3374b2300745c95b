"""The command `gpucnn`. Each command parses, calls the library and prints; heavy imports wait until one runs.

Exit status: 0; 1 for an error, with one sentence on standard error; 2 for wrong usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

import typer

from .. import __version__
from ..errors import GpucnnError
from . import arguments
from . import bench as cli_bench
from . import reports as cli_reports
from .arguments import (
    AugmentOption,
    ChannelsOption,
    DataOption,
    DeviceOption,
    GraphOption,
    InvertOption,
    JsonOption,
    KernelsOption,
    LayersOption,
    NetworkArgument,
    PrecisionOption,
    SizeOption,
    ThreadsOption,
)

app = typer.Typer(
    name="gpucnn",
    help="Train convolutional neural networks whose gradients are derived by hand, on the CPU or on a CUDA GPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Fetch and check data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cli_reports.app)
app.add_typer(cli_bench.app)


@app.command()
def train(
    network: NetworkArgument = "two-conv",
    data: DataOption = "digits",
    device: DeviceOption = "auto",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per update.")] = None,
    optimizer: Annotated[
        Literal["sgd", "momentum", "nesterov", "adam", "adamw"] | None, typer.Option(help="How theta is updated.")
    ] = None,
    lr: Annotated[float | None, typer.Option(callback=arguments.positive, help="Base learning rate.")] = None,
    schedule: Annotated[
        Literal["constant", "step", "cosine", "one-cycle"] | None, typer.Option(help="Of the learning rate.")
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(callback=arguments.part, help="Part of the training images held out for the learning curve."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Train on these classes only, by name or number.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the network, such as f=sigmoid."),
    ] = None,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    invert: InvertOption = False,
    augment: AugmentOption = None,
    threads: ThreadsOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights, the batch order, the augmentation.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the run is saved; a new runs/NETWORK-DATA by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a finished run in --out.")] = False,
    kernels: KernelsOption = "default",
    precision: PrecisionOption = "float32",
    graph: GraphOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network, save it, and show its accuracy on the test images.

    What is not given comes from the network's recipe. The run leaves model.safetensors, metrics.jsonl and curves.png.
    """
    from .. import networks
    from ..engine.acceleration import Acceleration
    from ..model import runs
    from ..training.augmentation import Augmentation
    from ..training.progress import reporter

    networks.entry(network)
    settings = runs.Settings(
        network,
        device,
        epochs,
        batch_size,
        optimizer,
        lr,
        schedule,
        validation,
        seed,
        threads,
        arguments.options(options),
        Acceleration(kernels, precision, graph),
        None if augment is None else Augmentation.parse(augment),
    )
    runs.start_helpers(settings)
    dataset = _load(data, size, channels, invert)
    if classes is not None:
        dataset = dataset.select_classes(arguments.labels(classes, dataset.class_names))
    model = runs.new_model(settings, dataset)
    path = runs.folder(out, network, dataset.name, force=force)
    chosen, _ = runs.recipe(settings, len(dataset.train_labels))
    _say(f"{network}, {model.layout.size:,} parameters, on {dataset.name} ({len(dataset.train_labels):,} images)")
    _say(_device_line(device, model))
    with reporter(chosen.epochs) as shown:
        history = runs.run(settings, dataset, model, path, (shown,))
    result = runs.result(model, dataset, history, path)
    if history.interrupted:
        _say(f"interrupted in epoch {len(history.epochs) + 1}; what was learnt until then is in {path}")
    if as_json:
        print(json.dumps(result))
    else:
        speed = f"trained in {result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s; "
        print(
            f"test accuracy {100 * result['test_accuracy']:.2f} %, loss {result['test_loss']:.4f}, "
            f"on {len(dataset.test_labels):,} images\n"
            f"{speed if history.epochs else ''}saved in {path}"
        )
    if history.interrupted:
        raise typer.Exit(130)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model.safetensors file.")],
    data: DataOption = "digits",
    layers: LayersOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a saved model on a data set's test images."""
    from ..model import load, runs

    loaded = load(model, device=device, layers=layers, threads=threads)
    dataset = runs.fitting(loaded, _load_as(data, loaded))
    found = loaded.evaluate(dataset.test_images, dataset.test_labels)
    if as_json:
        print(json.dumps({"data": dataset.name, **found}))
    else:
        accuracy, loss = 100 * found["accuracy"], found["loss"]
        print(f"{dataset.name}: accuracy {accuracy:.2f} %, loss {loss:.4f}, {found['examples']:,} images")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model.safetensors file.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Picture files.")],
    invert: Annotated[
        bool, typer.Option("--invert", help="The pictures are dark on light, the training images were not.")
    ] = False,
    layers: LayersOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say what is on pictures, with the preprocessing that was saved with the model."""
    from dataclasses import replace

    from ..data import read_pictures
    from ..model import load

    loaded = load(model, device=device, layers=layers)
    if loaded.preprocessing is None:
        raise GpucnnError(
            f"{model}: it was not saved with a way to read pictures (its input is {loaded.network.input_shape})"
        )
    how = replace(loaded.preprocessing, invert=loaded.preprocessing.invert != invert)
    chances = loaded.predict_proba(read_pictures(images, how))
    rows = [
        {"file": file, "label": loaded.class_names[k], "probability": float(p[k])}
        for file, p, k in zip(images, chances, chances.argmax(axis=1))
    ]
    if as_json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['file']}: {row['label']} ({100 * row['probability']:.1f} %)")


@app.command()
def networks(
    name: Annotated[str | None, typer.Argument(metavar="NETWORK", help="Show one: a name or module:factory.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the networks, or show one with its recipe."""
    from .. import networks as catalogue

    entries = catalogue.NETWORKS if name is None else {name: catalogue.entry(name)}
    rows: list[dict[str, Any]] = [
        {"name": key, "parameters": catalogue.build(key).parameters, "document": entry.document, "about": entry.about}
        for key, entry in entries.items()
    ]
    if as_json:
        print(json.dumps(rows if name is None else rows[0]))
    elif name is not None:
        print(_described(name))
    else:
        for row in rows:
            print(f"{row['name']:<19} {row['parameters']:>9,}  {row['document']:<16} {row['about']}")


@data_app.command()
def fetch(name: Annotated[str, typer.Argument(help="digits, mnist, fashion-mnist or cifar10.")]) -> None:
    """Download a data set, or check the local copy in GPUCNN_DATA_DIR."""
    from .. import data

    print(data.fetch(name))


@data_app.command()
def verify(name: Annotated[str, typer.Argument(help="digits, mnist, fashion-mnist or cifar10.")]) -> None:
    """Check every file of a data set."""
    from .. import data

    for path, evidence in data.verify(name):
        print(f"{path}: {evidence}")


@data_app.command()
def path(name: Annotated[str, typer.Argument(help="digits, mnist, fashion-mnist or cifar10.")]) -> None:
    """Say where a data set is read from."""
    from .. import data

    print(data.where(name))


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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _device_line(asked: str, model: Any) -> str:
    from ..device import select

    threads = f", {model.threads} thread{'s' * (model.threads > 1)}" if model.device.kind == "cpu" else ""
    why = f" ({select(asked)[1]})" if asked == "auto" and model.device.kind == "cpu" else ""
    return f"on {model.device}: {model.device.name}{threads}{why}"


def _load(data: str, size: str | None, channels: int | None, invert: bool) -> Any:
    from ..data import load, parse_size

    return load(data, size=None if size is None else parse_size(size), channels=channels, invert=invert)


def _load_as(data: str, model: Any) -> Any:
    """A data set, picture folders read as the model's own pictures were."""
    import os

    from ..data import load

    how = model.preprocessing
    if how is not None and os.path.isdir(data):
        try:
            return load(data, size=how.size, channels=how.channels, invert=how.invert)
        except GpucnnError:
            if how.invert:
                raise
    return load(data)


def _described(name: str) -> str:
    """A network's source, recipe, settings and layers."""
    from .. import networks
    from ..model import runs
    from ..network import describe

    found = networks.entry(name)
    recipe = found.recipe
    return (
        f"{name}: {found.about}\n"
        f"source: {found.document}\n"
        f"recipe: {describe(recipe.optimizer)}, learning rate {recipe.lr:g}, {recipe.schedule}, "
        f"batches of {recipe.batch_size}, {recipe.epochs} epochs of a data set as large as MNIST\n"
        f"--set: {runs.shown(runs.options_of(name)) or 'nothing'}\n\n"
        f"{networks.build(name).summary(recipe.batch_size)}"
    )


def main() -> int:
    """Run the command on sys.argv and return its exit status."""
    try:
        app(prog_name="gpucnn")
    except GpucnnError as error:
        _say(f"gpucnn: {error}")
        return 1
    except (OSError, MemoryError) as error:
        _say(f"gpucnn: {str(error) or 'out of memory'}")
        return 1
    except KeyboardInterrupt:
        _say("gpucnn: interrupted")
        return 130
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return 0
