"""Whether and where `fit` shows its progress: on a terminal and in a notebook, or as it is asked."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gpucnn import Model, Network
from gpucnn.layers import Dense, Flatten
from gpucnn.training import Stop, progress

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 2, 2, 1), dtype=np.uint8)


def fit(epochs=2, **options):
    model = Model(Network((2, 2, 1), (Flatten(), Dense(3))), device="cpu", threads=1)
    return model.fit(IMAGES, np.arange(12) % 3, epochs=epochs, **options)


@pytest.fixture
def notebook(monkeypatch):
    shell = SimpleNamespace(kernel="ipykernel's")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_where_the_output_is_a_file(capsys, progress):
    fit(progress=progress)
    assert capsys.readouterr() == ("", "")


def test_a_line_per_epoch_when_asked(capsys):
    fit(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize(
    ("epochs", "seconds", "told"),
    [
        (60, 0.25, [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 60]),
        (53, 0.5, [*range(1, 54, 2)]),
        (60, 1.0, [*range(1, 61)]),
        (50, 0.25, [*range(1, 51)]),
    ],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_of_many_short_epochs_a_line_per_second_and_the_last(epochs, seconds, told, terminal, capsys, monkeypatch):
    times = iter(range(1000))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: seconds * next(times)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "dumb")
    fit(epochs, progress=True)
    found = re.findall(r"epoch (\d+)/\d+  loss", capsys.readouterr().err)
    assert [int(number) for number in found] == told


def test_the_last_of_many_short_epochs_is_told_where_a_run_ends_early(capsys):
    def short(epoch):
        if epoch.epoch == 33:
            raise Stop("enough")

    fit(1000, progress=True, callbacks=[short])
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch 33/1000  ")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    fit()
    assert "epoch 2/2  loss " in capsys.readouterr().err
    fit(progress=False)
    assert capsys.readouterr().err == ""


def test_the_bar_of_partial_fit_is_of_its_own_epochs(monkeypatch):
    from rich.progress import Progress

    told = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(
        Progress, "update", lambda *_, completed=None, total=None, **__: told.append((completed, total))
    )
    model = Model(Network((2, 2, 1), (Flatten(), Dense(3))), device="cpu", threads=1)
    for train, expected in ((model.fit, [6, 12, 18, 24]), (model.partial_fit, [6, 12, 18, 24])):
        told.clear()
        train(IMAGES, np.arange(12) % 3, epochs=2, batch_size=6)
        assert [each for each in told if each[0]] == [(done, 24) for done in expected]


def test_lines_on_standard_output_in_a_notebook(capsys, notebook):
    fit()
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split("  ")[0] for line in out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    fit(progress=False)
    assert capsys.readouterr() == ("", "")


def test_ipython_on_a_terminal_is_no_notebook(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    fit()
    assert capsys.readouterr() == ("", "")


def test_a_process_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert len(fit().epochs) == 2
