"""The parts of a plan: choices, jobs, and skipped rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ddbench.datasets import EPOCH_IMAGES
from ddbench.store.records import Condensation, Evaluation, Skipped
from ddbench.text.labels import Named, labels


@dataclass(frozen=True)
class DatasetFacts:
    """What the planner knows of a dataset.

    Attributes:
        name: As it was asked for.
        fingerprint: Of its content.
        num_classes: C.
        shape: (ch, H, W) of an image.
        class_counts: Training images of each class, C numbers.
        augment: Its siamese augmentation strategy.
        class_names: C names; () if unknown.
        test_counts: Test images of each class, C numbers; () if unknown.
        notes: What a report should say about the data, or "".
        validate: The option of that name, as the dataset was loaded with it.
        epoch_images: Training images that an epoch goes over at least.
        zca: Whether its images are whitened.
        space: What tells in which space its images are, of `datasets.space_of`.
    """

    name: str
    fingerprint: str
    num_classes: int
    shape: tuple[int, int, int]
    class_counts: tuple[int, ...]
    augment: str
    class_names: tuple[str, ...] = ()
    test_counts: tuple[int, ...] = ()
    notes: str = ""
    validate: int | None = None
    epoch_images: int = EPOCH_IMAGES
    zca: bool = False
    space: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what a manifest keeps, under the names that evaluations use too."""
        return {
            "fingerprint": self.fingerprint,
            "shape": list(self.shape),
            "class_names": list(self.class_names),
            "train_counts": list(self.class_counts),
            "test_counts": list(self.test_counts),
            "data_notes": self.notes,
        }


@dataclass(frozen=True)
class Choices:
    """The choices on the command line; None takes the value of the preset.

    Attributes:
        preset: Name of the preset.
        all_methods: Whether every installed method joins.
        rows: Methods or variants.
        settings: (row or method, option, values) of each `--set`; several values make an axis.
        snapshots: Steps, or percentages like "10%", whose sets are evaluated too.
        budget: Seconds of condensing, instead of steps.
        budget_total: Seconds after which the run ends. Without a `budget`, each condensation that
            takes steps gets an equal part on `workers` jobs at once, see `budgets.share`.
        workers: Jobs at once, for `budget_total` alone.
        validate: Hold out so many percent of the training images, or take the dataset's own
            validation split, and test on that alone.
        published: Take neither `MethodInfo.quick` nor the options and steps of the preset's rows,
            and the published init.
        faults: What is wrong with them already: the planner reports it with the rest.
    """

    preset: str = "quick"
    all_methods: bool = False
    rows: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    architectures: tuple[str, ...] | None = None
    evaluate_on: tuple[str, ...] | None = None
    inits: tuple[str, ...] | None = None
    ipc: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    protocol: tuple[str, ...] | None = None
    steps: int | None = None
    budget: float | None = None
    budget_total: float | None = None
    workers: int = 1
    validate: int | None = None
    settings: tuple[tuple[str, str, tuple[Any, ...]], ...] = ()
    snapshots: tuple[str, ...] = ()
    published: bool = False
    faults: tuple[str, ...] = ()


def row_labels(jobs: Iterable[Condensation]) -> dict[str, str]:
    """Return the label of each condensation's row, by id: where rows share a name, what differs."""
    return labels(
        {
            job.id: Named(
                name=job.row,
                place=(job.dataset, job.ipc, job.init, job.architecture),
                traits={**job.config, "steps": job.steps},
                is_control=job.control_of is not None,
            )
            for job in jobs
        }
    )


@dataclass(frozen=True)
class Shared:
    """An artifact that rows of a plan share.

    Attributes:
        kind: What it is.
        id: Its id; "" if it is unknown before the rows run.
        rows: Labels of the rows.
        state: Of `store.artifact_folders`, or why nothing is known.
    """

    kind: str
    id: str
    rows: tuple[str, ...]
    state: str


@dataclass
class Plan:
    """All jobs of a run in table order, and what is left out.

    Attributes:
        condensations: In the order of rows.
        evaluations: In the order of their condensations; reference rows first.
        skipped: What will not be done, and why.
        kept_stale: Ids of condensations whose results come from other code than is installed.
        datasets: Facts of each dataset that is here, by the name that the jobs have for it.
        total_s: Seconds after which the run ends, done or not; None for no limit.
    """

    condensations: list[Condensation] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    kept_stale: list[str] = field(default_factory=list)
    datasets: dict[str, DatasetFacts] = field(default_factory=dict)
    total_s: float | None = None

    @property
    def exit_code(self) -> int:
        """0; 1 if a broken plugin costs rows; 3 if nothing can run."""
        broken = any(skipped.failed for skipped in self.skipped)
        if self.skipped and not (self.condensations and self.evaluations):
            return 1 if broken else 3
        return int(broken)

    def record(self) -> dict[str, Any]:
        """Return what a manifest keeps."""
        return {
            "condensations": [job.id for job in self.condensations],
            "evaluations": [job.id for job in self.evaluations],
            "skipped": [asdict(skipped) for skipped in self.skipped],
            "kept_stale": self.kept_stale,
            "datasets": {name: facts.record() for name, facts in self.datasets.items()},
        }
