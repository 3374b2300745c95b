"""Random whole networks, with what they are trained by: drawn from a number, the same on every machine.

`case(number)` gives one; tests/test_random_networks.py says what must hold for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from layers_of_ones_own import Centred, Dropped, Normalised

from gpucnn import Network, losses
from gpucnn.errors import SettingError, ShapeError
from gpucnn.layers import (
    ELU,
    GELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Crop2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    Hardswish,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    PadChannels,
    Parallel,
    PReLU,
    ReLU,
    Reshape,
    Residual,
    SeparableConv2D,
    Shared,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SpatialDropout2D,
    Subsample2D,
    Tanh,
    Upsample2D,
    ZeroPad2D,
)
from gpucnn.layers.chain import Chain, walk
from gpucnn.layers.initializers import BY_NAME
from gpucnn.optimizers import (
    EMA,
    LAMB,
    SGD,
    SWA,
    Adam,
    AdamW,
    Clip,
    Groups,
    Lion,
    Lookahead,
    Muon,
    RMSprop,
)
from gpucnn.training.augmentation import Augmentation

MOST = 1200  # numbers that a layer gives for an example
LARGEST = 14  # rows and columns of an image
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A network, the loss, data for both, and the options of `fit`. own: whether layers of one's own are in it."""

    number: int
    network: Network
    loss: Any
    images: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)
    options: dict[str, Any]
    own: bool
    as_drawn: bool  # whether theta is what the layers' own `init` draws, with biases of 0

    @property
    def batch_counts(self) -> bool:
        """Whether an image's answer depends on those beside it."""
        return self.has(lambda layer: layer == Centred((0,)))

    def has(self, kind: Callable[[Any], bool]) -> bool:
        """Whether there is such a layer, inside others too."""
        return any(kind(place.layer) for place in walk(self.network.layers, self.network.input_shape))


