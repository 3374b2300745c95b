"""`gpucnn compare`: one network from one seed on the CPU and on a GPU: do they agree, and when does the GPU pay?"""

from __future__ import annotations

import functools

import numpy as np

from ...data import Dataset
from ...errors import SettingError
from ...layers.base import is_own
from ...model import runs
from ...network import Network, own
from ...optimizers import described
from ...workers import default_threads
from . import agreement
from .backends import CPU, YARDSTICKS, Backend, Problem, Runner, held_to_one_thread, selected
from .result import CompareOptions, Comparison
from .speed import speeds

__all__ = ["CompareOptions", "compare"]

DTYPES = ("float32", "float64")


def compare(dataset: Dataset, options: CompareOptions | None = None) -> Comparison:
    """Run the comparison on a data set's training images. Raises SettingError and DeviceError."""
    how = options or CompareOptions()
    if not dataset.is_classified:
        raise SettingError(
            f"compare: {dataset.name} has {dataset.what} for each picture; choose data with a class for each, such as "
            "digits, on which devices compare alike"
        )
    chosen = runs.Settings(how.network, "cpu", batch_size=how.batch_size, seed=how.seed, threads=how.threads)
    model = runs.new_model(chosen, dataset)
    recipe, _ = runs.recipe(chosen, len(dataset.train_labels))
    problem = Problem(model.network, model.loss, dataset.train_images, dataset.train_labels, how.seed, how.threads)
    others, sentence = selected(how.devices, functools.partial(_obstacle, problem))
    backends = [CPU, *YARDSTICKS, *others]
    timed = backends if sentence else [CPU, *others]
    with held_to_one_thread():
        return Comparison(
            data=dataset.name,
            parameters=model.layout.size,
            options=how,
            batch_size=recipe.batch_size,
            threads=how.threads or default_threads(),
            optimizer=described(recipe.optimizer),
            sentence=sentence,
            devices={each.name: each.about for each in backends},
            agreements=[agreement.agreement(problem, backends, dtype, recipe, how.steps) for dtype in DTYPES],
            speeds=speeds(problem, timed, recipe, how.batches, how.rounds, how.budget),
        )


def _obstacle(problem: Problem, backend: Backend) -> str | None:
    """Why a layer or a loss of a user's own cannot be computed with this library, or None.

    They are written for NumPy's and CuPy's arrays, which have methods that others lack. Where all is gpucnn's own, a
    failure is a mistake, and is raised where it happens.
    """
    names = [*_of_ones_own(problem.network), *([] if is_own(problem.loss) else [type(problem.loss).__name__])]
    try:
        for dtype in DTYPES if names else ():
            agreement.one_pass(Runner(problem, backend, dtype), np.arange(min(2, len(problem.labels))))
    except Exception as error:
        return f"{' or '.join(names)} cannot be computed with {backend.about} ({own.said(error)}{own.place(error)})"
    return None


def _of_ones_own(network: Network) -> list[str]:
    """The classes of layers that are not gpucnn's, networks that are layers looked into."""
    return [*dict.fromkeys(type(layer).__name__ for _, layer, *_ in network.walk() if not is_own(layer))]
