"""Which way a convolution is computed on CUDA: the rule, every way's numbers, and what --tune measures and keeps."""

from __future__ import annotations

import json

import fake_cuda as stand_in
import numpy as np
import pytest
from conftest import usable_gpu
from fake_cuda import asarray, fake_cuda
from fake_cudnn import fake_cudnn
from test_cuda_kernels import Example, assert_same, fuse

import gpucnn
from gpucnn import Model
from gpucnn.engine import tuning
from gpucnn.engine.acceleration import Acceleration
from gpucnn.errors import DeviceError, SettingError
from gpucnn.kernels import REFERENCE, cuda
from gpucnn.kernels.cuda import estimate, tensor, ways
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.model import checkpoints, tuning_file
from gpucnn.network import Network
from gpucnn.ops.window import Window

pytestmark = pytest.mark.usefixtures("blank_pictures")

__all__ = ["fake_cuda", "fake_cudnn"]

FIRST = Conv2D(16, 3, padding="same"), ReLU(), MaxPool2D()
LAYERS = (*FIRST, Conv2D(16, 3, padding="same"), ReLU(), Conv2D(9, 3), Flatten(), Dense(3))
SHAPE = (14, 14, 2)
NETWORK = Network(SHAPE, LAYERS)
TEXTS = [
    "14x14x2, 16 filters of 3x3, padding 1,1,1,1, max pool 2x2 by 2x2",
    "7x7x16, 16 filters of 3x3, padding 1,1,1,1, ReLU",
    "7x7x16, 9 filters of 3x3",
]


def shape_of(convolution, image, pool=None):
    window = convolution.window_of(image)
    return ways.Shape(image, convolution.filters, window, pool and pool.window_of(convolution.out_shape(image)))


@pytest.mark.parametrize(
    ("times", "usual", "chosen"),
    [
        ({"columns": [9, 1, 2], "direct": [3, 3, 3]}, "direct", "columns"),  # medians, not means
        ({"columns": [2.95], "direct": [3.0]}, "direct", "direct"),  # less than 3 %
        ({"columns": [2.95], "direct": [3.0]}, "columns", "columns"),
        ({"winograd": [2.0], "cudnn": [1.0], "columns": [3.0]}, "columns", "cudnn"),
        ({"winograd": [2.0], "columns": [3.0]}, "direct", "winograd"),  # the usual one could not be had
    ],
)
def test_the_fastest_is_chosen_where_it_gains_something(times, usual, chosen):
    assert tuning.fastest(times, usual) == chosen


@pytest.mark.parametrize(
    ("convolution", "image", "pool", "there", "rule"),
    [
        (Conv2D(8, 5), (28, 28, 1), MaxPool2D(), "direct, columns", "direct"),
        (Conv2D(64, 5, padding="same"), (14, 14, 32), MaxPool2D(), "columns, tensor", "columns"),
        (Conv2D(64, 3, padding="same"), (32, 32, 64), None, "columns, winograd, tensor", "columns"),
        (Conv2D(64, 3, 2, "same"), (32, 32, 64), None, "columns, tensor", "columns"),
        (Conv2D(62, 3), (32, 32, 64), None, "columns, winograd", "columns"),
        (Conv2D(16, 3, padding="same"), (32, 32, 16), None, "direct, columns, winograd, tensor", "direct"),
    ],
)
def test_the_rule_looks_at_the_shape(convolution, image, pool, there, rule):
    shape = shape_of(convolution, image, pool)
    assert ", ".join(ways.possible(shape, 4)) == there
    assert ways.usual(shape, 4, "float32", wide="columns") == rule
    is_wide = min(image[2], convolution.filters) >= ways.WIDE
    for way in ("winograd", "tensor"):
        assert ways.usual(shape, 4, "float32", wide=way) == (way if is_wide and way in there else rule)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_columns_take_the_place_of_direct_kernels_where_tensor_cores_are_estimated_to_be_faster(precision):
    narrow, broad = shape_of(Conv2D(8, 5), (28, 28, 1)), shape_of(Conv2D(192, 3, padding="same"), (32, 32, 3))
    for shape, expected in ((narrow, "direct"), (broad, "columns")):
        assert ways.usual(shape, 4, "float32", wide="columns") == "direct"
        assert ways.usual(shape, 4, precision, wide="columns") == expected


