"""Every loss: its laws on every array library, PyTorch's numbers, edges, and what a model makes of each kind."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from conftest import Library

from gpucnn import losses as named_losses
from gpucnn import ops
from gpucnn.errors import SettingError
from gpucnn.kernels import REFERENCE
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.losses import (
    LOSSES,
    NAMED,
    BinaryCrossEntropy,
    FocalLoss,
    Hinge,
    Huber,
    Loss,
    MeanSquaredError,
    MultiLabelCrossEntropy,
    SoftmaxCrossEntropy,
    balanced,
    balanced_labels,
    kind,
)
from gpucnn.model.checkpoint import layer_from_dict, loss_to_dict
from gpucnn.network import describe
from gpucnn.report.gradient_check import check_loss

N, K = 7, 5
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, K, N)
SHARES = RNG.dirichlet(np.ones(K), N)
PARTS = RNG.uniform(0, 1, (N, K))
FLAGS = (PARTS > 0.5).astype(float)
NUMBERS = 2 * RNG.standard_normal((N, K))
LOGITS = 3 * RNG.standard_normal((N, K))
WEIGHTS = (0.5, 0.0, 2.0, 1.25, 3.0)
POSITIVE = (0.5, 1.0, 2.0, 20.0, 3.0)

CASES: dict[str, tuple[Any, np.ndarray]] = {
    "softmax": (SoftmaxCrossEntropy(), LABELS),
    "softmax, smoothed": (SoftmaxCrossEntropy(label_smoothing=0.1), LABELS),
    "softmax, weighted": (SoftmaxCrossEntropy(class_weights=WEIGHTS), LABELS),
    "softmax, a class ignored": (SoftmaxCrossEntropy(ignore_index=int(LABELS[0])), LABELS),
    "softmax, a label outside ignored": (SoftmaxCrossEntropy(ignore_index=-100), np.where(LABELS == 1, -100, LABELS)),
    "softmax, all of it": (SoftmaxCrossEntropy(label_smoothing=0.2, class_weights=WEIGHTS, ignore_index=2), LABELS),
    "softmax, shares": (SoftmaxCrossEntropy(), SHARES),
    "softmax, shares smoothed and weighted": (
        SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS),
        SHARES,
    ),
    "binary": (BinaryCrossEntropy(), LABELS),
    "binary, parts": (BinaryCrossEntropy(), PARTS),
    "multi-label": (MultiLabelCrossEntropy(), FLAGS),
    "multi-label, parts": (MultiLabelCrossEntropy(), PARTS),
    "multi-label, weighted": (MultiLabelCrossEntropy(positive_weights=POSITIVE), FLAGS),
    "multi-label, parts weighted": (MultiLabelCrossEntropy(positive_weights=POSITIVE), PARTS),
    "focal": (FocalLoss(), LABELS),
    "focal, gamma 0": (FocalLoss(0.0), LABELS),
    "focal, gamma 1/2, weighted": (FocalLoss(0.5, WEIGHTS), LABELS),
    "hinge": (Hinge(), LABELS),
    "hinge, squared": (Hinge(squared=True), LABELS),
    "squared error": (MeanSquaredError(), NUMBERS),
    "Huber": (Huber(), NUMBERS),
    "Huber, wide": (Huber(2.5), NUMBERS),
}
every_case = pytest.mark.parametrize("case", CASES)


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# Laws


@every_case
def test_the_same_on_every_library(case: str, library: Library) -> None:
    loss, targets = CASES[case]
    losses, dz = loss(library.put(LOGITS), library.put(targets))
    assert (tuple(losses.shape), tuple(dz.shape)) == ((N,), (N, K))
    close([library.fetch(losses), library.fetch(dz)], loss(LOGITS, targets), 1e-12)
    assert losses.device == dz.device == library.put(LOGITS).device
    again = loss(library.put(LOGITS), library.put(targets))  # with the numbers that it has placed
    np.testing.assert_array_equal(library.fetch(again[1]), library.fetch(dz))


@every_case
def test_float32_stays_float32(case: str, library: Library) -> None:
    loss, targets = CASES[case]
    targets = targets.astype("float32") if targets.ndim == 2 else targets
    found = loss(library.put(LOGITS.astype("float32")), library.put(targets))
    assert {library.fetch(each).dtype.name for each in found} == {"float32"}
    close([library.fetch(each) for each in found], loss(LOGITS, targets), 2e-5)


@every_case
def test_the_gradient_is_that_of_differences(case: str) -> None:
    loss, targets = CASES[case]
    _, dz = loss(LOGITS, targets)
    for _ in range(5):
        v, step = RNG.standard_normal((N, K)), 1e-6
        slope = (loss(LOGITS + step * v, targets)[0] - loss(LOGITS - step * v, targets)[0]) / (2 * step)
        np.testing.assert_allclose((dz * v).sum(axis=1), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", [each() for each in NAMED.values()], ids=describe)
def test_the_gradient_check_knows_every_kind(loss: Any) -> None:
    assert check_loss(loss, K).right


@every_case
@pytest.mark.parametrize("table", [REFERENCE, NUMPY, EXACT_TIES], ids=["reference", "numpy", "exact ties"])
def test_a_table_computes_the_loss_as_it_is_set(case: str, table: Any) -> None:
    loss, targets = CASES[case]
    close(table.loss(loss, LOGITS, targets), loss(LOGITS, targets), 1e-12)


def test_only_the_usual_loss_takes_the_fast_way() -> None:
    seen = []
    table = replace(NUMPY, losses={SoftmaxCrossEntropy: lambda *given: seen.append(given)})
    table.loss(SoftmaxCrossEntropy(), LOGITS, LABELS)
    assert len(seen) == 1
    for loss, targets in list(CASES.values())[1:]:
        table.loss(loss, LOGITS, targets)
    assert len(seen) == 1


def test_a_loss_of_ones_own_with_a_setting_that_must_be_given() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Times(SoftmaxCrossEntropy):
        factor: float

        def __call__(self, logits: Any, targets: Any) -> Any:
            losses, dz = super().__call__(logits, targets)
            return self.factor * losses, self.factor * dz

    expected, found = SoftmaxCrossEntropy()(LOGITS, LABELS), NUMPY.loss(Times(factor=2.0), LOGITS, LABELS)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-12)


@every_case
def test_parts_of_a_batch_add_up(case: str) -> None:
    loss, targets = CASES[case]
    parts = [loss(LOGITS[part], targets[part]) for part in (slice(0, 3), slice(3, N))]
    close([np.concatenate(each) for each in zip(*parts)], loss(LOGITS, targets), 1e-14)


@every_case
def test_a_batch_of_nothing(case: str) -> None:
    loss, targets = CASES[case]
    losses, dz = loss(LOGITS[:0], targets[:0])
    assert (losses.shape, dz.shape) == ((0,), (0, K))


# PyTorch


def torch_losses(loss: Any, z: Any, targets: np.ndarray) -> Any:
    """The same losses by PyTorch's own functions, its autograd included."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    F, t = torch.nn.functional, torch.tensor(targets)
    if isinstance(loss, SoftmaxCrossEntropy):
        weight = None if loss.class_weights is None else torch.tensor(loss.class_weights, dtype=z.dtype)
        ignored = {} if loss.ignore_index is None else {"ignore_index": loss.ignore_index}
        smoothing = loss.label_smoothing
        return F.cross_entropy(z, t, weight=weight, label_smoothing=smoothing, reduction="none", **ignored)
    if isinstance(loss, BinaryCrossEntropy):
        y = t if t.ndim == 2 else F.one_hot(t, z.shape[1]).to(z.dtype)
        given = getattr(loss, "positive_weights", None)
        weight = None if given is None else torch.tensor(given, dtype=z.dtype)
        return F.binary_cross_entropy_with_logits(z, y, pos_weight=weight, reduction="none").mean(1)
    if isinstance(loss, MeanSquaredError):
        return F.mse_loss(z, t, reduction="none").mean(1)
    if isinstance(loss, Huber):
        return F.huber_loss(z, t, delta=loss.delta, reduction="none").mean(1)
    at_label = z[torch.arange(len(t)), t]
    if isinstance(loss, FocalLoss):
        log_p = F.log_softmax(z, 1)[torch.arange(len(t)), t]
        alpha = 1.0 if loss.alpha is None else torch.tensor(loss.alpha, dtype=z.dtype)[t]
        return -alpha * (1 - log_p.exp()) ** loss.gamma * log_p
    others = z.masked_fill(F.one_hot(t, z.shape[1]).bool(), -torch.inf).max(1).values
    lacking = F.relu(1 + others - at_label)
    return lacking**2 if loss.squared else lacking


