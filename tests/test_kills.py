"""Kills at random moments: no finished job is lost, and the results are an undisturbed run's."""

import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest


def check(kills, where: Path, count: int) -> None:
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed {seed}")  # pytest shows it when the test fails
    tally = kills.campaign(where, count, seed)
    assert tally.faults == []
    assert tally.kills == count and tally.of_group == (count + 1) // 2
    assert tally.resumed > 0


def test_8_kills_lose_no_job_and_change_no_result(kills, tmp_path):
    check(kills, tmp_path, 8)


def test_a_process_that_has_ended_does_not_outlive_its_runner_though_nobody_buries_it(kills):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    waiting = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # ended, and left unburied
        family = [psutil.Process(child.pid) for child in (ended, waiting)]
        assert kills.outliving(family, 0.1) == family[1:]
    finally:
        ended.wait()
        waiting.communicate()
    assert kills.outliving(family, 0.1) == []


def test_workers_that_end_late_are_a_fault_that_says_by_how_much(kills):
    class Runner:
        pid = 2**22 + 1  # no process has it
        process = SimpleNamespace(children=lambda recursive: [])
        wait = staticmethod(lambda: None)

    tally = kills.Tally(seed=0, gone_s=-1.0)
    kills.kill(Runner(), group=False, tally=tally)
    [fault] = tally.faults
    took = f"{tally.slowest_end_s:.2f} s"
    assert fault == f"kill 1: the last worker was gone after {took}, not within -1 s"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_60_kills_lose_no_job_and_change_no_result(kills, tmp_path):
    check(kills, tmp_path, 60)
