"""Datasets: the record, options, the catalogue and the cache."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ddbench import datasets
from ddbench.datasets import Dataset, DatasetError, DatasetMissing, Option, Presence, Source
from ddbench.datasets import cache as dataset_cache
from ddbench.datasets.dataset import check, fingerprint_of, measure
from ddbench.datasets.embedded import split_by_class


def make(train_labels=(0, 0, 1, 1), test_labels=(0, 1), classes=("a", "b"), **changes):
    generator = np.random.RandomState(1)
    arrays = {}
    for split, labels in (("train", train_labels), ("test", test_labels)):
        shape = (len(labels), 1, 4, 4)
        arrays[f"{split}_images"] = generator.randint(0, 256, shape).astype(np.uint8)
        arrays[f"{split}_labels"] = np.array(labels, dtype=np.int64)
    return replace(Dataset("made", **arrays, classes=classes), **changes)


class InMemory(Source):
    """A third party's source over one file; counts how often it is read."""

    name = "theirs"
    summary = "somebody's data"
    options = {"shade": Option(0, "added to every pixel", minimum=0)}

    def __init__(self, dataset=None):
        self.dataset = dataset or make()
        self.reads = 0

    def locate(self, roots):
        for root in roots:
            if (root / "theirs.bin").exists():
                return Presence(True, root / "theirs.bin")
        return Presence(False, None, "write to them")

    def load(self, roots, options):
        self.reads += 1
        shaded = self.dataset.train_images + np.uint8(options["shade"])
        return replace(self.dataset, train_images=shaded)

    def fetch(self, folder, progress):
        progress("downloading theirs")
        (folder / "theirs.bin").write_bytes(b"theirs")


