"""Pictures and texts appear whole or not at all, and an error names the file."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import elsewhere, gpucnn_  # noqa: F401

import gpucnn
from gpucnn.data import samples
from gpucnn.training.curves import blank
from gpucnn.training.writing import write_figure, write_text

SMALL = 2048  # bytes, of the largest file that the disk takes
HOW = ("--device", "cpu", "--threads", "1")


@pytest.fixture
def full():
    """full() -> from then on no file takes more than SMALL bytes."""
    resource = pytest.importorskip("resource", reason="this system does not limit the sizes of files")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def run(gpucnn_):  # noqa: F811
    assert gpucnn_("train", *HOW, "--epochs", 1, "--out", "run", "--quiet")[0] == 0
    samples.write("demo")
    Path("demo/two.png").unlink()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("data", "show", "digits", "--out", "sheet.png"), "sheet.png"),
        (("augment", "digits", "--out", "changed.png"), "changed.png"),
        (("lr", "softmax-regression", *HOW, "--updates", 20, "--out", "lr.png"), "lr.png"),
        (("show", "run/model.safetensors", "--out", "shown"), "shown/filters.png"),
        (("demo", "demo"), "demo/two.png"),
    ],
)
def test_a_full_disk_leaves_the_picture_that_was_there(gpucnn_, run, full, words, name):  # noqa: F811
    old = b"an old picture"
    is_kept = name != "demo/two.png"  # which is not drawn where one is there
    Path(name).parent.mkdir(exist_ok=True)
    if is_kept:
        Path(name).write_bytes(old)
    before = sorted(os.listdir(Path(name).parent))
    full()
    status, _, said = gpucnn_(*words)
    assert (status, said.splitlines()[-1]) == (1, f"gpucnn: {name}: File too large")
    assert sorted(os.listdir(Path(name).parent)) == before
    assert not is_kept or Path(name).read_bytes() == old


def test_a_full_disk_and_the_curves_of_a_history(full, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = gpucnn.Model("softmax-regression", device="cpu", threads=1)
    history = model.fit(np.zeros((8, 28, 28, 1), np.uint8), np.arange(8), epochs=1, progress=False)
    history.plot("curves.png")
    before = Path("curves.png").read_bytes()
    full()
    with pytest.raises(OSError, match=r"curves\.png"):
        history.plot("curves.png")
    assert Path("curves.png").read_bytes() == before
    assert os.listdir() == ["curves.png"]


def test_where_a_figure_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure, stream = blank((1, 1)), io.BytesIO()
    for name in ("a.png", "b.svg", "c.pdf", "d"):
        write_figure(figure, name)
    assert sorted(os.listdir()) == ["a.png", "b.svg", "c.pdf", "d.png"]
    assert Image.open("d.png").size == Image.open("a.png").size
    write_figure(figure, stream)
    assert stream.getvalue()[1:4] == b"PNG"
    with pytest.raises(ValueError, match="xyz"):
        write_figure(figure, "e.xyz")
    os.symlink("a.png", "link.png")
    write_figure(figure, "link.png", dpi=50)
    assert os.path.islink("link.png")
    assert Image.open("a.png").size == (50, 50)
    with pytest.raises(FileNotFoundError) as error:
        write_text("nowhere/text.txt", "text")
    assert error.value.filename == "nowhere/text.txt"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_regular_file_is_written_into(tmp_path):
    import threading

    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_figure(blank((1, 1)), path)
    reader.join(10)
    assert got[0][1:4] == b"PNG"
    assert path.is_fifo()
