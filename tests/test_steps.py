"""One step in several strategies: optimisers that ask for more, targets that are numbers, weights, state and chance."""

from __future__ import annotations

import json
from dataclasses import dataclass

import fake_cuda as fake
import numpy as np
import pytest
from conftest import LIBRARIES
from fake_cuda import fake_cuda
from layers_of_ones_own import Normalised

from gpucnn import Model, Network
from gpucnn.engine import sharded_step
from gpucnn.engine.gradient import gradient
from gpucnn.engine.recorded import RecordedStep
from gpucnn.engine.rewrite import Converted
from gpucnn.kernels import Context
from gpucnn.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from gpucnn.losses import (
    BinaryCrossEntropy,
    FocalLoss,
    Hinge,
    Huber,
    Loss,
    MeanSquaredError,
    MultiLabelCrossEntropy,
    SoftmaxCrossEntropy,
)
from gpucnn.namespace import array_namespace
from gpucnn.network.layout import Layout
from gpucnn.optimizers import SGD, Adam, Optimizer

__all__ = ["fake_cuda"]

NETWORK = Network((8, 7, 2), (Conv2D(3, 2, flip=True), ReLU(), MaxPool2D(), Flatten(), Dense(5), ReLU(), Dense(4)))
STEPS, BATCH, LR = 5, 14, 0.3


@pytest.fixture(autouse=True)
def many_shards(monkeypatch):
    """Shards of at most 4 examples, workers however small the work, and pieces of 13 numbers."""
    monkeypatch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 4)
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    monkeypatch.setattr(sharded_step, "CHUNK", 13)


# --- optimisers


@dataclass(frozen=True)
class Clipped(Optimizer):
    """SGD by a gradient whose norm is at most `most`, over all parameters together."""

    most: float = 0.05

    def reduce(self, g):
        return array_namespace(g).sum(g * g)

    def update(self, theta, g, state, lr, step, *, reduced):
        xp = array_namespace(theta)
        norm = xp.sqrt(reduced)
        theta -= lr * g * xp.where(norm > self.most, self.most / norm, xp.ones_like(norm))


@dataclass(frozen=True)
class Groups(Optimizer):
    """SGD at a tenth of the rate for names that begin so."""

    start: str = "4/"  # behind a block, which has fewer layers than it stands for

    def update_parameter(self, slot, theta, g, state, lr, step):
        theta -= (lr / 10 if slot.name.startswith(self.start) else lr) * g


@dataclass(frozen=True)
class DecayOfMatrices(Optimizer):
    """SGD with momentum, and weight decay on kernels and weights alone: factors as long as theta, made once."""

    layout: Layout | None = None

    def bind(self, layout):
        return DecayOfMatrices(layout)

    def init(self, theta):
        xp = array_namespace(theta)
        decay = xp.zeros_like(theta)
        for slot in self.layout.slots:
            decay[slot.place] = 0.1 * slot.is_matrix
        return {"decay": decay, "velocity": xp.zeros_like(theta)}

    def update(self, theta, g, state, lr, step):
        state["velocity"][...] = 0.9 * state["velocity"] + g
        theta -= lr * (state["velocity"] + state["decay"] * theta)


@dataclass(frozen=True)
class Orthogonalised(Optimizer):
    """Matrices move by the momentum's nearest orthogonal matrix, by Newton and Schulz's iteration; others as by SGD."""

    def init(self, theta):
        return {"velocity": array_namespace(theta).zeros_like(theta)}

    def update_parameter(self, slot, theta, g, state, lr, step):
        xp, velocity = array_namespace(theta), state["velocity"]
        velocity[...] = 0.9 * velocity + g
        if not slot.is_matrix:
            theta -= lr * velocity
            return
        x = xp.reshape(velocity, (-1, slot.shape[-1]))
        x = x / xp.sqrt(xp.sum(x * x))
        for _ in range(12):
            x = 1.5 * x - 0.5 * (x @ (x.T @ x))
        theta -= 0.1 * lr * xp.reshape(x, slot.shape)


OPTIMIZERS = [Clipped(), Groups(), DecayOfMatrices(), Orthogonalised()]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)


