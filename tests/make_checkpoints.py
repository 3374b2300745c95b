"""Write tests/checkpoints: one small model per layer kind, with an example and its logits in the description.

`python tests/make_checkpoints.py KIND ...` adds those of new kinds. What is there is never written again: these files
stand for all the models that people saved with the version that wrote them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpucnn import Model, Network
from gpucnn.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Tanh,
)
from gpucnn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy

FOLDER = Path(__file__).with_name("checkpoints")
IMAGE = (6, 5, 2)
END = (Flatten(), Dense(3))
KINDS = {
    "AvgPool2D": (AvgPool2D((3, 2), (1, 2), 1, count_padding=True), *END),
    "BatchNorm": (
        Conv2D(3, 2, bias=None),
        BatchNorm(0.8),
        ReLU(),
        Flatten(),
        Dense(4),
        BatchNorm(scale=False),
        Dense(3),
    ),
    "Conv2D": (
        Conv2D(4, (2, 3), (2, 1), ((0, 1), (1, 0)), groups=2, flip=True),
        Conv2D(2, 2, padding="same", dilation=2, bias="untied", initializer="he_normal"),
        Conv2D(2, 2, bias=None),
        *END,
    ),
    "Dense": (Flatten(), Dense(4, initializer="he_normal"), Dense(3, bias=False)),
    "Flatten": END,
    "GroupNorm": (GroupNorm(2, 1e-3), *END),
    "InstanceNorm": (InstanceNorm(bias=False), *END),
    "LayerNorm": (LayerNorm(), Conv2D(2, 2), LayerNorm("channels"), *END),
    "MaxPool2D": (MaxPool2D(3, 2, "same", ties="all"), MaxPool2D((1, 2)), *END),
    "Network": (Network(IMAGE, (Conv2D(2, 2), Tanh())), *END),
    "ReLU": (ReLU(0.0), Conv2D(2, 2), ReLU(), *END),
    "Reshape": (Reshape((60,)), Dense(8), Reshape((2, 2, 2)), *END),
    "Sigmoid": (Sigmoid(), *END),
    "Softmax": (Flatten(), Dense(4), Softmax(), Dense(3)),
    "Tanh": (Conv2D(2, 2), Tanh(), *END),
}


def write(kind: str) -> None:
    loss = BinaryCrossEntropy() if kind == "Sigmoid" else SoftmaxCrossEntropy()
    names = ["zero", "one", "two"]
    model = Model(Network(IMAGE, KINDS[kind]), loss=loss, device="cpu", seed=3, class_names=names, name=kind)
    images = np.random.default_rng(0).integers(0, 256, (2, *IMAGE), np.uint8)
    labels = np.array([0, 2])
    model.fit(images, labels, epochs=2, batch_size=2)  # so that biases are not zero
    model.save(FOLDER / f"{kind}.safetensors", images=images.tolist(), logits=model.logits(images).tolist())


if __name__ == "__main__":
    for kind in sys.argv[1:] or KINDS:
        if not (FOLDER / f"{kind}.safetensors").exists():
            write(kind)
