"""Memory foretold: what a run will hold, what is refused, and that evaluation never needs more than training."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn import Model, Network, networks, optimizers
from gpucnn.engine.forecast import Forecast
from gpucnn.errors import DeviceError, SettingError
from gpucnn.kernels import memory
from gpucnn.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from gpucnn.losses import MultiLabelCrossEntropy

WIDE = Network((64, 64, 3), (Conv2D(32, 3, padding="same"), ReLU(), Conv2D(32, 3), MaxPool2D(4), Flatten(), Dense(5)))
EXAMPLES = np.zeros((200, 64, 64, 3), np.uint8), np.arange(200) % 5


def with_free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr("gpucnn.device.Device.memory", lambda self: (int(free), 1 << 40))


def started(*arguments: object) -> None:
    raise AssertionError("training began")


def test_a_run_that_cannot_fit_is_refused_with_the_batch_size_that_will(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(WIDE, device="cpu", threads=1)
    free = 0.3 * model.training_memory(batch_size=128, optimizer="sgd")
    with_free(monkeypatch, free)
    monkeypatch.setattr("gpucnn.engine.sharded_step.ShardedStep.__call__", started)
    with pytest.raises(
        DeviceError, match=r"cpu: training with 128 examples .* needs about \d+ MB, and \d+ MB are free; a batch"
    ) as refused:
        model.fit(*EXAMPLES, batch_size=128, optimizer="sgd")
    advised = int(str(refused.value).split("a batch size of ")[1].split()[0])
    assert 1 <= advised < 128
    assert model.training_memory(batch_size=advised, optimizer="sgd") < free


def test_fewer_threads_are_advised_where_no_batch_size_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network((28, 28, 1), (Flatten(), Dense(10_000), Dense(10)))  # 32 MB of parameters
    model = Model(network, device="cpu", threads=8)
    with_free(monkeypatch, 0.5 * model.training_memory(batch_size=128))
    monkeypatch.setattr("gpucnn.engine.sharded_step.ShardedStep.__call__", started)
    images = np.zeros((128, 28, 28, 1), np.uint8)
    with pytest.raises(DeviceError, match=r"are free; a batch size of \d+( on 1 thread)? should fit"):
        model.fit(images, np.zeros(128, int), batch_size=128)


def test_where_nothing_fits_the_network_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(Network((100, 100, 1), (Flatten(), Dense(1000))), device="cpu", threads=1)  # 40 MB of parameters
    with_free(monkeypatch, 50e6)
    with pytest.raises(DeviceError, match=r"are free; use a smaller network or smaller images"):
        model.fit(np.zeros((5, 100, 100, 1), np.uint8), np.zeros(5, int))


def test_what_is_saved_is_copied_and_must_fit_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = Model(Network((100, 100, 1), (Flatten(), Dense(1000))), device="cpu", threads=1)  # 40 MB of parameters
    examples = np.zeros((5, 100, 100, 1), np.uint8), np.zeros(5, int)
    needed = model.training_memory(batch_size=5)
    with_free(monkeypatch, 1.02 * needed)
    with pytest.raises(DeviceError, match=r"are free; use a smaller network or smaller images"):
        model.fit(*examples, epochs=1, resume=tmp_path)
    assert [*tmp_path.iterdir()] == []
    model.fit(*examples, epochs=1)
    with_free(monkeypatch, 0.95 * needed)
    with pytest.warns(UserWarning, match=r"are free; if it does not fit, use a smaller network or smaller images$"):
        model.fit(*examples, epochs=1)


def test_near_the_edge_there_is_a_warning_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(WIDE, device="cpu", threads=1)
    with_free(monkeypatch, 0.95 * model.training_memory(batch_size=60, optimizer="sgd"))
    with pytest.warns(UserWarning, match=r"MB are free; if it does not fit, a batch size of \d+ should fit"):
        assert model.fit(*(each[:60] for each in EXAMPLES), batch_size=60, epochs=1, optimizer="sgd").epochs


@pytest.mark.parametrize("free", [0, 1_000_000, 1.3])
def test_what_fits_or_is_small_is_left_alone(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    """0: the system does not tell; small networks whatever it tells; 1.3 times as much as is needed."""
    model = Model("softmax-regression" if free != 1.3 else WIDE, device="cpu", threads=1)
    with_free(monkeypatch, free if free != 1.3 else free * model.training_memory(batch_size=64))
    images = np.zeros((64, *model.network.input_shape), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(images, np.arange(64) % model.network.shapes()[-1][0], batch_size=64, epochs=1)


def test_where_batches_stay_whole_the_outputs_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CUDA device: refused is what the outputs alone are too large for."""
    model = Model(WIDE, device="cpu", kernels="reference")
    needed = model.training_memory(batch_size=64, optimizer="sgd")
    images, labels = (each[:64] for each in EXAMPLES)
    with_free(monkeypatch, 0.4 * needed)
    with pytest.raises(DeviceError, match=r"are free; a batch size of \d+ should fit"):
        model.fit(images, labels, batch_size=64, epochs=1, optimizer="sgd")
    with_free(monkeypatch, 0.9 * needed)
    with pytest.warns(UserWarning, match="if it does not fit"):
        model.fit(images, labels, batch_size=64, epochs=1, optimizer="sgd")


