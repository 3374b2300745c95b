"""The bench: translations that are equal in numbers, rounds that are fair, tasks that answer. No time is asserted."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from gpucnn import Model, Network, networks
from gpucnn.errors import GpucnnError, SettingError
from gpucnn.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    Parallel,
    ReLU,
    Reshape,
    Shared,
)
from gpucnn.layers.initializers import generator
from gpucnn.losses import Huber, MultiLabelCrossEntropy, SoftmaxCrossEntropy
from gpucnn.optimizers import EMA, LAMB, OPTIMIZERS, SGD, Adam, Lion, Muon
from gpucnn.report import timing
from gpucnn.report.bench import candidates, memory, others, process, profile, rows, scaling, steps, time_to, until
from gpucnn.report.bench.session import BenchOptions
from gpucnn.report.bench.summary import summary
from gpucnn.report.timing import Candidate

if others.installed("torch"):
    from gpucnn.report.bench import torch_peer
if others.installed("jax"):
    from gpucnn.report.bench import jax_peer

needs_torch = pytest.mark.skipif(not others.installed("torch"), reason="PyTorch is not installed")
needs_jax = pytest.mark.skipif(not others.installed("jax"), reason="JAX is not installed")

QUICK = BenchOptions(threads=1, rounds=1, images=6, needed=0, budget=0)
HEAD = {"network": "n", "what": "w", "batch": 1}
BOXES = {
    "same, stride 2": (Conv2D(3, 3, stride=2, padding="same"),),
    "same, even kernel": (Conv2D(3, (2, 4), padding="same"),),
    "unequal sides, dilation": (Conv2D(3, 3, padding=((1, 0), (2, 1)), dilation=2, flip=True),),
    "groups, no bias": (Conv2D(4, 1, bias=None), Conv2D(6, 3, groups=2, flip=True)),
    "untied": (Conv2D(2, 3, bias="untied"),),
    "padded max pool": (MaxPool2D(3, 2, padding=1),),
    "max pool, one side": (MaxPool2D(3, 2, padding=((0, 1), (2, 0))),),
    "padded average pool": (AvgPool2D(3, 2, padding=1),),
    "average pool, zeros count": (AvgPool2D(3, 2, padding=((0, 1), (1, 0)), count_padding=True),),
    "max pool, pixels apart": (MaxPool2D((2, 3), 1, dilation=(3, 2)), MaxPool2D(2, 1, "same", dilation=2)),
    "max pool, one more window": (MaxPool2D(3, 2, ceil_mode=True), Conv2D(2, 2)),
}
# what is flattened goes elsewhere than straight into a dense layer
FLATTENED = {
    "normalised": (Conv2D(3, 3), Flatten(), BatchNorm(), Dense(4), ReLU(), Dense(3)),
    "beside features": (Parallel(((Conv2D(3, 3), Flatten()), GlobalAvgPool2D())), Dense(4)),
    "in a branch": (Parallel(((Flatten(), Dense(3)), (Conv2D(2, 3), Flatten()))), ReLU(), Dense(4)),
    "in shared layers": (Parallel([Shared("a", (Flatten(), Dense(6)))] * 2, "add"), Dense(3)),
    "in a nested network": (Network((8, 7, 2), (Conv2D(3, 3), Flatten())), ReLU(), Dense(3)),
}


def boxed(name, shape=(8, 7, 2)):
    return Network(shape, (*BOXES[name], Flatten(), Dense(4), ReLU(), Dense(3)))


def examples(network, count=5):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)
    return images, rng.integers(0, network.shapes()[-1][0], count)


# allcnn draws at random; roundings of float32 move ReLUs of normalised ones, which test_nests.py compares in float64
STEPPED = [name for name in networks.NETWORKS if name not in ("resnet20", "allcnn", "mobile-small")]


def model_of(network, loss):
    """A model whose biases are not all zero."""
    model = Model(network, loss=loss, device="cpu", threads=1)
    model.theta += np.random.default_rng(1).normal(0, 0.02, model.theta.size).astype(np.float32)
    return model


def parameters_of(model):
    return model.layout.unpack(model.theta)


@needs_torch
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_translation_has_as_many_parameters(name):
    network = networks.build(name)
    assert sum(each.numel() for each in torch_peer.translate(network).parameters()) == network.parameters


@needs_torch
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", STEPPED)
def test_a_named_network_takes_the_same_step_in_torch(name, channels_last):
    """Logits, and every parameter after an update."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    entry, network = networks.entry(name), networks.build(name)
    images, labels = examples(network)
    model = model_of(network, entry.loss)
    peer = torch_peer.Peer(network, entry.loss, parameters_of(model), lr=0.01, channels_last=channels_last)
    x = peer.put(images)
    np.testing.assert_allclose(peer.logits(x, 2).numpy(), model.logits(images), rtol=1e-3, atol=1e-4)
    peer.step(x, torch.from_numpy(labels))
    before = model.theta.copy()
    model.fit(images, labels, epochs=1, batch_size=len(labels), optimizer="sgd", lr=0.01)
    assert not np.array_equal(before, model.theta)
    for ours, theirs in zip(torch_peer.arrays(network, parameters_of(model)), peer.module.parameters(), strict=True):
        np.testing.assert_allclose(theirs.detach().numpy(), ours, rtol=1e-3, atol=1e-5)


