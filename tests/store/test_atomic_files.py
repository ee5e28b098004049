"""Files whole or not at all, and locks that a dead process gives up."""

import errno
import json
import multiprocessing
import os

import pytest
from ddbench.store import atomic_files
from ddbench.store.atomic_files import (
    claimed,
    half_written,
    is_claimed,
    locked,
    try_lock,
    write_json,
    write_whole,
)
from hypothesis import given
from hypothesis import strategies as st


def test_a_file_is_written_with_the_usual_permissions_and_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "a" / "b", b"one")
    write_whole(tmp_path / "a" / "b", b"two")
    assert (tmp_path / "a" / "b").read_bytes() == b"two"
    assert os.listdir(tmp_path / "a") == ["b"]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o666 & ~atomic_files.UMASK


def test_a_changed_umask_does_not_make_a_file_that_nobody_can_read(tmp_path):
    before = os.umask(0o777)
    try:
        write_whole(tmp_path / "a", b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"one"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    write_whole(tmp_path / "a", b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(tmp_path / "a", b"new")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_killed_writer_leaves_a_half_file_that_is_found(tmp_path):
    def die():
        atomic_files.os.replace = lambda *paths: os._exit(9)
        write_whole(tmp_path / "x" / "a.json", b"new")

    child = multiprocessing.get_context("fork").Process(target=die)
    child.start()
    child.join()
    assert not (tmp_path / "x" / "a.json").exists()
    assert [path.name.startswith(".a.json.") for path in half_written(tmp_path)] == [True]


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_json_comes_back_as_it_was_surrogates_and_all(tmp_path_factory, record):
    path = tmp_path_factory.getbasetemp() / "json"
    write_json(path, record | {"odd": "\udc80"})
    assert json.loads(path.read_bytes()) == record | {"odd": "\udc80"}


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a", {"x": float("nan")})
    assert not (tmp_path / "a").exists()


# -- locks ---------------------------------------------------------------------------------------


def test_a_claim_is_held_by_one_and_gone_afterwards(tmp_path):
    path = tmp_path / "claims" / "job"
    assert not is_claimed(path)
    with claimed(path) as first, claimed(path) as second:
        assert first and not second and is_claimed(path)
    assert not path.exists() and not is_claimed(path)


def test_a_claim_ends_with_its_process(tmp_path):
    path = tmp_path / "job"
    context = multiprocessing.get_context("fork")
    taken = context.Event()

    def hold():
        with claimed(path):
            taken.set()
            os.read(os.pipe()[0], 1)  # for ever

    child = context.Process(target=hold)
    child.start()
    assert taken.wait(20) and is_claimed(path)
    child.kill()
    child.join()
    assert path.exists() and not is_claimed(path)
    with claimed(path) as free:
        assert free


def test_a_claim_removed_while_we_waited_to_lock_it_is_opened_anew(tmp_path, monkeypatch):
    """Else two processes hold a lock each: one on the removed file, one on the new one."""
    path = tmp_path / "job"
    lock, calls = atomic_files.try_lock, []

    def lock_after_the_holder_has_gone(descriptor):
        if not calls:
            path.unlink()
        calls.append(descriptor)
        return lock(descriptor)

    monkeypatch.setattr(atomic_files, "try_lock", lock_after_the_holder_has_gone)
    with claimed(path) as free:
        assert free and len(calls) == 2 and path.exists()


def test_a_lock_removed_while_we_waited_for_it_is_opened_anew(tmp_path):
    path = tmp_path / "lock"

    def removed():
        path.unlink()  # by one who saw it free; whoever comes next makes another
        holder.close()

    holder = open(path, "a")
    assert try_lock(holder.fileno())
    with locked(path, removed, poll=0.0):
        with open(path, "a") as next_one:
            assert not try_lock(next_one.fileno())


def test_who_waits_for_a_lock_is_asked_at_each_poll(tmp_path):
    polls = []

    def give_up():
        polls.append(1)
        if len(polls) == 3:
            raise TimeoutError

    with locked(tmp_path / "l"), pytest.raises(TimeoutError):
        with locked(tmp_path / "l", give_up, poll=0.001):
            pass
    assert len(polls) == 3
