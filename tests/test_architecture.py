"""Who may import whom, what `import gpucnn` leaves alone, and that every equation says where it comes from."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import gpucnn
from gpucnn import layers, ops

ROOT = Path(gpucnn.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

# From the ground up; a file belongs to the longest of these names that it begins with.
FLOORS = (
    *("errors", "namespace names", "device", "ops", "kernels", "layers", "network"),
    *("losses optimizers schedules metrics", "training callbacks", "kernels/cpu kernels/cuda", "workers", "engine"),
    *("onnx", "networks", "data", "model", "report estimators", "web", "command"),
)
PLAIN = [name for name in FILES if name.startswith(("ops/", "layers/")) and name != "layers/initializers.py"]
CUPY = {"device/obstacle.py", "kernels/cuda/__init__.py"}
LATE = {"cudnn", "cupy", "numba", "matplotlib", "onnx", "sklearn", "torch", "PIL", "typer", "pooch", "rich"}
LATE |= {"pandas", "tensorboard"}

DOCUMENTS = ("single-filter", "two-conv", "binary-sigmoid", "avgpool-96", "layered")
PAPER = re.compile(r"\b[A-Z][\w'-]+(?:(?:, | and )[A-Z][\w'-]+)*(?: et al\.)?, (?:19|20)\d\d\b")
# of callbacks, layers and optimisers: `Callback`, `Layer` and `Optimizer` say what they are asked
FULFILLED = {"begin", "measure", "epoch", "end", "state", "load_state", "update_parameter", "reduce"}
HELPERS = {"Window", "pooling_window", "one_hot"}
FUNCTIONS = [name for name in ops.__all__ if callable(getattr(ops, name))]


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def absolute(name: str, node: ast.ImportFrom) -> str:
    """The dotted module that `from ... import` in the file `name` means."""
    if not node.level:
        return node.module or ""
    package = ["gpucnn", *name.split("/")[:-1]]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def imports(name: str, nodes: Iterator[ast.AST] | None = None) -> Iterator[tuple[str, str]]:
    """(module, imported name or "") for each import in a file, those inside functions too, and import_module("...")."""
    for node in nodes or ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((absolute(name, node), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((arg.value, "") for arg in node.args[:1] if isinstance(arg, ast.Constant))


def used(name: str, nodes: Iterator[ast.AST] | None = None) -> set[str]:
    """The files of gpucnn that a file imports, inside functions too unless nodes are given."""
    found = set()
    for module, imported in imports(name, nodes):
        for dotted in (f"{module}.{imported}", module):
            path = dotted.removeprefix("gpucnn").strip(".").replace(".", "/")
            match = [file for file in (f"{path}.py", f"{path}/__init__.py".lstrip("/")) if file in FILES]
            if dotted.split(".")[0] == "gpucnn" and match:
                found.add(match[0])
                break
    return found


def floor(name: str) -> int:
    """The number of a file's floor, from the ground."""
    module = name.removesuffix("/__init__.py").removesuffix(".py")
    parts = [(part, k) for k, floor in enumerate(FLOORS) for part in floor.split()]
    return max((len(part), k) for part, k in parts if module == part or module.startswith(f"{part}/"))[1]


def test_the_files_are_found() -> None:
    known = {"ops/convolution.py", "layers/linear.py", "network/__init__.py", "device/recording.py", "engine/shards.py"}
    assert known <= set(FILES)
    assert used("ops/pooling.py") == {"errors.py", "namespace.py", "ops/window.py"}
    assert floor("kernels/cpu/rows.py") > floor("metrics.py") > floor("kernels/table.py") > floor("ops/pooling.py")


@pytest.mark.parametrize("name", PLAIN)
def test_equations_and_layers_import_no_array_library(name: str) -> None:
    """The standard library and gpucnn itself."""
    for module, _ in imports(name):
        root = module.split(".")[0]
        assert root in sys.stdlib_module_names or root == "gpucnn", f"{name} imports {module}"


