"""A model's parameters and running state, and what its training left, as named tensors, as checkpoints hold them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..engine.freezing import HEAD, excepted, frozen, head
from ..errors import ArgumentError, CheckpointError, SettingError, listed, suggested
from ..losses import OUTPUTS, kind
from ..network import Network
from ..network.layout import Layout
from ..training import Position
from . import numbers

STATE = "state/"  # before the names of running states in a checkpoint
TRAINING = "training/"  # before those of what only training needs
MOST = 1 << 50  # epochs, batches or updates
OPTIMIZER = "optimizer/"  # before the names of the optimiser's vectors, among those of a step
CALLBACKS = TRAINING + "callbacks/"  # before the number of a callback and the name of an array in its state


if TYPE_CHECKING:

    class Plain(Mapping[str, np.ndarray]):
        """What a dict has but for what would change it."""

        def __init__(self, arrays: Mapping[str, np.ndarray]) -> None: ...
        def __getitem__(self, name: str) -> np.ndarray: ...
        def __iter__(self) -> Iterator[str]: ...
        def __len__(self) -> int: ...
        def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]: ...
        def copy(self) -> dict[str, np.ndarray]: ...

else:
    Plain = dict[str, np.ndarray]


class Copies(Plain):
    """Arrays by name that tell what a model holds, and do not set it: neither they nor the names can be written.

    about: what a file would say of the units of its numbers; None of others. Copies of it are plain dicts. The arrays
    of those that the module copy and pickle make can be written; .copy() and | hold the same arrays as it.
    """

    about: Mapping[str, Any] | None = None

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise SettingError(
            "parameters and state are copies, and what is set in them would not reach the model; write "
            'model.load_parameters({"0/bias": array}), with "state/1/mean" for a running state'
        )

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ({name: array.copy() for name, array in self.items()},)  # pickle keeps what cannot be written

    def __call__(self) -> NoReturn:
        raise ArgumentError("parameters and state are dicts of arrays by name, and no methods; leave the () out")


@dataclass(frozen=True)
class Trained:
    """What training left beside the parameters: where it stands, the optimiser's vectors by name, the seed.

    is_partial: by partial_fit, which may go on after the model was saved and loaded. is_averaged: the model's theta is
    the average, and theta as training left it is among the vectors, where the average was. left: the SHA-256 of the
    model's theta, which tells whether it was set since, or None where it cannot have been. callbacks: those that were
    told, and go on where further training is given the same objects.
    """

    position: Position
    vectors: dict[str, Any]
    seed: int
    optimizer: str
    is_partial: bool = False
    is_averaged: bool = False
    left: str | None = None
    callbacks: tuple[Any, ...] = ()

    def described(self) -> dict[str, Any]:
        """All of it but the vectors, for JSON."""
        averaged = {"averaged": True} if self.is_averaged else {}
        position = dataclasses.asdict(self.position)
        return {"position": position, "seed": self.seed, "optimizer": self.optimizer} | averaged

    def tensors(self, device: Any) -> dict[str, np.ndarray]:
        """The vectors, as a checkpoint names them."""
        return {TRAINING + name: device.fetch(vector) for name, vector in self.vectors.items()}


def trained(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, is_partial: bool = False) -> Trained:
    """What training left, from a checkpoint's description and tensors. Raises CheckpointError for what no training
    left.
    """
    names = [name for name in tensors if name.startswith(TRAINING) and not name.startswith(CALLBACKS)]
    vectors = {name.removeprefix(TRAINING): tensors[name] for name in names}
    try:
        of_training = description["training"]
        position = Position(**of_training["position"])
        if position.order is not None:
            bits: Any = np.random.PCG64()
            bits.state = position.order
        counts = position.epoch - 1, position.batches, position.steps, of_training["seed"]
        numbers = position.loss, position.seconds, position.lr
        right = all(type(each) is int and each >= 0 for each in counts) and max(counts[:3]) <= MOST
        right = right and all(math.isfinite(each) for each in numbers) and isinstance(of_training["optimizer"], str)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        right = False
    if not right or any(vector.dtype.kind not in "fiu" for vector in vectors.values()):
        raise CheckpointError("its description of the training cannot be read; train it again")
    of_run = of_training["seed"], of_training["optimizer"], is_partial, of_training.get("averaged", False) is True
    return Trained(position, vectors, *of_run)


def named(model: Any) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint of this model."""
    return {**model.parameters} | {STATE + name: tensor for name, tensor in model.state.items()}


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """What a checkpoint of a model with this network holds, by name."""
    states = Layout(network.init_state(network.input_shape)).slots
    return network.parameter_shapes() | {STATE + slot.name: slot.shape for slot in states}


