"""Fingerprints of code: of all files that can change a result, and of no others."""

import base64
import hashlib
import os
from importlib.metadata import Distribution

import pytest
from ddbench.discovery import fingerprints
from ddbench.discovery.fingerprints import (
    ChangedError,
    Code,
    code_fingerprint,
    file_code,
    package_code,
)
from ddbench.discovery.methods import MethodError, discover, from_file, load

METHOD = """
from ddbench import SyntheticSet, hookimpl
@hookimpl
def init(synthetic, task): return synthetic
@hookimpl
def condense_step(state, task, step): return {}
@hookimpl
def export(state, task): return state
"""


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def install(root, name, module, *, kind="dist-info", record=(), origin=""):
    """Put the metadata of a distribution of version 1.0 into a folder of the search path."""
    info = root / f"{name.replace('-', '_')}-1.0.{kind}"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    write(info, {"PKG-INFO" if kind == "egg-info" else "METADATA": text})
    write(info, {"entry_points.txt": f"[ddbench.methods]\n{name} = {module}\n"})
    if record:
        write(info, {"RECORD": "".join(f"{line}\n" for line in record)})
    if origin:
        write(info, {"direct_url.json": origin})


def recorded(root, name):
    content = (root / name).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(content)}"


def code_of(name, module):
    return package_code(Distribution.from_name(name), module).fingerprint


def test_a_file_name_that_is_no_utf_8_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "plugin.py").write_text("x = 1\n")
    before = code_fingerprint(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("y = 2\n")
    assert code_fingerprint(tmp_path) != before


def test_the_fingerprints_of_earlier_results_stay(tmp_path):
    write(tmp_path, {"pack/__init__.py": "x = 1\n", "pack/inner/y.py": "y = 2\n", "one.py": "z\n"})
    assert code_fingerprint(tmp_path / "pack") == "sha256:8566fe706a75c83e"
    assert file_code(tmp_path / "one.py").fingerprint == "sha256:c865f6c5ab8d1b0b"


# -- distributions ---------------------------------------------------------------------------


def test_only_an_install_as_released_goes_by_its_version(tmp_path, monkeypatch):
    write(tmp_path, {"fppack/__init__.py": "x = 1\n", "fppack/data.json": "{}"})
    monkeypatch.syspath_prepend(tmp_path)
    lines = [recorded(tmp_path, "fppack/__init__.py"), recorded(tmp_path, "fppack/data.json")]
    install(tmp_path, "fpdist", "fppack", record=[*lines, "fpdist-1.0.dist-info/RECORD,,"])
    assert code_of("fpdist", "fppack") == "1.0"
    (tmp_path / "fppack" / "__init__.py").write_text("x = 2\n")  # edited where it is installed
    assert code_of("fpdist", "fppack").startswith("sha256:")


@pytest.mark.parametrize(
    "how",
    [
        {"kind": "egg-info"},
        {},
        {"record": ["x.pth,,"], "origin": '{"url": "file:///x", "dir_info": {"editable": true}}'},
        {"record": ["x.py,,"], "origin": '{"url": "https://x/y.git", "vcs_info": {}}'},
        {"record": ["x.py,,"], "origin": "no JSON"},
    ],
    ids=["sources with an egg-info", "sources on the path", "editable", "repository", "damaged"],
)
def test_a_local_distribution_goes_by_its_code(how, tmp_path, monkeypatch):
    write(tmp_path, {"fplocal.py": "x = 1\n"})
    install(tmp_path, "fplocal-dist", "fplocal", **how)
    monkeypatch.syspath_prepend(tmp_path)
    before = code_of("fplocal-dist", "fplocal")
    (tmp_path / "fplocal.py").write_text("x = 2\n")
    assert before.startswith("sha256:") and code_of("fplocal-dist", "fplocal") != before


def test_a_system_package_in_its_site_folder_goes_by_its_version(tmp_path, monkeypatch):
    site = tmp_path / "dist-packages"
    write(site, {"fpsystem.py": "x = 1\n"})
    install(site, "fpsystem-dist", "fpsystem", kind="egg-info")
    monkeypatch.syspath_prepend(site)
    assert code_of("fpsystem-dist", "fpsystem") == "1.0"


NAMESPACE = {
    "one/fplab/other/__init__.py": "",
    "one/fplab/shared.py": "scale = 1\n",
    "two/fplab/dd/__init__.py": "from . import core\n",
    "two/fplab/dd/core.py": "from fplab import shared\n",
    "two/fplab/dd/weights.json": "[1]",
    "two/fplab/own.py": "",
}


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("two/fplab/dd/__init__.py", True),
        ("two/fplab/dd/core.py", True),
        ("two/fplab/dd/weights.json", True),
        ("one/fplab/shared.py", True),
        ("one/fplab/other/__init__.py", False),
        ("two/fplab/own.py", False),
    ],
)
def test_a_namespace_package_is_what_the_method_uses_of_all_its_portions(
    edited, counts, tmp_path, monkeypatch
):
    write(tmp_path, NAMESPACE)
    install(tmp_path / "two", "fplab-dd", "fplab.dd")
    for portion in ("two", "one"):
        monkeypatch.syspath_prepend(tmp_path / portion)
    before = code_of("fplab-dd", "fplab.dd")
    (tmp_path / edited).write_text("y = 2\n")
    assert (code_of("fplab-dd", "fplab.dd") != before) == counts


