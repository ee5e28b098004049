"""Data as people have them: folders, tables and archives of any tool and system."""

import shutil
import unicodedata
import zipfile

import numpy as np
import pytest
from ddbench import datasets
from ddbench.datasets import DatasetError, DatasetMissing, Option
from ddbench.datasets.images import find_images, is_image
from ddbench.datasets.splits import split_by_share
from ddbench.datasets.texts import read_table
from PIL import Image, features


def write(path, shade=0, size=(8, 8), mode="L", **arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, shade).convert(mode).save(path, **arguments)
    return path


def write_classes(root, counts, suffix="png"):
    """Write `counts` images of each class, of shade 40 * class + number."""
    for c, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write(root / name / f"{i}.{suffix}", 40 * c + i)
    return root


def write_splits(root, *splits, counts=None):
    for split in splits:
        write_classes(root / split, counts or {"cat": 2, "dog": 2})
    return root


def shades(images):
    return images[:, 0, 0, 0].tolist()


# -- what is an image ----------------------------------------------------------------------------

LOSSLESS = ["png", "bmp", "gif", "ppm", "pgm", "tif", "tga", "pcx", "dib", "sgi", "ico"]


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_any_format_that_pillow_reads_is_read(tmp_path, suffix):
    for split in ("train", "test"):
        for c, name in enumerate(("a", "b")):
            write(tmp_path / split / name / f"0.{suffix}", 100 * c, (16, 16), "RGB")
            write(tmp_path / split / name / "1.png", 100 * c + 1, (16, 16), "RGB")
    dataset = datasets.load(f"folder:{tmp_path}")
    assert shades(dataset.train_images) == [0, 1, 100, 101] and dataset.notes == ""


@pytest.mark.parametrize("suffix", ["webp", "jp2", "jfif", "JPE", "avif", "jpg"])
def test_lossy_formats_are_read_too(tmp_path, suffix):
    if suffix in ("webp", "avif") and not features.check(suffix):
        pytest.skip(f"this Pillow has no {suffix}")
    for split in ("train", "test"):
        write_classes(tmp_path / split, {"a": 3, "b": 3})
        for name in "ab":
            for i in range(3, 6):
                write(tmp_path / split / name / f"{i}.{suffix}", 30, mode="RGB")
    dataset = datasets.load(f"folder:{tmp_path}")
    assert datasets.class_counts(dataset).tolist() == [6, 6] and dataset.notes == ""


def test_an_image_is_known_by_its_content_where_its_name_does_not_tell(tmp_path):
    for name in ("noname", "photo.JPG_large", "a.dat"):
        write(tmp_path / name, 7, format="PNG")
    assert len(find_images(tmp_path).images) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)),
        ("desktop.ini", b"[.ShellClassInfo]\r\n"),
        ("zeros.bin", bytes(5000)),
        ("empty", b""),
        ("data.npy", b"\x93NUMPY\x01\x00" + bytes(200)),
        ("data.h5", b"\x89HDF\r\n\x1a\n" + bytes(200)),
        ("list.csv", b"a,b\n1,2\n"),
        (".DS_Store", b"\0\0\0\1Bud1"),
        ("._0.png", b"\0\5\x16\7\0\2\0\0Mac OS X"),
        (".cover.png", None),
        (".ipynb_checkpoints/0-checkpoint.png", None),
        ("__MACOSX/0.png", None),
        ("@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", None),
    ],
)
def test_what_is_no_image_is_left_out_by_name(tmp_path, name, content):
    write_splits(tmp_path, "train", "test")
    plain = datasets.load(f"folder:{tmp_path}")
    odd = tmp_path / "train" / "cat" / name
    if content is None:
        write(odd)
    else:
        odd.write_bytes(content)
    dataset = datasets.load(f"folder:{tmp_path}")
    assert dataset.fingerprint == plain.fingerprint
    assert f"train/cat/{name.split('/')[0]}" in dataset.notes
    assert dataset.notes.startswith("1 file or folder left out, hidden or no image")


def test_many_files_are_left_out_in_one_note(tmp_path):
    write_splits(tmp_path, "train", "test")
    for i in range(1200):
        (tmp_path / "train" / "cat" / f"{i:04}.txt").touch()
    (tmp_path / "train" / "README").touch()
    notes = datasets.load(f"folder:{tmp_path}").notes
    assert notes.startswith("1,201 files or folders left out") and notes.endswith(".txt, ...")


