"""The classes that `--classes` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import GpucnnError, suggested
from . import network_settings


def labels(text: str, names: Sequence[str]) -> list[int]:
    """Classes by name or, where none has that name, by number."""
    known = {name: label for label, name in enumerate(names)}
    parts = _names_in(text.split(","), known)
    wrong = [
        part for part in parts if part not in known and not (part.isdecimal() and len(part) <= network_settings.LONGEST)
    ]
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
