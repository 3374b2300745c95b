"""Is training the same to the last bit as before a change? Hashes of theta after 20 steps of each named network.

`python tests/behaviour.py` prints them for this tree; `python tests/behaviour.py REVISION` sets that revision of the
repository beside it, in one environment, and exits with 1 where they differ. `--write` keeps them in behaviour.json,
under the NumPy, the CPU and the BLAS kernel that they belong to: other products add in another order.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KEPT = Path(__file__).with_name("behaviour.json")
STEPS, LAST = 20, 11  # the last batch is smaller
BATCH = {1: 32, 2: 96}  # by threads: a small batch is never shared
WIDER = "fast of 32 and 64 filters"
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")


def environment() -> str:
    """What the bits depend on beside the code."""
    import numpy as np
    from threadpoolctl import threadpool_info

    of_numpy = [each for each in threadpool_info() if each["user_api"] == "blas" and "numpy" in each["filepath"]]
    blas = [f"{each['internal_api']} {each.get('architecture')}" for each in of_numpy]
    features = np._core._multiarray_umath.__cpu_features__  # NumPy's own exp and tanh
    vectors = next((name for name in ("AVX512_SKX", "AVX2", "ASIMD") if features.get(name)), "no vectors")
    return f"NumPy {np.__version__} {vectors}, {', '.join(blas)}"


def trained(name: str, threads: int, optimizer: Any = None, augmentation: str | None = None) -> str:
    """The hash of theta, of the training loss and of the logits of some images."""
    import numpy as np

    from gpucnn import Model, networks

    entry = networks.entry(name.split()[0])
    model = Model(wider() if name == WIDER else name, device="cpu", seed=1, threads=threads)
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, ((STEPS - 1) * BATCH[threads] + LAST, *entry.input_shape), np.uint8)
    labels = rng.integers(0, entry.classes, len(images))
    history = model.fit(
        *(images, labels),
        epochs=1,
        batch_size=BATCH[threads],
        optimizer=optimizer or entry.recipe.optimizer,
        lr=entry.recipe.lr,
        schedule=entry.recipe.schedule,
        augmentation=augmentation,
    )
    digest = hashlib.sha256(np.asarray(model.theta).tobytes())
    digest.update(repr(history.epochs[0].train_loss).encode())
    digest.update(model.logits(images[:300]).tobytes())
    return digest.hexdigest()


def wider() -> Any:
    """`fast` with the 32 and 64 filters on whole images that it had up to revision c349270."""
    from gpucnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
    from gpucnn.network import Network

    blocks = Conv2D(32, 5), MaxPool2D(2), ReLU(), Conv2D(64, 5), MaxPool2D(2), ReLU()
    return Network((28, 28, 1), (*blocks, Flatten(), Dense(128), ReLU(), Dense(10)))


def cases() -> dict[str, tuple[Any, ...]]:
    """What `trained` takes, by a text that says it."""
    from gpucnn import networks

    found: dict[str, tuple[Any, ...]] = {}
    for threads in BATCH:
        found |= {f"{name}, {threads}": (name, threads) for name in (*networks.NETWORKS, WIDER)}
        for optimizer in OPTIMIZERS:
            found[f"two-conv {optimizer}, {threads}"] = "two-conv", threads, optimizer, "shift=2,flip"
    return found


def hashes() -> dict[str, str]:
    return {case: trained(*arguments) for case, arguments in cases().items()}


def hashes_of(revision: str) -> dict[str, str]:
    """Those of another revision, by this file, in a process that imports that one."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", folder, revision], cwd=ROOT, check=True)
        try:
            done = subprocess.run(
                [sys.executable, __file__, "--json"],
                env=os.environ | {"PYTHONPATH": folder},
                stdout=subprocess.PIPE,
                check=True,
                cwd=folder,
            )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)
    return json.loads(done.stdout)


def main(asked: list[str]) -> int:
    if asked == ["--json"]:
        print(json.dumps(hashes()))
        return 0
    found = hashes()
    if asked == ["--write"]:
        kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
        KEPT.write_text(json.dumps(kept | {environment(): found}, indent=1) + "\n", encoding="utf-8")
        return 0
    other = hashes_of(asked[0]) if asked else found
    print(environment())
    for name, digest in found.items():
        verdict = "new" if name not in other else "same" if other[name] == digest else "DIFFERS"
        print(f"{name:<28} {digest[:16]}  {verdict if asked else ''}")
    return int(any(found.get(name) != digest for name, digest in other.items()))


if __name__ == "__main__":
    sys.path.insert(0, os.environ.get("PYTHONPATH", str(ROOT)))
    sys.exit(main(sys.argv[1:]))
