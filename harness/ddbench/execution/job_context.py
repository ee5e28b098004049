"""The setting of a run: what every job needs beside itself, as plain values for any process.

torch is imported where a job needs it: the process that supervises a run does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.datasets import load
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import ChangedError
from ddbench.store.run_folder import RunFolder

if TYPE_CHECKING:
    from ddbench.contract.artifacts import Artifact, ArtifactStore, BuildContext
    from ddbench.contract.task import Task
    from ddbench.datasets import Dataset
    from ddbench.datasets.tensors import TensorData, Whitening
    from ddbench.store.records import Condensation, Evaluation

WHITENING = "whitening.safetensors"


@dataclass(frozen=True)
class JobContext:
    """Where a run reads and writes, and on what it computes.

    Attributes:
        folder: The run folder.
        cache: Where datasets and artifacts are kept between runs.
        roots: Where datasets are looked for.
        datasets: Names of the registry's own datasets -> (source, options).
        device: "cpu" or "cuda", "cuda:1", ...
        threads: CPU threads of a job.
        jobs: Jobs at once, for the record.
        checkpoint_s: Seconds between two checkpoints.
        keep_state: Keep the final state of a finished condensation, to extend it.
        gpus: The GPUs to use, as CUDA_VISIBLE_DEVICES names them; () leaves them all to each job.
        jobs_per_gpu: Jobs at once on each of them.
        job_s: Seconds that one job may take, None for any.
        memory: Bytes that one job's process may hold, None for any.
        silenced: Extensions that have raised, and are told nothing more.
        plugins: Python files that were named; those that are extensions are loaded for each job.
    """

    folder: Path
    cache: Path
    roots: tuple[Path, ...] = ()
    datasets: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    device: str = "cpu"
    threads: int = 1
    jobs: int = 1
    checkpoint_s: float = 60.0
    keep_state: bool = False
    gpus: tuple[str, ...] = ()
    jobs_per_gpu: int = 1
    job_s: float | None = None
    memory: int | None = None
    observers: tuple[str, ...] = ()
    silenced: tuple[str, ...] = ()
    plugins: tuple[Path, ...] = ()
    commit: str | None = None

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.folder)

    def store(self) -> ArtifactStore:
        """Return the artifacts that runs share."""
        from ddbench.contract.artifacts import ArtifactStore

        return ArtifactStore(self.cache / "artifacts")

    def dataset(self, name: str, extensions: Extensions, validate: int | None = None) -> Dataset:
        """Return the dataset of this name in the registry.

        `validate` is the option of that name: the percentage of the training images to hold out.
        """
        source, options = self.datasets.get(name, (name, {}))
        if validate is not None:
            options = {**options, "validate": validate}
        return load(
            source,
            roots=self.roots,
            cache=self.cache,
            options=options,
            sources=extensions.datasets,
        )

    def dataset_of(self, job: Condensation | Evaluation, extensions: Extensions) -> Dataset:
        """Return the dataset of a job, if it and the extensions' code are what was planned for.

        Raises:
            ChangedError: They are not.
        """
        for name, code in job.extensions.items():
            of = extensions.code_of_architecture
            if name == getattr(job, "init", None):
                of = extensions.code_of_init
            elif name in extensions.formations:
                of = extensions.code_of_formation
            if of(name) != code:
                raise ChangedError(
                    f"the code that brings {name} has been edited since the plan was made; "
                    "the same command plans anew"
                )
        dataset = self.dataset(job.dataset, extensions, job.validate)
        if dataset.fingerprint != job.dataset_fingerprint:
            raise ChangedError(
                f"dataset {job.dataset} has changed since the plan was made "
                f"({job.dataset_fingerprint} -> {dataset.fingerprint}); the same command plans anew"
            )
        return dataset

    def task(
        self, job: Condensation, dataset: Dataset, data: TensorData, extensions: Extensions
    ) -> Task:
        """Return what the method of `job` may see."""
        from ddbench.contract.task import Task

        return Task(
            images=data.train_images,
            labels=data.train_labels,
            num_classes=dataset.num_classes,
            dataset=job.dataset,
            fingerprint=dataset.fingerprint,
            strategy=dataset.augment,
            architecture=job.architecture,
            ipc=job.ipc,
            seed=job.seed,
            store=self.store(),
            catalogue=extensions.architectures,
            epoch_images=dataset.epoch_images,
        )

    def tensors(self, dataset: Dataset) -> TensorData:
        """Return the dataset on the device, normalised, or whitened by a shared artifact."""
        import torch

        from ddbench.datasets.tensors import prepare

        return prepare(dataset, torch.device(self.device), self.fitted(dataset))

    def fitted(self, dataset: Dataset) -> Whitening | None:
        """Return the whitening of a dataset; None of one that is not to be whitened."""
        from ddbench.datasets.tensors import Whitening, fit_zca

        artifact = self.whitening(dataset)
        if artifact is None:
            return None
        path = artifact.folder / WHITENING
        try:
            return Whitening.load(path)
        except (FileNotFoundError, ValueError):  # torn: fitted anew; what it costs is on record
            whitening = fit_zca(dataset.train_images)
            whitening.save(path)
            return whitening

    def whitening(self, dataset: Dataset) -> Artifact | None:
        """Return the artifact that whitens a dataset, fitted now if needed, metered as a whole.

        None for a dataset that is not to be whitened.
        """
        if not dataset.zca:
            return None
        import torch

        from ddbench.contract.artifacts import whitening_spec
        from ddbench.datasets.tensors import fit_zca
        from ddbench.meter import warm_up

        def build(work: BuildContext) -> None:
            with work.meter:
                whitening = fit_zca(dataset.train_images)
            whitening.save(work.folder / WHITENING)

        cpu = torch.device("cpu")
        warm_up(cpu)  # what the process pays once is no part of the fitting
        spec = whitening_spec(dataset.fingerprint)
        return self.store().get("zca", spec, build, cpu, dataset.name)
