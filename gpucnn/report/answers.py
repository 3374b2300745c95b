"""What a model says of one picture: its class, the labels that hold, or numbers; and the same in words."""

from __future__ import annotations

from typing import Any

from ..errors import in_digits
from ..losses import CLASSIFICATION, MULTI_LABEL, kind
from ..model.thresholds import in_force


def of(model: Any, numbers: Any, top: int = 1) -> dict[str, Any]:
    """The answer as JSON-able values. numbers (K,): probabilities, or the numbers themselves; top: how many classes."""
    named = {name: float(each) for name, each in zip(model.class_names, numbers)}
    if kind(model.loss) == CLASSIFICATION:
        order = (-numbers).argsort(kind="stable")[:top]
        ranked = [{"label": model.class_names[k], "probability": float(numbers[k])} for k in order]
        return {**ranked[0], **({"top": ranked} if top > 1 else {})}
    if kind(model.loss) == MULTI_LABEL:
        holds = [name for (name, each), least in zip(named.items(), in_force(model)) if each > least]
        return {"labels": holds, "probabilities": named}
    return {"numbers": named}


def in_words(answer: dict[str, Any]) -> str:
    if "label" in answer:
        return ", ".join(f"{each['label']} ({100 * each['probability']:.1f} %)" for each in answer.get("top", [answer]))
    if "numbers" in answer:
        return ", ".join(f"{name} {in_digits(each)}" for name, each in answer["numbers"].items())
    chances = answer["probabilities"]
    return ", ".join(f"{name} ({100 * chances[name]:.1f} %)" for name in answer["labels"]) or "no label"
