"""The states of a run on disk: what it needs to go on where it was cut off, with the same bits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import tuning
from ..errors import CheckpointError, SettingError, counted, warn
from ..training import Epoch, History, Position
from ..training.pace import Pace
from . import checkpoint, numbers
from .callback_states import joined, parted
from .fitting import Fitting
from .tensors import named, take, trained
from .trainable import Trainable

FOLDER = "checkpoints"
FINISHED = "is finished"  # of a run, as `standing` says it
KEPT = 2
LEAST = 600.0  # seconds, inside an epoch
GUESS = 0.05  # seconds, what the first one costs
MAY_DIFFER = ("epochs",)
DATA = ("data", "validation data")  # which are compared by their digests
DIGITS = 64  # of a digest
MOST = 60  # characters of a value in a sentence


class Checkpoints:
    """Saves where a run stands in a folder, and keeps the last two files.

    One is due at the end of an epoch, or inside it after LEAST seconds, but not before 100 times what one costs has
    gone by: they take less than 1 % of a run. pace tells how many there were, and their seconds.
    """

    def __init__(self, found: Found, fitting: Fitting) -> None:
        self.folder, self.fitting, self.pace = found.folder / FOLDER, fitting, Pace(guess=GUESS)
        self.saved, self.changes = found.saved, found.changes
        self.about = fitting.about()
        self._saved: tuple[int, int, str] | None = None  # epoch, steps, why it was ended
        self._failed = False

    def is_due(self, *, epoch_ended: bool) -> bool:
        return self.pace.is_due(0.0 if epoch_ended else LEAST)

    def save(self, position: Position, history: History, states: list[dict[str, Any]]) -> None:
        """Write a file, unless that state is saved already. A folder that cannot be written is warned of once."""
        here = position.epoch, position.steps, history.stopped
        if here == self._saved:
            return
        model, trained = self.fitting.model, self.fitting.trained(position)
        epochs = [dataclasses.asdict(epoch) for epoch in history.epochs]
        plain, arrays = parted(states, model.device)
        about = self.about | {"convolutions": tuning.about(model.execution)}  # measured since the run began
        training = trained.described() | {"history": epochs, "about": about}
        training |= {"callbacks": plain, "stopped": history.stopped, "changes": self.changes}
        path = self.folder / f"step-{position.steps:09d}.safetensors"
        try:
            with self.pace.timed():
                tensors = named(model) | trained.tensors(model.device) | arrays
                checkpoint.write(path, model.describe() | {"training": training}, tensors)
        except (CheckpointError, OSError) as error:
            if not self._failed:
                warn(f"{error}; the run goes on, but could not be resumed from here")
            self._failed = True
            return
        older = [each for each in _files(self.folder) if each.name <= path.name]  # newer ones could not be read
        for old in older[KEPT:]:
            with suppress(OSError):
                old.unlink()
        self._saved = here

    def go_on(self, *, anyway: bool) -> tuple[Position, History]:
        """Bring model and step to the state that was saved; to the beginning where there is none.

        Raises SettingError where that is of another run, unless anyway, and warns of what is another from there on.
        """
        saved = self.saved
        if saved is None:
            return Position(), History()
        had_stopped = bool(saved.training.get("stopped"))
        changed = compare(saved.training["about"], self.about, saved.path, anyway=anyway, had_stopped=had_stopped)
        done, asked = saved.training["position"]["epoch"] - 1, self.about["epochs"]
        if asked < done:
            trained_so_far = counted(done, "epoch is", "epochs are")
            raise SettingError(
                f"{saved.path}: {trained_so_far} trained already, and {asked} are asked for; ask for more"
            )
        take(self.fitting.model, saved.tensors, f"{saved.path}: of another network", "resume that network's run")
        position = self.fitting.go_on(trained(saved.description, saved.tensors), anyway=anyway)
        then, now = (about.get("callbacks") or [] for about in (saved.training["about"], self.about))
        kinds = [[each.partition("(")[0] for each in some] for some in (then, now)]
        self.fitting.states = saved.states if kinds[0] == kinds[1] else []
        is_same = saved.training["about"].get("epochs") == asked and then == now
        stopped = saved.training.get("stopped", "") if is_same else ""  # else the callbacks may let it go on
        self._saved = position.epoch, position.steps, stopped
        if changed and done < asked:
            self.changes.append(f"from epoch {position.epoch}, update {position.steps + 1:,}, on: {changed}")
            warn(f"{saved.path}: {self.changes[-1]}; this is another run than the one that was begun")
        return position, History([Epoch(**epoch) for epoch in saved.training["history"]], stopped=stopped)


@dataclass(frozen=True)
class Saved:
    """A state of a run, as it lies on disk."""

    path: Path
    description: dict[str, Any]
    tensors: dict[str, np.ndarray]

    @property
    def training(self) -> dict[str, Any]:
        return self.description["training"]

    def check(self) -> None:
        """Raises CheckpointError where a run did not write it."""
        try:
            trained(self.description, self.tensors)
            epochs = [Epoch(**epoch) for epoch in self.training["history"]]
            numbers = [each for row in History(epochs).rows() for each in row.values() if each is not None]
            right = isinstance(self.training["about"], dict) and type(self.threads) is int and self.threads >= 1
            right = right and all(isinstance(each, (int, float)) for each in numbers)
            right = right and isinstance(self.training.get("stopped", ""), str)
            right = right and all(isinstance(state, dict) for state in self.training.get("callbacks", []))
            right = right and all(isinstance(each, str) for each in [*self.changes])
        except (CheckpointError, KeyError, TypeError):
            right = False
        if not right:
            raise CheckpointError(f"{self.path}: its description of the run cannot be read")

    @property
    def threads(self) -> int:
        return self.training["about"]["threads"]

    @property
    def changes(self) -> list[str]:
        """Which settings the run had others of before, by sentences."""
        return self.training.get("changes", [])

    @property
    def states(self) -> list[dict[str, Any]]:
        """The states of the callbacks."""
        return joined(self.training.get("callbacks", []), self.tensors)


@dataclass(frozen=True)
class Found(os.PathLike[str]):
    """What a run's folder holds, read once: the newest state that was saved whole, if there is one.

    unread: what is wrong with those that are newer. changes: from where on which settings were others, to which a run
    adds that goes on with others anyway. Where a path is expected it is that of the folder.
    """

    folder: Path
    saved: Saved | None
    unread: tuple[str, ...] = ()
    changes: list[str] = field(default_factory=list)

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    @property
    def lack(self) -> str:
        """Why there is no state, in words."""
        return "none of its states can be read: they are damaged" if self.unread else "no state was saved"


def find(folder: Path) -> Found:
    """Read the newest state that was saved whole in a run's folder."""
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"resume={str(folder)!r}: a file of that name is in the way; a folder was expected")
    unread: list[str] = []
    for path in _files(folder / FOLDER):
        try:
            saved = Saved(path, *checkpoint.read(path))
            saved.check()
            return Found(folder, saved, tuple(unread), [*saved.changes])
        except CheckpointError as error:
            unread.append(str(error))
    return Found(folder, None, tuple(unread))


