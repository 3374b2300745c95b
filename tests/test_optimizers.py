"""Optimisers against their formulas in plain Python, the shapes of schedules, and what initial weights look like."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Library

from gpucnn import optimizers, schedules
from gpucnn.errors import SettingError
from gpucnn.layers import Conv2D, Dense, initializers
from gpucnn.losses import correct
from gpucnn.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Lion, Optimizer, RMSprop, optimizer
from gpucnn.schedules import SCHEDULES, constant, cosine, named, one_cycle, schedule, step

# Optimisers


def sgd(rule: SGD, theta: float, gradients: list[float], lr: float) -> tuple[float, dict[str, float]]:
    velocity = 0.0
    for g in gradients:
        g = g + rule.weight_decay * theta
        velocity = rule.momentum * velocity + g
        if rule.nesterov:
            theta = theta - lr * (g + rule.momentum * velocity)
        else:
            theta = theta - lr * velocity
    return theta, {"velocity": velocity} if rule.momentum else {}


def adam(rule: Adam, theta: float, gradients: list[float], lr: float) -> tuple[float, dict[str, float]]:
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        if isinstance(rule, AdamW):
            theta = theta - lr * rule.weight_decay * theta
        else:
            g = g + rule.weight_decay * theta
        m = rule.beta1 * m + (1 - rule.beta1) * g
        v = rule.beta2 * v + (1 - rule.beta2) * g * g
        theta = theta - lr * (m / (1 - rule.beta1**t)) / (math.sqrt(v / (1 - rule.beta2**t)) + rule.epsilon)
    return theta, {"mean": m, "square": v}


def rmsprop(rule: RMSprop, theta: float, gradients: list[float], lr: float) -> tuple[float, dict[str, float]]:
    square = mean = velocity = 0.0
    for g in gradients:
        g = g + rule.weight_decay * theta
        square = rule.alpha * square + (1 - rule.alpha) * g * g
        mean = rule.alpha * mean + (1 - rule.alpha) * g
        spread = max(square - mean * mean, 0.0) if rule.centered else square
        velocity = rule.momentum * velocity + g / (math.sqrt(spread) + rule.epsilon)
        theta = theta - lr * velocity
    kept = {"mean": mean} if rule.centered else {}
    return theta, {"square": square} | kept | ({"velocity": velocity} if rule.momentum else {})


def lion(rule: Lion, theta: float, gradients: list[float], lr: float) -> tuple[float, dict[str, float]]:
    m = 0.0
    for g in gradients:
        along = rule.beta1 * m + (1 - rule.beta1) * g
        theta = theta - lr * ((along > 0) - (along < 0) + rule.weight_decay * theta)
        m = rule.beta2 * m + (1 - rule.beta2) * g
    return theta, {"mean": m}


FORMULAS: dict[type, Any] = {SGD: sgd, Adam: adam, AdamW: adam, RMSprop: rmsprop, Lion: lion}
RULES: dict[str, Optimizer] = {
    **{name: rule for name, rule in OPTIMIZERS.items() if type(rule) in FORMULAS},
    "sgd with decay": SGD(weight_decay=0.3),
    "momentum with decay": SGD(0.5, weight_decay=0.3),
    "nesterov with decay": SGD(0.5, nesterov=True, weight_decay=0.3),
    "adam with decay": Adam(0.7, 0.9, 1e-3, 0.3),
    "adam without memory": Adam(0.0, 0.0),
    "adamw, other settings": AdamW(0.7, 0.9, 1e-3, 0.3),
    "adamw without decay": AdamW(weight_decay=0.0),
    "rmsprop with momentum": RMSprop(0.9, 1e-3, 0.5, weight_decay=0.3),
    "rmsprop, centered": RMSprop(0.8, 1e-3, centered=True),
    "rmsprop with all": RMSprop(0.8, 1e-3, 0.5, centered=True, weight_decay=0.3),
    "lion, other settings": Lion(0.7, 0.8, 0.3),
}
THETA = np.array([0.5, -2.0, 0.0, 3.0, 1e-3])
GRADIENTS = np.array([[1.0, -3, 0, 1e-4, 2], [0.5, 4, 0, -1e-4, -2], [-2, 0, 0, 3e-4, 1], [0.25, 1, 0, 1e-4, -1]])

every_rule = pytest.mark.parametrize("name", RULES)


def trained(rule: Optimizer, put: Callable[[np.ndarray], Any], lr: float = 0.1) -> tuple[Any, Any]:
    theta = put(THETA)
    state = rule.init(theta)
    for k, g in enumerate(GRADIENTS):
        rule.update(theta, put(g), state, lr, k + 1)
    return theta, state


@every_rule
def test_updates_follow_the_formula(name: str) -> None:
    rule = RULES[name]
    theta, state = trained(rule, np.array)
    for k, start in enumerate(THETA):
        expected, expected_state = FORMULAS[type(rule)](rule, float(start), [float(g) for g in GRADIENTS[:, k]], 0.1)
        assert theta[k] == pytest.approx(expected, rel=1e-12, abs=1e-14)
        assert set(state) == set(expected_state)
        for key, value in expected_state.items():
            assert state[key][k] == pytest.approx(value, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(
    "library", ["numpy", "strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_rule
def test_updates_on_every_array_library(name: str, dtype: str, library: Library) -> None:
    """In place, in the dtype and on the device of theta; read-only arrays are left out, as theta is written."""

    def put(array: np.ndarray) -> Any:
        return library.put(array.astype(dtype))

    theta, state = trained(RULES[name], put)
    expected, expected_state = trained(RULES[name], np.array)
    sample, tolerance = put(THETA), 1e-12 if dtype == "float64" else 1e-5
    pairs = [(theta, expected), *((state[key], expected_state[key]) for key in expected_state)]
    for found, numbers in pairs:
        assert (type(found), found.dtype, found.device) == (type(sample), sample.dtype, sample.device)
        np.testing.assert_allclose(library.fetch(found), numbers, rtol=tolerance, atol=tolerance)


@every_rule
def test_the_state_starts_at_zero_and_belongs_to_one_theta(name: str) -> None:
    theta = THETA.copy()
    state, other = RULES[name].init(theta), RULES[name].init(theta)
    for key, vector in state.items():
        assert vector.shape == theta.shape
        assert not vector.any()
        assert not np.shares_memory(vector, theta)
        assert not np.shares_memory(vector, other[key])
    assert np.array_equal(theta, THETA)


@every_rule
def test_slices_of_the_vectors_will_do(name: str) -> None:
    rule, (whole, whole_state) = RULES[name], trained(RULES[name], np.array)
    theta, state = THETA.copy(), RULES[name].init(THETA)
    for k, g in enumerate(GRADIENTS):
        for part in (slice(0, 2), slice(2, 5)):
            here = {key: vector[part] for key, vector in state.items()}
            rule.update(theta[part], g[part].copy(), here, 0.1, k + 1)
    assert np.array_equal(theta, whole)
    for key, vector in state.items():
        assert np.array_equal(vector, whole_state[key])


@every_rule
def test_a_rate_of_zero_moves_nothing(name: str) -> None:
    assert np.array_equal(trained(RULES[name], np.array, lr=0.0)[0], THETA)


@pytest.mark.parametrize(("name", "lr"), [("sgd", 0.1), ("momentum", 0.02), ("nesterov", 0.02), ("adam", 0.05)])
def test_the_minimum_of_a_bowl_is_found(name: str, lr: float) -> None:
    rule, scale = RULES[name], np.array([1.0, 4.0])
    theta = np.array([3.0, -2.0])
    state = rule.init(theta)
    for k in range(600):
        rule.update(theta, scale * (theta - 1), state, lr, k + 1)
    np.testing.assert_allclose(theta, 1, atol=1e-3)


def test_the_first_step_of_adam_is_the_rate() -> None:
    """m / (1 - b1) = g and v / (1 - b2) = g g: the step is lr g / (|g| + epsilon), whatever the size of g."""
    theta = np.zeros(3)
    Adam().update(theta, np.array([1e-3, -5.0, 400.0]), state := Adam().init(theta), 0.01, 1)
    np.testing.assert_allclose(theta, [-0.01, 0.01, -0.01], rtol=1e-4)
    assert set(state) == {"mean", "square"}


def test_decay_is_coupled_in_adam_and_decoupled_in_adamw() -> None:
    """With a gradient of 0, Adam divides the decay by its own size, AdamW takes lr * decay of theta."""
    coupled, decoupled = np.array([4.0]), np.array([4.0])
    Adam(weight_decay=0.1).update(coupled, np.zeros(1), Adam().init(coupled), 0.01, 1)
    AdamW(weight_decay=0.1).update(decoupled, np.zeros(1), AdamW().init(decoupled), 0.01, 1)
    np.testing.assert_allclose(coupled, [4 - 0.01], rtol=1e-9)
    np.testing.assert_allclose(decoupled, [4 * (1 - 0.01 * 0.1)], rtol=1e-12)


def test_optimizers_by_name() -> None:
    assert {name: optimizer(name) for name in OPTIMIZERS} == OPTIMIZERS
    assert optimizer("nesterov") == SGD(0.9, nesterov=True)


SETTINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "momentum of 1": (lambda: SGD(1.0), r"SGD: momentum 1\.0 must be in \[0, 1\), weight decay 0\.0 >= 0"),
    "momentum below 0": (lambda: SGD(-0.1), r"SGD: momentum -0\.1 must be in \[0, 1\)"),
    "decay below 0": (lambda: SGD(weight_decay=-1.0), r"weight decay -1\.0 >= 0"),
    "nesterov alone": (lambda: SGD(nesterov=True), r"SGD: nesterov=True needs a momentum above 0"),
    "beta1": (lambda: Adam(1.0), r"beta1=1\.0.*: betas must be in \[0, 1\), epsilon > 0, weight decay >= 0"),
    "beta2": (lambda: Adam(beta2=-0.5), r"beta2=-0\.5.*: betas must be in \[0, 1\)"),
    "epsilon": (lambda: Adam(epsilon=0.0), r"epsilon=0\.0.*epsilon > 0"),
    "adamw's decay": (lambda: AdamW(weight_decay=-0.1), r"AdamW\(.*weight_decay=-0\.1.*: .*weight decay >= 0"),
    "alpha": (lambda: RMSprop(alpha=1.0), r"RMSprop\(alpha=1\.0.*: alpha and momentum must be in \[0, 1\)"),
    "lion's beta2": (lambda: Lion(beta2=1.0), r"Lion\(.*beta2=1\.0.*: betas must be in \[0, 1\)"),
    "a kind of decay": (lambda: SGD(decay="biases"), "SGD: decay 'biases': one of all, kernels was expected"),
    "an optimizer": (
        lambda: optimizer("rprop"),
        "optimizer 'rprop' is not known; did you mean rmsprop. choose .*adamw",
    ),
    "a schedule": (
        lambda: schedule("linaer"),
        "schedule 'linaer' is not known; did you mean linear. choose one of constant, .*one-c",
    ),
    "an initializer": (
        lambda: initializers.initializer("xavier"),
        "initializer 'xavier' is not known; choose one of glorot_uniform, .*orthogonal",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_make_no_sense_are_refused(name: str) -> None:
    call, sentence = SETTINGS[name]
    with pytest.raises(SettingError, match=sentence):
        call()


# Schedules


LENGTHS = [1, 2, 3, 4, 5, 7, 10, 100, 1001]


def factors(function: Callable[[int, int], float], steps: int) -> np.ndarray:
    return np.array([function(k, steps) for k in range(steps)])


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_are_above_0_and_at_most_1(name: str, steps: int) -> None:
    found = factors(schedule(name), steps)
    assert np.all(found > 0)
    assert np.all(found <= 1)


@pytest.mark.parametrize("name", ["constant", "step", "linear", "cosine", "polynomial", "exponential"])
@pytest.mark.parametrize("steps", LENGTHS)
def test_all_but_one_cycle_start_at_1_and_never_rise(name: str, steps: int) -> None:
    found = factors(schedule(name), steps)
    assert found[0] == 1
    assert np.all(np.diff(found) <= 0)


def test_constant_is_1() -> None:
    assert set(factors(constant, 9)) == {1.0}


@pytest.mark.parametrize(("steps", "tenths", "hundredths"), [(8, 4, 6), (100, 50, 75), (7, 4, 6), (10, 5, 8)])
def test_step_falls_at_a_half_and_at_three_quarters(steps: int, tenths: int, hundredths: int) -> None:
    expected = [1.0] * tenths + [0.1] * (hundredths - tenths) + [0.01] * (steps - hundredths)
    np.testing.assert_allclose(factors(step, steps), expected, rtol=1e-12)


def test_cosine_is_half_at_half_and_nearly_0_at_the_end() -> None:
    found = factors(cosine, 1000)
    assert found[500] == pytest.approx(0.5)
    assert found[250] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert 0 < found[-1] < 1e-5
    assert np.all(np.diff(found) < 0)


@pytest.mark.parametrize(("steps", "peak"), [(8, 1), (100, 24), (1000, 249)])
def test_one_cycle_rises_to_a_quarter_and_falls_to_nearly_0(steps: int, peak: int) -> None:
    found = factors(one_cycle, steps)
    assert found[0] == pytest.approx(1 / 25)
    assert np.argmax(found) == peak
    assert found[peak] == 1
    assert np.all(np.diff(found[: peak + 1]) > 0)
    assert np.all(np.diff(found[peak:]) < 0)
    assert found[-1] == pytest.approx(1e-4 / 25)


def test_one_cycle_can_be_shaped() -> None:
    found = [one_cycle(k, 101, warm=51 / 101, start=0.2, end=0.5) for k in range(101)]
    assert np.argmax(found) == 50
    assert found[25] == pytest.approx(0.6)
    assert found[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_the_same_at_every_call(name: str) -> None:
    assert np.array_equal(factors(schedule(name), 50), factors(schedule(name), 50))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("polynomial=2", [1, 0.81, 0.64, 0.49, 0.36, 0.25, 0.16, 0.09, 0.04, 0.01]),
        ("polynomial=1/0.5", [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]),
        ("linear", [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("exponential=0.01", [10 ** (-k / 5) for k in range(10)]),
        ("step=0.3/0.6/0.9", [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001]),
        ("restarts=2", [cosine(k % 5, 5) for k in range(10)]),
        ("restarts=2/4", [cosine(k, 2) for k in range(2)] + [cosine(k, 8) for k in range(8)]),
        ("warmup=0.4,constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ("warmup=2,linear", [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("constant@0.6,linear@0.4", [1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        ("warmup=2,constant@0.5,step=0.5@0.5", [0.5, 1, 1, 1, 1, 1, 1, 1, 0.1, 0.1]),
    ],
)
def test_schedules_with_settings(text: str, expected: list[float]) -> None:
    np.testing.assert_allclose(factors(schedule(text), 10), expected, rtol=1e-12)


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("text", ["warmup=0.05,cosine", "warmup=500,one-cycle", "restarts=5/3", "step@0.1,linear@0.9"])
def test_any_number_of_steps_will_do(text: str, steps: int) -> None:
    found = factors(schedule(text), steps)
    assert np.all(found > 0)
    assert np.all(found <= 1)


def test_schedules_are_pytorchs(torch: Any) -> None:
    """Those that it has: its step k is our k."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    peers = {
        "polynomial=2": lambda rule: torch.optim.lr_scheduler.PolynomialLR(rule, 10, 2.0),
        "restarts=2": lambda rule: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(rule, 5),
        "cosine": lambda rule: torch.optim.lr_scheduler.CosineAnnealingLR(rule, 10),
        "step=0.3/0.6": lambda rule: torch.optim.lr_scheduler.MultiStepLR(rule, [3, 6]),
        "exponential=0.01": lambda rule: torch.optim.lr_scheduler.ExponentialLR(rule, 0.01**0.1),
    }
    for text, make in peers.items():
        rule = torch.optim.SGD([parameter], 1.0)
        peer, found = make(rule), []
        for _ in range(10):
            found.append(peer.get_last_lr()[0])
            rule.step()
            peer.step()
        np.testing.assert_allclose(factors(schedule(text), 10), found, rtol=1e-9, atol=1e-12, err_msg=text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cosine=3", "schedule 'cosine=3' takes no numbers; .*choose one of step, polynomial"),
        ("polynomial=x", "'x' is no number; a text is NAME, NAME=NUMBERS"),
        ("polynomial=1/2/3", "polynomial takes fewer numbers"),
        ("polynomial=-1", "schedule 'polynomial=-1': power > 0 and end in 0..1 was expected"),
        ("restarts=1.5", "schedule 'restarts=1.5': cycles=1.5: a whole number was expected"),
        ("restarts=0", "schedule 'restarts=0': cycles >= 1, longer > 0 was expected"),
        ("restarts=1000/10", "schedule 'restarts=1000/10': fewer cycles"),
        ("restarts=1/2/3", "restarts takes fewer numbers"),
        ("step=0.5/0.2", "milestones in 0..1, in order was expected"),
        ("exponential=0", "end above 0, at most 1 was expected"),
        ("warmup=0.1", "a warm-up comes before another schedule, as in warmup=0.05,cosine"),
        (
            "warmup=1.5,cosine",
            "schedule 'warmup=1.5,cosine': 'warmup=1.5': a part of all updates, or a whole number of",
        ),
        ("constant,cosine", "of several, each ends in @PART"),
        ("constant@,cosine@1", "'' is no number"),
        ("constant@0.5,cosine@0.4", "parts that are 1 together was expected"),
        ("", "schedule '' is not known"),
    ],
)
def test_texts_that_are_no_schedule(text: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        schedule(text)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: schedules.Warmup(0.1, "cosine"), 'such as gpucnn.schedules.schedule."cosine"'),
        (lambda: schedules.Joined(((0.5, constant), (0.5, "my"))), "a piece is 'my', and a function of .* such as"),
        (lambda: schedules.Joined((0.5, 0.5)), r"pieces such as \(\(0.6, constant\), \(0.4, cosine\)\) was expected"),
        (lambda: schedules.Steps(("half",)), "milestones in 0..1, in order was expected"),
        (lambda: optimizers.SWA(SGD(), start=1.5), "SWA: start=1.5: a whole number was expected"),
        (lambda: optimizers.Muon(apart=3), "apart=3: patterns of names were expected, such as"),
    ],
)
def test_settings_that_are_refused(made: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        made()


def test_a_milestone_alone() -> None:
    assert schedules.Steps(0.5) == schedules.Steps((0.5,))


NEEDED = {"optimizer": SGD(), "norm": 1.0, "length": 0.1}


@pytest.mark.parametrize("bad", ["0.5", None, [0.5], 1j])
@pytest.mark.parametrize("kind", [*vars(optimizers).values(), *vars(schedules).values()])
def test_what_is_no_number_is_told_by_its_name(kind: Any, bad: Any) -> None:
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)) or kind is optimizers.Part:
        return
    fields = dataclasses.fields(kind)
    needed = {each.name: NEEDED[each.name] for each in fields if each.name in NEEDED}
    for each in fields:
        if each.type in ("int", "float") or (each.type == "float | None" and bad is not None):
            with pytest.raises(SettingError, match=f"{kind.__name__}: {each.name}=.*number was expected"):
                kind(**{**needed, each.name: bad})


