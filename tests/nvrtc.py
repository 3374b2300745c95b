"""CUDA's run-time compiler by itself (`pip install nvidia-cuda-nvrtc`): it compiles kernels where there is no GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

WORDS = (
    r"Used (\d+) registers",
    r"(\d+) bytes smem",
    r"(\d+) bytes stack frame",
    r"(\d+) bytes spill (?:stores|loads)",
)
AS_CUPY = ("-ftz=true", "--device-as-default-execution-space")  # what CuPy adds: numbers below 2^-126 count as 0
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
on_each = pytest.mark.parametrize(  # two of three of many kernels take minutes
    "architecture", [each if each == "sm_90" else pytest.param(each, marks=pytest.mark.slow) for each in ARCHITECTURES]
)


class Use(NamedTuple):
    """What a compiled kernel takes: registers of a thread, bytes of a block's shared memory, and bytes that do not fit
    into registers: a thread's stack frame, and what is spilled."""

    registers: int
    shared: int
    stack: int
    spilled: int


@cache
def library() -> Any:
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else None
    found = [file for place in places or () for file in Path(place).rglob("libnvrtc.so.*")]
    if not found:
        pytest.skip("NVRTC is not installed (pip install nvidia-cuda-nvrtc)")
    for beside in found[0].parent.glob("libnvrtc-builtins.so.*"):  # which some versions do not find by themselves
        ctypes.CDLL(str(beside))
    return ctypes.CDLL(str(found[0]))


@cache
def compiled(code: str, options: tuple[str, ...], architecture: str) -> dict[str, Use]:
    """What each kernel takes, by its name. Any warning fails the test, as an error does."""
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None) == 0
    flags = [f"--gpu-architecture={architecture}", "--ptxas-options=-v", *AS_CUPY, *options]
    given = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    status = nvrtc.nvrtcCompileProgram(program, len(flags), given)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    text = log.value.decode()
    assert status == 0, text
    assert "warning" not in text.lower(), text
    return _uses(text)


def _uses(log: str) -> dict[str, Use]:
    """From what ptxas says of each kernel: "N bytes stack frame, N bytes spill stores, N bytes spill loads", and
    "Used N registers, used N barriers, N bytes smem"."""
    parts = re.split(r"Compiling entry function '(\w+)'", log)[1:]
    return {name: Use(*(_number(text, what) for what in WORDS)) for name, text in zip(parts[::2], parts[1::2])}


def _number(text: str, what: str) -> int:
    return sum(map(int, re.findall(what, text)))
