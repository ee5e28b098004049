"""Status, retry, clean and merge on run folders made by hand."""

import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.contract.artifacts import ArtifactStore
from ddbench.contract.stored_sets import differing_sets
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.store import run_folder
from ddbench.store.atomic_files import claimed
from ddbench.store.housekeeping import find_litter, merge, status_of, to_retry
from ddbench.store.run_folder import RunError, RunFolder, read_run, refuse_newer, write_record
from safetensors.numpy import save as to_safetensors


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """Four condensations: done, failed, interrupted, missing; two evaluations."""
    run = RunFolder(tmp_path / "run")
    run.create()
    condense(run, "a")
    condense(run, "b", "failed", "it broke")
    run.checkpoint("c").parent.mkdir(parents=True)
    run.checkpoint("c").write_bytes(b"state")
    evaluate(run, "a-on-x", "a")
    plan = {"condensations": ["a", "b", "c", "d"], "evaluations": ["a-on-x", "b-on-x"]}
    manifest = {"started": "2026-01-01", "plan": plan}
    (run.root / "manifests" / "host-1.json").write_text(json.dumps(manifest))
    return run


CONDENSATION, EVALUATION = (
    json.loads(Path(__file__).with_name(name).read_text())
    for name in ("condensation.json", "evaluation.json")
)


def condense(run, id, status="done", reason=None, content=b"set"):
    run.condensation(id).mkdir(parents=True, exist_ok=True)
    tensors = {"images": np.zeros((1, 1, 2, 2), np.float32), "labels": np.zeros(1, np.int64)}
    run.set_file(id).write_bytes(to_safetensors(tensors, {"what": content.hex()}))
    record = CONDENSATION | {"id": id, "status": status, "reason": reason}
    record["set_sha256"] = hashlib.sha256(content).hexdigest() if status == "done" else None
    write_record(run.result(id), "condensation", record)


def evaluate(run, id, of, status="done"):
    record = EVALUATION | {"id": id, "status": status, "reason": None, "condensation": of}
    write_record(run.evaluation(id), "evaluation", record)


def files_of(run: RunFolder) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.root)): path.read_bytes()
        for path in sorted(run.root.rglob("*"))
        if path.is_file()
    }


def invoke(*words) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


# -- status ----------------------------------------------------------------------------------------


def test_status_tells_done_failed_interrupted_running_and_missing(folder):
    with claimed(folder.claim("d"), "process 7 on host"):
        states = {job.id: (job.state, job.note) for job in status_of(folder)}
    assert states["a"] == ("done", "") and states["b"] == ("failed", "it broke")
    assert states["c"][0] == "interrupted" and states["c"][1].startswith("checkpoint of ")
    assert states["d"] == ("running", "process 7 on host")
    assert states["a-on-x"][0] == "done" and states["b-on-x"][0] == "missing"
    code, text = invoke("status", folder.root)
    assert code == 0 and "it broke" in text
    assert "2 done, 1 failed, 1 interrupted, 2 missing" in text
    plain = CliRunner().invoke(main, ["status", str(folder.root), "--json"]).stdout
    assert {job["id"] for job in json.loads(plain)} == set(states)


@pytest.mark.parametrize(
    "name", ["synthetic.safetensors", "initial.safetensors", "snapshots/3.safetensors"]
)
def test_status_names_torn_sets_of_finished_jobs_and_the_remedy(folder, name):
    path, whole = folder.condensation("a") / name, folder.set_file("a").read_bytes()
    path.parent.mkdir(exist_ok=True)
    for content in (b"", b"set", whole[:-1], to_safetensors({"images": np.zeros(1)})):
        path.write_bytes(content)
        [note] = [job.note for job in status_of(folder) if job.id == "a"]
        assert note.startswith(f"{path}: torn, or another program's (")
        assert note.endswith(f"`ddbench retry {folder.root} a` and the next run mend it")
    plain = " ".join(invoke("status", folder.root)[1].split())
    assert "torn" in plain and "2 done, 1 failed" in plain
    path.write_bytes(whole)
    assert [job.note for job in status_of(folder) if job.id == "a"] == [""]


@pytest.mark.parametrize("text", ["", "step,loss\n1,2\n2,", "step,loss\n1\n", "step\n\udc80\n"])
def test_status_names_a_torn_curve(folder, text):
    path = folder.condensation("a") / "curve.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    [note] = [job.note for job in status_of(folder) if job.id == "a"]
    assert note.startswith(f"{path}: torn, or another program's (")
    path.write_text("step,loss\n1,\n2,3\n")
    assert [job.note for job in status_of(folder) if job.id == "a"] == [""]