def expected_theta(optimizer, network=NETWORK):
    """By NumPy alone: the whole batch's gradient, and what the optimiser's words say."""
    model, (images, labels) = Model(network, device="cpu", dtype="float64"), data()
    layout, theta = model.layout, model.theta.copy()
    velocity = np.zeros_like(theta)
    for number in range(STEPS):
        batch = np.arange(BATCH) + number
        arguments = layout.unpack(theta), images[batch] / 255, labels[batch], Context()
        _, dparams, _ = gradient(network, SoftmaxCrossEntropy(), *arguments)
        g = layout.pack(dparams, np.empty(layout.size)) / BATCH
        if isinstance(optimizer, Clipped):
            assert np.linalg.norm(g) > optimizer.most
            theta -= LR * g * min(1, optimizer.most / np.linalg.norm(g))
        for slot in layout.slots:
            here, matrix = slot.place, len(slot.shape) > 1
            velocity[here] = 0.9 * velocity[here] + g[here]
            if isinstance(optimizer, Groups):
                theta[here] -= LR * g[here] * (0.1 if slot.path[0] == "4" else 1)
            elif isinstance(optimizer, DecayOfMatrices):
                theta[here] -= LR * (velocity[here] + 0.1 * matrix * theta[here])
            elif isinstance(optimizer, Orthogonalised) and matrix:
                u, s, v = np.linalg.svd(velocity[here].reshape(-1, slot.shape[-1]), full_matrices=False)
                s = s / np.linalg.norm(s)
                for _ in range(12):
                    s = 1.5 * s - 0.5 * s**3
                theta[here] -= 0.1 * LR * ((u * s) @ v).ravel()
            elif isinstance(optimizer, Orthogonalised):
                theta[here] -= LR * velocity[here]
    return theta


def data(examples=40, network=NETWORK):
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, (examples, *network.input_shape), np.uint8)
    return images, rng.integers(0, network.shapes()[-1][0], examples)


def run(model, optimizer, loss=None, put=None, targets=None, weights=None, steps=STEPS, **options):
    """Losses of each step, and the step."""
    put = put or model.device.put
    images, labels = data(network=model.network)
    step = model.execution.step(loss or SoftmaxCrossEntropy(), optimizer, **options)
    given = put(images), put(labels if targets is None else targets)
    weights = None if weights is None else put(weights)
    losses = []
    with model.execution.active():
        for number in range(steps):
            losses.append(step(*given, put(np.arange(BATCH) + number), LR, weights))
    return losses, step


def model_on(where, network=NETWORK, **options):
    """where: the kernels of the CPU, or those of the stand-in for CUDA."""
    on_cuda = {"cuda": {}, "cuda eager": {"graph": False}, "cuda reference": {"kernels": "reference"}}
    device, kernels = ("cuda", on_cuda[where]) if where in on_cuda else ("cpu", {"kernels": where})
    return Model(network, **({"device": device, "dtype": "float64"} | kernels | options))


WAYS = ["default", "reference", "cuda", "cuda eager", "cuda reference"]


@every_optimizer
@pytest.mark.parametrize("where", WAYS)
@pytest.mark.filterwarnings("ignore:no CUDA graph")
def test_optimisers_that_ask_for_more_work_on_every_table(optimizer, where, fake_cuda):
    model = model_on(where, threads=1)
    run(model, optimizer)
    np.testing.assert_allclose(model.device.fetch(model.theta), expected_theta(optimizer), rtol=1e-8, atol=1e-10)


@every_optimizer
@pytest.mark.parametrize("threads", [2, 3])
def test_optimisers_that_ask_for_more_work_in_shards(optimizer, threads):
    model = model_on("default", threads=threads)
    run(model, optimizer)
    np.testing.assert_allclose(model.theta, expected_theta(optimizer), rtol=1e-8, atol=1e-10)


@every_optimizer
@pytest.mark.parametrize("name", ["strict", "torch"])
def test_optimisers_that_ask_for_more_work_on_other_libraries(optimizer, name):
    library, model = LIBRARIES[name](), model_on("reference")
    theta, state = library.put(model.theta.copy()), library.put(np.zeros(0))
    run(model, optimizer, put=library.put, theta=theta, state=state)
    np.testing.assert_allclose(library.fetch(theta), expected_theta(optimizer), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [Clipped(), Orthogonalised()], ids=lambda each: type(each).__name__)
def test_the_same_workers_give_the_same_bits(optimizer, threads):
    found = set()
    for _ in range(3):
        model = model_on("default", threads=threads)
        run(model, optimizer)
        found.add(model.theta.tobytes())
    assert len(found) == 1


class Plain:
    """An optimiser that does not derive from Optimizer."""

    def init(self, theta):
        return {}

    def update(self, theta, g, state, lr, step):
        theta -= lr * g


