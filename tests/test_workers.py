"""Sharing work out: who computes never changes a bit, and nothing that goes wrong in a helper stays hidden."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import gc
import mmap
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from gpucnn import Model, Network
from gpucnn.engine import sharded_step
from gpucnn.errors import SettingError, TrainingError
from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from gpucnn.losses import SoftmaxCrossEntropy
from gpucnn.model import runs
from gpucnn.optimizers import Adam
from gpucnn.workers import Task, Workers, default_threads, exchange, helper, helpers, packing, shared
from gpucnn.workers.channel import Channel
from gpucnn.workers.helpers import Team
from gpucnn.workers.packing import Unshareable

KILL, STOP = getattr(signal, "SIGKILL", 9), getattr(signal, "SIGSTOP", 19)  # Windows has neither
needs_helpers = pytest.mark.skipif(not helpers.possible(), reason="helper processes are not used on this system")
UNBEGUN = ((KILL, "was killed (signal 9; most often a lack of memory)"), (STOP, "was stopped"))
NETWORK = Network((8, 8, 1), (Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(11)))


@dataclasses.dataclass(frozen=True, eq=False)
class Fill(Task):
    """Writes numbers into a vector, and says who did."""

    vector: np.ndarray

    def __call__(self, place, value):
        self.vector[place] = value
        return os.getpid()


@dataclasses.dataclass(frozen=True, eq=False)
class Fail(Task):
    error: Exception

    def __call__(self, here):
        if os.getpid() != here:
            raise self.error
        return here


@dataclasses.dataclass(frozen=True, eq=False)
class Stop(Task):
    signal: int

    def __call__(self, here):
        if os.getpid() != here:
            os.kill(os.getpid(), self.signal)
            time.sleep(10)


@dataclasses.dataclass(frozen=True, eq=False)
class Sums(Task):
    """Asks for `count` sums; a helper is sent a signal before the one with number `fatal`, from 1, or behind all."""

    count: int
    fatal: int
    signal: int

    def __call__(self, number, here):
        is_first = number == 0
        for k in range(1, self.count + 1):
            if k == self.fatal and is_first and os.getpid() != here:
                os.kill(os.getpid(), self.signal)
            number = exchange.total(number)
        if self.fatal > self.count and is_first and os.getpid() != here:
            os.kill(os.getpid(), self.signal)
        return number


SHARDS = []  # of which this process has computed the loss


@dataclasses.dataclass(frozen=True)
class DyingLoss(SoftmaxCrossEntropy):
    here: int = 0

    def __call__(self, logits, target):
        SHARDS.append(logits.shape[0])
        if len(SHARDS) == 5 and os.getpid() != self.here:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(logits, target)


@pytest.fixture
def team(monkeypatch):
    """A set of helpers of the test's own, which may have this file's tasks."""
    made = Team()
    monkeypatch.setattr(packing, "KNOWN", {*packing.KNOWN, __name__.partition(".")[0]})
    monkeypatch.setattr(helpers, "team", made)
    yield made
    made.close()


def run(team, task, arguments):
    """`team.map`, once the helpers have started."""
    for _ in range(500):
        done = team.map(task, arguments)
        if done is not None:
            return done
        time.sleep(0.02)
    raise AssertionError("the helpers did not start within ten seconds")


# --- shared memory


@needs_helpers
@pytest.mark.parametrize("size", [5, shared.SMALL])
def test_shared_vectors_are_zeros_and_know_their_place(size):
    before, vector = shared.zeros(3, np.uint8), shared.zeros(size, np.float32)
    assert not vector.any()
    assert vector.flags.aligned
    file, start = shared.place(vector)
    assert (file == shared.place(before)[0]) == (size == 5)
    other = shared.attach(file, size, np.float32, start)
    vector[2] = 7
    assert other[2] == 7
    assert not before.any()
    assert shared.place(vector[1:]) is None
    assert shared.place(np.zeros(5)) is None


@needs_helpers
def test_the_file_of_a_shared_vector_is_closed_with_it():
    vector = shared.zeros(shared.SMALL, np.float64)
    (file, _), view = shared.place(vector), vector[1:3]
    del vector
    view[...] = 1  # the memory lives as long as a view of it
    os.fstat(file)
    del view
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(file)
    assert shared.zeros(0, np.float32).shape == (0,)


@needs_helpers
def test_small_vectors_have_files_in_common_which_are_closed_with_the_last(monkeypatch):
    monkeypatch.setattr(shared, "TOGETHER", 4 * mmap.PAGESIZE)
    monkeypatch.setattr(shared, "_common", shared._Common())
    vectors = [shared.zeros(100, np.float64) for _ in range(10)]
    for k, vector in enumerate(vectors):
        assert not vector.any()
        vector[...] = k + 1
    assert [set(vector) for vector in vectors] == [{k + 1} for k in range(10)]
    files = [shared.place(vector)[0] for vector in vectors]
    assert len({*files}) == 3
    kept = vectors[5]
    del vectors, vector
    gc.collect()
    os.fstat(files[5])
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(files[0])
    assert set(kept) == {6}


@needs_helpers
@pytest.mark.skipif(not hasattr(mmap, "MADV_REMOVE"), reason="parts of a file cannot be given back here")
def test_small_vectors_give_their_memory_back_but_not_that_of_a_parent(monkeypatch):
    monkeypatch.setattr(shared, "_common", shared._Common())
    kept, dropped, forked = (shared.zeros(1000, np.float64) for _ in range(3))
    for each in (kept, dropped, forked):
        each[:] = 7
    file, start = shared.place(dropped)
    assert os.pread(file, 8, start) != bytes(8)
    del dropped, each
    assert os.pread(file, 8000, start) == bytes(8000)
    place = shared.place(forked)[1]
    monkeypatch.setattr(os, "getpid", lambda: 0)
    del forked
    assert os.pread(file, 8, place) != bytes(8)
    np.testing.assert_array_equal(kept, 7)


def test_models_that_are_kept_leave_open_files_to_the_rest():
    before = len(os.listdir("/dev/fd"))
    models = [Model(NETWORK, device="cpu", threads=2) for _ in range(100)]
    for model in models[:5]:
        model.fit(*examples(40), epochs=1, batch_size=20)
    assert len(os.listdir("/dev/fd")) < before + 40


@needs_helpers
def test_a_fork_gives_away_nothing_of_its_parents_memory():
    vector = shared.zeros(3, np.float64)
    child = os.fork()
    if not child:
        shared.zeros(3, np.float64)[...] = 1
        os._exit(0)
    os.waitpid(child, 0)
    assert not shared.zeros(3, np.float64).any()
    assert not vector.any()


def test_one_worker_needs_no_shared_memory():
    vector = np.ones(3)
    assert Workers(1).share(vector) is vector
    assert shared.place(Workers(1).zeros(2, vector)) is None


@needs_helpers
def test_workers_copy_a_vector_once():
    vector = np.arange(3.0)
    copy = Workers(2).share(vector)
    assert copy is not vector
    assert copy.tolist() == [0, 1, 2]
    assert Workers(2).share(copy) is copy


# --- threads, for tasks that cannot travel


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_workers_return_in_order_and_use_other_threads(threads):
    workers = Workers(threads)
    assert workers.map(lambda k: k * k, [(k,) for k in range(7)]) == [0, 1, 4, 9, 16, 25, 36]
    seen = set(workers.map(lambda k: threading.get_ident(), [(k,) for k in range(50)]))
    assert (seen == {threading.get_ident()}) == (threads == 1)


def test_workers_pass_errors_on():
    def fail(k):
        raise ZeroDivisionError(k)

    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            Workers(threads).map(fail, [(0,), (1,), (2,)])


def test_workers_need_a_thread():
    with pytest.raises(SettingError, match="threads=0: at least 1"):
        Workers(0)


def test_an_error_is_raised_after_all_workers_are_done():
    done = []

    def work(k):
        if k == 2:
            raise RuntimeError("the last one")
        time.sleep(0.05)
        done.append(k)

    with pytest.raises(RuntimeError, match="the last one"):
        Workers(3).map(work, [(0,), (1,), (2,)])
    assert sorted(done) == [0, 1]


def test_blas_gets_its_threads_back_when_the_last_of_several_leaves():
    def threads():
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before, one, other = threads(), Workers(1).limited(), Workers(1).limited()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert set(threads()) <= {1}
    other.__exit__(None, None, None)
    assert threads() == before


# --- helper processes


@needs_helpers
def test_helpers_write_where_the_caller_sees_it(team):
    vector = shared.zeros(3, np.float64)
    who = run(team, Fill(vector), [(0, 1.0), (1, 2.0), (2, 3.0)])
    assert vector.tolist() == [1, 2, 3]
    assert who[2] == os.getpid()
    assert len(set(who)) == 3


@needs_helpers
def test_helpers_compute_in_the_background_and_the_caller_until_they_have_started(team):
    vector = shared.zeros(2, np.float64)
    first = team.map(Fill(vector), [(0, 1.0), (1, 2.0)])
    assert first is None
    assert len(team.helpers) == 1
    assert Workers(2).map(Fill(vector), [(0, 1.0), (1, 2.0)])[1] == os.getpid()
    assert vector.tolist() == [1, 2]


@needs_helpers
@pytest.mark.parametrize("error", [ZeroDivisionError("no"), MemoryError("much"), SettingError("bad")])
def test_errors_come_back_with_their_type_and_the_helper_goes_on(team, error):
    with pytest.raises(type(error), match=str(error)):
        run(team, Fail(error), [(os.getpid(),)] * 2)
    pids = {helper.process.pid for helper in team.helpers}
    run(team, Fill(shared.zeros(2, np.float32)), [(0, 1), (1, 2)])
    assert {helper.process.pid for helper in team.helpers} == pids


@needs_helpers
def test_an_error_here_waits_for_the_helpers(team):
    vector = shared.zeros(3, np.float64)
    with pytest.raises(IndexError):
        run(team, Fill(vector), [(0, 1.0), (1, 2.0), (9, 3.0)])
    assert vector.tolist() == [1, 2, 0]
    assert [helper.awaited for helper in team.helpers] == [0, 0]


@needs_helpers
@pytest.mark.parametrize(("how", "said"), [(KILL, r"was killed \(signal 9; most often"), (STOP, "was stopped;")])
def test_the_part_of_a_lost_helper_is_computed_here_and_it_is_replaced(team, how, said):
    run(team, Fill(shared.zeros(2, np.float32)), [(0, 1), (1, 2)])
    before = team.helpers[0]
    with pytest.warns(UserWarning, match=said + ".*computed here.*another one takes its place"):
        assert team.map(Stop(int(how)), [(os.getpid(),)] * 2) == [None, None]
    vector = shared.zeros(2, np.float32)
    run(team, Fill(vector), [(0, 1), (1, 2)])
    assert vector.tolist() == [1, 2]
    assert before.process.returncode == -signal.SIGKILL
    assert team.helpers[0] is not before


@needs_helpers
@pytest.mark.filterwarnings("ignore:a process that computed")  # there is none where its end is seen before it is asked
@pytest.mark.parametrize("how", [KILL, STOP])
def test_a_helper_lost_between_two_tasks_is_as_good(team, how):
    vector = shared.zeros(2, np.float32)
    run(team, Fill(vector), [(0, 1), (1, 2)])
    os.kill(team.helpers[0].process.pid, how)
    run(team, Fill(vector), [(0, 3), (1, 4)])
    assert vector.tolist() == [3, 4]


@needs_helpers
def test_helpers_that_are_lost_again_and_again_are_given_up(team):
    for k in range(helpers.LOSSES):
        run(team, Fill(shared.zeros(2, np.float32)), [(0, 1), (1, 2)])
        rest = "threads share the work" if k == helpers.LOSSES - 1 else "another one takes its place"
        with pytest.warns(UserWarning, match=rest):
            team.map(Stop(int(signal.SIGKILL)), [(os.getpid(),)] * 2)
    with pytest.raises(Unshareable):
        team.map(Fill(shared.zeros(2, np.float32)), [(0, 1), (1, 2)])


@needs_helpers
@pytest.mark.parametrize("how", [KILL, STOP])
@pytest.mark.parametrize("sums", [1, 2, 3])
def test_where_parts_exchange_sums_all_begin_anew_when_a_helper_is_lost(team, how, sums):
    workers, parts = Workers(3), [(float(w), os.getpid()) for w in range(3)]
    run(team, Fill(shared.zeros(3, np.float32)), [(0, 1), (1, 2), (2, 3)])
    assert workers.map(Sums(2, 0, 0), parts, together=True) == [9.0] * 3
    with pytest.warns(UserWarning, match="changes no bit"):
        assert workers.map(Sums(2, sums, int(how)), parts, together=True) == [9.0] * 3


@dataclasses.dataclass(frozen=True)
class Writes(Adam):
    """Adam that notes in which processes and threads it updates pieces of theta."""

    def update(self, theta, g, state, lr, step):
        WRITERS.append((os.getpid(), threading.get_ident()))
        time.sleep(0.001)
        super().update(theta, g, state, lr, step)


WRITERS = []


@needs_helpers
def test_training_ends_with_the_same_bits_when_helpers_die_in_a_gradient(team, monkeypatch):
    """They write neither theta nor the optimiser's state, so these are whole at any moment."""
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    monkeypatch.setattr(sharded_step, "CHUNK", 17)
    found = []
    for dies in (True, False):
        run(team, Fill(shared.zeros(3, np.float32)), [(0, 1), (1, 2), (2, 3)])
        loss = DyingLoss(here=os.getpid()) if dies else SoftmaxCrossEntropy()
        model = Model(NETWORK, device="cpu", threads=3, loss=loss)
        WRITERS.clear()
        with pytest.warns(UserWarning, match="changes no bit") if dies else contextlib.nullcontext():
            model.fit(*examples(60), epochs=2, batch_size=20, optimizer=Writes())
        found.append(model.theta.copy())
        assert len(WRITERS) == 6 * -(-model.theta.size // 17)
        assert {process for process, _ in WRITERS} == {os.getpid()}
        assert len({thread for _, thread in WRITERS}) > 1
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)


