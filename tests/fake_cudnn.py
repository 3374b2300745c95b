"""A module `cudnn` that computes with NumPy, from the addresses, sizes and steps that a graph was built with.

What it is strict about: the order of the calls that build a graph, steps that are not those of dense (N, H, W, C),
addresses that do not fit, the handle and its stream, memory to work in, and graphs that are gone when a recording runs.
It offers several plans, of which only the last keeps all rules; what a plan does wrong shows in its numbers.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import fake_cuda
import numpy as np
import pytest

BUILDING = (
    *("validate", "build_operation_graph", "create_execution_plans", "deselect_numeric_notes"),
    *("deselect_workspace_greater_than", "check_support", "build_plans"),
)
METHODS = {
    "conv_fprop": ("image", "weight"),
    "conv_dgrad": ("loss", "filter"),
    "conv_wgrad": ("image", "loss"),
}
NOTES = ("TENSOR_CORE", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION", "NONDETERMINISTIC")
WORKSPACE = 96  # bytes
PLANS: tuple[tuple[set[str], int], ...] = (
    ({"NONDETERMINISTIC"}, WORKSPACE),
    ({"TENSOR_CORE", "DOWN_CONVERT_INPUTS"}, WORKSPACE),
    ({"REDUCED_PRECISION_REDUCTION"}, WORKSPACE),
    (set(), 1 << 40),
    ({"TENSOR_CORE"}, WORKSPACE),
    (set(), WORKSPACE),
)


class NotSupported(Exception):
    """What the module calls cudnnGraphNotSupportedError."""


class Tensor:
    def __init__(self, dim: list[int], stride: list[int], data_type: str) -> None:
        self.set_dim(dim).set_stride(stride).set_data_type(data_type)
        self.is_output = False

    def set_dim(self, dim: list[int]) -> Tensor:
        assert len(dim) == 4
        assert all(type(size) is int and size > 0 for size in dim)
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_data_type(self, data_type: str) -> Tensor:
        self.data_type = data_type
        return self

    def set_output(self, is_output: bool) -> Tensor:
        self.is_output = is_output
        return self

    def check(self, kind: str) -> None:
        _, C, H, W = self.dim
        assert self.stride == [H * W * C, 1, W * C, C]
        assert self.data_type == kind

    def at(self, address: int) -> np.ndarray:
        """(N, C, H, W), in the memory that begins there."""
        dtype = np.dtype({"FLOAT": np.float32, "DOUBLE": np.float64}[self.data_type])
        size = dtype.itemsize * (1 + sum(step * (n - 1) for step, n in zip(self.stride, self.dim)))
        memory = (ctypes.c_char * size).from_address(address)
        return np.ndarray(self.dim, dtype, memory, 0, [step * dtype.itemsize for step in self.stride])


class Graph:
    def __init__(
        self, library: Library, *, io_data_type: str, intermediate_data_type: str, compute_data_type: str, handle: int
    ) -> None:
        assert handle in library.streams
        assert io_data_type == intermediate_data_type == compute_data_type
        self.library, self.kind, self.handle = library, io_data_type, handle
        self.inputs: list[Tensor] = []
        self.calls: list[str] = []
        self.plans = list(PLANS)

    def tensor(self, *, name: str, dim: list[int], stride: list[int], data_type: str) -> Tensor:
        self.inputs.append(Tensor(dim, stride, data_type))
        return self.inputs[-1]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in METHODS:
            return lambda **arguments: self._node(name, **arguments)
        if name in BUILDING:
            return lambda *arguments: self._step(name, *arguments)
        raise AttributeError(name)

    def _node(
        self,
        method: str,
        *,
        pre_padding: list[int],
        post_padding: list[int],
        stride: list[int],
        dilation: list[int],
        **factors: Tensor,
    ) -> Tensor:
        assert tuple(factors) == METHODS[method]
        assert list(factors.values()) == self.inputs
        self.method, self.geometry = method, (pre_padding, post_padding, stride, dilation)
        self.made = Tensor([1] * 4, [], "")
        return self.made

    def _step(self, name: str, *arguments: Any) -> None:
        assert name == BUILDING[len(self.calls)]
        self.calls.append(name)
        if name == "validate":
            assert self.made.is_output
            for tensor in (*self.inputs, self.made):
                tensor.check(self.kind)
            _, x, w, y = self._roles()
            sizes = zip(x.dim[2:], w.dim[2:], y.dim[2:], *self.geometry)
            assert all((n + a + b - d * (k - 1) - 1) // s + 1 == p for n, k, p, a, b, s, d in sizes)
            assert (x.dim[0], w.dim[0]) == tuple(y.dim[:2])
        elif name == "create_execution_plans":
            assert arguments == (["A", "FALLBACK"],)
        elif name == "deselect_numeric_notes":
            self.plans = [plan for plan in self.plans if not plan[0] & set(arguments[0])]
        elif name == "deselect_workspace_greater_than":
            self.plans = [plan for plan in self.plans if plan[1] <= arguments[0]]
        elif name == self.library.failing_step and self.library.refuses(self):
            raise self.library.failure
        elif name == "build_plans":
            self.library.built.append(self)

    def _roles(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The result, x, w and y."""
        a, b, made = *self.inputs, self.made
        x, w, y = {"conv_fprop": (a, b, made), "conv_dgrad": (made, b, a), "conv_wgrad": (a, made, b)}[self.method]
        return made, x, w, y

    def get_workspace_size(self) -> int:
        assert self.calls[-1] == "build_plans"
        return self.plans[0][1]

    def execute(self, pointers: dict[Tensor, int], workspace: int, handle: int) -> None:
        assert handle == self.handle
        assert self.library.streams[handle] == fake_cuda.current_stream().ptr
        assert list(pointers) == [*self.inputs, self.made]
        assert all(type(each) is int and each % 16 == 0 for each in (*pointers.values(), workspace))
        self.library.executed.append(self.method)
        addresses, recorded, graph = list(pointers.values()), fake_cuda.recorded is not None, weakref.ref(self)

        def work() -> None:
            alive = graph()
            assert alive is not None, "a recording runs kernels that are not loaded any more"
            assert not recorded or fake_cuda.Memory.holds(workspace, WORKSPACE), "a recording works in others' memory"
            ctypes.memset(workspace, 0xFF, WORKSPACE)
            alive.compute(addresses)

        fake_cuda.do(work)

    def compute(self, addresses: list[int]) -> None:
        arrays = {id(t): t.at(address) for t, address in zip((*self.inputs, self.made), addresses)}
        made, *roles = (arrays[id(tensor)] for tensor in self._roles())
        notes = self.plans[0][0]
        x, w, y = (each if each is made else rounded(each, notes) for each in roles)
        total = np.zeros(made.shape)
        convolve(self.method, *(total if each is made else each for each in (x, w, y)), self.geometry)
        made[...] = total if "NONDETERMINISTIC" not in notes else total + np.random.default_rng().random(total.shape)


