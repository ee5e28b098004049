"""Being told to stop: while jobs run, and while nothing has to be saved."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest
from ddbench.execution.signals import Stop, ToldToStop

SLOW = """
import pathlib, sys, time
pathlib.Path({marker!r}).touch()
time.sleep(100)
"""


def test_the_time_limit_counts_from_the_beginning():
    assert not Stop()() and not Stop(60.0)()
    stop = Stop(0.0)
    assert stop() and stop.reason == "--stop-after 0s"
    stop = Stop()
    stop.within(0.0, "--budget-total")
    assert stop() and stop.reason == "--budget-total 0s"
    stop = Stop(60.0)
    stop.within(0.0, "--budget-total")  # what was asked for on its own wins
    assert not stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_becomes_the_reason_while_jobs_run_and_ends_everything_else(number):
    before = lambda *_: None  # noqa: E731  (under nohup SIGHUP would be ignored)
    inherited = signal.signal(number, before)
    stop = Stop()
    with stop.heard():
        with stop.heard(gently=True):
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert stop() and stop.reason == number.name
        with pytest.raises(ToldToStop, match=number.name):
            signal.raise_signal(number)
    assert signal.signal(number, inherited) is before


def test_ctrl_c_is_a_reason_once_while_jobs_run():
    stop = Stop()
    with stop.heard(gently=True):
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "interrupted"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Stop().heard():
        signal.raise_signal(signal.SIGINT)


def test_a_hangup_that_nohup_has_switched_off_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop().heard():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def take_terminal():
    """Make file 0 the terminal of a session, whose closing is heard even if we run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_run_whose_terminal_closes_ends_with_exit_code_4(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW.format(marker=str(tmp_path / "imported")))
    words = "run --plugin slow.py --method slow --cache cache --out run".split()
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "ddbench", *words], cwd=tmp_path, start_new_session=True,
        stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(theirs)
    while not (tmp_path / "imported").exists():
        assert run.poll() is None
        time.sleep(0.05)
    os.close(ours)  # which hangs up
    assert run.wait(timeout=30) == 4


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 4), (signal.SIGUSR1, 4), (signal.SIGINT, 130)]
)
def test_a_signal_while_methods_are_asked_ends_the_run_at_once(tmp_path, number, code):
    marker = tmp_path / "imported"
    (tmp_path / "slow.py").write_text(SLOW.format(marker=str(marker)))
    command = [
        sys.executable,
        "-m",
        "ddbench",
        "run",
        "--plugin",
        "slow.py",
        "--method",
        "slow",
    ]
    command += ["--cache", "cache", "--out", "run"]
    run = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not marker.exists():
        assert run.poll() is None
        time.sleep(0.05)
    sent = time.monotonic()
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    assert run.returncode == code and "the same command goes on" in said
    assert "Traceback" not in said
