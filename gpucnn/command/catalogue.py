"""`gpucnn networks` and `gpucnn data`: what there is by name."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Typer

from . import arguments
from .arguments import JsonOption

data_app = Typer(help="Download data sets, check their files, or say where they lie.", no_args_is_help=True)

DataName = Annotated[str, Argument(help="The data set: digits, mnist, fashion-mnist or cifar10.")]


def networks(
    name: Annotated[
        str | None, Argument(metavar="NETWORK", help="The network to show: a name, or module:factory.")
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
        print(arguments.json_text(rows if name is None else rows[0]))
    elif name is not None:
        print(_described(name))
    else:
        for row in rows:
            print(f"{row['name']:<19} {row['parameters']:>9,}  {row['document']:<16} {row['about']}")


@data_app.command()
def fetch(name: DataName) -> None:
    """Download a data set, or check the local copy in the folder that GPUCNN_DATA_DIR names."""
    from .. import data

    print(data.fetch(name))


@data_app.command()
def verify(name: DataName) -> None:
    """Check every file of a data set, and say what vouches for it."""
    from .. import data

    for path, evidence in data.verify(name):
        print(f"{path}: {evidence}")


@data_app.command()
def path(name: DataName) -> None:
    """Say where a data set is read from."""
    from .. import data

    print(data.where(name))


def _described(name: str) -> str:
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
