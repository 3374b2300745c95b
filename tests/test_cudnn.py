"""Convolutions by cuDNN: the reference's numbers from a stand-in; plans of the real library, built without a GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import fake_cuda as fake
import numpy as np
import pytest
from cases import CASES
from conftest import usable_gpu
from fake_cuda import asarray, fake_cuda
from fake_cudnn import PLANS, WORKSPACE, fake_cudnn
from test_cuda_kernels import Example, assert_same, check
from test_graph import SMALL, Rig, trained

from gpucnn import Model, networks
from gpucnn.command import main
from gpucnn.data import load
from gpucnn.device import Device
from gpucnn.engine.acceleration import Acceleration
from gpucnn.errors import DeviceError, SettingError, ShapeError
from gpucnn.kernels import REFERENCE, cuda
from gpucnn.kernels.cuda import cublas, cudnn
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.network import Network
from gpucnn.ops.window import Window
from gpucnn.optimizers import SGD, Adam
from gpucnn.report.bench import candidates, steps
from gpucnn.report.bench.session import BenchOptions, Session
from gpucnn.report.compare import CompareOptions, compare

__all__ = ["fake_cuda", "fake_cudnn"]

CONVOLUTIONS = [name for name, (layers, _) in CASES.items() if any(isinstance(layer, Conv2D) for layer in layers)]
VERBS = ("conv_fprop", "conv_dgrad", "conv_wgrad")
needs_gpu = pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")


def table(precision="float32", dtype="float64"):
    return cuda.table(precision, dtype, cudnn=cudnn.load())


@pytest.mark.parametrize("draw", ["reals", "small integers"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_every_case_gives_the_references_numbers(case, draw, fake_cudnn):
    check(case, 3, draw, "float64", asarray, np.asarray, tables=table())
    assert set(fake_cudnn.executed) == set(VERBS)
    assert len(fake_cudnn.executed) % 5 == 0  # one forward, two backward passes


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_every_case_in_float32(case, fake_cudnn):
    check(case, 1, "reals", "float32", asarray, np.asarray, tables=table(dtype="float32"))
    assert set(fake_cudnn.executed) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("step", ["build_operation_graph", "check_support", "build_plans"])
@pytest.mark.parametrize("case", ["conv", "conv flipped groups strided", "conv on conv", "block"])
def test_what_cudnn_cannot_our_own_kernels_compute(case, step, verb, fake_cudnn):
    fake_cudnn.failing_step, fake_cudnn.refuses = step, lambda graph: graph.method == verb
    if step == "build_operation_graph":
        fake_cudnn.failure = RuntimeError("CUDNN_STATUS_BAD_PARAM")
    made = table()
    with pytest.warns(UserWarning, match=r"cuDNN computes no .* gpucnn's own kernels do"):
        check(case, 3, "reals", "float64", asarray, np.asarray, tables=made)
    assert verb not in fake_cudnn.executed
    assert ("conv_fprop" in fake_cudnn.executed) == (verb != "conv_fprop")


@pytest.mark.filterwarnings("error")
def test_a_refusal_is_remembered(fake_cudnn):
    made, example = table(), Example(Network((7, 8, 2), (Conv2D(3, 3),)), 2, "reals", "float64")
    fake_cudnn.refuses = lambda graph: True
    with pytest.warns(
        UserWarning, match=r"no y of x \(2, 7, 8, 2\), w \(3, 3, 2, 3\), .*float64 \(NotSupported: no engine"
    ):
        example.run(asarray, np.asarray, made)
    fake_cudnn.refuses = lambda graph: False
    example.run(asarray, np.asarray, made)
    assert not fake_cudnn.executed


def test_the_first_layer_is_asked_for_no_dx(fake_cudnn):
    trained(SMALL, SGD(), "cuda", steps=1, kernels="cudnn")
    assert fake_cudnn.executed == ["conv_fprop", "conv_wgrad"]


def test_a_shape_is_planned_once(fake_cudnn):
    example, made = Example(Network((7, 8, 2), (Conv2D(3, 3),)), 2, "reals", "float64"), table()
    for _ in range(3):
        example.run(asarray, np.asarray, made)
    assert sorted(graph.method for graph in fake_cudnn.built) == sorted(VERBS)
    assert len(fake_cudnn.streams) == 1


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_plans_used_last_are_kept(most, fake_cudnn, monkeypatch):
    monkeypatch.setattr(cudnn, "PLANS", most)
    made, w = table().correlation.forward, asarray(np.ones((1, 1, 1, 1)))
    for batch in (1, 2, 1, 3, 1):
        made(asarray(np.ones((batch, 2, 2, 1))), w, Conv2D(1, 1).window_of((2, 2)), 1)
    planned = [graph.inputs[0].dim[0] for graph in fake_cudnn.built]
    assert planned == {1: [1, 2, 1, 3, 1], 2: [1, 2, 3], 3: [1, 2, 3]}[most]


def test_float32_is_float32_unless_tf32_is_asked_for(fake_cudnn):
    x, w = (asarray(np.random.default_rng(0).standard_normal(shape)) for shape in ((2, 6, 5, 3), (3, 3, 3, 4)))
    window, errors = Conv2D(4, 3).window_of((6, 5)), {}
    exact, _ = REFERENCE.correlation.forward(np.array(x), np.array(w), window, 1)
    tables = {"float32": table("float32"), "tf32": table("tf32")}
    for precision, dtype in (("float32", "float32"), ("tf32", "float32"), ("float32", "float64")):
        y, _ = tables[precision].correlation.forward(x.astype(dtype), w.astype(dtype), window, 1)
        errors[precision, dtype] = np.abs(np.asarray(y) - exact).max()
    assert errors["float32", "float32"] < 1e-5 < 1e-4 < errors["tf32", "float32"] < 2e-2
    assert errors["float32", "float64"] < 1e-13
    chosen = [graph.plans[0] for graph in fake_cudnn.built]
    assert chosen == [PLANS[5], PLANS[4], PLANS[4]]  # tensor cores compute float64 exactly


def test_arrays_begin_anywhere(fake_cudnn):
    """What needs no copy for its order may still begin where cuDNN cannot read it, as kernels in theta do."""
    theta, pixels, correlation = asarray(np.arange(1.0, 6.0)), asarray(np.arange(22.0)), table().correlation
    for start in range(4):
        x, w = pixels[start : start + 18].reshape(2, 3, 3, 1), theta[start : start + 1].reshape(1, 1, 1, 1)
        y, seen = correlation.forward(x, w, Conv2D(1, 1).window_of((3, 3)), 1)
        np.testing.assert_array_equal(y, (start + 1) * x)
        dx, dw = correlation.backward(seen, w, x, True)
        np.testing.assert_array_equal(dx, y)
        np.testing.assert_allclose(dw, [[[[(x * x).sum()]]]])


def test_arrays_with_gaps_are_copied(fake_cudnn):
    x = asarray(np.random.default_rng(0).standard_normal((4, 9, 8, 3)))[::2, ::-1, 1:7]
    w, window = asarray(np.random.default_rng(1).standard_normal((3, 2, 3, 4))), Conv2D(4, (3, 2)).window_of((9, 6))
    dy = asarray(np.random.default_rng(2).standard_normal((4, 7, 5, 2))).transpose(3, 1, 2, 0)
    found = []
    for correlation in (table().correlation, REFERENCE.correlation):
        y, seen = correlation.forward(x, w, window, 1)
        found.append((y, *correlation.backward(seen, w, dy, True)))
    assert_same(*found, 1e-11)


def test_shapes_that_do_not_fit_and_empty_batches(fake_cudnn):
    check("conv groups", 0, "reals", "float64", asarray, np.asarray, tables=table())
    x, window = asarray(np.ones((1, 4, 4, 4))), Conv2D(4, 2).window_of((4, 4))
    for channels, filters, groups in ((3, 4, 1), (2, 3, 2)):
        with pytest.raises(ShapeError):
            table().correlation.forward(x, asarray(np.ones((2, 2, channels, filters))), window, groups)
    assert not fake_cudnn.built


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", ["single-filter", "two-conv", "avgpool-96", "fast"])
def test_ten_steps_of_named_networks(name, graph, fake_cudnn):
    """Partial batches too: the steps' sizes differ."""
    network, loss = networks.build(name), networks.entry(name).loss
    expected = trained(network, SGD(momentum=0.9), "cpu", loss=loss, steps=6)
    found = trained(network, SGD(momentum=0.9), "cuda", loss=loss, steps=6, kernels="cudnn", graph=graph)
    assert (getattr(found[2], "_recorded", None) is not None) == graph
    assert fake_cudnn.executed
    for a, b in zip(found[:2], expected[:2]):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_a_recording_keeps_its_plans_and_its_memory(fake_cudnn, monkeypatch):
    """The stand-in says so when a replay finds kernels or memory gone."""
    monkeypatch.setattr(cudnn, "PLANS", 2)
    rig = Rig(kernels="cudnn")
    for size in (6, 6, 6, 4, 3, 2, 6):
        losses = rig(size)
    fake_cudnn.built.clear()
    others = [fake.empty((WORKSPACE,), np.uint8) for _ in range(20)]
    assert np.isfinite(rig(6)).all()
    assert rig.launches == 3
    assert not fake_cudnn.built
    assert losses.shape == (6,)
    assert len(others) == 20


