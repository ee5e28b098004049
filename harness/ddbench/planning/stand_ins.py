"""The condensation that the set of a file stands for, made of what the file says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ddbench.contract.set_metadata import TOLD
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.planning.job_ids import with_ids
from ddbench.planning.jobs import DatasetFacts
from ddbench.store.hashing import hash_of_values
from ddbench.store.records import FAILED, FROM_FILE, Condensation, made
from ddbench.text.lines import one_line

UNKNOWN = "unknown"  # where a set does not say it
LONGEST = 80  # of a name that a file gives


def condensation_of(
    synthetic: SyntheticSet,
    path: Path,
    data: tuple[str, DatasetFacts],
    code: Mapping[str, str],
) -> Condensation:
    """Return the condensation that a set stands for, as its file tells of it.

    Its id hangs on the set itself: another set is another job, whatever its file says. What a file
    says that no record could hold is left out, all together.

    Args:
        synthetic: The set.
        path: Its file.
        data: Name and facts of what it is evaluated on.
        code: Fingerprints of the parts that it names and others have brought.
    """
    plain = _untold(synthetic, path, data, code)
    said = synthetic.provenance
    told = {name: said[name] for name in TOLD if name in said}
    told |= {name: _name(said[name]) for name in ("row", "method") if name in said}
    told.setdefault("row", told.get("method", plain.row))
    told.setdefault("method", told["row"])
    if isinstance(said.get("options"), dict):
        told["config"] = said["options"]
    if isinstance(said.get("code"), str):
        told["code"] = f"{FROM_FILE}{said['code']}"
    return _with_ids(_laid_over(plain, told), synthetic.sha256())


def _untold(
    synthetic: SyntheticSet,
    path: Path,
    data: tuple[str, DatasetFacts],
    code: Mapping[str, str],
) -> Condensation:
    """Return the condensation of a set that says nothing."""
    dataset, facts = data
    name = _name(path.stem)
    return Condensation(
        id="",
        options_id="",
        row=name,
        method=name,
        source=str(path),
        code=FROM_FILE,
        dataset=dataset,
        dataset_fingerprint=facts.fingerprint,
        architecture=UNKNOWN,
        init=UNKNOWN,
        ipc=max(1, -(-len(synthetic) // facts.num_classes)),
        seed=0,
        config={"set": synthetic.sha256()[:8]},
        steps=0,
        published_steps=0,
        budget_s=None,
        cycle=1,
        step_unit="step",
        labels="soft" if synthetic.soft else "hard",
        balanced=False,
        reduced={},
        quick=False,
        control_of=None,
        paper="",
        bibtex="",
        published=False,
        extensions=code,
        validate=facts.validate,
    )


def _laid_over(plain: Condensation, told: Mapping[str, Any]) -> Condensation:
    try:
        record = made("condensation", {**plain.record(), **told, "status": FAILED})
    except (ValueError, TypeError):
        return plain
    return Condensation(**{one.name: getattr(record, one.name) for one in fields(Condensation)})


def _with_ids(job: Condensation, sha256: str) -> Condensation:
    job = with_ids(job)
    name = job.id.rpartition("-")[0]
    return replace(
        job,
        id=f"{name}-{hash_of_values({'set': sha256, 'job': job.id})}",
        options_id=hash_of_values({"set": sha256, "options": job.options_id}),
        series_id="",
    )


def _name(value: object) -> str:
    """Return a name of a file as a table can show it."""
    return one_line(str(value))[:LONGEST] or UNKNOWN
