"""`gpucnn compare`: one network from one seed on the CPU and on a GPU: do they agree, and when does the GPU pay?"""

from __future__ import annotations

from ... import runs
from ...data import Dataset
from ...network import describe
from ...workers import default_threads
from . import agreement
from .backends import CPU, YARDSTICKS, Problem, held_to_one_thread, selected
from .result import Comparison, Settings
from .speed import speeds

__all__ = ["Settings", "compare"]

DTYPES = ("float32", "float64")


def compare(dataset: Dataset, settings: Settings | None = None) -> Comparison:
    """Run the comparison on a data set's training images. Raises SettingError and DeviceError."""
    settings = settings or Settings()
    others, sentence = selected(settings.devices)
    chosen = runs.Settings(
        settings.network, "cpu", batch_size=settings.batch_size, seed=settings.seed, threads=settings.threads
    )
    model = runs.new_model(chosen, dataset)
    recipe, _ = runs.recipe(chosen, len(dataset.train_labels))
    problem = Problem(
        settings.network,
        model.network,
        model.loss,
        dataset.train_images,
        dataset.train_labels,
        settings.seed,
        settings.threads,
    )
    backends = [CPU, *YARDSTICKS, *others]
    timed = [CPU, *(YARDSTICKS if sentence else ()), *others]
    with held_to_one_thread():
        agreements = [agreement.agreement(problem, backends, dtype, recipe, settings.steps) for dtype in DTYPES]
        measured = speeds(
            problem,
            timed,
            recipe.optimizer,
            recipe.lr,
            settings.batches,
            rounds=settings.rounds,
            budget=settings.budget,
        )
    return Comparison(
        settings.network,
        dataset.name,
        model.layout.size,
        settings,
        recipe.batch_size,
        settings.threads or default_threads(),
        describe(recipe.optimizer),
        sentence,
        {each.name: each.about for each in backends},
        agreements,
        measured,
    )
