"""What is measured on labelled examples, for each kind of targets that a loss has (`losses.kind`).

All are means over examples, weighted where these have weights, in float64. `terms` and `sums` take arrays of any
library, on their device; the rest takes arrays on the host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import counted
from .losses import CLASSIFICATION, MULTI_LABEL, REGRESSION, correct
from .names import explain
from .namespace import array_namespace
from .network.notebook import paragraphs, table

explain(__name__)

Array = Any
Row = dict[str, float]

TERMS = {  # whose means over examples are the metrics of a kind
    CLASSIFICATION: ("accuracy",),
    MULTI_LABEL: ("accuracy", "label_accuracy"),
    REGRESSION: ("mean_absolute_error", "mean_squared_error"),
}
SMALLER = {"loss", "error", "err", "mae", "mse", "rmse", "msle", "mape", "nll", "perplexity", "deviance", "cost"}
LARGER = {"accuracy", "acc", "score", "precision", "recall", "sensitivity", "specificity", "f1", "auc", "r2", "kappa"}
LARGER |= {"iou", "dice", "jaccard", "mcc", "ap", "map", "auroc", "roc", "ndcg", "accuracies"}
TURNED = {"neg", "negative", "minus", "d2", "reduction", "gain", "brier", "crps", "energy", "anomaly"}
COLUMNS = ("precision", "recall", "f1", "support")
RANKED = "average_precision"  # a further column, of labels


def terms(kind: str, logits: Array, targets: Array) -> tuple[Array, ...]:
    """The TERMS of that kind for each example, (N,) each. logits (N, K), targets (N,) or (N, K).

    accuracy: whether the largest logit is the label's, or that of the class with the largest share; with several
    labels, whether all of them are right, a label being predicted by a logit above 0, a probability above 1/2.
    label_accuracy: the part of the labels that are right. Errors of numbers are means over outputs.
    """
    xp = array_namespace(logits, targets)
    if kind == REGRESSION:
        difference = logits - targets
        return xp.mean(xp.abs(difference), axis=1), xp.mean(difference * difference, axis=1)
    if kind == MULTI_LABEL:
        right = (logits > 0) == (targets > 0.5)
        return xp.astype(xp.all(right, axis=1), xp.int64), xp.mean(xp.astype(right, logits.dtype), axis=1)
    return (correct(logits, targets if targets.ndim == 1 else xp.argmax(targets, axis=1)),)


def sums(kind: str, losses: Array, logits: Array, targets: Array, weights: Array | None = None) -> Array:
    """The sums of losses, of the kind's terms, of weights, if any, and, of numbers, of squared errors by output.

    float64, one after the other. losses (N,), logits (N, K), targets (N,) or (N, K), weights (N,).
    """
    xp = array_namespace(logits)
    each = [losses, *terms(kind, logits, targets)]
    if weights is not None:
        w = xp.astype(weights, xp.float64)
        each = [*(xp.astype(part, xp.float64) * w for part in each), w]
    found = xp.stack([xp.sum(part, dtype=xp.float64) for part in each])
    if kind != REGRESSION:
        return found
    errors = (logits - targets) ** 2 if weights is None else (logits - targets) ** 2 * w[:, None]
    return xp.concat([found, xp.sum(errors, axis=0, dtype=xp.float64)])


def means(kind: str, found: np.ndarray, count: int | None, deviations: np.ndarray | None = None) -> Row:
    """The loss and the metrics of a kind from all `sums`, on the host.

    count: the number of examples, None where they have weights. deviations: `squared_deviations` of numbers.
    """
    names = ("loss", *TERMS[kind])
    total = found[len(names)] if count is None else count
    row = {name: float(value / total) for name, value in zip(names, found)}
    if deviations is not None:
        row["r2"] = float(determination(found[-len(deviations) :], deviations).mean())
    return row


def squared_deviations(targets: Array, weights: Array | None = None) -> Array:
    """Sums of squared differences of numbers (N, K) from their mean, (K,); 0 where those of some weight are alike."""
    xp = array_namespace(targets)
    y = xp.astype(targets, xp.float64)
    w = xp.ones_like(y[:, :1]) if weights is None else xp.astype(weights, xp.float64)[:, None]
    found = xp.sum(w * (y - xp.sum(w * y, axis=0) / xp.sum(w)) ** 2, axis=0)
    least, most = (xp.where(w > 0, y, sign * xp.full_like(y, xp.inf)) for sign in (1, -1))
    return xp.where(xp.min(least, axis=0) == xp.max(most, axis=0), xp.zeros_like(found), found)


def determination(errors: Any, spreads: Any) -> np.ndarray:
    """R^2 = 1 - errors / spreads, by output; where numbers do not differ, 1 without errors and 0 with some."""
    errors = np.asarray(errors)
    return np.where(spreads > 0, 1 - errors / np.where(spreads > 0, spreads, 1), np.where(errors == 0, 1.0, 0.0))


def top_k(logits: Array, labels: Array, k: int) -> Array:
    """1 where fewer than k logits come before the label's, else 0; of equal ones the first come before.

    logits (N, K), labels (N,) -> (N,) int64. With k 1 it is `losses.correct`.
    """
    xp = array_namespace(logits, labels)
    labels = xp.astype(labels, xp.int64)  # of fewer bits the classes would begin again
    classes = xp.arange(logits.shape[1], dtype=xp.int64, device=labels.device)[None, :]
    is_label = classes == labels[:, None]
    at_label = xp.sum(xp.where(is_label, logits, xp.zeros_like(logits)), axis=1)[:, None]
    after = (logits < at_label) | ((logits == at_label) & (classes > labels[:, None]))  # false where one is NaN
    return xp.astype(xp.sum(xp.astype(~(after | is_label), xp.int64), axis=1) < k, xp.int64)


def confusion_matrix(labels: Any, predicted: Any, classes: int, weights: Any = None) -> np.ndarray:
    """How many examples, or how much weight, of each class (row) were given each class (column): (K, K)."""
    at = np.asarray(labels, np.int64) * classes + np.asarray(predicted)
    return np.bincount(at, weights, minlength=classes * classes).reshape(classes, classes)


def precision_and_recall(right: Any, predicted: Any, support: Any) -> dict[str, np.ndarray]:
    """COLUMNS from counts of examples: rightly predicted, predicted, and there. A quotient 0 / 0 is 0.

    precision = right / predicted, recall = right / support, f1 = 2 right / (predicted + support).
    """

    def quotient(a: Any, b: Any) -> np.ndarray:
        return np.where(b > 0, a / np.where(b > 0, b, 1), 0.0)

    right, predicted, support = np.asarray(right), np.asarray(predicted), np.asarray(support)
    values = quotient(right, predicted), quotient(right, support), quotient(2 * right, predicted + support), support
    return dict(zip(COLUMNS, values))


@dataclass(frozen=True)
class Report:
    """What `Model.report` finds. Its text is a table.

    kind: of the targets; overall: as of `Model.evaluate`; rows: by class, label or output; averages over them,
    without classes that no example has and none was given, as in scikit-learn.
    confusion: (K, K), examples of each class (row) that were given each class (column); None but for classes.
    """

    kind: str
    overall: Mapping[str, float]
    rows: Mapping[str, Row]
    averages: Mapping[str, Row]
    confusion: np.ndarray | None = None

    def confusions(self, most: int = 10) -> list[tuple[str, str, float]]:
        """The most frequent mistakes: (class, class that was said, examples), the largest first."""
        if self.confusion is None:
            return []
        wrong, names = self.confusion - np.diag(np.diag(self.confusion)), list(self.rows)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = [(*divmod(int(at), len(names)), wrong.flat[at].item()) for at in order]
        return [(names[a], names[b], count) for a, b, count in pairs if count > 0]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        found = {**self.overall, "kind": self.kind, "rows": dict(self.rows), "averages": dict(self.averages)}
        return found if self.confusion is None else {**found, "confusion": self.confusion.tolist()}

    def _cells(self) -> list[list[str]]:
        """The table's, the names of its columns first."""
        columns = list(next(iter(self.rows.values())))
        what = {CLASSIFICATION: "class", MULTI_LABEL: "label", REGRESSION: "output"}[self.kind]
        lines = [[what, *(column.replace("_", " ") for column in columns)]]
        for name, row in {**self.rows, **self.averages}.items():
            lines.append([name, *(_cell(column, row[column]) for column in columns)])
        return lines

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        head, *cells = self._cells()
        mistakes = [f"{a} taken for {b}: {count:,.10g}" for a, b, count in self.confusions()]
        told = [f"largest confusions: {'; '.join(mistakes)}"] if mistakes else []
        return paragraphs([shown(self.overall)]) + table(head, cells) + paragraphs(told)

    def __str__(self) -> str:
        lines = self._cells()
        widths = [max(map(len, cells)) for cells in zip(*lines)]
        text = ["  ".join([c[0].ljust(widths[0]), *map(str.rjust, c[1:], widths[1:])]) for c in lines]
        mistakes = [f"{a} taken for {b}: {count:,.10g}" for a, b, count in self.confusions()]
        return "\n".join([shown(self.overall), "", *text, *(["", "largest confusions", *mistakes] if mistakes else [])])