def test_a_class_of_files_that_pillow_does_not_read_is_named(tmp_path):
    write_splits(tmp_path, "train", "test")
    shutil.rmtree(tmp_path / "train" / "dog")
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "train" / "dog" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    with pytest.raises(DatasetError, match=r"train/dog: none of its .*IMG_1\.HEIC.*convert them"):
        datasets.load(f"folder:{tmp_path}")


def test_images_beside_the_class_folders_are_named(tmp_path):
    write_splits(tmp_path, "train", "test")
    write(tmp_path / "train" / "stray.png")
    with pytest.raises(DatasetError, match=r"train/stray\.png: lies beside the class folders"):
        datasets.load(f"folder:{tmp_path}")


def test_pipes_and_links_do_not_hang_or_vanish(tmp_path):
    import os

    write_splits(tmp_path / "data", "train", "test")
    cat = tmp_path / "data" / "train" / "cat"
    os.mkfifo(cat / "pipe.png")
    (cat / "loop").symlink_to(cat)
    write(tmp_path / "elsewhere" / "9.png", 39)
    (cat / "more").symlink_to(tmp_path / "elsewhere")
    dataset = datasets.load(f"folder:{tmp_path / 'data'}", cache=tmp_path / "cache")
    assert shades(dataset.train_images) == [0, 1, 39, 40, 41]
    assert "train/cat/pipe.png" in dataset.notes
    (cat / "gone.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(DatasetError, match=r"gone\.png: cannot be read as an image .*No such file"):
        datasets.load(f"folder:{tmp_path / 'data'}", cache=tmp_path / "cache")


def test_a_damaged_image_is_not_left_out(tmp_path):
    (tmp_path / "0.webp").write_bytes(b"RIFF")
    (tmp_path / "huge").write_bytes(b"nothing")
    assert is_image(tmp_path / "0.webp") and not is_image(tmp_path / "huge")


def test_photos_stand_upright_as_the_camera_was_held(tmp_path):
    write_splits(tmp_path, "train", "test")
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0] = 200  # the top row as stored, which orientation 3 turns to the bottom
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "train" / "cat" / "0.png", exif=exif)
    image = datasets.load(f"folder:{tmp_path}").train_images[0, 0]
    assert image[:, 0].tolist() == [0] * 7 + [200]


# -- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [("train", "val"), ("Training", "Validation"), ("train", "valid")]
)
def test_a_validation_split_tests_where_there_is_no_other(tmp_path, names):
    write_splits(tmp_path, *names)
    dataset = datasets.load(f"folder:{tmp_path}")
    assert shades(dataset.test_images) == [0, 1, 40, 41]
    assert dataset.notes == "its validation split serves as the test set"


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "dev", "Testing")])
def test_other_splits_are_left_out_and_splits_go_by_any_case(tmp_path, names):
    write_splits(tmp_path, *names)
    write(tmp_path / names[1] / "cat" / "9.png", 99)
    dataset = datasets.load(f"folder:{tmp_path}")
    assert shades(dataset.test_images) == [0, 1, 40, 41]
    assert dataset.notes == ("its validation split is left out" if names[1] == "val" else "")


@pytest.mark.parametrize("test", ["", "&test=50%"])
def test_a_validation_split_is_read_when_asked_for(tmp_path, test):
    write_splits(tmp_path, "train", "Validation", *([] if test else ["test"]))
    write(tmp_path / "Validation" / "cat" / "9.png", 99)
    dataset = datasets.load(f"folder:{tmp_path}?validate=20{test}")
    assert shades(dataset.val_images) == [0, 1, 99, 40, 41]
    assert len(dataset.train_labels) + len(dataset.test_labels) == (4 if test else 8)


def test_two_folders_of_one_split_are_refused(tmp_path):
    write_splits(tmp_path, "train", "training", "test")
    with pytest.raises(DatasetError, match="train/ and training/ are both the train split"):
        datasets.load(f"folder:{tmp_path}")