def fitting(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray], where: str, remedy: str
) -> dict[str, np.ndarray]:
    """The tensors in the shapes that are expected. Raises CheckpointError where one has another, or is none."""
    fitted = {  # numbers without an axis were once written with one
        name: tensor.reshape(()) if expected.get(name) == () and tensor.shape == (1,) else tensor
        for name, tensor in tensors.items()
        if not name.startswith(TRAINING)
    }
    found = {name: tensor.shape for name, tensor in fitted.items() if name in expected or "/" in name}
    if found != expected:
        wrong = next(n for n in [*expected, *found] if found.get(n) != expected.get(n))
        raise CheckpointError(
            f"{where}: {wrong} has shape {found.get(wrong, 'none')}, {expected.get(wrong, 'none')} was expected; "
            f"{remedy}"
        )
    return fitted


def take(model: Any, tensors: Mapping[str, np.ndarray], where: str, remedy: str) -> None:
    """Write a checkpoint's tensors into a model. Raises CheckpointError for a wrong one, before it writes any."""
    slots = {slot.name: slot for slot in model.layout.slots}
    slots |= {STATE + slot.name: slot for slot in model.state_layout.slots}
    tensors = fitting({name: slot.shape for name, slot in slots.items()}, tensors, where, remedy)
    theta, state = (np.empty(each.size, model.theta.dtype) for each in (model.layout, model.state_layout))
    for name, slot in slots.items():
        vector = state if name.startswith(STATE) else theta
        _copy(tensors[name], vector[slot.place], f"{where}: {name}", remedy)
    if not np.isfinite(theta).all():
        name = next(slot.name for slot in model.layout.slots if not np.isfinite(theta[slot.place]).all())
        raise CheckpointError(
            f"{where}: {name} holds NaN or infinite values; train it again with a lower learning rate"
        )
    with model.device.activate():  # the copies follow one another on one device's stream
        model.theta[...] = model.device.put(theta)
        model.execution.state[...] = model.device.put(state)


