"""The scaffold: what `ddbench new-plugin` writes is the documented example, and works at once."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from ddbench.cli import main, scaffold
from ddbench.cli.scaffold import ScaffoldError, new_plugin, text_of
from ddbench.discovery.methods import MethodEntry, from_file, load

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "ddbench-mean-image"


def contents(folder):
    kept = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path))
    return {str(path.relative_to(folder)): path.read_text() for path in kept}


def test_the_example_in_the_docs_is_what_the_scaffold_writes(tmp_path):
    new_plugin("mean-image", parent=tmp_path)
    assert contents(EXAMPLE) == contents(tmp_path / "ddbench-mean-image")


def test_the_module_is_short():
    assert len(text_of("plugin.py.txt").splitlines()) <= 60


def test_every_name_is_replaced(tmp_path):
    new_plugin("ddbench-my-idea", method="mine", parent=tmp_path)
    written = contents(tmp_path / "ddbench-my-idea")
    assert set(written) == {
        "pyproject.toml", "README.md", "ddbench_my_idea.py", "tests/test_my_idea.py",
    }  # fmt: skip
    text = "\n".join(written.values())
    assert "mean-image" not in text and "mean_image" not in text
    project = tomllib.loads(written["pyproject.toml"])["project"]
    assert project["name"] == "ddbench-my-idea"
    assert project["entry-points"]["ddbench.methods"] == {"mine": "ddbench_my_idea"}


@pytest.mark.parametrize("name", ["my-mean-image", "test-mean-image", "mean-image-mean-image"])
def test_a_name_that_holds_the_examples_is_written_once(name, tmp_path):
    new_plugin(name, parent=tmp_path)
    written = contents(tmp_path / f"ddbench-{name}")
    module = name.replace("-", "_")
    assert {f"ddbench_{module}.py", f"tests/test_{module}.py"} < written.keys()
    project = tomllib.loads(written["pyproject.toml"])["project"]
    assert project["name"] == f"ddbench-{name}"
    assert project["entry-points"]["ddbench.methods"] == {name: f"ddbench_{module}"}


def test_names_of_installed_methods_and_their_packages_are_refused(tmp_path, monkeypatch):
    installed = {"theirs": MethodEntry("theirs", "ddbench_pack", "ddbench-pack", "1.0", "1.0")}
    monkeypatch.setattr(scaffold, "discover", lambda: installed)
    for name, method in (("theirs", None), ("mine", "theirs")):
        with pytest.raises(ScaffoldError, match="'theirs' is installed already, from ddbench-pack"):
            new_plugin(name, method, tmp_path)
    with pytest.raises(ScaffoldError, match="ddbench-pack is installed already"):
        new_plugin("pack", "mine", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_module_it_writes_is_a_method(tmp_path):
    new_plugin("my-idea", parent=tmp_path)
    method = load(from_file(tmp_path / "ddbench-my-idea" / "ddbench_my_idea.py"))
    assert method.info.config().lr_images == 1.0 and method.info.steps(None, 1) == 500


@pytest.mark.parametrize("name", ["", "My", "a--b", "a_b", "../x", "1st", "a.b"])
def test_a_name_that_no_package_can_have_is_refused(name, tmp_path):
    with pytest.raises(ScaffoldError, match="will not do"):
        new_plugin(name, parent=tmp_path)


def test_nothing_is_overwritten(tmp_path):
    new_plugin("twice", parent=tmp_path)
    with pytest.raises(ScaffoldError, match="exists already"):
        new_plugin("twice", parent=tmp_path)


def invoke(*words):
    return CliRunner().invoke(main, list(map(str, words)))


def test_the_command_lists_the_files_and_says_what_is_next(tmp_path, monkeypatch):
    monkeypatch.setattr("ddbench.discovery.methods.importlib.util.find_spec", lambda name: None)
    result = invoke("new-plugin", "idea", "--in", tmp_path)
    assert result.exit_code == 0 and len(result.stdout.split()) == 4
    folder = tmp_path / "ddbench-idea"
    assert result.stderr == f"next: uv pip install -e {folder} && ddbench check idea\n"


def test_the_command_explains_a_bad_name(tmp_path):
    result = invoke("new-plugin", "Idea", "--in", tmp_path)
    assert result.exit_code == 2 and "lower-case" in result.stderr


def test_check_passes_the_example():
    result = invoke("check", EXAMPLE / "ddbench_mean_image.py", "--quick", "--set", "batch_real=8")
    assert result.exit_code == 0, result.output
    assert "14 of 14 checks passed" in result.stdout


def test_check_explains_what_fails(tmp_path):
    text = text_of("plugin.py.txt").replace("state.images.detach().clone()", "state.images")
    plugin = tmp_path / "leaky.py"
    plugin.write_text(text)
    result = invoke("check", plugin, "--quick", "--json")
    assert result.exit_code == 1
    assert "images still require grad" in result.stdout and '"passed": false' in result.stdout


def test_check_suggests_the_name_that_was_meant():
    result = invoke("check", "rando")
    assert result.exit_code == 2 and "ddbench:" in result.stderr


def test_check_explains_a_setting_without_a_value(tmp_path):
    result = invoke("check", EXAMPLE / "ddbench_mean_image.py", "--set", "batch_real")
    assert result.exit_code == 2 and "expected OPTION=VALUE" in result.stderr