@needs_helpers
def test_what_is_private_to_this_process_cannot_be_sent(team):
    with pytest.raises(Unshareable):
        team.map(Fill(np.zeros(3)), [(0, 1), (1, 2)])
    with pytest.raises(Unshareable):
        team.map(lambda k: k, [(0,), (1,)])
    assert not team.helpers


@needs_helpers
def test_classes_of_a_script_are_not_sent(team, monkeypatch):
    monkeypatch.setattr(packing, "KNOWN", {"gpucnn", "numpy"})
    with pytest.raises(Unshareable):
        team.map(Fill(shared.zeros(3, np.float64)), [(0, 1), (1, 2)])


@needs_helpers
def test_half_a_message_makes_a_helper_be_replaced(team, monkeypatch):
    task = Fill(shared.zeros(2, np.float32))
    run(team, task, [(0, 1), (1, 2)])
    before = team.helpers[0]

    def interrupted(message):
        before.channel._end.send(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(before.channel, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        team.map(task, [(0, 1), (1, 2)])
    run(team, task, [(0, 3), (1, 4)])
    assert team.helpers[0] is not before
    assert task.vector.tolist() == [3, 4]


@needs_helpers
def test_helpers_have_no_helpers(monkeypatch):
    monkeypatch.setenv(helpers.MARK, "1")
    assert not helpers.possible()
    monkeypatch.delenv(helpers.MARK)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not helpers.possible()


@needs_helpers
@pytest.mark.parametrize("box", [0, 1 << 15, 1 << 20])
def test_large_arrays_arrive_through_the_box_while_there_is_room(box):
    memory = np.zeros(box, np.uint8)
    one, end = Channel.pair(memory)
    other, rng = Channel(end, inbox=memory), np.random.default_rng(0)
    sent = [
        rng.integers(0, 256, (30, 1000)).astype(np.uint8),
        rng.random((100, 50)).T,
        rng.random(3000),
        rng.random((64, 128)).astype(np.float32)[::2],
        np.arange(5),
        rng.random((9, 1000)).astype(">f4"),
    ]
    for _ in range(2):
        thread = threading.Thread(target=one.send, args=(("run", sent),))
        thread.start()
        verb, found = other.receive()
        thread.join()
        assert verb == "run"
        for a, b in zip(found, sent, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        assert np.shares_memory(found[0], memory) == (box >= 1 << 15)
        assert not np.shares_memory(found[4], memory)
        large = [a for a in found if np.shares_memory(a, memory)]
        assert not any(a.flags.writeable for a in large)
        assert not any(np.shares_memory(a, b) for a in large for b in large if a is not b)
    one.close()
    other.close()


@needs_helpers
def test_large_arrays_travel_in_their_memory_order():
    one, end = Channel.pair()
    other, sent = Channel(end), np.asfortranarray(np.random.default_rng(0).random((1000, 3000)))
    thread = threading.Thread(target=one.send, args=((sent, sent[:2].copy("C")),))
    thread.start()
    first, second = other.receive()
    thread.join()
    assert first.flags.f_contiguous and second.flags.c_contiguous  # noqa: PT018
    np.testing.assert_array_equal(first, sent)
    one.close()
    with pytest.raises(EOFError):
        other.receive()


@needs_helpers
def test_shared_memory_never_takes_a_standard_stream():
    script = "import os; [os.close(k) for k in range(3)]; from gpucnn.workers import shared; "
    script += "v = shared.zeros(5, 'f4'); os._exit(shared.place(v)[0] >= 3)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 1


def test_without_shared_memory_threads_do_the_work(team, monkeypatch):
    def none(*arguments):
        raise OSError("too many open files")

    monkeypatch.setattr(shared, "_open", none)
    monkeypatch.setattr(shared, "_common", shared._Common())
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    with pytest.warns(UserWarning, match=r"\(too many open files\), so threads share the work"):
        model = Model(NETWORK, device="cpu", threads=2)
    model.fit(*examples(40), epochs=1, batch_size=20)
    assert shared.place(model.theta) is None


def refuse(monkeypatch, *, threads):
    """No more processes from here on, nor threads."""

    def none(*arguments, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(subprocess, "Popen", none)
    if threads:
        monkeypatch.setattr(threading.Thread, "start", no_thread)


@needs_helpers
def test_without_processes_threads_do_the_work(team, monkeypatch):
    refuse(monkeypatch, threads=False)
    task = Fill(shared.zeros(2, np.float32))
    said = r"no processes can be had .*\(Resource temporarily unavailable\), so threads share the work"
    with pytest.warns(UserWarning, match=said):
        assert Workers(2).map(task, [(0, 1), (1, 2)]) == [os.getpid()] * 2


@needs_helpers
@pytest.mark.parametrize("together", [False, True])
def test_without_threads_too_one_process_does_the_work(team, monkeypatch, recwarn, together):
    refuse(monkeypatch, threads=True)
    workers, parts = Workers(3), [(float(w), os.getpid()) for w in range(3)]
    for _ in range(2):
        found = workers.map(Sums(2 * together, 0, 0), parts, together=together)
    assert found == ([9.0] * 3 if together else [0.0, 1.0, 2.0])
    assert len(recwarn) == 2
    said = "no threads can be had here (can't start new thread), so one CPU does all the work"
    assert said in str(recwarn[1].message)


def test_parts_one_by_one_exchange_sums_as_threads_do():
    def task(own, sums):
        for _ in range(sums):
            own = exchange.total(own / 3)
        return own

    workers, parts = Workers(3), [(0.1, 3), (0.2, 3), (0.7, 3)]
    assert exchange.one_by_one(task, parts) == workers.map(task, parts, together=True)
    with pytest.raises(TrainingError, match="different numbers of sums"):
        exchange.one_by_one(task, [(0.1, 1), (0.2, 2)])


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("OMP_NUM_THREADS", "1", 1),
        ("OMP_NUM_THREADS", "2,1", 2),
        ("OPENBLAS_NUM_THREADS", " 1 ", 1),
        ("LOKY_MAX_CPU_COUNT", "1", 1),
        ("OMP_NUM_THREADS", "0", 4),
        ("OMP_NUM_THREADS", "many", 4),
        ("OMP_NUM_THREADS", "", 4),
        ("OMP_NUM_THREADS", "99", 4),
    ],
)
def test_limits_of_the_environment_count_beside_affinity(monkeypatch, name, value, most):
    for each in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)), raising=False)
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: "max 100000")
    assert default_threads() == 4
    monkeypatch.setenv(name, value)
    assert default_threads() == most


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_trains_its_own_copy():
    model = Model(NETWORK, device="cpu", threads=2)
    before = model.theta.copy()
    child = os.fork()
    if child == 0:
        model.fit(*examples(20), epochs=1)
        os._exit(int(np.array_equal(model.theta, before)))
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(model.theta, before)


