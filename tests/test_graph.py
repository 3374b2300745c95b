"""The step on CUDA: the plain step's numbers, launched kernel by kernel and as a recorded graph."""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from dataclasses import dataclass

import fake_cuda as fake
import numpy as np
import pytest
from conftest import usable_gpu
from fake_cuda import fake_cuda

from gpucnn import Model, networks
from gpucnn.command import main
from gpucnn.data import load
from gpucnn.device import Device
from gpucnn.engine import execution
from gpucnn.engine.acceleration import Acceleration
from gpucnn.engine.recorded import WARM, RecordedStep
from gpucnn.errors import DeviceError, SettingError
from gpucnn.kernels.cuda import compiling, cublas, layers
from gpucnn.kernels.cuda.step import CudaKernels
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.network import Network
from gpucnn.optimizers import SGD, Adam, AdamW
from gpucnn.report.bench import candidates, kernels, others, profile, steps
from gpucnn.report.bench.session import BenchOptions, Session
from gpucnn.report.compare import CompareOptions, backends, compare
from gpucnn.report.timing import Candidate

pytestmark = pytest.mark.usefixtures("blank_pictures")

__all__ = ["fake_cuda"]

SMALL = Network((8, 8, 1), (Conv2D(2, 3, flip=True), ReLU(), MaxPool2D(), Flatten(), Dense(3)))
OPTIMIZERS = [SGD(), SGD(momentum=0.9, weight_decay=0.01), SGD(momentum=0.9, nesterov=True), Adam(), AdamW()]
needs_gpu = pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")


def data(network: Network, images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (images, *network.input_shape), dtype=np.uint8)
    return pixels, rng.integers(0, network.shapes()[-1][0], images)


def trained(network, optimizer, device, steps=10, size=6, loss=None, images=None, **options):
    """Losses of each step and theta after all, on the host; the last step of each four is of a smaller batch."""
    model = Model(network, loss=loss, device=device, dtype=options.pop("dtype", "float64"), threads=1, **options)
    pixels, labels = data(model.network)
    step, put, fetch = model.execution.step(model.loss, optimizer), model.device.put, model.device.fetch
    stored, targets = put(pixels if images is None else images), put(labels)
    order, losses = np.random.default_rng(9), []
    for number in range(steps):
        batch = order.permutation(len(labels))[: size if number % 4 < 3 else size - 2]
        losses.append(step(stored, targets, put(batch), 0.05 / (number + 1)))
    return np.concatenate([fetch(each) for each in losses]), fetch(model.theta), step