@every_case
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_as_pytorch(case: str, scale: float) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    loss, targets = CASES[case]
    z = torch.tensor(scale * LOGITS, requires_grad=True)
    expected = torch_losses(loss, z, targets)
    expected.sum().backward()
    losses, dz = loss(scale * LOGITS, targets)
    defined = np.isfinite(z.grad.numpy())  # the power of a focal loss has no slope where p rounds to 1
    assert defined.all() or getattr(loss, "gamma", 1) < 1
    close((losses, np.where(defined, dz, np.nan)), (expected.detach().numpy(), z.grad.numpy()))


@pytest.mark.parametrize("seed", range(4))
def test_means_as_pytorch_where_weights_have_the_mean_1(seed: int) -> None:
    """Over a data set with balanced class weights, the divisors are the same."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, 40)])
    z, weights = rng.standard_normal((45, K)), balanced(labels, K)
    found = SoftmaxCrossEntropy(class_weights=weights)(z, labels)[0].mean()
    F = torch.nn.functional
    expected = F.cross_entropy(torch.tensor(z), torch.tensor(labels), weight=torch.tensor(weights, dtype=torch.float64))
    assert found == pytest.approx(float(expected), rel=1e-12)


# Edges


EDGES = {
    "zeros": np.zeros((N, K)),
    "ties": np.where(np.arange(K) < 3, 1.0, 0.0) * np.ones((N, 1)),
    "huge": 1e300 * np.sign(LOGITS),
    "large": 1e4 * LOGITS,
    "tiny": 1e-300 * LOGITS,
}


@every_case
@pytest.mark.parametrize("edge", ["zeros", "ties", "large", "tiny"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_edges_are_finite_and_silent(case: str, edge: str, dtype: str) -> None:
    loss, targets = CASES[case]
    targets = targets.astype(dtype) if targets.ndim == 2 else targets
    with np.errstate(all="raise", under="ignore"):
        losses, dz = loss(EDGES[edge].astype(dtype), targets)
    assert np.isfinite(losses).all()
    assert np.isfinite(dz).all()
    assert (losses >= 0).all()


@pytest.mark.parametrize("case", [name for name, (loss, _) in CASES.items() if not loss.numbers])
def test_huge_logits_of_classes(case: str) -> None:
    loss, targets = CASES[case]
    with np.errstate(all="raise", under="ignore", over="ignore"):
        losses, dz = loss(EDGES["huge"], targets)
    assert not np.isnan(losses).any()
    assert not np.isnan(dz).any()


@pytest.mark.parametrize("case", [name for name in CASES if "ignored" not in name and "all of it" not in name])
def test_outputs_that_are_no_numbers_cost_nan(case: str) -> None:
    loss, targets = CASES[case]
    z = LOGITS.copy()
    z[:, 3] = np.nan
    with np.errstate(invalid="ignore"):
        losses, _ = loss(z, targets)
    counts = np.ones(N, bool)
    weights = getattr(loss, "class_weights", None) or getattr(loss, "alpha", None)
    if weights is not None and targets.ndim == 1:
        counts = np.array(weights)[targets] > 0
    assert np.isnan(losses[counts]).all()


def test_ignored_examples_cost_nothing_whatever_their_outputs() -> None:
    z = LOGITS.copy()
    z[2] = np.nan
    labels = LABELS.copy()
    labels[2] = 255
    losses, dz = SoftmaxCrossEntropy(ignore_index=255)(z, labels)
    assert losses[2] == 0
    assert not dz[2].any()
    np.testing.assert_allclose(np.delete(losses, 2), np.delete(SoftmaxCrossEntropy()(LOGITS, LABELS)[0], 2))


def test_certain_predictions_of_the_focal_loss() -> None:
    """Right, the loss and gradient are 0 for every gamma; wrong, they are those of cross-entropy."""
    for gamma in (0.0, 0.5, 1.0, 2.0):
        losses, dz = FocalLoss(gamma)(np.array([[800.0, 0, 0], [0, 800.0, 0]]), np.array([0, 0]))
        assert losses.tolist() == pytest.approx([0, 800])
        np.testing.assert_allclose(dz, [[0, 0, 0], [-1, 1, 0]], atol=1e-12)
    with np.errstate(divide="ignore"):
        losses, dz = FocalLoss()(np.array([[0.0, -np.inf, 0]]), np.array([1]))
    assert losses.tolist() == [np.inf]
    assert np.isfinite(dz).all()


def test_hinge_at_its_kink_and_with_ties() -> None:
    """Margin 1 exactly: slope 0. Two classes tie: the first of them is pushed down."""
    losses, dz = Hinge()(np.array([[1.0, 0, 0], [0.5, 2, 2]]), np.array([0, 0]))
    assert losses.tolist() == [0, 2.5]
    assert dz.tolist() == [[0, 0, 0], [-1, 1, 0]]


def test_huber_where_its_halves_meet() -> None:
    losses, dz = Huber(2.0)(np.array([[2.0], [3.0], [-2.0]]), np.zeros((3, 1)))
    assert losses.tolist() == [2, 4, 2]
    assert dz.ravel().tolist() == [2, 2, -2]


def test_label_smoothing_by_hand() -> None:
    """Of 2 classes at 0.2: 0.9 and 0.1."""
    losses, dz = SoftmaxCrossEntropy(label_smoothing=0.2)(np.zeros((1, 2)), np.array([0]))
    assert losses.tolist() == pytest.approx([math.log(2)])
    assert dz.ravel().tolist() == pytest.approx([-0.4, 0.4])
    np.testing.assert_allclose(ops.smoothed(np.eye(2), 0.2), [[0.9, 0.1], [0.1, 0.9]])


# Settings


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SoftmaxCrossEntropy(label_smoothing=1), "label_smoothing=1: 0, or a part of 1 such as 0.1"),
        (lambda: SoftmaxCrossEntropy(label_smoothing=True), "label_smoothing=True"),
        (lambda: SoftmaxCrossEntropy(class_weights=(1, -1)), r"class_weights=\(1, -1\): a number of at least 0 for"),
        (lambda: SoftmaxCrossEntropy(class_weights=()), r"class_weights=\(\)"),
        (
            lambda: SoftmaxCrossEntropy(class_weights=(0, 0.0)),
            r"class_weights=\(0, 0.0\): nothing would be learnt; give",
        ),
        (lambda: FocalLoss(alpha=np.zeros(3)), "alpha=.*: nothing would be learnt; give at least one class a number"),
        (lambda: SoftmaxCrossEntropy(class_weights="heavy"), "class_weights='heavy'"),
        (lambda: SoftmaxCrossEntropy(ignore_index=1.5), "ignore_index=1.5: a label, such as -1, or None"),
        (lambda: FocalLoss(-1), "gamma=-1: a number of at least 0 was expected"),
        (lambda: FocalLoss(alpha=3), "alpha=3: a number of at least 0 for each class"),
        (lambda: Huber(0), "delta=0: a number above 0 was expected"),
        (lambda: Huber(math.nan), "delta=nan"),
        (lambda: SoftmaxCrossEntropy(class_weights=(1, 2)).check(3), "2 numbers for a network of 3 outputs; give one"),
        (lambda: FocalLoss(alpha=(1, 2)).check(3), "alpha: 2 numbers for a network of 3 outputs"),
        (
            lambda: named_losses.named("crossentropy"),
            "'crossentropy' is not known; did you mean softmax",
        ),
        (lambda: balanced([0, 0, 2], 3), "class 1 has no example; give a weight for each class"),
        (lambda: balanced([0, 1, -1], 2), "labels run from -1 to 1, 0..1 was expected"),
        (lambda: balanced([0, 1, 2], 2), "labels run from 0 to 2, 0..1 was expected"),
        (lambda: balanced([1, 2, 2], 3), "class 0 has no example"),
        (lambda: balanced([1, 2, 3], 3, ignore_index=0), "labels run from 1 to 3, 0..2 was expected"),
        (lambda: balanced(["a", "b"], 2), r"labels of shape \(2,\) and type <U1: give one whole number for each"),
        (lambda: balanced([0.5, 1.0], 2), r"type float64: give one whole number for each example, the place of its"),
        (lambda: balanced(np.eye(3), 3), r"labels of shape \(3, 3\) and type float64: turn one-hot rows into labels"),
        (lambda: balanced_labels([0, 1]), r"labels of shape \(2,\) and type int64: rows \(N, K\) of 0 and 1"),
        (lambda: balanced_labels([[0, 2]]), r"rows \(N, K\) of 0 and 1 were expected"),
        (lambda: balanced_labels([[0, 1], [0, 0]]), "label 0 has no example; give a weight for each label"),
        (lambda: balanced_labels([[1, 1], [1, 0]]), "label 0 has every example, and there is none without it"),
        (lambda: MultiLabelCrossEntropy(positive_weights=(1, 0)), r"\(1, 0\): a number above 0 for each label"),
        (lambda: MultiLabelCrossEntropy(positive_weights=(1, 2)).check(3), "2 numbers for a network of 3 outputs"),
        (lambda: balanced([0, 1], "2"), "classes='2': the number of classes was expected"),
        (lambda: balanced([0, 1], ("a", "b")), r"classes=\('a', 'b'\): the number of classes was expected"),
    ],
)
def test_settings_that_mean_nothing(make: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        make()


def test_balanced_weights_of_labels() -> None:
    rows = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    assert balanced_labels(rows) == (3.0, 1 / 3)
    losses, _ = MultiLabelCrossEntropy(positive_weights=(3.0, 1 / 3))(np.zeros((4, 2)), rows)
    plain, _ = MultiLabelCrossEntropy()(np.zeros((4, 2)), rows)
    assert losses.tolist() == pytest.approx([2 * math.log(2), *[2 / 3 * math.log(2)] * 3])
    assert plain.tolist() == pytest.approx([math.log(2)] * 4)


def test_infinite_logits_of_weighted_labels() -> None:
    z, positive = np.array([[np.inf, -np.inf]]), np.array([2.0, 5.0])
    for y, cost in (([[1.0, 0.0]], 0), ([[1.0, 1.0]], np.inf), ([[0.0, 0.0]], np.inf)):
        losses, dz = ops.weighted_sigmoid_cross_entropy(z, np.array(y), positive)
        assert losses.tolist() == [cost]
        assert np.isfinite(dz).all()


def test_balanced_class_weights() -> None:
    weights = balanced([0, 0, 0, 1], 2)
    assert weights == (4 / (2 * 3), 2.0)
    assert np.mean(np.array(weights)[[0, 0, 0, 1]]) == 1
    assert balanced([0, -1, 0, 0, -1, 1], 2, ignore_index=-1) == weights
    assert balanced(np.array([0, 7, 0, 0, 1]), 2, ignore_index=7) == weights


@pytest.mark.parametrize(
    "labels",
    [[1, 1, 1, 2], [[0], [0], [0], [1]], np.array([0.0, 0, 0, 1]), [False, False, False, True], np.uint8([1, 1, 1, 2])],
)
def test_balanced_takes_labels_as_fit_does(labels: Any) -> None:
    assert balanced(labels, np.int64(2)) == (4 / (2 * 3), 2.0)


def test_kinds() -> None:
    kinds = {name: kind(loss()) for name, loss in NAMED.items()}
    assert {name for name, each in kinds.items() if each == "regression"} == {"mse", "huber"}
    assert {name for name, each in kinds.items() if each == "multi-label"} == {"multi-label"}
    assert kind(lambda logits, targets: None) == "classification"


@every_case
def test_saved_as_json_and_read_again(case: str) -> None:
    loss, _ = CASES[case]
    saved = loss_to_dict(loss)
    assert isinstance(saved, str) == (loss == type(loss)())
    assert layer_from_dict({"type": saved} if isinstance(saved, str) else saved, LOSSES, what="loss") == loss


def test_copies_make_their_own_arrays() -> None:
    loss = SoftmaxCrossEntropy(class_weights=WEIGHTS)
    expected = loss(LOGITS, LABELS)
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), replace(loss)):
        assert copied == loss
        assert not copied._placed
        close(copied(LOGITS, LABELS), expected, 0)


def test_the_base_gives_probabilities_of_what_a_loss_is_of():
    logits = np.array([[1.0, -2.0, 0.5], [30.0, 0.0, -30.0]])

    class Labels(Loss):
        multi_label = True

    class Numbers(Loss):
        numbers = True

    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Loss().probabilities(logits), softmax, rtol=1e-12)
    np.testing.assert_allclose(Labels().probabilities(logits), 1 / (1 + np.exp(-logits)), rtol=1e-12, atol=1e-15)
    assert Numbers().probabilities(logits) is logits
