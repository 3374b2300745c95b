"""What Model and fit take for each of their arguments, and the sentence for what is of another kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..callbacks import EarlyStopping, KeepBest
from ..data.dataset import Dataset
from ..data.preprocessing import Preprocessing
from ..device import Device
from ..engine.freezing import frozen
from ..engine.scaling import Scaling
from ..engine.tta import Views
from ..errors import SettingError, listed, warn
from ..layers import Sigmoid, Softmax
from ..losses import CLASSIFICATION, REGRESSION, BinaryCrossEntropy, FocalLoss, Loss, SoftmaxCrossEntropy, kind
from ..losses import NAMED as LOSSES
from ..losses import named as loss_named
from ..names import is_function
from ..network import Network, describe
from ..optimizers import OPTIMIZERS, optimizer
from ..schedules import SCHEDULES, schedule
from ..training.augmentation import Augmentation
from ..training.history import History
from ..training.types import Callback
from .frames import is_column

DTYPES = ("float32", "float64")
LAYOUTS, PIXELS = ("NHWC", "NCHW"), ("uint8", "float32")  # of exported models


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def _one_of(names: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in names, f"one of {', '.join(names)}"


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: _is(int, np.integer)(value) and value >= least, f"a whole number of at least {least}"


def _updates(optimizer: Any) -> bool:
    return hasattr(optimizer, "init") and (hasattr(optimizer, "update") or hasattr(optimizer, "update_parameter"))


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "network": (_is(Network), "a Network, such as Network((28, 28, 1), (Flatten(), Dense(10))), or the name of one,"),
    "loss": (
        lambda it: callable(it) and hasattr(it, "probabilities"),
        f"SoftmaxCrossEntropy() or another of gpucnn.losses, one of the names {', '.join(LOSSES)}, or your own,",
    ),
    "optimizer": (_updates, f"{', '.join(OPTIMIZERS)} or an object like Adam()"),
    "schedule": (is_function, f"one of {', '.join(SCHEDULES)}, or a function of (step, steps),"),
    "augmentation": (_is(Augmentation), "an Augmentation, or a text such as shift=2,flip,"),
    "tta": (_is(Views), "a text such as shift=1,flip, or engine.tta.Views,"),
    "callbacks": (_is(Iterable), "a list, such as [print],"),
    "callback": (is_function, "a function of an Epoch, or an object with a method batch or epoch,"),
    "dtype": _one_of(DTYPES),
    "device": (_is(Device), "'auto', 'cpu', 'cuda', 'cuda:N' or a Device"),
    "class_names": (
        lambda it: is_column(it) or _is(list, tuple, range, np.ndarray)(it),
        "a list of names, such as ['cat', 'dog'],",
    ),
    "data": (_is(Dataset), "a Dataset, such as gpucnn.data.load('digits') gives,"),
    "preprocessing": (_is(Preprocessing, type(None)), "a Preprocessing"),
    "scaling": (_is(Scaling), "a Scaling"),
    "seed": _whole(0),
    **dict.fromkeys(("threads", "accumulate", "batch_size", "steps", "top_k"), _whole(1)),
    "keep": (lambda value: value in ("best", "last", None), "best or last"),
    "early_stopping": (_is(EarlyStopping, type(None)), "True, or an EarlyStopping, such as EarlyStopping(patience=5),"),
    "layout": _one_of(LAYOUTS),
    "pixels": _one_of(PIXELS),
    "progress": (_is(bool, type(None)), "True, False or None"),
    "standardize": (_is(bool), "True or False"),
}
UNTOLD: dict[str, Any] = {  # what a callback without the method does
    **dict.fromkeys(("begin", "batch", "epoch", "end"), lambda *_: None),
    "measure": dict,
    "state": None,
    "load_state": None,
}
METHODS = {"optimizer": ("init", "update"), "loss": ("__call__", "probabilities")}  # of one's own
NAMED: dict[str, Callable[[str], Any]] = {
    "optimizer": optimizer,
    "loss": loss_named,
    "schedule": schedule,
    "device": Device.parse,
    "augmentation": Augmentation.parse,
    "tta": Views.parse,
}


def argument(what: str, value: Any) -> Any:
    """value, or what it names, if it is of the kind that the argument takes. Raises SettingError."""
    if isinstance(value, str) and what in NAMED:
        return NAMED[what](value)
    value = bool(value) if isinstance(value, np.bool_) else value  # as an array of settings gives it
    fits, expected = KINDS[what]
    if isinstance(value, type) or not fits(value):
        hint = f"; write {value.__name__}()" if isinstance(value, type) else ""
        missing = [name for name in METHODS.get(what, ()) if not hasattr(value, name)]
        if not hint and len(missing) < len(METHODS.get(what, ())):
            hint = f"; it has no method {' and no '.join(missing)}"
        raise SettingError(f"{what}={value!r}: {expected} was expected{hint}")
    return value


def callbacks(given: Any) -> list[Any]:
    """Objects with all methods of `training.Callback`: a function is called with each Epoch; one method will do.
    What a class derives from `Callback`, and neither it nor its object writes itself, is left out.

    given: the callback itself. state is None where it has no state.
    """
    told = []
    for each in argument("callbacks", given):
        there = {name: getattr(each, name, None) for name in UNTOLD}
        methods = {name: method for name, method in there.items() if callable(method) and not _is_inherited(method)}
        methods = methods or {"epoch": each}
        argument("callback", each if isinstance(each, type) else next(iter(methods.values())))
        if ("state" in methods) != ("load_state" in methods):
            missing = "load_state" if "state" in methods else "state"
            raise SettingError(
                f"callback {type(each).__name__} has no method {missing}: state and load_state go together"
            )
        told.append(SimpleNamespace(**UNTOLD | methods, given=each))
    return told


def _is_inherited(method: Any) -> bool:
    """Whether it is one that `Callback` writes."""
    function = getattr(method, "__func__", method)
    return function is getattr(Callback, getattr(function, "__name__", ""), None)


@contextmanager
def best_kept(callbacks: list[Any]) -> Iterator[None]:
    """Where a run ends with an error, the model gets what was to be kept. callbacks: as `callbacks` makes them."""
    try:
        yield
    except BaseException:
        for each in callbacks:
            if isinstance(each.given, KeepBest):
                each.given.end(History())
        raise


def kernels(given: Any, device: Device) -> Any:
    """The kernels that are meant: a device's own, by the name that `gpucnn check` tells, are its default."""
    return "default" if (given, device.kind) in (("numpy", "cpu"), ("cuda", "cuda")) else given


