"""The images and the compose file: what they hold, what they keep, and what starts without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
of_linux = pytest.mark.skipif(sys.platform == "win32", reason="images are built by a shell of Linux")


def stage(name):
    """The instructions of a stage and of those that it is built from."""
    text = re.search(rf"^FROM (\S+) AS {name}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return (stage(text[1]) if re.search(rf" AS {text[1]}$", DOCKERFILE, re.MULTILINE) else "") + text[2]


def volumes(name):
    return [each for line in re.findall(r"^VOLUME (.*)$", stage(name), re.MULTILINE) for each in yaml.safe_load(line)]


def instructions(name):
    return [line.split(maxsplit=1) for line in stage(name).splitlines() if re.match(r"[A-Z]+ ", line)]


def requirements(extras, folder):
    """What the Dockerfile lists for a value of EXTRAS: the files by name, each as its lines."""
    (line,) = [rest for word, rest in instructions("wheel") if word == "RUN" and "tomllib" in rest]
    command = line.replace("/requirements", str(folder / "requirements")).replace("python -c", f"{sys.executable} -c")
    subprocess.run(["sh", "-euc", command], cwd=ROOT, env=os.environ | {"EXTRAS": extras}, check=True)
    return {file.name: file.read_text().splitlines() for file in folder.joinpath("requirements").iterdir()}


@of_linux
def test_the_cuda_image_holds_what_kernels_are_compiled_with(tmp_path):
    assert re.search(r"^ARG EXTRAS=cuda13$", stage("wheel"), re.MULTILINE)
    assert any("-r /requirements/extras.txt" in rest for word, rest in instructions("cuda") if word == "RUN")
    (cupy,) = requirements("cuda13", tmp_path)["extras.txt"]
    assert cupy.startswith("cupy-cuda13x[ctk]"), "NVRTC, cuBLAS and the CUDA headers"


@of_linux
@pytest.mark.parametrize("extras", ["cuda13", "cuda13,cudnn", "cuda12"])
def test_what_is_installed_before_the_code_is_all_that_the_package_requires(extras, tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = requirements(extras, tmp_path)
    assert found["package.txt"] == project["dependencies"]
    assert found["extras.txt"] == [
        each for name in extras.split(",") for each in project["optional-dependencies"][name]
    ]
    for name in ("cpu", "cuda"):
        ran = [rest for word, rest in instructions(name) if word == "RUN"]
        assert any("-r /requirements/package.txt" in each for each in ran)
        assert ran[-1] == "pip install --no-cache-dir --no-deps /wheels/*.whl"


@of_linux
@pytest.mark.parametrize(
    ("extras", "means"), [("cuda13, cudnn", "cuda13,cudnn"), (" cuda12 ", "cuda12"), ("cuda13,", "cuda13")]
)
def test_extras_with_spaces_around_them(extras, means, tmp_path):
    for folder in ("found", "expected"):
        (tmp_path / folder).mkdir()
    assert requirements(extras, tmp_path / "found") == requirements(means, tmp_path / "expected")


@of_linux
def test_extras_that_there_are_not(tmp_path, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        requirements("cuda13,cuda14", tmp_path)
    assert re.search(r"^EXTRAS has \['cuda14'\]; give some of \['cuda12', 'cuda13', ", capfd.readouterr().err)


@of_linux
@pytest.mark.parametrize(("extras", "status"), [("cuda13", 0), ("cuda12", 0), ("", 1), (" ", 1), ("cudnn", 1)])
def test_an_image_for_gpus_is_not_built_without_cupy(extras, status, tmp_path):
    """The one without a GPU is."""
    requirements(extras, tmp_path)
    (check,) = [rest for word, rest in instructions("cuda") if word == "RUN" and "grep" in rest]
    ran = subprocess.run(
        ["sh", "-euc", check.replace("/requirements", str(tmp_path / "requirements"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status
    assert ("EXTRAS has neither cuda13 nor cuda12, and this image is for GPUs; give one" in ran.stderr) == bool(status)
    assert not any("grep" in rest for _, rest in instructions("cpu"))


def test_a_change_of_the_code_leaves_what_was_installed_before_alone():
    """The layers of libraries depend on pyproject.toml alone; the wheel comes after them."""
    steps = [rest for _, rest in instructions("wheel")]
    listed = next(number for number, rest in enumerate(steps) if "tomllib" in rest)
    assert [rest for rest in steps[:listed] if "pyproject.toml" in rest or "gpucnn" in rest] == ["pyproject.toml ./"]
    for name in ("cpu", "cuda"):
        steps = [" ".join(each) for each in instructions(name)]
        wheels = steps.index("COPY --from=wheel /wheels /wheels")
        assert all("-r /requirements/" in each for each in steps[:wheels] if "pip install" in each)
        assert not any("-r /requirements/" in each for each in steps[wheels:])


def test_whatever_is_written_lies_on_volumes():
    """Also with a root that cannot be written to, and for each of the users of a volume."""
    for name, below in {"CUPY_CACHE_DIR": "cupy", "MPLCONFIGDIR": "matplotlib"}.items():
        assert re.search(rf"\b{name}=/home/gpucnn/.cache/{below}$", stage("cuda"), re.MULTILINE)
    made = re.search(r"mkdir -p ([^&]+)", stage("base"))[1].split()
    assert set(made) == {
        *(f"/home/gpucnn/.cache/{name}" for name in ("cupy", "gpucnn", "matplotlib")),
        *("/home/gpucnn/data", "/home/gpucnn/runs"),
    }
    assert "chmod -R a+rwX /home/gpucnn" in stage("base")


def test_compiled_kernels_and_results_lie_on_volumes():
    cache = re.search(r"CUPY_CACHE_DIR=(\S+)", stage("cuda"))[1]
    assert any(cache.startswith(f"{volume}/") for volume in volumes("cuda"))
    for name in ("cpu", "cuda"):
        assert "/home/gpucnn/runs" in volumes(name)
        assert re.search(r"^USER 1000", stage(name), re.MULTILINE)
    for service in SERVICES.values():
        assert {each.split(":")[1] for each in service["volumes"]} >= {"/home/gpucnn/.cache", "/home/gpucnn/runs"}


def test_only_the_service_that_asks_for_a_gpu_can_be_refused():
    """Docker starts no container whose devices it cannot give, and then `doctor` could say nothing."""
    asks = {name for name, service in SERVICES.items() if {"deploy", "runtime", "gpus", "devices"} & set(service)}
    assert asks == {"gpu"}
    (device,) = SERVICES["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert SERVICES["train"]["image"] == SERVICES["gpu"]["image"] == "gpucnn:cuda"
    assert "profiles" not in SERVICES["train"]


def test_the_services_are_of_stages_that_exist():
    for service in SERVICES.values():
        assert re.search(rf"^FROM \S+ AS {service['build']['target']}$", DOCKERFILE, re.MULTILINE)


def test_containers_that_are_removed_keep_their_results():
    text = README + re.sub(r"^# ?", "", DOCKERFILE, flags=re.MULTILINE)
    runs = [line for line in text.splitlines() if "docker run" in line and "doctor" not in line]
    assert len(runs) >= 3
    for line in runs:
        assert '-v "$PWD/runs:/home/gpucnn/runs"' in line
        assert '--user "$(id -u):$(id -g)"' in line
