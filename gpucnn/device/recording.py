"""Work recorded once as a CUDA graph: to launch it again costs one call, however many kernels it is made of."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any


class Recording:
    """Work recorded as one CUDA graph: nothing runs until `replay`, which runs all of it again on the current stream.

    result: what the work returned; each replay writes it anew. The memory that the work allocated comes from a pool of
    its own and lives as long as the recording; a limit of CuPy's default pool does not count it. What was there before
    must be kept by whoever recorded it. Recording raises where the work waits for the device. Work must copy nothing
    from the host: that may be recorded without an error, and its source is long gone when the graph is replayed.
    """

    def __init__(self, device: Any, work: Callable[[], Any]) -> None:
        cuda, held = device.xp.cuda, []

        def allocate(size: int) -> Any:
            memory = cuda.Memory(size)
            held.append(memory)
            return cuda.MemoryPointer(memory, 0)

        with device.activate():
            # what was used before the recording, and is used no more, would take memory beside its own
            device.xp.get_default_memory_pool().free_all_blocks()
            # a pool alone would not do: it frees what is unused when memory runs out, and the graph still points there
            self._held, self._pool = held, cuda.MemoryPool(allocate)
            self._stream = cuda.Stream(non_blocking=True)
            with self._stream, cuda.using_allocator(self._pool.malloc), _uncollected():
                self._stream.begin_capture()
                try:
                    self.result = work()
                except BaseException:
                    with contextlib.suppress(Exception):  # an error invalidates the capture; the first one says why
                        self._stream.end_capture()
                    raise
                self._graph = self._stream.end_capture()

    @property
    def size(self) -> int:
        """Bytes of memory that are the recording's own."""
        return sum(memory.size for memory in self._held)

    def replay(self) -> None:
        self._graph.launch()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected inside: what dies, such as another model, may wait for the device to free its memory."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
