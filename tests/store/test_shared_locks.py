"""Locks between hosts: none, of one host alone, or as they should be."""

import errno
import os
import socket
import threading
import time

import pytest
from ddbench.store import shared_locks
from ddbench.store.atomic_files import claimed
from ddbench.store.run_folder import RunError, RunFolder
from ddbench.store.shared_locks import refuse_without_locks, seen_by_others


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_locks, "TOUCH_S", 0.05)
    monkeypatch.setattr(shared_locks, "PATIENCE_S", 0.5)
    run = RunFolder(tmp_path / "run")
    run.create()
    return run


def test_a_folder_with_locks_passes_and_nothing_is_left(folder):
    refuse_without_locks(folder)
    with seen_by_others(folder):
        assert len(list((folder.root / "hosts").iterdir())) == 1
    assert not (folder.root / "hosts").exists() and not list((folder.root / "claims").iterdir())


def test_a_file_system_without_locks_is_refused_with_the_way_out(folder, monkeypatch):
    def none(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(shared_locks, "try_lock", none)
    with pytest.raises(RunError, match=r"no locks \(No locks available\); .*ddbench merge"):
        refuse_without_locks(folder)


def test_a_lock_that_keeps_nobody_out_is_refused(folder, monkeypatch):
    monkeypatch.setattr(shared_locks, "try_lock", lambda descriptor: True)  # holds nothing
    with pytest.raises(RunError, match="does not keep another process out"):
        refuse_without_locks(folder)


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("nfs4 rw,vers=4.2,local_lock=all", "nfs4 on .*, mounted with local_lock=all"),
        ("nfs rw,nolock", "mounted with nolock"),
        ("lustre rw,localflock", "mounted with localflock"),
        ("lustre rw,flock", None),
        ("nfs4 rw,local_lock=none", None),
    ],
)
def test_mounts_tell_whose_locks_are_one_hosts_alone(folder, monkeypatch, mount, words):
    mounts = folder.root.parent / "mounts"
    mounts.write_text(f"none / ext4 rw 0 0\nserver:/x {folder.root.parent} {mount} 0 0\n")
    monkeypatch.setattr(shared_locks, "MOUNTS", mounts)
    if words is None:
        refuse_without_locks(folder)
    else:
        with pytest.raises(RunError, match=f"one host alone .*{words}"):
            refuse_without_locks(folder)


def alive_elsewhere(path, ended):
    """Be a run on another host: touch the file, until the test has ended."""
    path.parent.mkdir(exist_ok=True)
    while not ended.wait(0.05):
        path.touch()


def test_a_host_whose_locks_do_not_reach_here_is_told_from_its_signs_of_life(folder):
    ended, path = threading.Event(), folder.root / "hosts" / "elsewhere-7"
    other = threading.Thread(target=alive_elsewhere, args=(path, ended))
    other.start()
    try:
        while not path.exists():
            time.sleep(0.01)
        with pytest.raises(RunError, match="the locks of elsewhere-7 do not reach this host"):
            with seen_by_others(folder):
                pass
        with claimed(path), seen_by_others(folder):  # held: its locks do reach
            pass
    finally:
        ended.set()
        other.join()


def test_what_a_killed_run_has_left_is_removed(folder):
    here = folder.root / "hosts" / f"{socket.gethostname()}-0"
    here.parent.mkdir()
    here.touch()
    with seen_by_others(folder):
        assert not here.exists()
    path = folder.root / "hosts" / "elsewhere-7"
    path.parent.mkdir(exist_ok=True)
    path.touch()  # it has just died
    with seen_by_others(folder):
        assert not path.exists()
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (1, 1))
    begun = time.monotonic()
    with seen_by_others(folder):
        assert time.monotonic() - begun < 0.4 and not path.exists()
