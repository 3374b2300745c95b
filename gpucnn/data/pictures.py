"""Picture files, alone or in folders with one sub-folder per class, as uint8 arrays."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Dataset, Images, Part
from .files import check_limit, parsing
from .preprocessing import Preprocessing

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow runs other programs for some of the rest
REMEDY = "leave it out, or save it again as PNG"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
DEFAULT_SIZE = (28, 28)
_opening = threading.Lock()
COPIES = 4  # of a decoded picture, while it is turned and put on paper


def read_pictures(paths: Iterable[str | os.PathLike[str]], preprocessing: Preprocessing) -> Images:
    """The pictures as uint8 (N, H, W, C), in the order given; of a moving picture the first frame.

    DataError naming the first file that is missing or not a picture, and for no paths at all.
    """
    listed = [Path(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not listed:
        raise DataError("no picture files were given; name at least one")
    images = np.empty((len(listed), *preprocessing.size, preprocessing.channels), np.uint8)
    for image, path in zip(images, listed):
        image[...] = read_picture(path, preprocessing)
    return images


def read_picture(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """One picture, upright as its camera recorded, as uint8 (H, W, C); transparent parts become white paper."""
    from PIL import Image, ImageOps

    height, width = preprocessing.size
    with opened(path) as file:
        picture = eight_bits(ImageOps.exif_transpose(file), path, file.format)
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            colours = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
        picture = picture.convert("L" if preprocessing.channels == 1 else "RGB")
        fitted = ImageOps.fit(picture, (width, height), method=Image.Resampling.BILINEAR)
    values = np.asarray(fitted).reshape(height, width, preprocessing.channels)
    return 255 - values if preprocessing.invert else values


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open Pillow picture; whatever is wrong with the file, now or while it is decoded, becomes a DataError."""
    if os.path.isdir(path):
        raise DataError(f"{path}: a folder; name the picture files in it")
    if not os.path.exists(path):
        raise DataError(f"{path}: there is no such file; check the path")
    if not path.is_file():  # opening a named pipe would wait for a writer
        raise DataError(f"{path}: no regular file; save the picture in one")
    with parsing(path, "cannot be read as a picture", REMEDY), identified(path) as picture:
        bytes_each = 1 if picture.mode in ("1", "L") else 4
        check_limit(COPIES * bytes_each * picture.width * picture.height, path)
        yield picture


def identified(path: Path) -> Any:
    """The file as one of FORMATS, with its header read. Pillow's own limit is for those who have no other."""
    from PIL import Image

    with _opening:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def eight_bits(picture: Any, path: Path, kind: str) -> Any:
    """The picture with 8 bits per channel: Pillow would cut 16-bit values off at 255 instead of scaling them.

    kind: of its file. DataError for values whose range the file does not say.
    """
    from PIL import Image

    if picture.mode == "F":
        raise DataError(f"{path}: holds floating-point values, whose range is unknown; save it again as 8-bit PNG")
    if picture.mode == "I" and kind not in ("PNG", "PPM"):  # in these it is how Pillow holds 16 bits
        raise DataError(f"{path}: holds 32-bit values, 8 or 16 bits were expected; save it again as 8-bit PNG")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    return Image.fromarray(((2 * 255 * values + 65535) // (2 * 65535)).astype(np.uint8))


def is_grey(path: Path) -> bool:
    """Whether the file stores one channel; only its header is read."""
    with opened(path) as picture:
        return picture.mode in ("1", "L", "LA") or picture.mode.startswith("I")


def read_folder(
    folder: Path, size: tuple[int, int] | None = None, channels: int | None = None, invert: bool = False
) -> Dataset:
    """The data set of folder/train/CLASS and folder/test/CLASS or, without these two, of folder/CLASS.

    In the second case a stratified fifth becomes the test part. Class names are the sorted names of the sub-folders.
    `size` is 28x28 unless given; `channels` is 1 if every picture is stored in grey, else 3.
    DataError naming the folder or file that is missing, empty or unreadable.
    """
    split = (folder / "train").is_dir() and (folder / "test").is_dir()
    roots = [folder / "train", folder / "test"] if split else [folder]
    with parsing(folder, "cannot be read", "check that you may read the folder and those in it"):
        listings = [class_listing(root) for root in roots]
    if split and listings[0].keys() != listings[1].keys():
        different = ", ".join(sorted(listings[0].keys() ^ listings[1].keys()))
        raise DataError(f"{folder}: train and test must have the same classes; {different} is in one of them only")
    files = [[path for paths in listing.values() for path in paths] for listing in listings]
    labels = [np.repeat(np.arange(len(found)), [len(paths) for paths in found.values()]) for found in listings]
    if channels is None:
        channels = 1 if all(is_grey(path) for paths in files for path in paths) else 3
    how = Preprocessing(DEFAULT_SIZE if size is None else size, channels, invert)
    parts = [Part(read_pictures(paths, how), numbers, str(folder)) for paths, numbers in zip(files, labels)]
    return Dataset.of_parts(str(folder), parts, list(listings[0]), how)


def class_listing(root: Path) -> dict[str, list[Path]]:
    """The picture files of every class, classes and files sorted by name; hidden and other files are passed over."""
    visible = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(visible) < 2:
        found = f"only one class ({visible[0].name})" if visible else "no sub-folders"
        raise DataError(f"{root}: {found}; one sub-folder per class, at least two, was expected; add them")
    listing = {}
    for entry in visible:
        pictures = sorted(file for file in entry.iterdir() if is_picture(file))
        if not pictures:
            raise DataError(
                f"{entry}: no pictures ({', '.join(suffix[1:] for suffix in SUFFIXES)}) in this class folder; put some "
                "there, or delete it (a folder that is already split has train and test, each with the class folders)"
            )
        listing[entry.name] = pictures
    return listing


def is_picture(path: Path) -> bool:
    """Whether a directory entry counts as a picture: a visible file with one of SUFFIXES."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
