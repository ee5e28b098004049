"""The run folder: torn, foreign and newer files are reported by name and never crash a reader."""

import enum
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from ddbench.store.atomic_files import DEEPEST
from ddbench.store.records import SCHEMA, Manifest
from ddbench.store.run_folder import RunError, RunFolder, finished, open_run, read_run, write_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


WHOLE = json.loads(Path(__file__).with_name("condensation.json").read_text())  # by version 0.1.0


def good(run: RunFolder, id: str = "a") -> Path:
    write_record(run.result(id), "condensation", WHOLE | {"id": id})
    return run.result(id)


def test_a_record_comes_back_as_written(run):
    good(run)
    record = read_run(run).condensations["a"].record()
    for name, value in (WHOLE | {"id": "a"}).items():
        if name == "costs":  # later versions add to them
            assert value.items() <= record[name].items()
        else:
            assert record[name] == (tuple(value) if name == "snapshots" else value)
    assert record["schema"] == SCHEMA and record["costs"]["steps_done"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not whole JSON"),
        (b'{"schema": 1, "kind": "condensa', "not whole JSON"),
        (b"\xff\xfe\x00", "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b"[1, 2]", "holds a list; expected an object"),
        (b"{}", "no condensation record of ddbench"),
        (b'{"kind": "evaluation", "id": "a"}', "no condensation record"),
        (b'{"kind": "condensation", "id": 3}', "no condensation record"),
        (b'{"kind": "condensation", "id": "a", "schema": 99}', "schema 99 is newer than this"),
        (b'{"kind": "condensation", "id": "a", "schema": null}', "schema None"),
        (b'{"kind": "condensation", "id": "a", "schema": 1, "status": "dnoe"}', "status 'dnoe'"),
        (json.dumps(WHOLE | {"id": "b"}).encode(), "holds the record of b; was it copied here?"),
        (json.dumps(WHOLE | {"id": "a", "ipc": 0}).encode(), "ipc is 0; expected at least 1"),
        (
            json.dumps(WHOLE | {"id": "a", "ipc": "1"}).encode(),
            "ipc is '1'; expected a whole number",
        ),
        (json.dumps(WHOLE | {"id": "a", "costs": None}).encode(), "costs is missing of a condens"),
        (json.dumps(WHOLE | {"id": "a", "measures": {"x": math.nan}}).encode(), "x is nan; expec"),
    ],
)
def test_a_bad_file_is_reported_by_name_and_costs_nothing_else(run, content, reason):
    good(run, "fine")
    good(run).write_bytes(content)
    records = read_run(run)
    [(path, why)] = records.unreadable
    assert path == run.result("a") and reason in why
    assert list(records.condensations) == ["fine"]
    assert finished(run.result("a"), "condensation") is None


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"x": ', "}")])
def test_records_nested_to_the_limit_are_read_and_deeper_ones_reported(run, opening, closing):
    for levels, known in ((DEEPEST - 3, True), (DEEPEST + 1, False), (10 * DEEPEST, False)):
        value = opening * levels + "1" + closing * levels
        record = json.dumps(WHOLE | {"id": "a", "measures": {"x": "a value"}})
        good(run).write_text(record.replace('"a value"', value))
        records = read_run(run)
        assert ("a" in records.condensations) == known
        reasons = [] if known else [f"nested deeper than {DEEPEST} levels"]
        assert [why.rsplit(": ")[-1] for _, why in records.unreadable] == reasons


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_content_crashes_the_reader(run, content):
    path = good(run)
    path.write_bytes(content)
    (run.root / "manifests" / "m.json").write_bytes(content)
    (run.root / "evaluations" / "e.json").write_bytes(content)
    records = read_run(run)
    assert len(records.unreadable) + len(records.condensations) >= 1
    assert all(isinstance(manifest, Manifest) for manifest in records.manifests)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["schema", "kind", "id", "status", "costs"]), JSON_VALUES))
def test_no_change_of_a_good_record_crashes_the_reader(run, changes):
    path = good(run)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    records = read_run(run)
    assert len(records.unreadable) + len(records.condensations) == 1


def test_a_result_that_is_a_folder_or_may_not_be_read_is_reported(run):
    run.result("a").mkdir(parents=True)
    [(path, why)] = read_run(run).unreadable
    assert path == run.result("a") and "cannot be read" in why


def test_manifests_come_in_the_order_of_their_start(run):
    for name, started in (("b", "2026-02-01"), ("a", "2026-03-01"), ("c", "2026-01-01")):
        (run.root / "manifests" / f"{name}.json").write_text(json.dumps({"started": started}))
    assert [m.started[5:7] for m in read_run(run).manifests] == ["01", "02", "03"]


def nested(levels: int) -> dict:
    value = {}
    for _ in range(levels):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "measures.here is nan; expected a finite number"),
        (10**300, "measures.here is a number of 301 digits; at most 100"),
        pytest.param(10**5000, "measures.here is a number of 5001 digits", id="5001 digits"),
        (-(10**100), "measures.here is a number of 101 digits"),
        (nested(60), "nested deeper than 50 levels"),
        (nested(48), "nested deeper than 50 levels"),
        ([1, {2}], r"measures.here\[1\] is set; use finite numbers, strings, lists and dicts"),
        ({(1, 2): 3}, r"measures.here has the key \(1, 2\); use strings"),
    ],
)
def test_what_could_not_be_read_again_never_gets_into_a_record(run, value, reason):
    record = WHOLE | {"id": "a", "measures": {"here": value}}
    with pytest.raises(ValueError, match=reason):
        write_record(run.result("a"), "condensation", record)
    assert read_run(run).condensations == {} and read_run(run).unreadable == []


@pytest.mark.parametrize("value", [10**100 - 1, 1 - 10**100, nested(47), 1e308, (1, "x"), {3: 4}])
def test_what_is_written_comes_back_as_it_was_returned(run, value):
    record = WHOLE | {"id": "a", "measures": {"here": value}}
    written = write_record(run.result("a"), "condensation", record)
    assert read_run(run).condensations["a"].record() == written


class Kind(str, enum.Enum):  # noqa: UP042  (as plugins for older Pythons write it)
    A = "a"


def test_values_of_subclasses_come_back_as_plain_ones(run):
    measures = {"kind": Kind.A, "at": {Kind.A: np.float64(0.5)}}
    record = WHOLE | {"id": "a", "measures": measures}
    written = write_record(run.result("a"), "condensation", record)["measures"]
    assert type(written["kind"]) is str and written["kind"] == "a"
    assert [type(key) for key in written["at"]] == [str] and type(written["at"]["a"]) is float


# -- the folder itself -----------------------------------------------------------------------------


def test_a_folder_of_other_things_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not empty and not a run folder"):
        RunFolder(tmp_path).create()
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is a file; name a folder"):
        RunFolder(tmp_path / "run").create()


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    def refuse(self, *arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"cannot be written \(Read-only file system\); name anoth"):
        RunFolder(tmp_path / "run").create()


def test_opening_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        open_run(tmp_path / "none")
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path)
