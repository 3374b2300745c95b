"""How much memory a training run will take, and whether it fits: said before it begins.

On a CPU, one worker's share of a batch is computed once on blank images, fewer where they are many, while Python tells
what is allocated: whichever way the kernels compute, and whatever a layer of one's own keeps, is in it. On a CUDA
device the outputs of the layers are added up.
"""

from __future__ import annotations

import math
import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DeviceError, counted, warn
from ..kernels import CPU_TABLES, Context, for_inference
from ..kernels.memory import apart, rounded_up
from ..losses import CLASSIFICATION, Loss, kind
from ..network import Network
from ..optimizers import Optimizer
from ..training.augmentation import Augmentation
from ..workers import helpers
from .execution import Execution
from .factors import FactorStore, large_slots
from .gradient import gradient
from .inference import Forward
from .memory import megabytes
from .mixing import Reach, undisturbed
from .sharded_step import useful_workers, workers_worth
from .shards import Partners, Shard, changed
from .update import Rules

HELPER = 25_000_000  # bytes of a helper process before it has any work: Python, NumPy and gpucnn
ITSELF = 2_500_000  # bytes of what a first run imports and keeps
BRIEF = 6e10  # multiply-adds that a trial may take: a second or two, and less than a step of training
MOST = 3.0  # a worker holds at most this many times the outputs of its layers and two gradients, by all that was tried
LEAST = 0.9  # and at least this many times
ON_A_GPU = 2.0  # a GPU at most this many times: what the outputs do not count are copies for products
ROUGH = 1.5  # and about this many times where nothing can be tried
FITS = 0.8  # of what is free: a batch size that is advised should not need more
REFUSED = 1.25  # times what is free: from here on a run is refused, between the two it is warned of
COPIES = 2  # of a state, while it is saved
UNJUDGED = 1 << 26  # bytes: a run that needs less is never refused


