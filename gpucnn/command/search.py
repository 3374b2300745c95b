"""`gpucnn lr`: a search for a learning rate."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from . import arguments
from .arguments import DataOption, DeviceOption, JsonOption, NetworkArgument, ThreadsOption, check_format, positive
from .at_hand import check_network
from .augment import AugmentOption, augmentation_of
from .options import (
    DecayOption,
    LossOption,
    MomentumOption,
    OptimizerOption,
    SkipBrokenOption,
    WeightDecayOption,
)
from .told import tell_notes


def lr(
    network: NetworkArgument = "two-conv",
    data: DataOption = "digits",
    out: Annotated[
        str, Option(metavar="FILE", help="Draw the losses against the rates into this .png, .svg or .pdf file.")
    ] = "lr.png",
    optimizer: OptimizerOption = None,
    momentum: MomentumOption = None,
    weight_decay: WeightDecayOption = None,
    decay: DecayOption = None,
    loss: LossOption = None,
    augment: AugmentOption = None,
    batch_size: Annotated[
        int | None, Option(metavar="N", min=1, help="How many images each update looks at; by default as the recipe.")
    ] = None,
    lowest: Annotated[
        float, Option("--from", metavar="NUMBER", callback=positive, help="The rate of the first update.")
    ] = 1e-6,
    highest: Annotated[
        float, Option("--to", metavar="NUMBER", callback=positive, help="The rate of the last one.")
    ] = 10.0,
    updates: Annotated[int, Option(metavar="N", min=20, help="How many updates to make.")] = 200,
    options: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", help="Set an argument of the network.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: Annotated[int, Option(metavar="N", min=0, help="The number that decides weights and batches.")] = 0,
    skip_broken: SkipBrokenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for a learning rate: raise it from update to update until the loss explodes, and suggest one.

    Images are changed at random where `gpucnn train` would change them. The updates are of a copy: nothing is trained
    or saved but the picture.
    """
    from dataclasses import asdict, replace

    from ..data import load
    from ..data.catalogue import resolve
    from ..model import beforehand, runs
    from ..model.own_data import suited
    from ..model.update_settings import UpdateSettings
    from ..report.lr_finder import check_rates, find_lr, picture

    check_format(out, "--out")
    check_rates(lowest, highest, updates)
    check_network(network, "lr")
    augmentation_of(augment, "", (0, 0, 0))  # a text that says no changes is refused before the data are read
    settings = runs.Settings(
        network,
        device,
        batch_size=batch_size,
        optimizer=optimizer,
        seed=seed,
        threads=threads,
        options=arguments.options(options, network),
        update=UpdateSettings(momentum, weight_decay, decay),
        loss=loss,
    )
    with arguments.explained(network, network if ":" in network else None):
        beforehand.look(settings)
        runs.start_helpers(settings)
        dataset = load(data, skip_broken=skip_broken)
        settings = replace(settings, augmentation=augmentation_of(augment, data, dataset.input_shape))
        if resolve(data) is None:
            settings, _ = suited(settings, dataset, epochs=1, augment=augment)
        model = runs.new_model(settings, dataset)
        chosen, rule = runs.recipe(settings, len(dataset.train_labels))
        found = find_lr(
            model,
            dataset.train_images,
            dataset.train_labels,
            optimizer=rule,
            batch_size=chosen.batch_size,
            lowest=lowest,
            highest=highest,
            updates=updates,
            seed=seed,
            augmentation=chosen.augmentation or None,
        )
    tell_notes(dataset)
    changed = f", images changed by {chosen.augmentation}" if chosen.augmentation else ""
    title = f"{network} on {dataset.name}, batches of {chosen.batch_size}"
    spaced = changed.replace(str(chosen.augmentation), str(chosen.augmentation).replace(",", ", "))
    picture(found, out, title + spaced)
    if as_json:
        print(arguments.json_text({**asdict(found), "augment": chosen.augmentation or None, "picture": out}))
        return
    if found.suggestion is not None:
        print(f"suggestion: --lr {found.suggestion:.2g}")
    print(f"{found.reason}{changed}; the picture is {out}")
