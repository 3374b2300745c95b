"""Data sets as tools leave them: IDX under other names, .npy files side by side, CSV, Parquet and Hugging Face."""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.data.columns import by_number
from gpucnn.data.loading import may_be_broken
from gpucnn.errors import DataError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)


def pictures(count=12, shape=(4, 4), classes=3):
    """Pictures whose pixel [1, 2] says their class, and labels."""
    labels = np.arange(count) % classes
    images = np.zeros((count, *shape), np.uint8)
    images[:, 1, 2] = 40 * labels.reshape(-1, *[1] * (len(shape) - 2))
    return images, labels


def right(loaded, at=(1, 2), first=0):
    for images, labels in ((loaded.train_images, loaded.train_labels), (loaded.test_images, loaded.test_labels)):
        np.testing.assert_array_equal(images[:, at[0], at[1], 0], 40 * (labels + first))
    return loaded


def idx(path, array):
    content = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(
    "name",
    ["{part}-{kind}-idx{n}-ubyte", "{part}-{kind}.idx{n}-ubyte", "fashion-{part}-{kind}-idx{n}-ubyte.gz"],
)
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_idx_files_as_tools_name_them(tmp_path, name, test):
    images, labels = pictures()
    for part in ("train", test):
        idx(tmp_path / name.format(part=part, kind="images", n=3), images)
        idx(tmp_path / name.format(part=part, kind="labels", n=1), labels)
    loaded = right(data.load(tmp_path))
    assert (loaded.class_names, loaded.notes) == (("0", "1", "2"), ())


def test_emnist_letters_count_from_one_and_lie_turned_over(tmp_path):
    images, labels = pictures()
    for part in ("train", "test"):
        idx(tmp_path / f"emnist-letters-{part}-images-idx3-ubyte", images)
        idx(tmp_path / f"emnist-letters-{part}-labels-idx1-ubyte", labels + 1)
    loaded = right(data.load(tmp_path), at=(2, 1))
    assert loaded.class_names == ("1", "2", "3")
    assert "rows and columns exchanged" in loaded.notes[0]
    assert "labels count from 1; class 0 is label 1" in loaded.notes[1]


def test_two_idx_data_sets_in_one_folder(tmp_path):
    for name in ("a-train-images-idx3-ubyte", "b-train-images-idx3-ubyte"):
        idx(tmp_path / name, pictures()[0])
    with pytest.raises(DataError, match="a-train-images-idx3-ubyte and b-train-images-idx3-ubyte are both the train"):
        data.load(tmp_path)


