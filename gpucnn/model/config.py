"""run.toml: a run's exact configuration, in its folder, from which it can be repeated or resumed."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import GpucnnError
from ..training.writing import write_whole

NAME = "run.toml"
MOST = 1 << 20  # bytes
MADE = "made"  # the table of what the run was made with, which nothing is read from
HEAD = "# The settings of a run: `gpucnn train --config run.toml` repeats it.\n"
NUMBERS = "numbers"  # in it, how a run of numbers learns them; one of before, which took them as they are, has none
STANDARDISED, AS_THEY_ARE = "standardised", "as they are"
CHANGED = "changed"  # in it, where the settings of the run were changed
OTHERS = (
    f"# The settings with which a run ended. Before, others were, as {CHANGED} below says, so that\n"
    "# `gpucnn train --config run.toml` does not repeat it.\n"
)
RAN_WITH = f"\n# What it ran with.\n[{MADE}]\n"
NOTE = f"\n# What it ran with. The same settings give the same bits with the same of these.\n[{MADE}]\n"


class Writing:
    """A callback that writes the file when the first batch is done: settings that are refused change nothing."""

    def __init__(
        self, path: Path, settings: Mapping[str, Any], made: Mapping[str, Any], changes: Sequence[str] = ()
    ) -> None:
        self._arguments, self._done = (path, settings, made, changes), False

    def batch(self, *_: Any) -> None:
        if not self._done:
            write(*self._arguments)
            self._done = True

    def finish(self) -> None:
        """Write it again where it has gone."""
        if not self._arguments[0].exists():
            write(*self._arguments)


def write(path: Path, settings: Mapping[str, Any], made: Mapping[str, Any], changes: Sequence[str] = ()) -> None:
    """Write settings and what the run was made with; None is left out. Raises GpucnnError.

    changes: from where on which settings were others than before, so that these do not repeat the run.
    """
    head, note = (OTHERS, RAN_WITH) if changes else (HEAD, NOTE)
    made = {**made, CHANGED: [*changes] or None}
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in settings.items() if isinstance(value, Mapping) and value}
    text = head + _lines(plain) + "".join(f"\n[{name}]\n{_lines(table)}" for name, table in tables.items())
    try:
        write_whole(path, (text + note + _lines(made)).encode("utf-8", "replace"))
    except OSError as error:
        raise GpucnnError(f"{path}: the run cannot be written there: {error.strerror or error}") from None


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings, and what the run was made with. Raises GpucnnError for a file that cannot be read."""
    if os.path.exists(path) and not path.is_file():
        raise GpucnnError(f"{path}: it is no regular file; a {NAME} of `gpucnn train` was expected")
    try:
        if path.stat().st_size > MOST:
            raise GpucnnError(f"{path}: it is larger than {MOST:,} bytes, which no {NAME} is")
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise GpucnnError(f"{path}: there is no such file; a {NAME} of `gpucnn train` was expected") from None
    except OSError as error:
        raise GpucnnError(f"{path}: it cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise GpucnnError(f"{path}: it is no text in UTF-8; a {NAME} of `gpucnn train` was expected") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is one, a number of 5000 digits another
        raise GpucnnError(f"{path}: it is not TOML: {error}") from None
    made = found.pop(MADE, {})
    return found, made if isinstance(made, dict) else {}


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in values.items() if value is not None)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _value(name)


def _value(value: Any) -> str:
    """A value as TOML: JSON's texts and lists are TOML's, too."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
