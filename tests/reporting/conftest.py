"""Run folders made by hand: records as the runner writes them, without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ddbench.reporting.leaderboard import load
from ddbench.reporting.reporters import Reporters, write_report
from ddbench.store.records import DONE
from ddbench.store.run_folder import RunFolder, write_record
from safetensors.numpy import save_file

HARDWARE = "Some CPU, 1 thread, 2 jobs at once, float32"


class MadeRun:
    """A run folder under construction."""

    def __init__(self, root: Path) -> None:
        self.folder = RunFolder(root)
        self.folder.create()
        self.count = 0

    def condensation(self, row: str = "dm", seed: int = 0, **fields: Any) -> str:
        """Write a condensation's record; return its id. Fields given replace the defaults."""
        self.count += 1
        costs = {
            "init_s": 0.5, "condense_s": 10.0, "export_s": 0.5, "artifact_s": 0.0, "waited_s": 0.0,
            "flops_condense": 2_000_000_000, "flops_artifact": 0, "flops_lower_bound": False,
            "peak_memory": 50 * 2**20, "bytes": 31_440, "steps_done": 100, "declared_flops": {},
        } | fields.pop("costs", {})  # fmt: skip
        id = fields.pop("id", f"{row}-s{seed}-{self.count:04d}")
        record = {
            "id": id, "status": DONE, "reason": None, "traceback": None, "row": row, "method": row,
            "source": f"ddbench-{row} 0.1.0", "code": "0.1.0", "options_id": f"options-{id}",
            "dataset": "mnist-mini", "dataset_fingerprint": "f00d", "architecture": "convnet-w32",
            "init": "real", "ipc": 1, "seed": seed, "config": {"lr_images": 1.0}, "steps": 100,
            "published_steps": 100, "budget_s": None, "step_unit": "iteration", "labels": "hard",
            "precision": "float32", "numerics": 1, "reduced": {}, "control_of": None,
            "paper": "A paper", "bibtex": "", "costs": costs, "artifacts": [], "measures": {},
            "metrics": {}, "chose_on_split": False, "set_sha256": f"sha-{id}", "images": 10,
            "missing_classes": [], "hardware": {"device": "Some CPU", "cores": 2},
            "hardware_class": HARDWARE, "versions": {"ddbench": "0.1.0", "torch": "2.15.0"},
            "commit": "0123456789ab", "started": "2026-01-01T00:00:00.000+00:00",
            "ended": f"2026-01-01T00:{self.count // 60:02d}:{self.count % 60:02d}.000+00:00",
            "resumed": 0, "converged": False, "snapshots": [], "cycle": 1, "balanced": True,
            "quick": False,
        } | fields  # fmt: skip
        write_record(self.folder.result(id), "condensation", record)
        return id

    def evaluation(self, of: str | None, accuracies: list[float] = [0.5], **fields: Any) -> str:  # noqa: B006
        """Write an evaluation's record; return its id."""
        self.count += 1
        id = fields.pop("id", f"{of or 'whole'}-on-{self.count:04d}")
        recipe = {"epochs": 301, "optimizer": "sgd", "lr": 0.01, "momentum": 0.9,
                  "weight_decay": 5e-4, "batch": 256, "drop": None, "augment": "none"}  # fmt: skip
        record = {
            "id": id, "status": DONE, "reason": None, "traceback": None, "condensation": of,
            "snapshot": None, "dataset": "mnist-mini", "dataset_fingerprint": "f00d",
            "architecture": "convnet-w32", "protocol": "quick", "recipe": recipe,
            "own_recipe": False, "labels": "hard", "networks": len(accuracies),
            "accuracies": accuracies, "balanced_accuracies": accuracies,
            "train_s": [3.0] * len(accuracies), "test_s": [0.2] * len(accuracies),
            "flops_train": 1_000_000_000, "flops_lower_bound": False, "forward_macs": 3_000_000,
            "n_test": 1000, "images": 10, "chance": 0.1, "majority": 0.1, "peak_memory": 2**20,
            "class_counts_test": [100] * 10, "set_sha256": f"sha-{of}" if of else None,
            "hardware": {"device": "Some CPU", "cores": 2}, "hardware_class": HARDWARE,
            "versions": {"ddbench": "0.1.0", "torch": "2.15.0"}, "commit": "0123456789ab",
            "started": "2026-01-01T00:00:00.000+00:00", "ended": "2026-01-01T01:00:00.000+00:00",
        } | fields  # fmt: skip
        write_record(self.folder.evaluation(id), "evaluation", record)
        return id

    def spoil(self, id: str, **fields: Any) -> None:
        """Put fields that ddbench would not write into the record of an evaluation."""
        path = self.folder.evaluation(id)
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    def row(self, row: str, by_seed: list[list[float]], **fields: Any) -> list[str]:
        """Write condensations of seeds 0, 1, ... and their evaluations; return the first's ids."""
        ids = [self.condensation(row, seed, **fields) for seed in range(len(by_seed))]
        for id, accuracies in zip(ids, by_seed, strict=True):
            place = {k: fields[k] for k in ("dataset", "dataset_fingerprint") if k in fields}
            self.evaluation(id, accuracies, **place)
        return ids

    def manifest(self, **fields: Any) -> None:
        """Write a manifest."""
        record = {
            "started": "2026-01-01T00:00:00.000+00:00", "host": "here",
            "command": ["ddbench", "run", "--all"], "commit": "0123456789ab", "dirty": False,
            "versions": {"ddbench": "0.1.0", "python": "3.11.7"}, "preset": "quick", "registry": {},
            "plan": {"condensations": [], "evaluations": [], "skipped": []},
            "options": {"device": "cpu", "threads": 1, "jobs": 2},
        } | fields  # fmt: skip
        self.count += 1
        path = self.folder.root / "manifests" / f"here-{self.count:04d}.json"
        path.write_text(json.dumps(record))

    def images(self, id: str, shape: tuple[int, ...] = (10, 1, 8, 8), **metadata: Any) -> None:
        """Write the initial and the final set of a condensation."""
        ramp = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        labels = np.arange(shape[0], dtype=np.int64) % 10
        provenance = {"mean": [0.1307], "std": [0.3081], "zca": False,
                      "classes": [str(c) for c in range(10)]} | metadata  # fmt: skip
        text = {"ddbench": json.dumps({"format": 1, "provenance": provenance})}
        for name in ("initial", "synthetic"):
            path = self.folder.condensation(id) / f"{name}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            images = ramp if name == "synthetic" else -ramp
            save_file({"images": images, "labels": labels}, path, text)

    def report(self, form: str = "md", target: Path | None = None) -> Path:
        """Write the report in one format; return its path."""
        found = load(self.folder)
        return write_report(found, Reporters().named(form), target)

    def curve(self, id: str, columns: dict[str, list[float]]) -> None:
        """Write a condensation's curve.csv."""
        rows = [columns, *zip(*columns.values(), strict=True)]
        lines = [",".join(map(str, row)) for row in rows]
        (self.folder.condensation(id) / "curve.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """Return an empty run folder to fill."""
    return MadeRun(tmp_path / "quick")