@pytest.mark.parametrize("graph", [pytest.param(False, marks=pytest.mark.slow), True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", ["single-filter", "two-conv", "layered", "avgpool-96", "binary-sigmoid", "fast"])
def test_ten_steps_of_named_networks(name, graph, fake_cuda):
    entry = networks.entry(name)
    network = networks.build(name)
    expected = trained(network, SGD(momentum=0.9), "cpu", loss=entry.loss)
    found = trained(network, SGD(momentum=0.9), "cuda", loss=entry.loss, graph=graph)
    assert (getattr(found[2], "_recorded", None) is not None) == graph
    for a, b in zip(found[:2], expected[:2]):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_every_optimizer(optimizer, graph, fake_cuda):
    expected = trained(SMALL, optimizer, "cpu", steps=14)
    found = trained(SMALL, optimizer, "cuda", steps=14, graph=graph)
    for a, b in zip(found[:2], expected[:2]):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_steps_with_norms_of_the_batch(graph, fake_cuda):
    """Of batches of 6, and of 4, whose running statistics come out of the graph too."""
    layers = (Conv2D(4, 3, bias=None), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(5), BatchNorm(), Dense(3))
    network, states = Network((8, 8, 1), layers), []
    for device, options in (("cpu", {}), ("cuda", {"graph": graph})):
        losses, theta, step = trained(network, SGD(momentum=0.9), device, steps=14, **options)
        program = step.whole.program if isinstance(step, RecordedStep) else step.program
        states.append((losses, theta, np.asarray(program.state)))
    assert (getattr(step, "_recorded", None) is not None) == graph
    for a, b in zip(*states):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_the_graph_gives_the_bits_of_the_eager_step(fake_cuda):
    eager = trained(networks.build("two-conv"), Adam(), "cuda", graph=False, dtype="float32")
    graph = trained(networks.build("two-conv"), Adam(), "cuda", graph=True, dtype="float32")
    assert graph[2]._recorded.recording._graph.launches == 6
    for a, b in zip(graph[:2], eager[:2]):
        np.testing.assert_array_equal(a, b)


def test_images_of_floats_are_taken_as_they_are(fake_cuda):
    images = np.random.default_rng(0).random((40, 8, 8, 1))
    expected = trained(SMALL, Adam(), "cpu", images=images)
    found = trained(SMALL, Adam(), "cuda", images=images, graph=False)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)


class Rig:
    """A step on the fake device, and what it is called with."""

    def __init__(self, optimizer=None, **options):
        self.model = Model(SMALL, device="cuda", dtype="float64", **({"graph": True} | options))
        self.step = self.model.execution.step(self.model.loss, optimizer or SGD())
        pixels, labels = data(SMALL)
        self.images, self.labels = self.model.device.put(pixels), self.model.device.put(labels)

    def __call__(self, size=6, images=None):
        return self.step(self.images if images is None else images, self.labels, fake.asarray(np.arange(size)), 0.1)

    @property
    def launches(self):
        return self.step._recorded.recording._graph.launches


def test_a_graph_is_recorded_after_the_warm_steps(fake_cuda):
    rig = Rig()
    for _ in range(WARM):
        rig()
        assert rig.step._recorded is None
    rig()
    rig()
    assert rig.launches == 2


def test_other_batch_sizes_run_kernel_by_kernel(fake_cuda):
    rig = Rig()
    for size in (6, 6, 6, 4, 4, 4, 4, 6):
        assert rig(size).shape == (size,)
    assert rig.launches == 2


def test_other_images_are_recorded_anew(fake_cuda):
    rig = Rig()
    for _ in range(4):
        rig()
    before, others = rig.step._recorded, fake.asarray(255 - rig.images)
    plain = Rig(graph=False)
    plain.model.theta[...] = rig.model.theta
    np.testing.assert_allclose(rig(images=others), plain(images=others), rtol=1e-12)
    assert rig.step._recorded is not before
    np.testing.assert_allclose(rig(images=others), plain(images=others), rtol=1e-12)
    assert rig.launches == 2


def test_losses_are_not_written_over_by_the_next_step(fake_cuda):
    rig = Rig()
    for _ in range(4):
        losses = rig()
    kept = losses.copy()
    rig()
    np.testing.assert_array_equal(losses, kept)


def test_the_recordings_memory_lives_as_long_as_it_does(fake_cuda):
    rig = Rig()
    for _ in range(3):
        rig()
    gc.collect()
    others = [fake.empty((100_000,), np.float64) for _ in range(20)]  # would take freed memory
    assert np.isfinite(rig()).all()
    assert np.isfinite(rig.model.theta).all()
    assert len(others) == 20


def test_memory_that_is_free_is_given_back_before_a_recording(fake_cuda, monkeypatch):
    """The recording takes its own: both together may not fit."""
    freed, pool = [], sys.modules["cupy"].get_default_memory_pool()
    monkeypatch.setattr(pool, "free_all_blocks", lambda: freed.append(fake.recorded))
    rig = Rig()
    for _ in range(WARM + 2):
        rig()
    assert freed == [None]


def test_a_recording_that_does_not_fit_leaves_the_step_eager(fake_cuda, monkeypatch):
    expected = trained(SMALL, SGD(), "cpu")

    def full(size):
        raise MemoryError("out of memory allocating 9 bytes")

    monkeypatch.setattr(sys.modules["cupy"].cuda, "Memory", full)
    with pytest.warns(UserWarning, match=r"no CUDA graph: recording the step failed \(MemoryError: out of memory"):
        found = trained(SMALL, SGD(), "cuda")
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)


def test_no_garbage_is_collected_while_recording(fake_cuda):
    seen = []
    Device("cuda").record(lambda: seen.append(gc.isenabled()))
    assert [*seen, gc.isenabled()] == [False, True]


