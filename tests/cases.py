"""One line per layer configuration: a name, the layers, the input shape without the batch; and how to run a network."""

from __future__ import annotations

import numpy as np
from nests import NESTS

from gpucnn import layers
from gpucnn.engine.rewrite import rewritten
from gpucnn.kernels import Context
from gpucnn.kernels.cpu import NUMPY
from gpucnn.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Reshape, Sigmoid, Softmax, Tanh
from gpucnn.network import Network
from gpucnn.network.layout import Layout
from gpucnn.workers import exchange

CASES = {
    "conv": ((Conv2D(3, 3),), (7, 8, 2)),
    "conv non-square": ((Conv2D(3, (2, 4)),), (7, 8, 2)),
    "conv 1x1": ((Conv2D(4, 1),), (3, 1, 2)),
    "conv one output": ((Conv2D(4, (5, 6)),), (5, 6, 1)),
    "conv one row": ((Conv2D(2, (1, 3)),), (1, 9, 3)),
    "conv strided": ((Conv2D(3, (3, 2), (2, 3)),), (8, 9, 2)),
    "conv stride over kernel": ((Conv2D(2, (1, 2), 3),), (8, 9, 2)),
    "conv same": ((Conv2D(3, (3, 4), padding="same"),), (6, 5, 2)),
    "conv same, tall": ((Conv2D(3, (4, 3), padding="same"),), (6, 5, 2)),
    "conv same strided": ((Conv2D(3, 3, 2, padding="same"),), (7, 6, 2)),
    "conv same dilated": ((Conv2D(2, 3, padding="same", dilation=2),), (6, 7, 2)),
    "conv full": ((Conv2D(3, (3, 2), padding="full"),), (4, 5, 2)),
    "conv full strided": ((Conv2D(3, 3, (2, 1), padding="full"),), (5, 4, 2)),
    "conv full dilated": ((Conv2D(2, 2, padding="full", dilation=(2, 3)),), (4, 5, 1)),
    "conv padded": ((Conv2D(2, 3, padding=1),), (5, 4, 2)),
    "conv padded strided": ((Conv2D(2, (4, 3), (3, 2), padding=(2, 1)),), (9, 8, 3)),
    "conv padded asymmetric": ((Conv2D(2, 3, padding=((0, 2), (1, 0))),), (5, 6, 2)),
    "conv padded past the kernel": ((Conv2D(2, (2, 3), padding=(3, 4)),), (4, 4, 2)),
    "conv padded past the kernel, strided": ((Conv2D(2, 2, 3, padding=4),), (4, 5, 1)),
    "conv dilated": ((Conv2D(3, (3, 2), dilation=(2, 3)),), (8, 9, 2)),
    "conv dilated strided": ((Conv2D(3, 2, (2, 1), dilation=3),), (9, 8, 2)),
    "conv groups": ((Conv2D(6, 3, groups=2),), (6, 5, 4)),
    "conv depthwise": ((Conv2D(3, (2, 3), groups=3),), (6, 5, 3)),
    "conv depthwise times two": ((Conv2D(6, 3, 2, padding="same", groups=3),), (7, 5, 3)),
    "conv groups dilated padded": ((Conv2D(4, 2, padding=1, dilation=2, groups=2, bias="untied"),), (6, 6, 2)),
    "conv and relu": ((Conv2D(3, (3, 2), flip=True), ReLU(), Conv2D(2, 2), ReLU(0.0)), (6, 7, 2)),
    "conv untied": ((Conv2D(3, (3, 2), bias="untied"),), (6, 7, 1)),
    "conv untied strided": ((Conv2D(3, 3, 2, bias="untied", padding="same"),), (6, 7, 2)),
    "conv no bias": ((Conv2D(3, 3, bias=None),), (6, 6, 2)),
    "conv flipped": ((Conv2D(3, (3, 2), flip=True),), (6, 7, 2)),
    "conv flipped strided": ((Conv2D(3, 3, (2, 3), flip=True),), (8, 9, 2)),
    "conv flipped same": ((Conv2D(2, (4, 3), padding="same", flip=True),), (6, 5, 2)),
    "conv flipped full": ((Conv2D(2, (2, 3), padding="full", flip=True),), (4, 5, 2)),
    "conv flipped groups": ((Conv2D(4, 3, groups=2, flip=True, dilation=2),), (8, 7, 4)),
    "conv flipped padded, untied": (
        (Conv2D(2, (3, 2), padding=((0, 2), (1, 0)), bias="untied", flip=True),),
        (5, 6, 2),
    ),
    "conv flipped groups strided": ((Conv2D(4, (2, 3), (2, 1), groups=2, flip=True),), (6, 5, 2)),
    "conv many channels": ((Conv2D(32, 3, padding="same"),), (8, 7, 32)),
    "conv many channels, 5x5": ((Conv2D(33, 5),), (11, 8, 32)),
    "depthwise": ((layers.DepthwiseConv2D(3),), (7, 8, 3)),
    "depthwise same": ((layers.DepthwiseConv2D(3, padding="same"),), (5, 6, 4)),
    "depthwise same, strided": ((layers.DepthwiseConv2D(3, 2, "same"),), (7, 6, 3)),
    "depthwise padded, strided": ((layers.DepthwiseConv2D(3, 2, 1, bias=None),), (8, 8, 2)),
    "depthwise 5x5": ((layers.DepthwiseConv2D(5, padding="same"),), (7, 6, 2)),
    "depthwise 5x5, strided": ((layers.DepthwiseConv2D(5, 2, "same"),), (9, 8, 2)),
    "depthwise times three": ((layers.DepthwiseConv2D((3, 2), (1, 2), 1, 3),), (6, 7, 2)),
    "depthwise of one channel": ((layers.DepthwiseConv2D(3, multiplier=2),), (5, 6, 1)),
    "depthwise flipped, dilated": ((layers.DepthwiseConv2D(3, 1, "same", 2, 2, flip=True),), (7, 8, 2)),
    "depthwise untied": ((layers.DepthwiseConv2D((2, 3), (3, 2), ((0, 2), (1, 0)), bias="untied"),), (6, 7, 3)),
    "depthwise stride over kernel": ((layers.DepthwiseConv2D((1, 2), 3, 2),), (7, 8, 2)),
    "depthwise dilated, strided": ((layers.DepthwiseConv2D(3, (2, 3), 4, dilation=(3, 2)),), (8, 7, 2)),
    "depthwise padded past the kernel": ((layers.DepthwiseConv2D(2, (1, 2), 4),), (3, 4, 2)),
    "depthwise of one pixel": ((layers.DepthwiseConv2D(1, 2),), (5, 4, 3)),
    "depthwise block": ((layers.DepthwiseConv2D(3, padding="same"), ReLU(), Conv2D(4, 1), ReLU()), (6, 5, 3)),
    "depthwise pooled": ((Conv2D(4, 3, padding="same", groups=4), ReLU(), MaxPool2D()), (6, 7, 4)),
    "separable": ((layers.SeparableConv2D(4, 3),), (6, 7, 3)),
    "separable strided, times two": ((layers.SeparableConv2D(3, (3, 2), 2, "same", 2, flip=True),), (7, 6, 2)),
    "separable without bias": ((layers.SeparableConv2D(2, 2, padding=1, dilation=2, bias=None),), (5, 6, 2)),
    "transposed": ((layers.ConvTranspose2D(3, 3),), (4, 5, 2)),
    "transposed strided": ((layers.ConvTranspose2D(3, (3, 2), (2, 3)),), (4, 3, 2)),
    "transposed padded": ((layers.ConvTranspose2D(2, 4, 2, 1, 1),), (3, 4, 2)),
    "transposed same": ((layers.ConvTranspose2D(3, 3, 2, "same"),), (3, 4, 2)),
    "transposed same, stride over kernel": ((layers.ConvTranspose2D(2, (1, 2), 3, "same"),), (3, 2, 2)),
    "transposed full": ((layers.ConvTranspose2D(2, (2, 3), padding="full"),), (5, 6, 3)),
    "transposed asymmetric": ((layers.ConvTranspose2D(2, 3, (2, 3), ((0, 2), (1, 0)), (1, 2)),), (4, 3, 2)),
    "transposed dilated": ((layers.ConvTranspose2D(2, 3, (1, 2), 1, (0, 1), (2, 3), bias=None),), (4, 3, 2)),
    "transposed groups": ((layers.ConvTranspose2D(6, 3, 2, 1, groups=2),), (3, 4, 4)),
    "transposed depthwise": ((layers.ConvTranspose2D(3, 3, 2, "same", groups=3, flip=True),), (3, 4, 3)),
    "transposed stride over kernel": ((layers.ConvTranspose2D(2, 2, 3, output_padding=2),), (3, 2, 2)),
    "transposed many channels": ((layers.ConvTranspose2D(17, 4, 2, 1), ReLU(), Conv2D(2, 1)), (4, 5, 18)),
    "max pool": ((MaxPool2D(),), (6, 8, 3)),
    "max pool odd": ((MaxPool2D(),), (7, 5, 3)),
    "max pool non-square": ((MaxPool2D((2, 3)),), (6, 9, 2)),
    "max pool overlap": ((MaxPool2D((3, 2), (2, 1)),), (8, 7, 2)),
    "max pool stride over window": ((MaxPool2D((1, 2), (2, 3)),), (7, 8, 2)),
    "max pool padded": ((MaxPool2D(3, 2, 1),), (6, 7, 2)),
    "max pool same": ((MaxPool2D((2, 3), (2, 2), "same"),), (5, 7, 2)),
    "max pool padded non-square": ((MaxPool2D((2, 4), (1, 3), (1, 2)),), (5, 8, 2)),
    "max pool padded asymmetric": ((MaxPool2D(3, 2, ((0, 2), (1, 0))),), (6, 7, 2)),
    "max pool all ties": ((MaxPool2D(ties="all"),), (6, 8, 3)),
    "max pool all ties, odd": ((MaxPool2D(ties="all"),), (7, 7, 2)),
    "max pool all ties, overlap": ((MaxPool2D(3, 1, ties="all"),), (5, 6, 2)),
    "max pool all ties, padded": ((MaxPool2D(3, 2, 1, ties="all"),), (6, 7, 2)),
    "max pool all ties, stride over window": ((MaxPool2D((1, 2), (2, 3), ties="all"),), (7, 8, 2)),
    "average pool": ((AvgPool2D(),), (6, 8, 3)),
    "average pool odd": ((AvgPool2D(),), (7, 5, 2)),
    "average pool non-square": ((AvgPool2D((3, 2)),), (6, 8, 2)),
    "average pool overlap": ((AvgPool2D((3, 2), (1, 2)),), (6, 7, 2)),
    "average pool padded": ((AvgPool2D((3, 2), (1, 2), 1),), (6, 7, 2)),
    "average pool padding counted": ((AvgPool2D((3, 2), (1, 2), 1, count_padding=True),), (6, 7, 2)),
    "average pool padded, as many windows as fit": ((AvgPool2D(3, padding=((1, 0), (1, 0))),), (6, 6, 2)),
    "average pool padding counted, as many windows as fit": (
        (AvgPool2D((5, 2), padding=((0, 1), (1, 0)), count_padding=True),),
        (6, 6, 2),
    ),
    "average pool same": ((AvgPool2D(3, 2, "same"),), (5, 6, 2)),
    "average pool same, padding counted": ((AvgPool2D(3, 2, "same", count_padding=True),), (6, 6, 2)),
    "average pool padded asymmetric": ((AvgPool2D((2, 3), (1, 2), ((1, 0), (0, 2))),), (5, 6, 2)),
    "average pool stride over window": ((AvgPool2D(2, 3),), (8, 8, 2)),
    "max pool dilated": ((MaxPool2D(2, 1, dilation=(2, 3)),), (6, 7, 2)),
    "max pool dilated, all ties": ((MaxPool2D((2, 3), (2, 1), 1, "all", dilation=2),), (6, 7, 2)),
    "max pool ceil": ((MaxPool2D(2, ceil_mode=True),), (7, 5, 3)),
    "max pool ceil, all ties": ((MaxPool2D(3, 2, 1, "all", ceil_mode=True),), (6, 7, 2)),
    "max pool ceil, dilated": ((MaxPool2D((2, 3), 3, dilation=(3, 2), ceil_mode=True),), (9, 8, 2)),
    "max pool same-lower": ((MaxPool2D((2, 3), (2, 2), "same-lower"),), (5, 7, 2)),
    "average pool dilated": ((AvgPool2D((2, 3), 2, 1, dilation=(3, 2)),), (7, 8, 2)),
    "average pool ceil": ((AvgPool2D((3, 2), 2, ceil_mode=True),), (6, 7, 2)),
    "average pool ceil, padding counted": ((AvgPool2D(3, 2, 1, True, ceil_mode=True),), (6, 8, 2)),
    "average pool ceil, dilated": ((AvgPool2D(2, 3, 1, True, (2, 3), True),), (7, 8, 2)),
    "average pool same-lower": ((AvgPool2D(3, 2, "same-lower"),), (6, 6, 2)),
    "global average pool": ((layers.GlobalAvgPool2D(), Dense(3)), (5, 4, 3)),
    "global max pool": ((layers.GlobalMaxPool2D(),), (5, 4, 3)),
    "global max pool, all ties": ((Conv2D(4, 2), layers.GlobalMaxPool2D("all"), Dense(2)), (5, 4, 3)),
    "global max pool of one pixel": ((layers.GlobalMaxPool2D(), Dense(2)), (1, 1, 3)),
    "conv same-lower": ((Conv2D(3, (4, 3), 2, padding="same-lower"),), (7, 6, 2)),
    "block dilated pool": ((Conv2D(3, 3), ReLU(), MaxPool2D(2, dilation=2)), (9, 8, 2)),
    "block dilated pool, all ties": ((Conv2D(3, 3), ReLU(), MaxPool2D(2, ties="all", dilation=2)), (9, 8, 2)),
    "block ceil pool": ((Conv2D(3, 3), ReLU(), MaxPool2D(ceil_mode=True)), (9, 8, 2)),
    "block dilated pool, without relu": ((Conv2D(3, 3), MaxPool2D(2, dilation=2)), (9, 8, 2)),
    "relu": ((ReLU(),), (3, 4, 2)),
    "relu slope 0": ((ReLU(0.0),), (3, 4, 2)),
    "relu slope 1": ((ReLU(1.0),), (5,)),
    "leaky relu": ((Dense(12), layers.LeakyReLU(0.1), Reshape((2, 3, 2)), layers.LeakyReLU()), (5,)),
    "prelu": ((layers.PReLU(),), (3, 4, 2)),
    "prelu of vectors": ((layers.PReLU(),), (7,)),
    "prelu, shared": ((Conv2D(2, 2), layers.PReLU(shared=True), Flatten(), Dense(3), layers.PReLU(True)), (3, 4, 2)),
    "elu": ((layers.ELU(),), (3, 4, 2)),
    "elu 0.7 of vectors": ((layers.ELU(0.7),), (7,)),
    "gelu": ((layers.GELU(),), (3, 4, 2)),
    "gelu of vectors": ((layers.GELU(),), (7,)),
    "gelu approximate": ((layers.GELU(approximate=True),), (3, 4, 2)),
    "silu": ((layers.SiLU(),), (3, 4, 2)),
    "softplus": ((layers.Softplus(),), (3, 4, 2)),
    "hardswish": ((layers.Hardswish(),), (3, 4, 2)),
    "activations behind layers": (
        (Conv2D(3, 2), layers.SiLU(), MaxPool2D(), layers.GELU(), Flatten(), Dense(4), layers.Hardswish(), Dense(2)),
        (5, 6, 2),
    ),
    "sigmoid": ((Sigmoid(),), (3, 4, 2)),
    "sigmoid of vectors": ((Sigmoid(),), (7,)),
    "tanh": ((Tanh(),), (3, 4, 2)),
    "tanh of vectors": ((Tanh(),), (7,)),
    "softmax": ((Softmax(),), (6,)),
    "batch norm": ((layers.BatchNorm(),), (3, 4, 2)),
    "batch norm of vectors": ((layers.BatchNorm(),), (5,)),
    "batch norm, bias only": ((layers.BatchNorm(0.5, scale=False),), (3, 4, 2)),
    "batch norm, no parameters": ((layers.BatchNorm(scale=False, bias=False),), (4, 2, 3)),
    "batch norm after conv": ((Conv2D(3, 3, bias=None), layers.BatchNorm(), ReLU()), (6, 7, 2)),
    "batch norm between convs": ((Conv2D(3, 3, bias=None), layers.BatchNorm(), Tanh(), Conv2D(2, 2)), (6, 7, 2)),
    "batch norm after conv, pooled": ((Conv2D(3, 3, bias=None), layers.BatchNorm(), ReLU(), MaxPool2D()), (6, 7, 2)),
    "batch norm after dense": ((Dense(4, bias=False), layers.BatchNorm(), ReLU(0.0), Dense(3)), (5,)),
    "batch norm, slope 1": ((layers.BatchNorm(), ReLU(1.0)), (3, 4, 2)),
    "batch norm in a residual": (
        (
            layers.Residual((Conv2D(3, 3, padding="same", bias=None), layers.BatchNorm()), (Conv2D(3, 1),)),
            ReLU(),
            layers.Residual((layers.BatchNorm(), ReLU(), Conv2D(3, 1))),
        ),
        (5, 4, 2),
    ),
    "batch norm, shared": (
        tuple(layers.Shared("twice", (Conv2D(2, 2, bias=None), layers.BatchNorm(), ReLU())) for _ in range(2)),
        (5, 6, 2),
    ),
    "batch norm after depthwise": (
        (layers.DepthwiseConv2D(3, bias=None), layers.BatchNorm(), ReLU(), Conv2D(3, 1, bias=None), layers.BatchNorm()),
        (6, 7, 3),
    ),
    "layer norm": ((layers.LayerNorm(),), (3, 4, 2)),
    "layer norm of vectors": ((layers.LayerNorm(),), (5,)),
    "layer norm over channels": ((layers.LayerNorm("channels"),), (3, 2, 4)),
    "layer norm over channels of vectors": ((layers.LayerNorm("channels", scale=False),), (6,)),
    "layer norm, no parameters": ((layers.LayerNorm(scale=False, bias=False),), (3, 4, 2)),
    "group norm": ((layers.GroupNorm(2),), (3, 4, 6)),
    "group norm of vectors": ((layers.GroupNorm(3, bias=False),), (12,)),
    "group norm, one group": ((Conv2D(4, 2), layers.GroupNorm(1), ReLU()), (4, 5, 2)),
    "instance norm": ((layers.InstanceNorm(),), (3, 4, 2)),
    "instance norm, no parameters": ((layers.InstanceNorm(scale=False, bias=False),), (3, 4, 2)),
    "flatten": ((Flatten(),), (3, 4, 2)),
    "flatten a vector": ((Flatten(),), (5,)),
    "reshape to a vector": ((Reshape((24,)),), (3, 4, 2)),
    "reshape to an image": ((Reshape((3, 2, 4)),), (24,)),
    "reshape an image": ((Reshape((4, 3, 2)),), (2, 3, 4)),
    "dense": ((Dense(4),), (5,)),
    "dense one": ((Dense(1),), (1,)),
    "dense no bias": ((Dense(4, bias=False),), (5,)),
    "dense after flatten": ((Flatten(), Dense(5), ReLU(), Dense(4)), (3, 4, 2)),
    "dense, image, convolution": ((Dense(12), Reshape((2, 3, 2)), Conv2D(2, 2), Flatten(), Softmax()), (5,)),
    "dense on dense": ((Dense(4), Dense(3, bias=False), Dense(2)), (5,)),
    "conv on conv": ((Conv2D(3, (2, 3)), Conv2D(2, 2, flip=True)), (6, 7, 2)),
    "network in a network": ((Network((6, 6, 1), (Conv2D(2, 3), Tanh())), Flatten(), Dense(3)), (6, 6, 1)),
    "zero pad": ((layers.ZeroPad2D(((0, 2), (1, 0))), Conv2D(2, 2), layers.ZeroPad2D(1)), (3, 4, 2)),
    "crop": ((layers.Crop2D(((0, 2), (1, 0))), Conv2D(2, 2), layers.Crop2D((0, 1))), (6, 5, 2)),
    "subsample": ((layers.Subsample2D(), layers.Subsample2D((2, 1))), (7, 6, 3)),
    "pad channels": ((layers.PadChannels(3), Conv2D(2, 2), layers.PadChannels((0, 2))), (3, 4, 2)),
    "shortcut of option A": ((Conv2D(4, 3), layers.Subsample2D(), layers.PadChannels(4), Conv2D(2, 2)), (7, 6, 2)),
    "upsample": ((layers.Upsample2D((2, 3)),), (3, 4, 2)),
    "upsample bilinear": ((layers.Upsample2D((2, 3), "bilinear"),), (3, 4, 2)),
    "upsample bilinear, one pixel": ((layers.Upsample2D(4, "bilinear"),), (1, 2, 2)),
    "dropout passes through": ((Conv2D(2, 2), layers.Dropout(0.3), Conv2D(2, 2), layers.SpatialDropout2D()), (4, 5, 2)),
    **NESTS,
    "dropout": ((Conv2D(2, 2), layers.Dropout(0.3), Conv2D(2, 2), layers.Dropout()), (4, 5, 2)),
    "dropout of vectors": ((Dense(7), layers.Dropout(0.3)), (5,)),
    "dropout of nothing": ((layers.Dropout(0),), (3, 4, 2)),
    "spatial dropout": ((layers.SpatialDropout2D(), Conv2D(3, 2)), (4, 5, 6)),
    "block": ((Conv2D(3, 3), ReLU(), MaxPool2D()), (8, 6, 2)),
    "block odd": ((Conv2D(3, (2, 3)), ReLU(), MaxPool2D()), (8, 7, 2)),
    "block slope 0": ((Conv2D(3, 3), ReLU(0.0), MaxPool2D()), (8, 6, 2)),
    "block all ties": ((Conv2D(3, 3), ReLU(), MaxPool2D(ties="all")), (8, 6, 2)),
    "block all ties, slope 0": ((Conv2D(3, 3), ReLU(0.0), MaxPool2D(ties="all")), (8, 6, 2)),
    "block all ties, odd, overlap": ((Conv2D(3, (2, 3), flip=True), ReLU(), MaxPool2D(3, 2, ties="all")), (9, 8, 2)),
    "block without bias": ((Conv2D(3, 3, bias=None), ReLU(), MaxPool2D()), (8, 6, 2)),
    "block overlap": ((Conv2D(3, 3), ReLU(), MaxPool2D((3, 2), (1, 2))), (8, 6, 2)),
    "block untied": ((Conv2D(3, 3, bias="untied"), ReLU(), MaxPool2D()), (8, 6, 2)),
    "block padded pool": ((Conv2D(3, 3), ReLU(), MaxPool2D(3, 2, 1)), (9, 9, 2)),
    "block pooled first": ((Conv2D(3, 3), MaxPool2D(), ReLU()), (8, 6, 2)),
    "block averaged": ((Conv2D(3, 3, flip=True), Sigmoid(), AvgPool2D()), (8, 6, 2)),
    "two blocks": (
        (Conv2D(2, 3, flip=True), ReLU(), MaxPool2D(), Conv2D(3, 2), ReLU(), MaxPool2D(), Flatten(), Dense(3)),
        (10, 9, 1),
    ),
}