def test_npy_files_side_by_side(tmp_path):
    images, labels = pictures()
    for part in ("train", "test"):
        np.save(tmp_path / f"x_{part}.npy", images / 255)
        np.save(tmp_path / f"y_{part}.npy", labels)
    np.save(tmp_path / "weights.npy", labels)
    loaded = right(data.load(tmp_path))
    assert "left out: weights.npy" in loaded.notes[0]
    (tmp_path / "y_test.npy").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"y_test\.npy: cannot be read as an array"):
        data.load(tmp_path)
    np.save(tmp_path / "y_test.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match=r"y_test\.npy: cannot be read as an array .*allow_pickle"):
        data.load(tmp_path)


def table(path, labels, images, *, header="", last=False):
    flat = images.reshape(len(images), -1)
    with open(path, "w", encoding="utf-8") as file:
        if header:
            names = [f"pixel{k}" for k in range(flat.shape[1])]
            file.write(",".join([*names, header] if last else [header, *names]) + "\n")
        for label, row in zip(labels, flat):
            cells = [*map(str, row), str(label)] if last else [str(label), *map(str, row)]
            file.write(",".join(cells) + "\n")
    return path


@pytest.mark.parametrize(("header", "last"), [("label", False), ("", False), ("class", True)])
def test_one_csv_file(tmp_path, header, last):
    images, labels = pictures(30)
    loaded = right(data.load(table(tmp_path / "digits.csv", labels, images, header=header, last=last)))
    assert (len(loaded.train_labels), len(loaded.test_labels)) == (24, 6)
    assert loaded.input_shape == (4, 4, 1)
    assert "digits.csv: 16 columns of pixels are taken as 4x4" in loaded.notes
    assert ("digits.csv: the first column is taken as the labels" in loaded.notes) == (not header)


@pytest.mark.parametrize(("count", "black"), [(16, True), (48, False)])
def test_a_csv_file_without_a_header_has_its_labels_first_where_they_may_be_such(tmp_path, count, black):
    """Though the last pixel is 0 and 1, or all columns together make a square."""
    rng = np.random.default_rng(0)
    labels, pixels = np.array([3, 5, 8] * 10), rng.integers(0, 2 if black else 256, (30, count))
    np.savetxt(tmp_path / "plain.csv", np.column_stack([labels, pixels]), "%d", ",")
    loaded = data.load(tmp_path / "plain.csv")
    assert {loaded.class_names[k] for k in loaded.train_labels} == {"3", "5", "8"}
    assert loaded.input_shape == ((4, 4, 1) if black else (4, 4, 3))


def test_csv_files_of_kaggle(tmp_path):
    images, labels = pictures(30)
    table(tmp_path / "train.csv", labels, images, header="label")
    flat = images.reshape(30, -1)
    np.savetxt(tmp_path / "test.csv", flat, "%d", ",", header=",".join(f"pixel{k}" for k in range(16)), comments="")
    loaded = right(data.load(tmp_path))
    assert len(loaded.train_labels) == 24
    assert any("test.csv: 16 columns of pixels, and none is named label" in note for note in loaded.notes)


def test_csv_with_texts_and_a_part_for_each_file(tmp_path):
    images, labels = pictures()
    for part in ("train", "test"):
        table(tmp_path / f"mine_{part}.csv", np.array(["ant", '"bee, wild"', "cow"])[labels], images, header="label")
    assert right(data.load(tmp_path)).class_names == ("ant", "bee, wild", "cow")


def row_names(count):
    return [f"pixel{k}" for k in range(count)]


def written(path, cells, header=None, between=","):
    """A CSV file of rows of cells."""
    lines = [between.join(map(str, row)) for row in ([] if header is None else [header]) + [list(row) for row in cells]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


TEXTS = np.array(["ant", "bee", "cow"])
LABELS_FIRST = {
    "one column without a number": ["digit", *row_names(16)],
    "numbers of columns": [*range(17)],
    "names with numbers": [f"column {k}" for k in range(17)],
    "a name before numbers": ["label", *range(16)],
}


@pytest.mark.parametrize("header", [*LABELS_FIRST.values(), None], ids=[*LABELS_FIRST, "no header"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("texts", [False, True], ids=["numbers", "texts"])
def test_a_column_of_labels_without_the_usual_name(tmp_path, header, last, texts):
    images, labels = pictures(30)
    cells = np.column_stack([(TEXTS if texts else np.arange(3))[labels].astype(object), images.reshape(30, 16)])
    numbers = header is not None and header[0] == 0
    if last:
        cells = np.roll(cells, -1, axis=1)
        header = header if header is None or numbers else np.roll(np.array(header, object), -1).tolist()
    loaded = right(data.load(written(tmp_path / "own.csv", cells, header)))
    assert loaded.class_names == (tuple(TEXTS) if texts else ("0", "1", "2"))
    assert len(loaded.train_labels) == 24
    said = [note for note in loaded.notes if "taken as the labels" in note]
    if header is not None and "label" in header:
        assert not said
    elif header is not None and "digit" in header:
        assert said == ["own.csv: the column digit is taken as the labels: all others end in a number"]
    else:
        where = "last" if last else "first"
        assert len(said) == 1
        assert said[0].startswith(f"own.csv: the {where} column is taken as the labels")


def test_labels_that_may_be_first_or_last_are_first(tmp_path):
    images, labels = pictures(30)
    images[:, 3, 3] = 1 - labels % 2  # a pixel that looks like a class
    loaded = right(data.load(written(tmp_path / "own.csv", np.column_stack([labels, images.reshape(30, 16)]))))
    assert "own.csv: the first column is taken as the labels" in loaded.notes


def test_columns_that_are_neither_labels_nor_pixels(tmp_path):
    """The index that pandas writes, whose name is empty, and others."""
    images, labels = pictures(30)
    cells = np.column_stack([np.arange(30).astype(object), labels, np.full(30, "x"), images.reshape(30, 16)])
    path = written(tmp_path / "own.csv", cells, ["", "label", "who", *row_names(16)])
    loaded = right(data.load(path))
    said = "own.csv: left out, because no number ends the name: the columns (without a name), who"
    assert said in loaded.notes
    written(path, cells, ["", "letter", "who", *row_names(16)])
    with pytest.raises(DataError, match=r"none of the columns letter, who is named label.*write label over"):
        data.load(path)
    written(path, cells[:, 3:], row_names(16))
    with pytest.raises(DataError, match=r"own\.csv: 16 columns of pixels, and none is named label"):
        data.load(path)
    written(path, [*cells[:, 1:], [1, 2]], ["label", "who", *row_names(16)])
    with pytest.raises(DataError, match="cannot be read as a table"):
        data.load(path)


def test_tables_as_pandas_writes_them(tmp_path):
    """With its index, whose name is empty; labels may be that, or first or last among numbered columns."""
    images, labels = pictures(30)
    flat, path = images.reshape(30, 16), tmp_path / "own.csv"
    for cells in (np.column_stack([labels, flat]), np.column_stack([flat, labels])):
        loaded = right(data.load(written(path, np.column_stack([np.arange(30), cells]), ["", *range(17)])))
        assert any(note.endswith("the columns (without a name)") for note in loaded.notes)
    loaded = right(data.load(written(path, np.column_stack([labels, flat]), ["", *range(16)])))
    assert "own.csv: the column (without a name) is taken as the labels: all others end in a number" in loaded.notes
    written(path, np.column_stack([np.arange(30), flat]), ["", *range(16)])
    with pytest.raises(DataError, match="16 columns of pixels, and none is named label"):
        data.load(path)


@pytest.mark.parametrize("between", [";", "\t"])
def test_tables_with_other_separators(tmp_path, between):
    images, labels = pictures(30)
    cells = np.column_stack([labels, images.reshape(30, 16)])
    right(data.load(written(tmp_path / "own.csv", cells, ["label", *row_names(16)], between)))


def test_one_csv_file_beside_another(tmp_path):
    images, labels = pictures(30)
    for part in ("train", "test"):
        table(tmp_path / f"{part}.csv", labels, images, header="label")
    alone = data.load(tmp_path / "train.csv")
    assert len(alone.train_labels) == 24
    assert "train.csv is read alone; to use test.csv beside it, give the folder" in alone.notes
    assert len(data.load(tmp_path).train_labels) == 30


def test_one_npy_file(tmp_path):
    images, labels = pictures(30)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("X_train", "images", "x", "heap"):
        np.save(folder / f"{name}.npy", images)
    with pytest.raises(DataError, match=r"X_train\.npy: only the images; put the labels beside it, as train_labels\."):
        data.load(folder / "X_train.npy")
    with pytest.raises(DataError, match=r"heap\.npy: one array, and a data set has two; name them images\.npy and lab"):
        data.load(folder / "heap.npy")
    (folder / "images.npy").unlink()
    (folder / "x.npy").unlink()
    np.save(folder / "y_train.npy", labels)
    for name in ("X_train", "y_train"):
        loaded = right(data.load(folder / f"{name}.npy"))
        assert (loaded.name, len(loaded.train_labels)) == ("mine", 24)
        assert loaded.notes[0] == f"{name}.npy is read together with the .npy files beside it"
    (folder / "y_train.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"y_train\.npy: is empty"):
        data.load(folder / "y_train.npy")


@pytest.mark.parametrize("one", [False, True])
def test_idx_files_of_training_alone(tmp_path, one):
    images, labels = pictures(30)
    folder = tmp_path / "mine"
    folder.mkdir()
    idx(folder / "train-images-idx3-ubyte", images)
    with pytest.raises(DataError, match="no file train-labels-idx1-ubyte"):
        data.load(folder)
    idx(folder / "train-labels-idx1-ubyte.gz", labels)
    loaded = right(data.load(folder / "train-labels-idx1-ubyte.gz" if one else folder))
    assert (loaded.name, len(loaded.train_labels), len(loaded.test_labels)) == ("mine", 24, 6)
    said = ["train-labels-idx1-ubyte.gz is read together with the IDX files beside it"] * one
    assert loaded.notes[: len(said)] == tuple(said)
    assert loaded.notes[-1].startswith("there is no test part (t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte)")
    idx(folder / "t10k-images-idx3-ubyte", images)
    with pytest.raises(DataError, match="no file t10k-labels-idx1-ubyte"):
        data.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,a,b\n1,2,3\n", "2 columns of pixels make no square picture"),
        ("label,target,a\n1,2,3\n", "label, target may all be the labels"),
        ("5\n6\n", "the first row has 1 columns"),
        ("label,a\n1,x\n", "cannot be read as a table"),
        ("label,a\n1,2\n1,2,3\n", "cannot be read as a table"),
        ("", "is empty"),
        ("label,a\n\n", "there is no row below the header"),
        ("label,a,b,c,d\n1,2,3,4,5\n,2,3,4,5\n", "the label of picture 2 is missing"),
    ],
)
def test_csv_refuses(tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        data.load(path)


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def arrow_table(pyarrow, images, labels, names=None):
    made = pyarrow.table({"image": [png(image) for image in images], "label": labels})
    if names is None:
        return made
    about = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}}}
    return made.replace_schema_metadata({"huggingface": json.dumps(about)})


def test_parquet_files(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    images, labels = pictures(30)
    parquet.write_table(arrow_table(pyarrow, images, labels, ["a", "b", "c"]), tmp_path / "one.parquet")
    loaded = right(data.load(tmp_path / "one.parquet"))
    assert loaded.class_names == ("a", "b", "c")
    assert loaded.input_shape == (4, 4, 1)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for part, some in (
        ("train-00000-of-00002", slice(0, 9)),
        ("train-00001-of-00002", slice(9, 20)),
        ("test-00000-of-00001", slice(20, 30)),
    ):
        parquet.write_table(
            arrow_table(pyarrow, images[some], labels[some]), tmp_path / "hub" / "data" / f"{part}.parquet"
        )
    loaded = right(data.load(tmp_path / "hub"))
    assert (loaded.name, len(loaded.train_labels), len(loaded.test_labels)) == ("hub", 20, 10)
    dark = data.load(tmp_path / "hub", size=(2, 2), channels=3, invert=True)
    assert dark.preprocessing == data.Preprocessing((2, 2), 3, invert=True)
    assert dark.train_images.min() > 200


def test_what_hugging_face_saves_to_disk(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    images, labels = pictures(12)
    for part in ("train", "validation", "test"):
        (tmp_path / "saved" / part).mkdir(parents=True)
        made = arrow_table(pyarrow, images, labels, ["a", "b", "c"])
        path = str(tmp_path / "saved" / part / "data-00000-of-00001.arrow")
        with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(made)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    loaded = right(data.load(tmp_path / "saved"))
    assert (len(loaded.train_labels), len(loaded.validation[1]), len(loaded.test_labels)) == (12, 12, 12)


def test_tables_that_are_none_of_pictures(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / "own.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), path)
    with pytest.raises(DataError, match="the columns are text, label; one named image and one named label"):
        data.load(path)
    parquet.write_table(pyarrow.table({"image": ["a"], "label": [1]}), path)
    with pytest.raises(DataError, match="picture 1 is str, bytes of an image file were expected"):
        data.load(path)
    parquet.write_table(pyarrow.table({"image": [b"junk", b"junk"], "label": [0, 1]}), path)
    with pytest.raises(DataError, match=r"picture 1: cannot be read as a picture \(cannot identify image"):
        data.load(path)
    path.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"own\.parquet: cannot be read"):
        data.load(path)


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "own.parquet").write_bytes(b"junk")
    with pytest.raises(
        DataError, match="pyarrow, which reads these files, is not installed; run `pip install pyarrow`"
    ):
        data.load(tmp_path / "own.parquet")
    assert may_be_broken(str(tmp_path / "own.parquet"))


@pytest.mark.parametrize("name", ["own.parquet", "y_train.npy", "train.csv"])
def test_a_table_beside_class_folders_does_not_hide_them(tmp_path, name):
    images, labels = pictures()
    for k, (image, label) in enumerate(zip(images, labels)):
        (tmp_path / f"class {label}").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"class {label}" / f"{k}.png")
    (tmp_path / name).write_bytes(b"something else")
    assert data.load(tmp_path, size=(4, 4)).class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("kind", ["idx", "npy", "npz", "csv", "folder of csv"])
def test_the_only_data_in_a_folder(tmp_path, kind):
    """As torchvision's MNIST/raw, or an archive's single file."""
    images, labels = pictures(30)
    folder = tmp_path / "mine"
    inner = folder / "raw"
    inner.mkdir(parents=True)
    (folder / "read me.txt").write_text("not data")
    if kind == "idx":
        idx(inner / "train-images-idx3-ubyte", images)
        idx(inner / "train-labels-idx1-ubyte", labels)
    elif kind == "npy":
        np.save(inner / "X.npy", images)
        np.save(inner / "y.npy", labels)
    elif kind == "folder of csv":
        table(inner / "train.csv", labels, images, header="label")
    else:
        inner.rmdir()
        np.savez(folder / "own.npz", images=images, labels=labels)
        table(folder / "own.csv", labels, images, header="label")
        (folder / f"own.{'csv' if kind == 'npz' else 'npz'}").unlink()
        inner = folder / f"own.{kind}"
    loaded = right(data.load(folder))
    assert loaded.name == "mine"
    assert loaded.notes[0] == f"the data lie in {inner.name}, and nothing else does"
    assert not may_be_broken(str(folder))
    (folder / "other").mkdir()
    if kind in ("npz", "csv"):
        return
    with pytest.raises(DataError, match="no pictures"):
        data.load(folder)


def test_a_missing_label_of_an_npz_is_no_class(tmp_path):
    images, labels = pictures()
    texts = np.array(["a", "b", float("nan")])
    np.savez(tmp_path / "one.npz", images=images, labels=texts[labels])
    with pytest.raises(DataError, match="labels: the label of picture 3 is missing"):
        data.load(tmp_path / "one.npz")
    np.savez(tmp_path / "two.npz", images=images, labels=texts[labels], class_names=texts)
    assert data.load(tmp_path / "two.npz").class_names == ("a", "b", "nan")
    np.savez(tmp_path / "three.npz", images=images, labels=np.array(["a", "b ", "b"])[labels])
    assert data.load(tmp_path / "three.npz").class_names == ("a", "b")


TABLE = ["label,a1,a2,a3,a4", *(f"{k % 2},1,2,3,4" for k in range(8))]


@pytest.mark.parametrize(
    ("line", "row", "says"),
    [
        (4, "1,1,,3,4", "in line 4 the pixel in the column a2 is missing; add what is missing, or delete the line"),
        (9, "1,1,nan,3,4", "in line 9 the pixel in the column a2 is missing"),
        (5, ",1,2,3,4", "in line 5 the label of picture 4 is missing"),
        (5, "nan,1,2,3,4", "in line 5 the label of picture 4 is missing"),
        (3, "1,2,3,4", "in line 3 are 4 cells, and in the first one 5"),
        (2, "0,x.png,2,3,4", "in line 2 x.png in the column a1 is the name of a picture, and pixels were expected"),
        (9, "1,1,2,dark,4", "in line 9 'dark' in the column a3 is no number, as pixels are"),
    ],
)
def test_what_is_wrong_in_a_line_of_a_table(tmp_path, line, row, says):
    lines = [*TABLE]
    lines[line - 1] = row
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        data.load(tmp_path / "t.csv")
    assert f"t.csv: cannot be read as a table: {says}" in str(caught.value)
    assert ".;" not in str(caught.value)
    assert "UTF-8" not in str(caught.value)


def test_a_table_in_another_encoding(tmp_path):
    (tmp_path / "t.csv").write_bytes("\n".join(["größe", *TABLE]).encode("latin-1"))
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        data.load(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.csv", "t.npz", "x_train.npy"])
def test_an_empty_file_of_ones_own(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=f"{name}: is empty; write it again, or fetch it again where it came from"):
        data.load(tmp_path / name)


def test_pixels_in_columns_of_parquet_are_read_as_those_of_a_csv(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

    images, labels = pictures()
    columns = {"label": labels} | {f"pixel{k}": column for k, column in enumerate(images.reshape(12, 16).T)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values()))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    loaded, same = right(data.load(tmp_path / "t.parquet")), data.load(tmp_path / "t.csv")
    np.testing.assert_array_equal(loaded.train_images, same.train_images)
    np.testing.assert_array_equal(loaded.train_labels, same.train_labels)
    assert "t.parquet: 16 columns of pixels are taken as pictures" in loaded.notes
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "train.parquet").write_bytes((tmp_path / "t.parquet").read_bytes())
    for path in ("t.parquet", "parts"):  # nobody says that pictures were read otherwise, where there were none
        assert not may_be_broken(str(tmp_path / path))
    parquet.write_table(pyarrow.table({**columns, "label": [None, *labels[1:].tolist()]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="label: the label of picture 1 is missing"):
        data.load(tmp_path / "t.parquet")
    parquet.write_table(pyarrow.table({f"text{k}": ["a"] for k in range(785)}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"the columns are text0, .*text9, \.\.\.; one named image") as caught:
        data.load(tmp_path / "t.parquet")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "more",
    [
        {"x1": [1] * 12, "y1": [2] * 12, "x2": [3] * 12, "y2": [4] * 12},
        {"md5": ["0a"] * 12, "id2": [*range(12)], "fold5": [1] * 12, "v4": [0.5] * 12},
    ],
)
@pytest.mark.parametrize("name", ["image", "IMG", "picture"])
def test_numbers_beside_pictures_in_parquet_are_no_pixels(tmp_path, more, name):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

    images, labels = pictures()
    made = pyarrow.table({name: [png(image) for image in images], "label": labels, **more})
    parquet.write_table(made, tmp_path / "t.parquet")
    if name == "picture":
        with pytest.raises(DataError, match="one named image and one named label were expected"):
            data.load(tmp_path / "t.parquet")
        return
    loaded = right(data.load(tmp_path / "t.parquet"))
    assert loaded.input_shape == (4, 4, 1)
    assert not any("pixels" in note for note in loaded.notes)


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "dictionary"])
def test_only_columns_of_numbers_are_pixels(tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

    images, labels = pictures()
    columns = {f"pixel{k}": column for k, column in enumerate(images.reshape(12, 16).T)}
    day = pyarrow.array([0] * 12, pyarrow.date32())
    named = pyarrow.array([str(label) for label in labels]).dictionary_encode()
    parquet.write_table(pyarrow.table({"label": named, "day1": day, **columns}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(data.load(tmp_path / "t.parquet").train_images[..., 0].shape[1:], (4, 4))
    texts = pyarrow.array(["a"] * 12)
    texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(getattr(pyarrow, kind)())
    parquet.write_table(pyarrow.table({"label": labels, "file": texts, **columns}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="one named image and one named label were expected"):
        data.load(tmp_path / "t.parquet")


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_lines_that_end_with_what_separates_cells(tmp_path, between):
    path, lines = tmp_path / "t.csv", [line.replace(",", between) for line in TABLE]
    path.write_text("\n".join(line + between for line in lines))
    assert data.load(path).input_shape == (2, 2, 1), "below a header the column without a name is left out"
    path.write_text("\n".join(line + between for line in lines[1:]))
    with pytest.raises(DataError) as caught:
        data.load(path)
    assert f"every line ends with {between!r}, behind which a cell was expected; delete it" in str(caught.value)
    path.write_text("\n".join([lines[0], *(line + between for line in lines[1:])]))
    with pytest.raises(DataError, match="in line 2 an empty cell stands at the end, one more than in the first one"):
        data.load(path)
    path.write_text("\n".join([lines[1] + between, *(line + between + "9" for line in lines[1:])]))
    with pytest.raises(DataError, match="5 columns of pixels make no square"):
        data.load(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("label", ["label", "sort"])
def test_a_line_break_in_the_name_of_a_column(tmp_path, label, end):
    lines = [f'{label},a1,a2,a3,"a{end}4"', *TABLE[1:]]
    (tmp_path / "t.csv").write_bytes(end.join(lines).encode())
    loaded = data.load(tmp_path / "t.csv")
    assert len(loaded.train_labels) + len(loaded.test_labels) == 8
    lines[3] = "1,2,dark,3,4"
    (tmp_path / "t.csv").write_bytes(end.join(lines).encode())
    with pytest.raises(DataError, match="in line 5 'dark' in the column a2 is no number"):
        data.load(tmp_path / "t.csv")


def test_a_line_break_in_a_header_is_no_row_when_the_labels_are_looked_for(tmp_path):
    rows = [f"{k},1,2,3,{k % 2}" for k in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(['a0,a1,a2,a3,"a\n4"', *rows]))
    loaded = data.load(tmp_path / "t.csv")
    assert loaded.class_names == ("0", "1")
    assert any("the last column is taken as the labels" in note for note in loaded.notes)


def test_lines_that_begin_with_a_hash_are_rows(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join([*TABLE, "#1,1,2,3,4", "#1,1,2,3,4"]))
    loaded = data.load(tmp_path / "t.csv")
    assert loaded.class_names == ("#1", "0", "1")
    (tmp_path / "t.csv").write_text("\n".join([*TABLE, "# a remark"]))
    with pytest.raises(DataError, match="in line 10 is 1 cell, and in the first one 5; add what is missing, or delete"):
        data.load(tmp_path / "t.csv")


@pytest.mark.parametrize("keys", [("arr_0", "arr_1"), ("foo", "bar")])
@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3)])
def test_arrays_whose_shapes_say_what_they_are(tmp_path, keys, shape):
    images, labels = pictures(shape=shape)
    for number, pair in enumerate([(images, labels), (labels, images)]):
        np.savez(tmp_path / f"{number}.npz", **dict(zip(keys, pair)))
        loaded = right(data.load(tmp_path / f"{number}.npz"))
        named = keys[number], keys[1 - number]
        assert f"by their shapes, {named[0]} is taken as the images and {named[1]} as the labels" in loaded.notes


@pytest.mark.parametrize("count", [1, 3])
def test_arrays_whose_shapes_do_not_say_it(tmp_path, count):
    images, labels = pictures()
    advice = r"\(images, labels\) or \(X, y\); write it again with numpy.savez\(file, images=..., labels=...\)"
    for arrays in ([images, labels, labels][:count], [images, images], [images, labels[:3]], [labels, labels]):
        np.savez(tmp_path / "t.npz", *arrays)
        with pytest.raises(DataError, match=rf"found the keys arr_0.*{advice}"):
            data.load(tmp_path / "t.npz")


def test_x_and_y(tmp_path):
    images, labels = pictures()
    np.savez(tmp_path / "t.npz", X=images, y=labels)
    right(data.load(tmp_path / "t.npz"))


def test_tables_with_tabs(tmp_path):
    (tmp_path / "t.tsv").write_text("\n".join(TABLE).replace(",", "\t"))
    assert data.load(tmp_path / "t.tsv").input_shape == (2, 2, 1)
    (tmp_path / "folder").mkdir()
    (tmp_path / "t.tsv").rename(tmp_path / "folder" / "train.tsv")
    assert data.load(tmp_path / "folder").input_shape == (2, 2, 1)


@pytest.mark.parametrize("ending", ["jpe", "jfif", "ppm", "pgm"])
def test_endings_that_pillow_reads(tmp_path, ending):
    for name, grey in (("dark", 0), ("light", 255)):
        for k in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (4, 4), grey).save(tmp_path / name / f"{k}.{ending}", "JPEG" if ending[0] == "j" else "PPM")
    loaded = data.load(tmp_path, size=(4, 4))
    assert (loaded.train_images[:, 0, 0, 0] > 127).tolist() == (loaded.train_labels == 1).tolist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_were_sorted_as_texts_are_taken_by_their_numbers(tmp_path, kind):
    images, labels = pictures()
    images = images + np.arange(16, dtype=np.uint8).reshape(4, 4, 1) if images.ndim == 4 else images
    columns = {"label": labels} | {f"pixel{k}": column for k, column in enumerate(images.reshape(12, 16).T)}
    columns = dict(sorted(columns.items()))
    assert list(columns)[1:4] == ["pixel0", "pixel1", "pixel10"]
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values()))]))
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    loaded = data.load(path)
    found = np.concatenate([loaded.train_images, loaded.test_images]).reshape(12, 16)
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(images.reshape(12, 16), axis=0))
    assert any("the columns of pixels are taken in the order of the numbers in their names" in n for n in loaded.notes)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["p0", "p1", "p2"], []),
        (["p0", "p10", "p2"], [0, 2, 1]),
        (["a_1_2", "a_1_10", "a_1_1"], [2, 0, 1]),
        (["1x1", "2x1", "1x2"], []),  # whether the row or the column comes first, nobody says
        (["r1", "g0", "b0"], []),
        (["p1", "p1", "p0"], []),
        (["p1", "p", "p0"], []),
        (["2", "0", "1"], [1, 2, 0]),
    ],
)
def test_the_order_that_names_say(names, order):
    assert by_number(names) == order


