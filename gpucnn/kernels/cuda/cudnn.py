"""Convolutions by cuDNN, called through the module `cudnn` of nvidia-cudnn-frontend, versions 1.23 to 1.28.

Images stay as they are: cuDNN is told their sizes as (N, C, H, W) and the steps of dense (N, H, W, C). Kernels are
copied to dense (K, I, J, C / groups), the order that goes with it, and their gradient comes back from there.

Where there is no GPU, the tests replace it by a module that computes with NumPy.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from ...device import reason_of
from ...errors import DeviceError, warn
from ...ops.window import Window

Array = Any

PRECISIONS = ("float32", "tf32")  # in bfloat16 cuDNN has arrays of that type alone, and CuPy has none
PLANS = 256  # that are kept: three for each convolution and batch size
WORKSPACE = 1 << 28  # bytes, the most that a plan may ask for
ALIGNMENT = 16  # bytes; where cuDNN expects arrays to begin
TYPES = {"float32": "FLOAT", "float64": "DOUBLE"}  # of data_type
# of numerical_note, what no plan may do: other bits in each run, factors or sums in 16 bits
BARRED = ("NONDETERMINISTIC", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION")
# what is computed: the graph's method, what it takes under which names, and the array whose shape the result has
VERBS = {
    "y": ("conv_fprop", {"image": "x", "weight": "w"}, "y"),
    "dx": ("conv_dgrad", {"loss": "y", "filter": "w"}, "x"),
    "dw": ("conv_wgrad", {"image": "x", "loss": "y"}, "w"),
}


class Problem(NamedTuple):
    """All that a plan depends on. verb: of VERBS; x: N, H, W, C; w: I, J, C / groups, K; dtype: of all arrays."""

    verb: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    window: Window
    dtype: str


class Convolution(NamedTuple):
    """One that is ready to run: cuDNN's graph, its two factors and its result, and the bytes of memory it works in."""

    graph: Any
    tensors: tuple[Any, Any, Any]
    workspace: int


class Residual(NamedTuple):
    """What `correlate` keeps for its gradient. x is dense."""

    x: Array
    window: Window
    groups: int


def load() -> Any:
    """The module `cudnn`; ImportError where it or the library behind it is missing."""
    import cudnn

    try:
        cudnn.backend_version()
    except RuntimeError as error:
        raise ImportError(str(error)) from None
    return cudnn


def build(library: Any, problem: Problem, precision: str, **device: Any) -> Convolution:
    """The convolution, by the plan that cuDNN thinks best.

    device: handle; or device_property and sm_version of a GPU that is not here.

    Raises cudnnGraphNotSupportedError or RuntimeError where there is no plan.
    """
    window, (N, H, W, C), (I, J, depth, K) = problem.window, problem.x, problem.w
    sizes = {"x": (N, H, W, C), "w": (K, I, J, depth), "y": (N, *window.outputs(H, W), K)}
    method, factors, result = VERBS[problem.verb]
    dtype = getattr(library.data_type, TYPES[problem.dtype])
    graph = library.pygraph(io_data_type=dtype, intermediate_data_type=dtype, compute_data_type=dtype, **device)
    tensors = {}
    for name, of in factors.items():
        dim, stride = _declared(sizes[of])
        tensors[name] = graph.tensor(name=name, dim=dim, stride=stride, data_type=dtype)
    (top, bottom), (left, right) = window.padding
    padding = {"pre_padding": [top, left], "post_padding": [bottom, right]}
    steps = {"stride": list(window.stride), "dilation": list(window.dilation)}
    made = getattr(graph, method)(**tensors, **padding, **steps)
    dim, stride = _declared(sizes[result])
    made.set_output(True).set_dim(dim).set_stride(stride).set_data_type(dtype)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
    graph.deselect_numeric_notes(_barred(library, precision, problem.dtype))
    graph.deselect_workspace_greater_than(WORKSPACE)
    graph.check_support()
    graph.build_plans()
    return Convolution(graph, (*tensors.values(), made), graph.get_workspace_size())


