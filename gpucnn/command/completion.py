"""What the shell completes beside the names in tables: networks, data sets, settings, and texts of several words."""

from __future__ import annotations

from collections.abc import Iterable

from typer import Context


def networks() -> list[str]:
    from ..networks import NETWORKS

    return [*NETWORKS]


def data_sets() -> list[str]:
    from ..data.catalogue import NAMES

    return [*NAMES]


def devices() -> list[str]:
    return ["auto", "cpu", "cuda"]


def settings(ctx: Context) -> list[str]:
    """What --set takes of the network that is named, with its usual values."""
    from ..networks import NETWORKS, as_text, settings_of

    name = ctx.params.get("network") or "two-conv"
    return [f"{key}={as_text(value)}" for key, value in settings_of(name).items()] if name in NETWORKS else []


def schedules(incomplete: str) -> list[str]:
    from ..schedules import SCHEDULES

    return _pieces(incomplete, [*SCHEDULES, "warmup="])


def changes(incomplete: str) -> list[str]:
    """What --augment takes."""
    from dataclasses import fields

    from ..training.augmentation import Augmentation

    words = {each.name: "" if each.default is False else "=" for each in fields(Augmentation)}
    named = [name + equals for name, equals in words.items() if name not in ("key", "updates")]
    return _pieces(incomplete, [*named, "default", "none"])


def modes() -> list[str]:
    """What `gpucnn bench` takes."""
    from .bench import MODES

    return [*MODES, *networks()]


def commands(ctx: Context) -> list[str]:
    """What `gpucnn help` explains."""
    return [*getattr(ctx.find_root().command, "commands", {})]


def _pieces(incomplete: str, words: Iterable[str]) -> list[str]:
    """The words behind what stands before the last comma."""
    before = incomplete[: incomplete.rfind(",") + 1]
    return [before + word for word in words]
