"""log.txt, --log-every and --quiet, the logger "gpucnn", and that a failing log never costs the model."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gpucnn
from gpucnn import command
from gpucnn.model import log
from gpucnn.optimizers import Adam

pytestmark = pytest.mark.usefixtures("blank_pictures")

TRAIN = ("train", "softmax-regression", "--device", "cpu", "--threads", "1", "--out", "run")
LINE = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  (.+)")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def gpucnn_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["gpucnn", *arguments])
        status = command.main()
        return status, *capsys.readouterr()

    return run


def lines(path: str = "run/log.txt") -> list[str]:
    matches = [LINE.fullmatch(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    assert all(matches)
    return [match[1] for match in matches if match]


def test_the_log_tells_start_epochs_and_end(gpucnn_) -> None:
    status, out, err = gpucnn_(*TRAIN, "--epochs", "2")
    assert status == 0
    start, first, second, end = lines()
    assert start.startswith("start: softmax-regression, 7,850 parameters, on digits (1,438 images); gpucnn ")
    assert f"numpy {np.__version__}" in start
    assert "CPU threads: 1; BLAS: " in start
    assert [first, second] == [line for line in err.splitlines() if line.startswith("epoch ")]
    assert end == f"end: {out.splitlines()[0]}"


def test_a_line_every_so_many_steps(gpucnn_) -> None:
    gpucnn_(*TRAIN, "--epochs", "2", "--log-every", "5")
    steps = [line for line in lines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in steps] == ["step 5", "step 10", "step 15", "step 20"]  # of 11 an epoch
    assert re.fullmatch(r"step 5: epoch 1, 640 of 1294 images  loss \d\.\d{4}", steps[0])


def test_the_need_of_memory_is_told(gpucnn_) -> None:
    """The whole command's, so more than the training's; no more than a terabyte is free anywhere."""
    _, _, err = gpucnn_(*TRAIN, "--epochs", "1")
    found = re.search(r"^needs about (\d+) MB, [\d,]+ MB are free$", err, re.MULTILINE)
    assert found
    assert 20 <= int(found[1]) <= 100


def test_quiet_prints_nothing_but_json(gpucnn_) -> None:
    assert gpucnn_(*TRAIN, "--epochs", "1", "--quiet") == (0, "", "")
    status, out, err = gpucnn_(*TRAIN, "--epochs", "1", "-q", "--json", "--force")
    assert (status, err) == (0, "")
    assert json.loads(out)["epochs"] == 1
    status, out, err = gpucnn_(*TRAIN, "--epochs", "1", "--quiet")
    assert (status, out) == (1, "")
    assert "it holds a finished run" in err


def test_a_forced_run_begins_the_log_anew_and_a_refused_one_leaves_it(gpucnn_) -> None:
    gpucnn_(*TRAIN, "--epochs", "1")
    before = lines()
    assert gpucnn_(*TRAIN, "--epochs", "1", "--force", "--validation", "0.1", "--threads", "0")[0] == 2
    assert lines() == before
    gpucnn_(*TRAIN, "--epochs", "1", "--force", "--seed", "1")
    assert len(lines()) == len(before)
    assert lines() != before


def test_an_error_ends_the_log(gpucnn_) -> None:
    status, _, err = gpucnn_(*TRAIN, "--epochs", "2", "--lr", "1e20", "--optimizer", "sgd")
    assert status == 1
    said = lines()[-1].removeprefix("ended: ").replace("(lr)", "(--lr)")  # in Python's words, and the command's
    assert f"gpucnn: {said}" == err.splitlines()[-1]


def test_warnings_are_in_the_log_and_stay_warnings(tmp_path: Path) -> None:
    before = warnings.showwarning
    seen: list[str] = []
    warnings.showwarning = lambda message, *_, **__: seen.append(str(message))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            file = log.LogFile(tmp_path / "log.txt", 1)
            with log.kept(file, "start"):
                file.batch(1, 1, 1, None)
                warnings.warn("a pool has no plan", stacklevel=1)
            assert warnings.showwarning.__name__ == "<lambda>"
    finally:
        warnings.showwarning = before
    assert seen == ["a pool has no plan"]
    assert lines(str(tmp_path / "log.txt")) == ["start", "UserWarning: a pool has no plan"]


# A log that fails


def hindered(obstacle: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put something in the way of the log, which was not there when the run began."""
    if obstacle == "a folder":
        path.mkdir()
    elif obstacle == "a pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no named pipes")
        os.mkfifo(path)
    elif obstacle == "a full disk":
        path.symlink_to("/dev/full")
    else:
        monkeypatch.setattr(log, "_opened", refused)