@needs_torch
@pytest.mark.parametrize("name", BOXES)
def test_every_geometry_is_equal_in_torch(name):
    network = boxed(name)
    images, _ = examples(network)
    model = model_of(network, SoftmaxCrossEntropy())
    peer = torch_peer.Peer(network, model.loss, parameters_of(model))
    np.testing.assert_allclose(peer.logits(peer.put(images), 2).numpy(), model.logits(images), rtol=1e-3, atol=1e-5)


@needs_torch
@pytest.mark.parametrize("name", FLATTENED)
def test_what_is_flattened_is_equal_in_torch(name):
    network = Network((8, 7, 2), FLATTENED[name])
    images, _ = examples(network)
    model = model_of(network, SoftmaxCrossEntropy())
    peer = torch_peer.Peer(network, model.loss, parameters_of(model))
    np.testing.assert_allclose(peer.logits(peer.put(images), 2).numpy(), model.logits(images), rtol=1e-3, atol=1e-5)


@needs_torch
@pytest.mark.parametrize("name", [*sorted(OPTIMIZERS.keys() - {"lamb", "lion", "muon"}), "decayed"])
def test_optimisers_are_equal_in_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    chosen = OPTIMIZERS.get(name, SGD(momentum=0.9, nesterov=True, weight_decay=0.01))
    theta = np.linspace(-1, 1, 7)
    start = torch.tensor(theta, requires_grad=True)
    theirs, state = torch_peer.optimizer_of(chosen, [start], 0.05), chosen.init(theta)
    for step in range(1, 5):
        theirs.zero_grad()
        (start**3).sum().backward()
        theirs.step()
        chosen.update(theta, 3 * theta**2, state, 0.05, step)
    np.testing.assert_allclose(start.detach().numpy(), theta, rtol=1e-9)


@needs_torch
def test_what_torch_cannot_do_is_said():
    with pytest.raises(SettingError, match=r"layer 0: Reshape.* has no equal in PyTorch"):
        torch_peer.translate(Network((4,), (Reshape((2, 2, 1)), Flatten(), Dense(2))))
    for chosen in (Lion(), LAMB(), Muon(), EMA(Adam()), SGD(weight_decay=0.1, decay="kernels")):
        with pytest.raises(SettingError, match="has no equal in PyTorch here"):
            torch_peer.optimizer_of(chosen, [], 0.05)
    with pytest.raises(SettingError, match="out of the mean"):
        torch_peer.translate(Network((5, 5, 1), (AvgPool2D(3, 2, padding=((0, 1), (0, 1))),)))
    with pytest.raises(SettingError, match="out of the mean"):
        torch_peer.translate(Network((6, 6, 1), (AvgPool2D(3, 2, 1, count_padding=True, ceil_mode=True),)))
    with pytest.raises(SettingError, match="see pixels side by side"):
        torch_peer.translate(Network((5, 5, 1), (AvgPool2D(2, dilation=2),)))


@needs_jax
@pytest.mark.parametrize("name", [name for name in STEPPED if name not in ("tiny-99", "record", "record-long")])
def test_a_named_network_takes_the_same_step_in_jax(name):
    entry, network = networks.entry(name), networks.build(name)
    images, labels = examples(network)
    model = Model(network, loss=entry.loss, device="cpu", threads=1)
    step = jax_peer.Training(network, entry.loss, images, labels, 0.01)
    step.params = model.layout.unpack(model.theta.copy())
    logits = jax_peer.logits(network, step.params, images.astype(np.float32) / 255)
    np.testing.assert_allclose(logits, model.logits(images), rtol=1e-3, atol=1e-4)
    step()
    step.wait()
    model.fit(images, labels, epochs=1, batch_size=len(labels), optimizer="sgd", lr=0.01)
    for path, array in model.parameters.items():
        layer, part = path.split("/")
        np.testing.assert_allclose(step.params[layer][part], array, rtol=1e-3, atol=1e-5)


