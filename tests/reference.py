"""notebooks/reference.md, written from the docstrings: `python tests/reference.py` writes it anew."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gpucnn
from gpucnn.training import Epoch, History

PAGE = Path(__file__).parent.parent / "notebooks" / "reference.md"
HEAD = """# Reference

Everything public, with the first paragraph of what `help` says of it: `help(gpucnn.layers.Conv2D)` has the rest, the
source of each equation among it. Types are left out here; editors show them. Written by `python tests/reference.py`.
"""
# module -> the classes whose methods are told as well; those from elsewhere, too
MODULES: dict[ModuleType, tuple[type, ...]] = {
    gpucnn: (gpucnn.Model, gpucnn.Network),
    gpucnn.data: (gpucnn.data.Dataset,),
    gpucnn.networks: (),
    gpucnn.layers: (),
    gpucnn.losses: (),
    gpucnn.optimizers: (),
    gpucnn.schedules: (),
    gpucnn.callbacks: (Epoch, History),
    gpucnn.metrics: (),
    gpucnn.report: (),
    gpucnn.estimators: (),
    gpucnn.errors: (),
    gpucnn.ops: (),
}
INNER = {"batch", "examples", "loss_and_accuracy", "meaning", "context_of", "nested", "renested"}  # for gpucnn itself


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What a module holds of its own, or says that it does, by name; no modules and no plain values."""
    said = getattr(module, "__all__", None)
    for name, thing in sorted(inspect.getmembers(module), key=lambda each: each[0].casefold()):
        of = getattr(thing, "__module__", None) or ""
        is_own = name in said if said is not None else not name.startswith("_") and of.startswith(module.__name__)
        if is_own and of.startswith("gpucnn") and (inspect.isclass(thing) or inspect.isfunction(thing)):
            yield name, thing


def methods(of: type) -> Iterator[tuple[str, Any]]:
    """The public ones of a class, properties too, in the order in which they are written."""
    seen = set(INNER)
    for each in of.__mro__:
        for name, thing in vars(each).items():
            if each.__module__.startswith("gpucnn") and name not in seen and _is_told(name, thing):
                seen.add(name)
                yield name, thing


def _is_told(name: str, thing: Any) -> bool:
    of = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
    return not name.startswith("_") and inspect.isfunction(of) and bool(of.__doc__)


def called(name: str, thing: Any) -> str:
    """As it is called, without types: `fit(images, labels, *, epochs=None)`; of a property the name alone."""
    if isinstance(thing, property) or (inspect.isclass(thing) and not _is_made(thing)):
        return name
    signature = inspect.signature(getattr(thing, "__func__", thing))
    plain = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in signature.parameters.values()
        if each.name not in ("self", "cls")
    ]
    text = str(inspect.Signature(plain))
    return name + re.sub(r"<(?:factory|function|the|object)[^<>]*(?:<[^<>]*>)?[^<>]*>", "...", text)


def _is_made(thing: type) -> bool:
    """Whether it says what it is made of: exceptions and protocols do not."""
    own = [each for each in thing.__mro__ if each.__module__.startswith("gpucnn")]
    return not getattr(thing, "_is_protocol", False) and any("__init__" in vars(each) for each in own)


def first_paragraph(thing: Any) -> str:
    """Without a sentence that leads to a list."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.sub(r"(?<=[.]) [^.]*:$", "", text)


def as_markdown(text: str) -> str:
    """What is no code, with the signs that Markdown would read."""
    parts = re.split(r"(`[^`]*`)", text)
    signs = r"<|\*(?=\S)|(?<=\S)\*|(?<!\w)_|_(?!\w)|\](?=\()"
    return "".join(part if k % 2 else re.sub(signs, r"\\\g<0>", part) for k, part in enumerate(parts))


def entry(name: str, thing: Any, indent: str = "") -> str:
    return f"{indent}- `{called(name, thing)}`: {as_markdown(first_paragraph(thing))}"


def page() -> str:
    parts = [HEAD]
    for module, classes in MODULES.items():
        parts.append(f"\n## {module.__name__}\n\n{as_markdown(first_paragraph(module))}\n")
        own = dict(public(module))
        for name, thing in (own | {each.__name__: each for each in classes}).items():
            parts.append(entry(name, thing))
            if thing in classes:
                parts += [entry(each, method, "  ") for each, method in methods(thing)]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(page().splitlines())} lines", file=sys.stderr)
