"""Choosing on the spot, on a CUDA device, by which way each convolution of a network is computed.

Each is measured at its shape and batch, forward and backward, by all ways that take it, in turn; a run keeps what was
chosen, so that it gives the same bits when it goes on, or when another run takes its choices.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..device import reason_of
from ..errors import SettingError, warn
from ..kernels import Context
from ..kernels.cuda import ways
from ..training.writing import write_text
from .scaling import Scaling

if TYPE_CHECKING:
    from .execution import Execution

ROUNDS, CALLS, WARM = 7, 10, 2  # rounds of all ways in turn, calls in each of them, and calls before
NEEDED = 0.97  # of the time of the way that is usual, from which on another is not chosen
MOST = 1 << 20  # bytes of a file of choices
MADE_ON = "name", "precision", "dtype", "batch"  # the GPU's name, and what else times depend on


@dataclass(frozen=True)
class Choice:
    """What was measured of a convolution: its shape in words, the batch, the way that was chosen, the medians of all
    ways.
    """

    convolution: str
    batch: int
    chosen: str
    microseconds: dict[str, float]


def fastest(times: Mapping[str, Sequence[float]], usual: str) -> str:
    """The way with the smallest median, or the usual one where that saves less than 3 %, about what chance makes."""
    medians = {name: statistics.median(of) for name, of in times.items()}
    best = min(medians, key=lambda name: medians[name])
    return best if usual not in medians or medians[best] < NEEDED * medians[usual] else usual


def choices_of(execution: Execution) -> dict[str, str]:
    """The ways that were chosen, by the convolution; they decide the bits."""
    found = _ways(execution)
    return {} if found is None else dict(found.choices)


def about(execution: Execution) -> dict[str, str] | str | None:
    """The choices as a run's description has them; a word before they are made, None where nobody asks for them."""
    to_come = "to be measured" if execution.acceleration.tune and _ways(execution) is not None else None
    return choices_of(execution) or to_come


def _ways(execution: Execution) -> Any:
    """None where kernels have no choice: the reference's, and those of networks that share gradients among ties."""
    found = getattr(execution.context.kernels, "ways", None)
    return None if found is None or found.has_exact_ties else found


def choose(execution: Execution, choices: Mapping[str, str], made: Mapping[str, Any] | None = None) -> None:
    """Take these choices, which were made before, of whatever convolutions, in the place of all others.

    made: on what, as `read` has it. Raises SettingError for a way that is not here.
    """
    found = _ways(execution)
    if found is None:
        return
    missing = ways.CUDNN if ways.CUDNN in choices.values() and found.cudnn is None else None
    if wrong := next((each for each in choices.values() if each not in ways.NAMES), missing):
        raise SettingError(
            f"tuning: convolutions by {wrong!r} were chosen, which are not here; install what they need, or measure "
            "again with --tune (tune=True)"
        )
    found.choices = dict(choices)
    execution.tuned_on = {name: value for name, value in (made or {}).items() if name in MADE_ON}


def tune(execution: Execution, scaling: Scaling, batch: int) -> list[Choice]:
    """Measure the network's convolutions at that batch, those that have no choice yet, and choose.

    Where there is one way, or none could be measured, the choice is the usual one. Choices of other convolutions are
    dropped. Where choices were made on something else, a warning says so.
    """
    found, dtype = _ways(execution), execution.theta.dtype
    if found is None:
        return []
    now = dict(zip(MADE_ON, (execution.device.name, execution.acceleration.precision, str(dtype), batch)))
    differing = {name: then for name, then in execution.tuned_on.items() if then != now[name]}
    if differing:
        said = ", ".join(f"{name} {then} ({now[name]} here)" for name, then in differing.items())
        warn(f"the convolutions' choices were measured with {said}; --tune measures again")
    made: list[Choice] = []
    with execution.active():
        met = _met(execution, scaling)
        found.choices = {str(shape): found.choices[str(shape)] for shape in met if str(shape) in found.choices}
        missing = {}
        for shape, need_dx in met.items():
            if str(shape) not in found.choices:
                names = found.candidates(shape, dtype, batch)
                if len(names) > 1:
                    missing[shape] = need_dx, names
                else:
                    found.choices[str(shape)] = found.way(shape, dtype)
        _rehearse(execution, missing, batch)
        for shape, (need_dx, names) in missing.items():
            times, usual = _timed(execution, shape, batch, need_dx, names), found.way(shape, dtype)
            found.choices[str(shape)] = choice = fastest(times, usual) if times else usual
            if times:
                medians = {name: round(1e6 * statistics.median(of), 2) for name, of in times.items()}
                made.append(Choice(str(shape), batch, choice, medians))
    execution.tuned += made
    if made or not execution.tuned_on:
        execution.tuned_on = now
    return made


def _met(execution: Execution, scaling: Scaling) -> dict[ways.Shape, bool]:
    """The shapes of the convolutions that a training step meets, and whether their image's gradient is needed.

    Two images are sent through the network, without launching anything of gpucnn's.
    """
    kernels, put = execution.context.kernels, execution.device.put
    found = kernels.ways  # type: ignore[attr-defined]

    def work() -> None:
        program = execution.program(Context(kernels), scaling, execution.theta, execution.state)
        images = put(np.zeros((2, *execution.network.input_shape), np.uint8))
        context = program.told(1, put(np.arange(2)))
        x = scaling(images, program.theta.dtype, kernels)
        outputs, residuals = program.network.forward(program.params, x, context)
        program.network.backward(program.params, residuals, outputs, context, need_dx=False)

    found.asked = {}
    try:
        kernels.ahead(work)
        return found.asked
    finally:
        found.asked = None


