"""What a named network is made of: its builder, and the recipe that trains it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SettingError
from ..losses import Loss, SoftmaxCrossEntropy
from ..names import Explained
from ..network import Network
from ..optimizers import Optimizer
from ..schedules import named, schedule

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Recipe(Explained):
    """How a network is trained. lr: the base learning rate; schedule: a text that `schedules.schedule` reads, such as
    "cosine", or "my_nets:name" for a function of your own.

    epochs are for data sets of MNIST's size; on a smaller one there are more, until theta, the vector of all
    parameters, has been updated `updates` times. validation: the part of the training images that is not trained on
    but measured after each epoch, for the learning curve. augmentation: how training images are changed, as the text
    that `Augmentation.parse` reads; "" leaves them as they are. Raises SettingError for an optimiser or a schedule that
    is none: what a run began with is written down, and functions cannot be but by their names.
    """

    optimizer: Optimizer
    lr: float
    schedule: str = "constant"
    batch_size: int = 128
    epochs: int = 5
    updates: int = 400
    validation: float = 0.1
    augmentation: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, type) or not hasattr(self.optimizer, "update"):
            given = self.optimizer.__name__ if isinstance(self.optimizer, type) else repr(self.optimizer)
            raise SettingError(
                f"Recipe: optimizer={given}: an optimiser with its settings was expected, such as Adam()"
            )
        if not isinstance(self.schedule, str):
            raise SettingError(
                f"Recipe: schedule={named(self.schedule) if callable(self.schedule) else repr(self.schedule)}: a text "
                "was expected, as --schedule takes it, such as 'cosine', or, for a function of your own, its place: "
                "'my_nets:name'"
            )
        if ":" not in self.schedule:  # else its module may be the one that is imported now
            schedule(self.schedule)

    def epochs_for(self, examples: int) -> int:
        """The number of epochs on a data set with this number of training examples."""
        return max(self.epochs, math.ceil(self.updates / math.ceil(examples / self.batch_size)))


@dataclass(frozen=True)
class Entry(Explained):
    """A named network: its builder, its source document, the loss it is trained with, its recipe, its usual data."""

    build: Callable[..., Network]
    document: str
    recipe: Recipe
    loss: Loss = SoftmaxCrossEntropy()
    input_shape: Shape = (28, 28, 1)
    classes: int = 10

    @property
    def about(self) -> str:
        """The first line of what its factory says of it."""
        return (inspect.getdoc(self.build) or "").split("\n")[0]
