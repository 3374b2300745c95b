"""What is measured for each kind of targets: scikit-learn's numbers, and what a model's methods mean."""

from __future__ import annotations

import itertools
import json
import warnings

import numpy as np
import pytest
from conftest import Library
from fake_cuda import fake_cuda

import gpucnn
from gpucnn import metrics
from gpucnn.errors import CheckpointError, DataError, SettingError
from gpucnn.layers import Dense, Flatten
from gpucnn.losses import (
    BinaryCrossEntropy,
    FocalLoss,
    Hinge,
    Huber,
    MeanSquaredError,
    MultiLabelCrossEntropy,
    SoftmaxCrossEntropy,
    correct,
)
from gpucnn.model import Model, checkpoint
from gpucnn.network import Network

__all__ = ["fake_cuda"]

K, N = 7, 60
RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (N, 4, 4, 1), dtype=np.uint8)
LABELS = RNG.integers(0, K - 1, N)  # the last class has no example
FLAGS = RNG.integers(0, 2, (N, K))
NUMBERS = RNG.standard_normal((N, K)) * (1 + np.arange(K)) + 100
WEIGHTS = RNG.uniform(0, 2, N)
NETWORK = Network((4, 4, 1), (Flatten(), Dense(K)))


def model(loss=None, **options):
    made = Model(NETWORK, loss=loss, device="cpu", threads=1, dtype="float64", **options)
    made.theta[...] = np.random.default_rng(1).standard_normal(made.theta.shape)
    return made


@pytest.fixture(autouse=True)
def sklearn_metrics():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


every_weight = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])


# Functions


@pytest.mark.parametrize("k", [1, 2, 5])
@every_weight
def test_top_k_as_scikit_learn(sklearn_metrics, k, weights):
    scores = RNG.standard_normal((N, K))
    expected = sklearn_metrics.top_k_accuracy_score(LABELS, scores, k=k, labels=range(K), sample_weight=weights)
    assert np.average(metrics.top_k(scores, LABELS, k), weights=weights) == pytest.approx(expected, rel=1e-12)


def test_labels_of_few_bits_are_their_classes():
    """256 is none of bytes, and 25 times 26 no byte."""
    logits = np.zeros((2, 300))
    logits[:, 256] = 1
    logits[1, 0] = 2
    assert metrics.top_k(logits, np.array([0, 0], np.uint8), 1).tolist() == [0, 1]
    found = metrics.confusion_matrix(np.array([25, 3], np.uint8), np.array([25, 4], np.uint8), 26)
    assert np.argwhere(found).tolist() == [[3, 4], [25, 25]]


def test_top_1_is_accuracy_with_ties_and_what_is_no_number(library: Library):
    scores = RNG.integers(-1, 2, (200, K)).astype(float)
    scores[:20, 2] = np.nan
    labels = RNG.integers(0, K, 200)
    given = library.put(scores), library.put(labels)
    found = library.fetch(metrics.top_k(*given, 1))
    assert not found[:20][labels[:20] != 2].any()
    np.testing.assert_array_equal(found[20:], correct(scores, labels)[20:])
    every = [library.fetch(metrics.top_k(*given, k))[20:] for k in range(1, K + 1)]
    assert all((a <= b).all() for a, b in itertools.pairwise(every))
    assert every[-1].all()


@pytest.mark.parametrize("kind", metrics.TERMS)
def test_sums_in_every_library(kind, library: Library):
    logits = RNG.standard_normal((N, K)).astype("float32")
    targets = {"classification": LABELS, "multi-label": FLAGS.astype("float32")}.get(kind, NUMBERS.astype("float32"))
    losses = logits[:, 0] ** 2
    for weights in (None, WEIGHTS.astype("float32")):
        given = [None if each is None else library.put(each) for each in (losses, logits, targets, weights)]
        found = library.fetch(metrics.sums(kind, *given))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, metrics.sums(kind, losses, logits, targets, weights), rtol=1e-6)


