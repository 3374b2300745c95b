"""What README and the pages beside it show works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import reference
from typer.main import get_command

import gpucnn
from gpucnn import command as cli
from gpucnn.command import main
from gpucnn.report import gradient_check

ROOT = Path(__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("notebooks/*.md"))}
BLOCKS = [
    each for text in PAGES.values() for each in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
]


SHELL = [text for kind, text in BLOCKS if kind == "sh"]
README = PAGES["README.md"]


def commands(text: str) -> list[list[str]]:
    """The commands of a block, as words."""
    lines = [line.partition(" # ")[0].strip() for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"&&|;|\||\bdo\b", line)]
    return [shlex.split(part, comments=True) for part in parts if part and not part.startswith("#")]


def block(kind: str, has: str) -> str:
    found = [text for of, text in BLOCKS if of == kind and has in text]
    assert len(found) == 1, f"{len(found)} blocks of {kind} with {has!r}"
    return found[0]


def options_are_taken(words: list[str]) -> None:
    """gpucnn's parser, without its commands, takes the words after `gpucnn`."""
    command, context = get_command(cli.app), None
    while hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        command, words = command.commands[words[0]], words[1:]
    words = words[: words.index("<")] if "<" in words else words
    context = command.make_context(
        command.name, [word.replace("$seed", "0") for word in words], resilient_parsing=False
    )
    context.close()


@pytest.mark.parametrize("text", SHELL, ids=[text.split("\n")[0][:40] for text in SHELL])
def test_every_command_of_gpucnn_is_one_that_there_is(text, tmp_path, monkeypatch):
    """Also of those that need a GPU, Docker, a network or hours."""
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/mine", "runs/own"):
        (tmp_path / folder).mkdir(parents=True)
    tmp_path.joinpath("my_parts.py").write_text(block("python", "class Brier"), encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for words in commands(text):
        if words[0].rpartition("/")[2] == "gpucnn":
            options_are_taken(words[1:])


@pytest.mark.parametrize("wrong", ["train --nonsense", "train --epochs no", "predict m.safetensors", "trian"])
def test_a_command_that_there_is_not_would_be_found(wrong):
    with pytest.raises(Exception, match=r"No such option|a whole number of|Name the pictures|trian"):
        options_are_taken(wrong.split())


@pytest.mark.skipif(not (ROOT / ".ci" / "run").exists(), reason="there is no .ci/run here")
def test_commands_that_set_up_an_environment_are_those_of_ci():
    """.ci/run runs them as they stand here: one that trains, and one that runs the tests."""
    found = [text.strip() for text in SHELL if text.startswith("python3 -m venv")]
    assert len(found) == 2
    assert all("\n" not in each and each.startswith("python3 -m venv .venv && ") for each in found)
    assert found[0].endswith(".venv/bin/gpucnn train")
    assert found[1].endswith("-m pytest -n auto")
    assert "grep '^python3 -m venv .venv && ' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.skipif(not (ROOT / "CITATION.cff").exists(), reason="there is no CITATION.cff here")
def test_what_is_cited_is_this_version():
    assert f"\nversion: {gpucnn.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_extras_that_are_installed_are_in_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        each for text in PAGES.values() for found in re.findall(r"\.\[([\w,]+)\]", text) for each in found.split(",")
    }
    assert {"dev", "cuda13", "cuda12", "web", "notebooks", "onnx"} <= named <= set(extras)


def test_what_docker_is_told_is_there():
    """The stages that are built, the images that are run, the services, and what they are to do."""
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    services = (ROOT / "compose.yaml").read_text(encoding="utf-8").partition("services:")[2].partition("\nvolumes:")[0]
    names = re.findall(r"^  (\w+):$", services, re.MULTILINE)
    assert {"train", "gpu", "cpu"} == set(names)
    built, ran = set(), 0
    for words in commands(block("sh", "docker build")):
        if words[:2] == ["docker", "build"]:
            assert words[-1] == "."
            assert words[words.index("--target") + 1] in stages if "--target" in words else True
            built.add(words[words.index("-t") + 1])
        elif words[:2] == ["docker", "run"]:
            assert words[-1] in built
            ran += 1
        elif words[:3] == ["docker", "compose", "run"]:
            service, *inside = [word for word in words[3:] if word != "--rm"]
            assert service in names
            if inside:
                options_are_taken(inside)
            ran += 1
        else:
            assert words[0] == "mkdir"
    assert ran == 4


