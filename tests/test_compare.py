"""`gpucnn compare`: what agrees is found to agree, what does not is found out, and a GPU is not needed to run it."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import usable_gpu
from test_device import FakeCuda

from gpucnn import Network, command, data
from gpucnn.engine import acceleration
from gpucnn.errors import DeviceError, SettingError
from gpucnn.kernels import REFERENCE
from gpucnn.layers import BatchNorm, Conv2D, Dense, Flatten, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.model import runs
from gpucnn.report.compare import CompareOptions, agreement, backends, compare, plots, text
from gpucnn.report.compare.backends import CPU, YARDSTICKS, Backend, Problem
from gpucnn.report.compare.result import LAYER_LIMIT
from gpucnn.report.compare.speed import Speed, break_even

SMALL = CompareOptions(
    "single-filter", ("cpu",), steps=3, batch_size=16, batches=(8, 32), threads=1, rounds=1, budget=1e-4
)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def on_cpu(digits):
    """NumPy's own table beside the array libraries that are here."""
    return compare(digits, SMALL)


@pytest.fixture
def fake_gpu(monkeypatch):
    """Two CUDA devices that compute with NumPy, in copies as a GPU has them."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.asarray, cupy.asnumpy = np.ndarray, np.array, np.array
    cupy.cuda = FakeCuda()
    pool = types.SimpleNamespace(free_bytes=lambda: 0, used_bytes=lambda: 0, get_limit=lambda: 0)
    cupy.get_default_memory_pool = lambda: pool
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(acceleration.Acceleration, "_of_cuda", lambda *arguments: REFERENCE)


@pytest.fixture
def no_gpu(monkeypatch):
    obstacle = types.SimpleNamespace(reason="CuPy is not installed")
    monkeypatch.setattr(backends, "_cuda_obstacle", lambda index: obstacle)


def agreed(found, name):
    """Every target of one device, none of them missing."""
    targets = [each for each in found.targets if each.device == name]
    return [each.dtype for each in targets] == ["float32", "float32", "float64"] and all(each.met for each in targets)


@pytest.mark.parametrize(("name", "module"), [("strict", "array_api_strict"), ("PyTorch", "torch")])
def test_array_libraries_agree_with_the_cpu(on_cpu, name, module):
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    assert agreed(on_cpu, name)
    float32, float64 = on_cpu.agreements
    assert 0 < float32.worst(name) < 1e-5
    assert 0 < float64.worst(name) < 1e-13


@pytest.mark.parametrize("dtype", [0, 1])
def test_yardsticks_differ_by_roundings_only(on_cpu, dtype):
    found = on_cpu.agreements[dtype]
    for each in YARDSTICKS:
        assert 0 < found.worst(each.name) < (1e-5, 1e-13)[dtype]
        assert 0 < found.theta[each.name][-1] <= found.yardstick < (1e-5, 1e-13)[dtype]


def test_every_layer_and_parameter_has_a_row(on_cpu):
    rows = on_cpu.agreements[0].rows
    assert [row.name for row in rows if row.what == "output"] == [
        *("0 Conv2D", "1 ReLU", "2 MaxPool2D", "3 Flatten", "4 Dense", "5 ReLU", "6 Dense"),
    ]
    assert {row.name: row.shape for row in rows if row.what == "gradient"} == {
        **{"0/kernel": (3, 3, 1, 1), "0/bias": (1,), "4/weights": (169, 70), "4/bias": (70,)},
        **{"6/weights": (70, 10), "6/bias": (10,)},
    }
    assert all(set(row.differences) == set(on_cpu.devices) - {"cpu"} for row in rows)


def test_steps_are_those_of_training(digits):
    """The mean of the losses over one epoch is what Model.fit reports of it."""
    part = dataclasses.replace(digits, train_images=digits.train_images[:96], train_labels=digits.train_labels[:96])
    chosen = runs.Settings("single-filter", "cpu", batch_size=16, seed=3, threads=1)
    model = runs.new_model(chosen, part)
    recipe, optimizer = runs.recipe(chosen, 96)
    problem = Problem(model.network, model.loss, part.train_images, part.train_labels, 3, 1)
    found = agreement.agreement(problem, [CPU, *YARDSTICKS], "float32", recipe, 6)
    options = {"optimizer": optimizer, "lr": recipe.lr, "schedule": recipe.schedule, "seed": 3}
    history = model.fit(part.train_images, part.train_labels, epochs=1, batch_size=16, **options)
    assert np.mean(found.losses["cpu"]) == pytest.approx(history.epochs[0].train_loss, rel=1e-6)


def test_a_wrong_backend_misses_its_targets(digits):
    def slightly_wrong(array):
        return array * array.dtype.type(1.001) if array.dtype.kind == "f" else array

    chosen = runs.Settings("single-filter", "cpu", batch_size=16, threads=1)
    model = runs.new_model(chosen, digits)
    problem = Problem(model.network, model.loss, digits.train_images, digits.train_labels, 0, 1)
    wrong = Backend("wrong", "weights that are too large", put=slightly_wrong)
    recipe, _ = runs.recipe(chosen, len(digits.train_labels))
    found = agreement.agreement(problem, [CPU, *YARDSTICKS, wrong], "float32", recipe, 2)
    assert found.worst("wrong") > 1e-4
    assert found.theta["wrong"][-1] > 1e-4 > 100 * found.yardstick


def of_a_bias_before_a_batch_norm(digits, dtype="float32"):
    """What one pass gives on each backend, where the gradient of 0/bias is 0 but for rounding."""
    layers = Conv2D(4, 3), BatchNorm(), ReLU(), Conv2D(4, 3), BatchNorm(), Flatten(), Dense(10)
    network, loss = Network((28, 28, 1), layers), SoftmaxCrossEntropy()
    problem = Problem(network, loss, digits.train_images, digits.train_labels, 0, 1)
    other = dataclasses.replace(YARDSTICKS[1], name="other")
    runners = [backends.Runner(problem, each, dtype) for each in (CPU, *YARDSTICKS, other)]
    return {runner.backend.name: agreement.one_pass(runner, np.arange(32)) for runner in runners}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_that_are_0_but_for_rounding_agree(digits, dtype):
    passes = of_a_bias_before_a_batch_norm(digits, dtype)
    assert max(agreement.relative(each["0/bias"], passes["cpu"]["0/bias"]) for each in passes.values()) > 0.01
    for row in agreement.compared(passes):
        assert max(row.differences.values()) < (LAYER_LIMIT if dtype == "float32" else 1e-12), row


@pytest.mark.parametrize("name", ["0/bias", "3/bias"])
def test_a_wrong_gradient_is_found_where_0_was_expected(digits, name):
    """By a thousandth of the sum's usual size; and where the other gradients of its layer are right."""
    passes = of_a_bias_before_a_batch_norm(digits)
    size = np.abs(passes["cpu"][name.replace("bias", "kernel")]).mean()
    passes["other"] = passes["other"] | {name: passes["other"][name] + np.float32(1e-3 * size)}
    wrong = [row.name for row in agreement.compared(passes) if not row.differences["other"] <= LAYER_LIMIT]
    assert wrong == [name]


