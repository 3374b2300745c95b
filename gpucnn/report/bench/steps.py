"""`gpucnn bench`: what a training step and inference take, beside other libraries where they are installed.

All candidates of a row run in one process, in turn (A B A B), with the same number of threads. On gpucnn's side a step
is the whole step: the batch is taken from uint8 images and scaled inside the timed part. The others are given float32
tensors that are ready before, which favours them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ... import networks
from ...acceleration import Acceleration
from ...device import Device
from ...errors import SettingError
from ...graph import WARM
from ...layers import Conv2D, Dense, Flatten
from ...losses import Loss
from ...model import Model
from ...network import Network, shares_ties
from ...optimizers import SGD
from ...workers import default_threads, helpers
from ..environment import described, environment
from ..timing import BUDGET, NEEDED, Candidate, Rounds, interleave, spread
from . import jax_peer, torch_peer

Show = Callable[[str], None]

NETWORKS = ("single-filter", "avgpool-96", "two-conv", "two-conv-wide", "vgg-small")
BATCHES = (32, 128, 512)
ROUNDS = 7
SCALING_BATCHES = (128, 256, 512, 1024, 2048)
SIDES = (28, 56, 112, 224)  # pixels
PIXEL_BATCH = 128
OURS = "gpucnn"
MORE = {
    "gpucnn numba": Acceleration(kernels="numba"),
    "gpucnn fused": Acceleration(kernels="fused"),
    "gpucnn graph": Acceleration(graph=True),
    "gpucnn graph, TF32": Acceleration(graph=True, precision="tf32"),
    "gpucnn cuDNN": Acceleration(kernels="cudnn"),
    "gpucnn cuDNN, graph": Acceleration(kernels="cudnn", graph=True),
}
LR = 0.01


class Unit(NamedTuple):
    name: str
    shown: str
    seconds: float


UNITS = {
    "image": Unit("microseconds_per_image", "us/image", 1e-6),
    "pixel": Unit("nanoseconds_per_pixel", "ns/pixel", 1e-9),
}

HOW = (
    "gpucnn takes its batch from uint8 images and scales it inside the timed step; the others get float32 tensors "
    "that are ready before, which favours them. Same float32, SGD, threads; they run in turn, figures are medians "
    "[least..most] over rounds."
)


@dataclass(frozen=True)
class Settings:
    """threads: None is all the process may use. rounds: how often each candidate has its turn.

    images: of the random data set, and of inference. needed, budget: see `timing`. fused: time gpucnn's
    other kernels too: numba's on the CPU; on a CUDA device the fused ones, these as one graph, and cuDNN's.
    """

    device: str = "cpu"
    threads: int | None = None
    rounds: int = ROUNDS
    images: int = 10_000
    needed: float = NEEDED
    budget: float = BUDGET
    fused: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.images < 1:
            raise SettingError(f"bench: {self.rounds} rounds, {self.images} images: at least 1 of each was expected")

    @property
    def cpu_threads(self) -> int:
        return self.threads or default_threads()


@dataclass(frozen=True)
class Case:
    """What is timed: a network, its loss, and random images and labels for it."""

    name: str
    network: Network
    loss: Loss
    images: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, name: str, images: int, network: Network | None = None) -> Case:
        """The named network, or another one under its name, with so many images."""
        entry = networks.entry(name)
        network = network or networks.build(name)
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (images, *network.input_shape), dtype=np.uint8)
        return cls(name, network, entry.loss, pixels, rng.integers(0, network.shapes()[-1][0], images))


class Bench:
    """The candidates on one device, and the rounds in which they are compared."""

    def __init__(self, settings: Settings, show: Show = print) -> None:
        self.settings, self.show = settings, show
        self.device = Device.parse(settings.device)
        self.torch_obstacle = torch_peer.obstacle(str(self.device))
        self.jax_obstacle = jax_peer.obstacle() if self.device.kind == "cuda" else ""
        if self.torch_obstacle is None:
            torch_peer.set_threads(settings.cpu_threads)
        if self.device.kind == "cpu" and helpers.possible():
            helpers.team.start(settings.cpu_threads - 1)

    @property
    def notes(self) -> list[str]:
        return [each for each in (HOW, self.torch_obstacle, self.jax_obstacle) if each]

    def training(self, case: Case, batch: int) -> dict[str, Any]:
        """A row: a training step of the case."""
        candidates = {OURS: self._our_step(case, batch)}
        candidates |= {name: self._our_step(case, batch, how) for name, how in self._more(case).items()}
        shape = (case.network, case.loss, case.images[:batch], case.labels[:batch], str(self.device), LR)
        if self.torch_obstacle is None:
            candidates |= torch_peer.training(*shape)
        if self.jax_obstacle is None:
            candidates |= jax_peer.training(*shape)
        return self._row(case, "training step", batch, candidates)

    def row(self, name: str, batch: int | None) -> dict[str, Any]:
        """A training step of the named network at a batch size; None: inference."""
        case = Case.of(name, max(self.settings.images, batch or 0))
        return self.training(case, batch) if batch else self.inference(case)

    def inference(self, case: Case) -> dict[str, Any]:
        """A row: the logits of all the case's images."""
        ours: dict[str, Acceleration | None] = {OURS: None, **(self._more(case) if self.device.kind == "cpu" else {})}
        candidates = {
            name: Candidate(functools.partial(self._model(case, how).logits, case.images)) for name, how in ours.items()
        }
        if self.torch_obstacle is None:
            candidates |= torch_peer.inference(case.network, case.loss, case.images, str(self.device))
        return self._row(case, "inference", len(case.images), candidates)

    def evenness(self, cases: Sequence[tuple[Case, int]], per: str) -> dict[str, Any]:
        """A training step of each case and batch, in microseconds per image or (per "pixel") nanoseconds per pixel.

        In turn, because a machine's speed drifts: one size after the other would measure that. farthest_from_mean: of
        the sizes' medians, as a share of their mean.
        """
        names = [f"{batch} of {'x'.join(map(str, case.network.input_shape))}" for case, batch in cases]
        steps = {name: self._our_step(case, batch) for name, (case, batch) in zip(names, cases)}
        found, unit = self._interleaved(steps), UNITS[per]
        of_sizes = {}
        for name, (case, batch) in zip(names, cases):
            amount = batch * (math.prod(case.network.input_shape[:2]) if per == "pixel" else 1)
            of_sizes[name] = spread(found.of(name), amount * unit.seconds)
        medians = [each["median"] for each in of_sizes.values() if each and each["median"]]
        farthest = max((abs(each * len(medians) / sum(medians) - 1) for each in medians), default=None)
        shown = ", ".join(f"{name} {_range(each, 3)}" for name, each in of_sizes.items())
        rest = _rounds(len(found.figures), found.discarded, found.late)
        self.show(f"{OURS} alone, the sizes in turn, {unit.shown}: {shown}  ({rest})")
        if farthest is not None:
            self.show(f"  at most {farthest:.0%} from their mean")
        return {unit.name: of_sizes, "farthest_from_mean": farthest}

    def _more(self, case: Case) -> dict[str, Acceleration]:
        """Other kernels that are timed beside the default, where they are asked for and possible."""
        if not self.settings.fused:
            return {}
        ties = shares_ties(case.network)
        return {name: how for name, how in MORE.items() if how.is_possible(self.device, exact_ties=ties)}

    def _model(self, case: Case, how: Acceleration | None = None) -> Model:
        options = asdict(how or Acceleration())
        return Model(case.network, loss=case.loss, device=self.device, threads=self.settings.threads, **options)

    def _our_step(self, case: Case, batch: int, how: Acceleration | None = None) -> Candidate:
        model = self._model(case, how)
        step, put = model._step(SGD()), self.device.put
        images, labels = put(case.images), put(case.labels)
        order = np.random.default_rng(1).permutation(len(case.images))
        batches = itertools.cycle([put(order[k : k + batch]) for k in range(0, len(order) - batch + 1, batch)])

        @contextmanager
        def around() -> Iterator[None]:
            with self.device.activate(), model._workers.limited():
                yield

        with around():
            for _ in range(WARM + 1 if model.acceleration.graph else 0):
                step(images, labels, next(batches), LR)  # until it is recorded
        return Candidate(
            lambda: step(images, labels, next(batches), LR),
            around,
            self.device.synchronize if self.device.kind == "cuda" else None,
        )

    def _row(self, case: Case, what: str, batch: int, candidates: dict[str, Candidate]) -> dict[str, Any]:
        found = self._interleaved(candidates)
        row = {"network": case.name, "input": list(case.network.input_shape), "what": what, "batch": batch}
        row |= summary(found, list(candidates), 1e-3, "milliseconds")
        self.show(line(row, "milliseconds", "ms"))
        return row

    def _interleaved(self, candidates: dict[str, Candidate]) -> Rounds:
        settings = self.settings
        threads = settings.cpu_threads if self.device.kind == "cpu" else 1
        return interleave(candidates, settings.rounds, threads=threads, needed=settings.needed, budget=settings.budget)


