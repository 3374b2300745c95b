"""`gpucnn compare`: one network from one seed on the CPU and on a GPU: do they agree, and when does the GPU pay?"""

from __future__ import annotations

from ...data import Dataset
from ...model import runs
from ...network import describe
from ...workers import default_threads
from . import agreement
from .backends import CPU, YARDSTICKS, Problem, held_to_one_thread, selected
from .result import CompareOptions, Comparison
from .speed import speeds

__all__ = ["CompareOptions", "compare"]

DTYPES = ("float32", "float64")


def compare(dataset: Dataset, options: CompareOptions | None = None) -> Comparison:
    """Run the comparison on a data set's training images. Raises SettingError and DeviceError."""
    how = options or CompareOptions()
    others, sentence = selected(how.devices)
    chosen = runs.Settings(how.network, "cpu", batch_size=how.batch_size, seed=how.seed, threads=how.threads)
    model = runs.new_model(chosen, dataset)
    recipe, _ = runs.recipe(chosen, len(dataset.train_labels))
    problem = Problem(model.network, model.loss, dataset.train_images, dataset.train_labels, how.seed, how.threads)
    backends = [CPU, *YARDSTICKS, *others]
    timed = backends if sentence else [CPU, *others]
    with held_to_one_thread():
        return Comparison(
            data=dataset.name,
            parameters=model.layout.size,
            options=how,
            batch_size=recipe.batch_size,
            threads=how.threads or default_threads(),
            optimizer=describe(recipe.optimizer),
            sentence=sentence,
            devices={each.name: each.about for each in backends},
            agreements=[agreement.agreement(problem, backends, dtype, recipe, how.steps) for dtype in DTYPES],
            speeds=speeds(problem, timed, recipe, how.batches, how.rounds, how.budget),
        )
