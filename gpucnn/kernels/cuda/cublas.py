"""Products of 2-D arrays by cuBLAS, called through ctypes, because CuPy's own calls cannot be recorded in a CUDA graph.

A handle and a workspace of its own, as long as the table lives: nothing is allocated while a graph is recorded, and the
same call gives the same bits. Where there is no GPU, the tests replace the library by one that computes with NumPy.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import weakref
from typing import Any

import numpy as np

from ...errors import DeviceError

Array = Any

WORKSPACE = 1 << 25  # bytes; what NVIDIA recommends for Hopper
MOST = (1 << 31) - 1  # the largest size that cublasGemmEx takes

# numbers from cublas_api.h and library_types.h
NORMAL, TRANSPOSED, DEFAULT_ALGORITHM = 0, 1, -1
TYPES = {"float32": 0, "float64": 1}
COMPUTE = {
    ("float32", "float32"): 68,
    ("float32", "bfloat16"): 75,
    ("float32", "tf32"): 77,
    ("float64", "float32"): 70,
}
PRECISIONS = ("float32", "tf32", "bfloat16")

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (ctypes.POINTER(_POINTER),),
    "cublasDestroy_v2": (_POINTER,),
    "cublasSetStream_v2": (_POINTER, _POINTER),
    "cublasSetWorkspace_v2": (_POINTER, _POINTER, ctypes.c_size_t),
    "cublasGemmEx": (
        *(_POINTER, _INT, _INT, _INT, _INT, _INT, _POINTER),
        *(_POINTER, _INT, _INT, _POINTER, _INT, _INT),
        *(_POINTER, _POINTER, _INT, _INT, _INT, _INT),
    ),
    "cublasGemmStridedBatchedEx": (
        *(_POINTER, _INT, _INT, _INT, _INT, _INT, _POINTER),
        *(_POINTER, _INT, _INT, _LONG, _POINTER, _INT, _INT, _LONG),
        *(_POINTER, _POINTER, _INT, _INT, _LONG, _INT, _INT, _INT),
    ),
}


def load() -> Any:
    """The cuBLAS that CuPy uses, its functions declared; None where none is found."""
    names = (_path_of_cupys(), ctypes.util.find_library("cublas"), "libcublas.so.13", "libcublas.so.12")
    for name in filter(None, names):
        try:
            return declared(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
    return None


def declared(library: Any) -> Any:
    """The library with the types of the arguments that this file passes; AttributeError where a function is missing."""
    for name, types in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = list(types), _INT
    return library


def _path_of_cupys() -> str | None:
    """CuPy's wheels find their libraries through cuda-pathfinder; it names the one that is loaded already."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return load_nvidia_dynamic_lib("cublas").abs_path
    except Exception:  # not installed, or no such library: the loader's own search comes next
        return None


