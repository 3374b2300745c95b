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
from gpucnn.errors import SettingError, ShapeError
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
    assert ops.equation("two-conv", "16") == ops.equation("two-conv", 16)
    assert ops.equation("single-filter", "fill_dw").function == "ops.correlate_backward"
    with pytest.raises(SettingError, match=r"equation 'two-conv', 26 is not known; choose one of 1; 2; .*; 25$"):
        ops.equation("two-conv", 26)
    with pytest.raises(SettingError, match=r"choose one of single-filter; two-conv; .*; layered$"):
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


def _drawn(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


GRADIENTS = {  # of a dy of the shape that is named first; each takes no other
    "correlate": ((2, 3, 3, 4), lambda dy: ops.correlate_backward(_drawn(2, 5, 5, 3), _drawn(3, 3, 3, 4), dy)),
    "convolve": ((2, 3, 3, 4), lambda dy: ops.convolve_backward(_drawn(2, 5, 5, 3), _drawn(3, 3, 3, 4), dy)),
    "depthwise": (
        (2, 3, 3, 6),
        lambda dy: ops.depthwise_correlate_backward(_drawn(2, 5, 5, 3), _drawn(3, 3, 1, 6), dy),
    ),
    "transposed": (
        (2, 5, 5, 3),
        lambda dy: ops.transposed_correlate_backward(_drawn(2, 3, 3, 4), _drawn(3, 3, 3, 4), dy),
    ),
    "max_pool": (
        (2, 2, 2, 3),
        lambda dy: ops.max_pool_backward(_drawn(2, 4, 4, 3), ops.max_pool(_drawn(2, 4, 4, 3)), dy),
    ),
    "max_pool, y": ((2, 2, 2, 3), lambda y: ops.max_pool_backward(_drawn(2, 4, 4, 3), y, _drawn(2, 2, 2, 3))),
    "back_fill": ((2, 2, 2, 3), lambda dy: ops.back_fill(np.zeros((2, 2, 2, 3), int), dy, (4, 4))),
    "back_fill, indices": ((2, 2, 2, 3), lambda at: ops.back_fill(at.astype(int), _drawn(2, 2, 2, 3), (4, 4))),
    "average_pool": ((2, 2, 2, 3), lambda dy: ops.average_pool_backward(dy, (5, 5))),
    "place": ((2, 2, 2, 3), lambda dy: ops.part_backward(dy, (slice(1, 3), slice(1, 3), slice(3)), (5, 5, 3))),
    "upsample": ((2, 4, 4, 3), lambda dy: ops.upsample_backward(dy, (4, 4), "bilinear")),
    "dense": ((2, 4), lambda dy: ops.dense_backward(_drawn(2, 3), _drawn(3, 4), dy)),
    "flatten": ((2, 12), lambda dy: ops.flatten_backward(dy, (2, 2, 3))),
    "relu": ((2, 4), lambda dy: ops.relu_backward(_drawn(2, 4), dy)),
    "sigmoid": ((2, 4), lambda dy: ops.sigmoid_backward(_drawn(2, 4), dy)),
    "tanh": ((2, 4), lambda dy: ops.tanh_backward(_drawn(2, 4), dy)),
    "leaky_relu": ((2, 4), lambda dy: ops.leaky_relu_backward(_drawn(2, 4), dy)),
    "prelu": ((2, 4), lambda dy: ops.prelu_backward(_drawn(2, 4), dy, _drawn(4))),
    "elu": ((2, 4), lambda dy: ops.elu_backward(_drawn(2, 4), dy)),
    "gelu": ((2, 4), lambda dy: ops.gelu_backward(_drawn(2, 4), dy)),
    "gelu_tanh": ((2, 4), lambda dy: ops.gelu_tanh_backward(_drawn(2, 4), dy)),
    "silu": ((2, 4), lambda dy: ops.silu_backward(_drawn(2, 4), dy)),
    "softplus": ((2, 4), lambda dy: ops.softplus_backward(_drawn(2, 4), dy)),
    "hardswish": ((2, 4), lambda dy: ops.hardswish_backward(_drawn(2, 4), dy)),
    "softmax": ((2, 4), lambda ds: ops.softmax_backward(_drawn(2, 4), ds)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_refuse_a_dy_that_does_not_fit(name):
    shape, gradient = GRADIENTS[name]
    gradient(_drawn(*shape))
    free = {"upsample": (0, 3), "average_pool": (0, 3), "place": (0,), "flatten": (0,)}.get(name, ())
    for axis in set(range(len(shape))) - {*free}:
        for length in {1, shape[axis] - 1, shape[axis] + 1, shape[axis] + 2} - {shape[axis], 0}:
            with pytest.raises(ShapeError):
                gradient(_drawn(*shape[:axis], length, *shape[axis + 1 :]))
    if name != "flatten":
        with pytest.raises(ShapeError):
            gradient(_drawn(*shape, 1))


LOSSES = {
    "softmax_cross_entropy": ops.softmax_cross_entropy,
    "weighted_cross_entropy": ops.weighted_cross_entropy,
    "sigmoid_cross_entropy": ops.sigmoid_cross_entropy,
    "weighted_sigmoid_cross_entropy": lambda z, y: ops.weighted_sigmoid_cross_entropy(z, y, np.ones(3)),
    "cross_entropy": ops.cross_entropy,
    "cross_entropy_backward": ops.cross_entropy_backward,
    "binary_cross_entropy": ops.binary_cross_entropy,
    "binary_cross_entropy_backward": ops.binary_cross_entropy_backward,
    "focal_cross_entropy": lambda z, y: ops.focal_cross_entropy(z, y, 2.0),
    "mean_squared_error": ops.mean_squared_error,
    "huber": lambda z, y: ops.huber(z, y, 1.0),
    "hinge": ops.hinge,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_refuse_targets_of_another_shape(name):
    loss, z = LOSSES[name], np.full((3, 3), 1 / 3)
    loss(z, np.eye(3))
    for y in (np.array([0, 1, 2]), np.zeros((3, 1)), np.zeros((1, 3)), np.zeros((3, 3, 1))):
        with pytest.raises(ShapeError, match="`one_hot` makes rows of class numbers"):
            loss(z, y)
    with pytest.raises(ShapeError, match=r"y has shape \(3,\), \(3, 1\) was expected"):
        loss(z[:, :1], np.zeros(3))
    with pytest.raises(ShapeError, match="a row for each example"):
        loss(z[0], np.zeros(3))
    with pytest.raises(ShapeError, match=r"labels \(N,\)"):
        ops.one_hot(np.array([[0], [1]]), 3, z.dtype)


def test_numbers_of_any_library_are_settings_of_windows_and_errors_name_what_was_given():
    x, w = _drawn(1, 5, 5, 4), _drawn(3, 3, 2, 4)
    same = {"stride": np.int64(2), "padding": (np.int32(1), 1), "dilation": np.array(1), "groups": np.int64(2)}
    plain = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    np.testing.assert_array_equal(ops.correlate(x, w, **same), ops.correlate(x, w, **plain))
    for wrong in (0, -1, 1.0, True):
        with pytest.raises(ShapeError, match=f"groups={wrong!r}: a whole number of at least 1 was expected"):
            ops.correlate(x, w, groups=wrong)
        with pytest.raises(ShapeError, match=f"stride={wrong!r}"):
            ops.correlate(x, w, groups=2, stride=wrong)
    with pytest.raises(ShapeError, match=r"a window that spans 7 x 7 pixels .* use a smaller window"):
        ops.max_pool(x, 7)
    with pytest.raises(ShapeError, match=r"a kernel that spans 3 x 3 pixels .* use a smaller kernel"):
        ops.correlate(x[:, :2], w, groups=2)


def test_of_two_precisions_the_result_has_the_finer_one_in_either_order():
    for verb, w in ((ops.correlate, _drawn(3, 3, 3, 4)), (ops.depthwise_correlate, _drawn(3, 3, 1, 6))):
        x = _drawn(2, 5, 5, 3)
        for types in (("float32", "float64"), ("float64", "float32")):
            y = verb(x.astype(types[0]), w.astype(types[1]))
            assert y.dtype == np.float64
            np.testing.assert_allclose(y, verb(*(a.astype(t).astype(float) for a, t in zip((x, w), types))), rtol=1e-12)
    x, w = _drawn(2, 3, 3, 4).astype("float32"), _drawn(3, 3, 3, 4)
    assert ops.transposed_correlate(x, w, (5, 5)).dtype == np.float64


def test_back_fill_takes_the_windows_that_the_pool_takes():
    x = _drawn(2, 7, 6, 3)
    for more in ({"dilation": 2}, {"ceil_mode": True}, {"window": 3, "padding": 1, "ceil_mode": True}):
        y, indices = ops.max_pool_with_indices(x, **more)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        expected = ops.max_pool_backward(x, y, dy, **more)
        np.testing.assert_array_equal(ops.back_fill(indices, dy, (7, 6), **more), expected)