def test_a_picture_in_parquet_that_cannot_be_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    images, labels = pictures(30)
    rows = [png(image) for image in images]
    rows[3], rows[5], rows[6] = None, {"bytes": b"junk", "path": None}, {"bytes": None, "path": "gone.png"}
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"image": rows, "label": labels}), path)
    with pytest.raises(DataError) as caught:
        data.load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: 3 of 30 pictures cannot be read; mend or delete them")
    assert f"{path}: picture 4 is missing" in said
    assert f"{path}: picture 6: cannot be read as a picture (cannot identify image file)" in said
    assert f"{path}: picture 7: gone.png cannot be read (No such file or directory)" in said
    loaded = right(data.load(path, skip_broken=True))
    assert len(loaded.train_labels) + len(loaded.test_labels) == 27
    assert any(note.startswith("left out: 3 pictures that cannot be read") for note in loaded.notes)
    assert may_be_broken(str(path))
    (tmp_path / "parts").mkdir()
    for part in PARTS:
        parquet.write_table(pyarrow.table({"image": rows, "label": labels}), tmp_path / "parts" / f"{part}.parquet")
    given = data.load(tmp_path / "parts", skip_broken=True)
    for found, part in ((loaded, "train"), (loaded, "test"), (loaded, "all"), *((given, name) for name in PARTS)):
        places = found.origin(part)
        assert not {3, 5, 6} & {*places}
        np.testing.assert_array_equal(found.part(part)[0].squeeze(), images[places].squeeze())