@needs_jax
@pytest.mark.parametrize("name", sorted(BOXES.keys() - {"padded average pool"}))
def test_every_geometry_is_equal_in_jax(name):
    network = boxed(name)
    images, _ = examples(network)
    model = model_of(network, SoftmaxCrossEntropy())
    logits = jax_peer.logits(network, parameters_of(model), images.astype(np.float32) / 255)
    np.testing.assert_allclose(logits, model.logits(images), rtol=1e-3, atol=1e-5)


@needs_jax
@pytest.mark.parametrize("pool", [AvgPool2D(3, 2, 1), AvgPool2D(3, 2, 1, count_padding=True, ceil_mode=True)])
def test_padding_that_does_not_count_has_no_equal_in_jax(pool):
    with pytest.raises(SettingError, match="no equal in JAX"):
        jax_peer.check(Network((6, 6, 1), (pool, Flatten(), Dense(2))), SoftmaxCrossEntropy(), (2, 6, 6, 1))


class FakeGraph:
    """As much of torch.cuda as a capture by hand uses, on the CPU: what is "captured" runs, and runs again."""

    def __init__(self):
        self.said, self.step = [], None

    def __getattr__(self, name):
        def called(*arguments):
            self.said.append(name)
            return contextlib.nullcontext()

        return called

    def install(self, monkeypatch):
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")

        for name in ("stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        stream = types.SimpleNamespace(wait_stream=lambda other: self.said.append("wait"))
        monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: types.SimpleNamespace(replay=self.replay))
        return self


@needs_torch
def test_a_step_is_captured_whole_after_steps_on_another_stream(monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    fake, (images, labels) = FakeGraph().install(monkeypatch), examples(networks.build("single-filter"))
    peer = torch_peer.Peer(networks.build("single-filter"), SoftmaxCrossEntropy(), fused=True)
    assert peer.optimizer.defaults["fused"]
    seen, step = [], peer.step

    def noted(x, labels):
        seen.append(fake.said[-1])
        step(x, labels)

    monkeypatch.setattr(peer, "step", noted)
    captured = torch_peer.Captured(peer, peer.put(images), torch.from_numpy(labels))
    assert seen == ["stream"] * torch_peer.Captured.WARM + ["graph"]
    assert fake.said == ["wait", "stream", "wait", "graph"]
    captured()
    assert fake.said[-1] == "replay"


@needs_torch
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fused_optimiser_moves_as_the_other(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    theta = np.linspace(-1, 1, 7)
    ends = []
    for fused in (False, True):
        start = torch.tensor(theta, requires_grad=True)
        made = torch_peer.optimizer_of(OPTIMIZERS[name], [start], 0.05, fused=fused)
        assert bool(made.defaults["fused"]) == fused
        if fused and name != "sgd":
            assert made.defaults["capturable"]
            made.param_groups[0]["capturable"] = False  # which is for a GPU alone
        for _ in range(3):
            made.zero_grad()
            (start**3).sum().backward()
            made.step()
        ends.append(start.detach().numpy())
    np.testing.assert_allclose(*ends, rtol=1e-9)


@needs_torch
@pytest.mark.parametrize("autotune", [False, True])
def test_on_a_gpu_everything_of_pytorch_is_timed(monkeypatch, autotune):
    case = candidates.Case.of("single-filter", 4)
    shape = case.network, case.loss, case.images, case.labels, "cuda:0", 0.01
    makers = torch_peer.training(*shape, autotune=autotune)
    compiled = {"PyTorch compiled", "PyTorch max-autotune"} if autotune else {"PyTorch compiled"}
    assert set(makers) == {*others.FORMATS, *compiled, "PyTorch whole-step graph"}
    assert set(torch_peer.inference(*shape[:3], "cuda:0", autotune=autotune)) == {*others.FORMATS, *compiled}
    modes, network = [], case.network
    monkeypatch.setattr(torch_peer.torch, "compile", lambda module, mode: modes.append(mode) or module)
    for how in others.COMPILED.values():
        torch_peer.Peer(network, case.loss, **how)
    assert modes == ["reduce-overhead", "max-autotune"]


@needs_torch
def test_a_peer_that_fails_is_a_note_and_no_traceback(monkeypatch, alone):
    """Whether it fails as it is made or as it is called; the others are timed."""

    def failing():
        raise RuntimeError("no kernel image is available\nCompile with more")

    made = {"PyTorch": lambda: Candidate(lambda: None), "PyTorch compiled": failing, "B": lambda: Candidate(failing)}
    monkeypatch.setattr(others, "torch_obstacle", lambda device: None)
    monkeypatch.setattr(torch_peer, "training", lambda *arguments, autotune: made)
    (row,) = steps.steps(["single-filter"], [2], QUICK, lambda text: None, apart=False)["rows"][:1]
    assert set(row["milliseconds"]) == {"gpucnn", "PyTorch"}
    why = "is left out: RuntimeError: no kernel image is available"
    assert row["notes"] == [f"PyTorch compiled {why}", f"B {why}"]
    assert why in rows.line(row)


def test_the_ratio_is_against_the_fastest_of_all():
    found = timing.Rounds([{"gpucnn": 2.0, "gpucnn TF32": 0.1, "PyTorch": 4.0, "PyTorch whole-step graph": 1.0}])
    row = rows.row(HEAD, found, list(found.figures[0]))
    assert (row["peer"], row["ratio"]["median"]) == ("PyTorch whole-step graph", 2.0)


@pytest.mark.parametrize(("before", "after"), [(None, "false"), ("true", "true")])
def test_jax_leaves_a_gpus_memory_to_others(before, after):
    """Said before anything imports JAX, unless the user says otherwise."""
    code = "import gpucnn.report.bench.session, os, sys; print(os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'])"
    code += "; assert 'jax' not in sys.modules"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_PYTHON_CLIENT_PREALLOCATE"}
    environment |= {} if before is None else {"XLA_PYTHON_CLIENT_PREALLOCATE": before}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == (after, 0), done.stderr


def test_a_jax_that_cannot_be_used_is_left_out(monkeypatch):
    def default_backend():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(default_backend=default_backend))
    monkeypatch.setattr(others, "installed", lambda name: True)
    assert (
        others.jax_obstacle()
        == "JAX cannot be used (RuntimeError: Unable to initialize backend 'cuda'), so it is left out"
    )
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(default_backend=lambda: "gpu"))
    assert others.jax_obstacle() is None


