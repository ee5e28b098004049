"""Status, retry, clean, merge, pack and unpack on run folders made by hand."""

import errno
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.store.atomic_files import claimed
from ddbench.store.housekeeping import find_litter, merge, pack, status_of, to_retry, unpack
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


def condense(run, id, status="done", reason=None, content=b"set"):
    run.condensation(id).mkdir(parents=True, exist_ok=True)
    tensors = {"images": np.zeros((1, 1, 2, 2), np.float32), "labels": np.zeros(1, np.int64)}
    run.set_file(id).write_bytes(to_safetensors(tensors, {"what": content.hex()}))
    record = {"id": id, "status": status, "reason": reason}
    record["set_sha256"] = hashlib.sha256(content).hexdigest() if status == "done" else None
    write_record(run.result(id), "condensation", record)


def evaluate(run, id, of, status="done"):
    record = {"id": id, "status": status, "reason": None, "condensation": of}
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
    with pytest.raises(RunError, match="retry zzz: no job"):
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
        assert {item.path for item in find_litter(folder, artifacts)} == litter


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_clean_leaves_records_that_could_not_be_opened_now(folder, monkeypatch, number):
    def gone(path):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", gone)
        unreadable = read_run(folder).unreadable
        assert len(unreadable) == 4 and "cannot be read (" in unreadable[0][1]
        assert find_litter(folder) == []


def test_merge_replaces_no_record_that_cannot_be_opened_now(folder, other, monkeypatch):
    condense(other, "b")
    before, read = files_of(folder), Path.read_bytes

    def gone(path):
        if path == folder.result("b"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", gone)
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
    assert {id: r["status"] for id, r in merged.condensations.items()} == {
        "a": "done", "b": "done", "e": "failed",
    }  # fmt: skip
    assert merged.evaluations.keys() == {"a-on-x", "b-on-x"} and not merged.unreadable
    assert len(merged.manifests) == 3 and folder.checkpoint("c").exists()
    assert files_of(other) == before
    settled = files_of(folder)
    assert merge(folder, [other]) == [] and files_of(folder) == settled


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
            assert f"{other.root / part / name}: is no file; left out" in text
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
    assert read_run(into).condensations["x"]["status"] == "done"
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
    with tarfile.open(pack(folder, tmp_path / "run.tar.gz")) as archive:
        assert not [name for name in archive.getnames() if ".merge." in name]


def test_a_packed_run_is_as_readable_as_its_records(folder, tmp_path):
    packed = pack(folder, tmp_path / "run.tar.gz")
    assert packed.stat().st_mode == folder.result("a").stat().st_mode


def test_a_run_is_not_packed_into_itself(folder):
    with pytest.raises(RunError, match="lies in the run"):
        pack(folder, folder.root / "run.tar.gz")


def test_a_run_whose_manifests_have_gone_is_still_one(folder):
    shutil.rmtree(folder.root / "manifests")
    assert folder.is_run() and "a" in {job.id for job in status_of(folder)}


@pytest.mark.parametrize("changes", [{}, {"set_sha256": 5}])
def test_merge_refuses_sets_that_it_cannot_compare(folder, other, changes):
    condense(other, "a")
    record = json.loads(other.result("a").read_text())
    del record["set_sha256"]
    other.result("a").write_text(json.dumps(record | changes))
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


def test_a_folder_at_work_is_left_alone(folder, other, tmp_path):
    with claimed(other.claim("d")):
        with pytest.raises(RunError, match="other: a run is at work in it"):
            merge(folder, [other])
        with pytest.raises(RunError, match="a run is at work"):
            pack(other, tmp_path / "x.tar.gz")


# -- pack and unpack -------------------------------------------------------------------------------


def test_what_is_packed_comes_back_with_its_checkpoints(folder, tmp_path):
    expected = files_of(folder)
    old(folder.claim("z"))
    old(folder.condensation("a") / ".x.half")
    file = pack(folder, tmp_path / "run.tar.gz")
    back = unpack(file, tmp_path / "elsewhere" / "again")
    assert files_of(back) == expected and back.is_run() and (back.root / "claims").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "run", "run.tar.gz"]
    assert os.listdir(tmp_path / "elsewhere") == ["again"]


def test_the_commands_pack_beside_the_folder_and_unpack_under_its_name(
    folder, tmp_path, monkeypatch
):
    assert invoke("pack", folder.root) == (0, f"{tmp_path / 'run.tar.gz'}\n")
    assert invoke("pack", folder.root)[0] == 2  # exists already
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    assert invoke("unpack", tmp_path / "run.tar.gz") == (0, "run\n")
    assert invoke("unpack", tmp_path / "run.tar.gz")[0] == 2  # exists already


def test_a_link_to_a_file_is_packed_as_that_file(folder, tmp_path):
    kept = tmp_path / "elsewhere.safetensors"
    folder.set_file("a").rename(kept)
    folder.set_file("a").symlink_to(kept)
    os.link(kept, folder.condensation("a") / "twice")
    back = unpack(pack(folder, tmp_path / "x.tar.gz"), tmp_path / "again")
    assert files_of(back) == files_of(folder) and not back.set_file("a").is_symlink()


def test_a_link_to_a_folder_cannot_be_packed(folder, tmp_path):
    folder.condensation("a").rename(tmp_path / "a")
    folder.condensation("a").symlink_to(tmp_path / "a")
    with pytest.raises(RunError, match="condensations/a: links to a folder"):
        pack(folder, tmp_path / "x.tar.gz")
    assert not (tmp_path / "x.tar.gz").exists()


