"""Datasets: every loader, on small files written in the real layout; damaged ones too."""

import bz2
import functools
import gc
import gzip
import hashlib
import http.server
import io
import pickle
import shutil
import socket
import tarfile
import threading
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from ddbench import datasets
from ddbench.datasets import DatasetError, DatasetMissing, folders, torchvision_sets
from PIL import Image

torchvision_datasets = pytest.importorskip("torchvision.datasets")


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def draw(labels, *shape, seed=0):
    """Return (images, labels) of random bytes."""
    labels = np.asarray(labels, dtype=np.int64)
    images = np.random.RandomState(seed).randint(0, 256, (len(labels), *shape))
    return images.astype(np.uint8), labels


def ten(times=2):
    return np.tile(np.arange(10), times)


# -- MNIST and its kin: idx files ----------------------------------------------------------

IDX_SETS = {"mnist": "MNIST", "fashionmnist": "FashionMNIST", "kmnist": "KMNIST"}


def write_idx(path, array, kind=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, kind, array.ndim]) + lengths + array.astype(np.uint8).tobytes())


def write_mnist(folder):
    """Write the four files; return {split: (images, labels)}."""
    splits = {"train": draw(ten(3), 28, 28), "test": draw(ten(), 28, 28, seed=1)}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = splits[split]
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return splits


def assert_splits(dataset, splits, axes=None):
    """Compare with {split: (images (n, H, W[, ch]), labels)}."""
    for split, (images, labels) in splits.items():
        expected = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        found = getattr(dataset, f"{split}_images")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(getattr(dataset, f"{split}_labels"), labels)


@pytest.mark.parametrize("name", IDX_SETS)
def test_idx_sets_load(tmp_path, name):
    splits = write_mnist(tmp_path / IDX_SETS[name] / "raw")
    dataset = datasets.load(name, roots=[tmp_path / "empty", tmp_path], cache=tmp_path / "cache")
    assert_splits(dataset, splits)
    assert dataset.num_classes == 10 and dataset.classes[0] != dataset.classes[1]
    assert "train: 30 images where 60,000 are published" in dataset.notes
    assert datasets.locate(name, roots=[tmp_path]).where == tmp_path / IDX_SETS[name] / "raw"


def test_normalisation_is_the_known_one_or_measured(tmp_path):
    for name in ("mnist", "kmnist"):
        write_mnist(tmp_path / IDX_SETS[name] / "raw")
    mnist, kmnist = (datasets.load(name, roots=[tmp_path]) for name in ("mnist", "kmnist"))
    assert (mnist.mean, mnist.std) == ((0.1307,), (0.3081,))
    pixels = kmnist.train_images / 255
    np.testing.assert_allclose([*kmnist.mean, *kmnist.std], [pixels.mean(), pixels.std()])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:-1], r"cut short .*\(30 x 28 x 28\) needs 23536"),
        ("train-images-idx3-ubyte", lambda b: b[:2], "not an idx file of images"),
        ("t10k-images-idx3-ubyte", lambda b: b + b"x", "too long: 15697 bytes"),
        ("t10k-labels-idx1-ubyte", lambda b: b"", "not an idx file of labels"),
        ("t10k-labels-idx1-ubyte", lambda b: b"<html>404</html>", "begins with the bytes 3c68746d"),
        ("train-labels-idx1-ubyte", lambda b: gzip.compress(b), "still compressed"),
    ],
)
def test_a_damaged_idx_file_is_named_with_the_remedy(tmp_path, file, damage, message):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    (raw / file).write_bytes(damage((raw / file).read_bytes()))
    with pytest.raises(DatasetError, match=rf"{file}: .*{message}.*; delete it, .*datasets fetch"):
        datasets.load("mnist", roots=[tmp_path])


