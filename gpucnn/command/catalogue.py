"""`gpucnn networks` and `gpucnn data`: what there is by name."""

from __future__ import annotations

import math
import shutil
import textwrap
from typing import Annotated, Any

from typer import Argument, Option, Typer

from ..data.preprocessing import CROP
from ..errors import counted
from . import arguments, completion
from .arguments import DataArgument, JsonOption, check_format
from .help import Command
from .messages import as_options
from .options import ChannelsOption, FitOption, InvertOption, SizeOption, SkipBrokenOption

data_app = Typer(
    help="List data sets, look at one; download one that has a name, check its files.", no_args_is_help=True
)

DataName = Annotated[
    str, Argument(autocompletion=completion.data_sets, help="The data set: digits, mnist, fashion-mnist or cifar10.")
]


def networks(
    name: Annotated[
        str | None,
        Argument(
            metavar="NETWORK",
            autocompletion=completion.networks,
            help="The network to show: a name, or module:factory.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the networks, or show one: its recipe, what --set changes, and its layers."""
    from .. import networks as catalogue

    entries = catalogue.NETWORKS if name is None else {name: catalogue.entry(name)}
    rows: list[dict[str, Any]] = [
        {"name": key, "parameters": catalogue.build(key).parameters, "document": entry.document, "about": entry.about}
        for key, entry in entries.items()
    ]
    if as_json:
        print(arguments.json_text(rows if name is None else rows[0] | _told(name)))
    elif name is not None:
        print(_described(name))
    else:
        for row in rows:
            head = f"{row['name']:<19} {row['parameters']:>9,}  {row['document']:<17} "
            print(_wrapped(row["about"], head, least=80))


@data_app.command("list", cls=Command)
def list_names(as_json: JsonOption = False) -> None:
    """List the data sets that have a name, and what a path may be."""
    from ..data import ACCEPTED, catalogue

    rows = [
        {"name": "digits", "training": 1438, "test": 359, "shape": "28x28x1", "about": "comes with scikit-learn"},
        *(
            {
                "name": each.name,
                "training": each.counts[0],
                "test": each.counts[1],
                "shape": "x".join(map(str, each.shape)),
                "about": "is downloaded once",
            }
            for each in catalogue.SOURCES.values()
        ),
    ]
    if as_json:
        print(arguments.json_text(rows))
        return
    for row in rows:
        print(f"{row['name']:<14} {row['training']:>6,} + {row['test']:>6,} pictures of {row['shape']}, {row['about']}")
    print()
    print(_wrapped(f"Or the path of {ACCEPTED}."))


@data_app.command(cls=Command)
def show(
    data: DataArgument,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    invert: InvertOption = False,
    fit: FitOption = CROP,
    skip_broken: SkipBrokenOption = False,
    out: Annotated[
        str | None, Option(metavar="FILE", help="Also draw some pictures of each class with its name: sheet.png.")
    ] = None,
) -> None:
    """Say what a data set holds: classes, pictures of each, sizes, parts, and what was left out and why."""
    from ..data.loading import load_readable
    from ..report import sheet
    from ..report.glyphs import told_once

    if out is not None:
        check_format(out, "--out")
    how = {"size": size, "channels": channels, "invert": invert, "fit": fit}
    dataset, refused = load_readable(data, skip_broken=skip_broken, **how)
    print(as_options("\n".join(filter(None, (dataset.summary(), refused)))))
    if out is not None:
        with told_once(dataset.class_names):
            sheet.draw(dataset, out)
        print(f"some pictures {sheet.of_each(dataset)} are in {out}")


@data_app.command(cls=Command)
def fetch(name: DataName) -> None:
    """Download a data set, or check the local copy in the folder that GPUCNN_DATA_DIR names."""
    from .. import data

    print(data.fetch(name))


@data_app.command(cls=Command)
def verify(name: DataName) -> None:
    """Check every file of a data set, and say what vouches for it."""
    from .. import data

    for path, evidence in data.verify(name):
        print(f"{path}: {evidence}")


@data_app.command(cls=Command)
def path(name: DataName) -> None:
    """Say where a data set is read from."""
    from .. import data

    print(data.where(name))


def _told(name: str) -> dict[str, Any]:
    """What `_described` says, for JSON."""
    from dataclasses import fields

    from .. import networks
    from ..layers.base import cost
    from ..network import describe
    from ..optimizers import described

    found, network = networks.entry(name), networks.build(name)
    sizes = {path: math.prod(shape) for path, shape in network.parameter_shapes().items()}
    recipe = {each.name: getattr(found.recipe, each.name) for each in fields(found.recipe)}
    layers = [
        {
            "path": "/".join(path),
            "layer": describe(layer),
            "output": output,
            "parameters": sum(size for each, size in sizes.items() if each.startswith("/".join(path) + "/")),
            "multiply_adds": cost(layer, shape),
        }
        for path, layer, shape, output in network.walk()
    ]
    return {
        "input": network.input_shape,
        "recipe": recipe | {"optimizer": described(found.recipe.optimizer)},
        "loss": describe(found.loss),
        "settings": {key: _plain(value) for key, value in networks.settings_of(name).items()},
        "layers": layers,
    }


def _plain(value: Any) -> Any:
    """A setting's value, and what JSON has no word for as --set takes it."""
    from ..networks import as_text

    return value if value is None or isinstance(value, (bool, int, float, str, tuple)) else as_text(value)


def _described(name: str) -> str:
    from .. import networks
    from ..network import describe
    from ..optimizers import described

    found = networks.entry(name)
    recipe = found.recipe
    changed = f", images changed by {recipe.augmentation}" if recipe.augmentation else ""
    lines = [
        f"{name}: {found.about}",
        f"source: {found.document}",
        f"recipe: {described(recipe.optimizer)}, learning rate {recipe.lr:g}, {recipe.schedule}, batches of "
        f"{recipe.batch_size}, {counted(recipe.epochs, 'epoch')} of a data set as large as MNIST{changed}",
        f"loss: {describe(found.loss)}",
        f"--set: {networks.shown(networks.settings_of(name)) or 'nothing'}",
    ]
    return "\n".join([*map(_wrapped, lines), "", networks.build(name).summary(recipe.batch_size, _width())])


def _width() -> int:
    """Characters in a line of the terminal; a pipe gets whole lines."""
    return shutil.get_terminal_size((10**6, 24)).columns


def _wrapped(text: str, head: str = "", least: int = 20) -> str:
    """The text behind a head, broken at words to fit into the terminal, or into `least` characters."""
    return textwrap.fill(
        text, max(_width(), least), initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )
