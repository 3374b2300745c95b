"""`gpucnn ...` and `python -m gpucnn ...`."""

from __future__ import annotations

import sys


def main() -> None:
    from .command import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
