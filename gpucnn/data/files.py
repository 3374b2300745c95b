"""Reading bytes from files that may be compressed, cut short, or a web page in disguise."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
# Whole tags only: a CIFAR record may well begin with the bytes of a tab and "<".
WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|error)", re.IGNORECASE)
AGAIN = "delete this file and fetch it again"


def refuse_web_page(path: Path) -> None:
    """DataError if the file is empty, cannot be read, or is a web page, as login portals and failing mirrors send."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read") from None
    if not head:
        raise DataError(f"{path}: is empty; {AGAIN}")
    if WEB_PAGE.match(head):
        raise DataError(f"{path}: is a web page (HTML), data was expected; {AGAIN}")


def read_content(path: Path) -> bytes:
    """The bytes of a file, decompressed if it is gzip; DataError for a web page or a damaged gzip file."""
    refuse_web_page(path)
    raw = path.read_bytes()
    if not raw.startswith(GZIP_MAGIC):
        if path.suffix == ".gz":
            raise DataError(f"{path}: begins with {raw[:4]!r}, a gzip file was expected; {AGAIN}")
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise DataError(f"{path}: the gzip file is truncated, {len(raw)} bytes were found; {AGAIN}") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error}); {AGAIN}") from None


def find_files(names: Sequence[str], folder: Path) -> tuple[list[Path], list[str]]:
    """The paths of NAME or NAME.gz in `folder`, and the names of which neither is there."""
    places = {name: [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()] for name in names}
    return [paths[0] for paths in places.values() if paths], [name for name, paths in places.items() if not paths]
