"""Data sets of a table that names picture files, with what stands beside each name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import Model, data, networks
from gpucnn.data.loading import may_be_broken
from gpucnn.errors import DataError

COUNT = 20
Rows = list[str]


def names(first: int = 0, count: int = COUNT) -> list[str]:
    return [f"{k:02}.png" for k in range(first, first + count)]


def draw(folder: Path, files: list[str]) -> None:
    """Pictures of 4x4 pixels, that are all 30 and ten times the number in the picture's name."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 30 + 10 * int(Path(file).stem)).save(folder / file)


def table(folder: Path, rows: Rows, name: str = "labels.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / name


def letters(files: list[str], header: str = "file,label") -> Rows:
    return [header, *(f"{file},{'ab'[k % 2]}" for k, file in enumerate(files))]


def load(path: Path, **options: Any) -> data.Dataset:
    return data.load(path, size=(4, 4), **options)


def by_number(dataset: data.Dataset) -> dict[int, Any]:
    """What stands beside the picture of each number, of all parts."""
    parts = [(dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)]
    parts += [dataset.validation] if dataset.validation else []
    return {
        int(image[0, 0, 0]) // 10 - 3: label.tolist()
        for images, labels in parts
        for image, label in zip(images, labels)
    }


@pytest.mark.parametrize("header", ["file,label", "filename,breed", "image_path,class", ",target"])
@pytest.mark.parametrize("by_folder", [True, False])
def test_each_picture_gets_its_label(tmp_path: Path, header: str, by_folder: bool) -> None:
    draw(tmp_path, names())
    path = table(tmp_path, letters(names(), header))
    found = load(tmp_path if by_folder else path)
    assert found.class_names == ("a", "b")
    assert by_number(found) == {k: k % 2 for k in range(COUNT)}
    assert (len(found.train_labels), len(found.test_labels)) == (16, 4)
    assert found.name == (tmp_path.name if by_folder else "labels")


def test_a_table_without_names_of_columns_in_any_order(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, [f"{'ab'[k % 2]};{file}" for k, file in enumerate(names())], "all.tsv")
    assert by_number(load(tmp_path)) == {k: k % 2 for k in range(COUNT)}


def test_the_first_picture_may_be_missing(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", names(1))
    path = table(tmp_path, letters(names(0, COUNT + 1)))
    with pytest.raises(DataError, match=r"1 of 21 pictures cannot be read.*00.png: there is no such file"):
        load(path)
    assert len(by_number(load(path, skip_broken=True))) == COUNT


@pytest.mark.parametrize("written", ["{}", "pictures/{}", "pictures\\{}", "./pictures/{}"])
def test_pictures_in_a_folder_beside_the_table(tmp_path: Path, written: str) -> None:
    draw(tmp_path / "pictures", names())
    table(tmp_path, letters([written.format(file) for file in names()]))
    assert by_number(load(tmp_path)) == {k: k % 2 for k in range(COUNT)}


def test_a_table_for_each_part_as_kaggles(tmp_path: Path) -> None:
    """The pictures of both parts have the same names; what the example of a submission says counts for nothing."""
    draw(tmp_path / "train", names())
    draw(tmp_path / "test", names())
    table(tmp_path, letters(names()), "train.csv")
    table(tmp_path, ["file", *names()], "test.csv")
    table(tmp_path, ["file,label", *(f"{file},a" for file in names())], "sample_submission.csv")
    found = load(tmp_path)
    assert (len(found.train_labels), len(found.test_labels)) == (16, 4)
    assert any("test.csv, without the column label" in note for note in found.notes)
    table(tmp_path, ["file,label", *(f"{file},b" for file in names())], "test.csv")
    found = load(tmp_path)
    assert (len(found.train_labels), found.test_labels.tolist()) == (COUNT, [1] * COUNT)


def test_a_column_that_says_the_parts(tmp_path: Path) -> None:
    draw(tmp_path, names())
    part = ["train", "Train", "val", "test"]
    table(tmp_path, ["file,label,split", *(f"{file},{k % 2},{part[k // 2 % 4]}" for k, file in enumerate(names()))])
    found = load(tmp_path)
    assert by_number(found) == {k: k % 2 for k in range(COUNT)}
    assert found.validation is not None
    assert (len(found.train_labels), len(found.validation[1]), len(found.test_labels)) == (12, 4, 4)
    assert list(found.notes) == ["labels.csv: the column split says the parts"]  # each picture has a line


@pytest.mark.parametrize("word", ["", "PublicTest"])
def test_a_part_that_is_none_is_refused_and_never_dropped(tmp_path: Path, word: str) -> None:
    draw(tmp_path, names())
    rows = [f"{file},{k % 2},{('train', 'dev', 'test', word)[k % 4]}" for k, file in enumerate(names())]
    table(tmp_path, ["file,label,split", *rows])
    with pytest.raises(DataError, match=f"in line 5 the column split holds '{word}', which is no part's name"):
        load(tmp_path)


def test_a_column_of_another_meaning_is_said(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,label,set", *(f"{file},{k % 2},{k % 3}" for k, file in enumerate(names()))])
    assert "labels.csv: left out: the column set" in load(tmp_path).notes
    (tmp_path / "labels.csv").unlink()
    for name in ("train.csv", "test.csv"):
        table(tmp_path, ["file,label,split", *(f"{file},{k % 2},val" for k, file in enumerate(names()))], name)
    assert "train.csv: left out: the column split" in load(tmp_path).notes


def test_columns_of_0_and_1_are_several_labels_and_others_numbers(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,round,tall", *(f"{file},{k % 2},{k % 3 == 0:d}" for k, file in enumerate(names()))])
    found = load(tmp_path)
    assert (found.class_names, found.what, found.train_labels.dtype) == (("round", "tall"), "labels", np.uint8)
    assert by_number(found) == {k: [k % 2, int(k % 3 == 0)] for k in range(COUNT)}
    table(tmp_path, ["file,x,y", *(f"{file},{k},{k / 4}" for k, file in enumerate(names()))])
    found = load(tmp_path)
    assert (found.class_names, found.what) == (("x", "y"), "numbers")
    assert by_number(found) == {k: [k, k / 4] for k in range(COUNT)}


@pytest.mark.parametrize(("cell", "what"), [("{:.1f}", "numbers"), ("{}", "classes")])
def test_a_column_of_numbers_of_another_name_is_what_it_is_written_as(tmp_path: Path, cell: str, what: str) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,angle", *(f"{file},{cell.format(k % 4)}" for k, file in enumerate(names()))])
    found = load(tmp_path)
    assert found.what == what
    assert any("taken as" in note for note in found.notes)


def test_what_is_beside_the_point_is_left_out_and_said(tmp_path: Path) -> None:
    draw(tmp_path, names(count=COUNT + 2))
    rows = letters(names(), "id,file,label,width")
    table(tmp_path, [rows[0], *(f"{k},{row},640" for k, row in enumerate(rows[1:])), "7,07.png,b,640"])
    assert list(load(tmp_path).notes) == [
        "labels.csv: left out: the columns id, width",
        f"left out: 1 line of {tmp_path / 'labels.csv'} naming a picture again",
        f"left out: 2 pictures in {tmp_path} without a line in labels.csv",
        f"{tmp_path / 'labels.csv'}: labels are texts; the classes are a, b",
    ]


def test_folders_that_may_both_be_meant_are_told(tmp_path: Path) -> None:
    for folder in ("annotations", "images"):
        draw(tmp_path / folder, names())
    path = table(tmp_path, letters(names()))
    with pytest.raises(DataError, match=r"those in annotations, images; write the folder .* as annotations/00.png"):
        load(path)


@pytest.mark.parametrize(("one", "other"), [("1_0", "10"), ("00", "0"), ("1.10", "1.1"), ("1e3", "1000")])
def test_labels_that_are_texts_are_no_numbers(tmp_path: Path, one: str, other: str) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,label", *(f"{file},{(one, other)[k % 2]}" for k, file in enumerate(names()))])
    found = load(tmp_path)
    assert found.class_names == tuple(sorted((one, other)))
    assert {found.class_names[k] for k in by_number(found).values()} == {one, other}


@pytest.mark.parametrize("name", ["set", "part", "usage"])
def test_a_column_named_as_one_of_parts_may_hold_the_labels(tmp_path: Path, name: str) -> None:
    draw(tmp_path, names())
    table(tmp_path, letters(names(), f"file,{name}"))
    assert by_number(load(tmp_path)) == {k: k % 2 for k in range(COUNT)}


def test_a_table_that_is_not_taken_is_named(tmp_path: Path) -> None:
    draw(tmp_path, names())
    for name in ("labels.csv", "more.csv"):
        table(tmp_path, letters(names()), name)
    with pytest.raises(
        DataError, match=r"20 pictures in the folder itself.*; labels.csv, more.csv: a table that names"
    ):
        load(tmp_path)


def test_whole_numbers_that_cannot_be_classes_say_how_numbers_are_written(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,age", *(f"{file},{30 + k}" for k, file in enumerate(names()))])
    with pytest.raises(DataError, match=r"has 1 example.* are written with decimals, as 30.0"):
        load(tmp_path)


def test_class_folders_count_before_a_table_beside_them(tmp_path: Path) -> None:
    draw(tmp_path / "x", names())
    draw(tmp_path / "y", names(20, 4))
    path = table(tmp_path, letters([f"x/{file}" for file in names()]))
    found = load(tmp_path)
    assert found.class_names == ("x", "y")
    assert any("left out: labels.csv, since the sub-folders say the classes" in note for note in found.notes)
    assert load(path).class_names == ("a", "b")


def test_missing_pictures_are_named_or_left_out(tmp_path: Path) -> None:
    draw(tmp_path, names())
    path = table(tmp_path, letters([*names(), "20.png", "21.png"]))
    with pytest.raises(DataError, match=r"2 of 22 pictures cannot be read.*20.png: there is no such file"):
        load(path)
    found = load(path, skip_broken=True)
    assert len(by_number(found)) == COUNT
    assert any("left out: 2 pictures that cannot be read" in note for note in found.notes)
    assert may_be_broken(str(path))
    assert may_be_broken(str(tmp_path))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["file,label", "00.png,a", "01.png,"], "in line 3 the cell of the column label is missing"),
        (["file,label", "00.png,a", "01.png,b,c"], "in line 3 are 3 cells, and in the first one 2"),
        (["file", "00.png", "01.png"], "nothing stands beside them; add a column named label"),
        (["file,kind,place", "00.png,a,b", "01.png,c,d"], "none of the columns kind, place is named label"),
        (["file,label,class", "00.png,a,b", "01.png,c,d"], "the columns label, class may all be the labels; keep one"),
        (
            ["file,mask,label", "00.png,01.png,a", "01.png,00.png,b"],
            "the columns file, mask all name pictures; keep one",
        ),
        (["file,label", "00.png,a", "00.png,b"], "stands in line 2 and, with something else beside it, in line 3"),
        (["file,label,split", "00.png,a,test", "01.png,b,val"], "no picture is of the training part"),
        (["file,v,w", "00.png,1,2", "01.png,,4"], "in line 3 the cell of the column v is missing"),
        (
            ["file,v,w,split", "00.png,1,2,train", "01.png,1,2,test", "02.png,3,x,test"],
            "in line 4 the column w holds 'x'",
        ),
        (["file,label", f"{'0' * 300}.png,a", "01.png,b"], "1 of 2 pictures cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, rows: Rows, said: str) -> None:
    draw(tmp_path, names())
    path = table(tmp_path, rows)
    with pytest.raises(DataError, match=said):
        load(path)


def test_a_column_that_says_one_part_of_all_says_nothing(tmp_path: Path) -> None:
    draw(tmp_path, names())
    path = table(tmp_path, ["file,label,split", *(f"{file},{'ab'[k % 2]},test" for k, file in enumerate(names()))])
    found = load(path)
    assert len(found.train_labels) + len(found.test_labels) == len(names())
    assert f"{path.name}: the column split says test of all: they are taken for all data" in found.notes


def test_a_table_of_a_test_part_alone_is_all_data(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,label", *(f"{file},{'ab'[k % 2]}" for k, file in enumerate(names()))], "test.csv")
    assert "there is no table of a training part beside test.csv: it is taken for all data" in load(tmp_path).notes


def test_a_number_that_is_none_is_said_of_its_table(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,v,w", *(f"{file},{k},{k}" for k, file in enumerate(names()))], "train.csv")
    table(tmp_path, ["file,v,w", "00.png,1,2", "01.png,3,x"], "test.csv")
    with pytest.raises(DataError, match=r"test.csv: in line 3 the column w holds 'x', which is no number"):
        load(tmp_path)


def test_a_model_learns_the_numbers_of_a_table(tmp_path: Path) -> None:
    draw(tmp_path, names())
    table(tmp_path, ["file,grey", *(f"{file},{k / 25:.3f}" for k, file in enumerate(names()))])
    found = load(tmp_path)
    model = Model(networks.build("single-filter", input_shape=(4, 4, 1), classes=1), loss="mse")
    model.fit(found.train_images, found.train_labels, epochs=1, batch_size=4)
    assert model.predict(found.test_images).shape == (4, 1)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["3,1.5", "inf,2.5", "4,3.5"], "in line 3 the column count holds 'inf', which is no number; correct it"),
        (["3,1.5", "4,many", "4,3.5"], "in line 3 the column x holds 'many', which is no number; correct it"),
        (['3,"1,5"', '4,"2,5"', '5,"3,5"'], "in line 2 the column x holds '1,5', which is no number; write a point"),
        (
            ['3,"955,417"', '4,"9,554"', '5,"3,500"'],
            "if the comma parts thousands, leave it out, 955417, in all lines; if it",
        ),
        (
            ['3,"9,554,170"', '4,"9,554"', '5,"3,500"'],
            "if the comma parts thousands, leave it out, 9554170, in all lines$",
        ),
        (["3,955417 €", "4,95 €", "5,3 €"], "alone, and in line 2 the column x holds '955417 €'"),
        (["True,False", "False,True", "True,True"], "in line 2 the column count holds 'True', which is no number; wri"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, rows: Rows, says: str) -> None:
    draw(tmp_path, names(count=3))
    lines = [f"{file},{row}" for file, row in zip(names(count=3), rows)]
    with pytest.raises(DataError, match=f"{says}"):
        load(table(tmp_path, ["file,count,x", *lines]))


def test_a_single_column_of_numbers_has_numbers_alone(tmp_path: Path) -> None:
    draw(tmp_path, names())
    for cell, says in (("inf", "holds 'inf', which is no number"), ("2,5", "a point for the comma, 2.5, in all")):
        cells = [f'{file},"{cell if k == 7 else 0.5 + k}"' for k, file in enumerate(names())]
        with pytest.raises(DataError, match=f"in line 9 the column age .*{says}"):
            load(table(tmp_path, ["file,age", *cells]))
    truths = [f"{file},{k % 2 == 0}" for k, file in enumerate(names())]
    assert load(table(tmp_path, ["file,is_young", *truths])).class_names == ("False", "True")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_in_another_encoding_is_told_of_whatever_is_asked_of_pictures(tmp_path: Path, encoding: str) -> None:
    draw(tmp_path, names())
    text = "file,label\n" + "".join(f"{file},{'köter' if k % 2 else 'katze'}\n" for k, file in enumerate(names()))
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    for size in (None, (8, 8)):
        with pytest.raises(DataError, match="UTF-8"):
            data.load(tmp_path / "labels.csv", size=size)


@pytest.mark.parametrize("where", ["", "images"])
def test_names_without_their_endings_are_told_of(tmp_path: Path, where: str) -> None:
    draw(tmp_path / where, names())
    says = r"labels.csv: names pictures without their endings, 00 for 00.png; write them in every line"
    for header in ("id,breed", "id,label", "id,x,y"):
        more = ",1" if header.count(",") > 1 else ""
        rows = [f"{Path(file).stem},{'ab'[k % 2]}{more}" for k, file in enumerate(names())]
        path = table(tmp_path, [header, *rows])
        for place in (path, tmp_path):
            with pytest.raises(DataError, match=says):
                load(place)