@needs_jax
def test_jax_multiplies_in_float32_and_gives_its_parameters_away():
    jax = pytest.importorskip("jax", reason="JAX is not installed")

    network = networks.build("softmax-regression")
    step = jax_peer.Training(network, SoftmaxCrossEntropy(), *examples(network), 0.01)
    assert jax.config.jax_default_matmul_precision == "highest"
    before = step.params["1"]["weights"]
    step()
    step.wait()
    assert before.is_deleted()


def test_a_block_is_waited_for_only_on_a_device():
    calls = []
    on_cpu = Candidate(lambda: calls.append("call"))
    on_device = Candidate(lambda: calls.append("call"), wait=lambda: calls.append("wait"))
    found = timing.interleave({"a": on_cpu, "b": on_device}, 2, budget=0)
    assert len(found.of("a")) == len(found.of("b")) == 2
    assert min(found.of("a") + found.of("b")) >= 0
    assert calls[-1] == "wait"


def test_rounds_without_two_processors_are_discarded_for_all(monkeypatch):
    gains = iter([1.9, 1.2, 1.9, 1.9, 1.0, 1.9, 1.7])
    monkeypatch.setattr(timing, "gain", lambda: next(gains))
    monkeypatch.setattr(timing, "PAUSE", 0)
    measured = []

    def measure(k):
        measured.append(k)
        return {"a": 1.0, "b": 2.0}

    found = timing.rounds(measure, 2, threads=2)
    assert measured == [0, 0, 1]  # 1.9 to 1.2: again; 1.9 to 1.9: kept; 1.0: not begun; 1.9 to 1.7: kept
    assert (len(found.figures), found.discarded) == (2, 2)
    assert found.ratios("a", "b") == [0.5, 0.5]


def test_a_machine_that_is_never_idle_ends_the_wait(monkeypatch):
    monkeypatch.setattr(timing, "gain", lambda: 1.0)
    monkeypatch.setattr(timing, "PAUSE", 0)
    found = timing.rounds(lambda k: {"gpucnn": 1.0}, 2, threads=2)
    assert (found.figures, found.discarded) == ([], timing.WAITS)
    row = rows.row(HEAD, found, ["gpucnn"], "seconds")
    assert "--threads 1" in rows.line(row)


