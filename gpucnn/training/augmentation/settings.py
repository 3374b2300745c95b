"""What an augmentation may be set to, as values and as a text; and what suits a data set that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ...errors import SettingError, nearest
from .mixtures import LARGEST_ALPHA


@dataclass(frozen=True)
class Number:
    """A setting that is a number from 0 to most. unit: of the text; whole: whether it is an int."""

    unit: str
    most: float
    whole: bool = False

    def takes(self, value: Any) -> bool:
        kinds = int if self.whole else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value <= self.most

    @property
    def expected(self) -> str:
        return f"{'a whole number of pixels, an int,' if self.whole else 'a number'} from 0 to {self.most:g}"


NUMBERS = {
    "shift": Number("PIXELS", (1 << 16) - 1, whole=True),
    "rotate": Number("DEGREES", 180),
    "zoom": Number("PART", 0.9),
    "elastic": Number("PIXELS", 1000),
    "cutout": Number("PIXELS", (1 << 16) - 1, whole=True),
    "brightness": Number("PART", 1),
    "contrast": Number("PART", 1),
    "mixup": Number("ALPHA", LARGEST_ALPHA),
    "cutmix": Number("ALPHA", LARGEST_ALPHA),
}
MOVES = ("shift", "rotate", "zoom", "elastic")
ALTERNATE = "alternate"
KNOWN = {name: f"{name}={number.unit}" for name, number in NUMBERS.items()} | {
    "flip": f"flip or flip={ALTERNATE}",
    "reflect": "reflect",
}


def check(how: Any) -> None:
    """Raises SettingError for values of an Augmentation that cannot be."""
    for name, number in NUMBERS.items():
        value = getattr(how, name)
        if not number.takes(value):
            raise SettingError(f"augmentation: {name}={value!r}, {number.expected} was expected")
    if not (isinstance(how.flip, bool) or how.flip == ALTERNATE) or not isinstance(how.key, int):
        raise SettingError(
            f'augmentation: flip={how.flip!r}, key={how.key!r}; True, False or "{ALTERNATE}", and an int were expected'
        )
    if not isinstance(how.updates, int) or how.updates < 0:
        raise SettingError(f"augmentation: updates={how.updates!r}; an int of at least 0 was expected")
    if not (how.flip or any(getattr(how, name) for name in NUMBERS)):
        raise SettingError("augmentation: nothing is changed; give shift=2, flip, or both, or leave it out")
    if how.reflect and not any(getattr(how, name) for name in MOVES):
        raise SettingError(
            f"augmentation: reflect says what comes in at the edge where images move; give {', '.join(MOVES[:-1])} or "
            f"{MOVES[-1]} with it"
        )


def check_images(how: Any, input_shape: tuple[int, ...]) -> None:
    """Raises SettingError for images that are too small for an Augmentation, or are none."""
    if len(input_shape) != 3:
        raise SettingError(
            f"augmentation: the network's input is {input_shape}, which has no rows and columns to move; give it "
            "images (H, W, C), with Flatten() as its first layer, or leave the augmentation out"
        )
    smallest = min(input_shape[:2])
    for name, most in (("shift", smallest), ("cutout", smallest), ("elastic", smallest / 8)):
        if getattr(how, name) and getattr(how, name) >= most:
            raise SettingError(
                f"augmentation: {name}={getattr(how, name)} needs images that are larger, and the network's input is "
                f"{input_shape}; choose a smaller {name}, below {most:g}"
            )
    if how.reflect and smallest < 2:
        raise SettingError(f"augmentation: an image of {input_shape} has nothing to reflect; leave reflect out")


def check_updates(how: Any) -> None:
    """Raises SettingError for alternating flips of epochs whose length is not known."""
    if not how.updates:
        raise SettingError(
            "augmentation: flip=alternate needs the number of updates of an epoch; give updates=..., as Model.fit does"
        )


def parse(text: str) -> dict[str, Any]:
    """The arguments of an Augmentation that a text such as "shift=2,reflect,flip" asks for. Raises SettingError."""
    found: dict[str, Any] = {}
    for part in text.replace(" ", "").split(","):
        name, equals, value = part.partition("=")
        if name in found:
            raise SettingError(f"augmentation {text!r}: {name} stands there twice; give it once")
        if name in NUMBERS and (number := _number(value, whole=NUMBERS[name].whole)) is not None:
            found[name] = number
        elif name in ("flip", "reflect") and not equals:
            found[name] = True
        elif part == f"flip={ALTERNATE}":
            found[name] = ALTERNATE
        else:
            raise SettingError(f"augmentation {text!r}: {_wrong(part, name)}")
    return found


def _number(text: str, *, whole: bool) -> float | None:
    """What a text of digits, with a point or not, stands for; None where it is none."""
    if not text.isascii() or not text.replace(".", "", 0 if whole else 1).isdecimal() or len(text) > 20:
        return None
    number = int(text) if whole else float(text)
    return number if math.isfinite(number) else None


def _wrong(part: str, name: str) -> str:
    """What is wrong with a part of a text, and what can be there."""
    if name in KNOWN:
        return f"{part} cannot be read, {KNOWN[name]} was expected"
    if part in ("default", "none"):
        return f"{part!r} stands alone; leave out the others, or it"
    near = nearest(name, KNOWN)
    hint = f"did you mean {KNOWN[near]}? " if near else ""
    return f"{part!r} is not known; {hint}give one or more of {', '.join(KNOWN.values())}, with commas between"


def text(how: Any) -> str:
    """What `parse` takes for an Augmentation."""
    shown = [f"{name}={_shortest(getattr(how, name))}" for name in NUMBERS if getattr(how, name)]
    flip = {False: [], True: ["flip"]}.get(how.flip, [f"flip={how.flip}"])
    place = bool(how.shift)
    return ",".join([*shown[:place], *["reflect"] * how.reflect, *flip, *shown[place:]])


def _shortest(value: float) -> str:
    """A number as one writes it: 10 for 10.0."""
    return str(int(value)) if value == int(value) else f"{Decimal(repr(float(value))):f}"


def usual(data: str, input_shape: tuple[int, int, int]) -> str:
    """The text of an augmentation that suits the data set of that name, or any other of images of that shape.

    Digits are not mirrored, nor are pictures of which nothing is known: letters and signs may be among them.
    """
    if data in ("digits", "mnist"):
        return "shift=2,rotate=10,zoom=0.1"
    if data == "fashion-mnist":
        return "shift=2,flip"
    if data == "cifar10":
        return f"shift=4,reflect,flip={ALTERNATE}"
    shift = min(input_shape[:2]) // 14
    return ",".join([f"shift={shift}"] * bool(shift) + ["rotate=10", "zoom=0.1", "brightness=0.1", "contrast=0.1"])