def test_a_flat_folder_of_classes_is_split_by_an_option(tmp_path):
    write_classes(tmp_path, {"cat": 10, "dog": 5, "emu": 2})
    name = f"folder:{tmp_path}"
    with pytest.raises(DatasetError, match=r"has no test images; .*\?test=20% holds out a fifth"):
        datasets.load(name)
    dataset = datasets.load(f"{name}?test=20%")
    assert np.bincount(dataset.test_labels).tolist() == [2, 1, 1]
    assert datasets.class_counts(dataset).tolist() == [8, 4, 1]
    every = sorted(shades(dataset.train_images) + shades(dataset.test_images))
    assert every == [*range(10), *range(40, 45), 80, 81]
    assert dataset.notes == "20% of the images of each class drawn for testing"
    same = datasets.load(name, options={"test": 0.2, "seed": 0})
    assert same.fingerprint == dataset.fingerprint
    assert datasets.load(f"{name}?test=20%&seed=1").fingerprint != dataset.fingerprint


def test_the_train_split_alone_is_split_too(tmp_path):
    write_splits(tmp_path, "train", counts={"cat": 4, "dog": 4})
    dataset = datasets.load(f"folder:{tmp_path}?test=25%")
    assert np.bincount(dataset.test_labels).tolist() == [1, 1]
    with pytest.raises(DatasetError, match=r"has no test images"):
        datasets.load(f"folder:{tmp_path}")
    write_splits(tmp_path, "test")
    with pytest.raises(DatasetError, match=r"has its own test split; remove .* test=25%"):
        datasets.load(f"folder:{tmp_path}?test=25%")


def test_a_class_of_one_image_cannot_be_split(tmp_path):
    write_classes(tmp_path, {"cat": 4, "dog": 1})
    with pytest.raises(DatasetError, match="1 of 2 classes have no test images: 'dog'"):
        datasets.load(f"folder:{tmp_path}?test=50%")


def test_stratified_draws_are_seeded_and_partition():
    labels = np.repeat([0, 1, 2], [10, 4, 1])
    held_out, kept = split_by_share(labels, 0.3, 7)
    assert sorted([*kept, *held_out]) == list(range(15))
    assert np.bincount(labels[held_out], minlength=3).tolist() == [3, 1, 0]
    draws = {tuple(split_by_share(labels, 0.3, seed)[0]) for seed in range(20)}
    assert len(draws) > 10 and tuple(held_out) == tuple(split_by_share(labels, 0.3, 7)[0])


@pytest.mark.parametrize(
    ("value", "message"),
    [("0%", "not between 0% and 100%"), ("100%", "not between"), ("many", "not a share, such as"),
     ("0x1", "not a share"), ("nan", "not between"), ("", "not a share")],
)  # fmt: skip
def test_a_share_that_is_none_is_refused(tmp_path, value, message):
    write_classes(tmp_path, {"cat": 4, "dog": 4})
    with pytest.raises(DatasetError, match=f"option test: .*{message}"):
        datasets.load(f"folder:{tmp_path}?test={value}")


@pytest.mark.parametrize("value", ["50%", "50", 50, "0.5", 0.5])
def test_a_share_may_be_written_as_percent(tmp_path, value):
    write_classes(tmp_path, {"cat": 4, "dog": 4})
    assert len(datasets.load(f"folder:{tmp_path}", options={"test": value}).test_images) == 4
    assert len(datasets.load(f"folder:{tmp_path}?test={value}").test_images) == 4


def test_an_option_given_twice_is_refused(tmp_path):
    write_splits(tmp_path, "train", "test")
    with pytest.raises(DatasetError, match="option size is given twice"):
        datasets.load(f"folder:{tmp_path}?size=4&size=8")


def test_accents_as_macs_write_them_are_one_class(tmp_path):
    one, other = (unicodedata.normalize(form, "Säge") for form in ("NFC", "NFD"))
    write_classes(tmp_path / "train", {one: 1, "axe": 1})
    write_classes(tmp_path / "test", {other: 1, "axe": 1})
    assert datasets.load(f"folder:{tmp_path}").classes == ("Säge", "axe")


def test_names_that_are_no_utf8_are_shown_as_bytes(tmp_path):
    import os

    for split in ("train", "test"):
        write_classes(tmp_path / split, {os.fsdecode(b"caf\xe9"): 1, "tea": 1})
    dataset = datasets.load(f"folder:{tmp_path}", cache=tmp_path / "cache")
    assert dataset.classes == ("caf\\xe9", "tea")
    "".join(dataset.classes).encode()