def rounded(a: np.ndarray, notes: set[str]) -> np.ndarray:
    """Factors of float32 as tensor cores take them, to 10 bits after the point; to 16 bits in all with other notes."""
    if a.dtype != np.float32 or not notes:
        return a
    if notes != {"TENSOR_CORE"}:
        return a.astype(np.float16).astype(np.float32)
    return ((a.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def convolve(method: str, x: np.ndarray, w: np.ndarray, y: np.ndarray, geometry: Any) -> None:
    """Add to the one that the method computes, as the sum over output and kernel positions and groups says."""
    (top, left), _, (down, right), (over, along) = geometry
    channels, filters = w.shape[1], w.shape[0] * w.shape[1] // x.shape[1]
    for p, q, i, j in itertools.product(*map(range, (*y.shape[2:], *w.shape[2:]))):
        row, column = p * down + i * over - top, q * right + j * along - left
        if not (0 <= row < x.shape[2] and 0 <= column < x.shape[3]):
            continue
        for g in range(x.shape[1] // channels):
            seen, made = slice(g * channels, (g + 1) * channels), slice(g * filters, (g + 1) * filters)
            a, b, c = x[:, seen, row, column], w[made, :, i, j], y[:, made, p, q]
            if method == "conv_fprop":
                c += a @ b.T
            elif method == "conv_dgrad":
                a += c @ b
            else:
                b += c.T @ a


class Library(types.ModuleType):
    """built, executed: graphs and methods, in order. A graph that it refuses raises `failure` in failing_step."""

    def __init__(self) -> None:
        super().__init__("cudnn")
        self.streams: dict[int, int] = {}  # by handle
        self.built: list[Graph] = []
        self.executed: list[str] = []
        self.refuses: Callable[[Graph], bool] = lambda graph: False
        self.failing_step, self.failure = "check_support", NotSupported("no engine")
        self.cudnnGraphNotSupportedError = NotSupported
        self.data_type = types.SimpleNamespace(FLOAT="FLOAT", DOUBLE="DOUBLE")
        self.heur_mode = types.SimpleNamespace(A="A", FALLBACK="FALLBACK")
        self.numerical_note = types.SimpleNamespace(**{name: name for name in NOTES})

    def backend_version(self) -> int:
        return 92800

    def create_handle(self) -> int:
        self.streams[len(self.streams) + 1] = -1
        return len(self.streams)

    def set_stream(self, *, handle: int, stream: int) -> None:
        self.streams[handle] = stream

    def destroy_handle(self, handle: int) -> None:
        del self.streams[handle]

    def pygraph(self, **options: Any) -> Graph:
        return Graph(self, **options)


@pytest.fixture
def fake_cudnn(fake_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Library:
    """cuDNN's module beside the CUDA device in this process."""
    library = Library()
    monkeypatch.setitem(sys.modules, "cudnn", library)
    return library