@contextmanager
def _by(execution: Execution, shape: ways.Shape, name: str) -> Iterator[None]:
    """Compute the convolution by that way."""
    choices = execution.context.kernels.ways.choices  # type: ignore[attr-defined]
    choices[str(shape)] = name
    try:
        yield
    finally:
        choices.pop(str(shape), None)


def _rehearse(execution: Execution, missing: Mapping[ways.Shape, tuple[bool, Sequence[str]]], batch: int) -> None:
    """Compile side by side what all their ways need."""

    def work() -> None:
        for shape, (need_dx, names) in missing.items():
            for name in names:
                with suppress(Exception), _by(execution, shape, name):  # it is said when it is measured
                    _work(execution, shape, batch, need_dx)()

    execution.context.kernels.ahead(work)


def _timed(
    execution: Execution, shape: ways.Shape, batch: int, need_dx: bool, names: Sequence[str]
) -> dict[str, list[float]]:
    """Seconds of a forward and a backward pass, by each of those ways that can be had, as a step has it: recorded as a
    CUDA graph, or launched each time where steps are."""
    device, found = execution.device, execution.context.kernels.ways  # type: ignore[attr-defined]
    work, usual = _work(execution, shape, batch, need_dx), found.way(shape, execution.theta.dtype)
    ready: dict[str, Callable[[], Any]] = {}
    for name in names:
        called = False
        try:
            with _by(execution, shape, name), warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # another way took its place: it cannot be had
                for _ in range(WARM):
                    work()
                called = True
                ready[name] = work if execution.acceleration.graph is False else device.record(work).replay
        except UserWarning:
            continue
        except Exception as error:  # whatever a library or a driver raises, memory that is not enough included
            if name == usual and not called:
                raise  # training would fail as well
            warn(f"the convolution {shape} by {name!r} could not be measured ({reason_of(error)}), and is not chosen")
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(ROUNDS):
        for name, call in ready.items():
            with _by(execution, shape, name), device.timer() as timer:
                for _ in range(CALLS):
                    call()
            times[name].append(timer.seconds / CALLS)
    return times


def _work(execution: Execution, shape: ways.Shape, batch: int, need_dx: bool) -> Callable[[], Any]:
    """Both passes, on random numbers; with a pool or a ReLU behind it, bias, ReLU and pool are part of them."""
    kernels, dtype, rng = execution.context.kernels, execution.theta.dtype, np.random.default_rng(0)

    def drawn(*sizes: int, count: int | None = None) -> Any:
        numbers = rng.standard_normal(sizes).astype(dtype)
        return execution.device.put(numbers if count is None else np.repeat(numbers[None], count, axis=0))

    window, pool, K = shape.window, shape.pool, shape.filters
    outputs = window.outputs(*shape.image[:2])
    x, w, b = drawn(*shape.image, count=batch), drawn(*window.size, shape.image[2], K), drawn(K)
    dy = drawn(*(outputs if pool is None else pool.outputs(*outputs)), K, count=batch)

    def work() -> Any:
        if shape.relu:
            _, residual = kernels.rectified_correlation(x, w, b, window, 1, 0.0)
            return kernels.rectified_correlation_backward(residual, w, dy, need_dx)
        if pool is None:
            _, residual = kernels.correlation.forward(x, w, window, 1)
            return kernels.correlation.backward(residual, w, dy, need_dx)
        _, residual = kernels.pooled_correlation(x, w, b, window, 1, 0.0, pool, "first")
        return kernels.pooled_correlation_backward(residual, w, dy, need_dx)

    return work


def write(
    path: Path,
    choices: Mapping[str, str],
    measured: Sequence[Choice],
    made: Mapping[str, Any],
    *,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a file of choices, with their times where they were measured. made: on what; earlier: rows of the file that
    this one replaces, which stay where the choice is the same and was not measured again."""
    rows = {name: {"convolution": name, "chosen": chosen} for name, chosen in choices.items()}
    for row in (*earlier, *map(asdict, measured)):
        if choices.get(row["convolution"]) == row["chosen"]:
            rows[row["convolution"]] = dict(row)
    text = json.dumps({"convolutions": [*rows.values()], "made": made}, indent=1)
    write_text(path, text + "\n")


class Read(NamedTuple):
    """A file of choices. choices: ways by the convolution; made: on what; rows: as they were written."""

    choices: dict[str, str]
    made: dict[str, Any]
    rows: list[dict[str, Any]]


def read(path: str | Path) -> Read:
    """A file of choices. Raises SettingError where it is none."""
    try:
        if not Path(path).is_file() and Path(path).exists():
            raise ValueError("it is no regular file")
        if Path(path).stat().st_size > MOST:
            raise ValueError("it is too large")
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        rows, made = found["convolutions"], found.get("made", {})
        choices = {each["convolution"]: each["chosen"] for each in rows}
        if not all(isinstance(each, str) for pair in choices.items() for each in pair) or not isinstance(made, dict):
            raise TypeError("texts were expected")
    except OSError as error:
        raise SettingError(
            f"{path}: it cannot be read: {error.strerror or error}; a tuning.json was expected"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(f"{path}: it is no tuning.json of `gpucnn train --tune` ({error})") from None
    return Read(choices, made, rows)