@pytest.fixture
def theirs(tmp_path):
    """(source, load): a source whose file is there, and `datasets.load` bound to it."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "theirs.bin").write_bytes(b"theirs")
    source = InMemory()

    def load(function=datasets.load, **arguments):
        arguments = {"cache": tmp_path / "cache", "roots": [root]} | arguments
        return function("theirs", sources={"theirs": source}, **arguments)

    return source, load


# -- importing -----------------------------------------------------------------------------


def test_importing_and_listing_need_no_torch(tmp_path):
    code = (
        "import sys, ddbench; before = set(sys.modules); import ddbench.datasets as d\n"
        f"d.listing(roots=[{str(tmp_path)!r}])\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'sklearn', 'scipy', 'mlxtend', 'PIL'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- the record ----------------------------------------------------------------------------


def test_mhist_majority_accuracy_is_the_published_63_15():
    # 1545 HP and 630 SSA to train on, 617 and 360 to test on
    train, test = np.repeat([0, 1], [1545, 630]), np.repeat([0, 1], [617, 360])
    dataset = make(train, test, ("HP", "SSA"))
    assert round(100 * datasets.majority_accuracy(dataset), 2) == 63.15
    assert datasets.class_counts(dataset).tolist() == [1545, 630]
    assert datasets.chance(dataset) == 0.5


def test_the_majority_class_is_the_train_splits_not_the_tests():
    assert datasets.majority_accuracy(make([0, 1, 1], [0, 0, 0, 1])) == 0.25


def test_class_counts_of_unequal_classes():
    assert datasets.class_counts(make([2, 0, 2, 1, 2], [0, 1, 2], ("a", "b", "c"))).tolist() == [
        1,
        1,
        3,
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a",)}, "has 1 class"),
        ({"classes": ("a", "b", "c")}, "no train images: 'c'"),
        ({"test_labels": np.array([0, 0])}, "no test images: 'b'"),
        ({"train_labels": np.array([0, 0, 1, 7])}, r"outside 0..1 \(the first is 7\)"),
        ({"train_labels": np.array([0, 0, 1, -1])}, "outside 0..1"),
        ({"train_labels": np.array([1, 1, 2, 2])}, "train labels start at 1; they must count from"),
        ({"train_labels": [0, 0, 1, 1]}, "train images or labels are list; expected numpy arrays"),
        ({"train_labels": np.array([0, 0, 1, 1], ">i8")}, "train labels are >i8"),
        ({"classes": (0, 1)}, r"classes are \(0, 1\); expected names as strings"),
        ({"train_labels": np.array([0, 1, 1])}, "4 train images but 3 labels"),
        ({"train_labels": np.array([0.0, 0, 1, 1])}, "float64"),
        ({"train_images": np.zeros((4, 4, 4), np.uint8)}, r"shape \(4, 4, 4\)"),
        ({"train_images": np.zeros((4, 1, 4, 4), np.float32)}, "float32"),
        ({"test_images": np.zeros((2, 1, 4, 5), np.uint8)}, "1x4x4, test images 1x4x5"),
        ({"mean": (0.1, 0.2), "std": (1.0, 1.0)}, "2 means and 2 stds for 1 channels"),
        ({"mean": (0.1,), "std": (0.0,)}, "not positive"),
    ],
)
def test_check_names_place_and_fault(changes, message):
    with pytest.raises(DatasetError, match=rf"^some/file: .*{message}"):
        check(replace(make(), **changes), "some/file")


def test_check_accepts_unequal_classes():
    check(make([0, 1, 1, 1], [0, 0, 0, 1]), "here")


def test_measure_equals_numpy_in_float64():
    images = np.random.RandomState(3).randint(0, 256, (5000, 3, 5, 7)).astype(np.uint8)
    mean, std = measure(images)
    pixels = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_a_channel_of_one_colour_gets_std_one():
    images = np.full((3, 2, 4, 4), 51, np.uint8)
    images[0, 1] = 0
    mean, std = measure(images)
    assert mean[0] == 0.2 and std[0] == 1.0 and 0 < std[1] < 1


def test_fingerprint_depends_on_what_decides_results_alone():
    dataset = make(mean=(0.5,), std=(0.2,))
    pixel = dataset.train_images.copy()
    pixel[0, 0, 0, 0] ^= 1
    others = [
        replace(dataset, train_images=pixel),
        replace(dataset, train_labels=np.array([0, 1, 0, 1])),
        replace(dataset, test_labels=np.array([1, 0])),
        replace(dataset, test_images=dataset.test_images[::-1]),
        replace(dataset, mean=(0.4,)),
        replace(dataset, std=(0.4,)),
        replace(dataset, options={"zca": True}),
        replace(dataset, augment=datasets.WITHOUT_FLIP),
    ]
    prints = {fingerprint_of(other) for other in [dataset, *others]}
    assert len(prints) == 9
    same = replace(dataset, name="other", classes=("x", "y"), notes="n", options={"zca": False})
    assert fingerprint_of(same) == fingerprint_of(dataset)
    strided = np.asfortranarray(dataset.train_images)
    assert fingerprint_of(replace(dataset, train_images=strided)) == fingerprint_of(dataset)


# -- names and options ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("cifar01", "cifar10"), ("CIFAR-10", "cifar10"), ("Fashion_MNIST", "fashionmnist"),
     ("minst", "mnist"), ("mnist_mini", "mnist-mini"),
     ("nzp:/data/mine.npz", "npz:/data/mine.npz"), ("mnits:/data/x", "mnist")],
)  # fmt: skip
def test_an_unknown_name_gets_a_suggestion(wrong, meant):
    with pytest.raises(DatasetError, match=f"unknown dataset '{wrong}'; did you mean '{meant}'"):
        datasets.load(wrong)


def test_a_path_alone_is_offered_by_what_it_is(tmp_path, monkeypatch):
    (tmp_path / "leaves").mkdir()
    (tmp_path / "set.NPZ").touch()
    monkeypatch.chdir(tmp_path)
    for path, kind in [
        (f"{tmp_path}/leaves", "folder:"), (f"{tmp_path}/set.NPZ", "npz:"), ("leaves", "folder:"),
        ("/nowhere/labels.csv", "csv:"), ("/nowhere/data", "folder:"), ("./leaves", "folder:"),
    ]:  # fmt: skip
        with pytest.raises(DatasetError, match=f"unknown dataset '{path}'; did you mean '{kind}"):
            datasets.load(path)
    assert datasets.suggested_path("mnist", ["folder:"]) == ""


def test_a_table_and_a_folder_of_images_are_suggested_as_the_table(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text("file,kind\n")
    meant = f"csv:{tmp_path}/labels.csv"
    assert datasets.suggested_path(str(tmp_path), ["folder:", "csv:"]) == meant
    with pytest.raises(DatasetMissing, match=f"no folders for classes; name it: {meant}"):
        datasets.load(f"folder:{tmp_path}")
    (tmp_path / "oak").mkdir()  # now these may be classes, and the table about them
    assert datasets.suggested_path(str(tmp_path), ["folder:", "csv:"]).startswith("folder:")


def test_a_name_like_none_gets_the_list_only():
    with pytest.raises(DatasetError, match=r"'qqqq' \(available: cifar10, .*usps\)"):
        datasets.find("qqqq")


def test_every_option_fault_is_reported_at_once():
    with pytest.raises(DatasetError) as caught:
        datasets.load("toy", options={"clases": 3, "size": True, "channels": 0, "zca": 1})
    message = str(caught.value)
    assert "unknown option 'clases'; did you mean 'classes'" in message
    assert "option size: True is not an integer" in message
    assert "option channels: 0 is below 1" in message
    assert "option zca: 1 is not true or false" in message


def test_toy_has_the_asked_form_and_is_the_same_every_time():
    options = {"classes": 5, "channels": 3, "size": 9, "train_per_class": 7, "test_per_class": 2}
    first, again = (datasets.load("toy", options=options) for _ in range(2))
    assert first.shape == (3, 9, 9) and first.num_classes == 5
    assert datasets.class_counts(first).tolist() == [7] * 5 and len(first.test_labels) == 10
    assert first.fingerprint == again.fingerprint
    other = datasets.load("toy", options=options | {"seed": 1})
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_toy_classes_can_be_told_apart(classes):
    toy = datasets.load("toy", options={"classes": classes, "size": 12})
    train, test = (images.reshape(len(images), -1) / 255 for images in (
        toy.train_images, toy.test_images))  # fmt: skip
    centroids = np.stack([train[toy.train_labels == c].mean(0) for c in range(classes)])
    nearest = ((test[:, None] - centroids) ** 2).sum(2).argmin(1)
    assert (nearest == toy.test_labels).mean() > 0.7


def test_size_shrinks_with_antialiasing(theirs):
    source, load = theirs
    images = np.zeros((4, 1, 8, 8), np.uint8)
    images[:, 0, :, 3] = 255
    source.dataset = make(
        train_images=images, test_images=np.full((2, 1, 8, 8), 200, np.uint8), mean=(0.5,), std=(1,)
    )
    small = load(options={"size": 4})
    # halving with a triangle filter: weights 1 3 3 1 over the four nearest columns
    assert small.train_images[0, 0].tolist() == 4 * [[0, 96, 32, 0]]
    assert (small.test_images == 200).all() and small.shape == (1, 4, 4)
    # the known constants belong to the images as distributed
    assert small.mean == measure(small.train_images)[0] != (0.5,)
    assert load(options={"size": 8}).mean == (0.5,)
    assert "resized from 8x8 to 4x4" in small.notes


def test_train_per_class_is_a_nested_draw_that_spares_small_classes(theirs):
    source, load = theirs
    labels = np.array([0] * 30 + [1] * 3 + [0] * 10)
    source.dataset = make(labels, [0, 1])
    source.dataset.train_images[:, 0, 0, 0] = np.arange(43)  # a number to know each image by
    ids = {}
    for n in (2, 5, 30):
        subset = load(options={"train_per_class": n})
        assert datasets.class_counts(subset).tolist() == [n, min(n, 3)]
        ids[n] = subset.train_images[:, 0, 0, 0].tolist()
        assert all(labels[i] == c for i, c in zip(ids[n], subset.train_labels, strict=True))
        assert ids[n] == sorted(ids[n]) and "at most" in subset.notes
        assert subset.mean == measure(subset.train_images)[0]
    assert set(ids[2]) < set(ids[5]) < set(ids[30])
    whole = load(options={"train_per_class": 100})
    assert whole.fingerprint == load().fingerprint and whole.notes == ""


def test_split_by_class_partitions():
    labels = np.array([0, 1, 0, 1, 0, 1, 1])
    first, rest = split_by_class(labels, 2, seed=5)
    assert sorted([*first, *rest]) == list(range(7))
    assert np.bincount(labels[first]).tolist() == [2, 2]
    drawn = {tuple(split_by_class(labels, 2, seed)[0]) for seed in range(20)}
    assert len(drawn) > 3


# -- loading and the cache -----------------------------------------------------------------


def test_a_second_load_is_mapped_from_the_cache(theirs):
    source, load = theirs
    first, second = load(), load()
    assert source.reads == 1
    assert second.fingerprint == first.fingerprint == fingerprint_of(second)
    np.testing.assert_array_equal(second.train_images, source.dataset.train_images)
    np.testing.assert_array_equal(second.test_labels, source.dataset.test_labels)
    assert (second.classes, second.mean) == (first.classes, first.mean)
    assert isinstance(second.classes, tuple) and isinstance(second.mean, tuple)
    assert not second.train_images.flags.writeable


def test_fingerprint_reads_nothing_once_cached(theirs):
    source, load = theirs
    expected = load().fingerprint
    assert load(datasets.fingerprint) == expected and source.reads == 1
    assert load(datasets.fingerprint, cache=None) == expected and source.reads == 2


def test_the_cache_follows_file_and_options(theirs, tmp_path):
    source, load = theirs
    load()
    assert load(options={"shade": 3}).fingerprint != load().fingerprint
    assert source.reads == 2
    os.utime(tmp_path / "root" / "theirs.bin", ns=(1, 1))
    load()
    assert source.reads == 3
    (tmp_path / "root" / "theirs.bin").write_bytes(b"longer")
    os.utime(tmp_path / "root" / "theirs.bin", ns=(1, 1))
    source.version = 2
    load()
    assert source.reads == 4


@pytest.mark.parametrize("how", ["written over", "moved in its place", "link turned"])
def test_a_file_in_anothers_place_with_its_size_and_time_is_read_anew(theirs, tmp_path, how):
    source, load = theirs
    file, other = tmp_path / "root" / "theirs.bin", tmp_path / "other.bin"
    other.write_bytes(file.read_bytes()[::-1])
    if how == "link turned":
        file.rename(tmp_path / "first.bin")
        file.symlink_to(tmp_path / "first.bin")
    for path in (file, other):
        os.utime(path, ns=(1, 1))
    load()
    time.sleep(0.02)  # a tick of the file system's clock
    if how == "written over":
        file.write_bytes(other.read_bytes())
        os.utime(file, ns=(1, 1))
    elif how == "moved in its place":
        other.replace(file)
    else:
        file.unlink()
        file.symlink_to(other)
    load()
    assert source.reads == 2
    load()
    assert source.reads == 2


def test_files_that_a_source_tells_by_size_and_time_alone_are_looked_at_all_the_same(
    theirs, tmp_path
):
    source, load = theirs
    file = tmp_path / "root" / "theirs.bin"
    source.files = lambda roots: [(str(file), 1, 1), ("theirs.zip::member", 1, 1)]
    load()
    time.sleep(0.02)
    file.write_bytes(file.read_bytes()[::-1])
    load()
    assert source.reads == 2


def test_the_cache_follows_the_code_of_an_extension(theirs):
    source, load = theirs
    load()
    source.code = "sha256:edited"
    load()
    assert source.reads == 2


def test_without_a_cache_nothing_is_written(theirs, tmp_path):
    source, load = theirs
    load(cache=None)
    load(cache=None)
    assert source.reads == 2 and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "damage", ["cut", "gone", "json", "facts", "deep", "mean", "zip", "no zip", "shape", "header"]
)
def test_a_damaged_entry_is_built_again(theirs, tmp_path, damage):
    source, load = theirs
    expected = load().fingerprint
    (facts,) = (tmp_path / "cache").rglob("dataset.json")
    array = facts.with_name("train_images.npy")
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-1])
    elif damage == "gone":
        array.unlink()
    elif damage == "json":
        facts.write_text('{"classes": [')
    elif damage == "deep":
        facts.write_text("[" * 100_000)
    elif damage == "mean":
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"mean": "x"}))
    elif damage == "zip":
        with open(facts.with_name("train_labels.npy"), "wb") as file:
            np.savez(file, np.zeros(3))
    elif damage == "no zip":
        facts.with_name("train_labels.npy").write_bytes(b"PK\x03\x04aaaa")
    elif damage == "shape":
        np.save(facts.with_name("test_labels.npy"), np.zeros((), np.int64))
    elif damage == "header":
        array.write_bytes(array.read_bytes().replace(b"{'descr'", b"(((((((("))
    else:
        facts.write_text(json.dumps({"classes": []}))
    assert load().fingerprint == expected and source.reads == 2
    assert load().fingerprint == expected and source.reads == 2


def test_what_a_killed_process_left_is_cleared_and_not_read(theirs, tmp_path):
    source, load = theirs
    load()
    (facts,) = (tmp_path / "cache").rglob("dataset.json")
    entry = facts.parent
    half = entry.with_name(f".{entry.name}.0123")
    entry.rename(half)
    load()
    assert source.reads == 2 and not half.exists() and entry.exists()


def test_many_at_once_build_once(theirs):
    source, load = theirs
    read = source.load

    def slow(roots, options):
        time.sleep(0.2)  # long enough for all to find the cache empty
        return read(roots, options)

    source.load = slow
    prints = []
    threads = [threading.Thread(target=lambda: prints.append(load().fingerprint)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(prints) == 6 and len(set(prints)) == 1 and source.reads == 1


def test_a_cache_that_cannot_be_written_is_named(theirs, tmp_path):
    _, load = theirs
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match=r"file/datasets: cannot keep theirs there .*choose"):
        load(cache=tmp_path / "file")


def test_a_failed_write_leaves_no_entry(theirs, tmp_path, monkeypatch):
    source, load = theirs

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_cache, "_sync", full)
    with pytest.raises(DatasetError, match="No space left"):
        load()
    assert [path.suffix for path in (tmp_path / "cache" / "datasets").iterdir()] == [".lock"]


def test_absent_files_are_missing_with_the_remedy(theirs, tmp_path):
    _, load = theirs
    with pytest.raises(DatasetMissing, match="^theirs: write to them$") as caught:
        load(roots=[tmp_path])
    assert (caught.value.name, caught.value.remedy) == ("theirs", "write to them")
    with pytest.raises(DatasetMissing):
        load(datasets.fingerprint, roots=[])


def test_a_third_partys_faults_name_its_file(theirs, tmp_path):
    source, load = theirs
    source.dataset = make(classes=("only",))
    with pytest.raises(DatasetError, match=r"theirs\.bin: has 1 class"):
        load()
    source.load = lambda roots, options: open(tmp_path / "no such part")
    with pytest.raises(DatasetError, match="no such part: cannot be read"):
        load()


@pytest.mark.parametrize(
    ("load_it", "message"),
    [
        (lambda roots, options: {}["pixels"], r"cannot be read \(KeyError: 'pixels'\)"),
        (
            lambda roots, options: None,
            "load returned NoneType; expected a ddbench",
        ),
        (lambda roots, options: np.load(b"no"), "cannot be read"),
    ],
)
def test_whatever_a_third_partys_code_does_its_file_is_named(theirs, load_it, message):
    source, load = theirs
    source.load = load_it
    with pytest.raises(DatasetError, match=message):
        load()


def test_sizes_unlike_the_published_are_noted(theirs):
    source, load = theirs
    source.train_size, source.test_size = 10, 2
    assert load().notes == "train: 4 images where 10 are published"


def test_the_example_of_the_docs_works(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    module = {}
    exec(text.split("```python\n")[1].split("```")[0], module)
    sources = module["register_datasets"]()
    with pytest.raises(DatasetMissing, match="unpack https://example.org/tiles/tiles.zip"):
        datasets.load("tiles", roots=[tmp_path], sources=sources)
    (tmp_path / "tiles").mkdir()
    images = np.random.RandomState(0).randint(0, 256, (300, 1, 24, 24)).astype(np.uint8)
    np.save(tmp_path / "tiles" / "images.npy", images)
    np.save(tmp_path / "tiles" / "labels.npy", np.arange(300) % 2)
    where = {"roots": [tmp_path], "cache": tmp_path / "cache", "sources": sources}
    tiles = datasets.load("tiles", options={"size": 12}, **where)
    assert tiles.shape == (1, 12, 12) and len(tiles.train_labels) == 200
    assert tiles.mean == measure(tiles.train_images)[0]


def test_every_dataset_stands_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    for line in datasets.listing():
        start = f"| `{line.name}" + ("" if line.name.endswith(":") else "`")
        rows = [row for row in text.splitlines() if row.startswith(start)]
        assert rows, f"docs/datasets.md has no row for {line.name}"
        if line.train_size and line.name != "toy":
            assert f"{line.train_size:,} / {line.test_size:,}" in rows[0]


# -- listing, fetching, importing ----------------------------------------------------------


def test_listing_says_what_is_there_and_what_is_not(tmp_path):
    lines = {line.name: line for line in datasets.listing(roots=[tmp_path])}
    assert set(lines) == {
        "mnist-mini", "toy", "mnist", "fashionmnist", "kmnist", "usps", "svhn", "cifar10",
        "cifar100", "tinyimagenet", "mhist", "npz:", "folder:", "csv:",
    }  # fmt: skip
    assert lines["mnist-mini"].present and lines["mnist-mini"].where.endswith("mnist_5k.csv.gz")
    assert lines["toy"].present and not lines["mnist"].present
    assert lines["mnist"].train_size == 60_000 and lines["mnist"].shape == (1, 28, 28)
    assert str(tmp_path) in lines["mnist"].remedy
    assert "ddbench datasets fetch mnist" in lines["mnist"].remedy
    for line in lines.values():
        assert line.present != bool(line.remedy)
        assert line.summary and line.licence


def test_fetch_checks_then_places_and_does_not_repeat_itself(tmp_path):
    source, said = InMemory(), []
    sources = {"theirs": source}
    root = tmp_path / "new" / "root"
    for _ in range(2):
        found = datasets.fetch("theirs", root=root, progress=said.append, sources=sources)
        assert found == root / "theirs.bin"
    assert said == ["downloading theirs", "checking theirs"]
    assert [path.name for path in root.iterdir()] == ["theirs.bin"]


def test_a_fetched_file_that_is_wrong_is_not_kept(tmp_path):
    source = InMemory(make(classes=("only",)))
    with pytest.raises(DatasetError, match=f"^{tmp_path}/theirs.bin: has 1 class"):
        datasets.fetch("theirs", root=tmp_path, sources={"theirs": source})
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_download_says_so(tmp_path):
    with pytest.raises(DatasetError, match="ask for it at https://bmirds"):
        datasets.fetch("mhist", root=tmp_path)
    with pytest.raises(DatasetError, match="nothing to download"):
        datasets.fetch("npz:/nowhere.npz", root=tmp_path)
    assert datasets.fetch("toy", root=tmp_path) is None


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="file: cannot be written .*choose another data root"):
        datasets.fetch("mnist", root=tmp_path / "file")


def test_importing_refuses_nothing_and_what_is_there_already(tmp_path):
    with pytest.raises(DatasetError, match="there is no such file"):
        datasets.adopt("mnist", tmp_path / "absent", root=tmp_path)
    (tmp_path / "theirs.bin").write_bytes(b"theirs")
    with pytest.raises(DatasetError, match="already at .*theirs.bin; delete that first"):
        datasets.adopt("theirs", tmp_path, root=tmp_path, sources={"theirs": InMemory()})


# -- mnist-mini ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return datasets.load("mnist-mini", cache=tmp_path_factory.mktemp("cache"))


def test_mnist_mini_is_400_and_100_of_each_digit(mini):
    assert mini.train_images.shape == (4000, 1, 28, 28) and mini.shape == (1, 28, 28)
    assert datasets.class_counts(mini).tolist() == [400] * 10
    assert np.bincount(mini.test_labels).tolist() == [100] * 10
    assert mini.augment == datasets.WITHOUT_FLIP


def test_mnist_mini_splits_share_no_image(mini):
    train, test = ({image.tobytes() for image in images} for images in (
        mini.train_images, mini.test_images))  # fmt: skip
    assert len(train) == 4000 and len(test) == 1000 and not train & test


def test_mnist_mini_never_changes(mini):
    # Results on it are compared between machines: a new split must be a new name.
    assert mini.fingerprint == "00e0e8b536c8762830d8abe624703bcddc6e42aa72ded0f265db8ee14f7e6303"