def test_the_command_refuses_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpucnn import command

    monkeypatch.chdir(tmp_path)
    with_free(monkeypatch, 70e6)
    monkeypatch.setattr("gpucnn.engine.forecast.HELPER", 500_000_000)
    monkeypatch.setattr(
        "sys.argv", ["gpucnn", "train", "--threads", "2", "--batch-size", "256", "--device", "cpu", "--epochs", "1"]
    )
    assert command.main() == 1
    error = capsys.readouterr().err
    assert re.search(r"training with 256 examples .* needs about \d+ MB, and 70 MB are free; a batch size of", error)
    assert [*tmp_path.iterdir()] == []


def test_a_batch_size_beyond_the_examples_needs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(WIDE, device="cpu", threads=1)
    with_free(monkeypatch, 2 * model.training_memory(batch_size=4))
    model.fit(*(each[:4] for each in EXAMPLES), batch_size=10**9, epochs=1)


def test_asking_changes_nothing() -> None:
    model = Model("two-conv", device="cpu", threads=1)
    before, blocks = model.theta.copy(), memory._here.total
    found = [model.training_memory(batch_size=64, validation=100) for _ in range(2)]
    assert abs(found[0] - found[1]) < 0.02 * found[0]
    assert not tracemalloc.is_tracing()
    np.testing.assert_array_equal(model.theta, before)
    if blocks:
        assert memory._here.total == blocks
    with pytest.raises(SettingError, match="batch_size=0"):
        model.training_memory(batch_size=0)


def test_who_traces_allocations_is_not_disturbed() -> None:
    model = Model("two-conv", device="cpu", threads=1)
    measured = model.training_memory()
    tracemalloc.start()
    try:
        roughly = model.training_memory()
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert 0.3 * measured < roughly < 3 * measured


@dataclass(frozen=True)
class Broken(Layer):
    """What it raises is said by training, not by the forecast."""

    def forward(self, params: Any, x: Any, context: Any) -> Any:
        raise ValueError("broken")