def average_precision(scores: Any, there: Any, weights: Any = None) -> float:
    """The mean precision over the examples that a label holds for, each at the threshold that its own score is: the
    sum over thresholds of (R_n - R_(n-1)) P_n, with recall R and precision P, as in scikit-learn; 0 where it never
    holds.

    scores, there, weights (N,). It depends on no threshold, and is the part of such examples where scores are random.
    """
    scores, there = np.asarray(scores, float), np.asarray(there, bool)
    w = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of equal scores
    found, right = np.cumsum(w[order])[last], np.cumsum((w * there)[order])[last]
    total, gained = right[-1], np.diff(right, prepend=0.0)
    return float((gained * right / np.where(found > 0, found, 1)).sum() / total) if total > 0 else 0.0


def report_of(
    kind: str,
    overall: Row,
    logits: Any,
    targets: Any,
    names: Sequence[str],
    weights: Any = None,
    scores: Any = None,
) -> Report:
    """The report of outputs (N, K) on the host. targets (N,) or (N, K); names: of the K outputs.

    scores: what labels are ranked by, where logits are above 0 by other thresholds than these.
    """
    w = np.ones(len(logits), np.int64) if weights is None else np.asarray(weights)
    if kind == REGRESSION:
        difference = np.asarray(logits, float) - targets
        errors, total = w @ difference**2, w.sum()
        columns = {
            "mean_absolute_error": w @ abs(difference) / total,
            "mean_squared_error": errors / total,
            "r2": determination(errors, squared_deviations(np.asarray(targets, float), weights)),
        }
        return Report(kind, overall, _rows(columns, names), {"mean": {k: float(v.mean()) for k, v in columns.items()}})
    if kind == MULTI_LABEL:
        predicted, there = logits > 0, targets > 0.5
        counts = w @ (predicted & there), w @ predicted, w @ there
        scores = logits if scores is None else scores
        ranked = np.array([average_precision(scores[:, k], there[:, k], w) for k in range(len(names))])
        columns = _ranked(precision_and_recall(*counts), ranked)
        of_all = average_precision(np.ravel(scores), np.ravel(there), np.repeat(w, len(names)))
        micro = _ranked(precision_and_recall(*(c.sum() for c in counts)), np.asarray(of_all))
        of_micro = {name: float(value) for name, value in micro.items()}
        return Report(kind, overall, _rows(columns, names), {"micro average": of_micro, **_averages(columns)})
    labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, len(names), weights)
    columns = precision_and_recall(np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1))
    averages = _averages({name: values[np.union1d(labels, predicted)] for name, values in columns.items()})
    return Report(kind, overall, _rows(columns, names), averages, confusion)