def standing(found: Found, epochs: int) -> tuple[str, str]:
    """What becomes of a run of so many epochs that is resumed from there: some words, and a sentence.

    The sentence is "" where the run is refused, because more epochs are trained already.
    """
    folder, saved = found.folder, found.saved
    if saved is None:
        return "begins anew", f"the run in {folder} begins anew: {found.lack}"
    position, about, stopped = saved.training["position"], saved.training["about"], saved.training.get("stopped", "")
    done, batches = position["epoch"] - 1, position["batches"]
    if done > epochs:
        return "goes on", ""
    if done == epochs or (stopped and about.get("epochs") == epochs):
        trained = f"{done} of {counted(epochs, 'epoch')} trained, {stopped}" if done < epochs else "all is trained"
        how = f"--epochs {2 * epochs}, or another number, trains it further"
        if done < epochs:
            how = f"another number of --epochs than {epochs} trains it on, with a larger --patience for longer"
        return FINISHED, f"the run in {folder} is finished ({trained}), and nothing is left to do; {how}"
    here = f"after {counted(batches, 'batch', 'batches')} of epoch {done + 1}" if batches else f"with epoch {done + 1}"
    return "goes on", f"the run in {folder} goes on {here} of {epochs}"


def run(
    model: Trainable, make: Callable[[], Fitting], folder: str | os.PathLike[str] | None, *, anyway: bool
) -> History:
    """Train as make's Fitting says: from the state that is saved in the folder, where there is one, and saving there.

    folder: a `Found` where it was looked at already. Raises SettingError for what cannot go on from it.
    """
    if folder is None:
        if anyway:
            raise SettingError("anyway=True: there is no run to go on with; give resume, its folder, too")
        return make().train(Position(), History())
    found = folder if isinstance(folder, Found) else find(Path(folder))
    saved = found.saved
    for left, error in zip(reversed(range(len(found.unread))), found.unread):
        begins = "begins anew" if saved is None and not left else "goes on from the state before it"
        warn(f"{error}; the run {begins}")
    if saved is not None and model.has_default_threads:  # their number decides the bits
        model.execution.share_among(saved.threads)
    if saved is not None and model.execution.acceleration.tune:
        choices = saved.training["about"].get("convolutions")
        if isinstance(choices, dict):  # else it was begun without, as comparing says
            tuning.choose(model.execution, choices)
    with numbers.of_state(model, None if saved is None else saved.description):
        fitting = make()
        keeper = Checkpoints(found, fitting)
        start = keeper.go_on(anyway=anyway)
    history = fitting.train(*start, keeper)
    history.saves, history.saving = keeper.pace.count, keeper.pace.seconds
    return history