@pytest.fixture
def verifiable(tmp_path) -> RunFolder:
    """A finished condensation with its initial set, a snapshot, and an evaluation of each."""
    run = RunFolder(tmp_path / "run")
    run.create()
    final, after_3 = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    labels = torch.arange(2)
    run.set_file("a", 3).parent.mkdir(parents=True)
    for path, images in (
        (run.set_file("a"), final),
        (run.set_file("a", 3), after_3),
        (run.condensation("a") / "initial.safetensors", after_3),
    ):
        SyntheticSet(images, labels).save(path)
    record = CONDENSATION | {"id": "a", "set_sha256": SyntheticSet(final, labels).sha256()}
    write_record(run.result("a"), "condensation", record)
    record = EVALUATION | {"id": "a-on-x", "condensation": "a", "snapshot": 3}
    record["set_sha256"] = SyntheticSet(after_3, labels).sha256()
    write_record(run.evaluation("a-on-x"), "evaluation", record)
    return run


def test_verify_passes_a_run_that_is_as_recorded(verifiable):
    code, text = invoke("status", verifiable.root, "--verify")
    assert code == 0 and "verified: every set is as recorded" in text


@pytest.mark.parametrize("name", ["synthetic.safetensors", "snapshots/3.safetensors"])
def test_verify_names_sets_that_differ_in_one_bit_or_are_missing(verifiable, name):
    path = verifiable.condensation("a") / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # a pixel or a label: the file itself is whole
    path.write_bytes(content)
    assert invoke("status", verifiable.root)[0] == 0  # headers alone say nothing
    code, text = invoke("status", verifiable.root, "--verify", "--json")
    assert code == 1 and f"{path}: has the hash " in text and "ddbench retry" in text
    assert "verified: 1 do not match their records" in text
    path.unlink()
    code, text = invoke("status", verifiable.root, "--verify", "--json")
    assert code == 1 and f"{path}: is missing" in text


def test_verify_reads_sets_without_a_recorded_hash_to_their_end(verifiable):
    path = verifiable.condensation("a") / "initial.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    [note] = [job.note for job in status_of(verifiable, differing_sets) if job.id == "a"]
    assert str(path) in note and "torn" in note


def test_verify_names_records_that_cannot_be_read(verifiable):
    path = verifiable.evaluation("a-on-x")
    path.write_text("{")
    code, text = invoke("status", verifiable.root, "--verify")
    assert code == 1 and f"{path}: not whole JSON" in text


def test_a_stale_claim_is_not_running(folder):
    folder.claim("d").write_text("process 7 on host")
    assert {job.id: job.state for job in status_of(folder)}["d"] == "missing"


def test_status_asks_first_who_works_on_a_job_that_is_done_again(folder):
    with claimed(folder.claim("a"), "process 7"), claimed(folder.claim("a-on-x"), "process 8"):
        states = {job.id: (job.state, job.note) for job in status_of(folder)}
    assert states["a"] == ("running", "process 7")
    assert states["a-on-x"] == ("running", "process 8")


def test_status_says_why_an_evaluation_has_no_set(folder):
    [path] = (folder.root / "manifests").glob("*.json")
    blocked = {"b-on-x": "its condensation ended after 3 steps"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"blocked": blocked}))
    states = {job.id: (job.state, job.note) for job in status_of(folder)}
    assert states["b-on-x"] == ("missing", "its condensation ended after 3 steps")


def test_status_of_something_else_is_an_error(tmp_path):
    code, text = invoke("status", tmp_path)
    assert code == 2 and "is not a run folder" in text


# -- retry -----------------------------------------------------------------------------------------


def test_retry_previews_and_then_forgets_failed_jobs_only(folder):
    before = files_of(folder)
    code, text = invoke("retry", folder.root, "--failed")
    assert code == 0 and text.startswith("b\n") and files_of(folder) == before
    invoke("retry", folder.root, "--failed", "--yes")
    assert before.keys() - files_of(folder).keys() == {"condensations/b/result.json"}


def test_retry_keeps_a_checkpoint_unless_told_otherwise(folder):
    folder.checkpoint("b").parent.mkdir()
    folder.checkpoint("b").write_bytes(b"state")
    assert to_retry(folder, ["b"]) == {"b": [folder.result("b")]}
    assert to_retry(folder, ["b"], afresh=True)["b"] == [folder.result("b"), folder.checkpoint("b")]


def test_retry_of_an_unknown_job_or_of_none_is_an_error(folder):
    with pytest.raises(RunError, match="zzz: no job.s id begins so"):
        to_retry(folder, ["zzz"])
    assert invoke("retry", folder.root)[0] == 2