def test_what_is_no_folder_is_missing_with_the_layout(tmp_path):
    with pytest.raises(DatasetMissing, match=r"no such folder: .*/absent; images belong in train/"):
        datasets.load(f"folder:{tmp_path / 'absent'}")
    write(tmp_path / "one.png")
    with pytest.raises(DatasetMissing, match=r"one\.png is not a folder; images belong in"):
        datasets.load(f"folder:{tmp_path / 'one.png'}")


# -- a table beside a folder ---------------------------------------------------------------------

ROWS = [("a.png", "leaf", "train"), ("b.png", "root", "train"), ("c.png", "leaf", "test"),
        ("d.png", "root", "test")]  # fmt: skip


def write_table(folder, rows=ROWS, header="file,kind,part", delimiter=",", encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header.replace(",", delimiter), *(delimiter.join(row) for row in rows)]
    (folder / "labels.csv").write_bytes(("\n".join(lines) + "\n").encode(encoding))
    for i in range(4):
        write(folder / "images" / f"{'abcd'[i]}.png", 50 * i)
    return f"csv:{folder / 'labels.csv'}"


COLUMNS = {"name": "file", "label": "kind", "split": "part"}


def test_a_table_names_images_and_labels_by_any_columns(tmp_path):
    name = write_table(tmp_path)
    dataset = datasets.load(f"{name}?name=file&label=kind&split=part", cache=tmp_path / "cache")
    assert dataset.classes == ("leaf", "root") and dataset.shape == (1, 8, 8)
    assert dataset.train_labels.tolist() == [0, 1] == dataset.test_labels.tolist()
    assert shades(dataset.train_images) == [0, 50] and shades(dataset.test_images) == [100, 150]
    with pytest.raises(DatasetError, match=r"has the columns file, kind, part; say which hold"):
        datasets.load(name)
    with pytest.raises(DatasetError, match="has no column 'kinds'; did you mean 'kind'"):
        datasets.load(f"{name}?label=kinds")


def test_two_columns_speak_for_themselves(tmp_path):
    name = write_table(tmp_path, [row[1::-1] for row in ROWS], "what,where")
    dataset = datasets.load(f"{name}?test=50%")
    assert dataset.classes == ("leaf", "root") and np.bincount(dataset.test_labels).tolist() == [
        1,
        1,
    ]
    with pytest.raises(DatasetError, match=r"has no test images; .*\?test=20%"):
        datasets.load(name)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ", "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_other_tools_are_read(tmp_path, delimiter, encoding):
    rows = [(name, kind.replace("leaf", "Blätter"), part) for name, kind, part in ROWS]
    name = write_table(tmp_path, rows, delimiter=delimiter, encoding=encoding)
    assert datasets.load(name, options=COLUMNS).classes == ("Blätter", "root")


def test_a_table_in_another_encoding_is_named_by_line(tmp_path):
    rows = [*ROWS[:2], ("c.png", "Blätter", "test"), ROWS[3]]
    name = write_table(tmp_path, rows, encoding="cp1252")
    with pytest.raises(
        DatasetError, match=r"labels\.csv: it is not UTF-8 text .*line 4.*; save it"
    ):
        datasets.load(name, options=COLUMNS)


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name.removesuffix(".png"),
        lambda name: f"images/{name}",
        lambda name: f"images\\{name}",
        lambda name: f".\\images\\{name.upper()}",
        lambda name: name.replace(".png", ".PNG"),
        lambda name: f"C:\\Users\\me\\leaves\\{name}",
        lambda name: f'"{name}"',
    ],
)
def test_names_of_other_systems_mean_the_same_images(tmp_path, spell):
    name = write_table(tmp_path, [(spell(file), *rest) for file, *rest in ROWS])
    dataset = datasets.load(name, options=COLUMNS)
    assert shades(dataset.train_images) == [0, 50] and dataset.notes == ""


