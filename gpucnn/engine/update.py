"""How theta is updated: an optimiser, taken apart into wrappers and the rules of the parts of theta."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from ..errors import SettingError
from ..kernels import Kernels, Moment
from ..layers.base import is_own
from ..namespace import array_namespace, sign
from ..network.layout import Layout, Slot
from ..optimizers import Optimizer, Part, State
from ..optimizers.base import as_number, chain, parts_of, rules_of

Array = Any

IN_PLACE = "its update must write theta and state's vectors in place, as in theta -= lr * g and state['v'][...] = v"


class Rules:
    """What moves theta, for parameters of that layout.

    An update calls `before` of the wrappers, the outermost first, the rule of each part, and `after` of the wrappers,
    the innermost first. parts: of theta, in order. trained: those of the parameters that are to move; parts leave gaps
    for the others.
    """

    def __init__(self, optimizer: Optimizer, layout: Layout, trained: Layout | None = None) -> None:
        self.optimizer = optimizer
        self.wrappers, rule = chain(optimizer)
        for where, inner in _inside(self.wrappers, rule):
            if not hasattr(inner, "init"):
                raise SettingError(f"{where}={inner!r}: an optimiser was expected, such as Adam() of gpucnn.optimizers")
        rule = rule.bind(layout) if hasattr(rule, "bind") else rule
        moved, self._size = trained or layout, layout.size
        self._inside, found = rule, rule.parts(moved) if hasattr(rule, "parts") else parts_of(rule, moved)
        self.parts: list[Part] = found or [Part(slice(0, layout.size), rule)]
        looking = [each for each in (*self.wrappers, *rules_of(self.parts)) if _reduces(each)]
        if len(looking) > 1:
            names = " and ".join(type(each).__name__ for each in looking)
            raise SettingError(f"{names} each look at the whole gradient; only one of them may")
        self._looking = looking[0] if looking else None
        first = 0
        if looking:
            first = next((k for k, each in enumerate(self.wrappers) if each is looking[0]), len(self.wrappers))
        self._earlier, self._later = self.wrappers[:first], self.wrappers[first:]

    def initial(self, theta: Array) -> State:
        """The state before the first update. Raises SettingError where it is not vectors as long as theta."""
        state: Any = self._inside.init(theta)
        for wrapper in reversed(self.wrappers):
            state = wrapper.joined(state, theta)
        if not isinstance(state, dict) or any(getattr(each, "shape", None) != theta.shape for each in state.values()):
            raise SettingError(
                f"{type(self._inside).__name__}: init must give a dict of vectors as long as theta, such as "
                "{'velocity': 0 * theta}, or {}"
            )
        for each in rules_of(self.parts):
            check_writes(each)
        return state

    @property
    def reduces(self) -> bool:
        """Whether something must be known of the whole gradient before theta is written."""
        return self._looking is not None

    @functools.cached_property
    def plain(self) -> Any:
        """The one rule that updates all of theta in pieces, and all that there is to do; or None."""
        part = self.parts[0]
        alone = part.place == slice(0, self._size) and not (self.wrappers or self.reduces or part.slot)
        return part.rule if alone and part.rate == 1 and not (part.l1 or part.l2) and is_own(part.rule) else None

    @property
    def foreign(self) -> Iterator[str]:
        """The names of the classes that are not gpucnn's own."""
        for each in (*self.wrappers, *rules_of(self.parts)):
            if not is_own(each):
                yield type(each).__name__

    def factored(self, slots: dict[int, Slot]) -> dict[int, Slot]:
        """Those of the slots, whose gradients may come as factors, of which no rule asks for the whole gradient at
        once.
        """
        if self.reduces:
            return {}
        whole = {part.place.start for part in self.parts if part.slot}
        return {k: slot for k, slot in slots.items() if slot.place.start not in whole}

    def average(self, state: State) -> Array | None:
        """The vector that stands for theta outside of training, or None: that of the outermost wrapper with one."""
        found = (wrapper.average(state) for wrapper in self.wrappers)
        return next((vector for vector in found if vector is not None), None)

    def reduce(self, g: Array) -> Array:
        """What is to be known of a piece of the mean gradient; g is changed by the wrappers that come before."""
        for wrapper in self._earlier:
            wrapper.before(g, None)
        return self._looking.reduce(g)  # type: ignore[union-attr]

    def write(
        self,
        part: Part,
        theta: Array,
        g: Array,
        state: State,
        moment: Moment,
        kernels: Kernels,
        reduced: Array | None = None,
    ) -> None:
        """Update a piece of a part of theta by its mean gradient, on any array library.

        reduced: the sum of what `reduce` gave for all pieces, which have gone through it.
        """
        self._prepare(g, reduced)
        self._move(part, theta, g, state, moment, kernels, reduced)
        self._finish(theta, state, moment)

    def apply(self, theta: Array, g: Array, state: State, mean: float, moment: Moment, kernels: Kernels) -> None:
        """One update by the whole gradient g, `mean` times too large, on any array library."""
        fast = kernels.updates.get(type(self.plain))
        if fast is not None:
            fast(self.plain, theta, g, state, mean, moment)
            return
        g *= mean
        reduced = self.reduce(g) if self.reduces else None
        self._prepare(g, reduced)
        for part in self.parts:
            here = {name: vector[part.place] for name, vector in state.items()}
            self._move(part, theta[part.place], g[part.place], here, moment, kernels, reduced)
        self._finish(theta, state, moment)

    def _prepare(self, g: Array, reduced: Array | None) -> None:
        for wrapper in self._later:
            wrapper.before(g, reduced if wrapper is self._looking else None)

    def _move(
        self,
        part: Part,
        theta: Array,
        g: Array,
        state: State,
        moment: Moment,
        kernels: Kernels,
        reduced: Array | None,
    ) -> None:
        rule = part.rule
        if part.l1 or part.l2:
            g += part.l1 * sign(theta) + part.l2 * theta
        fast = None if part.slot else kernels.updates.get(type(rule))
        if fast is not None:
            is_whole = len(self.parts) == 1 and part.rate == 1
            fast(rule, theta, g, state, 1.0, moment if is_whole else kernels.of_rule(moment, rule, part.rate))
            return
        lr, step = (moment.rate, moment.number) if is_own(rule) else (moment.lr, moment.step)
        lr = as_number(lr, theta)
        lr = lr if part.rate == 1 else part.rate * lr
        more: dict[str, Any] = {"reduced": reduced} if rule is self._looking else {}
        if part.slot is None:
            _in_place(rule, state, rule.update, theta, g, state, lr, step, **more)
            return
        if getattr(rule, "multiplies", False):
            more["matmul"] = kernels.matmul
        theta, g, *vectors = _shaped(part.slot, theta, g, *state.values())
        state = dict(zip(state, vectors))
        _in_place(rule, state, rule.update_parameter, part.slot, theta, g, state, lr, step, **more)

    def _finish(self, theta: Array, state: State, moment: Moment) -> None:
        for wrapper in reversed(self.wrappers):
            wrapper.after(theta, state, moment.number if is_own(wrapper) else moment.step)


