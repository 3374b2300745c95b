"""A run's folder: found, claimed for one run at a time, and left as it was where nothing was trained."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..data.folders import is_picture_name
from ..errors import GpucnnError, listed
from ..training.writing import put
from .checkpoints import FOLDER as STATES
from .checkpoints import Found

MODEL, METRICS, CURVES, CONFIG = "model.safetensors", "metrics.jsonl", "curves.png", "run.toml"
LOG, TUNING = "log.txt", "tuning.json"
CONFUSION, MISTAKES, ALL_MISTAKES = "confusion.png", "mistakes.png", "mistakes.csv"
FILES = (MODEL, METRICS, CURVES, CONFUSION, MISTAKES, ALL_MISTAKES, CONFIG, LOG, TUNING, STATES)
REPLACED = "replaced"  # where --force puts the run that was there, until the new one has its model


@contextmanager
def claimed(out: str | None, network: str, data: str, *, force: bool = False, resume: bool = False) -> Iterator[Path]:
    """The folder for a run, held while the run lasts: out, or a new runs/NETWORK-DATA, with -2, -3, ... where needed.

    Raises GpucnnError where another run holds it, where it cannot be written, or where out holds a run and neither
    force nor resume says what to do with that. A run that ends before its first batch leaves everything as it was; one
    that fails later leaves what it has, beside the run that it was to replace.
    """
    if out is not None:
        check(out, force=force, resume=resume)
    path, is_new = (_new(network, data), True) if out is None else _asked(Path(out))
    with _locked(path):
        _check(path, force=force, resume=resume)
        old, moved = path / REPLACED, False
        try:
            if force and not resume:
                _set_aside(path, old)
            moved = True
            for left in [*path.glob(f".{MODEL}-*"), *path.glob(f".{CONFIG}-*"), *(path / STATES).glob(".step-*")]:
                left.unlink(missing_ok=True)  # half a file, of a process that was killed while it wrote
            yield path
        except BaseException as error:
            if not resume and not (moved and (path / METRICS).exists()):
                _undo(path, old, is_new=is_new, began=moved)
            elif isinstance(error, GpucnnError) and old.exists():
                raise type(error)(f"{error}; the run that was there before is in {old}") from None
            raise
        if force:
            shutil.rmtree(old, ignore_errors=True)


def check(out: str, *, force: bool, resume: bool) -> None:
    """Raises GpucnnError for a folder that `claimed` would refuse, as far as that is seen without writing there."""
    if not out:
        raise GpucnnError("--out '': a folder's name was expected, such as runs/mine")
    path = Path(out)
    if path.exists() and not path.is_dir():
        raise GpucnnError(f"--out {path}: a file of that name is in the way; choose another folder")
    if path.exists():
        _check(path, force=force, resume=resume)


def check_anew(found: Found) -> None:
    """Raises GpucnnError where a run that is resumed would begin anew and write over a model that was trained."""
    path, unread = found.folder, "".join(f" ({error})" for error in found.unread[:1])
    if os.path.lexists(path / MODEL):
        raise GpucnnError(
            f"--resume {path}: it holds a trained model ({MODEL}), but {found.lack}{unread}, so the run would begin "
            f"anew and write over it; say `gpucnn train --config {path / CONFIG} --out DIR` to train in another "
            f"folder, or `--out {path} --force` there to replace it"
        )


def check_run(folder: str) -> None:
    """Raises GpucnnError where a folder is missing, or holds no run."""
    if os.path.lexists(Path(folder) / CONFIG):
        return
    found = [str(path.parent) for path in sorted(Path().glob(f"runs/*/{CONFIG}"))]
    runs = f"the runs here are {listed(found)}" if found else "there is no run in ./runs either"
    if not Path(folder).exists():
        raise GpucnnError(f"--resume {folder}: there is no such folder; {runs}")
    raise GpucnnError(
        f"--resume {folder}: it holds no run to go on with, which has a {CONFIG} from its first update on; train anew, "
        f"or name another folder: {runs}"
    )


def _new(network: str, data: str) -> Path:
    name = re.sub(r"[^\w.+-]+", "-", network)  # module:factory is no folder's name everywhere
    for end in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        path = Path("runs") / f"{name}-{data}{end}"
        try:
            path.parent.mkdir(exist_ok=True)
            path.mkdir()  # fails where another process was a moment faster
        except FileExistsError:
            if not path.parent.is_dir():
                raise GpucnnError("runs: a file of that name is in the way; say --out DIR") from None
        except OSError as error:
            raise _unwritable(path, error) from None
        else:
            return path
    raise AssertionError("numbers do not end")


def _asked(path: Path) -> tuple[Path, bool]:
    is_new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return path, is_new


def _check(path: Path, *, force: bool, resume: bool) -> None:
    """Raises GpucnnError for what must not be written over, or cannot be."""
    if not (force or resume):
        if (path / MODEL).exists():
            raise GpucnnError(f"--out {path}: it holds a finished run ({MODEL}); choose another folder, or say --force")
        if (path / STATES).exists() and not (path / CONFIG).exists():
            raise GpucnnError(
                f"--out {path}: it holds states of a run, but no {CONFIG}, by which --resume would go on; "
                "say --force to begin anew, or choose another folder"
            )
        if (path / STATES).exists():
            raise GpucnnError(
                f"--out {path}: it holds a run that was cut off; go on with it by --resume {path}, choose another "
                "folder, or say --force"
            )
        pictures = sorted(each.name for each in path.iterdir() if is_picture_name(each) and each.name not in FILES)
        if pictures and not (path / CONFIG).exists():
            raise GpucnnError(
                f"--out {path}: it holds pictures ({listed(pictures)}), among which those of the run would lie; choose "
                "another folder, or say --force"
            )
    for name in FILES:
        there = path / name
        if os.path.lexists(there) and not (there.is_dir() if name == STATES else there.is_file()):
            raise GpucnnError(f"{there}: what is there is in the way of the run's own; move it away")
    if not os.access(path, os.W_OK | os.X_OK):
        raise _unwritable(path, PermissionError(0, "Permission denied"))


def _move(source: Path, target: Path) -> None:
    """Move a run's files from one folder to another, which loses what it had of them."""
    for name in FILES:
        if (source / name).exists():
            target.mkdir(exist_ok=True)
            if (target / name).is_dir():
                shutil.rmtree(target / name)
            put(source / name, target / name)


