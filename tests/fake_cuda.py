"""A CuPy and a cuBLAS that compute with NumPy: the kernels' own source, compiled by g++, run thread after thread.

What it is strict about: an argument's type against the kernel's signature, gaps in arrays, arrays of NumPy beside the
device's, what a product may ask of cuBLAS, and anything that runs while a graph is recorded but would not be in the
graph. A recording keeps addresses, not arrays, as CUDA does, so memory that was given back too early is seen.

Where GPUCNN_TEST_STAND_IN is "no", tests that need a kernel of it skip: there are thousands to compile, which are kept
in .pytest_cache for later runs. GPUCNN_TEST_CXXFLAGS adds flags of the compiler. To look for places outside of arrays,
let Python load the library of -fsanitize=address first: LD_PRELOAD=$(g++ -print-file-name=libasan.so)
ASAN_OPTIONS=detect_leaks=0; -fsanitize=undefined -fno-sanitize-recover=all looks at alignment.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import itertools
import operator
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import pytest
from conftest import usable_gpu

from gpucnn.kernels.cuda import cublas, tensor

FLAGS = os.environ.get("GPUCNN_TEST_CXXFLAGS", "").split()
WARNINGS = ("-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function", "-fno-strict-aliasing")
ALIGNMENT = 256  # bytes
SHIM = Path(__file__).with_name("cuda_shim.h")
KEPT = Path(__file__).parent.parent / ".pytest_cache" / "kernels"  # compiled before: most of the tests' time
TYPES = {"long long": np.int64, "int": np.int32, "double": np.float64, "float": np.float32, "byte": np.uint8}
CTYPES = {np.int64: ctypes.c_longlong, np.int32: ctypes.c_int, np.float64: ctypes.c_double, np.float32: ctypes.c_float}
MADE_OF_NOTHING = {"arange", "eye", "full", "linspace", "ones"}
OF_THE_TESTS = {"array_equal", "allclose", "isclose", "copyto", "take"}  # which may compare with arrays of the host
VIEWS = {"reshape", "transpose", "flip", "ravel", "empty_like", "shape", "ndim", "size"}

recorded: list[Callable[[], Any]] | None = None  # while a graph is recorded, what it will hold
allocator: Callable[[int], Any] | None = None  # of the pool in use, if any


def do(work: Callable[[], Any]) -> None:
    """Run it now, or put it into the graph that is being recorded."""
    if recorded is None:
        work()
    else:
        recorded.append(work)


class Pointer:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class Array(np.ndarray):
    """NumPy's, with CuPy's `data.ptr`. What NumPy's functions compute of such arrays can be recorded, as CuPy's can."""

    sent: list[int] = []  # noqa: RUF012  # bytes of each asynchronous copy from the host

    @property
    def data(self) -> Any:  # type: ignore[override]
        return Pointer(self.ctypes.data)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if not sys._getframe(1).f_globals["__name__"].startswith("numpy."):  # as NumPy's assertions do
            _of_the_device(inputs)
        if recorded is not None:
            return _recorded(getattr(ufunc, method), inputs, options)
        options = {k: tuple(map(_plain, v)) if k == "out" else v for k, v in options.items()}
        return _ours(getattr(ufunc, method)(*map(_plain, inputs), **options))

    def __array_function__(self, function: Any, kinds: Any, inputs: Any, options: Any) -> Any:
        if function.__name__ not in OF_THE_TESTS:
            _of_the_device(inputs)
        if recorded is not None and function.__name__ not in VIEWS:
            return _recorded(function, inputs, options)
        return _ours(super().__array_function__(function, kinds, inputs, options))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, Array) and np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        there, here = _read(value), _at(self)
        if recorded is None:
            super().__setitem__(key, value)
        else:
            recorded.append(lambda: operator.setitem(here(), key, there()))

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not np.isscalar(found):
            return found
        return super().__getitem__((*key, ...) if isinstance(key, tuple) else (key, ...))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def item(self, *place: Any) -> Any:
        _not_recordable("a copy to the host")
        return super().item(*place)

    def tolist(self) -> Any:
        _not_recordable("a copy to the host")
        return super().tolist()

    def astype(self, dtype: Any, **_: Any) -> Any:
        if recorded is not None:
            return _recorded(lambda a: a.astype(dtype), (self,), {})
        with np.errstate(invalid="ignore"):  # a device says nothing of NaN that becomes a whole number
            return super().astype(dtype)

    def set(self, host: np.ndarray, stream: Stream) -> None:
        """An asynchronous copy: it takes place when somebody waits for it, and takes what the host holds then."""
        _not_recordable("a copy from the host")
        assert (host.shape, host.dtype) == (self.shape, self.dtype)
        assert any(each.holds(host) for each in Pinned.alive), "a copy from pageable memory is not asynchronous"
        assert stream.has_waited, "what was done with the target before may not be over"
        stream.has_waited = False
        Array.sent.append(host.nbytes)
        stream.waiting.append(lambda: np.copyto(_plain(self), host))

    def copy(self, order: str = "C") -> Any:
        made = empty(self.shape, self.dtype)
        do(_copying(self, made))
        return made


def _of_the_device(inputs: Any) -> None:
    """Raises TypeError where an array of NumPy is among them, as CuPy does."""
    for each in inputs:
        if type(each) is np.ndarray:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if isinstance(each, (list, tuple)):
            _of_the_device(each)


def _plain(a: Any) -> Any:
    if isinstance(a, (list, tuple)):
        return type(a)(map(_plain, a))
    return a.view(np.ndarray) if isinstance(a, Array) else a


def _ours(a: Any) -> Any:
    """A number is an array of no axes on a device."""
    return np.asarray(a).view(Array) if isinstance(a, (np.ndarray, np.generic)) else a


def _read(a: Any) -> Callable[[], Any]:
    """What an argument is when the graph runs: device memory is read then, all else is as it was."""
    if isinstance(a, (list, tuple)):
        each = [_read(one) for one in a]
        return lambda: type(a)(read() for read in each)
    return _at(a) if isinstance(a, Array) else lambda: a


def _recorded(function: Any, inputs: Any, options: Any) -> Any:
    """A call as a part of the graph; the result is where each run writes it."""
    outs = options.pop("out", ())
    options = {name: _plain(value) for name, value in options.items()}
    with np.errstate(all="ignore"):  # of whatever lies there now: shape and type count
        made = np.asarray(function(*map(_plain, inputs), **options))
    if not outs and any(isinstance(a, Array) and np.may_share_memory(_plain(a), _plain(made)) for a in inputs):
        return _ours(made)
    target = outs[0] if outs else empty(made.shape, made.dtype)
    reads, here = [_read(a) for a in inputs], _at(target)

    def work() -> None:
        here()[...] = function(*(read() for read in reads), **options)

    do(work)
    return target


def _not_recordable(what: str) -> None:
    if recorded is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a graph is recorded")


def _copying(source: Array, target: Array) -> Callable[[], None]:
    """A copy between two places in memory, whoever owns them when it runs."""
    there, here = _at(source), _at(target)
    return lambda: np.copyto(here(), there())


def _at(a: np.ndarray) -> Callable[[], np.ndarray]:
    """The array again from its address, without keeping it alive."""
    if not a.size:
        return functools.partial(np.empty, a.shape, a.dtype)
    low = a.ctypes.data + sum(min(0, step * (n - 1)) for step, n in zip(a.strides, a.shape))
    span = a.itemsize + sum(abs(step) * (n - 1) for step, n in zip(a.strides, a.shape))
    shape, strides, dtype, offset = a.shape, a.strides, a.dtype, a.ctypes.data - low
    return lambda: np.ndarray(shape, dtype, (ctypes.c_char * span).from_address(low), offset, strides)


FILLED = 1 << 22  # bytes: more than any array that a test looks at, and little of the room that cuBLAS is given


def empty(shape: Any, dtype: Any) -> Array:
    """Full of what is surely wrong."""
    shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = aligned(size) if allocator is None else allocator(size).mem.bytes
    memory[: min(size, FILLED)] = 0xFF  # NaN, or -1
    return memory[:size].view(dtype).reshape(shape).view(Array)


class Namespace:
    """The array API's functions for arrays here: NumPy's, but for those that take memory, which a graph must know."""

    __name__ = "of the stand-in"

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._plain, name)
        return functools.partial(_made_of_nothing, found) if name in MADE_OF_NOTHING else found

    def sign(self, x: Any) -> Any:
        _not_recordable("sign, which looks for NaN in array-api-compat,")
        return self._plain.sign(x)

    def clip(self, x: Any, *ends: Any) -> Any:
        _not_recordable("clip, which looks for what is beyond in array-api-compat,")
        return self._plain.clip(x, *ends)

    def asarray(self, a: Any, **options: Any) -> Any:
        made = self._plain.asarray(a, **options)
        return _ours(made) if isinstance(a, Array) else asarray(made)

    def concat(self, arrays: Any, **options: Any) -> Any:
        if len(arrays) > 8:
            _not_recordable("concat of more than eight arrays, whose addresses are copied from the host,")
        return self._plain.concat(arrays, **options)

    def stack(self, arrays: Any, **options: Any) -> Any:
        if len(arrays) > 8:
            _not_recordable("stack of more than eight arrays, whose addresses are copied from the host,")
        return self._plain.stack(arrays, **options)

    @staticmethod
    def empty(shape: Any, *, dtype: Any, device: Any = None) -> Array:
        return empty(shape, dtype)

    @staticmethod
    def zeros(shape: Any, *, dtype: Any, device: Any = None) -> Array:
        made = empty(shape, dtype)
        made[...] = 0
        return made


def _made_of_nothing(function: Any, *arguments: Any, **options: Any) -> Array:
    """What a kernel writes that reads no array: each run of a graph writes it anew."""
    host = function(*arguments, **options)
    made = empty(host.shape, host.dtype)
    here = _at(made)
    do(lambda: np.copyto(here(), host))
    return made


def namespace_of(found: Any, *arrays: Any, **options: Any) -> Any:
    """found: array_api_compat's function for this."""
    plain = found(*arrays, **options)
    return Namespace(plain) if any(isinstance(each, Array) for each in arrays) else plain