def _inside(wrappers: list[Any], rule: Any) -> Iterator[tuple[str, Any]]:
    """The optimisers in optimisers, each with where it stands."""
    for each in (*wrappers, rule):
        for name in ("optimizer", "others"):
            if hasattr(each, name):
                yield f"{type(each).__name__}: {name}", getattr(each, name)


def _reduces(rule: Any) -> bool:
    return getattr(rule, "reduce", None) is not None


def _shaped(slot: Slot, *vectors: Array) -> list[Array]:
    """Pieces of flat vectors in the shape of the parameter that they are: writing them writes the vectors."""
    xp = array_namespace(*vectors)
    return [xp.reshape(each, slot.shape, copy=False) for each in vectors]


def _in_place(rule: Any, state: State, update: Any, *arguments: Any, **more: Any) -> None:
    """Call update. Raises SettingError where it gives something back or rebinds the state: both would be lost."""
    if is_own(rule):
        update(*arguments, **more)
        return
    before = dict(state)
    given = update(*arguments, **more)
    if given is not None or any(state.get(name) is not vector for name, vector in before.items()):
        raise SettingError(f"{type(rule).__name__}: {IN_PLACE}; what it returns or puts into state is lost")


def check_writes(rule: Any) -> None:
    """Raises SettingError where the update of an optimiser from elsewhere gives the name theta to another array, as in
    theta = theta - lr * g, and does nothing else with it than compute: it would change nothing."""
    if is_own(rule) or not _only_rebinds(getattr(rule, "update", None)):
        return
    raise SettingError(f"{type(rule).__name__}: {IN_PLACE}; giving the name to another array changes nothing")


def _only_rebinds(update: Any) -> bool:
    try:
        name = next(iter(inspect.signature(update).parameters))
        nodes = [*ast.walk(ast.parse(textwrap.dedent(inspect.getsource(update))))]
    except (OSError, TypeError, ValueError, SyntaxError, StopIteration):  # of what has no source nothing is known
        return False

    def is_theta(node: Any) -> bool:
        return isinstance(node, ast.Name) and node.id == name

    rebinds = any(isinstance(node, ast.Assign) and any(map(is_theta, node.targets)) for node in nodes)
    others: list[Any] = [node.target for node in nodes if isinstance(node, ast.AugAssign)]
    held = ast.Subscript, ast.Attribute, ast.Assign, ast.keyword
    others += [node.value for node in nodes if isinstance(node, held)]
    others += [given for node in nodes if isinstance(node, ast.Call) for given in node.args]
    return rebinds and not any(map(is_theta, others))


def vectors(theta: Array, of_layers: Array, state: State) -> dict[str, Array]:
    """All that an update changes: theta, the layers' running state, the optimiser's. Writing them changes the step."""
    return {"theta": theta, "layers": of_layers} | {f"optimizer/{name}": vector for name, vector in state.items()}