def test_a_round_is_spoilt_between_two_blocks_too(monkeypatch):
    gains = iter([1.9, 1.2, 1.9, 1.9, 1.9])
    monkeypatch.setattr(timing, "gain", lambda: next(gains))
    found = timing.interleave({name: Candidate(lambda: None) for name in "ab"}, 1, threads=2, budget=0)
    assert (len(found.figures), found.discarded) == (1, 1)


def test_rounds_that_are_spoilt_every_time_end_too(monkeypatch):
    gains = itertools.cycle([1.9, 1.0])
    monkeypatch.setattr(timing, "gain", lambda: next(gains))
    found = timing.rounds(lambda k: {"gpucnn": 1.0}, 2, threads=2)
    assert (found.figures, found.discarded) == ([], 2 * timing.SPOILT)


def test_long_rounds_are_fewer(monkeypatch):
    clock = itertools.count(0, 40)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    found = timing.rounds(lambda k: {"gpucnn": 1.0}, 7, longest=100)
    assert (len(found.figures), found.late) == (2, True)  # begun after 40 and after 80 seconds


def test_a_comparison_that_took_long_says_so(monkeypatch):
    monkeypatch.setattr(timing, "LONG", 0.0)
    found = timing.interleave({"gpucnn": Candidate(lambda: None)}, 3)
    assert (found.figures, found.late) == ([], True)
    row = rows.row(HEAD, found, ["gpucnn"], "seconds")
    row |= {"seconds": {"gpucnn": timing.spread([1.0])}, "rounds": 1}
    assert "(1 round, 0 discarded, five minutes were over)" in rows.line(row)


def test_gain_is_a_ratio_of_times():
    assert 0 < timing.gain(size=50, products=2) < math.inf


def test_runs_that_missed_are_never_and_have_no_ratio():
    found = timing.Rounds([{"gpucnn": 2.0, "b": 4.0}, {"gpucnn": 3.0, "b": math.inf}, {"gpucnn": 1.0, "b": math.inf}])
    row = rows.row(HEAD, found, ["gpucnn", "b"], "seconds")
    assert row["ratio"] == {"median": 0.5, "min": 0.5, "max": 0.5}
    assert row["seconds"]["b"] == {"median": None, "min": 4.0, "max": None}
    assert "gpucnn 2 [1..3] s  b never [4..never] s" in rows.line(row)


def test_where_nobody_reached_it_that_is_said():
    found = timing.Rounds([{"gpucnn": math.inf, "b": math.inf}, {"gpucnn": math.inf, "b": 3.0}])
    row = rows.row(HEAD, found, ["gpucnn", "b"], "seconds") | {"misses": {"gpucnn": 2, "b": 1}}
    said = summary({"mode": "time-to", "rows": [row]}).splitlines()
    assert said[0] == "gpucnn and b cannot be compared: both reached it with none of the seeds."
    assert said[1:3] == ["gpucnn missed it in 2 runs.", "b missed it in 1 run."]


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(others, "installed", lambda name: False)


def test_without_torch_there_are_our_figures_and_a_sentence(alone):
    shown = []
    found = steps.steps(["single-filter"], [2, 4], QUICK, shown.append, apart=False)
    assert any("PyTorch is not installed" in each for each in found["notes"])
    assert any("PyTorch is not installed" in each for each in shown)
    assert [(row["what"], row["batch"]) for row in found["rows"]] == [
        ("training step", 2),
        ("training step", 4),
        ("inference", 6),
    ]
    assert all(row["ratio"] is None and list(row["milliseconds"]) == ["gpucnn"] for row in found["rows"])
    assert found["environment"]["blas"]
    json.dumps(found, allow_nan=False)


@needs_torch
def test_beside_torch_both_memory_formats_are_timed():
    found = steps.steps(["avgpool-96"], [3], QUICK, lambda text: None, apart=False)
    for row in found["rows"]:
        assert set(row["milliseconds"]) == {"gpucnn", *others.FORMATS}
        assert row["peer"] in others.FORMATS
        assert row["ratio"]["min"] <= row["ratio"]["median"] <= row["ratio"]["max"]
    json.dumps(found, allow_nan=False)


