"""The logits of many images: in chunks that fit the cache, shared out among the CPUs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..namespace import joined
from ..network import Network
from ..workers import Task, Workers
from .program import Program

Array = Any

SPAN = 1 << 22  # bytes of images that a worker takes before it hands over their logits
ON_A_GPU = 1024  # the most images that a GPU computes at a time
OUTPUTS = 1 << 28  # bytes that the outputs of all layers may take on a GPU, about; less on a small one
PART = 32  # of a GPU's memory: what they may take at most
OF_AN_IMAGE = 1 << 23  # bytes of all outputs of an image from which on a CPU computes images one by one


@dataclass(frozen=True, eq=False)
class Forward(Task):
    """The logits of images, `chunk` of them at a time: what `Workers.map` runs when nothing is trained."""

    program: Program
    chunk: int

    def __call__(self, images: Array) -> Array:
        """images (n, H, W, C), n > 0 -> logits (n, K)."""
        made = [self.logits(images[k : k + self.chunk]) for k in range(0, images.shape[0], self.chunk)]
        return joined(made)

    def logits(self, images: Array) -> Array:
        """images (n, H, W, C) -> logits (n, K), computed all at once."""
        program, context = self.program, self.program.context
        if program.state_layout.size:
            context = replace(context, state=program.of_layers)
        x = program.scaling(images, program.theta.dtype, context.kernels)
        logits = program.network.outputs(program.params, x, context)
        return context.kernels.leave(logits)


def images_on_a_cpu(network: Network, shard: int) -> int:
    """How many images a CPU computes at a time: a quarter more than the shard of a training step, because nothing is
    kept for a backward pass; one, where images are so large that a training step on few of them needs less memory.
    """
    return 1 if 4 * sum(network.output_sizes()) > OF_AN_IMAGE else 5 * shard // 4


def images_on_a_gpu(network: Network, itemsize: int, memory: int) -> int:
    """How many images a GPU computes at a time: its memory may be small, and large images have large outputs.

    itemsize: bytes of a number; memory: the GPU's bytes, of all and not of what is free, so that the same run on the
    same GPU takes the same chunks.
    """
    return max(1, min(ON_A_GPU, min(OUTPUTS, memory // PART) // (itemsize * sum(network.output_sizes()))))


def forward_in_spans(
    forward: Forward, images: Array, workers: Workers, put: Callable[[Array], Array]
) -> Iterator[Array]:
    """The logits, a span of images after the other, in order; the workers compute some of them side by side.

    put: moves a span of images to where theta is.
    """
    count, threads = images.shape[0], workers.threads
    turns = max(1, round(count * images[:1].nbytes / (SPAN * threads)))
    span = forward.chunk * max(1, math.ceil(count / (forward.chunk * threads * turns)))
    spans = [images[start : start + span] for start in range(0, count, span)]
    for first in range(0, len(spans), threads):
        yield from workers.map(forward, [(put(part),) for part in spans[first : first + threads]])