def test_a_wrong_gradient_of_few_digits_is_found():
    """Small beside the others, and computed by differences that leave it three digits on every backend."""
    rng = np.random.default_rng(0)
    small, large = 1e-7 * rng.standard_normal(10), rng.standard_normal(1000)

    def of(scale: np.ndarray) -> dict[str, np.ndarray]:
        return {"0/scale": scale.astype(np.float32), "0/kernel": large.astype(np.float32)}

    names = ("cpu", *(each.name for each in YARDSTICKS))
    passes = {name: of(small * (1 + 1e-3 * rng.standard_normal(10))) for name in names}
    for factor, is_right in ((1.0, True), (0.0, False), (2.0, False)):
        found = agreement.compared(passes | {"other": of(factor * small)})
        assert (found[0].differences["other"] <= LAYER_LIMIT) == is_right


def test_relative_difference():
    assert agreement.relative(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == 0.1
    assert agreement.relative(np.array([0.0, 2.0]), np.zeros(2)) == 2
    assert agreement.relative(np.zeros(2), np.zeros(2)) == 0
    assert math.isnan(agreement.relative(np.array([math.nan]), np.ones(1)))


def test_a_machine_without_a_gpu_says_so_in_one_sentence(no_gpu):
    others, sentence = backends.selected(("cpu", "cuda"))
    assert all(each.device.kind == "cpu" for each in others)
    assert sentence.startswith("There is no GPU to compare with (CuPy is not installed), so NumPy's own kernel table")
    assert sentence.endswith(", all on the CPU.")
    assert sentence.count(".") == 1


def test_libraries_that_are_missing_are_named(no_gpu, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    others, sentence = backends.selected(("cuda",))
    assert others == []
    assert "(not installed: array-api-strict, PyTorch)" in sentence


def test_without_any_other_library_there_are_still_the_cpu_runs(digits, no_gpu, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    found = compare(digits, dataclasses.replace(SMALL, steps=1, batches=(8,)))
    assert list(found.devices) == ["cpu", "reversed", "reference"]
    assert found.targets == []
    assert "No device or library" in text.render(found)


@pytest.mark.parametrize(
    ("devices", "says"), [(("cpu", "gpu"), "no such device"), (("cuda:7",), "no such CUDA device")]
)
def test_wrong_devices_are_refused(devices, says, fake_gpu):
    with pytest.raises(DeviceError, match=says):
        backends.selected(devices)


def test_a_device_that_is_named_twice_is_compared_once(fake_gpu):
    others, sentence = backends.selected(("cuda", "cpu", "cuda:0", "cuda:1"))
    assert [(each.name, each.about) for each in others] == [("cuda:0", "Fake GPU 0"), ("cuda:1", "Fake GPU 1")]
    assert sentence is None


def test_a_gpu_is_compared_timed_and_drawn(digits, fake_gpu, tmp_path):
    found = compare(digits, dataclasses.replace(SMALL, devices=("cpu", "cuda")))
    assert list(found.devices) == ["cpu", "reversed", "reference", "cuda:0"]
    assert found.sentence is None
    assert agreed(found, "cuda:0")
    assert [(each.device, each.batch) for each in found.speeds] == [
        *(("cpu", 8), ("cuda:0", 8), ("cpu", 32), ("cuda:0", 32)),
    ]
    for each in found.speeds:
        assert (each.transfer > 0) == (each.device == "cuda:0")
        assert each.transferred <= each.resident
    assert set(found.break_even) == {"cuda:0"}
    assert "cuda:0 " in text.break_even(found)[0]
    plots.overview(found, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").read_bytes().startswith(PNG)


def test_a_batch_that_does_not_fit_is_no_row_less(digits, fake_gpu, monkeypatch):
    def full(self, indices):
        if len(indices) > 16 and self.device.kind == "cuda":
            raise FakeCuda.OutOfMemoryError
        return self.put(indices)

    monkeypatch.setattr(backends.Runner, "batch", full)
    found = compare(digits, dataclasses.replace(SMALL, devices=("cuda",)))
    assert found.speeds[-1] == Speed("cuda:0", 32)
    assert "out of memory" in text.speed(found)
    assert plots.speed(found)


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["single-filter", "two-conv", "avgpool-96"])
def test_a_real_gpu_agrees(digits, network):
    if not usable_gpu():
        pytest.skip("no CUDA device can be used here")
    options = CompareOptions(network, steps=100, batches=(32, 64), rounds=1)
    found = compare(digits, options)
    assert agreed(found, "cuda:0"), text.targets(found)


def rates(device, by_batch):
    """Speeds from {batch: (images per second, seconds of transfer)}."""
    return [Speed(device, batch, 1.0, sent, batch / rate) for batch, (rate, sent) in by_batch.items()]


CPU_RATES = rates("cpu", {32: (100, 0), 64: (100, 0), 128: (100, 0)})


@pytest.mark.parametrize(
    ("gpu", "resident", "transferred"),
    [
        ({32: (50, 0.1), 64: (150, 1.0), 128: (300, 0.1)}, 64, 128),
        ({32: (200, 0.0), 64: (90, 0.0), 128: (300, 9.0)}, 128, None),
        ({32: (50, 0.1), 64: (80, 0.1), 128: (99, 0.1)}, None, None),
        ({32: (100, 0.0), 64: (100, 0.0), 128: (100, 0.0)}, 32, 32),
    ],
)
def test_break_even_holds_for_all_larger_batches(gpu, resident, transferred):
    rows = CPU_RATES + rates("cuda:0", gpu)
    assert break_even(rows, "cpu", "cuda:0") == resident
    assert break_even(rows, "cpu", "cuda:0", transferred=True) == transferred


def test_break_even_leaves_out_what_did_not_fit():
    rows = [*CPU_RATES, *rates("cuda:0", {32: (50, 0), 64: (150, 0)}), Speed("cuda:0", 128)]
    assert break_even(rows, "cpu", "cuda:0") == 64


def test_json_text_and_pictures(on_cpu, tmp_path):
    told = json.loads(json.dumps(on_cpu.to_dict(), allow_nan=False))
    assert (told["network"], told["steps"]) == ("single-filter", 3)
    assert set(told["precisions"]) == {"float32", "float64"}
    assert len(told["precisions"]["float32"]["theta"]["reference"]) == 3
    assert len(told["speeds"]) == 2 * len([name for name in on_cpu.devices if name not in ("reversed", "strict")])
    shown = text.render(on_cpu)
    for part in ("theta after 3 steps", "gradient 0/kernel", "at most 1.0e-05", "images/s", "No GPU was asked for"):
        assert part in shown
    assert max(map(len, text.agreement(on_cpu).splitlines())) <= 120
    plots.overview(on_cpu, tmp_path / "all.png")
    assert (tmp_path / "all.png").read_bytes().startswith(PNG)


def test_numbers_that_are_not_finite_stay_out_of_json(on_cpu):
    found = dataclasses.replace(on_cpu.agreements[0], theta={name: [math.nan] for name in on_cpu.agreements[0].theta})
    broken = dataclasses.replace(on_cpu, agreements=[found])
    assert not all(target.met for target in broken.targets) or not broken.targets
    assert json.loads(json.dumps(broken.to_dict(), allow_nan=False))["precisions"]["float32"]["theta"]["reference"] == [
        None
    ]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batches": ()}, {"batches": (0,)}, {"batch_size": 0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(SettingError, match="at least 1 of each"):
        CompareOptions(**wrong)


@pytest.mark.parametrize(
    ("path", "says"), [("compare", "was expected as the ending"), ("nowhere/compare.png", "no folder nowhere")]
)
def test_files_that_cannot_be_drawn(path, says, tmp_path, monkeypatch, capsys):
    """Said before anything is compared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["gpucnn", "compare", "two-conv", "--plot", path])
    assert command.main() == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "--plot" in said
    assert says in said
