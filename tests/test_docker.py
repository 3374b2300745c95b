"""The images and the compose file: what they hold, what they keep, and what starts without a GPU."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def stage(name):
    """The instructions of a stage and of those that it is built from."""
    text = re.search(rf"^FROM (\S+) AS {name}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return (stage(text[1]) if re.search(rf" AS {text[1]}$", DOCKERFILE, re.MULTILINE) else "") + text[2]


def volumes(name):
    return [each for line in re.findall(r"^VOLUME (.*)$", stage(name), re.MULTILINE) for each in yaml.safe_load(line)]


def test_the_cuda_image_holds_what_kernels_are_compiled_with():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (cupy,) = extras["cuda13"]
    assert cupy.startswith("cupy-cuda13x[ctk]"), "NVRTC and the CUDA headers"
    assert re.search(r'pip install .*"cupy-cuda13x\[ctk\]', stage("cuda"))
    assert re.search(r"^ARG EXTRAS=cuda13$", stage("cuda"), re.MULTILINE)


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