def test_the_learning_rate_is_read_anew_by_every_replay(fake_cuda):
    rig = Rig()
    for _ in range(4):
        rig()
    before = rig.model.theta.copy()
    rig.step(rig.images, rig.labels, fake.asarray(np.arange(6)), 0.0)
    np.testing.assert_array_equal(rig.model.theta, before)


@dataclass(frozen=True)
class MySGD(SGD):
    """Not the class that has a kernel."""


@dataclass(frozen=True)
class MyReLU(ReLU):
    """A layer, or what a user made of one."""


@dataclass(frozen=True)
class MyLoss(SoftmaxCrossEntropy):
    """A loss of a user's own."""


@pytest.mark.parametrize(
    ("layer", "loss", "optimizer", "name"),
    [
        (ReLU(), None, MySGD(momentum=0.9), "MySGD"),
        (MyReLU(), None, SGD(momentum=0.9), "MyReLU"),
        (Network((6, 6, 2), (MyReLU(),)), None, SGD(momentum=0.9), "MyReLU"),
        (ReLU(), MyLoss(), SGD(momentum=0.9), "MyLoss"),
    ],
    ids=str,
)
def test_what_is_not_gpucnns_own_is_not_recorded(layer, loss, optimizer, name, fake_cuda):
    network = Network((8, 8, 1), (Conv2D(2, 3), layer, MaxPool2D(), Flatten(), Dense(3)))
    with pytest.warns(UserWarning, match=f"no CUDA graph: {name} is not gpucnn's own"):
        found = trained(network, optimizer, "cuda", graph=True, loss=loss)
    expected = trained(network, SGD(momentum=0.9), "cpu")
    assert found[2]._recorded is None
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)


def test_a_step_that_waits_for_the_device_is_not_recorded(fake_cuda, monkeypatch):
    take = CudaKernels.take
    monkeypatch.setattr(CudaKernels, "take", lambda *arguments: [take(*arguments), fake.asnumpy(arguments[1])][0])
    expected = trained(SMALL, SGD(), "cpu")
    with pytest.warns(UserWarning, match=r"no CUDA graph: recording the step failed .*CaptureUnsupported"):
        found = trained(SMALL, SGD(), "cuda", graph=True)
    assert found[2]._recorded is None
    assert fake.recorded is None
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("graph", [False, True])
def test_fit_and_evaluate(graph, fake_cuda):
    pixels, labels = data(SMALL, 50)
    options = {"epochs": 3, "batch_size": 8, "optimizer": "adam", "validation": (pixels[:10], labels[:10])}
    ours = Model(SMALL, device="cuda", dtype="float64", graph=graph)
    plain = Model(SMALL, device="cpu", dtype="float64", threads=1)
    found, expected = (model.fit(pixels, labels, **options) for model in (ours, plain))
    for a, b in zip(found.epochs, expected.epochs, strict=True):
        np.testing.assert_allclose(
            (a.train_loss, a.validation_loss, a.lr), (b.train_loss, b.validation_loss, b.lr), rtol=1e-9
        )
    np.testing.assert_allclose(ours.logits(pixels), plain.logits(pixels), rtol=1e-8, atol=1e-10)


def test_losses_are_fetched_many_at_a_time(fake_cuda, monkeypatch):
    fetched, fetch = [], Device.fetch
    pixels, labels = data(SMALL, 480)
    Model(SMALL, device="cuda").fit(pixels[:4], labels[:4], epochs=1, batch_size=4)  # compiles: losses wait no second
    monkeypatch.setattr(Device, "fetch", lambda device, array: fetched.append(array.shape) or fetch(device, array))
    Model(SMALL, device="cuda", graph=True).fit(pixels, labels, epochs=1, batch_size=4)
    assert fetched == [(50,), (50,), (20,)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"graph": True}, "a CUDA graph .* needs a CUDA device, and this is the CPU; leave it out"),
        ({"kernels": "cudnn"}, "kernels 'cudnn' .* needs a CUDA device"),
        ({"precision": "tf32"}, "precision 'tf32' .* needs a CUDA device"),
        ({"precision": "float16"}, "precision 'float16': one of float32, tf32, bfloat16 was expected"),
        (
            {"kernels": "fast"},
            "kernels 'fast': one of default, reference, numba, cudnn, winograd, columns was expected",
        ),
    ],
)
def test_what_the_cpu_has_not_is_said(options, said):
    with pytest.raises(SettingError, match=said):
        Model("softmax-regression", device="cpu", **options)


