"""What holds for every network, loss, optimiser and data, put to random ones: combinations that no other test has.

A law is a function of a `Case`, one of which each number stands for: see random_networks.py. `pytest -m slow
tests/test_random_networks.py` tries as many numbers as GPUCNN_TEST_NETWORKS says, from 100 on. To look at one alone:
`python -c "import test_random_networks as t; t.hold(t.goes_on, t.case(17))"` in the folder tests.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import as_cuda, asarray
from layers_of_ones_own import Centred, Dropped, Normalised
from random_networks import Case, case

import gpucnn
from gpucnn import Model, Network
from gpucnn.engine import factors, inference, sharded_step
from gpucnn.engine.mixing import Reach
from gpucnn.engine.rewrite import rewritten
from gpucnn.errors import GpucnnError, SettingError, TrainingError
from gpucnn.kernels import REFERENCE, Context, Kernels, cuda, for_inference
from gpucnn.kernels.cpu import EXACT_TIES, NUMPY
from gpucnn.layers import Dropout, MaxPool2D, Tanh
from gpucnn.layers.chain import Place, rebuilt
from gpucnn.layers.initializers import generator
from gpucnn.model import checkpoints
from gpucnn.model.fitting import batch_of
from gpucnn.network import shares_ties
from gpucnn.network.layout import Layout
from gpucnn.optimizers import SGD
from gpucnn.report import check, inside
from gpucnn.training import pace
from gpucnn.training.augmentation import Augmentation

OWN = [Centred, Dropped, Normalised]
TABLES, COMPILED = [NUMPY, EXACT_TIES], "default"  # and the fastest kernels that are installed
with contextlib.suppress(ImportError):
    from gpucnn.kernels.cpu.compiled import compiled_from

    TABLES, COMPILED = [*TABLES, *map(compiled_from, TABLES)], "numba"
NOISE = 1e-13  # of theta, to see what rounding does to a run
COUNT = int(os.environ.get("GPUCNN_TEST_NETWORKS", "100"))


class Incomparable(Exception):
    """Nothing can be compared, such as what rounding changes a lot."""


class Cut(Exception):
    """The power is gone."""


class CutAt:
    def __init__(self, updates: int) -> None:
        self.left = updates

    def batch(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise Cut


@contextlib.contextmanager
def small_parts() -> Iterator[None]:
    """What large networks and long runs have: shards, workers, pieces of theta, gradients that stay factors, answers to
    some images at a time, states that are saved.
    """
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 4)
        patch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
        patch.setattr(sharded_step, "CHUNK", 13)
        patch.setattr(factors, "LARGE", 12)
        patch.setattr(inference, "SPAN", 300)
        patch.setattr(pace.Pace, "RATIO", 0.0)
        patch.setattr(checkpoints, "LEAST", 0.0)
        yield


def model_of(it: Case, noise: int | None = None, **how: Any) -> Model:
    """A model with random parameters; noise: the seed of changes as small as rounding."""
    how = {"device": "cpu", "threads": 1, "dtype": "float64", "seed": it.number, "loss": it.loss} | how
    model = Model(it.network, **how)
    rng = np.random.default_rng(it.number)
    theta = model.device.fetch(model.theta).copy()
    if not it.as_drawn:
        theta += rng.normal(0, 0.2, theta.shape)
    if noise is not None:
        theta *= 1 + NOISE * np.random.default_rng(noise).normal(0, 1, theta.shape)
    model.theta = model.device.put(theta.astype(model.dtype))
    return model


def fitted(it: Case, noise: int | None = None, fit: dict[str, Any] | None = None, **how: Any) -> tuple[Model, Any]:
    model = model_of(it, noise, **how)
    try:
        return model, model.fit(it.images, it.targets, **it.options | (fit or {}), progress=False)
    except TrainingError as error:
        raise Incomparable("the loss grows without end") from error


def numbers(model: Model, history: Any, it: Case) -> dict[str, np.ndarray]:
    """What a run leaves."""
    fetch = model.device.fetch
    losses = [value for epoch in history.epochs for value in (epoch.train_loss, epoch.validation_loss or 0.0)]
    found = {"losses": np.array(losses), "theta": fetch(model.theta), "state": fetch(model.execution.state)}
    found |= {name: fetch(vector) for name, vector in (model.trained.vectors if model.trained else {}).items()}
    return found if it.batch_counts else found | {"logits": model.logits(it.images)}


def outcome(it: Case, noise: int | None = None, fit: dict[str, Any] | None = None, **how: Any) -> dict[str, np.ndarray]:
    return numbers(*fitted(it, noise, fit, **how), it)


def assert_bits(found: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    assert found.keys() == expected.keys(), what
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=f"{what}: {name}")


def spread(runs: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """How much noise changes a run, by what is looked at."""
    first, *others = runs
    return {
        name: max((float(np.abs(each[name] - value).max(initial=0)) for each in others), default=0.0)
        for name, value in first.items()
    }


class Expected:
    """What the equations give for a run, and, when something differs from it, how far rounding moves it.

    near: how far numbers may differ, as a part of the largest.
    """

    def __init__(self, run: Callable[[int | None], dict[str, np.ndarray]], near: float = 1e-10) -> None:
        self.run, self.near, self.numbers = run, near, run(None)
        if not all(np.isfinite(value).all() for value in self.numbers.values()):
            raise Incomparable("not finite")

    @functools.cached_property
    def moved(self) -> dict[str, float]:
        moved = spread([self.numbers, *map(self.run, (1, 2))])
        if max(moved.values()) > 1e-7:
            raise Incomparable(f"noise moves it: {moved}")
        return moved

    def check(self, found: dict[str, np.ndarray], what: str) -> None:
        assert found.keys() == self.numbers.keys(), what
        for name, value in self.numbers.items():
            scale = max(1.0, float(np.abs(value).max(initial=0)))
            if float(np.abs(found[name] - value).max(initial=0)) > self.near * scale:
                atol = self.near * scale + 1000 * self.moved[name]
                np.testing.assert_allclose(found[name], value, rtol=0, atol=atol, err_msg=f"{what}: {name}")


def by_equations(it: Case, fit: dict[str, Any] | None = None) -> Expected:
    """Of a whole run, in which Adam and others make steps of rounding errors where a gradient is 0."""
    return Expected(lambda noise: outcome(it, noise, fit, kernels="reference"), 1e-8)


def only_trained(layer: Any) -> bool:
    """Whether it has no gradient in inference."""
    return type(layer) is Normalised


# --- the laws


def passed(
    it: Case,
    table: Kernels,
    noise: int | None = None,
    dtype: str = "float64",
    put: Callable[[Any], Any] = np.array,
    fetch: Callable[[Any], np.ndarray] = np.asarray,
) -> dict[str, np.ndarray]:
    """One pass forward and back: the output, gradients, the next running state; and the output in inference.

    put, fetch: an array of the host onto the table's device, and back.
    """
    rng, network, changes = np.random.default_rng(it.number), it.network, np.random.default_rng(noise)
    as_run = rewritten(network, table)
    own = Layout(as_run.init(network.input_shape, generator(0)))
    states = Layout(as_run.init_state(network.input_shape))
    theta, count = rng.normal(0, 0.4, own.size), int(rng.choice([1, 2, 5, 9]))
    x, dy = rng.normal(0, 1, (count, *network.input_shape)), rng.normal(0, 1, (count, *network.shapes()[-1]))
    state = rng.uniform(0.3, 2, states.size)
    if noise is not None:
        theta, x = (each * (1 + NOISE * changes.normal(0, 1, each.shape)) for each in (theta, x))
    theta, x, dy, state = (put(each.astype(dtype)) for each in (theta, x, dy, state))
    before, params, inferring = states.unpack(state), own.unpack(theta), for_inference(table)
    context = Context(table, update=2, key=3, examples=put(np.arange(count) + 7), state=before)
    y, residuals = as_run.forward(params, table.enter(x), context)
    following = as_run.next_state(before, residuals)
    dx, dparams = as_run.backward(params, residuals, table.enter(dy), context)
    outputs = as_run.outputs(params, inferring.enter(x), Context(inferring, training=False, state=before))
    found = {"y": fetch(table.leave(y)), "dx": fetch(table.leave(dx)), "outputs": fetch(inferring.leave(outputs))}
    found["gradient"] = fetch(own.pack(dparams, put(np.empty(own.size, dtype))))
    found["state"] = fetch(states.pack(following, put(np.empty(states.size, dtype))))
    assert {str(each.dtype) for each in found.values()} == {dtype}
    return found


def check_single(it: Case, single: dict[str, np.ndarray], expected: Expected) -> None:
    """float32 is as near as the equations in float32 are, more or less."""
    for name, value in expected.numbers.items():
        scale = max(1.0, float(np.abs(value).max(initial=0)))
        if (error := float(np.abs(single[name] - value).max(initial=0))) > 3e-5 * scale:
            usual = float(np.abs(passed(it, REFERENCE, dtype="float32")[name] - value).max(initial=0))
            assert error <= 3e-5 * scale + 100 * usual + 1e9 * expected.moved[name], f"float32: {name}: {error} {usual}"


def passes_agree(it: Case) -> None:
    expected = Expected(lambda noise: passed(it, REFERENCE, noise))
    tables = [table for table in TABLES if table.exact_ties or not shares_ties(it.network)]
    for table in tables:
        expected.check(passed(it, table), table.name)
    check_single(it, passed(it, tables[0], dtype="float32"), expected)


def passes_agree_on_cuda(it: Case) -> None:
    """The kernels of CUDA, run by what stands in for it."""
    expected = Expected(lambda noise: passed(it, REFERENCE, noise))
    places, exact = {"put": asarray, "fetch": np.array}, shares_ties(it.network)
    with as_cuda():
        for wide in (None, "winograd") if not exact else (None,):
            table = cuda.table(dtype="float64", wide=wide, exact_ties=exact)
            expected.check(passed(it, table, **places), f"CUDA {wide}")
        single = passed(it, cuda.table(exact_ties=exact), dtype="float32", **places)
    check_single(it, single, expected)


def tables_agree(it: Case) -> None:
    it = dataclasses.replace(it, as_drawn=False)  # biases of 0 put whole regions on kinks
    expected = by_equations(it)
    for how in ({}, {"threads": 3}, {"kernels": COMPILED}, {"kernels": COMPILED, "threads": 2}):
        expected.check(outcome(it, **how), str(how))


def bits_repeat(it: Case) -> None:
    for how in ({"dtype": "float32"}, {"threads": 2}, {"threads": 3, "dtype": "float32"}, {"kernels": COMPILED}):
        assert_bits(outcome(it, **how), outcome(it, **how), str(how))


def goes_on(it: Case) -> None:
    """A run that is cut, again and again, and calls of one epoch each."""
    rng = np.random.default_rng(it.number)
    whole, history = fitted(it, dtype="float32")
    expected = numbers(whole, history, it)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            with contextlib.suppress(Cut):
                fitted(it, fit={"resume": folder, "callbacks": [CutAt(int(rng.integers(1, 9)))]}, dtype="float32")
        assert_bits(outcome(it, fit={"resume": folder}, dtype="float32"), expected, "resumed")
    if it.options.get("keep") == "best":
        return
    model, epochs = model_of(it, dtype="float32"), it.options["epochs"]
    options = {name: value for name, value in it.options.items() if name not in ("epochs", "keep")}
    for k in range(epochs):
        part = model.partial_fit(it.images, it.targets, epochs=1, total_epochs=epochs, progress=False, **options)
        np.testing.assert_equal(part.epochs[-1].train_loss, history.epochs[k].train_loss)
        if k == 0:
            with tempfile.TemporaryDirectory() as folder:
                model = gpucnn.load(model.save(Path(folder) / "m.safetensors"), layers=OWN, device="cpu", threads=1)
    for one, other in ((model.theta, whole.theta), (model.execution.state, whole.execution.state)):
        np.testing.assert_array_equal(one, other, err_msg="partial")


def answers(it: Case) -> None:
    """A copy, a pickle and a file answer with the same bits; an image's answer does not depend on those beside it."""
    model, _ = fitted(it, dtype="float32")
    expected = {"logits": model.logits(it.images), "proba": model.predict_proba(it.images)}
    expected |= {"classes": model.predict(it.images), "theta": model.theta, "state": model.execution.state}
    with tempfile.TemporaryDirectory() as folder:
        read = gpucnn.load(model.save(Path(folder) / "m.safetensors"), layers=OWN, device="cpu", threads=1)
    others = {"read": read, "copied": copy.deepcopy(model), "pickled": pickle.loads(pickle.dumps(model))}
    for name, other in others.items():
        found = {"logits": other.logits(it.images), "proba": other.predict_proba(it.images)}
        found |= {"classes": other.predict(it.images), "theta": other.theta, "state": other.execution.state}
        assert_bits(found, expected, name)
        assert repr(other.network.layers) == repr(model.network.layers)
        assert other.summary() == model.summary()
        assert other.loss == model.loss
    model = model_of(it)
    model.theta, model.execution.state[...] = read.theta.astype("float64"), read.execution.state
    logits = model.logits(it.images)
    scale = max(1.0, float(np.abs(logits).max()))
    if not np.isfinite(logits).all():
        raise Incomparable("not finite")
    if it.batch_counts:
        return
    for k in (0, len(it.images) - 1):
        np.testing.assert_allclose(model.logits(it.images[k]), logits[k], rtol=0, atol=1e-10 * scale)
    some = np.concatenate([it.images] * 7)
    np.testing.assert_allclose(model.logits(some)[-len(logits) :], logits, rtol=0, atol=1e-10 * scale)
    plain = plain_outputs(model, it)
    np.testing.assert_allclose(logits, plain, rtol=0, atol=1e-10 * scale, err_msg="the equations")
    if not it.has(only_trained):
        looked = inside.look(model, it.images)
        np.testing.assert_allclose(looked.logits, plain, rtol=0, atol=1e-12 * scale, err_msg="looked")
    found = model.evaluate(it.images, it.targets)
    targets = model.examples(it.images, it.targets)[1]
    losses, _ = it.loss(logits, targets)
    counts = np.ones(len(logits)) if targets.ndim == 2 else targets != getattr(it.loss, "ignore_index", None)
    np.testing.assert_allclose(found["loss"], losses[counts > 0].mean(), rtol=1e-9, atol=1e-12)
    assert found["examples"] == counts.sum()
    assert model.report(it.images, it.targets).overall["loss"] == pytest.approx(found["loss"])
    assert model.training_memory(batch_size=it.options["batch_size"], optimizer=it.options["optimizer"]) > 0
    other = model_of(it, kernels=COMPILED)
    other.theta, other.execution.state[...] = model.theta, model.execution.state
    np.testing.assert_allclose(other.logits(it.images), plain, rtol=0, atol=1e-10 * scale, err_msg="compiled")