def test_estimates_are_of_bytes_and_operations():
    assert estimate.direct(100, 9, 8, 100) == pytest.approx(3 * 2 * 100 * 9 * 8 / (67e12 * 0.3))
    assert estimate.direct(100, 9, 8, 25) == pytest.approx(2 * (100 + 2 * 25) * 9 * 8 / (67e12 * 0.3))
    moved, done = 3 * 4 * 100 * (2 * 9 + 8) / (4.3e12 * 0.6), 3 * 2 * 100 * 9 * 128 / (494e12 * 0.57)
    assert estimate.columns(100, 9, 8, "tf32") == pytest.approx(moved + done)
    assert estimate.columns(100, 9, 8, "bfloat16") < estimate.columns(100, 9, 8, "tf32")


def test_a_shape_in_words():
    assert str(shape_of(*LAYERS[:1], SHAPE, FIRST[2])) == TEXTS[0]
    dilated = ways.Shape((9, 8, 4), 5, Window((3, 2), (2, 1), dilation=(1, 2)), None)
    assert str(dilated) == "9x8x4, 5 filters of 3x2, stride 2x1, dilation 1x2"


@pytest.mark.parametrize("way", [*ways.NAMES, None])
def test_every_way_gives_the_references_numbers(way, fake_cuda):
    example = Example(NETWORK, 3, "reals", "float64")
    expected = example.run(np.array, np.asarray, REFERENCE)
    table = cuda.table(dtype="float64", wide="winograd" if way is None else None)
    alone = TEXTS[1].removesuffix(", ReLU")  # as layers of their own
    takes = {"winograd": [TEXTS[1], alone], "tensor": [], "cudnn": [], None: []}  # few channels; float64; none is here
    table.ways.choices.update(dict.fromkeys(takes.get(way, [*TEXTS, alone]), way))
    for network in (NETWORK, fuse(NETWORK)):
        assert_same(example.run(asarray, np.asarray, table, network), expected, 1e-11)


@pytest.mark.parametrize("way", ["direct", "winograd", "tensor", "cudnn"])
@pytest.mark.parametrize(
    "convolution",
    [
        Conv2D(64, 3, 2, "same"),
        Conv2D(64, 3, dilation=2),
        Conv2D(64, 5),
        Conv2D(64, 4, padding="same"),
        Conv2D(4, 3),
    ],
)
def test_a_choice_that_does_not_take_a_convolution_is_dropped_with_a_warning(convolution, way, fake_cuda):
    network = Network((11, 11, 40), (convolution, Flatten(), Dense(2)))
    example = Example(network, 2, "reals", "float64")
    table, text = cuda.table(dtype="float64"), str(shape_of(convolution, (11, 11, 40)))
    table.ways.choices[text] = way
    with pytest.warns(UserWarning, match=f"cannot be computed by '{way}', which was chosen for it") as seen:
        found = example.run(asarray, np.asarray, table)
    assert_same(found, example.run(np.array, np.asarray, REFERENCE), 1e-11)
    assert len(seen) == 1
    assert table.ways.choices == {}


def test_columns_take_the_place_of_tiles_that_do_not_start(fake_cuda):
    table = cuda.table(dtype="float64")
    table.ways.choices[TEXTS[1].removesuffix(", ReLU")] = "winograd"

    def refused(code, options):
        if "winograd_of_image" in code:
            raise RuntimeError("no such instruction")
        return stand_in.RawModule(code, options)

    table.gpu.xp.RawModule = refused
    example = Example(NETWORK, 2, "reals", "float64")
    with pytest.warns(UserWarning, match="winograd_of_image does not start"):
        found = example.run(asarray, np.asarray, table)
    assert_same(found, example.run(np.array, np.asarray, REFERENCE), 1e-11)


@pytest.fixture
def clock(fake_cuda, monkeypatch):
    """The device's time: a second for each thing that a graph does."""
    now = [0.0]
    launch = stand_in.Graph.launch

    def counted(graph):
        now[0] += len(graph.work)
        launch(graph)

    monkeypatch.setattr(stand_in.Graph, "launch", counted)
    monkeypatch.setattr(stand_in.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(tuning, "CALLS", 1)
    monkeypatch.setattr(tuning, "ROUNDS", 1)
    monkeypatch.setattr(tensor, "FEW", 1)
    return now


def data(count=12):
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8), rng.integers(0, 3, count)


def tuned_model(**options):
    return Model(NETWORK, device="cuda", seed=1, **options)


def fit(model, **options):
    model.fit(*data(), epochs=options.pop("epochs", 2), batch_size=4, lr=0.01, **options)
    return np.asarray(model.theta).copy()


