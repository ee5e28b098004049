"""The commands in this process: what they print, and what they refuse in one line."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.plan import Plan, Skipped


def ddbench(*words, code=0):
    """Run a command; return its standard output and error."""
    result = CliRunner().invoke(main, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def session(monkeypatch):
    """The session that `run` and `plan` open; a test says what it answers."""
    session = SimpleNamespace(plan=lambda choices: Plan([], [], []))
    monkeypatch.setattr("ddbench.cli.run.open_session", lambda *places: session)
    return session


# -- data ------------------------------------------------------------------------------------------


def test_fetch_says_of_made_up_data_that_they_need_no_files(tmp_path):
    out, _ = ddbench("data", "fetch", "toy", "--data", tmp_path)
    assert out == "toy needs no files\n"


# -- run -------------------------------------------------------------------------------------------


def test_require_all_says_once_what_several_seeds_lack(session, tmp_path):
    skipped = [
        Skipped("dm", "mnist", "convnet", "real", 1, seed, "mnist: not in /data; fetch it")
        for seed in range(3)
    ]
    session.plan = lambda choices: Plan([], [], skipped)
    run = ("run", "--method", "dm", "--require-all", "--out", tmp_path / "run")
    _, err = ddbench(*run, code=2)
    assert err == "ddbench: --require-all:\n  mnist: not in /data; fetch it\n"