@dataclass(frozen=True)
class Forecast:
    """What training a network on an execution will take, in bytes beside the data set, theta included.

    network: as it was given; validation: how many examples are evaluated after each epoch; threads: where other than
    the execution's; augmentation: what is done to the images of a batch; kept: how many callbacks keep the parameters
    of an epoch, as `KeepBest` does; saves: whether states are saved, which are copied on the host; pixels: the type of
    the images.
    """

    execution: Execution
    network: Network
    loss: Loss
    optimizer: Optimizer
    validation: int = 0
    threads: int | None = None
    augmentation: Augmentation | None = None
    kept: int = 0
    saves: bool = False
    pixels: Any = np.uint8

    def bytes(self, batch_size: int) -> int:
        """The peak, helper processes included, and memory that processes share counted once."""
        if not self._is_sharded:
            return round(self._vectors + self._outputs(batch_size))
        return self._total(batch_size, self._tried(batch_size, self._shares(batch_size)[1]))

    def check(self, batch_size: int) -> None:
        """Raises DeviceError, with what fits, where training needs clearly more than is free; warns where it may."""
        free = self.execution.device.memory()[0]
        enough = max(free, UNJUDGED)
        least, most = self._bounds(batch_size)
        if not free or most <= enough:
            return
        needed = least if least > REFUSED * free else self.bytes(batch_size)
        if needed <= enough:
            return
        said = (
            f"training with {counted(batch_size, 'example')} per batch needs about {megabytes(needed)}, and "
            f"{megabytes(free)} are free"
        )
        advice = self._advice(batch_size, FITS * free)
        if (needed if self._is_sharded else least) > REFUSED * free:
            raise DeviceError(f"{self.execution.device}: {said}; {advice}")
        warn(f"{said}; if it does not fit, {advice}")

    def _advice(self, batch_size: int, room: float) -> str:
        """Which smaller batch size, or else which number of threads, fits into that many bytes."""
        sizes = [batch_size >> k for k in range(batch_size.bit_length())]
        for fewer in [self, replace(self, threads=1)] if self._threads > 1 else [self]:
            for size in sizes[1:] if fewer is self else sizes:
                if fewer._bounds(size)[0] <= room and fewer.bytes(size) <= room:
                    return f"a batch size of {size}{'' if fewer is self else ' on 1 thread'} should fit"
        return "use a smaller network or smaller images"

    @property
    def _threads(self) -> int:
        return self.threads or self.execution.workers.threads

    @property
    def _is_sharded(self) -> bool:
        return self.execution.context.kernels.name in CPU_TABLES

    def _bounds(self, batch_size: int) -> tuple[float, float]:
        """Between which numbers of bytes the peak lies, by the outputs of the layers alone."""
        if not self._is_sharded:
            kept = sum(self.execution.network.output_sizes())  # blocks of several layers keep one output
            least = self.execution.theta.itemsize * batch_size * kept
            return self._vectors + least, self._vectors + ON_A_GPU * self._outputs(batch_size)
        examples = self._shares(batch_size)[1]
        least, most = LEAST * self._outputs(examples), MOST * self._outputs(max(examples, self._evaluated))
        return self._total(batch_size, least), self._total(batch_size, most)

    @property
    def _evaluated(self) -> int:
        """Examples that a worker evaluates at a time."""
        return min(self.execution.chunk, self.validation)

    def _outputs(self, examples: int) -> float:
        """The outputs of all layers, and two gradients as large as the largest."""
        sizes = self.network.output_sizes()
        return self.execution.theta.itemsize * examples * (sum(sizes) + 2 * max(sizes))

    @property
    def _vectors(self) -> int:
        """The gradient; what changes, and the copy of it that training goes back to (`LastGood`); kept parameters, and
        those that take their place, both while they are copied; a copy of an average that changes places with theta.
        """
        _, averages = self._of_rules
        return self.execution.theta.nbytes * (1 + averages) + 2 * self.saved

    @property
    def saved(self) -> int:
        """Bytes of a saved state: what updates change, and what callbacks keep."""
        return self._changing + self.kept * self._parameters

    @property
    def _parameters(self) -> int:
        """theta and the layers' running state."""
        return self.execution.theta.nbytes + self.execution.state.nbytes

    @property
    def _changing(self) -> int:
        """What updates change: theta, the layers' running state, the optimiser's vectors."""
        return self._parameters + self.execution.theta.nbytes * self._of_rules[0]

    @property
    def _of_rules(self) -> tuple[int, bool]:
        """How many vectors as long as theta the optimiser keeps, and whether one of them is an average of theta."""
        try:
            with self.execution.device.activate():
                rules = Rules(self.optimizer, self.execution.given)
                state = rules.initial(self.execution.theta[:1])
                return len(state), rules.average(state) is not None
        except Exception:  # one of a user's own may look at more of theta
            return 2, False

    def _shares(self, batch_size: int) -> tuple[int, int]:
        """How many workers share a batch, and the most examples that one of them computes at a time."""
        reach = self.execution.reach(self.loss)
        workers = 1 if reach is Reach.BATCH else useful_workers(workers_worth(self.network), batch_size, self._threads)
        examples = -(-batch_size // workers)
        return workers, min(self.execution.shard, examples) if reach is Reach.EXAMPLE else examples

    def _total(self, batch_size: int, of_worker: float) -> int:
        workers, _ = self._shares(batch_size)
        evaluating = min(self._threads, -(-self.validation // self.execution.chunk))
        others = max(workers, evaluating) - 1
        images = batch_size * math.prod(self.network.input_shape) * np.dtype(self.pixels).itemsize
        batch = images * (2 if workers > 1 else 1)  # helpers get theirs through memory of its own
        sums = (workers - 1) * self.execution.theta.nbytes
        factors = self._factors(batch_size) * batch_size * self.execution.theta.itemsize
        beside = (others * HELPER if helpers.possible() else 0) + (COPIES * self.saved if self.saves else 0)
        return round(ITSELF + self._vectors + sums + factors + batch + max(workers, evaluating) * of_worker + beside)

    def _factors(self, batch_size: int) -> int:
        """Numbers per example of gradients that stay factors."""
        store = self._store
        return store.width if store.slots and store.is_worth(batch_size) else 0

    @property
    def _store(self) -> FactorStore:
        factored = Rules(self.optimizer, self.execution.given).factored(large_slots(self.execution.layout))
        return FactorStore(factored, self.execution.theta[:0])

    def _tried(self, batch_size: int, examples: int) -> float:
        """What a worker holds that computes `examples` at a time, and evaluates: measured with as many or fewer."""
        free, some = self.execution.device.memory()[0] or math.inf, examples
        work = self.network.multiply_adds() * (3 + self._evaluated / examples)
        while some > 1 and (some * work > BRIEF or MOST * self._outputs(some) > free / 2):
            some = -(-some // 2)
        if tracemalloc.is_tracing() or MOST * self._outputs(some) > free:
            return ROUGH * self._outputs(examples)
        try:
            held, gradients = self._trial(batch_size, some, -(-self._evaluated * some // examples))
        except Exception:  # of a layer of one's own: it is said where training raises it
            return ROUGH * self._outputs(examples)
        return gradients + held * examples / some

    def _trial(self, batch_size: int, examples: int, evaluated: int) -> tuple[int, int]:
        """The most bytes that were allocated beside the gradients, and theirs, which are as many for any examples."""
        execution = self.execution
        kernels, theta = execution.context.kernels, execution.theta
        factored = self._store.least if self._factors(batch_size) else math.inf
        program = execution.program(Context(kernels, factored=factored), None, theta, execution.state)
        number, shape = theta.dtype, self.network.input_shape
        rows, classes = (examples, *self.network.shapes()[-1]), kind(self.loss) == CLASSIFICATION
        targets = np.zeros(examples, np.int64) if classes else np.zeros(rows, number)
        with undisturbed(), warnings.catch_warnings(), execution.active(), apart():
            warnings.simplefilter("ignore")
            tracemalloc.start()
            try:
                images, others = changed(self.augmentation, self._blank(examples, targets), 1)
                x = program.scaling(images, number, kernels)
                context = program.told(1, np.arange(examples))
                arguments = program.network, self.loss, program.params, x, targets, context, None, others
                _, dparams, _ = gradient(*arguments)
                gradients = sum(each.nbytes for each in _arrays(dparams))
                del arguments, images, others, x, dparams
                if evaluated:
                    inference = replace(program, context=Context(for_inference(kernels), training=False))
                    Forward(inference, evaluated)(np.zeros((evaluated, *shape), self.pixels))
                return max(0, tracemalloc.get_traced_memory()[1] - rounded_up() - gradients), gradients
            finally:
                tracemalloc.stop()

    def _blank(self, examples: int, targets: np.ndarray) -> Shard:
        """Images of zeros, and partners where images are mixed."""

        def images() -> np.ndarray:
            return np.zeros((examples, *self.network.input_shape), self.pixels)

        how, indices = self.augmentation, np.arange(examples)
        partners = Partners(images(), targets, None, indices) if how is not None and how.mixes else None
        return Shard(0, images(), targets, None, indices, partners)


def _arrays(params: Any) -> Iterator[np.ndarray]:
    """The arrays in nested dicts."""
    for value in params.values():
        if isinstance(value, dict):
            yield from _arrays(value)
        elif isinstance(value, np.ndarray):
            yield value
