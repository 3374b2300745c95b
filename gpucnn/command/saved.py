"""`gpucnn evaluate` and `verify`: what is asked of a saved model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import GpucnnError, check_answer, counted, printable
from . import arguments, completion
from .arguments import DeviceOption, JsonOption, LayersOption, ModelArgument, ThreadsOption
from .augment import TtaOption
from .messages import of_several, tell_notes
from .options import SkipBrokenOption, ThresholdOption
from .parts import PartOption, measured
from .places import check_above

EvaluatedOption = Annotated[
    str | None,
    Option(
        metavar="NAME|PATH",
        autocompletion=completion.data_sets,
        help="The data set, as `gpucnn train` takes it; by default the one that the model was trained on, where that "
        "has a name.",
    ),
]


def evaluate(
    models: Annotated[
        list[str],
        Argument(metavar="MODEL", help="The model.safetensors file; of several, which belong together, the mean."),
    ],
    more: Annotated[
        list[str] | None,
        Option("--model", metavar="MODEL", help="Another model, as `gpucnn predict` takes it: one more of the mean."),
    ] = None,
    data: EvaluatedOption = None,
    part: PartOption = None,
    layers: LayersOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    report: Annotated[
        bool,
        Option(
            "--report",
            help="Show precision, recall and F1 of each class, and the largest confusions; of labels or numbers, what "
            "is measured of each.",
        ),
    ] = False,
    out: Annotated[
        str | None,
        Option(
            metavar="DIR",
            help="With --report, write report.json and, of classes, confusion.png, mistakes.png and mistakes.csv here.",
        ),
    ] = None,
    threshold: ThresholdOption = None,
    tta: TtaOption = None,
    skip_broken: SkipBrokenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a saved model on the test images of a data set: accuracy and loss, or errors of numbers.

    Of data without a test part of their own, all images that the model was not trained on are measured, as far as the
    run.toml beside it tells; --part says otherwise. The line says how many of how many images it is about.

    Several labels are right when all of a picture are (accuracy), or one by one (label accuracy). --report has the
    precision, recall, F1 and average precision of each.
    """
    from dataclasses import replace

    import numpy as np

    from ..data.loading import load_for, may_be_broken
    from ..data.preprocessing import check_alike
    from ..data.split import undivided
    from ..losses import MULTI_LABEL, REGRESSION, kind
    from ..metrics import shown
    from ..model import Ensemble, thresholds
    from ..model.load import described
    from ..model.matching_data import matching

    models = [*models, *(more or [])]
    if out is not None and not report:
        raise GpucnnError("--out is for what --report shows; give both")
    if out is not None:
        _check_place(out)
    quiet = np.errstate(over="ignore", invalid="ignore")  # what is not finite is said below
    with arguments.explained(models[0], to_check(layers)), quiet:
        several, said = zip(*(described(model, device, layers, threads) for model in models))
        trained_on = {model: each.get("trained_on") for model, each in zip(models, said)}
        if threshold is not None:
            thresholds.give(several, threshold)
        loaded = several[0] if len(several) == 1 else Ensemble(several)
        data = _trained_on(models[0], trained_on[models[0]]) if data is None else data
        loaded.first_label = 0  # as the labels of a Dataset count
        if may_be_broken(data):
            check_alike([each.preprocessing for each in several], models)
        with undivided():
            numbers = kind(loaded.loss) == REGRESSION
            dataset = load_for(loaded.preprocessing, data, skip_broken=skip_broken, numbers=numbers)
            dataset = matching(loaded, dataset)
        dataset, about, note = measured(trained_on, data, dataset, part)
        examples = dataset.test_images, dataset.test_labels
        whole = loaded.report(*examples, tta=tta) if report else None
        found = (loaded.evaluate(*examples, tta=tta) if whole is None else whole.to_dict()) | about
        check_answer(found["loss"], f"{', '.join(models)}: the loss of the images of {dataset.name}")
    above = {"thresholds": thresholds.in_force(loaded)} if kind(loaded.loss) == MULTI_LABEL else {}
    text = arguments.json_text({"data": dataset.name, **found, **above})
    written = [] if out is None else _write_report(out, text, loaded, dataset, tta)
    tell_notes(replace(dataset, notes=(*dataset.notes, *filter(None, [note]))))
    if as_json:
        print(text)
        return
    said = f"{shown(found)}{of_several(found, dataset, '--report')}"
    print(f"{dataset.name}: {said if whole is None else replace(whole, overall={**whole.overall, **about})}")
    if written:
        print(f"\nwritten to {out}: {', '.join(written)}")


