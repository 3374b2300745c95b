"""Optimisers that look at parameters, groups of parameters, and wrappers: their formulas, on every kind of step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pytest
from conftest import LIBRARIES
from fake_cuda import fake_cuda
from test_steps import BATCH, LR, NETWORK, STEPS, WAYS, data, many_shards, model_on, run

from gpucnn import Model, Network
from gpucnn.engine.gradient import gradient
from gpucnn.engine.recorded import RecordedStep
from gpucnn.engine.update import Rules
from gpucnn.errors import SettingError
from gpucnn.kernels import Context
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, ReLU, Residual
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.model import averaging
from gpucnn.network import describe
from gpucnn.network.layout import Layout
from gpucnn.optimizers import (
    EMA,
    LAMB,
    SGD,
    SWA,
    Adam,
    AdamW,
    Around,
    Clip,
    Groups,
    Lion,
    Lookahead,
    Muon,
    Optimizer,
    RMSprop,
    changed,
    described,
)
from gpucnn.optimizers.matrices import orthogonal

__all__ = ["fake_cuda", "many_shards"]


# --- the formulas, written once more: a rule of one parameter, called with its name, theta and g in its shape


class BySGD:
    """With the settings of a parameter."""

    def __init__(self, momentum=0.0, decay=0.0, rate=1.0, l1=0.0, l2=0.0):
        self.settings, self.v = (momentum, decay, rate, l1, l2), {}

    def __call__(self, name, theta, g, t):
        momentum, decay, rate, l1, l2 = self.settings
        g = g + l1 * np.sign(theta) + (l2 + decay) * theta
        self.v[name] = momentum * self.v.get(name, 0) + g
        return theta - LR * rate * self.v[name]


class ByAdam:
    def __init__(self, decoupled=0.0, rate=1.0, beta1=0.9, epsilon=1e-8):
        self.settings, self.m, self.v = (decoupled, rate, beta1, epsilon), {}, {}

    def moved(self, name, theta, g, t):
        decay, _, beta1, epsilon = self.settings
        self.m[name] = beta1 * self.m.get(name, 0) + (1 - beta1) * g
        self.v[name] = 0.999 * self.v.get(name, 0) + 0.001 * g**2
        return self.m[name] / (1 - beta1**t) / (np.sqrt(self.v[name] / (1 - 0.999**t)) + epsilon) + decay * theta

    def __call__(self, name, theta, g, t):
        return theta - LR * self.settings[1] * self.moved(name, theta, g, t)


class ByLAMB(ByAdam):
    def __call__(self, name, theta, g, t):
        u = self.moved(name, theta, g, t)
        sizes = np.linalg.norm(theta.ravel()), np.linalg.norm(u.ravel())
        return theta - LR * u * (sizes[0] / sizes[1] if all(sizes) else 1)


class ByMuon:
    def __init__(self, scale, decay, others, apart=()):
        self.scale, self.decay, self.others, self.apart, self.v = scale, decay, others, apart, {}
        self.momentum = 0.95

    def __call__(self, name, theta, g, t):
        if theta.ndim not in (2, 4) or any(fnmatch(name, each) for each in self.apart):
            return self.others(name, theta, g, t)
        self.v[name] = self.momentum * self.v.get(name, 0) + g
        matrix = (g + self.momentum * self.v[name]).reshape(-1, theta.shape[-1])
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
        s = s / np.linalg.norm(s)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        rows, columns = matrix.shape
        factor = 0.2 * max(rows, columns) ** 0.5 if self.scale == "rms" else max(1, columns / rows) ** 0.5
        return theta - LR * self.decay * theta - LR * factor * ((u * s) @ v).reshape(theta.shape)


@dataclass(frozen=True)
class Case:
    """rule: makes the formula of a parameter's name; clip: of the whole gradient; after: of theta, a list of thetas."""

    optimizer: Any
    rule: Any
    clip: Any = staticmethod(lambda g: g)
    after: Any = staticmethod(lambda thetas: thetas[-1])
    average: Any = None


def by_norm(most):
    return lambda g: g * min(1, most / np.linalg.norm(g))