def test_the_images_may_lie_in_another_folder(tmp_path):
    name = write_table(tmp_path / "tables")
    (tmp_path / "tables" / "images").rename(tmp_path / "pictures")
    with pytest.raises(DatasetError, match=r"line 2: no image 'a\.png' in .*tables or below"):
        datasets.load(name, options=COLUMNS)
    options = COLUMNS | {"images": "../pictures"}
    arguments = {"options": options, "cache": tmp_path / "cache"}
    before = datasets.load(name, **arguments)
    write(tmp_path / "pictures" / "a.png", 7)
    write(tmp_path / "pictures" / "extra.png", 7)
    after = datasets.load(name, **arguments)
    assert shades(after.train_images) == [7, 50] and after.fingerprint != before.fingerprint
    assert after.notes == "1 images left out, which the table does not list"
    with pytest.raises(DatasetMissing, match="no folder of images: .*nowhere"):
        datasets.load(name, options=COLUMNS | {"images": "nowhere"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, ("e.png", "leaf", "test")], r"line 6: no image 'e\.png' in"),
        ([*ROWS, ("a.png", "root", "test")], r"line 6: a\.png stands in line 2 too"),
        ([*ROWS[:3], ("d.png", "", "test")], r"line 5: no 'kind' of 'd\.png'"),
        ([*ROWS[:3], ("d.png",)], r"line 5: no 'kind' of 'd\.png'"),
        ([*ROWS[:3], ("", "root", "test")], "line 5: no image '' in"),
        ([*ROWS[:3], ("d.png", "root", "holdout")], "line 5: part is 'holdout'; expected one of"),
        ([*ROWS[:3], ("d.png", "root", "test", "x")], "line 5 has 4 values for 3 columns"),
        ([(*row[:2], "test") for row in ROWS], "no row of the column 'part' says train"),
        ([], "has no rows below its header"),
    ],
)
def test_a_faulty_table_is_named_by_line(tmp_path, rows, message):
    with pytest.raises(DatasetError, match=rf"labels\.csv: {message}"):
        datasets.load(write_table(tmp_path, rows), options=COLUMNS)


def test_a_name_that_fits_two_images_asks_for_more(tmp_path):
    name = write_table(tmp_path)
    write(tmp_path / "images" / "more" / "a.png")
    write(tmp_path / "images" / "else" / "a.png")
    with pytest.raises(DatasetError, match=r"'a\.png' may be .*: give more of the path"):
        datasets.load(name, options=COLUMNS)


def test_numbers_as_labels_are_in_order(tmp_path):
    rows = [("a.png", "10", "train"), ("b.png", "9", "train"), ("c.png", "10", "val"),
            ("d.png", "9", "val")]  # fmt: skip
    dataset = datasets.load(write_table(tmp_path, rows), options=COLUMNS)
    assert dataset.classes == ("9", "10") and dataset.train_labels.tolist() == [1, 0]


def test_a_table_has_a_header_quotes_and_empty_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'sep=;\r\n"a";"b, c"\r\n1;"x;y"\r\n\r\n ;\r\n2\r\n')
    table = read_table(path)
    assert table.columns == ("a", "b, c")
    assert table.rows == [(3, {"a": "1", "b, c": "x;y"}), (5, {"a": "", "b, c": ""}),
                          (6, {"a": "2", "b, c": ""})]  # fmt: skip
    path.write_bytes(b"a,b,a\n1,2,3\n")
    with pytest.raises(DatasetError, match="has two columns 'a'"):
        read_table(path)


# -- npz of other tools --------------------------------------------------------------------------

LABELS = np.array([0, 1, 2, 1])


def arrays_of(labels=LABELS, **changes):
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.full((8, 8), 20, np.uint8)
    arrays = {"train_images": images, "train_labels": labels}
    return arrays | {"test_images": images, "test_labels": labels} | changes


def npz(path, arrays):
    np.savez(path / "my.npz", **arrays)
    return f"npz:{path / 'my.npz'}"


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(">i4"),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.float32),
        lambda x: x.astype(">f8"),
        lambda x: (x / 255).astype(np.float32),
        lambda x: x / 255,
        lambda x: np.asfortranarray(x),
        lambda x: x[:, None],
        lambda x: np.asfortranarray(x[..., None]),
        lambda x: x[:, ::-1][:, ::-1],
    ],
)
def test_bytes_in_any_form_are_the_same_data(tmp_path, change):
    plain = arrays_of()
    expected = datasets.load(npz(tmp_path, plain))
    for key in ("train_images", "test_images"):
        plain[key] = change(plain[key])
    assert datasets.load(npz(tmp_path, plain)).fingerprint == expected.fingerprint


