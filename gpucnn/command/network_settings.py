"""--set NAME=VALUE: what a network's function is given."""

from __future__ import annotations

import re
from typing import Any

from typer import BadParameter

from ..errors import nearest

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d+")
LONGEST = 18  # digits of a whole number: more fit into no size of an array
WORDS = {"none": None, "true": True, "false": False}


def parsed(texts: list[str] | None, network: str = "") -> dict[str, Any]:
    """NAME=VALUE texts, each value as `value` reads it. network: whose settings are an example."""
    found: dict[str, Any] = {}
    for each in texts or []:
        name, equals, text = each.partition("=")
        if not equals or not name.isidentifier():
            raise BadParameter(f"{each!r}: NAME=VALUE was expected, {_example(network, name)}", param_hint="--set")
        if name in found:
            raise BadParameter(f"{name} is set twice, by {each!r} the second time; say one of both", param_hint="--set")
        found[name] = value(text)
    return found


def value(text: str) -> Any:
    """A number, true, false, none, numbers with commas between as a tuple, one with a comma behind it as well; or the
    text itself. `networks.as_text` writes what is read so."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    parts = [part.strip() for part in text.removesuffix(",").split(",")] if text != "," else []
    if not all(NUMBER.fullmatch(part) and (len(part) <= LONGEST or not WHOLE.fullmatch(part)) for part in parts):
        return text
    numbers = tuple(int(part) if WHOLE.fullmatch(part) else float(part) for part in parts)
    return numbers if "," in text else numbers[0]


def _example(network: str, near: str) -> str:
    """What --set may be told of a network: of the setting that is named, or nearly so, else of its first."""
    from .. import networks

    settings = networks.settings_of(network) if network else {"f": "sigmoid"}
    if not settings:
        return f"and {network} has nothing to set"
    name = near if near in settings else nearest(near, settings) or next(iter(settings))
    return f"such as {networks.shown({name: settings[name]})}"
