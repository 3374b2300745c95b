"""The index of the documents' equations is complete, its functions cite them back, and each gives a number by hand."""

from __future__ import annotations

import ast
import inspect
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worked import WORKED, Worked

import gpucnn
from gpucnn import ops
from gpucnn.errors import SettingError
from gpucnn.ops import EQUATIONS
from gpucnn.ops.index import Equation

# Typed from the documents, in their order: numbers as numbers, headings, and displays that have no number.
CONTENTS: dict[str, list[int | str]] = {
    "single-filter": [
        *["Network", "Forward Pass", "Backward Pass", "Neural Net", "Feature Map[i, j]", "X = (N - L) / 1 + 1"],
        *["Feature Map = ReLU(Feature Map)", "Pooling - Indices", "x, y", "p[i, j]", "Neural Network", "L_1", "L_2"],
        *["L_3", "Cross Entropy", "Back Propagation", "delta^2", "dc/dw^2", "dc/db^2", "dc/da^1", "dc/dz^1", "dc/dw^1"],
        *["dc/db^1", "dc/da^0", "Back fill_map()", "new_map_relu_prime", "fill_dw", "filter", "d_filter_bias"],
    ],
    "two-conv": [
        *["1 Layers", "1. 2D Convolution", 1, 2, 3, "2. Max Pooling 2x2", 4, "3. Flatten", 5],
        *["4. Fully Connected (Dense)", 6, 7, 8, "2 Activation Functions", "1. ReLU", 9, 10, "2. Softmax", 11, 12],
        *["3 Cost Function", "Softmax cross-entropy", 13, 14, 15],
        *["4 Backpropagation", "4.1 General", 16, 17, 18, 19, 20, 21, "4.2 This Case", 22, 23, 24, 25],
    ],
    "binary-sigmoid": [
        *["Overview", "Convolution Walk through", "Cross-correlation", "Size of Output", "Convolution"],
        *["Math Notation", "Valid", "Full", "Convolutional Layer", "Forward propagation"],
        *["(A) Backward Propagation Overview", "(1) dE/dk_ij", "y = B + X * k", "(2) dE/db_i", "(3) dE/dx_i"],
        *["High Level Explanations of the rest of the implementation", "3) Reshape Layer"],
        *["4) Binary Cross Entropy Loss", "5) Sigmoid Activation", "Cross Entropy Loss", "dE/dy_1"],
        *["Sigmoid Activation", "Sigmoid Function", "Sigmoid Derivative"],
    ],
    "avgpool-96": [
        *["Number of Parameters to be Learned", "K_1,m", "K^2_m,n", "W_1", "All biases initialized to zeros"],
        *["FORWARD PASS", "C_m(i, j)", "CP_m(i, j)", "C^2_n(i, j)", "CP^2_n(i, j)", "a_1", "a_2"],
        *["delta_i", "Delta W_2", "Delta b_2", "delta_1", "Delta W_1", "Delta b_1", "delta_flatten"],
        *["delta C^2_n(i, j)", "Delta K^2_m,n(u, v)", "Delta b_n", "delta CP_m(i, j)", "delta C_m(i, j)"],
        *["Delta K_1,m", "Delta b_m", "The model parameters will be updated as"],
    ],
    "layered": [
        *["1 Report", "1.1 Part 1", "2 Notes", "2.1 General", "2.1.0.1 Forward Propagation", 1, 2],
        *["2.1.0.2 Backpropagation", 3, 4, 5, 6, 7, 8, 9, "2.2 Layers", "1. Flatten", 10, 11],
        *["2. Fully Connected (Dense)", 12, 13, 14, "3. 2D Convolution", 15, 16, 17, "4. Max Pooling 2x2", 18, 19],
        *["2.3 Activation Functions", "1. ReLU", 20, 21, "2. Softmax", 22, 23],
        *["2.4 Cost Function", "Softmax cross-entropy", 24, 25, 26],
        *["2.5 This Case", "2.5.0.1 Forward Propagation", 27, 28, "2.5.0.2 Backpropagation", 29, 30],
    ],
}
LAST = {"two-conv": 25, "layered": 30}
ROWS = [pytest.param(row, id=f"{row.document} {row.number}") for row in EQUATIONS]


@pytest.mark.parametrize("document", CONTENTS)
def test_the_index_is_the_documents_contents(document: str) -> None:
    """Every heading, number and display once, in the document's order."""
    found: list[int | str] = []
    for row in EQUATIONS:
        if row.document == document:
            found += [*row.words.split(": ")[:-1], row.number]
    assert found == CONTENTS[document]


