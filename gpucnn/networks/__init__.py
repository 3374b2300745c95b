"""The source documents' networks by name, larger ones, and some of papers; each with a recipe that trains it.

Recipes were chosen on a validation split of MNIST's training set, never on its test set; those of papers on CIFAR are
the papers' own, and say that no accuracy was measured.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import GpucnnError, SettingError, ShapeError, listed, nearest
from ..layers import AvgPool2D, Conv2D, Crop2D, Dense, Flatten, MaxPool2D, ReLU, Sigmoid, Tanh
from ..losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from ..names import explain
from ..network import Network, own, shape_of
from ..optimizers import SGD, Adam
from . import checks
from .entry import Entry, Recipe, Shape
from .mobile import mobile_small
from .papers import allcnn, lenet5, resnet20
from .records import record, record_long, tiny_99

explain(__name__)

ASKED = ("input_shape", "classes")  # arguments that the data decide
ACTIVATIONS: dict[str, Callable[[], Any]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}


def softmax_regression(input_shape: Shape = (28, 28, 1), classes: int = 10) -> Network:
    """One dense layer and the softmax of the loss: "one fully connected layer ... 92 % on the test set".

    layered, "1.1 Part 1".
    """
    return Network(input_shape, (Flatten(), Dense(classes)))


def single_filter(input_shape: Shape = (28, 28, 1), classes: int = 10, *, hidden: int = 70) -> Network:
    """One 3x3 filter, ReLU, 2x2 max pooling with first ties, 169-70-10.

    single-filter, "Network", "Neural Net" and "Neural Network"; 28 -> 26 -> 13 -> 169-70-10.
    """
    checks.whole("single-filter", "hidden", hidden)
    return Network(input_shape, (Conv2D(1, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(hidden), ReLU(), Dense(classes)))


def two_conv(
    input_shape: Shape = (28, 28, 1),
    classes: int = 10,
    *,
    filters: tuple[int, ...] = (8, 16),
    hidden: int = 128,
    bias: str | None = "tied",
    padding: str = "valid",
    ties: str = "first",
) -> Network:
    """Two true convolutions of 5x5 with ReLU and 2x2 max pooling, then two dense layers: C-R-P, C-R-P-F, D-R, D-S.

    two-conv eq. (22), (23), (24), (25); its widths are free, and filters may be of fewer or more convolutions.
    bias="untied" is its bias as written.
    """
    filters = checks.wholes("two-conv", "filters", filters, (8, 16))
    checks.whole("two-conv", "hidden", hidden)
    blocks = [
        layer
        for count in filters
        for layer in (Conv2D(count, 5, padding=padding, bias=bias, flip=True), ReLU(), MaxPool2D(2, ties=ties))
    ]
    return Network(input_shape, (*blocks, Flatten(), Dense(hidden), ReLU(), Dense(classes)))


def two_conv_wide(input_shape: Shape = (28, 28, 1), classes: int = 10) -> Network:
    """two-conv with 32 and 64 filters, same padding, and 1024 hidden units."""
    return two_conv(input_shape, classes, filters=(32, 64), hidden=1024, padding="same")


def layered(input_shape: Shape = (28, 28, 1), classes: int = 10, *, bias: str | None = "tied") -> Network:
    """two-conv as L = 7 layers C, P, C, P, F, D, D, with a max pool that sends the gradient to every tie.

    layered eq. (27), (28), (29), (30); the last one's shifted layer functions are put in place.
    """
    return two_conv(input_shape, classes, bias=bias, ties="all")


def binary_sigmoid(input_shape: Shape = (28, 28, 1), classes: int = 2) -> Network:
    """5 filters of 3x3 with untied biases, sigmoid, reshape to 3380, 100, sigmoid, one sigmoid per class.

    binary-sigmoid, "Overview"; its binary cross-entropy is the mean over outputs. --classes 0,1 picks two digits.
    """
    return Network(
        input_shape, (Conv2D(5, 3, bias="untied"), Sigmoid(), Flatten(), Dense(100), Sigmoid(), Dense(classes))
    )


def ten_sigmoid(input_shape: Shape = (28, 28, 1), classes: int = 10) -> Network:
    """binary-sigmoid with ten outputs: "we want to classify more than 2 digits if we can"."""
    return binary_sigmoid(input_shape, classes)


def avgpool_96(input_shape: Shape = (28, 28, 1), classes: int = 10, *, f: str = "tanh") -> Network:
    """True convolutions 4@5x5 and 6@5x5, each with f and 2x2 average pooling, then 96-50-10 with f between.

    28 -> 24 -> 12 -> 8 -> 4, 4 * 4 * 6 = 96. avgpool-96, "Number of Parameters to be Learned": 6070 (6170 is printed
    beside a sum that is 6070).
    f: "tanh", "sigmoid" or "relu". Its kernels start Glorot uniform.
    """
    if f not in ACTIVATIONS:
        raise SettingError(f"avgpool-96: f={f!r} is not known; choose one of {', '.join(ACTIVATIONS)}")
    activation = ACTIVATIONS[f]
    blocks = [layer for count in (4, 6) for layer in (Conv2D(count, 5, flip=True), activation(), AvgPool2D(2))]
    return Network(input_shape, (*blocks, Flatten(), Dense(50), activation(), Dense(classes)))


def fast(
    input_shape: Shape = (28, 28, 1),
    classes: int = 10,
    *,
    filters: tuple[int, int] = (16, 48),
    hidden: int = 128,
    crop: int = 2,
) -> Network:
    """The middle 24x24 pixels, conv 16@5x5, max pool, ReLU, conv 48@5x5, max pool, ReLU, 128, 10: 99 % in one epoch.

    MNIST's border is blank; `crop` pixels of it are left out where at least 16 remain. Label smoothing of 0.1, Szegedy
    et al., 2016, makes up for what fewer filters lose.
    """
    first, second = checks.wholes("fast", "filters", filters, (16, 48), count=2)
    checks.whole("fast", "hidden", hidden)
    checks.whole_or_none("fast", "crop", crop)
    blocks = Conv2D(first, 5), MaxPool2D(2), ReLU(), Conv2D(second, 5), MaxPool2D(2), ReLU()
    middle = (Crop2D(crop),) if crop and min(input_shape[:2]) - 2 * crop >= 16 else ()
    return Network(input_shape, (*middle, *blocks, Flatten(), Dense(hidden), ReLU(), Dense(classes)))


def vgg_small(input_shape: Shape = (32, 32, 3), classes: int = 10) -> Network:
    """For 32x32x3: conv 64@3x3 twice, max pool, conv 128@3x3 twice, max pool, 256, 10; same padding, ReLU."""
    conv = functools.partial(Conv2D, kernel=3, padding="same", initializer="he_normal")
    blocks = [layer for n in (64, 128) for layer in (conv(n), ReLU(), conv(n), ReLU(), MaxPool2D(2))]
    return Network(input_shape, (*blocks, Flatten(), Dense(256, initializer="he_normal"), ReLU(), Dense(classes)))


SMOOTHED = SoftmaxCrossEntropy(label_smoothing=0.1)
RECORD = Recipe(Adam(beta2=0.99), 0.01, "one-cycle", 128, 12, validation=0.0, augmentation="shift=2,rotate=10,zoom=0.1")

NETWORKS: dict[str, Entry] = {
    "softmax-regression": Entry(softmax_regression, "layered, part 1", Recipe(Adam(), 0.003, "cosine")),
    "single-filter": Entry(single_filter, "single-filter", Recipe(Adam(), 0.003, "cosine", 64, 10)),
    "two-conv": Entry(two_conv, "two-conv", Recipe(Adam(), 0.003, "one-cycle", 64, 5)),
    "two-conv-wide": Entry(two_conv_wide, "two-conv", Recipe(Adam(), 0.001, "one-cycle", 128, 5)),
    "layered": Entry(layered, "layered", Recipe(Adam(), 0.003, "one-cycle", 64, 5)),
    "binary-sigmoid": Entry(
        binary_sigmoid, "binary-sigmoid", Recipe(Adam(), 0.002, "cosine", 64, 3), BinaryCrossEntropy(), classes=2
    ),
    "ten-sigmoid": Entry(
        ten_sigmoid, "binary-sigmoid", Recipe(SGD(momentum=0.9), 0.3, "cosine", 32, 20), BinaryCrossEntropy()
    ),
    "avgpool-96": Entry(avgpool_96, "avgpool-96", Recipe(Adam(), 0.005, "one-cycle", 64, 10)),
    "fast": Entry(fast, "-", Recipe(Adam(0.7, 0.9), 0.007, "one-cycle", 128, 1, validation=0.0), SMOOTHED),
    "vgg-small": Entry(
        vgg_small, "-", Recipe(SGD(momentum=0.9, nesterov=True, weight_decay=5e-4), 0.05, "one-cycle", 128, 10),
        input_shape=(32, 32, 3),
    ),
    "lenet5": Entry(lenet5, "LeCun 1998", Recipe(Adam(), 0.002, "one-cycle", 64, 10)),
    "resnet20": Entry(
        resnet20, "He 2015", Recipe(SGD(momentum=0.9, weight_decay=1e-4), 0.1, "step", 128, 182),
        input_shape=(32, 32, 3),
    ),
    "allcnn": Entry(
        allcnn, "Springenberg 2015", Recipe(SGD(momentum=0.9, weight_decay=1e-3), 0.05, "step", 128, 350),
        input_shape=(32, 32, 3),
    ),
    "mobile-small": Entry(
        mobile_small, "Howard 2017",
        Recipe(SGD(momentum=0.9, nesterov=True, weight_decay=5e-4), 0.05, "one-cycle", 128, 10),
        input_shape=(32, 32, 3),
    ),
    "tiny-99": Entry(
        tiny_99, "-", Recipe(Adam(beta2=0.99), 0.02, "one-cycle", 128, 45, validation=0.0, augmentation="shift=1")
    ),
    "record": Entry(record, "-", RECORD, SMOOTHED),
    "record-long": Entry(record_long, "-", replace(RECORD, epochs=36), SMOOTHED),
}  # fmt: skip


def entry(name: str) -> Entry:
    """The named network's entry, or that of module:factory. Raises SettingError with the nearest name and all of them.

    A factory is handed input_shape and classes if it has arguments of these names; a Network or an Entry will do too.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if ":" in name:
        return _own(name)
    near = nearest(name, NETWORKS)
    module, _, attribute = name.rpartition(".")
    meant = near if near else f"{module}:{attribute}" if module and attribute not in ("", "py") else ""
    hint = f"did you mean {meant}? " if meant else ""
    known = f"{', '.join(NETWORKS)}, or module:factory of your own"
    raise SettingError(f"network {name!r} is not known; {hint}choose one of {known}")