@pytest.mark.parametrize("loss", ["softmax", "mse", MultiLabelCrossEntropy(positive_weights=(2.0,) * 10)])
def test_whatever_a_loss_is_of_its_run_is_tried(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpucnn.engine.forecast.ROUGH", float("nan"))
    assert Model("two-conv", loss=loss, device="cpu", threads=1).training_memory(batch_size=64) > 1e6


def test_a_layer_that_fails_is_foretold_roughly() -> None:
    model = Model(Network((28, 28, 1), (Broken(), Flatten(), Dense(10))), device="cpu", threads=1)
    assert 1e6 < model.training_memory(batch_size=64) < 20e6


# Evaluation


def peak(work: Callable[[], object]) -> int:
    """The most bytes that were allocated meanwhile, by a thread of its own, which keeps none from before."""
    found = []

    def run() -> None:
        tracemalloc.start()
        try:
            work()
            found.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


LARGE = [("two-conv", 320, 3), ("layered", 320, 1), ("avgpool-96", 512, 3), ("fast", 200, 3), ("vgg-small", 96, 3)]


@pytest.mark.parametrize(("name", "side", "channels"), LARGE)
def test_evaluation_of_large_images_needs_no_more_than_training(name: str, side: int, channels: int) -> None:
    """Training by one image at a time; evaluation of four."""
    network = networks.build(name, (side, side, channels), 10)
    model = Model(network, loss=networks.entry(name).loss, device="cpu", threads=1)
    images, labels = np.zeros((4, side, side, channels), np.uint8), np.zeros(4, np.int64)
    step = peak(lambda: model.fit(images[:1], labels[:1], batch_size=1, epochs=1, optimizer="sgd", lr=1e-9))
    assert peak(lambda: model.evaluate(images, labels)) <= step


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_evaluation_needs_no_more_than_training_by_as_many_images(name: str) -> None:
    model = Model(name, device="cpu", threads=1)
    count = min(16, model.execution.chunk)
    # not blank: the gradient of batch normalisation grows beyond all measure where there is nothing to normalise
    images = np.random.default_rng(0).integers(0, 256, (count, *model.network.input_shape), np.uint8)
    labels = np.zeros(count, np.int64)
    step = peak(lambda: model.fit(images, labels, batch_size=count, epochs=1, optimizer="sgd", lr=1e-9))
    assert peak(lambda: model.evaluate(images, labels)) <= 1.01 * step


def test_outputs_are_those_of_forward() -> None:
    """Networks in networks too."""
    inner = Network((13, 13, 4), (Conv2D(3, 3), ReLU(), Network((11, 11, 3), (MaxPool2D(2),))))
    model = Model(Network((28, 28, 1), (Conv2D(4, 3), MaxPool2D(2), inner, Flatten(), Dense(5))), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28, 1), np.uint8)
    with model.execution.active():
        context = model.execution._for_inference
        x = model.scaling(images, model.theta.dtype, context.kernels)
        params = model.execution.layout.unpack(model.theta)
        expected, _ = model.execution.network.forward(params, x, context)
        np.testing.assert_array_equal(model.execution.network.outputs(params, x, context), expected)


# The figures


def measured(name: str, batch_size: int, validation: int) -> int:
    """By how many bytes the peak grows above the process before the run; helpers whole, shared memory once.

    Runs in a process of its own.
    """
    from gpucnn.workers import helpers

    entry = networks.entry(name)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4 * batch_size, *entry.input_shape), np.uint8)
    labels = rng.integers(0, entry.classes, len(images))
    held = np.resize(images, (validation, *entry.input_shape)), np.resize(labels, validation)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is held now
    before = status("self")["VmRSS"]
    model = Model(name, device="cpu", threads=2)
    helpers.team.start(1)
    model.fit(images, labels, batch_size=batch_size, epochs=2, optimizer=entry.recipe.optimizer, validation=held)
    own, others = status("self"), [status(helper.process.pid) for helper in helpers.team.helpers]
    shared = sum(each["Pss_Shmem"] for each in [own, *others])
    of_others = sum(each["VmHWM"] - each["RssShmem"] - each["RssFile"] for each in others)
    return own["VmHWM"] - own["RssShmem"] - before + of_others + shared


