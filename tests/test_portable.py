"""What the command does on systems that the tests do not run on, as far as stand-ins can tell: see as_windows.py."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
import unicodedata
from pathlib import Path, PurePath

import numpy as np
import pytest
from as_windows import BREAK
from PIL import Image

import gpucnn
from gpucnn import __main__ as entry
from gpucnn import errors
from gpucnn.command import messages
from gpucnn.data.tables import table_files
from gpucnn.device import Device, accelerate
from gpucnn.device.environment import environment, kernels_of_blas
from gpucnn.engine import tuning
from gpucnn.model import config, warm_start
from gpucnn.report.doctor import cpu
from gpucnn.report.doctor.probes import Probes
from gpucnn.training import writing
from gpucnn.workers import Workers

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


@pytest.mark.slow
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
import re
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


def test_a_pattern_of_parameters_is_none_of_files():
    Path("file").write_text("")
    assert "freeze='*' leaves no parameter to train" in windows(*TRAIN, "--freeze", "*", status=1)[1]


def test_what_is_printed_to_be_typed_has_double_quotes(monkeypatch):
    assert 'model.safetensors "a demo/seven.png"\n' in windows("demo", "a demo")[0]
    monkeypatch.setattr(messages.os, "name", "nt")
    words = messages.quoted(r"demo\seven.png", "a b", 'c"d', "e&f", "ü.png")
    assert words == r'demo\seven.png "a b" "c\"d" "e&f" ü.png'
    monkeypatch.setattr(messages.os, "name", "posix")
    assert messages.quoted("a b", "c") == "'a b' c"


def test_a_model_on_another_drive_is_named_by_its_path(monkeypatch):
    def other_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(warm_start.os.path, "relpath", other_drive)
    assert warm_start.shorter("D:/model.safetensors") == "D:/model.safetensors"


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


def test_peaks_of_memory_are_not_told_everywhere():
    assert windows("bench", "memory", status=1)[1].endswith("; run it in WSL\n")


def test_signals_that_a_system_has_are_those_that_end_a_command():
    assert errors.ENDING[:2] == [signal.SIGINT, signal.SIGTERM]


# --- names of files and classes


def pictures(root, names, count=6):
    """Grey pictures in a folder for each name, each folder of its own shade."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for n in range(count):
            Image.new("L", (8, 8), 20 * k + n).save(root / name / f"{n}.png")


@pytest.fixture
def ignoring_case(monkeypatch):
    """Paths compare as those of Windows do."""
    monkeypatch.setattr(PurePath, "__lt__", lambda self, other: str(self).lower() < str(other).lower())


def test_classes_have_the_same_order_on_every_system(home, ignoring_case):
    pictures(home / "p", ["apple", "Zebra", "Bird"])
    assert gpucnn.data.load(home / "p", size=(8, 8)).class_names == ("Bird", "Zebra", "apple")


def test_files_of_arrays_have_the_same_order_on_every_system(home, ignoring_case):
    for name in ("b.csv", "A.csv", "C.tsv"):
        (home / name).write_text("0,1\n")
    assert [path.name for path in table_files(home)] == ["A.csv", "C.tsv", "b.csv"]


def test_what_the_first_folder_of_a_drive_holds_is_no_class(home):
    pictures(home / "p", ["cat", "dog"])
    for name in ("$RECYCLE.BIN", "System Volume Information", ".Spotlight-V100"):
        (home / "p" / name / "deeper").mkdir(parents=True)
    for name in ("Desktop.ini", "thumbs.db"):
        (home / "p" / "cat" / name).write_bytes(b"")
    found = gpucnn.data.load(home / "p", size=(8, 8))
    assert found.class_names == ("cat", "dog")
    assert not any("no picture" in note for note in found.notes)


def test_an_umlaut_is_the_same_however_the_system_writes_it(home):
    """macOS writes the names of files with the vowel and the dots apart, and archives keep that."""
    names = ["Jörg", "Anna"]
    pictures(home / "apart", [unicodedata.normalize("NFD", name) for name in names])
    pictures(home / "whole", names)
    apart, whole = (gpucnn.data.load(home / name, size=(8, 8)) for name in ("apart", "whole"))
    assert apart.class_names == whole.class_names == ("Anna", "Jörg")
    model = gpucnn.Model(
        gpucnn.networks.build("softmax-regression", (8, 8, 1), classes=2),
        class_names=[unicodedata.normalize("NFD", name) for name in sorted(names)],
        device="cpu",
    )
    assert model.class_names == ("Anna", "Jörg")
    labels = np.array([unicodedata.normalize("NFD", name) for name in ("Jörg", "Anna")])
    model.fit(whole.train_images[:2], labels, epochs=1)
    table = "file,label\n" + "".join(f"{name}/{k}.png,{name}\n" for name in names for k in range(6))
    (home / "apart.csv").write_text(table, encoding="utf-8")
    (home / "apart.csv").rename(home / "apart" / "labels.csv")
    listed = gpucnn.data.load(home / "apart" / "labels.csv", size=(8, 8))
    assert (listed.class_names, len(listed.train_labels) + len(listed.test_labels)) == (("Anna", "Jörg"), 12)