def read_only(path, *arguments, **options):
    raise OSError(errno.EROFS, "Read-only file system", str(path))


def test_retry_in_a_read_only_folder_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(Path, "unlink", read_only)
    code, text = invoke("retry", folder.root, "--failed", "--yes")
    assert code == 2 and f"ddbench: {folder.result('b')}: Read-only file system; make it" in text


# -- clean -----------------------------------------------------------------------------------------


def old(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def test_clean_finds_all_litter_and_nothing_else(folder, tmp_path):
    artifacts = tmp_path / "artifacts"
    litter = {
        old(folder.condensation("a") / ".result.json.abc.half"),
        old(folder.claim("z")),
        old(folder.evaluation("torn"), b'{"half'),
        old(folder.checkpoint("a")).parent,
        old(artifacts / "experts-1" / "part").parent,
        old(artifacts / "locks" / "experts-1"),
    }
    evaluate(folder, "gone-on-x", "gone")
    litter.add(folder.evaluation("gone-on-x"))
    (folder.condensation("a") / ".just.now.half").write_bytes(b"")  # a live writer's
    done = old(artifacts / "zca-2" / "data").parent
    manifest = {"id": "zca-2", "kind": "zca", "spec": {}, "seconds": 0, "flops": 0}
    (done / "manifest.json").write_text(json.dumps(manifest | {"lower_bound": False, "bytes": 1}))
    with claimed(folder.claim("d")):
        left = [*find_litter(folder), *ArtifactStore(artifacts).litter()]
        assert {item.path for item in left} == litter


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_clean_leaves_records_that_could_not_be_opened_now(folder, monkeypatch, number):
    def gone(path, *how, **more):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "open", gone, raising=False)
        unreadable = read_run(folder).unreadable
        assert len(unreadable) == 4 and "cannot be read (" in unreadable[0][1]
        assert find_litter(folder) == []


def test_merge_replaces_no_record_that_cannot_be_opened_now(folder, other, monkeypatch):
    condense(other, "b")
    before = files_of(folder)

    def gone(path, *how, **more):
        if Path(path) == folder.result("b"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return open(path, *how, **more)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "open", gone, raising=False)
        with pytest.raises(RunError, match=r"condensations/b/result.json: cannot be read \(Input"):
            merge(folder, [other])
    assert files_of(folder) == before


def test_clean_leaves_what_a_job_that_is_done_again_goes_on_from(folder):
    checkpoint = folder.checkpoint("a")
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"state")
    [found] = find_litter(folder)
    assert found.path == checkpoint.parent
    with claimed(folder.claim("a")):
        assert find_litter(folder) == []
        found.remove()  # it was found before the job began
        assert checkpoint.exists()
    found.remove()
    assert not checkpoint.parent.exists()


def test_clean_finds_the_folder_that_a_killed_merge_leaves(folder):
    left = folder.root / "condensations" / ".merge.x.half"
    (left / "a").mkdir(parents=True)
    os.utime(left, (0, 0))
    assert [item.path for item in find_litter(folder)] == [left]


def test_clean_previews_and_then_removes(folder, tmp_path):
    claim, before = old(folder.claim("z")), files_of(folder)
    code, text = invoke("clean", folder.root, "--cache", tmp_path / "cache")
    assert code == 0 and str(claim) in text and files_of(folder) == before
    invoke("clean", folder.root, "--cache", tmp_path / "cache", "--yes")
    assert before.keys() - files_of(folder).keys() == {"claims/z"}


def test_clean_says_what_it_could_not_remove(folder, tmp_path, monkeypatch):
    claim, checkpoint = old(folder.claim("z")), old(folder.checkpoint("a")).parent
    with monkeypatch.context() as patch:
        patch.setattr("ddbench.store.housekeeping.cleaning.shutil.rmtree", read_only)
        code, text = invoke("clean", folder.root, "--cache", tmp_path / "cache", "--yes")
    assert code == 2 and "1 things, 0.0 MB removed" in text
    assert (
        f"cannot be removed; make their folders writable and clean again:\n  {checkpoint}: " in text
    )
    assert checkpoint.exists() and not claim.exists()


