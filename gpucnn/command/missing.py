"""What to write where a model, a network or data are not named, or stand in one another's place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingError, listed
from .help import CHECKED, MISSING

ENDING = ".safetensors"


def models() -> list[str]:
    """The models in this folder and in those of runs."""
    return [str(path) for pattern in (f"*{ENDING}", f"runs/*/*{ENDING}") for path in sorted(Path().glob(pattern))]


def _named(found: list[str]) -> str:
    return f"the models here are {listed(found)}" if found else "there is none here, and `gpucnn train` makes one"


def no_model(given: Mapping[str, Any]) -> str:
    """What to write where no model is named."""
    return f"It is the file of a saved model; {_named(models())}"


def one_word(given: Mapping[str, Any]) -> str:
    """What to write for `predict` where there is one word alone, which may be the model or a picture, or none."""
    word, found = given.get("model"), models()
    if word is None:
        return f"The model comes first, and then the pictures; {_named(found)}"
    if os.path.isfile(inside := os.path.join(word, f"model{ENDING}")):
        word = inside
    if word.endswith(ENDING):
        return f"Name the pictures after the model, as in `gpucnn predict {word} picture.png`"
    return f"The model comes first, as in `gpucnn predict {found[0] if found else 'MODEL'} {word}`; {_named(found)}"


def is_data(word: str) -> bool:
    """Whether it is the name of a data set, or a path like those of data."""
    from ..data.catalogue import resolve

    return resolve(word) is not None or os.path.isdir(word) or word.endswith((".npz", ".csv", ".tsv", ".parquet"))


def check_models(given: Mapping[str, Any]) -> None:
    """Raises SettingError where data stand among models."""
    for word in given.get("models") or []:
        if not os.path.isfile(word) and is_data(word) and not [*Path(word).glob(f"**/*{ENDING}")]:
            raise SettingError(f"{word}: data, and no model; say `gpucnn evaluate MODEL --data {word}`")


def check_network(network: str, command: str) -> None:
    """Raises SettingError for the name of no network; where it is that of data, with what to write."""
    from .. import networks

    if is_data(network) and network not in networks.NETWORKS:
        raise SettingError(
            f"{network}: data, and no network; say `gpucnn {command} --data {network}`, and a network before it where "
            "two-conv is not meant"
        )
    networks.entry(network)


def no_data(given: Mapping[str, Any]) -> str:
    """What to write where no data set is named."""
    return "It is a data set, by its name or, for `gpucnn data show`, its path; `gpucnn data list` lists both"


MISSING.update({"predict": one_word} | dict.fromkeys(("evaluate", "serve", "show", "verify"), no_model))
MISSING.update(dict.fromkeys(("data show", "data fetch", "data verify", "data path"), no_data))
CHECKED["evaluate"] = check_models