@pytest.mark.parametrize("where", ["default", "reference", "cuda eager"])
def test_a_class_that_is_no_optimizer_by_name_works(where, fake_cuda):
    found, expected = model_on(where), model_on("reference")
    run(found, Plain())
    run(expected, SGD())
    np.testing.assert_allclose(found.device.fetch(found.theta), expected.theta, rtol=1e-9, atol=1e-12)


# --- targets, weights


@dataclass(frozen=True)
class SquaredError(Loss):
    """The sum over outputs of (z - y)^2 / 2."""

    numbers = True

    def __call__(self, logits, targets):
        difference = logits - targets
        return array_namespace(logits).sum(difference * difference, axis=1) / 2, difference


NUMBERS = np.random.default_rng(1).standard_normal((40, 4))
WEIGHTS = np.random.default_rng(2).uniform(0, 2, 40)


def one_update(loss, targets, weights):
    """By NumPy alone: mean losses times weights, theta after one step of the whole batch."""
    model, (images, _) = model_on("reference"), data()
    batch, theta = np.arange(BATCH), model.theta.copy()
    params = model.layout.unpack(theta)
    logits, residuals = NETWORK.forward(params, images[batch] / 255, Context())
    losses, d_logits = loss(logits, targets[batch])
    w = np.ones(BATCH) if weights is None else weights[batch]
    _, dparams = NETWORK.backward(params, residuals, d_logits * w[:, None], Context(), need_dx=False)
    return losses * w, theta - LR * model.layout.pack(dparams, np.empty(model.layout.size)) / BATCH


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SquaredError()], ids=["classes", "numbers"])
@pytest.mark.parametrize("where", [*WAYS, "three"])
@pytest.mark.filterwarnings("ignore:no CUDA graph")
def test_targets_and_weights_travel_through_every_step(where, loss, weights, fake_cuda):
    targets = NUMBERS if loss.numbers else data()[1]
    expected, theta = one_update(loss, targets, weights)
    model = model_on("default", threads=3) if where == "three" else model_on(where)
    losses, _ = run(model, SGD(), loss, targets=targets, weights=weights, steps=1)
    np.testing.assert_allclose(model.device.fetch(losses[0]), expected, rtol=1e-9)
    np.testing.assert_allclose(model.device.fetch(model.theta), theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_a_recorded_step_reads_its_targets_and_weights(weights, fake_cuda):
    """Five steps: the last two are replayed, and the batch is another each time."""
    expected, found = model_on("cuda eager"), model_on("cuda")
    of_expected, _ = run(expected, Adam(), weights=weights)
    of_found, step = run(found, Adam(), weights=weights)
    assert isinstance(step, RecordedStep)
    assert step._recorded.recording._graph.launches == STEPS - 2
    np.testing.assert_array_equal(fake.asnumpy(found.theta), fake.asnumpy(expected.theta))
    for a, b in zip(of_found, of_expected):
        np.testing.assert_array_equal(fake.asnumpy(a), fake.asnumpy(b))


SHARES = np.random.default_rng(3).dirichlet(np.ones(4), 40)
KINDS = {
    "smoothed and weighted": (SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1, 2, 0, 3)), None),
    "shares": (SoftmaxCrossEntropy(), SHARES),
    "ignored": (SoftmaxCrossEntropy(ignore_index=2), None),
    "several labels": (MultiLabelCrossEntropy(), (SHARES > 0.25).astype(float)),
    "parts": (BinaryCrossEntropy(), SHARES),
    "focal": (FocalLoss(1.5, (1, 2, 0.5, 3)), None),
    "hinge": (Hinge(squared=True), None),
    "squares": (MeanSquaredError(), NUMBERS),
    "Huber": (Huber(0.5), NUMBERS),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_is_recorded(kind, weights, fake_cuda):
    """The steps that are replayed give what a CPU gives, so nothing was copied from the host or looked at there."""
    loss, targets = KINDS[kind]
    given = {"loss": loss, "targets": data()[1] if targets is None else targets, "weights": weights}
    expected, found = model_on("reference"), model_on("cuda")
    of_expected, _ = run(expected, Adam(), **given)
    of_found, step = run(found, Adam(), **given)
    assert step._recorded.recording._graph.launches == STEPS - 2
    for a, b in zip(of_found, of_expected):
        np.testing.assert_allclose(fake.asnumpy(a), b, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(fake.asnumpy(found.theta), expected.theta, rtol=1e-6, atol=1e-9)


def test_fit_takes_numbers_and_weights():
    images, _ = data()
    model, expected = (Model(NETWORK, loss=SquaredError(), device="cpu", dtype="float64") for _ in range(2))
    history = model.fit(images, NUMBERS, sample_weight=WEIGHTS, epochs=2, batch_size=8, validation=(images, NUMBERS))
    column = Model(NETWORK, loss=SquaredError(), device="cpu", dtype="float64")
    column.fit(images, NUMBERS, sample_weight=WEIGHTS[:, None], epochs=2, batch_size=8)
    np.testing.assert_array_equal(column.theta, model.theta)
    assert column.evaluate(images, NUMBERS, sample_weight=WEIGHTS[:, None].tolist()) == model.evaluate(
        images, NUMBERS, sample_weight=WEIGHTS
    )
    assert history.epochs[-1].validation_accuracy is None
    errors = {"mean_absolute_error", "mean_squared_error", "r2"}
    assert set(model.evaluate(images, NUMBERS)) == {"loss", "examples", *errors}
    expected.fit(images, NUMBERS, epochs=2, batch_size=8)
    assert not np.allclose(model.theta, expected.theta)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.ones(3), r"sample_weight of shape \(3,\) and type float64: numbers \(40,\) \(one for each image\) were"),
        (
            np.ones((1, 40)),
            r"sample_weight of shape \(1, 40\) and type float64: numbers \(40,\) \(one for each image\)",
        ),
        (np.full(40, np.nan), "sample_weight: holds NaN or infinite values, in picture"),
        (np.full(40, -1.0), "sample_weight holds -1: numbers of at least 0 were expected"),
        (["a"] * 40, "sample_weight of shape .* and type <U1: numbers"),
    ],
)
def test_weights_of_the_wrong_kind_are_refused(weights, says):
    images, labels = data()
    with pytest.raises(ValueError, match=says):
        Model(NETWORK, device="cpu").fit(images, labels, sample_weight=weights)


