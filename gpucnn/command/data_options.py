"""The options that say on which pictures a run is: how they are read, as run.toml has it, and --classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GpucnnError, suggested
from . import arguments
from .arguments import OF_SHAPE
from .network_settings import LONGEST


def options(given: Mapping[str, Any], dataset: Any) -> dict[str, Any]:
    """The options by which the data set was read; of pictures with their size and channels, which else are chosen."""
    from ..data.loading import may_be_broken

    names = ("data", *OF_SHAPE, "invert", "fit", "skip_broken", "classes")
    found = {name: given[name] for name in names} | {"data": arguments.as_path(given["data"])}
    if may_be_broken(given["data"]):
        height, width, channels = dataset.input_shape
        found |= {"size": f"{height}x{width}", "channels": channels}
    return found


def check_resumed(given: Mapping[str, Any], found: Any, dataset: Any) -> None:
    """Raises GpucnnError where a run goes on from a state of pictures of another shape, with the options that say it.

    found: what the run's folder holds, or None.
    """
    if found is None or found.saved is None or given["anyway"]:
        return
    if said := of_shape(given, found.saved.description, dataset):
        raise GpucnnError(f"--resume {given['resume']}: {said} beside --resume")


def of_shape(given: Mapping[str, Any], description: Mapping[str, Any] | None, dataset: Any) -> str:
    """Where pictures have another shape than the model of that description takes, because nothing says that: a
    sentence that ends with the options to say; else "".
    """
    from ..data.loading import may_be_broken

    try:
        height, width, channels = then = tuple((description or {})["network"]["input_shape"])
    except (KeyError, TypeError, ValueError):
        return ""
    if then == dataset.input_shape or not may_be_broken(given["data"]):
        return ""
    needed = {"size": f"{height}x{width}", "channels": channels}
    now = {"size": "{}x{}".format(*dataset.input_shape[:2]), "channels": dataset.input_shape[2]}
    lacking = [name for name in OF_SHAPE if needed[name] != now[name] and given[name] is None]
    if not lacking:
        return ""
    shapes = ("x".join(map(str, shape)) for shape in (then, dataset.input_shape))
    say = " ".join(f"--{name} {needed[name]}" for name in lacking)
    return "its pictures were read as {}, and are read as {} here; say {}".format(*shapes, say)


def beside(path: str | Path) -> Mapping[str, Any] | None:
    """The description of the model beside a run's file of settings, or None."""
    from ..model import checkpoint
    from ..model.folder import MODEL

    try:
        return checkpoint.read(Path(path).parent / MODEL)[0]
    except GpucnnError:
        return None


def labels(text: str, names: Sequence[str]) -> list[int]:
    """Classes by name or, where none has that name, by number."""
    known = {name: label for label, name in enumerate(names)}
    parts = _names_in(text.split(","), known)
    wrong = [part for part in parts if part not in known and not (part.isdecimal() and len(part) <= LONGEST)]
    if wrong:
        hint = suggested(wrong[0], names)
        told = ", ".join(repr(name) if "," in name else name for name in names)
        raise GpucnnError(f"--classes {text}: there is no class {wrong[0]!r}; {hint}choose from {told}")
    return [known[part] if part in known else int(part) for part in parts]


def _names_in(pieces: Sequence[str], known: Mapping[str, int]) -> list[str]:
    """The names in what stood between commas, of which a name may hold some. Raises GpucnnError for two meanings."""
    found: list[str] = []
    while pieces:
        wide = range(len(pieces), 1, -1)
        count = next((n for n in wide if ",".join(pieces[:n]).strip() in known), 1)
        if count > 1 and all(piece.strip() in known for piece in pieces[:count]):
            name = ",".join(pieces[:count]).strip()
            raise GpucnnError(
                f"--classes: {name} is a class, and so is each that stands between its commas; give their numbers, "
                f"{known[name]} for {name}"
            )
        found.append(",".join(pieces[:count]).strip())
        pieces = pieces[count:]
    return found