def test_each_convolution_is_measured_by_every_way_that_takes_it(clock):
    model = tuned_model(tune=True)
    fit(model)
    found = {each.convolution: each for each in model.execution.tuned}
    assert list(found) == TEXTS
    assert [list(found[text].microseconds) for text in TEXTS] == [
        ["direct", "columns"],
        ["direct", "columns", "winograd", "tensor"],
        ["direct", "columns"],
    ]
    for each in found.values():
        assert each.batch == 4
        assert each.chosen == min(each.microseconds, key=each.microseconds.get)
    assert tuning.choices_of(model.execution) == {text: each.chosen for text, each in found.items()}
    assert len(tuning_file.told(model.execution.tuned)) == 3
    fit(model)
    assert len(model.execution.tuned) == 3  # once for all


def test_tensor_cores_are_measured_where_the_batch_fills_them(clock, monkeypatch):
    """Of fewer images, columns would be measured in their name."""
    monkeypatch.setattr(tensor, "FEW", 2)
    for batch, there in ((2, False), (4, True)):  # a block computes 128 outputs
        model = tuned_model(tune=True)
        model.fit(*data(), epochs=1, batch_size=batch, lr=0.01)
        assert ("tensor" in model.execution.tuned[1].microseconds) == there
        assert model.execution.tuned[1].convolution == TEXTS[1]


def test_convolutions_of_one_way_are_not_measured_and_have_a_choice(clock, monkeypatch):
    worked = []
    make = tuning._work
    monkeypatch.setattr(tuning, "_work", lambda *given: worked.append(str(given[1])) or make(*given))
    network = Network(SHAPE, (Conv2D(16, 3), ReLU(), Conv2D(42, 1), ReLU(), Conv2D(42, 3, 2), Flatten(), Dense(3)))
    model = Model(network, device="cuda", tune=True)
    fit(model)
    assert "14x14x2, 16 filters of 3x3, ReLU" in worked
    assert not any("3x3, stride" in text for text in worked)
    assert tuning.choices_of(model.execution)["12x12x42, 42 filters of 3x3, stride 2x2"] == "columns"
    worked.clear()
    fit(model)
    assert worked == []


def test_cudnn_is_measured_chosen_and_used(fake_cudnn, clock, tmp_path):
    """Where its module is there; a run that is given such choices takes them, with the same numbers."""
    expected = fit(tuned_model())
    model = tuned_model(tune=True)
    fit(model)
    assert all("cudnn" in each.microseconds for each in model.execution.tuned)
    choices = dict.fromkeys(TEXTS, "cudnn")
    tuning.write(tmp_path / "tuning.json", choices, [], model.execution.tuned_on)
    fake_cudnn.executed.clear()
    chosen = tuned_model(tune=str(tmp_path / "tuning.json"))
    np.testing.assert_allclose(fit(chosen), expected, atol=1e-5)
    assert tuning.choices_of(chosen.execution) == choices
    assert {"conv_fprop", "conv_dgrad", "conv_wgrad"} == set(fake_cudnn.executed)


def test_the_batch_is_as_large_as_training_has_it(clock):
    images, labels = data(6)
    for begin in (
        lambda model: model.fit(images, labels, epochs=1, batch_size=100, lr=0.01),
        lambda model: model.fit(images, labels, epochs=1, batch_size=3, accumulate=2, lr=0.01),
        lambda model: model.fit_batches(lambda epoch: [(images[:5], labels[:5])], epochs=1, lr=0.01),
    ):
        model = tuned_model(tune=True)
        begin(model)
        assert len({each.batch for each in model.execution.tuned}) == 1
        yielded = model.execution.tuned[0].batch
        assert yielded == model.execution.tuned_on["batch"]
        assert yielded in (6, 3, 5)


def failing(monkeypatch, way, error, *, recorded=False):
    """That way raises, or cannot be recorded."""
    work, record = tuning._work, gpucnn.device.Device.record

    def made(execution, shape, *rest):
        done = work(execution, shape, *rest)

        def broken():
            if execution.context.kernels.ways.choices.get(str(shape)) == way and not recorded:
                raise error
            return done()

        broken.shape, broken.ways = shape, execution.context.kernels.ways
        return broken

    def refused(device, work):
        if hasattr(work, "shape") and work.ways.choices.get(str(work.shape)) == way:
            raise error
        return record(device, work)

    monkeypatch.setattr(tuning, "_work", made)
    if recorded:
        monkeypatch.setattr(gpucnn.device.Device, "record", refused)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("bad plan")])
