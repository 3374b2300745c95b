"""Choosing on the spot, on a CUDA device, by which way each convolution of a network is computed.

Each is measured at its shape and batch, forward and backward, by all ways that take it, in turn; a run keeps what was
chosen, so that it gives the same bits when it goes on, or when another run takes its choices.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingError
from ..kernels import Context
from ..kernels.cuda import ways
from .scaling import Scaling

if TYPE_CHECKING:
    from .execution import Execution

ROUNDS, CALLS, WARM = 7, 10, 2  # rounds of all ways in turn, calls in each of them, and calls before
NEEDED = 0.97  # of the time of the way that is usual, from which on another is not chosen
MOST = 1 << 20  # bytes of a file of choices


@dataclass(frozen=True)
class Choice:
    """Of one convolution: its shape in words, the batch, which way was chosen, and the medians of all."""

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
    found = getattr(execution.context.kernels, "ways", None)
    return {} if found is None else dict(found.choices)


def choose(execution: Execution, choices: Mapping[str, str]) -> None:
    """Take choices that were made before, of whatever convolutions. Raises SettingError for a way that is not here."""
    found = getattr(execution.context.kernels, "ways", None)
    if found is None or found.has_exact_ties:
        return
    missing = ways.CUDNN if ways.CUDNN in choices.values() and found.cudnn is None else None
    if wrong := next((each for each in choices.values() if each not in ways.NAMES), missing):
        raise SettingError(
            f"tuning: convolutions by {wrong!r} were chosen, which are not here; install what they need, or measure "
            "again with --tune (tune=True)"
        )
    found.choices.update(choices)


def tune(execution: Execution, scaling: Scaling, batch: int) -> list[Choice]:
    """Measure the network's convolutions at that batch, those that have no choice yet, and choose.

    Nothing where kernels have no choice: the reference's, and those of networks that share gradients among ties.
    """
    kernels: Any = execution.context.kernels
    found = getattr(kernels, "ways", None)
    if found is None or found.has_exact_ties:
        return []
    made: list[Choice] = []
    with execution.active():
        for shape, need_dx in _met(execution, scaling).items():
            if str(shape) in found.choices:
                continue
            times = _timed(execution, shape, batch, need_dx)
            if len(times) > 1:
                choice = fastest(times, found.way(shape, execution.theta.dtype))
                found.choices[str(shape)] = choice
                medians = {name: round(1e6 * statistics.median(of), 2) for name, of in times.items()}
                made.append(Choice(str(shape), batch, choice, medians))
    execution.tuned += made
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


def _timed(execution: Execution, shape: ways.Shape, batch: int, need_dx: bool) -> dict[str, list[float]]:
    """Seconds of a forward and a backward pass, by each way that takes the convolution."""
    kernels, device, dtype = execution.context.kernels, execution.device, execution.theta.dtype
    found, text = kernels.ways, str(shape)  # type: ignore[attr-defined]
    names = (*ways.possible(shape, dtype.itemsize), *([] if found.cudnn is None else [ways.CUDNN]))
    work, ready = _work(execution, shape, batch, need_dx), {}
    try:
        for name in names:
            found.choices[text] = name
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # another way took its place: it cannot be had
                    for _ in range(WARM):
                        work()
                ready[name] = _recorded(device, work)
            except (Warning, MemoryError):
                continue
    finally:
        found.choices.pop(text, None)
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(ROUNDS):
        for name, call in ready.items():
            with device.timer() as timer:
                for _ in range(CALLS):
                    call()
            times[name].append(timer.seconds / CALLS)
    return times


def _work(execution: Execution, shape: ways.Shape, batch: int, need_dx: bool) -> Callable[[], Any]:
    """Both passes, on random numbers; with a pool behind it, bias, ReLU and pool are part of them."""
    kernels, dtype, rng = execution.context.kernels, execution.theta.dtype, np.random.default_rng(0)

    def drawn(*sizes: int, count: int | None = None) -> Any:
        numbers = rng.standard_normal(sizes).astype(dtype)
        return execution.device.put(numbers if count is None else np.repeat(numbers[None], count, axis=0))

    window, pool, K = shape.window, shape.pool, shape.filters
    outputs = window.outputs(*shape.image[:2])
    x, w, b = drawn(*shape.image, count=batch), drawn(*window.size, shape.image[2], K), drawn(K)
    dy = drawn(*(outputs if pool is None else pool.outputs(*outputs)), K, count=batch)

    def work() -> Any:
        if pool is None:
            _, residual = kernels.correlation.forward(x, w, window, 1)
            return kernels.correlation.backward(residual, w, dy, need_dx)
        _, residual = kernels.pooled_correlation(x, w, b, window, 1, 0.0, pool, "first")
        return kernels.pooled_correlation_backward(residual, w, dy, need_dx)

    return work


def _recorded(device: Any, work: Callable[[], Any]) -> Callable[[], Any]:
    """The work as a step has it: recorded as a CUDA graph, or launched again where that cannot be."""
    try:
        return device.record(work).replay
    except MemoryError:
        raise
    except Exception:  # whatever cannot be recorded
        return work


def write(path: Path, choices: Mapping[str, str], measured: Sequence[Choice], made: Mapping[str, Any]) -> None:
    """Write a file of choices, with their times where they were measured. made: on what."""
    times = {each.convolution: each for each in measured}
    rows = [
        asdict(times[name]) if name in times else {"convolution": name, "chosen": chosen}
        for name, chosen in choices.items()
    ]
    path.write_text(json.dumps({"convolutions": rows, "made": made}, indent=1) + "\n", encoding="utf-8")


def read(path: str) -> dict[str, str]:
    """The choices in a file. Raises SettingError where it is none."""
    try:
        if Path(path).stat().st_size > MOST:
            raise ValueError("it is too large")
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["convolutions"]
        found = {each["convolution"]: each["chosen"] for each in rows}
        if not all(isinstance(each, str) for pair in found.items() for each in pair):
            raise TypeError("texts were expected")
    except OSError as error:
        raise SettingError(
            f"{path}: it cannot be read: {error.strerror or error}; a tuning.json was expected"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingError(f"{path}: it is no tuning.json of `gpucnn train --tune` ({error})") from None
    return found