def test_a_link_to_a_folder_is_removed_and_the_folder_stays(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.checkpoint("a").parent.symlink_to(tmp_path / "elsewhere")
    invoke("clean", folder.root, "--cache", tmp_path / "cache", "--yes")
    assert not folder.checkpoint("a").parent.is_symlink() and (tmp_path / "elsewhere").is_dir()


def test_a_kept_state_is_no_litter(folder):
    record = json.loads(folder.result("a").read_text())
    folder.result("a").write_text(json.dumps(record | {"kept_state": True}))
    old(folder.checkpoint("a"))
    assert find_litter(folder) == []


# -- results of a later ddbench --------------------------------------------------------------------


@pytest.fixture
def newer(folder) -> list[Path]:
    """Records that a later ddbench wrote into the run; what they hold is its own affair."""
    condense(folder, "n")
    paths = [folder.result("n"), folder.evaluation("n-on-x")]
    for path in paths:
        path.write_text(json.dumps({"schema": 2, "kind": "whatever", "name": "n"}))
    return paths


def test_clean_leaves_what_a_later_ddbench_wrote(folder, newer):
    assert find_litter(folder) == []


def test_merge_refuses_to_touch_what_a_later_ddbench_wrote(folder, other, newer):
    condense(other, "n")
    evaluate(other, "n-on-x", "n")
    before = files_of(folder)
    for into, source in ((folder, other), (other, folder)):
        code, text = invoke("merge", into.root, source.root)
        assert code == 2 and "a later ddbench wrote" in text and "upgrade" in text
        assert all(str(path) in text for path in newer)
    assert files_of(folder) == before


def test_what_a_later_ddbench_wrote_is_refused_by_name(folder, newer):
    assert set(read_run(folder).newer) == set(newer)
    with pytest.raises(RunError, match=r"cannot go on(.|\n)*condensations/n/result.json"):
        refuse_newer(folder, "go on")
    for path in newer:
        path.unlink()
    refuse_newer(folder, "go on")


# -- merge -----------------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "other")
    run.create()
    return run


def test_merge_joins_what_two_machines_have_done(folder, other):
    condense(other, "a")  # the same set
    condense(other, "b")  # failed here, done there
    condense(other, "e", "failed", "there")
    evaluate(other, "b-on-x", "b")
    (other.root / "manifests" / "host-1.json").write_text('{"started": "2026-01-02"}')
    (other.root / "manifests" / "host-2.json").write_text('{"started": "2026-01-03"}')
    before = files_of(other)
    merge(folder, [other])
    merged = read_run(folder)
    assert {id: r.status for id, r in merged.condensations.items()} == {
        "a": "done", "b": "done", "e": "failed",
    }  # fmt: skip
    assert merged.evaluations.keys() == {"a-on-x", "b-on-x"} and not merged.unreadable
    assert len(merged.manifests) == 3 and folder.checkpoint("c").exists()
    assert files_of(other) == before
    settled = files_of(folder)
    assert merge(folder, [other]) == [] and files_of(folder) == settled


def test_merge_makes_the_folder_that_it_merges_into(tmp_path, other):
    condense(other, "a")
    new = tmp_path / "below" / "new"
    code, _ = invoke("merge", new, other.root, "--preview")
    assert code == 0 and not new.exists()
    code, _ = invoke("merge", new, other.root)
    assert code == 0 and read_run(RunFolder(new)).condensations.keys() == {"a"}
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "letter.txt").write_text("")
    assert invoke("merge", tmp_path / "things", other.root)[0] == 2


def test_merge_leaves_out_what_is_no_file_by_name(folder, other):
    for part in ("manifests", "logs"):
        (other.root / part / "sub").mkdir(parents=True)
        (other.root / part / "dangling.json").symlink_to("nowhere")
    (other.root / "manifests" / "host-1.json").write_text('{"started": "2026-01-02"}')
    (folder.root / "manifests" / "host-1.json").unlink()
    (folder.root / "manifests" / "host-1.json").symlink_to("nowhere")
    code, text = invoke("merge", folder.root, other.root)
    assert code == 0
    for part in ("manifests", "logs"):
        for name in ("sub", "dangling.json"):
            assert f"{other.root / part / name}: is not a file; left out" in text
    assert [len(read_run(folder).manifests)] == [1]


def test_merge_does_not_replace_a_finished_job_by_a_failed_one(folder, other):
    condense(other, "a", "failed")
    assert merge(folder, [other]) == []


def test_merge_brings_a_checkpoint_for_a_job_that_is_not_here(folder, other):
    old(other.checkpoint("f"), b"state of f")
    merge(folder, [other])
    assert folder.checkpoint("f").read_bytes() == b"state of f"


def test_merge_refuses_two_sets_under_one_id_by_name_and_copies_nothing(folder, other):
    condense(other, "a", content=b"another set")
    condense(other, "new")
    before = files_of(folder)
    code, text = invoke("merge", folder.root, other.root)
    assert code == 2 and "a: " in text and str(other.root) in text and str(folder.root) in text
    assert files_of(folder) == before


