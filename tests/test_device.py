"""Devices: what each text selects, each reason why CUDA cannot be used, and copies, clocks and memory on both kinds."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from gpucnn.device import Device, device_of, host, import_cupy, named, reason_of, select, version_text
from gpucnn.errors import DeviceError

NO_GPU = select("auto")[1] if select("auto")[0].kind == "cpu" else ""
needs_gpu = pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)


class FakeEvent:
    def __init__(self):
        self.time = None

    def record(self):
        self.time = time.perf_counter()

    def synchronize(self):
        assert self.time is not None


class FakeCuda:
    """As much of `cupy.cuda` as device.py touches; `count` may be an error."""

    OutOfMemoryError = type("OutOfMemoryError", (MemoryError,), {})
    Event = FakeEvent

    def __init__(self, count=2, driver=13000, built=13020, nvrtc=(13, 0)):
        self.active = []
        self.synchronized = []
        self.memory = types.SimpleNamespace(OutOfMemoryError=self.OutOfMemoryError)
        self.runtime = types.SimpleNamespace(
            getDeviceCount=lambda: _answer(count),
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: built,
            getDeviceProperties=lambda index: {"name": f"Fake GPU {index}".encode()},
            memGetInfo=lambda: (1000, 4000),
        )
        self.nvrtc = types.SimpleNamespace(getVersion=lambda: _answer(nvrtc))

    @staticmethod
    def get_elapsed_time(start, end):
        return (end.time - start.time) * 1e3

    def Device(self, index):
        @contextlib.contextmanager
        def context():
            self.active.append(index)
            yield

        manager = context()
        manager.synchronize = lambda: self.synchronized.append(index)
        return manager


def _answer(value):
    if isinstance(value, Exception):
        raise value
    return value


@pytest.fixture
def install(monkeypatch):
    """Puts a fake CuPy into this process, computing with NumPy."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put_in_place(**facts):
        cupy = types.ModuleType("cupy")
        cupy.ndarray, cupy.asarray, cupy.asnumpy = np.ndarray, np.array, np.array
        cupy.pool = types.SimpleNamespace(free_bytes=lambda: 500, used_bytes=lambda: 900, get_limit=lambda: 0)
        cupy.get_default_memory_pool = lambda: cupy.pool
        cupy.cuda = FakeCuda(**facts)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        return cupy

    return put_in_place


@pytest.fixture
def no_cupy(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "cupy" else found(name, *rest))


@pytest.fixture
def installed_from(monkeypatch, tmp_path):
    """Puts a package `cupy` with the given text, or an empty folder, first on the path."""

    def write(text=None):
        (tmp_path / "cupy").mkdir()
        if text is not None:
            (tmp_path / "cupy" / "__init__.py").write_text(text)
        monkeypatch.setattr(sys, "path", [str(tmp_path)] if text is None else [str(tmp_path), *sys.path])
        monkeypatch.setitem(sys.modules, "cupy", None)
        monkeypatch.delitem(sys.modules, "cupy")
        importlib.invalidate_caches()

    return write


def runtime_error(text):
    return type("CUDARuntimeError", (RuntimeError,), {})(text)


INSUFFICIENT = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"


def test_texts_name_devices():
    assert named("cpu") == Device("cpu")
    assert named(" CUDA ") == Device("cuda", 0)
    assert named("cuda:12") == Device("cuda", 12)
    assert named("auto") is None
    assert [str(each) for each in (Device(), Device("cuda"), Device("cuda", 3))] == ["cpu", "cuda:0", "cuda:3"]


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda 1", "cpu:0", "cuda:99999", "cuda:²"])
def test_malformed_text_says_what_is_accepted(text):
    with pytest.raises(DeviceError, match="no such device; give auto, cpu, cuda or cuda:N"):
        Device.parse(text)


@pytest.mark.parametrize(
    ("kind", "index", "said"), [("gpu", 0, "'gpu'"), ("cuda", -1, "index -1"), ("cpu", 1, "index 1")]
)
def test_impossible_devices_are_not_made(kind, index, said):
    with pytest.raises(DeviceError, match=said):
        Device(kind, index)


