"""What is said where a picture's font lacks the characters of a class's name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import listed, warn

MISSING = re.compile(r"Glyph (\d+) .*missing from")  # matplotlib's words, one warning for each character and drawing


@contextmanager
def told_once(names: Sequence[str]) -> Iterator[None]:
    """Around drawing with these names: one warning, with those that the font cannot show, in place of matplotlib's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = set()
    for each in caught:
        if found := MISSING.search(str(each.message)):
            missing.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if missing:
        lacking = [name for name in names if missing & set(name)] or sorted(missing)
        warn(
            f"the font of the pictures has no characters for {listed(lacking)}, which are boxes there; install one "
            "that has them, such as Noto Sans CJK for Chinese, Japanese and Korean or Noto Emoji, and write its name "
            "behind the usual one into ./matplotlibrc: font.family: DejaVu Sans, Noto Sans CJK JP"
        )