def aligned(size: int) -> np.ndarray:
    """Bytes that begin where a GPU's memory would: kernels read four numbers at once from there."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size]


def asarray(a: Any) -> Array:
    _not_recordable("a copy from the host")
    made = empty(np.shape(a), np.asarray(a).dtype)
    np.copyto(made, a)
    return made


def asnumpy(a: Any) -> np.ndarray:
    _not_recordable("a copy to the host")
    return np.array(a)


def ascontiguousarray(a: Any, dtype: Any = None) -> Array:
    kind = a.dtype if dtype is None else np.dtype(dtype)  # a type is falsy, and float64 equals None
    if a.flags.c_contiguous and kind == a.dtype:
        return _ours(a)
    made = empty(a.shape, kind)
    do(_copying(a, made))
    return made


class RawModule:
    """The source, compiled as C++ with a wrapper around each kernel that runs all threads of a launch."""

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self.defined = dict(option.removeprefix("-D").split("=") for option in options)
        self.signatures = signatures(code)
        self.library = compiled(code, options)

    def compile(self) -> None:
        """What CuPy does here, or when a function is asked for."""

    def get_function(self, name: str) -> Callable[..., None]:
        parameters = [self._type(text) for text in self.signatures[name]]
        function = getattr(self.library, f"run_{name}")
        return lambda grid, block, arguments: _launch(name, function, parameters, grid, block, arguments)

    def _type(self, text: str) -> tuple[type, bool]:
        """An element's type, and whether a pointer is expected."""
        bare = re.sub(r"\b(const|__restrict__)\b|\*", "", text.rsplit(" ", 1)[0]).strip()
        return TYPES[self.defined.get(bare, bare)], "*" in text