@pytest.mark.parametrize("option", [["--graph"], ["--kernels", "cudnn"], ["--precision", "bfloat16"]], ids=" ".join)
def test_the_command_says_so_too(option, monkeypatch, capsys, tmp_path):
    arguments = ["gpucnn", "train", "softmax-regression", "--device", "cpu", "--out", str(tmp_path / "run"), *option]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 1
    error = capsys.readouterr().err
    assert option[0] in error
    assert "needs a CUDA device, and this is the CPU; leave it out, or use a GPU" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option", [[], ["--no-graph"], ["--graph"], ["--precision", "tf32"], ["--kernels", "reference"]], ids=" ".join
)
def test_the_command_trains_with_them(option, fake_cuda, monkeypatch, capsys, tmp_path):
    arguments = ["softmax-regression", "--device", "cuda", "--epochs", "1", "--out", str(tmp_path / "run"), "--json"]
    monkeypatch.setattr("sys.argv", ["gpucnn", "train", *arguments, *option])
    assert main() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"] > 0.5


def test_float64_has_one_precision(fake_cuda):
    with pytest.raises(SettingError, match="precision 'tf32' is a way to multiply float32 numbers"):
        Model(SMALL, device="cuda", dtype="float64", precision="tf32")


def test_the_default_is_the_fast_path(fake_cuda):
    rig = Rig(graph=None)
    assert rig.model.execution.context.kernels.name == "cuda"
    assert isinstance(rig.step, RecordedStep)
    for _ in range(WARM + 2):
        rig()
    assert rig.launches == 2


@pytest.mark.parametrize(
    ("options", "name", "recorded"),
    [
        ({}, "cuda", True),
        ({"graph": False}, "cuda", False),
        ({"precision": "tf32"}, "cuda", True),
        ({"kernels": "reference"}, "reference", False),
        ({"kernels": "reference", "graph": False}, "reference", False),
    ],
    ids=str,
)
def test_what_runs_on_cuda(options, name, recorded, fake_cuda):
    execution = Model(SMALL, device="cuda", **options).execution
    assert (execution.context.kernels.name, execution.is_recorded) == (name, recorded)
    assert isinstance(execution.step(SoftmaxCrossEntropy(), SGD()), RecordedStep) == recorded


@pytest.mark.parametrize("kernels", ["default", "reference"])
@pytest.mark.parametrize("graph", [None, False])
def test_what_runs_on_the_cpu_is_not_recorded(kernels, graph):
    assert not Model(SMALL, device="cpu", kernels=kernels, graph=graph).execution.is_recorded


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"graph": True}, r"a CUDA graph .* needs gpucnn's own kernels; leave it out, or kernels 'reference'"),
        ({"precision": "tf32"}, "precision 'tf32' .* needs gpucnn's own kernels"),
    ],
)
def test_the_reference_has_no_graph_and_one_precision(options, said, fake_cuda):
    with pytest.raises(SettingError, match=said):
        Model(SMALL, device="cuda", kernels="reference", **options)


class _CompileError(Exception):
    """As CuPy's: its text is the compiler's log."""


def broken_compiler(monkeypatch):
    def failing(*_: object, **__: object) -> None:
        raise _CompileError("kernels.cu(3): error: identifier is undefined\n1 error detected")

    monkeypatch.setattr(sys.modules["cupy"], "RawModule", failing)


