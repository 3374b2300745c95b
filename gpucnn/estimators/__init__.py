"""scikit-learn's estimators over `Model`, for its pipelines, searches and cross-validation.

They are thin: a parameter is only stored until `fit` hands it to `Model`, and the fitted model is in `model_`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from .. import networks
from ..errors import DataError, SettingError, listed
from ..losses import CLASSIFICATION, REGRESSION
from ..names import explain
from .base import Array, Estimator

__all__ = ["CNNClassifier", "CNNRegressor"]

explain(__name__)


@dataclass(eq=False, repr=False)
class CNNClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A network that tells classes apart, as scikit-learn has classifiers.

    X: images (N, H, W, C) or (N, H, W), or rows of pixels (N, features), in numbers of any type, and of any range that
    dtype can tell apart. The network sees (x - m) / s, where m and s are the mean and the standard deviation of all
    numbers in the X of the first `fit` or `partial_fit`, so that a scaler before it in a pipeline may be there and need
    not be.

    network: a network's name, with `settings` as its arguments, such as {"filters": (16, 32)}; or a Network; or layers,
    in a list or tuple, whose last one gives an output for each class or number; or a function of (input_shape, outputs)
    that gives a Network, and is given the `settings`, too, such as def net(input_shape, outputs, width=8). None is
    "two-conv". By its name, a network that has a setting padding is built with padding="same", unless settings say
    otherwise, and images of 4x4 at least that are too small for it are enlarged by a whole factor, which is warned of,
    so that names may be searched over whatever the images. image_shape: what a row of X is, (H, W) or (H, W, C), row by
    row; one of them may be -1, what is left, as in (1, -1, 1) for a signal, and (features,) is a vector, for networks
    that begin with Dense. None: the network's where that is a Network, or square and grey where the number of features
    is a square; others are refused.

    epochs, batch_size, optimizer, lr, schedule, augmentation, callbacks: what `Model.fit` takes. loss, device, threads,
    dtype, kernels, precision: what `Model` takes; None is the loss of a named network, or softmax cross-entropy, or of
    numbers their mean squared error. early_stopping: None, an `EarlyStopping`, or True for one with its usual settings.
    validation_fraction: the part of X that `fit` holds out to be measured after each epoch; None: 0.1 with
    early_stopping, else none. warm_start: further calls of `fit` go on from the parameters that are there, with the
    model and the scaling of X of the first; classes, or parameters that the model was made with, that have changed are
    refused. verbose: whether progress is shown. random_state: a whole
    number is gpucnn's seed, and the same one gives the same bits; None draws one; or a RandomState.

    After `fit`: model_, the `Model`, which takes X as images; history_, the `History`; image_shape_; n_features_in_.
    Wrong parameters are refused by `fit`: SettingError, DataError, ShapeError, all of them ValueErrors, or what
    scikit-learn raises. Training that diverges raises TrainingError, and Ctrl-C KeyboardInterrupt, after model_ has
    been given what was learnt.

    y: a class for each image (N,): numbers, texts or truth values, two classes at least; classes_ has them in order.
    sample_weight: (N,) factors of the examples' losses. class_weight: "balanced", a dict of factors by class, or None;
    they multiply sample_weight.
    """

    class_weight: Any = None

    _kind = CLASSIFICATION

    def fit(self, X: Array, y: Array, sample_weight: Array = None) -> CNNClassifier:
        """Train on images X, in the forms that the class says, and their classes y (N,)."""
        is_new = not self._goes_on
        images, y = self._images(X, _column(y), is_new=is_new)
        check_classification_targets(y)
        if is_new:
            self._take_classes(y)
        elif not np.array_equal(found := np.unique(y), self.classes_):
            raise DataError(
                f"warm_start: y has the classes {_names(found)}, and those of the fit before are "
                f"{_names(self.classes_)}; give y with the same ones, use partial_fit, or fit with warm_start=False"
            )
        weights = self._weights(y, sample_weight)
        codes = self._codes(y)
        self._fit(images, codes, self.classes_, weights, codes)
        return self

    def partial_fit(self, X: Array, y: Array, classes: Array = None, sample_weight: Array = None) -> CNNClassifier:
        """Train for one epoch more on images X and classes y (N,), at the constant rate lr.

        classes: all that there will be, needed in the first call. The first call, or an earlier `fit`, decides how X is
        scaled. Nothing is held out, and epochs, schedule and early_stopping do not count.
        """
        if self.class_weight == "balanced":
            raise SettingError('partial_fit does not know all labels: give class_weight as a dict, not "balanced"')
        is_new = not hasattr(self, "model_")
        if is_new and classes is None:
            raise SettingError("partial_fit: classes are missing; the first call needs all that there will be")
        images, y = self._images(X, _column(y), is_new=is_new)
        check_classification_targets(y)
        if is_new:
            self._take_classes(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise SettingError(f"partial_fit: classes are others than in the first call: {_names(self.classes_)}")
        self._fit_further(images, self._codes(y), self.classes_, self._weights(y, sample_weight))
        return self

    def decision_function(self, X: Array) -> Array:
        """The network's outputs before softmax (N, K); of two classes, the second's less the first's (N,)."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    def predict(self, X: Array) -> Array:
        """The most probable class of each image (N,)."""
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Array) -> Array:
        """The probability of each class (N, K), in the order of classes_. Rows add up to 1, whatever the loss is: of a
        sigmoid for each class they are divided by their sum, which `Model.predict_proba` and ONNX leave as they are.
        """
        outputs, loss = self._outputs(X), self.model_.loss
        found, some = loss.probabilities(outputs), np.linspace(-2, 3, 2 * outputs.shape[1]).reshape(2, -1)
        if np.allclose(loss.probabilities(some).sum(axis=1), 1, rtol=0, atol=1e-6):
            return found
        found = np.maximum(found, np.finfo(found.dtype).tiny)
        return found / found.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Array) -> Array:
        """The logarithm of `predict_proba` (N, K); -inf where that is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _loss(self) -> Any:
        if self.loss is None and isinstance(self.network, str):
            return networks.entry(self.network).loss
        return self.loss

    def _take_classes(self, labels: Array) -> None:
        found = np.unique(labels)
        if len(found) < 2:
            raise DataError(f"there is one class alone, {found[0]}; at least two classes were expected")
        self.classes_ = found

    def _factors(self) -> Array:
        """What class_weight has for each class, 1 where it has none. Raises SettingError for what is no class."""
        names, given = self.classes_.tolist(), dict(self.class_weight)
        if strange := [each for each in given if each not in names]:
            raise SettingError(f"class_weight has {_names(strange)}, and the classes are {_names(self.classes_)}")
        for name, factor in given.items():
            if not isinstance(factor, Real) or not 0 <= float(factor) < math.inf:
                raise SettingError(f"class_weight: {factor!r} for {name}: a number of at least 0 was expected")
        return np.array([given.get(name, 1.0) for name in names], np.float64)

    def _codes(self, y: Array) -> Array:
        """The places of labels in classes_ (N,). Raises DataError for others."""
        places = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if (strange := y[self.classes_[places] != y]).size:
            raise DataError(f"y holds {_names(np.unique(strange))}, and the classes are {_names(self.classes_)}")
        return places

    def _weights(self, y: Array, given: Array) -> Array:
        weights = super()._weights(y, given)
        if self.class_weight is None:
            return weights
        if isinstance(self.class_weight, Mapping):  # of classes that a batch may lack
            factors = self._factors()[self._codes(y)]
        elif self.class_weight == "balanced":
            factors = compute_sample_weight(self.class_weight, y)
        else:
            raise SettingError(
                f'class_weight={self.class_weight!r}: "balanced", or a dict of factors by class, was expected'
            )
        return factors if weights is None else factors * weights


@dataclass(eq=False, repr=False)
class CNNRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A network that predicts a number, or several, for an image, as scikit-learn has regressors.

    X and the parameters are as in `CNNClassifier`, but for class_weight, which there is not. y: numbers (N,) or (N, K),
    in any units: with standardize the network learns them standardised, by their mean and standard deviation in the
    first `fit` or `partial_fit`, and what is predicted is in the units of y. Without, bring them near 0 and 1.
    """

    standardize: bool = True

    _kind = REGRESSION

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Array, y: Array, sample_weight: Array = None) -> CNNRegressor:
        """Train on images X and numbers y (N,) or (N, K). sample_weight: (N,) factors of the examples' losses."""
        is_new = not self._goes_on
        names = _columns(y)
        images, y = self._images(X, y, is_new=is_new, multi_output=True, y_numeric=True)
        rows = self._rows(y, is_new=is_new)
        self._fit(images, rows, names or range(rows.shape[1]), self._weights(y, sample_weight))
        return self

    def partial_fit(self, X: Array, y: Array, sample_weight: Array = None) -> CNNRegressor:
        """Train for one epoch more, at the constant rate lr; see `CNNClassifier.partial_fit`."""
        is_new = not hasattr(self, "model_")
        names = _columns(y)
        images, y = self._images(X, y, is_new=is_new, multi_output=True, y_numeric=True)
        rows = self._rows(y, is_new=is_new)
        self._fit_further(images, rows, names or range(rows.shape[1]), self._weights(y, sample_weight))
        return self

    def predict(self, X: Array) -> Array:
        """The numbers for each image, (N,) or (N, K), as y was."""
        outputs = self._outputs(X).astype(np.float64)
        return outputs[:, 0] if self._is_one else outputs

    def _loss(self) -> Any:
        return "mse" if self.loss is None else self.loss

    def _rows(self, y: Array, *, is_new: bool) -> Array:
        """y as (N, K); truth values are 0 and 1."""
        if is_new:
            self._is_one = y.ndim == 1
        return (y.astype(np.float64) if y.dtype == bool else y).reshape(len(y), -1)


def _columns(y: Array) -> list[str]:
    """The names of a frame's columns, if they are texts that can name outputs; else none."""
    names = [*getattr(y, "columns", ())]
    usable = all(isinstance(name, str) and name.strip() and name.isprintable() for name in names)
    return names if usable and len(set(names)) == len(names) else []


def _column(y: Array) -> Array:
    """y as it is. Raises DataError for rows of several labels."""
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    if len(shape) == 2 and shape[1] > 1:
        raise DataError(
            f"y has {shape[1]} columns, and CNNClassifier learns one class for each image; for several labels "
            "put it into sklearn.multioutput.MultiOutputClassifier or sklearn.multiclass.OneVsRestClassifier, or take "
            'gpucnn.Model with loss="multi-label"'
        )
    return y


def _names(classes: Any) -> str:
    return listed([str(each) for each in classes])