@functools.cache
def signatures(code: str) -> dict[str, list[str]]:
    """The parameters of each kernel, with what their macros stand for."""
    macros = dict(re.findall(r"^#define (\w+) (.*)$", code, re.MULTILINE))
    found = re.findall(r"^(?:BLOCK_)?KERNEL (\w+)\(([^)]*)\)", code, re.MULTILINE)
    plain = {name: re.sub(r"\w+", lambda word: macros.get(word[0], word[0]), text) for name, text in found}
    return {name: [" ".join(each.split()) for each in text.split(",")] for name, text in plain.items()}


@functools.cache
def compiled(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    if os.environ.get("GPUCNN_TEST_STAND_IN") == "no":
        pytest.skip("GPUCNN_TEST_STAND_IN=no: no kernel is run on the CPU")
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: the kernels cannot be run on the CPU")
    parts = [f'#include "{SHIM.name}"', code]
    for name, parameters in signatures(code).items():
        names = ", ".join(each.rsplit(" ", 1)[1].lstrip("*") for each in parameters)
        head = f'extern "C" void run_{name}(unsigned grid, unsigned block, {", ".join(parameters)})'
        launch = "launch_together" if f"BLOCK_KERNEL {name}(" in code else "launch"
        parts.append(f"{head} {{ {launch}(grid, block, [&] {{ {name}({names}); }}); }}")
    text = "\n".join(parts)
    return ctypes.CDLL(str(_made("-shared", "-nostdlib", "-I", str(header()), *options, source=text)))


@functools.cache
def header() -> Path:
    """The folder of the shim, compiled for those that include it: a third of their time."""
    text = SHIM.read_text(encoding="utf-8")
    made = _made("-x", "c++-header", source=text)
    folder = made.with_name(f"{made.name}-header")
    if not (folder / f"{SHIM.name}.gch").exists():
        folder.mkdir(exist_ok=True)
        for name, given in ((SHIM.name, SHIM), (f"{SHIM.name}.gch", made)):
            _put(given, folder / name)
    return folder


def _made(*options: str, source: str) -> Path:
    """What the compiler makes of a text, kept for the next time."""
    command = ["g++", "-std=c++17", "-O1", "-fPIC", *WARNINGS, *options, *FLAGS]
    kept = KEPT / hashlib.sha256("\n".join([*command, source]).encode()).hexdigest()
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            written, made = Path(folder, "kernels.cpp"), Path(folder, "made")
            written.write_text(source, encoding="utf-8")
            done = subprocess.run([*command, "-o", made, written], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            KEPT.mkdir(parents=True, exist_ok=True)
            _put(made, kept)
    return kept


def _put(made: Path, kept: Path) -> None:
    """At once, because another process may look for it; kernels are compiled by several threads, too."""
    moved = kept.with_name(f"{kept.name}-{os.getpid()}-{threading.get_ident()}")
    shutil.copy(made, moved)
    moved.replace(kept)


def _launch(name: str, function: Any, parameters: Any, grid: Any, block: Any, arguments: Any) -> None:
    assert len(arguments) == len(parameters), name
    assert len(grid) == len(block) == 1, name
    assert 1 <= grid[0] < 1 << 31, name
    values: list[Any] = [ctypes.c_uint(grid[0]), ctypes.c_uint(block[0])]
    for argument, (kind, is_pointer) in zip(arguments, parameters):
        assert isinstance(argument, Array) == is_pointer, f"{name}: {argument!r}"
        assert argument.dtype == kind, f"{name}: {argument.dtype}, {kind} was expected"
        assert not is_pointer or argument.flags.c_contiguous, name
        values.append(ctypes.c_void_p(argument.ctypes.data) if is_pointer else CTYPES[kind](argument.item()))
    do(lambda: function(*values))


class FakeCublas:
    """As much of the library as Products calls; it reads and writes by columns, through addresses."""

    def __init__(self) -> None:
        self.stream: dict[int, int] = {}  # by handle
        self.workspace: dict[int, tuple[int, int]] = {}
        self.handles = 0
        self.computed: list[int] = []

    def cublasCreate_v2(self, handle: Any) -> int:
        self.handles += 1
        handle._obj.value = self.handles
        return 0

    def cublasDestroy_v2(self, handle: Any) -> int:
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:
        self.stream[handle.value] = stream
        self.workspace.pop(handle.value, None)
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, address: int, size: int) -> int:
        self.workspace[handle.value] = address, size
        return 0

    def cublasGemmEx(self, handle: Any, *arguments: Any) -> int:
        op_a, op_b, m, n, k, alpha, a, type_a, lead_a, b, type_b, lead_b, beta, c, type_c, lead_c = arguments[:16]
        assert self.stream[handle.value] == current_stream().ptr
        assert self.workspace[handle.value]
        assert type_a == type_b == type_c
        assert lead_a >= (k if op_a else m)
        assert lead_b >= (n if op_b else k)
        assert lead_c >= m
        dtype = {0: np.float32, 1: np.float64}[type_c]
        factor, old = alpha._obj.value, beta._obj.value
        assert isinstance(alpha._obj, ctypes.c_double if type_c else ctypes.c_float)
        self.computed.append(arguments[16])

        def product() -> None:
            left = by_columns(a, k if op_a else m, m if op_a else k, lead_a, dtype)
            right = by_columns(b, n if op_b else k, k if op_b else n, lead_b, dtype)
            out = by_columns(c, m, n, lead_c, dtype)
            made = factor * ((left.T if op_a else left) @ (right.T if op_b else right))
            out[...] = made + old * out if old else made

        do(product)
        return 0

    def cublasGemmStridedBatchedEx(self, handle: Any, *arguments: Any) -> int:
        op_a, op_b, m, n, k, alpha, a, type_a, lead_a, step_a, b, type_b, lead_b, step_b = arguments[:14]
        beta, c, type_c, lead_c, step_c, count, compute, algorithm = arguments[14:]
        assert step_c >= m * n
        for i in range(count):
            size = np.dtype(np.float64 if type_c else np.float32).itemsize
            here = a + i * step_a * size, b + i * step_b * size, c + i * step_c * size
            left, right = (here[0], type_a, lead_a), (here[1], type_b, lead_b)
            out = here[2], type_c, lead_c, compute, algorithm
            self.cublasGemmEx(handle, op_a, op_b, m, n, k, alpha, *left, *right, beta, *out)
        return 0


def by_columns(address: int, rows: int, columns: int, lead: int, dtype: Any) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    memory = (ctypes.c_char * (size * (lead * (columns - 1) + rows))).from_address(address)
    return np.ndarray((rows, columns), dtype, memory, 0, (size, size * lead))


class Memory:
    alive: weakref.WeakSet[Memory] = weakref.WeakSet()  # noqa: RUF012

    def __init__(self, size: int) -> None:
        self.bytes, self.size = aligned(size), size
        Memory.alive.add(self)

    @classmethod
    def holds(cls, address: int, size: int) -> bool:
        """Whether all of these bytes belong to one allocation of a recording."""
        starts = ((each.bytes.ctypes.data, each.bytes.size) for each in cls.alive)
        return any(start <= address and address + size <= start + length for start, length in starts)

    def __del__(self) -> None:
        self.bytes[...] = 0xFF  # a graph that still points here finds NaN


class MemoryPointer:
    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.offset = mem, offset


class MemoryPool:
    def __init__(self, allocate: Callable[[int], MemoryPointer]) -> None:
        self.malloc = allocate


_addresses = itertools.count(7)  # of streams


class Pinned(bytearray):
    """Pinned host memory."""

    alive: weakref.WeakSet[Pinned] = weakref.WeakSet()  # noqa: RUF012

    __hash__ = object.__hash__

    def holds(self, a: np.ndarray) -> bool:
        start = np.frombuffer(self, np.uint8).ctypes.data
        return start <= a.ctypes.data and a.ctypes.data + a.nbytes <= start + len(self)


def alloc_pinned_memory(size: int) -> Pinned:
    made = Pinned(b"\xff" * size)
    Pinned.alive.add(made)
    return made


class Stream:
    """waiting: work given to it that has not run. The current stream's runs at once, others' when it is waited for."""

    stack: list[Stream] = []  # noqa: RUF012

    def __init__(self, non_blocking: bool = False, ptr: int | None = None) -> None:
        self.ptr, self.non_blocking = next(_addresses) if ptr is None else ptr, non_blocking
        self.waiting: list[Callable[[], Any]] = []
        self.has_waited = False

    def wait_event(self, event: Event) -> None:
        """Others wait at the moment when their work runs; what they must wait for has run by then."""
        if self.ptr == current_stream().ptr:
            event.reach()
        else:
            self.has_waited = True

    def synchronize(self) -> None:
        _not_recordable("synchronize")
        self.run(len(self.waiting))

    def run(self, count: int) -> None:
        for each in self.waiting[:count]:
            each()
        del self.waiting[:count]

    def __enter__(self) -> Stream:
        Stream.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Stream.stack.pop()

    def begin_capture(self) -> None:
        global recorded
        assert self.non_blocking
        assert recorded is None
        recorded = []

    def is_capturing(self) -> bool:
        return recorded is not None

    def end_capture(self) -> Graph:
        global recorded
        assert recorded is not None
        made, recorded = Graph(recorded), None
        return made


class Graph:
    def __init__(self, work: list[Callable[[], Any]]) -> None:
        self.work, self.launches = work, 0

    def launch(self) -> None:
        self.launches += 1
        for each in self.work:
            each()


def current_stream() -> Stream:
    return Stream.stack[-1] if Stream.stack else Stream(ptr=0)


@contextlib.contextmanager
def using_allocator(chosen: Callable[[int], Any]) -> Iterator[None]:
    global allocator
    before, allocator = allocator, chosen
    try:
        yield
    finally:
        allocator = before


class FakeDevice:
    compute_capability, id = "90", 0

    def __init__(self, index: int = 0) -> None:
        self.index = index

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        _not_recordable("synchronize")


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.stream: Stream | None = None
        self.last: Callable[[], Any] | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.time = time.perf_counter()
        self.stream = stream
        self.last = stream.waiting[-1] if stream is not None and stream.waiting else None

    def reach(self) -> None:
        """Let the stream run as far as the event."""
        if self.stream is not None and self.last in self.stream.waiting:
            self.stream.run(self.stream.waiting.index(self.last) + 1)

    def synchronize(self) -> None:
        _not_recordable("synchronize")
        self.reach()


def module() -> types.ModuleType:
    """What is imported as `cupy`; it has no more than these names."""
    cupy = types.ModuleType("cupy")
    memory = types.SimpleNamespace(OutOfMemoryError=MemoryError)
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda index: {"name": b"no GPU: g++ and NumPy"},
        driverGetVersion=lambda: 13000,
        memGetInfo=lambda: (1 << 34, 1 << 34),
    )
    pool = types.SimpleNamespace(
        **{"free_bytes": lambda: 0, "used_bytes": lambda: 0, "get_limit": lambda: 0},
        free_all_blocks=lambda: _not_recordable("freeing memory"),
    )
    cupy.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        **{"Memory": Memory, "MemoryPointer": MemoryPointer, "MemoryPool": MemoryPool, "Stream": Stream},
        **{"using_allocator": using_allocator, "get_current_stream": current_stream, "Device": FakeDevice},
        **{"alloc_pinned_memory": alloc_pinned_memory, "Event": Event},
        **{"get_elapsed_time": lambda start, end: 1e3 * (end.time - start.time)},
        **{"memory": memory, "runtime": runtime, "nvrtc": types.SimpleNamespace(getVersion=lambda: (13, 0))},
    )
    for name in ("empty", "asarray", "asnumpy", "ascontiguousarray", "RawModule"):
        setattr(cupy, name, globals()[name])
    cupy.ndarray, cupy.matmul = Array, lambda a, b: _ours(_plain(a) @ _plain(b))  # type: ignore[attr-defined]
    cupy.get_default_memory_pool = lambda: pool  # type: ignore[attr-defined]
    return cupy