def test_targets_of_the_wrong_kind_are_refused():
    images, labels = data()
    model = Model(NETWORK, loss=SquaredError(), device="cpu")
    with pytest.raises(ValueError, match=r"targets of shape \(40,\) and type int64: numbers \(40, 4\)"):
        model.fit(images, labels)


# --- running state and chance in a recorded step


class Noisy(Layer):
    """Adds a random number, and counts the updates in its state."""

    has_place = True

    def init_state(self, in_shape):
        return {"updates": np.zeros(1)}

    def next_state(self, state, residual):
        return {"updates": state["updates"] + 1}

    def forward(self, params, x, context):
        drawn = context.uniform(tuple(x.shape[1:]), x.dtype) if context.training else 0
        return x + 0.1 * drawn, None

    def backward(self, params, residual, dy, context, *, need_dx=True):
        return dy, {}


@pytest.mark.parametrize("layer", [Noisy(), Normalised()], ids=["chance", "statistics"])
def test_a_recorded_step_carries_state_and_chance(layer, fake_cuda, monkeypatch):
    """As gpucnn's own layers will: what is not its own is not recorded, so the test says that these are."""
    for owner in ("gpucnn.engine.converted.is_own", "gpucnn.engine.rewrite.is_own", "gpucnn.layers.base.is_own"):
        monkeypatch.setattr(owner, lambda thing: not isinstance(thing, Converted))
    network = Network((8, 7, 2), (Conv2D(3, 2), layer, Flatten(), Dense(4)))
    found, expected = model_on("cuda", network), model_on("reference", network)
    type(layer).has_place = True
    _, step = run(found, SGD(momentum=0.9), key=9)
    run(expected, SGD(momentum=0.9), key=9)
    assert step.obstacle is None
    assert step._recorded.recording._graph.launches == STEPS - 2
    np.testing.assert_allclose(fake.asnumpy(found.theta), expected.theta, rtol=1e-8, atol=1e-10)
    assert expected.execution.state.any()
    np.testing.assert_allclose(fake.asnumpy(found.execution.state), expected.execution.state, rtol=1e-9)


# --- optimisers and losses that do not keep the rules


class Rebinding(Optimizer):
    def __init__(self, how):
        self.how = how

    def init(self, theta):
        return {"tuple": (theta,), "short": {"v": theta[:1]}}.get(self.how, {"v": theta * 0})

    def update(self, theta, g, state, lr, step):
        if self.how == "state":
            state["v"] = 0.9 * state["v"] + g
        return theta - lr * g if self.how == "returns" else None


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("state", "Rebinding: its update must write theta and state.s vectors in place"),
        ("returns", "Rebinding: its update must write theta and state.s vectors in place"),
        ("tuple", "Rebinding: init must give a dict of vectors as long as theta"),
        ("short", "Rebinding: init must give a dict of vectors as long as theta"),
    ],
)
@pytest.mark.parametrize("where", ["default", "reference"])
def test_an_optimizer_that_does_not_write_in_place_is_refused(how, says, where):
    with pytest.raises(ValueError, match=says):
        run(model_on(where), Rebinding(how))