@pytest.mark.parametrize("words", ["from ..common import scale", "from ..common.scale import s"])
def test_relative_imports_lead_out_of_a_package_of_a_namespace(words, tmp_path, monkeypatch):
    write(tmp_path, {"fpup/dd/__init__.py": words, "fpup/common/scale.py": "s = 1\n"})
    install(tmp_path, "fpup-dd", "fpup.dd")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_of("fpup-dd", "fpup.dd")
    write(tmp_path, {"fpup/common/scale.py": "s = 2\n"})
    assert code_of("fpup-dd", "fpup.dd") != before


def test_portions_that_pkgutil_joins_all_count(tmp_path, monkeypatch):
    extend = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
    write(tmp_path, {"one/fpold/__init__.py": extend, "two/fpold/__init__.py": extend})
    write(tmp_path, {"two/fpold/dd.py": "x = 1\n"})
    install(tmp_path / "two", "fpold-dd", "fpold.dd")
    for portion in ("two", "one"):
        monkeypatch.syspath_prepend(tmp_path / portion)
    before = code_of("fpold-dd", "fpold.dd")
    write(tmp_path, {"two/fpold/dd.py": "x = 2\n"})
    assert code_of("fpold-dd", "fpold.dd") != before


def test_another_local_package_that_is_imported_counts(tmp_path, monkeypatch):
    write(tmp_path, {"fpmine/__init__.py": "def f():\n    import fpcommon.deep\n"})
    write(tmp_path, {"fpcommon/__init__.py": "", "fpcommon/deep.py": "x = 1\n"})
    install(tmp_path, "fpmine-dist", "fpmine")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_of("fpmine-dist", "fpmine")
    write(tmp_path, {"fpcommon/deep.py": "x = 2\n"})
    assert code_of("fpmine-dist", "fpmine") != before


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("table.csv", True),
        ("kernel.so", True),
        ("data/weights.bin", True),
        ("__pycache__/x.pyc", False),
        ("run.log", False),
        (".notes", False),
        ("py.typed", False),
        ("method.py~", False),
    ],
)
def test_data_of_a_package_count_and_byproducts_do_not(name, counts, tmp_path):
    write(tmp_path, {"__init__.py": "x = 1\n"})
    before = code_fingerprint(tmp_path)
    write(tmp_path, {name: "new"})
    assert (code_fingerprint(tmp_path) != before) == counts


def test_a_link_that_leads_round_or_nowhere_costs_nothing(tmp_path):
    write(tmp_path, {"pack/__init__.py": "", "far/helper.py": "x = 1\n"})
    (tmp_path / "pack" / "round").symlink_to(tmp_path / "pack")
    (tmp_path / "pack" / "nowhere.py").symlink_to(tmp_path / "absent.py")
    (tmp_path / "pack" / "far").symlink_to(tmp_path / "far")
    before = code_fingerprint(tmp_path / "pack")
    write(tmp_path, {"far/helper.py": "x = 2\n"})
    assert code_fingerprint(tmp_path / "pack") != before


# -- files -----------------------------------------------------------------------------------