# A model's methods


@every_weight
def test_classes(sklearn_metrics, weights):
    net, names = model(class_names=list("abcdefg")), list("abcdefg")
    predicted, chances = net.predict(IMAGES), net.predict_proba(IMAGES)
    found = net.report(IMAGES, LABELS, sample_weight=weights)
    evaluated = net.evaluate(IMAGES, LABELS, sample_weight=weights)
    how = {"sample_weight": weights, "labels": range(K)}
    accuracy = sklearn_metrics.accuracy_score(LABELS, predicted, sample_weight=weights)
    loss = sklearn_metrics.log_loss(LABELS, chances, **how)
    assert evaluated == pytest.approx({"loss": loss, "accuracy": accuracy, "examples": N}, rel=1e-12)
    top = sklearn_metrics.top_k_accuracy_score(LABELS, chances, k=5, **how)
    assert found.overall == pytest.approx(evaluated | {"top_5_accuracy": top}, rel=1e-12)
    np.testing.assert_allclose(found.confusion, sklearn_metrics.confusion_matrix(LABELS, predicted, **how))
    expected = sklearn_metrics.classification_report(
        LABELS, predicted, target_names=names, output_dict=True, zero_division=0, **how
    )
    for name, row in found.rows.items():
        assert list(row.values()) == pytest.approx(list(expected[name].values()), rel=1e-12)
    expected = sklearn_metrics.classification_report(  # without labels: of the classes that there are
        LABELS, predicted, output_dict=True, zero_division=0, sample_weight=weights
    )
    for ours, name in (("macro average", "macro avg"), ("weighted average", "weighted avg")):
        assert list(found.averages[ours].values()) == pytest.approx(list(expected[name].values()), rel=1e-12)


@every_weight
def test_averages_leave_out_classes_that_no_example_has_and_none_was_given(sklearn_metrics, weights):
    rng = np.random.default_rng(4)
    labels, logits = rng.choice([0, 2, 5], N), rng.random((N, 9)) + 9 * np.isin(np.arange(9), [0, 2, 7])
    overall = {"loss": 0.0, "accuracy": float(np.mean(labels == logits.argmax(axis=1)))}
    found = metrics.report_of("classification", overall, logits, labels, list("abcdefghi"), weights)
    assert len(found.rows) == 9
    expected = sklearn_metrics.classification_report(
        labels, logits.argmax(axis=1), output_dict=True, zero_division=0, sample_weight=weights
    )
    for ours, name in (("macro average", "macro avg"), ("weighted average", "weighted avg")):
        assert list(found.averages[ours].values()) == pytest.approx(list(expected[name].values()), rel=1e-12)
    assert found.averages["macro average"]["recall"] > 0.1


@every_weight
def test_several_labels(sklearn_metrics, weights):
    net = model(MultiLabelCrossEntropy())
    predicted, chances = net.predict(IMAGES), net.predict_proba(IMAGES)
    assert predicted.shape == (N, K)
    assert predicted.dtype == np.int64
    np.testing.assert_array_equal(predicted, chances > 0.5)
    for targets in (FLAGS, FLAGS.astype(bool), FLAGS.astype(float)):
        evaluated = net.evaluate(IMAGES, targets, sample_weight=weights)
        found = net.report(IMAGES, targets, sample_weight=weights)
        assert found.overall == pytest.approx(evaluated, rel=1e-12)
        assert evaluated["accuracy"] == pytest.approx(
            sklearn_metrics.accuracy_score(FLAGS, predicted, sample_weight=weights), abs=1e-15
        )
        wrong = sklearn_metrics.hamming_loss(FLAGS, predicted, sample_weight=weights)
        assert evaluated["label_accuracy"] == pytest.approx(1 - wrong, rel=1e-12)
        expected = sklearn_metrics.classification_report(
            FLAGS, predicted, output_dict=True, zero_division=0, sample_weight=weights
        )
        names = {"macro average": "macro avg", "micro average": "micro avg", "weighted average": "weighted avg"}
        for name, row in {**found.rows, **found.averages}.items():
            of_sklearn = list(expected[names.get(name, name)].values())
            of_row = [value for column, value in row.items() if column != "average_precision"]
            assert of_row == pytest.approx(of_sklearn, rel=1e-12)
    assert found.confusion is None
    assert found.confusions() == []


