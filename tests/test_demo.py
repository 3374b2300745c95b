"""`gpucnn demo`: what `gpucnn train` makes predicts its drawn digits, and the commands that it names are such."""

from __future__ import annotations

import json
import os
import shlex
import sys

import numpy as np
import pytest
from PIL import Image

from gpucnn import command
from gpucnn.command.demo import MODEL
from gpucnn.data import samples

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture
def gpucnn_(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own. -> what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpucnn", *arguments])
        assert command.main() == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_the_trained_model_reads_the_drawn_digits(gpucnn_):
    gpucnn_("train", "--quiet", "--device", "cpu", "--threads", "1")
    said = gpucnn_("demo")
    assert "gpucnn train" not in said
    asked = [shlex.split(line, comments=True) for line in said.splitlines() if line.startswith("  gpucnn ")]
    assert [words[1] for words in asked] == ["predict", "predict", "show", "serve"]
    assert "seven.png: 7 (" in gpucnn_(*asked[0][1:])
    assert "pools.png" in gpucnn_(*asked[2][1:])
    assert asked[3][2] == MODEL
    rows = json.loads(gpucnn_(*asked[1][1:], "--json"))
    read = {os.path.basename(row["file"]).removesuffix(".png"): row["label"] for row in rows}
    assert read == samples.DIGITS


def test_without_a_model_training_comes_first(gpucnn_):
    said = gpucnn_("demo", "my digits")
    assert said.index("gpucnn train") < said.index("gpucnn predict")
    assert "'my digits/seven.png'" in said
    assert sorted(os.listdir("my digits")) == sorted(f"{name}.png" for name in samples.DIGITS)


def test_a_file_that_is_there_stays(gpucnn_):
    os.mkdir("demo")
    Image.new("L", (3, 3)).save("demo/six.png")
    gpucnn_("demo")
    assert Image.open("demo/six.png").size == (3, 3)
    assert Image.open("demo/nine.png").size == (280, 280)


@pytest.mark.parametrize("name", samples.DIGITS)
def test_no_digit_touches_the_edge(name):
    values = np.asarray(samples.picture(name)).astype(int)
    paper = samples.DRAWINGS[name].paper
    assert max(np.abs(values[edge] - paper).max() for edge in (0, -1, np.s_[:, 0], np.s_[:, -1])) == 0
    assert np.abs(values - paper).max() > 100