def test_mislabelled_idx_files_are_noticed(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    write_idx(raw / "train-labels-idx1-ubyte", ten(2))
    with pytest.raises(DatasetError, match=f"{raw}: 30 train images but 20 labels"):
        datasets.load("mnist", roots=[tmp_path])
    write_idx(raw / "train-labels-idx1-ubyte", ten(3) + 1)
    with pytest.raises(DatasetError, match="train labels start at 1; they must count"):
        datasets.load("mnist", roots=[tmp_path])
    write_idx(raw / "train-labels-idx1-ubyte", ten(3).clip(0, 8))
    with pytest.raises(DatasetError, match="1 of 10 classes have no train images: '9'"):
        datasets.load("mnist", roots=[tmp_path])


def test_images_of_another_size_are_not_mnists(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    for prefix, n in (("train", 3), ("t10k", 2)):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", draw(ten(n), 16, 16)[0])
    with pytest.raises(DatasetError, match=r"images of \(1, 16, 16\), but those of mnist"):
        datasets.load("mnist", roots=[tmp_path])


def test_a_half_present_set_says_which_file_lacks(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    lacks = f"{tmp_path} lacks MNIST/raw/t10k-labels-idx1-ubyte; .*datasets import mnist PATH"
    with pytest.raises(DatasetMissing, match=lacks):
        datasets.load("mnist", roots=[tmp_path])


# -- CIFAR: pickles, read by torchvision after its checksums -------------------------------


def write_cifar10(folder, monkeypatch):
    """Write the batches and tell torchvision their checksums; return the splits."""
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = draw(ten(5), 32, 32, 3)
    test = draw(ten(1), 32, 32, 3, seed=1)
    parts = [
        (f"data_batch_{i + 1}", (images[10 * i :][:10], labels[10 * i :][:10])) for i in range(5)
    ]
    sums = []
    for file, (x, y) in [*parts, ("test_batch", test)]:
        record = {"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), "labels": y.tolist()}
        (folder / file).write_bytes(pickle.dumps(record, protocol=2))
        sums.append([file, md5(folder / file)])
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, 2))
    meta = torchvision_datasets.CIFAR10.meta | {"md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "meta", meta)
    return {"train": (images, labels), "test": test}


def write_cifar100(folder, monkeypatch):
    folder = folder / "cifar-100-python"
    folder.mkdir(parents=True)
    splits = {
        "train": draw(np.arange(100), 32, 32, 3),
        "test": draw(np.arange(100)[::-1], 32, 32, 3),
    }
    for file, (x, y) in splits.items():
        record = {
            "data": x.transpose(0, 3, 1, 2).reshape(len(x), -1),
            "fine_labels": y.tolist(),
            "coarse_labels": [0] * len(y),
        }
        (folder / file).write_bytes(pickle.dumps(record, protocol=2))
    names = [f"fine {i}" for i in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol=2))
    meta = torchvision_datasets.CIFAR100.meta | {"md5": md5(folder / "meta")}
    monkeypatch.setattr(torchvision_datasets.CIFAR100, "meta", meta)
    for split in splits:
        sums = [[split, md5(folder / split)]]
        monkeypatch.setattr(torchvision_datasets.CIFAR100, f"{split}_list", sums)
    return splits


def test_cifar10_loads(tmp_path, monkeypatch):
    splits = write_cifar10(tmp_path, monkeypatch)
    dataset = datasets.load("cifar10", roots=[tmp_path])
    assert_splits(dataset, splits)
    assert dataset.classes[:2] == ("airplane", "automobile")
    assert (dataset.mean, dataset.std) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201))
    assert dataset.augment == datasets.WITH_FLIP


def test_cifar100_loads_its_fine_classes(tmp_path, monkeypatch):
    splits = write_cifar100(tmp_path, monkeypatch)
    dataset = datasets.load("cifar100", roots=[tmp_path])
    assert_splits(dataset, splits)
    assert dataset.num_classes == 100 and dataset.classes[99] == "fine 99"


def test_cifar100_may_have_the_constants_of_cifar10(tmp_path, monkeypatch):
    write_cifar100(tmp_path, monkeypatch)
    own, other = (datasets.load(name, roots=[tmp_path])
                  for name in ("cifar100", "cifar100?cifar10_constants=true"))  # fmt: skip
    assert (own.mean[0], other.mean[0], other.std[0]) == (0.5071, 0.4914, 0.2023)
    assert own.fingerprint != other.fingerprint


def test_a_cifar_batch_that_is_not_the_published_one_is_never_unpickled(tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("was unpickled",)

    write_cifar10(tmp_path, monkeypatch)
    for file in ("data_batch_3", "batches.meta"):
        path = tmp_path / "cifar-10-batches-py" / file
        before = path.read_bytes()
        path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(DatasetError, match=f"{file}: is damaged or cut short .*; delete it"):
            datasets.load("cifar10", roots=[tmp_path])
        path.write_bytes(before)


def test_cifar10_as_npz_has_the_same_fingerprint(tmp_path, monkeypatch):
    splits = write_cifar10(tmp_path / "a", monkeypatch)
    (tmp_path / "b").mkdir()
    write_npz(tmp_path / "b" / "cifar10.npz", splits)
    pickled = datasets.load("cifar10", roots=[tmp_path / "a"])
    packed = datasets.load("cifar10", roots=[tmp_path / "b"], cache=tmp_path / "cache")
    assert pickled.fingerprint == packed.fingerprint and packed.classes == pickled.classes


# -- SVHN and USPS -------------------------------------------------------------------------


def write_svhn(folder, monkeypatch):
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    splits = {"train": draw(ten(2), 32, 32, 3), "test": draw(ten(1)[::-1], 32, 32, 3, seed=1)}
    known = {}
    for split, (images, labels) in splits.items():
        path = folder / f"{split}_32x32.mat"
        written = np.where(labels == 0, 10, labels)  # SVHN writes the digit 0 as 10
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": written[:, None].astype(np.uint8)})
        known[split] = [path.as_uri(), path.name, md5(path)]
    monkeypatch.setattr(torchvision_datasets.SVHN, "split_list", known)
    return splits


@pytest.mark.parametrize("folder", ["", "svhn", "SVHN"])
def test_svhn_loads_with_ten_meaning_zero(tmp_path, monkeypatch, folder):
    splits = write_svhn(tmp_path / folder, monkeypatch)
    dataset = datasets.load("svhn", roots=[tmp_path])
    assert_splits(dataset, splits)
    assert dataset.mean == (0.4377, 0.4438, 0.4728) and dataset.augment == datasets.WITHOUT_FLIP


def test_a_truncated_svhn_file_is_named(tmp_path, monkeypatch):
    write_svhn(tmp_path, monkeypatch)
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"test_32x32.mat: is damaged or cut short \(\d+ bytes"):
        datasets.load("svhn", roots=[tmp_path])