def status(process: int | str) -> dict[str, int]:
    """What Linux tells of a process's memory, in bytes."""
    found = {}
    for file in ("status", "smaps_rollup"):
        for line in Path(f"/proc/{process}/{file}").read_text(encoding="ascii", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[key] = int(value.split()[0]) * 1024
    return found


def foretold(name: str, batch_size: int, validation: int) -> int:
    model = Model(name, device="cpu", threads=2)
    return model.training_memory(
        batch_size=batch_size, optimizer=networks.entry(name).recipe.optimizer, validation=validation
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells what is shared")
@pytest.mark.parametrize("batch_size", [None, 16, 512])
def test_the_forecast_is_within_a_quarter_of_the_peak(batch_size: int | None, capsys: Any) -> None:
    """Of every named network at its recipe's batch size, and at others. Prints the table."""
    rows = []
    for name, entry in networks.NETWORKS.items():
        size = batch_size or entry.recipe.batch_size
        found = [
            in_a_process(what, name, size, 320 if entry.input_shape[0] == 32 else 2000) for what in (foretold, measured)
        ]
        rows.append((name, size, *found))
    with capsys.disabled():
        print("\nnetwork, batch, foretold MB, measured MB, ratio")
        for name, size, told, found in rows:
            print(f"{name:<19} {size:>4} {told / 1e6:>7.1f} {found / 1e6:>7.1f} {told / found:>5.2f}")
    assert [row for row in rows if not 0.75 <= row[2] / row[3] <= 1.25] == []


def in_a_process(what: Callable[..., int], *arguments: object) -> int:
    place = [str(Path(__file__).parent), str(Path(gpucnn.__file__).parents[1])]
    work = (
        f"import sys; sys.path[:0] = {place!r}; import test_memory; print(test_memory.{what.__name__}(*{arguments!r}))"
    )
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, timeout=300, check=True)
    return int(json.loads(done.stdout))


def test_the_forecast_is_of_the_right_size() -> None:
    """A quick look at what the slow test measures: one thread, no helpers, by what is allocated."""
    model = Model("fast", device="cpu", threads=1)
    images, labels = np.zeros((128, 28, 28, 1), np.uint8), np.zeros(128, np.int64)
    forecast = Forecast(model.execution, model.network, model.loss, gpucnn.optimizers.Adam())
    told = forecast.bytes(128)
    held = peak(lambda: model.fit(images, labels, batch_size=128, epochs=1)) + model.theta.nbytes
    assert 0.7 * held < told < 1.3 * held + 3e6


LARGE_THETA = Network((28, 28, 1), (Flatten(), Dense(4000), Dense(4)))  # 13 MB of parameters
LARGE_IMAGES = Network((192, 192, 3), (Conv2D(2, 6, stride=6), Flatten(), Dense(4)))


def held_by_fit(network: Network, count: int, optimizer: Any, **options: Any) -> tuple[int, int]:
    """What is foretold, and what a run of three epochs holds: one thread, no helpers, by what is allocated."""
    model = Model(network, device="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (count, *network.input_shape), np.uint8)
    labels = np.arange(count) % 4
    told = model.training_memory(batch_size=count, optimizer=optimizer, validation=count, **options)
    arguments = {"batch_size": count, "epochs": 3, "optimizer": optimizer, "validation": (images, labels), **options}
    return told, peak(lambda: model.fit(images, labels, **arguments)) + model.theta.nbytes


@pytest.mark.parametrize(
    ("wrap", "keep", "vectors"),
    [
        (lambda rule: rule, "best", 2),
        (lambda rule: optimizers.EMA(rule), None, 3),
        (lambda rule: optimizers.SWA(optimizers.Lookahead(rule)), "best", 7),
    ],
)
def test_kept_weights_are_counted(wrap: Any, keep: str | None, vectors: int) -> None:
    """Averages and slow weights with the copy that training goes back to; kept ones twice, while they are copied.

    And an average once more, while it changes places with theta.
    """
    rule = optimizers.SGD()
    plain, _ = held_by_fit(LARGE_THETA, 4, rule)
    told, held = held_by_fit(LARGE_THETA, 4, wrap(rule), keep=keep)
    theta = 4 * LARGE_THETA.parameters
    assert told - plain == pytest.approx(vectors * theta, rel=0.05)
    assert 0.8 * held < told < 1.2 * held + 3e6


@pytest.mark.parametrize("augmentation", ["cutmix=1", "rotate=10,elastic=2,mixup=0.2", "shift=2"])
def test_what_augmentation_holds_is_counted(augmentation: str) -> None:
    plain, _ = held_by_fit(LARGE_IMAGES, 24, "sgd")
    told, held = held_by_fit(LARGE_IMAGES, 24, "sgd", augmentation=augmentation)
    assert 0.75 * held < told < 1.25 * held + 3e6
    if "mix" in augmentation:
        assert plain < 0.75 * held


def test_the_command_counts_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpucnn import command

    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", images=np.zeros((60, 96, 96, 3), np.uint8), labels=np.arange(60) % 3)

    def needed(*options: str) -> int:
        train = "train", "softmax-regression", "--data", "own.npz", "--device", "cpu", "--threads", "1", "--epochs", "1"
        monkeypatch.setattr("sys.argv", ["gpucnn", *train, "--augment", "none", "--keep", "last", *options])
        assert command.main() == 0
        return int(re.findall(r"needs about ([0-9]+) MB", capsys.readouterr().err)[0])

    plain = needed()
    assert needed("--augment", "cutmix=1") > plain + 1