def left_out(model: Any, tensors: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    """The tensors but for those whose names fit a pattern, running states by the names of their layers. Raises
    SettingError for a pattern that fits no parameter of the model.
    """
    patterns = excepted(model.layout, without)
    own = {name: str(name).removeprefix(STATE) for name in tensors}
    return {name: each for name, each in tensors.items() if not frozen([own[name]], patterns)}


def of_others(model: Any, description: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> str:
    """A sentence where the last layer's parameters are among those that are taken from a file, of a model whose classes
    were others; else "".
    """
    names, what = description.get("class_names"), OUTPUTS[kind(model.loss)]
    heads = _taken_of_last(model, tensors)
    if not heads or not isinstance(names, list) or names == list(model.class_names):
        return ""
    return (
        f"the last layer, {listed(heads)}, is taken from {where}, whose {what} were {listed([*map(str, names)])}, and "
        f"here they are {listed(model.class_names)}{_anew(model, tensors)}"
    )


def units_taken(
    model: Any, description: Mapping[str, Any] | None, tensors: Mapping[str, Any], where: str
) -> tuple[numbers.Decided, str]:
    """The units of a model that takes those tensors, and a sentence or ""; see `numbers.of_last_layer`."""
    if not _taken_of_last(model, tensors):
        return numbers.Decided(model.units, model.standardize), ""
    return numbers.of_last_layer(model, description, where, _anew(model, tensors))


def _anew(model: Any, tensors: Mapping[str, Any]) -> str:
    """How to begin with a new last layer, at the end of a sentence; "" where nothing else would be taken."""
    others = set(_taken(model, tensors)) - {*_taken_of_last(model, tensors)}
    return f'; say without="{HEAD}" to begin with a new one' if others else ""


def _taken_of_last(model: Any, tensors: Mapping[str, Any]) -> list[str]:
    return frozen(_taken(model, tensors), [head(model.layout)])


def _taken(model: Any, tensors: Mapping[str, Any]) -> list[str]:
    """The names of the parameters that the tensors have in that shape."""
    there = [slot for slot in model.layout.slots if slot.name in tensors]
    return [slot.name for slot in there if _shape(tensors[slot.name]) == slot.shape]


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an array or of nested lists; None of anything else."""
    try:
        return np.shape(value)
    except ValueError:
        return None


def take_matching(
    model: Any, tensors: Mapping[str, np.ndarray], where: str, whole: Mapping[str, np.ndarray]
) -> list[str]:
    """Write those that a model has, too, in that shape. -> the names of all that stay as they are.

    whole: the tensors and those that are left out.
    Raises CheckpointError where none is the same, and before it writes any for one that is wrong in itself.
    """
    own = named(model)
    same = {name: each for name, each in tensors.items() if name in own and each.shape == own[name].shape}
    if not _taken(model, same):
        if left := _taken(model, whole):
            raise CheckpointError(
                f"{where}: {listed(left)}, all that has the name and shape of one here, is left out; leave out less "
                "(--init-except, without=)"
            )
        raise CheckpointError(f"{where}: no parameter has the name and shape of one here; give one of a like network")
    take(model, own | same, where, "give another model")
    return [name for name in own if name not in same]


def take_named(model: Any, given: Mapping[Any, Any], *, matching: bool) -> list[str]:
    """Write arrays, by the names that `named` has. -> the names of all that stay as they are.

    matching: those of other names or shapes are left alone. Raises SettingError, before it writes any.
    """
    own, taken = named(model), {}
    for name, value in given.items():
        if name not in own and not matching:
            hint = suggested(str(name), own)
            raise SettingError(f"load_parameters: the model has no {name!r}; {hint}it has {listed([*own])}")
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):
            array = np.asarray(None)
        if array.dtype.kind not in "biuf":
            kind = type(value).__name__
            raise SettingError(f"load_parameters: {name} is a {kind}; a NumPy array of numbers was expected")
        if name in own and array.shape == own[name].shape:
            with np.errstate(over="ignore"):
                taken[name] = array.astype(model.theta.dtype)
            if not np.isfinite(taken[name]).all():
                raise SettingError(f"load_parameters: {name} holds NaN or infinite values; give finite ones")
        elif not matching:
            raise SettingError(f"load_parameters: {name} has shape {array.shape}, {own[name].shape} was expected")
    for layout, vector, before in (
        (model.layout, model.theta, ""),
        (model.state_layout, model.execution.state, STATE),
    ):
        for slot in layout.slots:
            if before + slot.name in taken:
                with model.device.activate():
                    vector[slot.place] = model.device.put(taken[before + slot.name].ravel())
    return [name for name in own if name not in taken]


def _copy(tensor: np.ndarray, vector: np.ndarray, where: str, remedy: str) -> None:
    if tensor.dtype.name not in ("float32", "float64"):
        raise CheckpointError(f"{where} is {tensor.dtype}, {vector.dtype} was expected; {remedy}")
    with np.errstate(over="ignore"):
        vector[...] = tensor.ravel()