@needs_helpers
def test_helpers_forget_tasks_that_nobody_has(team):
    vector = shared.zeros(2, np.float32)
    for _ in range(3):
        run(team, Fill(vector), [(0, 1), (1, 2)])
    gc.collect()
    task = Fill(vector)
    run(team, task, [(0, 1), (1, 2)])
    assert list(team._tasks) == [task]
    assert team.helpers[0].forgotten == []


@needs_helpers
def test_helpers_that_cannot_start_are_given_up(team, monkeypatch):
    monkeypatch.setattr(helper, "START", "raise SystemExit(3)")
    task = Fill(shared.zeros(2, np.float32))
    assert team.map(task, [(0, 1), (1, 2)]) is None
    team.helpers[0].process.wait(10)
    said = r"no processes can be had .*one ended \(status 3\) before it began"
    with pytest.warns(UserWarning, match=said), pytest.raises(Unshareable):
        team.map(task, [(0, 1), (1, 2)])
    assert Workers(2).map(task, [(0, 1), (1, 2)]) == [os.getpid()] * 2


@needs_helpers
@pytest.mark.parametrize(("number", "became"), UNBEGUN)
def test_helpers_that_never_begin_for_signals_are_given_up(team, monkeypatch, number, became):
    monkeypatch.setattr(helper, "START", f"import os; os.kill(os.getpid(), {number})")
    task = Fill(shared.zeros(2, np.float32))
    with pytest.warns(UserWarning, match="before it began") as said, pytest.raises(Unshareable):
        run(team, task, [(0, 1), (1, 2)])
    before = f"a process that was to compute beside this one {became} before it began; "
    another, last = before + "another one takes its place", before + helpers.WITHOUT
    assert [str(warning.message) for warning in said] == [another] * (helpers.LOSSES - 1) + [last]


