"""Kills at random moments: no finished job is lost, and the results are an undisturbed run's."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from ddbench.contract.synthetic_set import SyntheticSet


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


def test_steps_that_are_done_again_are_counted_from_one_kill_to_the_next(kills, tmp_path):
    for number, steps in enumerate([(0, 1, 2), (0, 1, 2, 1, 2, 3, 3, 4), (0, 1, 0, 1, 2)]):
        log = tmp_path / "condensations" / str(number) / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text("warning\n" + "".join(f"did {step}\n" for step in steps))
    assert kills.steps_again(tmp_path) == 2


def test_another_set_of_the_same_length_is_another_result(kills, tmp_path):
    path = tmp_path / "condensations" / "a" / "synthetic.safetensors"
    path.parent.mkdir(parents=True)
    record = {"kind": "condensation", "id": "a", "status": "done", "set_sha256": "recorded"}
    (path.parent / "result.json").write_text(json.dumps(record))
    (path.parent / "curve.csv").write_text("step,seconds,speed\n")
    results = []
    for value in (0.0, 1.0):
        SyntheticSet(torch.full((1, 1, 2, 2), value), torch.zeros(1, dtype=torch.int64)).save(path)
        results.append(kills.results_of(tmp_path))
    assert results[0] != results[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_60_kills_lose_no_job_and_change_no_result(kills, tmp_path):
    check(kills, tmp_path, 60)