def _files(folder: Path) -> list[Path]:
    """The states in it, the newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def compare(
    saved: dict[str, Any], asked: dict[str, Any], path: Path, *, anyway: bool, had_stopped: bool = False
) -> str:
    """What is asked for in place of what the run that was saved had, in words; "" where that makes no other run.

    had_stopped: whether that run was ended before its last epoch, and a run of more epochs would be ended there, too.
    Raises SettingError where it is another run, in anything but its epochs, unless anyway.
    """
    changed = [name for name in asked if saved.get(name) != asked[name]]
    if "seed" in changed:  # which decides what is held out
        changed = [name for name in changed if name not in DATA]
    if changed == ["epochs"] and asked["schedule"] == "constant" and not had_stopped:
        return ""
    found = [each for name in changed for each in _differing(name, saved.get(name), asked[name])]
    if not anyway and not set(changed) <= {*MAY_DIFFER}:
        said = " and ".join(f"{name} {then} then and {now} now" for name, then, now in found)
        raise SettingError(
            f"{path}: the run that is saved there had another {said}; give what it had, begin a run "
            "in another folder, or say --anyway (anyway=True) to go on from its state"
        )
    said = " and ".join(f"{name} {now} in place of {then}" for name, then, now in found)
    if "epochs" in changed:
        said += ", to which the schedule is stretched" * (asked["schedule"] != "constant")
        said += ", after it had ended by itself" * had_stopped
    return said


def _differing(name: str, then: Any, now: Any) -> list[tuple[str, str, str]]:
    """What differs, by name; of two dictionaries, by their keys; of two lists of as many, in their items."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        return [each for key in keys for each in _differing(f"{name} ({key})", then.get(key), now.get(key))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = [(one, other) for one, other in zip(then, now) if one != other]
        then, now = (", ".join(map(str, each)) for each in zip(*pairs))
    if name in DATA and len(str(then)) == len(str(now)) == DIGITS:
        return [(f"{name} (pictures or labels are others than when it began), sha256", str(then)[:8], str(now)[:8])]
    return [(name, *_short(str(then), str(now)))]


def _short(then: str, now: str) -> tuple[str, str]:
    """The two, of long ones what is around the first difference."""
    same = next((k for k, (one, other) in enumerate(zip(then, now)) if one != other), 0)
    begin = max(0, same - MOST // 3) if max(len(then), len(now)) > MOST else 0

    def cut(text: str) -> str:
        rest = text[begin:]
        return "..." * (begin > 0) + (rest if len(rest) <= MOST else f"{rest[: MOST - 3]}...")

    return cut(then), cut(now)
