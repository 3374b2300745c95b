"""The check of a run's settings before its data are read, which may take minutes."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .. import networks
from ..device import Device
from ..engine import tuning
from ..engine.freezing import excepted, thawed
from ..errors import SettingError, ShapeError
from ..layers.initializers import generator
from ..network.layout import Layout
from ..schedules import schedule
from . import checkpoint, checkpoints, folder, objective, thresholds
from .runs import Settings, check_options, network_of, recipe
from .warm_start import Start


def check(
    settings: Settings, out: str | None = None, *, force: bool = False, resume: bool = False
) -> tuple[Start | None, checkpoints.Found | None]:
    """Check that the settings fit each other, that the files they name are there, and that the folder may be written.

    out, force, resume: as `folder.claimed` takes them. The patterns of freeze and init_except are checked for gpucnn's
    networks only: one of a user's own may have other parameters for other images, and is checked when it is built for
    the data.

    -> the model that settings.init names, as its description and tensors, or None where it names none, or where the
    run goes on from a state of its own; and what the folder holds, or None where no run is resumed. Raises GpucnnError.
    """
    settings.keeping()
    if settings.excepted and settings.init is None:
        raise SettingError(f"--init-except {settings.init_except}: it is for --init MODEL; say that, too")
    schedule(recipe(settings, 1)[0].schedule)
    loss = objective.asked(
        *(networks.entry(settings.network).loss, settings.loss, settings.label_smoothing, settings.class_weights)
    )
    thresholds.check_text(settings.threshold, loss)
    device = Device.parse(settings.device)
    if device.kind == "cpu":
        settings.acceleration.table(device, "float32", exact_ties=False)
    if out is not None:
        folder.check(out, force=force, resume=resume)
    found = checkpoints.find(Path(out)) if resume and out is not None else None
    if found is not None and found.saved is None:
        folder.check_anew(found)
    goes_on = found is not None and found.saved is not None
    if isinstance(settings.acceleration.tune, str) and not goes_on:
        tuning.read(settings.acceleration.tune)
    start = None if settings.init is None or goes_on else checkpoint.read(settings.init)
    check_options(settings)
    if ":" not in settings.network and (settings.options or settings.frozen or settings.excepted):
        with contextlib.suppress(ShapeError):  # images of another size than the usual one may fit
            network = network_of(settings)
            layout = Layout(network.init(network.input_shape, generator(0)))
            thawed(layout, settings.frozen)
            excepted(layout, settings.excepted)
    return start, found