def test_schedules_are_named_with_their_settings() -> None:
    assert named(schedule("one-cycle")) == "one_cycle"
    assert named(schedule("warmup=0.05,cosine")) == "Warmup(0.05, cosine)"
    assert named(schedule("constant@0.6,restarts=2/3@0.4")) == "Joined(((0.6, constant), (0.4, Restarts(2, 3.0))))"
    assert schedule("step=0.5") == schedule("step=0.5") != schedule("step=0.6")


# Initial weights


SHAPE, FAN_IN, FAN_OUT = (5, 4, 30, 60), 600, 1200

VARIANCES = {
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
}


def weights(name: str, seed: int = 0) -> np.ndarray:
    return initializers.initializer(name)(initializers.generator(seed), SHAPE, FAN_IN, FAN_OUT)


@pytest.mark.parametrize("name", VARIANCES)
def test_variances(name: str) -> None:
    """36 000 draws: the mean within 4 deviations of 0, the variance within 4 of its own."""
    found, count = weights(name), math.prod(SHAPE)
    fourth = 9 / 5 if name.endswith("uniform") else 3.0
    assert found.shape == SHAPE
    assert abs(found.mean()) < 4 * math.sqrt(VARIANCES[name] / count)
    assert found.var() == pytest.approx(VARIANCES[name], rel=4 * math.sqrt((fourth - 1) / count))


