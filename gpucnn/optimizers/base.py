"""What the engine asks of an optimiser, with defaults for what most need not say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import SettingError
from ..names import Explained
from ..namespace import array_namespace
from ..network import describe
from ..network.layout import Layout, Slot

Array = Any
State = dict[str, Array]

DECAYS = ("all", "kernels")


class Optimizer(Explained):
    """The base of optimisers. It holds defaults only, and deriving from it is optional.

    usual_lr: the learning rate that `gpucnn train --optimizer` takes where none is given.

    theta and g come as pieces of the flat vectors: `update` is called once for each piece, and must not care where one
    ends. An optimiser that cares has `update_parameter` beside it, which is called instead, once for each parameter.
    One that must know the whole gradient first, such as its norm, has `reduce`. Both are None where they are not
    wanted. multiplies: `update_parameter` gets one more argument, matmul=, the kernel table's product of two matrices.
    """

    usual_lr: ClassVar[float] = 1e-3
    reduce: ClassVar[Callable[[Any, Array], Array] | None] = None
    update_parameter: ClassVar[Callable[..., None] | None] = None
    multiplies: ClassVar[bool] = False

    def bind(self, layout: Layout) -> Optimizer:
        """The optimiser for parameters of these names and shapes; called once, before `init`."""
        return self

    def parts(self, layout: Layout) -> list[Part]:
        """The parts of theta and the rule that updates each."""
        return parts_of(self, layout)

    def init(self, theta: Array) -> State:
        """The state before the first update: a dict of vectors as long as theta, on its device."""
        return {}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        """Write theta and the vectors of state in place. step counts updates from 1. g may be overwritten.

        An optimiser with `reduce(g) -> Array` gets one more argument, reduced=: the sum of what that gave for the
        pieces of g. `update_parameter(slot, theta, g, state, lr, step)`, which may get reduced= too, gets its arrays in
        the shape of the parameter, whose name and shape slot tells. In gpucnn's own optimisers lr and step may be
        arrays of one element on a GPU, so that a recorded step sees them change.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Part(Explained):
    """A part of theta and the rule that updates it, at `rate` times the learning rate.

    slot: the parameter that it is, for rules that work by parameter. l1, l2: the gradient gains l1 sign(theta) +
    l2 theta first.
    """

    place: slice
    rule: Any
    slot: Slot | None = None
    rate: float = 1.0
    l1: float = 0.0
    l2: float = 0.0


def is_by_parameter(rule: Any) -> bool:
    return getattr(rule, "update_parameter", None) is not None


def parts_of(rule: Any, layout: Layout) -> list[Part]:
    """The parts of theta for a rule that updates them all, but for decay="kernels"."""
    free = for_no_matrix(rule)
    return merged([Part(slot.place, rule if slot.is_matrix else free, slot) for slot in layout.slots])


def merged(parts: list[Part]) -> list[Part]:
    """The parts, one for each parameter, but neighbours joined where their rule is the same and works in pieces."""
    found: list[Part] = []
    for part in parts:
        if is_by_parameter(part.rule):
            found.append(part)
            continue
        joined = dataclasses.replace(part, slot=None)
        beside = found and found[-1].place.stop == joined.place.start
        if beside and dataclasses.replace(found[-1], place=joined.place) == joined:
            joined = dataclasses.replace(joined, place=slice(found.pop().place.start, joined.place.stop))
        found.append(joined)
    return found


def for_no_matrix(rule: Any) -> Any:
    """The rule for parameters that are no matrices: without decay, where that is of kernels only."""
    return dataclasses.replace(rule, weight_decay=0.0) if getattr(rule, "decay", "all") == "kernels" else rule


def check_decay(rule: Any) -> None:
    """Raises SettingError for a decay that there is not."""
    if rule.decay not in DECAYS:
        raise SettingError(f"{type(rule).__name__}: decay {rule.decay!r}: one of {', '.join(DECAYS)} was expected")


class Around(Optimizer):
    """The base of wrappers: optimisers around another one, in the field `optimizer`. They may be nested.

    `before` may change the gradient, the outermost wrapper's first; `after` sees what the update made of theta, the
    innermost wrapper's first. Both get pieces of the flat vectors, and must not care where one ends. The names of the
    vectors that a wrapper adds to the state must differ from those of what it is around.
    """

    optimizer: Any

    @property
    def usual_lr(self) -> float:  # type: ignore[override]
        return getattr(self.optimizer, "usual_lr", Optimizer.usual_lr)

    def before(self, g: Array, reduced: Array | None) -> None:
        """Change the gradient in place. reduced: of wrappers with `reduce`, the sum of what that gave."""

    def after(self, theta: Array, state: State, step: int) -> None:
        """Look at the updated theta, and write it or the state in place."""

    def added(self, theta: Array) -> State:
        """The vectors that the wrapper itself keeps, before the first update."""
        return {}

    def average(self, state: State) -> Array | None:
        """The vector of state that stands for theta wherever theta is not trained, if there is one."""
        return None

    def init(self, theta: Array) -> State:
        return self.joined(self.optimizer.init(theta), theta)

    def joined(self, state: State, theta: Array) -> State:
        """The state of what is inside, with the wrapper's own. Raises SettingError where both have a name."""
        own = self.added(theta)
        if twice := sorted(state.keys() & own.keys()):
            raise SettingError(f"{type(self).__name__}: what it is around keeps a vector {twice[0]!r}, too; use one")
        return {**state, **own}

    def update(self, theta: Array, g: Array, state: State, lr: float, step: int) -> None:
        """What the engine does with a wrapper around rules that update pieces, for the whole of theta."""
        self.before(g, None if self.reduce is None else self.reduce(g))
        self.optimizer.update(theta, g, state, lr, step)
        self.after(theta, state, step)


def chain(optimizer: Any) -> tuple[list[Around], Any]:
    """The wrappers, outermost first, and what is inside them all."""
    wrappers = []
    while isinstance(optimizer, Around):
        wrappers.append(optimizer)
        optimizer = optimizer.optimizer
    return wrappers, optimizer


def described(optimizer: Any) -> str:
    """An optimiser as one would write it: what differs from the defaults, inside wrappers too."""
    inner = getattr(optimizer, "optimizer", None)
    if inner is None or not dataclasses.is_dataclass(optimizer):
        return describe(optimizer)
    own = [field for field in dataclasses.fields(optimizer) if field.name != "optimizer"]
    more = [f"{each.name}={getattr(optimizer, each.name)!r}" for each in own]
    more = [text for text, each in zip(more, own) if getattr(optimizer, each.name) != each.default]
    return f"{type(optimizer).__name__}({', '.join([described(inner), *more])})"


def as_number(value: Any, like: Array) -> Any:
    """A Python number as it is; an array of one element in the type of `like`, so that it widens nothing."""
    return value if isinstance(value, (int, float)) else array_namespace(like).astype(value, like.dtype)


def rules_of(parts: list[Part]) -> Iterator[Any]:
    """Each rule of the parts once."""
    seen: list[Any] = []
    for part in parts:
        if not any(part.rule is each for each in seen):
            seen.append(part.rule)
            yield part.rule
