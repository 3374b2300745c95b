"""The notebooks as they are kept: each says what it is, was run from top to bottom, and shows no error and no machine.

`pytest --nbmake notebooks` executes them.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
import socket
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpucnn import ops
from gpucnn.ops.index import EQUATIONS

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = ["cpu_vs_gpu", "derivations", "first_steps", "five_networks", "your_own_images"]
LARGEST = 500_000
PLACES = re.compile(r"(?<![\w.])/(?:home|root|tmp|var|usr|Users|opt|mnt|private)/|[A-Z]:\\")


def cells(path: Path, kind: str) -> list[dict]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def texts(path: Path) -> Iterator[str]:
    """What the outputs say."""
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            yield "".join(output.get("text", []))
            for kind, data in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield "".join(data)


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestEach:
    def test_the_first_cell_says_what_it_is(self, path):
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
        heading, _, about = "".join(first["source"]).partition("\n\n")
        assert first["cell_type"] == "markdown"
        assert heading.startswith("# ")
        assert len(about.split()) >= 20

    def test_all_cells_were_run_in_order(self, path):
        ran = [cell["execution_count"] for cell in cells(path, "code")]
        assert ran == list(range(1, len(ran) + 1))

    def test_outputs_are_kept_and_hold_no_error(self, path):
        outputs = [output for cell in cells(path, "code") for output in cell["outputs"]]
        assert len(outputs) >= len(cells(path, "code")) / 2
        for output in outputs:
            assert output["output_type"] in ("stream", "display_data", "execute_result"), output
            assert output.get("name") != "stderr", output
        drawn = [output for output in outputs if "image/png" in output.get("data", {})]
        assert len(drawn) >= (0 if path.stem == "derivations" else 3)

    def test_outputs_name_no_machine(self, path):
        for text in texts(path):
            assert not PLACES.search(text), PLACES.search(text)
            assert socket.gethostname() not in text or len(socket.gethostname()) < 5

    def test_it_is_small_and_kept_without_a_machines_metadata(self, path):
        assert path.stat().st_size < LARGEST
        kept = json.loads(path.read_text(encoding="utf-8"))
        assert kept["metadata"]["kernelspec"]["name"] == "python3"
        assert set(kept["metadata"]) == {"kernelspec", "language_info"}
        assert all(not cell["metadata"] for cell in kept["cells"])

    def test_readme_has_a_line_on_it(self, path):
        assert re.search(rf"^- \[[^\]]+\]\(notebooks/{path.name}\): \S.{{20,}}", README, re.MULTILINE)


def test_every_equation_is_beside_its_function():
    said = "\n".join(texts(ROOT / "notebooks" / "derivations.ipynb"))
    for each in EQUATIONS:
        assert f"| {each.number} |" in said, each
        assert each.function in said, each
        assert each.words.replace("|", "\\|") in said, each


def printed(cell: dict) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def test_the_sources_that_the_derivations_show_are_the_librarys():
    shown = []
    for cell in cells(ROOT / "notebooks" / "derivations.ipynb", "code"):
        for call in re.findall(r"^source\((.+)\)$", "".join(cell["source"]), re.MULTILINE):
            for name in re.findall(r'"(\w+)"', call):
                shown.append(name)
                assert inspect.getsource(getattr(ops, name)) in printed(cell), name
    assert len(shown) >= 9


def without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.]*(e[+-]\d+)?", "0", text)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"cpu_vs_gpu"}))
def test_what_is_printed_before_anything_is_trained_is_what_the_library_says(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    names: dict[str, object] = {"__name__": "__main__"}
    compared = 0
    for cell in cells(ROOT / "notebooks" / f"{name}.ipynb", "code"):
        code = "".join(line for line in cell["source"] if not line.startswith("%"))
        if ".fit(" in code:
            break
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(code, name, "exec"), names)
        assert without_numbers(said.getvalue()) == without_numbers(printed(cell))
        compared += bool(said.getvalue())
    assert compared


def test_the_changes_that_first_steps_proposes_run_through_all_cells(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    path = ROOT / "notebooks" / "first_steps.ipynb"
    proposed = "".join(cells(path, "markdown")[-1]["source"])
    code = "\n".join("".join(cell["source"]) for cell in cells(path, "code")).replace("epochs=12", "epochs=1")
    for old, new in (("Conv2D(8, 5)", "Conv2D(1, 3)"), ("fit(images, labels", "fit(images[:100], labels[:100]")):
        assert f"`{new.removeprefix('fit(')}`" in proposed
        assert code.count(old) == 1
        code = code.replace(old, new)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, path.name, "exec"), {"__name__": "__main__"})
    assert re.search(r"by hand +(-?\d+\.\d{3})\d*\nby the network \1", said.getvalue())
    assert "the same answers: True" in said.getvalue()


def test_links_of_the_derivations_lead_to_files():
    said = "\n".join(texts(ROOT / "notebooks" / "derivations.ipynb"))
    links = set(re.findall(r"\]\(([^)]+\.py)\)", said))
    assert links
    for link in links:
        assert (ROOT / "notebooks" / link).resolve().is_file(), link


def test_the_extra_brings_what_opens_them():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [re.match(r"[\w-]+", each).group() for each in extras["notebooks"]] == ["ipykernel", "jupyterlab"]
    assert 'pip install ".[notebooks]"' in README