PARTS = ("train", "validation", "test")


@pytest.mark.parametrize("name", ["label", "fine_label"])
def test_columns_of_parquet_that_are_left_out_are_said(tmp_path, name):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    images, labels = pictures(30)
    rows = [png(image) for image in images]
    table = pyarrow.table({"image": rows, name: labels, "coarse_label": labels // 2, "weight": labels / 2})
    parquet.write_table(table, tmp_path / "t.parquet")
    loaded = right(data.load(tmp_path / "t.parquet"))
    said = ["t.parquet: left out: the columns coarse_label, weight"]
    assert list(loaded.notes) == (["t.parquet: fine_label is taken as the label"] if name != "label" else []) + said


@pytest.mark.parametrize("door", ["folder", "parquet"])
def test_what_was_done_to_pictures_is_said_in_training_too(tmp_path, door):
    rng = np.random.default_rng(0)
    made, labels = [], np.arange(12) % 2
    for k in range(12):
        picture = rng.integers(30, 255, (6, 6, 4), dtype=np.uint8)
        picture[..., 3] = 255 if k < 6 else 128  # the second half is transparent
        made.append(np.uint16([[0, 4095]] * 2) if k == 0 else picture)
    if door == "folder":
        for k, picture in enumerate(made):
            (tmp_path / "t" / "ab"[labels[k]]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / "t" / "ab"[labels[k]] / f"{k}.png")
        loaded = data.load(tmp_path / "t")
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        table = pyarrow.table({"image": [png(picture) for picture in made], "label": labels})
        pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
        loaded = data.load(tmp_path / "t.parquet")
    said = [note for note in loaded.notes if "transparent" in note or "black" in note]
    assert len(said) == 2
    assert any("each of 6 pictures" in note and "its transparent parts were laid on white" in note for note in said)
    assert any("it is nearly black: no value is above 16 of 255" in note for note in said)


def test_an_npz_says_what_it_leaves_out_and_why(tmp_path):
    images, labels = pictures()
    np.savez(tmp_path / "t.npz", images, labels)
    loaded = data.load(tmp_path / "t.npz")
    assert not any("left out" in note for note in loaded.notes)
    np.savez(tmp_path / "t.npz", train_images=images, train_labels=labels, test_images=images, more=labels)
    loaded = data.load(tmp_path / "t.npz")
    assert "left out: test_images, because there are no labels of that part" in loaded.notes
    assert "left out: more, which are no images or labels of a part" in loaded.notes


def test_a_size_that_is_too_large_is_said_with_its_limit():
    with pytest.raises(DataError, match=r"each 1\.\.4096, was expected"):
        data.parse_size("100000x100000")


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_numbers_are_not_wondered_at_where_they_can_be_nothing_else(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.linspace(-1, 1, 20).reshape(shape))
    loaded = data.load(tmp_path / "a.npz")
    assert (loaded.what, loaded.notes) == ("numbers", ())
    np.savez(tmp_path / "b.npz", images=images, labels=np.arange(20.0).reshape(shape) // 5)
    loaded = data.load(tmp_path / "b.npz")
    assert "whole floats" in " ".join(loaded.notes)
    assert loaded.what == ("classes" if len(shape) == 1 else "numbers")


def test_labels_of_a_table_of_pixels_that_python_takes_for_numbers_are_texts(tmp_path):
    rows = [f"{('1_0', '10')[k % 2]},{','.join(['7', str(k), '3', '200'])}" for k in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["label,a1,a2,a3,a4", *rows]) + "\n", encoding="utf-8")
    assert data.load(tmp_path / "t.csv").class_names == ("10", "1_0")


def rows_of(path, labels):
    """A CSV of 3x3 pixels whose value, less 100, says the label's place in the list."""
    lines = [",".join([label, *[str(100 + k)] * 9]) for k, label in enumerate(labels) for _ in range(5)]
    path.write_text("\n".join([",".join(["label", *(f"pixel{k}" for k in range(9))]), *lines]))
    return path


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("01", "1", "2", "3"), ("01", "1", "2", "3")),
        (("001", "002", "003"), ("001", "002", "003")),
        (("01234", "12345", "99999"), ("01234", "12345", "99999")),
        (("0", "1", "1e0"), ("0", "1", "1e0")),
        (("1e3", "2000"), ("1e3", "2000")),
        (("+1", "1"), ("+1", "1")),
        (("9007199254740993", "9007199254740992"), None),
        (("99999999999999999999", "99999999999999999998"), ("99999999999999999998", "99999999999999999999")),
        (("0", "1", "2"), ("0", "1", "2")),
        (("0.0", "1.0", "1", "2"), ("0", "1", "2")),
        (("1", "2", "3"), ("1", "2", "3")),
    ],
)
def test_labels_in_rows_of_pixels_are_texts_where_no_number_is_written_so(tmp_path, labels, names):
    path = rows_of(tmp_path / "t.csv", labels)
    if names is None:  # integers, of which two are not one
        with pytest.raises(DataError, match="the largest label is 9007199254740993"):
            data.load(path)
        return
    loaded = data.load(path)
    assert loaded.class_names == names
    if len(names) == len(labels):
        for image, label in zip(*loaded.part("all")):
            assert labels[image[0, 0, 0] - 100] == names[label]


def test_whether_labels_are_texts_is_one_thing_in_all_parts(tmp_path):
    rows_of(tmp_path / "train.csv", ("08", "09", "10", "11"))
    rows_of(tmp_path / "test.csv", ("10", "11"))
    loaded = data.load(tmp_path)
    assert loaded.class_names == ("08", "09", "10", "11")
    assert set(loaded.test_labels.tolist()) == {2, 3}
    for text in ("0.5", "1e-3", "007.25"):  # numbers to be predicted
        loaded = data.load(rows_of(tmp_path / "alone.csv", (text, "1", "2")))
        assert loaded.what == "numbers"
        assert float(text) in loaded.part("all")[1]