def test_a_way_that_fails_is_no_candidate_and_a_warning_says_so(error, recorded, clock, monkeypatch):
    failing(monkeypatch, "winograd", error, recorded=recorded)
    model = tuned_model(tune=True)
    with pytest.warns(UserWarning, match=r"7x7x16.* by 'winograd' could not be measured \(.*(no room|bad plan)\)"):
        fit(model)
    others = [["direct", "columns"], ["direct", "columns", "tensor"], ["direct", "columns"]]
    assert [list(each.microseconds) for each in model.execution.tuned] == others


def test_where_the_usual_way_fails_training_ends_with_a_sentence(clock, monkeypatch):
    failing(monkeypatch, "direct", MemoryError("no room"))
    with pytest.raises(DeviceError, match="out of memory with 4 examples per batch"):
        fit(tuned_model(tune=True))


def test_where_no_way_can_be_recorded_the_usual_one_is_kept(clock, monkeypatch):
    for way in ways.NAMES:
        failing(monkeypatch, way, RuntimeError("no graph"), recorded=True)
    model = tuned_model(tune=True)
    with pytest.warns(UserWarning, match="no graph"):
        fit(model)
    assert model.execution.tuned == []
    assert tuning.choices_of(model.execution) == dict.fromkeys(TEXTS, "direct")


def test_without_graphs_each_way_is_timed_as_itself(fake_cuda, monkeypatch):
    now, cost = [0.0], {"direct": 3.0, "columns": 1.0, "winograd": 2.0, "tensor": 2.5}
    work = tuning._work

    def made(execution, shape, *rest):
        done = work(execution, shape, *rest)

        def counted():
            now[0] += cost[execution.context.kernels.ways.choices[str(shape)]]
            return done()

        return counted

    monkeypatch.setattr(tuning, "_work", made)
    monkeypatch.setattr(tuning, "CALLS", 1)
    monkeypatch.setattr(tuning, "ROUNDS", 1)
    monkeypatch.setattr(tensor, "FEW", 1)
    monkeypatch.setattr(stand_in.time, "perf_counter", lambda: now[0])
    model = tuned_model(tune=True, graph=False)
    fit(model)
    for each in model.execution.tuned:
        assert each.microseconds == {name: 1e6 * cost[name] for name in each.microseconds}
        assert each.chosen == "columns"


def test_choices_decide_the_bits_and_come_back_from_a_file(clock, tmp_path):
    first = tuned_model(tune=True)
    theta = fit(first)
    made = {"name": first.device.name, "driver": first.device.driver}
    tuning.write(tmp_path / "tuning.json", tuning.choices_of(first.execution), first.execution.tuned, made)
    assert json.loads((tmp_path / "tuning.json").read_text())["made"]["driver"] == "13.0"
    second = tuned_model(tune=str(tmp_path / "tuning.json"))
    np.testing.assert_array_equal(fit(second), theta)
    assert second.execution.tuned == []
    choices = {TEXTS[0]: "columns", TEXTS[1]: "winograd"}
    tuning.write(tmp_path / "other.json", choices, [], made)
    third = tuned_model(tune=str(tmp_path / "other.json"))
    fit(third)
    assert [each.convolution for each in third.execution.tuned] == TEXTS[2:]  # what the file lacks
    assert tuning.choices_of(third.execution).items() >= choices.items()


def test_a_run_that_goes_on_takes_the_choices_that_it_began_with(clock, tmp_path, monkeypatch):
    whole = fit(tuned_model(tune=True), epochs=4, schedule="constant")
    fit(tuned_model(tune=True), epochs=2, resume=tmp_path)
    monkeypatch.setattr(tuning, "fastest", lambda times, usual: "columns")  # it would be measured otherwise
    went_on = tuned_model(tune=True)
    theta = fit(went_on, epochs=4, resume=tmp_path)
    np.testing.assert_array_equal(theta, whole)
    assert went_on.execution.tuned == []
    with pytest.raises(SettingError, match=r"had another convolutions .* then and None now"):
        fit(tuned_model(), epochs=4, resume=tmp_path)