@contextlib.contextmanager
def as_cuda() -> Iterator[FakeCublas]:
    """A CUDA device in this process, without cuDNN; the library that it multiplies with."""
    library = FakeCublas()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", module())
        patch.setitem(sys.modules, "cudnn", None)
        patch.setattr(cublas, "load", lambda: library)
        found = functools.partial(namespace_of, array_api_compat.array_namespace)
        patch.setattr(array_api_compat, "array_namespace", found)
        yield library


@pytest.fixture
def fake_cuda() -> Iterator[FakeCublas]:
    """`as_cuda` for one test."""
    with as_cuda() as library:
        yield library


class Cuda(NamedTuple):
    """put: an array of the host onto the device; fetch: back."""

    put: Callable[[Any], Any]
    fetch: Callable[[Any], np.ndarray]


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def any_cuda(request: pytest.FixtureRequest) -> Iterator[Cuda]:
    """The CUDA device that stands in, and a GPU where there is one."""
    if request.param == "stand-in":
        with as_cuda():
            yield Cuda(asarray, np.array)
        return
    if not usable_gpu():
        pytest.skip("no CUDA device can be used here")
    import cupy

    yield Cuda(cupy.asarray, cupy.asnumpy)


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are looked up, and not run: for tests that look at which there are."""
    monkeypatch.setattr(sys.modules[__name__], "_launch", lambda *_: None)
    monkeypatch.setattr(tensor.Tensor, "_is_right", lambda self, problem: True)
    monkeypatch.setattr(tensor, "tried", {})
