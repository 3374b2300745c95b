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
            return Path(pooch.retrieve(mirror + name, f"md5:{file.md5}", name, folder, downloader=fetch))
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
    import requests
    from rich.console import Console
    from rich.progress import track

    def fetch(url: str, output_file: str, owner: Any) -> None:
        with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as answer, open(output_file, "wb") as file:
            answer.raise_for_status()
            chunks = int(answer.headers.get("content-length", 0)) / CHUNK_BYTES
            how: dict[str, Any] = {"console": Console(stderr=True), "disable": not sys.stderr.isatty()}
            for chunk in track(answer.iter_content(CHUNK_BYTES), label, chunks or None, **how):
                file.write(chunk)
        refuse_web_page(Path(output_file))

    return fetch


def shortened(error: Exception, length: int = 160) -> str:
    """The first line of an error's text; those of the HTTP library are long."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if len(text) <= length else text[: length - 3] + "..."