def _ranked(columns: Mapping[str, np.ndarray], average_precisions: np.ndarray) -> dict[str, np.ndarray]:
    """The columns with the average precision before the support."""
    return {**{name: columns[name] for name in COLUMNS[:-1]}, RANKED: average_precisions, "support": columns["support"]}


def _rows(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Row]:
    return {name: {column: values[k].item() for column, values in columns.items()} for k, name in enumerate(names)}


def _averages(columns: Mapping[str, np.ndarray]) -> dict[str, Row]:
    """Over classes alike, and by their support."""
    support = columns["support"]
    total, parts = support.sum().item(), support / max(support.sum(), 1e-300)
    names = [name for name in columns if name != "support"]
    macro = {name: float(columns[name].mean()) for name in names}
    weighted = {name: float(parts @ columns[name]) for name in names}
    return {"macro average": {**macro, "support": total}, "weighted average": {**weighted, "support": total}}


def _cell(column: str, value: float) -> str:
    if column in TERMS[REGRESSION]:
        return figures(value)
    return f"{value:,.10g}" if column == "support" else f"{value:.4f}"


def figures(value: float) -> str:
    """A number of any unit, to four figures."""
    return f"{float(f'{value:.4g}'):,.15g}"


def shown(found: Mapping[str, Any]) -> str:
    """What `Model.evaluate` gives as a clause, such as "accuracy 97.50 %, loss 0.0812, 360 images".

    Where there are "part" and "of", the name of the part that was measured, and of how many images in all, they end it:
    "360 of 1,800 images, the test part".
    """
    parts = [f"{name.replace('_', ' ')} {100 * found[name]:.2f} %" for name in found if name.endswith("accuracy")]
    parts += [f"{name.replace('_', ' ')} {figures(found[name])}" for name in TERMS[REGRESSION] if name in found]
    parts += [f"R^2 {found['r2']:.4g}"] if "r2" in found else []
    images = [counted(found["examples"], "image")] if "examples" in found else []
    if images and found.get("of", found["examples"]) != found["examples"]:
        images = [f"{found['examples']:,} of {found['of']:,} images, the {found['part']} part"]
    return ", ".join([*parts, f"loss {found['loss']:.4f}", *images])


def larger_is_better(name: str) -> bool | None:
    """Of a number of that name, such as "validation_loss", "top 5 accuracy" or "mae"; None where it says nothing."""
    parted = re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", name)  # as in macroF1
    words = {word for text in (name, parted) for word in re.findall(r"[a-z]+\d*", text.lower())}
    words |= {short for word in words for short in (word.rstrip("0123456789"), word.removesuffix("s"))}
    smaller = bool(words & SMALLER) or any(word.endswith(("loss", "losses", "error", "mae", "mse")) for word in words)
    larger = bool(words & LARGER) or any(word.endswith(("accuracy", "f1", "auc", "iou", "recall")) for word in words)
    return larger if smaller != larger and not words & TURNED else None
