"""Whether and where `fit` shows its progress: on a terminal and in a notebook, or as it is asked."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gpucnn import Model, Network
from gpucnn.layers import Dense, Flatten

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 2, 2, 1), dtype=np.uint8)


def fit(**options):
    model = Model(Network((2, 2, 1), (Flatten(), Dense(3))), device="cpu", threads=1)
    return model.fit(IMAGES, np.arange(12) % 3, epochs=2, **options)


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


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    fit()
    assert "epoch 2/2  loss " in capsys.readouterr().err
    fit(progress=False)
    assert capsys.readouterr().err == ""


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
