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
    **dict.fromkeys(("pos_weight", "pos_weights"), ("positive_weights",)),
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
    **dict.fromkeys(("load_model", "load_checkpoint", "from_pretrained"), "load"),
    **dict.fromkeys(("nn",), "layers"),
    **dict.fromkeys(("optim",), "optimizers"),
    **dict.fromkeys(("functional",), "ops"),
    **dict.fromkeys(("datasets",), "data"),
    **dict.fromkeys(("applications", "models"), "networks"),
}
OF_MODELS = {  # what other libraries' models have -> what to write
    **dict.fromkeys(
        ("state_dict", "get_weights", "weights", "named_parameters", "trainable_weights", "trainable_variables"),
        "model.parameters and model.state hold the arrays by name, and model.save(path) writes them",
    ),
    **dict.fromkeys(("load_state_dict", "set_weights"), 'write model.load_parameters({"0/bias": array, ...})'),
    "load_weights": "write model.load_parameters(path)",
    "save_weights": "write model.save(path)",
    **dict.fromkeys(
        ("to", "cuda", "cpu"),
        'a model stays where it was made: Model(..., device="cuda"), or gpucnn.load(path, device="cuda")',
    ),
    **dict.fromkeys(("half", "float", "double", "astype"), 'write Model(..., dtype="float64"), or "float32"'),
    **dict.fromkeys(
        ("train", "eval", "requires_grad_", "no_grad"),
        "leave it out: fit trains, and predict and evaluate do not",
    ),
    **dict.fromkeys(("forward", "call"), "write model.logits(images), or model.predict_proba(images)"),
    **dict.fromkeys(
        ("compile", "optimizer", "backward", "zero_grad", "step"),
        "the loss is an argument of Model, optimizer and lr are arguments of fit, which does the rest",
    ),
    **dict.fromkeys(("count_params", "num_parameters", "num_params"), "write model.network.parameters"),
    **dict.fromkeys(("output_shape",), "write model.network.shapes()[-1]"),
    **dict.fromkeys(("get_layer", "children", "modules", "named_modules"), "write model.layers, a tuple"),
    **dict.fromkeys(("add", "append"), "a network is made of all its layers: Network((H, W, C), (..., Dense(10)))"),
    **dict.fromkeys(("predict_classes", "predict_on_batch"), "write model.predict(images)"),
    **dict.fromkeys(("train_on_batch", "fit_generator"), "write model.fit_batches(batches), or model.partial_fit"),
    **dict.fromkeys(("test_on_batch", "accuracy"), "write model.evaluate(images, labels)"),
    **dict.fromkeys(("decision_function",), "write model.logits(images)"),
    **dict.fromkeys(("get_config", "to_json", "get_params"), "write model.describe()"),
    "history": "fit gives it: history = model.fit(...)",
    **dict.fromkeys(("classes_", "classes", "labels"), "write model.class_names"),
    **dict.fromkeys(("clone", "copy"), "write copy.deepcopy(model)"),
    "load": "write gpucnn.load(path)",
    "freeze": 'write model.fit(..., freeze="0/*")',
    "plot": "fit gives what can be drawn: model.fit(...).plot()",
    **dict.fromkeys(("to_onnx", "export_onnx"), "write model.export(path)"),
}
OF_HISTORIES = {
    "history": 'write history["train_loss"]; the numbers are told in print(history)',
    **dict.fromkeys(("loss", "losses", "train_loss"), 'write history["train_loss"]'),
    **dict.fromkeys(("val_loss", "validation_loss"), 'write history["validation_loss"]'),
    **dict.fromkeys(("acc", "accuracy", "val_accuracy", "validation_accuracy"), 'write history["validation_accuracy"]'),
    **dict.fromkeys(("epoch", "params"), "write history.epochs, or history.rows()"),
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


class UnknownAttributeError(GpucnnError, AttributeError):
    """An object has nothing of that name; arguments: its class's name, that, what to write, or None, what it has."""

    def __str__(self) -> str:
        cls, name, instead, there = self.args
        near = None if instead else nearest(name, [each for each in there if each[0] != "_"], 0.7)
        instead = instead or (f"did you mean {near}?" if near else f"help({cls}) says what there is")
        return printable(f"{cls} has no {name}; {instead}")


def lacking(thing: Any, name: str, words: dict[str, str]) -> AttributeError:
    """The error for an attribute that an object lacks, to be raised by its __getattr__. words: what to write for some.

    What begins with an underscore is Python's to ask, as copy and pickle do. A property's own AttributeError, for
    which Python asks __getattr__ as well, is raised as it is.
    """
    if any(name in vars(each) for each in type(thing).__mro__):
        object.__getattribute__(thing, name)
    if name.startswith("_"):
        return AttributeError(f"{type(thing).__name__!r} object has no attribute {name!r}")
    return UnknownAttributeError(type(thing).__name__, name, words.get(name), dir(thing))


def is_function(thing: Any) -> bool:
    """Whether it can be called. A model can, only to be refused with a sentence: its __call__ is marked `refuses`."""
    return callable(thing) and not getattr(type(thing).__call__, "refuses", False)


def explain(module: str) -> None:
    """Let what the module does not have be refused with a sentence, and let `dir` show what is the user's."""

    def absent(name: str) -> Any:
        raise unknown(module, name)

    held = vars(sys.modules[module])
    held |= {"__getattr__": absent, "__dir__": lambda: shown(held)}
    held.pop("explain", None)  # this function, which is none of the module's


def shown(held: dict[str, Any]) -> list[str]:
    """What `dir` tells of a module that holds that: its __all__, or else its own classes, functions and constants."""
    own = held["__name__"]
    return held.get("__all__") or [
        name
        for name, thing in held.items()
        if name[0] != "_" and (getattr(thing, "__module__", None) or (own if name.isupper() else "")).startswith(own)
    ]


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