def build(name: str, /, input_shape: Shape | None = None, classes: int | None = None, **options: Any) -> Network:
    """The named network for inputs of input_shape (H, W, C) and that many classes; options go to its function."""
    found = entry(name)
    if name in NETWORKS:
        check_settings(name, options)
    shape = found.input_shape if input_shape is None else shape_of(input_shape)
    outputs = found.classes if classes is None else classes
    try:
        network = found.build(shape, outputs, **options)
    except ShapeError as error:
        if input_shape is None or name not in NETWORKS:
            raise
        if len(shape) != len(found.input_shape):
            such = (*shape, 1) if len(shape) == 2 else found.input_shape
            raise ShapeError(f"{name}: input_shape {shape}: (H, W, C) was expected, such as {such}") from None
        if remedy := _remedy(name, shape, outputs, options):
            raise ShapeError(f"{error}; {remedy}") from None
        raise
    takes, gives = network.input_shape, network.shapes()[-1]
    asked_for = takes if input_shape is None else shape, gives if classes is None else (classes,)
    if asked_for != (takes, gives):
        asked = f"{asked_for[0]} -> {asked_for[1]} was asked for"
        advice = "choose other data, or let it take input_shape and classes"
        raise SettingError(f"network {name} is {takes} -> {gives}, {asked}; {advice}")
    return network