def plain_outputs(model: Model, it: Case) -> np.ndarray:
    """The equations in float64."""
    pixels = it.images / 255 if it.images.dtype == np.uint8 else it.images
    params, state = model.layout.unpack(model.theta), model.state_layout.unpack(model.execution.state)
    return model.network.outputs(params, pixels, Context(REFERENCE, training=False, state=state))


def other_doors(it: Case) -> None:
    """Views that are averaged, several models, statistics made anew, parameters by name, batches that are given."""
    images, models = it.images, [model_of(it), model_of(dataclasses.replace(it, number=it.number + 1))]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
    for model in models:
        model.execution.state[...] = np.random.default_rng(it.number).uniform(0.3, 2, model.state_layout.size)
    logits = [model.logits(images) for model in models]
    if not it.batch_counts:
        close(gpucnn.Ensemble(models).logits(images), (logits[0] + logits[1]) / 2)
        if images.ndim == 4:
            close(models[0].logits(images, tta="flip"), (logits[0] + models[0].logits(images[:, :, ::-1])) / 2)
    other = model_of(it, kernels=COMPILED)
    other.load_parameters({**models[0].parameters, **{f"state/{k}": v for k, v in models[0].state.items()}})
    for one, same in ((other.theta, models[0].theta), (other.execution.state, models[0].execution.state)):
        np.testing.assert_array_equal(one, same)
    plain = model_of(it, kernels="reference")
    plain.execution.state[...] = models[0].execution.state
    for model in (models[0], other, plain):
        model.recompute_state(images, batch_size=it.options["batch_size"])
    for model in (models[0], other):
        close(model.execution.state, plain.execution.state)
    if it.has(lambda layer: isinstance(layer, Dropout | Dropped) or layer == Centred((0,))):
        return
    how = {name: it.options[name] for name in ("epochs", "optimizer", "lr", "schedule", "freeze") if name in it.options}
    weights = it.options.get("sample_weight", np.ones(len(images)))
    it = dataclasses.replace(it, options=how | {"batch_size": len(images), "sample_weight": weights}, as_drawn=False)
    model = model_of(it)
    batches = [(images[::-1], it.targets[::-1], weights[::-1])]
    try:
        history = model.fit_batches(batches, steps=1, progress=False, **how)
    except TrainingError as error:
        raise Incomparable("the loss grows without end") from error
    by_equations(it).check(numbers(model, history, it), "fit_batches")