class Products:
    """a (M, K) times b (K, N), row-major results. Views with a fixed distance between rows or columns are not copied.

    library: from `load`, None where there is none: then CuPy multiplies. gpu: cuda.Gpu. precision: "float32"; "tf32" or
    "bfloat16", which round the factors of float32 products and add in float32.
    """

    def __init__(self, library: Any, precision: str, gpu: Any) -> None:
        if library is None and precision != "float32":
            raise DeviceError(
                f"precision {precision!r} needs cuBLAS, which was not found; run `gpucnn doctor`, or use float32"
            )
        self.library, self.precision, self.gpu = library, precision, gpu
        self._handle: Any = None
        self._workspace: Array = None
        self._current: int | None = None  # the stream that the handle works on

    def __call__(self, a: Array, b: Array, out: Array, *, add: bool = False) -> Array:
        """Write a b to out (M, N), or add it; out's elements stand side by side in each row."""
        (M, K), N = a.shape, b.shape[1]
        if not out.size or self.gpu.compiled.is_rehearsal:
            return out
        if not (self.library and K and self._fits(a, b, out)):
            product = self.gpu.xp.matmul(a, b)
            out[...] = out + product if add else product
            return out
        (a, order_a, lead_a), (b, order_b, lead_b) = _ordered(a), _ordered(b)
        self._begin()
        number = ctypes.c_double if a.dtype == np.float64 else ctypes.c_float
        kind = TYPES[a.dtype.name]
        # cuBLAS counts by columns: what it sees is the transpose of everything, (a b)^T = b^T a^T.
        status = self.library.cublasGemmEx(
            *(self._handle, order_b, order_a, N, M, K, ctypes.byref(number(1))),
            *(self.gpu.address(b), kind, lead_b, self.gpu.address(a), kind, lead_a),
            *(ctypes.byref(number(1 if add else 0)), self.gpu.address(out), kind, _ordered(out)[2]),
            *(COMPUTE[a.dtype.name, self.precision if kind == TYPES["float32"] else "float32"], DEFAULT_ALGORITHM),
        )
        _check(status, f"a product of {M} x {K} and {K} x {N}")
        return out

    def each(self, a: Array, b: Array, out: Array, *, add: bool = False) -> Array:
        """out[k] = a[k] b[k], or added to it, in one call: a (B, M, K), b (B, K, N), out (B, M, N), which is dense.

        Float32 numbers are not rounded, whatever the precision. a and b are dense, or such arrays with their last two
        axes swapped.
        """
        if not out.size or self.gpu.compiled.is_rehearsal:
            return out
        (B, M, K), N = a.shape, b.shape[2]
        if not (self.library and K and self._fits(a[0], b[0], out[0])):
            for k in range(B):
                product = self.gpu.xp.matmul(a[k], b[k])
                out[k] = out[k] + product if add else product
            return out
        (_, order_a, lead_a), (_, order_b, lead_b) = _ordered(a[0]), _ordered(b[0])
        self._begin()
        number = ctypes.c_double if a.dtype == np.float64 else ctypes.c_float
        kind = TYPES[a.dtype.name]
        status = self.library.cublasGemmStridedBatchedEx(  # the transpose of everything, as above
            *(self._handle, order_b, order_a, N, M, K, ctypes.byref(number(1))),
            *(self.gpu.address(b), kind, lead_b, K * N, self.gpu.address(a), kind, lead_a, M * K),
            *(ctypes.byref(number(1 if add else 0)), self.gpu.address(out), kind, N, M * N),
            *(B, COMPUTE[a.dtype.name, "float32"], DEFAULT_ALGORITHM),
        )
        _check(status, f"{B} products of {M} x {K} and {K} x {N}")
        return out

    def _fits(self, *arrays: Array) -> bool:
        """Whether cuBLAS can be asked: one type that it knows, and sizes that its arguments hold."""
        types = {each.dtype.name for each in arrays}
        return len(types) == 1 and types <= TYPES.keys() and max(_distance(each) for each in arrays) <= MOST

    def _begin(self) -> None:
        """The handle, on the current stream. Changing the stream takes the workspace away, so it is set again."""
        if self._handle is None:
            handle = _POINTER()
            _check(self.library.cublasCreate_v2(ctypes.byref(handle)), "creating a handle")
            self._handle, self._workspace = handle, self.gpu.empty((WORKSPACE,), "uint8")
            # not when Python ends: CUDA may have ended before
            weakref.finalize(self, self.library.cublasDestroy_v2, handle).atexit = False
        current = self.gpu.stream()
        if current != self._current:
            _check(self.library.cublasSetStream_v2(self._handle, current), "setting its stream")
            address = self.gpu.address(self._workspace)
            _check(self.library.cublasSetWorkspace_v2(self._handle, address, WORKSPACE), "setting its workspace")
            self._current = current


def _ordered(a: Array) -> tuple[Array, int, int]:
    """a, or a copy where it must be; how cuBLAS reads it (NORMAL: row by row); elements from a row to the next."""
    rows, columns = a.shape
    down, right = (step // a.itemsize for step in a.strides)
    if (columns == 1 or right == 1) and (rows == 1 or down >= columns):
        return a, NORMAL, max(columns, down if rows > 1 else 1)
    if (rows == 1 or down == 1) and (columns == 1 or right >= rows):
        return a, TRANSPOSED, max(rows, right if columns > 1 else 1)
    return _ordered(a.copy(order="C"))


def _distance(a: Array) -> int:
    """The most that an argument of cuBLAS must hold of a: a length, or elements from one row or column to the next."""
    return max(*a.shape, *(abs(step) // a.itemsize for step, length in zip(a.strides, a.shape) if length > 1), 1)


def _check(status: int, what: str) -> None:
    if status:
        raise DeviceError(f"cuBLAS: {what} failed with status {status}; run `gpucnn doctor`")
