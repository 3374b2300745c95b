"""Is a hand-derived gradient right? Directional derivatives and central differences, in float64, away from kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..engine.mixing import check_passes
from ..errors import GpucnnError, SettingError
from ..kernels import Context
from ..layers.initializers import generator
from ..losses import CLASSIFICATION, MULTI_LABEL, REGRESSION, Loss, kind
from ..network import Network, own
from ..network.layout import Layout, at
from ..networks import NETWORKS, Entry, build
from .central_differences import NEAR, ROUNDING, STEP, Row, compared
from .checked_layer import Seen, expect, pair, read_only, watched

__all__ = ["Row", "Wrong", "check", "check_loss", "wrong_layers"]

BATCH = 5  # examples


@dataclass(frozen=True)
class Wrong:
    """A layer whose backward is wrong, whatever the others do. name: such as "layer 1 (Mine)"; rows: those of its dx
    and its parameters that are; batch: how many examples there were.
    """

    name: str
    rows: tuple[Row, ...]
    batch: int

    def __str__(self) -> str:
        return f"{self.name}: backward gives a wrong {', '.join(self._said(row) for row in self.rows)}"

    def _said(self, row: Row) -> str:
        what = f"gradient of {row.name}" if row.name != "dx" else row.name
        return f"{what} ({said})" if (said := of_factor(row.factor, self.batch)) else what


@dataclass(frozen=True)
class _Pass:
    """A layer or a network that went forward and backward: what it was given, and the gradients that it gave."""

    layer: Any
    layout: Layout
    theta: np.ndarray
    x: np.ndarray
    dy: np.ndarray
    context: Context
    dx: np.ndarray
    dparams: Any

    def output(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return self.layer.forward(self.layout.unpack(theta), x, self.context)[0]

    def rows(self, of_input: str, directions: int, rng: np.random.Generator) -> list[Row]:
        """The gradients by the input and by each parameter beside differences of sum(dy * y)."""
        x, theta = self.x, self.theta
        noise = ROUNDING * float(abs(self.dy * self.output(x, theta)).sum()) / STEP

        def row(name: str, here: np.ndarray, g: np.ndarray, moved: Callable[[np.ndarray], Any]) -> Row:
            def value(changed: np.ndarray) -> float:
                return float((self.output(*moved(changed)) * self.dy).sum())

            return compared(name, here, g, value, directions, rng, noise)

        rows = [row(of_input, x, self.dx, lambda changed: (changed, theta))]
        for slot in self.layout.slots:

            def moved(changed: np.ndarray, place: slice = slot.place) -> tuple[np.ndarray, np.ndarray]:
                return x, np.concatenate([theta[: place.start], changed.ravel(), theta[place.stop :]])

            here = theta[slot.place].reshape(slot.shape)
            rows.append(row(slot.name, here, at(self.dparams, slot.path), moved))
        return rows


def check(
    network: Network | Entry | str,
    *,
    loss: Loss | None = None,
    batch: int = BATCH,
    directions: int = 4,
    seed: int = 0,
) -> list[Row]:
    """Compare the gradient of sum(dy * y) by every parameter and by the input, dy random, with central differences.

    network: or an Entry, or the name of one. loss: is looked at as well, in a last row, "loss": by default an Entry's;
    of a model, give model.network and loss=model.loss. Inputs and parameters are drawn anew (normal; a bias of 0 would
    sit on kinks). Where a difference comes from a kink within the step, such as a ReLU's 0 or a change of a maximum,
    another direction is drawn. The network also runs in float32, in inference, and makes its next state, for what these
    say of the rules that a layer keeps. Raises SettingError for a layer whose passes disturb each other. all(row.right
    for row in check(network)) says whether all is right; see `wrong_layers`.
    """
    found = _network(network)
    passed, rng = _passed(found, batch, seed)
    rows = passed.rows("input", directions, rng)
    if loss is None:
        loss = loss_of(network)
    if loss is not None:
        rows.append(check_loss(loss, found.shapes()[-1][-1], batch=batch, directions=directions, seed=seed))
    if all(row.right for row in rows):
        check_passes(found)
    return rows


def wrong_layers(
    network: Network | Entry | str, *, batch: int = BATCH, directions: int = 4, seed: int = 0
) -> list[Wrong]:
    """The layers whose own gradients are wrong, the last first: in `check`, the rows of all layers before one whose dx
    is wrong are, too. Each is looked at where it stands, by the input and random numbers that it has there.
    """
    seen: list[Seen] = []
    _, rng = _passed(_network(network), batch, seed, seen)
    found = []
    for each in seen:
        layout = Layout(each.params)
        theta = read_only(layout.pack(each.params, np.empty(layout.size)))
        alone = _Pass(each.layer, layout, theta, each.x, each.dy, each.context, each.dx, each.dparams)
        if not each.dy.any():  # nothing depends on it
            continue
        rows = alone.rows("dx", directions, rng)
        if not all(row.directions for row in rows):  # it stands on kinks, as a layer behind a ReLU may
            rows += _elsewhere(alone, rng).rows("dx", directions, rng)
        if wrong := tuple({row.name: row for row in rows if row.wrong}.values()):
            found.append(Wrong(each.name, wrong, batch))
    return found


def _elsewhere(there: _Pass, rng: np.random.Generator) -> _Pass:
    """The pass of the same layer on an input that is drawn anew."""
    x, params = rng.standard_normal(there.x.shape), there.layout.unpack(there.theta)
    y, residual = there.layer.forward(params, read_only(x), there.context)
    dy = rng.standard_normal(y.shape)
    dx, dparams = there.layer.backward(params, residual, read_only(dy), there.context)
    return replace(there, x=x, dy=dy, dx=dx, dparams=dparams)


def of_factor(factor: float | None, batch: int) -> str:
    """What a wrong gradient that is wrong by a factor may lack, in words; "" where it is by none."""
    if factor is None:
        return ""
    if abs(factor + 1) < NEAR:
        return "its sign is wrong"
    if batch > 1 and abs(factor / batch - 1) < NEAR:
        return (
            f"{batch} times too small, and the batch has {batch} examples: is it divided by their number? it is summed "
            "over them, and the step divides, once"
        )
    return f"it must be {factor:.4g} times that"


def _network(given: Any) -> Network:
    """The network itself, that of an entry, or the one of that name. Raises GpucnnError for what is none."""
    if isinstance(given, str):
        return find(given, None)
    if isinstance(given, Entry):
        return given.build(given.input_shape, given.classes)
    if not isinstance(given, Network):
        advice = (
            "Network((28, 28, 1), (layer,))" if hasattr(given, "backward") else 'Network(...), or a name, "two-conv"'
        )
        is_model = isinstance(getattr(given, "network", None), Network)
        advice = "model.network, and loss=model.loss for its loss" if is_model else advice
        raise SettingError(f"check: a {type(given).__name__} was given; give {advice}")
    return given


def _passed(given: Network, batch: int, seed: int, seen: list[Seen] | None = None) -> tuple[_Pass, np.random.Generator]:
    """The network's pass over random examples, and the generator of what is drawn next. Raises GpucnnError."""
    rng, network = generator(seed), watched(given, seen)
    context = _context(network, batch, "float64")
    layout = Layout(network.init(network.input_shape, rng))
    theta = layout.pack(network.init(network.input_shape, rng), np.empty(layout.size))
    theta = read_only(theta + 0.05 * rng.standard_normal(layout.size))
    x = rng.standard_normal((batch, *network.input_shape))
    y, residuals = network.forward(layout.unpack(theta), x, context)
    _rules(network, layout, x, theta)
    if not np.array_equal(y, network.forward(layout.unpack(theta), x, context)[0], equal_nan=True):
        raise GpucnnError(
            "forward gives another output for the same input, and differences say nothing of what is random"
        )
    if not np.isfinite(y).all():
        raise GpucnnError(
            "forward gives numbers that are not finite, so nothing can be compared; inputs are normal numbers, below 0 "
            "too: check a layer that takes others only in a network, behind one that makes them, such as Softplus()"
        )
    if not y.any():
        raise GpucnnError("forward gives 0 everywhere, so nothing can be compared; mend it, or draw others with --seed")
    dy = rng.standard_normal(y.shape)
    dx, dparams = network.backward(layout.unpack(theta), residuals, dy, context)
    for slot in layout.slots:
        expect(f"backward: the gradient of {slot.name}", at(dparams, slot.path), slot.shape, x.dtype)
    return _Pass(network, layout, theta, x, dy, context, dx, dparams), rng


