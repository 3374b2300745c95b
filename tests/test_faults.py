"""What goes wrong around a run: processes that end, signals, streams that are closed, limits of the system."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

import gpucnn
from gpucnn import errors
from gpucnn.workers import helpers

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked at through /proc")
KILL, STOP = getattr(signal, "SIGKILL", 9), getattr(signal, "SIGSTOP", 19)  # Windows has neither
needs_helpers = pytest.mark.skipif(not helpers.possible(), reason="helper processes are not used on this system")

ROOT = str(Path(gpucnn.__file__).parents[1])
LIMIT = 120  # seconds for any process
GPUCNN = (sys.executable, "-m", "gpucnn")
TRAIN = (*GPUCNN, "train", "--device", "cpu")
SHORT = (*TRAIN, "softmax-regression", "--epochs", "2", "--out", "run")
SHARED = (
    *TRAIN,
    "fast",
    *("--set", "filters=32,64", "--set", "crop=0"),
    *("--classes", "0,1", "--threads", "2", "--out", "run"),
)  # helpers compute gradients and pieces of the update
LONG = (*SHARED, "--epochs", "1000")


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Every process that a test starts carries it in its environment; none may be left, nor what they would leave."""
    monkeypatch.chdir(tmp_path)
    found = f"of-test={uuid.uuid4().hex}"
    (tmp_path / "tmp").mkdir()
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    for name, value in (found.split("="), ("TMPDIR", str(tmp_path / "tmp")), ("PYTHONPATH", ROOT)):
        monkeypatch.setenv(name, value)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT", helpers.MARK):
        monkeypatch.delenv(name, raising=False)
    yield found
    until = time.monotonic() + 10
    while (left := marked(found)) and time.monotonic() < until:
        time.sleep(0.02)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left, "a process was left"
    assert list((tmp_path / "tmp").iterdir()) == []
    if os.path.isdir("/dev/shm"):
        assert not {name for name in set(os.listdir("/dev/shm")) - before if "gpucnn" in name}


def marked(mark, helping=False):
    """The living processes that carry the mark in their environment, but this one; helping: those that help others."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            there = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            is_helper = f"{helpers.MARK}=1".encode() in there
            if mark.encode() in there and int(process) != os.getpid() and (is_helper or not helping):
                found.append(int(process))
    return found


def at_work(mark):
    """The helpers that have a task: they map its arrays beside their inbox."""
    found = []
    for process in marked(mark, helping=True):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/maps").read_text().count("/memfd:gpucnn") > 1:
                found.append(process)
    return found


def begin(command, **options):
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def end(process):
    """-> exit status, standard output, standard error."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, out, err


def run(command, **options):
    return end(begin(command, **options))


def wait_until(condition, process=None):
    until = time.monotonic() + LIMIT
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)


def epochs():
    path = Path("run/metrics.jsonl")
    return len(path.read_text().splitlines()) if path.exists() else 0


def digest():
    return hashlib.sha256(Path("run/model.safetensors").read_bytes()).hexdigest()


# --- helper processes


@needs_helpers
@pytest.mark.parametrize("how", [KILL, STOP])
def test_a_run_survives_its_helpers_with_the_same_bits(mark, how):
    command = [*SHARED, "--epochs", "30"]
    assert run(command)[0] == 0
    undisturbed = digest()
    process = begin([*command, "--force"])
    hit = set()
    for _ in range(2):
        wait_until(lambda: set(at_work(mark)) - hit, process)
        for helper in set(at_work(mark)) - hit:
            hit.add(helper)
            with contextlib.suppress(ProcessLookupError):
                os.kill(helper, how)
    status, _, err = end(process)
    assert (status, digest()) == (0, undisturbed)
    said = "was stopped" if how == signal.SIGSTOP else "was killed (signal 9; most often a lack of memory)"
    assert err.count(f"gpucnn: a process that computed beside this one {said}; its part was computed here") >= 1
    assert "Traceback" not in err


