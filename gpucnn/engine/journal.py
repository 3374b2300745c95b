"""What a helper process is about to overwrite: where it is lost in the middle, another one can go on.

theta and the optimiser's state are written in place, piece by piece. Before a piece is written it is copied, which
costs little, because the update is about to read it anyway; a mark says how far the worker has come.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..workers import Task, Workers

Array = Any


@dataclass(frozen=True, eq=False)
class Journal(Task):
    """Of each worker, the piece that it writes, and how far it is.

    vectors: what is written in place. copies: room for the longest piece of each vector, worker by worker. marks: 2 k
    where a worker has done k of its pieces; 2 k + 1 where it is writing the next one, whose copy is complete.
    """

    vectors: tuple[Array, ...]
    copies: Array
    marks: Array

    @classmethod
    def of(cls, vectors: Sequence[Array], workers: Workers) -> Journal:
        """One without room, for where a single worker writes."""
        return cls(tuple(vectors), workers.zeros(0, vectors[0]), workers.zeros(workers.threads, np.zeros(1, np.int64)))

    def with_room(self, longest: int, workers: Workers) -> Journal:
        """For pieces of up to `longest` numbers."""
        room = workers.zeros(len(self.vectors) * workers.threads, self.vectors[0][:longest])
        return replace(self, copies=room)

    def begin(self) -> None:
        """Before the workers do."""
        self.marks[...] = 0

    def keep(self, w: int, done: int, place: slice) -> None:
        """Before worker w, which has done so many pieces, writes the vectors there."""
        for vector, copy in zip(self.vectors, self._rows[w]):
            copy[: place.stop - place.start] = vector[place]
        self.marks[w] = 2 * done + 1

    def note(self, w: int, done: int) -> None:
        """That so many pieces of worker w are done."""
        self.marks[w] = 2 * done

    def restored(self, w: int, places: Sequence[slice]) -> int:
        """How many of its pieces worker w had done; the one that it was writing is brought back to what it was."""
        done, writing = divmod(int(self.marks[w]), 2)
        if writing:
            place = places[done]
            for vector, copy in zip(self.vectors, self._rows[w]):
                vector[place] = copy[: place.stop - place.start]
        return done

    @functools.cached_property
    def _rows(self) -> Array:
        return self.copies.reshape(self.marks.shape[0], len(self.vectors), -1)
