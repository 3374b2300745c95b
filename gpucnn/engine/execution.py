"""Execution: one network on one device. Device, kernel table, the network as it runs, theta, state, workers."""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..device import Device
from ..errors import warn
from ..kernels import CPU_TABLES, REFERENCE, Context, for_inference
from ..layers import BatchNorm
from ..layers.chain import Place, rebuilt
from ..layers.initializers import generator
from ..losses import Loss
from ..network import Network, shares_ties
from ..network.layout import Layout
from ..optimizers import Optimizer
from ..training.augmentation import Augmentation
from ..workers import Workers, default_threads
from . import tuning
from .acceleration import Acceleration
from .device_inference import DeviceForward
from .freezing import thawed
from .inference import Forward, forward_in_spans, images_on_a_cpu, images_on_a_gpu
from .mixing import Reach, at_inference, check_passes, reach, reach_of_loss
from .program import Program
from .recorded import RecordedStep
from .rewrite import rewritten
from .scaling import Scaling
from .sharded_step import ShardedStep, shard_size
from .tta import Views
from .update import Rules
from .whole_step import WholeStep

Array = Any
Step = ShardedStep | WholeStep | RecordedStep


class Execution:
    """How one network runs on one device.

    device; acceleration: which kernels; workers: the CPUs that share the work. network: as the table runs it, with its
    own parameter paths in `layout`; given: the same places by the paths of the network that was given. theta: all
    parameters, and state: the layers' running state, as vectors on the device. context: of training. shard: examples
    that a CPU takes at a time in a step, and chunk in inference.
    """

    def __init__(
        self,
        network: Network,
        device: Device,
        *,
        seed: int | np.random.SeedSequence = 0,
        dtype: str = "float32",
        threads: int | None = None,
        acceleration: Acceleration | None = None,
    ) -> None:
        self.device, self.acceleration = device, acceleration or Acceleration()
        table = self.acceleration.table(device, dtype, exact_ties=shares_ties(network))
        self.context, self._for_inference = Context(table), Context(for_inference(table), training=False)
        self.workers = Workers((default_threads() if threads is None else threads) if device.kind == "cpu" else 1)
        params = network.init(network.input_shape, generator(seed))
        self.theta = self._placed(params, dtype)
        states = network.init_state(network.input_shape)
        self.state = self._placed(states, dtype)
        self.network = rewritten(network, table)
        self.given, self.layout = Layout(params), Layout(self.network.init(network.input_shape, generator(0)))
        self.state_layout = Layout(self.network.init_state(network.input_shape))
        self.shard = shard_size(network, self.layout.size)
        if device.kind == "cpu":
            self.chunk = images_on_a_cpu(network, self.shard)
        else:
            self.chunk = images_on_a_gpu(self.network, self.theta.itemsize, device.memory()[1])
        self._kept: tuple[Forward, DeviceForward | None] | None = None
        self._looked = False  # for layers whose predictions depend on other images or on chance
        self._said: set[str] = set()  # why steps were not recorded: one sentence for all steps
        self._reach: Reach | None = None
        self.tuned: list[tuning.Choice] = []  # what was measured here
        self.tuned_on: dict[str, Any] = {}  # what choices were made on
        if isinstance(self.acceleration.tune, str):
            tuning.choose(self, *tuning.read(self.acceleration.tune)[:2])
        _executions.add(self)

    def __getstate__(self) -> dict[str, Any]:
        """A copy makes its own chunks and recordings."""
        return self.__dict__ | {"_kept": None}

    def _placed(self, values: dict[str, Any], dtype: str) -> Array:
        layout = Layout(values)
        return self.workers.share(self.device.put(layout.pack(values, np.empty(layout.size, dtype))))

    def share_among(self, threads: int) -> None:
        """Compute with another number of CPUs from the next step on, if this is a CPU."""
        if self.device.kind != "cpu":
            return
        self.workers = Workers(threads)
        self.theta, self.state, self._kept = self.workers.share(self.theta), self.workers.share(self.state), None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Around everything that computes: the device is the current one, and BLAS is held to a thread per worker."""
        with self.device.activate(), self.workers.limited():
            yield

    @property
    def is_recorded(self) -> bool:
        """Whether a training step is recorded as one CUDA graph, as far as that can be."""
        recordable = self.context.kernels.name not in (*CPU_TABLES, REFERENCE.name)
        return recordable and self.acceleration.graph is not False

    def reach(self, loss: Loss) -> Reach:
        """How far the layers, which are tried when this is first asked for, and the loss look beyond an example."""
        if self._reach is None:
            if self.workers.threads > 1:
                check_passes(self.network)
            self._reach = reach(self.network)
        return max(self._reach, reach_of_loss(loss, self.network.shapes()[-1][0]))

    def step(
        self,
        loss: Loss,
        optimizer: Optimizer,
        *,
        scaling: Scaling | None = None,
        augmentation: Augmentation | None = None,
        key: int = 0,
        theta: Array | None = None,
        state: Array | None = None,
        shard: int | None = None,
        at_once: int | None = None,
        freeze: Iterable[str] = (),
    ) -> Step:
        """The update that training does. key: of what layers draw at random.

        at_once: examples that are computed together at most, where it makes a difference: a CPU cuts a batch into
        shards anyway, where no layer looks beyond an example. freeze: patterns of `fnmatch` for the names of parameters
        that are not to move. Raises SettingError for a pattern that fits none, and where nothing is left.

        theta, state: other vectors than the execution's; shard: another number of examples that a CPU takes at a time.
        """
        program = self.program(
            Context(self.context.kernels, key=key),
            scaling,
            self.theta if theta is None else theta,
            self.state if state is None else state,
        )
        moved = thawed(self.given, freeze)
        if moved is not None:
            program = replace(program, trained=frozenset(slot.place.start for slot in moved.slots))
        with self.device.activate():
            parts = program, loss, Rules(optimizer, self.given, moved), augmentation
            if program.context.kernels.name in CPU_TABLES:
                return ShardedStep(
                    *parts, workers=self.workers, shard=shard or self.shard, reach=self.reach(loss), at_once=at_once
                )
            whole = WholeStep(*parts, at_once=at_once)
            return RecordedStep(whole, self.device, self._said) if self.is_recorded else whole

    def follow(self, network: Network, images: np.ndarray, scaling: Scaling, batch_size: int) -> None:
        """Let the layers' running state be that of batches of images, in order, as they are in training, at this theta.

        network: the one that was given. Of a BatchNorm's running numbers each image counts alike, and those before not
        at all; one whose momentum is 1 keeps its own. Other layers go on from where they are, by their next_state.
        """
        program = self.program(Context(self.context.kernels), scaling, self.theta, self.state)
        room = program.state.copy()
        for k, start in enumerate(range(0, len(images), batch_size)):
            part = self.device.put(images[start : start + batch_size])
            meant = _with_momentum(network, start / (start + len(part)))
            program = replace(program, network=rewritten(meant, self.context.kernels))
            context = program.told(k + 1, self.device.put(np.arange(start, start + len(part))))
            x = program.scaling(part, self.theta.dtype, context.kernels)
            _, residuals = program.network.forward(program.params, x, context)
            program.state[...] = program.state_layout.pack(program.network.next_state(context.state, residuals), room)

    def logits(self, images: Array, scaling: Scaling | None = None, views: Views | None = None) -> Iterator[Array]:
        """images (N, H, W, C) -> the network's outputs (n, K) on the device, some images at a time.

        The images are on the host, or on the CUDA device. views: outputs are means over these of each image.
        """
        if views is not None:
            yield from views.mean(lambda some: self.logits(some, scaling), images)
            return
        if not self._looked:
            self._looked = True
            for said in at_inference(self.network):
                warn(said)
        forward, on_device = self._forward(scaling or Scaling())
        if on_device is None:
            yield from forward_in_spans(forward, images, self.workers, self.device.put)
        else:
            yield from on_device(images)

    def _forward(self, scaling: Scaling) -> tuple[Forward, DeviceForward | None]:
        """What computes logits; the same objects while nothing in them changes: helper processes have them already."""
        kept = self._kept
        if kept is None or kept[0].program.theta is not self.theta or kept[0].program.scaling != scaling:
            forward, on_device = (
                Forward(self.program(self._for_inference, scaling, self.theta, self.state), self.chunk),
                None,
            )
            if self.device.kind == "cuda":
                on_device = DeviceForward(forward, self.device, recorded=self.is_recorded, said=self._said)
            self._kept = kept = forward, on_device
        return kept

    def program(self, context: Context, scaling: Scaling | None, theta: Array, state: Array) -> Program:
        """The network with vectors, ready to run."""
        places = self.layout, self.given, theta, self.state_layout, state
        return Program(self.network, *places, scaling or Scaling(), context)


def _with_momentum(network: Network, momentum: float) -> Network:
    """The network, whose running means and variances keep that part of themselves; those that keep all still do."""

    def change(place: Place) -> Any:
        is_moving = type(place.layer) is BatchNorm and place.layer.momentum < 1
        return replace(place.layer, momentum=momentum) if is_moving else place.layer

    made = copy.copy(network)  # a class derived from Network may be made of other things than layers
    object.__setattr__(made, "layers", rebuilt(network.layers, network.input_shape, change))
    return made


def _keep_apart() -> None:
    """After a fork: shared memory stays shared, and a child that trains must not write its parent's parameters.

    A CUDA device cannot be used in the child at all.
    """
    for execution in [each for each in _executions if each.device.kind == "cpu"]:
        execution.theta, execution.state = execution.theta.copy(), execution.state.copy()


_executions: weakref.WeakSet[Execution] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_apart)
