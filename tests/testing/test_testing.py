"""The kit for tests of methods: what it makes it takes away again."""

import gc
import os
import subprocess
import sys

from ddbench.testing import toy_task


def build(work):
    (work.folder / "part").write_text("x")


def test_the_folder_of_a_toy_task_is_made_when_needed_and_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task, other = toy_task(), toy_task()
    assert list(tmp_path.iterdir()) == []
    assert (task.artifact("part", {}, build) / "part").exists()
    other.artifact("part", {}, build)
    assert len(list(tmp_path.iterdir())) == 2  # none shares another's artifacts
    del task, other
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_toy_task_does_not_outlive_its_process(tmp_path):
    code = (
        "from ddbench.testing import toy_task\n"
        "task = toy_task()\n"
        "task.artifact('part', {}, lambda work: (work.folder / 'part').write_text('x'))\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_a_named_folder_stays(tmp_path):
    task = toy_task(store=tmp_path / "mine")
    folder = task.artifact("part", {}, build)
    del task
    gc.collect()
    assert (folder / "part").exists()