@every_weight
@pytest.mark.parametrize("loss", [MeanSquaredError(), Huber(2.0)])
def test_numbers(sklearn_metrics, weights, loss):
    net = model(loss)
    predicted = net.predict(IMAGES)
    np.testing.assert_array_equal(predicted, net.logits(IMAGES))
    np.testing.assert_array_equal(predicted, net.predict_proba(IMAGES))
    evaluated = net.evaluate(IMAGES, NUMBERS, sample_weight=weights)
    how = {"sample_weight": weights}
    expected = {
        "mean_absolute_error": sklearn_metrics.mean_absolute_error(NUMBERS, predicted, **how),
        "mean_squared_error": sklearn_metrics.mean_squared_error(NUMBERS, predicted, **how),
        "r2": sklearn_metrics.r2_score(NUMBERS, predicted, **how),
        "loss": np.average(loss(predicted, NUMBERS)[0], weights=weights),
        "examples": N,
    }
    assert evaluated == pytest.approx(expected, rel=1e-12)
    found = net.report(IMAGES, NUMBERS, sample_weight=weights)
    assert found.overall == pytest.approx(expected, rel=1e-12)
    rows = {name: [row[name] for row in found.rows.values()] for name in list(expected)[:3]}
    how |= {"multioutput": "raw_values"}
    assert rows["mean_absolute_error"] == pytest.approx(
        sklearn_metrics.mean_absolute_error(NUMBERS, predicted, **how), rel=1e-12
    )
    assert rows["r2"] == pytest.approx(sklearn_metrics.r2_score(NUMBERS, predicted, **how), rel=1e-12)
    assert "R^2" in str(found)


def test_numbers_that_do_not_differ():
    """R^2 is 1 where all are met, else 0, as scikit-learn has it."""
    assert metrics.determination(np.array([0.0, 2.0, 1.0]), np.array([0.0, 0.0, 4.0])).tolist() == [1, 0, 0.75]


def test_one_number_may_come_without_an_axis():
    net = Model(Network((4, 4, 1), (Flatten(), Dense(1))), loss="mse", device="cpu", threads=1)
    assert net.evaluate(IMAGES, NUMBERS[:, 0]) == net.evaluate(IMAGES, NUMBERS[:, :1])
    net.fit(IMAGES, NUMBERS[:, 0], epochs=1)
    assert net.predict(IMAGES).shape == (N, 1)


def test_a_large_mean_costs_no_digits():
    values = np.random.default_rng(0).standard_normal((100, 2))
    found = metrics.squared_deviations(values + 1e8)
    assert found == pytest.approx(metrics.squared_deviations(values), rel=1e-6)