def _trained_on(path: str, said: Any) -> str:
    """The name of the data set that a model was trained on; digits where its file says none. Raises GpucnnError."""
    from ..data.catalogue import resolve

    name = resolve(said or "digits") if isinstance(said, str | None) else None
    if name is None:
        raise GpucnnError(f"{path}: it was trained on {said}, and no data set has this name; say --data PATH")
    return name


def _check_place(folder: str) -> None:
    """Raises GpucnnError, before any work, for a folder that cannot be written or made."""
    from ..model.folder import ALL_MISTAKES, CONFIG, CONFUSION, MISTAKES

    if Path(folder, CONFIG).exists():
        raise GpucnnError(
            f"--out {folder}: it holds a run, whose own {CONFUSION}, {MISTAKES} and {ALL_MISTAKES} would be written "
            f"over; choose another folder, such as {Path(folder, 'report')}"
        )
    check_above(folder)
    there = Path(folder).absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise _unwritable(folder, NotADirectoryError(0, f"{there} is a file"))
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(folder, PermissionError(0, "Permission denied"))


def _write_report(folder: str, text: str, model: Any, dataset: Any, tta: str | None) -> list[str]:
    """Leave report.json and, of classes, confusion.png and the mistakes in the folder. -> their names."""
    from ..report import finished
    from ..training.writing import write_text

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_text(Path(folder, "report.json"), text + "\n")
    except OSError as error:
        raise _unwritable(folder, error) from None
    return ["report.json", *finished.draw(model, dataset, Path(folder), tta)]


def _unwritable(folder: str, error: OSError) -> GpucnnError:
    return GpucnnError(f"{folder}: the report cannot be written there: {error.strerror or error}")


def verify(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Say what a saved model holds, and whether it is as it was written: its checksum is computed again.

    Nothing but the file is needed, no layers of your own either. The exit status is 1 where the file is damaged.
    """
    from ..model import checkpoint

    description, tensors = checkpoint.read(model)
    total = description.get(checkpoint.SUM)
    found = {
        "file": model,
        "name": description.get("name"),
        "tensors": len(tensors),
        "numbers": sum(tensor.size for tensor in tensors.values()),
        "class_names": description.get("class_names"),
        "trained_on": description.get("trained_on"),
        "sha256": total,
    }
    if as_json:
        print(arguments.json_text(found))
        return
    data = f" trained on {found['trained_on']}" if found["trained_on"] else ""
    names = found["class_names"]
    classes = f", {counted(len(names), 'class', 'classes')}" if isinstance(names, list) else ""
    proof = (
        "it has no checksum (version 0.1 wrote none), so damage to its numbers cannot be seen"
        if total is None
        else f"its checksum is right (sha256 {total})"
    )
    held = f"{counted(found['numbers'], 'number')} in {counted(found['tensors'], 'tensor')}"
    what = f"{found['name']}{data}{classes}, {held}"
    print(printable(f"{model}: {what}; {proof}"))


def to_check(layers: list[str] | None) -> str | None:
    """What `gpucnn check` is given to try a layer that --layers names; None where it names none."""
    if not layers:
        return None
    name = layers[0] if ":" in layers[0] else f"{layers[0]}:CLASS"
    return f"{name} --input HxWxC"