def write_usps(folder, monkeypatch):
    folder.mkdir(parents=True, exist_ok=True)
    splits = {"train": draw(ten(2), 16, 16), "test": draw(ten(1), 16, 16, seed=1)}
    known = {}
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        images, labels = splits[split]
        lines = []
        for image, label in zip(images, labels, strict=True):
            # half a grey level up, as the reader cuts off: grey levels come out as they went in
            values = (image.reshape(-1) + 0.5).clip(0, 255) / 255 * 2 - 1
            cells = " ".join(f"{i + 1}:{value:.6f}" for i, value in enumerate(values))
            lines.append(f"{label + 1} {cells} \n")
        (folder / name).write_bytes(bz2.compress("".join(lines).encode()))
        known[split] = [(folder / name).as_uri(), name, md5(folder / name)]
    monkeypatch.setattr(torchvision_datasets.USPS, "split_list", known)
    return splits


def test_usps_loads_as_it_is_16_by_16(tmp_path, monkeypatch):
    splits = write_usps(tmp_path, monkeypatch)
    dataset = datasets.load("usps", roots=[tmp_path])
    assert_splits(dataset, splits)
    assert dataset.shape == (1, 16, 16)


def test_a_truncated_usps_file_is_named(tmp_path, monkeypatch):
    write_usps(tmp_path, monkeypatch)
    path = tmp_path / "usps.bz2"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="usps.bz2: is damaged or cut short"):
        datasets.load("usps", roots=[tmp_path])


# -- Tiny-ImageNet -------------------------------------------------------------------------

WNIDS = ("n01443537", "n01629819", "n02002724")


def write_image(path, pixels, **arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **arguments)


def write_tiny(root):
    """Write three classes of flat colours, which survive JPEG; return the colour of each class."""
    folder = root / "tiny-imagenet-200"
    shades = {wnid: 40 + 80 * c for c, wnid in enumerate(WNIDS)}
    for wnid, shade in shades.items():
        for i in range(2):
            pixels = np.full((64, 64, 3), shade + i, np.uint8)
            write_image(folder / f"train/{wnid}/images/{wnid}_{i}.JPEG", pixels, quality=100)
        (folder / f"train/{wnid}/{wnid}_boxes.txt").write_text("0 0 10 10\n")
    # in the validation split the classes lie mixed in one folder, one of the images grey
    order = [WNIDS[2], WNIDS[0], WNIDS[1], WNIDS[0]]
    lines = []
    for i, wnid in enumerate(order):
        shape = (64, 64) if i == 0 else (64, 64, 3)
        write_image(
            folder / f"val/images/val_{i}.JPEG", np.full(shape, shades[wnid], np.uint8), quality=100
        )
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    (folder / "words.txt").write_text(
        f"n00000001\tentity\n{WNIDS[0]}\tgoldfish, Carassius auratus\n{WNIDS[1]}\tcrane\n"
        f"{WNIDS[2]}\tcrane, a bird\n"
    )
    (folder / "test/images").mkdir(parents=True)
    (folder / "test/images/test_0.JPEG").write_bytes(b"never read")
    return folder


def test_tinyimagenet_loads_with_its_odd_validation_layout(tmp_path):
    write_tiny(tmp_path)
    for odd in (".ipynb_checkpoints", "__MACOSX"):  # left by a notebook and a Mac
        (tmp_path / "tiny-imagenet-200" / "train" / odd).mkdir()
    dataset = datasets.load("tinyimagenet", roots=[tmp_path], cache=tmp_path / "cache")
    assert dataset.shape == (3, 64, 64) and dataset.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    shades = dataset.train_images.mean((1, 2, 3)).round().astype(int).tolist()
    assert shades == [40, 41, 120, 121, 200, 201]
    assert dataset.test_labels.tolist() == [2, 0, 1, 0]
    assert dataset.test_images.mean((1, 2, 3)).round().astype(int).tolist() == [200, 40, 120, 40]
    assert dataset.classes == ("goldfish", f"crane ({WNIDS[1]})", f"crane ({WNIDS[2]})")
    assert (dataset.mean, dataset.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "val/images/val_1.JPEG").unlink(), "val_1.JPEG: is missing, though line 2"),
        (lambda f: shutil.rmtree(f / f"train/{WNIDS[1]}"), f"lacks 1 of the classes .*{WNIDS[1]}"),
        (
            lambda f: (f / "val/val_annotations.txt").write_text("val_0.JPEG\tn09999999\t0\n"),
            "line 1: class 'n09999999' of 'val_0.JPEG' has no folder",
        ),
        (
            lambda f: (f / "val/images/val_2.JPEG").write_bytes(
                (f / "val/images/val_2.JPEG").read_bytes()[:300]
            ),
            "val_2.JPEG: cannot be read as an image",
        ),
        (
            lambda f: write_image(
                f / f"train/{WNIDS[0]}/images/{WNIDS[0]}_1.JPEG", np.zeros((32, 64, 3), np.uint8)
            ),
            "_1.JPEG: is 32x64 .* is 64x64",
        ),
    ],
)
def test_damaged_tinyimagenet_is_named(tmp_path, harm, message):
    harm(write_tiny(tmp_path))
    with pytest.raises(DatasetError, match=message):
        datasets.load("tinyimagenet", roots=[tmp_path])


# -- MHIST ---------------------------------------------------------------------------------

HEADER = "Image Name,Majority Vote Label,Number of Annotators who Selected SSA (Out of 7),Partition"