@pytest.mark.parametrize("ignored", [2, -1, 255])
def test_ignored_examples_do_not_count(ignored):
    labels = LABELS.copy()
    labels[::3] = ignored
    counts = labels != ignored
    net = model(SoftmaxCrossEntropy(ignore_index=ignored, class_weights=(1, 2, 3, 4, 5, 6, 7)))
    plain = model(SoftmaxCrossEntropy(class_weights=(1, 2, 3, 4, 5, 6, 7)))
    for weights in (None, WEIGHTS):
        some = None if weights is None else weights[counts]
        expected = plain.evaluate(IMAGES[counts], labels[counts], sample_weight=some)
        assert net.evaluate(IMAGES, labels, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
        found = net.report(IMAGES, labels, sample_weight=weights)
        expected = plain.report(IMAGES[counts], labels[counts], sample_weight=some)
        assert found.overall == pytest.approx(expected.overall, rel=1e-12)
        np.testing.assert_allclose(found.confusion, expected.confusion, rtol=1e-12)
    history = net.fit(IMAGES, labels, epochs=1, validation=(IMAGES, labels))
    plain = model(net.loss)
    plain.theta[...] = net.theta
    found = plain.evaluate(IMAGES, labels)
    assert history.epochs[-1].validation_accuracy == pytest.approx(found["accuracy"])
    assert history.epochs[-1].validation_loss == pytest.approx(found["loss"])


def test_ignored_examples_leave_theta_alone():
    """As if their weight were 0."""
    labels = LABELS.copy()
    labels[::3] = -1
    found, expected = model(SoftmaxCrossEntropy(ignore_index=-1)), model()
    found.fit(IMAGES, labels, epochs=2, batch_size=16)
    expected.fit(IMAGES, LABELS, sample_weight=(labels != -1).astype(float), epochs=2, batch_size=16)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-12)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(label_smoothing=0.1), BinaryCrossEntropy()])
def test_soft_targets(loss):
    """One-hot shares are labels; the class with the largest share is the one that counts as right."""
    net, again, one_hot = model(loss), model(loss), np.eye(K)[LABELS]
    assert net.evaluate(IMAGES, one_hot) == pytest.approx(net.evaluate(IMAGES, LABELS), rel=1e-12)
    assert net.report(IMAGES, one_hot).rows == net.report(IMAGES, LABELS).rows
    mixed = 0.7 * one_hot + 0.3 / K
    assert net.evaluate(IMAGES, mixed)["accuracy"] == net.evaluate(IMAGES, LABELS)["accuracy"]
    net.fit(IMAGES, one_hot, epochs=2)
    again.fit(IMAGES, LABELS, epochs=2)
    np.testing.assert_allclose(net.theta, again.theta, rtol=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        SoftmaxCrossEntropy(label_smoothing=0.1),
        BinaryCrossEntropy(),
        MultiLabelCrossEntropy(),
        FocalLoss(),
        Hinge(),
        MeanSquaredError(),
        Huber(),
    ],
    ids=lambda loss: type(loss).__name__,
)
@pytest.mark.parametrize("threads", [1, 3])
def test_weights_are_repetitions(loss, threads):
    """A batch in which an example has the weight 2 has the gradient of one where it comes twice."""
    targets = {"numbers": NUMBERS, "multi_label": FLAGS}
    targets = next((targets[name] for name in targets if getattr(loss, name)), LABELS)
    twice = np.concatenate([np.arange(N), np.arange(0, N, 2)])
    weights = np.where(np.arange(N) % 2, 1.0, 2.0)
    found, expected = (model(loss) for _ in range(2))
    found.execution.share_among(threads)
    how = {"epochs": 1, "optimizer": "sgd", "lr": 0.01}
    found.fit(IMAGES, targets, sample_weight=weights, batch_size=N, **how)
    how["lr"] *= len(twice) / N
    expected.fit(IMAGES[twice], targets[twice], batch_size=len(twice), **how)
    np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-9)
    weighed = found.evaluate(IMAGES, targets, sample_weight=weights)
    assert weighed == pytest.approx(found.evaluate(IMAGES[twice], targets[twice]) | {"examples": N}, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "targets", "says"),
    [
        ("softmax", NUMBERS, "targets run from .*: parts in 0..1 were expected"),
        (
            "softmax",
            np.full((N, K), 0.5),
            'those of example 0 add up to 3.5, 1 was expected.*use the loss "multi-label"',
        ),
        ("softmax", FLAGS, r"labels: found int64 \(60, 7\), one integer per picture"),
        ("focal", np.full((N, K), 1 / K), r"labels: found float64 \(60, 7\), one integer per picture"),
        ("hinge", FLAGS, "one integer per picture"),
        ("multi-label", LABELS, r"targets of shape \(60,\) and type int64: numbers \(60, 7\) \(outputs\) were"),
        ("multi-label", 2 * FLAGS, "targets run from 0 to 2: parts in 0..1 were expected"),
        ("mse", LABELS, r"targets of shape \(60,\)"),
        ("huber", NUMBERS * np.nan, "targets: holds NaN or infinite values, in picture 1, and in"),
        (SoftmaxCrossEntropy(ignore_index=9), np.full(N, 9), "all labels are 9, which the loss ignores"),
        (SoftmaxCrossEntropy(ignore_index=9), np.full(N, 8), "labels run from 8 to 8"),
    ],
)
def test_targets_of_another_kind(loss, targets, says):
    net = model(loss)
    for call in (net.evaluate, net.report, net.fit):
        with pytest.raises(DataError, match=says):
            call(IMAGES, targets)