OWN = """
from dataclasses import dataclass

from gpucnn import Network
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.networks import Entry, Recipe
from gpucnn.optimizers import SGD

@dataclass(frozen=True)
class Halved:
    layers: tuple = ()

    def out_shape(self, in_shape): return in_shape
    def init(self, in_shape, rng): return {}
    def forward(self, params, x, context): return 0.5 * x, None
    def backward(self, params, _, dy, context, *, need_dx=True): return 0.5 * dy, {}

class Mine(SoftmaxCrossEntropy): pass
class Slower(SGD): pass

def tiny(input_shape=(28, 28, 1), classes=10):
    return Network(input_shape, (Conv2D(2, 5), Halved(), MaxPool2D(4), Flatten(), Dense(classes)))

def plain(input_shape=(28, 28, 1), classes=10): return Network(input_shape, (Flatten(), Dense(classes)))
def long(): return Network((28, 28, 1), (Halved(tuple(ReLU() for _ in range(40))), Flatten(), Dense(10)))

loss = Entry(plain, "mine", Recipe(SGD(), 0.01), Mine())
rule = Entry(plain, "mine", Recipe(Slower(), 0.01))
"""


@pytest.fixture
def own_nets(tmp_path, monkeypatch):
    (tmp_path / "bench_nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("bench_nets", None)


LEFT_OUT = "PyTorch is left out: layer 1: Halved() has no equal in PyTorch here"


def alone_and_said(row, text):
    """A row of gpucnn's figures alone."""
    unit = next(name for name in rows.UNITS if name in row)
    assert list(row[unit]) == ["gpucnn"]
    assert row[unit]["gpucnn"]["median"] > 0
    assert (row["peer"], row["ratio"]) == (None, None)
    return text in json.dumps(row)


@needs_torch
@pytest.mark.parametrize("apart", [True, False])
def test_a_layer_that_torch_lacks_leaves_it_out_of_the_row(own_nets, apart):
    shown = []
    found = steps.steps(["bench_nets:tiny"], [3], QUICK, shown.append, apart=apart)
    assert [alone_and_said(row, LEFT_OUT) for row in found["rows"]] == [True, True]
    assert all(LEFT_OUT in each for each in shown[-2:])


@needs_torch
def test_a_layer_that_torch_lacks_leaves_it_out_of_scaling(own_nets):
    found = scaling.scaling("bench_nets:tiny", [2], [12], QUICK, lambda text: None)
    assert [alone_and_said(row, LEFT_OUT) for row in found["rows"]] == [True, True]


@needs_torch
def test_a_loss_that_torch_lacks_leaves_it_out(own_nets):
    (row, _) = steps.steps(["bench_nets:loss"], [2], QUICK, lambda text: None, apart=False)["rows"]
    assert alone_and_said(row, "PyTorch is left out: Mine() has no equal in PyTorch here")


@needs_torch
def test_a_layer_that_torch_lacks_leaves_it_out_of_memory(own_nets):
    shown = []
    found = memory.memory("bench_nets:tiny", 8, dataclasses.replace(QUICK, rounds=1), shown.append)
    alone_and_said(found["rows"][0], "")
    assert LEFT_OUT in found["notes"]
    assert LEFT_OUT in shown


@needs_torch
@pytest.mark.parametrize(
    ("network", "note"),
    [("bench_nets:tiny", LEFT_OUT), ("bench_nets:rule", "PyTorch is left out: Slower"), ("bench_nets:plain", None)],
)
def test_what_torch_lacks_leaves_it_out_of_time_to(own_nets, monkeypatch, network, note):
    asked = set()

    def run(task, **arguments):
        asked.add(task)
        return {"reached": True, "epochs": 1, "accuracy": 0.5}, 2.0

    monkeypatch.setattr(process, "run", run)
    found = time_to.time_to(0.4, "digits", network, QUICK, lambda text: None)
    assert asked == {"until:ours"} | ({"until:torch"} if note is None else set())
    if note is not None:
        alone_and_said(found["rows"][0], "")
        assert any(each.startswith(note) for each in found["notes"])


@pytest.mark.parametrize(
    ("loss", "shape", "values"),
    [(SoftmaxCrossEntropy(), (8,), {0, 1, 2}), (MultiLabelCrossEntropy(), (8, 3), {0, 1}), (Huber(), (8, 3), None)],
)
def test_targets_are_what_the_loss_is_of(monkeypatch, loss, shape, values):
    made = networks.Entry(networks.softmax_regression, "-", networks.entry("fast").recipe, loss, classes=3)
    monkeypatch.setitem(networks.NETWORKS, "of-the-loss", made)
    case = candidates.Case.of("of-the-loss", 8, networks.softmax_regression(classes=3))
    assert case.labels.shape == shape
    assert values is None or {*np.unique(case.labels)} <= values
    loss(np.zeros((8, 3), "float32"), case.labels)


@needs_jax
def test_what_jax_lacks_is_said_before_a_step(own_nets):
    from gpucnn.report.bench.candidates import Case

    for name, says in {"tiny": r"Halved\(\)", "loss": r"Mine\(\)"}.items():
        case = Case.of(f"bench_nets:{name}", 2)
        with pytest.raises(SettingError, match=f"^{says} has no equal in JAX here"):
            jax_peer.training(case.network, case.loss, case.images, case.labels, "cpu", 0.01)


def test_a_long_name_is_cut_in_the_table(own_nets):
    shown = []
    found = profile.profile("bench_nets:long", 4, QUICK, shown.append)
    assert len(found["rows"][0]["milliseconds"][1]["layer"]) > 200
    row = next(line for line in shown[-1].splitlines() if "Halved" in line)
    assert row.startswith("0 Halved(layers=(ReLU(")
    assert row.split("...")[0] + "..." == row[: profile.WIDEST]


def test_scaling_goes_over_batches_and_then_over_pixels(alone):
    found = scaling.scaling("single-filter", [2, 3], [8, 12], QUICK, lambda text: None)
    assert [(row["batch"], row["input"]) for row in found["rows"]] == [
        (2, [28, 28, 1]),
        (3, [28, 28, 1]),
        (scaling.PIXEL_BATCH, [8, 8, 1]),
        (scaling.PIXEL_BATCH, [12, 12, 1]),
    ]
    row = found["rows"][-1]
    expected = 1e6 * row["milliseconds"]["gpucnn"]["median"] / (scaling.PIXEL_BATCH * 144)
    assert row["nanoseconds_per_pixel"]["gpucnn"] == pytest.approx(expected)
    images, pixels = found["evenness"]
    assert list(images["microseconds_per_image"]) == ["2 of 28x28x1", "3 of 28x28x1"]
    assert list(pixels["nanoseconds_per_pixel"]) == ["128 of 8x8x1", "128 of 12x12x1"]
    assert 0 <= images["farthest_from_mean"] < 1
    of_eight = pixels["nanoseconds_per_pixel"]["128 of 8x8x1"]["median"]
    assert 0.1 < of_eight / found["rows"][2]["nanoseconds_per_pixel"]["gpucnn"] < 10  # the same unit


def test_a_profile_has_every_layer_as_it_runs():
    shown = []
    found = profile.profile("two-conv", 70, QUICK, shown.append)  # more than one shard
    (row,) = found["rows"]
    of = {each["layer"]: each for each in row["milliseconds"]}
    assert list(of) == [
        *("input", "0 Conv2D(8, 5, flip=True) + ReLU() + MaxPool2D(2)"),
        *("1 Conv2D(16, 5, flip=True) + ReLU() + MaxPool2D(2)", "2 Flatten()", "3 Dense(128) + ReLU()"),
        *("4 Dense(10)", "loss"),
    ]
    assert row["sum"] == pytest.approx(sum(each["forward"] + each["backward"] for each in of.values()))
    assert sum(each["share"] for each in of.values()) == pytest.approx(1)
    assert 0 < row["sum"] < 10 * row["step"]
    dense = of["4 Dense(10)"]
    assert dense["multiply_adds_per_second"] == pytest.approx(
        1e3 * 3 * 70 * 128 * 10 / (dense["forward"] + dense["backward"])
    )
    assert of["input"]["backward"] == of["input"]["multiply_adds_per_second"] == 0
    assert "whole step" in shown[-1]
    json.dumps(found, allow_nan=False)


def test_a_profile_leaves_out_the_gradient_of_the_input():
    """What the first layer with parameters is not asked for is not counted either."""
    (row,) = profile.profile("softmax-regression", 4, QUICK, lambda text: None)["rows"]
    flatten, dense = row["milliseconds"][1:3]
    assert (flatten["layer"], flatten["backward"]) == ("0 Flatten()", 0)
    assert dense["multiply_adds_per_second"] == pytest.approx(
        1e3 * 2 * 4 * 7840 / (dense["forward"] + dense["backward"])
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: steps.steps(["no-such"], [2], QUICK),
        lambda: steps.steps(["fast"], [0], QUICK),
        lambda: profile.profile("fast", 0),
        lambda: scaling.scaling("fast", [], [28], QUICK),
        lambda: BenchOptions(rounds=0),
        lambda: time_to.time_to(1.5),
        lambda: memory.memory(batch=0),
    ],
)
def test_wrong_settings_are_refused_before_the_work(call):
    with pytest.raises(SettingError):
        call()