def test_where_kernels_do_not_compile_the_equations_compute(fake_cuda, monkeypatch):
    expected = trained(SMALL, SGD(momentum=0.9), "cpu")
    broken_compiler(monkeypatch)
    with pytest.warns(UserWarning, match="do not start") as seen:
        found = trained(SMALL, SGD(momentum=0.9), "cuda")
    assert [str(each.message) for each in seen] == [
        "gpucnn's CUDA kernels do not start on cuda:0 (_CompileError: kernels.cu(3): error: identifier is undefined); "
        "the equations are computed on CuPy's arrays, which is slower; run `gpucnn doctor`"
    ]
    assert seen[0].filename == __file__
    assert not isinstance(found[2], RecordedStep)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)


def test_a_kernel_that_does_not_compile_later_is_a_sentence(fake_cuda, monkeypatch):
    module = sys.modules["cupy"].RawModule

    class Broken(module):
        def get_function(self, name):
            if name == "sgd":
                raise _CompileError("kernels.cu(3): error: too much shared data")
            return super().get_function(name)

    monkeypatch.setattr(sys.modules["cupy"], "RawModule", Broken)
    said = r"the CUDA kernel sgd does not start \(_CompileError: .*too much shared data\); .* kernels 'reference'"
    with pytest.raises(DeviceError, match=said):
        trained(SMALL, SGD(), "cuda")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"graph": True}, r"and a CUDA graph .* needs them; run `gpucnn doctor`"),
        ({"precision": "tf32"}, r"precision 'tf32' \(--precision\) needs them"),
    ],
)
def test_what_was_asked_for_is_not_replaced(options, said, fake_cuda, monkeypatch):
    broken_compiler(monkeypatch)
    with pytest.raises(DeviceError, match=f"do not start on cuda:0 .*{said}"):
        Model(SMALL, device="cuda", **options)


def test_too_little_memory_is_not_taken_for_a_broken_compiler(fake_cuda, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError("4 bytes")

    monkeypatch.setattr(sys.modules["cupy"], "empty", full)
    with pytest.raises(MemoryError):
        Model(SMALL, device="cuda")


def test_a_missing_cublas_keeps_the_step_eager(fake_cuda, monkeypatch):
    """CuPy refuses its own products while a graph is recorded."""
    expected = trained(SMALL, SGD(), "cpu")

    def matmul(a, b):
        if fake.recorded is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return np.matmul(a, b)

    monkeypatch.setattr(cublas, "load", lambda: None)
    monkeypatch.setattr(layers, "SMALL", 0)  # all products are cuBLAS's
    monkeypatch.setattr(sys.modules["cupy"], "matmul", matmul)
    with pytest.warns(UserWarning, match="no CUDA graph: .*cuBLAS API during stream capture") as seen:
        found = trained(SMALL, SGD(), "cuda")
    assert len(seen) == 1
    assert found[2]._recorded is None
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-11)


def test_an_obstacle_is_said_once_by_a_model(fake_cuda):
    model = Model(Network((8, 8, 1), (MyReLU(), Flatten(), Dense(3))), device="cuda")
    with pytest.warns(UserWarning, match="no CUDA graph: MyReLU is not gpucnn's own") as seen:
        steps_ = [model.execution.step(model.loss, optimizer) for optimizer in (SGD(), Adam(), MySGD())]
    assert len(seen) == 1
    assert all(each.obstacle.startswith("MyReLU is not") for each in steps_)


def test_the_vectors_on_a_gpu_stay_where_they_are_after_a_fork(fake_cuda):
    """CUDA does not work in the child, and a copy there would fail."""
    on_gpu, on_cpu = Model(SMALL, device="cuda"), Model(SMALL, device="cpu")
    before = on_gpu.execution.theta, on_cpu.execution.theta
    execution._keep_apart()
    assert on_gpu.execution.theta is before[0]
    assert on_cpu.execution.theta is not before[1]


@pytest.fixture
def said(monkeypatch):
    """What the user is told while kernels are compiled."""
    found: list[str] = []
    monkeypatch.setattr(compiling, "tell", lambda: found.append("compiling"))
    monkeypatch.setattr(compiling, "_compiled", 0.0)
    return found


def until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_compiler_that_takes_long_is_announced_once(said, monkeypatch):
    monkeypatch.setattr(compiling, "PATIENCE", 0.05)
    for _ in range(2):
        with compiling.announced():
            until(lambda: said)
    assert said == ["compiling"]


