"""`gpucnn lr`: a search for a learning rate."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from typer import Context, Option

from ..data.preprocessing import CROP
from . import arguments, data_options, ineffective, network_settings
from .arguments import DataOption, DeviceOption, JsonOption, NetworkArgument, ThreadsOption, check_format, positive
from .augment import AugmentOption, augmentation_of
from .messages import as_options, read_otherwise, tell_notes
from .missing import check_network
from .options import (
    ChannelsOption,
    ClassesOption,
    ClassWeightsOption,
    ClipNormOption,
    ClipValueOption,
    DecayOption,
    FitOption,
    FreezeOption,
    InitExceptOption,
    InitOption,
    InvertOption,
    LabelSmoothingOption,
    LossOption,
    MomentumOption,
    NoStandardizeOption,
    OptimizerOption,
    SeedOption,
    SetOption,
    SizeOption,
    SkipBrokenOption,
    WeightDecayOption,
)


def lr(
    context: Context,
    network: NetworkArgument = "two-conv",
    data: DataOption = "digits",
    out: Annotated[
        str, Option(metavar="FILE", help="Draw the losses against the rates into this .png, .svg or .pdf file.")
    ] = "lr.png",
    optimizer: OptimizerOption = None,
    momentum: MomentumOption = None,
    weight_decay: WeightDecayOption = None,
    decay: DecayOption = None,
    clip_norm: ClipNormOption = None,
    clip_value: ClipValueOption = None,
    loss: LossOption = None,
    label_smoothing: LabelSmoothingOption = None,
    class_weights: ClassWeightsOption = None,
    no_standardize: NoStandardizeOption = False,
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
    options: SetOption = None,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    invert: InvertOption = False,
    fit: FitOption = CROP,
    classes: ClassesOption = None,
    init: InitOption = None,
    init_except: InitExceptOption = None,
    freeze: FreezeOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    skip_broken: SkipBrokenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for a learning rate: raise it from update to update until the loss explodes, and suggest one.

    Images are changed at random where `gpucnn train` would change them; say the other options of the training, too,
    such as --size, --init and --freeze. The updates are of a copy: nothing is trained or saved but the picture.
    """
    from dataclasses import asdict, replace

    from ..data import load
    from ..data.catalogue import resolve
    from ..model import preflight, runs
    from ..model.own_data import suited
    from ..model.update_settings import UpdateSettings
    from ..model.warm_start import begin_from
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
        options=network_settings.parsed(options, network),
        freeze=freeze,
        init=None if init is None else os.path.abspath(init),
        init_except=init_except,
        update=UpdateSettings(momentum, weight_decay, decay, clip_norm, clip_value),
        loss=loss,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        standardize=not no_standardize,
    )
    with arguments.explained(network, network if ":" in network else None):
        start, _ = preflight.check(settings)
        ineffective.check(context, settings)
        runs.start_helpers(settings)
        with runs.reading(settings):
            dataset = load(data, size=size, channels=channels, invert=invert, fit=fit, skip_broken=skip_broken)
        if classes is not None:
            dataset = dataset.select_classes(data_options.labels(classes, dataset.class_names))
        settings = replace(settings, augmentation=augmentation_of(augment, data, dataset.input_shape))
        if resolve(data) is None:
            settings, _ = suited(settings, dataset, epochs=1, augment=augment)
        model = runs.new_model(settings, dataset)
        for each in [*begin_from(settings, model, start), *read_otherwise(settings, start, dataset, data)]:
            print(f"gpucnn: {as_options(each)}", file=sys.stderr)
        chosen, rule = runs.recipe_for(settings, dataset)
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
            freeze=settings.frozen,
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