@needs_helpers
@pytest.mark.parametrize(("number", "became"), UNBEGUN)
def test_another_takes_the_place_of_a_helper_that_a_signal_hits_before_it_begins(
    team, monkeypatch, tmp_path, number, became
):
    once = f"import os; flag = {str(tmp_path / 'flag')!r}; "
    once += f"os.path.exists(flag) or (open(flag, 'w'), os.kill(os.getpid(), {number})); "
    monkeypatch.setattr(helper, "START", once + helper.START)
    vector = shared.zeros(2, np.float32)
    with pytest.warns(UserWarning, match=f"{re.escape(became)} before it began; another one takes its place"):
        here, there = run(team, Fill(vector), [(0, 1), (1, 2)])
    assert here != there == os.getpid()
    assert vector.all()


@needs_helpers
def test_a_second_caller_does_its_own_work(team):
    task = Fill(shared.zeros(2, np.float32))
    run(team, task, [(0, 1), (1, 2)])
    with team._busy:
        assert team.map(task, [(0, 1), (1, 2)]) is None


@needs_helpers
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_leaves_the_helpers_alone(team):
    task = Fill(shared.zeros(2, np.float32))
    run(team, task, [(0, 1), (1, 2)])
    child = os.fork()
    if child == 0:
        os._exit(0 if team.map(task, [(0, 1), (1, 2)]) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    run(team, task, [(0, 1), (1, 2)])


# --- training and inference


def examples(count):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), rng.integers(0, 11, count)