BESIDE = "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n"


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        (BESIDE + "import fphelper", "fphelper.py"),
        (BESIDE + "def step():\n    from fphelper import scale", "fphelper.py"),
        (BESIDE + "import fppack.inner", "fppack/__init__.py"),
        (BESIDE + "import fppack.inner", "fppack/table.json"),
        (BESIDE + "import fpplain.inner", "fpplain/inner.py"),
        (BESIDE + "import importlib\nimportlib.import_module('fphelper')", "fphelper.py"),
        (BESIDE + "import fpfirst", "fphelper.py"),
        ("import sys\nsys.path += [__file__ + '/../lib', 'lib']\nimport fplib", "lib/fplib.py"),
        ("import pathlib\nX = pathlib.Path(__file__).parents[1] / 'w.npz'", "w.npz"),
        ("import pathlib\nX = pathlib.Path(__file__).parents[1] / 'lib' / 'w.txt'", "lib/w.txt"),
        (
            "exec(open(__file__.replace('mine.py', '') + 'raw.py').read(), {}, {}); 'raw.py'",
            "raw.py",
        ),
    ],
)
def test_what_a_file_uses_beside_itself_counts_and_its_neighbours_do_not(code, needed, tmp_path):
    others = ["fphelper.py", "fppack/__init__.py", "fppack/inner.py", "fppack/table.json"]
    others += ["fpplain/inner.py", "lib/fplib.py", "w.npz", "lib/w.txt", "raw.py", "else.py"]
    write(tmp_path, {"mine.py": code, **dict.fromkeys(others, "")})
    write(tmp_path, {"fpfirst.py": "import fphelper\n"})
    before = file_code(tmp_path / "mine.py").fingerprint
    write(tmp_path, {"else.py": "changed", "results.csv": "new"})
    assert file_code(tmp_path / "mine.py").fingerprint == before
    write(tmp_path, {needed: "changed = 1"})
    assert file_code(tmp_path / "mine.py").fingerprint != before


def test_a_file_alone_keeps_its_fingerprint_wherever_it_lies(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder, {"mine.py": BESIDE + "import fphelper", "fphelper.py": "x = 1"})
    one, other = (file_code(tmp_path / folder / "mine.py") for folder in ("a", "b"))
    assert one.fingerprint == other.fingerprint
    assert [name for name, _ in one.parts] == ["mine.py", "fphelper"]


def test_a_helper_that_is_edited_after_planning_is_told(tmp_path):
    write(tmp_path, {"fpedited.py": BESIDE + "import fplate\n" + METHOD, "fplate.py": "x = 1\n"})
    found = from_file(tmp_path / "fpedited.py")
    load(found)
    write(tmp_path, {"fplate.py": "x = 2\n"})
    with pytest.raises(ChangedError, match="was edited after the plan"):
        load(found)


def test_a_file_that_is_no_python_goes_by_its_bytes(tmp_path):
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe\0(")
    before = file_code(tmp_path / "broken.py").fingerprint
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe\0)")
    assert file_code(tmp_path / "broken.py").fingerprint != before


def test_a_distribution_twice_on_the_path_counts_once_however_it_is_spelled(tmp_path, monkeypatch):
    for folder, name in (("b", "Fp.Twice"), ("a", "fp_twice")):
        write(tmp_path / folder, {"fptwice.py": METHOD})
        install(tmp_path / folder, name, "fptwice")
        text = "[ddbench.methods]\nfptwice = fptwice\n"
        write(tmp_path / folder, {f"{name}-1.0.dist-info/entry_points.txt": text})
        monkeypatch.syspath_prepend(tmp_path / folder)
    assert discover()["fptwice"].distribution == "fp_twice"


def test_a_name_that_two_distributions_bring_is_refused_and_costs_no_other(tmp_path, monkeypatch):
    others = discover()
    for name in ("fp-one", "fp-two"):
        install(tmp_path / name, name, "fpclash")
        text = "[ddbench.methods]\nfpclash = fpclash\n"
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        write(tmp_path / name, {f"{info}/entry_points.txt": text})
        monkeypatch.syspath_prepend(tmp_path / name)
    found = discover()
    assert found.items() >= others.items()
    with pytest.raises(
        MethodError, match="'fpclash' is provided by fp-two 1.0 and fp-one 1.0"
    ) as e:
        load(found["fpclash"])
    assert "pip uninstall fp-one`" in str(e.value) and "pip uninstall fp-two`" in str(e.value)
    write(tmp_path, {"fpclash.py": METHOD})
    assert not discover([tmp_path / "fpclash.py"])["fpclash"].refused


# -- artifacts -------------------------------------------------------------------------------


def test_files_of_a_local_install_have_a_hash_and_those_of_a_release_none(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints.metadata, "distribution", lambda name: None)
    files = [tmp_path / name for name in ("a.py", "b.py")]
    found = []
    for edit in ("", "# edited"):
        for file in files:
            file.write_text(f"pass {edit}")
        fingerprints.edited_code.cache_clear()
        for code in (Code("sha256:local", (("mine", tmp_path),)), Code("1.0")):
            monkeypatch.setattr(fingerprints, "package_code", lambda *names, code=code: code)
            found.append(fingerprints.edited_code("mine", code.fingerprint, *files))
    fingerprints.edited_code.cache_clear()
    assert found[1] is found[3] is None
    assert found[0].startswith("sha256:") and found[0] != found[2]


def test_files_of_no_install_have_a_hash(tmp_path):
    (tmp_path / "a.py").write_text("pass")
    named = fingerprints.edited_code("no-such-distribution", "none", tmp_path / "a.py")
    assert named.startswith("sha256:")
