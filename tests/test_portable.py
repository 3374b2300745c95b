"""What the command does on systems that the tests do not run on, as far as stand-ins can tell: see as_windows.py."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from as_windows import BREAK

from gpucnn import __main__ as entry
from gpucnn import errors
from gpucnn.command import told
from gpucnn.training import writing

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the stand-in asks /proc what is open")

WINDOWS = (sys.executable, str(Path(__file__).with_name("as_windows.py")))
TRAIN = ("train", "softmax-regression", "--threads", "2", "--out", "run")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder with a space and a letter beyond ASCII, as homes have them."""
    place = tmp_path / "Jörg Müller"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def windows(*words, status=0, **how):
    """What the command prints where the system has what Windows has: standard output and standard error."""
    done = subprocess.run([*WINDOWS, *map(str, words)], capture_output=True, text=True, timeout=120, **how)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


# --- runs


def test_a_run_is_trained_replaced_resumed_and_asked():
    windows(*TRAIN, "--epochs", 2)
    before = sorted(os.listdir("run"))
    windows(*TRAIN, "--epochs", 2, "--force")
    windows("train", "--resume", "run", "--epochs", 3)
    assert sorted(os.listdir("run")) == before
    assert b"\r" not in Path("run/metrics.jsonl").read_bytes()
    assert Path("run/metrics.jsonl").read_text().count("\n") == 3
    assert windows("verify", "run/model.safetensors")[0].endswith(")\n")
    windows("evaluate", "run/model.safetensors", "--report", "--out", "report")
    windows("show", "run/model.safetensors")
    windows("data", "show", "digits", "--out", "sheet.png")


def test_a_model_is_saved_over_the_file_that_it_was_loaded_from():
    windows(*TRAIN, "--epochs", 1)
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import ctypes, as_windows
import numpy, PIL.Image, sklearn.datasets, threadpoolctl
as_windows.begin()
import gpucnn
model = gpucnn.load("run/model.safetensors", device="cpu")
for _ in range(2):
    model.save("run/model.safetensors")
    gpucnn.load("run/model.safetensors", device="cpu")
digits = gpucnn.data.load("digits")
model.fit(digits.train_images, digits.train_labels, epochs=1, callbacks=[gpucnn.callbacks.CSVLog("log.csv")])
numpy.savez("a.npz", images=digits.test_images, labels=digits.test_labels)
gpucnn.data.load("a.npz")
import os
os.replace("a.npz", "b.npz"); os.unlink("b.npz")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_two_runs_do_not_write_into_one_folder():
    command = [*WINDOWS, *TRAIN, "--epochs", "1000000", "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as first:
        try:
            _until(lambda: Path("run/metrics.jsonl").exists(), first)
            said = windows(*TRAIN, "--epochs", 1, "--force", status=1)[1]
            assert said == "gpucnn: run: another run is writing there; wait until it ends, or choose another folder\n"
        finally:
            first.kill()
    windows(*TRAIN, "--epochs", 1, "--force")


def test_a_console_that_is_closed_leaves_what_was_learnt():
    with subprocess.Popen([*WINDOWS, *TRAIN, "--epochs", "1000000"], stderr=subprocess.PIPE, text=True) as run:
        try:
            _until(lambda: Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size > 200, run)
            run.send_signal(BREAK)
            said = run.communicate(timeout=60)[1]
        finally:
            run.kill()
    assert run.returncode == 128 + BREAK
    assert "what was learnt until then is in run" in said
    assert Path("run/model.safetensors").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a terminal that is closed is told by SIGBREAK")
def test_a_terminal_that_is_closed_leaves_what_was_learnt():
    command = [sys.executable, "-m", "gpucnn", *TRAIN, "--epochs", "1000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        try:
            _until(lambda: Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size > 200, run)
            run.send_signal(signal.SIGHUP)
            said = run.communicate(timeout=60)[1]
        finally:
            run.kill()
    assert run.returncode == 128 + signal.SIGHUP
    assert "what was learnt until then is in run" in said


def _until(is_so, process):
    end = time.monotonic() + 60
    while not is_so() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert is_so()


# --- files that others have open


def test_a_file_that_is_open_for_a_moment_is_replaced_after_it(monkeypatch, tmp_path):
    paused, path = [], tmp_path / "file"
    path.write_bytes(b"old")
    replace = Path.replace

    def refused(self, target):
        if len(paused) < 2:
            raise PermissionError(errno.EACCES, "it is open")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    monkeypatch.setattr(writing.time, "sleep", paused.append)
    monkeypatch.setattr(writing.os, "name", "nt")
    writing.write_whole(path, b"new")
    monkeypatch.undo()
    assert (path.read_bytes(), len(paused)) == (b"new", 2)
    assert set(os.listdir(tmp_path)) == {"file", "Jörg Müller"}


# --- words and output


def test_patterns_are_the_files_in_their_order(home):
    windows(*TRAIN, "--epochs", 1)
    windows("demo", "a demo")
    (home / "a demo" / "[x].png").write_bytes((home / "a demo" / "two.png").read_bytes())
    found = windows("predict", "run/model.safetensors", "a demo/*e.png", "a demo/[x].png")[0]
    names = [line.partition(":")[0] for line in found.splitlines()]
    assert names == [f"a demo/{name}.png" for name in ("five", "nine", "one", "three", "[x]")]


def test_what_is_printed_to_be_typed_has_double_quotes(monkeypatch):
    assert 'model.safetensors "a demo/seven.png"\n' in windows("demo", "a demo")[0]
    monkeypatch.setattr(told.os, "name", "nt")
    assert told.quoted(r"demo\seven.png", "a b", 'c"d', "e&f", "ü.png") == r'demo\seven.png "a b" "c\"d" "e&f" ü.png'
    monkeypatch.setattr(told.os, "name", "posix")
    assert told.quoted("a b", "c") == "'a b' c"


def test_a_model_on_another_drive_is_named_by_its_path(monkeypatch):
    def other_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(told.os.path, "relpath", other_drive)
    assert told._nearer("D:/model.safetensors") == "D:/model.safetensors"


def test_output_that_nobody_reads_ends_the_command_without_a_word():
    reading, writing_end = os.pipe()
    os.close(reading)
    with os.fdopen(writing_end, "w") as unread:
        done = subprocess.run([*WINDOWS, "networks"], stdout=unread, stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stderr) == (141, b"")


def test_windows_says_invalid_argument_of_a_pipe_that_nobody_reads(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="standard output") as told_of:
        entry.Output(Closed()).write("a")
    assert not isinstance(told_of.value, BrokenPipeError)
    monkeypatch.setattr(entry.os, "name", "nt")
    with pytest.raises(BrokenPipeError):
        entry.Output(Closed()).write("a")


def test_signals_that_a_system_has_are_those_that_end_a_command():
    assert errors.ENDING[:2] == [signal.SIGINT, signal.SIGTERM]
