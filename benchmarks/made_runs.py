"""Run folders made by hand, to time what is made of records: `make_run`, `make_quick`.

    python benchmarks/made_runs.py FOLDER --jobs 10000
    python benchmarks/made_runs.py FOLDER --quick

Records are what the runner writes of a job, with numbers that are drawn; nothing is run. One of
five is a condensation, the others are its evaluations on four networks. `--quick` makes one as the
preset `quick` leaves it: 17 condensations with sets and curves, 61 evaluations on three networks.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from ddbench.store.records import read
from ddbench.store.run_folder import RunFolder
from safetensors.numpy import save_file

HARDWARE = "Some CPU, 1 thread, 2 jobs at once, float32"
NETWORKS = ("convnet-w32", "mlp", "lenet", "resnet18-w0.25")
DATASETS = ("mnist", "fashionmnist", "kmnist", "svhn", "cifar10")
IPCS, SEEDS = (1, 5, 10, 50), 5
METHODS = ("dm", "gm", "datm", "random", "herding")
ENDED = {
    "reason": None, "traceback": None, "status": "done", "schema": 1, "commit": "0123456789ab",
    "hardware": {"device": "Some CPU", "cores": 2}, "hardware_class": HARDWARE,
    "versions": {"ddbench": "0.1.0", "torch": "2.15.0"}, "device": "cpu", "host": "here",
    "started": "2026-01-01T00:00:00.000+00:00", "ended": "2026-01-01T01:00:00.000+00:00",
}  # fmt: skip


def condensation(number, row, place, seed, draw, **fields):
    """Return the record of a condensation; `place` is its dataset and ipc."""
    dataset, ipc = place
    id = f"{row}-{dataset}-ipc{ipc}-s{seed}-{number:06d}"
    costs = {
        "init_s": 0.5, "condense_s": 100 * draw.random(), "export_s": 0.5, "artifact_s": 0.0,
        "waited_s": 0.0, "flops_condense": int(1e12 * draw.random()), "flops_artifact": 0,
        "flops_lower_bound": False, "peak_memory": 50 * 2**20, "bytes": 31_440 * ipc,
        "steps_done": 100, "declared_flops": {},
    }  # fmt: skip
    return {
        **ENDED, "kind": "condensation", "id": id, "options_id": f"o{number}", "row": row,
        "method": row.partition("@")[0], "source": "ddbench-x 0.1.0", "code": "0.1.0",
        "dataset": dataset, "dataset_fingerprint": dataset, "architecture": "convnet-w32",
        "init": "real", "ipc": ipc, "seed": seed, "config": {"lr_images": 1.0}, "steps": 100,
        "published_steps": 100, "budget_s": None, "step_unit": "iteration", "labels": "hard",
        "precision": "float32", "numerics": 1, "reduced": {"steps": [100, 1000]}, "quick": True,
        "control_of": None, "paper": "A paper", "bibtex": "", "costs": costs, "artifacts": [],
        "measures": {}, "metrics": {}, "chose_on_split": False, "set_sha256": f"sha-{id}",
        "images": 10 * ipc, "missing_classes": [], "resumed": 0, "converged": False,
        "snapshots": [], "cycle": 1, "balanced": True, **fields,
    }  # fmt: skip


def evaluation(of, network, mean, draw, **fields):
    """Return the record of an evaluation of a condensation, with accuracies around `mean`."""
    accuracies = [min(1.0, max(0.0, draw.gauss(mean, 0.02))) for _ in range(3)]
    recipe = {"epochs": 301, "optimizer": "sgd", "lr": 0.01, "momentum": 0.9,
              "weight_decay": 5e-4, "batch": 256, "drop": None, "augment": "none"}  # fmt: skip
    return {
        **ENDED, "kind": "evaluation", "id": f"{of['id']}-on-{network}", "condensation": of["id"],
        "snapshot": None, "dataset": of["dataset"], "dataset_fingerprint": of["dataset"],
        "architecture": network, "protocol": "common", "recipe": recipe, "own_recipe": False,
        "labels": "hard", "networks": 3, "accuracies": accuracies, "n_test": 10_000,
        "balanced_accuracies": accuracies, "train_s": [3.0] * 3, "test_s": [0.2] * 3,
        "flops_train": 1_000_000_000, "flops_lower_bound": False, "forward_macs": 3_000_000,
        "images": of["images"], "chance": 0.1, "majority": 0.1, "peak_memory": 2**20,
        "class_counts_test": [1000] * 10, "set_sha256": of["set_sha256"], **fields,
    }  # fmt: skip


def make_run(root, jobs):
    """Make a run folder of so many records."""
    folder, draw, number = RunFolder(Path(root)), random.Random(0), 0
    folder.create()
    places = [(dataset, ipc) for dataset in DATASETS for ipc in IPCS]
    made = []
    while True:
        for place in places:
            for method in METHODS:
                row = method if number < len(places) * len(METHODS) * SEEDS else (
                    f"{method}@{number // (len(places) * len(METHODS) * SEEDS)}")  # fmt: skip
                mean = 0.4 + 0.4 * draw.random()
                for seed in range(SEEDS):
                    if len(made) >= jobs:
                        return finish(folder, made)
                    made += of_one_set(folder, number, row, place, seed, mean, draw)
                    number += 1


def of_one_set(folder, number, row, place, seed, mean, draw):
    one = condensation(number, row, place, seed, draw)
    evaluations = [evaluation(one, network, mean, draw) for network in NETWORKS]
    write(folder.result(one["id"]), one)
    for other in evaluations:
        write(folder.evaluation(other["id"]), other)
    return [one, *evaluations]


def make_quick(root):
    """Make a run folder as the preset `quick` leaves it: 78 jobs, with sets and curves."""
    folder, draw, made = RunFolder(Path(root)), random.Random(0), []
    folder.create()
    rows = [("dm", "real"), ("gm", "real"), ("dsa", "real"), ("gm", "noise"), ("kcenter", "real"),
            ("herding", "real"), ("kmeans", "real"), ("mtt", "real"), ("datm", "real"),
            ("datm", "spc"), ("fedd3", "real"), ("fedd3", "noise")]  # fmt: skip
    every = [(*row, 0) for row in rows] + [("random", "real", seed) for seed in range(5)]
    for number, (row, init, seed) in enumerate(every):
        setting = "federated" if row == "fedd3" else ""
        place = ("mnist-mini", 1)
        one = condensation(number, row, place, seed, draw, init=init, setting=setting)
        made.append(one)
        write(folder.result(one["id"]), one)
        pictures(folder.condensation(one["id"]), draw)
        mean = 0.5 + 0.3 * draw.random()
        own = [{"own_recipe": True, "id": f"{one['id']}-own"}] if number < 10 else []
        for network, fields in [*((n, {}) for n in NETWORKS[:3]), *((NETWORKS[0], o) for o in own)]:
            made.append(evaluation(one, network, mean, draw, **fields))
            write(folder.evaluation(made[-1]["id"]), made[-1])
    finish(folder, made)


def pictures(home, draw):
    """Write the initial and the final set and the curve of a condensation."""
    labels = np.arange(10, dtype=np.int64)
    about = {"mean": [0.1307], "std": [0.3081], "zca": False, "classes": [str(c) for c in labels]}
    text = {"ddbench": json.dumps({"format": 1, "provenance": about})}
    generator = np.random.default_rng(draw.randrange(10**6))
    for name in ("initial", "synthetic"):
        images = generator.normal(size=(10, 1, 28, 28)).astype(np.float32)
        save_file({"images": images, "labels": labels}, home / f"{name}.safetensors", text)
    lines = [f"{n},{3 / (n + 1) + draw.random()},{0.1 * n}" for n in range(300)]
    (home / "curve.csv").write_text("\n".join(["step,loss,seconds", *lines]) + "\n")


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def finish(folder, made):
    """Write the manifest; see that one record of each kind can be read."""
    for kind in ("condensation", "evaluation"):
        read(json.dumps(next(one for one in made if one["kind"] == kind)).encode(), kind)
    plan = {f"{kind}s": [one["id"] for one in made if one["kind"] == kind]
            for kind in ("condensation", "evaluation")}  # fmt: skip
    manifest = {
        "started": ENDED["started"], "ended": ENDED["ended"], "host": "here", "preset": "quick",
        "command": ["ddbench", "run", "--all"], "commit": "0123456789ab", "dirty": False,
        "versions": ENDED["versions"], "plan": plan | {"skipped": []},
        "options": {"device": "cpu", "threads": 1, "jobs": 2},
    }  # fmt: skip
    write(folder.root / "manifests" / "here.json", manifest)
    return len(made)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="78 jobs, with sets and curves")
    given = parser.parse_args()
    make_quick(given.folder) if given.quick else make_run(given.folder, given.jobs)