def test_many_kernels_that_take_long_together_are_announced(said, monkeypatch):
    """Each alone would not be."""
    monkeypatch.setattr(compiling, "PATIENCE", 1e6)
    for _ in range(2):
        with compiling.announced():
            time.sleep(2 * compiling.LOADED)
    assert compiling._compiled >= 4 * compiling.LOADED
    monkeypatch.setattr(compiling, "PATIENCE", compiling._compiled)
    with compiling.announced():
        until(lambda: said)
    assert said == ["compiling"]


def test_kernels_that_are_loaded_are_not_announced(said, monkeypatch):
    monkeypatch.setattr(compiling, "LOADED", 1e6)
    monkeypatch.setattr(compiling, "PATIENCE", 0.0)
    with compiling.announced():
        pass
    assert (said, compiling._compiled) == ([], 0.0)


def test_the_command_announces_it(fake_cuda, monkeypatch, capsys, tmp_path):
    """By the library alone nothing is said."""
    Model(SMALL, device="cuda")
    module = sys.modules["cupy"].RawModule

    class Slow(module):
        def get_function(self, name):
            until(lambda: compiling.tell is None)
            return super().get_function(name)

    monkeypatch.setattr(compiling, "PATIENCE", 0.05)
    monkeypatch.setattr(compiling, "tell", None)
    monkeypatch.setattr(sys.modules["cupy"], "RawModule", Slow)
    arguments = ["softmax-regression", "--device", "cuda", "--epochs", "1", "--out", str(tmp_path / "run"), "--json"]
    monkeypatch.setattr("sys.argv", ["gpucnn", "train", *arguments])
    assert main() == 0
    assert capsys.readouterr().err.count("compiling CUDA kernels (once per machine) ...\n") == 1


def test_bench_times_the_other_kernels(fake_cuda):
    options = BenchOptions(device="cuda", all_kernels=True, threads=1, rounds=1, images=12, needed=0, budget=0)
    for batch in (6, None):
        row = steps.timed(Session(options), candidates.Case.of("single-filter", 12), batch)
        expected = {name for name, how in candidates.MORE.items() if how.kernels not in ("numba", "cudnn")}
        assert set(candidates.MORE) & set(row["milliseconds"]) == expected
        assert all(row["milliseconds"].values())
        assert row["peer"] not in (candidates.RESIDENT, *candidates.MORE)
        assert (candidates.RESIDENT in row["milliseconds"]) == (batch is None)


def test_bench_times_many_steps_at_once_as_training_does_them(fake_cuda):
    session = Session(BenchOptions(device="cuda", threads=1, rounds=1, needed=0, budget=0))
    case = candidates.Case.of("softmax-regression", 60)
    model = candidates.model_of(session, case, Acceleration())
    found = [candidates.our_step(model, case, batch) for batch in (6, 7)]
    assert [each.each for each in found] == [10, 1]  # of 7, there are not ten
    before = np.array(model.theta)
    found[0].once()
    assert (before != np.array(model.theta)).any()
    tenth = Candidate(lambda: time.sleep(0.02), wait=lambda: None, each=10)
    assert 0.002 <= tenth.block(2) < 0.02


def test_bench_times_images_that_lie_on_the_gpu(fake_cuda):
    session = Session(BenchOptions(device="cuda", threads=1, rounds=1, needed=0, budget=0))
    case = candidates.Case.of("single-filter", 12)
    found = candidates.inference(session, case)[0][candidates.RESIDENT]
    fake.Array.sent.clear()
    with found.around():
        logits = np.concatenate(found.call())
    assert fake.Array.sent == []
    model = candidates.model_of(session, case, Acceleration())
    np.testing.assert_allclose(logits, model.logits(case.images), rtol=1e-5, atol=1e-6)


