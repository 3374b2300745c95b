"""`gpucnn train`."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated

from typer import Context, Exit, Option, echo

from ..data.preprocessing import CROP
from ..errors import counted
from . import arguments, data_options, ineffective, messages, network_settings
from .arguments import (
    DataOption,
    DeviceOption,
    JsonOption,
    KernelsOption,
    NetworkArgument,
    PrecisionOption,
    ThreadsOption,
    part,
    positive,
)
from .augment import AugmentOption, augmentation_of
from .missing import check_network
from .options import (
    AccumulateOption,
    ChannelsOption,
    ChosenThresholdOption,
    ClassesOption,
    ClassWeightsOption,
    ClipNormOption,
    ClipValueOption,
    DecayOption,
    EmaOption,
    FitOption,
    FreezeOption,
    GraphOption,
    InitExceptOption,
    InitOption,
    InvertOption,
    KeepOption,
    LabelSmoothingOption,
    LossOption,
    MomentumOption,
    NoStandardizeOption,
    OptimizerOption,
    PatienceOption,
    ScheduleOption,
    SetOption,
    SizeOption,
    SkipBrokenOption,
    TuneOption,
    TuningOption,
    WatchOption,
    WeightDecayOption,
)


def train(
    context: Context,
    network: NetworkArgument = "two-conv",
    data: DataOption = "digits",
    device: DeviceOption = "auto",
    epochs: Annotated[
        int | None,
        Option(metavar="N", min=1, help="How often to go through all training images; by default as the recipe."),
    ] = None,
    batch_size: Annotated[
        int | None,
        Option(
            metavar="N", min=1, help="How many images each update of theta, the vector of all parameters, looks at."
        ),
    ] = None,
    optimizer: OptimizerOption = None,
    lr: Annotated[
        float | None,
        Option(
            metavar="NUMBER",
            callback=positive,
            help="The learning rate: how far an update moves theta. By default the recipe's, or with --optimizer the "
            "usual one of that optimiser.",
        ),
    ] = None,
    schedule: ScheduleOption = None,
    momentum: MomentumOption = None,
    weight_decay: WeightDecayOption = None,
    decay: DecayOption = None,
    clip_norm: ClipNormOption = None,
    clip_value: ClipValueOption = None,
    ema: EmaOption = None,
    accumulate: AccumulateOption = None,
    loss: LossOption = None,
    label_smoothing: LabelSmoothingOption = None,
    class_weights: ClassWeightsOption = None,
    threshold: ChosenThresholdOption = None,
    no_standardize: NoStandardizeOption = False,
    validation: Annotated[
        float | None,
        Option(
            metavar="PART", callback=part, help="Hold out this part of the images, such as 0.1, to measure each epoch."
        ),
    ] = None,
    classes: ClassesOption = None,
    options: SetOption = None,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    invert: InvertOption = False,
    fit: FitOption = CROP,
    skip_broken: SkipBrokenOption = False,
    augment: AugmentOption = None,
    patience: PatienceOption = None,
    keep: KeepOption = None,
    watch: WatchOption = None,
    init: InitOption = None,
    init_except: InitExceptOption = None,
    freeze: FreezeOption = None,
    threads: ThreadsOption = None,
    seed: Annotated[
        int,
        Option(
            metavar="N",
            min=0,
            help="The number that decides weights, batches and augmentation; the same repeats a run.",
        ),
    ] = 0,
    out: Annotated[
        str | None, Option(metavar="DIR", help="Save the run in this folder; by default in a new runs/NETWORK-DATA.")
    ] = None,
    force: Annotated[bool, Option("--force", help="Write over the run that lies in --out.")] = False,
    config: Annotated[
        str | None,
        Option(
            metavar="FILE",
            is_eager=True,
            callback=arguments.from_config,
            help="Take the options from a TOML file, such as the run.toml of an earlier run; what is given beside it "
            "counts more.",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        Option(
            metavar="DIR",
            is_eager=True,
            callback=arguments.from_run,
            help="Go on with the run in this folder, which was cut off: with its options, from the last state that it "
            "saved, to the same bits as if it had not been.",
        ),
    ] = None,
    anyway: Annotated[
        bool, Option("--anyway", help="With --resume, go on with other options or data than the run began with.")
    ] = False,
    kernels: KernelsOption = "default",
    precision: PrecisionOption = "float32",
    graph: GraphOption = None,
    tune: TuneOption = False,
    tuning: TuningOption = None,
    log_every: Annotated[
        int | None, Option(min=1, metavar="N", help="Write a line to log.txt every N updates, too.")
    ] = None,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Print nothing but warnings, errors, and what --json asks for.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network, save it, and show its accuracy on the test images.

    What you leave out comes from the network's recipe: see `gpucnn networks NETWORK`.

    The run is saved as model.safetensors, metrics.jsonl (a line per epoch), curves.png, log.txt, run.toml (its options,
    and what it ran with) and checkpoints, from which --resume goes on when it was cut off. Of classes there are
    confusion.png and mistakes.png, the worst of the test images, too, and mistakes.csv with all and their files.
    """
    from ..data import load, parse_size
    from ..data.catalogue import resolve
    from ..device.environment import described, environment
    from ..engine.acceleration import Acceleration
    from ..kernels.cuda import compiling
    from ..model import checkpoints, log, preflight, run_record, runs, tuning_file
    from ..model import config as config_file
    from ..model.folder import ALL_MISTAKES, CONFIG, CURVES, LOG, claimed
    from ..model.own_data import suited
    from ..model.update_settings import UpdateSettings
    from ..model.warm_start import begin_from
    from ..report import finished
    from ..training.progress import reporter

    def say(text: str) -> None:
        if not quiet:
            echo(text, err=True)

    if quiet:
        compiling.tell = lambda: None
    check_network(network, "train")
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
        network_settings.parsed(arguments.all_set(context, options), network),
        Acceleration(kernels, precision, graph, tune if tuning is None else tuning),
        augmentation_of(augment, "", (0, 0, 0)),
        patience,
        keep,
        watch,
        freeze,
        None if init is None else os.path.abspath(init),
        init_except,
        update=UpdateSettings(momentum, weight_decay, decay, clip_norm, clip_value, ema, accumulate),
        loss=loss,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        threshold=threshold,
        standardize=not no_standardize,
    )
    arguments.check_resumed(context, resume, anyway=anyway)
    with arguments.explained(network, network if ":" in network else None):
        start, found = preflight.check(settings, out, force=force, resume=resume is not None)
        ineffective.check(context, settings)
        runs.start_helpers(settings)
        shape = None if size is None else parse_size(size)
        with arguments.moved(resume), runs.reading(settings):
            dataset = load(data, size=shape, channels=channels, invert=invert, fit=fit, skip_broken=skip_broken)
        data_options.check_resumed(context.params, found, dataset)
        if classes is not None:
            dataset = dataset.select_classes(data_options.labels(classes, dataset.class_names))
        settings, why = replace(settings, augmentation=augmentation_of(augment, data, dataset.input_shape)), ""
        is_own = resolve(data) is None
        if is_own and resume is None:
            recipe_epochs = runs.recipe_for(settings, dataset)[0].epochs
            settings, why = suited(settings, dataset, epochs=recipe_epochs, augment=augment)
        model = runs.new_model(settings, dataset, goes_on=found is not None and found.saved is not None)
        chosen, rule = runs.recipe_for(settings, dataset)
        with claimed(out, network, dataset.name, force=force, resume=resume is not None) as path:
            begun = [*begin_from(settings, model, start), *messages.read_otherwise(settings, start, dataset, data)]
            images, numbers = counted(len(dataset.train_labels), "image"), counted(model.layout.size, "parameter")
            what = f"{network}, {numbers}, on {dataset.name} ({images})"
            state = ("start", "") if found is None else checkpoints.standing(found, chosen.epochs)
            older = messages.of_another_time(context, model, dataset)
            opening = messages.opening(settings, chosen, rule, dataset, model, is_own, why, begun, state)
            for each in filter(None, (what, *older, *opening)):
                say(each)
            system = environment(model.device, model.threads)
            configured = runs.configuration(settings, model, dataset, data_options.options(context.params, dataset))
            made = run_record.made(dataset, messages.quoted(*sys.argv), system, model)
            if other := run_record.changed_test(path, made):
                say(other)
            configuration = config_file.Writing(path / CONFIG, configured, made, () if found is None else found.changes)
            beginning = "; ".join([f"{state[0]}: {what}", *described(system).splitlines()])
            written = log.LogFile(
                path / LOG, chosen.batch_size * settings.update.batches, log_every, append=resume is not None
            )
            with log.kept(written, "; ".join(filter(None, (beginning, state[1])))):
                with nullcontext(None) if quiet else reporter(chosen.epochs) as shown:
                    tuning_of_run = tuning_file.Writing(path, model, system, say)
                    writing = configuration, tuning_of_run, *filter(None, [shown]), written
                    history = runs.run(settings, dataset, model, path, writing, found=found, anyway=anyway)
                if state[0] == checkpoints.FINISHED:  # and of the settings that were asked for
                    say(state[1])
                configuration.finish()
                try:
                    result = run_record.result(model, dataset, history, path)
                    curves = [CURVES] * (path / CURVES).exists()
                    pictures = curves + ([] if history.interrupted else finished.draw(model, dataset, path))
                except KeyboardInterrupt:
                    say(f"the model is saved in {path}")
                    raise
                reached = messages.result_line(result, dataset)
                stopped = f"interrupted in epoch {len(history.epochs) + 1}" if history.interrupted else ""
                kept = "" if history.kept is None else f"the parameters are those of epoch {history.kept}"
                log.logger.info("end: %s", "; ".join(filter(None, (reached, stopped, history.stopped, kept))))
    if history.saves:
        say(f"saved {counted(history.saves, 'state')} to resume from, in {history.saving:.2f} s")
    if history.stopped or kept:
        say("; ".join(filter(None, (history.stopped, kept))))
    if stopped:
        say(f"{stopped}; what was learnt until then is in {path}; --resume {path} goes on from there")
    if model.thresholds is not None:
        chances = (f"{name} {least:.4g}" for name, least in zip(model.class_names, model.thresholds))
        say(f"labels are predicted above these probabilities: {', '.join(chances)}")
    if as_json:
        print(arguments.json_text(result))
    elif not quiet:
        speed = f"trained in {result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s; "
        print(f"{reached}\n{speed if history.epochs else ''}saved in {path}")
        if pictures:
            table = f"; every mistake is in {ALL_MISTAKES}" if ALL_MISTAKES in pictures else ""
            print(f"pictures in {path}: {', '.join(name for name in pictures if name != ALL_MISTAKES)}{table}")
    if history.signal:
        raise Exit(128 + history.signal)