def fuse(network):
    """The network as tables that have blocks run it."""
    return rewritten(network, NUMPY)


def kept(residuals):
    """Residuals for one more `Network.backward`, which empties its list and those of the networks inside."""
    return [kept(each) if isinstance(each, list) else each for each in residuals]


def told(network, kernels, examples, put, dtype="float64"):
    """The context of an update by those examples of a data set, with the layers' first state. put: a host array -> one
    of the library that computes.
    """
    states = network.init_state(network.input_shape)
    state = Layout(states)
    unpacked = state.unpack(put(state.pack(states, np.zeros(state.size, dtype))))
    return Context(
        kernels, update=2, key=3, examples=put(np.array(examples, "int64")), state=unpacked, total=exchange.total
    )


def run(network, kernels, theta, x, dy, put=np.array):
    """y, dx and the flat gradient, of a network on a kernel table, by way of arrays as (N, H, W, C).

    put: a host array -> one of the library that computes.
    """
    layout = Layout(network.init(network.input_shape, np.random.default_rng(0)))
    params, context = layout.unpack(theta), told(network, kernels, range(len(x)), put)
    y, residuals = network.forward(params, kernels.enter(x), context)
    dx, dparams = network.backward(params, residuals, kernels.enter(dy), context)
    return kernels.leave(y), kernels.leave(dx), layout.pack(dparams, put(np.empty(layout.size, theta.dtype)))