def test_a_run_that_goes_on_does_not_ask_the_file_of_choices(clock, tmp_path):
    """Rows of another network in it make no other run, and choices that differ now do not count."""
    file = tmp_path / "tuning.json"
    tuning.write(file, dict.fromkeys(TEXTS, "columns"), [], {})
    whole = fit(tuned_model(tune=str(file)), epochs=4, schedule="constant")
    fit(tuned_model(tune=str(file)), epochs=2, resume=tmp_path)
    tuning.write(file, {**dict.fromkeys(TEXTS, "direct"), "9x9x9, 9 filters of 3x3": "columns"}, [], {})
    theta = fit(tuned_model(tune=str(file)), epochs=4, resume=tmp_path)
    np.testing.assert_array_equal(theta, whole)


def test_a_run_that_began_without_tuning_does_not_go_on_with_it(clock, tmp_path):
    fit(tuned_model(), epochs=1, resume=tmp_path)
    with pytest.raises(SettingError, match="had another convolutions None then and to be measured now"):
        fit(tuned_model(tune=True), epochs=1, resume=tmp_path)


def test_what_differs_between_choices_is_named():
    then, now = dict.fromkeys(TEXTS, "columns"), {**dict.fromkeys(TEXTS, "columns"), TEXTS[1]: "direct"}
    with pytest.raises(SettingError) as caught:
        checkpoints.compare({"convolutions": then}, {"convolutions": now}, "there", anyway=False)
    assert f"another convolutions ({TEXTS[1]}) columns then and direct now; give" in str(caught.value)


@pytest.mark.parametrize("made", [{"name": "another"}, {"precision": "tf32", "batch": 4}, {"dtype": "float64"}])
def test_choices_that_were_measured_on_something_else_are_taken_with_a_warning(made, clock, tmp_path):
    tuning.write(tmp_path / "tuning.json", dict.fromkeys(TEXTS, "columns"), [], made | {"python": "3"})
    said = next(f"{name} {value}" for name, value in made.items())
    with pytest.warns(UserWarning, match=rf"were measured with {said} \([^,]* here\); --tune measures again"):
        fit(tuned_model(tune=str(tmp_path / "tuning.json")))