def looking_ahead(every, alpha):
    """What goes on after the last update: slow, of the start and the thetas since the last time."""
    return lambda slow, theta, t: slow + alpha * (theta - slow) if t % every == 0 else None


def ema(decay):
    def mean(thetas):
        weights = [decay ** (len(thetas) - k) for k in range(1, len(thetas) + 1)]
        return sum(w * theta for w, theta in zip(weights, thetas)) / sum(weights)

    return mean


def one(rule):
    """The same formula for all parameters."""
    return lambda name: rule


def chosen(*rules):
    """(pattern, formula), ...: the first that fits."""
    return lambda name: next(rule for pattern, rule in rules if fnmatch(name, pattern))


CASES = {
    "LAMB": lambda: Case(LAMB(), one(ByLAMB(0.01, epsilon=1e-6))),
    "LAMB, kernels decay": lambda: Case(
        LAMB(decay="kernels"), chosen(("*/bias", ByLAMB(epsilon=1e-6)), ("*", ByLAMB(0.01, epsilon=1e-6)))
    ),
    "Muon": lambda: Case(Muon(), one(ByMuon("rms", 0, ByAdam()))),
    "Muon, original, SGD apart": lambda: Case(
        Muon(weight_decay=0.1, scale="original", others=SGD(0.9), apart=("4/*",)),
        one(ByMuon("original", 0.1, BySGD(0.9), ("4/*",))),
    ),
    "SGD, kernels decay": lambda: Case(
        SGD(0.9, weight_decay=0.1, decay="kernels"), chosen(("*/bias", BySGD(0.9)), ("*", BySGD(0.9, 0.1)))
    ),
    "groups of SGD": lambda: Case(
        Groups(SGD(0.9), {"4/*": {"rate": 0.1}, "*/bias": {"momentum": 0.0}, "*": {"l1": 0.02, "l2": 0.1}}),
        chosen(("4/*", BySGD(0.9, rate=0.1)), ("*/bias", BySGD()), ("*", BySGD(0.9, l1=0.02, l2=0.1))),
    ),
    "groups of AdamW": lambda: Case(
        Groups(AdamW(), {"*/bias": {"rate": 0.1, "beta1": 0.5, "weight_decay": 0.0}}),
        chosen(("*/bias", ByAdam(rate=0.1, beta1=0.5)), ("*", ByAdam(0.01))),
    ),
    "groups of LAMB": lambda: Case(
        Groups(LAMB(), {"0/*": {"rate": 0.5}}),
        chosen(("0/*", ByLAMBAtHalf(0.01, epsilon=1e-6)), ("*", ByLAMB(0.01, epsilon=1e-6))),
    ),
    "groups of Muon": lambda: Case(
        Groups(Muon(apart=("4/*",)), {"*/bias": {"weight_decay": 0.1, "beta1": 0.5}, "0/*": {"weight_decay": 0.2}}),
        chosen(
            ("*/bias", ByAdam(0.1, beta1=0.5)),
            ("0/*", ByMuon("rms", 0.2, None)),
            ("*", ByMuon("rms", 0, ByAdam(), ("4/*",))),
        ),
    ),
    "groups of Muon with SGD for some": lambda: Case(
        Groups(Muon(), {"4/*": {"others": SGD(), "momentum": 0.5}, "*/bias": {"weight_decay": 0.1}}),
        chosen(("4/bias", BySGD(0.5)), ("4/*", ByMuonAtHalf("rms", 0, None)), ("*", ByMuon("rms", 0, ByAdam(0.1)))),
    ),
    "groups that decay beside kernels": lambda: Case(
        Groups(SGD(0.9, decay="kernels"), {"4/bias": {"weight_decay": 0.5}, "4/*": {"momentum": 0.0}}),
        chosen(("4/bias", BySGD(0.9, 0.5)), ("4/*", BySGD()), ("*", BySGD(0.9))),
    ),
    "groups of which kernels decay": lambda: Case(
        Groups(SGD(0.9), {"4/*": {"weight_decay": 0.5, "decay": "kernels"}}),
        chosen(("4/bias", BySGD(0.9)), ("4/*", BySGD(0.9, 0.5)), ("*", BySGD(0.9))),
    ),
    "clipping by norm": lambda: Case(Clip(SGD(0.9), norm=0.05), one(BySGD(0.9)), by_norm(0.05)),
    "clipping by a norm that is never reached": lambda: Case(Clip(SGD(0.9), norm=1e3), one(BySGD(0.9))),
    "clipping by value": lambda: Case(
        Clip(SGD(0.9, weight_decay=0.1), value=0.002), one(BySGD(0.9, 0.1)), lambda g: np.clip(g, -0.002, 0.002)
    ),
    "clipping by value and norm": lambda: Case(
        Clip(Adam(), norm=0.01, value=0.002), one(ByAdam()), lambda g: by_norm(0.01)(np.clip(g, -0.002, 0.002))
    ),
    "EMA": lambda: Case(EMA(Adam(), 0.7), one(ByAdam()), average=ema(0.7)),
    "SWA": lambda: Case(SWA(SGD(), 2, 2), one(BySGD()), average=lambda thetas: np.mean(thetas[1::2], axis=0)),
    "SWA that has not begun": lambda: Case(SWA(SGD(), 9), one(BySGD()), average=lambda thetas: thetas[-1]),
    "Lookahead": lambda: Case(Lookahead(SGD(0.9), 2, 0.25), one(BySGD(0.9)), after=looking_ahead(2, 0.25)),
    "wrappers and groups together": lambda: Case(
        Clip(EMA(Lookahead(Groups(AdamW(decay="kernels"), {"4/*": {"rate": 0.1}}), 3, 0.5), 0.9), norm=0.01),
        chosen(("4/bias", ByAdam(rate=0.1)), ("4/*", ByAdam(0.01, 0.1)), ("*/bias", ByAdam()), ("*", ByAdam(0.01))),
        by_norm(0.01),
        looking_ahead(3, 0.5),
        ema(0.9),
    ),
    "an average of Muon": lambda: Case(
        EMA(Clip(Muon(), norm=0.01), 0.5), one(ByMuon("rms", 0, ByAdam())), by_norm(0.01), average=ema(0.5)
    ),
}


