"""Checks of the CPU: Python, NumPy, and whether the BLAS uses the kernels that are fastest here."""

from __future__ import annotations

import platform
from functools import partial

import numpy as np

import gpucnn

from ...device import Device, accelerate
from ...errors import counted
from .probes import SIZE, Probes
from .report import Check, Finding, guarded

# what OpenBLAS calls its kernels, by the vector instructions they use: 2 AVX-512, 1 AVX2; all others are older
CORES = {"skylakex": 2, "cooperlake": 2, "sapphirerapids": 2, "haswell": 1, "zen": 1, "excavator": 1}


def cpu_checks(probes: Probes) -> list[Check]:
    return [
        guarded("Python", _python),
        guarded("NumPy", lambda: ("ok", np.__version__)),
        guarded("BLAS", partial(_blas, probes), "pip install --upgrade threadpoolctl"),
        guarded("CPU product", partial(trial_product, probes, Device()), "pip install --force-reinstall numpy"),
    ]


def _python() -> Finding:
    return "ok", f"{platform.python_version()}, gpucnn {gpucnn.__version__}, {Device().name}"


def _blas(probes: Probes) -> Finding:
    loaded = probes.blas()
    if not loaded:
        return "ok", "not one that threadpoolctl knows"
    facts = loaded[0]
    core, threads = str(facts.get("architecture") or ""), facts.get("num_threads")
    said = " ".join(filter(None, (facts.get("internal_api"), facts.get("version"), core)))
    found = f"{said}, {counted(threads, 'thread') if threads is not None else 'an unknown number of threads'}"
    if facts.get("internal_api") == "accelerate" and threads is None:
        reason = "before macOS 15 one per worker cannot be asked for, and the bits may differ from run to run"
        return "warning", f"{found}: {reason}", f"export {accelerate.VARIABLE}=1"
    flags = probes.cpu_flags()
    best = 2 if flags >= {"avx512f", "avx512bw", "avx512vl"} else 1 if flags >= {"avx2", "fma"} else 0
    if facts.get("internal_api") != "openblas" or CORES.get(core.lower(), 0) >= best:
        return "ok", found
    fast, slow = ("AVX-512", "SkylakeX") if best == 2 else ("AVX2", "Haswell")
    pinned = probes.environment().get("OPENBLAS_CORETYPE")
    if pinned:
        reason = f"OPENBLAS_CORETYPE={pinned} pins it to slower kernels than the CPU's {fast}"
        return "warning", f"{found}: {reason}", "unset OPENBLAS_CORETYPE"
    return "warning", f"{found}: the CPU has {fast}, unused", f"export OPENBLAS_CORETYPE={slow}"


def trial_product(probes: Probes, device: Device) -> Finding:
    seconds = probes.product(device)
    return "ok", f"{SIZE} x {SIZE} float32 is right, {2 * SIZE**3 / max(seconds, 1e-9) / 1e9:.0f} GFLOP/s"