def _set_aside(path: Path, old: Path) -> None:
    """Move the run that is to be replaced. One that failed before it had a model goes, where an older one is kept."""
    if (old / MODEL).exists() and not (path / MODEL).exists():
        for name in FILES:
            there = path / name
            if there.is_dir():
                shutil.rmtree(there)
            else:
                there.unlink(missing_ok=True)
        return
    shutil.rmtree(old, ignore_errors=True)
    _move(path, old)


def _undo(path: Path, old: Path, *, is_new: bool, began: bool) -> None:
    """Take away what a run without a batch has written, and bring the old one back. What fails is left.

    began: the old one was set aside whole, so what there is beside it is the new one's.
    """
    with contextlib.suppress(OSError):
        if began:
            shutil.rmtree(path / STATES, ignore_errors=True)
        if old.exists():
            _move(old, path)
            old.rmdir()
        if is_new:
            path.rmdir()
            if path.parent == Path("runs"):
                path.parent.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The folder is this process's; the system lets go of it when the process ends, however that comes."""
    try:
        import fcntl
    except ImportError:
        with _locked_on_windows(path):
            yield
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with contextlib.suppress(OSError):  # file systems that know no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held(path) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _locked_on_windows(path: Path) -> Iterator[None]:
    """`_locked` where folders cannot be locked: a temporary file that stands for the folder is locked instead."""
    import msvcrt

    name = hashlib.sha256(os.path.normcase(os.path.realpath(path)).encode("utf-8", "surrogatepass")).hexdigest()
    place = os.path.join(tempfile.gettempdir(), f"gpucnn-{name[:16]}.lock")
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # no place for it, so nothing is held
        yield
        return
    try:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            raise _held(path) from None
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # another run has it open by now
            os.unlink(place)


def _held(path: Path) -> GpucnnError:
    return GpucnnError(f"{path}: another run is writing there; wait until it ends, or choose another folder")


def _unwritable(path: Path, error: OSError) -> GpucnnError:
    return GpucnnError(
        f"{path}: the run cannot be written there: {error.strerror or error}; choose another folder with --out"
    )