SLEEPY = """
import os, sys, time
from gpucnn.workers import Task, exchange, helpers, packing, shared
import dataclasses, numpy as np
packing.KNOWN.add("sleepy")

@dataclasses.dataclass(frozen=True, eq=False)
class Work(Task):
    state: str
    here: int

    def __call__(self, w):
        if self.state == "step" and os.getpid() != self.here:
            print("ready", flush=True)
            time.sleep(1)
        if self.state == "sum":
            if os.getpid() == self.here:
                time.sleep(60)
            print("ready", flush=True)
            exchange.total(w)
        return np.zeros(1 << 20)

def work(state):
    if state == "fork":  # it holds the sockets, too
        helpers.team.start(1)
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
    elif state == "start":
        helpers.team.start(1, patience=0.0)
    else:
        helpers.team.start(1)
    if state in ("step", "sum", "answer"):
        if state == "answer":  # a result larger than the socket's buffer, which nobody takes
            helper = helpers.team.helpers[0]
            task = Work(state, os.getpid())
            helper.keep(helpers.team._packed(task))
            helper.run(helpers.team._tasks[task].number, (0.0,))
        else:
            helpers.team.map(Work(state, os.getpid()), [(1.0,), (2.0,)])
    print("ready", flush=True)
    time.sleep(60)
"""


@needs_helpers
@pytest.mark.parametrize("state", ["start", "idle", "step", "sum", "answer", "fork"])
def test_helpers_end_with_a_process_that_is_killed_in_every_state(mark, tmp_path, state):
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    process = begin([sys.executable, "-c", f"import sleepy; sleepy.work({state!r})"], cwd=tmp_path)
    assert process.stdout.readline() == "ready\n"
    if state in ("answer", "sum"):
        time.sleep(0.2)
    assert marked(mark, helping=True)
    process.kill()
    process.wait()
    wait_until(lambda: not marked(mark))


@needs_helpers
def test_sigterm_to_all_processes_of_a_run_is_obeyed_by_the_first_alone(mark):
    process = begin(LONG)
    wait_until(lambda: epochs() >= 1 and marked(mark, helping=True), process)
    for each in marked(mark):
        os.kill(each, signal.SIGTERM)
    status, _, err = end(process)
    assert status == 143
    assert "beside this one" not in err
    assert "what was learnt until then is in run" in err


def killed_at_random(mark, times):
    draw = random.Random(0)
    for _ in range(times):
        process = begin([*LONG, "--force"])
        if draw.random() < 0.7:
            wait_until(lambda: marked(mark, helping=True), process)
        time.sleep(draw.random() * 0.8)
        process.kill()
        process.communicate()
        wait_until(lambda: not marked(mark))
        assert not list(Path("tmp").iterdir())


def test_kill_9_leaves_no_process_and_no_file(mark):
    killed_at_random(mark, 2)


@pytest.mark.slow
def test_kill_9_at_20_random_moments_leaves_no_process_and_no_file(mark):
    killed_at_random(mark, 20)


# --- signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["gpucnn.command", "typer", "numpy", "gpucnn.model.model", "sklearn"])
def test_from_the_entry_on_a_signal_ends_the_command_with_a_sentence(mark, tmp_path, module, number, status):
    """While a module is being imported, that is."""
    script = f"""
    import os, sys
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == {module!r}:
                os.kill(os.getpid(), {int(number)})
    from gpucnn.__main__ import main
    sys.meta_path.insert(0, Finder())
    sys.modules.pop({module!r}, None)
    sys.argv = ["gpucnn", "train", "softmax-regression", "--epochs", "1", "--device", "cpu"]
    main()
    """
    assert run([sys.executable, "-c", textwrap.dedent(script)]) == (status, "", "gpucnn: interrupted\n")