def test_a_device_is_a_frozen_value():
    assert len({Device("cuda", 1), Device("cuda", 1), Device("cuda")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Device().index = 1


def test_cpu_is_always_there():
    assert select("cpu") == (Device("cpu"), "cpu: the CPU is used, as asked")


def test_without_cupy(no_cupy):
    assert select("auto") == (Device("cpu"), "auto: CuPy is not installed, so the CPU is used")
    with pytest.raises(DeviceError, match=r"^device 'cuda': CuPy is not installed; .*\.\[cuda13\].* the device cpu$"):
        Device.parse("cuda")
    with pytest.raises(DeviceError, match=r"^cuda: CuPy is not installed; "):
        Device("cuda").put([1.0])


def test_a_broken_cupy_is_named_with_its_cause(installed_from):
    installed_from(
        "try:\n    raise OSError('libcublas.so.13: cannot open')\n"
        "except OSError as error:\n    raise ImportError('\\n=====\\nFailed\\n=====\\n') from error\n"
    )
    said = r"CuPy is installed but cannot be imported \(OSError: libcublas.so.13: cannot open\)"
    with pytest.raises(DeviceError, match=rf"^device 'cuda:0': {said}; run `gpucnn doctor`, or use the device cpu$"):
        Device.parse("cuda:0")
    device, reason = select("auto")
    assert device == Device("cpu")
    assert "OSError: libcublas" in reason
    with pytest.raises(DeviceError) as caught:
        import_cupy()
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_empty_folder_left_by_pip_is_no_cupy(installed_from):
    installed_from()
    with pytest.raises(DeviceError, match=r"cannot be imported .*holds no CuPy"):
        Device.parse("cuda")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"count": 0}, "no CUDA device is visible"),
        (
            {"count": runtime_error("cudaErrorNoDevice: no CUDA-capable device is detected")},
            "no CUDA device is visible",
        ),
        ({"count": runtime_error(INSUFFICIENT), "driver": 0}, "no NVIDIA driver is found"),
        (
            {"count": runtime_error(INSUFFICIENT), "driver": 12040},
            "the NVIDIA driver is too old: it supports CUDA 12.4, "
            "and this CuPy was built for CUDA 13.2 and needs 13.0 or newer",
        ),
        (
            {"count": runtime_error("cudaErrorUnknown: unknown error")},
            "the CUDA driver refuses (CUDARuntimeError: cudaErrorUnknown: unknown error)",
        ),
        (
            {"nvrtc": RuntimeError("libnvrtc.so.13 not found")},
            "CuPy cannot load CUDA's run-time compiler NVRTC (RuntimeError: libnvrtc.so.13 not found)",
        ),
    ],
)
def test_each_obstacle_has_its_sentence(install, facts, said):
    install(**facts)
    with pytest.raises(DeviceError) as caught:
        Device.parse("cuda")
    assert str(caught.value) == f"device 'cuda': {said}; run `gpucnn doctor`, or use the device cpu"
    assert select("auto") == (Device("cpu"), f"auto: {said}, so the CPU is used")


def test_hidden_devices_are_said_to_be_hidden(install, monkeypatch):
    install(count=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError, match=r"no CUDA device is visible \(CUDA_VISIBLE_DEVICES is '-1'\); run"):
        Device.parse("cuda")


@pytest.mark.parametrize(("count", "said"), [(1, "there is 1, cuda:0;"), (2, "there are 2, cuda:0 to cuda:1;")])
def test_an_index_beyond_the_last_device(install, count, said):
    install(count=count)
    with pytest.raises(DeviceError, match=f"^device 'cuda:7': no such CUDA device: {said} give one of these"):
        Device.parse("cuda:7")


def test_a_usable_device_is_selected(install):
    install()
    assert select("auto") == (Device("cuda"), "auto: Fake GPU 0 is usable, so cuda:0 is used")
    assert select("cuda:1") == (Device("cuda", 1), "cuda:1: Fake GPU 1 is used, as asked")


def test_cuda_calls_go_to_the_device_that_was_named(install):
    cupy, device = install(), Device("cuda", 1)
    assert device.xp is cupy
    np.testing.assert_array_equal(device.fetch(device.put(np.arange(3))), np.arange(3))
    assert device.memory() == (1500, 4000), "unused blocks of CuPy's pool are free"
    cupy.pool.get_limit = lambda: 2000
    assert device.memory() == (1100, 2000), "a limit of CuPy's pool is the device's size"
    device.synchronize()
    with device.timer() as timer:
        time.sleep(0.002)
    assert 0.002 <= timer.seconds < 2
    assert set(cupy.cuda.active) == {1}
    assert cupy.cuda.synchronized == [1]
    assert device.out_of_memory_errors() == (MemoryError, FakeCuda.OutOfMemoryError)


