"""Sets that files bring, laid into a run folder as if they had been condensed there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ddbench.execution.manifest import in_words
from ddbench.planning.given_sets import GivenSet, PlanOfSets
from ddbench.store.atomic_files import check_plain, write_whole
from ddbench.store.records import DONE, Condensation, CondensationRecord, Costs
from ddbench.store.run_folder import RunError, RunFolder, refuse_newer, stands, write_record
from ddbench.text.lines import one_line


def lay_in(folder: RunFolder, planned: PlanOfSets) -> None:
    """Lay the sets of a plan into its run folder, where they are not there yet.

    Raises:
        RunError: It cannot be written, is something else than a run, or a later ddbench's.
    """
    folder.create()
    refuse_newer(folder, "evaluate")
    for job in planned.plan.condensations:
        if not stands(folder, job.id):
            _lay_in(folder, job, planned.given[job.id])


def copy_in(folder: RunFolder, source: RunFolder, records: Collection[CondensationRecord]) -> None:
    """Copy sets of another run into a run folder, where they are not there yet.

    Raises:
        RunError: A set is not there; the folder cannot be written, is something else than a run, or
            a later ddbench's.
    """
    paths = {record.id: source.set_file(record.id) for record in records}
    if missing := [path for path in paths.values() if not path.is_file()]:
        raise RunError(
            f"{missing[0]}: is not there, so what is claimed of it cannot be tested; restore the"
            " file, or name the jobs to verify"
        )
    folder.create()
    refuse_newer(folder, "verify")
    for record in records:
        if not stands(folder, record.id):
            path = paths[record.id]
            write_whole(folder.set_file(record.id), path.read_bytes())
            values = {**record.record(), "from_file": str(path)}
            write_record(folder.result(record.id), "condensation", values)


def _lay_in(folder: RunFolder, job: Condensation, given: GivenSet) -> None:
    write_whole(folder.set_file(job.id), given.path.read_bytes())
    write_record(folder.result(job.id), "condensation", _record(job, given))


def _record(job: Condensation, given: GivenSet) -> dict[str, Any]:
    """Return the record of a condensation that was done elsewhere, as far as the set tells."""
    synthetic, said = given.synthetic, given.synthetic.provenance
    present = {*synthetic.hard_labels().tolist()}
    now = in_words(datetime.now(UTC))
    classes, versions = said.get("classes"), said.get("versions")
    expected = len(classes) if isinstance(classes, list) else 0
    known = versions if isinstance(versions, Mapping) else {}
    return {
        **job.record(),
        "status": DONE,
        "started": now,
        "ended": now,
        "from_file": str(given.path),
        "costs": asdict(_costs(said.get("costs"), synthetic.bytes, job.steps)),
        "hardware_class": one_line(str(said.get("hardware_class") or ""))[:200],
        "versions": {str(name): str(version) for name, version in known.items()},
        "measures": _plain(synthetic.measures),
        "set_sha256": synthetic.sha256(),
        "images": len(synthetic),
        "missing_classes": [c for c in range(expected) if c not in present],
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are, or none where a record could not hold them."""
    try:
        check_plain(dict(values), "measures", depth=1)
    except ValueError:
        return {}
    return dict(values)


def _costs(said: object, bytes_: int, steps: int) -> Costs:
    """Return the costs that a set tells of, or none but its bytes."""
    try:
        found = TypeAdapter(Costs).validate_json(json.dumps(said))
        if found.bytes == bytes_:
            return found
    except (ValidationError, TypeError, ValueError):
        pass
    return Costs(
        init_s=None, condense_s=None, export_s=None, artifact_s=None, flops_condense=None,
        flops_artifact=None, bytes=bytes_, steps_done=steps,
    )  # fmt: skip
