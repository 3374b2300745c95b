"""Which other libraries can be timed beside gpucnn here; they are imported when that is asked, never before."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

from ...device import reason_of
from ...errors import SettingError

# PyTorch's memory formats, by the names of their figures
FORMATS: dict[str, dict[str, Any]] = {"PyTorch": {}, "PyTorch channels_last": {"channels_last": True}}
# what it has for a GPU beside them: its compiler's two modes, and below the step that is captured by hand
COMPILED: dict[str, dict[str, Any]] = {
    "PyTorch compiled": {"compiled": "reduce-overhead"},
    "PyTorch max-autotune": {"compiled": "max-autotune"},
}
CAPTURED = "PyTorch whole-step graph"


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def torch_obstacle(device: str) -> str | None:
    """Why PyTorch cannot be compared with on "cpu" or "cuda:N", or None."""
    if not installed("torch"):
        return "PyTorch is not installed, so these are gpucnn's figures alone; `pip install torch` adds its own"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported ({reason_of(error)}), so these are gpucnn's figures alone"
    if device != "cpu" and not torch.cuda.is_available():
        return "this PyTorch sees no CUDA device, so it is left out"
    return None


def jax_obstacle() -> str | None:
    """Why JAX cannot be compared with on a GPU, or None."""
    if not installed("jax"):
        return 'JAX is not installed, so it is left out; `pip install "jax[cuda12]"` adds it'
    try:
        import jax

        there = jax.default_backend() == "gpu"
    except Exception as error:
        return f"JAX cannot be used ({reason_of(error)}), so it is left out"
    return None if there else "this JAX sees no GPU, so it is left out"


def torch_lacks(network: Any, loss: Any, optimizers: Iterable[Any], augmentation: str) -> str | None:
    """Why PyTorch, which can be imported, cannot be compared with on this network, or None: it lacks an equal of it."""
    if augmentation:
        return f"PyTorch is left out: the recipe changes images by {augmentation}, which has no equal there"
    from . import torch_peer

    try:
        module = torch_peer.translate(network)
        torch_peer.loss_of(loss)
        for each in optimizers:
            torch_peer.optimizer_of(each, module.parameters(), 0.01)
    except SettingError as error:
        return f"PyTorch is left out: {error}"
    return None
