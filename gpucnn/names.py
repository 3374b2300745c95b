"""Names that gpucnn does not have, of settings and of classes: the sentence that names gpucnn's own.

Those of Keras, PyTorch and others lead to what they mean; others to what is spelt like them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any, Self

from .errors import ArgumentError, GpucnnError, counted, nearest, printable

SETTINGS = {  # words of other libraries' constructors -> the settings that may be meant, of which a class has one
    **dict.fromkeys(("kernel_size", "pool_size", "filter_size"), ("kernel", "window")),
    **dict.fromkeys(("strides", "subsample"), ("stride",)),
    **dict.fromkeys(("pad", "pads"), ("padding",)),
    **dict.fromkeys(("dilation_rate", "dilations"), ("dilation",)),
    **dict.fromkeys(("out_channels", "nb_filter", "num_filters", "n_filters"), ("filters",)),
    **dict.fromkeys(("out_features", "output_dim", "features", "neurons"), ("units",)),
    **dict.fromkeys(("use_bias", "bias_attr", "center"), ("bias",)),
    **dict.fromkeys(("kernel_initializer", "weight_init", "init"), ("initializer", "start")),
    **dict.fromkeys(("p", "prob", "drop_rate", "dropout"), ("rate",)),
    **dict.fromkeys(("eps",), ("epsilon",)),
    **dict.fromkeys(("num_groups", "group"), ("groups",)),
    **dict.fromkeys(("depth_multiplier",), ("multiplier",)),
    **dict.fromkeys(("negative_slope", "alpha"), ("slope",)),
    **dict.fromkeys(("scale_factor", "size", "gamma"), ("factor",)),
    **dict.fromkeys(("interpolation", "mode"), ("kind", "larger")),
    **dict.fromkeys(("target_shape",), ("shape",)),
    **dict.fromkeys(("count_include_pad",), ("count_padding",)),
    **dict.fromkeys(("affine", "elementwise_affine"), ("scale",)),
    **dict.fromkeys(("betas", "beta_1"), ("beta1",)),
    **dict.fromkeys(("beta_2",), ("beta2",)),
    **dict.fromkeys(("rho",), ("alpha",)),
    **dict.fromkeys(("l2", "wd"), ("weight_decay",)),
    **dict.fromkeys(("max_norm", "clipnorm", "clip_norm"), ("norm",)),
    **dict.fromkeys(("clipvalue", "clip_value"), ("value",)),
    **dict.fromkeys(("weight", "weights", "class_weight"), ("class_weights", "alpha")),
    **dict.fromkeys(("smoothing",), ("label_smoothing",)),
    **dict.fromkeys(("monitor", "metric"), ("watch",)),
    **dict.fromkeys(("restore_best_weights", "save_best_only"), ("keep",)),
    **dict.fromkeys(("filename", "filepath", "file"), ("path",)),
    **dict.fromkeys(("log_dir", "logdir"), ("folder",)),
    **dict.fromkeys(("rotation", "rotation_range", "degrees", "angle"), ("rotate",)),
    **dict.fromkeys(("translate", "translation", "width_shift_range", "height_shift_range"), ("shift",)),
    **dict.fromkeys(("zoom_range",), ("zoom",)),
    **dict.fromkeys(("horizontal_flip", "hflip", "fliplr", "mirror"), ("flip",)),
    **dict.fromkeys(("erase", "random_erasing"), ("cutout",)),
}
ELSEWHERE = {  # what is no setting of the class
    "activation": "an activation is a layer of its own: put ReLU(), or another of gpucnn.layers, behind it",
    **dict.fromkeys(
        ("lr", "learning_rate"), "the learning rate is an argument of fit: model.fit(..., lr=0.1, optimizer=...)"
    ),
    "params": "an optimiser is given no parameters: write model.fit(..., optimizer=...)",
    **dict.fromkeys(
        ("in_channels", "in_features", "input_shape", "input_dim", "num_features", "normalized_shape"),
        "it is known from what comes in: leave it out; Network((H, W, C), layers) says it once",
    ),
    **dict.fromkeys(("from_logits", "reduction"), "losses take logits and give one number per example: leave it out"),
    **dict.fromkeys(("data_format", "channels_last"), "images are (N, H, W, C): leave it out"),
    **dict.fromkeys(
        ("kernel_regularizer", "weight_decay", "l1"),
        "it belongs to the optimiser: weight_decay, or Groups(...) by names",
    ),
}
CLASSES = {  # other libraries' names -> gpucnn's, with the module
    **dict.fromkeys(("Linear", "FullyConnected", "Affine"), "layers.Dense"),
    **dict.fromkeys(("Convolution2D", "Conv"), "layers.Conv2D"),
    **dict.fromkeys(("SeparableConvolution2D",), "layers.SeparableConv2D"),
    **dict.fromkeys(("Conv2DTranspose", "Deconv2D"), "layers.ConvTranspose2D"),
    **dict.fromkeys(("BatchNormalization", "BatchNorm1d", "BatchNorm2d"), "layers.BatchNorm"),
    **dict.fromkeys(("AdaptiveAvgPool2d", "GlobalAveragePooling2D"), "layers.GlobalAvgPool2D"),
    **dict.fromkeys(("AdaptiveMaxPool2d", "GlobalMaxPooling2D"), "layers.GlobalMaxPool2D"),
    **dict.fromkeys(("AveragePooling2D",), "layers.AvgPool2D"),
    **dict.fromkeys(("Dropout2d",), "layers.SpatialDropout2D"),
    **dict.fromkeys(("Swish",), "layers.SiLU"),
    **dict.fromkeys(("Activation",), "layers.ReLU"),
    **dict.fromkeys(("Add",), "layers.Residual"),
    **dict.fromkeys(("Concatenate", "Concat"), "layers.Parallel"),
    **dict.fromkeys(("Module",), "layers.Layer"),
    **dict.fromkeys(("Sequential", "Input", "InputLayer"), "Network"),
    **dict.fromkeys(
        ("CrossEntropyLoss", "CrossEntropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "NLLLoss"),
        "losses.SoftmaxCrossEntropy",
    ),
    **dict.fromkeys(("BCELoss", "BCEWithLogitsLoss", "BinaryCrossentropy"), "losses.MultiLabelCrossEntropy"),
    **dict.fromkeys(("MSELoss", "MSE"), "losses.MeanSquaredError"),
    **dict.fromkeys(("SmoothL1Loss", "HuberLoss"), "losses.Huber"),
    **dict.fromkeys(("ModelCheckpoint",), "callbacks.KeepBest"),
    **dict.fromkeys(("DataLoader", "ImageFolder", "load_data"), "data.load"),
}


class Explained:
    """A class of gpucnn whose constructor refuses settings that it does not have with a sentence. ArgumentError."""

    def __new__(cls, *given: Any, **settings: Any) -> Self:
        if cls.__module__.partition(".")[0] == "gpucnn":
            _check(cls, len(given), settings)
        return super().__new__(cls)


def _check(cls: type, given: int, settings: dict[str, Any]) -> None:
    names, most = _settings(cls)
    for word in settings:
        if word not in names:
            raise ArgumentError(f"{cls.__name__} has no setting {word!r}; {_meant(word, names)}")
    if given > most:
        there = f"it has {', '.join(names)}" if names else "it has none"
        example = f"write names, such as {names[most]}=..." if most < len(names) else there
        without = f"{counted(given, 'setting')} without a name"
        raise ArgumentError(f"{cls.__name__}: {without}, {most or 'none'} at most was expected; {example}")


@functools.cache
def _settings(cls: type) -> tuple[tuple[str, ...], int]:
    """The names that the constructor takes, and how many may be left out."""
    _, *parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    own = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    return tuple(each.name for each in own), sum(each.kind is each.POSITIONAL_OR_KEYWORD for each in own)


def _meant(word: str, names: tuple[str, ...]) -> str:
    for name in SETTINGS.get(word, ()):
        if name in names:
            return f"write {name}"
    if word in ELSEWHERE:
        return ELSEWHERE[word]
    near = nearest(word, names)
    return f"did you mean {near}?" if near else f"it has {', '.join(names)}" if names else "it has none"


class UnknownNameError(GpucnnError, AttributeError):
    """A module of gpucnn has nothing of that name; arguments: the module's name, and that."""

    def __str__(self) -> str:
        return sentence(*self.args)  # when it is asked for: most such errors are never seen