@pytest.mark.parametrize("swallowed", [False, True])
def test_an_import_that_a_signal_breaks_is_no_mistake(mark, swallowed):
    """Extensions turn what is raised while they are imported into an ImportError."""
    script = f"""
    import os, sys
    from gpucnn import __main__
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "gpucnn.command":
                try:
                    if {swallowed}:
                        os.kill(os.getpid(), {int(signal.SIGINT)})
                except KeyboardInterrupt:
                    pass
                raise ImportError("numpy.core.multiarray failed to import")
    sys.meta_path.insert(0, Finder())
    __main__.main()
    """
    status, _, err = run([sys.executable, "-c", textwrap.dedent(script)])
    assert (status, err.endswith("ImportError: numpy.core.multiarray failed to import\n")) == (
        (130, False) if swallowed else (1, True)
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_training_says_what_happens_and_what_was_learnt_is_saved(mark, number, status):
    process = begin([*LONG, "--json"])
    wait_until(lambda: epochs() >= 1, process)
    process.send_signal(number)
    found, out, err = end(process)
    assert found == status
    result = json.loads(out)
    assert result["interrupted"] is True
    assert "gpucnn: the run ends after this step, and what was learnt is kept; once more does not wait for the" in err
    assert f"interrupted in epoch {result['epochs'] + 1}; what was learnt until then is in run" in err
    assert "Traceback" not in err
    assert gpucnn.load("run/model.safetensors", device="cpu").theta.size


def test_a_run_in_the_background_leaves_ctrl_c_alone(mark):
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from gpucnn.__main__ import main; main()"
    process = begin([sys.executable, "-c", script, *LONG[3:]])
    wait_until(lambda: epochs() >= 1, process)
    process.send_signal(signal.SIGINT)
    before = epochs()
    wait_until(lambda: epochs() > before, process)
    process.terminate()
    assert end(process)[0] == 143


# --- streams


def shell(text, expected):
    """A command line of bash, in which gpucnn stands for the command -> its first status, standard output and error."""
    command = f'gpucnn() {{ {sys.executable} -m gpucnn "$@"; }}; {text}; exit ${{PIPESTATUS[0]}}'
    status, out, err = run(["bash", "-c", command])
    assert status == expected, err
    return out, err


@pytest.mark.parametrize(
    ("streams", "status"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("| true", 141),
        ("2>&1 | true", 141),
        ("2> >(true)", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 1),
    ],
)
def test_a_run_is_saved_whatever_becomes_of_its_streams(mark, streams, status):
    _, err = shell(f"gpucnn train softmax-regression --epochs 2 --device cpu --out run {streams}", status)
    assert gpucnn.load("run/model.safetensors", device="cpu").theta.size
    assert epochs() == 2
    assert "Traceback" not in err
    assert ("standard output: No space left on device; make room" in err) == (streams == ">/dev/full")


@pytest.mark.parametrize(("streams", "status"), [(">&-", 0), ("| true", 141), ("2>&1 | true", 141)])
@pytest.mark.parametrize("command", ["networks", "--help", "doctor --json"])
def test_a_command_that_prints_ends_quietly_when_nobody_reads(mark, command, streams, status):
    _, err = shell(
        f"(sleep 0.2; gpucnn {command}) {streams}" if "|" in streams else f"gpucnn {command} {streams}", status
    )
    assert err == ""


def test_a_stream_that_knows_few_characters_gets_their_numbers(mark):
    script = "from gpucnn.__main__ import open_streams; open_streams(); print('\\u0416\\u00e4')"
    _, out, err = run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONIOENCODING": "latin-1"}, encoding="latin-1"
    )
    assert (out, err) == ("\\u0416ä\n", "")
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # whose errors are surrogateescape
    _, out, err = run([sys.executable, "-c", script], env=os.environ | posix)
    assert (out, err) == ("\\u0416\\xe4\n", "")


# --- the system


@pytest.mark.parametrize(
    "command",
    [
        ["env", "-u", "HOME", "-u", "TERM", "LANG=C", "LC_ALL=C", *SHORT],
        ["env", "-i", f"PYTHONPATH={ROOT}", *SHORT],
        ["env", "HOME=/nonexistent", "XDG_CACHE_HOME=/proc/none", "TERM=strange", *SHORT],
        ["bash", "-c", 'ulimit -n 16; exec "$@"', "-", *SHARED, "--epochs", "2"],
    ],
    ids=["no HOME", "no environment", "HOME is nowhere", "ulimit -n 16"],
)
def test_a_run_needs_little_of_the_system(mark, command, tmp_path):
    status, _, err = run(command)
    assert status == 0, err
    assert "Traceback" not in err
    assert gpucnn.load("run/model.safetensors", device="cpu").theta.size


