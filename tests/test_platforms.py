"""What is left where a system lacks what Linux has: macOS, a container without /proc, Windows."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import ddbench.execution.engines.local as local
import pytest
import torch
from ddbench.execution.engines import Work, limits
from ddbench.execution.engines.job_queue import Jobs
from ddbench.execution.job_context import JobContext
from ddbench.execution.run_options import default_jobs
from ddbench.machine import cpu_model, usable_cores
from ddbench.meter import memory
from ddbench.meter.hardware import hardware
from ddbench.store.run_folder import RunFolder, read_run


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_windows_is_told_in_one_sentence_to_use_wsl():
    done = python("import sys; sys.platform = 'win32'; import ddbench")
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: ddbench runs on Linux and macOS; on Windows, use WSL"


def test_python_m_ddbench_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "ddbench", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: python -m ddbench ") and "leaderboard" in done.stdout


def test_without_affinity_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == os.cpu_count()
    assert default_jobs(1) == os.cpu_count() and default_jobs(10**6) == 1
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.fixture
def no_proc(monkeypatch, tmp_path):
    """No /proc and no /sys: every path into them leads nowhere."""
    for name in ("_STATUS", "_CLEAR_REFS"):
        monkeypatch.setattr(memory, name, tmp_path / "none" / name)
    for name in ("CGROUP", "OWN_CGROUPS"):
        monkeypatch.setattr(limits, name, tmp_path / "none" / name)
    monkeypatch.setattr("ddbench.machine.CPU_INFO", tmp_path / "none" / "cpuinfo")


def test_the_processor_is_asked_of_sysctl_and_else_named_by_its_kind(no_proc, monkeypatch):
    monkeypatch.setattr("ddbench.machine.SYSCTL", ("echo", "Apple M9"))
    assert cpu_model() == "Apple M9"
    assert hardware("cpu", jobs_at_once=1, threads=1)["device"] == "Apple M9"
    for missing in (("/none/sysctl",), ("false",), ("true",)):
        monkeypatch.setattr("ddbench.machine.SYSCTL", missing)
        monkeypatch.setattr("platform.processor", lambda: "arm")
        assert cpu_model() == "arm"


def test_without_proc_the_peak_memory_is_unknown_and_says_why(no_proc):
    with memory.PeakMemory("cpu") as peak:
        torch.zeros(10)
    assert peak.bytes is None
    assert "high-water mark cannot be reset or read" in str(peak.reason)


def test_without_control_groups_the_free_memory_is_the_machines(no_proc):
    assert limits.free_memory() > 0


def test_without_shares_of_memory_residence_counts(monkeypatch):
    class Process:  # as psutil's is on macOS for another process
        def __init__(self, pid):
            pass

        def children(self, recursive):
            return []

        def memory_info(self):
            return SimpleNamespace(rss=100)

        def memory_full_info(self):
            return SimpleNamespace(rss=100, uss=90)

    monkeypatch.setattr("psutil.Process", Process)
    assert limits.exceeds(1, 99) == 100 and limits.exceeds(1, 100) == 0


class Bare:
    """A C library with nothing of Linux or glibc in it."""

    def __init__(self, *arguments, **options):
        pass


def test_without_glibc_and_linux_calls_memory_signals_and_logs_work(monkeypatch, tmp_path):
    monkeypatch.setattr(ctypes, "CDLL", Bare)
    with memory.PeakMemory("cpu"):
        pass
    path = tmp_path / "log.txt"
    path.write_bytes(b"a" * 900 + b"b" * 9000 + b"c" * 100)
    with open(path, "r+b") as file:
        assert limits._punch_hole(file.fileno(), 0, 10) is False
    limits.relieve_log(path, most=1000)  # cut at once instead
    assert path.stat().st_size < 1200 and path.read_bytes().endswith(b"c" * 100)
    code = (
        "import ctypes\nfrom ddbench.processes.child_process import leave_signals_to_parent\n"
        "class Bare:\n    def __init__(self, *a, **o): pass\n"
        "ctypes.CDLL = Bare\nleave_signals_to_parent()\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_jobs_run_where_processes_may_not_be_forked(kills, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "start_method", lambda: "spawn")
    plan, found = kills.plan_of(1, 3)
    run = RunFolder(tmp_path / "run")
    run.create()
    jobs = Jobs.left(plan, run)
    local.run_local(Work(jobs, JobContext(run.root, tmp_path / "cache"), found))
    records = read_run(run)
    done = [*records.condensations.values(), *records.evaluations.values()]
    assert [record.status for record in done] == ["done"] * 2 and not jobs.pending


def test_macos_starts_each_job_afresh():
    assert local.start_method("darwin") == "spawn"
    assert local.start_method("linux") == "forkserver"