def test_floats_are_scaled_alike_in_both_splits_and_noted(tmp_path):
    dark = arrays_of()["train_images"] / 255 / 100
    arrays = arrays_of(train_images=dark + 0.9, test_images=dark)
    dataset = datasets.load(npz(tmp_path, arrays))
    assert (
        shades(dataset.train_images) == [230, 230, 230, 230] and shades(dataset.test_images)[3] == 1
    )
    assert dataset.notes == "float64 pixels times 255, rounded to bytes"
    bright = arrays_of(test_images=np.full((4, 8, 8), 0.25), train_images=np.full((4, 8, 8), 200.4))
    dataset = datasets.load(npz(tmp_path, bright))
    assert shades(dataset.train_images) == [200] * 4 and shades(dataset.test_images) == [0] * 4


def test_masks_are_black_and_white(tmp_path):
    masks = arrays_of()["train_images"] > 30
    dataset = datasets.load(npz(tmp_path, arrays_of(train_images=masks)))
    assert shades(dataset.train_images) == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        (lambda y: y.astype(">i8"), ("0", "1", "2")),
        (lambda y: y.astype(np.float64), ("0", "1", "2")),
        (lambda y: y.astype(np.uint64)[:, None], ("0", "1", "2")),
        (lambda y: np.array(["fern", "moss", "oak"])[y], ("fern", "moss", "oak")),
        (lambda y: np.array([b"fern", b"moss", "ébène".encode()])[y], ("fern", "moss", "ébène")),
        (lambda y: np.array(["fern", "moss", "oak"])[y][:, None], ("fern", "moss", "oak")),
    ],
)
def test_labels_in_any_form_are_the_same_classes(tmp_path, change, classes):
    dataset = datasets.load(npz(tmp_path, arrays_of(change(LABELS))))
    assert dataset.classes == classes and dataset.train_labels.tolist() == LABELS.tolist()
    assert dataset.train_labels.dtype == np.int64


def test_labels_from_one_are_shifted_when_told(tmp_path):
    name = npz(tmp_path, arrays_of(LABELS + 1))
    with pytest.raises(DatasetError, match=r"labels start at 1: use \?labels=shift"):
        datasets.load(name)
    dataset = datasets.load(f"{name}?labels=shift")
    assert dataset.train_labels.tolist() == LABELS.tolist() and dataset.classes == ("1", "2", "3")
    plain = datasets.load(npz(tmp_path, arrays_of()))
    assert dataset.fingerprint == plain.fingerprint
    names = np.array([b"a", b"b", b"c"])
    named = npz(tmp_path, arrays_of(LABELS + 1, classes=names))
    with pytest.raises(DatasetError, match=r"labels start at 1: use \?labels=shift"):
        datasets.load(named)
    assert datasets.load(f"{named}?labels=shift").classes == ("a", "b", "c")


@pytest.mark.parametrize("ids", [(0, 15_075_141, 7), (3, 2**62, 5), (-2, 900, 30), (0, 1, 3)])
def test_labels_that_are_ids_are_taken_when_told(tmp_path, ids):
    labels = np.array(ids)[LABELS]
    name = npz(tmp_path, arrays_of(labels))
    with pytest.raises(DatasetError, match=r"3 distinct labels between .* use \?labels=ids"):
        datasets.load(name)
    dataset = datasets.load(f"{name}?labels=ids")
    assert dataset.classes == tuple(map(str, sorted(ids)))
    assert [int(dataset.classes[c]) for c in dataset.train_labels] == labels.tolist()


def test_labels_by_name_follow_the_files_classes(tmp_path):
    words = np.array(["oak", "fern", "moss"])
    dataset = datasets.load(npz(tmp_path, arrays_of(words[LABELS], classes=words)))
    assert dataset.classes == ("oak", "fern", "moss")
    assert dataset.train_labels.tolist() == LABELS.tolist()
    with pytest.raises(DatasetError, match="the label 'moss' is not among its classes"):
        datasets.load(npz(tmp_path, arrays_of(words[LABELS], classes=words[:2])))


@pytest.mark.parametrize("classes", [np.array("one"), np.array([["a"], ["b"], ["c"]])])
def test_classes_of_any_shape_are_read(tmp_path, classes):
    name = npz(tmp_path, arrays_of(classes=classes))
    if classes.ndim:
        assert datasets.load(name).classes == ("a", "b", "c")
    else:
        with pytest.raises(DatasetError, match="has 1 class"):
            datasets.load(name)