class Drawing:
    """Random choices, by a generator of its own."""

    def __init__(self, number: int) -> None:
        self.rng = np.random.default_rng(number)
        self.names = 0

    def one(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, least: int, most: int) -> int:
        return int(self.rng.integers(least, most + 1))

    def seldom(self, part: float = 0.2) -> bool:
        return bool(self.rng.random() < part)

    # --- settings of layers

    def pair(self, most: int, likely_one: bool = False) -> Any:
        if likely_one and not self.seldom(0.3):
            return 1
        return self.one(self.whole(1, most), (self.whole(1, most), self.whole(1, most)))

    def padding(self) -> Any:
        w = self.whole
        return self.one(
            "valid", "valid", "same", "same", "same-lower", "full", w(0, 2), (w(0, 2), w(0, 2)),
            ((w(0, 2), w(0, 2)), (w(0, 2), w(0, 2))),
        )  # fmt: skip

    def initializer(self) -> str:
        return self.one(*BY_NAME) if self.seldom(0.3) else "glorot_uniform"

    def bias(self, *kinds: Any) -> Any:
        return self.one(*kinds)

    def groups(self, channels: int) -> int:
        return self.one(1, 1, 1, *[n for n in range(1, channels + 1) if channels % n == 0])

    # --- layers

    def conv(self, shape: Shape) -> Any:
        if self.seldom(0.25):  # as Winograd's sums take them
            return Conv2D(self.one(3, 8, 16, 32), 3, 1, self.one("same", 1, "valid"), bias=self.one("tied", None))
        groups = self.groups(shape[2])
        more = {"dilation": self.pair(2, True), "groups": groups, "bias": self.one("tied", "tied", None, "untied")}
        return Conv2D(
            groups * self.whole(1, 4), self.pair(4), self.pair(3, True), self.padding(), **more, flip=self.seldom(),
            initializer=self.initializer(),
        )  # fmt: skip

    def depthwise(self, shape: Shape) -> Any:
        more = {"dilation": self.pair(2, True), "bias": self.one("tied", "tied", None, "untied")}
        place = self.pair(4), self.pair(2, True), self.padding(), self.one(1, 1, 2, 3)
        return DepthwiseConv2D(*place, **more, flip=self.seldom(), initializer=self.initializer())

    def separable(self, shape: Shape) -> Any:
        more = {"dilation": self.pair(2, True), "bias": self.one("tied", "tied", None, "untied")}
        place = self.whole(1, 5), self.pair(4), self.pair(2, True), self.padding(), self.one(1, 1, 2)
        return SeparableConv2D(*place, **more, flip=self.seldom(), initializer=self.initializer())

    def transposed(self, shape: Shape) -> Any:
        stride, groups = self.pair(3, True), self.groups(shape[2])
        more = {"dilation": self.pair(2, True), "groups": groups, "bias": self.one("tied", None), "flip": self.seldom()}
        place = groups * self.whole(1, 3), self.pair(4), stride, self.padding(), self.one(0, 0, 1, (1, 0))
        return ConvTranspose2D(*place, **more, initializer=self.initializer())

    def max_pool(self, shape: Shape) -> Any:
        if self.seldom(0.4):
            return MaxPool2D(ties=self.one("first", "first", "first", "all"))
        more = {"dilation": self.pair(2, True), "ceil_mode": self.seldom(0.3)}
        place = self.pair(3), self.one(None, self.pair(3)), self.padding(), self.one("first", "first", "first", "all")
        return MaxPool2D(*place, **more)

    def average_pool(self, shape: Shape) -> Any:
        if self.seldom(0.3):
            return AvgPool2D()
        more = {"dilation": self.pair(2, True), "ceil_mode": self.seldom(0.3)}
        return AvgPool2D(self.pair(3), self.one(None, self.pair(3)), self.padding(), self.seldom(0.4), **more)

    def activation(self, shape: Shape) -> Any:
        relu = ReLU(self.one(0.5, 0.0, 1.0))
        if self.seldom(0.5):
            return relu
        some = LeakyReLU(self.one(0.01, 0.3)), PReLU(self.seldom(0.5), 0.25), ELU(self.one(1.0, 0.5)), GELU()
        return self.one(*some, GELU(True), SiLU(), Softplus(), Hardswish(), Sigmoid(), Tanh())

    def norm(self, shape: Shape) -> Any:
        affine = {"scale": not self.seldom(), "bias": not self.seldom()}
        batch = BatchNorm(self.one(0.9, 0.5, 0.0), self.one(1e-5, 1e-3), **affine)
        if self.seldom(0.5):
            return batch
        layer = LayerNorm(self.one("all", "channels"), self.one(1e-5, 1e-3), **affine)
        group = GroupNorm(self.one(*[n for n in range(1, shape[-1] + 1) if shape[-1] % n == 0]), **affine)
        return self.one(layer, group, InstanceNorm(**affine)) if len(shape) == 3 else self.one(layer, group)

    def dropout(self, shape: Shape) -> Any:
        kind = SpatialDropout2D if len(shape) == 3 and self.seldom(0.5) else Dropout
        return kind(self.one(0.5, 0.3, 0.1, 0.0))

    def geometry(self, shape: Shape) -> Any:
        w = self.whole
        sides = self.one(1, (w(0, 1), w(0, 2)), ((w(0, 2), w(0, 1)), (w(0, 1), w(0, 2))))
        channels = self.one(w(0, 3), (w(0, 2), w(0, 2)))
        upsample = Upsample2D(self.pair(2), self.one("nearest", "bilinear"))
        return self.one(ZeroPad2D(sides), Crop2D(sides), Subsample2D(self.pair(2)), PadChannels(channels), upsample)

    def reshape(self, shape: Shape) -> Any:
        size = math.prod(shape)
        H = self.one(*[n for n in range(1, LARGEST) if size % n == 0])
        W = self.one(*[n for n in range(1, LARGEST) if size // H % n == 0])
        return Reshape((H, W, size // H // W))

    def of_ones_own(self, shape: Shape) -> Any:
        axes = [(1,), (0,)] if len(shape) == 1 else [(1,), (2,), (1, 2), (3,), (1, 2, 3), (0,)]
        return self.one(Dropped(), Normalised(), Centred(self.one(*axes)))

    def dense(self, shape: Shape) -> Any:
        return Dense(self.whole(1, 12), not self.seldom(), self.initializer())

    def softmax(self, shape: Shape) -> Any:
        return Softmax()

    # --- several layers

    def block(self, shape: Shape) -> tuple[Any, ...]:
        """What is often one behind the other, and computed as one."""
        first = self.one(self.conv, self.conv, self.depthwise)(shape) if len(shape) == 3 else self.dense(shape)
        behind: list[Any] = []
        if self.seldom(0.4):
            behind.append(BatchNorm(self.one(0.9, 0.5), scale=not self.seldom(), bias=not self.seldom()))
        if self.seldom(0.75):
            behind.append(ReLU(self.one(0.5, 0.5, 0.0, 1.0)))
        if self.seldom(0.5) and len(shape) == 3:
            behind.append(self.max_pool(shape))
        return first, *behind

    def nest(self, shape: Shape, deep: int) -> tuple[Any, ...]:
        kind = self.one("residual", "parallel", "parallel", "shared", "network")
        inner = self.chain(shape, self.whole(1, 3), deep + 1)
        out = Chain(inner).out_shape(shape)
        if kind == "residual":
            if out == shape and self.seldom(0.6):
                return (Residual(inner),)
            return (Residual(inner, self.leading(self.some(shape, deep), shape, out)),)
        if kind == "parallel":
            branches, merge = [inner], self.one("concat", "add")
            for _ in range(self.whole(0, 2)):
                branches.append(self.leading(self.some(shape, deep), shape, out, merge == "concat"))
            return (Parallel(tuple(branches[k] for k in self.rng.permutation(len(branches))), merge),)
        if kind == "shared":
            self.names += 1
            shared = Shared(f"s{self.names}", self.leading(inner, shape, shape))
            return self.one(
                (shared, shared),
                (shared, self.activation(shape), shared),
                (Residual((shared,), (shared,)),),
                (Parallel((shared, (shared, self.activation(shape))), "add"), shared),
            )
        return (Network(shape, inner),)

    def some(self, shape: Shape, deep: int) -> tuple[Any, ...]:
        return () if self.seldom(0.5) else self.chain(shape, self.whole(1, 2), deep + 1)

    def leading(self, before: tuple[Any, ...], shape: Shape, out: Shape, any_channels: bool = False) -> tuple[Any, ...]:
        """`before`, and what makes its output as large as `out`."""
        found = Chain(before).out_shape(shape)
        if found == out or (any_channels and found[:-1] == out[:-1]):
            return before
        if len(found) == len(out) == 3:
            grow, cut = ([max(0, sign * (n - m)) for n, m in zip(out[:2], found[:2])] for sign in (1, -1))
            fit: tuple[Any, ...] = ()
            if any(grow):
                fit += (ZeroPad2D(tuple((n // 2, n - n // 2) for n in grow)),)
            if any(cut):
                fit += (Crop2D(tuple((n // 2, n - n // 2) for n in cut)),)
            more = out[2] - found[2]
            if not more:
                return before + fit
            return before + fit + ((PadChannels(more),) if more > 0 and self.seldom(0.5) else (Conv2D(out[2], 1),))
        flat = () if len(found) == 1 else (Flatten(),)
        return before + flat + (Dense(math.prod(out)),) + (() if len(out) == 1 else (Reshape(out),))

    def chain(self, shape: Shape, count: int, deep: int = 0) -> tuple[Any, ...]:
        """`count` layers or blocks that fit an input of that shape, more or less."""
        found: tuple[Any, ...] = ()
        for _ in range(20 * count):
            if count <= 0:
                break
            try:
                more = self.next(shape, deep)
                shapes = Chain(more).shapes_from(shape)
            except (ShapeError, SettingError):
                continue
            if any(math.prod(each) > MOST or max(each[:2]) > LARGEST for each in shapes if len(each) == 3):
                continue
            if any(len(each) == 1 and each[0] > MOST for each in shapes):
                continue
            found, shape, count = found + more, shapes[-1], count - 1
        return found

    def next(self, shape: Shape, deep: int) -> tuple[Any, ...]:
        common: list[Callable[..., Any]] = [self.activation, self.activation, self.norm, self.dropout]
        if self.own and self.seldom(0.3):
            return (self.of_ones_own(shape),)
        if deep < 2 and self.seldom(0.2):
            return self.nest(shape, deep)
        if self.seldom(0.35):
            return self.block(shape)
        if len(shape) == 3:
            convolutions = [self.conv, self.conv, self.depthwise, self.separable, self.transposed]
            rest = [self.max_pool, self.max_pool, self.average_pool, self.geometry, self.geometry]
            seldom = [self.reshape] if self.seldom(0.2) else []
            return (self.one(*convolutions, *rest, *common, *seldom)(shape),)
        seldom = [self.reshape, self.softmax] if self.seldom(0.3) else []
        return (self.one(self.dense, self.dense, *common, *seldom)(shape),)

    # --- the whole

    def network(self, outputs: int) -> Network:
        self.own = self.seldom(0.1)
        if self.seldom(0.1):
            shape: Shape = (self.whole(1, 12),)
        else:
            shape = self.whole(1, 11), self.whole(1, 11), self.one(1, 1, 2, 3, 4)
        body = self.chain(shape, self.whole(0, 6))
        out = Chain(body).out_shape(shape)
        if len(out) == 3:
            body += (self.one(Flatten(), Flatten(), GlobalAvgPool2D(), GlobalMaxPool2D(self.one("first", "all"))),)
        out = Chain(body).out_shape(shape)
        if self.seldom(0.3):
            body += self.chain(out, 1)
            out = Chain(body).out_shape(shape)
            body += (Flatten(),) if len(out) == 3 else ()
        if out != (outputs,) or not self.seldom(0.3):
            body += (Dense(outputs, not self.seldom(0.1), self.initializer()),)
        network = Network(shape, body)
        return network if network.parameters else Network(shape, (*body, Dense(outputs)))

    def loss_and_targets(self, examples: int, outputs: int) -> tuple[Any, np.ndarray]:
        rng, K = self.rng, outputs
        labels, numbers = rng.integers(0, K, examples), rng.normal(0, 1, (examples, K))
        factors = tuple(float(each) for each in rng.uniform(0.1, 2, K).round(2))
        shares = rng.dirichlet([0.5] * K, examples)
        of_classes = ("softmax", "softmax", "softmax", "binary", "focal", "hinge") if K > 1 else ()
        kind = self.one(*of_classes, "multi", "mse", "huber")
        if kind == "softmax":
            ignored = self.one(None, None, None, -1, 0)
            how = {"label_smoothing": self.one(0.0, 0.0, 0.1), "class_weights": self.one(None, None, factors)}
            if self.seldom():
                return losses.SoftmaxCrossEntropy(**how), shares
            if ignored == -1:
                labels[1 + rng.permutation(examples - 1)[: examples // 3]] = -1
            if ignored == 0:
                labels[0] = K - 1
            return losses.SoftmaxCrossEntropy(**how, ignore_index=ignored), labels
        if kind == "binary":
            return losses.BinaryCrossEntropy(), self.one(labels, shares)
        if kind == "multi":
            soft = rng.random((examples, K))
            return losses.MultiLabelCrossEntropy(), self.one(soft, (soft > 0.5).astype(np.uint8))
        if kind == "focal":
            return losses.FocalLoss(self.one(2.0, 0.5, 1.0, 0.0), self.one(None, factors)), labels
        if kind == "hinge":
            return losses.Hinge(self.seldom(0.5)), labels
        return losses.MeanSquaredError() if kind == "mse" else losses.Huber(self.one(1.0, 0.3)), numbers

    def optimizer(self, names: list[str]) -> tuple[Any, float]:
        """One, and its learning rate."""
        decay, part = self.one(0.0, 0.0, 0.01), self.one("all", "kernels")
        how = {"weight_decay": decay, "decay": part}
        momentum = self.one(0.0, 0.9, 0.5)
        found, lr = self.one(
            (SGD(momentum, bool(momentum) and self.seldom(0.5), **how), 0.05),
            (SGD(momentum, **how), 0.05),
            (Adam(epsilon=self.one(1e-8, 1e-2), **how), 0.01),
            (AdamW(epsilon=self.one(1e-8, 1e-2), **how), 0.01),
            (RMSprop(self.one(0.99, 0.9), self.one(1e-8, 1e-2), momentum, self.seldom(0.5), **how), 0.01),
            (Lion(**how), 0.003),
            (Muon(apart=self.one((), (self.one(*names),))), 0.02),
            (Muon(nesterov=False, scale=self.one("rms", "original"), others=self.one(SGD(0.9), AdamW())), 0.02),
            (LAMB(), 0.01),
        )
        if self.seldom(0.2):
            settings = {self.one(*names): {"rate": 0.1}}
            if self.seldom(0.5):
                settings["*"] = self.one({"l1": 1e-3}, {"l2": 1e-2}, {"rate": 2.0, "l2": 1e-3})
            found = Groups(found, settings)
        for _ in range(self.one(0, 0, 1, 1, 2)):
            some: list[Any] = [Clip(found, value=0.05)]
            if "Clip" not in repr(found):
                some += [Clip(found, norm=self.one(0.1, 1.0)), Clip(found, 0.5, 0.1)]
            if "Lookahead" not in repr(found):
                some += [Lookahead(found, self.whole(1, 3), 0.5)]
            if "EMA" not in repr(found) and "SWA" not in repr(found):
                some += [EMA(found, self.one(0.5, 0.9)), SWA(found, self.whole(1, 4), self.whole(1, 2))]
            found = self.one(*some)
        return found, lr

    def augmentation(self, shape: Shape) -> str | None:
        if len(shape) == 1 or not self.seldom(0.4):
            return None
        some = ["shift=1", "flip", "flip=alternate", "rotate=20", "zoom=0.2", "elastic=0.5", "brightness=0.2"]
        some += [
            "contrast=0.3",
            "cutout=1",
            "cutout=2",
            "shift=1,reflect",
            "mixup=0.4",
            "cutmix=1",
            "mixup=1,cutmix=0.5",
        ]
        found = []
        for _ in range(self.whole(1, 3)):
            text = ",".join([*found, self.one(*some)])
            try:
                Augmentation.parse(text).check(shape)
            except SettingError:
                continue
            found = text.split(",")
        return ",".join(found) or None

    def options(self, network: Network, examples: int) -> dict[str, Any]:
        names = [*network.parameter_shapes()]
        optimizer, lr = self.optimizer(names)
        found: dict[str, Any] = {
            "epochs": self.whole(1, 3),
            "batch_size": self.one(1, 2, 3, 5, 7, examples, examples + 4),
            "optimizer": optimizer,
            "lr": lr,
            "seed": self.whole(0, 99),
            "schedule": self.one("constant", "cosine", "one-cycle", "warmup=0.3,linear", "step"),
            "augmentation": self.augmentation(network.input_shape),
            "accumulate": self.one(1, 1, 1, 2, 3),
        }
        if self.seldom() and len(names) > 1:
            found["freeze"] = (self.one(*names),)
        return found

    def case(self, number: int) -> Case:
        examples, outputs = self.whole(3, 14), self.whole(1, 5)
        network = self.network(outputs)
        loss, targets = self.loss_and_targets(examples, outputs)
        images = self.rng.random((examples, *network.input_shape))
        if self.seldom(0.3):
            images = (images * 255).round().astype(np.uint8)
        options = self.options(network, examples)
        if self.seldom(0.25):
            weights = self.rng.uniform(0, 2, examples)
            weights[self.rng.integers(examples)] = 0
            options["sample_weight"] = weights
        if self.seldom(0.4):
            count = self.whole(1, examples)
            options["validation"] = images[:count], targets[:count]
            options["keep"] = self.one(None, None, "best")
        return Case(number, network, loss, images, targets, options, self.own, self.seldom(0.3))


def case(number: int) -> Case:
    """The network of that number, and what it is trained by."""
    return Drawing(number).case(number)
