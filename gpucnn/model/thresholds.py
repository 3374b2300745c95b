"""The thresholds of several labels: which there may be, and which are best on labelled examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError, SettingError, counted, listed, warn
from ..losses import MULTI_LABEL, OUTPUTS, kind
from ..namespace import has_truth
from ..network import describe

BEST = "f1"  # the word for thresholds that are chosen
FEW = 5  # examples with a label, below which its best threshold is left to chance


def checked(given: Any, model: Any) -> tuple[float, ...]:
    """A threshold for each label of the model: the one that is given, or one for each. Raises SettingError."""
    _check_loss(f"threshold={given!r}", model.loss)
    try:
        numbers = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    labels = len(model.class_names)
    if has_truth(given) or numbers.ndim > 1 or not ((numbers > 0) & (numbers < 1)).all():
        raise SettingError(f"threshold={given!r}: a number between 0 and 1, or one for each label, was expected")
    if numbers.ndim and len(numbers) != labels:
        have = f"{counted(len(numbers), 'number')} for {counted(labels, 'label')}"
        raise SettingError(f"threshold={given!r}: {have}; give one for each, or one for all")
    return tuple(np.broadcast_to(numbers, labels).tolist())


def _check_loss(what: str, loss: Any) -> None:
    if kind(loss) != MULTI_LABEL:
        of = f"the loss {describe(loss)} is of {OUTPUTS[kind(loss)]}"
        raise SettingError(f"{what}: {of}, and thresholds are for several labels; leave it out")


def check_text(text: str | None, loss: Any) -> None:
    """Raises SettingError for a text of --threshold that no run with that loss can have."""
    if text is not None:
        _check_loss(f"--threshold {text}", loss)
        _numbers_or_best(text)


def _numbers_or_best(text: str) -> Any:
    return BEST if text.strip().lower() == BEST else numbers_in(text, f"{BEST}, a number between 0 and 1")


def asked(text: str | None, model: Any, held_out: np.ndarray) -> bool:
    """Give the model the thresholds that --threshold says; whether they are to be chosen, on what is held out.

    held_out: its rows (N, K). Raises SettingError for a text that is none, and where nothing is held out to choose by.
    Warns of labels that nothing there has, or little.
    """
    if text is None:
        return False
    found = _numbers_or_best(text)
    if found == BEST:
        checked(0.5, model)
        if not len(held_out):
            raise SettingError(f"--threshold {BEST} chooses by what is held out, and nothing is; say --validation 0.1")
        if lacking := _lacking(held_out, model.class_names):
            of = f"{listed(lacking)}, which {'keeps' if len(lacking) == 1 else 'keep'} 1/2"
            warn(f"--threshold {BEST}: no picture that is held out has {of}; a larger --validation may hold out some")
        if few := _few(held_out, model.class_names):
            warn(
                f"--threshold {BEST}: of the pictures that are held out fewer than {FEW} have {listed(few)}: what they "
                "say may be far off; a larger --validation, or numbers of your own, are safer"
            )
        return True
    model.thresholds = found
    return False


def choose(model: Any, images: Any, rows: np.ndarray) -> None:
    """Give the model the best thresholds on what is held out; a label that nothing there has keeps 1/2."""
    model.thresholds = best(model.predict_proba(images), rows)


def drop(model: Any) -> None:
    """Of a model that is trained anew, those that belong to the training before."""
    if model.of_training and model.thresholds is not None:
        warn(
            "the model's thresholds were chosen before this training, or loaded with the model, and are dropped: "
            "labels are predicted above 1/2, until you choose_thresholds(images, labels) or set model.thresholds"
        )
        model.thresholds = None


def give(models: Sequence[Any], text: str) -> None:
    """Give the models, which answer together, the thresholds that --threshold says. Raises SettingError."""
    found = numbers_in(text)
    for model in models:
        model.thresholds = found


def in_force(model: Any) -> tuple[float, ...]:
    """The probabilities above which the model predicts labels, one for each."""
    return model.thresholds or (0.5,) * len(model.class_names)


def numbers_in(text: str, expected: str = "a number between 0 and 1") -> float | list[float]:
    """The number, or numbers with commas between, in an option's text. Raises SettingError."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < each < 1 for each in found):
        raise SettingError(f"--threshold {text}: {expected}, or one for each label, with commas between, was expected")
    return found[0] if len(found) == 1 else found


def check_there(rows: np.ndarray, names: Sequence[str]) -> None:
    """Raises DataError where examples, rows (N, K), lack a label: there is nothing to choose its threshold by."""
    if lacking := _lacking(rows, names):
        raise DataError(
            f"choose_thresholds: no example has the label {lacking[0]}; give some, or set thresholds yourself"
        )


def _lacking(rows: np.ndarray, names: Sequence[str]) -> list[str]:
    """The labels that no example has."""
    return [name for name, there in zip(names, (rows > 0.5).T) if not there.any()]


def _few(rows: np.ndarray, names: Sequence[str]) -> list[str]:
    """The labels that some examples have, and fewer than FEW."""
    return [name for name, count in zip(names, (rows > 0.5).sum(axis=0)) if 0 < count < FEW]


def best(probabilities: np.ndarray, rows: np.ndarray) -> tuple[float, ...]:
    """The threshold of each label with the largest F1 on examples; of several the one nearest to 1/2.

    probabilities (N, K); rows (N, K) of 0 and 1. Each is halfway between two probabilities that are there, and 1/2 for
    a label that no example has.
    """
    return tuple(_best(p, there) for p, there in zip(probabilities.T, (rows > 0.5).T))


def _best(probabilities: np.ndarray, there: np.ndarray) -> float:
    order = np.argsort(-probabilities, kind="stable")
    p = probabilities[order].astype(np.float64)
    last = np.append(np.flatnonzero(np.diff(p)), len(p) - 1)  # of equal ones
    last = last[p[last] > 0]
    if not there.any() or not len(last):
        return 0.5
    right = np.cumsum(there[order])[last]
    f1 = 2 * right / (last + 1 + there.sum())
    below = np.append(p[last[1:]], 0.0)
    between = (p[last] + below) / 2
    between = np.where(between < p[last], between, below)  # where no number is between
    possible = np.flatnonzero(f1 == f1.max())
    return float(between[possible[np.argmin(abs(between[possible] - 0.5))]])
