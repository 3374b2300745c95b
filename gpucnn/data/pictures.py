"""Pictures, from files or as Pillow has them, as uint8 arrays."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, warn
from ..workers import default_threads
from .checks import Images
from .files import check_file, check_limit, parsing
from .heard import SAID, action, heard
from .preprocessing import CROP, Preprocessing
from .strokes import FAINT

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow runs other programs for some of the rest
REMEDY = "leave it out, or save it again as PNG"
_opening = threading.Lock()
DARK = 16  # the largest value of pictures that may have been meant as brighter ones
ORIENTATION, LYING = 0x0112, range(5, 9)  # EXIF's name, and values of pictures whose rows are stored as columns
AMPLE = 2  # times the wanted size, which a decoder that makes less than all pixels must leave
MOST_THREADS = 8  # each of which holds a decoded picture
BLOCK = 256  # pictures that are in hand at once
COPIES = 4  # of a decoded picture, while it is turned and put on paper

Thing = TypeVar("Thing")
Made = TypeVar("Made")


def side_by_side(work: Callable[[Thing], Made], things: Sequence[Thing]) -> Iterator[Made]:
    """work of each thing, in order, on several CPUs: Pillow lets go of Python's lock while it decodes and scales."""
    threads = min(default_threads(), MOST_THREADS, len(things))
    if threads < 2:
        yield from map(work, things)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        for start in range(0, len(things), BLOCK):
            yield from pool.map(work, things[start : start + BLOCK])
    finally:
        pool.shutdown(cancel_futures=True)


def is_picture_or_path(thing: Any) -> bool:
    """Whether it is the path of a file, or a picture of Pillow."""
    if isinstance(thing, (str, os.PathLike)):
        return True
    pillow = sys.modules.get("PIL.Image")  # whoever has a picture has imported it
    return pillow is not None and isinstance(thing, pillow.Image)


def read_pictures(
    paths: Iterable[Any], preprocessing: Preprocessing, notes: dict[str, list[str]] | None = None
) -> Images:
    """The pictures as uint8 (N, H, W, C), in the order given; of a moving picture the first frame.

    paths: of files; pictures of Pillow may be among them. notes: gets, by path, sentences about what was done to a
    picture, and what Pillow warns of; without it the latter is warned of. DataError naming the first file that is
    missing or not a picture, and for no paths at all.
    """
    listed: list[Any] = [paths] if is_picture_or_path(paths) else list(paths)
    if not listed:
        raise DataError("no picture files were given; name at least one")
    images = np.empty((len(listed), *preprocessing.size, preprocessing.channels), np.uint8)

    def read(k: int) -> list[str]:
        said: list[str] = []
        if isinstance(listed[k], (str, os.PathLike)):
            images[k] = read_picture(Path(listed[k]), preprocessing, said)
        else:
            where = "the picture" if len(listed) == 1 else f"picture {k}"
            with heard(said), parsing(where, "cannot be read as a picture", REMEDY):
                file = _undecoded(listed[k])
                made = brought if file is None else decoded
                images[k] = made(listed[k] if file is None else file, where, preprocessing, said)
            listed[k] = where
        return said

    are_files = all(isinstance(each, (str, os.PathLike)) for each in listed)  # one of Pillow's may be there twice
    for k, said in enumerate((side_by_side if are_files else map)(read, range(len(listed)))):
        if notes is None:
            for text in said:
                if text.startswith(SAID):
                    warn(f"{listed[k]}: {text}")
        elif said:
            notes[str(listed[k])] = said
    return images


def _undecoded(picture: Any) -> Any:
    """The file of a JPEG that Pillow has opened and nobody has decoded or turned, to be read as one by its path is; or
    None."""
    if picture.format not in ("JPEG", "MPO") or not getattr(picture, "tile", None) or picture.decoderconfig:
        return None
    from PIL import Image

    stored = Image.Exif()
    stored.load(picture.info.get("exif"))
    is_as_stored = picture.tell() == 0 and picture.getexif().get(ORIENTATION) == stored.get(ORIENTATION)
    return picture.fp if is_as_stored else None


def read_picture(path: Path, preprocessing: Preprocessing, said: list[str] | None = None) -> NDArray[np.uint8]:
    """One picture, upright as its camera recorded, as uint8 (H, W, C). Transparent parts become white paper,
    or black where nothing is seen on white.
    """
    check_file(path)
    return decoded(path, path, preprocessing, said)


def decoded(
    source: Any, where: object, preprocessing: Preprocessing, said: list[str] | None = None
) -> NDArray[np.uint8]:
    """The picture in a file or a stream, as `read_picture` gives it. where: its place, for messages; said: gets what
    was done to it, and what Pillow warns of.

    Where a JPEG is much larger than what is wanted, it is decoded at a half, a quarter or an eighth of its size.
    """
    with opened(source, where, said) as file:
        scaled = None
        if preprocessing.strokes is None:
            scaled = preprocessing.scaled(*upright(file))
            height, width = (AMPLE * side for side in scaled)
            if file.draft(None, (height, width) if _lies(file) else (width, height)) is None:
                scaled = None  # all of it is decoded, and says itself what it is
        return brought(file, where, preprocessing, said, scaled)