@pytest.fixture
def my_nets(tmp_path, monkeypatch):
    tmp_path.joinpath("my_nets.py").write_text(block("python", "class Centred"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_nets", None)


def test_a_layer_of_your_own(my_nets, monkeypatch, capsys):
    """The three commands, as they are written, and what the text says of them."""
    said = []
    for line in block("sh", "gpucnn check my_nets").strip().splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        assert main() == 0, line
        said.append(capsys.readouterr().out)
    assert "WRONG" not in said[0]
    assert said[0].count("right") == 2
    assert "give the same numbers as the equations" in said[0]
    accuracy = re.findall(r"accuracy ([0-9.]+) %", "".join(said[1:]))
    assert accuracy[0] == accuracy[1]
    assert float(accuracy[0]) > 90
    from my_nets import Centred

    model = gpucnn.load("runs/tiny/model.safetensors", layers=[Centred], device="cpu")
    digits = gpucnn.data.load("digits").test_images
    one_by_one = np.concatenate([model.logits(digits[k : k + 1]) for k in range(20)])
    np.testing.assert_allclose(one_by_one, model.logits(digits[:20]), rtol=1e-4, atol=1e-4)


def test_a_loss_an_optimiser_and_a_schedule_of_your_own(tmp_path, monkeypatch, capsys):
    """The two commands, as they are written; what they share with one layer's test is where a module is found."""
    tmp_path.joinpath("my_parts.py").write_text(block("python", "class Brier"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    said = []
    for line in block("sh", "my_parts:Brier").strip().splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        assert main() == 0, line
        said.append(capsys.readouterr().out)
    accuracy = re.findall(r"accuracy ([0-9.]+) %", "".join(said))
    assert accuracy[-1] == accuracy[-2]
    assert float(accuracy[-1]) > 90
    my_parts = sys.modules.pop("my_parts")
    found = gradient_check.check(gpucnn.networks.build("two-conv"), loss=my_parts.Brier())
    assert all(row.right for row in found)


def test_a_loss_with_settings_and_a_report(capsys):
    names: dict = {"gpucnn": gpucnn}
    exec(block("python", "balanced("), names)
    assert sum(each * (names["digits"].train_labels == k).sum() for k, each in enumerate(names["weights"])) == (
        pytest.approx(len(names["digits"].train_labels))
    )
    assert "macro average" in capsys.readouterr().out


def test_a_network_of_your_own(capsys):
    names: dict = {"gpucnn": gpucnn}
    exec(block("python", "gpucnn.Model(network)"), names)
    assert names["model"].network.out_shape((28, 28, 1)) == (10,)
    assert "BatchNorm" in capsys.readouterr().out


def test_the_first_hour_in_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block("python", "two-conv.safetensors"), names)
    digits = names["digits"]
    found = names["model"].evaluate(digits.test_images, digits.test_labels)
    assert found["accuracy"] > 0.95
    assert "macro average" in capsys.readouterr().out
    assert gpucnn.load("two-conv.safetensors", device="cpu").evaluate(digits.test_images, digits.test_labels) == found


@pytest.mark.filterwarnings("ignore:.*its strokes were cropped:UserWarning")
def test_asking_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpucnn", "train", "--device", "cpu", "--epochs", "10", "--quiet"])
    assert main() == 0
    monkeypatch.setattr(sys, "argv", ["gpucnn", "demo"])
    assert main() == 0
    said = []
    for line in block("sh", "--top 3").strip().splitlines():
        words = shlex.split(line, comments=True)
        if "<" in words:
            monkeypatch.setattr(sys, "stdin", open(words.pop()))  # noqa: SIM115
            words.pop()
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        assert main() == 0, line
        said.append(capsys.readouterr().out)
    sys.stdin.close()
    assert said[0].count(".png: ") == 10
    assert said[1].startswith("file,label,probability\ndemo/eight.png,")
    assert said[2].startswith("-: 7 (")
    names: dict = {}
    with pytest.warns(UserWarning, match="dark on light"):
        exec(block("python", 'model.predict("demo'), names)
    assert capsys.readouterr().out.startswith("7 ")
    assert names["model"].predict(names["digits"].test_images).shape == (359,)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_there_are(page):
    folder = ROOT if page == "README.md" else ROOT / "notebooks"
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page]):
        assert folder.joinpath(link).exists(), link


def test_the_reference_is_what_the_docstrings_say():
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run python tests/reference.py"


def test_a_network_of_blocks(capsys):
    exec(block("python", "gpucnn.Network((32, 32, 3), layers)"), {"gpucnn": gpucnn})
    assert "Residual" in capsys.readouterr().out


def test_in_other_programs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.chdir(tmp_path)
    digits = gpucnn.data.load("digits")
    model = gpucnn.Model("two-conv", device="cpu", threads=1)
    model.fit(digits.train_images, digits.train_labels, epochs=1, lr=0.003, progress=False)
    model.save("runs/two-conv-digits/model.safetensors")
    (line,) = [each for each in block("sh", "gpucnn export").splitlines() if each.startswith("gpucnn")]
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    assert main() == 0
    exec(block("python", "InferenceSession"), {"digits": digits})
    assert capsys.readouterr().out.endswith(f"{[str(k) for k in model.predict(digits.test_images[:9])]}\n")


def test_a_layer_of_your_own_as_onnx(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    names: dict = {"__name__": __name__}  # dataclasses look their module up
    exec(block("python", "def to_onnx"), names)
    layers = gpucnn.layers.Conv2D(2, 3), names["Squared"](), gpucnn.layers.Flatten(), gpucnn.layers.Dense(3)
    network = gpucnn.Network((5, 4, 1), (*layers, names["Squared"]()))
    assert all(row.right for row in gradient_check.check(network))
    model = gpucnn.Model(network, device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 4, 1), np.uint8)
    session = runtime.InferenceSession(str(model.export(tmp_path / "m.onnx")))
    np.testing.assert_allclose(
        session.run(["logits"], {"images": images})[0], model.logits(images), rtol=1e-4, atol=1e-5
    )


def test_losses_of_the_command(tmp_path, monkeypatch, capsys):
    """Each as it is written, but for its length."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 2, (40, 3))
    np.savez("own.npz", images=rng.integers(0, 256, (40, 28, 28), np.uint8), labels=rows)
    for line in block("sh", "--loss multi-label").strip().splitlines():
        words = shlex.split(line, comments=True)
        short = ["--epochs", "1", "--device", "cpu", "--quiet"] if words[1] == "train" else []
        monkeypatch.setattr(sys, "argv", [*words, *short])
        assert main() == 0, line
    assert "macro average" in capsys.readouterr().out
    assert Path("report/confusion.png").exists()


def test_a_search_of_scikit_learn():
    names: dict = {}
    exec(block("python", "GridSearchCV"), names)
    assert names["search"].best_score_ > 0.94
    assert names["search"].best_params_ == {"lr": 0.01}


def test_estimators():
    names: dict = {"gpucnn": gpucnn}
    exec(block("python", "CNNRegressor("), names)
    assert names["by_layers"].score(names["digits"].test_images, names["digits"].test_labels) > 0.9
    assert names["by_name"].history_.examples == 1294


def test_optimisers_and_wrappers():
    exec(block("python", "from gpucnn.optimizers import EMA"), {})


def test_the_way_of_images_is_short_and_names_files_that_there_are():
    way = block("text", "Model.fit(images, labels)")
    assert len(way.splitlines()) <= 40
    package = Path(gpucnn.__file__).parent
    for name in re.findall(r"  ((?:[a-z_]+/)+[a-z_]*(?:\.py)?|[a-z_]+\.py)", way):
        assert package.joinpath(name).exists(), name
    for called, name in re.findall(r"^ *(?:\w+\.)*(\w+)\(.*\)  +([\w/]+\.py)", way, re.MULTILINE):
        assert re.search(rf"\b{called}\b", package.joinpath(name).read_text(encoding="utf-8"), re.IGNORECASE), called


def test_a_gradient_is_checked(capsys):
    names = {"gpucnn": gpucnn} | {name: getattr(gpucnn.layers, name) for name in dir(gpucnn.layers)}
    exec(block("python", "wrong_layers(network)"), names)
    *rows, last = capsys.readouterr().out.splitlines()
    assert [row.partition(",")[0] for row in rows] == [
        *("input: right", "0/kernel: right", "0/bias: right", "3/weights: right", "3/bias: right")
    ]
    assert last == ""


def test_a_learning_rate_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(block("python", "find_lr("), {})
    assert 1e-4 < float(capsys.readouterr().out.split()[0]) < 0.1
    assert Path("lr.png").exists()


def test_callbacks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digits = gpucnn.data.load("digits")
    network = gpucnn.networks.build("softmax-regression", digits.input_shape, 10)
    held_out = digits.train_images[:99], digits.train_labels[:99]
    names = {"model": gpucnn.Model(network, device="cpu", threads=1), "held_out": held_out}
    exec(
        block("python", "CSVLog"),
        names | {"images": digits.train_images[99:199], "labels": digits.train_labels[99:199]},
    )
    assert "epoch 1: loss" in capsys.readouterr().out
    assert Path("epochs.csv").read_text().startswith("epoch,train_loss,")
    assert "top 2" in Path("epochs.csv").read_text()
    assert Path("curves.png").exists()