def compare(
    names: Sequence[str] = NETWORKS,
    batches: Sequence[int] = BATCHES,
    settings: Settings | None = None,
    show: Show = print,
) -> dict[str, Any]:
    """A training step at each batch size, and inference, of each network. Rows are shown as they come.

    All in this process: `processes.compare` gives each row its own.
    """
    wanted = rows_of(names, batches)
    bench = _begun(settings or Settings(), show)
    return _result("steps", bench, [bench.row(*each) for each in wanted])


def rows_of(names: Sequence[str], batches: Sequence[int]) -> list[tuple[str, int | None]]:
    """What `Bench.row` takes for each of a comparison's rows. Raises SettingError for what there is not."""
    _check_batches(batches)
    for name in names:
        networks.entry(name)
    return [(name, batch) for name in names for batch in (*batches, None)]


def scaling(
    name: str = "two-conv",
    batches: Sequence[int] = SCALING_BATCHES,
    sides: Sequence[int] = SIDES,
    settings: Settings | None = None,
    show: Show = print,
) -> dict[str, Any]:
    """Training time per image against the batch size; then against pixels, of the layers before the first Flatten."""
    settings = settings or Settings()
    _check_batches(batches)
    whole = networks.build(name)
    bench = _begun(settings, show)
    case = Case.of(name, max(settings.images, *batches))
    of_batches = [(case, batch) for batch in batches]
    even = [bench.evenness(of_batches, "image")]
    rows = [bench.training(*each) for each in of_batches]
    show(f"the layers of {name} before its Flatten, padded so that work grows as pixels do, and Dense(10):")
    of_sides = []
    for side in sides:
        trunk = itertools.takewhile(lambda layer: not isinstance(layer, Flatten), whole.layers)
        layers = (replace(layer, padding="same") if isinstance(layer, Conv2D) else layer for layer in trunk)
        larger = Network((side, side, whole.input_shape[2]), (*layers, Flatten(), Dense(10)))
        of_sides.append((replace(Case.of(name, PIXEL_BATCH, larger), name=f"{side} x {side}"), PIXEL_BATCH))
    even.append(bench.evenness(of_sides, "pixel"))
    rows += [bench.training(*each) for each in of_sides]
    for row in rows:
        pixels = row["batch"] * row["input"][0] * row["input"][1]
        medians = {who: found["median"] for who, found in row["milliseconds"].items() if found}
        row["microseconds_per_image"] = {who: 1e3 * each / row["batch"] for who, each in medians.items()}
        row["nanoseconds_per_pixel"] = {who: 1e6 * each / pixels for who, each in medians.items()}
        show(per_image(row))
    return _result("scaling", bench, rows) | {"evenness": even}