def _declared(sizes: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """A dense array (A, H, W, C) as cuDNN counts it: sizes and steps of (A, C, H, W), in elements."""
    A, H, W, C = sizes
    return [A, C, H, W], [H * W * C, 1, W * C, C]


def _barred(library: Any, precision: str, dtype: str) -> list[Any]:
    """Tensor cores round float32 factors to 10 bits after the point, and compute exactly in float64."""
    more = ("TENSOR_CORE",) if (precision, dtype) == ("float32", "float32") else ()
    return [getattr(library.numerical_note, name) for name in (*BARRED, *more)]


class Convolutions:
    """The correlation of a table by cuDNN; where that has no plan, a warning says so and `otherwise` computes.

    library: from `load`; gpu: cuda.Gpu; precision: one of PRECISIONS; otherwise: layers.Layers. Memory to work in
    is allocated for each call, as the columns of `otherwise` are: a recorded graph keeps what was its own.
    """

    def __init__(self, library: Any, gpu: Any, precision: str, otherwise: Any) -> None:
        self.library, self.gpu, self.precision, self.otherwise = library, gpu, precision, otherwise
        self._kept: dict[Problem, Convolution | None] = {}  # the last used is the last; None: there is none
        self._recorded: dict[Problem, Convolution] = {}  # kernels of a recorded graph, which must stay loaded
        self._handle: Any = None
        self._current: int | None = None  # the stream that the handle works on

    def correlate(self, x: Array, w: Array, window: Window, groups: int, *for_pool: Any) -> tuple[Array, Any]:
        """for_pool: the pool's window and ties, where one follows; they change nothing here."""
        found = self._convolution("y", x, w, window) if self._fits(x, w, groups) else None
        if found is None:
            return self.otherwise.correlate(x, w, window, groups)
        x, shape = self._ready(x, x.dtype), (x.shape[0], *window.outputs(*x.shape[1:3]), w.shape[3])
        y = self.gpu.empty(shape, x.dtype)
        self._run(found, x, self._kernel(w, x.dtype), y)
        return y, Residual(x, window, groups)

    def correlate_backward(self, residual: Any, w: Array, dy: Array, need_dx: bool) -> tuple[Array | None, Array]:
        if not isinstance(residual, Residual):
            return self.otherwise.correlate_backward(residual, w, dy, need_dx)
        x, window, groups = residual
        of_kernel, of_image = (
            self._convolution("dw", x, w, window),
            self._convolution("dx", x, w, window) if need_dx else None,
        )
        if of_kernel is None or (need_dx and of_image is None):
            return self.otherwise.correlate_backward(self.otherwise.residual(x, window, groups), w, dy, need_dx)
        dy, (I, J, channels, K) = self._ready(dy, x.dtype), w.shape
        dw, dx = self.gpu.empty((K, I, J, channels), x.dtype), None
        self._run(of_kernel, x, dy, dw)
        if of_image is not None:
            dx = self.gpu.empty(x.shape, x.dtype)
            self._run(of_image, dy, self._kernel(w, x.dtype), dx)
        return dx, dw.transpose(1, 2, 3, 0)

    def _fits(self, x: Array, w: Array, groups: int) -> bool:
        """Whether cuDNN can be asked: a type that it has, something to do, and shapes that belong together."""
        fitting = x.shape[3] == w.shape[2] * groups and w.shape[3] % groups == 0
        return x.dtype.name in TYPES and x.size > 0 and fitting

    def _ready(self, a: Array, dtype: Any) -> Array:
        """a, or a copy that is of dtype, without gaps, and begins where cuDNN expects it."""
        a = self.gpu.dense(a, dtype)
        return a if self.gpu.address(a) % ALIGNMENT == 0 else a.copy()

    def _kernel(self, w: Array, dtype: Any) -> Array:
        """(I, J, C / groups, K), a view of theta, maybe turned by 180 degrees -> dense (K, I, J, C / groups)."""
        return self._ready(w.transpose(3, 0, 1, 2), dtype)

    def _convolution(self, verb: str, x: Array, w: Array, window: Window) -> Convolution | None:
        """The convolution, built when it is first asked for; None where cuDNN has no plan for it."""
        problem = Problem(verb, tuple(x.shape), tuple(w.shape), window, x.dtype.name)
        if problem in self._recorded:
            return self._recorded[problem]
        found = self._kept.pop(problem) if problem in self._kept else self._built(problem)
        if found is not None and self.gpu.is_recording():
            self._recorded[problem] = found
            return found
        self._kept[problem] = found
        if len(self._kept) > PLANS:
            del self._kept[next(iter(self._kept))]
        return found

    def _built(self, problem: Problem) -> Convolution | None:
        if self._handle is None:
            self._handle = self._started()
        try:
            return build(self.library, problem, self.precision, handle=self._handle)
        except (self.library.cudnnGraphNotSupportedError, RuntimeError) as error:
            warn(
                f"cuDNN computes no {problem.verb} of x {problem.x}, w {problem.w}, {problem.window}, {problem.dtype} "
                f"({reason_of(error)}); gpucnn's own kernels do"
            )
            return None

    def _started(self) -> Any:
        """A handle, on the current device."""
        try:
            handle = self.library.create_handle()
        except RuntimeError as error:
            raise DeviceError(
                f"cuDNN does not start on this device ({reason_of(error)}); run `gpucnn doctor`, or leave kernels out"
            ) from error
        # not when Python ends: CUDA may have ended before
        weakref.finalize(self, _ended, self.library, handle, self._kept, self._recorded).atexit = False
        return handle

    def _run(self, convolution: Convolution, *arrays: Array) -> None:
        """Run it on the current stream, on the two factors and the result."""
        current = self.gpu.stream()
        if current != self._current:
            self.library.set_stream(handle=self._handle, stream=current)
            self._current = current
        workspace = self.gpu.empty((convolution.workspace,), "uint8")
        addresses = {tensor: self.gpu.address(array) for tensor, array in zip(convolution.tensors, arrays)}
        convolution.graph.execute(addresses, self.gpu.address(workspace), handle=self._handle)


def _ended(library: Any, handle: Any, *plans: dict[Problem, Any]) -> None:
    """What was built goes before the handle that it was built with."""
    for each in plans:
        each.clear()
    library.destroy_handle(handle)