class UnknownImportError(GpucnnError, ImportError):
    """The same, of what was to be imported."""

    def __str__(self) -> str:
        return sentence(*self.args)


def explain(module: str) -> None:
    """Let what the module does not have be refused with a sentence."""

    def absent(name: str) -> Any:
        raise unknown(module, name)

    vars(sys.modules[module])["__getattr__"] = absent


def unknown(module: str, name: str) -> Exception:
    """The error for a name that a module lacks, to be raised by its __getattr__.

    `from module import name` turns an AttributeError into an ImportError of its own words, so it gets one.
    """
    from opcode import opmap

    frame = sys._getframe(2)
    is_import = frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]
    return UnknownImportError(module, name) if is_import else UnknownNameError(module, name)


def sentence(module: str, name: str) -> str:
    """What there is instead of a name that a module lacks."""
    there = _public()
    own = [each for each in there if each.rpartition(".")[0] == module.removeprefix("gpucnn").lstrip(".")]
    short = {each.rpartition(".")[2].casefold(): each for each in (*there, *own)}  # the module's own count
    near = nearest(name.casefold(), [each.rpartition(".")[2].casefold() for each in own], 0.75)
    meant = CLASSES.get(name) or short.get(name.casefold()) or short.get(near or "")
    if meant is None:
        return printable(f"{module} has no {name}; help({module}) says what there is")
    of, _, found = f"gpucnn.{meant}".rpartition(".")
    return printable(f"{module} has no {name}; write `from {of} import {found}`")


def _public() -> list[str]:
    """What the public modules hold of their own, such as "layers.Dense", and what gpucnn itself does."""
    package = sys.modules["gpucnn"]
    found = []
    for each in package.__all__:
        thing = getattr(package, each)
        if not inspect.ismodule(thing):
            found.append(each)
            continue
        of_module = {name: getattr(held, "__module__", None) or "" for name, held in vars(thing).items()}
        found += [
            f"{each}.{name}" for name, of in of_module.items() if name[0] != "_" and of.startswith(thing.__name__)
        ]
    return found
