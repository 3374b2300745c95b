"""What layers, losses and optimisers of a user's own do that their results alone do not show."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from layers_of_ones_own import OWN

from gpucnn import Model, Network, ops
from gpucnn.engine import sharded_step
from gpucnn.engine.mixing import Reach, check_passes, reach_of_loss
from gpucnn.errors import SettingError
from gpucnn.kernels import Context
from gpucnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, Layer, ReLU, Residual
from gpucnn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from gpucnn.optimizers import SGD, Clip
from gpucnn.report import check, table_check

SHAPE = (6, 5, 2)
rng = np.random.default_rng(0)
IMAGES, LABELS = rng.random((64, *SHAPE)), np.arange(64) % 3


def network(*layers):
    return Network(SHAPE, (Conv2D(4, 3), *layers, ReLU(), Flatten(), Dense(3)))


@pytest.fixture
def shards(monkeypatch):
    """Of at most 5 examples, and workers however small the work."""
    monkeypatch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 5)
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)


# --- layers that keep numbers on themselves


class Habit(Layer):
    """x times a factor for each channel, with x kept as in other libraries' classes."""

    def init(self, in_shape, rng):
        return {"factor": np.ones(in_shape[-1])}

    def forward(self, params, x, context):
        self.x = x
        return x * params["factor"], None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy * params["factor"], {"factor": (dy * self.x).sum(axis=tuple(range(dy.ndim - 1)))}


class Shown(Habit):
    """It keeps x for somebody to look at."""

    def forward(self, params, x, context):
        return super().forward(params, x, context)[0], x

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy * params["factor"], {"factor": (dy * residual).sum(axis=tuple(range(dy.ndim - 1)))}


class OfThread(Habit):
    """What it keeps is each thread's own."""

    kept = threading.local()

    @property
    def x(self):
        return self.kept.x

    @x.setter
    def x(self, x):
        self.kept.x = x


class Reuse(Layer):
    """Twice x, in the same array as long as its shape is the same."""

    def __init__(self):
        self.y = np.zeros(0)

    def forward(self, params, x, context):
        self.y = self.y if self.y.shape == x.shape else np.empty_like(x)
        return np.multiply(x, 2, out=self.y), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return 2 * dy, {}


class Noisy(Layer):
    """It draws from a generator of its own, in backward too, so that no two passes are alike."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def forward(self, params, x, context):
        return x + 1e-3 * self.rng.standard_normal(x.shape), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy + 1e-3 * self.rng.standard_normal(dy.shape), {}


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Habit(), "Habit keeps numbers of a pass on itself, .* let forward return what backward needs as its residual"),
        (Reuse(), "Reuse gives the same array in each pass, .*; make a new one"),
    ],
    ids=["residual", "output"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_passes_that_overwrite_each_other_are_refused(layer, said, nested):
    """Threads share a layer: gradients would be of another thread's images."""
    model = Model(network(Residual((layer,)) if nested else layer), device="cpu", threads=2)
    with pytest.raises(SettingError, match=said):
        model.fit(IMAGES, LABELS, epochs=1)


def test_the_gradient_check_refuses_them_too():
    """Each pass by itself is right."""
    with pytest.raises(SettingError, match="Habit keeps numbers of a pass on itself"):
        check(network(Habit()))


@pytest.mark.parametrize("layer", [Shown(), Noisy(), *OWN.values()], ids=lambda each: type(each).__name__)
def test_other_layers_are_not(layer):
    check_passes(network(layer))


class Fussy(Layer):
    """A logarithm, which refuses large numbers, too."""

    def forward(self, params, x, context):
        if x.max() > 3.5:
            raise ValueError("too large")
        return np.log(x), x

    def backward(self, params, x, dy, context, *, need_dx=True):
        return dy / x, {}


@pytest.mark.filterwarnings("error")
def test_a_trial_says_nothing(capfd):
    """Neither NumPy of numbers that are not finite, nor a thread of what it raises."""
    check_passes(network(Fussy()))
    assert capfd.readouterr() == ("", "")