def _remedy(name: str, shape: Shape, classes: int, options: dict[str, Any]) -> str:
    """What to do where a named network does not take images of that shape; "" where no network does, and the number
    of classes is what is wrong.
    """

    def takes(name: str, **options: Any) -> bool:
        with suppress(GpucnnError):
            return bool(NETWORKS[name].build(shape, classes, **options).layers)
        return False

    same = "padding" in settings_of(name) and takes(name, **options | {"padding": "same"})
    others = listed([each for each in NETWORKS if takes(each)])
    begin = "try padding='same', or" if same else "take"
    return f"{begin} a network for such images: {others}" if others else ""


def settings_of(name: str) -> dict[str, Any]:
    """The arguments of a named network that may be set, with their defaults; not those that the data decide."""
    parameters = inspect.signature(entry(name).build).parameters
    return {
        key: each.default for key, each in parameters.items() if each.kind is each.KEYWORD_ONLY and key not in ASKED
    }


def check_settings(name: str, options: Mapping[str, Any]) -> None:
    """Raises SettingError for a setting that a named network does not have."""
    there = settings_of(name)
    if wrong := [key for key in options if key not in there]:
        hint = f"; did you mean {near}?" if (near := nearest(wrong[0], there)) else ""
        raise SettingError(f"network {name} has no setting {wrong[0]!r}; it has {shown(there) or 'none'}{hint}")


def shown(options: Mapping[str, Any]) -> str:
    """The settings as --set takes them, such as "filters=8,16, hidden=128"."""
    return ", ".join(f"{name}={as_text(value)}" for name, value in options.items())


def as_text(value: Any) -> str:
    """A setting's value as --set takes it: numbers with commas between, and one behind a number that is alone."""
    if not isinstance(value, (list, tuple)):
        return str(value)
    return ",".join(map(str, value)) + "," * (len(value) < 2)


def _own(name: str) -> Entry:
    factory = own.named(name)
    if isinstance(factory, Entry):
        return factory

    def build(input_shape: Shape, classes: int, **options: Any) -> Network:
        """A network of your own."""
        made = own.made(name, {"input_shape": input_shape, "classes": classes} | options)
        if not isinstance(made, Network):
            raise SettingError(f"{name} gave {made!r}; a Network was expected (`gpucnn check` takes a layer as well)")
        return made

    if callable(factory):
        build = functools.wraps(factory)(build)
    asks = {key: own.parameters(factory).get(key) for key in ASKED}
    usual = {key: each.default for key, each in asks.items() if each and each.default is not each.empty}
    found = Entry(build, "-", Recipe(Adam(), 0.001, "one-cycle"), **usual)
    if all(asks.values()):
        return found
    network = build(found.input_shape, found.classes)
    return replace(found, input_shape=network.input_shape, classes=network.shapes()[-1][-1])