def test_networks_that_share_ties_keep_our_own_convolutions(fake_cudnn):
    shared = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(ties="all"), Flatten(), Dense(3)))
    assert Model(SMALL, device="cuda", kernels="cudnn").execution.context.kernels.name == "cuda+cudnn"
    with pytest.warns(UserWarning, match="shares gradients among ties.*own convolutions are used"):
        assert Model(shared, device="cuda", kernels="cudnn").execution.context.kernels.name == "cuda"
    with pytest.warns(UserWarning, match="own convolutions"):
        trained(shared, SGD(), "cuda", steps=1, kernels="cudnn")
    assert not fake_cudnn.executed


def test_the_handle_is_given_back(fake_cudnn):
    made = cudnn.Convolutions(fake_cudnn, cuda.Gpu(), "float32", None)
    made.correlate(asarray(np.ones((1, 2, 2, 1))), asarray(np.ones((1, 1, 1, 1))), Conv2D(1, 1).window_of((2, 2)), 1)
    assert fake_cudnn.streams
    del made
    assert not fake_cudnn.streams


class Ending:
    """cuBLAS and cuDNN, as far as their handles go."""

    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        return lambda *arguments, **options: self.said.append(name) or 0


def handles():
    """What holds a handle, and the library that is told."""
    library, gpu = Ending(), cuda.Gpu()
    made = cudnn.Convolutions(library, gpu, "float32", None), cublas.Products(library, "float32", gpu)
    made[0]._handle = made[0]._started()
    made[1]._begin()
    return made, library