def test_one_thread_may_keep_what_it_likes():
    """And so may each of several, what is its own."""
    found = []
    for layer in (Habit(), Shown(), OfThread()):
        model = Model(network(layer), device="cpu", threads=2 if isinstance(layer, OfThread) else 1)
        found.append(model.fit(IMAGES, LABELS, epochs=2, seed=0)[-1]["train_loss"])
    assert found[0] == found[1] == pytest.approx(found[2], rel=1e-5)


# --- losses that look at several examples


@dataclass(frozen=True)
class Centred(Loss):
    """Cross-entropy, and the square of the mean of the batch's logits, once for each example."""

    def __call__(self, logits, targets):
        losses, d_logits = SoftmaxCrossEntropy()(logits, targets)
        mean = logits.mean(axis=0, keepdims=True)
        return losses + (mean * mean).sum(), d_logits + 2 * mean


@dataclass(frozen=True)
class Alone(Loss):
    def __call__(self, logits, targets):
        return SoftmaxCrossEntropy()(logits, targets)


class Plain:
    """Not derived from Loss."""

    def __call__(self, logits, targets):
        return SoftmaxCrossEntropy()(logits, targets)

    def probabilities(self, logits):
        return ops.softmax(logits)


@dataclass(frozen=True)
class Scaled(Loss):
    """Squared differences over the batch's largest target."""

    numbers = True

    def __call__(self, logits, targets):
        losses, d_logits = MeanSquaredError()(logits, targets)
        return losses / abs(targets).max(), d_logits / abs(targets).max()


def test_what_a_loss_looks_at_is_found_out():
    expected = {Centred(): Reach.BATCH, Scaled(): Reach.BATCH, Alone(): Reach.EXAMPLE, Plain(): Reach.EXAMPLE}
    assert {loss: reach_of_loss(loss, 3) for loss in expected} == expected
    assert reach_of_loss(MeanSquaredError(), 3) is Reach.EXAMPLE
    assert table_check.mixing(network(), Centred()) == ["the loss Centred"]
    assert table_check.mixing(network(), Alone()) == table_check.mixing(network()) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_such_a_loss_gets_whole_batches(threads, shards):
    found = []
    for loss, kernels in ((Centred(), "default"), (Centred(), "reference"), (Alone(), "default")):
        model = Model(network(), device="cpu", threads=threads, dtype="float64", loss=loss, kernels=kernels)
        model.fit(IMAGES, LABELS, epochs=3, batch_size=24, optimizer="sgd", lr=0.1)
        found.append(model.theta)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert abs(found[0] - found[2]).max() > 1e-4


# --- optimisers that change nothing


class Rebinds:
    def init(self, theta):
        return {}

    def update(self, theta, g, state, lr, step):
        theta = theta - lr * g


class EveryFifth(Rebinds):
    """It counts its calls, too."""

    calls = 0

    def update(self, theta, g, state, lr, step):
        self.calls += 1
        if step % 5 == 0:
            theta -= lr * g


@pytest.mark.parametrize("around", [lambda rule: rule, lambda rule: Clip(rule, 1.0)], ids=["alone", "in a wrapper"])
def test_an_optimiser_that_leaves_theta_alone_is_refused(around):
    with pytest.raises(SettingError, match=r"Rebinds: its update must write theta .* in place, as in theta -= lr \* g"):
        Model(network(), device="cpu").fit(IMAGES, LABELS, epochs=1, optimizer=around(Rebinds()))