def test_a_run_without_manifests_can_be_packed_and_an_empty_one_not(folder, other, tmp_path):
    (folder.root / "manifests" / "host-1.json").unlink()
    back = unpack(pack(folder, tmp_path / "x.tar.gz"), tmp_path / "again")
    assert files_of(back) == files_of(folder)
    with pytest.raises(RunError, match="other: holds nothing to pack yet"):
        pack(other, tmp_path / "other.tar.gz")


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(folder):
    code, text = invoke("pack", folder.root, "--to", "/proc/x/y.tar.gz")
    assert code == 2 and "/proc/x/y.tar.gz: cannot be written" in text and "--to" in text


def tar_of(path: Path, *members: tuple[str, bytes | None]) -> Path:
    """Write a tar of files; a member without content is a link to /etc/passwd."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return path


GOOD = ("run/manifests/a.json", b"{}")


@pytest.mark.parametrize(
    "members",
    [
        [("run/other/a.json", b"{}")],
        [GOOD, ("run/../../escaped", b"x")],
        [GOOD, ("/absolute", b"x")],
        [GOOD, ("run/condensations/link", None)],
        [GOOD, ("second/manifests/a.json", b"{}")],
        [(".", b""), ("./manifests/a.json", b"{}")],
    ],
)
def test_a_foreign_archive_is_refused_and_leaves_nothing(tmp_path, members):
    file = tar_of(tmp_path / "x.tar.gz", *members)
    (tmp_path / "in").mkdir()
    with pytest.raises(RunError, match="x.tar.gz: is no packed run"):
        unpack(file, tmp_path / "in" / "run")
    assert os.listdir(tmp_path / "in") == [] and not (tmp_path / "escaped").exists()


def test_a_torn_archive_is_refused(folder, tmp_path):
    file = pack(folder, tmp_path / "x.tar.gz")
    for length in (0, 10, file.stat().st_size // 2):
        (tmp_path / "torn.tar.gz").write_bytes(file.read_bytes()[:length])
        with pytest.raises(RunError, match="torn.tar.gz: cannot be unpacked"):
            unpack(tmp_path / "torn.tar.gz", tmp_path / "in")
        assert not (tmp_path / "in").exists()


def test_an_archive_with_any_bit_flipped_is_refused_and_leaves_nothing(folder, tmp_path):
    for number in range(20):
        condense(folder, f"more-{number}", content=os.urandom(200))
    whole = pack(folder, tmp_path / "x.tar.gz").read_bytes()
    (tmp_path / "in").mkdir()
    content = whole.index(0, 10) + 1  # behind the name in the header, which nobody reads
    for place in range(content, len(whole), len(whole) // 60):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "flipped.tar.gz").write_bytes(flipped)
        with pytest.raises(RunError, match="flipped.tar.gz: .*(torn or altered|no packed run)"):
            unpack(tmp_path / "flipped.tar.gz", tmp_path / "in" / "run")
        assert os.listdir(tmp_path / "in") == []


def repacked(file: Path, to: Path, changed) -> Path:
    """Write the archive anew, valid as a stream, with `changed(name, content)` or without it."""
    with tarfile.open(file) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    changes = {name: changed(name, content) for name, content in members.items()}
    return tar_of(to, *((name, content) for name, content in changes.items() if content))


@pytest.mark.parametrize("content", [None, b"another"])
def test_an_archive_that_differs_from_its_list_is_refused_by_the_files(folder, tmp_path, content):
    file = repacked(
        pack(folder, tmp_path / "x.tar.gz"),
        tmp_path / "y.tar.gz",
        lambda name, old: content if name.endswith("a/synthetic.safetensors") else old,
    )
    words = r"y.tar.gz: 1 of its files are missing or altered \(condensations/a/synthetic"
    with pytest.raises(RunError, match=words):
        unpack(file, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"{"])
def test_a_list_that_cannot_be_read_is_named(folder, tmp_path, content):
    file = repacked(
        pack(folder, tmp_path / "x.tar.gz"),
        tmp_path / "y.tar.gz",
        lambda name, old: content if name == "run/packed.json" else old,
    )
    with pytest.raises(RunError, match="y.tar.gz: its list of files cannot be read"):
        unpack(file, tmp_path / "again")


def test_an_archive_without_a_list_is_still_read_and_the_list_is_not_packed_again(folder, tmp_path):
    packed = pack(folder, tmp_path / "x.tar.gz")
    without = lambda name, old: None if name == "run/packed.json" else old  # noqa: E731
    back = unpack(repacked(packed, tmp_path / "y.tar.gz", without), tmp_path / "again")
    assert files_of(back) == files_of(folder)
    (folder.root / "packed.json").write_text("{}")  # of somebody who has untarred by hand
    back = unpack(pack(folder, tmp_path / "z.tar.gz"), tmp_path / "once more")
    assert "packed.json" not in files_of(back)


def test_a_full_disk_is_not_the_archives_fault(folder, tmp_path, monkeypatch):
    file = pack(folder, tmp_path / "x.tar.gz")
    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    code, text = invoke("unpack", file, "--to", tmp_path / "again")
    assert code == 2 and f"{tmp_path / 'again'}: cannot be written (No space left" in text
    assert "pack" not in text.replace(str(tmp_path), "").replace("unpack", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "x.tar.gz"]


def test_a_file_that_is_not_there_cannot_be_unpacked(tmp_path):
    code, text = invoke("unpack", tmp_path / "none.tar.gz")
    assert code == 2 and "none.tar.gz: cannot be read (No such file or directory)" in text
