"""Versions stand in one place; where one must be repeated, it is the same."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import ddbench
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]


def test_the_version_is_that_of_the_module_everywhere():
    assert version("ddbench") == ddbench.__version__
    assert f"\nversion: {ddbench.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == ddbench.__version__
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", section) for section in sections)


def direct() -> list[Requirement]:
    tools = PYPROJECT["dependency-groups"]["tools"]
    return [Requirement(one) for one in (*PROJECT["dependencies"], *tools)]


@pytest.mark.parametrize("wanted", direct(), ids=lambda wanted: wanted.name)
def test_each_dependency_has_a_lower_bound_and_exact_versions_above_it(wanted):
    assert any(part.operator == ">=" for part in wanted.specifier)
    pins = [pin for pin in PINS if pin.name == wanted.name]
    assert pins, f"constraints.txt lacks {wanted.name}; CONTRIBUTING.md says how to write it"
    for pin in pins:
        [exact] = pin.specifier
        assert exact.operator == "==" and wanted.specifier.contains(exact.version)


def test_constraints_are_names_and_versions_alone():
    assert not [pin for pin in PINS if pin.url or pin.extras]
    assert not re.search(r"://|--|@", (ROOT / "constraints.txt").read_text())


def test_the_versions_of_python_that_are_promised_are_those_that_are_tested():
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    tested = re.findall(r"python: (\[.*\])", workflow)
    assert tested and {*tested} == {str(promised).replace("'", '"')}
    assert PROJECT["requires-python"].startswith(f">={promised[0]}")
    assert PYPROJECT["tool"]["mypy"]["python_version"] == promised[0]