class Sparse(Rebinds):
    """The largest tenth of the numbers, of a few none."""

    def update(self, theta, g, state, lr, step):
        largest = np.argsort(-abs(g))[: len(g) // 10]
        theta[largest] -= lr * g[largest]


class Out(Rebinds):
    def update(self, theta, g, state, lr, step):
        np.subtract(theta, lr * g, out=theta)
        theta = None


def test_optimisers_that_write_now_and_then_are_not():
    for rule in (Sparse(), Out(), EveryFifth()):
        Model(network(), device="cpu").fit(IMAGES, LABELS, epochs=1, optimizer=rule)


def test_others_are_not_called_but_by_updates():
    rule = EveryFifth()
    model = Model(network(), device="cpu", dtype="float64")
    model.fit(IMAGES, LABELS, epochs=5, batch_size=64, optimizer=rule, lr=0.1)
    expected = Model(network(), device="cpu", dtype="float64")
    expected.fit(IMAGES, LABELS, epochs=1, batch_size=64, optimizer=SGD(), lr=0.1)
    np.testing.assert_allclose(model.theta, expected.theta, rtol=1e-12)
    assert rule.calls == 5


# --- running states


@dataclass(frozen=True)
class Largest(Layer):
    """Numbers over the largest that training has seen, in inference."""

    def init_state(self, in_shape):
        return {"largest": np.zeros(())}

    def forward(self, params, x, context):
        return (x, x) if context.training else (x / context.state["largest"], x)

    def next_state(self, state, x):
        return {"largest": np.maximum(state["largest"], x.max())}

    def backward(self, params, x, dy, context, *, need_dx=True):
        return dy, {}


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_running_state_is_that_of_the_images_alone(momentum, dtype):
    """Whatever it was, and whatever the momentum; a state that is no moving average follows the batches."""
    inside: Any = (BatchNorm(momentum), Largest())
    model = Model(Network(SHAPE, (Residual(inside), Flatten(), Dense(3))), device="cpu", dtype=dtype)
    model.execution.state[...] = 1000.0
    before = model.state["0/layers/1/largest"]
    model.recompute_state(IMAGES, batch_size=24)
    batches = [IMAGES[start : start + 24] for start in range(0, 64, 24)]
    for name, of in (("mean", np.mean), ("variance", lambda x, axis: x.var(axis, ddof=1))):
        expected = np.average([of(each, axis=(0, 1, 2)) for each in batches], axis=0, weights=[24, 24, 16])
        tolerance = 1e-12 if dtype == "float64" else 2e-6
        np.testing.assert_allclose(model.state[f"0/layers/0/{name}"], expected, rtol=tolerance)
    assert model.state["0/layers/1/largest"] == before == 1000


# --- what is right, and looks wrong


class Helped(Layer):
    """Its helpers have names like those of methods that it does not need."""

    def init_stats(self, x):
        return x

    def next_stage(self, x):
        return self.init_stats(x)

    def to_onnx2(self):
        return None

    def forward(self, params, x, context):
        return self.next_stage(x), None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


class Derived(Network):
    def __init__(self, width=4):
        super().__init__(SHAPE, (Conv2D(width, 3), BatchNorm(), ReLU(), Flatten(), Dense(3)))


def test_helpers_may_have_any_name():
    Model(network(Helped()), device="cpu").fit(IMAGES, LABELS, epochs=1)


def test_running_states_of_a_network_of_ones_own():
    model = Model(Derived(), device="cpu")
    model.fit(IMAGES, LABELS, epochs=1)
    model.execution.state[...] = 1000.0
    model.recompute_state(IMAGES)
    assert max(map(np.max, model.state.values())) < 100


def test_a_loop_of_ones_own_needs_no_running_state():
    net = Network(SHAPE, (BatchNorm(), Dropout(0.5), Flatten(), Dense(3)))
    y, _ = net.forward(net.init(SHAPE, rng), IMAGES[:8], Context(examples=np.arange(8), update=1))
    assert y.shape == (8, 3)


class Told(SettingError):
    def __init__(self, code, where):
        super().__init__(f"code {code} in {where}")


class Raises(Helped):
    def forward(self, params, x, context):
        raise Told(7, "here")


def test_errors_of_ones_own_stay_what_they_are():
    with pytest.raises(Told, match="code 7 in here"):
        Model(network(Raises()), device="cpu").fit(IMAGES, LABELS, epochs=1)


class Compiled(Alone):
    """It takes arrays alone that may be written, as compiled functions do."""

    def __call__(self, logits, targets):
        if not logits.flags.writeable:
            raise TypeError("No matching definition for argument type(s) readonly array")
        return super().__call__(logits, targets)


def test_a_loss_may_want_arrays_that_can_be_written():
    found = [Model(network(), device="cpu", loss=loss) for loss in (Compiled(), Alone())]
    for model in found:
        model.fit(IMAGES, LABELS, epochs=2, validation=(IMAGES, LABELS))
    np.testing.assert_array_equal(found[0].theta, found[1].theta)