@pytest.mark.parametrize("loss", ["softmax", "binary", "focal", "hinge"])
def test_classes_of_one_output(loss):
    """Softmax of one number is 1, whatever the number is: the loss would be 0 and nothing learnt."""
    net = Model(Network((4, 4, 1), (Flatten(), Dense(1))), loss=loss, device="cpu", threads=1)
    images, zeros = np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3, int)
    batches = [(images, zeros)]
    for call in (net.fit, net.evaluate, net.report, net.partial_fit, lambda *_: net.fit_batches(batches)):
        with pytest.raises(SettingError, match=r"one output tells no two classes apart.*Dense\(2\).*multi-label.*mse"):
            call(images, zeros)


def test_weights_that_are_no_mean():
    net = model(SoftmaxCrossEntropy(ignore_index=0))
    for weights in (np.zeros(N), (LABELS == 0).astype(float)):
        with pytest.raises(DataError, match="sample_weight is 0 for all examples that count"):
            net.evaluate(IMAGES, LABELS, sample_weight=weights)
    with pytest.raises(DataError, match="sample_weight holds -1"):
        net.evaluate(IMAGES, LABELS, sample_weight=-np.ones(N))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (20, "top_k=20: the model has 7 classes, and a smaller number was expected"),
        (7, "top_k=7: the model has 7 classes"),
        (0, "top_k=0: a whole number of at least 1 was expected"),
        (2.5, "top_k=2.5: a whole number of at least 1"),
        ("all", "top_k='all': a whole number of at least 1"),
        (True, "top_k=True"),
    ],
)
def test_as_many_classes_as_come_first(given, says):
    net = model()
    with pytest.raises(SettingError, match=says):
        net.report(IMAGES, LABELS, top_k=given)
    assert "top_5_accuracy" in net.report(IMAGES, LABELS).overall
    for k in (1, 2, 6):
        found = net.report(IMAGES, LABELS, top_k=k).overall[f"top_{k}_accuracy"]
        assert found == metrics.top_k(net.logits(IMAGES), LABELS, k).mean()
    with pytest.raises(SettingError, match=r"top_k=2: MultiLabelCrossEntropy\(\) is of labels; leave it out"):
        model(MultiLabelCrossEntropy()).report(IMAGES, FLAGS, top_k=2)


def test_settings_for_another_number_of_outputs():
    with pytest.raises(SettingError, match="class_weights: 2 numbers for a network of 7 outputs"):
        model(SoftmaxCrossEntropy(class_weights=(1, 2)))


def test_a_report_is_a_table_and_json():
    net = model(class_names=list("abcdefg"))
    found = net.report(IMAGES, LABELS)
    text = str(found)
    assert text.startswith(f"accuracy {100 * found.overall['accuracy']:.2f} %, top 5 accuracy")
    assert "precision" in text
    assert "macro average" in text
    (a, b, count), *_ = found.confusions()
    assert found.confusion["abcdefg".index(a), "abcdefg".index(b)] == count
    assert f"{a} taken for {b}: {count}" in text
    assert sum(each[2] for each in found.confusions(100)) == N - np.trace(found.confusion)
    assert len(found.confusions(3)) == 3
    again = json.loads(json.dumps(found.to_dict()))
    assert again["confusion"] == found.confusion.tolist()
    assert again["rows"]["a"] == found.rows["a"]
    assert again["accuracy"] == found.overall["accuracy"]