def test_two_folders_of_one_name_are_one_class(home):
    pictures(home / "p", [unicodedata.normalize("NFD", "Jörg"), "Jörg", "Anna"])
    found = gpucnn.data.load(home / "p", size=(8, 8))
    counts = np.bincount(found.train_labels) + np.bincount(found.test_labels)
    assert (found.class_names, counts.tolist()) == (("Anna", "Jörg"), [6, 12])


def test_a_name_with_a_tilde_that_is_nobody_s_home_is_a_name(home, monkeypatch):
    pictures(home / "~$pictures", ["a", "b"])
    assert gpucnn.data.load("~$pictures", size=(8, 8)).class_names == ("a", "b")
    with pytest.raises(errors.DataError, match="no data set has this name and no such path exists"):
        gpucnn.data.load("~nobody-of-this-name/x")
    monkeypatch.setenv("GPUCNN_DATA_DIR", "~nobody-of-this-name/x")
    with pytest.raises(errors.DataError, match="there is no such folder"):
        gpucnn.data.load("mnist")


def test_a_whole_drive_is_data(home, monkeypatch):
    pictures(home / "p", ["a", "b"])
    monkeypatch.setattr(Path, "name", property(lambda self: "" if self == home / "p" else self.parts[-1]))
    assert gpucnn.data.load(home / "p", size=(8, 8)).name == "data"


def test_a_file_of_settings_may_have_been_written_by_windows_notepad():
    windows(*TRAIN, "--epochs", 1)
    text = Path("run/run.toml").read_text(encoding="utf-8")
    Path("run/run.toml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert config.read(Path("run/run.toml"))[0]["network"] == "softmax-regression"
    windows("train", "--resume", "run", "--epochs", 2)
    Path("tuning.json").write_bytes(b'\xef\xbb\xbf{"convolutions": [],\r\n "made": {}}\r\n')
    assert tuning.read("tuning.json").choices == {}


# --- Accelerate


class Accelerate:
    """Stands for the library of macOS 15: each thread has its own setting, 0 for several threads, 1 for one."""

    def __init__(self):
        self.here, self.seen = threading.local(), []

    def BLASGetThreading(self):
        return getattr(self.here, "threading", 0)

    def BLASSetThreading(self, threading):
        self.here.threading = threading
        return 0


@pytest.fixture
def macos(monkeypatch):
    """macos(library) -> from then on NumPy's products are of that one, as far as gpucnn asks."""

    def begin(library):
        def load(path):
            assert path == accelerate.LIBRARY
            return library

        monkeypatch.setattr(accelerate, "sys", types.SimpleNamespace(platform="darwin"))
        monkeypatch.setattr(accelerate, "ctypes", types.SimpleNamespace(CDLL=load))
        monkeypatch.setattr(accelerate, "_of_numpy", lambda: "accelerate")
        monkeypatch.setattr(accelerate.platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
        monkeypatch.setattr(accelerate.platform, "machine", lambda: "arm64")
        monkeypatch.delenv(accelerate.VARIABLE, raising=False)
        accelerate._library.cache_clear()
        return library

    yield begin
    monkeypatch.undo()
    accelerate._library.cache_clear()


def test_products_of_accelerate_take_one_thread_in_each_worker(macos):
    library, workers = macos(Accelerate()), Workers(3)
    with workers.limited():
        assert workers.map(lambda _: library.BLASGetThreading(), [(0,), (1,), (2,)]) == [1, 1, 1]
        with workers.limited():
            assert library.BLASGetThreading() == 1
        assert library.BLASGetThreading() == 1
    assert library.BLASGetThreading() == 0


def test_the_doctor_says_which_accelerate_there_is(macos):
    macos(Accelerate())
    assert kernels_of_blas(environment(Device(), 2)).startswith("accelerate of macOS 15.1 for arm64")
    check = cpu._blas(Probes())
    assert check == ("ok", "accelerate of macOS 15.1 arm64, 1 thread")


def test_an_accelerate_that_cannot_be_held_to_one_thread_is_warned_of(macos, monkeypatch):
    macos(object())
    with Workers(1).limited():
        pass
    status, said, remedy = cpu._blas(Probes())
    assert (status, remedy) == ("warning", "export VECLIB_MAXIMUM_THREADS=1")
    assert "the bits may differ" in said
    monkeypatch.setenv("VECLIB_MAXIMUM_THREADS", "1")
    assert cpu._blas(Probes())[0] == "ok"


def test_what_is_to_be_installed_is_written_as_every_shell_takes_it():
    """cmd.exe does not know '...', and brackets mean something to zsh."""
    root = Path(__file__).parent.parent
    for file in (
        *root.glob("*.md"),
        *root.glob("notebooks/*.md"),
        *root.glob("notebooks/*.ipynb"),
        *root.glob("gpucnn/**/*.py"),
    ):
        assert not re.search(r"""pip install[^`\n]*(?<!")\.\[|'\.\[""", file.read_text(encoding="utf-8")), file
