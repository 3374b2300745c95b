"""Reading bytes from files that may be compressed, cut short, or a web page in disguise."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import DataError

LIMIT = "GPUCNN_MAX_BYTES"
USUAL_LIMIT = 1 << 30
CHUNK = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
# Whole tags only: a CIFAR record may well begin with the bytes of a tab and "<".
WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|error)", re.IGNORECASE)
AGAIN = "delete this file and fetch it again"
OWN = "write it again, or fetch it again where it came from"  # what need not have been downloaded


def limit() -> int:
    """How many bytes of memory a file may take that can be smaller than its content: GPUCNN_MAX_BYTES, or 1 GiB."""
    text = os.environ.get(LIMIT, "").strip() or str(USUAL_LIMIT)
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not int(text):
        raise DataError(f"{LIMIT}={text}: a whole number of bytes was expected, such as {USUAL_LIMIT}; or unset it")
    return int(text)


def check_limit(size: int, where: object) -> None:
    """DataError if this many bytes are more than the limit."""
    if size > limit():
        raise DataError(
            f"{where}: takes {size:,} bytes of memory or more, {limit():,} are allowed; if you trust the file, set "
            f"{LIMIT} to a larger number"
        )


@contextmanager
def parsing(where: object, problem: str, remedy: str) -> Iterator[None]:
    """Around a parser of another library: whatever it raises, be it its own fault, is said of the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{where}: {problem} ({str(error) or type(error).__name__}); {remedy}") from None


def refuse_web_page(path: Path, remedy: str = AGAIN) -> None:
    """DataError if the file is empty, cannot be read, or is a web page, as login portals and failing mirrors send."""
    if path.exists() and not path.is_file():  # opening a named pipe would wait for a writer
        raise DataError(f"{path}: cannot be read (it is no regular file); check that it is a file you may read")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check that it is a file you may read") from None
    if not head:
        raise DataError(f"{path}: is empty; {remedy}")
    if WEB_PAGE.match(head):
        raise DataError(f"{path}: is a web page (HTML), data was expected; {remedy}")


class Limited:
    """A stream that is read as far as the limit, for parsers that believe sizes. DataError beyond it."""

    def __init__(self, stream: IO[bytes], where: object) -> None:
        self.stream, self.where, self.tell = stream, where, stream.tell

    def read(self, size: int = CHUNK) -> bytes:
        check_limit(self.tell() + size, self.where)
        return self.stream.read(size)

    def seek(self, place: int) -> int:
        check_limit(place, self.where)
        return self.stream.seek(place)


@contextmanager
def decompressed(path: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """The content of a file as a stream, and its size: None if it is gzip, which does not say how much it holds.

    DataError for a web page, and for what is wrong with a gzip file while it is read.
    """
    refuse_web_page(path)
    with open(path, "rb") as file:
        head, size = file.read(4), os.fstat(file.fileno()).st_size
        file.seek(0)
        if not head.startswith(GZIP_MAGIC):
            if path.suffix == ".gz":
                raise DataError(f"{path}: begins with {head!r}, a gzip file was expected; {AGAIN}")
            yield file, size
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream, None  # type: ignore[misc]
        except EOFError:
            raise DataError(f"{path}: the gzip file is truncated, {size} bytes were found; {AGAIN}") from None
        except (OSError, zlib.error) as error:
            raise DataError(f"{path}: the gzip file is damaged ({error}); {AGAIN}") from None


def read_content(path: Path, claimed: Callable[[bytes, int | None], int] | None = None) -> bytearray:
    """The bytes of a file, decompressed if it is gzip; DataError for a web page or a damaged gzip file.

    claimed: of the first 16 bytes, and of the size where that is known, how many bytes there should be; no more than
    these are read and one chunk. It may raise DataError. Without it, the limit holds.
    """
    with decompressed(path) as (stream, size):
        content = bytearray(stream.read(16))
        if claimed is None:
            check_limit(size or 0, path)
            most = limit()
        else:
            most = claimed(bytes(content), size)
        if size is None:
            check_limit(most, path)
        while len(content) <= most and (part := stream.read(CHUNK)):
            content += part
        if claimed is None:
            check_limit(len(content), path)
    return content


def find_files(names: Sequence[str], folder: Path) -> tuple[list[Path], list[str]]:
    """The paths of NAME or NAME.gz in `folder`, and the names of which neither is there."""
    places = {name: [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()] for name in names}
    return [paths[0] for paths in places.values() if paths], [name for name, paths in places.items() if not paths]


def check_file(path: Path) -> None:
    """DataError where a path is not that of a picture file, as far as that is seen without opening it."""
    if os.path.isdir(path):
        raise DataError(f"{path}: a folder; name the picture files in it, such as sorted(Path(...).glob('*.png'))")
    if str(path).lower().startswith(("http:", "https:")):
        address = str(path).replace("\\", "/").replace(":/", "://", 1)  # as it was before it was taken for a path
        raise DataError(f"{address}: an address in the web, and no file; download the picture first, and give its file")
    if not os.path.exists(path):
        what = "a link to a file that is not there" if os.path.islink(path) else "there is no such file"
        raise DataError(f"{path}: {what}; check the path")
    if path.suffix.lower() in (".npy", ".npz"):
        raise DataError(f"{path}: arrays, and no picture; give the arrays in it, which numpy.load reads")
    if not path.is_file():  # opening a named pipe would wait for a writer
        raise DataError(f"{path}: no regular file; save the picture in one")