class ByMuonAtHalf(ByMuon):
    def __init__(self, *settings):
        super().__init__(*settings)
        self.momentum = 0.5


class ByLAMBAtHalf(ByLAMB):
    def __call__(self, name, theta, g, t):
        return (theta + super().__call__(name, theta, g, t)) / 2


def expected(case):
    """theta and its average after STEPS, of the whole batch's gradient."""
    model, (images, labels) = Model(NETWORK, device="cpu", dtype="float64"), data()
    layout, theta, thetas = model.layout, model.theta.copy(), []
    slow = theta.copy()
    for number in range(STEPS):
        batch = np.arange(BATCH) + number
        _, dparams, _ = gradient(
            NETWORK, SoftmaxCrossEntropy(), layout.unpack(theta), images[batch] / 255, labels[batch], Context()
        )
        g = case.clip(layout.pack(dparams, np.empty(layout.size)) / BATCH)
        for slot in layout.slots:
            rule = case.rule(slot.name)
            shaped = theta[slot.place].reshape(slot.shape), g[slot.place].reshape(slot.shape)
            theta[slot.place] = rule(slot.name, *shaped, number + 1).ravel()
        if case.optimizer and "Lookahead" in repr(case.optimizer):
            moved = case.after(slow, theta, number + 1)
            if moved is not None:
                slow, theta = moved.copy(), moved.copy()
        thetas.append(theta.copy())
    return theta, None if case.average is None else case.average(thetas)


def check(case, step, fetch):
    theta, average = expected(case)
    np.testing.assert_allclose(fetch(step.theta), theta, rtol=1e-8, atol=1e-9)
    if average is None:
        assert step.average is None
    else:
        np.testing.assert_allclose(fetch(step.average), average, rtol=1e-8, atol=1e-9)


every_case = pytest.mark.parametrize("name", CASES)