def trained(monkeypatch, possible):
    """theta after two epochs, and logits, with 3 workers."""
    monkeypatch.setattr(helpers, "possible", lambda: possible)
    model = Model(NETWORK, device="cpu", threads=3)
    model.fit(*examples(60), epochs=2, batch_size=20, optimizer="adam")
    images, _ = examples(300)
    return model.theta.copy(), model.logits(images), model.predict_proba(images)


@needs_helpers
def test_processes_threads_and_the_caller_alone_give_the_same_bits(team, monkeypatch):
    monkeypatch.setattr(sharded_step, "WORTH_A_WORKER", 1e-9)
    monkeypatch.setattr(sharded_step, "CHUNK", 17)
    monkeypatch.setattr("gpucnn.engine.execution.shard_size", lambda network, parameters: 5)
    run(team, Fill(shared.zeros(3, np.float32)), [(0, 1), (1, 2), (2, 3)])
    found = [trained(monkeypatch, possible=True)]
    assert all(helper.tasks for helper in team.helpers)
    assert len(team.helpers) == 2
    found.append(trained(monkeypatch, possible=False))
    monkeypatch.setattr(Workers, "map", lambda self, task, arguments, **_: [task(*own) for own in arguments])
    found.append(trained(monkeypatch, possible=False))
    for others in found[1:]:
        for other, one in zip(others, found[0], strict=True):
            np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_models_can_be_copied_and_pickled(copied):
    images, labels = examples(30)
    model = Model(NETWORK, device="cpu", threads=2)
    other = copied(model)
    np.testing.assert_array_equal(other.logits(images), model.logits(images))
    before = model.theta.copy()
    other.fit(images, labels, epochs=1)
    np.testing.assert_array_equal(model.theta, before)