def test_a_profile_on_cuda(fake_cuda):
    options, shown = BenchOptions(device="cuda", all_kernels=True, rounds=1), []
    rows = profile.profile("single-filter", 6, options, shown.append)["rows"]
    found = {row["kernels"]: row for row in rows}
    assert list(found) == [
        "gpucnn",
        "gpucnn, no graph",
        "gpucnn TF32",
        "gpucnn Winograd",
        "gpucnn columns",
        "gpucnn reference",
    ]
    assert len(found["gpucnn"]["milliseconds"]) == len(found["gpucnn reference"]["milliseconds"]) - 3  # five as two
    assert all(each["forward"] > 0 for row in rows for each in row["milliseconds"])
    seen = found["gpucnn"]["on_the_device"]
    names = [each["kernel"] for each in seen["kernels"]]
    assert names[0] == "prepare"
    assert "sgd" in names[-1]
    assert {"correlate_direct", "small_product"} < set(names)
    assert names == [each["kernel"] for each in found["gpucnn, no graph"]["on_the_device"]["kernels"]]
    assert all(each["microseconds"] > 0 for each in seen["kernels"])
    assert (seen["by"], seen["note"] is None) == ("CUDA events around each launch", False)
    assert "kernels of one step, in order, by CUDA events" in shown[-1]
    json.dumps(rows, allow_nan=False)


def test_a_profile_leaves_the_kernels_as_they_were(fake_cuda):
    """Also where a launch fails."""
    rig = Rig()
    gpu = rig.model.execution.context.kernels.gpu
    before = gpu.launch, gpu.multiply, gpu.multiply_each

    def failing(step):
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        kernels.kernels(rig.model.execution, rig.step, failing)
    assert (gpu.launch, gpu.multiply, gpu.multiply_each) == before


def test_a_profile_shows_the_products_of_tiles(fake_cuda):
    network = Network((8, 8, 32), (Conv2D(32, 3, padding="same"), Flatten(), Dense(3)))
    model = Model(network, device="cuda", kernels="winograd")
    step, put = model.execution.step(model.loss, SGD()), model.device.put
    data = put(np.zeros((2, 8, 8, 32), np.uint8)), put(np.zeros(2, np.int64)), put(np.arange(2))
    step(*data, 0.1)  # its kernels are looked up before it begins
    seen = kernels.kernels(model.execution, step, lambda step: step(*data, 0.1))
    names = [each["kernel"] for each in seen["kernels"]]
    assert "16 products 32 x 32 x 32" in names
    assert {"winograd_of_image", "winograd_outputs", "winograd_of_kernel"} < set(names)


def event(name, start, duration, kind="kernel"):
    return {"ph": "X", "cat": kind, "name": name, "ts": start, "dur": duration}


def test_a_trace_is_read_in_the_order_of_its_kernels():
    events = [event("b", 10.0, 2), event("a", 1.0, 3.5), event("copy", 5.0, 1, "gpu_memcpy")]
    others_ = [event("aten::mm", 0.0, 9, "cpu_op"), {"ph": "i", "cat": "kernel", "name": "mark", "ts": 2.0}]
    assert kernels.of_trace({"traceEvents": events + others_}) == [("a", 3.5), ("copy", 1.0), ("b", 2.0)]


def test_equal_steps_have_medians():
    of_steps = [("a", 1.0), ("b", 5.0), ("a", 3.0), ("b", 4.0), ("a", 2.0), ("b", 9.0)]
    assert kernels.per_step(of_steps, 3) == [("a", 2.0), ("b", 5.0)]
    assert kernels.per_step(of_steps[:-1], 3) == []
    assert kernels.per_step([("a", 1.0), ("b", 1.0), ("b", 1.0), ("a", 1.0)], 2) == []
    assert kernels.per_step([], 3) == []