@every_case
@pytest.mark.parametrize("where", WAYS)
def test_every_table_follows_the_formula(name, where, fake_cuda):
    case = CASES[name]()
    model = model_on(where, threads=1)
    _, step = run(model, case.optimizer)
    assert isinstance(step, RecordedStep) == (where == "cuda")
    assert getattr(step, "obstacle", None) is None
    check(case, step, model.device.fetch)


@every_case
@pytest.mark.parametrize("threads", [2, 3])
def test_shards_and_pieces_follow_the_formula(name, threads):
    case = CASES[name]()
    check(case, run(model_on("default", threads=threads), case.optimizer)[1], np.asarray)


@every_case
@pytest.mark.parametrize("library", ["strict", "torch"])
def test_other_libraries_follow_the_formula(name, library):
    case, library, model = CASES[name](), LIBRARIES[library](), model_on("reference")
    theta, state = library.put(model.theta.copy()), library.put(np.zeros(0))
    check(case, run(model, case.optimizer, put=library.put, theta=theta, state=state)[1], library.fetch)


@pytest.mark.parametrize(
    "optimizer", [Clip(EMA(Adam(), 0.9), norm=0.01), Muon(), SGD(weight_decay=0.1, decay="kernels")]
)
def test_pieces_of_any_size_give_the_same_bits(optimizer, monkeypatch):
    """Whoever writes them: the gradient is the same one. A sum of squares is of pieces, so these stay as they are."""
    found = set()
    for writers in (1, 2, 4):
        monkeypatch.setattr("gpucnn.engine.sharded_step.WRITERS", writers)
        model = model_on("default", threads=3)
        _, step = run(model, optimizer)
        found.add(model.theta.tobytes() + (b"" if step.average is None else step.average.tobytes()))
    assert len(found) == 1
    if isinstance(optimizer, Clip):
        return
    for chunk in (5, 1 << 16):
        monkeypatch.setattr("gpucnn.engine.sharded_step.CHUNK", chunk)
        model = model_on("default", threads=3)
        run(model, optimizer)
        found.add(model.theta.tobytes())
    assert len(found) == 1


# --- PyTorch's own


def by_torch(torch, make, theta, gradients, lr):
    parameter = torch.nn.Parameter(torch.tensor(theta))
    rule = make([parameter], lr)
    for g in gradients:
        parameter.grad = torch.tensor(g)
        rule.step()
    return parameter.detach().numpy()


def by_ours(optimizer, theta, gradients, lr):
    theta, state = theta.copy(), optimizer.init(theta)
    for number, g in enumerate(gradients, 1):
        optimizer.update(theta, g.copy(), state, lr, number)
    return theta


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rmsprop_is_pytorchs(momentum, centered, decay, torch):
    rng = np.random.default_rng(0)
    theta, gradients = rng.standard_normal(50), rng.standard_normal((9, 50))
    found = by_ours(RMSprop(0.9, 1e-6, momentum, centered, decay), theta, gradients, 0.01)
    settings = {"alpha": 0.9, "eps": 1e-6, "momentum": momentum, "centered": centered, "weight_decay": decay}
    peer = by_torch(torch, lambda p, lr: torch.optim.RMSprop(p, lr, **settings), theta, gradients, 0.01)
    np.testing.assert_allclose(found, peer, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (12, 12)])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("scale", "adjust"), [("original", "original"), ("rms", "match_rms_adamw")])
def test_muon_is_pytorchs_to_the_precision_of_bfloat16(shape, nesterov, scale, adjust, torch):
    """PyTorch's weights are (out, in), ours (in, out); its iteration is in bfloat16, 8 bits."""
    rng = np.random.default_rng(1)
    theta, gradients = rng.standard_normal(shape), rng.standard_normal((4, *shape))
    slot = Layout({"w": theta}).slots[0]
    rule, found = Muon(0.9, nesterov, weight_decay=0.1, scale=scale), theta.copy()
    state = {"momentum": np.zeros(shape)}
    for number, g in enumerate(gradients, 1):
        rule.update_parameter(slot, found, g.copy(), state, 0.1, number)
    settings = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1, "adjust_lr_fn": adjust}
    transposed = theta.T.copy(), gradients.transpose(0, 2, 1).copy()
    peer = by_torch(torch, lambda p, lr: torch.optim.Muon(p, lr, **settings), *transposed, 0.1).T
    assert np.linalg.norm(found - peer) < 0.02 * np.linalg.norm(peer - theta)