def _context(network: Network, batch: int, dtype: str, *, training: bool = True) -> Context:
    """The context of a training run's first update; a layer that draws at random draws the same each time.

    In inference there are no examples, and nothing to draw from.
    """
    state = Layout(states := network.init_state(network.input_shape))
    unpacked = state.unpack(read_only(state.pack(states, np.empty(state.size, dtype))))
    if training:
        return Context(update=1, key=1, examples=np.arange(batch), state=unpacked)
    return Context(training=False, state=unpacked)


def _rules(network: Network, layout: Layout, x: np.ndarray, theta: np.ndarray) -> None:
    """Run what differences do not look at, a training pass in float32, inference and the next state; each may raise."""
    for dtype in ("float32", "float64"):
        params, images = layout.unpack(theta.astype(dtype)), x.astype(dtype)
        context = _context(network, len(x), dtype)
        _, residuals = network.forward(params, images, context)
        network.next_state(context.state, residuals)
        network.forward(params, images, _context(network, len(x), dtype, training=False))


def check_loss(loss: Loss, outputs: int, *, batch: int = BATCH, directions: int = 4, seed: int = 0) -> Row:
    """Compare the gradient of the summed losses by random logits (batch, outputs) with central differences.

    Targets are random classes or, where the loss wants them, random labels or numbers.
    """
    rng, name = generator(seed), f"the loss {type(loss).__name__}"
    logits = read_only(rng.standard_normal((batch, outputs)))
    draws = {
        CLASSIFICATION: lambda: rng.integers(0, outputs, batch),
        MULTI_LABEL: lambda: rng.integers(0, 2, (batch, outputs)).astype(float),
        REGRESSION: lambda: rng.standard_normal((batch, outputs)),
    }
    targets = draws[kind(loss)]()

    def losses(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_type = targets if targets.ndim == 1 else targets.astype(logits.dtype)
        try:
            answer = pair(name, "losses, d_logits", loss(read_only(logits), read_only(of_type)))
        except ValueError as error:
            if said := own.of_writing(name, error):
                raise GpucnnError(said) from None
            raise
        expect(f"{name}: losses", answer[0], (batch,), logits.dtype)
        expect(f"{name}: d_logits", answer[1], logits.shape, logits.dtype)
        return answer

    losses(logits.astype("float32"))  # for what it says of types
    values, g = losses(logits)
    noise = ROUNDING * float(abs(values).sum()) / STEP
    return compared("loss", logits, g, lambda moved: float(losses(moved)[0].sum()), directions, rng, noise)


def find(name: str, input_shape: tuple[int, ...] | None) -> Network:
    """The network that a name, or module:factory, stands for; a layer becomes a network of one. Raises GpucnnError."""
    offered = {"input_shape": input_shape or Entry.input_shape, "classes": Entry.classes}
    layer: Any = own.made(name, offered) if ":" in name else None
    if isinstance(layer, Network) or not hasattr(layer, "backward"):
        return build(name, input_shape)
    if input_shape is None:
        raise GpucnnError(f"{name} is a layer: say the shape of its input without the batch, such as --input 28x28x1")
    with own.explained(name):
        return Network(input_shape, (layer,))


def loss_of(given: Any) -> Loss | None:
    """The loss that an entry brings, given itself or by name; None for what is no entry."""
    found = given
    if isinstance(given, str):
        found = own.named(given) if ":" in given else NETWORKS.get(given)
    return found.loss if isinstance(found, Entry) else None
