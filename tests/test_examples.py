"""The example of a third party: installed from outside the workspace, it is a method like any."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import ddbench
import pytest

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "ddbench-mean-image"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the example outside the workspace, with the record that an installer writes."""
    place = tmp_path_factory.mktemp("site")
    copy = place / "ddbench-mean-image"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
    site = place / "packages"
    record = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (record / "entry_points.txt").write_text("\n".join(lines) + "\n")
    shutil.copy(copy / "ddbench_mean_image.py", site)
    return copy, site


def ddbench_says(installed, cache, *words, code=0):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(installed[1]), str(Path(ddbench.__file__).parents[1])]),
        "XDG_CACHE_HOME": str(cache),
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cache, env=environment, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_is_listed_checked_and_on_the_leaderboard(installed, tmp_path):
    cli = ("-m", "ddbench")
    listed = json.loads(ddbench_says(installed, tmp_path, *cli, "methods", "--json"))
    mine = next(row for row in listed if row["method"] == "mean-image")
    assert mine["source"] == "ddbench-mean-image 0.1.0"
    assert "16 of 16" in ddbench_says(installed, tmp_path, *cli, "check", "mean-image")
    run = ("run", "--preset", "smoke", "--method", "mean-image", "--dataset", "toy", "--json")
    board = ddbench_says(installed, tmp_path, *cli, *run, "--device", "cpu")
    assert '"mean-image"' in board


@pytest.mark.slow
def test_its_own_tests_pass(installed, tmp_path):
    tests = str(installed[0] / "tests")
    out = ddbench_says(installed, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
    assert "2 passed" in out