def test_clipping_is_pytorchs(torch):
    rng = np.random.default_rng(2)
    theta, gradients = rng.standard_normal(40), rng.standard_normal((5, 40))
    found = by_ours(Clip(SGD(0.9), norm=1.5), theta, gradients, 0.1)

    def make(parameters, lr):
        rule = torch.optim.SGD(parameters, lr, 0.9)
        rule.register_step_pre_hook(lambda *_: [torch.nn.utils.clip_grad_norm_(parameters, 1.5), None][1])
        return rule

    np.testing.assert_allclose(found, by_torch(torch, make, theta, gradients, 0.1), rtol=1e-5)


def test_an_average_of_equal_weights_is_pytorchs(torch):
    rng = np.random.default_rng(3)
    theta, gradients = rng.standard_normal(20), rng.standard_normal((7, 20))
    optimizer = SWA(SGD(), 3, 2)
    ours, state = theta.copy(), optimizer.init(theta)
    module = torch.nn.ParameterList([torch.tensor(theta)])
    average, rule = torch.optim.swa_utils.AveragedModel(module), torch.optim.SGD(module, 0.1)
    for number, g in enumerate(gradients, 1):
        optimizer.update(ours, g.copy(), state, 0.1, number)
        module[0].grad = torch.tensor(g)
        rule.step()
        if number in (3, 5, 7):
            average.update_parameters(module)
    np.testing.assert_allclose(state["average"], average.module[0].detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (1, 9), (16, 16)])
def test_orthogonal_matrices_have_singular_values_near_1(shape):
    x = orthogonal(np.random.default_rng(4).standard_normal(shape), 8)
    s = np.linalg.svd(x, compute_uv=False)
    assert s.min() > 0.6
    assert s.max() < 1.3


def test_a_gradient_of_0_is_orthogonalised_to_0():
    assert not orthogonal(np.zeros((3, 4)), 5).any()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_extreme_gradients_leave_theta_finite(size):
    for optimizer in (Clip(SGD(), norm=1.0), RMSprop(centered=size < 1), Lion(), EMA(Adam())):
        theta = np.ones(4, np.float32)
        with np.errstate(over="ignore"):
            found = by_ours(optimizer, theta, [np.full(4, size, np.float32)] * 3, 0.1)
        assert np.isfinite(found).all(), optimizer


# --- what is said of settings that make no sense


@dataclass(frozen=True)
class Norm(Optimizer):
    def reduce(self, g):
        return (g * g).sum()

    def update(self, theta, g, state, lr, step, *, reduced):
        theta -= lr * g / reduced