def refused(path: str, flags: int) -> int:
    raise OSError(30, "Read-only file system")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("obstacle", ["a folder", "a pipe", "a full disk", "a file system to be read only"])
def test_a_failing_log_is_told_once_and_the_run_goes_on(gpucnn_, monkeypatch, obstacle) -> None:
    class Hindered(log.LogFile):
        def batch(self, *arguments) -> None:
            if self._waiting is not None:
                hindered(obstacle, self.path, monkeypatch)
            super().batch(*arguments)

    monkeypatch.setattr(log, "LogFile", Hindered)
    status, out, err = gpucnn_(*TRAIN, "--epochs", "2", "--log-every", "1")
    assert status == 0
    assert "test accuracy" in out
    told = [line for line in err.splitlines() if "log.txt" in line]
    assert len(told) == 1
    assert re.fullmatch(r"gpucnn: run.log\.txt: the log cannot be written \(.+\); the run goes on without it", told[0])
    assert gpucnn.load("run/model.safetensors").layout.size == 7850
    assert len(Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_log_that_vanishes_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.txt"
    path.parent.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = log.LogFile(path, 1)
        with log.kept(file, "start"):
            file.batch(1, 1, 1, None)
            path.unlink()
            log.logger.info("later")
    assert lines(str(path)) == ["later"]
    file = log.LogFile(path, 1)
    with log.kept(file, "start"):
        file.batch(1, 1, 1, None)
        path.unlink()
        path.parent.rmdir()
        with pytest.warns(UserWarning, match="No such file"):
            log.logger.info("never")
        log.logger.info("no second warning")


def test_a_resumed_run_goes_on_with_its_log(tmp_path: Path) -> None:
    for append in (False, True, False):
        file = log.LogFile(tmp_path / "log.txt", 1, append=append)
        with log.kept(file, f"start, append={append}"):
            file.batch(1, 1, 1, 0.5)
        if append:
            assert lines(str(tmp_path / "log.txt")) == ["start, append=False", "start, append=True"]
    assert lines(str(tmp_path / "log.txt")) == ["start, append=False"]


# The library


def test_the_library_says_nothing_by_itself() -> None:
    logger = logging.getLogger("gpucnn")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize(("level", "steps"), [(logging.INFO, 0), (logging.DEBUG, 4)])
def test_epochs_and_steps_are_told_to_the_logger(caplog: pytest.LogCaptureFixture, level: int, steps: int) -> None:
    caplog.set_level(level, "gpucnn")
    model = gpucnn.Model("softmax-regression", device="cpu", threads=1)
    images = np.zeros((20, 28, 28, 1), np.uint8)
    model.fit(images, np.arange(20) % 10, epochs=2, batch_size=10, optimizer=Adam())
    of_steps = [record for record in caplog.records if record.levelno == logging.DEBUG]
    of_epochs = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert len(of_steps) == steps
    assert [line.split("  ")[0] for line in of_epochs] == ["epoch 1/2", "epoch 2/2"]


PRINTS = {"__main__.py", "training/progress.py"}  # where a user asks for it
PROTOCOL = {"report/bench/process.py"}  # a process that answers its caller


def test_nothing_is_printed_outside_the_command() -> None:
    """A call of print, or a write to a standard stream; a function to show lines with is handed to the benchmarks."""
    root = Path(gpucnn.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "echo",
                "sys.stderr.write",
                "sys.stdout.write",
            ):
                found.add(name)
    assert {name for name in found if not name.startswith("command/")} == PRINTS | PROTOCOL
