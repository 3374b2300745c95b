"""`gpucnn predict`: what saved models say of pictures."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import GpucnnError, check_answer, printable
from . import arguments
from .arguments import DeviceOption, JsonOption, LayersOption, ModelArgument
from .augment import TtaOption
from .missing import ENDING
from .options import ThresholdOption
from .saved import to_check

STDIN = "standard input"
AT_ONCE = 1000  # pictures that are read before the models are asked


def predict(
    model: ModelArgument,
    images: Annotated[
        list[str],
        Argument(
            metavar="IMAGE",
            help="The pictures: files, folders with all pictures in them, patterns such as '*.png', or - for one that "
            "comes on standard input.",
        ),
    ],
    models: Annotated[
        list[str] | None,
        Option(
            "--model",
            metavar="MODEL",
            help="Another model of the same classes that answers with the first; may be given several times. The "
            "answer is that of the mean of their outputs.",
        ),
    ] = None,
    top: Annotated[int, Option(min=1, metavar="N", help="How many classes to say, the most probable first.")] = 1,
    invert: Annotated[
        bool,
        Option(
            "--invert",
            help="Swap dark and light, for pictures dark on light where those of the training were not.",
        ),
    ] = False,
    layers: LayersOption = None,
    device: DeviceOption = "auto",
    threshold: ThresholdOption = None,
    tta: TtaOption = None,
    as_csv: Annotated[bool, Option("--csv", help="Print a table with commas, a row for each picture.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which class each picture shows, and how probable that is; or which labels it has, or its numbers.

    A label is said where its probability is above 1/2, or the model's threshold, or that of --threshold. Pictures are
    read as those of the training were: the model's file says how. What was done to pictures of strokes is said on
    standard error, and which pictures cannot be read or are not there, at the end: then the exit status is 1.
    """
    from ..data.folders import no_pictures
    from ..data.summary import summed_up
    from ..report import answers

    if as_csv and as_json:
        raise GpucnnError("--csv and --json are two ways to print the same; give one")
    if as_csv and threshold is not None:
        raise GpucnnError(
            f"--threshold {threshold}: the table of --csv has the probability of each label, which no threshold "
            "changes; leave one of the two out"
        )
    asked, how = _asked([model, *(models or [])], layers, device, top, threshold)
    others: Counter[str] = Counter()
    broken: dict[str, str] = {}
    found = list(files_of(images, model, others))
    rows: list[dict[str, Any]] = []
    notes: dict[str, list[str]] = {}
    table = _Table(asked, top) if as_csv else None
    for name, numbers, said, error in _answers(asked, how, found, invert=invert, tta=tta, layers=layers, model=model):
        if said:
            notes[STDIN if name == "-" else name] = said
        if error:
            broken[name] = error
            rows.append({"file": name, "error": error})
            continue
        answer = answers.of(asked, numbers, top)
        if table is not None:
            table.write(name, answer)
        elif not as_json:
            print(f"{printable(name)}: {answers.in_words(answer)}")
        rows.append({"file": name, **answer, **({"notes": said} if said else {})})
    if as_json:
        print(arguments.json_text(rows))
    left_out = [no_pictures(others)] if others else []
    for note in [*summed_up(notes), *left_out]:
        print(printable(f"gpucnn: {note}"), file=sys.stderr)
    if broken:
        texts = list(broken.values())
        raise GpucnnError(
            texts[0]
            if len(rows) == 1
            else f"{len(texts)} of {len(rows)} pictures cannot be read: {'; '.join(texts[:5])}"
            + (f"; and {len(texts) - 5} more" if len(texts) > 5 else "")
        )


def _asked(paths: list[str], layers: list[str] | None, device: str, top: int, threshold: str | None) -> tuple[Any, Any]:
    """The model, or the ensemble, and how pictures become its images."""
    from ..data.preprocessing import check_alike, reading
    from ..losses import CLASSIFICATION, kind
    from ..model import Ensemble, load
    from ..model.thresholds import give

    loaded: list[Any] = []
    for path in paths:
        with arguments.explained(path, to_check(layers)):
            loaded.append(load(path, device=device, layers=layers))
    of_one = next((each.preprocessing for each in loaded if each.preprocessing is not None), None)
    for each, path in zip(loaded, paths):
        each.preprocessing = of_one = reading(each.preprocessing or of_one, each.network.input_shape, path)
    check_alike([each.preprocessing for each in loaded], paths)
    if top > 1 and kind(loaded[0].loss) != CLASSIFICATION:
        raise GpucnnError(f"--top {top}: {paths[0]} gives no classes, but all of its outputs; leave it out")
    if threshold is not None:
        give(loaded, threshold)
    asked = loaded[0] if len(loaded) == 1 else Ensemble(loaded)
    return asked, loaded[0].preprocessing