REFUSED = {
    "an EMA of an EMA": (lambda: EMA(EMA(Adam())), "EMA: what it is around keeps a vector 'average', too"),
    "two that look at all": (lambda: Clip(Norm(), norm=1.0), "Clip and Norm each look at the whole gradient"),
    "a name that there is not": (lambda: Groups(SGD(), {"9/*": {}}), r"no parameter's name fits '9/\*'; there are"),
    "a setting that there is not": (
        lambda: Groups(SGD(), {"*": {"momentun": 1}}),
        "SGD has no momentun; did you mean m",
    ),
    "a wrapper inside": (lambda: Groups(EMA(SGD()), {}), r"EMA cannot be inside; write it around, as in EMA\(Groups"),
    "a rate below 0": (lambda: Groups(SGD(), {"*": {"rate": -1.0}}), "rate, l1, l2 must be numbers of at least 0"),
    "nothing to clip": (lambda: Clip(SGD()), r"Clip: norm or value was expected, such as Clip\(Adam\(\), norm=1.0\)"),
    "a norm of 0": (lambda: Clip(SGD(), norm=0.0), "Clip: norm=0.0: a number above 0"),
    "a decay of 1": (lambda: EMA(SGD(), 1.0), "EMA: decay 1.0 must be between 0 and 1"),
    "a start of 0": (lambda: SWA(SGD(), 0), "SWA: start 0 and every 1"),
    "an alpha of 0": (
        lambda: Lookahead(SGD(), 5, 0.0),
        r"Lookahead: every 5 must be at least 1, alpha 0.0 in \(0, 1\]",
    ),
    "a scale": (lambda: Muon(scale="big"), "Muon.*scale one of rms, original"),
    "a wrapper for others": (lambda: Muon(others=Clip(Adam(), norm=1.0)), r"others=Clip\(.*as in Clip\(Muon\(\), ..."),
    "an average for others": (lambda: Muon(others=EMA(Adam())), r"others=EMA\(.*rule such as AdamW\(\) or SGD\(\)"),
    "groups for others": (lambda: Muon(others=Groups(Adam(), {})), r"others=Groups\(.*as in Groups\(Muon"),
    "Muon for others": (lambda: Muon(others=Muon()), r"others=Muon\(...\): a rule such as AdamW\(\) .* was expected$"),
    "a field": (lambda: changed(Muon(), {"beta1": 0.5}, "--beta"), "--beta: Muon has no beta1; .*it has momentum, n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(name):
    make, sentence = REFUSED[name]
    with pytest.raises(SettingError, match=sentence):
        run(model_on("default"), make(), steps=1)


def test_a_wrapper_of_ones_own():
    @dataclass(frozen=True)
    class Halved(Around):
        optimizer: Any

        def before(self, g, reduced):
            g *= 0.5

    found, other = model_on("default"), model_on("default")
    run(found, Halved(SGD(0.9)))
    run(other, Groups(SGD(0.9), {"*": {"rate": 0.5}}))
    np.testing.assert_allclose(found.theta, other.theta, rtol=1e-9)


def test_descriptions_tell_all_that_differs():
    assert described(Clip(EMA(SGD(0.9), 0.99), norm=1.0)) == "Clip(EMA(SGD(0.9), decay=0.99), norm=1.0)"
    assert described(Muon()) == describe(Muon())
    groups = Groups(Adam(), {"*/bias": {"rate": 0.1}})
    assert "'*/bias': {'rate': 0.1}" in described(groups)
    assert json.loads(json.dumps(groups.settings)) == groups.settings


# --- running states of layers, and what is kept


NORMALISED = Network((8, 7, 2), (Conv2D(3, 2), BatchNorm(0.5), ReLU(), Flatten(), Dense(4)))


@pytest.mark.parametrize("where", ["default", "reference", "cuda"])
def test_running_states_can_be_those_of_an_average(where, fake_cuda, torch):
    """Of all images alike, the few of the last batch too, and of nothing that was there before."""
    images, labels = data(36, NORMALISED)
    model = model_on(where, NORMALISED, threads=2)
    model.fit(images, labels, epochs=2, batch_size=10, optimizer=SWA(SGD(0.9), 4), lr=0.05)
    model.recompute_state(images, batch_size=10)
    mean, variance = np.zeros(3), np.zeros(3)
    kernel, bias = (np.asarray(model.parameters[name]) for name in ("0/kernel", "0/bias"))
    for start in range(0, 36, 10):
        x = torch.tensor(images[start : start + 10] / 255).permute(0, 3, 1, 2)
        weight = torch.tensor(kernel).permute(3, 2, 0, 1)
        y = torch.nn.functional.conv2d(x, weight, torch.tensor(bias)).permute(1, 0, 2, 3).reshape(3, -1).numpy()
        mean, variance = mean + len(x) / 36 * y.mean(1), variance + len(x) / 36 * y.var(1, ddof=1)
    np.testing.assert_allclose(model.state["1/mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(model.state["1/variance"], variance, rtol=1e-9)


def test_a_running_state_that_is_to_stay_does():
    images, _ = data(20, NORMALISED)
    norms = Residual((Conv2D(2, 1), BatchNorm(1.0), ReLU(), Conv2D(2, 1), BatchNorm()))
    model = model_on("default", Network((8, 7, 2), (norms, Flatten(), Dense(4))))
    model.recompute_state(images)
    still, moved = (model.state[f"0/layers/{k}/mean"] for k in (1, 4))
    assert not still.any()
    assert moved.all()


def test_a_model_without_a_running_state_stays_as_it_is():
    model = model_on("default")
    before = model.theta.copy()
    model.recompute_state(data()[0])
    np.testing.assert_array_equal(model.theta, before)


def test_an_average_that_begins_behind_the_end_of_the_run_is_told_of():
    """Two epochs of three updates; training that goes on by partial_fit may still reach it."""
    images, labels = data()
    options = {"batch_size": 14, "lr": 0.05}
    said = "SWA starts at update 7, and this run has 6 updates, so nothing is averaged; start at 4, three quarters"
    with pytest.warns(UserWarning, match=said):
        model_on("default").fit(images, labels, epochs=2, optimizer=Lookahead(SWA(SGD(), 7)), **options)
    model_on("default").fit(images, labels, epochs=2, optimizer=SWA(SGD(), 6), **options)
    model_on("default").partial_fit(images, labels, optimizer=SWA(SGD(), 7), **options)


def test_what_is_kept_of_the_best_epoch_is_the_average():
    """The callback sees the average; afterwards training could still go on from theta itself."""
    images, labels = data()
    options = {
        "epochs": 4,
        "batch_size": 14,
        "lr": 0.05,
        "optimizer": EMA(SGD(0.9), 0.9),
        "validation": (images, labels),
    }
    model, seen = model_on("default"), []
    history = model.fit(
        images, labels, keep="best", callbacks=[lambda epoch: seen.append(model.theta.copy())], **options
    )
    best = min(history.epochs, key=lambda epoch: epoch.validation_loss)
    np.testing.assert_array_equal(model.theta, seen[best.epoch - 1])
    assert model.evaluate(images, labels)["loss"] == best.validation_loss
    plain = model_on("default")
    plain.fit(images, labels, **options)
    np.testing.assert_array_equal(plain.theta, seen[-1])


class Averaging:
    """A step that keeps an average."""

    def __init__(self):
        self.theta, self.average = np.arange(3.0), np.full(3, 7.0)


@pytest.mark.parametrize("at", ["first copies", "first exchange", "last copies", "last exchange"])
def test_ctrl_c_leaves_theta_and_its_average_where_they_were(monkeypatch, at):
    step, calls = Averaging(), []
    unbroken = averaging.unbroken

    def cut(work):
        calls.append(work)
        here = len(calls) == (1 if "first" in at else 2)

        def once():
            if here and "copies" in at and len(calls) < 9:
                calls.extend([None] * 9)
                raise KeyboardInterrupt
            work()

        unbroken(once)
        if here and "exchange" in at:
            raise KeyboardInterrupt

    monkeypatch.setattr(averaging, "unbroken", cut)
    with pytest.raises(KeyboardInterrupt), averaging.averaged(step):
        np.testing.assert_array_equal(step.theta, 7)
    np.testing.assert_array_equal(step.theta, np.arange(3))
    np.testing.assert_array_equal(step.average, 7)


LAYOUT = Layout(NETWORK.init(NETWORK.input_shape, np.random.default_rng(0)))


def test_muons_patterns_are_one_or_some_and_must_fit():
    assert Muon(apart="4/*") == Muon(apart=("4/*",))
    with pytest.raises(SettingError, match=r"Muon: apart: no parameter's name fits '9/\*'; there are .* and others"):
        Rules(Muon(apart=("4/*", "9/*")), LAYOUT)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (EMA("adam"), "EMA: optimizer='adam'"),
        (EMA(Clip("sgd", norm=1.0)), "Clip: optimizer='sgd'"),
        (Muon(others="adam"), "Muon: others='adam'"),
        (Groups("adam", {"*/bias": {"rate": 0.1}}), "Groups: optimizer='adam'"),
    ],
)
def test_a_name_in_an_optimiser_is_refused(optimizer, said):
    with pytest.raises(SettingError, match=f"{said}: an optimiser was expected, such as Adam"):
        Rules(optimizer, LAYOUT)


def test_settings_of_groups_are_a_dict():
    with pytest.raises(SettingError, match="a dict of dicts by patterns was expected"):
        Groups(SGD(), [("0/*", {"rate": 0.1})])
