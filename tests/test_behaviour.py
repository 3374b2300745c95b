"""Training gives the bits that behaviour.json holds, where these were written: same NumPy, same BLAS kernel."""

from __future__ import annotations

import json

import pytest
from behaviour import KEPT, cases, environment, trained

EXPECTED = json.loads(KEPT.read_text(encoding="utf-8"))
LONG = ("vgg-small", "two-conv-wide", "fast", "resnet20", "allcnn", "mobile-small", "tiny-99", "record")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case.startswith(LONG) else ()) for case in cases()]
)
def test_twenty_steps_give_the_same_bits(case: str) -> None:
    if environment() not in EXPECTED:
        pytest.skip(
            f"no hashes are kept for {environment()}; python tests/behaviour.py REVISION compares two revisions"
        )
    expected = EXPECTED[environment()]
    assert case in expected, "a new network: python tests/behaviour.py --write keeps its hash"
    assert trained(*cases()[case]) == expected[case]
