"""What a network asks of a layer, with defaults for what most layers need not say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import SettingError
from ..kernels import Context
from ..names import Explained

Gradients = tuple[Any, Any]  # dx or None, dparams


class Layer(Explained):
    """The base of layers, which are frozen dataclasses. It holds defaults only, and deriving from it is optional.

    Shapes leave the batch out: an image is (H, W, C), a vector (features,). A layer of your own meets images as
    (N, H, W, C) and vectors as (N, features), whatever computes the rest of the network.

    speaks_table: the class does not look at axes, or asks context.kernels for what they mean; then it gets images in
    the layout of that table, unconverted. has_place: the layer needs a context of its own, with its key and its state;
    layers from elsewhere always get one. mixes: in training, an output depends on other examples of the batch, whose
    sums the layer gets by context.total; for layers from elsewhere this is found out.
    """

    speaks_table: ClassVar[bool] = False
    has_place: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The output's shape. Raises ShapeError when the input does not fit."""
        return in_shape

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        """Initial parameters: host arrays by name, drawn from a numpy.random.Generator."""
        return {}

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        """The running state before training, beside the parameters and not trained: host arrays by name."""
        return {}

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        """The state after an update, with the keys and shapes of state: from that before it and forward's residual."""
        return state

    def nested(self) -> dict[str, tuple[Any, ...]]:
        """The layers that this one holds: chains, each of which takes this layer's input, by the names under which
        their parameters and states stand, or "" where there is no name between. Asked of gpucnn's own layers only.
        """
        return {}

    def renested(self, chains: dict[str, tuple[Any, ...]]) -> Layer:
        """This layer with others in the place of `nested`, under the same names."""
        return self

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Multiplications, each with its addition, for one example."""
        return 0

    def forward(self, params: Any, x: Any, context: Context) -> tuple[Any, Any]:
        """-> y, residual: whatever `backward` needs. x is not to be changed."""
        raise NotImplementedError(f"{type(self).__name__} has no method forward")

    def outputs(self, params: Any, x: Any, context: Context) -> Any:
        """y of `forward`, where nobody calls `backward`."""
        return self.forward(params, x, context)[0]

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        """-> dx (or None without need_dx), dparams with the keys of params. dy is dL/dy, summed over examples."""
        raise NotImplementedError(f"{type(self).__name__} has no method backward")


@dataclass(frozen=True)
class Around(Layer):
    """A layer around another one, with its shapes, parameters, state and place. What derives from it has a
    forward, whose residual is the inner layer's, or a backward of its own, too.
    """

    layer: Any

    @property
    def has_place(self) -> bool:  # type: ignore[override]
        return has_place(self.layer)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.layer.out_shape(in_shape)

    def init(self, in_shape: tuple[int, ...], rng: Any) -> dict[str, Any]:
        return self.layer.init(in_shape, rng)

    def init_state(self, in_shape: tuple[int, ...]) -> dict[str, Any]:
        return initial_state(self.layer, in_shape)

    def next_state(self, state: Any, residual: Any) -> dict[str, Any]:
        return self.layer.next_state(state, residual)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        return cost(self.layer, in_shape)

    def backward(self, params: Any, residual: Any, dy: Any, context: Context, *, need_dx: bool = True) -> Gradients:
        return self.layer.backward(params, residual, dy, context, need_dx=need_dx)


def cost(layer: Any, in_shape: tuple[int, ...]) -> int:
    """A layer's multiply-adds for one example; 0 where it declares none."""
    return layer.multiply_adds(in_shape) if hasattr(layer, "multiply_adds") else 0


def is_own(thing: Any) -> bool:
    """Whether a layer, a loss or an optimiser is exactly of a class of gpucnn: a derived one may do something else."""
    return type(thing).__module__.partition(".")[0] == "gpucnn"


def initial_state(layer: Any, in_shape: tuple[int, ...]) -> dict[str, Any]:
    """The layer's running state before training; classes that do not derive from Layer may have none."""
    return layer.init_state(in_shape) if hasattr(layer, "init_state") else {}


def has_place(layer: Any) -> bool:
    """Whether a layer gets a context of its own."""
    return not is_own(layer) or layer.has_place


def check_number(
    layer: Any, name: str, fits: Callable[[float], bool] = math.isfinite, expected: str = "a finite number"
) -> None:
    """Raises SettingError where a setting of the layer is no number, or one that does not fit."""
    value = getattr(layer, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
        raise SettingError(f"{type(layer).__name__}: {name}={value!r}: {expected} was expected")