def files_of(given: list[str], model: str, others: Counter[str]) -> Iterator[tuple[str, str]]:
    """The pictures that the arguments name, in their order, those of a folder or pattern sorted by name; and why one is
    none, or "".

    others: gets how many files of folders are no pictures, by their ending.
    """
    import glob
    import os
    from pathlib import Path

    from ..data.folders import ENDINGS, pictures_in

    for name in given:
        found = [name]
        if name != "-" and not os.path.lexists(name) and glob.has_magic(name):
            found = sorted(glob.glob(name, recursive=True))
            if not found:
                yield name, f"{name}: no file has such a name; look at the pattern"
        for each in found:
            if each.endswith(ENDING):
                yield each, f"{each}: a model, and no picture; give further ones as --model {each}"
            elif each.lower().endswith((".npy", ".npz", ".csv", ".tsv", ".parquet")):
                yield each, f"{each}: arrays, and no picture; `gpucnn evaluate {model} --data {each}` measures on them"
            elif each == "-" or not os.path.isdir(each):
                yield each, ""
            else:
                unreadable: list[str] = []
                inside = pictures_in(Path(each), others, unreadable)
                yield from ((str(path), "") for path in inside)
                yield from ((each, text) for text in unreadable)
                if not inside and not unreadable:
                    yield each, f"{each}: no pictures ({ENDINGS}) in this folder"


def _answers(
    asked: Any, how: Any, files: list[tuple[str, str]], *, invert: bool, tta: Any, layers: list[str] | None, model: str
) -> Iterator[tuple[str, Any, list[str], str]]:
    """By picture: its name, the numbers that the model gives, what was done to it, and why it cannot be read, or "".

    files: the names, and why there is no picture to be read, or "".
    """
    from dataclasses import replace

    import numpy as np

    how = replace(how, invert=how.invert != invert)
    for begin in range(0, len(files), AT_ONCE):
        some = [name for name, _ in files[begin : begin + AT_ONCE]]
        said: list[list[str]] = [[] for _ in some]
        errors = [error for _, error in files[begin : begin + AT_ONCE]]
        images = np.zeros((len(some), *how.size, how.channels), np.uint8)
        for k, name in enumerate(some):
            if errors[k]:
                continue
            try:
                images[k] = read(name, how, said[k])
            except GpucnnError as error:
                errors[k] = str(error)
        whole = [k for k, error in enumerate(errors) if not error]
        quiet = np.errstate(over="ignore", invalid="ignore")  # what is not finite is said below
        with arguments.explained(model, to_check(layers)), quiet:
            found = dict(zip(whole, asked.predict_proba(images[whole], tta=tta)))
            check_answer(float(sum(each.sum() for each in found.values())), f"{model}: a probability or number")
        for k, name in enumerate(some):
            yield name, found.get(k), said[k], errors[k]


def read(name: str, how: Any, said: list[str]) -> Any:
    """The picture in a file, or on standard input."""
    import io
    from pathlib import Path

    from ..data.files import check_limit, limit
    from ..data.pictures import decoded, read_picture

    if name != "-":
        return read_picture(Path(name), how, said)
    content = sys.stdin.buffer.read(limit() + 1)
    check_limit(len(content), STDIN)
    if not content:
        raise GpucnnError(f"{STDIN}: is empty; send a picture there, with < FILE")
    return decoded(io.BytesIO(content), STDIN, how, said)


class _Table:
    """Rows of a CSV file on standard output, of which the first one names the columns."""

    def __init__(self, model: Any, top: int) -> None:
        from ..losses import CLASSIFICATION, kind

        count = min(top, len(model.class_names))
        places = ["", *(f"_{k}" for k in range(2, 1 + count))]
        ranked = [f"{what}{place}" for place in places for what in ("label", "probability")]
        columns = ranked if kind(model.loss) == CLASSIFICATION else model.class_names
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(["file", *columns])

    def write(self, name: str, answer: dict[str, Any]) -> None:
        if "label" in answer:
            numbers = [each[what] for each in answer.get("top", [answer]) for what in ("label", "probability")]
        else:
            numbers = list(answer.get("probabilities", answer.get("numbers", {})).values())
        self._writer.writerow([name, *numbers])