@pytest.mark.parametrize("name", PLAIN)
def test_no_product_goes_past_the_kernel_table(name: str) -> None:
    """A matmul is an entry of the table, or the equation itself in ops: never the operator @."""
    assert not [node.lineno for node in ast.walk(tree(name)) if isinstance(getattr(node, "op", None), ast.MatMult)]


@pytest.mark.parametrize("name", FILES)
def test_only_the_device_and_its_kernels_import_cupy(name: str) -> None:
    roots = {part for module, _ in imports(name) for part in module.split(".")}
    assert name in CUPY or not {"cupy", "cupyx", "cupy_backends"} & roots


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("__init__.py", "__main__.py")])
def test_imports_go_one_way(name: str) -> None:
    """Down, or along a floor; only where a table is chosen are the tables upstairs named, when they are asked for."""
    upstairs = {other for other in used(name) - {"__init__.py"} if floor(other) > floor(name)}
    assert not upstairs or (name, upstairs) == ("kernels/__init__.py", {"kernels/cpu/__init__.py"})


def test_the_top_level_is_small() -> None:
    """What a user imports by name, and the ground floor; all else is in packages."""
    public = {"callbacks", "metrics", "schedules"}
    assert {name for name in FILES if "/" not in name} == {
        f"{name}.py" for name in ("__init__", "__main__", "errors", "names", "namespace", *public)
    }
    for name in (*public, "data", "layers", "losses", "networks", "ops", "optimizers", "errors"):
        assert importlib.import_module(f"gpucnn.{name}") is getattr(gpucnn, name)


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_long(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 300


def test_no_files_import_each_other_in_a_circle() -> None:
    waiting = {name: used(name, iter(tree(name).body)) - {name} for name in FILES}
    while ready := {name for name, needed in waiting.items() if not needed & set(waiting)}:
        waiting = {name: needed for name, needed in waiting.items() if name not in ready}
    assert not waiting


def test_two_files_name_types_of_files_that_import_them() -> None:
    """A function that is a method's body, and one that is called where what it changes is made.

    And two packages that import what they hold when it is asked for.
    """

    def is_for_types(node: ast.AST) -> bool:
        return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"

    bodies = {name: [each for node in tree(name).body if is_for_types(node) for each in node.body] for name in FILES}
    assert {name for name, body in bodies.items() if used(name, iter(body))} == {
        *("__init__.py", "report/__init__.py", "data/summary.py", "engine/tuning.py")
    }


def loaded_by(program: str) -> set[str]:
    """The modules that a new process has loaded at the end of a program."""
    path = os.pathsep.join(filter(None, [str(ROOT.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; before = set(sys.modules); {program}; print(*set(sys.modules) - before)"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_a_test_without_its_library_is_skipped(path: Path) -> None:
    """What pyproject does not name, PyTorch above all, comes by importorskip alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for node in nodes for name in [getattr(node, "module", None) or node.names[0].name]}
    assert not names & {"torch", "jax", "pandas", "polars", "pyarrow"}


def test_importing_gpucnn_leaves_the_rest_alone() -> None:
    loaded = {name.split(".")[0] for name in loaded_by("import gpucnn")}
    assert "gpucnn" in loaded
    assert not loaded & LATE


def test_training_on_numpy_loads_no_more_of_it() -> None:
    images, labels = "numpy.zeros((8, 28, 28, 1), numpy.uint8)", "numpy.zeros(8, int)"
    fit = f"gpucnn.Model('two-conv', device='cpu').fit({images}, {labels}, epochs=1, batch_size=4)"
    loaded = loaded_by(f"import gpucnn, numpy; gpucnn.data.load('digits'); {fit}")
    assert "gpucnn.namespace" in loaded
    assert not loaded & {"array_api_compat.numpy", "numpy.f2py", "numpy.testing", "sklearn", "scipy", "matplotlib"}


def names_a_source(text: str) -> bool:
    return any(document in text for document in DOCUMENTS) or bool(PAPER.search(" ".join(text.split())))


def cites(name: str) -> bool:
    return names_a_source(inspect.getdoc(getattr(ops, name)) or "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_equation_names_its_source(name: str) -> None:
    """A document or a paper, or a function of ops in backquotes that names one; the rest are listed in HELPERS."""
    text = inspect.getdoc(getattr(ops, name)) or ""
    referred = [other for other in re.findall(r"`(\w+)`", text) if other in ops.__all__]
    assert len(text) > 30
    assert name in HELPERS or cites(name) or any(map(cites, referred))


@pytest.mark.parametrize(
    ("text", "is_source"),
    [
        ("max(x, slope x). Maas, Hannun and Ng, 2013.", True),
        ("Kingma and\n    Ba, 2015", True),
        ("Fukushima, 1969; any shape", True),
        ("He et al., 2015", True),
        ("two-conv eq. (9)", True),
        ("x (N, 2013) -> the same", False),
        ("Any shape, since 2013.", False),
    ],
)
def test_a_source_is_a_document_or_authors_and_a_year(text: str, is_source: bool) -> None:
    assert names_a_source(text) == is_source


def test_helpers_are_functions_of_ops() -> None:
    assert set(ops.__all__) >= HELPERS


def public() -> Iterator[tuple[str, Any]]:
    """What a user may call: `gpucnn.Model` and the like, and the classes and functions of the modules of `__all__`."""
    for name in sorted({*gpucnn.__all__} - {"__version__"}):
        found = getattr(gpucnn, name)
        if not inspect.ismodule(found):
            yield name, found
        elif name != "ops":
            names = getattr(found, "__all__", [each for each in vars(found) if each[0] != "_"])
            of_module = ((each, getattr(found, each)) for each in names)
            yield from ((f"{name}.{each}", thing) for each, thing in of_module if belongs(thing, name))


def belongs(thing: Any, module: str) -> bool:
    return (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith(f"gpucnn.{module}")


PUBLIC = dict(public())
METHODS = [
    f"{name}.{method}"
    for name, thing in PUBLIC.items()
    if inspect.isclass(thing)
    for method in dir(thing)
    if method[0] != "_" and isinstance(inspect.getattr_static(thing, method), property | classmethod | FunctionType)
]


def text_of(thing: Any) -> str:
    """The docstring; none where a dataclass or an exception has only what Python writes there."""
    text = (thing.__doc__ if inspect.isclass(thing) else inspect.getdoc(thing)) or ""
    return "" if inspect.isclass(thing) and text.startswith(f"{thing.__name__}(") else text


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_says_what_it_is(name: str) -> None:
    """A sentence at least."""
    text = text_of(PUBLIC[name])
    assert len(text) > 15, name
    assert text.split("\n\n")[0].rstrip().endswith((".", ":", ")", "]")), text


@pytest.mark.parametrize("name", METHODS)
def test_what_public_classes_do_is_said(name: str) -> None:
    """Of a method that a class inherits or fulfils, the base class says it."""
    owner, method = name.rsplit(".", 1)
    assert inspect.getdoc(getattr(PUBLIC[owner], method)) or method in FULFILLED, name


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("ops/") and "__init__" not in name])
def test_every_gradient_stands_right_below_its_function(name: str) -> None:
    public = [node.name for node in tree(name).body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    for before, function in zip([None, *public], public):
        if function.endswith("_backward"):
            assert before == function.removesuffix("_backward")


@pytest.mark.parametrize("name", [*dict(inspect.getmembers(layers, inspect.isclass))])
def test_layers_say_the_shapes_of_what_they_take_and_give(name: str) -> None:
    assert name == "Layer" or re.search(r"\(.*\).* -> ", inspect.getdoc(getattr(layers, name)) or "")