def test_a_goal_begins_its_schedule_again_and_knows_a_miss():
    cycles = []

    def cycle(epochs, number):
        cycles.append((epochs, number))
        for _ in range(epochs):
            goal.seen(0.1 * (goal.epochs + 1))

    goal = until.Goal(0.4)
    assert goal.pursue(cycle, 3, 5) == {"reached": True, "epochs": 4, "accuracy": pytest.approx(0.4)}
    assert cycles == [(3, 0), (2, 1)]
    goal = until.Goal(0.9)
    assert goal.pursue(cycle, 2, 3) == {"reached": False, "epochs": 3, "accuracy": pytest.approx(0.3)}


COMMON = {"network": "softmax-regression", "data": "digits", "seed": 0, "device": "cpu", "threads": 1}


def test_a_task_ends_with_the_process_that_asked_for_it():
    arguments = {**COMMON, "accuracy": 1.0, "epochs": 10**9}
    command = [sys.executable, "-m", "gpucnn.report.bench.process", "until:ours", json.dumps(arguments), process.BOUND]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as task:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                task.wait(2)
            task.stdin.close()
            assert task.wait(30) == process.ABANDONED
        finally:
            task.kill()


def test_our_training_task_reaches_or_misses():
    found = until.ours(**COMMON, accuracy=0.3, epochs=4)
    assert found["reached"]
    assert found["epochs"] <= 4
    missed = until.ours(**COMMON, accuracy=1.0, epochs=1)
    assert (missed["reached"], missed["epochs"]) == (False, 1)


