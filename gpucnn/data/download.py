"""One file from the first mirror that has it, into the user's cache folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import DataError
from .catalogue import RemoteFile, Source
from .files import refuse_web_page

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16


class Progress:
    """The bar that pooch drives: it sets `total`, calls update for each chunk, then reset, update(total) and close."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(label, total=None)
        self._bar.start()
        self.total = 0

    def update(self, count: int) -> None:
        self._bar.update(self._task, total=self.total or None, advance=count)

    def reset(self) -> None:
        self._bar.reset(self._task, total=self.total or None)

    def close(self) -> None:
        self._bar.stop()


def cache_folder(name: str) -> Path:
    """Where the files of a data set are kept: the operating system's cache folder for gpucnn."""
    import pooch

    return Path(pooch.os_cache("gpucnn")) / name


def download(source: Source, file: RemoteFile) -> Path:
    """The path of FILE.gz in the cache, downloaded unless a copy with the right md5 is there.

    DataError with what every mirror answered if none of them has the file.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    name, folder, failures = f"{file.name}.gz", cache_folder(source.name), []
    for mirror in source.mirrors:
        fetch = downloader(f"{source.name}: {name}")
        try:
            path = pooch.retrieve(mirror + name, f"md5:{file.md5}", name, folder, downloader=fetch)
            return Path(path)
        except DataError:
            failures.append(f"{mirror} sent a web page (HTML) or nothing")
        except (OSError, ValueError, requests.RequestException) as error:
            failures.append(f"{mirror} failed ({shortened(error)})")
    raise DataError(
        f"{source.name}: {name} could not be downloaded to {folder}: {'; '.join(failures)}; check the network and try "
        f"again, or put {source.what} into a folder and set GPUCNN_DATA_DIR to it"
    )


def downloader(label: str) -> Callable[..., None]:
    """A function for pooch that downloads over HTTP and refuses a web page; a bar shows if stderr is a terminal."""
    import pooch

    def fetch(url: str, output_file: str, owner: Any) -> None:
        progress = Progress(label) if sys.stderr.isatty() else None
        try:
            get = pooch.HTTPDownloader(progressbar=progress or False, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_SECONDS)
            get(url, output_file, owner)
        finally:
            if progress is not None:
                progress.close()
        refuse_web_page(Path(output_file))

    return fetch


def shortened(error: Exception, length: int = 160) -> str:
    """The first line of an error's text; those of the HTTP library are long."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if len(text) <= length else text[: length - 3] + "..."
