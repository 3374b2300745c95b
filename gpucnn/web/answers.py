"""What the page shows of one picture, as JSON-able values with small PNG images inside."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import numpy as np

from ..data.pictures import decoded
from ..data.preprocessing import reading
from ..errors import check_answer
from ..losses import OUTPUTS, kind
from ..model import Model
from ..report import answers, inside

MAPS = 16  # of a layer


class Answers:
    """A model that is asked about one picture at a time. Raises GpucnnError for one that cannot take pictures."""

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name
        self.how = reading(model.preprocessing, model.network.input_shape, name)
        self._one_at_a_time = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the page needs to know before anything is drawn."""
        return {
            "name": self.name,
            "network": self.model.name,
            "parameters": self.model.layout.size,
            "kind": kind(self.model.loss),
            "outputs": OUTPUTS[kind(self.model.loss)],
            "classes": list(self.model.class_names),
            "drawn": self.how.strokes is not None,
        }

    def look(self, content: bytes) -> dict[str, Any]:
        """A picture file -> probabilities, or numbers, the largest one's place, the answer in words, the picture as the
        network meets it, and why. Raises GpucnnError.
        """
        said: list[str] = []
        with self._one_at_a_time:  # the picture too: decoded, it may be large
            pixels = decoded(io.BytesIO(content), "the picture", self.how, said)
            with np.errstate(over="ignore", invalid="ignore"):
                look = inside.look(self.model, pixels[None])
            check_answer(float(look.probabilities.sum()), f"{self.name}: a probability or number")
            k = int(look.classes[0])
            return {
                "class": k,
                "answer": answers.in_words(answers.of(self.model, look.probabilities[0])),
                "probabilities": [float(p) for p in look.probabilities[0]],
                "said": said,
                "picture": _png(pixels if pixels.shape[2] == 3 else pixels[..., 0]),
                "pixels": _coloured(look.saliency()[0]),
                "regions": _coloured(look.grad_cam()[0]) if _has_maps(look) else None,
                "layers": [
                    {"name": seen.name, "about": seen.about, "channels": seen.y.shape[3], "maps": _maps(seen.y[0])}
                    for seen in look.layers
                    if seen.y.ndim == 4
                ],
            }


def _has_maps(look: inside.Look) -> bool:
    return any(seen.y.ndim == 4 and seen.y.shape[1:3] != (1, 1) for seen in look.layers)


def _maps(y: np.ndarray) -> list[str]:
    """(H, W, C) -> the first maps as grey pictures on one scale."""
    some = y[:, :, :MAPS]
    least, most = float(some.min()), float(some.max())
    grey = (255 * (some - least) / max(most - least, 1e-30)).astype(np.uint8)
    return [_png(grey[:, :, k]) for k in range(grey.shape[2])]


def _coloured(values: np.ndarray) -> str:
    """(H, W), from 0 up -> cividis, from blue to yellow, readable to eyes that tell few colours apart."""
    from matplotlib import colormaps

    return _png(colormaps["cividis"](values / max(float(values.max()), 1e-30), bytes=True)[..., :3])


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