def write_mhist(folder):
    rows = [
        ("MHIST_aaa.png", "SSA", 6, "train"),
        ("MHIST_aab.png", "HP", 0, "train"),
        ("MHIST_aac.png", "HP", 2, "test"),
        ("MHIST_aae.png", "HP", 1, "train"),
        ("MHIST_aaf.png", "SSA", 7, "test"),
    ]
    for i, (name, *_) in enumerate(rows):
        pixels = np.zeros((224, 224, 3), np.uint8)
        pixels[..., 0], pixels[:, :112, 1] = 50 * i, 200
        write_image(folder / "images" / name, pixels)
    lines = [HEADER, *(",".join(map(str, row)) for row in rows)]
    (folder / "annotations.csv").write_text("\r\n".join(lines) + "\r\n")
    return folder


@pytest.mark.parametrize("folder", ["MHIST", "mhist", ""])
def test_mhist_loads_the_official_partition_at_32(tmp_path, folder):
    write_mhist(tmp_path / folder)
    dataset = datasets.load("mhist", roots=[tmp_path])
    assert dataset.shape == (3, 32, 32) and dataset.classes == ("HP", "SSA")
    assert dataset.train_labels.tolist() == [1, 0, 0] and dataset.test_labels.tolist() == [0, 1]
    assert dataset.train_images[:, 0].max((1, 2)).tolist() == [0, 50, 150]
    assert dataset.train_images[0, 1, 5, [0, 31]].tolist() == [200, 0]  # left is left
    assert (dataset.mean, dataset.std) == ((0.485, 0.456, 0.406), (0.5, 0.5, 0.5))
    assert dataset.augment == datasets.WITH_FLIP


def test_mhist_at_another_size(tmp_path):
    write_mhist(tmp_path / "MHIST")
    dataset = datasets.load("mhist", roots=[tmp_path], options={"size": 128})
    assert dataset.shape == (3, 128, 128) and dataset.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",HP,0,train", ",hp,0,train", "line 3: label 'hp' of MHIST_aab.png is neither HP nor SSA"),
        ("7,test", "7,val", "line 6: partition 'val' of MHIST_aaf.png is neither train nor test"),
        ("MHIST_aac.png", "MHIST_aad.png", "line 4: .*MHIST_aad.png does not exist"),
        ("MHIST_aab.png", "MHIST_aaa.png", "line 3: MHIST_aaa.png is listed twice"),
        ("MHIST_aac.png,HP,2,test", "MHIST_aac.png,HP,2", "line 4: no value for Partition"),
        ("Majority Vote Label", "Label", "line 2: no value for Majority Vote Label"),
        ("SSA,7,test", "HP,7,test", "no test images: 'SSA'"),
    ],
)
def test_mislabelled_mhist_is_named_by_line(tmp_path, old, new, message):
    path = write_mhist(tmp_path / "MHIST") / "annotations.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        datasets.load("mhist", roots=[tmp_path])


# -- npz -----------------------------------------------------------------------------------


def write_npz(path, splits, **more):
    arrays = {}
    for split, (images, labels) in splits.items():
        arrays |= {f"{split}_images": images, f"{split}_labels": labels[:, None].astype(np.uint8)}
    np.savez_compressed(path, **(arrays | more))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (8, 6, 3), (8, 8, 1)])
def test_npz_loads_grey_and_colour(tmp_path, shape):
    splits = {"train": draw([0, 1, 2, 1], *shape), "test": draw([2, 1, 0], *shape, seed=1)}
    write_npz(tmp_path / "my.npz", splits | {"val": splits["test"]})
    name = f"npz:{tmp_path / 'my.npz'}"
    dataset = datasets.load(name, cache=tmp_path / "cache")
    assert_splits(dataset, splits)
    assert dataset.name == name and dataset.classes == ("0", "1", "2")
    assert dataset.notes == "its validation split is left out"
    assert dataset.augment == datasets.WITH_FLIP
    digits = datasets.load(name, options={"flip": False})
    assert digits.augment == datasets.WITHOUT_FLIP