def test_a_file_that_is_written_again_keeps_earlier_rows(tmp_path):
    path = tmp_path / "tuning.json"
    first = tuning.Choice("a", 4, "direct", {"direct": 1.0, "columns": 2.0})
    tuning.write(path, {"a": "direct", "b": "direct"}, [first], {})
    earlier, again = tuning.read(path).rows, tuning.Choice("c", 4, "columns", {"columns": 2.0})
    tuning.write(path, {"a": "direct", "b": "columns", "c": "columns"}, [again], {}, earlier=earlier)
    rows = tuning.read(path).rows
    assert [row["convolution"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["microseconds"] == first.microseconds
    assert rows[1] == {"convolution": "b", "chosen": "columns"}
    assert rows[2]["microseconds"] == again.microseconds


@pytest.mark.gpu
@pytest.mark.skipif(not usable_gpu(), reason="no CUDA device can be used here")
def test_on_a_gpu(monkeypatch):
    monkeypatch.setattr(tuning, "ROUNDS", 2)
    model = tuned_model(tune=True)
    theta = fit_on_a_gpu(model)
    assert [each.convolution for each in model.execution.tuned] == TEXTS
    assert all(len(each.microseconds) > 1 for each in model.execution.tuned)
    again = tuned_model(tune=True)
    tuning.choose(again.execution, tuning.choices_of(model.execution))
    np.testing.assert_array_equal(fit_on_a_gpu(again), theta)
    assert again.execution.tuned == []


def fit_on_a_gpu(model):
    model.fit(*data(), epochs=1, batch_size=4, lr=0.01)
    return model.device.fetch(model.theta)


def test_there_is_nothing_to_tune_where_ties_share_a_gradient(clock):
    model = Model(
        Network(SHAPE, (Conv2D(8, 3), ReLU(), MaxPool2D(ties="all"), Flatten(), Dense(3))), device="cuda", tune=True
    )
    fit(model)
    assert model.execution.tuned == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "cpu", "tune": True}, r"tuning \(--tune.* needs a CUDA device"),
        ({"device": "cuda", "tune": True, "kernels": "winograd"}, "tuning chooses among all kernels"),
        ({"device": "cuda", "tune": "nowhere.json"}, "nowhere.json: it cannot be read: No such file"),
        ({"device": "cuda", "tune": "torn.json"}, r"torn.json: it is no tuning.json"),
        ({"device": "cuda", "tune": "strange.json"}, "convolutions by 'magic' were chosen, which are not here"),
        ({"device": "cuda", "tune": "cudnn.json"}, "convolutions by 'cudnn' were chosen, which are not here"),
        ({"device": "cuda", "tune": "/dev/zero"}, r"/dev/zero: it is no tuning.json .* \(it is no regular file\)"),
        ({"device": "cuda", "tune": "list.json"}, "list.json: it is no tuning.json"),
        ({"device": "cuda", "tune": 3}, "tune=3: True, False or the path"),
        ({"device": "cuda", "tune": ""}, "tune='': True, False or the path"),
        ({"device": "cpu", "kernels": "winograd"}, "kernels 'winograd' .* needs a CUDA device"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_a_sentence(options, says, fake_cuda, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torn.json").write_text('{"convolutions": [')
    (tmp_path / "list.json").write_text("[1]")
    for name, way in (("strange", "magic"), ("cudnn", "cudnn")):
        tuning.write(tmp_path / f"{name}.json", {"9x9x1": way}, [], {})
    with pytest.raises(SettingError, match=says):
        Model(NETWORK, **options)


def test_winograd_as_kernels(fake_cuda):
    """The table that prefers tiles; for networks that share gradients among ties it is the default one."""
    assert Model(NETWORK, device="cuda", kernels="winograd").execution.context.kernels.name == "cuda+winograd"
    with pytest.warns(UserWarning, match="Winograd's sums do not promise equal bits"):
        assert Model("layered", device="cuda", kernels="winograd").execution.context.kernels.name == "cuda"
    assert not Acceleration("winograd").is_possible(gpucnn.device.Device("cuda"), exact_ties=True)
    assert not Acceleration("winograd").is_possible(gpucnn.device.Device("cpu"), exact_ties=False)


def test_bench_tune_shows_a_table(clock, monkeypatch):
    from gpucnn.report.bench import summary
    from gpucnn.report.bench import tune as bench_tune
    from gpucnn.report.bench.session import BenchOptions

    shown = []
    found = bench_tune.tune("single-filter", 4, BenchOptions(device="cuda"), shown.append)
    assert (found["mode"], [row["network"] for row in found["rows"]]) == ("tune", ["single-filter"])
    lines = summary.summary(found).splitlines()
    assert lines[0] == "The fastest way of each convolution of single-filter:"
    assert lines[2].split() == ["us,", "batch", "4", "direct", "columns", "chosen"]
    assert lines[3].startswith("28x28x1, 1 filters of 3x3, max pool 2x2 by 2x2")
    json.dumps(found, allow_nan=False)
    with pytest.raises(SettingError, match="needs a CUDA device"):
        bench_tune.tune("single-filter", 4, BenchOptions(device="cpu"), shown.append)
    assert "No convolution" in summary.summary(found | {"rows": []})


def test_train_keeps_its_choices_in_the_runs_folder(clock, tmp_path, monkeypatch, capsys):
    from gpucnn.command import main

    def run(*words):
        monkeypatch.setattr("sys.argv", ["gpucnn", "train", *words, "--epochs", "1", "--batch-size", "600"])
        return main()

    out = ("--out", str(tmp_path / "run"))
    assert run("single-filter", "--device", "cuda", "--tune", *out) == 0
    said = capsys.readouterr().err
    assert "28x28x1, 1 filters of 3x3, max pool 2x2 by 2x2, batch 600: " in said
    kept = json.loads((tmp_path / "run" / "tuning.json").read_text())
    assert [row["batch"] for row in kept["convolutions"]] == [600]
    assert (kept["made"]["name"], kept["made"]["driver"]) == ("no GPU: g++ and NumPy", "13.0")
    assert [kept["made"][each] for each in ("precision", "dtype", "batch")] == ["float32", "float32", 600]
    assert "\ntune = true\n" in (tmp_path / "run" / "run.toml").read_text()
    assert run("--resume", str(tmp_path / "run")) == 0
    assert "microseconds" not in capsys.readouterr().err
    file = str(tmp_path / "run" / "tuning.json")
    assert run("single-filter", "--device", "cuda", "--tuning", file, "--out", str(tmp_path / "again")) == 0
    assert f'\ntuning = "{file}"\n' in (tmp_path / "again" / "run.toml").read_text()
    same = [(tmp_path / each / "model.safetensors").read_bytes() for each in ("run", "again")]
    assert same[0] == same[1]
    capsys.readouterr()
    assert run("single-filter", "--device", "cpu", "--tune", "--out", str(tmp_path / "cpu")) != 0
    assert "needs a CUDA device, and this is the CPU" in capsys.readouterr().err