def test_no_document_and_no_number_is_missing() -> None:
    assert list(dict.fromkeys(row.document for row in EQUATIONS)) == list(CONTENTS)
    for document, last in LAST.items():
        numbers = [row.number for row in EQUATIONS if row.document == document and isinstance(row.number, int)]
        assert numbers == list(range(1, last + 1))


def test_an_equation_is_found_by_its_number() -> None:
    assert ops.equation("two-conv", 16).function == "Network.forward"
    assert ops.equation("single-filter", "fill_dw").function == "ops.correlate_backward"
    with pytest.raises(SettingError, match=r"equation 'two-conv', 26 is not known; choose one of 1, 2, .*, 25$"):
        ops.equation("two-conv", 26)
    with pytest.raises(SettingError, match=r"choose one of single-filter, two-conv, .*, layered$"):
        ops.equation("two-convs", 1)


# Citations


NUMBERS = re.compile(r"(two-conv|layered) eq\. (\(\d+\)(?:(?:, | and )\(\d+\))*)")
QUOTES = re.compile(rf'({"|".join(CONTENTS)}), ("[^"]+"(?:(?:, | and )"[^"]+")*)')


def text_of(thing: Any) -> str:
    """Its docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split())


def citations(text: str) -> set[tuple[str, int | str]]:
    """(document, number): two-conv eq. (2), (3), or binary-sigmoid, "Valid" and "Full"."""
    numbers = {(document, int(n)) for document, found in NUMBERS.findall(text) for n in re.findall(r"\d+", found)}
    return numbers | {(document, n) for document, found in QUOTES.findall(text) for n in re.findall('"([^"]+)"', found)}


def resolved(name: str) -> Any:
    return operator.attrgetter(name)(gpucnn)


def rows_of(thing: Any) -> set[tuple[str, int | str]]:
    return {(row.document, row.number) for row in EQUATIONS if resolved(row.function) is thing}


def citing() -> list[str]:
    """What may cite only what the index gives to it. Layers may cite the equations of `ops` that they are made of."""
    names = {row.function for row in EQUATIONS}
    for place in ("ops", "losses", "optimizers", "networks", "Network", "Model"):
        for name, thing in vars(resolved(place)).items():
            if inspect.isclass(thing) or inspect.isfunction(thing):
                names.add(f"{place}.{name}")
    return sorted(name for name in names if "gpucnn.layers" not in resolved(name).__module__)


@pytest.mark.parametrize("row", ROWS)
def test_each_function_exists_and_cites_its_equations_back(row: Equation) -> None:
    assert (row.document, row.number) in citations(text_of(resolved(row.function)))


@pytest.mark.parametrize("name", citing())
def test_no_function_cites_an_equation_of_another(name: str) -> None:
    """Nor is a number in brackets, outside quotation marks, that of another equation."""
    text, rows = text_of(resolved(name)), rows_of(resolved(name))
    mentioned = {int(n) for n in re.findall(r"\((\d+)\)", re.sub('"[^"]*"', "", text))}
    assert citations(text) <= rows
    assert mentioned <= {number for _, number in rows}


def docstrings() -> Iterator[str]:
    for path in sorted(Path(gpucnn.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield " ".join((ast.get_docstring(node) or "").split())


def test_no_citation_points_nowhere_or_hides_numbers_in_a_range() -> None:
    known = {(row.document, row.number) for row in EQUATIONS}
    for text in docstrings():
        assert citations(text) <= known, text
        assert not re.search(r"\(\d+\) to \(\d+\)|\beq\. \d|(?:two-conv|layered) \(\d", text), text


# Numbers by hand


EXAMPLES = {(document, n): example for example in WORKED for document, found in example.rows.items() for n in found}


def test_every_equation_has_one_example() -> None:
    assert set(EXAMPLES) == {(row.document, row.number) for row in EQUATIONS}
    assert len(EXAMPLES) == sum(len(found) for example in WORKED for found in example.rows.values())


@pytest.mark.parametrize("row", ROWS)
def test_each_equation_gives_the_number_worked_by_hand(row: Equation) -> None:
    example: Worked = EXAMPLES[row.document, row.number]
    found = example.call(resolved(row.function))
    if isinstance(example.expected, str | dict):
        assert found == example.expected
    else:
        assert np.shape(found) == np.shape(example.expected)
        np.testing.assert_allclose(found, example.expected, rtol=1e-12, atol=1e-15)
