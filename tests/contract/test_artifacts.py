"""Artifacts: built once, metered once, resumed after a kill, and never half there."""

import json
import multiprocessing
import os

import pytest
import torch
from ddbench.contract.artifacts import METER, ArtifactStore, artifact_id, problems_of
from ddbench.meter import StepMeter

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def get(store, build, kind="experts", **spec):
    return store.get(kind, spec, build, CPU)


def write_part(work) -> None:
    (work.folder / "part").write_text("x" * 10)


def never(work) -> None:
    raise AssertionError("it is built already")


def test_it_is_built_once_and_its_cost_is_kept(store):
    def build(work):
        with work.meter:
            torch.ones(4, 5) @ torch.ones(5, 6)
        write_part(work)

    built = get(store, build, epochs=3)
    again = get(store, never, epochs=3)
    assert again == built and built.flops == 2 * 4 * 5 * 6 and built.bytes == 10
    assert built.seconds > 0 and not (built.folder / METER).exists()
    assert [artifact.id for artifact in store] == [built.id]
    assert built.record().keys() == {"id", "kind", "seconds", "flops", "lower_bound", "bytes"}


def test_its_identity_is_all_of_the_spec_in_any_order():
    one = artifact_id("a", {"x": 1, "y": [2.5, None]})
    assert one == artifact_id("a", {"y": [2.5, None], "x": 1}) and one.startswith("a-")
    others = [("b", {"x": 1, "y": [2.5, None]}), ("a", {"x": 2, "y": [2.5, None]}), ("a", {"x": 1})]
    assert one not in {artifact_id(kind, spec) for kind, spec in others}


@pytest.mark.parametrize("kind", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_kind_that_is_no_folder_name_is_refused(kind):
    with pytest.raises(ValueError, match="artifact kind"):
        artifact_id(kind, {})


def test_a_build_that_raised_goes_on_from_its_parts_with_its_costs(store):
    def first(work):
        with work.meter:
            torch.ones(4, 5) @ torch.ones(5, 6)
        write_part(work)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        get(store, first)
    assert len(store.half_built()) == 1 and list(store) == []

    def second(work):
        assert (work.folder / "part").exists() and work.meter.steps == 1 and work.seconds > 0
        with work.meter:
            torch.ones(4, 5) @ torch.ones(5, 6)

    built = get(store, second)
    assert built.flops == 2 * 2 * 4 * 5 * 6 and store.half_built() == []


def test_a_killed_build_goes_on_from_what_it_saved(store):
    def dies(work):
        with work.meter:
            torch.ones(2, 2) @ torch.ones(2, 2)
        write_part(work)
        work.save()
        os._exit(9)

    child = multiprocessing.get_context("fork").Process(target=get, args=(store, dies))
    child.start()
    child.join()
    found = []
    get(store, lambda work: found.append((work.meter.flops, (work.folder / "part").exists())))
    assert found == [(16, True)]


METERS = [
    "", "{", "[]", '{"meter": {}, "seconds": 1}', '{"meter": 3}', "[" * 100_000,
    '{"meter": %s, "seconds": "x"}', '{"meter": %s, "seconds": null}',
    '{"meter": %s, "seconds": NaN}',
    '{"meter": {"steps": "x", "waited": 0, "declared": {}, "uncounted": {}, "opaque": [], '
    '"phases": [{}]}, "seconds": 1}',
]  # fmt: skip


@pytest.mark.parametrize("content", METERS)
def test_unreadable_costs_of_an_earlier_attempt_do_not_stop_a_build(store, content):
    folder = store.root / artifact_id("experts", {})
    folder.mkdir(parents=True)
    (folder / METER).write_text(content.replace("%s", json.dumps(StepMeter("cpu").state())))
    built = get(store, write_part)
    assert built.bytes == 10 and built.seconds < 1 and built.flops == 0


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"id": 1', b"\xff\xfe", "[" * 100_000]
)
def test_an_artifact_without_a_whole_manifest_is_not_finished(store, content):
    built = get(store, write_part)
    manifest = built.folder / "manifest.json"
    manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert store.find(built.id) is None and list(store) == []
    assert get(store, write_part).folder == built.folder


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": "x"}, {"seconds": None}, {"seconds": -1}, {"seconds": float("nan")},
        {"flops": 1.5}, {"bytes": True}, {"lower_bound": 0}, {"spec": []}, {"kind": None},
        {"id": "experts-another"},
    ],
)  # fmt: skip
def test_a_manifest_of_other_values_or_of_another_artifact_is_none(store, changes):
    built = get(store, write_part)
    manifest = built.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
    assert store.find(built.id) is None and store.half_built() == [built.folder]
    again = get(store, write_part)
    assert again.id == built.id and store.half_built() == []