def test_merge_refuses_two_sets_among_the_others(folder, other, tmp_path):
    third = RunFolder(tmp_path / "third")
    third.create()
    condense(other, "new", content=b"one")
    condense(third, "new", content=b"two")
    with pytest.raises(RunError, match="new: .*third holds another set"):
        merge(folder, [other, third])
    assert "new" not in read_run(folder).condensations


def test_of_several_folders_the_best_record_of_a_job_counts(tmp_path):
    into, done, failed, another = (RunFolder(tmp_path / name) for name in "idfa")
    for run in (into, done, failed, another):
        run.create()
    condense(done, "x")
    condense(failed, "x", "failed", "it broke")
    condense(another, "x", content=b"another set")
    merge(into, [done, failed])
    assert read_run(into).condensations["x"].status == "done"
    late = RunFolder(tmp_path / "late")
    late.create()
    condense(late, "x", "failed", "it broke")
    with pytest.raises(RunError, match="x: .*a holds another set"):
        merge(late, [done, another])


def test_what_a_killed_merge_leaves_goes_nowhere(folder, tmp_path):
    left = folder.root / "condensations" / ".merge.x.half" / "a"
    left.mkdir(parents=True)
    (left / "result.json").write_text("{}")
    into = RunFolder(tmp_path / "into")
    into.create()
    merge(into, [folder])
    assert not (into.root / "condensations" / left.parent.name).exists()


def test_a_run_whose_manifests_have_gone_is_still_one(folder):
    shutil.rmtree(folder.root / "manifests")
    assert folder.is_run() and "a" in {job.id for job in status_of(folder)}


def test_merge_refuses_sets_that_it_cannot_compare(folder, other):
    condense(other, "a")
    record = json.loads(other.result("a").read_text())
    del record["set_sha256"]
    other.result("a").write_text(json.dumps(record))
    for into, source in ((folder, other), (other, folder)):
        with pytest.raises(RunError, match="a: nothing says whether .* holds the same set as"):
            merge(into, [source])


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_for_a_tree(source, target, **options):
    raise shutil.Error([(str(source / "x"), str(target / "x"), "[Errno 28] No space left")])


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        ("tempfile.mkdtemp", full, "No space left on device"),
        ("shutil.copytree", full_for_a_tree, r"\[Errno 28\] No space left"),
        ("os.replace", full, "No space left on device"),
    ],
)
def test_a_merge_that_cannot_write_names_the_place_and_leaves_what_was_there(
    folder, other, monkeypatch, call, error, reason
):
    condense(other, "b")  # failed here: its folder is replaced
    condense(other, "new")
    before = files_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr(f"ddbench.store.housekeeping.merging.{call}", error)
        with pytest.raises(RunError, match=rf"b: cannot be copied to .*/run/.*/b \({reason}\)"):
            merge(folder, [other])
    assert files_of(folder) == before
    assert len(merge(folder, [other])) == 2


def test_a_folder_that_cannot_be_replaced_stays(folder, other, monkeypatch):
    condense(other, "b")
    before, replace = files_of(folder), os.replace

    def to_its_place(source, target):
        if Path(source).parent.name.endswith(".half") and Path(source).name == "b":
            full()
        replace(source, target)

    monkeypatch.setattr("ddbench.store.housekeeping.merging.os.replace", to_its_place)
    with pytest.raises(RunError, match="No space left"):
        merge(folder, [other])
    assert files_of(folder) == before


def test_merge_previews(folder, other):
    condense(other, "new")
    before = files_of(folder)
    assert invoke("merge", folder.root, other.root, "--preview")[0] == 0
    assert files_of(folder) == before


def test_a_folder_at_work_is_left_alone(folder, other):
    with claimed(other.claim("d")):
        with pytest.raises(RunError, match="other: a run is at work in it"):
            merge(folder, [other])


def test_retry_takes_the_row_that_a_prefix_names_and_neither_its_control_nor_its_evaluations(
    folder,
):
    for id, more in (("row-1", {"row": "m"}), ("row-2", {"row": "m", "control_of": "m"})):
        condense(folder, id)
        path = folder.result(id)
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    assert to_retry(folder, ["row-"]).keys() == {"row-1"}
    assert to_retry(folder, ["a"]).keys() == {"a"}
    condense(folder, "row-3")
    with pytest.raises(RunError, match="jobs begin so; name one"):
        to_retry(folder, ["row-"])
