"""gpucnn doctor: each broken machine, simulated, gets its own failure and the command that mends it; none raises."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fake_cuda import as_cuda

import gpucnn
from gpucnn.device import Device, select
from gpucnn.report.doctor import cuda, examine, render
from gpucnn.report.doctor.probes import Driver, Gpu, Probes
from gpucnn.report.doctor.report import MARKS, Check, Report

NO_GPU = select("auto")[1] if select("auto")[0].kind == "cpu" else ""
GIB = 2**30
H200 = Gpu("NVIDIA H200", (9, 0), 139 * GIB, 140 * GIB)
CUDNN = {"nvidia-cudnn-frontend": "1.28.0", "nvidia-cudnn-cu13": "9.18.1"}
OPENBLAS = {"internal_api": "openblas", "version": "0.3.31", "architecture": "SkylakeX", "num_threads": 2}
AVX512 = frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512vl"})
REINSTALL_12 = 'pip uninstall -y cupy-cuda13x && pip install ".[cuda12]"'

WELL = Probes(
    environment=dict,
    distributions=lambda: {"cupy-cuda13x": "14.2.0", "cupy-chol": "0.1.5", "numpy": "2.4.0", **CUDNN},
    blas=lambda: [OPENBLAS],
    cpu_flags=lambda: AVX512,
    in_container=lambda: False,
    device_files=lambda: True,
    driver=lambda: Driver((13, 0), "580.65.06"),
    nvrtc=lambda: (13, 0),
    headers=lambda: "nvidia/cu13/include",
    cupy=lambda: "14.2.0",
    gpus=lambda: [H200],
    product=lambda device: 1e-4,
    kernel=lambda device: 0.25,
    own_kernels=lambda device: (1.5, True),
    tensor_cores=lambda device: None,
)


def machine(**differences):
    """The well machine with other answers; a probe whose answer is an exception raises it."""

    def probe(answer):
        def ask(*_):
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    return dataclasses.replace(WELL, **{name: probe(answer) for name, answer in differences.items()})


def found(report, name):
    return next(check for check in report.checks if check.name == name)


def failures(report):
    return {check.name: check for check in report.checks if check.status == "failure"}


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0"])
def test_all_well(device):
    report = examine(device, WELL)
    assert not failures(report)
    assert report.usable()
    assert report.exit_status == 0
    assert "FAIL" not in render(report)


def test_the_well_machine_is_described():
    text = render(examine("auto", WELL))
    for said in (
        f"gpucnn {gpucnn.__version__}",
        "openblas 0.3.31 SkylakeX, 2 threads",
        "580.65.06 supports CUDA up to 13.0",
        "cupy-cuda13x 14.2.0\n",
        "NVIDIA H200, compute capability 9.0, 139.0 of 140.0 GiB free",
        "compiled and run in 0.25 s",
        "gpucnn's kernels  ready in 1.50 s",
        "tensor cores      a convolution and its gradients are right in float32",
        "nvidia-cudnn-frontend 1.28.0, nvidia-cudnn-cu13 9.18.1; used by --kernels cudnn only",
        "--device auto: takes cuda:0",
    ):
        assert said in text


# differences from the well machine, the one check that fails, what it says, the command
BROKEN = {
    "no driver": ({"driver": None}, "NVIDIA driver", "no NVIDIA driver", "sudo ubuntu-drivers install"),
    "driver does not start": (
        {"driver": Driver((13, 0), "", "cuInit says 803, unsupported driver combination")},
        "NVIDIA driver",
        "cuInit says 803",
        "sudo reboot",
    ),
    "very old driver": ({"driver": Driver((11, 4))}, "CUDA versions", "supports 11.4", "sudo ubuntu-drivers install"),
    "wheel for another CUDA": (
        {"driver": Driver((12, 4), "550.54")},
        "CUDA versions",
        "the wheel needs CUDA 13.0 or newer, the driver supports 12.4",
        REINSTALL_12,
    ),
    "two wheels": (
        {"distributions": {"cupy-cuda12x": "13.3.0", "cupy-cuda13x": "14.2.0", **CUDNN}},
        "CuPy wheel",
        "cupy-cuda12x 13.3.0, cupy-cuda13x 14.2.0",
        'pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install ".[cuda13]"',
    ),
    "no NVRTC": ({"nvrtc": None}, "NVRTC", "not found", 'pip install ".[cuda13]"'),
    "NVRTC of another CUDA": ({"nvrtc": (12, 4)}, "NVRTC", "12.4 is found, the wheel needs 13", ".[cuda13]"),
    "no headers": ({"headers": None}, "CUDA headers", "cuda_fp16.h", 'pip install ".[cuda13]"'),
    "broken CuPy": (
        {"cupy": OSError("libcublas.so.13: cannot open shared object file")},
        "CuPy import",
        "OSError: libcublas.so.13",
        'pip uninstall -y cupy-cuda13x && pip install ".[cuda13]"',
    ),
    "no device": ({"gpus": []}, "CUDA devices", "the driver shows no device", "sudo nvidia-modprobe -u -c=0"),
    "no device, as CUDA says it": (
        {"gpus": RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")},
        "CUDA devices",
        "the driver shows no device",
        "sudo nvidia-modprobe",
    ),
    "devices hidden": (
        {"gpus": [], "environment": {"CUDA_VISIBLE_DEVICES": ""}},
        "CUDA devices",
        "CUDA_VISIBLE_DEVICES=''",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    "container without the toolkit": (
        {"in_container": True, "device_files": False, "driver": None},
        "container",
        "without NVIDIA devices",
        "docker run --gpus all",
    ),
    "container without the driver's library": (
        {"in_container": True, "driver": None},
        "NVIDIA driver",
        "no NVIDIA driver",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    "device too old for CUDA 13": (
        {"gpus": [Gpu("NVIDIA GeForce GTX 1080", (6, 1), 7 * GIB, 8 * GIB)]},
        "cuda:0",
        "CUDA 13 supports 7.5 and newer",
        REINSTALL_12,
    ),
    "kernel fails": (
        {"kernel": PermissionError("kernel_cache")},
        "CUDA kernel",
        "PermissionError: kernel_cache",
        "CUPY_CACHE_DIR=$(mktemp -d) gpucnn doctor --device cuda:0",
    ),
    "gpucnn's kernels fail": (
        {"own_kernels": RuntimeError("nvrtc: error: invalid value for --gpu-architecture")},
        "gpucnn's kernels",
        "invalid value for --gpu-architecture",
        "CUPY_CACHE_DIR=$(mktemp -d) gpucnn doctor --device cuda:0",
    ),
    "compiler newer than the driver": (
        {"nvrtc": (13, 2), "kernel": RuntimeError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")},
        "CUDA kernel",
        "UNSUPPORTED_PTX_VERSION",
        'pip install ".[cuda13]" "cuda-toolkit==13.0.*"',
    ),
}

# where the trials, which these simulated machines pass, overrule the look at the files
WORKS_STILL = {"gpucnn's kernels fail", "two wheels", "no NVRTC", "NVRTC of another CUDA", "no headers"}


@pytest.mark.parametrize("state", BROKEN)
def test_each_broken_state_fails_in_one_check_with_its_remedy(state):
    differences, name, said, remedy = BROKEN[state]
    report = examine("cuda", machine(**differences))
    assert list(failures(report)) == [name]
    assert said in found(report, name).found
    assert remedy in found(report, name).remedy
    assert f"-> {found(report, name).remedy}" in render(report)
    json.dumps(report.to_dict())


@pytest.mark.parametrize("state", sorted(BROKEN.keys() - WORKS_STILL))
def test_exit_status_is_one_only_for_the_device_that_was_asked_for(state):
    differences, *_ = BROKEN[state]
    probes = machine(**differences)
    assert [examine(device, probes).exit_status for device in ("auto", "cpu", "cuda")] == [0, 0, 1]
    assert not failures(examine("cpu", probes))
    assert render(examine("auto", probes)).endswith("--device auto: takes the CPU")
    assert render(examine("cuda", probes)).endswith("--device cuda: cannot be used")


@pytest.mark.parametrize("state", sorted(WORKS_STILL))
def test_what_works_all_the_same_is_usable(state):
    assert examine("cuda", machine(**BROKEN[state][0])).exit_status == 0


def test_without_cublas_there_is_no_graph():
    report = examine("cuda", machine(own_kernels=(1.5, False)))
    check = found(report, "gpucnn's kernels")
    assert (check.status, check.remedy) == ("warning", 'pip install ".[cuda13]"')
    assert "cuBLAS is not found" in check.found
    assert report.exit_status == 0


def test_tensor_cores():
    report = examine("cuda", machine(tensor_cores="its result has 1 for 2"))
    check = found(report, "tensor cores")
    assert (check.status, report.exit_status) == ("warning", 0)
    assert "not what they should be (its result has 1 for 2)" in check.found
    older = H200._replace(capability=(7, 5))
    check = found(examine("cuda", machine(gpus=[older], tensor_cores=RuntimeError())), "tensor cores")
    assert check.status == "skipped"
    with as_cuda():
        assert Probes().tensor_cores(Device("cuda")) is None


def test_a_laptop_without_a_gpu_has_no_failures():
    laptop = machine(distributions={}, driver=None)
    assert not failures(examine("auto", laptop))
    assert "->" not in render(examine("auto", laptop))
    wanted = examine("cuda", laptop)
    assert list(failures(wanted)) == ["NVIDIA driver", "CuPy wheel"]
    assert wanted.exit_status == 1


@pytest.mark.parametrize(("cuda", "extra"), [((13, 0), "cuda13"), ((12, 2), "cuda12")])
def test_a_driver_without_cupy_is_told_the_extra_that_fits(cuda, extra):
    probes = machine(distributions={}, driver=Driver(cuda))
    assert found(examine("auto", probes), "CuPy wheel").status == "warning"
    assert found(examine("cuda", probes), "CuPy wheel").status == "failure"
    assert found(examine("cuda", probes), "CuPy wheel").remedy == f'pip install ".[{extra}]"'


def test_an_older_wheel_on_a_newer_driver_is_fine():
    report = examine("cuda", machine(distributions={"cupy-cuda12x": "14.0.0"}, nvrtc=(12, 9)))
    assert not failures(report)
    assert report.usable()


@pytest.mark.parametrize("wheels", [{"cupy": "14.2.0"}, {"cupy-rocm-7-0": "14.2.0"}, {"cupy-cuda113": "10.6.0"}])
def test_other_cupy_packages_are_known(wheels):
    check = found(examine("auto", machine(distributions=wheels)), "CuPy wheel")
    assert next(iter(wheels)) in check.found
    assert check.status == ("warning" if "cupy-cuda113" in wheels else "ok")


def test_an_index_that_is_not_there():
    report = examine("cuda:3", WELL)
    assert found(report, "CUDA devices").found == "1 found, cuda:3 is none of them"
    assert found(report, "CUDA product").status == "skipped"
    assert report.exit_status == 1


def test_a_full_device_is_a_warning():
    report = examine("cuda", machine(gpus=[H200._replace(free=GIB // 8)]))
    assert found(report, "cuda:0").status == "warning"
    assert report.usable()


def test_an_old_second_device_does_not_condemn_the_first():
    probes = machine(gpus=[H200, Gpu("Tesla P4", (6, 1), GIB, GIB)])
    assert examine("cuda:0", probes).exit_status == 0
    assert examine("cuda:1", probes).exit_status == 1


@pytest.mark.parametrize(("cuda", "extra"), [((13, 0), "cudnn"), ((12, 4), "cudnn12")])
def test_half_of_cudnn_is_a_warning(cuda, extra):
    wheels = {f"cupy-cuda{cuda[0]}x": "14.2.0", "nvidia-cudnn-frontend": "1.28.0"}
    report = examine("cuda", machine(distributions=wheels, driver=Driver(cuda)))
    assert found(report, "cuDNN").status == "warning"
    assert f"nvidia-cudnn-cu{cuda[0]} not installed" in found(report, "cuDNN").found
    assert found(report, "cuDNN").remedy == f'pip install ".[{extra}]"'


@pytest.mark.parametrize(("front", "library"), [("1.29.0", "9.18.1"), ("1.22.9", "9.28.0"), ("1.28.0", "9.14.0")])
def test_a_cudnn_of_another_version_is_a_warning(front, library):
    wheels = {"cupy-cuda13x": "14.2.0", "nvidia-cudnn-frontend": front, "nvidia-cudnn-cu13": library}
    report = examine("cuda", machine(distributions=wheels))
    assert found(report, "cuDNN").status == "warning"
    assert found(report, "cuDNN").remedy == 'pip install ".[cudnn]"'


def test_the_versions_of_cudnn_are_those_of_the_extra():
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (low, high), least = cuda.FRONT_ENDS, cuda.CUDNN_FROM
    front = f"nvidia-cudnn-frontend>={low[0]}.{low[1]},<{high[0]}.{high[1]}"
    assert extras["cudnn"] == [front, f"nvidia-cudnn-cu13>={least[0]}.{least[1]}"]
    assert extras["cudnn12"] == [front, f"nvidia-cudnn-cu12>={least[0]}.{least[1]}"]


@pytest.mark.parametrize(
    ("core", "flags", "environment", "status", "remedy"),
    [
        ("SkylakeX", AVX512, {}, "ok", ""),
        ("Haswell", AVX512, {"OPENBLAS_CORETYPE": "Haswell"}, "warning", "unset OPENBLAS_CORETYPE"),
        ("Haswell", AVX512, {}, "warning", "export OPENBLAS_CORETYPE=SkylakeX"),
        ("Katmai", frozenset({"avx2", "fma"}), {}, "warning", "export OPENBLAS_CORETYPE=Haswell"),
        ("Haswell", frozenset({"avx2", "fma"}), {"OPENBLAS_CORETYPE": "Haswell"}, "ok", ""),
        ("armv8", frozenset(), {}, "ok", ""),
    ],
)
def test_slow_blas_kernels(core, flags, environment, status, remedy):
    probes = machine(blas=[{**OPENBLAS, "architecture": core}], cpu_flags=flags, environment=environment)
    check = found(examine("cpu", probes), "BLAS")
    assert (check.status, check.remedy) == (status, remedy)


def test_a_blas_without_facts_is_no_failure():
    assert found(examine("cpu", machine(blas=[])), "BLAS").status == "ok"
    assert found(examine("cpu", machine(blas=[{}])), "BLAS").status == "ok"


def test_a_broken_cpu():
    report = examine("auto", machine(product=ArithmeticError("a product of small integers came out wrong")))
    assert "small integers" in found(report, "CPU product").found
    assert report.exit_status == 1


def test_a_cuda_product_that_goes_wrong():
    def product(device):
        if device.kind == "cuda":
            raise ImportError("libcublasLt.so.13 is not found")
        return 1e-4

    report = examine("cuda", dataclasses.replace(WELL, product=product))
    assert list(failures(report)) == ["CUDA product"]
    assert found(report, "CUDA product").remedy == 'pip install ".[cuda13]"'
    assert [report.usable(device) for device in ("cpu", "cuda")] == [True, False]


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not even the message can be read")


PROBES = [field.name for field in dataclasses.fields(Probes)]


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_that_raises_is_a_failure_with_the_cause(name):
    # device files are asked for inside containers, the environment where it may explain something
    setting = {"in_container": True, "gpus": [] if name == "environment" else [H200]}
    report = examine("cuda", machine(**{**setting, name: OSError("this went wrong")}))
    assert "OSError: this went wrong" in {check.found for check in failures(report).values()}


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:5"])
@pytest.mark.parametrize("name", PROBES)
def test_nothing_raises(device, name):
    report = examine(device, machine(**{name: Unspeakable()}))
    assert render(report)
    assert json.dumps(report.to_dict())


def test_everything_raising_at_once():
    probes = machine(**{name: OSError("gone") for name in PROBES})
    for device in ("auto", "cpu", "cuda"):
        assert examine(device, probes).exit_status == 1


def test_malformed_device():
    report = examine("gpu", WELL)
    assert "give auto, cpu, cuda or cuda:N" in report.checks[0].found
    assert report.exit_status == 1
    assert "cannot be used" in render(report)


def test_usable_answers_for_other_devices_too():
    report = examine("cuda", WELL)
    assert [report.usable(each) for each in ("cpu", "auto", "cuda", "cuda:0", "cuda:1", "gpu")] == [True] * 4 + [
        False
    ] * 2
    assert not examine("cpu", WELL).usable("cuda"), "CUDA was not tried"


def test_json_holds_every_check():
    content = json.loads(json.dumps(examine("auto", WELL).to_dict()))
    assert content["device"] == "auto"
    assert content["usable"] is True
    assert {"name", "status", "found", "remedy"} == set(content["checks"][0])
    assert {check["status"] for check in content["checks"]} <= set(MARKS)


def test_rendering_is_aligned():
    checks = (
        Check("a", "ok", "one"),
        Check("long name", "failure", "two", "do this"),
        Check("b", "warning", "x"),
        Check("c", "skipped", "y"),
    )
    assert render(Report("cuda", "cuda:0", checks)).splitlines() == [
        "ok    a          one",
        "FAIL  long name  two",
        "                 -> do this",
        "warn  b          x",
        "skip  c          y",
        "",
        "--device cuda: cannot be used",
    ]


def test_this_machine():
    report = examine("cpu")
    assert report.exit_status == 0, render(report)
    assert examine("auto").usable("cpu")


def test_importing_doctor_is_cheap():
    heavy = "{'cupy', 'threadpoolctl', 'matplotlib', 'sklearn', 'scipy', 'rich', 'typer'}"
    code = f"import gpucnn.report.doctor, sys; sys.exit(repr({heavy} & set(sys.modules)) != 'set()')"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.gpu
@pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)
def test_this_gpu():
    report = examine("cuda")
    assert report.exit_status == 0, render(report)