def summary(found: Rounds, names: Sequence[str], unit: float, unit_name: str) -> dict[str, Any]:
    """Medians and ranges, the fastest of the others as "peer", and gpucnn over it, round by round."""
    others = [name for name in names if name != OURS and name not in MORE]
    peer = min(others, key=found.median, default=None)
    return {
        unit_name: {name: spread(found.of(name), unit) for name in names},
        "peer": peer,
        "ratio": spread(found.ratios(OURS, peer)) if peer else None,
        "rounds": len(found.figures),
        "discarded": found.discarded,
        "late": found.late,
    }


def line(row: dict[str, Any], unit_name: str, unit: str) -> str:
    """A row as one line: gpucnn, the fastest of the others, the ratio."""
    head = f"{row['network']:<14} {row['what']:<13} {row['batch']:>6}"
    if not row["rounds"]:
        return (
            f"{head}  no figures: {row['discarded']} rounds discarded, two threads were less than {NEEDED} times as "
            "fast as one; try again when the machine is idle, or use --threads 1"
        )
    figures = row[unit_name]
    shown = [f"{name} {_range(figures[name], 3)} {unit}" for name in (OURS, row["peer"]) if name]
    slower = [f"{name} {_median(figures[name], 3)}" for name in figures if name not in (OURS, row["peer"])]
    ratio = f"  ratio {_range(row['ratio'], 2)}" if row["ratio"] else ""
    rest = "; ".join([*slower, _rounds(row["rounds"], row["discarded"], row["late"])])
    return f"{head}  {'  '.join(shown)}{ratio}  ({rest})"


def per_image(row: dict[str, Any]) -> str:
    each = [
        f"{who} {time:.2f} us/image, {row['nanoseconds_per_pixel'][who]:.2f} ns/pixel"
        for who, time in row["microseconds_per_image"].items()
    ]
    return f"batch {row['batch']:>4}, {' x '.join(map(str, row['input'])):<11}  {'  '.join(each)}"


def _rounds(count: int, discarded: int, late: bool) -> str:
    return f"{count} round{'s' * (count != 1)}, {discarded} discarded{', five minutes were over' * late}"


def _median(found: dict[str, float | None] | None, digits: int) -> str:
    return "none" if found is None or found["median"] is None else _shown(found["median"], digits)


def _range(found: dict[str, float | None] | None, digits: int) -> str:
    """Median [least..most]; a run that missed its goal took for ever."""
    if found is None:
        return "none"
    least, most = ("never" if found[end] is None else _shown(found[end], digits) for end in ("min", "max"))
    return f"{_median(found, digits)} [{least}..{most}]"


def _shown(value: Any, digits: int) -> str:
    return f"{value:,.0f}" if value >= 10**digits else f"{value:.{digits}g}"


def _begun(settings: Settings, show: Show) -> Bench:
    bench = Bench(settings, show)
    show(described(environment(bench.device, settings.cpu_threads)))
    for note in bench.notes:
        show(note)
    return bench


def _result(mode: str, bench: Bench, rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = environment(bench.device, bench.settings.cpu_threads)
    return {"mode": mode, "environment": found, "notes": bench.notes, "rows": rows}


def _check_batches(batches: Sequence[int]) -> None:
    if not batches or min(batches) < 1:
        raise SettingError(f"--batch {','.join(map(str, batches))}: whole numbers of at least 1 were expected")
