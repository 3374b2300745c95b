"""Arguments that a method does not have: the sentence that names gpucnn's own, also for other libraries' words."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import ArgumentError, nearest

P = ParamSpec("P")
R = TypeVar("R")

# Words of Keras, scikit-learn, PyTorch and others -> gpucnn's argument, for the methods that have it.
OTHERS = {
    **dict.fromkeys(("x", "X", "inputs", "x_train", "X_train"), "images"),
    **dict.fromkeys(("y", "Y", "target", "targets", "y_train"), "labels"),
    **dict.fromkeys(("nb_epoch", "num_epochs", "n_epochs", "max_epochs", "max_iter", "n_iter"), "epochs"),
    **dict.fromkeys(("bs", "batch", "minibatch_size"), "batch_size"),
    **dict.fromkeys(("learning_rate", "learning_rate_init", "eta", "base_lr"), "lr"),
    **dict.fromkeys(("optim", "solver", "opt"), "optimizer"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule", "learning_rate_schedule"), "schedule"),
    **dict.fromkeys(("validation_data", "eval_set", "val", "val_data", "validation_split"), "validation"),
    **dict.fromkeys(("augment", "augmentations", "data_augmentation", "transform", "transforms"), "augmentation"),
    **dict.fromkeys(("random_state", "random_seed", "rng"), "seed"),
    **dict.fromkeys(("n_jobs", "num_workers", "workers", "cpus"), "threads"),
    **dict.fromkeys(("criterion", "loss_fn", "loss_function", "objective"), "loss"),
    **dict.fromkeys(("gpu", "use_gpu", "cuda", "backend", "accelerator"), "device"),
    **dict.fromkeys(("verbose", "verbosity", "progress_bar"), "progress"),
    **dict.fromkeys(("accumulate_grad_batches", "gradient_accumulation_steps", "accumulation"), "accumulate"),
    **dict.fromkeys(("patience", "n_iter_no_change", "early_stop"), "early_stopping"),
    **dict.fromkeys(("checkpoint", "checkpoint_dir", "checkpoint_path", "resume_from", "initial_epoch"), "resume"),
    **dict.fromkeys(("labels_names", "names", "classes_", "target_names"), "class_names"),
    **dict.fromkeys(("model", "layers", "net", "architecture"), "network"),
    **dict.fromkeys(("precision_mode", "amp", "mixed_precision"), "precision"),
    **dict.fromkeys(("test_time_augmentation",), "tta"),
    **dict.fromkeys(("weights", "sample_weights"), "sample_weight"),
    **dict.fromkeys(("steps_per_epoch",), "steps"),
    **dict.fromkeys(("k", "topk", "top"), "top_k"),
}
EXAMPLES = {  # of arguments whose values are of another kind than those of the word
    "validation": "validation=(images, labels), such as the last tenth of both",
    "early_stopping": "early_stopping=EarlyStopping(patience=5), of gpucnn.callbacks",
    "progress": "progress=True or False",
    "resume": 'resume="a/folder"',
    "augmentation": 'augmentation="shift=2,rotate=10"',
}
ELSEWHERE = {  # what is no argument of any method
    **dict.fromkeys(
        ("momentum", "weight_decay", "nesterov", "betas", "clipnorm", "clip_norm", "clip_value", "ema"),
        "it belongs to the optimiser, such as optimizer=SGD(momentum=0.9), of gpucnn.optimizers",
    ),
    **dict.fromkeys(
        ("class_weight", "class_weights", "label_smoothing", "pos_weight", "positive_weights"),
        "it belongs to the loss, such as Model(..., loss=SoftmaxCrossEntropy(...)), of gpucnn.losses",
    ),
    **dict.fromkeys(
        ("metrics", "metric", "scoring"),
        "accuracy is measured by itself, and other numbers by callbacks=[Metric(...)], of gpucnn.callbacks",
    ),
    **dict.fromkeys(("shuffle",), "batches come in a random order, which seed decides; leave it out"),
    **dict.fromkeys(
        ("input_shape", "num_classes", "n_classes", "classes", "in_channels", "hidden", "filters"),
        "it belongs to the network: Model(gpucnn.networks.build(NAME, (H, W, C), classes))",
    ),
    **dict.fromkeys(("dropout", "activation", "batch_norm"), "it is a layer of the network, of gpucnn.layers"),
}
_arguments: dict[str, set[str]] = {}  # of each method, by its name


def spelt(*more: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A method that refuses arguments which it does not have with a sentence, and the lack of those that it needs.

    more: those that it takes as **options.

    Raises ArgumentError.
    """

    def of(method: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(method).parameters
        fixed = {name for name, each in parameters.items() if each.kind != each.VAR_KEYWORD}
        needed = [word for word, each in parameters.items() if each.default is each.empty and word in fixed]
        known = {*fixed, *more} - {"self"}
        name = "Model" if method.__name__ == "__init__" else method.__name__
        _arguments[name] = known

        @functools.wraps(method)
        def called(*args: P.args, **options: P.kwargs) -> R:
            for word in options:
                if word not in known:
                    raise ArgumentError(f"{name} has no argument {word!r}; {_instead(name, word, known)}")
            for word in needed[len(args) :]:
                if word not in options:
                    part = "test" if name in ("evaluate", "report", "score", "confusion_matrix") else "train"
                    of_data = f", such as data.{part}_images, data.{part}_labels of a Dataset" * ("labels" in needed)
                    raise ArgumentError(f"{name}: {word} is missing; give {' and '.join(needed[1:])}{of_data}")
            return method(*args, **options)

        return called

    return of


def _instead(method: str, word: str, known: set[str]) -> str:
    """What to write."""
    near = word if any(word in names for names in _arguments.values()) else nearest(word, known, 0.75)
    meant = OTHERS.get(word, near)
    if meant in known:
        return f"write {EXAMPLES.get(meant, meant)}" if word in OTHERS else f"did you mean {meant}?"
    if word in ELSEWHERE:
        return ELSEWHERE[word]
    if method == "fit_batches" and meant == "batch_size":
        return "each of the batches that you give is one update; leave it out"
    if method not in ("Model", "fit") and meant == "batch_size":
        return "as many images are looked at together as there is memory for; leave it out"
    for other in ("Model", "fit", "fit_batches", "predict", "report"):
        if meant in _arguments.get(other, ()):
            return f"{other} takes {meant}"
    return f"it has {', '.join(sorted(known))}"
