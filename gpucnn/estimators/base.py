"""What the estimators have in common: parameters, images, and the model between fit and predict."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ..callbacks import EarlyStopping
from ..errors import ArgumentError, DataError, Interrupted, SettingError, counted, listed
from ..losses import CLASSIFICATION, OUTPUTS, REGRESSION, kind
from ..model import Ensemble, Model
from ..model.spelling import OTHERS
from ..names import Explained
from ..network import Network
from ..training import History
from .network import made_by, named
from .ranges import check_range, standardising

Array = Any
Shape = tuple[int, ...]
USUAL = "two-conv"  # the network
OF_FIT = "give fit validation=(images, labels)", "let validation_fraction hold out a part, such as 0.1"
HELD_OUT = 0.1  # of the images, where early stopping must have some to watch
OF_MODEL = ("network", "settings", "image_shape", "loss", "device", "threads", "dtype", "kernels", "precision")
WORDS = {**OTHERS, "seed": "random_state", "progress": "verbose", "validation": "validation_fraction"}


@dataclass(eq=False, repr=False)
class Estimator(Explained, BaseEstimator):  # type: ignore[misc]
    """What both are. The dataclass writes the constructor, which stores its arguments and does nothing else."""

    network: Any = None
    _: KW_ONLY
    settings: Any = None
    image_shape: Any = None
    loss: Any = None
    epochs: int = 20
    batch_size: int = 64
    optimizer: Any = "adam"
    lr: float = 0.005
    schedule: Any = "one-cycle"
    augmentation: Any = None
    validation_fraction: float | None = None
    early_stopping: Any = None
    callbacks: Any = ()
    warm_start: bool = False
    device: Any = "auto"
    threads: int | None = None
    dtype: str = "float32"
    kernels: str = "default"
    precision: str = "float32"
    verbose: bool = False
    random_state: Any = None

    def __new__(cls, *given: Any, **settings: Any) -> Self:
        names = cls._get_param_names()
        for word in settings:
            if word not in names and (meant := WORDS.get(word)) in names:
                raise ArgumentError(f"{cls.__name__} has no setting {word!r}; write {meant}")
        return super().__new__(cls, *given, **settings)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _fit(self, X: Array, y: Array, outputs: Array, weights: Array, classes: Array = None) -> None:
        """Train on images and targets, as the model takes them. outputs: their names. classes: y, to be divided by."""
        model, seed = self._begin(X, outputs, is_new=not self._goes_on)
        fraction = self.validation_fraction
        if fraction is None:
            fraction = HELD_OUT if self.early_stopping else 0
        held = None
        if fraction:
            self._check_divisible(outputs, classes)
            order = np.arange(len(X))
            rest, some = train_test_split(order, test_size=fraction, random_state=seed % 2**32, stratify=classes)
            held = X[some], y[some]
            X, y, weights = X[rest], y[rest], None if weights is None else weights[rest]
        stopping = EarlyStopping() if self.early_stopping is True else self.early_stopping or None
        try:
            history = model.fit(
                X,
                y,
                epochs=self.epochs,
                schedule=self.schedule,
                validation=held,
                early_stopping=copy.copy(stopping),  # what it watched stays in it
                sample_weight=weights,
                seed=seed,
                **self._of_training(),
            )
        except SettingError as error:
            raise SettingError(str(error).replace(*OF_FIT)) from None
        self._end(model, history)

    @staticmethod
    def _check_divisible(outputs: Array, classes: Array) -> None:
        """Raises DataError where a class has a single example. classes (N,): places in outputs, or None."""
        alone = [] if classes is None else [str(outputs[k]) for k in np.flatnonzero(np.bincount(classes) == 1)]
        if alone:
            raise DataError(
                f"y has one example alone of {listed(alone)}, and of each class some are held out (early_stopping, "
                "validation_fraction) and some trained on; add examples of it, leave it out, or hold none out"
            )

    def _fit_further(self, X: Array, y: Array, outputs: Array, weights: Array) -> None:
        """One epoch more, or the first one."""
        is_new = not hasattr(self, "model_")
        model, seed = self._begin(X, outputs, is_new=is_new)
        history = model.partial_fit(X, y, sample_weight=weights, seed=seed, **self._of_training())
        history.epochs[:0] = [] if is_new else self.history_.epochs
        self._end(model, history)

    def _of_training(self) -> dict[str, Any]:
        names = ("batch_size", "optimizer", "lr", "augmentation", "callbacks")
        return {name: getattr(self, name) for name in names} | {"progress": bool(self.verbose)}

    def _begin(self, X: Array, outputs: Array, *, is_new: bool) -> tuple[Model, int]:
        """The model that is to be trained, and the seed."""
        given = self.random_state
        seed = int(given if isinstance(given, Integral) else check_random_state(given).randint(2**31 - 1))
        made_of = {name: _kept(getattr(self, name)) for name in (*OF_MODEL, "standardize") if hasattr(self, name)}
        if not is_new:
            self._check_unchanged(made_of)
            return self.model_, seed
        names = ("device", "threads", "dtype", "kernels", "precision", *["standardize"] * (self._kind == REGRESSION))
        network = self._network(len(outputs))
        if len(found := network.shapes()[-1]) == 1 and found[0] != len(outputs):
            one, many = ("class", "classes") if self._kind == CLASSIFICATION else ("column", "columns")
            raise DataError(
                f"y has {counted(len(outputs), one, many)}, and the network {counted(found[0], 'output')}; give one of "
                f"{len(outputs)}, or its name or a function, from which it is built for y"
            )
        model = Model(
            network,
            loss=self._loss(),
            name=USUAL if self.network is None else self.network if isinstance(self.network, str) else None,
            class_names=outputs,
            scaling=standardising(X),
            seed=seed,
            **{name: getattr(self, name) for name in names},
        )
        if kind(model.loss) != self._kind:
            other = "CNNRegressor" if self._kind == CLASSIFICATION else "CNNClassifier"
            raise SettingError(
                f"loss={self.loss!r} is of {OUTPUTS[kind(model.loss)]}, and {type(self).__name__} of "
                f"{OUTPUTS[self._kind]}; choose another loss, or {other}"
            )
        self._made_of = made_of
        return model, seed

    def _check_unchanged(self, made_of: dict[str, Any]) -> None:
        """Raises SettingError where a parameter that the model was made with has become another."""
        known = getattr(self, "_made_of", made_of)  # one of an old pickle has none
        for name, now in made_of.items():
            before = known[name]
            if not _are_same(now, before):
                raise SettingError(
                    f"{name} has changed since the model that is gone on with was made, from {before!r} to {now!r}; "
                    "set it back, or have a new model by fit with warm_start=False"
                )

    def _network(self, outputs: int) -> Network:
        given, shape = self.network, self.image_shape_
        if not isinstance(self.settings or {}, Mapping):
            raise SettingError(f"settings={self.settings!r}: a dict was expected, such as {{'padding': 'same'}}")
        if given is None or isinstance(given, str):
            return named(given or USUAL, shape, outputs, dict(self.settings or {}))
        if self.settings and (not callable(given) or isinstance(given, (Network, Model, Ensemble))):
            raise SettingError(
                f"settings={self.settings!r} are of a network by its name or of a function, and network is neither; "
                "drop them"
            )
        if isinstance(given, Network):
            return given
        if isinstance(given, (Model, Ensemble)):
            raise SettingError(f"network: {type(given).__name__} was given, not a network; give model.network")
        made = made_by(given, shape, outputs, dict(self.settings or {})) if callable(given) else Network(shape, given)
        if not isinstance(made, Network):
            raise SettingError(f"network: the function gave a {type(made).__name__}; a Network was expected")
        return made

    def _loss(self) -> Any:
        raise NotImplementedError

    def _end(self, model: Model, history: History) -> None:
        """Keep what was learnt. Raises Interrupted where Ctrl-C ended it, or a search would go on."""
        self.model_, self.history_ = model, history
        if history.signal:
            raise Interrupted(history.signal)

    @property
    def _goes_on(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "model_")

    def _images(self, X: Array, *given: Any, is_new: bool = False, **how: Any) -> Any:
        """X as the model's images (N, *image_shape_), and y where it is given, both checked by scikit-learn.

        is_new: whether they decide what an image is.
        """
        if is_new:  # whatever becomes of this call, the model of an earlier one does not fit what is taken now
            for name in {"model_", "history_"}.intersection(vars(self)):
                delattr(self, name)
        shape, own = X.shape if hasattr(X, "shape") else np.asarray(X).shape, None
        if len(shape) > 4:
            raise DataError(
                f"X has {len(shape)} axes; images (N, H, W, C), or rows of pixels (N, features), were expected"
            )
        if len(shape) > 2:
            own = shape[1:] if len(shape) > 3 else (*shape[1:], 1)
            X = np.asarray(X).reshape(shape[0], math.prod(shape[1:]))
        found = validate_data(self, X, *given, reset=is_new, **how)
        rows, *y = found if given else (found,)
        dtype = np.dtype("float64" if str(self.dtype) == "float64" else "float32")
        if is_new:
            check_range(rows, dtype)
            self.image_shape_ = self._shape(own, rows.shape[1])
        elif own is not None and own != self.image_shape_:
            raise DataError(f"X has images of {own}, and {self.image_shape_} was expected, as in fit")
        if rows.dtype != np.uint8:
            rows = rows.astype(dtype, copy=False)
        images = rows.reshape(-1, *self.image_shape_)
        return (images, *y) if given else images

    def _shape(self, own: Shape | None, features: int) -> Shape:
        """The shape of an image. own: that in X; None: X has rows."""
        given = self.image_shape
        if given is None and isinstance(self.network, Network):
            given = self.network.input_shape
        if given is None:
            side = math.isqrt(features)
            if own is None and side * side != features:
                raise SettingError(
                    f"X has rows of {features} features, which are no square image of one channel; give image_shape, "
                    "such as (28, 28, 1), or (1, -1, 1) for a signal"
                )
            return (side, side, 1) if own is None else own
        sizes = tuple(given) if isinstance(given, (tuple, list)) else ()
        known = [n for n in sizes if n != -1]
        if not 1 <= len(sizes) <= 3 or len(known) < len(sizes) - 1 or not all(_is_size(n) for n in known):
            raise SettingError(
                f"image_shape={given!r}: (H, W) or (H, W, C), of which one may be -1, or (features,) was expected"
            )
        shape = tuple(int(n) if n != -1 else features // math.prod(known) for n in sizes)
        shape = (*shape, 1) if len(shape) == 2 else shape
        if math.prod(shape) != features or own not in (None, shape):
            found = f"rows of {features} features" if own is None else f"images of {own}"
            raise DataError(f"X has {found}, which are none of {tuple(given)}; give them so, or another image_shape")
        return shape

    def _weights(self, y: Array, given: Array) -> Array:
        """Factors of the examples' losses (N,), or None."""
        if given is None:
            return None
        weights = np.asarray(given, np.float64)
        check_consistent_length(y, weights)
        if not weights.any():
            raise DataError("sample_weight is zero for all examples; give some that count")
        return weights

    def _outputs(self, X: Array) -> Array:
        """The network's outputs (N, K) for X."""
        check_is_fitted(self, "model_")
        return self.model_.logits(self._images(X))


def _kept(value: Any) -> Any:
    """A parameter as it is now: what is put into a list or a dict later changes it."""
    return copy.copy(value) if isinstance(value, (list, dict)) else value


def _are_same(now: Any, before: Any) -> bool:
    with contextlib.suppress(ValueError):  # of arrays inside, which may be equal or not in each place
        return now is before or bool(np.array_equal(now, before))
    with contextlib.suppress(Exception):  # not all can be pickled
        return pickle.dumps(now) == pickle.dumps(before)
    return False


def _is_size(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