@needs_torch
def test_torch_trains_as_we_do():
    """From the same weights, one epoch apart in nothing but the batch order."""
    theirs = until.torch(**COMMON, accuracy=1.0, epochs=2, channels_last=True)
    ours = until.ours(**COMMON, accuracy=1.0, epochs=2)
    assert theirs["accuracy"] == pytest.approx(ours["accuracy"], abs=0.1)


def test_time_to_counts_misses_and_reruns(monkeypatch, alone):
    def run(task, *, seed, **arguments):
        assert task == "until:ours"
        return {"reached": seed != 1, "epochs": 1, "accuracy": 0.5}, 2.0 + seed

    monkeypatch.setattr(process, "run", run)
    shown = []
    found = time_to.time_to(0.4, "digits", "fast", dataclasses.replace(QUICK, rounds=3), shown.append)
    (row,) = found["rows"]
    assert row["misses"] == {"gpucnn": 1}
    assert row["seconds"]["gpucnn"] == {"median": 4.0, "min": 2.0, "max": None}
    assert [each["seconds"] for each in row["runs"]["gpucnn"]] == [2.0, 3.0, 4.0]
    assert "gpucnn missed 40.00% in 1 of 3 runs" in shown
    json.dumps(found, allow_nan=False)


def test_each_row_has_a_process_of_its_own(monkeypatch, alone):
    asked, run, shown = [], process.run, []

    def noted(task, **arguments):
        asked.append((task, arguments["network"], arguments["batch"]))
        return run(task, **arguments)

    monkeypatch.setattr(process, "run", noted)
    found = steps.steps(["single-filter"], [3], QUICK, shown.append)
    assert asked == [("steps:alone", "single-filter", 3), ("steps:alone", "single-filter", None)]
    assert [(row["what"], row["batch"]) for row in found["rows"]] == [("training step", 3), ("inference", 6)]
    assert all(row["milliseconds"]["gpucnn"]["median"] > 0 for row in found["rows"])
    assert steps.OWN in shown
    assert steps.OWN in found["notes"]
    json.dumps(found, allow_nan=False)


def test_memory_is_read_in_a_process_of_its_own(alone):
    found = memory.memory("single-filter", 64, QUICK, lambda text: None)
    size = found["rows"][0]["megabytes"]["gpucnn"]["median"]
    assert 1 < size < 200


@needs_torch
def test_torch_memory_task_answers():
    found, seconds = process.run("memory:torch", network="single-filter", batch=8, threads=1, channels_last=True)
    assert found["bytes"] >= memory.LEAST
    assert seconds > 0


def test_a_process_that_fails_says_why():
    with pytest.raises(GpucnnError, match=r"until:ours for fast failed: .*no-such-data"):
        process.run("until:ours", **{**COMMON, "network": "fast", "data": "no-such-data"}, accuracy=0.5, epochs=1)


def test_equal_seeds_start_both_sides_from_the_same_weights():
    network = networks.build("fast")
    weights, _ = np.random.SeedSequence(3).spawn(2)
    params = network.init(network.input_shape, generator(weights))
    np.testing.assert_allclose(
        Model("fast", device="cpu", seed=3).parameters["1/kernel"], params["1"]["kernel"], rtol=1e-6
    )