def ended(library):
    return sorted(name for name in library.said if "estroy" in name)


@pytest.mark.parametrize("emptied", [False, True], ids=["in time", "after the modules"])
def test_handles_are_given_back_silently(emptied, fake_cuda, monkeypatch):
    """Also when Python, as it ends, has set the names of modules to None."""
    errors, (made, library) = [], handles()
    monkeypatch.setattr(sys, "unraisablehook", lambda found: errors.append(found.exc_value))
    with monkeypatch.context() as patch:
        for module in (cublas, cudnn) if emptied else ():
            for name in [each for each in vars(module) if not each.startswith("__")]:
                patch.setattr(module, name, None)
        del made
    assert not errors
    assert ended(library) == ["cublasDestroy_v2", "destroy_handle"]


def test_handles_are_left_to_cuda_when_python_ends(fake_cuda):
    import weakref

    made, library = handles()
    kept = [each for each in weakref.finalize._registry if each.peek() and any(each.peek()[0] is one for one in made)]
    assert [each.atexit for each in kept] == [False, False]
    assert not ended(library)


def test_a_cudnn_that_does_not_start(fake_cudnn, monkeypatch):
    def failing() -> int:
        raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED")

    monkeypatch.setattr(fake_cudnn, "create_handle", failing)
    with pytest.raises(
        DeviceError, match=r"cuDNN does not start on this device \(.*NOT_INITIALIZED\); run `gpucnn doc"
    ):
        table().correlation.forward(asarray(np.ones((1, 2, 2, 1))), asarray(np.ones((1, 1, 1, 1))), Window((1, 1)), 1)