@pytest.mark.parametrize("what", ["processes", "processes and threads", "shared memory"])
def test_a_run_goes_on_alone_with_the_same_bits_and_a_sentence(mark, what):
    assert run([*SHARED, "--epochs", "2"])[0] == 0
    alone = digest()
    script = f"""
    import os, subprocess, sys, threading
    def none(*arguments, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    def no_thread(self):
        raise RuntimeError("can't start new thread")
    if "processes" in {what!r}:
        subprocess.Popen = none
    if "threads" in {what!r}:
        threading.Thread.start = no_thread
    if "memory" in {what!r}:
        os.memfd_create = none
    from gpucnn.__main__ import main
    main()
    """
    status, _, err = run([sys.executable, "-c", textwrap.dedent(script), *SHARED[3:], "--epochs", "2", "--force"])
    assert (status, digest()) == (0, alone), err
    assert err.count("no processes can be had to compute beside this one (Resource temporarily unavailable)") == 1
    assert err.count("no threads can be had here") == ("threads" in what)


def test_isolated_python_trains(mark, tmp_path):
    script = f"import sys; sys.path.insert(0, {ROOT!r}); from gpucnn.__main__ import main; main()"
    status, _, err = run([sys.executable, "-I", "-c", script, *SHARED[3:], "--epochs", "20"])
    assert status == 0
    assert "beside this one" not in err


USER = """
import sys
import gpucnn, numpy as np
from gpucnn import Model, Network
from gpucnn.engine import sharded_step
from gpucnn.layers import Dense, Flatten
from gpucnn.workers import default_threads

sharded_step.WORTH_A_WORKER = 1e-9

def theta(seed, threads=2):
    rng = np.random.default_rng(0)
    model = Model(Network((4, 4, 1), (Flatten(), Dense(3))), device="cpu", threads=threads, seed=seed)
    model.fit(rng.integers(0, 256, (64, 4, 4, 1), dtype=np.uint8), rng.integers(0, 3, 64), epochs=3, batch_size=32)
    return model.theta.sum().item(), model.threads
"""


FORK = "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
THREADS = "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n"
FROM_A_THREAD = """
import os, threading
def forked():
    child = os.fork()
    if child == 0:
        theta(0)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
theta(1)
thread = threading.Thread(target=forked)
thread.start()
thread.join()
print([theta(s) for s in range(2)])
"""
PROGRAMS = {
    "no guard": "print([theta(s) for s in range(2)])",
    "fork": FORK + "    print(pool.map(theta, range(2)))",
    "fork after training": "theta(5)\n" + FORK + "    print(pool.map(theta, range(2)))",
    "threads": THREADS + "    print(list(pool.map(theta, range(2))))",
    "fork from a thread": FROM_A_THREAD,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_scripts_without_a_main_guard_train_in_all_ways(mark, tmp_path, program):
    (tmp_path / "script.py").write_text(USER + program)
    (tmp_path / "plain.py").write_text(USER + "print([theta(s) for s in range(2)])")
    plain = run([sys.executable, "plain.py"])
    assert plain[0] == 0, plain[2]
    assert run([sys.executable, "script.py"]) == plain


def test_workers_of_joblib_take_the_cpus_that_are_theirs(mark, tmp_path):
    pytest.importorskip("joblib")
    (tmp_path / "user.py").write_text(USER)
    script = (
        "import joblib, user; print(joblib.Parallel(n_jobs={})(joblib.delayed(user.theta)(s, None) for s in range(2)))"
    )
    found = []
    for jobs in (1, len(os.sched_getaffinity(0))):
        status, out, err = run([sys.executable, "-c", script.format(jobs)], cwd=tmp_path)
        assert status == 0, err
        found.append(eval(out))
    assert [threads for _, threads in found[1]] == [1, 1]
    assert found[0][0][1] == len(os.sched_getaffinity(0))


def test_errors_of_the_system_name_path_and_remedy():
    assert errors.of_system(OSError(errno.ENOSPC, "No space left", "a/b")).startswith("a/b: No space left; make room")
    assert errors.of_system(OSError(errno.EROFS, "Read-only"), "c").startswith("c: Read-only; nothing can be written")
    assert errors.of_system(OSError("odd")) == "odd"
    assert errors.of_system(OSError(errno.EIO, "I/O error", "d")) == "d: I/O error"
    assert set(errors.REMEDIES) <= set(errno.errorcode.values())