def test_npz_may_name_its_classes(tmp_path):
    splits = {"train": draw([0, 1], 8, 8), "test": draw([0, 1], 8, 8)}
    write_npz(tmp_path / "my.npz", splits, classes=np.array(["cat", "dog"]))
    assert datasets.load(f"npz:{tmp_path / 'my.npz'}").classes == ("cat", "dog")
    write_npz(tmp_path / "my.npz", splits, classes=np.array(["cat"]))
    with pytest.raises(DatasetError, match="my.npz: has 1 class"):
        datasets.load(f"npz:{tmp_path / 'my.npz'}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": np.zeros((2, 64), np.uint8)},
            r"train_images is uint8 of shape \(2, 64\)",
        ),
        ({"train_images": np.full((2, 8, 8), -0.5)}, r"train_images is float64 in -0\.5\.\.0; exp"),
        ({"test_images": np.full((2, 8, 8), np.nan)}, r"test_images is float64 in nan\.\.nan"),
        ({"test_images": np.full((2, 8, 8), 4095, ">u2")}, r"test_images is uint16 in 0\.\.4095;"),
        ({"test_images": np.full((2, 8, 8), "a")}, "test_images is <U1 of shape"),
        (
            {"test_images": np.zeros((2, 9, 9, 9), np.uint8)},
            r"test_images is uint8 .*\(2, 9, 9, 9\)",
        ),
        ({"train_labels": np.zeros((2, 14), np.uint8)}, "train_labels has 14 labels an image"),
        ({"train_labels": np.array([0.0, 0.5])}, "train_labels is float64"),
        ({"train_labels": np.array([0.0, np.nan])}, "train_labels is float64"),
        (
            {"train_labels": np.array(["a", "b"])},
            "of train_labels and test_labels some are text and some are numbers",
        ),
        ({"train_labels": np.array([0, 1, 1])}, "2 train images but 3 labels"),
        ({"train_labels": np.array([0, 2])}, "1 of 3 classes have no train images: '1'"),
        ({"train_labels": np.array([0, 0]), "test_labels": np.array([0, 0])}, "has 1 class"),
        ({"train_labels": np.array([0, -1])}, "1 train labels are outside 0..1"),
        ({"train_labels": np.array(["a", None], dtype=object)}, "train_labels holds Python obj"),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path, changes, message):
    arrays = {
        "train_images": np.zeros((2, 8, 8), np.uint8),
        "train_labels": np.array([0, 1]),
        "test_images": np.zeros((2, 8, 8), np.uint8),
        "test_labels": np.array([0, 1]),
    }
    np.savez(tmp_path / "my.npz", **(arrays | changes))
    with pytest.raises(DatasetError, match=f"^{tmp_path}/my.npz: {message}"):
        datasets.load(f"npz:{tmp_path / 'my.npz'}")


def test_npz_without_an_array_lists_what_it_has(tmp_path):
    np.savez(tmp_path / "my.npz", train_images=np.zeros(3), x=np.zeros(3))
    lacks = r"has no train_labels, test_images, test_labels \(it has train_images, x\)"
    with pytest.raises(DatasetError, match=lacks):
        datasets.load(f"npz:{tmp_path / 'my.npz'}")


@pytest.mark.parametrize("keep", [0, 10, 1500, -30])
def test_a_truncated_npz_is_named(tmp_path, keep):
    path = tmp_path / "my.npz"
    write_npz(path, {"train": draw([0, 1], 28, 28), "test": draw([0, 1], 28, 28)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=f"^{path}: cannot be read as an npz file"):
        datasets.load(f"npz:{path}")


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path):
    path = tmp_path / "my.npz"
    write_npz(path, {"train": draw([0, 1], 28, 28), "test": draw([0, 1], 28, 28)})
    content = bytearray(path.read_bytes())
    content[700] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read as an npz file"):
        datasets.load(f"npz:{path}")


def test_what_is_no_npz_at_all(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DatasetError, match="is a single array"):
        datasets.load(f"npz:{tmp_path / 'one.npy'}")
    with pytest.raises(DatasetMissing, match="no such file: .*absent.npz"):
        datasets.load(f"npz:{tmp_path / 'absent.npz'}")
    with pytest.raises(DatasetError, match="'npz:' needs a path"):
        datasets.load("npz:")


# -- folders -------------------------------------------------------------------------------


def write_folder(root, mode="RGB", size=(10, 8), suffix="png"):
    """Write two classes, three and one training images, with shade 100 * class + number."""
    for split, counts in (("train", {"cat": 3, "dog": 1}), ("test", {"cat": 1, "dog": 1})):
        for c, (name, count) in enumerate(counts.items()):
            for i in range(count):
                path = root / split / name / f"{i}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", size, 100 * c + i).convert(mode).save(path)
    return root


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", 3), ("L", 1), ("P", 3), ("RGBA", 3), ("1", 1)]
)
def test_a_folder_loads_with_unequal_classes(tmp_path, mode, channels):
    write_folder(tmp_path, mode)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    dataset = datasets.load(f"folder:{tmp_path}", cache=tmp_path / "cache")
    assert dataset.shape == (channels, 8, 10) and dataset.classes == ("cat", "dog")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1]
    if mode != "1":
        assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 100]


def test_a_folder_of_grey_and_coloured_images_is_rgb(tmp_path):
    write_folder(tmp_path, "L")
    Image.new("RGB", (10, 8), (9, 0, 0)).save(tmp_path / "test" / "dog" / "0.png")
    dataset = datasets.load(f"folder:{tmp_path}")
    assert dataset.shape == (3, 8, 10)
    assert dataset.train_images[3, :, 0, 0].tolist() == [100] * 3


def test_a_folder_of_mixed_sizes_needs_the_option_size(tmp_path):
    write_folder(tmp_path)
    Image.new("RGB", (30, 20), (7, 7, 7)).save(tmp_path / "train" / "cat" / "1.png")
    with pytest.raises(DatasetError, match="1.png: is 20x30 .* is 8x10; give option size"):
        datasets.load(f"folder:{tmp_path}")
    dataset = datasets.load(f"folder:{tmp_path}", options={"size": 6})
    assert dataset.shape == (3, 6, 6) and dataset.train_images[1, 0, 3, 3] == 7


def test_options_may_stand_behind_a_name(tmp_path):
    write_folder(tmp_path)
    dataset = datasets.load(f"folder:{tmp_path}?size=6&flip=false")
    assert dataset.shape == (3, 6, 6) and dataset.fingerprint == datasets.load(
        f"folder:{tmp_path}", options={"size": 6, "flip": False}
    ).fingerprint  # fmt: skip
    assert datasets.load(f"folder:{tmp_path}?size=6", options={"size": 4}).shape == (3, 4, 4)
    with pytest.raises(DatasetError, match="unknown option 'sise'; did you mean 'size'"):
        datasets.load("toy?sise=6")
    with pytest.raises(DatasetError, match="'big' is not an integer"):
        datasets.load("toy?size=big")
    odd = tmp_path / "what?"
    odd.mkdir()
    write_folder(odd)
    assert datasets.load(f"folder:{odd}").shape == (3, 8, 10)