def test_cpu_copies_nothing():
    device, array = Device("cpu"), np.arange(6.0)
    assert device.xp is np
    assert device.put(array) is array
    assert device.fetch(array) is array
    with device.activate():
        device.synchronize()
    assert device.out_of_memory_errors() == (MemoryError,)
    assert device.name


def test_cpu_memory_is_in_bytes():
    free, total = Device("cpu").memory()
    assert 2**26 < free <= total < 2**50


@pytest.mark.parametrize(
    ("line", "below", "names"),
    [
        ("0::/box/inner", "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/box/inner",
            "sys/fs/cgroup/memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_a_control_groups_limit_counts(tmp_path, line, below, names):
    """8 MB, 3 in use, 1 of it a cache that is given up: 6 are free; the group inside has no limit of its own."""
    limit, used, cache = names
    for group, most in (("box", "8000000\n"), ("box/inner", "max\n")):
        folder = tmp_path / below / group
        folder.mkdir(parents=True)
        (folder / limit).write_text(most)
        (folder / used).write_text("3000000\n")
        (folder / "memory.stat").write_text(f"anon 2000000\n{cache} 1000000\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:pids:/\n{line}\n")
    assert [*host._of_groups(tmp_path)] == [(6_000_000, 8_000_000)]
    (tmp_path / below / "box" / used).write_text("9500000\n")
    assert [*host._of_groups(tmp_path)] == [(0, 8_000_000)]
    assert [*host._of_groups(tmp_path / "nothing")] == []


def test_the_least_room_is_what_is_free(monkeypatch):
    monkeypatch.setattr(host, "_of_groups", lambda root: iter([(5_000_000, 9_000_000), (7_000_000, 8_000_000)]))
    assert Device("cpu").memory() == (5_000_000, 8_000_000)


def test_cpu_memory_without_proc(monkeypatch):
    def absent(*_args, **_options):
        raise OSError("no /proc here")

    monkeypatch.setattr("builtins.open", absent)
    free, total = Device("cpu").memory()
    assert 0 < free <= total
    monkeypatch.setattr("os.sysconf", absent)
    assert Device("cpu").memory() == (0, 0)
    assert Device("cpu").name


def test_timer_measures_the_block_only():
    timer = Device("cpu").timer()
    assert math.isnan(timer.seconds)
    with timer:
        time.sleep(0.002)
    assert 0.002 <= timer.seconds < 2


def test_timer_lets_an_error_through():
    timer = Device("cpu").timer()
    with pytest.raises(ZeroDivisionError), timer:
        1 / 0  # noqa: B018
    assert math.isnan(timer.seconds)


def test_device_of_an_array():
    def lying_on(*where):
        return types.SimpleNamespace(__dlpack_device__=lambda: where)

    assert device_of(np.zeros(2)) == device_of(np.float32(1)) == device_of(lying_on(1, 0)) == Device("cpu")
    assert device_of(lying_on(2, 1)) == device_of(lying_on(13, 1)) == Device("cuda", 1)
    with pytest.raises(DeviceError, match="list is not an array"):
        device_of([1.0])
    with pytest.raises(DeviceError, match="DLPack device kind 10"):
        device_of(lying_on(10, 0))


def test_small_helpers():
    assert version_text(12040) == "12.4"
    assert version_text(13000) == "13.0"
    assert reason_of(ValueError("\n====\n  the reason\nmore\n")) == "ValueError: the reason"
    assert reason_of(ValueError()) == "ValueError"


def test_importing_this_module_imports_no_cupy():
    code = "import gpucnn.device, sys; gpucnn.device.Device.parse('cpu'); sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@needs_gpu
@pytest.mark.gpu
def test_gpu_round_trip_memory_and_clock():
    device = Device.parse("cuda")
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    there = device.put(array)
    assert device_of(there) == device
    np.testing.assert_array_equal(device.fetch(there), array)
    free, total = device.memory()
    assert 0 < free <= total
    with device.timer() as timer:
        device.xp.matmul(there, there.T)
    assert 0 < timer.seconds < 60


@needs_gpu
@pytest.mark.gpu
def test_gpu_out_of_memory_is_caught():
    device = Device.parse("cuda")
    with pytest.raises(device.out_of_memory_errors()):
        device.xp.empty(device.memory()[1] * 2, dtype="uint8")
