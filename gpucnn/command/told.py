"""Lines that `gpucnn train` prints of its run."""

from __future__ import annotations

from typing import Any


def result_line(result: Any, dataset: Any) -> str:
    from ..metrics import shown

    found = {name.removeprefix("test_"): value for name, value in result.items() if name.startswith("test_")}
    return f"test {shown(found)}, on {len(dataset.test_labels):,} images"


def device_line(asked: str, model: Any) -> str:
    from ..device import select

    threads = f", {model.threads} thread{'s' * (model.threads > 1)}" if model.device.kind == "cpu" else ""
    why = f" ({select(asked)[1]})" if asked == "auto" and model.device.kind == "cpu" else ""
    return f"on {model.device}: {model.device.name}{threads}{why}"