def exports(it: Case) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if it.own:
        return
    model, _ = fitted(it)
    pixels = "uint8" if it.images.dtype == np.uint8 else "float32"
    images = it.images.astype(pixels)
    expected, logits = model.predict_proba(images), model.logits(images)
    if not np.isfinite(expected).all():
        raise Incomparable("not finite")
    with tempfile.TemporaryDirectory() as folder:
        for layout in ("NHWC", "NCHW") if images.ndim == 4 else ("NHWC",):
            path = model.export(Path(folder) / "m.onnx", pixels=pixels, layout=layout)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            given = images.transpose(0, 3, 1, 2) if layout == "NCHW" else images
            found = session.run(None, {"images": np.ascontiguousarray(given)})
            scale = max(1.0, float(np.abs(logits).max()))
            np.testing.assert_allclose(found[0], logits, rtol=0, atol=1e-4 * scale)
            np.testing.assert_allclose(found[-1], expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


def without_shared_ties(it: Case) -> Case:
    """Without pools that give the gradient to every one of equal pixels, undivided: that is no derivative."""

    def parted(place: Place) -> Any:
        layer = place.layer
        return dataclasses.replace(layer, ties="first") if getattr(layer, "ties", "first") == "all" else layer

    layers = rebuilt(it.network.layers, it.network.input_shape, parted)
    return dataclasses.replace(it, network=Network(it.network.input_shape, layers), as_drawn=False)


def gradients_are_right(it: Case) -> None:
    try:
        rows = check(without_shared_ties(it).network, batch=3, directions=2, seed=it.number)
    except GpucnnError as error:  # of outputs that are 0 everywhere
        raise Incomparable("nothing to compare") from error
    wrong = [row for row in rows if row.wrong]
    assert not wrong, str(wrong)


def steps_descend(it: Case) -> None:
    """A step goes down the slope of the mean loss that it tells, whatever is mixed, weighted, drawn, frozen and shared
    out: beside central differences.
    """
    it, rng = without_shared_ties(it), np.random.default_rng(it.number)
    threads, how = int(rng.choice([1, 1, 2, 3])), it.options.get("augmentation")
    kernels, frozen = str(rng.choice(["default", "reference", COMPILED])), it.options.get("freeze", ())
    model = model_of(it, threads=threads, kernels=kernels)
    start, state = model.theta.copy(), model.execution.state.copy()
    data = batch_of(model, it.images, it.targets, it.options.get("sample_weight"))
    order = rng.permutation(len(it.images))[: max(1, it.options["batch_size"])]
    moves = np.ones(len(start))
    for slot in model.layout.slots:
        moves[slot.place] = slot.name not in frozen

    def step(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss there, and its gradient."""
        model.theta, model.execution.state[...] = theta, state
        changes = None if how is None else Augmentation.parse(how).of_run(3, len(order), len(order))
        one = model.execution.step(it.loss, SGD(), augmentation=changes, key=5, freeze=frozen)
        with model.execution.active():
            losses = one(*data[:2], order, 1.0, data[2])
        return float(losses.sum()) / len(order), theta - model.theta

    middle, g = step(start)
    np.testing.assert_array_equal(g[moves == 0], 0)
    if not np.isfinite(g).all() or np.linalg.norm(g) > 1e6:
        raise Incomparable("steep")
    for _ in range(6):
        v = moves * (g / max(1e-12, np.linalg.norm(g)) + rng.normal(0, 1, len(g)) / len(g) ** 0.5)
        slopes = [(step(start + h * v)[0] - step(start - h * v)[0]) / (2 * h) for h in (2e-6, 1e-6)]
        size = max(1e-3, abs(slopes[0]))
        bend = abs(step(start + 2e-6 * v)[0] + step(start - 2e-6 * v)[0] - 2 * middle) / 2e-6
        if abs(slopes[0] - slopes[1]) > 1e-6 * size or bend > 1e-3 * size:
            continue  # a kink
        assert abs(slopes[1] - g @ v) < 1e-5 * size, (threads, kernels, slopes, g @ v)
        return
    raise Incomparable("kinks")


def parts_add_up(it: Case) -> None:
    """Gradients of several batches in one update are that of one batch; frozen parameters keep their bits."""
    how = it.options.get("augmentation") or ""
    model = model_of(it)
    start = model.theta.copy()
    fit = {name: value for name, value in it.options.items() if name not in ("validation", "keep")}
    fit |= {"batch_size": 2, "accumulate": 3, "epochs": 2}
    model.fit(it.images, it.targets, **fit, progress=False)
    for slot in model.layout.slots:
        if slot.name in fit.get("freeze", ()):
            np.testing.assert_array_equal(model.theta[slot.place], start[slot.place])
    if model.execution.reach(model.loss) is not Reach.EXAMPLE or "mixup" in how or "cutmix" in how:
        return
    options = {name: value for name, value in it.options.items() if name not in ("validation", "keep")}
    other = dataclasses.replace(it, options=options, as_drawn=False)
    expected = by_equations(other, {"batch_size": 6, "accumulate": 1, "epochs": 2})
    expected.check(outcome(other, fit={"batch_size": 2, "accumulate": 3, "epochs": 2}), "accumulated")
    expected.check(outcome(other, fit={"batch_size": 3, "accumulate": 2, "epochs": 2}, threads=2), "two threads")


def torch_computes_the_same(it: Case) -> None:
    """The translation that is timed beside a network; what PyTorch lacks and changes no shape is left out of both."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from gpucnn.report.bench import torch_layers

    there = (*torch_layers.EQUALS, *torch_layers.NESTS)

    def known(place: Place) -> Any:
        return place.layer if type(place.layer) in there or place.output != place.shape else Tanh()

    network = Network(it.network.input_shape, rebuilt(it.network.layers, it.network.input_shape, known))
    try:
        module = torch_layers.modules(network.layers, network.input_shape, {}).double()
    except SettingError as error:
        raise Incomparable(str(error)) from error
    model = model_of(dataclasses.replace(it, network=network))
    arrays = torch_layers.arrays(network, model.layout.unpack(model.theta))
    with torch.no_grad():
        for into, array in zip(module.parameters(), arrays, strict=True):
            into.copy_(torch.from_numpy(np.array(array)))
        images = torch.tensor(it.images / 255 if it.images.dtype == np.uint8 else it.images)
        found = module.eval()(images.permute(0, 3, 1, 2) if images.ndim == 4 else images).numpy()
    expected = model.logits(it.images)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * scale)


def winners_won(it: Case) -> None:
    """Where a max pool's values come from stands just that value."""
    if it.has(only_trained):
        return
    for seen in inside.look(model_of(it), it.images).layers:
        if type(seen.layer) is MaxPool2D:
            rows, columns = np.moveaxis(inside.winners(seen), -1, 0)
            example, channel = np.ogrid[: len(rows), :1, :1, : seen.x.shape[3]][::3]
            np.testing.assert_array_equal(seen.x[example, rows, columns, channel], seen.y)


def on_cuda(it: Case) -> None:
    """Whole runs by the kernels of CUDA, run by what stands in for it, launched one by one and as a graph."""
    it = dataclasses.replace(it, as_drawn=False)
    expected = by_equations(it)
    with as_cuda():
        for graph in (False, True):
            expected.check(outcome(it, device="cuda", graph=graph), f"CUDA, graph={graph}")


LAWS: list[Callable[[Case], None]] = [
    passes_agree,
    steps_descend,
    gradients_are_right,
    torch_computes_the_same,
    winners_won,
    exports,
    other_doors,
    answers,
    parts_add_up,
    goes_on,
    bits_repeat,
    tables_agree,
]
OF_CUDA = [passes_agree_on_cuda, on_cuda]  # which compile kernels for each network


def hold(law: Callable[[Case], None], it: Case) -> None:
    with small_parts():
        law(it)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_law_holds_for_some_networks(law: Callable[[Case], None], number: int) -> None:
    """Other ones for each law."""
    try:
        hold(law, case(3 * LAWS.index(law) + number))
    except Incomparable as why:
        pytest.skip(str(why))


@pytest.mark.slow
@pytest.mark.parametrize("law", [*LAWS, *OF_CUDA], ids=lambda law: law.__name__)
def test_every_law_holds_for_many_networks(law: Callable[[Case], None]) -> None:
    broken, incomparable = {}, 0
    for number in range(100, 100 + COUNT):
        try:
            hold(law, case(number))
        except Incomparable:
            incomparable += 1
        except Exception as error:
            broken[number] = f"{type(error).__name__}: {error}"[:500]
    assert not broken, broken
    assert incomparable < COUNT * (0.7 if law is torch_computes_the_same else 0.2)