def test_sizes_that_differ_between_splits_need_it_too(tmp_path):
    write_folder(tmp_path)
    for name in ("cat", "dog"):
        Image.new("RGB", (4, 4)).save(tmp_path / "test" / name / "0.png")
    with pytest.raises(DatasetError, match="training images are 3x8x10, test images 3x4x4"):
        datasets.load(f"folder:{tmp_path}")
    assert datasets.load(f"folder:{tmp_path}", options={"size": 6}).shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "train/cat/2.png").write_bytes(b"nonsense"), "2.png: cannot be read as an"),
        (lambda f: (f / "train/cat/2.png").write_bytes(b""), "2.png: cannot be read as an image"),
        (lambda f: shutil.rmtree(f / "test/dog"), "class 'dog' is only in train"),
        (lambda f: (f / "test/emu").mkdir(), "class 'emu' is only in test"),
        (lambda f: (f / "train/dog/0.png").unlink(), "no train images: 'dog'"),
        (lambda f: [shutil.rmtree(f / s / "dog") for s in ("train", "test")], "has 1 class"),
        (lambda f: [shutil.rmtree(f / s) or (f / s).mkdir() for s in ("train", "test")], "0 class"),
        (
            lambda f: Image.fromarray(np.zeros((8, 10), np.uint16)).save(f / "train/cat/2.png"),
            "2.png: has pixels of mode I;16; convert it to 8 bits",
        ),
    ],
)
def test_a_faulty_folder_is_named(tmp_path, harm, message):
    harm(write_folder(tmp_path))
    with pytest.raises(DatasetError, match=message):
        datasets.load(f"folder:{tmp_path}")


def test_a_folder_without_splits_is_missing(tmp_path):
    with pytest.raises(DatasetMissing, match="no folder .*/train; images belong in train/<class>/"):
        datasets.load(f"folder:{tmp_path}")


def test_a_changed_image_is_noticed_behind_the_cache(tmp_path):
    write_folder(tmp_path / "data")
    arguments = {"cache": tmp_path / "cache"}
    before = datasets.load(f"folder:{tmp_path / 'data'}", **arguments)
    Image.new("RGB", (10, 8), (250, 1, 2)).save(tmp_path / "data" / "train" / "dog" / "0.png")
    after = datasets.load(f"folder:{tmp_path / 'data'}", **arguments)
    assert after.train_images[3, :, 0, 0].tolist() == [250, 1, 2]
    assert datasets.fingerprint(f"folder:{tmp_path / 'data'}", **arguments) == after.fingerprint
    assert after.fingerprint != before.fingerprint


# -- import --------------------------------------------------------------------------------