def brought(
    file: Any,
    where: object,
    preprocessing: Preprocessing,
    said: list[str] | None = None,
    scaled: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """A picture of Pillow, as `read_picture` gives one. scaled: the height and width that it is to have in the image,
    where it was decoded at a part of its size.
    """
    from PIL import ImageOps

    noted: list[str] = [] if said is None else said
    if said is not None and _frames(file) > 1:
        noted.append("of its frames the first one was taken")
    picture = eight_bits(ImageOps.exif_transpose(file), where, file.format)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture, paper = _on_paper(picture.convert("RGBA"))
        noted += [f"its transparent parts were laid on {paper}"] * bool(paper)
    if picture.mode == "LAB":  # which Pillow brings to RGB alone
        picture = picture.convert("RGB")
    mode = "L" if preprocessing.channels == 1 else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    if preprocessing.strokes is not None:
        grey = np.asarray(picture.convert("L"))
        made, done = preprocessing.strokes.brought(255 - grey if preprocessing.invert else grey, preprocessing.size)
        noted += done
        return np.repeat(made[..., None], preprocessing.channels, axis=2)
    if 0 < max(np.ravel(picture.getextrema())[1::2]) <= DARK:
        noted.append(
            f"it is nearly black: no value is above {DARK} of 255; where such a value is white, save it anew, brighter"
        )
    values = _fitted(picture, preprocessing, scaled or preprocessing.scaled(picture.height, picture.width))
    return 255 - values if preprocessing.invert else values


def _fitted(picture: Any, how: Preprocessing, scaled: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture in one of how's channels -> (H, W, C). scaled: the height and width that it is to have there."""
    from PIL import Image, ImageOps

    by = Image.Resampling.BILINEAR
    if how.fit == CROP:
        made = ImageOps.fit(picture, how.size[::-1], method=by)
    else:
        made = picture.resize(scaled[::-1], by)
    values = np.asarray(made).reshape(made.height, made.width, how.channels)
    return values if values.shape[:2] == how.size else _edged(values, how.size)


def _edged(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, C) in the middle of (H, W, C); each edge has the median, by channel, of the row or column beside it."""
    (h, w), (H, W) = values.shape[:2], size
    top, left = (H - h) // 2, (W - w) // 2
    made = np.empty((H, W, values.shape[2]), np.uint8)
    made[:top], made[top + h :] = _median(values[0]), _median(values[-1])
    within = made[top : top + h]
    within[:, :left], within[:, left + w :] = _median(values[:, 0]), _median(values[:, -1])
    within[:, left : left + w] = values
    return made


def _median(line: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The median of pixels (n, C) by channel, (C,): of the two in the middle the larger one."""
    return np.sort(line, axis=0)[len(line) // 2]


def _frames(file: Any) -> int:
    """How many frames there are; 1 where the file does not say, or is damaged behind its first one."""
    with suppress(Exception):
        return int(getattr(file, "n_frames", 1))
    return 1


def _on_paper(colours: Any) -> tuple[Any, str]:
    """A picture in RGBA laid on white, or on black where nothing is seen of it on white; and the paper's name, or ""
    where no pixel is transparent.
    """
    from PIL import Image

    made: Any = None
    for paper in ("white", "black"):
        made = Image.alpha_composite(Image.new("RGBA", colours.size, paper), colours)
        least, most = made.convert("L").getextrema()
        if most - least >= FAINT:
            break
    else:
        made, paper = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours), "white"
    return made, paper if colours.getextrema()[3][0] < 255 else ""


@contextmanager
def opened(source: Any, where: object, said: list[str] | None = None) -> Iterator[Any]:
    """An open Pillow picture; whatever is wrong with it, now or while it is decoded, becomes a DataError. said: gets
    what Pillow warns of.
    """
    with (
        heard([] if said is None else said),
        parsing(where, "cannot be read as a picture", REMEDY),
        identified(source, where) as picture,
    ):
        bytes_each = 1 if picture.mode in ("1", "L") else 4
        check_limit(COPIES * bytes_each * picture.width * picture.height, where)
        yield picture


def identified(source: Any, where: object) -> Any:
    """The picture as one of FORMATS, with its header read. Pillow's own limit is for those who have no other, and for
    those whose filters of warnings make it an error.
    """
    from PIL import Image, UnidentifiedImageError

    with _opening:
        usual = Image.MAX_IMAGE_PIXELS
        if action("Image size", Image.DecompressionBombWarning, "PIL.Image") != "error":
            Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(source, formats=FORMATS)
        except UnidentifiedImageError:  # whose text would show a stream as Python does
            raise DataError(f"{where}: cannot be read as a picture (cannot identify image file); {REMEDY}") from None
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def upright(picture: Any) -> tuple[int, int]:
    """Height and width of an open picture, once it is turned as its camera says; only its header is read."""
    return (picture.width, picture.height) if _lies(picture) else (picture.height, picture.width)


def is_grey(mode: str) -> bool:
    """Whether pictures of Pillow in that mode have one channel."""
    return mode in ("1", "L", "LA") or mode.startswith("I")


def _lies(picture: Any) -> bool:
    """Whether the rows of an open picture are stored as columns, as its camera says."""
    is_told = picture.format != "PNG" or "exif" in picture.info  # of a PNG, Pillow would decode all to look for it
    return is_told and picture.getexif().get(ORIENTATION) in LYING


def eight_bits(picture: Any, where: object, kind: str | None) -> Any:
    """The picture with 8 bits per channel: Pillow would cut 16-bit values off at 255 instead of scaling them.

    kind: of its file. DataError for values whose range the file does not say.
    """
    from PIL import Image

    if picture.mode == "F":
        raise DataError(f"{where}: holds floating-point values, whose range is unknown; save it again as 8-bit PNG")
    if picture.mode == "I" and kind not in ("PNG", "PPM"):  # in these it is how Pillow holds 16 bits
        raise DataError(f"{where}: holds 32-bit values, 8 or 16 bits were expected; save it again as 8-bit PNG")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    return Image.fromarray(((2 * 255 * values + 65535) // (2 * 65535)).astype(np.uint8))