def test_kerass_names_and_arrays_without_splits_are_read(tmp_path):
    mine = arrays_of()
    renamed = {f"{'xy'[key.endswith('labels')]}_{key.split('_')[0]}": mine[key] for key in mine}
    expected = datasets.load(npz(tmp_path, mine)).fingerprint
    assert datasets.load(npz(tmp_path, renamed)).fingerprint == expected
    lone = {"images": np.repeat(mine["train_images"], 2, 0), "labels": np.repeat(LABELS, 2)}
    with pytest.raises(DatasetError, match=r"has no test images; .*\?test=20%"):
        datasets.load(npz(tmp_path, lone))
    dataset = datasets.load(f"{npz(tmp_path, lone)}?test=25%")
    assert np.bincount(dataset.test_labels).tolist() == [1, 1, 1] and len(dataset.train_labels) == 5
    with pytest.raises(DatasetError, match="8 train images but 4 labels"):
        datasets.load(f"{npz(tmp_path, lone | {'labels': LABELS})}?test=25%")


def test_the_validation_split_of_an_npz_tests_where_there_is_no_other(tmp_path):
    arrays = {key.replace("test", "val"): array for key, array in arrays_of().items()}
    dataset = datasets.load(npz(tmp_path, arrays))
    assert len(dataset.test_labels) == 4 and "serves as the test set" in dataset.notes


def test_the_validation_split_of_an_npz_is_read_in_the_same_form(tmp_path):
    arrays = arrays_of(np.array(["fern", "moss", "oak"])[LABELS])
    arrays = {key: array / 255 if "images" in key else array for key, array in arrays.items()}
    arrays |= {key.replace("test", "val"): array[::-1] for key, array in arrays.items()}
    dataset = datasets.load(f"{npz(tmp_path, arrays)}?validate=20")
    assert shades(dataset.val_images) == [60, 40, 20, 0]
    assert dataset.val_labels.tolist() == LABELS[::-1].tolist()


def test_odd_archives_are_named(tmp_path):
    arrays = arrays_of()
    npz(tmp_path, arrays)
    with zipfile.ZipFile(tmp_path / "my.npz", "a") as archive:
        archive.writestr("__MACOSX/._train_images.npy", b"\0\5\x16\7")
        archive.writestr(".DS_Store", b"\0\0\0\1Bud1")
    assert len(datasets.load(f"npz:{tmp_path / 'my.npz'}").train_labels) == 4
    content = bytearray((tmp_path / "my.npz").read_bytes())
    start = content.index(b"PK\x01\x02")
    content[start + 8] |= 1  # as if it were locked by a password
    content[content.index(b"PK\x03\x04") + 6] |= 1
    (tmp_path / "my.npz").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read as an npz file .*password"):
        datasets.load(f"npz:{tmp_path / 'my.npz'}")


def test_an_import_from_odd_zips(tmp_path):
    images, labels = b"\0" * 28 * 28, b"\7"
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (1, 28, 28))
    path = tmp_path / "mnist.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "t10k"):
            member = zipfile.ZipInfo("x")
            member.filename = f"data\\{split}-images-idx3-ubyte"  # as Windows packs
            archive.writestr(member, header + images)
            archive.writestr(f"__MACOSX/data/._{split}-images-idx3-ubyte", b"\0\5\x16\7")
            content = bytes([0, 0, 8, 1]) + (1).to_bytes(4, "big") + labels
            archive.writestr(f"data/{split}-labels-idx1-ubyte", content)
    with pytest.raises(DatasetError, match="9 of 10 classes have no train images"):
        datasets.adopt("mnist", path, root=tmp_path / "root")
    content = bytearray(path.read_bytes())
    for start in (content.index(b"PK\x01\x02") + 8, content.index(b"PK\x03\x04") + 6):
        content[start] |= 1  # as if it were locked by a password
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"mnist\.zip: cannot be unpacked .*password"):
        datasets.adopt("mnist", path, root=tmp_path / "root")


# -- options -------------------------------------------------------------------------------------


def test_text_options_take_what_looks_like_a_number():
    column = Option(None, "a column", str)
    assert column.validated(column.read("007")) == "007"
    with pytest.raises(ValueError, match="3 is not text"):
        column.validated(3)
    assert Option(None, "a share", float).validated("12.5%") == 0.125
    assert Option(3, "a number").read("9" * 5000) == "9" * 5000