def patterns(given: Any, what: str = "freeze") -> tuple[str, ...]:
    """The names, or patterns of names, that freeze takes: one, or some, with commas between in a text."""
    found = tuple(given.split(",")) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else None
    if found is None or not all(isinstance(each, str) for each in found):
        raise SettingError(f"{what}={given!r}: patterns of parameters' names were expected, such as '0/*'")
    return found


def freezing(model: Any, given: Any) -> tuple[str, ...]:
    """The patterns of freeze for this model, which warns where they keep parameters as they were drawn because it took
    none for them from another model.
    """
    found = patterns(given)
    if still := frozen(sorted(model.drawn), found):
        warn(
            f"freeze: {listed(still)} stay as they were drawn at random: the model that the parameters were taken from "
            "has none of that name and shape, or they were left out"
        )
    model.drawn = frozenset(still)
    return found


def keeping(early_stopping: Any, keep: str | None) -> list[Any]:
    """The callbacks that the two arguments of fit stand for."""
    argument("keep", keep)
    if isinstance(early_stopping, (bool, np.bool_)):
        early_stopping = EarlyStopping() if early_stopping else None
    if argument("early_stopping", early_stopping) is not None:
        return [early_stopping if keep is None else replace(early_stopping, keep=keep)]
    return [KeepBest()] if keep == "best" else []


def warn_of_output(network: Network, loss: Loss) -> None:
    """Warn where the last layer is an output function and the loss, one of gpucnn's, applies its own to logits."""
    last: Any = network
    while isinstance(last, Network) and last.layers:
        last = last.layers[-1]
    for own, function in (((SoftmaxCrossEntropy, FocalLoss), "softmax"), (BinaryCrossEntropy, "the sigmoid")):
        if isinstance(last, (Softmax, Sigmoid)) and isinstance(loss, own):
            warn(
                f"the network ends in {describe(last)}, but {type(loss).__name__} applies {function} itself; leave "
                "that layer out, so that the network ends in logits"
            )


def check_augmentation(augmentation: Augmentation, shape: tuple[int, ...], loss: Loss, together: int | None) -> None:
    """Raises SettingError where images of that shape cannot be changed so, or not with the others of a batch of so
    many. Warns of targets that may be places."""
    augmentation.check(shape)
    if augmentation.mixes and together == 1:
        raise SettingError(
            "mixup and cutmix mix the examples of a batch, and a batch of 1 has none to mix with; take a larger "
            "batch_size, or leave them out"
        )
    if augmentation.maps:
        warn_of_places("augmentation", loss, "take brightness and contrast alone")


def warn_of_places(what: str, loss: Loss, remedy: str) -> None:
    """Warn, where the loss is of numbers, that these may be places in pictures, which are moved."""
    if kind(loss) == REGRESSION:
        warn(
            f"{what} moves, turns or mirrors pictures, and the numbers that belong to them stay what they are: "
            f"where these are places, angles or sizes, {remedy}"
        )


def for_data(data: Any, network: Any, loss: Any, usual: Loss) -> Dataset:
    """The data set that a model is made for. Raises SettingError for none, and where the network, or the usual loss, if
    there is no other, do not fit it."""
    if not isinstance(data, Dataset):
        raise SettingError(f"data is a {type(data).__name__}: {KINDS['data'][1]} was expected")
    if isinstance(network, Network) and network.input_shape != data.input_shape:
        raise SettingError(
            f"a network of inputs {network.input_shape} was given for {data.name}, whose images are "
            f"{data.input_shape}; load the data with that size and channels, or build another network"
        )
    if loss is None and kind(usual) == CLASSIFICATION and not data.is_classified:
        advice = "mse" if data.what == "numbers" else "multi-label"
        raise SettingError(f"{data.name} has {data.what} for each picture, and no classes; give Model(loss={advice!r})")
    return data