@pytest.mark.skipif(not others.installed("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("seen", [[("a", 1.0), ("b", 2.0)], [], None], ids=["equal", "nothing", "a failure"])
def test_a_profiler_that_is_there_is_used(seen, fake_cuda, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def trace(device, call):
        if seen is None:
            raise RuntimeError("CUPTI_ERROR_NOT_INITIALIZED")
        return [kernel for _ in range(kernels.STEPS) for kernel in seen if call() is not None]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "traced", trace)
    rig = Rig()
    arguments = rig.images, rig.labels, fake.asarray(np.arange(6)), 0.1
    found = kernels.kernels(rig.model.execution, rig.step, lambda step: step(*arguments))
    if seen:
        assert (found["by"], [each["kernel"] for each in found["kernels"]]) == ("torch.profiler", ["a", "b"])
        return
    assert found["by"].startswith("CUDA events")
    assert ("no equal steps" if seen is not None else "failed (RuntimeError: CUPTI_ERROR_NOT_INIT") in found["note"]


@pytest.mark.skipif(not others.installed("torch"), reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_torchs_profiler_writes_a_trace_that_can_be_read(monkeypatch):
    """On the CPU it holds no kernels; on a GPU it holds those of CuPy."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    assert kernels.traced(Device("cpu"), lambda: None) == []


def test_bench_times_numba_on_the_cpu():
    pytest.importorskip("numba", reason="numba is not installed")
    options = BenchOptions(all_kernels=True, threads=1, rounds=1, images=12, needed=0, budget=0)
    row = steps.timed(Session(options), candidates.Case.of("single-filter", 12), 6)
    assert set(candidates.MORE) & set(row["milliseconds"]) == {"gpucnn numba"}


def test_compare_sets_the_ways_of_cuda_beside_the_cpu(fake_cuda):
    ways = ("cuda", "cuda+eager", "cuda+reference")
    options = CompareOptions("single-filter", ("cpu", *ways), 5, 16, (8,), threads=1, rounds=1, budget=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(load("digits"), options)
    double = next(each for each in found.agreements if each.dtype == "float64")
    names = [way.replace("cuda", "cuda:0") for way in ways]
    for name in names:
        assert max(row.differences[name] for row in double.rows) < 1e-12
        assert double.theta[name][-1] < 1e-9
    assert {each.device for each in found.speeds} == {"cpu", *names}
    with pytest.raises(DeviceError, match=r"cuda\+eager, cuda\+cudnn or cuda\+reference was expected"):
        backends.selected(("cuda+fast",))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["single-filter", "two-conv", "layered", "avgpool-96", "binary-sigmoid", "fast"])
def test_a_graph_on_a_gpu_is_the_eager_step_and_the_cpus(name):
    """Recording raises on a synchronisation or a host copy inside the step: that there is a recording shows none."""
    entry, network = networks.entry(name), networks.build(name)
    expected = trained(network, Adam(), "cpu", loss=entry.loss)
    eager = trained(network, Adam(), "cuda", loss=entry.loss, graph=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = trained(network, Adam(), "cuda", loss=entry.loss, graph=True)
    assert isinstance(graph[2], RecordedStep)
    assert graph[2]._recorded is not None
    for a, b, c in zip(graph[:2], eager[:2], expected[:2]):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-7, atol=1e-9)


@pytest.mark.gpu
@needs_gpu
def test_a_replay_on_a_gpu_waits_for_nothing(monkeypatch):
    """Nothing of CuPy that waits or copies to the host is called by a step."""
    import cupy

    def forbidden(*_: object) -> None:
        raise AssertionError("the step waited for the device")

    model = Model("two-conv", device="cuda", graph=True)
    step, (pixels, labels), put = model.execution.step(model.loss, Adam()), data(model.network), model.device.put
    images, targets, batch = put(pixels), put(labels), put(np.arange(8))
    for number in range(6):
        if number == 4:
            monkeypatch.setattr(Device, "synchronize", forbidden)
            monkeypatch.setattr(Device, "fetch", forbidden)
            monkeypatch.setattr(cupy, "asnumpy", forbidden)
        step(images, targets, batch, 0.01)
    assert step._recorded is not None


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_precisions_on_a_gpu_are_near(precision):
    """The first step's losses: 8 bits of each factor at least."""
    network = networks.build("two-conv-wide")
    exact = trained(network, SGD(), "cuda", steps=1, graph=False, dtype="float32")
    rough = trained(network, SGD(), "cuda", steps=1, precision=precision, dtype="float32")
    np.testing.assert_allclose(rough[0], exact[0], rtol=0.05)


@pytest.mark.gpu
@needs_gpu
def test_the_same_run_twice_on_a_gpu_gives_the_same_bits():
    runs = [trained(networks.build("two-conv"), Adam(), "cuda", dtype="float32", graph=True) for _ in range(2)]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