@pytest.mark.parametrize("name", VARIANCES)
def test_uniform_draws_have_a_limit_and_normal_ones_have_tails(name: str) -> None:
    """Uniform of variance v lies within sqrt(3 v), and comes near it."""
    farthest, limit = np.abs(weights(name)).max(), math.sqrt(3 * VARIANCES[name])
    assert farthest <= limit if name.endswith("uniform") else farthest > 1.5 * limit
    assert farthest > 0.999 * limit


@pytest.mark.parametrize("name", initializers.BY_NAME)
def test_the_same_seed_gives_the_same_draw(name: str) -> None:
    assert np.array_equal(weights(name), weights(name))
    assert name == "zeros" or not np.array_equal(weights(name), weights(name, seed=1))


def test_zeros_draw_nothing() -> None:
    rng = initializers.generator(0)
    assert not initializers.zeros(rng, (3, 4)).any()
    assert rng.random() == initializers.generator(0).random()


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (5, 5), (3, 2, 4, 10), (2, 2, 3, 20), (1, 1)])
def test_orthogonal_weights(shape: tuple[int, ...]) -> None:
    found = initializers.orthogonal(initializers.generator(2), shape)
    matrix = found.reshape(-1, shape[-1])
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    assert found.shape == shape
    np.testing.assert_allclose(small, np.eye(min(matrix.shape)), atol=1e-12)


