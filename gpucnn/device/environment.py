"""What measured figures depend on: versions, the processor, threads, and which kernels the BLAS chose."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from threadpoolctl import threadpool_info

from .. import __version__
from . import Device, accelerate

LIBRARIES = {  # by the distributions that hold them
    "numpy": ("numpy",),
    "numba": ("numba",),
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    "cudnn": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
    "torch": ("torch",),
    "jax": ("jax",),
}


def environment(device: Device, threads: int) -> dict[str, Any]:
    """These facts as JSON-able values, here and now."""
    blas = [
        {key: each.get(key) for key in ("internal_api", "version", "architecture")}
        | {"filepath": os.path.basename(each.get("filepath") or "")}
        for each in [*accelerate.facts(), *threadpool_info()]
        if each.get("user_api") == "blas"
    ]
    return {
        "gpucnn": __version__,
        "python": platform.python_version(),
        **{name: _version(distributions) for name, distributions in LIBRARIES.items()},
        "device": str(device),
        "name": device.name,
        "threads": threads,
        "blas": blas,
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
    }


def described(found: dict[str, Any]) -> str:
    """An environment as two lines."""
    versions = [f"{name} {found[name]}" for name in ("gpucnn", "python", *LIBRARIES) if found[name]]
    forced = found["openblas_coretype"]
    pinned = f" (forced by OPENBLAS_CORETYPE={forced}; unset it for full speed)" if forced else ""
    where = f"{found['device']}: {found['name']}, CPU threads: {found['threads']}"
    return f"{', '.join(versions)}\n{where}; BLAS: {kernels_of_blas(found)}{pinned}"


def kernels_of_blas(found: Mapping[str, Any]) -> str:
    """The BLAS libraries of an environment, each with the kernels that it chose for the processor."""
    each_one = [f"{each['internal_api']} {each['version']} for {each['architecture']}" for each in found["blas"]]
    return ", ".join(each_one) or "unknown"


def _version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