SCRIPT = """
import os, signal, sys, time, numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores Ctrl-C
from gpucnn import Model, Network
from gpucnn.engine import sharded_step, shards
from gpucnn.layers import Dense, Flatten
from gpucnn.workers import helpers

class Doubled(Flatten):  # lives in __main__: no helper may have it
    pass

sharded_step.WORTH_A_WORKER = 1e-9
layers = (Doubled(), Dense(3)) if "own" in sys.argv else (Flatten(), Dense(3))
model = Model(Network((4, 4, 1), layers), device="cpu", threads=2)
images, labels = np.zeros((64, 4, 4, 1), np.uint8), np.arange(64) % 3
until = time.time() + (0 if "own" in sys.argv else 10)
while time.time() < until and not (helpers.team.helpers and helpers.team.helpers[0].started):
    model.fit(images, labels, epochs=1, batch_size=32)
model.fit(images, labels, epochs=3, batch_size=32)
print(*(helper.process.pid for helper in helpers.team.helpers), flush=True)
for _ in range(600 * ("wait" in sys.argv)):
    time.sleep(0.1)  # a signal that comes right before a sleep is only seen after it
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@needs_helpers
@pytest.mark.parametrize("word", ["own", "plain"])
def test_a_script_without_a_main_guard_trains_and_leaves_no_process(tmp_path, word):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, str(script), word], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == (word == "plain")
    assert not any(map(alive, pids))


@needs_helpers
@pytest.mark.parametrize("how", [KILL, signal.SIGINT])
def test_helpers_end_with_the_process_that_started_them(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    caller = subprocess.Popen(
        [sys.executable, str(script), "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    pid = int(caller.stdout.readline())
    caller.send_signal(how)
    _, errors = caller.communicate(timeout=10)
    assert errors.count("Traceback") == (how == signal.SIGINT)  # the caller's own
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the helper lives on")


@needs_helpers
@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (runs.Settings("two-conv", "cpu", threads=4), 2),
        (runs.Settings("two-conv", "cpu", threads=4, batch_size=512), 3),
        (runs.Settings("two-conv", "cpu", threads=1), 0),
        (runs.Settings("single-filter", "cpu", threads=4), 0),
        (runs.Settings("two-conv", "cpu", threads=4, batch_size=0), 0),
    ],
)
def test_a_run_starts_its_helpers_while_it_reads_its_data(settings, wanted, monkeypatch):
    """It does not wait for them."""
    asked = []
    monkeypatch.setattr(helpers.team, "start", lambda count, patience: asked.append((count, patience)))
    runs.start_helpers(settings)
    assert asked == [(wanted, 0.0)]


@needs_helpers
def test_a_run_elsewhere_starts_none(monkeypatch):
    monkeypatch.setattr(helpers.team, "start", None)
    monkeypatch.setattr(runs.Device, "parse", lambda text: runs.Device("cuda"))
    runs.start_helpers(runs.Settings("two-conv", "cuda"))


@needs_helpers
def test_starting_more_leaves_those_alone_that_work():
    team = Team()
    team.start(1)
    try:
        thread = threading.Thread(target=team.map, args=(functools.partial(time.sleep), [(0.5,), (0.5,)]))
        thread.start()
        while not team._busy.locked() and thread.is_alive():
            time.sleep(0.001)
        working = list(team.helpers)
        team.start(2, patience=0.0)
        thread.join()
        assert team.helpers == working
        assert working[0].process.poll() is None
    finally:
        team.close()


@needs_helpers
def test_a_forked_process_starts_none(monkeypatch):
    team = Team()
    monkeypatch.setattr(team, "_owner", os.getpid() + 1)
    team.start(1, patience=0.0)
    assert not team.helpers


@needs_helpers
def test_a_helper_that_has_not_begun_is_not_waited_for():
    """It is killed at once."""
    team = Team()
    team.start(1, patience=0.0)
    process, waits = team.helpers[0].process, []
    usual, process.wait = process.wait, lambda timeout=None: (waits.append(timeout), usual(timeout))
    team.close()
    assert waits == [None]
    assert process.returncode is not None