def test_orthogonal_draws_are_uniform_over_rotations() -> None:
    """Without the signs of r, the diagonal of q would be negative more often than not."""
    rng = initializers.generator(0)
    corners = [initializers.orthogonal(rng, (2, 2))[0, 0] for _ in range(400)]
    assert abs(np.mean(np.sign(corners))) < 4 / math.sqrt(400)


@pytest.mark.parametrize(
    ("layer", "in_shape", "fans"),
    [
        (Dense(30), (200,), (200, 30)),
        (Conv2D(30, (5, 4)), (9, 9, 10), (200, 600)),
        (Conv2D(30, (5, 4), groups=5), (9, 9, 10), (40, 120)),
        (Conv2D(30, (5, 4), 2, "same", flip=True, bias="untied"), (9, 9, 10), (200, 600)),
    ],
)
def test_layers_count_their_fans(layer: Any, in_shape: tuple[int, ...], fans: tuple[int, int]) -> None:
    """Glorot uniform by default: +-sqrt(6 / (fan_in + fan_out)), fans being channels of one group x kernel area."""
    params = layer.init(in_shape, initializers.generator(0))
    drawn = params["weights" if isinstance(layer, Dense) else "kernel"]
    limit = math.sqrt(6 / sum(fans))
    assert 0.99 * limit < np.abs(drawn).max() <= limit
    assert not params["bias"].any()


def test_correct_counts_the_largest_logit() -> None:
    found = correct(np.array([[0.1, 2.0], [3.0, -1.0], [0.5, 0.5]]), np.array([1, 1, 0]))
    assert found.tolist() == [1, 0, 1]
    assert found.dtype == np.int64