class BadLoss(Loss):
    def __init__(self, make):
        self.make = make

    def __call__(self, logits, targets):
        return self.make(logits, logits * 0)

    def probabilities(self, logits):
        return logits


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda z, dz: (z, dz), r"BadLoss gives arrays of shapes \(\(\d+, 4\), \(\d+, 4\)\); losses of shape"),
        (lambda z, dz: (z[:, 0], dz[:, :1]), "BadLoss gives arrays of shapes"),
        (lambda z, dz: z.mean(), "BadLoss gives no pair; losses of shape"),
        (lambda z, dz: (z.mean(), dz), r"BadLoss gives arrays of shapes \(\(\)"),
        (lambda z, dz: [z[:, 0], dz], "BadLoss gives no pair"),
    ],
)
def test_a_loss_that_gives_something_else_is_refused(make, says):
    images, labels = data()
    model = Model(NETWORK, loss=BadLoss(make), device="cpu")
    with pytest.raises(ValueError, match=says):
        model.fit(images, labels, epochs=1)
    with pytest.raises(ValueError, match=says):
        model.evaluate(images, labels)


class Writing(SquaredError):
    def __call__(self, logits, targets):
        targets -= logits
        return (targets * targets).sum(axis=1) / 2, -targets


def test_a_loss_that_writes_into_the_users_targets_is_stopped():
    images, _ = data()
    model, numbers = Model(NETWORK, loss=Writing(), device="cpu", dtype="float64"), NUMBERS.copy()
    with pytest.raises(ValueError, match="read-only"):
        model.evaluate(images, numbers)
    np.testing.assert_array_equal(numbers, NUMBERS)


@pytest.mark.parametrize("gives", [None, [1.0], float("nan"), -1, -0.1, 1j, np.complex128(1)])
def test_a_schedule_that_gives_no_number_is_refused(gives):
    images, labels = data()
    with pytest.raises(ValueError, match=r"the schedule gives .* for step 0; a number of at least 0 was expected"):
        Model(NETWORK, device="cpu").fit(images, labels, epochs=1, schedule=lambda step, steps: gives)


def test_a_schedule_that_raises_is_named():
    images, labels = data()
    says = r"^the schedule, asked for step 0 of \d+, raises TypeError: .* takes 1 positional argument but 2 were given$"
    with pytest.raises(ValueError, match=says) as raised:
        Model(NETWORK, device="cpu").fit(images, labels, epochs=1, schedule=lambda step: 1.0)
    assert isinstance(raised.value.__cause__, TypeError)


def test_what_is_told_of_an_epoch_is_json_whatever_type_the_rate_has():
    images, labels = data()
    found = Model(NETWORK, device="cpu").fit(images, labels, epochs=np.int64(1), lr=np.float32(0.01))
    assert json.loads(json.dumps(found[-1]))["lr"] == float(np.float32(0.01))


def test_a_loss_that_is_not_finite_before_any_update_does_not_blame_the_rate():
    images, labels = data()
    model = Model(NETWORK, device="cpu")
    model.theta = np.nan
    began = r"it began in batch 1 of epoch 1: parameter 0/kernel reaches nan"
    with pytest.raises(RuntimeError, match=rf"batch 1: the loss is nan \({began}\), so .*; no update came before it"):
        model.fit(images, labels, epochs=1)


def test_a_loss_below_all_numbers_is_not_finite_either():
    images, labels = data()
    model = Model(NETWORK, device="cpu", loss=BadLoss(lambda z, dz: (z[:, 0] * 0 - np.inf, dz)))
    with pytest.raises(RuntimeError, match="batch 1: the loss is -inf"):
        model.fit(images, labels, epochs=1)


def test_a_plot_into_no_kind_of_picture_is_refused(tmp_path):
    images, labels = data()
    found = Model(NETWORK, device="cpu").fit(images, labels, epochs=1)
    with pytest.raises(ValueError, match=r"curves\.xyz: .*xyz.* not supported"):
        found.plot(tmp_path / "curves.xyz")
    found.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()