def test_nothing_warns():
    """A class without examples, or never predicted, has precision and recall 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss, targets in ((None, LABELS), ("multi-label", FLAGS * 0), ("mse", NUMBERS * 0)):
            str(model(loss).report(IMAGES, targets))


def test_saved_models_keep_their_loss(tmp_path):
    for loss in (
        SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=range(1, 8), ignore_index=-1),
        FocalLoss(1.5, (1,) * K),
        MultiLabelCrossEntropy(),
        Huber(0.5),
    ):
        saved = model(loss)
        again = gpucnn.load(saved.save(tmp_path / "m.safetensors"), device="cpu")
        assert again.loss == loss
        np.testing.assert_array_equal(again.predict(IMAGES), saved.predict(IMAGES))


def test_what_a_model_says_of_itself():
    assert "SoftmaxCrossEntropy(), classes 0, 1, 2" in repr(model())
    assert "MultiLabelCrossEntropy(), labels 0, 1, 2" in repr(model("multi-label"))
    assert "Huber(delta=2.0), numbers 0, 1, 2" in repr(model(Huber(2.0)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"class_weights": [1, 2]},
        {"class_weights": {"a": 1}},
        {"label_smoothing": "a"},
        {"ignore_index": [1]},
        {"gamma": 2},
        {"type": "Huber", "delta": None},
    ],
)
def test_a_saved_loss_that_is_nonsense(wrong, tmp_path):
    path = model(SoftmaxCrossEntropy(class_weights=range(7))).save(tmp_path / "m.safetensors")
    description, tensors = checkpoint.read(path)
    checkpoint.write(path, {**description, "loss": {**description["loss"], **wrong}}, tensors)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: "):
        gpucnn.load(path, device="cpu")


@every_weight
@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=range(K), ignore_index=2), LABELS),
        (SoftmaxCrossEntropy(), np.eye(K)[LABELS] * 0.5 + 0.5 / K),
        (MultiLabelCrossEntropy(), FLAGS),
        (MultiLabelCrossEntropy(positive_weights=range(1, K + 1)), FLAGS),
        (FocalLoss(alpha=range(K)), LABELS),
        (Huber(), NUMBERS),
        (Huber(), 1e5 * NUMBERS + 1e7),
    ],
)
def test_the_same_on_a_gpu(loss, targets, weights, fake_cuda):
    """By the stand-in for CUDA; from validation in a training, too, whose targets stay there."""
    there, here = (Model(NETWORK, loss=loss, device=each, dtype="float64") for each in ("cuda", "cpu"))
    how = {"sample_weight": weights, "epochs": 2, "batch_size": 16, "validation": (IMAGES, targets)}
    shown = [each.fit(IMAGES, targets, **how).epochs[-1] for each in (there, here)]
    assert shown[0].validation_loss == pytest.approx(shown[1].validation_loss, rel=1e-6)
    assert shown[1].validation_loss == pytest.approx(here.evaluate(IMAGES, targets)["loss"], rel=1e-12)
    assert shown[0].validation_accuracy == shown[1].validation_accuracy
    for ask in ("evaluate", "report"):
        a, b = (getattr(each, ask)(IMAGES, targets, sample_weight=weights) for each in (there, here))
        a, b = (each if ask == "evaluate" else each.overall for each in (a, b))
        assert a == pytest.approx(b, rel=1e-6)
    np.testing.assert_allclose(there.predict(IMAGES), here.predict(IMAGES), rtol=1e-6)