def gzip_all(folder):
    for path in sorted(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()


def test_import_unpacks_gzips_of_any_packer_as_debians_are(tmp_path):
    splits = write_mnist(tmp_path / "usr/share/datasets/fashion-mnist")
    gzip_all(tmp_path / "usr/share/datasets/fashion-mnist")
    where = datasets.adopt(
        "fashionmnist", tmp_path / "usr/share/datasets/fashion-mnist", root=tmp_path / "root"
    )
    assert where == tmp_path / "root/FashionMNIST/raw"
    assert_splits(datasets.load("fashionmnist", roots=[tmp_path / "root"]), splits)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["FashionMNIST"]


def test_import_finds_files_below_and_by_their_older_names(tmp_path):
    raw = tmp_path / "somewhere" / "deep"
    splits = write_mnist(raw)
    for path in sorted(raw.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    datasets.adopt("mnist", tmp_path / "somewhere", root=tmp_path / "root")
    assert_splits(datasets.load("mnist", roots=[tmp_path / "root"]), splits)


def test_import_tells_mnist_from_fashionmnist_by_the_folder(tmp_path):
    write_mnist(tmp_path / "all/FashionMNIST/raw")
    splits = write_mnist(tmp_path / "all/MNIST/raw")
    write_idx(tmp_path / "all/FashionMNIST/raw/t10k-labels-idx1-ubyte", ten()[::-1])
    datasets.adopt("mnist", tmp_path / "all", root=tmp_path / "root")
    assert_splits(datasets.load("mnist", roots=[tmp_path / "root"]), splits)
    with pytest.raises(DatasetError, match="exists more than once .*; name the folder"):
        datasets.adopt("kmnist", tmp_path / "all", root=tmp_path / "root")


@pytest.fixture
def small_sets(monkeypatch):
    """Every set, as if 30 training images were what is published of the ones of MNIST's form."""
    sets = [
        replace(one, train_size=30) if one.train_size == 60_000 else one
        for one in torchvision_sets.TORCHVISION_SETS
    ]
    monkeypatch.setattr(torchvision_sets, "TORCHVISION_SETS", sets)
    return {one.name: one for one in sets}


def write_grey(folder, value):
    """Write files of MNIST's form whose pixels all have one value."""
    write_mnist(folder)
    grey = np.full((30, 28, 28), value, dtype=np.uint8)
    write_idx(folder / "train-images-idx3-ubyte", grey)


@pytest.mark.parametrize(
    ("name", "value", "like"),
    [("fashionmnist", 33, "mnist"), ("mnist", 49, "kmnist"), ("kmnist", 73, "fashionmnist")],
)
def test_import_refuses_the_files_of_another_set_of_the_same_form(
    tmp_path, small_sets, name, value, like
):
    write_grey(tmp_path / "source", value)
    message = (
        f"{tmp_path}/source/train-images-idx3-ubyte: the mean pixel of its training images is "
        f"{value / 255:.3f}, that of {name} is 0.*: these look like {like}"
    )
    with pytest.raises(DatasetError, match=message):
        datasets.adopt(name, tmp_path / "source", root=tmp_path / "root", sources=small_sets)
    assert list((tmp_path / "root").iterdir()) == []
    datasets.adopt(like, tmp_path / "source", root=tmp_path / "root", sources=small_sets)


def test_files_like_no_known_set_are_refused_too_unless_their_size_is_another(tmp_path, small_sets):
    write_grey(tmp_path / "MNIST/raw", 200)
    with pytest.raises(DatasetError, match=r"is 0\.784, .* 0\.131: the files of another dataset"):
        datasets.load("mnist", roots=[tmp_path], sources=small_sets)
    datasets.load("mnist", roots=[tmp_path])  # 30 images where 60,000 are published


def test_import_of_damaged_or_incomplete_files_leaves_nothing(tmp_path):
    source = tmp_path / "source"
    write_mnist(source)
    gzip_all(source)
    packed = source / "t10k-labels-idx1-ubyte.gz"
    whole = packed.read_bytes()
    for content, message in [
        (whole[:-9], f"{packed}: cannot be unpacked"),
        (gzip.compress(gzip.decompress(whole)[:-1]), f"{packed}: is cut short"),
    ]:
        packed.write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            datasets.adopt("mnist", source, root=tmp_path / "root")
    packed.unlink()
    with pytest.raises(DatasetError, match=f"{source}: has no t10k-labels-idx1-ubyte, packed"):
        datasets.adopt("mnist", source, root=tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def tar(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def test_import_of_the_cifar_archive(tmp_path, monkeypatch):
    splits = write_cifar10(tmp_path / "source", monkeypatch)
    archive = tar(tmp_path / "source/cifar-10-batches-py", tmp_path / "cifar-10-python.tar.gz")
    datasets.adopt("cifar10", archive, root=tmp_path / "root")
    assert_splits(datasets.load("cifar10", roots=[tmp_path / "root"]), splits)
    archive.write_bytes(archive.read_bytes()[:-500])
    with pytest.raises(DatasetError, match="cifar-10-python.tar.gz: cannot be unpacked"):
        datasets.adopt("cifar10", archive, root=tmp_path / "other")


def test_import_refuses_an_archive_that_writes_elsewhere(tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("../../outside")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(DatasetError, match="evil.tar: cannot be unpacked .*outside"):
        datasets.adopt("cifar10", tmp_path / "evil.tar", root=tmp_path / "a/b/root")
    assert not list(tmp_path.rglob("outside"))


def test_import_of_an_npz_for_a_known_name(tmp_path):
    splits = {"train": draw(ten(2), 32, 32, 3), "test": draw(ten(1), 32, 32, 3)}
    write_npz(tmp_path / "somefile.npz", splits)
    where = datasets.adopt("cifar10", tmp_path / "somefile.npz", root=tmp_path / "root")
    assert where == tmp_path / "root" / "cifar10.npz"
    assert_splits(datasets.load("cifar10", roots=[tmp_path / "root"]), splits)
    with pytest.raises(DatasetError, match=r"somefile.npz: has images of \(3, 32, 32\), but"):
        datasets.adopt("mnist", tmp_path / "somefile.npz", root=tmp_path / "other")


@pytest.fixture
def small_mhist(monkeypatch):
    """MHIST as if `write_mhist` wrote all of it."""
    counts = {("train", "HP"): 2, ("train", "SSA"): 1, ("test", "HP"): 1, ("test", "SSA"): 1}
    monkeypatch.setattr(folders.Mhist, "counts", counts)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SSA,6,train", "SSA,6,test", "0 SSA images to train on where 1 are published; 2 SSA ima"),
        ("MHIST_aab.png", "polyp_7.png", "'polyp_7.png' is no name of its images"),
        ("Partition", "Split", "0 HP images to train on where 2 are published"),
    ],
)
def test_import_of_mhist_takes_mhist_alone(tmp_path, small_mhist, old, new, message):
    path = write_mhist(tmp_path / "sent") / "annotations.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=rf"is not MHIST \({message}.*need no import: csv:"):
        datasets.adopt("mhist", tmp_path / "sent", root=tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_what_is_no_mhist_is_listed_by_its_own_counts(tmp_path):
    write_mhist(tmp_path / "MHIST")
    write_mnist(tmp_path / "MNIST" / "raw")
    write_npz(tmp_path / "kmnist.npz", {"train": draw(ten(), 28, 28), "test": draw(ten(), 28, 28)})
    lines = {line.name: line for line in datasets.listing(roots=[tmp_path])}
    sizes = {name: (line.train_size, line.test_size) for name, line in lines.items()}
    assert sizes["mhist"] == (3, 2) and sizes["mnist"] == (30, 20)
    assert sizes["kmnist"] == (None, None) and sizes["cifar10"] == (50_000, 10_000)


def test_import_of_mhist_as_sent_and_unpacked(tmp_path, small_mhist):
    folder = write_mhist(tmp_path / "sent")
    datasets.adopt("mhist", tmp_path, root=tmp_path / "one")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in sorted((folder / "images").iterdir()):
            archive.write(path, f"images/{path.name}")
    shutil.rmtree(folder / "images")
    said = []
    where = datasets.adopt("mhist", folder, root=tmp_path / "two", progress=said.append)
    assert where == tmp_path / "two/MHIST"
    assert said[-1] == "3 training and 2 test images of 2 classes"
    one, two = (datasets.load("mhist", roots=[tmp_path / root]) for root in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    with pytest.raises(DatasetError, match="has no folder in it that holds annotations.csv"):
        datasets.adopt("mhist", folder / "images.zip", root=tmp_path / "three")


def test_import_of_the_tinyimagenet_zip(tmp_path):
    folder = write_tiny(tmp_path / "source")
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", folder.parent)
    where = datasets.adopt("tinyimagenet", archive, root=tmp_path / "root")
    assert where == tmp_path / "root/tiny-imagenet-200"
    expected = datasets.load("tinyimagenet", roots=[folder.parent]).fingerprint
    assert datasets.load("tinyimagenet", roots=[tmp_path / "root"]).fingerprint == expected


# -- fetch, from a server of our own -------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """(folder, address): what lies in the folder is served at the address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def serve_kmnist(site, monkeypatch):
    folder, address = site
    splits = write_mnist(folder)
    gzip_all(folder)
    known = [(path.name, md5(path)) for path in sorted(folder.iterdir())]
    monkeypatch.setattr(torchvision_datasets.KMNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision_datasets.KMNIST, "resources", known)
    return splits


def test_fetch_of_idx_files(tmp_path, site, monkeypatch):
    splits = serve_kmnist(site, monkeypatch)
    where = datasets.fetch("kmnist", root=tmp_path / "root")
    assert where == tmp_path / "root/KMNIST/raw"
    assert_splits(datasets.load("kmnist", roots=[tmp_path / "root"]), splits)
    assert not list((tmp_path / "root").rglob("*.gz"))
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["KMNIST"]


# urllib's error for a page that is not there keeps its socket until it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("content", [b"<html>moved</html>", None], ids=["other", "none"])
def test_fetch_of_other_content_or_none_leaves_nothing(tmp_path, site, monkeypatch, content):
    serve_kmnist(site, monkeypatch)
    path = site[0] / "t10k-labels-idx1-ubyte.gz"
    path.unlink()
    if content is not None:
        path.write_bytes(gzip.compress(content))
    with pytest.raises(DatasetError, match="kmnist: the download failed .*datasets import kmnist"):
        datasets.fetch("kmnist", root=tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    if content is None:
        gc.collect()


def test_fetch_gives_up_on_a_silent_server(tmp_path, site, monkeypatch):
    serve_kmnist(site, monkeypatch)
    monkeypatch.setattr(Quiet, "do_GET", lambda self: time.sleep(1))
    monkeypatch.setattr(torchvision_sets, "STALL_SECONDS", 0.1)
    before = socket.getdefaulttimeout()
    with pytest.raises(DatasetError, match="download failed .*tim"):
        datasets.fetch("kmnist", root=tmp_path / "root")
    assert socket.getdefaulttimeout() == before


def test_fetch_of_an_archive(tmp_path, site, monkeypatch):
    splits = write_cifar10(tmp_path / "source", monkeypatch)
    archive = tar(tmp_path / "source/cifar-10-batches-py", site[0] / "cifar-10-python.tar.gz")
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "url", site[1] + archive.name)
    monkeypatch.setattr(torchvision_datasets.CIFAR10, "tgz_md5", md5(archive))
    datasets.fetch("cifar10", root=tmp_path / "root")
    assert_splits(datasets.load("cifar10", roots=[tmp_path / "root"]), splits)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize(
    ("name", "write", "class_name"), [("svhn", write_svhn, "SVHN"), ("usps", write_usps, "USPS")]
)
def test_fetch_of_plain_files(tmp_path, site, monkeypatch, name, write, class_name):
    folder, address = site
    splits = write(folder, monkeypatch)
    known = getattr(torchvision_datasets, class_name).split_list
    for entry in known.values():
        entry[0] = address + entry[1]
    datasets.fetch(name, root=tmp_path / "root")
    assert_splits(datasets.load(name, roots=[tmp_path / "root"]), splits)


def test_fetch_of_tinyimagenet(tmp_path, site, monkeypatch):
    folder = write_tiny(tmp_path / "source")
    archive = site[0] / "tiny-imagenet-200.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", folder.parent)
    source = datasets.find("tinyimagenet")
    monkeypatch.setattr(type(source), "homepage", site[1] + archive.name)
    with pytest.raises(DatasetError, match="the download failed"):  # not the published md5
        datasets.fetch("tinyimagenet", root=tmp_path / "root")
    monkeypatch.setattr(type(source), "md5", md5(archive))
    said = []
    datasets.fetch("tinyimagenet", root=tmp_path / "root", progress=said.append)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["tiny-imagenet-200"]
    assert said[0].startswith("downloading tinyimagenet") and said[-1] == "checking tinyimagenet"