def test_several_processes_build_it_once_and_the_others_wait(store, tmp_path):
    def build(work):
        with open(tmp_path / "builds", "a") as file:
            file.write("x")
        write_part(work)

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=get, args=(store, build)) for _ in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 6
    assert (tmp_path / "builds").read_text() == "x"


def test_a_full_disk_while_building_is_told_as_itself(store, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    def build(work):
        monkeypatch.setattr("ddbench.store.atomic_files.os.fsync", full)
        full()

    with pytest.raises(OSError, match="No space left"):
        get(store, build)
    monkeypatch.undo()
    assert len(store.half_built()) == 1


def test_removing_takes_finished_and_half_built_ones(store):
    built = get(store, write_part)
    store.remove(built.id)
    assert store.find(built.id) is None and not built.folder.exists()


def test_every_file_is_stored_with_its_hash_and_those_of_the_build_go(store):
    def build(work):
        work.progress.write_text("half way")
        work.save()
        write_part(work)
        (work.folder / "more").mkdir()
        (work.folder / "more" / "part").write_text("y")

    built = get(store, build)
    assert sorted(built.files) == ["more/part", "part"] and built.bytes == 11
    assert sorted(file.name for file in built.folder.iterdir()) == ["manifest.json", "more", "part"]
    assert store.find(built.id) == built and problems_of(built) == []


def test_a_build_killed_before_the_manifest_finds_where_it_stands(store, monkeypatch):
    def build(work):
        work.progress.write_text("done")
        write_part(work)

    with monkeypatch.context() as patched:
        patched.setattr("ddbench.contract.artifacts.hash_of_file", lambda file: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            get(store, build)
    seen = []
    get(store, lambda work: seen.append(work.progress.read_text()))
    assert seen == ["done"]


def test_a_file_that_has_changed_or_gone_is_named(store):
    built = get(store, write_part)
    (built.folder / "part").write_text("y" * 10)
    (problem,) = problems_of(built)
    assert problem.startswith(f"{built.folder / 'part'}: its content has changed")
    assert f"remove {built.id}, so that it is built again" in problem
    (built.folder / "part").unlink()
    (problem,) = problems_of(built)
    assert "part: cannot be read (No such file" in problem


def test_an_artifact_of_an_earlier_ddbench_is_found_and_cannot_be_verified(store):
    built = get(store, write_part)
    manifest = json.loads((built.folder / "manifest.json").read_text())
    del manifest["files"], manifest["dataset"]
    (built.folder / "manifest.json").write_text(json.dumps(manifest))
    found = store.find(built.id)
    assert found.files is None and found.dataset == "" and found.bytes == 10
    (problem,) = problems_of(found)
    assert "stored without hashes" in problem


@pytest.mark.parametrize("files", [3, [], {"a": 1}, {"../part": "0"}, {"/etc/passwd": "0"}])
def test_hashes_of_somebody_else_make_no_artifact(store, files):
    built = get(store, write_part)
    manifest = json.loads((built.folder / "manifest.json").read_text())
    (built.folder / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    assert store.find(built.id) is None