def test_without_cudnn_it_is_said_how_to_get_it(fake_cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(SettingError, match=r"kernels 'cudnn' need cuDNN .*pip install \"\.\[cudnn\]\""):
        Model(SMALL, device="cuda", kernels="cudnn")


def test_a_module_without_its_library_is_not_cudnn(fake_cudnn, monkeypatch):
    def missing() -> int:
        raise RuntimeError("Unable to find symbol cudnnGetVersion")

    monkeypatch.setattr(fake_cudnn, "backend_version", missing)
    with pytest.raises(SettingError, match=r"need cuDNN \(Unable to find symbol cudnnGetVersion\)"):
        Model(SMALL, device="cuda", kernels="cudnn")
    assert not Acceleration("cudnn").is_possible(Device("cuda"), exact_ties=False)


def test_bfloat16_is_not_cudnns(fake_cudnn):
    with pytest.raises(SettingError, match=r"precision 'bfloat16': .* only float32 and tf32; .* or kernels 'default'"):
        Model(SMALL, device="cuda", kernels="cudnn", precision="bfloat16")


@pytest.mark.parametrize("option", [[], ["--no-graph"], ["--precision", "tf32"]], ids=" ".join)
def test_the_command_trains_with_it(option, fake_cudnn, monkeypatch, capsys, tmp_path):
    arguments = [
        "single-filter",
        "--device",
        "cuda",
        "--epochs",
        "1",
        "--batch-size",
        "400",
        "--out",
        str(tmp_path / "run"),
    ]
    monkeypatch.setattr("sys.argv", ["gpucnn", "train", *arguments, "--json", "--kernels", "cudnn", *option])
    assert main() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["epochs"] == 1
    assert fake_cudnn.executed


def test_compare_and_bench_set_it_beside_the_others(fake_cudnn):
    options = CompareOptions("single-filter", ("cuda+cudnn",), 5, 16, (8,), threads=1, rounds=1, budget=0)
    found = compare(load("digits"), options)
    double = next(each for each in found.agreements if each.dtype == "float64")
    assert max(row.differences["cuda:0+cudnn"] for row in double.rows) < 1e-12
    how = BenchOptions(device="cuda", all_kernels=True, threads=1, rounds=1, images=12, needed=0, budget=0)
    for name, shown in (("single-filter", True), ("layered", False)):
        row = steps.timed(Session(how), candidates.Case.of(name, 12), 6)
        assert ("gpucnn cuDNN" in row["milliseconds"]) == shown
        assert "gpucnn TF32" in row["milliseconds"]


# The library wants the driver's library to be there, for functions that building a plan does not call.
DRIVER = "".join(
    f"int {name}(void) {{ return 100; }}\n"
    for name in (
        *("cuGetErrorString", "cuModuleGetFunction", "cuModuleLoadData", "cuModuleUnload"),
        *("cuTensorMapEncodeIm2col", "cuTensorMapEncodeTiled"),
    )
)
H200 = {
    **{"version": 1, "deviceName": "NVIDIA H200", "cudaDeviceId": 0, "deviceVer": 900, "driverVer": 13000},
    **{"multiProcessorCount": 132, "smCountOrigin": 0, "warpSize": 32, "totalGlobalMem": 150_000_000_000},
    **{"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536},
    **{"maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "oversizedSharedMemoryPerBlock": 0},
    **{
        "reservedSharedMemoryPerBlock": 1024,
        "maxRegistersPerSM": 65536,
        "maxCtasPerSM": 32,
        "maxThreadsPerBlock": 1024,
    },
    **{"maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0, "supportCoopLaunch": 1, "l2CacheSize": 62914560},
    **{"smClockRateKHz": 1980000, "memClockRateKHz": 3201000, "memoryBusWidth": 6144},
}


def build_all(driver: str) -> None:
    """Run in a process of its own: build every convolution of the cases, and print what could not be, as JSON."""
    import ctypes

    ctypes.CDLL(driver, ctypes.RTLD_GLOBAL)
    library, failed, count = cudnn.load(), [], 0
    device = {"device_property": library.create_device_properties(json.dumps(H200)), "sm_version": 90}
    for problem in problems():
        for precision in cudnn.PRECISIONS:
            count += 1
            try:
                plan = cudnn.build(library, problem, precision, **device)
                assert plan.workspace <= cudnn.WORKSPACE
            except Exception as error:
                failed.append(f"{precision} {problem}: {error}")
    with pytest.raises(RuntimeError, match="handle"):  # what it is called with is taken, down to the missing handle
        plan.graph.execute(dict.fromkeys(plan.tensors, 4096), 0, handle=None)
    print(json.dumps({"count": count, "failed": failed}))


def problems():
    for layers, shape in CASES.values():
        network = Network(shape, layers)
        for layer, (H, W, C) in ((a, b) for a, b in zip(layers, network.shapes()) if isinstance(a, Conv2D)):
            kernel = (*layer.kernel, C // layer.groups, layer.filters)
            for verb, dtype in ((verb, dtype) for verb in cudnn.VERBS for dtype in cudnn.TYPES):
                yield cudnn.Problem(verb, (128, H, W, C), kernel, layer.window_of((H, W, C)), dtype)


def test_the_real_library_has_a_plan_for_every_case(tmp_path):
    """Without a GPU: for the properties of an H200. What is built has not been run."""
    library = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    assert all(callable(getattr(library, name)) for name in ("create_handle", "set_stream", "destroy_handle"))
    driver = "libcuda.so.1"
    if not usable_gpu():
        if shutil.which("gcc") is None:
            pytest.skip("gcc is not installed: cuDNN cannot be loaded without a driver")
        driver = str(tmp_path / driver)
        (tmp_path / "driver.c").write_text(DRIVER, encoding="utf-8")
        options = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
        subprocess.run(["gcc", *options, "-o", driver, tmp_path / "driver.c"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", f"import test_cudnn; test_cudnn.build_all({driver!r})"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["failed"]
    assert found["count"] > 400


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_every_case_on_a_gpu(case, dtype):
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    import cupy

    check(case, 3, "reals", dtype, cupy.asarray, cupy.asnumpy, tables=table(dtype=dtype))


@pytest.mark.gpu
@needs_gpu
def test_a_graph_on_a_gpu_is_the_eager_step_twice():
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    network, options = networks.build("two-conv"), {"kernels": "cudnn", "dtype": "float32"}
    runs = [trained(network, Adam(), "cuda", graph=graph, **options) for graph in (False, True, True)]
    assert runs[1][2]._recorded is not None
    for run in runs[1:]:
        assert_same(run[:2], runs[0][:2], 0)
